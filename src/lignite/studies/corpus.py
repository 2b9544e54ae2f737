"""Ask every sentence of a corpus the same, and keep what is finished."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from lignite.api.units import hash_weights
from lignite.data.examples import draw
from lignite.data.sentences import Sentence, read_sentences
from lignite.errors import InputError, LigniteError, NotFiniteError, warn
from lignite.models.load import Model
from lignite.runs.unit import Done, Journal, Piece, Tick, Unit
from lignite.runs.unit import run as run_units
from lignite.version import versions

if TYPE_CHECKING:
    from lignite.studies.study import Run, Study

Corpus = str | PathLike[str] | Sequence[Any]
"""A file of sentences, or a list of texts, of lists of words, or of sentences that were read before."""


def ask_sentences(study: "Study", model: Model, corpus: Corpus, run: "Run") -> xr.Dataset:
    """Ask some sentences of a corpus; one that cannot be answered brings no other down.

    Returns
    -------
    The answers along the dimension `sentence`, and in the attributes what was asked of which model.

    Raises
    ------
    FileError
        If the corpus cannot be read, or finished work cannot be kept.
    InputError
        If no sentence can be answered; the reason of the first is given.

    Warns
    -----
    LigniteWarning
        Once, if sentences are left out, with the reason of the first; and if a single one is answered.
    """
    sentences = draw(as_sentences(corpus), run.limit, run.seed)
    keys, others = [_key(sentence) for sentence in sentences], study.others(model)
    weights = {"model": hash_weights(model), **{name: hash_weights(other) for name, other in others.items()}}
    settings = {"study": study.name, **weights, "options": study.values()}
    once = dict(zip(keys, sentences, strict=True))
    with Journal(run.resume, settings) as journal:
        units = [_unit(key, sentence, study, model, others) for key, sentence in once.items()]
        skipped = run_units(units, journal, run.progress)
        kept = [(sentence.id, key) for sentence, key in zip(sentences, keys, strict=True) if key in journal.finished]
        answers = [xr.Dataset.from_dict(dict(journal.finished[key])) for _, key in kept]
    _tell(len(sentences), len(answers), skipped)
    together = xr.concat(answers, "sentence", combine_attrs="drop")
    missing = dict.fromkeys(said for answer in answers for said in answer.attrs.get("missing", ()))
    return together.assign_coords(sentence=[id for id, _ in kept]).assign_attrs(
        describe(
            study, model, weights, [key for _, key in kept],
            skipped=skipped, missing=missing, limit=run.limit, seed=run.seed,
        ),
        corpus=name_of(corpus),
    )  # fmt: skip


def describe(
    study: "Study",
    model: Model,
    weights: Mapping[str, str],
    keys: Sequence[str],
    *,
    skipped: Sequence[str],
    missing: Iterable[str] = (),
    **drawn: Any,
) -> dict[str, Any]:
    """What was asked of which model about which inputs, as the attributes of a study.

    Parameters
    ----------
    weights
        Their sha256, of the `model` and of others that were asked beside it.
    keys
        Of the inputs that were answered.
    drawn
        How they were drawn.
    """
    others = {name: digest for name, digest in weights.items() if name != "model"}
    return {
        "kind": "study",
        "study": study.name,
        "model": model.name,
        "revision": model.revision or "",
        "weights": weights["model"],
        "others": json.dumps(others),
        "asked": sha256("".join(keys).encode()).hexdigest(),
        "request": json.dumps({**study.values(), **drawn}),
        "skipped": json.dumps(list(skipped)),
        "missing": json.dumps(list(missing)),
        "versions": json.dumps(versions()),
    }


def name_of(corpus: Any) -> str:
    """What a corpus is called, where it is a file."""
    return Path(corpus).name if isinstance(corpus, str | PathLike) else ""


def _tell(n_sentences: int, n_answers: int, skipped: Sequence[str]) -> None:
    if not n_answers:
        raise InputError(f"no sentence of {n_sentences} can be answered; the first: {skipped[0]}")
    if skipped:
        warn(f"{len(skipped)} of {n_sentences} sentences are left out; the first: {skipped[0]}")
    if n_answers == 1:
        warn("one sentence has no interval: its numbers stand for nothing but itself. Give more sentences.")


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


def _key(sentence: Sentence) -> str:
    """The same for the same words and what is said of them, wherever they stand."""
    content = [sentence.words, sentence.text, sentence.heads, sentence.tags]
    return sha256(json.dumps(content).encode()).hexdigest()[:32]


def _unit(key: str, sentence: Sentence, study: "Study", model: Model, others: Mapping[str, Model]) -> Unit:
    def compute(_: Collection[str], tick: Tick) -> Done:
        try:
            found = study.answer(model, sentence, others)
        except NotFiniteError:
            raise
        except LigniteError as error:
            return Done(notes=(f"{sentence.id}: {error}",))
        tick(1)
        return Done({key: _kept(found)})

    return Unit((key,), compute)


def _kept(found: xr.Dataset) -> Piece:
    return found.to_dict(data="list", encoding=False)
