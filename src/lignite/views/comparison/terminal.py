"""A comparison as text: who agrees, where the sides differ, word by word, at any width."""

from collections.abc import Iterable, Iterator, Sequence

import xarray as xr
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.style import Style
from rich.text import Text

from lignite.views.comparison.facts import MEANT, TITLES, ExplanationSides, Line
from lignite.views.comparison.flow_terminal import print_flow_comparison
from lignite.views.comparison.flows import FlowSides
from lignite.views.comparison.sides import Sides, is_of_flows, written
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
        flows = FlowSides(dataset)
        print_flow_comparison(flows, console, writer)
        console.print(_facts(flows, writer, "map", flows.map))
        return
    sides = ExplanationSides(dataset)
    scale = f"{'as shares' if sides.scale == 'share' else 'as they are'}: {sides.scale_reason}"
    parts = [_said(sides, writer), *_texts(sides, writer, shades, k or ROWS), _agreement(sides, writer),
             _facts(sides, writer, "scale", scale)]  # fmt: skip
    for part in parts:
        console.print(part)
        console.print()


def _said(sides: ExplanationSides, writer: Writer) -> RenderableType:
    warned = [Text(writer.number(sides.doubt), style=writer.alarm)] if sides.doubt else []
    told = [*sides.apart, *sides.answers]
    answer = Text(writer.number(sides.verdict), style="bold")
    return Group(*warned, answer, *(Text(writer.number(one)) for one in told))


def _texts(sides: ExplanationSides, writer: Writer, shades: Shades | None, k: int) -> Iterator[RenderableType]:
    numbers = sides.most_different
    for number in numbers[:TEXTS]:
        one = sides.of_text(number)
        title = [Text(f"text {number + 1} of {len(numbers)}", style="bold"), Text()] if len(numbers) > 1 else []
        shown = [] if shades is None or one.are_patches else [_coloured(one, sides, writer, shades)]
        if one.are_patches:
            shown = [Text(PATCH_NAMES, style="dim"), Text()]
        yield Group(*title, *shown, *_tables(one, writer, shades, k))
    if len(numbers) > TEXTS:
        more = counted(len(numbers) - TEXTS, "more text")
        yield Text(f"and {more}, where they differ less", style="dim italic")


def _coloured(text: ExplanationSides, sides: ExplanationSides, writer: Writer, shades: Shades) -> RenderableType:
    """Every line of a text on the scale of all."""
    parts: list[RenderableType] = []
    for line in text.lines:
        coloured = Text()
        for piece, score in text.read(line):
            style = Style() if score is None else shade(score / sides.limit, shades)
            coloured.append(writer.plain(piece), style=style)
        parts += [Text(writer.plain(line.called), style="dim"), Padding(coloured, (0, 0, 0, 2))]
    against, for_ = (Text(" ab ", style=shade(sign, shades)) for sign in (-0.7, 0.7))
    plus, minus = text.speaking
    legend = Text.assemble(against, (f" {writer.plain(minus)}  ", "dim"), for_, (f" {writer.plain(plus)}; ", "dim"))
    legend.append(f"{sides.ends}, {sides.unit}", style="dim")
    return Group(*parts, legend, Text())


def _tables(sides: ExplanationSides, writer: Writer, shades: Shades | None, k: int) -> Iterator[RenderableType]:
    """Rows with what every side says of them, as many sides side by side as there is room for."""
    rows = sides.most(k)
    room = max(1, (writer.width - min(TOKEN_CELLS, writer.width // 3) - 2) // (NUMBER_CELLS + 2))
    for first in range(0, len(sides.lines), room):
        if first:
            yield Text()
        yield _table(sides, rows, sides.lines[first : first + room], writer, shades)
    if len(rows) < len(sides.tokens):
        yield Text(f"the {len(rows)} of {len(sides.tokens)} {sides.noun} that differ most", style="dim")
    if len(sides.names) > 2:
        yield Text(writer.plain(f"less: than {sides.names[sides.reference]}"), style="dim")


def _table(
    sides: ExplanationSides, rows: Iterable[int], lines: Sequence[Line], writer: Writer, shades: Shades | None
) -> RenderableType:
    table = plain_table()
    cells = min(TOKEN_CELLS, writer.width // 3)
    table.add_column(sides.noun, width=cells, no_wrap=True)
    for line in lines:
        less = f" {sides.names[sides.reference]}" if line.is_difference else ""  # told below the table
        heading = writer.plain(line.column.removesuffix(less))
        table.add_column(heading, justify="right", min_width=min(NUMBER_CELLS, max(6, cell_len(heading))),
                         max_width=NUMBER_CELLS, overflow="fold")  # fmt: skip

    def number(value: float) -> Text:
        seen = shades is not None and abs(value) >= 0.05 * sides.limit
        return Text(
            writer.number(sides.write(value)),
            style=shades[1 if value > 0 else -1][0] if shades and seen else "dim" if shades else "",
        )

    for at in rows:
        numbers = [number(float(line.scores[at])) for line in lines]
        style = "dim" if sides.special[at] else ""
        table.add_row(Text(writer.token(sides.tokens[at], cells), style=style), *numbers)
    return table


def _agreement(sides: ExplanationSides, writer: Writer) -> RenderableType:
    """Every two sides and how far they agree."""
    found = [
        (f"{pair.first}, {pair.second}", [writer.number(written(each)) for each in pair.measured.values()])
        for pair in sides.pairs
    ]
    lines: list[RenderableType]
    if writer.width < WIDE:
        told = [(both, zip(TITLES.values(), values, strict=True)) for both, values in found]
        lines = [
            Text(writer.plain(f"{both}: {', '.join(f'{title} {value}' for title, value in each)}"))
            for both, each in told
        ]
    else:
        table = plain_table()
        table.add_column("sides", overflow="fold", max_width=writer.width - 3 * 22)
        for title in TITLES.values():
            table.add_column(title, justify="right", no_wrap=True)
        for both, values in found:
            table.add_row(Text(writer.plain(both)), *values)
        lines = [table]
    notes = [f"{TITLES[name]}: {meaning}" for name, meaning in MEANT.items()]
    if sides.n_texts > 1:
        notes.append(sides.brackets)
    return Group(
        Text("agreement", style="bold"),
        *lines,
        fold([Text(writer.number(note), style="dim") for note in notes], writer.width),
    )


def _facts(sides: Sides, writer: Writer, name: str, value: str) -> RenderableType:
    """Settings in which the sides differ, then one of this kind of comparison, then what they share."""
    facts = facts_table()
    for setting, values in sides.settings:
        told = "; ".join(f"{side}: {shorten(each, 60)}" for side, each in zip(sides.names, values, strict=True))
        facts.add_row(setting, Text(writer.plain(told), style="bold"))
    facts.add_row(name, Text(writer.plain(value)))
    same = ", ".join(f"{name} {value}" for name, value in sides.shared.items())
    facts.add_row("same", Text(writer.plain(same), style="dim"))
    return facts
