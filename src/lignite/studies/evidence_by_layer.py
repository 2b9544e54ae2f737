"""At which layer evidence for and against a class forms, and which kinds of word carry it there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from lignite.api.explain import explain
from lignite.data.sentences import Sentence
from lignite.metrics.readings.statistics import rank_correlation
from lignite.models.load import Model
from lignite.options import COST, option
from lignite.studies.relations import Words
from lignite.studies.study import Study
from lignite.views.study.layers import report_layers
from lignite.views.study.report import Report

SIDES = ("for", "against")
TYPES = ("noun", "verb", "adjective", "adverb", "function word", "other", "special")

_STARTS = {
    "noun": ("NOUN", "PROPN", "NN"),
    "verb": ("VERB", "AUX", "VB", "MD"),
    "adjective": ("ADJ", "JJ"),
    "adverb": ("ADV", "RB"),
    "function word": (
        "DET", "ADP", "PRON", "CCONJ", "SCONJ", "PART", "DT", "PDT", "IN", "PRP", "CC", "TO", "WDT", "WP", "EX", "POS",
        "RP",
    ),
}  # fmt: skip
"""How tags of Universal Dependencies and of the Penn Treebank begin."""


def type_of(tag: str) -> str:
    """Say what kind of word a tag stands for.

    Examples
    --------
    >>> type_of("PROPN"), type_of("JJR"), type_of("PRP$"), type_of("PUNCT"), type_of("ADP")
    ('noun', 'adjective', 'function word', 'other', 'function word')
    """
    fitting = {
        name: max((len(each) for each in starts if tag.startswith(each)), default=0) for name, starts in _STARTS.items()
    }
    best = max(fitting, key=fitting.__getitem__)
    return best if fitting[best] else "other"


@dataclass(frozen=True, kw_only=True)
class Layers(Study, name="layers"):
    """Measure at which layer evidence for and against the predicted class forms, and which kinds of word carry it.

    Returns
    -------
    Over sentence and layer: `evidence`, the share of each `side` and `type` of word in the sizes of the layer's
    relevance; `inherited` and `settled`, the rank correlation over words with the relevance in the lowest and the
    highest layer; and over sentence `prediction`. Layer l is the states that enter block l.
    """

    method: Literal["relevance-flow", "ca-lig"] = option(
        "relevance-flow", "What says how relevant a token is in every layer.", metavar="NAME"
    )
    tol: float = option(1e-2, "Gap allowed, as a share of what is explained.", panel=COST, metavar="SHARE")

    def answer(self, model: Model, sentence: Sentence, others: Mapping[str, Model]) -> xr.Dataset:
        """Explain what the model predicts of one sentence."""
        words = Words.of(sentence)
        asked = "relevance-flow:orders=false" if self.method == "relevance-flow" else self.method  # they reach no layer
        why = explain(model, {"words": list(words.words)}, method=asked, tol=self.tol)
        relevance = why["layer_relevance"].transpose("layer", "token").values.astype(np.float64)
        number = why["word"].values
        by_word = np.stack([relevance[:, number == word].sum(1) for word in sorted(set(number[number >= 0]))], 1)
        found = {
            "evidence": (("layer", "side", "type"), _evidence(relevance, _types(words, number))),
            "inherited": (("layer",), likeness(by_word, 0)),
            "settled": (("layer",), likeness(by_word, -1)),
            "prediction": ((), str(why.attrs["prediction"])),
        }
        return xr.Dataset(found, {"layer": why["layer"].values, "side": list(SIDES), "type": list(TYPES)})

    @classmethod
    def report(cls, found: xr.Dataset) -> Report:
        """Where evidence forms, class by class."""
        return report_layers(found)


def _types(words: Words, number: Int[np.ndarray, " token"]) -> Int[np.ndarray, " token"]:
    tags = words.tags or ("",) * len(words.words)
    return np.array([TYPES.index("special" if word < 0 else type_of(tags[word])) for word in number])


def _evidence(
    relevance: Float[np.ndarray, "layer token"], types: Int[np.ndarray, " token"]
) -> Float[np.ndarray, "layer side type"]:
    """Share of each side and type in the sizes of a layer's relevance."""
    sides = np.stack([relevance.clip(min=0), -relevance.clip(max=0)], 1)
    sums = np.stack([sides[..., types == place].sum(-1) for place in range(len(TYPES))], -1)
    total = abs(relevance).sum(1)[:, None, None]
    return np.divide(sums, total, out=np.full_like(sums, np.nan), where=total > 0)


def likeness(by_word: Float[np.ndarray, "layer word"], layer: int) -> Float[np.ndarray, " layer"]:
    """Correlate the ranks of words in every layer with those in one of them."""
    if by_word.shape[1] < 2:
        return np.full(len(by_word), np.nan)
    return np.array([rank_correlation(each, by_word[layer]) for each in by_word])
