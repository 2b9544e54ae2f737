"""Where should paths start? Every baseline that a model offers, by what follows from it."""

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from lignite.api.explain import explain
from lignite.blocks.baselines import usual_baselines
from lignite.data.examples import Example
from lignite.errors import BaselineWarning, GapWarning, InputError, OptionError
from lignite.methods import IntegratedGradients
from lignite.methods.method import OPEN
from lignite.methods.options import choose
from lignite.metrics.metric import Cases, Metric
from lignite.metrics.readings.statistics import rank_correlation
from lignite.models.load import Model
from lignite.options import COST, option, options_of
from lignite.studies.examples import Asked, OfExamples
from lignite.studies.study import Run
from lignite.views.study.report import Report
from lignite.views.study.starts import AGREEMENT, CHEAP, MEASURED, PROBED, from_start, report_starts

FIXED = 8
"""Nodes at which every baseline is asked what its scores miss: the same cost for all."""


@dataclass(frozen=True)
class Agreement(Metric):
    """How well an explanation agrees with those of the other methods at hand; `random` is none of them."""

    def measure(self, cases: Cases, answer: None = None) -> np.ndarray:
        """Mean rank correlation with every other method, example by example."""
        found = np.full((len(cases), len(next(iter(cases.values()))), 1), np.nan)
        for number, (name, several) in enumerate(cases.items()):
            others = [other for key, other in cases.items() if key not in (name, "random")]
            for place, case in enumerate(several):
                agreed = [rank_correlation(case.relevance, other[place].relevance) for other in others]
                found[number, place] = np.mean(agreed) if agreed else np.nan
        return found


AGREED = Agreement(AGREEMENT, "mean rank correlation with the explanations from the other baselines", better="higher")


@contextmanager
def _unwarned() -> Iterator[None]:
    """How paths leap, and what few nodes miss, is what is measured here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BaselineWarning)
        warnings.simplefilter("ignore", GapWarning)
        yield


def offered_by(model: Model, given: Any) -> tuple[list[str], list[str]]:
    """Try every baseline on an input: those that the model offers, and why it does not offer the others.

    Raises
    ------
    InputError
        If it offers none.
    """
    offered, missing = [], []
    for start in options_of(IntegratedGradients)["baseline"].choices:
        if start in OPEN:
            continue
        try:
            with _unwarned():
                explain(model, given, method=choose("ig", {"baseline": start, "n_steps": 2, "tol": 0.999}))
        except OptionError as error:
            missing.append(f"{start}: {error}")
        else:
            offered.append(start)
    if not offered:
        raise InputError(f"{model.name} offers no baseline on the first example: {missing[0]}")
    return offered, missing


@dataclass(frozen=True, kw_only=True)
class Baselines(OfExamples, name="baselines"):
    """Compare every baseline that a model offers: what follows from it is faithful, steady, shared, cheap.

    Every method explains the same examples from every baseline. Beside what `trust` measures: how well a baseline's
    explanations agree with those from the others, and what integrated gradients from it miss at 8 fixed nodes.

    Returns
    -------
    `score` over example (`sentence`), `method` (with its baseline) and `measure`, as of `trust`.
    """

    methods: str | Sequence[str] = option(
        ("relevance-flow:orders=False", "ig"),
        "Methods that start from a baseline. Tokens that arrive in orders are also absent in other ways.",
        metavar="LIST",
    )
    probed: int = option(
        10,
        "So many of the examples for what explains each one dozens of times: shuffled words.",
        panel=COST,
        metavar="N",
        most=1_000_000,
    )

    def ask_examples(self, model: Model, examples: Sequence[Example], run: Run) -> xr.Dataset:
        """Measure every method from every baseline, then each baseline at a fixed cost."""
        offered, missing = offered_by(model, examples[0].input)
        named = [self.methods] if isinstance(self.methods, str) else self.methods
        methods = [
            from_start(method.strip(), start) for name in named for method in name.split(",") for start in offered
        ]
        fixed = [f"ig:baseline={start},n_steps={FIXED}" for start in offered]
        asked: Asked = ((None, (*MEASURED, AGREED)), (self.probed, PROBED))
        found = self.measure(model, examples, methods, asked, run)
        with _unwarned():
            cheap = self.measure(model, examples, fixed, ((None, CHEAP),), run.beside("fixed"))
        fixed_cost = cheap["score"].drop_sel({"method": "random"}).reindex(measure=found["measure"])
        score = xr.concat([one.reset_coords(drop=True) for one in (found["score"], fixed_cost)], "method")
        return (
            found.drop_dims("method")
            .assign(score=score)
            .assign_attrs(missing=json.dumps(missing), usual=usual_baselines(model)[0])
        )

    @classmethod
    def report(cls, found: xr.Dataset) -> Report:
        """Which baseline to start from, and what the usual one is behind."""
        return report_starts(found)
