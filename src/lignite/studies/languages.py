"""Is a model explained alike in every language that it reads? Tokens, words, layers and faithfulness, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from lignite.api.explain import explain
from lignite.data.examples import Example, draw, read_text
from lignite.data.sentences import Sentence
from lignite.data.sources import read_rows
from lignite.errors import InputError
from lignite.metrics.readings.changes import shares
from lignite.models.facts import class_names
from lignite.models.load import Model
from lignite.options import COST, option
from lignite.studies.corpus import ask_sentences, name_of
from lignite.studies.evidence_by_layer import likeness
from lignite.studies.examples import OfExamples
from lignite.studies.relations import entropy
from lignite.studies.study import Run
from lignite.views.study.languages import KINDS, MEASURED, PROBED, report_languages
from lignite.views.study.layers import SETTLED
from lignite.views.study.report import Report


@dataclass(frozen=True, kw_only=True)
class Languages(OfExamples, name="languages"):
    """Compare how a model's predictions are explained in several languages, each example in that of its column.

    `limit` draws so many examples of every language. Beside what `trust` measures of faithfulness: how words are cut
    into tokens, how evenly relevance is spread, what kinds of token it is on, and from which layer on the picture is
    that of the highest.

    Returns
    -------
    Over example (`sentence`, with its `language`): `fertility`, tokens per word; `words`; `sources`, the effective
    number of words that relevance is on, and its `evenness`; `token_share` of every `kind` of token and `share` of them
    in the relevance of a layer; `settled`, the rank correlation over words of a layer's relevance with the highest's,
    and `formed`, the layer from which on it stays above 0.9; `correct`; `score` over method and measure, as of `trust`.
    """

    language: str = option("language", "Column of the languages.", panel="Data", metavar="COLUMN")
    method: Literal["relevance-flow", "ca-lig"] = option("relevance-flow", "What explains.", metavar="NAME")
    tol: float = option(1e-2, "Gap allowed, as a share of what is explained.", panel=COST, metavar="SHARE")
    probed: int = option(
        30,
        "So many of the examples, of all languages, for what explains each one dozens of times: shuffled words.",
        panel=COST,
        metavar="N",
        most=1_000_000,
    )

    def ask(self, model: Model, corpus: Any, run: Run) -> xr.Dataset:
        """Draw examples of every language, and ask them."""
        every = self.read_examples(model, corpus, limit=None, seed=run.seed)
        spoken = [read_text(where, row, self.language) for where, row in read_rows(corpus)[0]]
        groups = {name: [one for one in every if spoken[one.number] == name] for name in sorted(set(spoken))}
        if len(groups) < 2:
            raise InputError(f"column {self.language!r} holds {', '.join(groups)} alone: give at least two languages.")
        drawn = {name: draw(group, run.limit, run.seed) for name, group in groups.items()}
        found = self.ask_examples(model, [one for some in drawn.values() for one in some], run)
        named = [name for name, some in drawn.items() for _ in some]
        return found.assign_coords(language=("sentence", named)).assign_attrs(corpus=name_of(corpus))

    def ask_examples(self, model: Model, examples: Sequence[Example], run: Run) -> xr.Dataset:
        """Measure what is asked of every example."""
        asked = ((None, MEASURED), (self.probed, PROBED))
        found = self.measure(model, examples, f"{self.method}:tol={self.tol}", asked, run)
        sentences = [Sentence(place, one.id, None, one.text) for place, one in enumerate(examples)]
        told = ask_sentences(self, model, sentences, replace(run.beside("words"), limit=None))
        told = told.reindex(sentence=found["sentence"])
        names = class_names(model.network.config, model.network.config.num_labels)
        true = [None if one.label is None else _name(one.label, names) for one in examples]
        said = told["prediction"].values.tolist()
        correct = [np.nan if label is None else float(label == own) for label, own in zip(true, said, strict=True)]
        return found.merge(told, combine_attrs="override").assign(correct=("sentence", correct))

    def answer(self, model: Model, sentence: Sentence, others: Mapping[str, Model]) -> xr.Dataset:
        """Explain what the model predicts of one text, in every layer."""
        why = explain(model, sentence.text, method=self.method, tol=self.tol)
        relevance = why["layer_relevance"].transpose("layer", "token").values.astype(np.float64)
        kinds, number = kinds_of(why), why["word"].values
        has_letters = [KINDS.index("beginning"), KINDS.index("continuing")]
        words = sorted(set(number[np.isin(kinds, has_letters)].tolist()))
        if not words:
            raise InputError("it has no word: nothing is written in any language.")
        by_word = np.stack([relevance[:, number == word].sum(1) for word in words], 1)
        settled = likeness(by_word, -1)
        on_words = why["relevance"].values.astype(np.float64) @ (number[:, None] == words)
        spread = float(entropy(shares(on_words[None]))[0])
        counts = np.bincount(kinds, minlength=len(KINDS))
        sizes = np.stack([abs(relevance[:, kinds == kind]).sum(1) for kind in range(len(KINDS))], 1)
        found = {
            "fertility": ((), float(np.isin(number, words).sum() / len(words))),
            "words": ((), float(len(words))),
            "sources": ((), float(np.exp(spread))),
            "evenness": ((), float(spread / np.log(max(len(words), 2)))),
            "token_share": (("kind",), counts / counts.sum()),
            "share": (("layer", "kind"), shares(sizes)),
            "settled": (("layer",), settled),
            "formed": ((), formed(settled, why["layer"].values)),
            "prediction": ((), str(why.attrs["prediction"])),
        }
        return xr.Dataset(found, {"layer": why["layer"].values, "kind": list(KINDS)})

    @classmethod
    def report(cls, found: xr.Dataset) -> Report:
        """Where languages differ, and by how much."""
        return report_languages(found)


def _name(label: str | int, names: Sequence[str]) -> str:
    return names[label] if isinstance(label, int) else label


def kinds_of(why: xr.Dataset) -> Int[np.ndarray, " token"]:
    """Say which of `KINDS` every token is: special, without a letter or digit, or the first or a later piece of a word.

    What stands inside a word without a letter, as an apostrophe does, is punctuation.
    """
    text, found, begun = str(why.attrs["text"]), [], set()
    axes = (why[name].values.tolist() for name in ("special", "word", "start", "stop"))
    for special, word, start, stop in zip(*axes, strict=True):
        if special or word < 0:
            found.append("special")
        elif not any(letter.isalnum() for letter in text[start:stop]):
            found.append("punctuation")
        else:
            found.append("continuing" if word in begun else "beginning")
            begun.add(word)
    return np.array([KINDS.index(name) for name in found])


def formed(settled: Float[np.ndarray, " layer"], layers: Int[np.ndarray, " layer"]) -> float:
    """Find the layer from which on the picture stays that of the highest; NaN where it has no order of words.

    Examples
    --------
    >>> formed(np.array([0.95, 0.2, 0.92, 1.0]), np.arange(4))
    2.0
    """
    if np.isnan(settled[-1]):
        return np.nan
    below = np.flatnonzero(~(settled > SETTLED))
    return float(layers[below[-1] + 1 if len(below) else 0])
