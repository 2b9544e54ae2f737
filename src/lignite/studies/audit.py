"""Which method should be trusted here, for what, and what it costs: one model, one corpus, one report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import xarray as xr

from lignite.api.evaluate import evaluate
from lignite.api.evaluate_options import DEFAULT_METHODS
from lignite.calls import Progress
from lignite.data.columns import Columns
from lignite.data.examples import draw
from lignite.models.facts import reads_images
from lignite.models.load import Model
from lignite.options import COST, option
from lignite.results.evaluation import Evaluation
from lignite.studies.corpus import describe
from lignite.studies.examples import OfExamples
from lignite.views.study.report import Report
from lignite.views.study.trust import asked_of, probed_of, report_trust


@dataclass(frozen=True, kw_only=True)
class Trust(OfExamples, name="trust"):
    """Measure how far explanations of a model can be trusted: faithful, agreed with, steady, learnt, affordable.

    Every method explains the same examples. Removal asks the model itself; people's marks are compared where a column
    holds them; words around the evidence are shuffled; the weights become noise from the head down.

    Returns
    -------
    `score` over example (`sentence`), `method` and `measure`, NaN where it was not measured or is not defined; beside
    each measure its `metric`, `fill` and which direction is `better`.
    """

    methods: str | Sequence[str] = option(DEFAULT_METHODS, "Methods, as lignite evaluate names them.", metavar="LIST")
    probed: int = option(
        10,
        "So many of the examples for measures that explain each one dozens of times: shuffled words, weights that "
        "become noise.",
        panel=COST,
        metavar="N",
        most=1_000_000,
    )

    def ask(
        self,
        model: Model,
        corpus: Any,
        *,
        limit: int | None,
        seed: int,
        resume: str | PathLike[str] | None,
        progress: Progress | None,
    ) -> xr.Dataset:
        """Measure all examples cheaply, and some of them thoroughly."""
        examples = self.read_examples(model, corpus, limit=limit, seed=seed)
        images, evidence = reads_images(model.network), Columns(**self.columns).evidence
        asked = {
            "": (examples, asked_of(evidence)),
            ".probed": (draw(examples, self.probed, seed), probed_of(images=images)),
        }
        found = [
            evaluate(
                model, some, self.methods, metrics,
                seed=seed, resume=None if resume is None else f"{resume}{ending}", progress=progress, **self.columns,
            )
            for ending, (some, metrics) in asked.items()
        ]  # fmt: skip
        labelled = _labelled([example.id for example in examples], *found)
        weights, keys = {"model": found[0].attrs["model_sha256"]}, [example.key for example in examples]
        skipped = [f"{row.id}: {row.reason}" for part in found for row in part.skipped.itertuples()]
        return labelled.assign_attrs(
            describe(self, model, corpus, weights, keys, skipped=skipped, limit=limit, seed=seed),
            accuracy=found[0].attrs["accuracy"],
        )

    @classmethod
    def report(cls, found: xr.Dataset) -> Report:
        """Each question's leader, who is level with it, and what it costs."""
        return report_trust(found)


def _labelled(ids: Sequence[str], *parts: Evaluation) -> xr.Dataset:
    """Scores of several evaluations of the same examples, in one array."""
    methods = list(parts[0].attrs["methods"])
    measures: dict[tuple[str, str], Mapping[str, str]] = {
        (row.metric, row.fill): part.attrs["metrics"].get(row.metric, {})
        for part in parts
        for row in part.table.itertuples()
    }
    score = np.full((len(ids), len(methods), len(measures)), np.nan)
    places = [{name: place for place, name in enumerate(axis)} for axis in (ids, methods, measures)]
    for part in parts:
        for row in part.scores.itertuples():
            score[places[0][row.id], places[1][row.method], places[2][row.metric, row.fill]] = row.value
    return xr.Dataset(
        {"score": (("sentence", "method", "measure"), score)},
        {
            "sentence": list(ids),
            "method": methods,
            "measure": [f"{metric} ({fill})" if fill else metric for metric, fill in measures],
            "metric": ("measure", [metric for metric, _ in measures]),
            "fill": ("measure", [fill for _, fill in measures]),
            "better": ("measure", [said.get("better", "") for said in measures.values()]),
            "meaning": ("measure", [said.get("meaning", "") for said in measures.values()]),
        },
    )
