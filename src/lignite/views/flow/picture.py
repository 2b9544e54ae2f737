"""A flow as a picture for print: one heat map per layer, drawn without a browser or a display."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from rich.cells import cell_len

from lignite.errors import OptionError
from lignite.views.drawing import DIVERGING, STYLE, boxed, fonts_for, picture_ending, save_figure
from lignite.views.flow.facts import SPLITS, TITLES, choose_map, one_part, options, shares, token_axis
from lignite.views.labels import model_title, visible_token
from lignite.views.patches.facts import is_image
from lignite.views.patches.picture import draw_reading
from lignite.wording import one_line, shorten

PITCH = 0.125  # inches per token: a 6.5 point label fits
LARGEST = 5.2  # inches; longer texts label every n-th token
LABEL_POINTS = 6.5
LABEL_CHARACTERS = 14
QUANTILE = 0.995
GAP = 0.3  # inches between panels


@dataclass(frozen=True)
class _Panels:
    """What is drawn: one matrix per layer, and the limits of the colours."""

    values: Float[np.ndarray, "layer target column"]
    limits: Float[np.ndarray, " layer"]
    beyond: float  # share of cells whose colour is clipped
    quantile: bool  # False where the limits are the largest magnitude


def draw_flow(
    dataset: xr.Dataset,
    *,
    map: str | None = None,
    layers: Sequence[int] | None = None,
    head: int | None = None,
    circuit: str | None = None,
    values: str = "score",
    scale: str = "shared",
    view: str | None = None,
    target: int | None = None,
    smooth: bool = False,
) -> Figure:
    """Heat maps of one map, targets as rows and sources as columns, a panel per layer.

    Parameters
    ----------
    map
        By default the first of whole, composed, attention, mlp that the result holds.
    layers
        Layers to draw, by default all.
    head, circuit
        One part of a map that is split; by default the parts are added up.
    values
        ``"score"``, or ``"share"``: scores divided by the displacement of their target.
    scale
        ``"shared"`` gives all layers one colour scale, ``"layer"`` each its own.
    view
        ``"heat"`` for heat maps; ``"reads"``, the default for images, for what one target reads from the patches of the
        picture, layer by layer.
    target, smooth
        Of ``"reads"``: the target's position, by default the first token without a place (the class token), and whether
        colours are mixed between the patches.

    Returns
    -------
    A figure without a window. Colours end at the 99.5 % quantile of the magnitudes off the diagonal, because what a
    token keeps for itself would drown the rest; the colour bar says so. A character that no installed font can draw
    stands as □.
    """
    return _draw(
        dataset, map=map, layers=layers, head=head, circuit=circuit, values=values, scale=scale, view=view,
        target=target, smooth=smooth, keep_characters=False,
    )  # fmt: skip


def save_picture(
    dataset: xr.Dataset,
    path: str | Path,
    *,
    map: str | None = None,
    layers: Sequence[int] | None = None,
    head: int | None = None,
    circuit: str | None = None,
    values: str = "score",
    scale: str = "shared",
    view: str | None = None,
    target: int | None = None,
    smooth: bool = False,
    dpi: int = 150,
) -> Path:
    """Draw a flow into a .png, .svg or .pdf file; the same result gives the same bytes."""
    path = Path(path)
    ending = picture_ending(path)
    figure = _draw(
        dataset, map=map, layers=layers, head=head, circuit=circuit, values=values, scale=scale, view=view,
        target=target, smooth=smooth, keep_characters=ending == ".svg",
    )  # fmt: skip
    return save_figure(figure, path, dpi=dpi)


def _draw(
    dataset: xr.Dataset,
    *,
    map: str | None,
    layers: Sequence[int] | None,
    head: int | None,
    circuit: str | None,
    values: str,
    scale: str,
    view: str | None,
    target: int | None,
    smooth: bool,
    keep_characters: bool,
) -> Figure:
    if values not in ("score", "share"):
        raise OptionError(f"values={values!r}: expected 'score' or 'share'.")
    if scale not in ("shared", "layer"):
        raise OptionError(f"scale={scale!r}: expected 'shared' or 'layer'.")
    map = choose_map(dataset, map)
    dataset = _choose_layers(dataset, layers)
    scores = _one_part(dataset, map, head=head, circuit=circuit, values=values)
    reads = _reads(dataset, scores, view)
    if target is not None and not reads:
        raise OptionError(f"target={target}: heat maps show every target; choose view='reads' of an image.")
    if reads:
        return draw_reading(
            dataset,
            scores,
            target=_reader(dataset, target),
            title=TITLES[map] + _part(map, head=head, circuit=circuit),
            notes=[_chosen(dataset), *(["share of the target's displacement"] if values == "share" else [])],
            smooth=smooth,
            scale="own" if scale == "layer" else "shared",
            keep_characters=keep_characters,
        )
    panels = _panels(scores, own=_own_cells(dataset, scores), scale=scale)
    target_labels = _token_labels(dataset, "target")
    column_labels = (
        _token_labels(dataset, "source") if "source" in scores.dims else [str(h) for h in scores["head"].values]
    )
    words = [*target_labels, *column_labels, one_line(str(dataset.attrs.get("text", "")))]
    families, undrawable = fonts_for("".join(words))
    if keep_characters:
        undrawable = frozenset()
    style = STYLE | {"font.family": families}
    with matplotlib.rc_context(style):
        sheet = _Sheet(panels.values.shape, rows=target_labels, columns=column_labels)
        rows, columns = ([boxed(label, undrawable) for label in labels] for labels in (target_labels, column_labels))
        for index, layer in enumerate(dataset.layer.values):
            axes = sheet.panel(index)
            limit = float(panels.limits[index])
            axes.imshow(
                panels.values[index],
                cmap=DIVERGING,
                norm=Normalize(-limit, limit),
                aspect="auto",
                interpolation="none",
                origin="upper",
            )
            note = f"  ±{limit:.3g}" if scale == "layer" else ""
            axes.set_title(f"layer {layer}{note}", fontsize=8, loc="left", pad=3)
            sheet.label(axes, index, rows, columns)
        _inscribe(sheet, dataset, map, scores, head=head, circuit=circuit, undrawable=undrawable)
        _colour_bar(sheet, panels, values=values, scale=scale)
    return sheet.figure


def _reads(dataset: xr.Dataset, scores: xr.DataArray, view: str | None) -> bool:
    """Whether a target's row is drawn over the picture; by default where there is one."""
    if view not in (None, "heat", "reads"):
        raise OptionError(f"view={view!r}: expected 'heat' or 'reads'.")
    possible = "source" in scores.dims and is_image(dataset, "source")
    if view == "reads" and not possible:
        raise OptionError("view='reads' shows patches of an image as sources; this map has none: choose view='heat'.")
    return possible and view != "heat"


