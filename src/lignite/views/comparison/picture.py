"""A comparison as one picture for print: every side's text on one scale, bars, scatters; or layers and heads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.cells import cell_len

from lignite.views.comparison.facts import (
    TITLES,
    apart,
    differences,
    doubt,
    is_of_flows,
    limit_in,
    most_different,
    noun_of,
    of_example,
    others_of,
    pairs,
    reference_of,
    scores_of,
    sides_of,
    speaking,
    text_of,
    tokens_of,
    unit_of,
    verdict,
    writer_of,
    written,
)
from lignite.views.comparison.flows import edges, flow_verdict, head_grid, means
from lignite.views.comparison.scatter import Scatter, scatter_of
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
    everything = [*sides_of(dataset), *map(str, np.ravel(dataset["text"].values))]
    families, undrawable = fonts_for("".join(everything))
    with matplotlib.rc_context(STYLE | {"font.family": families}):
        sheet = Sheet(WIDTH, families=families, undrawable=undrawable, keep_characters=keep_characters)
        (_draw_flows if is_of_flows(dataset) else _draw_explanations)(sheet, dataset)
        return sheet.finish()


def save_comparison_picture(dataset: xr.Dataset, path: str | Path, *, dpi: int = 150) -> Path:
    """Draw a comparison into a .png, .svg or .pdf file; the same comparison gives the same bytes."""
    keep = picture_ending(Path(path)) == ".svg"
    return save_figure(draw_comparison(dataset, keep_characters=keep), Path(path), dpi=dpi)


def _head(sheet: Sheet, dataset: xr.Dataset, answer: str, said: Sequence[str]) -> None:
    if warned := doubt(dataset) if not is_of_flows(dataset) else "":
        sheet.line(warned, 9.0, weight="bold", color=WARM[3])
    sheet.line(answer, 10.5, weight="bold")
    for line in said:
        sheet.line(line, 8.5, color="#333")
    sheet.line(differences(dataset), 8.0, color="#666")
    sheet.boxes_explained()
    sheet.top += 0.12


# Explanations


def _draw_explanations(sheet: Sheet, dataset: xr.Dataset) -> None:
    _head(sheet, dataset, verdict(dataset), apart(dataset))
    order = most_different(dataset)
    shown = [(number, of_example(dataset, number)) for number in order[:TEXTS]]
    long = [one.sizes["token"] > LONG for _, one in shown]
    for number, one in shown:
        if len(order) > 1 and one.sizes["token"] <= LONG:
            sheet.line(f"text {number + 1} of {len(order)}", 8.5, weight="bold")
        if noun_of(dataset) == "patches":
            _draw_pictures(sheet, one, limit_in(dataset))
        elif one.sizes["token"] <= LONG:
            _write_texts(sheet, one, limit_in(dataset))
    _explain_colours(sheet, dataset)
    if noun_of(dataset) == "words" and (len(order) == 1 or any(long)):
        _draw_bars(sheet, _most(dataset))
    _draw_scatters(sheet, dataset)
    _write_pairs(sheet, dataset)


def _lines(dataset: xr.Dataset) -> list[tuple[str, int, Float[np.ndarray, " row"]]]:
    """Every side and every difference: its name, its side, its values."""
    names, reference = sides_of(dataset), reference_of(dataset)
    difference = dataset["difference"].transpose("side", "token").values.astype(np.float64)
    found = [(name, at, values) for at, (name, values) in enumerate(zip(names, scores_of(dataset), strict=True))]
    return found + [(f"{names[at]} less {names[reference]}", at, difference[at]) for at in others_of(dataset)]


def _write_texts(sheet: Sheet, dataset: xr.Dataset, limit: float) -> None:
    for label, side, values in _lines(dataset):
        sheet.line(label, 7.5, color="#666")
        sheet.top += 0.06
        found = text_of(dataset, side, np.nan_to_num(values))
        known = [value for _, value in found if value is not None]
        places = iter(range(len(known)))
        pieces = [Piece(text, None if value is None else next(places)) for text, value in found]
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


def _explain_colours(sheet: Sheet, dataset: xr.Dataset) -> None:
    sheet.top += 0.05
    left = MARGIN
    for label, sign in zip(speaking(dataset), (0.6, -0.6), strict=True):
        left = sheet.key(left, label, on_scale(np.array(sign)))
    ends = f"colours end at {writer_of(dataset)(limit_in(dataset)).lstrip('+')}, {unit_of(dataset)}"
    named = f"; {PATCH_NAMES}" if noun_of(dataset) == "patches" else ""
    told = f"{ends} ({dataset.attrs.get('scale_reason', '')}){named}"
    sheet.write_paragraph(left, told, 7.5, sheet.width - MARGIN - left, step=0.14, color="#666")
    sheet.top += 0.16


def _draw_pictures(sheet: Sheet, dataset: xr.Dataset, limit: float) -> None:
    lines, where = _lines(dataset), patches(dataset)
    across = evenly(len(lines), 4)
    size = (sheet.width - 2 * MARGIN - (across - 1) * 0.12) / max(across, 3)

    def draw(number: int, left: float) -> None:
        label, _, values = lines[number]
        drawn = laid_over(ground(dataset, where), painted(where, np.nan_to_num(values)[where.index] / limit))
        axes = sheet.add_axes(left, sheet.top, size, size * where.height / where.width)
        axes.imshow(drawn, interpolation="none")
        axes.set_axis_off()
        sheet.top += size * where.height / where.width + 0.16
        sheet.write(left, shorten(label, 34), 7.5, color="#333")

    sheet.draw_rows(len(lines), across, size + 0.12, draw, below=0.25)


def _most(dataset: xr.Dataset) -> xr.Dataset:
    """The words that differ most, in the order of the text."""
    size = np.nan_to_num(np.abs(dataset["difference"].transpose("side", "token").values)).max(axis=0)
    return dataset.isel(token=np.sort(np.argsort(-size, kind="stable")[:BARS]))


def _draw_bars(sheet: Sheet, dataset: xr.Dataset) -> None:
    """Bars of every side for each word, and below them the differences to the reference."""
    labels = [boxed(shorten(token, 18), sheet.replaced) for token in tokens_of(dataset)]
    names, scores = sides_of(dataset), np.nan_to_num(scores_of(dataset))
    if len(labels) == BARS:
        sheet.line(f"the {BARS} words that differ most", 8.0, color="#666")
        sheet.top += 0.15
    left, width, height = MARGIN + 0.45, sheet.width - 2 * MARGIN - 0.45, 1.2
    axes = sheet.add_axes(left, sheet.top, width, height)
    _draw_groups(axes, names, scores, [SIDE_COLOURS[at % len(SIDE_COLOURS)] for at in range(len(names))])
    axes.tick_params(axis="x", bottom=False, labelbottom=False)
    axes.legend(frameon=False, fontsize=7, ncols=4, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1)
    sheet.top += height + 0.12
    others = others_of(dataset)
    difference = np.nan_to_num(dataset["difference"].transpose("side", "token").values.astype(np.float64))[others]
    below = sheet.add_axes(left, sheet.top, width, 0.8)
    signs = None if len(others) > 1 else [sign_colour(value) for value in difference[0]]
    colours: list[Any] = [SIDE_COLOURS[at % len(SIDE_COLOURS)] for at in others] if signs is None else [signs]
    _draw_groups(below, [names[at] for at in others], difference, colours)
    below.set_ylabel(f"less {shorten(names[reference_of(dataset)], 14)}", fontsize=6.5)
    label_tokens(below, labels, choose_step(len(labels), len(labels) * 0.13 / width))
    for each, values in ((axes, scores), (below, difference)):
        _set_axis(each, values, dataset)
    sheet.top += 0.8 + 0.3 + 0.064 * max(map(cell_len, labels))


def _draw_groups(
    axes: Axes, names: Sequence[str], values: Float[np.ndarray, "side row"], colours: Sequence[Any]
) -> None:
    size = 0.8 / len(values)
    for number, (name, row, colour) in enumerate(zip(names, values, colours, strict=True)):
        at = np.arange(len(row)) - 0.4 + size * (number + 0.5)
        axes.bar(at, row, width=size, color=colour, label=name)


def _set_axis(axes: Axes, values: Float[np.ndarray, "side row"], dataset: xr.Dataset) -> None:
    write = writer_of(dataset)
    axes.axhline(0, color="#1d1f23", linewidth=0.5)
    axes.set_xlim(-0.6, values.shape[1] - 0.4)
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    room = 0.08 * ((high - low) or 1.0)
    axes.set_ylim(low - room, high + room)
    ticks = sorted({low, 0.0, high})
    axes.set_yticks(ticks, [write(tick) for tick in ticks], fontsize=6.5)
    axes.tick_params(length=1.5, width=0.4, pad=1.5)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_scatters(sheet: Sheet, dataset: xr.Dataset) -> None:
    others = others_of(dataset)
    across = min(2, len(others))

    def draw(number: int, left: float) -> None:
        axes = sheet.add_axes(left + 0.45, sheet.top, PLOT, PLOT)
        draw_scatter(axes, scatter_of(dataset, others[number]), sheet)
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


def _write_pairs(sheet: Sheet, dataset: xr.Dataset) -> None:
    for pair in pairs(dataset):
        values = ", ".join(f"{TITLES[name]} {written(getattr(pair, name))}" for name in TITLES)
        sheet.line(f"{pair.first}, {pair.second}: {values}", 7.5, color="#333")
    if dataset.sizes["example"] > 1:
        percent = f"{100 * float(dataset.attrs.get('confidence', 0.95)):g} %"
        sheet.line(
            f"in brackets: {percent} bootstrap interval over {dataset.sizes['example']} texts", 7.5, color="#666"
        )
    sheet.top += 0.1


# Flows


def _draw_flows(sheet: Sheet, dataset: xr.Dataset) -> None:
    _head(sheet, dataset, flow_verdict(dataset), [])
    names, others = sides_of(dataset), others_of(dataset)
    width = (sheet.width - 2 * MARGIN - 1.2) / 2
    for number, (measure, title) in enumerate(
        (("changed", "share that comes from elsewhere"), ("spearman", "rank correlation"))
    ):
        axes = sheet.add_axes(MARGIN + 0.4 + number * (width + 0.6), sheet.top + 0.1, width, 1.5)
        _draw_layers(axes, dataset, measure, [names[at] for at in others])
        axes.set_title(title, fontsize=8, loc="left")
    sheet.top += 2.2
    for side in others:
        _draw_heads(sheet, dataset, side, names[side])
        for edge in edges(dataset, side, 6):
            sheet.line(
                f"layer {edge.layer}: {edge.source} → {edge.target} {format_share(edge.share)} instead of "
                f"{format_share(edge.beside)} of what {edge.target} receives", 8.0, color="#333",
            )  # fmt: skip
        sheet.top += 0.15


def _draw_layers(axes: Axes, dataset: xr.Dataset, measure: str, names: Sequence[str]) -> None:
    layers = dataset.layer.values
    for side, name in zip(others_of(dataset), names, strict=True):
        colour = SIDE_COLOURS[side % len(SIDE_COLOURS)]
        mean, low, high = (means(dataset, side, measure, bound) for bound in ("mean", "low", "high"))
        axes.fill_between(layers, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(layers, mean, "o-", color=colour, markersize=3, linewidth=1.2, label=name)
    axes.set_xlabel("layer", fontsize=7)
    axes.set_xticks(layers)
    axes.set_ylim((0, 1) if measure == "changed" else (-1.03, 1.03))
    axes.tick_params(labelsize=6.5, length=1.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7)


def _draw_heads(sheet: Sheet, dataset: xr.Dataset, side: int, name: str) -> None:
    grid = head_grid(dataset, side)
    sheet.line(
        f"{name}: heads whose flow comes from elsewhere (per cent), and the scores that changed most",
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
    axes.set_xticks(range(grid.shape[1]), [str(head) for head in dataset["head"].values], fontsize=6.5)
    axes.set_yticks(range(len(grid)), [str(layer) for layer in dataset.layer.values], fontsize=6.5)
    axes.set_xlabel("head", fontsize=7)
    axes.set_ylabel("layer", fontsize=7)
    axes.tick_params(length=1.5, pad=1.5)
    sheet.top += height + 0.5
