"""What a metric is: what it needs to know, what it asks of the model, and how it measures explanations.

To add one, make an object here: a `Reading` needs nothing but an explanation and what people said, any other `Metric`
names the `Question` whose answer it reads. Put it into `lignite.metrics.registry.METRICS`; tables, documents and the
command line find it there.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from lignite.errors import InputError, OptionError
from lignite.late import find_late
from lignite.token_labels import TokenLabels

Answer = TypeVar("Answer")

Curve = tuple[dict[str, Any], Float[np.ndarray, "method example share"]]
"""What a curve is of, and its values; at equal shares of the tokens, or at its own ``shares``."""


@dataclass(frozen=True, eq=False)
class Explained:
    """One explanation: relevance of the kept tokens, what it misses, and how long it took."""

    relevance: Float[np.ndarray, " token"]
    gap: float = float("nan")
    seconds: float = float("nan")


@dataclass(frozen=True, eq=False)
class Evidence:
    """What people said about an example, in the numbers of the model; None where nobody said anything.

    Attributes
    ----------
    rationale
        Characters that people marked, start and stop.
    polarity
        Characters that speak for (1) or against (−1) what is explained: start, stop, sign.
    mask, distractor
        Pixels, of the picture that the model sees, of the object and of something else.
    cells, explained
        Classes of a mosaic's cells in reading order, and the class that is explained.
    """

    rationale: Sequence[Sequence[int]] | None = None
    polarity: Sequence[Sequence[int]] | None = None
    mask: Bool[np.ndarray, "y x"] | None = None
    distractor: Bool[np.ndarray, "y x"] | None = None
    cells: tuple[int, ...] | None = None
    explained: int | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """An explanation beside the evidence on its example: all that a reading reads.

    Attributes
    ----------
    tokens
        Labels of the kept tokens.
    boxes, picture
        Of an image: each token's ``[top, left, bottom, right]`` where it is known; height and width in pixels.
    smooth
        Whether relevance is drawn as lines between the patches' centres before it is compared with pixels.
    """

    explained: Explained
    tokens: TokenLabels
    evidence: Evidence = field(default_factory=Evidence)
    boxes: Int[np.ndarray, "token side"] | None = None
    picture: tuple[int, int] | None = None
    smooth: bool = False
    _known: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def relevance(self) -> Float[np.ndarray, " token"]:
        return self.explained.relevance

    def once(self, compute: Callable[["Case"], Answer]) -> Answer:
        """What a function says of this case, computed for the first metric that asks."""
        if compute not in self._known:
            self._known[compute] = compute(self)
        found: Answer = self._known[compute]
        return found


def relevance_by_pixel(case: Case) -> Float[np.ndarray, "y x"]:
    """Relevance of the pixels of the picture that the model sees."""
    if case.boxes is None or case.picture is None:
        raise InputError(
            "the places of this model's patches are not known, so their relevance cannot be compared with an outline: "
            "leave mask=, boxes= and cells= out."
        )
    from lignite.results.pixels import enlarge  # with xarray, which lists of metrics do without

    return enlarge(case.relevance, case.boxes, case.picture, smooth=case.smooth)


Cases = Mapping[str, Sequence[Case]]
"""Cases of several methods, by their names; of the same examples, in the same order."""


@dataclass(frozen=True)
class Metric(ABC):
    """A number that says how far an explanation holds.

    Attributes
    ----------
    better
        ``"higher"``, ``"lower"``, or nothing where neither is.
    needs
        What people must have said, by names of `Evidence`: without it the metric is not defined.
    reads
        Inputs that it is defined for, ``"text"`` or ``"image"``; nothing for both.
    per_fill
        Whether it depends on what stands in the place of removed tokens.
    default
        Whether it is measured when no metric is named.
    tested
        Whether methods are compared by it.
    explains
        Whether other inputs, or those of another model, are explained anew for it.
    """

    name: str
    meaning: str
    _: KW_ONLY
    better: str = ""
    needs: tuple[str, ...] = ()
    reads: str = ""
    per_fill: bool = False
    default: bool = True
    tested: bool = True
    explains: bool = False

    @property
    def asks(self) -> "Question | None":
        """What it asks of the model; metrics that ask the same share the answer. None: nothing."""
        return None

    @abstractmethod
    def measure(self, cases: Cases, answer: Any) -> Float[np.ndarray, "method example fill"]:
        """Numbers of all cases, NaN where it is not defined; one fill where fills do not matter."""


def plain(name: str) -> str:
    """What a number is called by the function that computes it, unless a metric says otherwise."""
    return name.replace("-", "_")


class Reading(Metric):
    """A metric that asks nothing of the model."""

    @abstractmethod
    def read(self, case: Case) -> float:
        """Its number for one explanation of an example on which people said what it needs."""

    def measure(self, cases: Cases, answer: None = None) -> Float[np.ndarray, "method example fill"]:
        numbers = [
            [[self.read(case) if self.knows(case.evidence) else np.nan] for case in several]
            for several in cases.values()
        ]
        return np.array(numbers, dtype=np.float64)

    def knows(self, evidence: Evidence) -> bool:
        """Whether people said what it needs."""
        return all(getattr(evidence, what) is not None for what in self.needs)


@dataclass(frozen=True, kw_only=True)
class Found(Reading):
    """One of the numbers that a function finds out about a case, by its name there where it is not the metric's own."""

    find: Callable[[Case], Mapping[str, float]]
    number: str = ""
    better: str = "higher"

    def read(self, case: Case) -> float:
        return case.once(self.find)[self.number or plain(self.name)]


@dataclass(frozen=True)
class Question:
    """Something that a model is asked once for several metrics; equal questions are one.

    `answered_by` names a function of `lignite.metrics.asking`, imported when the question is asked: metrics can be
    listed without torch.
    """

    answered_by: str = ""

    def ask(self, session: Any, metrics: Sequence[Metric]) -> Any:
        """Find the answer that these metrics read, for all cases of a `lignite.metrics.asking.session.Session`.

        A question of one's own overrides this.
        """
        if not self.answered_by:
            raise OptionError(f"{type(self).__name__} is answered by nobody: give it a method `ask`.")
        return find_late(f"lignite.metrics.asking.{self.answered_by}")(self, session, metrics)

    def curves(self, answer: Any) -> Sequence[Curve]:
        """Curves that the answer holds."""
        return ()
