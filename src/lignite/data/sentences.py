"""Sentences of a corpus, told apart into words: CoNLL-U, Penn-style brackets, or one plain sentence a line."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lignite.data.sources import read_text
from lignite.errors import FileError

LONGEST_WORD = 1_000
"""Characters. What is longer is a table, a key or a page without spaces, and takes a model's whole room by itself."""


@dataclass(frozen=True)
class Sentence:
    """One sentence, and what its treebank says of it.

    Attributes
    ----------
    number
        Place in the corpus, from 0.
    id
        Its name in the corpus, or the file and line where it begins.
    words
        As the corpus tells them apart; None for a plain line, which the tokenizer tells apart.
    text
        As it was written; None where the corpus has the words alone.
    tags
        Part of speech of every word.
    heads
        Place of the word that each depends on, from 0; -1 at the root. None without dependencies.
    relations
        Name of each dependency.
    """

    number: int
    id: str
    words: tuple[str, ...] | None
    text: str | None = None
    tags: tuple[str, ...] | None = None
    heads: tuple[int, ...] | None = None
    relations: tuple[str, ...] | None = None

    @property
    def input(self) -> object:
        """What a model is given."""
        return {"words": list(self.words)} if self.words is not None else self.text


def read_sentences(path: str | os.PathLike[str]) -> list[Sentence]:
    """Read all sentences of a corpus.

    The ending says how: `.conllu` (ten columns), `.mrg`, `.prd`, `.parse` or `.penn` (trees in brackets), `.txt` (a
    sentence a line); each also `.gz`. Nothing is left out but empty lines of plain text and the traces of trees.

    Raises
    ------
    FileError
        If the file cannot be read, has another ending, holds no sentence, or a sentence is not written as its ending
        says; the line is named.
    """
    path = Path(path)
    reader = READERS.get(ending_of(path))
    if reader is None:
        raise FileError(
            f"{path}: the ending says how sentences are written. Known: {', '.join(READERS)} (each also .gz)."
        )
    lines = re.split(r"\r\n?|\n", read_text(path))  # splitlines would cut at marks that stand inside words
    found = []
    for line, sentence in reader(lines, path):
        _check_words(sentence, path, line)
        found.append(sentence)
    if not found:
        raise FileError(f"{path} holds no sentence.")
    return found


def ending_of(path: Path) -> str:
    """What says how a file is written, before any `.gz`, in small letters."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _check_words(sentence: Sentence, path: Path, line: int) -> None:
    words = sentence.words if sentence.words is not None else (sentence.text or "").split()
    if not words or not all(words):
        raise FileError(f"{path}, line {line}: a sentence without words. Take it out.")
    longest = max(words, key=len)
    if len(longest) > LONGEST_WORD:
        raise FileError(
            f"{path}, line {line}: a word of {len(longest)} characters, {longest[:20]!r}…, where {LONGEST_WORD} are "
            "the most. Tell it apart or take it out."
        )


def _plain(lines: Sequence[str], path: Path) -> Iterator[tuple[int, Sentence]]:
    number = 0
    for place, line in enumerate(lines, 1):
        if line.strip():
            yield place, Sentence(number, f"{path.name}:{place}", None, line.strip())
            number += 1


def _conllu(lines: Sequence[str], path: Path) -> Iterator[tuple[int, Sentence]]:
    """Blocks between empty lines: comments, then a line of ten columns for each word (universaldependencies.org)."""
    number, start = 0, 0
    for place in range(len(lines) + 1):
        if place == len(lines) or not lines[place].strip():
            if place > start:
                yield start + 1, _conllu_sentence(lines[start:place], path, start + 1, number)
                number += 1
            start = place + 1


def _conllu_sentence(block: Sequence[str], path: Path, first: int, number: int) -> Sentence:
    notes = dict(re.findall(r"(?m)^# *(\S+) *= *(.*)$", "\n".join(block)))
    rows: list[list[str]] = []
    for place, line in enumerate(block, first):
        if line.startswith("#"):
            continue
        columns = line.split("\t")
        if len(columns) != 10:
            raise FileError(f"{path}, line {place}: {len(columns)} columns between tabs, where CoNLL-U has 10.")
        if re.fullmatch(r"\d+[-.]\d+", columns[0]):  # what several words are written as, or a word that is not written
            continue
        if columns[0] != str(len(rows) + 1):
            raise FileError(f"{path}, line {place}: word number {columns[0]!r}, expected {len(rows) + 1}.")
        rows.append(columns)
    heads = [row[6] for row in rows]
    for place, head in enumerate(heads, 1):
        if head != "_" and not (head.isdecimal() and int(head) <= len(rows)):
            raise FileError(f"{path}, line {first}: word {place} depends on {head!r}, none of its {len(rows)} words.")
    return Sentence(
        number,
        notes.get("sent_id", f"{path.name}:{first}"),
        tuple(row[1] for row in rows),
        notes.get("text"),
        tuple(row[3] for row in rows),
        None if "_" in heads else tuple(int(head) - 1 for head in heads),
        None if "_" in heads else tuple(row[7] for row in rows),
    )


_ESCAPED = {
    "-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}", "``": '"', "''": '"'
}  # fmt: skip


def _brackets(lines: Sequence[str], path: Path) -> Iterator[tuple[int, Sentence]]:
    """Trees in brackets, over as many lines as they like; words are their leaves, and traces are none."""
    number, depth, first = 0, 0, 1
    words: list[tuple[str, str]] = []
    waiting: list[str] = []
    for place, line in enumerate(lines, 1):
        for piece in re.findall(r"[()]|[^\s()]+", line):
            if piece == "(":
                first = place if depth == 0 else first
                depth, waiting = depth + 1, []
            elif piece == ")":
                if len(waiting) == 2 and waiting[0] != "-NONE-":
                    words.append((waiting[0], _unescaped(waiting[1])))
                depth, waiting = depth - 1, []
                if depth < 0:
                    raise FileError(f"{path}, line {place}: a bracket closes that was never opened.")
                if depth == 0:
                    yield (
                        first,
                        Sentence(
                            number,
                            f"{path.name}:{first}",
                            tuple(word for _, word in words),
                            None,
                            tuple(tag for tag, _ in words),
                        ),
                    )
                    number, words = number + 1, []
            elif depth == 0:
                raise FileError(f"{path}, line {place}: {piece[:20]!r} stands outside of all brackets.")
            else:
                waiting.append(piece)
    if depth:
        raise FileError(f"{path}, line {first}: the tree that begins here is never closed. Was the file cut off?")


def _unescaped(word: str) -> str:
    return _ESCAPED.get(word, word.replace("\\/", "/").replace("\\*", "*"))


Reader = Callable[[Sequence[str], Path], Iterator[tuple[int, Sentence]]]
READERS: dict[str, Reader] = {
    ".conllu": _conllu, ".mrg": _brackets, ".prd": _brackets, ".parse": _brackets, ".penn": _brackets, ".txt": _plain
}  # fmt: skip
"""How each ending is read: line where a sentence begins, and the sentence."""
