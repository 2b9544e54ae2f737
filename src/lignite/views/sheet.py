"""A figure that grows downwards, line by line and panel by panel."""

import re
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle

from lignite.views.drawing import boxed
from lignite.views.labels import with_minus
from lignite.wording import one_line

MARGIN = 0.35
MEASURE_DPI = 600  # fine enough that hinting rounds no width


class Sheet:
    """Everything is placed in inches from the upper left corner; `top` is how far it has grown.

    Text and boxes are collected first: their place in the figure is known once its height is.
    """

    def __init__(self, width: float, *, families: list[str], undrawable: frozenset[str], keep_characters: bool) -> None:
        self.width = width
        self.families = families
        self.undrawable = undrawable
        self.replaced: frozenset[str] = frozenset() if keep_characters else undrawable
        self.top = 0.3
        self.figure = Figure(figsize=(self.width, 1.0), facecolor="white", dpi=MEASURE_DPI)
        self.canvas = FigureCanvasAgg(self.figure)
        self.items: list[tuple[str, dict[str, Any]]] = []
        self.axes: list[tuple[Axes, float, float, float, float]] = []

    def write(self, left: float, text: str, size: float, *, verbatim: bool = False, **how: Any) -> None:
        """A line of ours, whose numbers are set; or `verbatim` words of the text that is explained."""
        text = _keep_apart(boxed(text if verbatim else with_minus(text), self.replaced))
        self.items.append(("text", {"left": left, "top": self.top, "text": text, "size": size, **how}))

    def box(self, left: float, width: float, height: float, colour: Any) -> None:
        """A box behind a line of text."""
        place = {"left": left, "top": self.top, "width": width, "height": height}
        self.items.append(("box", {**place, "colour": colour}))

    def key(self, left: float, label: str, colour: Any, size: float = 7.5) -> float:
        """What a colour stands for, its swatch as high as the letters; where the next one may begin."""
        place = {"left": left, "top": self.top, "width": 0.12, "height": 0.0085 * size, "below": 0.0}
        self.items.append(("box", {**place, "colour": colour}))
        self.write(left + 0.17, label, size, color="#333")
        return left + 0.42 + self.inches(label, size)

    def add_axes(self, left: float, top: float, width: float, height: float) -> Axes:
        axes = self.figure.add_axes((0, 0, 1, 1), label=str(len(self.axes)))
        self.axes.append((axes, left, top, width, height))
        return axes

    def inches(self, text: str, size: float, *, weight: str = "normal") -> float:
        properties = FontProperties(family=self.families, size=size, weight=weight)
        drawable = boxed(text, self.undrawable)
        width, _, _ = self.canvas.get_renderer().get_text_width_height_descent(drawable, properties, ismath=False)
        return float(width) / MEASURE_DPI

    def boxes_explained(self) -> None:
        if self.replaced:
            self.line("□: no installed font has this character", 7.5, color="#666")

    def line(self, text: str, size: float, **how: Any) -> None:
        """A line, or several where the sheet is narrower."""
        self.write_paragraph(MARGIN, text, size, self.width - 2 * MARGIN, step=0.0185 * size, **how)

    def write_paragraph(self, left: float, text: str, size: float, room: float, *, step: float, **how: Any) -> None:
        """Write lines of at most `room` inches, `step` inches from one to the next."""
        for line in self.wrapped(text, size, room, weight=how.get("weight", "normal")):
            self.write(left, line, size, **how)
            self.top += step

    def draw_rows(
        self, count: int, across: int, pitch: float, draw: Callable[[int, float], None], *, below: float
    ) -> None:
        """Side by side, `across` in a row: `draw` gets a number and its left edge, and leaves `top` where it ends."""
        for first in range(0, count, across):
            start, ends = self.top, []
            for at in range(first, min(first + across, count)):
                self.top = start
                draw(at, MARGIN + (at - first) * pitch)
                ends.append(self.top)
            self.top = max(ends) + below

    def wrapped(self, text: str, size: float, room: float, *, weight: str = "normal") -> list[str]:
        """The text in lines of at most `room` inches, broken at blanks and, where a word is longer, within it."""
        return _wrap(text, lambda part: self.inches(part, size, weight=weight) <= room)

    def finish(self) -> Figure:
        height = self.top
        self.figure.set_size_inches(self.width, height)
        self.figure.set_dpi(100)
        for axes, left, top, width, tall in self.axes:
            axes.set_position((left / self.width, 1 - (top + tall) / height, width / self.width, tall / height))
        for kind, item in self.items:
            x, y = item.pop("left") / self.width, 1 - item.pop("top") / height
            if kind == "box":
                corner = (x, y - item.get("below", 0.065) / height)  # below the baseline, where p and g end
                patch = Rectangle(
                    corner, item["width"] / self.width, item["height"] / height, transform=self.figure.transFigure,
                    facecolor=item["colour"], linewidth=0, zorder=1,
                )  # fmt: skip
                self.figure.add_artist(patch)
            else:
                text, size = item.pop("text"), item.pop("size")
                how = {"va": "baseline", "zorder": 2, **item}
                self.figure.text(x, y, text, fontsize=size, parse_math=False, **how)
        return self.figure


def _keep_apart(text: str) -> str:
    """Words read from the right end with a mark that is not seen, or they would take the number behind along."""
    return _FROM_THE_RIGHT.sub("\\g<0>\u200e", text) if _STARTS_FROM_THE_LEFT.match(text) else text


_FROM_THE_RIGHT = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc](?![\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc])")
_STARTS_FROM_THE_LEFT = re.compile(r"[^\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]*[A-Za-z]")


def evenly(count: int, most: int) -> int:
    """How many of `count` stand in a row, `most` at most, so that no row is emptier than it has to be."""
    return -(-count // -(-count // most))


def _wrap(text: str, fits: Callable[[str], bool]) -> list[str]:
    lines: list[str] = []
    for word in one_line(text).split(" "):
        if lines and fits(f"{lines[-1]} {word}"):
            lines[-1] += f" {word}"
        else:
            lines += _broken(word, fits)
    return lines


def _broken(word: str, fits: Callable[[str], bool]) -> list[str]:
    """A word in parts that fit; one that fits as it is."""
    parts = []
    while len(word) > 1 and not fits(word):
        length = max(1, bisect_left(range(len(word)), True, key=lambda at: not fits(word[: at + 1])))
        parts.append(word[:length])
        word = word[length:]
    return [*parts, word]
