"""What would have changed a decision: words taken out or exchanged, patches covered, and the model asked each time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from lignite.errors import InputError
from lignite.models.load import Model
from lignite.targets.ask import ask, predict
from lignite.targets.edits import cover, usual_fill
from lignite.targets.rows import Row
from lignite.targets.target import Target

COARSE = 32
"""Points at which a long list of words is first tried; those between the two around the flip follow."""

NEIGHBOURS = 64
"""Words of the vocabulary that are tried in the place of another."""

SHORTEST = 3
"""Letters of a word that may stand in the place of another."""

CLOSING = (".", ",", ";", ":", "!", "?")
"""Signs before which no blank stands."""

Sets = Sequence[frozenset[int]]


@dataclass(frozen=True)
class Answer:
    """What the model decides about an edited input, how likely that is, and how likely what it decided before.

    `choice` is the number of the decision: two tokens of a vocabulary may read the same.
    """

    decision: str
    choice: int
    probability: float
    before: float


@dataclass(frozen=True)
class Part:
    """A word or patch: where it stands in which text (characters), or in the model's input."""

    text: int = 0
    start: int = -1
    stop: int = -1
    place: int = -1


@dataclass(frozen=True, eq=False)
class TextEdits:
    """A text, or a pair of texts, whose words are taken out or exchanged; what is asked is a text again."""

    model: Model
    texts: tuple[str, ...]
    parts: Sequence[Part]
    row: Row

    def without(self, gone: frozenset[int]) -> tuple[str, ...]:
        """The texts without some words, and without the blanks that would be doubled."""
        found = []
        for number, text in enumerate(self.texts):
            cut = sorted((self.parts[at] for at in gone if self.parts[at].text == number), key=lambda part: part.start)
            for part in reversed(cut):
                before, behind = text[: part.start], text[part.stop :]
                if before.endswith(" ") or not before:
                    behind = behind.removeprefix(" ")
                if behind[:1] in CLOSING:
                    before = before.removesuffix(" ")
                text = before + behind
            found.append(text.strip() if cut else text)
        return tuple(found)

    def instead(self, at: int, word: str) -> tuple[str, ...]:
        """The texts with another word in the place of one."""
        part = self.parts[at]
        texts = list(self.texts)
        texts[part.text] = texts[part.text][: part.start] + word + texts[part.text][part.stop :]
        return tuple(texts)

    def answers(self, sets: Sets) -> list[Answer | None]:
        """What the model says without each set of words; None where nothing of a text would be left."""
        return self.ask([self.without(gone) for gone in sets])

    def ask(self, texts: Sequence[tuple[str, ...]]) -> list[Answer | None]:
        """What the model says of edited texts, each read anew."""
        kept = [at for at, some in enumerate(texts) if all(any(map(str.isalnum, text)) for text in some)]
        inputs: list[Any] = [texts[at][0] if len(texts[at]) == 1 else texts[at] for at in kept]
        wanted = Target(label=self.row.objective.index)
        rows = ask(self.model, inputs, wanted, twice=False) if inputs else []
        found: list[Answer | None] = [None] * len(texts)
        for at, row in zip(kept, rows, strict=True):
            found[at] = _answer_of(row)
        return found


@dataclass(frozen=True, eq=False)
class ImageEdits:
    """An image whose patches are covered."""

    model: Model
    parts: Sequence[Part]
    row: Row

    @cached_property
    def fill(self) -> str:
        return usual_fill(self.model, images=True)

    def answers(self, sets: Sets) -> list[Answer | None]:
        """What the model says with each set of patches covered."""
        choices = self.row.choices
        assert choices is not None
        if not sets:
            return []
        rows = [cover(self.model, self.row, [self.parts[at].place for at in sorted(gone)], self.fill) for gone in sets]
        said = predict(self.model, rows)
        leading = _probabilities(self.model, rows)
        return [
            Answer(choices.names[int(label)], int(label), float(most), float(before))
            for label, most, before in zip(said.label, leading, said.probability, strict=True)
        ]


