"""Every metric that `evaluate` knows, by name; which of them are measured, and what they say of explanations."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lignite.calls import as_names
from lignite.errors import OptionError
from lignite.metrics.asking.context import CONTEXT
from lignite.metrics.asking.removal import REMOVAL
from lignite.metrics.asking.robustness import ROBUSTNESS
from lignite.metrics.asking.sanity import SANITY
from lignite.metrics.asking.session import Session, Subject
from lignite.metrics.metric import Explained, Metric, Reading
from lignite.metrics.readings.cost import COST
from lignite.metrics.readings.localization import LOCALIZATION
from lignite.metrics.readings.plausibility import PLAUSIBILITY
from lignite.wording import did_you_mean

METRICS: dict[str, Metric] = {
    metric.name: metric for metric in (*REMOVAL, *PLAUSIBILITY, *LOCALIZATION, *CONTEXT, *ROBUSTNESS, *SANITY, *COST)
}
"""In the order of tables."""

_COLUMNS = {"mask": "mask=… or boxes=…"}
"""Columns that hold what a metric needs, where they are not called so."""


@dataclass(frozen=True)
class Measured:
    """Scores of one explanation as (metric, fill, value), and its curves, at equal shares of tokens or their own."""

    scores: list[tuple[str, str, float]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)


def choose_metrics(
    metrics: str | Metric | Iterable[str | Metric] | None, *, evidence: Collection[str] = (), reads: str = "text"
) -> tuple[Metric, ...]:
    """Metrics by their names, in the order of tables, and those that are given themselves.

    Without any, all that are cheap and that the evidence and the inputs allow.

    Parameters
    ----------
    evidence
        What people said about the examples, by names of `lignite.metrics.metric.Evidence`.
    reads
        What the model reads, ``"text"`` or ``"image"``.

    Examples
    --------
    >>> [metric.name for metric in choose_metrics("insertion, deletion")]
    ['deletion', 'insertion']
    """
    if metrics is None:
        return tuple(metric for metric in METRICS.values() if metric.default and _fits(metric, evidence, reads))
    several = [metrics] if isinstance(metrics, Metric) else metrics.split(",") if isinstance(metrics, str) else metrics
    given = list(several)
    named = as_names("metrics", [name for name in given if not isinstance(name, Metric)])
    names = {name.strip().replace("_", "-") for name in named if name.strip()}
    for name in sorted(names - METRICS.keys()):
        listed = ", ".join(METRICS)
        raise OptionError(f"metrics={name!r} is not known; choose from {listed}.{did_you_mean(name, METRICS)}")
    chosen = [metric for name, metric in METRICS.items() if name in names]
    chosen += [metric for metric in given if isinstance(metric, Metric) and metric not in chosen]
    if not chosen:
        raise OptionError(f"metrics is empty; give some of {', '.join(METRICS)}.")
    for metric in chosen:
        _check(metric, evidence, reads)
    return tuple(chosen)


def _fits(metric: Metric, evidence: Collection[str], reads: str) -> bool:
    return set(metric.needs) <= set(evidence) and metric.reads in ("", reads)


def _check(metric: Metric, evidence: Collection[str], reads: str) -> None:
    if metric.reads not in ("", reads):
        raise OptionError(
            f"metrics={metric.name!r} is for {metric.reads}s, and this model reads {reads}s; leave it out."
        )
    if not set(metric.needs) <= set(evidence):
        columns = ", and ".join(_COLUMNS.get(what, f"{what}=…") for what in metric.needs)
        raise OptionError(f"metrics={metric.name!r} needs human evidence: name its column, {columns}.")
    if METRICS.get(metric.name, metric) != metric:
        raise OptionError(
            f"metrics: {metric.name!r} is the name of another metric already; give yours a name of its own."
        )


def described() -> list[tuple[str, str]]:
    """Every metric with its meaning in one sentence, for lists in documents and in the help of the command line."""
    return [(name, _sentence(metric)) for name, metric in METRICS.items()]


def _sentence(metric: Metric) -> str:
    notes = [f"{metric.better} is better"] if metric.better else []
    notes += [f"{metric.reads}s"] if metric.reads else []
    notes += [f"needs {' and '.join(metric.needs)}"] if metric.needs else []
    notes += [] if metric.default else ["when named"]
    return metric.meaning + (f" ({'; '.join(notes)})" if notes else "")


def measure(session: Session, chosen: Sequence[Metric]) -> dict[str, list[Measured]]:
    """Metrics of the explanations of several methods, one entry per subject."""
    answers = {
        question: question.ask(session, [metric for metric in chosen if metric.asks == question])
        for question in dict.fromkeys(metric.asks for metric in chosen)
        if question is not None
    }
    found = {method: [Measured() for _ in session.subjects] for method in session.explained}
    for metric in chosen:
        answer = None if metric.asks is None else answers[metric.asks]
        fills = session.how.fills if metric.per_fill else ("",)
        values = metric.measure(session.cases, answer)
        for entries, numbers in _each(found, values):
            of_one = zip(fills, numbers.tolist(), strict=True)
            entries.scores.extend((metric.name, fill, value) for fill, value in of_one)
    for question, answer in answers.items():
        for entry, values in question.curves(answer):
            for entries, numbers in _each(found, values):
                entries.curves.append(entry | {"values": numbers.tolist()})
    return found


def _each(found: dict[str, list[Measured]], values: np.ndarray) -> list[tuple[Measured, np.ndarray]]:
    """What was found of every method and subject, and its own of some values."""
    return [
        (entries, values[number, place])
        for number, several in enumerate(found.values())
        for place, entries in enumerate(several)
    ]


def check_evidence(subject: Subject) -> None:
    """Refuse human evidence that meets no token of its text or picture, before anything is explained.

    Raises
    ------
    InputError
        As the reading does that cannot use it.
    """
    case = subject.case(Explained(np.zeros(len(subject.row.encoded.tokens.keep()))))
    for metric in METRICS.values():
        if isinstance(metric, Reading) and metric.needs and metric.knows(case.evidence):
            metric.read(case)
