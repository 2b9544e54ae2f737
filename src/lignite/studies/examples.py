"""Studies of examples, with their classes and what people marked, where others read sentences."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from lignite.api.evaluate import evaluate
from lignite.data.columns import Columns
from lignite.data.examples import Example, draw, read_examples
from lignite.metrics.metric import Metric
from lignite.models.facts import reads_images
from lignite.models.load import Model
from lignite.options import options_of
from lignite.results.evaluation import Evaluation
from lignite.studies.corpus import describe, name_of
from lignite.studies.study import Run, Study

Asked = Sequence[tuple[int | None, Sequence[str | Metric]]]
"""Metrics, and of how many of the examples they are asked; None for all."""


@dataclass(frozen=True, kw_only=True)
class OfExamples(Columns, Study):
    """A study whose corpus is a data set, as `lignite.evaluate` reads it; its columns are named by options."""

    def check_corpus(self, corpus: Any) -> None:
        """Leave a data set alone: the model says whether texts or images are read of it."""

    def ask(self, model: Model, corpus: Any, run: Run) -> xr.Dataset:
        """Ask a data set, of which some examples are drawn."""
        examples = self.read_examples(model, corpus, limit=run.limit, seed=run.seed)
        return self.ask_examples(model, examples, run).assign_attrs(corpus=name_of(corpus))

    def ask_examples(self, model: Model, examples: Sequence[Example], run: Run) -> xr.Dataset:
        """What comes of the examples: numbers along the dimension `sentence`, described as those of every study."""
        raise NotImplementedError

    def measure(
        self, model: Model, examples: Sequence[Example], methods: str | Sequence[str], asked: Asked, run: Run
    ) -> xr.Dataset:
        """Measure methods on the examples: for each number of them (None for all) by metrics of its own.

        Returns
        -------
        `score` over example (`sentence`), `method` and `measure`, NaN where it was not measured or is not defined;
        beside each measure its `metric`, `fill` and which direction is `better`.
        """
        found = [
            evaluate(
                model, list(examples) if few is None else draw(examples, few, run.seed), methods, metrics,
                seed=run.seed, resume=(run if few is None else run.beside("probed")).resume,
                progress=run.progress, **self.columns,
            )
            for few, metrics in asked
        ]  # fmt: skip
        weights, keys = {"model": found[0].attrs["model_sha256"]}, [example.key for example in examples]
        skipped = [f"{row.id}: {row.reason}" for part in found for row in part.skipped.itertuples()]
        return _labelled([example.id for example in examples], *found).assign_attrs(
            describe(self, model, weights, keys, skipped=skipped, limit=run.limit, seed=run.seed),
            accuracy=found[0].attrs["accuracy"],
        )

    @property
    def columns(self) -> Mapping[str, Any]:
        """The options that name columns."""
        return {name: getattr(self, name) for name in options_of(Columns)}

    def read_examples(self, model: Model, corpus: Any, *, limit: int | None, seed: int) -> list[Example]:
        """Some examples of a data set, each with a name of its own."""
        images = reads_images(model.network)
        named = Columns(**self.columns)
        named.check_kind(model.name, images=images)
        found = read_examples(corpus, named, images=images, limit=limit, seed=seed)
        many = Counter(example.id for example in found)
        return [
            replace(example, id=f"{example.id} ({example.number + 1})") if many[example.id] > 1 else example
            for example in found
        ]


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
