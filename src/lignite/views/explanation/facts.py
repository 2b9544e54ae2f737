"""What every view says about an explanation: its question, text, strongest tokens, layers and certificate."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr
from jaxtyping import Float

from lignite.calls import check_choice
from lignite.errors import OptionError
from lignite.methods.options import known_options, told_of
from lignite.results.certificate import SUMS, Certificate, certificate, certificates
from lignite.results.spelling import in_order, readable
from lignite.views.attributes import from_json, options, written
from lignite.views.labels import named_token, visible_token
from lignite.views.patches.facts import is_image
from lignite.wording import one_line

SPECIAL = ("show", "rank", "hide", "share")
LAYER_MAPS = ("layer_relevance", "layer_ig")
Sign = Literal["for", "against"]


@dataclass(frozen=True)
class Question:
    """What was asked of the model, and what it said. `probability` is NaN where there is none."""

    name: str
    unit: str
    value: float
    prediction: str
    probability: float
    target_probability: float


@dataclass(frozen=True)
class Piece:
    """A stretch of the text; `index` is its place on the token axis, None between tokens."""

    text: str
    index: int | None = None


@dataclass(frozen=True)
class Ranked:
    """A token and its score; `share` is its part of all magnitude."""

    index: int
    position: int
    token: str
    score: float
    share: float


@dataclass(frozen=True)
class LayerRow:
    """One layer added up. `gap` is relative to the displacement, NaN where the result stores none; `special` is the
    part of special tokens, which are not among the strongest unless they are ranked.
    """

    layer: int
    total_for: float
    total_against: float
    gap: float
    special: float
    strongest: tuple[Ranked, ...]


def check_explanation(dataset: xr.Dataset) -> None:
    """Refuse what is no explanation with token scores."""
    kind = dataset.attrs.get("kind")
    if kind != "explain" or "relevance" not in dataset:
        raise OptionError(f"This result is of kind {kind!r} and holds no relevance: compute it with explain().")


def arrange(dataset: xr.Dataset, *, tokens: bool = False, special: str = "show") -> xr.Dataset:
    """The explanation as it is looked at: sub-words added up, special tokens shown, hidden or shared.

    With `tokens`, sub-words stay apart; either way they read as a reader knows them, without a tokenizer's marks.
    """
    check_explanation(dataset)
    check_choice("special", special, SPECIAL)
    dataset = readable(dataset) if tokens or is_image(dataset) else dataset.lignite.merge_words()
    if special in ("hide", "share") and bool(dataset.special.any()):
        dataset = dataset.lignite.drop_special(redistribute=special == "share")
    return dataset


def question(dataset: xr.Dataset) -> Question:
    """The number that is explained, in words, and the prediction."""
    target = from_json(dataset, "target")
    prediction = str(dataset.attrs.get("prediction", ""))
    return Question(
        name=_target_name(target),
        unit=_unit(target),
        value=float(dataset.attrs.get("value", np.nan)),
        prediction=one_line(prediction),
        probability=_probability(dataset, prediction),
        target_probability=_probability(dataset, _class_in(dataset, target)),
    )


def _target_name(target: dict[str, Any]) -> str:
    return one_line(str(target.get("name") or target.get("target") or "the output"))


def _unit(target: dict[str, Any]) -> str:
    if target.get("kind") == "function":
        return "value"
    return "logit" if target.get("against") is None else "logit difference"


def start_says(dataset: xr.Dataset) -> tuple[str, float] | None:
    """The class that the model favours where the path starts, and its probability; None where it is not known.

    Zero relevance means "as at the start": one that is itself sure of a class is no neutral one.
    """
    if "start_probability" not in dataset or not np.isfinite(dataset.start_probability.values).all():
        return None
    best = int(dataset.start_probability.values.argmax())
    return one_line(str(dataset["class"].values[best])), float(dataset.start_probability.values[best])


def _class_in(dataset: xr.Dataset, target: dict[str, Any]) -> str | None:
    """The class that a question's name speaks of: ``positive``, or ``'cat' after 'the' (5)``."""
    name = str(target.get("name"))
    known = [str(label) for label in dataset["class"].values] if "class" in dataset.coords else []
    named = [label for label in known if name == label or name.startswith((f"{label} at ", f"{label} after "))]
    return max(named, key=len, default=None)


