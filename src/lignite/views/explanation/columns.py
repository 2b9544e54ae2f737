"""Several explanations of one text as columns of a table: its words in rows, as many columns as have room."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from lignite.views.explanation.terminal import Shades, shade
from lignite.views.labels import format_score
from lignite.views.writer import TOKEN_CELLS, Writer, fold, plain_table

COLUMN_CELLS, SCORE_CELLS = 12, 9
"""Of the name above a column, and of a score."""


def set_beside(
    columns: Mapping[str, str],
    words: Sequence[str],
    scores: Float[np.ndarray, "word column"],
    writer: Writer,
    shades: Shades | None,
    *,
    limit: float,
    note: str,
) -> list[RenderableType]:
    """Set scores in columns, each under its name and probability; a word that is NaN to a column was not there.

    Columns for which there is no room beside the others stand in a table below; the `note` is the last line.
    """
    word = min(TOKEN_CELLS, writer.width // 2)
    cells = min(COLUMN_CELLS, max(SCORE_CELLS, (writer.width - word) // 2 - 2))
    at_once = max(1, (writer.width - word) // (cells + 2))
    names, found = list(columns), []
    for start in range(0, len(names), at_once):
        some = names[start : start + at_once]
        table = plain_table()
        table.add_column("", width=word, no_wrap=True)
        for name in some:
            table.add_column(writer.token(name, cells), justify="right", width=cells, no_wrap=True)
        table.add_row(Text("probability", style="dim"), *(Text(columns[name], style="dim") for name in some))
        _fill(table, words, scores[:, start : start + at_once], (writer, word), shades, limit)
        found.append(table)
    last: RenderableType = fold([Text(note, style="dim")], writer.width)
    return [*found[:-1], Group(found[-1], last)]


def _fill(
    table: Table,
    words: Sequence[str],
    scores: Float[np.ndarray, "word column"],
    written: tuple[Writer, int],
    shades: Shades | None,
    limit: float,
) -> None:
    writer, cells = written
    for word, row in zip(words, scores, strict=True):
        numbers = [
            Text(
                format_score(value) if np.isfinite(value) else "",
                style=shade(value / limit, shades) if shades and np.isfinite(value) else Style(),
            )
            for value in row.tolist()
        ]
        table.add_row(writer.token(word, cells), *numbers)
