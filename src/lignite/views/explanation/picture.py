"""An explanation as a picture for print: the shaded text, a bar per token, a heat map of the layers; no browser."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.cells import cell_len

from lignite.errors import OptionError
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
from lignite.views.explanation.facts import Piece, arrange, layer_map, pieces, question
from lignite.views.explanation.heading import write_heading
from lignite.views.labels import clipped_note, format_score, labelled_note, limit_of, typeset, visible_token
from lignite.views.palette import sign_colour
from lignite.views.patches.facts import is_image
from lignite.views.patches.picture import draw_images
from lignite.views.sheet import MARGIN, Sheet
from lignite.wording import shorten

WIDTH = 7.2  # inches, at least; more where the tokens need it
WIDEST = 13.0
TEXT_POINTS = 11.0
LINE = 0.27  # inches from one line of text to the next
PITCH = 0.135  # inches per token in the panels: a 6.5 point label fits
LABEL_POINTS = 6.5
LABEL_CHARACTERS = 16
BARS_HEIGHT = 1.1
NAMED_FROM = 24
"""Tokens from which the eye no longer finds the label of a bar below it, so that the highest carry their names."""

PEAKS, PEAK = 10, 0.2
"""So many bars carry names, none lower than this part of the highest."""

ROW_HEIGHT = 0.17


def draw_explanation(
    results: xr.Dataset | Sequence[xr.Dataset],
    *,
    tokens: bool = False,
    special: str = "show",
    smooth: bool = False,
    scale: str | None = None,
    keep_characters: bool = False,
) -> Figure:
    """Draw the text in the colours of its relevance, the same as bars, and the layers as a heat map.

    Colours end at the largest score of the text, and of all layers in the heat map, unless a few extreme ones would
    leave the others blank: then these are clipped, and the picture says so. `tokens` and `special` as in
    `print_explanation`. A figure without a window; a character that no installed font can draw stands
    as □, unless `keep_characters`.

    Several texts stand below each other, without bars and layers. An image lies under the colours of its patches, and
    small ones under it show every layer; several explanations of images stand side by side. `smooth` mixes the colours
    of neighbouring patches instead of showing their edges.
    `scale` is ``"shared"`` or ``"own"``: whether the layers of one explanation (by default they do), or the
    explanations beside each other (by default they do not, for methods differ in their unit), share one scale of
    colours.
    """
    if scale not in (None, "shared", "own"):
        raise OptionError(f"scale={scale!r}: expected 'shared' or 'own'.")
    datasets = [results] if isinstance(results, xr.Dataset) else list(results)
    if not datasets:
        raise OptionError("there is no explanation to draw: give at least one.")
    arranged = [arrange(dataset, tokens=tokens, special=special) for dataset in datasets]
    if all(is_image(dataset) for dataset in arranged):
        return draw_images(arranged, smooth=smooth, scale=scale, keep_characters=keep_characters)
    if any(is_image(dataset) for dataset in arranged):
        raise OptionError("texts and images have no picture in common: draw them into files of their own.")
    return _draw_texts(arranged, keep_characters=keep_characters, special=special == "rank")


def save_explanation_picture(
    results: xr.Dataset | Sequence[xr.Dataset], path: str | Path, *, dpi: int = 150, **look: Any
) -> Path:
    """Draw an explanation into a .png, .svg or .pdf file, with a `look` as in `draw_explanation`.

    The same result gives the same bytes.
    """
    keep = picture_ending(Path(path)) == ".svg"
    return save_figure(draw_explanation(results, **look, keep_characters=keep), Path(path), dpi=dpi)


def _draw_texts(datasets: Sequence[xr.Dataset], *, keep_characters: bool, special: bool) -> Figure:
    """One text with its bars and layers, or several below each other, each on a scale of its own."""
    everything = [text for dataset in datasets for text in _texts_in(dataset)]
    labels = token_labels(datasets[0]) if len(datasets) == 1 else [""]
    families, undrawable = fonts_for("".join(everything))
    with matplotlib.rc_context(STYLE | {"font.family": families}):
        sheet = _TextSheet(labels=labels, families=families, undrawable=undrawable, keep_characters=keep_characters)
        for dataset in datasets:
            write_heading(sheet, dataset, special=special)
            values = dataset.relevance.values.astype(np.float64)
            sheet.text(pieces(dataset), values / limit_of(values))
            sheet.explain_colours(question(dataset).name, values)
            if len(datasets) == 1:
                sheet.panels(dataset, values, labels)
        return sheet.finish()


def _texts_in(dataset: xr.Dataset) -> list[str]:
    """Everything that a picture writes of an explanation."""
    asked = question(dataset)
    return [*(piece.text for piece in pieces(dataset)), *token_labels(dataset), asked.name, asked.prediction]


def token_labels(dataset: xr.Dataset) -> list[str]:
    return [shorten(visible_token(str(token)), LABEL_CHARACTERS) for token in dataset.token.values]


class _TextSheet(Sheet):
    """The text and the panels of its tokens."""

    def __init__(
        self, *, labels: Sequence[str], families: list[str], undrawable: frozenset[str], keep_characters: bool
    ) -> None:
        n_tokens = len(labels)
        self.panel_left = 0.75
        self.panel_right = 1.0
        inner = float(np.clip(n_tokens * PITCH, WIDTH - self.panel_left - self.panel_right, WIDEST))
        self.inner = min(inner, max(n_tokens * 0.6, 2.0))
        self.step = choose_step(n_tokens, n_tokens * PITCH * 0.98 / self.inner)
        self.label_height = 0.15 + 0.0098 * LABEL_POINTS * max(map(cell_len, labels))
        super().__init__(
            max(WIDTH, self.inner + self.panel_left + self.panel_right),
            families=families, undrawable=undrawable, keep_characters=keep_characters,
        )  # fmt: skip

    def text(self, found: Sequence[Piece], shares: Float[np.ndarray, " token"]) -> None:
        """Words in lines, each on its colour."""
        start, placed = self.top, lay_out(found, self, self.width - 2 * MARGIN)
        for part in placed:
            self.top = start + part.line * LINE
            if part.index is None:
                self.write(MARGIN + part.left, part.text, TEXT_POINTS, verbatim=True, color="#1d1f23")
            else:
                self._shade(MARGIN + part.left, part.width, float(shares[part.index]), part.text)
        self.top = start + (1 + placed[-1].line) * LINE

    def explain_colours(self, name: str, values: Float[np.ndarray, " token"]) -> None:
        """Which colour speaks for what, and what it cannot show."""
        self.top -= 0.2 * LINE
        left = MARGIN
        for side, value in (("for", 1.0), ("against", -1.0)):
            left = self.key(left, f"{side} {shorten(name, 40)}", on_scale(np.array(0.6 * value)))
        if note := clipped_note(values, "token"):
            self.write(left, f"colours end at {format_score(limit_of(values))[1:]}; {note}", 7.5, color="#666")
        self.top += LINE

    def _shade(self, x: float, width: float, share: float, text: str) -> None:
        colour = DIVERGING(0.5 + 0.5 * share)
        if abs(share) >= 0.02:
            self.box(x, width, 0.82 * LINE, colour)
        ink = choose_ink(colour) if abs(share) >= 0.02 else "#1d1f23"
        self.write(x, text, TEXT_POINTS, verbatim=True, color=ink)

    def panels(self, dataset: xr.Dataset, values: Float[np.ndarray, " token"], labels: Sequence[str]) -> None:
        labels = [boxed(label, self.replaced) for label in labels]
        name = layer_map(dataset)
        axes = self.add_axes(self.panel_left, self.top, self.inner, BARS_HEIGHT)
        axes.set_position((0, 0, self.inner / self.figure.get_figwidth(), 1))  # its width is known, its place not yet
        draw_bars(axes, values, labels)
        self.top += BARS_HEIGHT
        if name is None:
            self._token_axis(axes, labels)
            self.top += self.label_height + 0.1
            return
        axes.tick_params(axis="x", bottom=False, labelbottom=False)
        axes.spines["bottom"].set_visible(False)
        scores = dataset[name].transpose("layer", "token").values.astype(np.float64)
        height = float(np.clip(len(scores) * ROW_HEIGHT, 0.5, 5.5))
        self.top += 0.12
        heat = self.add_axes(self.panel_left, self.top, self.inner, height)
        limit = draw_layers(heat, dataset, name, height)
        self._token_axis(heat, labels)
        bar = self.add_axes(self.panel_left + self.inner + 0.12, self.top, 0.1, height)
        ticks = (-limit, 0.0, limit)
        draw_colour_bar(bar, on_scale, ticks, [format_score(tick) for tick in ticks], size=LABEL_POINTS)
        self.top += height + self.label_height + 0.1

    def _token_axis(self, axes: Axes, labels: list[str]) -> None:
        label_tokens(axes, labels, self.step)
        self.label_height += 0.12 if self.step > 1 else 0.0


def draw_layers(axes: Axes, dataset: xr.Dataset, name: str, height: float) -> float:
    """Draw the scores of every layer as a heat map of so many inches; where its colours end."""
    scores = dataset[name].transpose("layer", "token").values.astype(np.float64)
    limit = limit_of(scores)
    if note := clipped_note(scores):
        title = f"colours end at {format_score(limit)[1:]}; {note}"
        axes.set_title(title, fontsize=LABEL_POINTS, color="#666", loc="right", pad=2)
    axes.imshow(scores, norm=Normalize(-limit, limit), cmap=DIVERGING, aspect="auto", interpolation="none")
    every = max(1, round(len(scores) * 0.12 / height))
    layers = [str(layer) for layer in dataset.layer.values]
    axes.set_yticks(range(0, len(layers), every), layers[::every])
    axes.tick_params(length=1.5, width=0.4, pad=1.5, labelsize=LABEL_POINTS)
    axes.set_ylabel("layer" if name == "layer_relevance" else "layer, not yet fused", fontsize=7)
    return limit


def label_tokens(axes: Axes, labels: Sequence[str], step: int) -> None:
    """Name every token below its column, or one in `step`."""
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.tick_params(axis="x", length=1.5, width=0.4, pad=1.5, labelsize=LABEL_POINTS, rotation=90)
    axes.set_xticks(range(0, len(labels), step), labels[::step], parse_math=False, fontsize=LABEL_POINTS)
    if step > 1:
        axes.set_xlabel(labelled_note(step), fontsize=LABEL_POINTS, color="#666")


def draw_bars(axes: Axes, values: Float[np.ndarray, " token"], labels: Sequence[str]) -> None:
    """A bar for every token; in a long text the highest say what they are of."""
    limit = limit_of(values)
    colours = [sign_colour(value) for value in values]
    axes.bar(range(len(values)), np.nan_to_num(values), color=colours, width=0.8 if len(values) < 200 else 1.0)
    axes.axhline(0, color="#1d1f23", linewidth=0.5)
    axes.set_xlim(-0.5, len(values) - 0.5)
    low, high = min(0.0, float(np.nanmin(values))), max(0.0, float(np.nanmax(values)))
    room = 0.06 * limit if len(values) < NAMED_FROM else 0.16 * max(limit, high - low)
    axes.set_ylim(low - room, high + room)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(lambda value, _: typeset(f"{value:+g}") if value else "0")
    axes.tick_params(length=1.5, width=0.4, pad=1.5, labelsize=LABEL_POINTS)
    axes.set_ylabel("relevance", fontsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if len(values) >= NAMED_FROM:
        _name_peaks(axes, values, labels)


def _name_peaks(axes: Axes, values: Float[np.ndarray, " token"], labels: Sequence[str]) -> None:
    """Names on the highest bars, as far as none covers another on its side."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    letter = len(values) * 0.0095 * LABEL_POINTS / (axes.get_position().width * figure.get_figwidth())  # in bars
    taken: list[tuple[float, float, bool]] = []
    for at in np.argsort(-np.abs(np.nan_to_num(values)), kind="stable")[:PEAKS]:
        value, half = float(values[at]), letter * (cell_len(labels[at]) + 1) / 2
        if abs(value) < PEAK * np.nanmax(np.abs(values)):
            return
        middle = float(np.clip(at, half - 0.5, max(half - 0.5, len(values) - 0.5 - half)))
        if any(above == (value > 0) and abs(middle - other) < half + width for other, width, above in taken):
            continue
        taken.append((middle, half, value > 0))
        how: dict[str, Any] = {"ha": "center", "va": "bottom" if value > 0 else "top", "fontsize": LABEL_POINTS}
        offset: dict[str, Any] = {"xytext": (0, 1.5 if value > 0 else -1.5), "textcoords": "offset points"}
        axes.annotate(labels[at], (middle, value), parse_math=False, color="#333", **offset, **how)


