"""Inputs without some of their tokens, patches or pixels, for the metrics of removal."""

from collections.abc import Sequence
from typing import Any

import xarray as xr

from lignite.metrics.asking.faithfulness import faithfulness
from lignite.metrics.asking.session import Session, Subject


def ask_without(question: Any, session: Session, metrics: Sequence[Any]) -> xr.Dataset:
    """Remove tokens or pixels as a `lignite.metrics.removal.Removals` asks, in the parts that these metrics read."""
    parts = tuple(dict.fromkeys(metric.part for metric in metrics if hasattr(metric, "part")))
    how = session.how
    return faithfulness(
        session.model,
        session.rows,
        session.relevances,
        fills=how.fills,
        corpus=how.corpus,
        steps=how.steps,
        parts=parts,
        pixelwise=question.pixelwise,
        labels=[_label(subject) for subject in session.subjects] if "perturbation" in parts else None,
        memory=how.memory,
    )


def _label(subject: Subject) -> int:
    """The class that the image should be given: its own where it is known, else the explained one."""
    index = subject.row.objective.index
    return subject.label if subject.label is not None else -1 if index is None else index
