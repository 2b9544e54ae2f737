"""Examples to measure on: read from files, tables, folders and lists, whatever they call their columns.

Everything wrong with a data set is found here, before a model works for hours: a column that is missing, a file cut in
half, human evidence that does not fit its text. Images are opened only when their turn comes.
"""

import csv
import gzip
import io
import json
import math
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]

from lignite.calls import is_several
from lignite.errors import FileError, InputError, OptionError
from lignite.files import MOST_BYTES, check_file, expanded, parse_json, read_whole
from lignite.inputs.pictures import ENDINGS as IMAGE_ENDINGS
from lignite.inputs.pictures import is_folder, is_picture
from lignite.inputs.words import number_words

Span = tuple[int, int]
Box = tuple[int, int, int, int]
SignedSpan = tuple[int, int, int]

ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
WORD_SPANS = "words:"
"""Before a column's name: its spans count words between white space, not characters."""


@dataclass(frozen=True)
class Example:
    """One text or image and what people said about it.

    Attributes
    ----------
    number
        Place in the data set, from 0.
    label
        Class as the data set writes it, a name or a number; None where it is not known.
    rationale
        Characters of `text` that people marked as the reason, sorted and without overlap; None where nobody marked any.
    polarity
        Characters that people called good or bad: start, stop, and 1 or −1; None where nobody did.
    image
        A path, a picture, an array or a tensor; None for a text.
    mask, distractor
        Pixels of the object and of something else: a path, a picture or an array; None where nobody marked any.
    boxes
        The object as rectangles, top, left, bottom and right, the last two excluded.
    cells
        Classes of a mosaic's cells in reading order, as the data set writes them.
    """

    number: int
    id: str
    text: str
    pair: str | None = None
    label: str | int | None = None
    rationale: tuple[Span, ...] | None = None
    polarity: tuple[SignedSpan, ...] | None = None
    image: Any = None
    mask: Any = None
    distractor: Any = None
    boxes: tuple[Box, ...] | None = None
    cells: tuple[str | int, ...] | None = None

    @property
    def input(self) -> Any:
        """What a model is given."""
        if self.image is not None:
            return self.image
        return self.text if self.pair is None else (self.text, self.pair)

    @cached_property
    def key(self) -> str:
        """The same for the same content, wherever it stands: finished work is found again by it."""
        content: list[Any] = [self.text, self.pair, self.label, self.rationale, self.polarity]
        if self.image is not None:
            pictures = [_digest(picture) for picture in (self.image, self.mask, self.distractor)]
            content = [*pictures, self.label, self.boxes, self.cells]
        return sha256(json.dumps(content).encode()).hexdigest()[:24]


def _digest(picture: Any) -> str | None:
    """Of what a file holds, or of an array's numbers; of a name where no file can be read."""
    if picture is None:
        return None
    if isinstance(picture, Path):
        try:
            return sha256(read_whole(picture)).hexdigest()
        except FileError:
            return str(picture)  # its turn to be refused comes
    values = np.asarray(picture.detach().cpu() if hasattr(picture, "detach") else picture)  # a tensor, or anything else
    about = f"{getattr(picture, 'mode', '')} {values.dtype} {values.shape}"
    return sha256(about.encode() + np.ascontiguousarray(values).tobytes()).hexdigest()


