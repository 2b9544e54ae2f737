"""An explanation as a picture for print: the shaded text, a bar per token, a heat map of the layers; no browser."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from rich.cells import cell_len

from lignite.views.drawing import DIVERGING, STYLE, boxed, fonts_for, picture_ending, save_figure
from lignite.views.explanation import (
    Piece,
    arrange,
    certificate_text,
    layer_map,
    likeliest,
    limit_of,
    pieces,
    question,
    seams,
    settings,
)
from lignite.views.labels import format_score, format_share, model_title, one_line, shorten, visible_token
from lignite.views.palette import COLD, WARM

WIDTH = 7.2  # inches, at least; more where the tokens need it
WIDEST = 13.0
MARGIN = 0.35
TEXT_POINTS = 11.0
LINE = 0.27  # inches from one line of text to the next
PITCH = 0.135  # inches per token in the panels: a 6.5 point label fits
LABEL_POINTS = 6.5
MEASURE_DPI = 600  # fine enough that hinting rounds no width
LABEL_CHARACTERS = 16
BARS_HEIGHT = 1.1
ROW_HEIGHT = 0.17


def draw_explanation(dataset: xr.Dataset, *, words: bool = True, special: str = "show") -> Figure:
    """Draw the text in the colours of its relevance, the same as bars, and the layers as a heat map.

    Colours end at the largest score of the text, and at the largest of all layers in the heat map. `words` and
    `special` as in `print_explanation`. A figure without a window; a character that no installed font can draw stands
    as □.
    """
    return _draw(dataset, words=words, special=special, keep_characters=False)


def save_explanation_picture(
    dataset: xr.Dataset, path: str | Path, *, words: bool = True, special: str = "show", dpi: int = 150
) -> Path:
    """Draw an explanation into a .png, .svg or .pdf file; the same result gives the same bytes."""
    path = Path(path)
    keep = picture_ending(path) == ".svg"
    return save_figure(_draw(dataset, words=words, special=special, keep_characters=keep), path, dpi=dpi)


def _draw(dataset: xr.Dataset, *, words: bool, special: str, keep_characters: bool) -> Figure:
    dataset = arrange(dataset, words=words, special=special)
    found = pieces(dataset)
    labels = _labels(dataset)
    asked = question(dataset)
    everything = [*(piece.text for piece in found), *labels, asked.name, asked.prediction, *_class_names(dataset)]
    families, undrawable = fonts_for("".join(everything))
    with matplotlib.rc_context(STYLE | {"font.family": families}):
        sheet = _Sheet(labels=labels, families=families, undrawable=undrawable, keep_characters=keep_characters)
        sheet.head(dataset)
        values = dataset.relevance.values.astype(np.float64)
        sheet.text(found, values / limit_of(values))
        sheet.panels(dataset, values, labels)
        return sheet.finish()


def _labels(dataset: xr.Dataset) -> list[str]:
    return [shorten(visible_token(str(token)), LABEL_CHARACTERS) for token in dataset.token.values]


def _class_names(dataset: xr.Dataset) -> list[str]:
    return [name for name, _ in likeliest(dataset, 4)]


class _Sheet:
    """A figure that grows downwards; everything is placed in inches from its upper left corner."""

    def __init__(
        self, *, labels: Sequence[str], families: list[str], undrawable: frozenset[str], keep_characters: bool
    ) -> None:
        n_tokens = len(labels)
        self.panel_left = 0.75
        self.panel_right = 1.0
        inner = float(np.clip(n_tokens * PITCH, WIDTH - self.panel_left - self.panel_right, WIDEST))
        self.inner = min(inner, max(n_tokens * 0.6, 2.0))
        self.width = max(WIDTH, self.inner + self.panel_left + self.panel_right)
        needed = n_tokens * PITCH * 0.98 / self.inner
        self.step = next(step for step in (1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, n_tokens) if step >= needed)
        self.label_height = 0.15 + 0.0098 * LABEL_POINTS * max(map(cell_len, labels))
        self.families = families
        self.undrawable = undrawable
        self.replaced: frozenset[str] = frozenset() if keep_characters else undrawable
        self.top = 0.3
        self.figure = Figure(figsize=(self.width, 1.0), facecolor="white", dpi=MEASURE_DPI)
        self.canvas = FigureCanvasAgg(self.figure)
        self.items: list[tuple[str, dict[str, Any]]] = []
        self.axes: list[tuple[Axes, float, float, float, float]] = []

    # Text and boxes are collected first: their place in the figure is known once its height is.

    def write(self, left: float, text: str, size: float, **how: Any) -> None:
        text = boxed(text, self.replaced)
        self.items.append(("text", {"left": left, "top": self.top, "text": text, "size": size, **how}))

    def box(self, left: float, width: float, colour: Any) -> None:
        self.items.append(("box", {"left": left, "top": self.top, "width": width, "colour": colour}))

    def add_axes(self, left: float, top: float, width: float, height: float) -> Axes:
        axes = self.figure.add_axes((0, 0, 1, 1), label=str(len(self.axes)))
        self.axes.append((axes, left, top, width, height))
        return axes

    def inches(self, text: str, size: float) -> float:
        properties = FontProperties(family=self.families, size=size)
        drawable = boxed(text, self.undrawable)
        width, _, _ = self.canvas.get_renderer().get_text_width_height_descent(drawable, properties, ismath=False)
        return float(width) / MEASURE_DPI

    def head(self, dataset: xr.Dataset) -> None:
        asked = question(dataset)
        model = model_title(str(dataset.attrs.get("model", "")))
        number = f", {asked.unit} {format_score(asked.value)}" if np.isfinite(asked.value) else ""
        chosen = settings(dataset)
        method = ", ".join([chosen.pop("method"), *(f"{name} {value}" for name, value in chosen.items())])
        classes = ", ".join(f"{name} {format_share(share)}" for name, share in likeliest(dataset, 4))
        self.line(f"{model} · {asked.name}{number}", 11.0, weight="bold")
        if classes or asked.prediction:
            self.line(f"prediction: {classes or asked.prediction}", 8.5, color="#333")
        self.line(method, 8.5, color="#333")
        if cut := seams(dataset):
            self.line(f"read in {cut}", 7.5, color="#666")
        self.line(f"certificate: {certificate_text(dataset)}", 7.5, color="#666")
        if self.replaced:
            self.line("□: no installed font has this character", 7.5, color="#666")
        self.top += 0.2

    def line(self, text: str, size: float, **how: Any) -> None:
        """A line, or several where the sheet is narrower."""
        room = self.width - 2 * MARGIN
        for line in _wrap(text, lambda part: self.inches(part, size) <= room):
            self.write(MARGIN, line, size, **how)
            self.top += 0.0185 * size

    def text(self, found: Sequence[Piece], shares: Float[np.ndarray, " token"]) -> None:
        """Words in lines; what does not fit at all is broken between characters."""
        left, right = MARGIN, self.width - MARGIN
        blank = self.inches("a a", TEXT_POINTS) - self.inches("aa", TEXT_POINTS)
        x = left
        for group in _unbreakable(found):
            widths = [self.inches(piece.text, TEXT_POINTS) for piece in group]
            if x > left and x + sum(widths) > right:
                x = left
                self.top += LINE
            for piece, width in zip(group, widths, strict=True):
                if piece.index is None and not piece.text.strip():
                    x += blank if x > left else 0
                    continue
                for part, size in self._parts(piece.text, width, right - left):
                    if x > left and x + size > right:
                        x = left
                        self.top += LINE
                    if piece.index is not None:
                        self._shade(x, size, float(shares[piece.index]), part)
                    else:
                        self.write(x, part, TEXT_POINTS, color="#1d1f23")
                    x += size
        self.top += LINE

    def _parts(self, text: str, width: float, room: float) -> list[tuple[str, float]]:
        if width <= room:
            return [(text, width)]
        length = max(1, int(len(text) * room / width * 0.95))
        cut = [text[at : at + length] for at in range(0, len(text), length)]
        return [(part, self.inches(part, TEXT_POINTS)) for part in cut]

    def _shade(self, x: float, width: float, share: float, text: str) -> None:
        colour = DIVERGING(0.5 + 0.5 * share)
        if abs(share) >= 0.02:
            self.box(x, width, colour)
        self.write(x, text, TEXT_POINTS, color=ink_on(colour) if abs(share) >= 0.02 else "#1d1f23")

    def panels(self, dataset: xr.Dataset, values: Float[np.ndarray, " token"], labels: Sequence[str]) -> None:
        labels = [boxed(label, self.replaced) for label in labels]
        name = layer_map(dataset)
        axes = self.add_axes(self.panel_left, self.top, self.inner, BARS_HEIGHT)
        _bars(axes, values)
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
        limit = limit_of(scores)
        image = {"cmap": DIVERGING, "aspect": "auto", "interpolation": "none"}
        heat.imshow(scores, norm=Normalize(-limit, limit), **image)  # type: ignore[arg-type]
        every = max(1, round(len(scores) * 0.12 / height))
        layers = [str(layer) for layer in dataset.layer.values]
        heat.set_yticks(range(0, len(layers), every), layers[::every])
        heat.tick_params(length=1.5, width=0.4, pad=1.5, labelsize=LABEL_POINTS)
        heat.set_ylabel("layer" if name == "layer_relevance" else "layer, before fusion", fontsize=7)
        self._token_axis(heat, labels)
        bar = self.add_axes(self.panel_left + self.inner + 0.12, self.top, 0.1, height)
        bar.imshow(np.linspace(1, -1, 255)[:, None], extent=(0, 1, -limit, limit), norm=Normalize(-1, 1), **image)  # type: ignore[arg-type]
        bar.set_xticks([])
        bar.yaxis.tick_right()
        bar.set_yticks([-limit, 0, limit], [format_score(-limit), "0", format_score(limit)])
        bar.tick_params(length=2, width=0.4, pad=2, labelsize=LABEL_POINTS)
        self.top += height + self.label_height + 0.1

    def _token_axis(self, axes: Axes, labels: list[str]) -> None:
        axes.set_xlim(-0.5, len(labels) - 0.5)
        axes.tick_params(axis="x", length=1.5, width=0.4, pad=1.5, labelsize=LABEL_POINTS, rotation=90)
        axes.set_xticks(range(0, len(labels), self.step), labels[:: self.step], parse_math=False, fontsize=LABEL_POINTS)
        if self.step > 1:
            axes.set_xlabel(f"every {self.step}th token is labelled", fontsize=LABEL_POINTS, color="#666")
            self.label_height += 0.12

    def finish(self) -> Figure:
        height = self.top
        self.figure.set_size_inches(self.width, height)
        self.figure.set_dpi(100)
        for axes, left, top, width, tall in self.axes:
            axes.set_position((left / self.width, 1 - (top + tall) / height, width / self.width, tall / height))
        for kind, item in self.items:
            x, y = item.pop("left") / self.width, 1 - item.pop("top") / height
            if kind == "box":
                tall = 0.82 * LINE
                corner = (x, y - 0.065 / height)  # below the baseline, where p and g end
                patch = Rectangle(
                    corner, item["width"] / self.width, tall / height, transform=self.figure.transFigure,
                    facecolor=item["colour"], linewidth=0, zorder=1,
                )  # fmt: skip
                self.figure.add_artist(patch)
            else:
                text, size = item.pop("text"), item.pop("size")
                self.figure.text(x, y, text, fontsize=size, va="baseline", parse_math=False, zorder=2, **item)
        return self.figure


def ink_on(colour: Any) -> str:
    """Black or white, whichever reads better on this colour (its relative luminance decides, as in WCAG)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "#ffffff"


def _bars(axes: Axes, values: Float[np.ndarray, " token"]) -> None:
    limit = limit_of(values)
    colours = [WARM[2] if value > 0 else COLD[2] for value in values]
    axes.bar(range(len(values)), np.nan_to_num(values), color=colours, width=0.8 if len(values) < 200 else 1.0)
    axes.axhline(0, color="#1d1f23", linewidth=0.5)
    axes.set_xlim(-0.5, len(values) - 0.5)
    low, high = min(0.0, float(np.nanmin(values))), max(0.0, float(np.nanmax(values)))
    axes.set_ylim(low - 0.06 * limit, high + 0.06 * limit)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:+g}" if value else "0")
    axes.tick_params(length=1.5, width=0.4, pad=1.5, labelsize=LABEL_POINTS)
    axes.set_ylabel("relevance", fontsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


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


def _wrap(text: str, fits: Any) -> list[str]:
    lines: list[str] = []
    for word in one_line(text).split(" "):
        if lines and fits(f"{lines[-1]} {word}"):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
