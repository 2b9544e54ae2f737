"""A corpus as it is worked through: every entry by itself, also one that cannot be read, told why."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from lignite.data.columns import InputColumns
from lignite.data.examples import Example, draw, read_example
from lignite.data.sentences import READERS, Sentence, ending_of, read_sentences
from lignite.data.sources import Placed, read_rows
from lignite.errors import InputError, LigniteError


@dataclass(frozen=True)
class Entry:
    """One row of a corpus.

    Attributes
    ----------
    number
        Place among those that were drawn, from 0.
    id
        What the corpus calls it.
    input
        What a model is given; None where the row cannot be read.
    failure
        Why it cannot be read, or has to be left out.
    example
        The row with what people said of it; None where it cannot be read.
    tags
        Part of speech of every word, of a treebank.
    """

    number: int
    id: str
    input: Any
    failure: str = ""
    example: Example | None = None
    tags: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """As people read it; an image by its name."""
        if isinstance(self.input, tuple):
            return "\n".join(self.input)
        if isinstance(self.input, Mapping):
            return " ".join(self.input["words"])
        return self.input if isinstance(self.input, str) else getattr(self.input, "name", "")


def read_entries(
    source: Any, columns: InputColumns, *, images: bool = False, limit: int | None = None, seed: int = 0
) -> list[Entry]:
    """All entries of a corpus, in its order.

    Parameters
    ----------
    source
        Whatever `read_examples` takes; a file of sentences (CoNLL-U, trees in brackets, a sentence a line); a folder
        that `datasets` saved.
    limit, seed
        Take so many, drawn at random and kept in order.

    Raises
    ------
    FileError
        If the corpus as a whole cannot be read.
    InputError
        If it is empty, or no row can be read: the reason of the first is given.
    """
    if not images and isinstance(source, str | os.PathLike) and _holds_sentences(Path(source)):
        return [_of_sentence(number, each) for number, each in enumerate(draw(read_sentences(source), limit, seed))]
    wanted = columns.read(images=images)
    rows, base = read_rows(source, image=wanted.get("image"), keep_bad=True, also=() if images else READERS)
    entries = [_of_row(number, placed, wanted, base) for number, placed in enumerate(draw(rows, limit, seed))]
    if not entries:
        raise InputError(f"{source if isinstance(source, str | os.PathLike) else 'the corpus'} holds no row.")
    if all(entry.failure for entry in entries):
        raise InputError(f"no row of {len(entries)} can be read; the first: {entries[0].failure}")
    return entries


def _holds_sentences(path: Path) -> bool:
    return ending_of(path) in READERS


def _of_sentence(number: int, sentence: Sentence) -> Entry:
    text = sentence.text if sentence.text is not None else " ".join(sentence.words or ())
    example = Example(number, sentence.id, text)
    return Entry(number, sentence.id, sentence.input, example=example, tags=sentence.tags or ())


def _of_row(number: int, placed: Placed, columns: Mapping[str, str], base: Path) -> Entry:
    where, row = placed
    try:
        if isinstance(row, LigniteError):
            raise row
        example = (
            replace(row, number=number) if isinstance(row, Example) else read_example(number, where, row, columns, base)
        )
    except LigniteError as error:
        return Entry(number, str(row["id"]) if isinstance(row, Mapping) and "id" in row else where, None, str(error))
    return Entry(number, example.id, example.input, example=example)


def digest_of(entries: Sequence[Entry]) -> str:
    """Take the sha256 of what is read of some entries; of an image in a file, its name and size."""
    digest = sha256()
    for entry in entries:
        digest.update(json.dumps([entry.id, *_content(entry), *entry.tags]).encode() + b"\n")
    return digest.hexdigest()


def _content(entry: Entry) -> Iterator[Any]:
    given = entry.input
    if given is None:
        yield entry.failure
    elif isinstance(given, Path):
        yield str(given)
        yield given.stat().st_size if given.is_file() else None
    elif isinstance(given, str | tuple | Mapping):
        yield given
    else:
        values = np.asarray(given)
        yield f"{values.dtype} {values.shape}"
        yield sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


SHARDS_SORTED = 16
"""Shards whose entries are sorted together: long ones then stand beside long ones, and every part has both."""


def shards_of(entries: Sequence[Entry], size: int, characters: int) -> list[list[Entry]]:
    """Divide entries into shards of similar lengths, the same for the same corpus.

    Parameters
    ----------
    size, characters
        The most entries of a shard, and the most characters with every text as long as the longest; what is longer
        stands alone.
    """
    shards: list[list[Entry]] = []
    for first in range(0, len(entries), size * SHARDS_SORTED):
        some = sorted(entries[first : first + size * SHARDS_SORTED], key=lambda entry: (len(entry.text), entry.number))
        shard: list[Entry] = []
        for entry in some:  # from short to long, so that this one is the longest
            if shard and (len(shard) == size or len(entry.text) * (len(shard) + 1) > characters):
                shards.append(shard)
                shard = []
            shard.append(entry)
        shards.append(shard)
    return shards
