"""How much an explanation of the same words depends on the words around them, method by method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from lignite.data.sentences import Sentence
from lignite.errors import InputError, OptionError
from lignite.methods.options import parse
from lignite.methods.scoring.rows import explain_rows
from lignite.metrics.asking.context import CONTEXTS, context_sensitivity
from lignite.models.load import Model
from lignite.options import option
from lignite.studies.study import Study
from lignite.targets.ask import ask
from lignite.targets.rows import Row
from lignite.views.study.context import report_context
from lignite.views.study.report import Report

MEASURES = ("rank_correlation", "l1", "value_change", "probability_change", "label_change")


@dataclass(frozen=True, kw_only=True)
class Context(Study, name="context"):
    """Measure how far the explanation of the same words moves when the words around them change places.

    What a method calls most relevant stays where it is; the other words change places, all of them, or only those that
    the method itself calls unrelated and that stand apart. The class that is explained stays the same.

    Returns
    -------
    Over sentence, method and which words change places (`around`): `rank_correlation` of the relevance of the words
    that stay, before and after, and `l1`, its change as a share of its size; and of the model itself `value_change`,
    `probability_change` and `label_change`. NaN where no two words can change places.
    """

    methods: str = option(
        "ca-lig,relevance-flow,ig,gradient-x-input,attention-rollout", "Methods, separated by commas.", metavar="LIST"
    )
    shuffles: int = option(5, "Orders of the words around.", metavar="N", most=1000)
    keep: float = option(0.2, "Share of the words that stay, at least two of them.", metavar="SHARE")
    tol: float = option(1e-2, "Gap allowed, by methods that promise one.", metavar="SHARE")

    @property
    def names(self) -> list[str]:
        """Every method as it was written."""
        return [name.strip() for name in self.methods.split(",") if name.strip()]

    def check(self) -> None:
        """Refuse methods that there are not, before any sentence is asked."""
        if not self.names:
            raise OptionError("methods is empty; give names of methods, separated by commas.")
        for name in self.names:
            parse(name, {})

    def answer(self, model: Model, sentence: Sentence, others: Mapping[str, Model]) -> xr.Dataset:
        """Shuffle the words around what matters in one sentence, once for each method."""
        rows = ask(model, [sentence.input])
        found = [self._of(name, model, rows) for name in self.names]
        together = xr.concat(found, "method").assign_coords(method=self.names)
        if bool(together["rank_correlation"].isnull().all()):
            raise InputError("it is too short: no two words around what matters can change places.")
        return together

    @classmethod
    def report(cls, found: xr.Dataset) -> Report:
        """How much moves, and whether the model had a reason."""
        return report_context(found)

    def _of(self, name: str, model: Model, rows: Sequence[Row]) -> xr.Dataset:
        method = parse(name, {})
        if hasattr(method, "tol") and "tol=" not in name:
            method = parse(name, {"tol": self.tol})

        def explained(some: Sequence[Row]) -> list[np.ndarray]:
            return [each["relevance"].values.astype(np.float64) for each in explain_rows(model, some, method)]

        moved = context_sensitivity(model, rows, explained, keep=self.keep, n_shuffles=self.shuffles)
        numbers = {
            measure: ("around", moved[measure].transpose("context", "example").values[:, 0]) for measure in MEASURES
        }
        return xr.Dataset(numbers, {"around": list(CONTEXTS)})
