"""An explanation as text: shaded words where there is colour, numbers under the words where there is none."""

from collections.abc import Sequence

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
    limit_of,
    method_words,
    pieces,
    question,
    seams,
    start_says,
    strongest,
)
from lignite.views.labels import format_score, format_share
from lignite.views.palette import COLD, WARM, sign_colour
from lignite.views.patches.facts import is_image, limit_on, patches, placeless
from lignite.views.writer import Writer, facts_table, fold, plain_table
from lignite.wording import one_line

TOKENS_SHOWN = 1000  # a longer text would push the numbers off the screen
TOP = 5
STRIP_CELLS = 32
LIST_CELLS = 46  # width of a list of tokens with bars
LIST_LEAST = 34  # and of one without
BAR_CELLS = 6
NAME_CELLS = 12  # of a token in the table of layers
NAMES_LEAST = 20
STRIP_LEAST = 5

STEPS = (0.05, 0.25, 0.6)
"""Shares of the largest score at which a word is written in colour, on light colour, on strong colour."""

_INK, _PAPER = "#000000", "#ffffff"
_SHADES = {
    +1: (Style(color=WARM[2]), Style(color=_INK, bgcolor=WARM[2]), Style(color=_PAPER, bgcolor=WARM[3], bold=True)),
    -1: (Style(color=COLD[2]), Style(color=_INK, bgcolor=COLD[2]), Style(color=_PAPER, bgcolor=COLD[3], bold=True)),
}
_STRIP = {+1: ("·", "+", "+"), -1: ("·", "-", "-")}


def print_explanation(
    dataset: xr.Dataset, *, console: Console | None = None, k: int = TOP, words: bool = True, special: str = "show"
) -> None:
    """Print the shaded text, the tokens that speak loudest for and against the target, every layer, the certificate.

    `words` adds up the sub-words of a word; `special` tokens are shown (``"show"``), hidden (``"hide"``), or their
    scores shared among the others in proportion to theirs (``"share"``).
    """
    console = console or Console()
    writer = Writer(console)
    dataset = arrange(dataset, words=words, special=special)
    for part in (
        _heading(dataset, writer, special),
        (_patches if is_image(dataset) else _text)(dataset, writer, shaded=console.color_system is not None),
        _lists(dataset, k, writer),
        _layers(dataset, writer),
        _certificate(dataset, writer),
    ):
        if part is not None:
            console.print(part)
            console.print()


def shade(share: float) -> Style:
    """How a score is shown that is this share of the largest; nothing for what hardly counts.

    Middle tones, because the colour of the terminal itself is not known: they stand out from black and from white.
    """
    level = sum(abs(share) >= step for step in STEPS)
    return _SHADES[1 if share > 0 else -1][level - 1] if level else Style()


def _heading(dataset: xr.Dataset, writer: Writer, special: str) -> RenderableType:
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
        named.append({"hide": "special tokens hidden", "share": "special tokens shared among the others"}[special])
    facts.add_row("method", fold([Text(writer.plain(name)) for name in named if name], writer.width - 10))
    if cut := seams(dataset):
        facts.add_row("read in", Text(writer.plain(cut)))
    return facts


# The text


def _text(dataset: xr.Dataset, writer: Writer, *, shaded: bool) -> RenderableType:
    values = dataset.relevance.values.astype(np.float64)
    limit = limit_of(values)
    shown, note = _abridge(pieces(dataset), len(values), writer)
    legend = _legend(limit, shaded=shaded)
    body = _shaded(shown, values / limit, writer) if shaded else _glossed(shown, values, writer)
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


def _shaded(found: Sequence[Piece], shares: Float[np.ndarray, " token"], writer: Writer) -> Text:
    text = Text()
    for piece in found:
        style = shade(float(shares[piece.index])) if piece.index is not None else Style()
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


def _legend(limit: float, *, shaded: bool) -> Text:
    if not shaded:
        return Text("below each word its score: + for, - against", style="dim")
    legend = Text().append("against ", style="dim")
    for style in reversed(_SHADES[-1]):
        legend.append(" ab ", style=style)
    legend.append("  ")
    for style in _SHADES[+1]:
        legend.append(" ab ", style=style)
    start = f"{100 * STEPS[0]:.0f} % of the largest score, {_short(limit)[1:]}"
    return legend.append(f" for   colour starts at {start}", style="dim")


# The patches of an image


