"""An evaluation as tables for the terminal."""

from collections.abc import Iterator, Sequence

import numpy as np
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.text import Text

from lignite.results.evaluation import Evaluation
from lignite.views.evaluation.facts import (
    SHARES,
    Cell,
    Column,
    answer_of,
    columns_of,
    facts,
    heading_of,
    reasons,
    written_number,
)
from lignite.views.writer import Writer, facts_table, plain_table
from lignite.wording import counted, one_line

METHOD_CELLS = 34
CELL = 15  # "0.573 ±0.021 +"
REASONS_SHOWN = 5
DAGGER = "†"


def print_evaluation(evaluation: Evaluation, *, console: Console | None = None) -> None:
    """Print means with half the width of their intervals, the best of each column, and what could not be computed."""
    console = console or Console()
    writer = Writer(console)
    console.print(Text(writer.plain(answer_of(columns_of(evaluation))), style="bold"))
    console.print()
    for some in _fitting(columns_of(evaluation), evaluation, console.width):
        console.print(_block(some, writer))
        console.print()
    console.print(_legend(evaluation, writer))
    if len(evaluation.skipped):
        console.print()
        console.print(_skipped(evaluation, writer))
    console.print()
    console.print(facts_table(*((name, Text(writer.plain(value))) for name, value in facts(evaluation).items())))


def _fitting(columns: Sequence[Column], evaluation: Evaluation, width: int) -> Iterator[list[Column]]:
    """As many columns side by side as there is room for, those of one fill together."""
    names = max(cell_len(name) for name in evaluation.table["method"].unique()) if len(evaluation.table) else 0
    room = width - min(names, METHOD_CELLS)
    some: list[Column] = []
    for column in columns:
        taken = sum(2 + _width(other) for other in [*some, column])
        if some and (taken > room or column.fill != some[0].fill):
            yield some
            some = []
        some.append(column)
    if some:
        yield some


def _width(column: Column) -> int:
    return max(CELL, len(column.metric) + 2)


def _block(columns: Sequence[Column], writer: Writer) -> RenderableType:
    fill = columns[0].fill
    table = plain_table()
    table.add_column("method", overflow="fold", max_width=METHOD_CELLS)
    up, down = writer.encodable("↑", "(high)"), writer.encodable("↓", "(low)")
    for column in columns:
        arrow = {"higher": f" {up}", "lower": f" {down}"}.get(column.better, "")
        table.add_column(
            Text(f"{column.metric}{arrow}\nn={column.n}", justify="right"), justify="right", min_width=CELL
        )
    for method in columns[0].cells:
        cells = [_cell(column.cells[method], writer) for column in columns]
        mark = f" {writer.encodable(DAGGER, '(b)')}" if any(column.cells[method].shares for column in columns) else ""
        table.add_row(Text(writer.plain(one_line(method)) + mark), *cells, style="dim" if method == "random" else "")
    title = Text(heading_of(fill), style="bold")
    return Group(title, table)


def _cell(cell: Cell, writer: Writer) -> Text:
    if not np.isfinite(cell.mean):
        return Text("-  ")
    half = f" {writer.encodable('±', '+-')}{written_number(cell.half)}" if np.isfinite(cell.half) else ""
    return Text.assemble(
        ("*" if cell.best else "", "bold"),
        (written_number(cell.mean), "bold" if cell.best else ""),
        (half, "dim"),
        f" {cell.beside or ' '}",
    )


def _legend(evaluation: Evaluation, writer: Writer) -> RenderableType:
    attrs = evaluation.attrs
    percent = f"{100 * float(attrs['confidence']):g} %"
    text = (
        f"*: best mean of its column; ±: half the width of the {percent} bootstrap interval; + and -: better and worse "
        f"than {attrs['reference']} in a paired bootstrap, corrected for the number of methods (Holm)."
    )
    if any(cell.shares for column in columns_of(evaluation) for cell in column.cells.values()):
        text += f" {writer.encodable(DAGGER, '(b)')}: {SHARES}."
    return Text(writer.plain(one_line(text if writer.encodable("±", "") else text.replace("±", "+-"))), style="dim")


def _skipped(evaluation: Evaluation, writer: Writer) -> RenderableType:
    found = reasons(evaluation)
    lines = [Text("not computed", style="bold")]
    for count, method, reason in found[:REASONS_SHOWN]:
        what = (
            f"{method}: {counted(count, 'explanation')}"
            if method
            else f"{counted(count, 'example')}, under every method"
        )
        lines.append(Text(writer.plain(one_line(f"{what}; first, {reason}"))))
    if len(found) > REASONS_SHOWN:
        lines.append(Text(f"and {len(found) - REASONS_SHOWN} more methods; the .json lists all"))
    return Group(*lines)
