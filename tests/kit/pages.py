"""What tests of pages and pictures read: elements, numbers, colours as eyes see them, and hostile texts."""

import base64
import json
import re
import zlib
from html.parser import HTMLParser

import numpy as np

HOSTILE = (
    "</script><script>alert(1)</script>",
    "[bold]x[/bold]",
    "\x1b[31mred",
    "ሰላም",
    "日本語",
    "$x_1$",
    "{{ 7*7 }}",
    "\n",
)


class Elements(HTMLParser):
    """What a browser would make of a page: its elements, and the text inside each script."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self._script = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._script = dict(attrs).get("id", "code") if tag == "script" else ""

    def handle_endtag(self, tag):
        self._script = ""

    def handle_data(self, data):
        if self._script:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data


def meta_of(page: str) -> dict:
    """What a page tells its module."""
    return json.loads(Elements(page).scripts["meta"])


def blocks_of(page: str) -> dict[str, bytes]:
    """The blocks of numbers of a page, as its module gets them."""
    whole = zlib.decompress(base64.b64decode(Elements(page).scripts["blocks"]))
    return {name: whole[start:end] for name, (start, end) in meta_of(page)["blocks"].items()}


def scores_in(block: bytes, columns: int, size: int) -> np.ndarray:
    """Rows of scores, as they are or rounded: a step for each row, then a byte for each score."""
    if len(block) == 4 * size:
        return np.frombuffer(block, "<f4").reshape(-1, columns)
    rows = size // columns
    steps, coded = np.frombuffer(block[: 4 * rows], "<f4"), np.frombuffer(block[4 * rows :], "i1")
    return coded.reshape(rows, columns).astype("f4") * steps[:, None]


def static(page: str) -> str:
    """The page without its scripts and styles."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)


def lab(colour: np.ndarray) -> np.ndarray:
    """CIELAB of linear sRGB under D65, from the definition."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = (to_xyz @ colour) / np.array([0.9505, 1.0, 1.089])
    f = [np.cbrt(t) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29 for t in (x, y, z)]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


# Viénot, Brettel & Mollon (1999): what remains of linear RGB without red or without green cones.
BLINDNESS = {
    "full sight": np.eye(3),
    "no red cones": np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
    "no green cones": np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
}
