"""One view of a result in matplotlib's Axes, for a figure of one's own, drawn by the hands that draw the pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from lignite.calls import public
from lignite.errors import OptionError
from lignite.metrics.readings.agreement import agreement
from lignite.results.classes import is_of_classes
from lignite.results.evaluation import Evaluation
from lignite.results.schema import is_explanation
from lignite.views.comparison.facts import others_of, reference_of, sides_of, tokens_of
from lignite.views.comparison.facts import scale_of as scale_of_comparison
from lignite.views.comparison.picture import draw_scatter
from lignite.views.comparison.scatter import scatter_of
from lignite.views.drawing import STYLE, choose_ink, choose_step, fonts_for, on_scale
from lignite.views.evaluation.facts import line_styles, shown_curves
from lignite.views.evaluation.picture import draw_panel, share_label
from lignite.views.explanation.facts import arrange, layer_map, layer_rows, pieces
from lignite.views.explanation.message import message
from lignite.views.explanation.picture import (
    LINE,
    TEXT_POINTS,
    draw_bars,
    draw_layers,
    label_tokens,
    lay_out,
    token_labels,
)
from lignite.views.files import is_comparison
from lignite.views.flow.facts import arrange as arrange_flow
from lignite.views.flow.facts import choose_map, own_cells, token_axis
from lignite.views.flow.picture import chosen_part, draw_map, scale_of
from lignite.views.flow.picture import token_labels as flow_labels
from lignite.views.labels import limit_of, visible_token
from lignite.views.palette import sign_colour
from lignite.views.patches.facts import is_image, overlaid
from lignite.views.sheet import Sheet

EDGES = 40
"""Lines of each layer that a graph draws, unless `k` says otherwise."""


@dataclass(frozen=True)
class Look:
    """What of a result is drawn."""

    layer: int | None = None
    map: str | None = None
    head: int | None = None
    k: int = EDGES
    smooth: bool = False
    curve: str | None = None
    fill: str | None = None
    side: str | None = None


@dataclass(frozen=True)
class Kind:
    """A kind of view: what a result needs for it, whether it has that, and who draws."""

    needs: str
    fits: Callable[[Any], bool]
    draw: Callable[[Axes, Any, Look], None]


@public
def plot(
    result: Any,
    kind: str,
    ax: Any = None,
    *,
    tokens: bool = False,
    special: str = "show",
    layer: int | None = None,
    map: str | None = None,
    head: int | None = None,
    k: int = EDGES,
    smooth: bool = False,
    curve: str | None = None,
    fill: str | None = None,
    side: str | None = None,
) -> Any:
    """Draw a result into `ax`, or into new Axes; see `dataset.lignite.plot`."""
    if isinstance(result, xr.Dataset) and is_of_classes(result):
        raise OptionError("plot() draws one class: take it from by_class(), or save(….png) draws all of them.")
    able = [name for name, each in KINDS.items() if each.fits(result)]
    if kind not in able:
        needs = f", which needs {KINDS[kind].needs}" if kind in KINDS else ""
        raise OptionError(f"kind={kind!r}{needs}: this result can be drawn as {', '.join(able) or 'nothing'}.")
    if isinstance(result, xr.Dataset) and not is_comparison(result):
        result = (arrange if _explains(result) else arrange_flow)(result, tokens=tokens, special=special)
    if ax is None:
        from matplotlib import pyplot  # a notebook shows its figures; nothing else here needs it

        ax = pyplot.subplots(layout="constrained")[1]
    with rc_context(STYLE | {"font.family": _families(result)}):
        KINDS[kind].draw(ax, result, Look(layer, map, head, k, smooth, curve, fill, side))
    return ax


def _families(result: Any) -> list[str]:
    if not isinstance(result, xr.Dataset):
        return fonts_for("")[0]
    if is_comparison(result):
        return fonts_for("".join([*sides_of(result), *map(str, np.ravel(result["text"].values))]))[0]
    axis = "token" if _explains(result) else f"{token_axis(result)}_token"
    return fonts_for("".join(map(str, result[axis].values)) + str(result.attrs.get("text", "")))[0]


def _explains(result: Any) -> bool:
    return isinstance(result, xr.Dataset) and is_explanation(result)


def _flows(result: Any) -> bool:
    return isinstance(result, xr.Dataset) and result.attrs.get("kind") == "flow"


# Explanations


def _text(axes: Axes, dataset: xr.Dataset, look: Look) -> None:
    box = axes.get_window_extent()
    figure = axes.get_figure(root=True)
    assert figure is not None
    width, height = box.width / figure.dpi, box.height / figure.dpi
    everything = "".join(piece.text for piece in pieces(dataset))
    families, undrawable = fonts_for(everything)
    ruler = Sheet(width, families=families, undrawable=undrawable, keep_characters=False)
    values = dataset.relevance.values.astype(np.float64)
    shares = np.clip(values / limit_of(values), -1, 1)
    axes.set_axis_off()
    for part in lay_out(pieces(dataset), ruler, width):
        x, y = part.left / width, 1 - (part.line + 1) * LINE / height
        share = 0.0 if part.index is None else float(shares[part.index])
        colour = on_scale(np.array(share))
        if abs(share) >= 0.02:
            size = (part.width / width, 0.82 * LINE / height)
            axes.add_patch(
                Rectangle((x, y - 0.2 * size[1]), *size, transform=axes.transAxes, facecolor=colour, linewidth=0)
            )
        how: dict[str, Any] = {"color": choose_ink(colour), "fontsize": TEXT_POINTS, "parse_math": False}
        axes.text(x, y, part.text, transform=axes.transAxes, **how)
    axes.set_title(message(dataset).verdict, loc="left", fontsize=9, parse_math=False)


def _bars(axes: Axes, dataset: xr.Dataset, look: Look) -> None:
    draw_bars(axes, dataset.relevance.values.astype(np.float64))
    _label(axes, token_labels(dataset))
    axes.set_title(message(dataset).sides, loc="left", fontsize=8, parse_math=False)


def _layers(axes: Axes, dataset: xr.Dataset, look: Look) -> None:
    """What each layer says for and against, added up."""
    rows = layer_rows(dataset)
    places = range(len(rows))
    axes.bar(places, [row.total_for for row in rows], color=sign_colour(1.0), label=message(dataset).for_title)
    axes.bar(places, [row.total_against for row in rows], color=sign_colour(-1.0), label="Against")
    axes.axhline(0, color="#1d1f23", linewidth=0.5)
    axes.set_xticks(places, [str(row.layer) for row in rows])
    axes.set_xlabel("layer")
    axes.set_ylabel("relevance, added up")
    axes.legend(frameon=False, fontsize=8)


def _heatmap(axes: Axes, dataset: xr.Dataset, look: Look) -> None:
    if _explains(dataset):
        name = layer_map(dataset)
        assert name is not None
        figure = axes.get_figure(root=True)
        assert figure is not None
        draw_layers(axes, dataset, name, axes.get_window_extent().height / figure.dpi)
        _label(axes, token_labels(dataset))
        return
    name = choose_map(dataset, look.map)
    scores = chosen_part(dataset, name, look.head)
    values, at = scores.values.astype(np.float64), _layer_place(dataset, look)
    heads = "source" not in scores.dims
    own = np.zeros(values.shape[1:], dtype=bool) if heads else own_cells(dataset)
    draw_map(axes, values[at], scale_of(values, own=own))
    _label(axes, [str(head) for head in scores["head"].values] if heads else flow_labels(dataset, "source"))
    rows = flow_labels(dataset, "target")
    axes.set_yticks(range(len(rows)), rows, parse_math=False, fontsize=6.5)
    axes.set_title(f"{name}, layer {dataset.layer.values[at]}: rows receive, columns give", loc="left", fontsize=8)


def _overlay(axes: Axes, dataset: xr.Dataset, look: Look) -> None:
    axes.imshow(overlaid(dataset, smooth=look.smooth), interpolation="none")
    axes.set_axis_off()
    axes.set_title(message(dataset).verdict, loc="left", fontsize=9, parse_math=False)


# Flows


def _layer_place(dataset: xr.Dataset, look: Look) -> int:
    """Where the chosen layer stands; the first where none is chosen."""
    layers = dataset.layer.values.tolist()
    if look.layer is None:
        return 0
    if look.layer not in layers:
        raise OptionError(f"layer={look.layer}: this result holds {', '.join(map(str, layers))}; choose one of them.")
    return layers.index(look.layer)


def _edges_of(dataset: xr.Dataset, look: Look) -> tuple[Float[np.ndarray, "layer target source"], list[str]]:
    """The scores between tokens that lines stand for, and how the tokens are called."""
    name = "relevance_flow" if _explains(dataset) else choose_map(dataset, look.map)
    scores = dataset[name] if _explains(dataset) else chosen_part(dataset, name, look.head)
    if "source" not in scores.dims:
        raise OptionError(f"map={name!r} leads from heads, not from tokens: choose whole, composed or attention.")
    if scores.sizes["target"] != scores.sizes["source"]:
        raise OptionError("lines need every token as source and target: compute the flow with targets=None.")
    labels = [visible_token(str(token)) for token in dataset["source_token"].values]
    return scores.transpose("layer", "target", "source").values.astype(np.float64), labels


def _flow(axes: Axes, dataset: xr.Dataset, look: Look) -> None:
    scores, labels = _edges_of(dataset, look)
    at = _layer_place(dataset, look)
    _draw_edges(axes, scores[at : at + 1], labels, [f"into layer {dataset.layer.values[at]}", "out of it"], look.k)


def _graph(axes: Axes, dataset: xr.Dataset, look: Look) -> None:
    scores, labels = _edges_of(dataset, look)
    levels = [str(layer) for layer in dataset.layer.values]
    _draw_edges(axes, scores, labels, [*levels, "out"], look.k)


def _draw_edges(
    axes: Axes,
    scores: Float[np.ndarray, "layer target source"],
    labels: Sequence[str],
    levels: Sequence[str],
    k: int,
) -> None:
    """Draw tokens as columns, levels upwards, and of every layer the `k` strongest scores as lines.

    Lines are as thick as the score is large beside the others of all layers, in the colour of its sign.
    """
    limit, n_tokens = limit_of(scores), scores.shape[-1]
    for layer, rows in enumerate(scores):
        order = np.argsort(-np.abs(rows), axis=None, kind="stable")[:k]
        for target, source in np.transpose(np.unravel_index(order[::-1], rows.shape)):
            value = float(rows[target, source])
            size = min(1.0, abs(value) / limit)
            if size < 0.01:
                continue
            style: dict[str, Any] = {
                "color": sign_colour(value),
                "alpha": 0.25 + 0.75 * size,
                "linewidth": 0.3 + 4 * size,
            }
            axes.plot([source, target], [layer, layer + 1], solid_capstyle="round", **style)
    across, up = np.meshgrid(range(n_tokens), range(len(levels)))
    axes.scatter(across, up, s=6, color="#1d1f23", zorder=3)
    _label(axes, labels)
    axes.set_yticks(range(len(levels)), levels)
    axes.set_ylabel("states entering layer", fontsize=7)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_title(f"the {k} largest scores of a layer; thickness: size, orange: positive, blue: negative",
                   loc="left", fontsize=7)  # fmt: skip


def _agreement(axes: Axes, dataset: xr.Dataset, look: Look) -> None:
    """How far attention followed by the mlp tells the same as the whole block, layer by layer."""
    compared = agreement(dataset, first="composed", second="whole", diagonal=False)
    for number, name in enumerate(("pearson", "spearman")):
        found = np.ravel(compared[name].values)
        axes.plot(dataset.layer.values, found, "o-", color=sign_colour(1.0 - 2 * number), label=name)
    axes.set_xlabel("layer")
    axes.set_ylabel("agreement of composed with whole, off the diagonal", fontsize=8)
    axes.set_ylim(top=1.02)
    axes.set_xticks(dataset.layer.values)
    axes.legend(frameon=False, fontsize=8)


# Comparisons


def _scatter(axes: Axes, dataset: xr.Dataset, look: Look) -> None:
    draw_scatter(axes, scatter_of(dataset, _side_of(dataset, look)))


def _differences(axes: Axes, dataset: xr.Dataset, look: Look) -> None:
    side = _side_of(dataset, look)
    draw_bars(axes, np.nan_to_num(dataset["difference"].transpose("side", "token").values[side].astype(np.float64)))
    _label(axes, tokens_of(dataset))
    names = sides_of(dataset)
    axes.set_title(f"{names[side]} less {names[reference_of(dataset)]}", loc="left", fontsize=9, parse_math=False)
    axes.set_ylabel(scale_of_comparison(dataset), fontsize=8)


def _side_of(dataset: xr.Dataset, look: Look) -> int:
    """The side that was chosen; else the first beside the reference."""
    names = dataset["side"].values.tolist()
    if look.side is None:
        return others_of(dataset)[0]
    if look.side not in names:
        raise OptionError(f"side={look.side!r}: this comparison has {', '.join(names)}; choose one of them.")
    return names.index(look.side)


def _compared(result: Any) -> bool:
    return (
        isinstance(result, xr.Dataset) and is_comparison(result) and "difference" in result and "token" in result.dims
    )


# Evaluations


def _curves(axes: Axes, evaluation: Evaluation, look: Look) -> None:
    curves = shown_curves(evaluation.curves)
    for column, asked in (("curve", look.curve), ("fill", look.fill)):
        present = list(dict.fromkeys(curves[column]))
        if asked is not None and asked not in present:
            raise OptionError(f"{column}={asked!r}: this evaluation has {', '.join(present)}; choose one of them.")
        curves = curves[curves[column] == (asked or present[0])]
    first = curves.iloc[0]
    draw_panel(axes, curves, line_styles(evaluation))
    axes.set_title(f"{first['curve']} ({first['fill']})", loc="left", fontsize=9)
    axes.set_xlabel(share_label(str(first["curve"])), fontsize=8)
    axes.set_ylabel(str(first["measure"]), fontsize=8)
    axes.legend(frameon=False, fontsize=7, handlelength=3)


def _label(axes: Axes, labels: Sequence[str]) -> None:
    figure = axes.get_figure(root=True)
    assert figure is not None
    inches = axes.get_window_extent().width / figure.dpi
    label_tokens(axes, labels, choose_step(len(labels), len(labels) * 0.12 / inches))


KINDS = {
    "text": Kind("an explanation of a text", lambda r: _explains(r) and not is_image(r), _text),
    "bars": Kind("an explanation", _explains, _bars),
    "layers": Kind("an explanation with layers", lambda r: _explains(r) and layer_map(r) is not None, _layers),
    "heatmap": Kind("layers or a flow", lambda r: _flows(r) or (_explains(r) and layer_map(r) is not None), _heatmap),
    "flow": Kind("a flow between tokens", _flows, _flow),
    "graph": Kind(
        "a flow, or an explanation with detail='relevance-flow'",
        lambda r: _flows(r) or (_explains(r) and "relevance_flow" in r),
        _graph,
    ),
    "overlay": Kind("an explanation of an image", lambda r: _explains(r) and is_image(r), _overlay),
    "agreement": Kind("a flow with composed and whole", lambda r: _flows(r) and {"composed", "whole"} <= set(r),
                      _agreement),
    "scatter": Kind("a comparison of explanations", _compared, _scatter),
    "differences": Kind("a comparison of explanations", _compared, _differences),
    "curves": Kind("an evaluation with curves", lambda r: isinstance(r, Evaluation) and len(r.curves) > 0, _curves),
}  # fmt: skip
"""What can be drawn, by name."""
