"""What metrics say of explanations, and whether what people said can be used at all."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lignite.metrics.asking.session import Session, Subject
from lignite.metrics.metric import Explained, Metric, Reading
from lignite.metrics.registry import METRICS


@dataclass(frozen=True)
class Measured:
    """Scores of one explanation as (metric, fill, value), and its curves, at equal shares of tokens or their own."""

    scores: list[tuple[str, str, float]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)


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