def _probability(dataset: xr.Dataset, label: str | None) -> float:
    if not label or "probability" not in dataset or "class" not in dataset.coords:
        return float("nan")
    found = np.flatnonzero(dataset["class"].values.astype(str) == label)
    return float(dataset.probability.values[found[0]]) if len(found) == 1 else float("nan")


def likeliest(dataset: xr.Dataset, k: int) -> list[tuple[str, float]]:
    """The `k` classes of highest probability."""
    if "probability" not in dataset or "class" not in dataset.coords:
        return []
    order = np.argsort(-dataset.probability.values, kind="stable")[:k]
    return [(one_line(str(dataset["class"].values[at])), float(dataset.probability.values[at])) for at in order]


def settings(dataset: xr.Dataset) -> dict[str, str]:
    """The method and the options that tell its variants apart."""
    request, method = from_json(dataset, "request"), one_line(str(dataset.attrs.get("method", "")))
    told = {name: request.get(name) for name in told_of(method)}
    chosen = {name: value for name, value in told.items() if value is not False and value not in (None, "", [])}
    return {"method": method, **{name.replace("_", " "): written(value) for name, value in chosen.items()}}


def explained_options(dataset: xr.Dataset) -> list[list[str]]:
    """The options of the request that its method has: name, value, and what it means in a line."""
    known, method = known_options(), str(dataset.attrs.get("method", ""))
    asked = {name: value for name, value in options(dataset).items() if name != "method"}
    meant = {
        name: f"{each.option.help.split('. ')[0].rstrip('.')}."
        for name, each in known.items()
        if method in each.methods
    }
    return [["method", method, "how scores are computed"]] + [
        [name, value, meant[name]] for name, value in asked.items() if name in meant
    ]


def method_words(dataset: xr.Dataset) -> list[str]:
    """The method and what tells its variants apart, word by word."""
    chosen = settings(dataset)
    return [chosen.pop("method"), *(f"{name} {value}" for name, value in chosen.items())]


def plan_lines(dataset: xr.Dataset) -> dict[str, str]:
    """How the scores were computed, in words."""
    plans = from_json(dataset, "plans")
    return {
        name.replace("_", " "): written(list(dict.fromkeys(value)) if isinstance(value, list) else value)
        for name, value in plans.items()
    }


def seams(dataset: xr.Dataset) -> str:
    """Where a text was cut into windows, by characters; empty where it was read as a whole."""
    try:
        windows = json.loads(str(dataset.attrs.get("windows") or "[]"))
        found = [f"{int(window['start'])} to {int(window['stop'])}" for window in windows]
    except (ValueError, TypeError, KeyError):
        return one_line(str(dataset.attrs["windows"]))  # shown as it stands: a view never hides what a result says
    return f"{len(found)} windows, characters {', '.join(found)}" if found else ""


# The text, with a token for every stretch of it


def pieces(dataset: xr.Dataset) -> list[Piece]:
    """The text in reading order: every token once, and what lies between them as it was written.

    A token without a place in the text ([CLS], patches, or where offsets are unknown) is written as its tokenizer
    writes it.
    """
    text = str(dataset.attrs.get("text", ""))
    starts, stops = dataset.start.values.tolist(), dataset.stop.values.tolist()
    tokens = [str(token) for token in dataset.token.values]
    if not in_order(starts, stops, len(text)):
        return _joined(dataset, tokens)
    found: list[Piece] = []
    cursor = 0
    for index, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        if start < 0 or stop <= start:
            found += [Piece(" "), Piece(visible_token(tokens[index]), index), Piece(" ")]
            continue
        between = text[cursor:start]
        if between:
            found.append(Piece(_between(between)))
        inside = text[start:stop]
        if start < cursor:  # several tokens may spell one character: each says which byte it is
            inside = tokens[index]
        found.append(Piece(visible_token(inside), index))
        cursor = max(cursor, stop)
    if text[cursor:].strip():
        found.append(Piece(_between(text[cursor:])))
    return _tidy(found)


def _between(text: str) -> str:
    """What stands between tokens: blanks and line breaks as one blank, anything else as it is."""
    inner = one_line(text)
    if not inner:
        return " "
    return (" " if text[0].isspace() else "") + inner + (" " if text[-1].isspace() else "")


def _joined(dataset: xr.Dataset, tokens: Sequence[str]) -> list[Piece]:
    """Tokens set side by side with blanks between words, where no offsets tell what lies between them."""
    words, special = dataset.word.values, dataset.special.values
    segments = dataset.segment.values if "segment" in dataset.coords else np.zeros_like(words)
    found: list[Piece] = []
    for index, token in enumerate(tokens):
        inside = index > 0 and not special[index] and words[index] >= 0
        inside = inside and words[index] == words[index - 1] and segments[index] == segments[index - 1]
        if index and not inside:
            found.append(Piece(" "))
        found.append(Piece(visible_token(token), index))
    return found


