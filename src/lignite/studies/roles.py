"""What depth does, in numbers: whom the words of a sentence receive from in each layer, and through which head."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import xarray as xr

from lignite.api.flow import flow
from lignite.data.sentences import Sentence
from lignite.errors import OptionError
from lignite.metrics.asking.sanity import draw_noise
from lignite.metrics.readings.changes import difference, mean, shares
from lignite.models.load import Model
from lignite.options import COST, option
from lignite.results.schema import CIRCUITS
from lignite.studies.relations import (
    KINDS,
    RELATIONS,
    Words,
    by_kind,
    by_relation,
    entropy,
)
from lignite.studies.study import Study
from lignite.views.study.report import Report
from lignite.views.study.roles import report_roles

CONTROLS = ("as it is", "shuffled words", "random weights")
NOISE = "random weights"


@dataclass(frozen=True, kw_only=True)
class Roles(Study, name="roles"):
    """Measure what depth does: from whom the words of a sentence receive, layer by layer and head by head.

    A share is the size of a score among the sizes of all that a target receives, mean over the words of a sentence.
    The scores of a word's tokens are added. The same is asked of the words in another order, and of weights drawn at
    random.

    Returns
    -------
    Over sentence, control and layer, of the whole layer and (`head_…`) of every head: `share` by what the source is to
    the target; `related`, the share of the words in a relation to it, and `expected`, what their distance alone would
    give them; `sources`, the effective number of sources, and `evenness`, entropy per that of equal shares. Of the
    layer alone: `circuits`, the share of each of its circuits; `reweighed`, the share of the heads' flow that what
    follows them gives to other heads; `change`, the share that goes elsewhere than in the layer before.
    """

    baseline: Literal["zero", "mean", "pad", "mask", "target_token"] = option(
        "zero", "Start of the path; under target_token a token gives itself nothing, by construction.", metavar="NAME"
    )
    tol: float = option(1e-2, "Gap allowed per displacement, of each map.", panel=COST, metavar="SHARE")
    control_seed: int = option(0, "Of the order of words and of the weights that are drawn.", metavar="N")

    def others(self, model: Model) -> Mapping[str, Model]:
        """Make a model of the same kind that has learnt nothing."""
        return {NOISE: with_random_weights(model, self.control_seed)}

    def answer(self, model: Model, sentence: Sentence, others: Mapping[str, Model]) -> xr.Dataset:
        """Measure one sentence, as it is and under both controls."""
        words = Words.of(sentence)
        asked = [(model, words), (model, words.shuffled(self.control_seed)), (others[NOISE], words)]
        found = [self._measure(*each) for each in asked]
        missing = list(dict.fromkeys(said for one in found for said in one.attrs["missing"]))
        together = xr.concat(found, "control", combine_attrs="drop")
        return together.assign_coords(control=list(CONTROLS)).assign_attrs(missing=missing)

    @classmethod
    def report(cls, found: xr.Dataset) -> Report:
        """What each layer and head does, against the controls."""
        return report_roles(found)

    def _measure(self, model: Model, words: Words) -> xr.Dataset:
        maps, missing = self._maps(model, words)
        number = maps["source_word"].values
        whole = shares(maps["whole"].transpose("layer", "target", "source").values.astype(np.float64))
        heads = shares(maps["attention"].transpose("layer", "head", "target", "source").values.astype(np.float64))
        is_word = number >= 0
        found = {**_of("", ("layer",), whole, number, words), **_of("head_", ("layer", "head"), heads, number, words)}
        found["circuits"] = (("layer", "circuit"), _circuits(maps, is_word))
        found["reweighed"] = (("layer",), _reweighed(maps, is_word))
        moved = mean(difference(whole[1:], whole[:-1])[:, is_word], -1)
        found["change"] = (("layer",), np.concatenate([[np.nan], moved]))
        axes = {"layer": maps["layer"].values, "head": maps["head"].values}
        named = {"kind": list(KINDS), "relation": list(RELATIONS), "circuit": list(CIRCUITS)}
        return xr.Dataset(found, {**axes, **named}, {"missing": missing})

    def _maps(self, model: Model, words: Words) -> tuple[xr.Dataset, list[str]]:
        """Compute the maps between words; circuits where the model shows them."""
        given, wanted = {"words": list(words.words)}, ("attention", "mlp", "whole")
        try:
            found = flow(model, given, baseline=self.baseline, maps=wanted, detail="circuits", tol=self.tol)
        except OptionError as error:
            if "detail='circuits'" not in str(error):
                raise
            found = flow(model, given, baseline=self.baseline, maps=wanted, tol=self.tol)
            return found.lignite.merge_words(), [f"circuits: {error}"]
        return found.lignite.merge_words(), []


def with_random_weights(model: Model, seed: int) -> Model:
    """Copy a model, each weight replaced by normal numbers of the same mean and spread."""
    network = deepcopy(model.network)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight.copy_(draw_noise(name, weight.detach(), seed))
    return replace(model, network=network)


def _of(
    prefix: str, dims: Sequence[str], share: np.ndarray, number: np.ndarray, words: Words
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Measure the shares of the whole layer, or of every head, ``[*dims, target, source]``."""
    axes, is_word = tuple(dims), number >= 0
    spread = entropy(share)[..., is_word]
    related = words.related(number)
    nothing = np.full((*share.shape[:-2], len(RELATIONS)), np.nan)
    arcs = (nothing, nothing) if related is None else by_relation(share, related, number)
    return {
        f"{prefix}share": ((*axes, "kind"), by_kind(share, number)),
        f"{prefix}related": ((*axes, "relation"), arcs[0]),
        f"{prefix}expected": ((*axes, "relation"), arcs[1]),
        f"{prefix}sources": (axes, mean(np.exp(spread), -1)),
        f"{prefix}evenness": (axes, mean(spread / np.log(max(len(number), 2)), -1)),
    }


def _circuits(maps: xr.Dataset, is_word: np.ndarray) -> np.ndarray:
    """Share of each circuit in the sizes of all of a word's scores, ``[layer, circuit]``."""
    if "whole_circuits" not in maps:
        return np.full((maps.sizes["layer"], len(CIRCUITS)), np.nan)
    parts = maps["whole_circuits"].transpose("layer", "target", "circuit", "source").values.astype(np.float64)
    return mean(shares(abs(parts).sum(-1))[:, is_word], 1)


def _reweighed(maps: xr.Dataset, is_word: np.ndarray) -> np.ndarray:
    """How the heads' shares of what a word gets differ before and after what follows them, ``[layer]``."""
    before = maps["attention_displacement"].transpose("layer", "target", "head").values.astype(np.float64)
    after = maps["mlp"].transpose("layer", "target", "head").values.astype(np.float64)
    return mean(difference(shares(before), shares(after))[:, is_word], -1)
