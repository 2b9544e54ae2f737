"""What two words of a sentence are to each other: neighbours, governor and dependent, of one part of speech."""

import zlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from lignite.data.sentences import Sentence
from lignite.metrics.readings.changes import Scores, mean

KINDS = ("itself", "previous", "next", "2-4 before", "2-4 after", "further", "special")
"""Every source is one of these to a target: words by how far they stand, and tokens that are no words."""

RELATIONS = ("governor", "dependents", "same part of speech")
"""What a treebank says of two words: the one that the target depends on, those that depend on it, those of its kind. A
source may be several of these, or none."""


@dataclass(frozen=True, eq=False)
class Words:
    """Words of a sentence in an order, and what its treebank says of them: None where it says nothing."""

    words: tuple[str, ...]
    tags: tuple[str, ...] | None = None
    heads: tuple[int, ...] | None = None

    @classmethod
    def of(cls, sentence: Sentence) -> "Words":
        """Take a sentence's own words; a plain line is told apart at its blanks."""
        if sentence.words is None:
            return cls(tuple((sentence.text or "").split()))
        return cls(sentence.words, sentence.tags, sentence.heads)

    def shuffled(self, seed: int) -> "Words":
        """Put the same words into another order, drawn for these words; what depends on what stays."""
        known = zlib.crc32(" ".join(self.words).encode())
        order = np.random.default_rng([seed, known]).permutation(len(self.words)).tolist()
        place = {old: new for new, old in enumerate(order)}
        return Words(
            tuple(self.words[old] for old in order),
            None if self.tags is None else tuple(self.tags[old] for old in order),
            None if self.heads is None else tuple(place.get(self.heads[old], -1) for old in order),
        )

    def related(self, number: Int[np.ndarray, " token"]) -> Bool[np.ndarray, "relation token token"] | None:
        """Say which tokens stand in which relation, target before source; None without a treebank."""
        if self.tags is None or self.heads is None:
            return None
        is_word = number >= 0
        tags, heads = np.asarray(self.tags)[number], np.asarray(self.heads)[number]
        both = is_word[:, None] & is_word[None] & ~np.eye(len(number), dtype=bool)
        is_governor = both & (heads[:, None] == number[None])
        return np.stack([is_governor, is_governor.T, both & (tags[:, None] == tags[None])])


def kinds_of(number: Int[np.ndarray, " token"]) -> Int[np.ndarray, "token token"]:
    """Say which of `KINDS` a source is to a target; `number` is the word of each token, -1 for none."""
    away = number[None] - number[:, None]
    bounds = [away == 0, away == -1, away == 1, (away < 0) & (away >= -4), (away > 0) & (away <= 4)]
    kinds = np.select(bounds, range(len(bounds)), default=KINDS.index("further"))
    kinds[:, number < 0] = KINDS.index("special")
    return kinds


def by_kind(share: Scores, number: Int[np.ndarray, " token"]) -> Float[np.ndarray, "*rest kind"]:
    """Add up a target's shares by what the source is to it; mean over targets that are words."""
    kinds = kinds_of(number)
    summed = np.stack([np.where(kinds == kind, share, 0).sum(-1) for kind in range(len(KINDS))], -1)
    summed = np.where(np.isnan(share).any(-1)[..., None], np.nan, summed)
    return mean(summed[..., number >= 0, :], -2)


def by_relation(
    share: Scores, related: Bool[np.ndarray, "relation token token"], number: Int[np.ndarray, " token"]
) -> tuple[Float[np.ndarray, "*rest relation"], Float[np.ndarray, "*rest relation"]]:
    """Add up a target's shares of the words in a relation to it, and what their distance alone would give them.

    The second puts in the place of each share the mean over all pairs of words of the sentence that stand as far from
    each other, in the same direction. Mean over targets that have such a word.
    """
    alone = _by_distance(share, number)
    found = []
    for each in (share, alone):
        sums = [np.where(pairs, each, 0).sum(-1)[..., pairs.any(-1)] for pairs in related]
        found.append(np.stack([mean(one, -1) for one in sums], -1))
    return found[0], found[1]


def _by_distance(share: Scores, number: Int[np.ndarray, " token"]) -> Scores:
    away = number[None] - number[:, None]
    pairs = (number[:, None] >= 0) & (number[None] >= 0)
    alone = np.zeros_like(share)
    for distance in np.unique(away[pairs]):
        here = pairs & (away == distance)
        alone[..., here] = mean(share[..., here], -1)[..., None]
    return alone


def entropy(share: Scores) -> Float[np.ndarray, "*rest target"]:
    """Compute the entropy of every target's shares, in nats."""
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    return -(share * logs).sum(-1)
