"""Metrics of stability: whether an explanation changes with what should change it, and with nothing else."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from lignite.metrics.metric import Cases, Metric, Question


@dataclass(frozen=True, kw_only=True)
class Stability(Metric):
    """The answer to a question, as it is."""

    question: str
    default: bool = False

    @property
    def asks(self) -> Question:
        return Question(self.question)

    def measure(self, cases: Cases, answer: Any) -> Float[np.ndarray, "method example fill"]:
        return np.asarray(answer)


@dataclass(frozen=True, kw_only=True)
class Context(Stability):
    """A variable of `context_sensitivity` in one context."""

    question: str = "context.ask_shuffled"
    explains: bool = True
    variable: str
    context: str
    reads: str = "text"

    def measure(self, cases: Cases, answer: dict[str, list[Any]]) -> Float[np.ndarray, "method example fill"]:
        return np.array([[[self._number(said)] for said in several] for several in answer.values()])

    def _number(self, said: Any) -> float:
        return np.nan if said is None else float(said[self.variable].sel(context=self.context).item())


@dataclass(frozen=True, kw_only=True)
class WeightRandomization(Stability):
    """The size of the rank correlation, mean over stages."""

    question: str = "sanity.ask_noisy"
    explains: bool = True

    def measure(self, cases: Cases, answer: list[Any]) -> Float[np.ndarray, "method example fill"]:
        # A correlation is not defined where one explanation is constant: the same everywhere is no likeness.
        sizes = [abs(said["rank_correlation"]).fillna(0.0).mean("stage").values for said in answer]
        return np.array(sizes)[..., None]


STABILITY = (
    Context(
        "context-correlation",
        "rank correlation of the evidence's relevances before and after the words around it are shuffled",
        better="higher",
        variable="rank_correlation",
        context="all",
    ),
    Context(
        "context-change",
        "change of the evidence's relevances when the words around it are shuffled, as a share of them",
        better="lower",
        variable="l1",
        context="all",
    ),
    Context(
        "context-correlation-unrelated",
        "context-correlation, shuffling only words that stand away and that the explanation calls unrelated",
        better="higher",
        variable="rank_correlation",
        context="unrelated",
    ),
    Context(
        "context-change-unrelated",
        "context-change, shuffling only words that stand away and that the explanation calls unrelated",
        better="lower",
        variable="l1",
        context="unrelated",
    ),
    Stability(
        "infidelity",
        "squared difference of removed relevance and change of the output, relevance scaled to fit best",
        better="lower",
        reads="text",
        per_fill=True,
        question="robustness.ask_without_some",
    ),
    Stability(
        "max-sensitivity",
        "largest change of the explanation when word vectors move by a tenth of their spread, as a share of it",
        better="lower",
        reads="text",
        question="robustness.ask_moved",
        explains=True,
    ),
    WeightRandomization(
        "weight-randomization",
        "rank correlation (its size) with the explanation of a model whose weights became noise, mean over the "
        "stages from the head down",
        better="lower",
    ),
)
