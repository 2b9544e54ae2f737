"""What a console can print: untrusted text made harmless, signs that its encoding lacks replaced."""

from collections.abc import Iterable

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.console import Console, OverflowMethod
from rich.table import Table
from rich.text import Text

from lignite.views.labels import format_share, visible_token
from lignite.views.palette import sign_colour
from lignite.wording import harmless

TOKEN_CELLS = 14


class Writer:
    """Turns untrusted text into what this console can print."""

    def __init__(self, console: Console) -> None:
        self.width = console.width
        self.encoding = console.encoding
        self.arrow = self.encodable("→", "->")
        self.bar = self.encodable("█", "#")
        self.half_bar = self.encodable("▌", "")
        sixteen = console.color_system == "standard"
        self.signs = ("yellow", "cyan") if sixteen else (sign_colour(1.0), sign_colour(-1.0))
        self.alarm = "bold red" if sixteen else f"bold {sign_colour(1.0)}"
        self.overflow: OverflowMethod = "ellipsis" if self.encodable("…", "") else "crop"

    def sign_style(self, value: float) -> str:
        """The colour of what speaks for, or against: by name where there are sixteen, whose nearest may be a grey."""
        if not value:
            return ""
        return self.signs[0 if value > 0 else 1]

    def encodable(self, character: str, substitute: str) -> str:
        try:
            character.encode(self.encoding)
        except UnicodeEncodeError:
            return substitute
        return character

    def plain(self, text: str) -> str:
        """The text with nothing that acts on a terminal, in the signs that this one has."""
        return harmless(text).encode(self.encoding, "backslashreplace").decode(self.encoding)

    def number(self, text: str) -> str:
        """What numbers are said in, every minus and dash a hyphen: what a terminal prints is copied into programs."""
        return self.plain(text.replace("−", "-").replace("–", "-"))

    def share(self, value: float) -> str:
        return format_share(value) if np.isfinite(value) else "-"

    def token(self, token: str, cells: int = TOKEN_CELLS) -> str:
        shown = self.plain(visible_token(token))
        if cell_len(shown) <= cells:
            return shown
        ellipsis = self.encodable("…", "~")
        return set_cell_size(shown, cells - 1).rstrip() + ellipsis

    def measure(self, share: float, cells: int) -> str:
        """A bar as long as `share` of `cells`, never of no length."""
        halves = max(1, round(2 * cells * share))
        return self.bar * (halves // 2) + (self.half_bar if halves % 2 else "")


def facts_table(*rows: tuple[str, Text]) -> Table:
    """Names and what is said of them, a line each; more can be added."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def plain_table() -> Table:
    """A table of numbers without lines."""
    return Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)


def fold(pieces: Iterable[Text], width: int) -> Text:
    """Set pieces side by side and break lines between them, never inside (Rich would break at any blank)."""
    lines = [Text()]
    for piece in pieces:
        if lines[-1] and lines[-1].cell_len + 2 + piece.cell_len > width:
            lines.append(Text())
        elif lines[-1]:
            lines[-1].append("  ")
        lines[-1].append_text(piece)
    return Text("\n").join(lines)
