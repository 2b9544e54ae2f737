"""A comparison as text: who agrees, where the sides differ, word by word, at any width."""

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.style import Style
from rich.text import Text

from lignite.views.comparison.facts import (
    MEANT,
    TITLES,
    answers,
    apart,
    doubt,
    is_of_flows,
    limit_in,
    most_different,
    noun_of,
    of_example,
    others_of,
    pairs,
    reference_of,
    scale_of,
    scores_of,
    settings,
    shared,
    sides_of,
    speaking,
    text_of,
    tokens_of,
    unit_of,
    verdict,
    writer_of,
    written,
)
from lignite.views.comparison.flow_terminal import print_flow_comparison
from lignite.views.explanation.terminal import Shades, shade, shades_of
from lignite.views.patches.facts import PATCH_NAMES
from lignite.views.writer import Writer, facts_table, fold, plain_table
from lignite.wording import counted, shorten

ROWS = 24
"""Words in a table: all of a short text, of a longer one those that differ most."""

TEXTS = 3
"""Texts shown one by one, those that differ most."""

WIDE = 84
"""Columns that a table of agreement takes; in fewer it is told in lines."""

TOKEN_CELLS, NUMBER_CELLS = 18, 10


def print_comparison(dataset: xr.Dataset, *, console: Console | None = None, k: int | None = None) -> None:
    """Print how alike the sides are, where they differ, every side's text in colours, and a table of words.

    `k` is how many words a table has; by default all of a short text.
    """
    console = console or Console()
    writer, shades = Writer(console), shades_of(console)
    if is_of_flows(dataset):
        print_flow_comparison(dataset, console, writer)
        console.print(_facts(dataset, writer))
        return
    parts = [_said(dataset, writer), *_texts(dataset, writer, shades, k or ROWS), _agreement(dataset, writer),
             _facts(dataset, writer)]  # fmt: skip
    for part in parts:
        console.print(part)
        console.print()


def _said(dataset: xr.Dataset, writer: Writer) -> RenderableType:
    warned = [Text(writer.number(doubt(dataset)), style=writer.alarm)] if doubt(dataset) else []
    told = [*apart(dataset), *answers(dataset)]
    answer = Text(writer.number(verdict(dataset)), style="bold")
    return Group(*warned, answer, *(Text(writer.number(one)) for one in told))


def _texts(dataset: xr.Dataset, writer: Writer, shades: Shades | None, k: int) -> Iterator[RenderableType]:
    numbers = most_different(dataset)
    for number in numbers[:TEXTS]:
        one = of_example(dataset, number)
        title = [Text(f"text {number + 1} of {len(numbers)}", style="bold"), Text()] if len(numbers) > 1 else []
        image = noun_of(one) == "patches"
        shown = [] if shades is None or image else [_coloured(one, limit_in(dataset), writer, shades)]
        if image:
            shown = [Text(PATCH_NAMES, style="dim"), Text()]
        yield Group(*title, *shown, *_tables(one, writer, shades, k))
    if len(numbers) > TEXTS:
        more = counted(len(numbers) - TEXTS, "more text")
        yield Text(f"and {more}, where they differ less", style="dim italic")


def _coloured(dataset: xr.Dataset, limit: float, writer: Writer, shades: Shades) -> RenderableType:
    """Every side's text on one scale of colours, and the difference to the reference."""
    names, write = sides_of(dataset), writer_of(dataset)
    scores, difference = scores_of(dataset), dataset["difference"].transpose("side", "token").values
    parts: list[RenderableType] = []
    for at, name in enumerate(names):
        parts += [Text(writer.plain(name), style="dim"), _line(dataset, at, scores[at] / limit, writer, shades)]
    for at in others_of(dataset):
        title = f"{names[at]} less {names[reference_of(dataset)]}"
        parts += [Text(writer.plain(title), style="dim"), _line(dataset, at, difference[at] / limit, writer, shades)]
    against, for_ = (Text(" ab ", style=shade(sign, shades)) for sign in (-0.7, 0.7))
    plus, minus = speaking(dataset)
    legend = Text.assemble(against, (f" {writer.plain(minus)}  ", "dim"), for_, (f" {writer.plain(plus)}; ", "dim"))
    legend.append(f"colours end at {write(limit).lstrip('+')}, {unit_of(dataset)}", style="dim")
    return Group(*parts, legend, Text())


def _line(
    dataset: xr.Dataset, side: int, shares: Float[np.ndarray, " row"], writer: Writer, shades: Shades
) -> RenderableType:
    text = Text()
    for piece, share in text_of(dataset, side, np.nan_to_num(shares)):
        text.append(writer.plain(piece), style=Style() if share is None else shade(share, shades))
    return Padding(text, (0, 0, 0, 2))


