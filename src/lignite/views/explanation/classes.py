"""Several classes of one input as text: the answer, who speaks for which class, and the words beside each other."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from rich.console import Console, Group, RenderableType
from rich.text import Text

from lignite.results.certificate import certificates
from lignite.results.classes import by_class
from lignite.views.attributes import model_name
from lignite.views.explanation.columns import set_beside
from lignite.views.explanation.facts import arrange, certificate_text, method_words, question, share_text
from lignite.views.explanation.message import message, unit_of
from lignite.views.explanation.terminal import TOP, shades_of
from lignite.views.labels import format_share, limit_of
from lignite.views.writer import Writer, facts_table, fold
from lignite.wording import counted, shorten


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
    doubted = [Text(writer.plain(each.doubt), style=writer.alarm) for each in said if each.doubt][:1]
    says = [Text(writer.plain(f"The model says {first.prediction}{sure}."), style="bold")] if first.prediction else []
    sides = [
        Text(writer.plain(each.sides if not each.even else f"{each.for_title}: {each.even.lower()}")) for each in said
    ]
    return Group(*doubted, *says, *sides)


def _tables(
    classes: Mapping[str, xr.Dataset], k: int, writer: Writer, console: Console, *, ranked: bool
) -> list[RenderableType]:
    first = next(iter(classes.values()))
    scores = np.stack([one.relevance.values.astype(np.float64) for one in classes.values()], axis=1)
    counts = np.ones(len(scores), bool) if ranked else ~first.special.values
    size = np.where(counts, np.abs(scores).max(1), -1.0)
    chosen = [int(at) for at in np.argsort(-size, kind="stable")[: 2 * k] if size[at] > 0]
    left = int((size > 0).sum()) - len(chosen)
    more = f"; and {counted(left, unit_of(first))} more" if left > 0 else ""
    return set_beside(
        {name: format_share(question(one).target_probability) for name, one in classes.items()},
        [str(first.token.values[at]) for at in chosen],
        scores[chosen],
        writer,
        shades_of(console),
        limit=limit_of(scores[counts] if counts.any() else scores),
        note=f"+ for the class above, - against it{more}",
    )


def _facts(classes: Sequence[xr.Dataset], writer: Writer) -> RenderableType:
    first = classes[0]
    facts = facts_table(("model", Text(writer.plain(model_name(first)), style="bold")))
    named = [shorten(question(one).name, 40) for one in classes]
    facts.add_row("explains", fold([Text(writer.plain(name)) for name in named], writer.width - 13))
    facts.add_row("method", fold([Text(writer.plain(name)) for name in method_words(first) if name], writer.width - 13))
    facts.add_row("certificate", _certificate(classes, writer))
    return facts


def _certificate(classes: Sequence[xr.Dataset], writer: Writer) -> Text:
    """The worst of all classes: they are promised the same."""
    found = [each for one in classes for each in certificates(one)]
    if not found or not all(each.promised for each in found):
        return Text(certificate_text(classes[0]))
    worst, kept = max(float(each.worst) for each in found), all(each.kept for each in found)
    text = f"scores of every class miss at most {share_text(worst)} of the change they explain"
    return Text(text, style="" if kept else writer.alarm)
