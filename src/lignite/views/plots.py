"""One view of a result in matplotlib's Axes, for a figure of one's own, drawn by the hands that draw the pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from lignite.calls import public
from lignite.errors import OptionError
from lignite.metrics.readings.agreement import agreement
from lignite.results.classes import is_of_classes
from lignite.results.evaluation import Evaluation
from lignite.results.schema import is_explanation
from lignite.views.comparison.facts import ExplanationSides
from lignite.views.comparison.picture import draw_scatter
from lignite.views.comparison.scatter import scatter_of
from lignite.views.comparison.sides import Sides
from lignite.views.drawing import STYLE, choose_ink, choose_step, fonts_for, on_scale
from lignite.views.evaluation.facts import line_styles, shown_curves
from lignite.views.evaluation.picture import draw_panel, share_label
from lignite.views.explanation.facts import arrange, layer_map, layer_rows, pieces, question
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
from lignite.views.flow.graph import EDGES, INK, draw_graph, has_ways, told_of, trace_reader
from lignite.views.flow.picture import chosen_part, draw_map, scale_of
from lignite.views.flow.picture import token_labels as flow_labels
from lignite.views.labels import limit_of, visible_token, with_minus
from lignite.views.palette import sign_colour
from lignite.views.patches.facts import is_image, overlaid
from lignite.views.sheet import Sheet
from lignite.wording import shorten

LABEL_POINTS, LEAST = 6.5, 4.5
"""Of the names of nodes: usually, and the smallest that can be read."""


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
        return fonts_for("".join([*Sides(result).names, *map(str, np.ravel(result["text"].values))]))[0]
    axis = "token" if _explains(result) else f"{token_axis(result)}_token"
    return fonts_for("".join(map(str, result[axis].values)) + str(result.attrs.get("text", "")))[0]


def _explains(result: Any) -> bool:
    return isinstance(result, xr.Dataset) and is_explanation(result)


def _flows(result: Any) -> bool:
    return isinstance(result, xr.Dataset) and result.attrs.get("kind") == "flow"


# Explanations


def _text(axes: Axes, dataset: xr.Dataset, look: Look) -> None:
    figure = axes.get_figure(root=True)
    assert figure is not None
    axes.set_axis_off()
    axes.set_title(message(dataset).verdict, loc="left", fontsize=9, parse_math=False)
    figure.draw_without_rendering()  # a layout engine has then found the width of the axes
    width = axes.get_window_extent().width / figure.dpi
    families, undrawable = fonts_for("".join(piece.text for piece in pieces(dataset)))
    ruler = Sheet(width, families=families, undrawable=undrawable, keep_characters=False)
    values = dataset.relevance.values.astype(np.float64)
    shares = np.clip(values / limit_of(values), -1, 1)
    placed = lay_out(pieces(dataset), ruler, width)
    for part in placed:
        share = 0.0 if part.index is None else float(shares[part.index])
        colour = on_scale(np.array(share)) if abs(share) >= 0.02 else np.ones(4)
        ground = {"facecolor": colour, "linewidth": 0, "boxstyle": "square,pad=0.12"} if abs(share) >= 0.02 else None
        at = (72 * part.left, -72 * (part.line + 1) * LINE)  # points below the upper left corner
        _say(axes, part.text, at, color=choose_ink(colour), fontsize=TEXT_POINTS, bbox=ground)
    below = -72 * (max(part.line for part in placed) + 2) * LINE
    left, name = 0.0, question(dataset).name
    for side, share in (("for", 0.6), ("against", -0.6)):
        ground = {"facecolor": on_scale(np.array(share)), "linewidth": 0, "boxstyle": "square,pad=0.12"}
        _say(axes, f"{side} {name}", (left, below), color=INK, fontsize=8, bbox=ground)
        left += 72 * ruler.inches(f"{side} {name}", 8) + 10


def _say(axes: Axes, text: str, at: tuple[float, float], *, bbox: dict[str, Any] | None, **how: Any) -> None:
    """Words so many points from the upper left corner, whatever becomes of the size of the axes; grounds lie below."""
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "parse_math": False}
    if bbox is not None:
        axes.annotate(text, (0, 1), xytext=at, zorder=2, bbox=bbox, alpha=0, **place, **how)
    axes.annotate(text, (0, 1), xytext=at, zorder=3, **place, **how)


def _bars(axes: Axes, dataset: xr.Dataset, look: Look) -> None:
    labels = token_labels(dataset)
    draw_bars(axes, dataset.relevance.values.astype(np.float64), labels)
    _label(axes, labels)
    _name_sides(axes, dataset)
    axes.set_title(with_minus(message(dataset).sides), loc="left", fontsize=8, parse_math=False, pad=17)


def _name_sides(axes: Axes, dataset: xr.Dataset) -> None:
    """Above the axes, below their title: which colour speaks for what."""
    name = shorten(question(dataset).name, 40)
    sides = [Patch(color=sign_colour(sign), label=f"{side} {name}") for side, sign in (("for", 1.0), ("against", -1.0))]
    where: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.1}
    axes.legend(handles=sides, ncols=2, frameon=False, fontsize=7, **where)


def _layers(axes: Axes, dataset: xr.Dataset, look: Look) -> None:
    """What each layer says for and against, added up."""
    rows = layer_rows(dataset)
    places = range(len(rows))
    axes.bar(places, [row.total_for for row in rows], color=sign_colour(1.0))
    axes.bar(places, [row.total_against for row in rows], color=sign_colour(-1.0))
    axes.axhline(0, color="#1d1f23", linewidth=0.5)
    axes.set_xticks(places, [str(row.layer) for row in rows])
    axes.set_xlabel("layer", fontsize=8)
    axes.set_ylabel("relevance, added up", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    _name_sides(axes, dataset)


def _heatmap(axes: Axes, dataset: xr.Dataset, look: Look) -> None:
    if _explains(dataset):
        name = layer_map(dataset)
        assert name is not None
        figure = axes.get_figure(root=True)
        assert figure is not None
        draw_layers(axes, dataset, name, axes.get_window_extent().height / figure.dpi)
        _label(axes, token_labels(dataset))
        _name_sides(axes, dataset)
        return
    name = choose_map(dataset, look.map)
    scores = chosen_part(dataset, name, look.head)
    values, at = scores.values.astype(np.float64), _layer_place(dataset, look)
    heads = "source" not in scores.dims
    own = np.zeros(values.shape[1:], dtype=bool) if heads else own_cells(dataset)
    draw_map(axes, values[at], scale_of(values, own=own))
    _label(axes, [str(head) for head in scores["head"].values] if heads else flow_labels(dataset, "source"))
    rows = flow_labels(dataset, "target")
    figure = axes.get_figure(root=True)
    assert figure is not None
    step = choose_step(len(rows), len(rows) * 0.12 * figure.dpi / axes.get_window_extent().height)
    axes.set_yticks(range(0, len(rows), step), rows[::step], parse_math=False, fontsize=6.5)
    told = f"{name}, layer {dataset.layer.values[at]}: rows receive, columns give; orange moves on, blue holds back"
    axes.set_title(told, loc="left", fontsize=8)


def _overlay(axes: Axes, dataset: xr.Dataset, look: Look) -> None:
    axes.imshow(overlaid(dataset, smooth=look.smooth), interpolation="none")
    axes.set_axis_off()
    _name_sides(axes, dataset)
    axes.set_title(message(dataset).verdict, loc="left", fontsize=9, parse_math=False, pad=17)


# Flows


def _layer_place(dataset: xr.Dataset, look: Look) -> int:
    """Where the chosen layer stands; the first where none is chosen."""
    layers = dataset.layer.values.tolist()
    if look.layer is None:
        return 0
    if look.layer not in layers:
        raise OptionError(f"layer={look.layer}: this result holds {', '.join(map(str, layers))}; choose one of them.")
    return layers.index(look.layer)


def _edges_of(dataset: xr.Dataset, look: Look) -> Float[np.ndarray, "layer target source"]:
    """The scores between tokens that lines stand for."""
    name = "relevance_flow" if _explains(dataset) else choose_map(dataset, look.map)
    scores = dataset[name] if _explains(dataset) else chosen_part(dataset, name, look.head)
    if "source" not in scores.dims:
        raise OptionError(f"map={name!r} leads from heads, not from tokens: choose whole, composed or attention.")
    if scores.sizes["target"] != scores.sizes["source"]:
        raise OptionError("lines need every token as source and target: compute the flow with targets=None.")
    return scores.transpose("layer", "target", "source").values.astype(np.float64)


def _flow(axes: Axes, dataset: xr.Dataset, look: Look) -> None:
    """One layer: who gives on the left, who receives on the right."""
    at = _layer_place(dataset, look)
    levels = [f"into layer {dataset.layer.values[at]}", "out of it"]
    _draw_lines(axes, dataset, _edges_of(dataset, look)[at : at + 1], levels, look, traced=False)


def _graph(axes: Axes, dataset: xr.Dataset, look: Look) -> None:
    """All layers: of a flow, followed back from the token that is read, unless a head is asked for."""
    traced = _flows(dataset) and look.head is None and has_ways(dataset, choose_map(dataset, look.map))
    scores = trace_reader(dataset, choose_map(dataset, look.map)) if traced else _edges_of(dataset, look)
    levels = [*(f"into layer {layer}" for layer in dataset.layer.values), "out"]
    _draw_lines(axes, dataset, scores, levels, look, traced=traced)


def _draw_lines(
    axes: Axes,
    dataset: xr.Dataset,
    scores: Float[np.ndarray, "layer target source"],
    levels: Sequence[str],
    look: Look,
    *,
    traced: bool,
) -> None:
    labels = [visible_token(str(token)) for token in dataset["source_token"].values]
    draw_graph(axes, scores, labels, levels, k=look.k)
    _fit_rows(axes)
    axes.set_title(told_of(dataset, traced=traced), loc="left", fontsize=8, parse_math=False)


def _fit_rows(axes: Axes) -> None:
    """Names of nodes as small as their rows; where they would be smaller than `LEAST` points, one in several."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    names = [tick.label1.get_text() for tick in axes.yaxis.get_major_ticks()]  # each stands on the right, too
    room = 0.7 * 72 * axes.get_window_extent().height / figure.dpi / len(names)
    step = choose_step(len(names), LEAST / room)
    size = min(LABEL_POINTS, max(LEAST, room * step))
    axes.set_yticks(range(0, len(names), step), names[::step], parse_math=False, fontsize=size)