def _tables(dataset: xr.Dataset, writer: Writer, shades: Shades | None, k: int) -> Iterator[RenderableType]:
    """Rows with what every side says of them, as many sides side by side as there is room for."""
    scores, names = scores_of(dataset), sides_of(dataset)
    difference = dataset["difference"].transpose("side", "token").values.astype(np.float64)
    size = np.nan_to_num(np.abs(difference)).max(axis=0)
    rows = np.sort(np.argsort(-size, kind="stable")[:k])
    columns = [(name, scores[at], False) for at, name in enumerate(names)]
    columns += [
        ("difference" if len(names) == 2 else f"{names[at]} less", difference[at], True) for at in others_of(dataset)
    ]
    room = max(1, (writer.width - min(TOKEN_CELLS, writer.width // 3) - 2) // (NUMBER_CELLS + 2))
    for first in range(0, len(columns), room):
        if first:
            yield Text()
        yield _table(dataset, rows, columns[first : first + room], writer, shades)
    if len(rows) < dataset.sizes["token"]:
        yield Text(f"the {len(rows)} of {dataset.sizes['token']} {noun_of(dataset)} that differ most", style="dim")
    if len(names) > 2:
        yield Text(writer.plain(f"less: than {names[reference_of(dataset)]}"), style="dim")


def _table(
    dataset: xr.Dataset,
    rows: Sequence[int] | np.ndarray,
    columns: Sequence[tuple[str, Float[np.ndarray, " row"], bool]],
    writer: Writer,
    shades: Shades | None,
) -> RenderableType:
    write, tokens = writer_of(dataset), tokens_of(dataset)
    table = plain_table()
    cells = min(TOKEN_CELLS, writer.width // 3)
    table.add_column(noun_of(dataset), width=cells, no_wrap=True)
    for name, _, _ in columns:
        heading = writer.plain(name)
        table.add_column(heading, justify="right", min_width=min(NUMBER_CELLS, max(6, cell_len(heading))),
                         max_width=NUMBER_CELLS, overflow="fold")  # fmt: skip
    limit = limit_in(dataset)

    def number(value: float) -> Text:
        seen = shades is not None and abs(value) >= 0.05 * limit
        return Text(
            writer.number(write(value)),
            style=shades[1 if value > 0 else -1][0] if shades and seen else "dim" if shades else "",
        )

    for at in rows:
        numbers = [number(float(values[at])) for _, values, _ in columns]
        style = "dim" if dataset.special.values[at] else ""
        table.add_row(Text(writer.token(tokens[at], cells), style=style), *numbers)
    return table


def _agreement(dataset: xr.Dataset, writer: Writer) -> RenderableType:
    """Every two sides and how far they agree."""
    found = [
        (f"{pair.first}, {pair.second}", [writer.number(written(getattr(pair, name))) for name in TITLES])
        for pair in pairs(dataset)
    ]
    lines: list[RenderableType]
    if writer.width < WIDE:
        told = [(sides, zip(TITLES.values(), values, strict=True)) for sides, values in found]
        lines = [
            Text(writer.plain(f"{sides}: {', '.join(f'{title} {value}' for title, value in each)}"))
            for sides, each in told
        ]
    else:
        table = plain_table()
        table.add_column("sides", overflow="fold", max_width=writer.width - 3 * 22)
        for title in TITLES.values():
            table.add_column(title, justify="right", no_wrap=True)
        for sides, values in found:
            table.add_row(Text(writer.plain(sides)), *values)
        lines = [table]
    notes = [f"{TITLES[name]}: {meaning}" for name, meaning in MEANT.items()]
    if dataset.sizes["example"] > 1:
        percent = f"{100 * float(dataset.attrs.get('confidence', 0.95)):g} %"
        notes.append(f"in brackets: {percent} bootstrap interval over {dataset.sizes['example']} texts")
    return Group(
        Text("agreement", style="bold"),
        *lines,
        fold([Text(writer.number(note), style="dim") for note in notes], writer.width),
    )


def _facts(dataset: xr.Dataset, writer: Writer) -> RenderableType:
    facts = facts_table()
    names = sides_of(dataset)
    for name, values in settings(dataset):
        told = "; ".join(f"{side}: {shorten(value, 60)}" for side, value in zip(names, values, strict=True))
        facts.add_row(name, Text(writer.plain(told), style="bold"))
    if is_of_flows(dataset):
        facts.add_row("map", Text(writer.plain(str(dataset.attrs.get("map", "whole")))))
    else:
        scale = "as shares" if scale_of(dataset) == "share" else "as they are"
        facts.add_row("scale", Text(writer.plain(f"{scale}: {dataset.attrs.get('scale_reason', '')}")))
    same = ", ".join(f"{name} {value}" for name, value in shared(dataset).items())
    facts.add_row("same", Text(writer.plain(same), style="dim"))
    return facts
