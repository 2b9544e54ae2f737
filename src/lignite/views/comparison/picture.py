"""A comparison as one picture for print: every side's text on one scale, bars, scatters; or layers and heads."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.cells import cell_len

from lignite.views.comparison.facts import ExplanationSides
from lignite.views.comparison.flows import FlowSides
from lignite.views.comparison.scatter import Scatter, scatter_of
from lignite.views.comparison.sides import Sides, is_of_flows, written
from lignite.views.drawing import (
    STYLE,
    boxed,
    choose_ink,
    choose_step,
    fonts_for,
    on_scale,
    picture_ending,
    save_figure,
)
from lignite.views.explanation.facts import Piece
from lignite.views.explanation.picture import LINE, TEXT_POINTS, label_tokens, lay_out
from lignite.views.labels import format_share
from lignite.views.palette import WARM, sign_colour
from lignite.views.patches.facts import PATCH_NAMES, ground, laid_over, painted, patches
from lignite.views.sheet import MARGIN, Sheet, evenly
from lignite.wording import shorten

WIDTH = 8.2
TEXTS = 3
"""Texts drawn one below the other, those that differ most."""

LONG, BARS = 150, 48
"""A text of more words than the first is not written out; so many words have bars, those that differ most."""

SIDE_COLOURS = ("#33608c", "#b5651d", "#4c8a52", "#8a4c7d", "#777777", "#2f9c95", "#a83f3f")
"""Of sides in bars and lines, told apart without red and green."""

PLOT, HEAT = 2.9, 0.3  # inches: a scatter, a cell of heads


def draw_comparison(dataset: xr.Dataset, *, keep_characters: bool = False) -> Figure:
    """Draw a comparison; a character that no installed font has stands as □ unless `keep_characters`."""
    everything = [*Sides(dataset).names, *map(str, np.ravel(dataset["text"].values))]
    families, undrawable = fonts_for("".join(everything))
    with matplotlib.rc_context(STYLE | {"font.family": families}):
        sheet = Sheet(WIDTH, families=families, undrawable=undrawable, keep_characters=keep_characters)
        if is_of_flows(dataset):
            _draw_flows(sheet, FlowSides(dataset))
        else:
            _draw_explanations(sheet, ExplanationSides(dataset))
        return sheet.finish()


def save_comparison_picture(dataset: xr.Dataset, path: str | Path, *, dpi: int = 150) -> Path:
    """Draw a comparison into a .png, .svg or .pdf file; the same comparison gives the same bytes."""
    keep = picture_ending(Path(path)) == ".svg"
    return save_figure(draw_comparison(dataset, keep_characters=keep), Path(path), dpi=dpi)


def _head(sheet: Sheet, sides: Sides, doubt: str, answer: str, said: Sequence[str]) -> None:
    if doubt:
        sheet.line(doubt, 9.0, weight="bold", color=WARM[3])
    sheet.line(answer, 10.5, weight="bold")
    for line in said:
        sheet.line(line, 8.5, color="#333")
    sheet.line(sides.differences, 8.0, color="#666")
    sheet.boxes_explained()
    sheet.top += 0.12


# Explanations


def _draw_explanations(sheet: Sheet, sides: ExplanationSides) -> None:
    _head(sheet, sides, sides.doubt, sides.verdict, sides.apart)
    order = sides.most_different
    shown = [(number, sides.of_text(number)) for number in order[:TEXTS]]
    long = [len(text.tokens) > LONG for _, text in shown]
    for (number, text), is_long in zip(shown, long, strict=True):
        if len(order) > 1 and not is_long:
            sheet.line(f"text {number + 1} of {len(order)}", 8.5, weight="bold")
        if sides.are_patches:
            _draw_pictures(sheet, text, sides.limit)
        elif not is_long:
            _write_texts(sheet, text, sides.limit)
    _explain_colours(sheet, sides)
    if not sides.are_patches and (len(order) == 1 or any(long)):
        _draw_bars(sheet, sides)
    _draw_scatters(sheet, sides)
    _write_pairs(sheet, sides)


def _write_texts(sheet: Sheet, text: ExplanationSides, limit: float) -> None:
    for line in text.lines:
        sheet.line(line.called, 7.5, color="#666")
        sheet.top += 0.06
        found = list(text.read(line))
        known = [score for _, score in found if score is not None]
        places = iter(range(len(known)))
        pieces = [Piece(piece, None if score is None else next(places)) for piece, score in found]
        _write_words(sheet, pieces, np.array(known) / limit)
    sheet.top += 0.05


def _write_words(sheet: Sheet, pieces: Sequence[Piece], shares: Float[np.ndarray, " word"]) -> None:
    """Words in lines, each on its colour."""
    start, placed = sheet.top, lay_out(pieces, sheet, sheet.width - 2 * MARGIN)
    for part in placed:
        sheet.top = start + part.line * LINE
        share = 0.0 if part.index is None else float(np.clip(shares[part.index], -1, 1))
        shown = abs(share) >= 0.02
        if shown:
            sheet.box(MARGIN + part.left, part.width, 0.82 * LINE, on_scale(np.array(share)))
        ink = choose_ink(on_scale(np.array(share))) if shown else "#1d1f23"
        sheet.write(MARGIN + part.left, part.text, TEXT_POINTS, verbatim=True, color=ink)
    sheet.top = start + (1 + max((part.line for part in placed), default=0)) * LINE


def _explain_colours(sheet: Sheet, sides: ExplanationSides) -> None:
    sheet.top += 0.05
    left = MARGIN
    for label, sign in zip(sides.speaking, (0.6, -0.6), strict=True):
        left = sheet.key(left, label, on_scale(np.array(sign)))
    named = f"; {PATCH_NAMES}" if sides.are_patches else ""
    told = f"{sides.ends}, {sides.unit} ({sides.scale_reason}){named}"
    sheet.write_paragraph(left, told, 7.5, sheet.width - MARGIN - left, step=0.14, color="#666")
    sheet.top += 0.16


def _draw_pictures(sheet: Sheet, text: ExplanationSides, limit: float) -> None:
    where = patches(text.dataset)
    across = evenly(len(text.lines), 4)
    size = (sheet.width - 2 * MARGIN - (across - 1) * 0.12) / max(across, 3)

    def draw(number: int, left: float) -> None:
        line = text.lines[number]
        shares = np.nan_to_num(line.scores)[where.index] / limit
        axes = sheet.add_axes(left, sheet.top, size, size * where.height / where.width)
        axes.imshow(laid_over(ground(text.dataset, where), painted(where, shares)), interpolation="none")
        axes.set_axis_off()
        sheet.top += size * where.height / where.width + 0.16
        sheet.write(left, shorten(line.called, 34), 7.5, color="#333")

    sheet.draw_rows(len(text.lines), across, size + 0.12, draw, below=0.25)


def _draw_bars(sheet: Sheet, sides: ExplanationSides) -> None:
    """Bars of every side for the words that differ most, and below them the differences to the reference."""
    rows, others = sides.most(BARS), sides.others
    labels = [boxed(shorten(sides.tokens[at], 18), sheet.replaced) for at in rows]
    scores, difference = np.nan_to_num(sides.scores[:, rows]), np.nan_to_num(sides.difference[others][:, rows])
    if len(labels) == BARS:
        sheet.line(f"the {BARS} words that differ most", 8.0, color="#666")
        sheet.top += 0.15
    left, width, height = MARGIN + 0.45, sheet.width - 2 * MARGIN - 0.45, 1.2
    axes = sheet.add_axes(left, sheet.top, width, height)
    _draw_groups(axes, sides.names, scores, [_colour_of(side) for side in range(len(sides.names))])
    axes.tick_params(axis="x", bottom=False, labelbottom=False)
    axes.legend(frameon=False, fontsize=7, ncols=4, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1)
    sheet.top += height + 0.12
    below = sheet.add_axes(left, sheet.top, width, 0.8)
    signs = [[sign_colour(value) for value in difference[0]]] if len(others) == 1 else None
    _draw_groups(below, [sides.names[side] for side in others], difference, signs or [*map(_colour_of, others)])
    below.set_ylabel(f"less {shorten(sides.names[sides.reference], 14)}", fontsize=6.5)
    label_tokens(below, labels, choose_step(len(labels), len(labels) * 0.13 / width))
    for each, values in ((axes, scores), (below, difference)):
        _set_axis(each, values, sides.write)
    sheet.top += 0.8 + 0.3 + 0.064 * max(map(cell_len, labels))


def _colour_of(side: int) -> str:
    return SIDE_COLOURS[side % len(SIDE_COLOURS)]


def _draw_groups(
    axes: Axes, names: Sequence[str], values: Float[np.ndarray, "side row"], colours: Sequence[Any]
) -> None:
    size = 0.8 / len(values)
    for number, (name, row, colour) in enumerate(zip(names, values, colours, strict=True)):
        at = np.arange(len(row)) - 0.4 + size * (number + 0.5)
        axes.bar(at, row, width=size, color=colour, label=name)


def _set_axis(axes: Axes, values: Float[np.ndarray, "side row"], write: Callable[[float], str]) -> None:
    axes.axhline(0, color="#1d1f23", linewidth=0.5)
    axes.set_xlim(-0.6, values.shape[1] - 0.4)
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    room = 0.08 * ((high - low) or 1.0)
    axes.set_ylim(low - room, high + room)
    ticks = sorted({low, 0.0, high})
    axes.set_yticks(ticks, [write(tick) for tick in ticks], fontsize=6.5)
    axes.tick_params(length=1.5, width=0.4, pad=1.5)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_scatters(sheet: Sheet, sides: ExplanationSides) -> None:
    others = sides.others
    across = min(2, len(others))

    def draw(number: int, left: float) -> None:
        axes = sheet.add_axes(left + 0.45, sheet.top, PLOT, PLOT)
        draw_scatter(axes, scatter_of(sides, others[number]), sheet)
        sheet.top += PLOT + 0.25

    sheet.line("Side against side; on the dashed line both weigh the same", 8.0, color="#666")
    sheet.top += 0.02
    sheet.draw_rows(len(others), across, PLOT + 0.9, draw, below=0.2)


def draw_scatter(axes: Axes, found: Scatter, ruler: Sheet | None = None) -> None:
    """Draw a side against the reference; the words that differ most by name."""
    replaced = frozenset() if ruler is None else ruler.replaced
    for named, colour, size in ((False, "#5b9bcd", 7), (True, "#c45d16", 15)):
        points = [(x, 100 - y) for x, y, chosen in found.points if chosen == named]
        across, up = np.array(points).reshape(-1, 2).T
        axes.scatter(across, up, s=size, color=colour, linewidth=0, zorder=3)
    axes.plot([0, 100], [0, 100], "--", color="#8a8c90", linewidth=0.6)
    axes.axhline(50, color="#c9c6bf", linewidth=0.5)
    axes.axvline(50, color="#c9c6bf", linewidth=0.5)
    for label in found.labels:
        how: dict[str, Any] = {"fontsize": 7, "va": "center", "ha": "left" if label.anchor == "start" else "right"}
        axes.plot([label.x, label.at_x], [100 - label.y, 100 - label.at_y], color="#8a8c90", linewidth=0.4)
        axes.text(label.at_x, 100 - label.at_y, boxed(label.text, replaced), parse_math=False, **how)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    axes.set_xticks([4, 50, 96], [found.low, "0", found.high], fontsize=6.5)
    axes.set_yticks([4, 50, 96], [found.low, "0", found.high], fontsize=6.5)
    axes.tick_params(length=1.5, width=0.4, pad=1.5)
    axes.set_xlabel(boxed(shorten(found.across, 40), replaced), fontsize=7.5, parse_math=False)
    axes.set_ylabel(boxed(shorten(found.up, 40), replaced), fontsize=7.5, parse_math=False)


def _write_pairs(sheet: Sheet, sides: ExplanationSides) -> None:
    for pair in sides.pairs:
        values = ", ".join(f"{title} {written(each)}" for title, each in pair.measured.items())
        sheet.line(f"{pair.first}, {pair.second}: {values}", 7.5, color="#333")
    if sides.n_texts > 1:
        sheet.line(sides.brackets, 7.5, color="#666")
    sheet.top += 0.1


# Flows


def _draw_flows(sheet: Sheet, sides: FlowSides) -> None:
    _head(sheet, sides, "", sides.verdict, [])
    width = (sheet.width - 2 * MARGIN - 1.2) / 2
    for number, (measure, title) in enumerate(
        (("changed", "share that comes from elsewhere"), ("spearman", "rank correlation"))
    ):
        axes = sheet.add_axes(MARGIN + 0.4 + number * (width + 0.6), sheet.top + 0.1, width, 1.5)
        _draw_layers(axes, sides, measure)
        axes.set_title(title, fontsize=8, loc="left")
    sheet.top += 2.2
    for side in sides.others:
        _draw_heads(sheet, sides, side)
        for edge in sides.edges(side, 6):
            sheet.line(
                f"layer {edge.layer}: {edge.source} → {edge.target} {format_share(edge.share)} instead of "
                f"{format_share(edge.beside)} of what {edge.target} receives", 8.0, color="#333",
            )  # fmt: skip
        sheet.top += 0.15


def _draw_layers(axes: Axes, sides: FlowSides, measure: str) -> None:
    for side in sides.others:
        colour = _colour_of(side)
        mean, low, high = zip(*sides.intervals(side, measure), strict=True)
        axes.fill_between(sides.layers, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(sides.layers, mean, "o-", color=colour, markersize=3, linewidth=1.2, label=sides.names[side])
    axes.set_xlabel("layer", fontsize=7)
    axes.set_xticks(sides.layers)
    axes.set_ylim((0, 1) if measure == "changed" else (-1.03, 1.03))
    axes.tick_params(labelsize=6.5, length=1.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7)


def _draw_heads(sheet: Sheet, sides: FlowSides, side: int) -> None:
    grid = sides.head_grid(side)
    sheet.line(
        f"{sides.names[side]}: heads whose flow comes from elsewhere (per cent), and the scores that changed most",
        8.0,
        weight="bold",
    )
    if grid is None:
        return
    height, width = 0.2 * len(grid), min(HEAT * grid.shape[1], sheet.width - 2 * MARGIN - 0.5)
    axes = sheet.add_axes(MARGIN + 0.4, sheet.top, width, height)
    axes.imshow(on_scale(np.nan_to_num(grid)), aspect="auto", interpolation="none")
    for (row, column), value in np.ndenumerate(grid):
        if np.isfinite(value) and grid.shape[1] <= 24:
            ink = choose_ink(on_scale(np.array(float(value))))
            axes.text(column, row, f"{100 * value:.0f}", fontsize=6, ha="center", va="center", color=ink)
    axes.set_xticks(range(grid.shape[1]), [str(head) for head in sides.dataset["head"].values], fontsize=6.5)
    axes.set_yticks(range(len(grid)), [str(layer) for layer in sides.layers], fontsize=6.5)
    axes.set_xlabel("head", fontsize=7)
    axes.set_ylabel("layer", fontsize=7)
    axes.tick_params(length=1.5, pad=1.5)
    sheet.top += height + 0.5
