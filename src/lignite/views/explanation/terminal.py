"""An explanation as text: shaded words where there is colour, numbers under the words where there is none."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from lignite.results.certificate import certificates
from lignite.views.attributes import model_name
from lignite.views.explanation.facts import (
    LayerRow,
    Piece,
    Ranked,
    arrange,
    certificate_text,
    layer_map,
    layer_rows,
    likeliest,
    method_words,
    pieces,
    question,
    seams,
    start_says,
    strongest,
)
from lignite.views.explanation.message import Message, message, unit_of
from lignite.views.labels import clipped_note, format_score, format_share, limit_of
from lignite.views.palette import COLD, WARM
from lignite.views.patches.facts import PATCH_NAMES, is_image, patches, placeless
from lignite.views.writer import Writer, facts_table, fold, plain_table
from lignite.wording import counted, one_line, shorten

TOKENS_SHOWN = 1000  # a longer text would push the numbers off the screen
TOP = 5
STRIP_CELLS = 32
LIST_CELLS = 46  # width of a list of tokens with bars
LIST_LEAST = 34  # and of one without
BAR_CELLS = 6
NAME_CELLS = 12  # of a token in the table of layers
NAMES_LEAST = 20
NAMED_LEAST = 11
STRIP_LEAST = 5
SWATCHES = (-0.9, -0.4, -0.1, 0.1, 0.4, 0.9)
TOLD_OF_SPECIAL = {"rank": "ranked", "hide": "hidden", "share": "shared among the others"}

Shades = Mapping[int, tuple[Style, Style, Style]]
"""Of what speaks for (+1) and against (-1), from weak to strong."""

STEPS = (0.05, 0.25, 0.6)
"""Shares of the largest score at which a word is written in colour, on light colour, on strong colour."""

_INK, _PAPER = "#000000", "#ffffff"
_SHADES = {
    +1: (Style(color=WARM[2]), Style(color=_INK, bgcolor=WARM[2]), Style(color=_PAPER, bgcolor=WARM[3], bold=True)),
    -1: (Style(color=COLD[2]), Style(color=_INK, bgcolor=COLD[2]), Style(color=_PAPER, bgcolor=COLD[3], bold=True)),
}
_SIXTEEN = {
    +1: (Style(color="yellow"), Style(color="black", bgcolor="yellow"), Style(color="white", bgcolor="red", bold=True)),
    -1: (Style(color="cyan"), Style(color="black", bgcolor="cyan"), Style(color="white", bgcolor="blue", bold=True)),
}
"""The same by name, for terminals of sixteen colours: the nearest of these to a shade may be a grey."""

_STRIP = {+1: ("·", "+", "+"), -1: ("·", "-", "-")}


def print_explanation(
    dataset: xr.Dataset, *, console: Console | None = None, k: int = TOP, tokens: bool = False, special: str = "show"
) -> None:
    """Print the answer, the shaded text, who speaks loudest for and against it, every layer, and how it was computed.

    Sub-words of a word are added up unless `tokens` asks for them. Special tokens are shown but not ranked
    (``"show"``), ranked with the others (``"rank"``), hidden (``"hide"``), or their scores shared among the others in
    proportion to theirs (``"share"``).
    """
    console = console or Console()
    writer = Writer(console)
    dataset = arrange(dataset, tokens=tokens, special=special)
    ranked = special == "rank"
    shades = shades_of(console)
    for part in (
        _message(message(dataset, special=ranked), writer),
        (_patches if is_image(dataset) else _text)(dataset, writer, shades),
        _lists(dataset, k, writer, special=ranked),
        _layers(dataset, writer, shades, special=ranked),
        _facts(dataset, writer, special),
    ):
        if part is not None:
            console.print(part)
            console.print()


def shades_of(console: Console) -> Shades | None:
    """The shades that a console has; None where it shows no colour, as a pipe, or where NO_COLOR says so."""
    if console.color_system is None or console.no_color:
        return None
    return _SIXTEEN if console.color_system == "standard" else _SHADES


def shade(share: float, shades: Shades = _SHADES) -> Style:
    """How a score is shown that is this share of the largest; nothing for what hardly counts.

    Middle tones, because the colour of the terminal itself is not known: they stand out from black and from white.
    """
    level = sum(abs(share) >= step for step in STEPS)
    return shades[1 if share > 0 else -1][level - 1] if level else Style()


def _message(said: Message, writer: Writer) -> RenderableType:
    """The answer, and the sum that leads to it as bars."""
    parts: list[RenderableType] = []
    if said.doubt:
        parts.append(Text(writer.plain(said.doubt), style=writer.alarm))
    parts += [Text(writer.plain(said.verdict), style="bold"), Text(writer.plain(said.sides))]
    if not said.steps:
        return Group(*parts)
    table = Table.grid(padding=(0, 1))
    values = [format_score(step.value) for step in said.steps]
    width = max(map(len, values))
    table.add_column(justify="right", width=width, no_wrap=True)
    bar = min(STRIP_CELLS, writer.width - width - NAMES_LEAST - 12)
    bar = bar if bar >= STRIP_LEAST else 0  # shorter ones tell nothing apart
    if bar:
        table.add_column(width=bar, no_wrap=True)
    table.add_column(overflow="fold")
    for step, value in zip(said.steps, values, strict=True):
        colour = {"for": writer.signs[0], "against": writer.signs[1]}.get(step.kind, "")
        left, right = round(step.left * bar), round(step.right * bar)
        drawn = Text(" " * left + writer.bar * max(1, right - left), style=colour or "dim")
        table.add_row(Text(value, style=colour), *([drawn] if bar else []), Text(writer.plain(step.label), style="dim"))
    return Group(*parts, "", Text(f"{said.unit}, from start to end", style="dim"), table)


def _facts(dataset: xr.Dataset, writer: Writer, special: str) -> RenderableType:
    facts = facts_table(("model", Text(writer.plain(model_name(dataset)), style="bold")))
    asked = question(dataset)
    if asked.prediction:
        others = [f"{name} {format_share(share)}" for name, share in likeliest(dataset, 4) if name != asked.prediction]
        said = Text().append(writer.plain(asked.prediction), style="bold")
        if np.isfinite(asked.probability):
            said.append(f" {format_share(asked.probability)}", style="bold")
        if others:
            said.append(writer.plain("   " + ", ".join(others[:3])), style="dim")
        facts.add_row("predicts", said)
    if is_image(dataset) and (name := str(dataset.attrs.get("text", ""))):
        facts.add_row("image", Text(writer.plain(one_line(name))))
    explained = Text().append(writer.plain(asked.name), style="bold")
    if np.isfinite(asked.value):
        explained.append(f"   {asked.unit} {format_score(asked.value)}")
    if np.isfinite(asked.target_probability) and asked.name != asked.prediction:
        explained.append(f", probability {format_share(asked.target_probability)}")
    facts.add_row("explains", explained)
    named = method_words(dataset)
    if (begin := start_says(dataset)) is not None:
        facts.add_row("starts at", Text(writer.plain(f"{begin[0]} {format_share(begin[1])}")))
    if dataset.attrs.get("merged_words"):
        named.append("sub-words added up")
    if special != "show":
        named.append(f"special tokens {TOLD_OF_SPECIAL[special]}")
    facts.add_row("method", fold([Text(writer.plain(name)) for name in named if name], writer.width - 13))
    if cut := seams(dataset):
        facts.add_row("read in", Text(writer.plain(cut)))
    kept = all(entry.kept for entry in certificates(dataset))
    facts.add_row("certificate", Text(certificate_text(dataset), style="" if kept else writer.alarm))
    return facts


# The text


def _text(dataset: xr.Dataset, writer: Writer, shades: Shades | None) -> RenderableType:
    values = dataset.relevance.values.astype(np.float64)
    limit = limit_of(values)
    shown, note = _abridge(pieces(dataset), len(values), writer)
    legend = _legend(dataset, values, writer, shades)
    body = _shaded(shown, values / limit, writer, shades) if shades else _glossed(shown, values, writer)
    return Group(Padding(body, (0, 0, 1, 2)), *([Text(note, style="italic")] if note else []), legend)


def _abridge(found: list[Piece], n_tokens: int, writer: Writer) -> tuple[list[Piece], str]:
    """The beginning and the end of a very long text."""
    left_out = n_tokens - TOKENS_SHOWN
    if left_out <= 0:
        return found, ""
    head, tail = TOKENS_SHOWN * 3 // 4, n_tokens - TOKENS_SHOWN // 4
    places = [piece.index for piece in found]
    first, last = places.index(head), places.index(tail)
    note = f"{left_out} of {n_tokens} tokens are left out in the middle; the lists below count them."
    return [*found[:first], Piece(f" {writer.encodable('…', '...')} "), *found[last:]], note


def _shaded(found: Sequence[Piece], shares: Float[np.ndarray, " token"], writer: Writer, shades: Shades) -> Text:
    text = Text()
    for piece in found:
        style = shade(float(shares[piece.index]), shades) if piece.index is not None else Style()
        text.append(writer.plain(piece.text), style=style)
    return text


def _glossed(found: Sequence[Piece], values: Float[np.ndarray, " token"], writer: Writer) -> Text:
    """Every token with its score below it, in lines as wide as the console."""
    room = max(20, writer.width - 2)
    lines: list[tuple[str, str]] = []
    above, below = "", ""
    for piece in found:
        if piece.index is None and not piece.text.strip():
            continue
        word = writer.token(piece.text.strip(), room)
        score = _short(values[piece.index]) if piece.index is not None else ""
        width = max(cell_len(word), len(score))
        if above and cell_len(above) + 2 + width > room:
            lines.append((above, below))
            above, below = "", ""
        start = f"{above}  " if above else ""
        above = start + word + " " * (width - cell_len(word))
        below = (f"{below}  " if below else "") + score + " " * (width - len(score))
    lines.append((above, below))
    return Text("\n\n".join(f"{above.rstrip()}\n{below.rstrip()}" for above, below in lines))


def _short(value: float) -> str:
    """A score in two digits.

    Examples
    --------
    >>> _short(0.1234), _short(-12.3), _short(0.0), _short(0.00012)
    ('+0.12', '-12', '0', '+0.00012')
    """
    if value == 0:
        return "0"
    return f"{value:+.0f}" if abs(value) >= 9.5 else f"{value:+.2g}"


def _legend(
    dataset: xr.Dataset, values: Float[np.ndarray, " token"], writer: Writer, shades: Shades | None
) -> RenderableType:
    """Which colour speaks for what, and where colours start and end."""
    name, limit = writer.plain(shorten(question(dataset).name, 40)), limit_of(values)
    if shades is None:
        return Text(f"below each {unit_of(dataset)} its score: + for {name}, - against it", style="dim")
    legends = []
    for sign, side in ((+1, "for"), (-1, "against")):
        swatches = Text.assemble(*((" ab ", style) for style in reversed(shades[sign])))
        legends.append(swatches.append(f" {side} {name}", style="dim"))
    notes = [f"colour starts at {_short(STEPS[0] * limit)[1:]}, ends at {_short(limit)[1:]}"]
    if beyond := clipped_note(values):
        notes.append(beyond)
    return fold([*legends, *(Text(note, style="dim") for note in notes)], writer.width)


# The patches of an image


def _patches(dataset: xr.Dataset, writer: Writer, shades: Shades | None) -> RenderableType:
    """The grid of patches, two signs for each; where the console is too narrow, for the strongest of neighbours."""
    where, values = patches(dataset), dataset.relevance.values.astype(np.float64)
    limit = limit_of(values[where.index])
    grid = np.full((int(where.row.max()) + 1, int(where.col.max()) + 1), np.nan)
    grid[where.row, where.col] = values[where.index] / limit
    side = max(1, -(-2 * grid.shape[1] // max(2, writer.width - 2)))
    drawn = Text("\n").join([_line_of(row, shades) for row in _strongest_of(grid, side)])
    parts: list[RenderableType] = [Padding(drawn, (0, 0, 1, 2))]
    if side > 1:
        parts.append(Text(f"a place stands for {side} by {side} patches and shows the strongest", style="dim"))
    if outside := placeless(dataset, values):
        named = [
            Text.assemble(writer.token(entry.token), " ", (format_score(entry.score), writer.sign_style(entry.score)))
            for entry in outside
        ]
        parts.append(Group(Text("outside the picture", style="bold"), fold(named, writer.width)))
    return Group(*parts, _patch_legend(values[where.index], writer, shades))


def _strongest_of(grid: Float[np.ndarray, "row col"], side: int) -> Float[np.ndarray, "row2 col2"]:
    """The value of largest magnitude in every square of `side` by `side`; NaN where no patch is."""
    if side == 1:
        return grid
    rows, cols = (-(-size // side) for size in grid.shape)
    padded = np.full((rows * side, cols * side), np.nan)
    padded[: grid.shape[0], : grid.shape[1]] = grid
    squares = padded.reshape(rows, side, cols, side).transpose(0, 2, 1, 3).reshape(rows, cols, -1)
    strongest_place = np.nan_to_num(np.abs(squares), nan=-1).argmax(-1)
    return np.take_along_axis(squares, strongest_place[..., None], -1)[..., 0]


def _line_of(shares: Float[np.ndarray, " col"], shades: Shades | None) -> Text:
    line = Text()
    for share in shares:
        style = shade(float(share), shades) if shades and np.isfinite(share) else Style()
        line.append(patch_sign(float(share)), style=(style or "dim") if shades else "")
    return line


def patch_sign(share: float) -> str:
    """Two signs for a share of the largest score: its sign and its tenths.

    Examples
    --------
    >>> patch_sign(0.31), patch_sign(-1.0), patch_sign(0.049), patch_sign(float("nan"))
    ('+3', '-9', ' .', '  ')
    """
    if np.isnan(share):
        return "  "
    tenths = min(9, int(10 * abs(share) + 0.5))
    return f"{'+' if share > 0 else '-'}{tenths}" if tenths else " ."


def _patch_legend(values: Float[np.ndarray, " patch"], writer: Writer, shades: Shades | None) -> Text:
    """What the signs and colours of patches stand for."""
    meaning = f"+ for, - against, in tenths of {_short(limit_of(values))[1:]}; . is less than half a tenth"
    notes = [meaning, "9 is all from 0.85", PATCH_NAMES, *filter(None, [clipped_note(values, "patch")])]
    swatches = [Text.assemble(*((patch_sign(share), shade(share, shades)) for share in SWATCHES))] if shades else []
    return fold([*swatches, *(Text(note, style="dim") for note in notes)], writer.width)


# The strongest tokens


def _lists(dataset: xr.Dataset, k: int, writer: Writer, *, special: bool) -> RenderableType:
    values = dataset.relevance.values.astype(np.float64)
    limit = limit_of(values)
    unit, ranked = unit_of(dataset), special | ~dataset.special.values
    two = writer.width >= 2 * LIST_LEAST + 2
    width = min(LIST_CELLS, (writer.width - 2) // 2 if two else writer.width)
    lists = []
    for sign, kept in (("for", values > 0), ("against", values < 0)):
        found = strongest(dataset, k, sign="for" if sign == "for" else "against", special=special)
        kept = kept & ranked
        count = int(kept.sum())
        title = f"{sign} {writer.token(question(dataset).name, 20)}"
        heading = Text.assemble(
            (title, "bold"), (f"  {format_score(float(values[kept].sum()))} from {counted(count, unit)}", "dim")
        )
        more = [Text(f"and {counted(count - len(found), unit)} more", style="dim italic")] if count > len(found) else []
        lists.append(Group(heading, _list(found, limit, width, writer), *more))
    rest = float(values[~ranked].sum())
    unranked = [Text(f"special tokens, not ranked  {format_score(rest)}", style="dim")] if rest else []
    if not two:
        return Group(lists[0], "", lists[1], *unranked)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(width=width)
    grid.add_column(width=width)
    grid.add_row(*lists)
    return Group(grid, *unranked)


def _list(found: list[Ranked], limit: float, width: int, writer: Writer) -> RenderableType:
    if not found:
        return Text("none", style="italic dim")
    places = max(len(str(entry.position)) for entry in found)
    bar = BAR_CELLS if width >= LIST_CELLS else 0
    room = width - places - 9 - 7 - (4 + bar if bar else 3)
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", style="dim", no_wrap=True, width=places)
    table.add_column(no_wrap=True, width=room)
    table.add_column(justify="right", no_wrap=True, width=9)
    table.add_column(justify="right", no_wrap=True, style="dim", width=7)
    if bar:
        table.add_column(no_wrap=True, width=bar)
    for entry in found:
        colour = writer.sign_style(entry.score)
        table.add_row(
            str(entry.position),
            Text(writer.token(entry.token, room)),
            Text(format_score(entry.score), style=f"bold {colour}"),
            writer.share(entry.share),
            *([Text(writer.measure(abs(entry.score) / limit, bar), style=colour)] if bar else []),
        )
    return table


# Layers


def _layers(dataset: xr.Dataset, writer: Writer, shades: Shades | None, *, special: bool) -> RenderableType | None:
    name = layer_map(dataset)
    if name is None:
        return None
    scores = dataset[name].transpose("layer", "token").values.astype(np.float64)
    limit = limit_of(scores)
    rows = layer_rows(dataset, special=special)
    columns = {
        "layer": [str(row.layer) for row in rows],
        "for": [format_score(row.total_for) for row in rows],
        "against": [format_score(row.total_against) for row in rows],
    }
    if any(row.special for row in rows):
        columns["of it special"] = [format_score(row.special) for row in rows]
    if any(np.isfinite(row.gap) for row in rows):
        columns["missed"] = [writer.share(row.gap) for row in rows]
    while (left := writer.width - sum(wide := widths_of(columns)) - 2 * len(wide)) < NAMED_LEAST and len(columns) > 1:
        columns.popitem()  # what a narrow terminal has no room for: who is strongest is worth more
    titles, widths, cells = list(columns), wide, list(zip(*columns.values(), strict=True))
    strip = min(STRIP_CELLS, scores.shape[1], left - NAMES_LEAST - 2)
    titles += ["tokens"] * (strip >= STRIP_LEAST) + ["strongest"]
    widths += [max(strip, len("tokens"))] * (strip >= STRIP_LEAST)
    room = writer.width - sum(widths) - 2 * len(widths)
    table = plain_table()
    for title, width in zip(titles, (*widths, room), strict=True):
        table.add_column(title, justify="left" if title in ("tokens", "strongest") else "right", width=width)
    for row, numbers, values in zip(rows, cells, scores, strict=True):
        drawn = [_strip(values / limit, strip, writer, shades)] if strip >= STRIP_LEAST else []
        table.add_row(*numbers, *drawn, _named(row, room, writer))
    title = {"layer_relevance": "by layer", "layer_ig": "by layer, not yet fused"}[name]
    notes = ["layer: the states that enter it, 0 the embeddings"]
    if STRIP_LEAST <= strip < scores.shape[1]:
        notes.append(f"a sign stands for {-(-scores.shape[1] // strip)} tokens or fewer and shows the strongest")
    return Group(Text(title, style="bold"), Text("; ".join(notes), style="dim"), table)


def widths_of(columns: Mapping[str, Sequence[str]]) -> list[int]:
    """How many signs the columns of a table take, by what stands at their heads."""
    return [max(map(cell_len, (title, *cells))) for title, cells in columns.items()]


def _strip(shares: Float[np.ndarray, " token"], cells: int, writer: Writer, shades: Shades | None) -> Text:
    """One sign per token, or per group of neighbours: that of the strongest of them."""
    strip = Text()
    for group in np.array_split(shares, cells):
        share = float(group[np.argmax(np.abs(group))])
        level = sum(abs(share) >= step for step in STEPS)
        sign = _STRIP[1 if share > 0 else -1][level - 1] if level else " "
        strip.append(writer.encodable(sign, "."), style=shade(share, shades) if shades else "")
    return strip


def _named(row: LayerRow, room: int, writer: Writer) -> Text:
    """The strongest tokens of a layer, as many as fit with their numbers."""
    text = Text()
    for entry in row.strongest:
        number = f" {_short(entry.score)}"
        token = writer.token(entry.token, max(4, min(NAME_CELLS, room - len(number))))
        if text and text.cell_len + 2 + cell_len(token) + len(number) > room:
            break
        text.append("  " if text else "").append(token)
        text.append(number, style=writer.sign_style(entry.score))
    return text or Text("every score is zero", style="italic dim")
