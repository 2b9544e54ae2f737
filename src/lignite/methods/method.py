"""What a method of explanation is: a frozen record of its options that explains rows, found by its name.

Options that several methods share are classes of their own, which methods inherit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np

from lignite.calls import check_seed
from lignite.errors import OptionError
from lignite.inputs.roles import TokenBaseline
from lignite.late import find_late
from lignite.options import COST, MOST_NODES, MOST_STEPS, Options, check_share, option, options_of

if TYPE_CHECKING:
    from lignite.models.load import Model
    from lignite.targets.rows import Row

METHODS: dict[str, type["Method"]] = {}
"""Every method by its name, entered when its class is made."""


@dataclass(frozen=True)
class Explanation:
    """What a method finds out about one row.

    Attributes
    ----------
    variables
        Variables of the result, over the tokens that are no padding: `relevance`, and whatever else the layout has.
    value
        F of the row, where the method has asked for it.
    plan
        How the scores were computed, for the attribute ``plans`` of the result.
    """

    variables: Mapping[str, np.ndarray]
    value: float | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)

    def with_variables(self, more: Mapping[str, np.ndarray]) -> "Explanation":
        """The same with more variables, or others in their place."""
        return replace(self, variables={**self.variables, **more})


@dataclass(frozen=True, kw_only=True)
class Method(Options):
    """One way to explain a prediction: its fields are its options.

    A subclass with a name, ``class Mine(Method, name="mine")``, is known by it wherever methods are named, with its
    options and their help. What it computes stands in `lignite.methods.scoring`, imported when it is asked: options can
    be read and written without torch.
    """

    name: ClassVar[str] = ""
    scored_by: ClassVar[str] = ""

    def __init_subclass__(cls, *, name: str | None = None, scored_by: str | None = None) -> None:
        super().__init_subclass__()
        if scored_by is not None:
            cls.scored_by = scored_by
        if name is not None:
            cls.name = name
            METHODS[name] = cls

    def explain(self, model: "Model", rows: Sequence["Row"], budget: float) -> list[Explanation]:
        """Explain rows within so many bytes for intermediate tensors; a method of one's own overrides this."""
        if not self.scored_by:
            raise OptionError(f"{type(self).__name__} has no way to explain: give it a method `explain`.")
        found: list[Explanation] = find_late(f"lignite.methods.scoring.{self.scored_by}")(self, model, rows, budget)
        return found

    def settle(self, baselines: Sequence[str], *, images: bool) -> "Method":
        """The same method with the options that it leaves open as is usual for a model, of images or of texts.

        Parameters
        ----------
        baselines
            The usual ones of the model; a method with one path takes the first.
        """
        return self


OPEN = ("auto", "recommended")
"""Two names of the baseline that is left to what the model has; the second says how it was chosen."""

Baseline = Literal["auto", "recommended", "zero", "mean", TokenBaseline, "mean-embedding", "blur", "grey", "black"]

