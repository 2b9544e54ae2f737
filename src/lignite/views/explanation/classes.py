"""Several classes of one input as text: the answer, who speaks for which class, and the words beside each other."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.text import Text

from lignite.results.certificate import certificates
from lignite.results.classes import by_class
from lignite.views.attributes import model_name
from lignite.views.explanation.facts import arrange, certificate_text, method_words, question, share_text
from lignite.views.explanation.message import message, unit_of
from lignite.views.explanation.terminal import TOP, shade, shades_of
from lignite.views.labels import format_score, format_share, limit_of
from lignite.views.palette import WARM
from lignite.views.writer import TOKEN_CELLS, Writer, facts_table, fold, plain_table
from lignite.wording import counted, shorten

COLUMN_CELLS, SCORE_CELLS = 12, 9
"""Of the name of a class above its scores, and of a score."""


def print_classes(
    dataset: xr.Dataset, *, console: Console | None = None, k: int = TOP, tokens: bool = False, special: str = "show"
) -> None:
    """Print what the model says, who speaks for and against each class, and the strongest words of all in a table."""
    console = console or Console()
    writer = Writer(console)
    classes = {name: arrange(one, tokens=tokens, special=special) for name, one in by_class(dataset).items()}
    for part in (
        _message(list(classes.values()), writer, ranked=special == "rank"),
        *_tables(classes, k, writer, console, ranked=special == "rank"),
        _facts(list(classes.values()), writer),
    ):
        console.print(part)
        console.print()


def _message(classes: Sequence[xr.Dataset], writer: Writer, *, ranked: bool) -> RenderableType:
    said = [message(one, special=ranked) for one in classes]
    first = question(classes[0])
    sure = f" ({format_share(first.probability)})" if np.isfinite(first.probability) else ""
    doubted = [Text(writer.plain(each.doubt), style=f"bold {WARM[2]}") for each in said if each.doubt][:1]
    says = [Text(writer.plain(f"The model says {first.prediction}{sure}."), style="bold")] if first.prediction else []
    sides = [
        Text(writer.plain(each.sides if not each.even else f"{each.for_title}: {each.even.lower()}")) for each in said
    ]
    return Group(*doubted, *says, *sides)


def _tables(
    classes: Mapping[str, xr.Dataset], k: int, writer: Writer, console: Console, *, ranked: bool
) -> list[RenderableType]:
    """Words in rows and classes in columns, of which as many stand side by side as have room."""
    first = next(iter(classes.values()))
    scores = np.stack([one.relevance.values.astype(np.float64) for one in classes.values()], axis=1)
    counts = np.ones(len(scores), bool) if ranked else ~first.special.values
    size = np.where(counts, np.abs(scores).max(1), -1.0)
    chosen = [int(at) for at in np.argsort(-size, kind="stable")[: 2 * k] if size[at] > 0]
    limit, unit = limit_of(scores[counts] if counts.any() else scores), unit_of(first)
    word = min(TOKEN_CELLS, writer.width // 2)
    cells = min(COLUMN_CELLS, max(SCORE_CELLS, (writer.width - word) // 2 - 2))
    at_once = max(1, (writer.width - word) // (cells + 2))
    names, shades, found = list(classes), shades_of(console), []
    for start in range(0, len(names), at_once):
        some = range(start, min(start + at_once, len(names)))
        table = plain_table()
        table.add_column("", width=word, no_wrap=True)
        for at in some:
            table.add_column(writer.token(names[at], cells), justify="right", width=cells, no_wrap=True)
        table.add_row(Text("probability", style="dim"), *(_probability(classes[names[at]]) for at in some))
        for row in chosen:
            styles = [shade(scores[row, at] / limit, shades) if shades else Style() for at in some]
            table.add_row(
                writer.token(str(first.token.values[row]), word),
                *(Text(format_score(scores[row, at]), style=style) for at, style in zip(some, styles, strict=True)),
            )
        found.append(table)
    left = int((size > 0).sum()) - len(chosen)
    more = f"; and {counted(left, unit)} more" if left > 0 else ""
    note = fold([Text(f"+ for the class above, - against it{more}", style="dim")], writer.width)
    return [*found[:-1], Group(found[-1], note)]


def _probability(one: xr.Dataset) -> Text:
    return Text(format_share(question(one).target_probability), style="dim")


def _facts(classes: Sequence[xr.Dataset], writer: Writer) -> RenderableType:
    first = classes[0]
    facts = facts_table(("model", Text(writer.plain(model_name(first)), style="bold")))
    named = [shorten(question(one).name, 40) for one in classes]
    facts.add_row("explains", fold([Text(writer.plain(name)) for name in named], writer.width - 13))
    facts.add_row("method", fold([Text(writer.plain(name)) for name in method_words(first) if name], writer.width - 13))
    facts.add_row("certificate", _certificate(classes))
    return facts


def _certificate(classes: Sequence[xr.Dataset]) -> Text:
    """The worst of all classes: they are promised the same."""
    found = [each for one in classes for each in certificates(one)]
    if not found or not all(each.promised for each in found):
        return Text(certificate_text(classes[0]))
    worst, kept = max(float(each.worst) for each in found), all(each.kept for each in found)
    text = f"scores of every class miss at most {share_text(worst)} of the change they explain"
    return Text(text, style="" if kept else f"bold {WARM[2]}")