Edits = TextEdits | ImageEdits


def _probabilities(model: Model, rows: Sequence[Row]) -> Float[np.ndarray, " row"]:
    """Of the leading class of each row."""
    said = predict(model, rows)
    asked = [
        Row(row.encoded, replace(row.objective, index=int(label))) for row, label in zip(rows, said.label, strict=True)
    ]
    found: np.ndarray = predict(model, asked).probability.numpy()
    return found


def _answer_of(row: Row) -> Answer:
    choices = row.choices
    assert choices is not None
    best = int(np.argmax(choices.logit))
    own = choices.numbers.index(row.objective.index)
    return Answer(choices.best, choices.numbers[best], choices.probability[best], choices.probability[own])


# What flips


@dataclass(frozen=True)
class Change:
    """A change that was tried: the words that are gone, or the word in whose place another stands, and the answer."""

    gone: frozenset[int]
    word: str
    answer: Answer


def find_without(edits: Edits, order: Sequence[int], decision: int) -> tuple[Change | None, Change | None]:
    """Find words without which the decision is another one, none of which could stay.

    Takes them out one after the other in the given order until the decision changes, then puts back whatever is not
    needed. Nothing promises that no smaller set exists.

    Returns
    -------
    The change, or None where the decision stays; and the largest part of the order that can be taken out, since a text
    must stay one, with what the model then says.
    """
    prefixes = [frozenset(order[:count]) for count in range(1, len(order) + 1)]
    at, largest = _first(edits, prefixes, decision)
    if at is None:
        return None, largest
    gone, answer = _minimal(edits, list(order[: at + 1]), decision)
    return Change(gone, "", answer), largest


def _first(edits: Edits, prefixes: Sequence[frozenset[int]], decision: int) -> tuple[int | None, Change | None]:
    """Number of the first of growing sets without which the decision changes, and the largest that could be asked."""
    count = len(prefixes)
    points = sorted({*np.linspace(0, count - 1, min(count, COARSE)).round().astype(int).tolist()}) if count else []
    answers = edits.answers([prefixes[at] for at in points])
    known = [(at, answer) for at, answer in zip(points, answers, strict=True) if answer is not None]
    largest = Change(prefixes[known[-1][0]], "", known[-1][1]) if known else None
    flipped = next((at for at, answer in known if flips(answer, decision)), None)
    if flipped is None:
        return None, largest
    between = list(range(max((at for at in points if at < flipped), default=-1) + 1, flipped))
    finer = edits.answers([prefixes[at] for at in between])
    return next((at for at, one in zip(between, finer, strict=True) if flips(one, decision)), flipped), largest


def flips(answer: Answer | None, decision: int) -> bool:
    """Whether another decision was made."""
    return answer is not None and answer.choice != decision


def _minimal(edits: Edits, gone: list[int], decision: int) -> tuple[frozenset[int], Answer]:
    """Put words back, the weakest first, as long as the decision stays changed; then none can be."""
    while True:
        alone = edits.answers([frozenset(gone) - {word} for word in gone]) if len(gone) > 1 else []
        free = [word for word, answer in zip(gone, alone, strict=False) if flips(answer, decision)][::-1]
        if not free:
            (answer,) = edits.answers([frozenset(gone)])
            assert answer is not None
            return frozenset(gone), answer
        together = edits.answers([frozenset(gone) - set(free[:count]) for count in range(1, len(free) + 1)])
        back = max(count for count, answer in enumerate(together, start=1) if count == 1 or flips(answer, decision))
        gone = [word for word in gone if word not in free[:back]]