def _patches(dataset: xr.Dataset, writer: Writer, *, shaded: bool) -> RenderableType:
    """The grid of patches, two signs for each; where the console is too narrow, for the strongest of neighbours."""
    where, values = patches(dataset), dataset.relevance.values.astype(np.float64)
    limit = limit_on(where, values)
    grid = np.full((int(where.row.max()) + 1, int(where.col.max()) + 1), np.nan)
    grid[where.row, where.col] = values[where.index] / limit
    side = max(1, -(-2 * grid.shape[1] // max(2, writer.width - 2)))
    drawn = Text("\n").join([_line_of(row, shaded=shaded) for row in _strongest_of(grid, side)])
    parts: list[RenderableType] = [Padding(drawn, (0, 0, 1, 2))]
    if side > 1:
        parts.append(Text(f"a place stands for {side} by {side} patches and shows the strongest", style="dim"))
    if outside := placeless(dataset, values):
        named = [
            Text.assemble(writer.token(entry.token), " ", (format_score(entry.score), sign_colour(entry.score)))
            for entry in outside
        ]
        parts.append(Group(Text("outside the picture", style="bold"), fold(named, writer.width)))
    return Group(*parts, _patch_legend(limit, writer, shaded=shaded))


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


def _line_of(shares: Float[np.ndarray, " col"], *, shaded: bool) -> Text:
    line = Text()
    for share in shares:
        style = shade(float(share)) if np.isfinite(share) else Style()
        line.append(patch_sign(float(share)), style=(style or "dim") if shaded else "")
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


def _patch_legend(limit: float, writer: Writer, *, shaded: bool) -> Text:
    """What the signs and colours of patches stand for."""
    meaning = f"+ for, - against, in tenths of the largest patch, {_short(limit)[1:]}; . is less than half a tenth"
    notes = [Text(note, style="dim") for note in (meaning, "9 is all from 0.85")]
    return fold([*([_swatches()] if shaded else []), *notes], writer.width)


def _swatches() -> Text:
    shares = (-0.9, -0.4, -0.1, 0.1, 0.4, 0.9)
    return Text.assemble(*((patch_sign(share), shade(share)) for share in shares))


# The strongest tokens


def _lists(dataset: xr.Dataset, k: int, writer: Writer) -> RenderableType:
    values = dataset.relevance.values.astype(np.float64)
    limit = limit_of(values)
    unit = "word" if dataset.attrs.get("merged_words") else "token"
    two = writer.width >= 2 * LIST_LEAST + 2
    width = min(LIST_CELLS, (writer.width - 2) // 2 if two else writer.width)
    lists = []
    for sign, kept in (("for", values > 0), ("against", values < 0)):
        found = strongest(dataset, k, sign="for" if sign == "for" else "against")
        count = int(kept.sum())
        heading = Text.assemble(
            (sign, "bold"), (f"  {format_score(float(values[kept].sum()))} from {_count(count, unit)}", "dim")
        )
        more = [Text(f"and {_count(count - len(found), unit)} more", style="dim italic")] if count > len(found) else []
        lists.append(Group(heading, _list(found, limit, width, writer), *more))
    if not two:
        return Group(lists[0], "", lists[1])
    grid = Table.grid(padding=(0, 2))
    grid.add_column(width=width)
    grid.add_column(width=width)
    grid.add_row(*lists)
    return grid


def _count(count: int, unit: str) -> str:
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


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
        colour = sign_colour(entry.score)
        table.add_row(
            str(entry.position),
            Text(writer.token(entry.token, room)),
            Text(format_score(entry.score), style=f"bold {colour}"),
            writer.share(entry.share),
            *([Text(writer.measure(abs(entry.score) / limit, bar), style=colour)] if bar else []),
        )
    return table


# Layers


def _layers(dataset: xr.Dataset, writer: Writer) -> RenderableType | None:
    name = layer_map(dataset)
    if name is None:
        return None
    scores = dataset[name].transpose("layer", "token").values.astype(np.float64)
    limit = limit_of(scores)
    rows = layer_rows(dataset)
    titles = ["layer", "for", "against", "gap"]
    cells = [
        [str(row.layer), format_score(row.total_for), format_score(row.total_against), writer.share(row.gap)]
        for row in rows
    ]
    if not any(np.isfinite(row.gap) for row in rows):
        titles, cells = titles[:-1], [row[:-1] for row in cells]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    left = writer.width - sum(widths) - 2 * len(widths)
    strip = min(STRIP_CELLS, scores.shape[1], left - NAMES_LEAST - 2)
    titles += ["tokens"] * (strip >= STRIP_LEAST) + ["strongest"]
    widths += [max(strip, len("tokens"))] * (strip >= STRIP_LEAST)
    room = writer.width - sum(widths) - 2 * len(widths)
    table = plain_table()
    for title, width in zip(titles, (*widths, room), strict=True):
        table.add_column(title, justify="left" if title in ("tokens", "strongest") else "right", width=width)
    for row, numbers, values in zip(rows, cells, scores, strict=True):
        drawn = [_strip(values / limit, strip, writer)] if strip >= STRIP_LEAST else []
        table.add_row(*numbers, *drawn, _named(row, room, writer))
    title = {"layer_relevance": "by layer", "layer_ig": "by layer, not yet fused"}[name]
    notes = ["layer: the states that enter it, 0 the embeddings"]
    if STRIP_LEAST <= strip < scores.shape[1]:
        notes.append(f"a sign stands for {-(-scores.shape[1] // strip)} tokens or fewer and shows the strongest")
    return Group(Text(title, style="bold"), Text("; ".join(notes), style="dim"), table)


def _strip(shares: Float[np.ndarray, " token"], cells: int, writer: Writer) -> Text:
    """One sign per token, or per group of neighbours: that of the strongest of them."""
    strip = Text()
    for group in np.array_split(shares, cells):
        share = float(group[np.argmax(np.abs(group))])
        level = sum(abs(share) >= step for step in STEPS)
        sign = _STRIP[1 if share > 0 else -1][level - 1] if level else " "
        strip.append(writer.encodable(sign, "."), style=shade(share))
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
        text.append(number, style=sign_colour(entry.score))
    return text or Text("every score is zero", style="italic dim")


def _certificate(dataset: xr.Dataset, writer: Writer) -> RenderableType:
    kept = all(entry.kept for entry in certificates(dataset))
    return Text.assemble(("certificate  ", "bold"), (certificate_text(dataset), "" if kept else f"bold {WARM[2]}"))
