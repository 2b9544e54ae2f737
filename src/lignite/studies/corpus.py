"""Ask every sentence of a corpus the same, and keep what is finished."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from os import PathLike
from typing import Any

from lignite.calls import Progress
from lignite.data.examples import draw
from lignite.data.sentences import Sentence, read_sentences
from lignite.errors import InputError, LigniteError, NotFiniteError, warn
from lignite.models.identity import hash_weights
from lignite.models.load import Model
from lignite.results.provenance import versions
from lignite.runs.journal import Journal
from lignite.runs.local import run
from lignite.runs.unit import Done, Piece, Tick, Unit

Corpus = str | PathLike[str] | Sequence[Any]
"""A file of sentences, or a list of texts, of lists of words, or of sentences that were read before."""


@dataclass(frozen=True)
class Question:
    """What is asked of every sentence.

    Attributes
    ----------
    study
        Its name.
    options
        That the answers depend on, beside the model; a run with others is refused where it would go on with these.
    answer
        What is computed of one sentence: whatever JSON can hold.
    """

    study: str
    options: Mapping[str, Any]
    answer: Callable[[Sentence], Piece]


@dataclass(frozen=True)
class Answers:
    """What came of a corpus: the sentences that were answered, their answers, why others were not, of which weights."""

    sentences: tuple[Sentence, ...]
    pieces: tuple[Piece, ...]
    skipped: tuple[str, ...]
    weights: str


def ask_sentences(
    model: Model,
    corpus: Corpus,
    question: Question,
    *,
    limit: int | None = None,
    seed: int = 0,
    resume: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Answers:
    """Put a question to some sentences of a corpus; one that cannot be answered brings no other down.

    Raises
    ------
    FileError
        If the corpus cannot be read, or finished work cannot be kept.
    InputError
        If no sentence can be answered; the reason of the first is given.

    Warns
    -----
    LigniteWarning
        Once, if sentences are left out, with the reason of the first.
    """
    sentences = draw(as_sentences(corpus), limit, seed)
    keys, weights = [_key(sentence) for sentence in sentences], hash_weights(model)
    settings = {"study": question.study, "model": weights, "options": dict(question.options)}
    once = dict(zip(keys, sentences, strict=True))
    with Journal(resume, settings) as journal:
        skipped = run([_unit(key, sentence, question) for key, sentence in once.items()], journal, progress)
        kept = [(sentence, key) for sentence, key in zip(sentences, keys, strict=True) if key in journal.finished]
        answered, pieces = [sentence for sentence, _ in kept], [journal.finished[key] for _, key in kept]
    if not answered:
        raise InputError(f"no sentence of {len(sentences)} can be answered; the first: {skipped[0]}")
    if skipped:
        warn(f"{len(skipped)} of {len(sentences)} sentences are left out; the first: {skipped[0]}")
    return Answers(tuple(answered), tuple(pieces), tuple(skipped), weights)


def as_sentences(corpus: Corpus) -> list[Sentence]:
    """Read a file, or take what is in a list as sentences."""
    if isinstance(corpus, str | PathLike):
        return read_sentences(corpus)
    found = [_as_sentence(number, given) for number, given in enumerate(corpus)]
    if not found:
        raise InputError("the corpus is empty: give a file, or a list of texts or of lists of words.")
    return found


def _as_sentence(number: int, given: Any) -> Sentence:
    if isinstance(given, Sentence):
        return given
    if isinstance(given, str):
        return Sentence(number, str(number), None, given)
    words = given.get("words") if isinstance(given, Mapping) else given
    if (
        isinstance(words, Sequence)
        and not isinstance(words, str)
        and words
        and all(isinstance(word, str) for word in words)
    ):
        return Sentence(number, str(number), tuple(words))
    raise InputError(f"sentence {number} is a {type(given).__name__}: expected a text or a list of words.")


def describe(model: Model, question: Question, answers: Answers, **beside: Any) -> dict[str, Any]:
    """Attributes of a study's result: what was asked of which model, and with what."""
    return {
        "kind": "study",
        "study": question.study,
        "model": model.name,
        "revision": model.revision or "",
        "weights": answers.weights,
        "request": json.dumps({**question.options, **beside}),
        "skipped": json.dumps(answers.skipped),
        "versions": json.dumps(versions()),
    }


def _key(sentence: Sentence) -> str:
    """The same for the same words, wherever they stand."""
    return sha256(json.dumps([sentence.words, sentence.text, sentence.heads]).encode()).hexdigest()[:32]


def _unit(key: str, sentence: Sentence, question: Question) -> Unit:
    def compute(_: Collection[str], tick: Tick) -> Done:
        try:
            found = question.answer(sentence)
        except NotFiniteError:
            raise
        except LigniteError as error:
            return Done(notes=(f"{sentence.id}: {error}",))
        tick(1)
        return Done({key: found})

    return Unit((key,), compute)