@dataclass(frozen=True)
class Placed:
    """A piece of a text, or a part of one that is wider than a line, in inches from the left."""

    line: int
    left: float
    width: float
    text: str
    index: int | None


def lay_out(found: Sequence[Piece], ruler: Sheet, room: float) -> list[Placed]:
    """Words in lines of `room` inches; what does not fit at all is broken between characters.

    A text that is read from the right is set from there.
    """
    blank = ruler.inches("a a", TEXT_POINTS) - ruler.inches("aa", TEXT_POINTS)
    placed: list[Placed] = []
    x, line = 0.0, 0
    for group in _unbreakable(found):
        widths = [ruler.inches(piece.text, TEXT_POINTS) for piece in group]
        if x > 0 and x + sum(widths) > room:
            x, line = 0.0, line + 1
        for piece, width in zip(group, widths, strict=True):
            if piece.index is None and not piece.text.strip():
                x += blank if x > 0 else 0
                continue
            for part, size in _parts(piece.text, width, room, ruler):
                if x > 0 and x + size > room:
                    x, line = 0.0, line + 1
                placed.append(Placed(line, x, size, part, piece.index))
                x += size
    if _read_from_the_right("".join(piece.text for piece in found)):
        return [replace(part, left=room - part.left - part.width) for part in placed]
    return placed


def _read_from_the_right(text: str) -> bool:
    """Whether most letters are of a script that runs to the left."""
    kinds = [unicodedata.bidirectional(character) for character in text]
    return sum(kind in ("R", "AL") for kind in kinds) > sum(kind == "L" for kind in kinds)


def _parts(text: str, width: float, room: float, ruler: Sheet) -> list[tuple[str, float]]:
    if width <= room:
        return [(text, width)]
    length = max(1, int(len(text) * room / width * 0.95))
    cut = [text[at : at + length] for at in range(0, len(text), length)]
    return [(part, ruler.inches(part, TEXT_POINTS)) for part in cut]


def _unbreakable(found: Sequence[Piece]) -> list[list[Piece]]:
    """Pieces that stand together without a blank; each blank is a group of its own."""
    groups: list[list[Piece]] = []
    for piece in found:
        blank = piece.index is None and not piece.text.strip()
        if blank or not groups or not groups[-1][-1].text.strip():
            groups.append([piece])
        else:
            groups[-1].append(piece)
    return groups
