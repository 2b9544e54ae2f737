"""What every view says about a comparison of explanations: who agrees, where the sides differ, on which scale."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from lignite.views.comparison.sides import Sides, written
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
class Line:
    """What one side says of every row, or by how much that differs from the reference.

    `called` is what stands over it, `column` the same over a column of a table, where two sides have one difference.
    """

    side: int
    called: str
    column: str
    scores: Float[np.ndarray, " row"]
    is_difference: bool


@dataclass(frozen=True)
class Pair:
    """How far two sides agree: of each measure its mean and the bounds of its interval (NaN for a single text)."""

    first: str
    second: str
    spearman: tuple[float, float, float]
    overlap: tuple[float, float, float]
    changed: tuple[float, float, float]

    @property
    def measured(self) -> dict[str, tuple[float, float, float]]:
        """Each measure by its title."""
        return {title: getattr(self, name) for name, title in TITLES.items()}


@dataclass(frozen=True)
class Outlier:
    """A word that one side weighs otherwise than the reference."""

    index: int
    example: int
    token: str
    score: float
    beside: float
    difference: float


@dataclass(frozen=True)
class ExplanationSides(Sides):
    """The sides of a comparison of explanations."""

    @property
    def scale(self) -> str:
        """Which variable is shown: relevance, or shares of the evidence."""
        return "share" if self.dataset.attrs.get("scale") == "share" else "relevance"

    @property
    def scale_reason(self) -> str:
        return str(self.dataset.attrs.get("scale_reason", ""))

    @cached_property
    def scores(self) -> Float[np.ndarray, "side row"]:
        """What is compared, on one scale."""
        return self.dataset[self.scale].transpose("side", "token").values.astype(np.float64)

    @cached_property
    def difference(self) -> Float[np.ndarray, "side row"]:
        """By how much every side's scores differ from the reference's."""
        return self.dataset["difference"].transpose("side", "token").values.astype(np.float64)

    @cached_property
    def lines(self) -> list[Line]:
        """Every side, then every difference to the reference."""
        own = [Line(side, name, name, self.scores[side], False) for side, name in enumerate(self.names)]
        return [*own, *map(self._less, self.others)]

    def _less(self, side: int) -> Line:
        called = f"{self.names[side]} less {self.names[self.reference]}"
        column = "difference" if len(self.names) == 2 else called
        return Line(side, called, column, self.difference[side], True)

    @property
    def write(self) -> Callable[[float], str]:
        """How scores of this scale are written."""
        return _signed_share if self.scale == "share" else _signed_score

    @property
    def unit(self) -> str:
        """What a score on the scale is."""
        return "share of a side's evidence" if self.scale == "share" else "in the unit of the prediction"

    @cached_property
    def tokens(self) -> list[str]:
        """What the rows are called."""
        return [visible_token(str(token)) for token in self.dataset.token.values]

    @property
    def special(self) -> Bool[np.ndarray, " row"]:
        """Which rows are special tokens."""
        return self.dataset.special.values

    @property
    def are_patches(self) -> bool:
        return "row" in self.dataset.coords

    @property
    def noun(self) -> str:
        """What the rows are to a reader."""
        return "patches" if self.are_patches else "words"

    @cached_property
    def shown_scores(self) -> Float[np.ndarray, "side kept"]:
        """Those that colours are made for: a special token that holds everything would leave the words blank."""
        return self.scores[:, ~self.special] if not self.special.all() else self.scores

    @cached_property
    def limit(self) -> float:
        """Where the colours of all sides end."""
        return limit_of(self.shown_scores)

    @property
    def ends(self) -> str:
        """Where the colours end, in words."""
        return f"colours end at {self.write(self.limit).lstrip('+')}"

    @property
    def speaking(self) -> tuple[str, str]:
        """What the two colours speak for: by its name, where all sides explain the same of the model's answer."""
        found = self.dataset
        asked = (
            {one_line(str(name)) for name in np.ravel(found["target"].values)} if "target" in found.coords else set()
        )
        name = f" {shorten(asked.pop(), 40)}" if len(asked) == 1 else ""
        return f"for{name}".rstrip(), f"against{name}".rstrip()

    # What is said first

    @property
    def doubt(self) -> str:
        """What has to be said before anything else of sides whose scores are not settled; empty where all are."""
        if "settled" not in self.dataset.coords:
            return ""
        settled = self.dataset["settled"].transpose("side", "example").values
        unsettled = [name for name, kept in zip(self.names, settled, strict=True) if not kept.all()]
        if not unsettled:
            return ""
        worst = share_text(float(np.nanmax(self.dataset["largest_gap"].values)))
        return f"Not settled: {listed(unsettled)} miss up to {worst} of what they explain, more than is allowed."

    @property
    def verdict(self) -> str:
        """The answer in one sentence: how alike the sides weigh the words."""
        compared = self.pairs
        over = f"Over {self.n_texts} texts, " if self.n_texts > 1 else ""
        if len(compared) == 1:
            (pair,) = compared
            how = f"weigh the {self.noun} {likeness(pair.spearman[0])}: {self._measured(pair)}"
            return f"{over}{pair.first} and {pair.second} {how}."
        known = [pair for pair in compared if np.isfinite(pair.spearman[0])]
        if not known:
            return f"{over}{listed(self.names)} side by side."
        close, far = max(known, key=lambda pair: pair.spearman[0]), min(known, key=lambda pair: pair.spearman[0])
        return (
            f"{over or 'Of these, '}closest are {close.first} and {close.second} ({_correlation(close)}), furthest "
            f"{far.first} and {far.second} ({_correlation(far)})."
        )

    def _measured(self, pair: Pair) -> str:
        """The two measures of a sentence; of a single text in whole words, beside what chance gives."""
        if not np.isfinite(pair.overlap[0]):
            return _correlation(pair)
        strongest = min(int(self.dataset.attrs.get("k", 5)), int((~self.special).sum()) // 2)
        if self.n_texts > 1:
            share = f"{format_share(pair.overlap[0])} of the strongest {self.noun} are the same"
            return f"{_correlation(pair)}, {share} (by chance {format_share(self.chance)})"
        count = f"{round(pair.overlap[0] * strongest)} of the {strongest} strongest {self.noun} are the same"
        return f"{_correlation(pair)}, {count} (by chance {self.chance * strongest:.1f})"

    @property
    def chance(self) -> float:
        """Which share of the strongest two orders drawn at random have in common, mean over texts."""
        found = self.dataset["chance"].values
        return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")

    @property
    def apart(self) -> list[str]:
        """Where the sides differ most, a sentence for each side beside the reference."""
        told = []
        for side in self.others:
            found = self.outliers(side, NAMED)
            if not found or self.changed(side) < HARDLY:
                told.append(f"{self.names[side]} and {self.names[self.reference]} hardly differ.")
                continue
            least = WORTH * abs(found[0].difference)
            named = "; ".join(self._told(each, side) for each in found if abs(each.difference) >= least)
            told.append(f"{self.names[side]} differs most from {self.names[self.reference]} at {named}.")
        return told

    def _told(self, found: Outlier, side: int) -> str:
        """One word and what both sides say of it; words that differ by both their names."""
        write = self.write
        own, others = (str(self.dataset["side_token"].values[at, found.index]) for at in (side, self.reference))
        if not own or not others:
            which = self.names[side if own else self.reference]
            score = write(found.score if own else found.beside)
            return f"{token_in_words(own or others)} {score}, which only {which} has"
        instead = "" if own.casefold() == others.casefold() else f"{token_in_words(others)} "
        name = token_in_words(own if instead else found.token)
        return f"{name} {write(found.score)} instead of {instead}{write(found.beside)}"

    @property
    def answers(self) -> list[str]:
        """What the model says on every side, where that differs; else once."""
        if self.n_texts > 1:
            return []
        said = [self._answer(side) for side in range(len(self.names))]
        if len(set(said)) == 1:
            return [f"The model says {said[0]} on every side."] if said[0] else []
        return [f"{name}: the model says {each}." for name, each in zip(self.names, said, strict=True) if each]

    def _answer(self, side: int) -> str:
        found = self.dataset
        prediction = one_line(str(found["prediction"].values[side, 0])) if "prediction" in found.coords else ""
        sure = float(found["predicted"].values[side, 0]) if "predicted" in found else float("nan")
        return f"{prediction} ({format_share(sure)})" if prediction and np.isfinite(sure) else prediction

    # Numbers

    @property
    def pairs(self) -> list[Pair]:
        """Every two sides once, those with the reference first."""
        held = [self.dataset[f"agreement_{bound}"].transpose("measure", "side", "against")
                for bound in ("mean", "low", "high")]  # fmt: skip
        order, measures = [self.reference, *self.others], self.dataset["measure"].values.tolist()
        found = []
        for place, one in enumerate(order):
            for other in order[place + 1 :]:
                mean, low, high = (each.values[:, one, other].astype(float).tolist() for each in held)
                bounds = dict(zip(measures, zip(mean, low, high, strict=True), strict=True))
                found.append(Pair(self.names[one], self.names[other], *(bounds[measure] for measure in TITLES)))
        return found

    def changed(self, side: int) -> float:
        """Which share of a side's evidence differs from the reference."""
        found = self.dataset["agreement_mean"].transpose("measure", "side", "against").sel(measure="changed").values
        return float(found[side, self.reference])

    def outliers(self, side: int, k: int) -> list[Outlier]:
        """The `k` words that a side weighs most otherwise than the reference, special tokens left out."""
        own, beside, difference = self.scores[side], self.scores[self.reference], self.difference[side]
        size = np.where(self.special | ~np.isfinite(difference), 0, np.abs(difference))
        order = [int(at) for at in np.argsort(-size, kind="stable")[:k] if size[at] > 0]
        number = self._of_example
        return [
            Outlier(at, int(number[at]), self.tokens[at], float(own[at]), float(beside[at]), float(difference[at]))
            for at in order
        ]

    @cached_property
    def sizes(self) -> Float[np.ndarray, " row"]:
        """How far every row differs, on the side where it differs most."""
        return np.nan_to_num(np.abs(self.difference)).max(axis=0)

    def most(self, k: int) -> Int[np.ndarray, " k"]:
        """The `k` rows that differ most, in the order of the text."""
        return np.sort(np.argsort(-self.sizes, kind="stable")[:k])

    # One text of several

    @property
    def _of_example(self) -> Int[np.ndarray, " row"]:
        """Which text each row belongs to."""
        found = self.dataset
        return found["of_example"].values if "of_example" in found.coords else np.zeros(found.sizes["token"], dtype=int)

    def of_text(self, number: int) -> "ExplanationSides":
        """One text of a comparison of several."""
        rows = np.flatnonzero(self._of_example == number)
        return ExplanationSides(self.dataset.isel(token=rows, example=[number]))

    @property
    def most_different(self) -> list[int]:
        """Texts, those first in which a side's evidence differs most from the reference."""
        held = self.dataset["agreement"].transpose("measure", "side", "against", "example").sel(measure="changed")
        worst = np.nan_to_num(held.values[:, self.reference]).max(axis=0)
        return [int(at) for at in np.argsort(-worst, kind="stable")]

    def read(self, line: Line) -> Iterator[tuple[str, float | None]]:
        """The text of a line's side in reading order: its pieces, with a score where they are words (of one text)."""
        found, side = self.dataset, line.side
        has = np.flatnonzero(np.array([bool(word) for word in found["side_token"].values[side]]))
        scores = np.nan_to_num(line.scores)[has]
        alone = xr.Dataset(
            {"relevance": ("token", scores)},
            {
                "start": ("token", found["side_start"].values[side][has]),
                "stop": ("token", found["side_stop"].values[side][has]),
                "word": ("token", np.arange(len(has))),
                "special": ("token", self.special[has]),
            },
            {"text": str(found["text"].values[side, 0])},
        ).assign_coords(xr.Coordinates({"token": ("token", found["side_token"].values[side][has])}, indexes={}))
        told: Sequence[Piece] = pieces(alone)
        return ((piece.text, None if piece.index is None else float(scores[piece.index])) for piece in told)


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


def _correlation(pair: Pair) -> str:
    return f"rank correlation {written(pair.spearman)}"


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