def find_instead(edits: TextEdits, order: Sequence[int], decision: int) -> list[Change]:
    """Find words that change the decision where they stand in the place of one of the text, the nearest for each.

    Tried are the words of the model's own vocabulary that it reads most alike.
    """
    tried: list[tuple[int, str]] = []
    for at in order:
        part = edits.parts[at]
        own = edits.texts[part.text][part.start : part.stop]
        if not own.isalpha():
            continue
        tried += [(at, _in_case(word, own)) for word in neighbours(edits.model, own)]
    answers = edits.ask([edits.instead(at, word) for at, word in tried])
    found: dict[int, Change] = {}
    for (at, word), answer in zip(tried, answers, strict=True):
        if at not in found and answer is not None and flips(answer, decision):
            found[at] = Change(frozenset([at]), word, answer)
    return list(found.values())


def _in_case(word: str, like: str) -> str:
    return word.capitalize() if like[:1].isupper() else word


def neighbours(model: Model, word: str, count: int = NEIGHBOURS) -> list[str]:
    """Words of the vocabulary whose embeddings point most in the direction of a word's, the nearest first."""
    tokenizer = model.tokenizer
    embedding = model.network.get_input_embeddings()
    if tokenizer is None or not isinstance(getattr(embedding, "weight", None), torch.Tensor):
        return []
    ids = tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
    if not ids:
        return []
    with torch.no_grad():
        weight = embedding.weight.float()
        mean = weight[ids].mean(0)
        alike = torch.nn.functional.cosine_similarity(weight, mean[None], dim=1)
    special, found = set(tokenizer.all_special_ids), []
    for number in alike.argsort(descending=True).tolist():
        if number in special or number in ids:
            continue
        near = _whole_word(tokenizer, number)
        if near and near.casefold() != word.casefold() and near not in found:
            found.append(near)
        if len(found) == count:
            break
    return found


def _whole_word(tokenizer: Any, number: int) -> str:
    """The word that a token is by itself; nothing where it is a piece of one, or a sign."""
    token = str(tokenizer.convert_ids_to_tokens(number))
    written = tokenizer.decode([number]).strip()
    starts = token[:1] in ("Ġ", "▁") or not _marks_starts(tokenizer)
    whole = starts and not token.startswith("##") and token.casefold().lstrip("ġ▁") == written.casefold()
    return written if whole and written.isalpha() and len(written) >= SHORTEST else ""


def _marks_starts(tokenizer: Any) -> bool:
    """Whether a token says that a word begins, not that one goes on."""
    return any(str(token)[:1] in ("Ġ", "▁") for token in tokenizer.tokenize("a b c"))


# Whether the strongest words matter more than others


def beside_others(
    edits: Edits, strongest: Sequence[int], others: Sequence[int], *, draws: int = 20, seed: int = 0
) -> tuple[float, float]:
    """Probability of the decision without the strongest words, and without as many others, mean over draws by lot."""
    (answer,) = edits.answers([frozenset(strongest)])
    own = float("nan") if answer is None else answer.before
    if len(others) < len(strongest):
        return own, float("nan")
    random = np.random.default_rng(seed)
    drawn = [frozenset(random.choice(others, len(strongest), replace=False).tolist()) for _ in range(draws)]
    said = edits.answers(drawn)
    known = [answer.before for answer in said if answer is not None]
    return own, float(np.mean(known)) if known else float("nan")


def check_decides(row: Row) -> None:
    """Refuse a model that does not choose one of several answers.

    Raises
    ------
    InputError
        If it answers otherwise.
    """
    objective = row.objective
    if objective.kind in ("class", "next") and objective.link == "softmax" and objective.index is not None:
        return
    what = {
        "token-class": "a class for every token",
        "masked": "words for a mask",
        "span": "a place in the text",
        "function": "a number",
        "class": "several labels at once" if objective.link == "sigmoid" else "a number",
    }.get(objective.kind, objective.kind)
    raise InputError(
        f"a report tells of one decision among several, and this model answers with {what}: explain it with "
        "lignite.explain, target=…."
    )
