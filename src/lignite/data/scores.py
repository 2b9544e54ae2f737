"""Scores that anybody's code gave to texts, read from a file and held to the tokens of the model at hand.

    {"text": "Dull.", "tokens": ["[CLS]", "dull", ".", "[SEP]"], "scores": {"theirs": [0.1, -2, 0.3, 0]}, "target": 0}

One line a text, with one score for each token of the model's input, special tokens included.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from lignite.data.examples import Example, as_mapping, read_text
from lignite.data.sources import read_rows
from lignite.errors import InputError
from lignite.wording import shorten

Text = tuple[str, str | None]
"""A text and the second of a pair."""


@dataclass(frozen=True, eq=False)
class GivenScores:
    """What a line says of its text: its tokens, scores of each method, and the class that they are for, if told."""

    where: str
    tokens: tuple[str, ...]
    scores: Mapping[str, Float[np.ndarray, " token"]]
    target: str | int | None = None

    def check_tokens(self, tokens: Sequence[str]) -> None:
        """Refuse other tokens than those of the model at hand.

        Raises
        ------
        InputError
            At the first place where they differ.
        """
        ours = tuple(tokens)
        if self.tokens == ours:
            return
        places = range(max(len(self.tokens), len(ours)))
        place = next(place for place in places if self.tokens[place : place + 1] != ours[place : place + 1])
        theirs, own = (repr(some[place]) if place < len(some) else "the end" for some in (self.tokens, ours))
        raise InputError(
            f"{self.where}: token {place} is {theirs}, and this model reads {own} there. Score the tokens of this "
            "model's own tokenizer, special ones included, and write them down as it spells them."
        )


def read_scores(source: Any) -> dict[Text, GivenScores]:
    """Scores by their texts, from JSON lines or a list of mappings.

    Raises
    ------
    InputError
        If a line misses something, or does not have one finite number for each token.
    FileError
        If the file cannot be read.
    """
    rows, _ = read_rows(source)
    found: dict[Text, GivenScores] = {}
    for where, row in rows:
        row = as_mapping(where, row, {"text": "text"})
        text = (read_text(where, row, "text"), read_text(where, row, "pair") if "pair" in row else None)
        if text in found:
            raise InputError(f"{where}: the text {shorten(text[0], 40)!r} has scores at {found[text].where}; keep one.")
        found[text] = _read(where, row)
    if not found:
        raise InputError(f"{source}: holds no scores; give one line a text.")
    return found


def _read(where: str, row: Mapping[str, Any]) -> GivenScores:
    tokens, scores, target = row.get("tokens"), row.get("scores"), row.get("target")
    if not isinstance(tokens, list | tuple) or not all(isinstance(token, str) for token in tokens):
        raise InputError(f"{where}: 'tokens' must list the tokens that were scored, special ones included.")
    if not isinstance(scores, Mapping) or not scores:
        raise InputError(f"{where}: 'scores' must give one number a token by the name of each method.")
    numbers = {str(name): _numbers(where, str(name), given, len(tokens)) for name, given in scores.items()}
    if target is not None and not isinstance(target, str | int):
        raise InputError(f"{where}: 'target' is a {type(target).__name__}, expected a class, by name or number.")
    return GivenScores(where, tuple(tokens), numbers, target)


def _numbers(where: str, name: str, given: Any, count: int) -> np.ndarray:
    try:
        numbers = np.array(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: the scores of {name!r} are no list of numbers.") from error
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise InputError(f"{where}: {name!r} needs one finite score for each of the {count} tokens.")
    return numbers


def names_of(scores: Mapping[Text, GivenScores]) -> tuple[str, ...]:
    """Every method that scored some text, in order of appearance."""
    return tuple(dict.fromkeys(name for one in scores.values() for name in one.scores))


def covered(
    examples: Sequence[Example], scores: Mapping[Text, GivenScores], names: Iterable[str], *, partial: bool
) -> list[Example]:
    """Examples that every method scored: rows of one table are compared on the same ones.

    Raises
    ------
    InputError
        If some are missing, and that was not asked for; or all are.
    """
    wanted = set(names)
    known = {text for text, one in scores.items() if wanted <= one.scores.keys()}
    found = [example for example in examples if (example.text, example.pair) in known]
    missing = [example for example in examples if (example.text, example.pair) not in known]
    if missing and not (partial and found):
        raise InputError(
            f"scores are missing for {len(missing)} of {len(examples)} examples, the first of them {missing[0].id} "
            f"({shorten(missing[0].text, 40)!r}): every method of the file must have scored it. Add them"
            + (", or measure only the others, with partial_scores." if found else ".")
        )
    return found
