"""What pictures share: colours, fonts that draw the text, and files that are the same for the same result."""

import contextlib
import io
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, findSystemFonts, fontManager
from matplotlib.ft2font import FT2Font

from lignite.errors import FileError
from lignite.files import write_whole
from lignite.views.labels import with_minus
from lignite.views.palette import diverging

ENDINGS = (".png", ".svg", ".pdf")

DIVERGING = LinearSegmentedColormap.from_list("lignite", diverging(), N=255)
ROUND = (1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128, 200, 256, 500, 1000)
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and the reader's fonts draw what ours cannot
    "svg.hashsalt": "lignite",
    "pdf.fonttype": 42,  # TrueType, which publishers take; outlines drawn one by one cannot be searched
    "font.family": ["DejaVu Sans"],
    "axes.linewidth": 0.5,
}


def on_scale(shares: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape 4"]:
    """Colours of shares from −1 to 1."""
    return np.asarray(DIVERGING(0.5 + 0.5 * shares))


def choose_ink(colour: Any) -> str:
    """Black or white, whichever reads better on this colour (its relative luminance decides, as in WCAG)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "#ffffff"


def choose_step(count: int, needed: float) -> int:
    """Choose a round n of at least `needed`, so that every n-th label has room; `count` if there is none."""
    return next((n for n in ROUND if n >= needed), count)


def draw_colour_bar(
    axes: Axes,
    colours: Callable[[Float[np.ndarray, " share"]], np.ndarray],
    ticks: Sequence[float],
    labels: Sequence[str],
    *,
    size: float,
    lying: bool = False,
) -> None:
    """Draw the scale of colours from its first tick, −limit, to its last, limit: upwards, or `lying` to the right."""
    scale, ends = colours(np.linspace(-1, 1, 255)), (ticks[0], ticks[-1])
    image, extent = (scale[None], (*ends, 0, 1)) if lying else (scale[::-1, None], (0, 1, *ends))
    axes.imshow(image, extent=extent, aspect="auto", interpolation="none")
    along, across = (axes.xaxis, axes.yaxis) if lying else (axes.yaxis, axes.xaxis)
    across.set_ticks([])
    along.set_ticks(ticks, [with_minus(label) for label in labels], parse_math=False)
    axes.tick_params(length=2, width=0.4, pad=1.5 if lying else 2, labelsize=size)
    if lying:
        first, *_, last = axes.get_xticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")
    else:
        axes.yaxis.tick_right()


def picture_ending(path: Path) -> str:
    """The format that a file's name asks for."""
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise FileError(f"{path}: a picture ends in {', '.join(ENDINGS)}; rename the file to choose one of them.")
    return ending


def save_figure(figure: Figure, path: Path, *, dpi: int) -> Path:
    """Write a figure in the format of the file's ending, without time or random names."""
    ending = picture_ending(path)
    metadata: dict[str, Any] = {
        ".png": {"Software": "lignite"},
        ".svg": {"Date": None, "Creator": "lignite"},
        ".pdf": {"CreationDate": None, "ModDate": None, "Creator": "lignite"},
    }
    canvas = {".png": FigureCanvasAgg, ".svg": FigureCanvasSVG, ".pdf": FigureCanvasPdf}[ending](figure)
    drawn = io.BytesIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        if ending == ".svg":  # the characters are kept as text; only their width is a guess
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
        canvas.print_figure(drawn, format=ending[1:], dpi=dpi, metadata=metadata[ending])
    write_whole(path, drawn.getbuffer())
    return path


def boxed(text: str, undrawable: frozenset[str]) -> str:
    """The text with a box for every character that cannot be drawn."""
    return "".join("□" if character in undrawable else character for character in text)


def fonts_for(text: str) -> tuple[list[str], frozenset[str]]:
    """Font families that together draw the text, DejaVu Sans first, and the characters that none of them has."""
    base = FT2Font(findfont(FontProperties(family=["DejaVu Sans"])))
    missing = {ord(character) for character in set(text)} - set(base.get_charmap())
    families = ["DejaVu Sans"]
    if not missing:
        return families, frozenset()
    for name, characters in _installed():
        drawn = missing & characters
        if drawn:
            families.append(name)
            missing -= drawn
    return families, frozenset(chr(code) for code in missing)


@cache
def _installed() -> tuple[tuple[str, frozenset[int]], ...]:
    """Fonts of this machine, plain sans-serif ones first, with the characters each one draws.

    Looked for anew: matplotlib keeps a list of its own, in which what was installed since is missing.
    """
    known = {entry.fname for entry in fontManager.ttflist}
    for path in findSystemFonts():
        if path not in known:
            with contextlib.suppress(OSError, RuntimeError):  # no font, whatever its name says
                fontManager.addfont(path)
    plain = [entry for entry in fontManager.ttflist if entry.style == "normal" and entry.weight in (400, "normal")]
    found: dict[str, frozenset[int]] = {}
    for entry in sorted(plain, key=lambda entry: ("Sans" not in entry.name, entry.name, entry.fname)):
        if entry.name in found or "Last Resort" in entry.name or "Emoji" in entry.name:
            continue  # a font of boxes, and fonts of bitmaps that cannot be scaled
        try:
            font = FT2Font(entry.fname)
        except (OSError, RuntimeError):
            continue  # listed in the cache, but gone or unreadable: it draws nothing
        found[entry.name] = frozenset(font.get_charmap())
    return tuple(found.items())
