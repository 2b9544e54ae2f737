"""What every view says about a comparison of explanations: who agrees, where the sides differ, on which scale."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float

from lignite.results.schema import COMPARISON
from lignite.views.attributes import from_json
from lignite.views.explanation.facts import Piece, pieces, share_text
from lignite.views.labels import format_score, format_share, limit_of, token_in_words, visible_token
from lignite.wording import listed, one_line, shorten

NAMED, WORTH = 3, 0.25
"""So many words are named as different, as far as each has this share of the largest difference."""

LABELLED = 6
"""Words that a scatter names: those that differ most."""

HARDLY = 0.02
"""Sides whose evidence differs by less are told apart by nothing worth naming."""

LIKENESS = ((0.8, "much alike"), (0.5, "similarly"), (0.2, "only partly alike"), (-0.2, "in unrelated ways"))
"""What a rank correlation of at least so much is called."""

MEANT = {
    "spearman": "rank correlation of all words, from −1 (the other way round) to 1 (the same order)",
    "overlap": "share of the strongest words that both have",
    "changed": "share of the evidence that would have to move to make one of the other",
}
TITLES = {"spearman": "rank correlation", "overlap": "strongest in common", "changed": "evidence that differs"}


@dataclass(frozen=True)
class Pair:
    """How far two sides agree: of each measure its mean and the bounds of its interval (NaN for a single text)."""

    first: str
    second: str
    spearman: tuple[float, float, float]
    overlap: tuple[float, float, float]
    changed: tuple[float, float, float]


@dataclass(frozen=True)
class Outlier:
    """A word that one side weighs otherwise than the reference."""

    index: int
    example: int
    token: str
    score: float
    beside: float
    difference: float


def sides_of(dataset: xr.Dataset) -> list[str]:
    """The names of the sides."""
    return [one_line(str(name)) for name in dataset["side"].values]


def reference_of(dataset: xr.Dataset) -> int:
    """Which side the others are compared with."""
    names = dataset["side"].values.tolist()
    reference = dataset.attrs.get("reference", names[0])
    return names.index(reference) if reference in names else 0


def others_of(dataset: xr.Dataset) -> list[int]:
    """All sides but the reference."""
    return [at for at in range(dataset.sizes["side"]) if at != reference_of(dataset)]


def scale_of(dataset: xr.Dataset) -> str:
    """Which variable is shown: relevance, or shares of the evidence."""
    return "share" if dataset.attrs.get("scale") == "share" else "relevance"


def scores_of(dataset: xr.Dataset) -> Float[np.ndarray, "side row"]:
    """What is compared, on one scale."""
    return dataset[scale_of(dataset)].transpose("side", "token").values.astype(np.float64)


def writer_of(dataset: xr.Dataset) -> Callable[[float], str]:
    """How scores of this scale are written."""
    return _signed_share if scale_of(dataset) == "share" else _signed_score


def _signed_share(value: float) -> str:
    """A signed share in per cent.

    Examples
    --------
    >>> _signed_share(0.1234), _signed_share(-0.00012), _signed_share(0.0), _signed_share(float("nan"))
    ('+12.3 %', '0 %', '0 %', '–')
    """
    if not np.isfinite(value):
        return "–"
    return f"{100 * value:+.1f} %".replace("-", "−") if abs(value) >= 5e-4 else "0 %"


def _signed_score(value: float) -> str:
    return format_score(value).replace("-", "−") if np.isfinite(value) else "–"


def unit_of(dataset: xr.Dataset) -> str:
    """What a score on the scale is."""
    return "share of a side's evidence" if scale_of(dataset) == "share" else "in the unit of the prediction"


def tokens_of(dataset: xr.Dataset) -> list[str]:
    """What the rows are called."""
    return [visible_token(str(token)) for token in dataset.token.values]


def noun_of(dataset: xr.Dataset) -> str:
    """What the rows are to a reader."""
    return "patches" if "row" in dataset.coords else "words"


# What is said first


def doubt(dataset: xr.Dataset) -> str:
    """What has to be said before anything else of sides whose scores are not settled; empty where all are."""
    if "settled" not in dataset.coords:
        return ""
    settled = dataset["settled"].transpose("side", "example").values
    unsettled = [name for name, kept in zip(sides_of(dataset), settled, strict=True) if not kept.all()]
    if not unsettled:
        return ""
    worst = share_text(float(np.nanmax(dataset["largest_gap"].values)))
    return f"Not settled: {listed(unsettled)} miss up to {worst} of what they explain, more than is allowed."


def verdict(dataset: xr.Dataset) -> str:
    """The answer in one sentence: how alike the sides weigh the words."""
    compared = pairs(dataset)
    n_texts = dataset.sizes["example"]
    over = f"Over {n_texts} texts, " if n_texts > 1 else ""
    if len(compared) == 1:
        (pair,) = compared
        how = f"weigh the {noun_of(dataset)} {likeness(pair.spearman[0])}: {_measured(pair, dataset)}"
        return f"{over}{pair.first} and {pair.second} {how}."
    known = [pair for pair in compared if np.isfinite(pair.spearman[0])]
    if not known:
        return f"{over}{listed(sides_of(dataset))} side by side."
    close, far = max(known, key=lambda pair: pair.spearman[0]), min(known, key=lambda pair: pair.spearman[0])
    return (
        f"{over or 'Of these, '}closest are {close.first} and {close.second} ({_correlation(close)}), furthest "
        f"{far.first} and {far.second} ({_correlation(far)})."
    )


def likeness(correlation: float) -> str:
    """A rank correlation in words.

    Examples
    --------
    >>> likeness(0.9), likeness(0.0), likeness(-0.7), likeness(float("nan"))
    ('much alike', 'in unrelated ways', 'the other way round', 'in no order that could be compared')
    """
    if not np.isfinite(correlation):
        return "in no order that could be compared"
    return next((words for least, words in LIKENESS if correlation >= least), "the other way round")


def _measured(pair: Pair, dataset: xr.Dataset) -> str:
    """The two measures of a sentence; of a single text in whole words, beside what chance gives."""
    if not np.isfinite(pair.overlap[0]):
        return _correlation(pair)
    chance = float(np.nanmean(dataset["chance"].values))
    strongest = min(int(dataset.attrs.get("k", 5)), int((~dataset.special.values).sum()) // 2)
    if dataset.sizes["example"] > 1:
        share = f"{format_share(pair.overlap[0])} of the strongest {noun_of(dataset)} are the same"
        return f"{_correlation(pair)}, {share} (by chance {format_share(chance)})"
    count = f"{round(pair.overlap[0] * strongest)} of the {strongest} strongest {noun_of(dataset)} are the same"
    return f"{_correlation(pair)}, {count} (by chance {chance * strongest:.1f})"


def _correlation(pair: Pair) -> str:
    return f"rank correlation {written(pair.spearman)}"


def written(found: tuple[float, float, float]) -> str:
    """A mean with its interval, where it has one.

    Examples
    --------
    >>> nan = float("nan")
    >>> written((0.5, 0.25, 0.75)), written((0.5, nan, nan)), written((nan, nan, nan))
    ('0.50 [0.25, 0.75]', '0.50', '–')
    """
    mean, low, high = found
    if not np.isfinite(mean):
        return "–"
    return f"{mean:.2f}".replace("-", "−") + (f" [{low:.2f}, {high:.2f}]".replace("-", "−") if np.isfinite(low) else "")


def apart(dataset: xr.Dataset) -> list[str]:
    """Where the sides differ most, a sentence for each side beside the reference."""
    names, reference, write = sides_of(dataset), reference_of(dataset), writer_of(dataset)
    told = []
    for side in others_of(dataset):
        found = outliers(dataset, side, NAMED)
        if not found or changed(dataset, side) < HARDLY:
            told.append(f"{names[side]} and {names[reference]} hardly differ.")
            continue
        largest = abs(found[0].difference)
        named = "; ".join(
            _told(dataset, each, side, write) for each in found if abs(each.difference) >= WORTH * largest
        )
        told.append(f"{names[side]} differs most from {names[reference]} at {named}.")
    return told


def _told(dataset: xr.Dataset, found: Outlier, side: int, write: Callable[[float], str]) -> str:
    """One word and what both sides say of it; words that differ by both their names."""
    own, others = (str(dataset["side_token"].values[at, found.index]) for at in (side, reference_of(dataset)))
    if not own or not others:
        which = sides_of(dataset)[side if own else reference_of(dataset)]
        return f"{token_in_words(own or others)} {write(found.score if own else found.beside)}, which only {which} has"
    instead = "" if own.casefold() == others.casefold() else f"{token_in_words(others)} "
    name = token_in_words(own if instead else found.token)
    return f"{name} {write(found.score)} instead of {instead}{write(found.beside)}"


def changed(dataset: xr.Dataset, side: int) -> float:
    """Which share of a side's evidence differs from the reference."""
    found = dataset["agreement_mean"].transpose("measure", "side", "against").sel(measure="changed").values
    return float(found[side, reference_of(dataset)])


