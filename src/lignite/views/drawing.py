"""What pictures share: colours, fonts that draw the text, and files that are the same for the same result."""

import io
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font

from lignite.errors import FileError
from lignite.files import write_whole
from lignite.views.palette import diverging

ENDINGS = (".png", ".svg", ".pdf")

DIVERGING = LinearSegmentedColormap.from_list("lignite", diverging(), N=255)
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and the reader's fonts draw what ours cannot
    "svg.hashsalt": "lignite",
    "font.family": ["DejaVu Sans"],
    "axes.linewidth": 0.5,
}


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
    """Fonts of this machine, plain sans-serif ones first, with the characters each one draws."""
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