def read_examples(
    source: Any,
    *,
    text: str = "text",
    pair: str | None = None,
    label: str | None = None,
    rationale: str | None = None,
    polarity: str | None = None,
    image: str | None = None,
    mask: str | None = None,
    distractor: str | None = None,
    boxes: str | None = None,
    cells: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> list[Example]:
    """Examples of a data set, in its order.

    Parameters
    ----------
    source
        A path to JSON lines, JSON, CSV, TSV (each also as .gz) or Parquet; a pandas DataFrame; a `datasets.Dataset`; or
        a list of texts, of pairs of texts, of images, or of mappings with the columns below. A folder is all images in
        it, by their names; the path of an image is that one.
    text, pair
        Columns of the texts; a list of words is joined by blanks.
    label
        Column of the class.
    rationale
        Column of human evidence: character spans ``[[start, stop], …]``, one flag (0 or 1) per word, or the evidence
        itself, a string or several, each of which is marked where it first stands. Words are those between white
        space, or, where the number of flags fits only these, those of :func:`~lignite.inputs.words.number_words`.
        ``"words:column"`` reads spans that count words between white space. An empty cell is no evidence.
    polarity
        Column of signed evidence ``[[start, stop, sign], …]``, in characters.
    image
        Column of images, instead of texts: paths (of a file, relative to it), pictures or arrays.
    mask, distractor
        Columns of the object's pixels and of another thing's: a path of a picture, or an array ``[y, x]``, not zero
        there, of the size of the image or of what the model sees. An empty cell is no mask.
    boxes
        Column of the object's rectangles, ``[[top, left, bottom, right], …]`` in the image's pixels.
    cells
        Column of the classes of a mosaic's cells in reading order: four of two by two.
    limit, seed
        Take so many examples, drawn at random and kept in order; a larger `limit` keeps the smaller one's examples.

    Raises
    ------
    InputError
        If there is no example, a column is missing, or evidence does not fit its text; the message names the example.
    FileError
        If a file cannot be read to its end.
    """
    columns = {
        "text": None if image is not None else text, "pair": pair, "label": label, "rationale": rationale,
        "polarity": polarity, "image": image, "mask": mask, "distractor": distractor, "boxes": boxes, "cells": cells,
    }  # fmt: skip
    wanted = {role: column for role, column in columns.items() if column is not None}
    named = isinstance(source, str | os.PathLike)
    if image is not None and is_folder(source):
        base = Path()
        rows = list(_read_folder(expanded(source), image))
    elif image is not None and named and Path(source).suffix.lower() in IMAGE_ENDINGS:
        base = Path()
        rows = [(str(source), {image: source, "id": Path(source).name})]
    else:
        base = expanded(source).parent if named else Path()
        rows = list(_numbered(source))
    if not rows:
        raise InputError(f"{_name(source)} holds no example: give at least one.")
    read = _image_example if image is not None else _example
    return [read(number, where, row, wanted, base) for number, (where, row) in enumerate(_chosen(rows, limit, seed))]


def _chosen(rows: Sequence[Any], limit: int | None, seed: int) -> list[Any]:
    if limit is None:
        return list(rows)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise OptionError(f"limit={limit!r} must be a whole number of examples, at least 1, or None for all.")
    # Data sets come sorted by class: their first examples are no sample.
    chosen = np.random.default_rng(seed).permutation(len(rows))[:limit]
    return [rows[place] for place in sorted(chosen.tolist())]


def _name(source: Any) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else "the list of examples"


# Sources: each row with the words that say where it stands


def _numbered(source: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(source, str | os.PathLike):
        yield from _read_file(expanded(source))
        return
    if isinstance(source, pd.DataFrame):
        source = source.to_dict("records")
    elif isinstance(source, Mapping):
        raise InputError(f"examples is one mapping ({_some(source)}): give a list of mappings, or a DataFrame.")
    elif not is_several(source):
        raise InputError(
            f"examples is a {type(source).__name__}: give a path, a DataFrame, a datasets.Dataset, or a list of texts "
            "or mappings."
        )
    for number, row in enumerate(source, start=1):
        yield f"example {number}", row


def _read_folder(folder: Path, column: str) -> Iterator[tuple[str, Any]]:
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_ENDINGS:
            yield str(path), {column: path, "id": path.name}


def _read_file(path: Path) -> Iterator[tuple[str, Any]]:
    ending = next((known for known in ENDINGS if path.name.lower().removesuffix(".gz").endswith(known)), None)
    if ending is None:
        raise FileError(f"{path}: its ending names no known format; use {', '.join(ENDINGS)}, or .gz after one.")
    if ending == ".parquet":
        yield from _read_parquet(path)
        return
    content = _content(path)
    if ending == ".jsonl":
        yield from _read_json_lines(path, content)
    elif ending == ".json":
        yield from _read_json(path, content)
    else:
        yield from _read_table(path, content, "\t" if ending == ".tsv" else ",")


def _content(path: Path) -> str:
    try:
        content = read_whole(path)
        if path.name.lower().endswith(".gz"):
            content = _unzipped(path, content)
        return content.decode("utf-8-sig")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileError(f"{path}: is cut off or no gzip file ({error}). Copy it again.") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: is not UTF-8 (byte {error.start}). Convert it, for example with iconv.") from error


def _unzipped(path: Path, content: bytes) -> bytes:
    """At most as much as may stand in a file: a few kilobytes can unfold into more than any memory."""
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        unfolded = file.read(MOST_BYTES + 1)
    if len(unfolded) > MOST_BYTES:
        raise FileError(f"{path}: unfolds into more than {MOST_BYTES >> 20:,} MiB. Give it in parts.")
    return unfolded


def _read_json_lines(path: Path, content: str) -> Iterator[tuple[str, Any]]:
    lines = content.split("\n")  # splitlines would cut at marks that JSON allows inside its strings
    last = max((number for number, line in enumerate(lines, start=1) if line.strip()), default=0)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield f"{path}, line {number}", parse_json(line)
        except ValueError as error:
            what = "is cut off" if number == last and not content.endswith("\n") else "is no JSON"
            raise FileError(f"{path}, line {number}: {what} ({error}). Copy or write the file again.") from error


def _read_json(path: Path, content: str) -> Iterator[tuple[str, Any]]:
    try:
        rows = parse_json(content)
    except ValueError as error:
        raise FileError(f"{path}: is no complete JSON ({error}). Copy or write the file again.") from error
    if not isinstance(rows, list):
        raise FileError(f"{path}: holds a JSON {type(rows).__name__}, expected a list of examples.")
    for number, row in enumerate(rows, start=1):
        yield f"{path}, example {number}", row


def _read_table(path: Path, content: str, delimiter: str) -> Iterator[tuple[str, Any]]:
    csv.field_size_limit(max(csv.field_size_limit(), len(content) + 1))  # a document may be longer than 131 kB
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        if len(set(header)) < len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise FileError(f"{path}: two columns are called {twice!r}. Rename one.")
        for row in reader:
            if not row:
                continue
            where = f"{path}, line {reader.line_num}"
            if len(row) != len(header):
                raise FileError(
                    f"{where}: has {len(row)} fields, the header has {len(header)}. The file is cut off, or a field "
                    "that holds the separator is not quoted."
                )
            yield where, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise FileError(f"{path}, line {reader.line_num}: is cut off or badly quoted ({error}). Write it again.") from (
            error
        )


def _read_parquet(path: Path) -> Iterator[tuple[str, Any]]:
    check_file(path)
    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise FileError(f"{path}: Parquet files need pyarrow. Install it, or save the data as .jsonl.") from error
    except Exception as error:  # damaged files raise whatever the damaged place leads to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileError(f"{path}: is cut off or no Parquet file ({reason}). Copy it again.") from error
    for number, row in enumerate(frame.to_dict("records"), start=1):
        yield f"{path}, example {number}", row


# One row


def _image_example(number: int, where: str, row: Any, columns: Mapping[str, str], base: Path) -> Example:
    row = _as_mapping(where, row, columns)
    pictures = {
        role: _picture(where, columns[role], _raw(where, row, columns[role]), base)
        for role in ("image", "mask", "distractor")
        if role in columns
    }
    cells = {role: _cell(where, row, columns[role]) for role in ("label", "boxes", "cells") if role in columns}
    image = pictures.pop("image")
    if image is None:
        raise InputError(f"{where}: column {columns['image']!r} is empty, expected an image. Leave the row out.")
    return Example(
        number=number,
        id=_id(where, row.get("id", number + 1)),
        text=image.name if isinstance(image, Path) else "",
        label=_label(where, cells.get("label")),
        image=image,
        boxes=_boxes(where, cells.get("boxes")),
        cells=_mosaic(where, cells.get("cells")),
        **pictures,
    )


def _raw(where: str, row: Mapping[str, Any], column: str) -> Any:
    _check_column(where, row, column)
    value = row[column]
    return None if isinstance(value, float) and math.isnan(value) else value


def _picture(where: str, column: str, value: Any, base: Path) -> Any:
    """A path becomes one from the folder of the data set."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str | os.PathLike):
        return base / expanded(value)
    value = np.array(value) if isinstance(value, list) else value
    if not is_picture(value):
        raise InputError(f"{where}: column {column!r} holds a {type(value).__name__}, expected a path or a picture.")
    return value


def _boxes(where: str, value: Any) -> tuple[Box, ...] | None:
    value = _structure(value)
    if value is None or value == "" or value == []:
        return None
    boxes = [list(box) if isinstance(box, list | tuple) else [box] for box in value] if _is_list(value) else [[value]]
    for box in boxes:
        whole = len(box) == 4 and all(_is_whole(side) for side in box)
        if not whole or not (0 <= box[0] < box[2] and 0 <= box[1] < box[3]):
            raise InputError(
                f"{where}: the boxes hold {_short(repr(box))}, expected [[top, left, bottom, right], …] in whole "
                "pixels, bottom and right excluded."
            )
    return tuple((int(top), int(left), int(bottom), int(right)) for top, left, bottom, right in boxes)


def _mosaic(where: str, value: Any) -> tuple[str | int, ...] | None:
    value = _structure(value)
    if value is None or value == "" or value == []:
        return None
    cells = [_label(where, cell) for cell in value] if _is_list(value) else []
    known = tuple(cell for cell in cells if cell is not None)
    if len(known) != len(cells) or len(known) < 4 or math.isqrt(len(known)) ** 2 != len(known):
        raise InputError(
            f"{where}: the cells are {_short(repr(value))}, expected the classes of a mosaic in reading order: 4 of "
            "two by two (or 9 of three by three)."
        )
    return known


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_whole(value: Any) -> bool:
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))


def _example(number: int, where: str, row: Any, columns: Mapping[str, str], base: Path) -> Example:
    row = _as_mapping(where, row, columns)
    cells = {role: _cell(where, row, column.removeprefix(WORD_SPANS)) for role, column in columns.items()}
    text = _text(where, columns["text"], cells["text"])
    pair = _text(where, columns["pair"], cells["pair"]) if "pair" in cells else None
    by_words = columns.get("rationale", "").startswith(WORD_SPANS)
    return Example(
        number=number,
        id=_id(where, row.get("id", number + 1)),
        text=text,
        pair=pair,
        label=_label(where, cells.get("label")),
        rationale=_rationale(where, text, cells.get("rationale"), by_words=by_words),
        polarity=_polarity(where, text, cells.get("polarity")),
    )


def _id(where: str, value: Any) -> str:
    try:
        return str(value)
    except Exception as error:  # whatever the writing of somebody else's object leads to
        raise InputError(f"{where}: the id is a {type(value).__name__} that cannot be written; give a name.") from error


def _as_mapping(where: str, row: Any, columns: Mapping[str, str]) -> Mapping[str, Any]:
    """A bare text or image is a row of one column, a pair of two."""
    if isinstance(row, Mapping):
        return row
    if "image" in columns:
        if isinstance(row, str) or is_picture(row):
            return {columns["image"]: row}
        raise InputError(f"{where}: is a {type(row).__name__}, expected an image or a mapping of columns.")
    if isinstance(row, str):
        return {columns["text"]: row}
    if isinstance(row, tuple) and len(row) == 2 and all(isinstance(part, str) for part in row) and "pair" in columns:
        return {columns["text"]: row[0], columns["pair"]: row[1]}
    hint = "; for pairs of texts give pair='pair' as well" if isinstance(row, tuple) else ""
    raise InputError(f"{where}: is a {type(row).__name__}, expected a text or a mapping of columns{hint}.")


def _check_column(where: str, row: Mapping[str, Any], column: str) -> None:
    if column not in row:
        raise InputError(f"{where}: has no column {column!r}, it has {_some(row)}. Name the column that is meant.")


def _cell(where: str, row: Mapping[str, Any], column: str) -> Any:
    _check_column(where, row, column)
    value = row[column]
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float) and math.isnan(value):  # how tables write an empty cell
        return None
    return value


def _some(columns: Iterable[Any]) -> str:
    names = [repr(str(name)) for name in columns]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") if names else "none"


def _text(where: str, column: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""  # an example that cannot be explained, and is counted as one
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        return " ".join(value)
    raise InputError(f"{where}: column {column!r} holds a {type(value).__name__}, expected a text or a list of words.")


def _label(where: str, value: Any) -> str | int | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and value.is_integer():  # a table with an empty cell turns its numbers into these
        return int(value)
    if isinstance(value, int | str):
        return value
    raise InputError(f"{where}: the label {value!r} is neither a name nor a whole number.")


def _rationale(where: str, text: str, value: Any, *, by_words: bool) -> tuple[Span, ...] | None:
    value = _structure(value)
    if value is None or value == "" or value == []:
        return None
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        raise InputError(f"{where}: the rationale is a {type(value).__name__}; give spans, flags or evidence strings.")
    if all(isinstance(part, str) for part in value):
        spans = [_find(where, text, part) for part in value if part.strip()]
    elif all(_is_flag(part) for part in value):
        spans = _flagged(where, text, value)
    elif by_words:
        words = _words_by_space(text)
        counted = [_span(where, part, len(words), "words") for part in value]
        spans = [(words[start][0], words[stop - 1][1]) for start, stop in counted]
    else:
        spans = [_span(where, part, len(text), "characters") for part in value]
    return _joined(spans) or None


def _structure(value: Any) -> Any:
    """A cell of a CSV file may hold a list, written as JSON."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            return parse_json(value)
        except ValueError:
            return value
    if isinstance(value, list | tuple):
        return [part.tolist() if isinstance(part, np.ndarray | np.generic) else part for part in value]
    return value


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool | int | float) and value in (0, 1)


def _find(where: str, text: str, evidence: str) -> Span:
    start = text.find(evidence)
    if start < 0:
        raise InputError(f"{where}: the evidence {_short(evidence)!r} does not stand in the text {_short(text)!r}.")
    return start, start + len(evidence)


def _flagged(where: str, text: str, flags: Sequence[Any]) -> list[Span]:
    by_space, by_sign = _words_by_space(text), _words_by_sign(text)
    words = by_space if len(flags) == len(by_space) else by_sign
    if len(flags) != len(words):
        counts = f"{len(by_space)} words between white space, {len(by_sign)} with punctuation apart"
        raise InputError(f"{where}: the rationale has {len(flags)} flags, the text {counts}. Give one flag per word.")
    runs: list[Span] = []
    for place, flag in enumerate(flags):
        if flag and place > 0 and flags[place - 1]:
            runs[-1] = (runs[-1][0], words[place][1])  # words marked side by side are one piece of evidence
        elif flag:
            runs.append(words[place])
    return runs


def _words_by_space(text: str) -> list[Span]:
    spans, start = [], 0
    for word in text.split():
        start = text.index(word, start)
        spans.append((start, start + len(word)))
        start += len(word)
    return spans


def _words_by_sign(text: str) -> list[Span]:
    spans: dict[int, Span] = {}
    for place, word in enumerate(number_words(text)):
        if word >= 0:
            spans[word] = (spans.get(word, (place, place))[0], place + 1)
    return list(spans.values())


def _span(where: str, value: Any, length: int, unit: str) -> Span:
    if isinstance(value, Mapping):
        value = [value.get("start"), value.get("stop", value.get("end"))]
    whole = isinstance(value, list | tuple) and all(isinstance(end, int) and not isinstance(end, bool) for end in value)
    if not whole or len(value) != 2:
        raise InputError(f"{where}: the rationale holds {_short(repr(value))}; a span reads [start, stop], in {unit}.")
    start, stop = value
    if not 0 <= start < stop <= length:
        raise InputError(
            f"{where}: the span [{start}, {stop}] does not fit a text of {length} {unit}. Count from 0, stop excluded."
        )
    return start, stop


def _joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Sorted; what overlaps or touches becomes one."""
    joined: list[Span] = []
    for start, stop in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return tuple(joined)


def _polarity(where: str, text: str, value: Any) -> tuple[SignedSpan, ...] | None:
    value = _structure(value)
    if value is None or value == "" or value == []:
        return None
    if not isinstance(value, list | tuple):
        raise InputError(f"{where}: the polarity is a {type(value).__name__}, expected [[start, stop, sign], …].")
    signed = []
    for part in value:
        if not isinstance(part, list | tuple) or len(part) != 3 or not isinstance(part[2], int | float):
            raise InputError(f"{where}: the polarity holds {_short(repr(part))}, expected [start, stop, sign].")
        start, stop = _span(where, list(part[:2]), len(text), "characters")
        if part[2] != 0:
            signed.append((start, stop, 1 if part[2] > 0 else -1))
    return tuple(sorted(signed)) or None


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"