def _reader(dataset: xr.Dataset, target: int | None) -> int:
    """The position of the target that reads: by default the first token without a place, else the first of all."""
    known = [int(position) for position in dataset.target.values]
    if target is None:
        outside = np.flatnonzero(dataset.target_row.values < 0)
        return known[int(outside[0])] if len(outside) else known[0]
    if target not in known:
        raise OptionError(f"target={target}: this result holds the targets {_range(known)}; choose one of them.")
    return target


def _part(map: str, *, head: int | None, circuit: str | None) -> str:
    if head is not None or circuit is not None:
        return f", head {head}" if head is not None else f", {circuit} circuit"
    return f", {SPLITS[map]}s added up" if map in SPLITS else ""


def _chosen(dataset: xr.Dataset) -> str:
    chosen = options(dataset)
    names = ("baseline", "mlp_baseline", "self_term", "readout")
    return ", ".join(f"{name} {chosen[name]}" for name in names if name in chosen)


def _choose_layers(dataset: xr.Dataset, layers: Sequence[int] | None) -> xr.Dataset:
    if layers is None:
        return dataset
    present = [int(layer) for layer in dataset.layer.values]
    missing = [layer for layer in layers if layer not in present]
    if missing or not layers:
        raise OptionError(f"layers={list(layers)}: this result holds layers {_range(present)}; choose among them.")
    return dataset.sel(layer=list(layers))


def _range(numbers: list[int]) -> str:
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(str(number) for number in numbers)


