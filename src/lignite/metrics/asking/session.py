"""A session of questions: examples with their explanations, the model that is asked about them, and how."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float

from lignite.errors import InputError, NotFiniteError
from lignite.metrics.metric import Case, Evidence, Explained
from lignite.models.load import Model
from lignite.results.pixels import boxes_of
from lignite.targets.edits import is_image
from lignite.targets.fills import NEUTRAL, Corpus
from lignite.targets.rows import Row

ExplainRows = Callable[[Sequence[Row]], Sequence[Float[np.ndarray, " token"]]]
"""Explains rows as a method does: one array per row, one number per token that is no padding."""


@dataclass(frozen=True)
class Asking:
    """How a model is asked.

    `by_rationale`: evidence kept in its place is what people marked, not the method. `smooth`: between the centres of
    patches relevance is drawn as a line. `corpus`: where drawn words and patches come from.
    """

    fills: tuple[str, ...]
    steps: int = 10
    seed: int = 0
    memory: int | float | str | None = None
    by_rationale: bool = False
    smooth: bool = False
    corpus: Corpus | None = None

    @property
    def averaged(self) -> tuple[str, ...]:
        """The neutral ones among several fills, over which a mean of its own is told; none where there is but one."""
        found = tuple(fill for fill in self.fills if fill in NEUTRAL)
        return found if len(found) > 1 else ()

    def shares(self) -> list[float]:
        """Shares of the tokens at which curves are given."""
        return [step / self.steps for step in range(self.steps + 1)]


@dataclass(frozen=True, eq=False)
class Subject:
    """An example as the model sees it, the evidence on it, and the number of its class where that is known."""

    row: Row
    evidence: Evidence = field(default_factory=Evidence)
    label: int | None = None

    def case(self, explained: Explained, *, smooth: bool = False) -> Case:
        """One of its explanations, beside the evidence."""
        tokens = self.row.encoded.tokens.keep()
        picture = None
        if is_image(self.row):
            height, width = self.row.encoded.tensors["pixel_values"].shape[2:]
            picture = (height, width)
        return Case(explained, tokens, self.evidence, boxes_of(tokens.columns()), picture, smooth)


@dataclass(frozen=True, eq=False)
class Session:
    """Subjects that several methods explained; `explainers` explain other rows, or another model, as each does."""

    model: Model
    subjects: Sequence[Subject]
    explained: Mapping[str, Sequence[Explained]]
    explainers: Mapping[str, ExplainRows]
    how: Asking

    @cached_property
    def rows(self) -> list[Row]:
        return [subject.row for subject in self.subjects]

    @cached_property
    def relevances(self) -> dict[str, list[Float[np.ndarray, " token"]]]:
        return {method: [one.relevance for one in several] for method, several in self.explained.items()}

    @cached_property
    def cases(self) -> dict[str, list[Case]]:
        return {
            method: [
                subject.case(one, smooth=self.how.smooth) for subject, one in zip(self.subjects, several, strict=True)
            ]
            for method, several in self.explained.items()
        }


def by_place(
    number: int, row: Row, relevance: Float[np.ndarray, "_"], *, method: str = ""
) -> Float[np.ndarray, " token"]:
    """Relevances by place in the model's input, 0 for padding, checked; `number` and `method` name them in errors."""
    kept = ~np.asarray(row.encoded.tokens.padding, dtype=bool)
    scores = np.asarray(relevance, dtype=np.float64)
    origin = f"{method}: " if method else ""
    if scores.shape != (kept.sum(),):
        raise InputError(
            f"{origin}the relevances of row {number} ({beginning(row)}) have shape {scores.shape}, but the row has "
            f"{int(kept.sum())} tokens without padding; give one number for each."
        )
    if not np.isfinite(scores).all():
        raise NotFiniteError(f"{origin}a relevance of row {number} ({beginning(row)}) is NaN or infinite.")
    placed = np.zeros(len(kept))
    placed[kept] = scores
    return placed


def beginning(row: Row) -> str:
    """How an input begins, for errors."""
    return repr(row.encoded.tokens.input[:40] or " ".join(row.encoded.tokens.text)[:40])