MOST_SAMPLES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class FromBaseline(Method):
    """A method that compares the input with one that says nothing."""

    baseline: Baseline | Sequence[Baseline] = option(
        ("auto",),
        "Where paths start, and what stands for an absent token. Of texts: mask, pad, eos, bos and unk (an input whose "
        "words are all that token), mean-embedding (whose words are all read as the mean of the vocabulary), zero and "
        "mean (states, the mean of the text's own). Of images: blur, grey, black (the image so), mean (every patch is "
        "the average patch), mask (where the model has a mask token), zero. auto, or recommended, is the one that "
        "measurements speak for (lignite study baselines asks your model): the mask, a pad token that is not also the "
        "start or the end of texts, or mean-embedding, the first that the model has; of images mean, or blur where "
        "patches have no fixed size. Several are averaged; relevance-flow's is mask and pad where the model has both. "
        "The result names it.",
        metavar="LIST",
        told=True,
    )
    keep_special: bool = option(
        True,
        "Special tokens of the input are the same in the baseline.",
        typed="--keep-special/--replace-special",
    )

    @property
    def baselines(self) -> tuple[str, ...]:
        """The names of `baseline`."""
        return tuple(self.baseline)

    @property
    def absences(self) -> tuple[str, ...]:
        """What stands for an absent token, by names of baselines and fills: who judges by one of them shares it."""
        return self.baselines

    def check(self) -> None:
        """Refuse a baseline that is none or two things."""
        super().check()
        if not self.baselines:
            known = options_of(type(self))["baseline"].choices
            raise OptionError(f"baseline is empty; give some of {', '.join(known)}.")
        left = [name for name in self.baselines if name in OPEN]
        if left and len(self.baselines) > 1:
            given = ", ".join(self.baselines)
            raise OptionError(f"baseline={given}: {left[0]!r} is one of the others; name those you mean.")

    def settle(self, baselines: Sequence[str], *, images: bool) -> Method:
        """The same method from the first of these baselines, if its own is left open."""
        return from_one(self, baselines[0]) if self.is_open else self

    @property
    def is_open(self) -> bool:
        """Whether where it starts is left to what the model has."""
        return self.baselines[0] in OPEN


Declared = TypeVar("Declared", bound=FromBaseline)


def from_one(method: Declared, baseline: str) -> Declared:
    """The same method from this baseline alone."""
    return replace(method, baseline=baseline)  # type: ignore[arg-type] # checked when it is made


@dataclass(frozen=True, kw_only=True)
class Integrated(Method):
    """A method that integrates along paths until their gap is small."""

    tol: float = option(1e-3, "Gap allowed, as a share of the displacement.", panel=COST, metavar="SHARE")
    n_steps: int | None = option(
        None, "A fixed number of nodes on the path.", panel=COST, metavar="N", unset="adaptive", most=MOST_NODES
    )
    max_steps: int = option(256, "The most nodes that one path may take.", panel=COST, metavar="N", most=MOST_STEPS)

    def check(self) -> None:
        """Refuse a tolerance that is no share."""
        super().check()
        check_share("tol", self.tol, "the gap allowed per displacement")


@dataclass(frozen=True, kw_only=True)
class DrawnNodes(Integrated):
    """A method whose nodes may be drawn at random."""

    nodes: Literal["adaptive", "stochastic"] = option(
        "adaptive",
        "adaptive, or stochastic: n_steps random nodes, unbiased, with a standard error, for very long inputs.",
        panel=COST,
        metavar="NAME",
    )
    seed: int = option(0, "For all that is drawn at random.", panel=COST, metavar="N")

    def check(self) -> None:
        """Refuse numbers of nodes that cannot be drawn two by two."""
        super().check()
        check_seed(self.seed)
        if self.nodes == "stochastic" and (self.n_steps is None or self.n_steps < 4 or self.n_steps % 2):
            raise OptionError(
                f"nodes='stochastic' draws n_steps nodes, two in each part of the path; n_steps={self.n_steps!r} must "
                "be an even number, at least 4."
            )


@dataclass(frozen=True, kw_only=True)
class WithEnds(Method):
    """A method of layers that can ask what each token does at both ends of the path."""

    ends: bool = option(
        False,
        "Average with what each token does at both ends of the path, added alone to the blank input and removed alone "
        "from the full one, for two more predictions per token; scores of a layer still add up, relevance no longer "
        "does.",
        told=True,
    )


@dataclass(frozen=True, kw_only=True)
class Seeded(Method):
    """A method that draws at random."""

    seed: int = option(0, "For all that is drawn at random.", panel=COST, metavar="N", told=True)

    def check(self) -> None:
        """Refuse what generators of random numbers do not start from."""
        super().check()
        check_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class Sampled(FromBaseline, Seeded):
    """A method that draws sets of tokens."""

    n_samples: int = option(
        25, "How many sets or orders of tokens are drawn.", panel=COST, metavar="N", most=MOST_SAMPLES, told=True
    )