def _one_part(dataset: xr.Dataset, map: str, *, head: int | None, circuit: str | None, values: str) -> xr.DataArray:
    """The scores to draw, `layer, target, column`: one head or circuit, or all of them added up."""
    split = SPLITS.get(map)
    for name, chosen in (("head", head), ("circuit", circuit)):
        if chosen is None:
            continue
        if name != split:
            raise OptionError(f"{name}={chosen!r}: {map} is not split by {name}; leave it out or choose another map.")
        if chosen not in dataset[name].values:
            known = ", ".join(str(value) for value in dataset[name].values)
            raise OptionError(f"{name}={chosen!r}: this result holds {known}; choose one of them.")
    scores, displacement = one_part(dataset, map, head if split == "head" else circuit)
    return shares(scores, displacement) if values == "share" else scores


def _own_cells(dataset: xr.Dataset, scores: xr.DataArray) -> Bool[np.ndarray, "target column"]:
    if "source" not in scores.dims:
        return np.zeros(scores.shape[1:], dtype=bool)
    return dataset.target.values[:, None] == dataset.source.values[None, :]


def _panels(scores: xr.DataArray, *, own: Bool[np.ndarray, "target column"], scale: str) -> _Panels:
    values = np.asarray(scores.values, dtype="float64")
    magnitude = np.abs(np.nan_to_num(values))
    compared = magnitude[:, ~own]
    if not compared.any():
        compared = magnitude.reshape(len(magnitude), -1)
    groups = [compared] * len(values) if scale == "shared" else list(compared)
    limits = np.array([_limit(group) for group in groups])
    beyond = float((magnitude > limits[:, None, None]).mean())
    return _Panels(values=values, limits=limits, beyond=beyond, quantile=bool((compared > limits[:, None]).any()))


def _limit(magnitude: Float[np.ndarray, "..."]) -> float:
    """The quantile; where most scores are zero (causal masks), that of the others."""
    some = magnitude[magnitude > 0]
    return float(np.quantile(some, QUANTILE)) if some.size else 1.0


def _token_labels(dataset: xr.Dataset, axis: str) -> list[str]:
    tokens = dataset[f"{axis}_token"].values
    return [
        f"{shorten(visible_token(str(token)), LABEL_CHARACTERS)} {position}"
        for token, position in zip(tokens, dataset[axis].values, strict=True)
    ]


