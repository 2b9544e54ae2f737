"""A flow as a picture for print: one heat map per layer, drawn without a browser or a display."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from rich.cells import cell_len

from lignite.errors import OptionError
from lignite.views.attributes import options
from lignite.views.drawing import (
    DIVERGING,
    STYLE,
    boxed,
    choose_ink,
    choose_step,
    draw_colour_bar,
    fonts_for,
    on_scale,
    picture_ending,
    save_figure,
)
from lignite.views.flow.facts import (
    QUANTILE,
    SPLITS,
    TITLES,
    answer,
    arrange,
    choose_map,
    doubt,
    one_part,
    own_cells,
    token_axis,
)
from lignite.views.flow.graph import MANY, draw_graph, has_ways, told_of, trace_reader
from lignite.views.flow.written import heads_of
from lignite.views.labels import labelled_note, model_title, visible_token
from lignite.views.patches.facts import is_image
from lignite.views.patches.picture import draw_reading
from lignite.views.sheet import Sheet, evenly
from lignite.wording import one_line, shorten

PITCH = 0.125  # inches per token: a 6.5 point label fits
LARGEST = 5.2  # inches; longer texts label every n-th token
LABEL_POINTS = 6.5
LABEL_CHARACTERS = 14
GAP = 0.3  # inches between panels
TOP, RIGHT = 1.42, 0.95  # margins
ROW, LEVEL, HEAD = 0.17, 1.35, 0.3  # inches of a graph: from token to token, from level to level; of a head in a table
SETTINGS = ("baseline", "mlp_baseline", "self_term", "readout")


def draw_flow(
    dataset: xr.Dataset,
    *,
    map: str | None = None,
    head: int | None = None,
    tokens: bool = False,
    special: str = "show",
    keep_characters: bool = False,
) -> Figure:
    """Heat maps of one map, targets as rows and sources as columns, a panel per layer, on one scale of colours.

    For an image, what the first token without a place (the class token) reads from the patches, layer by layer.

    Parameters
    ----------
    map
        By default the first of whole, composed, attention, mlp that the result holds.
    head
        One head of a map that is split by head; by default the parts of a split map are added up.
    tokens
        Show the pieces of words one by one; by default they are added up.
    special
        ``"hide"`` leaves special tokens out.
    keep_characters
        A character that no installed font can draw is kept, for a file that other fonts may show; else it stands as □.

    Returns
    -------
    A figure without a window. Colours end at the 99.5 % quantile of the magnitudes off the diagonal, because what a
    token keeps for itself would drown the rest; the colour bar says so.
    """
    map = choose_map(dataset, map)
    dataset = arrange(dataset, tokens=tokens, special=special)
    scores = chosen_part(dataset, map, head)
    part = f", head {head}" if head is not None else f", {SPLITS[map]}s added up" if map in SPLITS else ""
    title = TITLES[map] + part
    if "source" in scores.dims and is_image(dataset, "source"):
        outside = np.flatnonzero(dataset.target_row.values < 0)
        reader = int(dataset.target.values[outside[0] if len(outside) else 0])
        said = " ".join(filter(None, [doubt(dataset), answer(dataset, map)]))
        note = f"{title}; {_chosen(dataset)}"
        return draw_reading(dataset, scores, target=reader, said=said, note=note, keep_characters=keep_characters)
    return _draw_panels(dataset, scores, map, title, head=head, keep_characters=keep_characters)


def save_picture(dataset: xr.Dataset, path: str | Path, *, dpi: int = 150, **what: Any) -> Path:
    """Draw a flow, with `what` as in `draw_flow`, into a .png, .svg or .pdf file: always the same bytes."""
    keep = picture_ending(Path(path)) == ".svg"
    return save_figure(draw_flow(dataset, **what, keep_characters=keep), Path(path), dpi=dpi)


def _draw_panels(
    dataset: xr.Dataset, scores: xr.DataArray, map: str, title: str, *, head: int | None, keep_characters: bool
) -> Figure:
    heads = "source" not in scores.dims
    rows = token_labels(dataset, "target")
    columns = [str(head) for head in scores["head"].values] if heads else token_labels(dataset, "source")
    families, undrawable = fonts_for("".join([*rows, *columns, one_line(str(dataset.attrs.get("text", "")))]))
    values = np.asarray(scores.values, dtype="float64")
    scale = scale_of(values, own=np.zeros(values.shape[1:], dtype=bool) if heads else own_cells(dataset))
    graph = _Graph.of(dataset, map, head) if not heads else None
    grid = _Grid(values.shape, rows=rows, columns=columns, above=graph.height if graph else 0.0)
    with matplotlib.rc_context(STYLE | {"font.family": families}):
        sheet = Sheet(grid.width, families=families, undrawable=undrawable, keep_characters=keep_characters)
        _inscribe(sheet, grid, dataset, map, title, columns="head" if heads else "source")
        if graph:
            graph.draw(sheet)
        labels = [[boxed(label, sheet.replaced) for label in some] for some in (rows, columns)]
        for index, layer in enumerate(dataset.layer.values):
            axes = sheet.add_axes(*grid.panel(index))
            draw_map(axes, values[index], scale)
            axes.set_title(f"layer {layer}", fontsize=8, loc="left", pad=3)
            grid.label(axes, index, *labels)
        _explain_colours(sheet, grid, scale)
        sheet.top = grid.height
        return sheet.finish()


def draw_map(axes: Axes, values: Float[np.ndarray, "target column"], scale: "Scale") -> None:
    """One layer: rows receive, columns give."""
    norm = Normalize(-scale.limit, scale.limit)
    axes.imshow(values, cmap=DIVERGING, norm=norm, aspect="auto", interpolation="none", origin="upper")


def chosen_part(dataset: xr.Dataset, map: str, head: int | None) -> xr.DataArray:
    """The scores to draw, `layer, target, column`: one head, or all of them added up."""
    if head is not None:
        if SPLITS.get(map) != "head":
            raise OptionError(f"head={head}: {map} is not split by head; leave it out or choose another map.")
        if head not in dataset["head"].values:
            known = ", ".join(str(value) for value in dataset["head"].values)
            raise OptionError(f"head={head}: this result holds {known}; choose one of them.")
    return one_part(dataset, map, head)[0]


def _chosen(dataset: xr.Dataset) -> str:
    chosen = options(dataset)
    return ", ".join(f"{name} {chosen[name]}" for name in SETTINGS if name in chosen)


def token_labels(dataset: xr.Dataset, axis: str) -> list[str]:
    tokens = dataset[f"{axis}_token"].values
    return [
        f"{shorten(visible_token(str(token)), LABEL_CHARACTERS)} {position}"
        for token, position in zip(tokens, dataset[axis].values, strict=True)
    ]


# The way through all layers


@dataclass(frozen=True)
class _Graph:
    """Nodes and lines that lead to what is read, and beside them the part of every head; in inches."""

    dataset: xr.Dataset
    map: str
    heads: dict[str, Any] | None

    @classmethod
    def of(cls, dataset: xr.Dataset, map: str, head: int | None) -> "_Graph | None":
        """Where the map leads through the layers."""
        if head is not None or not has_ways(dataset, map) or dataset.sizes["layer"] < 2:
            return None
        return cls(dataset, map, heads_of(dataset))

    @property
    def lines(self) -> int:
        return min(self.dataset.sizes["source"], MANY)

    @property
    def height(self) -> float:
        return 0.75 + ROW * self.lines

    def draw(self, sheet: Sheet) -> None:
        """Draw below the heading."""
        layers, labels = self.dataset.layer.values, token_labels(self.dataset, "source")
        margin = 0.3 + 0.0098 * LABEL_POINTS * max(map(cell_len, labels))
        room = sheet.width - 2 * margin - (0.8 + HEAD * len(self.heads["heads"]) if self.heads else 0.0)
        sheet.top = TOP - 0.05
        sheet.write(0.25, told_of(self.dataset, traced=True), 8.0, color="#333")
        axes = sheet.add_axes(margin, TOP + 0.3, min(room, LEVEL * len(layers)), ROW * self.lines)
        levels = [*(f"into layer {layer}" for layer in layers), "out"]
        draw_graph(
            axes, trace_reader(self.dataset, self.map), [boxed(label, sheet.replaced) for label in labels], levels
        )
        if self.heads:
            self._draw_heads(sheet, sheet.width - 0.35 - HEAD * len(self.heads["heads"]))

    def _draw_heads(self, sheet: Sheet, left: float) -> None:
        """A table of layers by heads: which part of what its layer moves each one has."""
        assert self.heads is not None
        parts = np.array([[part for *_, part in cells] for _, _, cells in self.heads["rows"]])
        axes = sheet.add_axes(left, TOP + 0.55, HEAD * parts.shape[1], 0.22 * len(parts))
        axes.imshow(on_scale(parts / (parts.max() or 1.0)), aspect="auto", interpolation="none")
        for (row, column), part in np.ndenumerate(parts):
            ink = choose_ink(on_scale(np.array(part / (parts.max() or 1.0))))
            axes.text(column, row, f"{100 * part:.0f}", fontsize=6.5, ha="center", va="center_baseline", color=ink)
        axes.set_xticks(range(parts.shape[1]), [str(head) for head in self.heads["heads"]], fontsize=LABEL_POINTS)
        axes.set_yticks(range(len(parts)), [str(layer) for _, layer, _ in self.heads["rows"]], fontsize=LABEL_POINTS)
        axes.tick_params(length=1.5, width=0.4, pad=1.5)
        axes.set_xlabel("head", fontsize=7)
        axes.set_ylabel("layer", fontsize=7)
        axes.set_title("part of each head, %", fontsize=7, loc="left", pad=4)


# Colours


@dataclass(frozen=True)
class Scale:
    """Where the colours of all layers end, and whether at the quantile or at the largest magnitude."""

    limit: float
    beyond: float  # share of cells whose colour is clipped
    quantile: bool


def scale_of(values: Float[np.ndarray, "layer target column"], *, own: Bool[np.ndarray, "target column"]) -> Scale:
    magnitude = np.abs(np.nan_to_num(values))
    compared = magnitude[:, ~own]
    if not compared.any():
        compared = magnitude
    some = compared[compared > 0]  # where most scores are zero (causal masks), those say nothing about size
    limit = float(np.quantile(some, QUANTILE)) if some.size else 1.0
    return Scale(limit, beyond=float((magnitude > limit).mean()), quantile=bool((compared > limit).any()))


def _explain_colours(sheet: Sheet, grid: "_Grid", scale: Scale) -> None:
    """The colour bar, and under the heading what colours say and where they end."""
    height = min(2.4, grid.height - grid.top - 0.3)
    axes = sheet.add_axes(grid.left + grid.inner + 0.15, grid.top, 0.13, height)
    ticks = [place * scale.limit for place in (-1, -0.5, 0, 0.5, 1)]
    draw_colour_bar(axes, on_scale, ticks, [f"{tick:+.3g}" if tick else "0" for tick in ticks], size=7.0)
    ends = f"{100 * QUANTILE:g} % of magnitudes off the diagonal" if scale.quantile else "the largest magnitude"
    note = f"orange moves the row on, blue holds it back; colours end at {ends}"
    if scale.beyond > 0:
        note += f", {100 * scale.beyond:.2g} % of cells beyond"
    sheet.top = 0.93
    sheet.write_paragraph(0.25, note, 7.5, sheet.width - 0.5, step=0.14, va="top", color="#666")


# Places


class _Grid:
    """Where equal panels stand; everything is placed in inches, so that labels never shrink."""

    def __init__(self, shape: tuple[int, ...], *, rows: list[str], columns: list[str], above: float) -> None:
        self.top = TOP + above
        self.n_panels, n_rows, n_columns = shape
        alone = self.n_panels == 1
        pitch = (1.3 if alone else 1.0) * PITCH
        self.points = (1.2 if alone else 1.0) * LABEL_POINTS
        self.panel_size = (_side(n_columns, pitch), _side(n_rows, pitch))
        sides = zip((n_columns, n_rows), self.panel_size, strict=True)
        self.step = tuple(choose_step(count, count * pitch * 0.98 / inches) for count, inches in sides)
        fitting = max(1, int(23 // (self.panel_size[0] + GAP)))
        most = min(self.n_panels, fitting, max(3, round(float(np.sqrt(1.5 * self.n_panels)))))
        self.across = evenly(self.n_panels, most)
        cell = 0.0098 * self.points  # inches: a little more than the width of a letter
        self.left = max(0.6, 0.3 + cell * max(cell_len(label) for label in rows))
        bottom = 0.25 + cell * max(cell_len(label) for label in columns)
        self.inner = self.across * (self.panel_size[0] + GAP) - GAP
        self.width = max(7.0, self.inner + self.left + RIGHT)
        down = -(-self.n_panels // self.across)
        self.height = down * (self.panel_size[1] + GAP) - GAP + self.top + bottom

    def panel(self, index: int) -> tuple[float, float, float, float]:
        """Left, top, width and height of a panel."""
        row, column = divmod(index, self.across)
        width, height = self.panel_size
        return self.left + column * (width + GAP), self.top + row * (height + GAP), width, height

    def label(self, axes: Axes, index: int, rows: Sequence[str], columns: Sequence[str]) -> None:
        """Tokens stand on the left and below, where no other panel is in the way."""
        axes.tick_params(length=1.5, width=0.4, pad=1.5, labelsize=self.points)
        first_column, lowest = index % self.across == 0, index + self.across >= self.n_panels
        for axis, labels, step, shown in (
            (axes.yaxis, rows, self.step[1], first_column),
            (axes.xaxis, columns, self.step[0], lowest),
        ):
            text: dict[str, Any] = {"parse_math": False, "fontsize": self.points}  # a token may hold dollar signs
            axis.set_ticks(range(0, len(labels), step), labels[::step] if shown else [], **(text if shown else {}))
        if lowest:
            axes.tick_params(axis="x", rotation=90)


def _side(n_cells: int, pitch: float) -> float:
    return float(np.clip(n_cells * pitch, 8 * pitch, max(LARGEST, 42 * pitch)))


def _inscribe(sheet: Sheet, grid: _Grid, dataset: xr.Dataset, map: str, title: str, *, columns: str) -> None:
    """What is drawn, above the panels; what does not fit into its line is cut."""
    model = model_title(str(dataset.attrs.get("model", "")))
    text = one_line(str(dataset.attrs.get("text", "")))
    notes = [f"rows receive, columns ({columns}) give"]
    if note := labelled_note(max(grid.step)):
        notes.append(note)
    if set("".join(token_labels(dataset, token_axis(dataset))) + text) & sheet.replaced:
        notes.append("□: no installed font has this character")
    lines: tuple[tuple[float, str, float, dict[str, Any]], ...] = (
        (0.16, " ".join(filter(None, [doubt(dataset), answer(dataset, map)])), 11.0, {"weight": "bold"}),
        (0.41, text or title, 9.0, {"color": "#333", "verbatim": bool(text)}),
        (0.61, f"{model}; {title}; {'; '.join(notes)}", 7.5, {"color": "#666"}),
        (0.77, _chosen(dataset), 7.5, {"color": "#666"}),
    )
    for top, line, size, style in lines:
        sheet.top = top
        sheet.write(0.25, shorten(line, int((sheet.width - 0.5) / (0.0086 * size))), size, va="top", **style)