def answers(dataset: xr.Dataset) -> list[str]:
    """What the model says on every side, where that differs; else once."""
    if dataset.sizes["example"] > 1:
        return []
    names = sides_of(dataset)
    said = [_answer(dataset, at) for at in range(len(names))]
    if len(set(said)) == 1:
        return [f"The model says {said[0]} on every side."] if said[0] else []
    return [f"{name}: the model says {each}." for name, each in zip(names, said, strict=True) if each]


def _answer(dataset: xr.Dataset, side: int) -> str:
    prediction = one_line(str(dataset["prediction"].values[side, 0])) if "prediction" in dataset.coords else ""
    sure = float(dataset["predicted"].values[side, 0]) if "predicted" in dataset else float("nan")
    return f"{prediction} ({format_share(sure)})" if prediction and np.isfinite(sure) else prediction


def speaking(dataset: xr.Dataset) -> tuple[str, str]:
    """What the two colours speak for: by its name, where all sides explain the same of the model's answer."""
    asked = (
        {one_line(str(name)) for name in np.ravel(dataset["target"].values)} if "target" in dataset.coords else set()
    )
    name = f" {shorten(asked.pop(), 40)}" if len(asked) == 1 else ""
    return f"for{name}".rstrip(), f"against{name}".rstrip()