def _agreement(axes: Axes, dataset: xr.Dataset, look: Look) -> None:
    """How far attention followed by the mlp tells the same as the whole block, layer by layer."""
    compared = agreement(dataset, first="composed", second="whole", diagonal=False)
    for number, (name, title) in enumerate((("pearson", "correlation"), ("spearman", "rank correlation"))):
        found = np.ravel(compared[name].values)
        axes.plot(dataset.layer.values, found, "o-", color=sign_colour(1.0 - 2 * number), label=title)
    axes.set_xlabel("layer", fontsize=8)
    axes.set_title("how far attention, then mlp, tells the same as the whole layer", loc="left", fontsize=8)
    axes.set_ylim(top=1.02)
    axes.set_xticks(dataset.layer.values)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)


# Comparisons


def _scatter(axes: Axes, dataset: xr.Dataset, look: Look) -> None:
    sides = ExplanationSides(dataset)
    draw_scatter(axes, scatter_of(sides, _side_of(sides, look)))


def _differences(axes: Axes, dataset: xr.Dataset, look: Look) -> None:
    sides = ExplanationSides(dataset)
    side = _side_of(sides, look)
    draw_bars(axes, np.nan_to_num(sides.difference[side]), sides.tokens)
    _label(axes, sides.tokens)
    title = f"{sides.names[side]} less {sides.names[sides.reference]}"
    axes.set_title(title, loc="left", fontsize=9, parse_math=False)
    axes.set_ylabel(sides.scale, fontsize=8)


def _side_of(sides: Sides, look: Look) -> int:
    """The side that was chosen; else the first beside the reference."""
    names = sides.dataset["side"].values.tolist()
    if look.side is None:
        return sides.others[0]
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