class _Sheet:
    """A figure of equal panels; everything is placed in inches, so that labels never shrink."""

    def __init__(self, shape: tuple[int, ...], *, rows: list[str], columns: list[str]) -> None:
        n_panels, n_rows, n_columns = shape
        pitch = PITCH if n_panels > 1 else 1.3 * PITCH
        self.points = LABEL_POINTS if n_panels > 1 else 1.2 * LABEL_POINTS
        self.panel_size = (_side(n_columns, pitch), _side(n_rows, pitch))
        self.step = (_step(n_columns, self.panel_size[0], pitch), _step(n_rows, self.panel_size[1], pitch))
        self.n_panels = n_panels
        fitting = max(1, int(23 // (self.panel_size[0] + GAP)))
        self.across = min(n_panels, fitting, max(3, round(float(np.sqrt(1.5 * n_panels)))))
        self.down = -(-n_panels // self.across)
        self.across = -(-n_panels // self.down)  # no row emptier than it has to be
        cell = 0.0098 * self.points  # inches: a little more than the width of a letter
        self.margin = {
            "left": max(0.6, 0.3 + cell * max(cell_len(label) for label in rows)),
            "right": 1.25,
            "top": 1.25,
            "bottom": 0.25 + cell * max(cell_len(label) for label in columns),
        }
        inner = self.across * (self.panel_size[0] + GAP) - GAP
        self.width = max(7.0, inner + self.margin["left"] + self.margin["right"])
        self.height = self.down * (self.panel_size[1] + GAP) - GAP + self.margin["top"] + self.margin["bottom"]
        self.figure = Figure(figsize=(self.width, self.height), facecolor="white")
        FigureCanvasAgg(self.figure)

    def box(self, left: float, top: float, width: float, height: float) -> tuple[float, float, float, float]:
        return (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)

    def panel(self, index: int) -> Axes:
        row, column = divmod(index, self.across)
        width, height = self.panel_size
        left = self.margin["left"] + column * (width + GAP)
        top = self.margin["top"] + row * (height + GAP)
        return self.figure.add_axes(self.box(left, top, width, height))

    def label(self, axes: Axes, index: int, rows: list[str], columns: list[str]) -> None:
        """Tokens stand on the left and below, where no other panel is in the way."""
        axes.tick_params(length=1.5, width=0.4, pad=1.5, labelsize=self.points)
        step_x, step_y = self.step
        first_column = index % self.across == 0
        lowest = index + self.across >= self.n_panels
        text: dict[str, Any] = {"parse_math": False, "fontsize": self.points}  # a token may hold dollar signs
        axes.set_yticks(
            range(0, len(rows), step_y), rows[::step_y] if first_column else [], **(text if first_column else {})
        )
        axes.set_xticks(range(0, len(columns), step_x), columns[::step_x] if lowest else [], **(text if lowest else {}))
        if lowest:
            axes.tick_params(axis="x", rotation=90)

    def write(self, left: float, top: float, text: str, size: float, **how: Any) -> None:
        self.figure.text(
            left / self.width, 1 - top / self.height, text, fontsize=size, va="top", parse_math=False, **how
        )


def _side(n_cells: int, pitch: float) -> float:
    return float(np.clip(n_cells * pitch, 8 * pitch, max(LARGEST, 42 * pitch)))


def _step(n_cells: int, inches: float, pitch: float) -> int:
    """Every n-th token is labelled, with n a round number."""
    needed = n_cells * pitch * 0.98 / inches
    return next(
        step
        for step in (1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128, 200, 256, 500, 1000, n_cells)
        if step >= needed
    )


def _inscribe(
    sheet: _Sheet,
    dataset: xr.Dataset,
    map: str,
    scores: xr.DataArray,
    *,
    head: int | None,
    circuit: str | None,
    undrawable: frozenset[str],
) -> None:
    model = model_title(str(dataset.attrs.get("model", "")))
    text = one_line(str(dataset.attrs.get("text", "")))
    part = _part(map, head=head, circuit=circuit)
    columns = "source" if "source" in scores.dims else "head"
    notes = [f"rows: target, which receives; columns: {columns}, which gives"]
    if max(sheet.step) > 1:
        notes.append(f"every {max(sheet.step)}th token is labelled")
    if any(character in undrawable for character in "".join(_token_labels(dataset, token_axis(dataset))) + text):
        notes.append("□: no installed font has this character")
    heading = boxed(f"{model}  ·  {text}" if text else model, undrawable)
    for top, line, size, style in (
        (0.16, heading, 11.0, {"weight": "bold"}),
        (0.41, TITLES[map] + part, 9.0, {"color": "#333"}),
        (0.61, _chosen(dataset), 7.5, {"color": "#666"}),
        (0.77, "; ".join(notes), 7.5, {"color": "#666"}),
    ):
        sheet.write(0.25, top, shorten(line, int((sheet.width - 0.5) / (0.0086 * size))), size, **style)


def _colour_bar(sheet: _Sheet, panels: _Panels, *, values: str, scale: str) -> None:
    height = min(2.4, sheet.height - sheet.margin["top"] - 0.3)
    left = sheet.margin["left"] + sheet.across * (sheet.panel_size[0] + GAP) - GAP + 0.15
    axes = sheet.figure.add_axes(sheet.box(left, sheet.margin["top"], 0.13, height))
    limit = float(panels.limits[0]) if scale == "shared" else 1.0
    axes.imshow(
        np.linspace(1, -1, 255)[:, None],
        cmap=DIVERGING,
        aspect="auto",
        extent=(0, 1, -limit, limit),
        norm=Normalize(-1, 1),
    )
    axes.set_xticks([])
    axes.yaxis.tick_right()
    ticks = np.array([-1, -0.5, 0, 0.5, 1]) * limit
    unit = [f"{tick:+.3g}" if tick else "0" for tick in ticks]
    if scale == "layer":
        unit = ["-limit", "", "0", "", "+limit"]
    axes.set_yticks(ticks, unit, fontsize=7, parse_math=False)
    axes.tick_params(length=2, width=0.4, pad=2)
    what = "score" if values == "score" else "share of the target's displacement"
    ends = "the largest magnitude"
    if panels.quantile:
        ends = f"{100 * QUANTILE:g} % of magnitudes off the diagonal"
    note = f"{what}; colours end at {ends}"
    if panels.beyond > 0:
        note += f", {100 * panels.beyond:.2g} % of cells lie beyond"
    axes.set_ylabel(textwrap.fill(note, max(24, int(height / 0.062))), fontsize=7, rotation=90, labelpad=4)
    axes.yaxis.set_label_position("right")
