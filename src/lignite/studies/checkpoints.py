"""Two checkpoints of one model: which layers and heads changed their flow, before and after fine-tuning."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import xarray as xr

from lignite.api.flow import flow
from lignite.data.sentences import Sentence
from lignite.errors import GridError, InputError
from lignite.metrics.readings.changes import larger, moved
from lignite.models.load import Model, load
from lignite.options import COST, option
from lignite.results.schema import require_same_grid
from lignite.studies.roles import NOISE, with_random_weights
from lignite.studies.study import Study
from lignite.views.study.compare import report_compare
from lignite.views.study.report import Report

OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Compare(Study, name="compare"):
    """Measure which layers and heads have another flow in another checkpoint of the same kind of model.

    Weights drawn at random show how large a change can become.

    Returns
    -------
    Over sentence, the model that is compared (`against`) and layer: `changed`, the share of a target's flow that goes
    elsewhere, mean over targets, and `head_changed` from states to every head; `larger`, the logarithm (base 2) of how
    much further its targets move; `reweighed`, the share of the heads' part in the output that other heads have.
    """

    other: str = option("random weights", "The other checkpoint: bundled model, folder or hub id.", metavar="NAME")
    baseline: Literal["target_token", "zero", "mean", "pad", "mask"] = option(
        "target_token", "Start of the path.", metavar="NAME"
    )
    control_seed: int = option(0, "Of the weights that are drawn.", metavar="N")
    tol: float = option(1e-2, "Gap allowed per displacement, of each map.", panel=COST, metavar="SHARE")

    def others(self, model: Model) -> Mapping[str, Model]:
        """Load the other checkpoint, without its head, and draw weights at random."""
        drawn = {NOISE: with_random_weights(model, self.control_seed)}
        if self.other == NOISE:
            return drawn
        return {OTHER: load(self.other, device=model.device, dtype=model.dtype), **drawn}

    def answer(self, model: Model, sentence: Sentence, others: Mapping[str, Model]) -> xr.Dataset:
        """Compare the flows of one sentence."""
        before = self._flow(model, sentence)
        found = [self._compare(before, self._flow(other, sentence)) for other in others.values()]
        return xr.concat(found, "against").assign_coords(against=list(others))

    @classmethod
    def report(cls, found: xr.Dataset) -> Report:
        """Which layers and heads changed most."""
        return report_compare(found)

    def _flow(self, model: Model, sentence: Sentence) -> xr.Dataset:
        wanted = ("attention", "mlp", "whole")
        found: xr.Dataset = flow(model, sentence.input, baseline=self.baseline, maps=wanted, tol=self.tol)
        return found

    def _compare(self, before: xr.Dataset, after: xr.Dataset) -> xr.Dataset:
        if before.sizes != after.sizes:
            raise InputError(
                f"the two models have other layers, heads or tokens ({dict(before.sizes)} and {dict(after.sizes)}): "
                "compare checkpoints of one kind of model, with one tokenizer."
            )
        try:
            require_same_grid(before, after)
        except GridError as error:
            raise InputError(f"the two models read other tokens: {error}") from error
        return xr.Dataset(
            {
                "changed": ("layer", moved(before, after)),
                "head_changed": (("layer", "head"), moved(before, after, "attention")),
                "reweighed": ("layer", moved(before, after, "mlp")),
                "larger": ("layer", larger(before, after)),
            },
            {"layer": before["layer"].values, "head": before["head"].values},
        )