# Numbers


def pairs(dataset: xr.Dataset) -> list[Pair]:
    """Every two sides once, those with the reference first."""
    names, reference = sides_of(dataset), reference_of(dataset)
    held = [dataset[f"agreement_{bound}"].transpose("measure", "side", "against") for bound in ("mean", "low", "high")]
    order, measures = [reference, *others_of(dataset)], dataset["measure"].values.tolist()
    found = []
    for place, one in enumerate(order):
        for other in order[place + 1 :]:
            mean, low, high = (each.values[:, one, other].astype(float).tolist() for each in held)
            bounds = dict(zip(measures, zip(mean, low, high, strict=True), strict=True))
            found.append(Pair(names[one], names[other], *(bounds[measure] for measure in TITLES)))
    return found


def outliers(dataset: xr.Dataset, side: int, k: int) -> list[Outlier]:
    """The `k` words that a side weighs most otherwise than the reference, special tokens left out."""
    scores, beside = scores_of(dataset)[side], scores_of(dataset)[reference_of(dataset)]
    difference = dataset["difference"].transpose("side", "token").values[side].astype(np.float64)
    size = np.where(dataset.special.values | ~np.isfinite(difference), 0, np.abs(difference))
    tokens = tokens_of(dataset)
    order = [int(at) for at in np.argsort(-size, kind="stable")[:k] if size[at] > 0]
    number = examples_of(dataset)
    return [
        Outlier(at, int(number[at]), tokens[at], float(scores[at]), float(beside[at]), float(difference[at]))
        for at in order
    ]


def examples_of(dataset: xr.Dataset) -> np.ndarray:
    """Which text each row belongs to."""
    return (
        dataset["of_example"].values if "of_example" in dataset.coords else np.zeros(dataset.sizes["token"], dtype=int)
    )


def of_example(dataset: xr.Dataset, number: int) -> xr.Dataset:
    """One text of a comparison of several."""
    return dataset.isel(token=np.flatnonzero(examples_of(dataset) == number), example=[number])


def most_different(dataset: xr.Dataset) -> list[int]:
    """Texts, those first in which a side's evidence differs most from the reference."""
    held = dataset["agreement"].transpose("measure", "side", "against", "example").sel(measure="changed").values
    worst = np.nan_to_num(held[:, reference_of(dataset)]).max(axis=0)
    return [int(at) for at in np.argsort(-worst, kind="stable")]


def limit_in(dataset: xr.Dataset) -> float:
    """Where the colours of all sides end; a special token that holds everything would leave the words blank."""
    kept = ~dataset.special.values
    scores = scores_of(dataset)
    return limit_of(scores[:, kept] if kept.any() else scores)


def text_of(dataset: xr.Dataset, side: int, values: Float[np.ndarray, " row"]) -> list[tuple[str, float | None]]:
    """The text of one side in reading order: its pieces, with a value where they are words (of one text)."""
    has = np.flatnonzero(np.array([bool(word) for word in dataset["side_token"].values[side]]))
    spans = dataset["side_start"].values[side][has], dataset["side_stop"].values[side][has]
    alone = xr.Dataset(
        {"relevance": ("token", values[has])},
        {
            "start": ("token", spans[0]),
            "stop": ("token", spans[1]),
            "word": ("token", np.arange(len(has))),
            "special": ("token", dataset.special.values[has]),
        },
        {"text": str(dataset["text"].values[side, 0])},
    ).assign_coords(xr.Coordinates({"token": ("token", dataset["side_token"].values[side][has])}, indexes={}))
    found: Sequence[Piece] = pieces(alone)
    return [(piece.text, None if piece.index is None else float(values[has][piece.index])) for piece in found]


def settings(dataset: xr.Dataset) -> list[tuple[str, list[str]]]:
    """What differs between the sides: of every setting its value on each."""
    found = from_json(dataset, "different")
    names = dataset["side"].values.tolist()
    return [
        (str(name).replace("_", " "), [one_line(shorten(str(values.get(side, "")), 160)) for side in names])
        for name, values in found.items()
        if isinstance(values, dict)
    ]


def shared(dataset: xr.Dataset) -> dict[str, str]:
    """What is the same on every side."""
    return {
        str(name).replace("_", " "): one_line(str(value))
        for name, value in from_json(dataset, "shared").items()
        if value not in ("none", "") and name != "lignite"
    }


def differences(dataset: xr.Dataset) -> str:
    """In which settings the sides differ, in a sentence."""
    found = [name for name, _ in settings(dataset)]
    return f"The sides differ in their {listed(found)}." if found else "The settings of all sides are the same."


def is_of_flows(dataset: xr.Dataset) -> bool:
    """Whether flows are compared."""
    return dataset.attrs.get("kind") != COMPARISON.kind