def _tidy(found: list[Piece]) -> list[Piece]:
    """No blank at either end, none after another."""
    kept: list[Piece] = []
    for piece in found:
        blank = piece.index is None and not piece.text.strip()
        after_blank = not kept or (kept[-1].index is None and kept[-1].text.endswith(" "))
        if not (blank and after_blank):
            kept.append(piece)
    while kept and kept[-1].index is None and not kept[-1].text.strip():
        kept.pop()
    return kept


# Numbers


def strongest(
    dataset: xr.Dataset,
    k: int,
    *,
    sign: Sign | None = None,
    scores: xr.DataArray | None = None,
    special: bool = False,
) -> list[Ranked]:
    """The `k` tokens that speak loudest, for or against the target or either way; none that says nothing.

    `scores` are those of a layer, by default the relevance. `special` tokens are ranked only where they are asked for.
    """
    values = (dataset.relevance if scores is None else scores).values.astype(np.float64)
    total = float(np.abs(values).sum())
    counted = {"for": values > 0, "against": values < 0, None: values != 0}[sign]
    counted = counted & (special | ~dataset.special.values)
    order = np.argsort(-np.abs(values), kind="stable")
    return [
        Ranked(
            index=int(at),
            position=int(dataset.position.values[at]),
            token=named_token(str(dataset.token.values[at])),
            score=float(values[at]),
            share=float(abs(values[at]) / total),
        )
        for at in order[counted[order]][:k]
    ]


def layer_map(dataset: xr.Dataset) -> str | None:
    """The scores of every layer that a view draws; None for a method without layers."""
    return next((name for name in LAYER_MAPS if name in dataset), None)


def layer_rows(dataset: xr.Dataset, *, k: int = 2, special: bool = False) -> list[LayerRow]:
    """Every layer added up, with its `k` strongest tokens."""
    name = layer_map(dataset)
    if name is None:
        return []
    gaps = relative_layer_gaps(dataset)
    rows = []
    for at, layer in enumerate(dataset.layer.values):
        scores = dataset[name].isel(layer=at)
        values = scores.values.astype(np.float64)
        rows.append(
            LayerRow(
                layer=int(layer),
                total_for=float(values[values > 0].sum()),
                total_against=float(values[values < 0].sum()),
                gap=float("nan") if gaps is None else float(gaps[at]),
                special=0.0 if special else float(values[dataset.special.values].sum()),
                strongest=tuple(strongest(dataset, k, scores=scores, special=special)),
            )
        )
    return rows


def relative_layer_gaps(dataset: xr.Dataset) -> Float[np.ndarray, " layer"] | None:
    """What every layer misses, as a share of what it had to explain; None where the result stores no gaps."""
    found = certificate(dataset, "")
    return None if found is None else found.relative.values


def certificate_text(dataset: xr.Dataset) -> str:
    """The certificate in one line."""
    found = certificates(dataset)
    if not found:
        return "none: this method promises no sum, so no gap tells how exact its scores are"
    if not all(entry.promised for entry in found):
        return "none: nodes are drawn at random, so that layer_ig_error tells how exact the scores are, not their sum"
    return "; ".join(map(_miss, found))


def _miss(found: Certificate) -> str:
    what, worst, within = SUMS[found.prefix], found.worst, found.within
    size, tol = share_text(float(worst)), share_text(found.tol)
    if what == "layers":
        return (
            f"the scores of a layer miss at most {size} of the change they explain (layer {int(worst.layer)}); "
            f"{int(within.sum())} of {within.size} layers within {tol}"
        )
    if what == "output":
        return f"above the last block {size}"
    if what == "total":
        return f"scores miss {size} of the change they explain" + ("" if found.kept else f", more than {tol}")
    return f"handed on between layers but for {size} (layer {int(worst.layer)})"


def share_text(value: float) -> str:
    """A share in per cent, as short as it is read: 0.1 %, 12 %, below 0.0001 %."""
    percent = 100 * value
    if percent and abs(percent) < 1e-4:
        return "less than 0.0001 %"
    return f"{percent:.2g} %" if abs(percent) < 99.5 else f"{percent:.0f} %"
