"""Which method should be trusted here, for what, and what it costs: one model, one corpus, one report."""

from collections.abc import Sequence
from dataclasses import dataclass

import xarray as xr

from lignite.api.evaluate_options import DEFAULT_METHODS
from lignite.data.columns import Columns
from lignite.data.examples import Example
from lignite.models.facts import reads_images
from lignite.models.load import Model
from lignite.options import COST, option
from lignite.studies.examples import OfExamples
from lignite.studies.study import Run
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

    def ask_examples(self, model: Model, examples: Sequence[Example], run: Run) -> xr.Dataset:
        """Measure all examples cheaply, and some of them thoroughly."""
        evidence, images = Columns(**self.columns).evidence, reads_images(model.network)
        asked = ((None, asked_of(evidence)), (self.probed, probed_of(images=images)))
        return self.measure(model, examples, self.methods, asked, run)

    @classmethod
    def report(cls, found: xr.Dataset) -> Report:
        """Each question's leader, who is level with it, and what it costs."""
        return report_trust(found)
