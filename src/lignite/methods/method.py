"""What a method of explanation is: a frozen record of its options that explains rows, found by its name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lignite.errors import OptionError
from lignite.late import find_late
from lignite.options import Options

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
