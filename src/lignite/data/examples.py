"""Examples to measure on: read from files, tables, folders and lists, whatever they call their columns.

Everything wrong with a data set is found here, before a model works for hours: a column that is missing, a file cut in
half, human evidence that does not fit its text. Images are opened only when their turn comes.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from lignite.data.columns import WORD_SPANS, Columns
from lignite.data.evidence import (
    Box,
    SignedSpan,
    Span,
    read_boxes,
    read_label,
    read_mosaic,
    read_polarity,
    read_rationale,
)
from lignite.data.sources import listed, read_rows
from lignite.errors import FileError, InputError, OptionError
from lignite.files import expanded, read_whole
from lignite.inputs.pictures import is_picture, open_bytes


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
    source: Any, columns: Columns | None = None, *, images: bool = False, limit: int | None = None, seed: int = 0
) -> list[Example]:
    """Examples of a data set, in its order.

    Parameters
    ----------
    source
        A path to JSON lines, JSON, CSV, TSV (each also as .gz) or Parquet; a pandas DataFrame; a `datasets.Dataset`; or
        a list of texts, of pairs of texts, of images, of mappings with the columns below, or of examples that were read
        before. A folder is all images in it and in folders below, by
        their paths; the path of an image is that one.
    columns
        What the columns are called; by default ``text`` or ``image`` alone. They hold:

        - `text`, `pair`: texts; a list of words is joined by blanks.
        - `label`: the class.
        - `rationale`: human evidence: character spans ``[[start, stop], …]``, one flag (0 or 1) per word, or the
          evidence itself, a string or several, each of which is marked where it first stands. Words are those between
          white space, or, where the number of flags fits only these, those of
          :func:`~lignite.inputs.labels.number_words`. ``"words:column"`` reads spans that count words between white
          space. An empty cell is no evidence.
        - `polarity`: signed evidence ``[[start, stop, sign], …]``, in characters.
        - `image`: paths (of a file, relative to it), pictures, arrays, or the bytes of an image's file, also as
          `datasets` stores them.
        - `mask`, `distractor`: the object's pixels and another thing's: a path of a picture, or an array ``[y, x]``,
          not zero there, of the size of the image or of what the model sees. An empty cell is no mask.
        - `boxes`: the object's rectangles, ``[[top, left, bottom, right], …]`` in the image's pixels.
        - `cells`: classes of a mosaic's cells in reading order: four of two by two.
    images
        Whether the examples are images, not texts.
    limit, seed
        Take so many examples, drawn at random and kept in order; a larger `limit` keeps the smaller one's examples.

    Raises
    ------
    InputError
        If there is no example, a column is missing, or evidence does not fit its text; the message names the example.
    FileError
        If a file cannot be read to its end.
    """
    wanted = (columns or Columns()).read(images=images)
    rows, base = read_rows(source, image=wanted.get("image"))
    if not rows:
        name = str(source) if isinstance(source, str | os.PathLike) else "the list of examples"
        raise InputError(f"{name} holds no example: give at least one.")
    return [
        replace(row, number=number) if isinstance(row, Example) else read_example(number, where, row, wanted, base)
        for number, (where, row) in enumerate(draw(rows, limit, seed))
    ]


def read_texts(source: Any, columns: Columns | None = None) -> list[str]:
    """All texts of a data set, second texts of pairs included: a corpus, of which words are counted.

    Raises
    ------
    InputError, FileError
        As `read_examples`.
    """
    wanted = (columns or Columns()).read(images=False)
    roles: dict[str, str] = {role: column for role, column in wanted.items() if role in ("text", "pair")}
    rows, _ = read_rows(source)
    return [
        read_text(where, row, column)
        for where, row in ((where, as_mapping(where, row, roles)) for where, row in rows)
        for column in roles.values()
    ]


def draw(rows: Sequence[Any], limit: int | None, seed: int) -> list[Any]:
    if limit is None:
        return list(rows)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise OptionError(f"limit={limit!r} must be a whole number of examples, at least 1, or None for all.")
    # Data sets come sorted by class: their first examples are no sample.
    chosen = np.random.default_rng(seed).permutation(len(rows))[:limit]
    return [rows[place] for place in sorted(chosen.tolist())]


# One row


def read_example(number: int, where: str, row: Any, columns: Mapping[str, str], base: Path) -> Example:
    """One row of a data set; `columns` are named by what they hold, and paths begin at the folder `base`."""
    return (_image_example if "image" in columns else _text_example)(number, where, row, columns, base)


def _image_example(number: int, where: str, row: Any, columns: Mapping[str, str], base: Path) -> Example:
    row = as_mapping(where, row, columns)
    pictures = {
        role: _picture(where, row, columns[role], base) for role in ("image", "mask", "distractor") if role in columns
    }
    cells = {role: _cell(where, row, columns[role]) for role in ("label", "boxes", "cells") if role in columns}
    image = pictures.pop("image")
    if image is None:
        raise InputError(f"{where}: column {columns['image']!r} is empty, expected an image. Leave the row out.")
    return Example(
        number=number,
        id=_id(where, row.get("id", number + 1)),
        text=image.name if isinstance(image, Path) else "",
        label=read_label(where, cells.get("label")),
        image=image,
        boxes=read_boxes(where, cells.get("boxes")),
        cells=read_mosaic(where, cells.get("cells")),
        **pictures,
    )


def _picture(where: str, row: Mapping[str, Any], column: str, base: Path) -> Any:
    """A path becomes one from the folder of the data set."""
    _check_column(where, row, column)
    value = row[column]
    if value is None or (isinstance(value, str) and not value.strip()) or _is_nan(value):
        return None
    if isinstance(value, Mapping) and {"bytes", "path"} & value.keys():  # as datasets stores an image
        return _stored(where, value, column, base)
    if isinstance(value, bytes):
        return open_bytes(value, where)
    if isinstance(value, str | os.PathLike):
        return base / expanded(value)
    value = np.array(value) if isinstance(value, list) else value
    if not is_picture(value):
        raise InputError(f"{where}: column {column!r} holds a {type(value).__name__}, expected a path or a picture.")
    return value


def _stored(where: str, value: Mapping[str, Any], column: str, base: Path) -> Any:
    content, path = value.get("bytes"), value.get("path")
    if isinstance(content, bytes):
        return open_bytes(content, f"{where}: {path}" if path else where)
    if isinstance(path, str):
        return base / expanded(path)
    raise InputError(f"{where}: column {column!r} holds neither the bytes nor the path of an image.")


def _text_example(number: int, where: str, row: Any, columns: Mapping[str, str], base: Path) -> Example:
    row = as_mapping(where, row, columns)
    cells = {role: _cell(where, row, column.removeprefix(WORD_SPANS)) for role, column in columns.items()}
    text = _text(where, columns["text"], cells["text"])
    pair = _text(where, columns["pair"], cells["pair"]) if "pair" in cells else None
    by_words = columns.get("rationale", "").startswith(WORD_SPANS)
    return Example(
        number=number,
        id=_id(where, row.get("id", number + 1)),
        text=text,
        pair=pair,
        label=read_label(where, cells.get("label")),
        rationale=read_rationale(where, text, cells.get("rationale"), by_words=by_words),
        polarity=read_polarity(where, text, cells.get("polarity")),
    )


def _id(where: str, value: Any) -> str:
    try:
        return str(value)
    except Exception as error:  # whatever the writing of somebody else's object leads to
        raise InputError(f"{where}: the id is a {type(value).__name__} that cannot be written; give a name.") from error


def read_text(where: str, row: Mapping[str, Any], column: str) -> str:
    """The text in a column; a list of words is joined by blanks."""
    return _text(where, column, _cell(where, row, column))


def as_mapping(where: str, row: Any, columns: Mapping[str, str]) -> Mapping[str, Any]:
    """A bare text or image is a row of one column, a pair of two."""
    if isinstance(row, Mapping):
        return row
    if isinstance(row, Example):
        return {column: getattr(row, role) for role, column in columns.items()}
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
        raise InputError(
            f"{where}: has no column {column!r}, it has {listed(row)}. Name the column that is "
            "meant, as text=… or --text … does for texts."
        )


def _cell(where: str, row: Mapping[str, Any], column: str) -> Any:
    _check_column(where, row, column)
    value = row[column]
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return None if _is_nan(value) else value


def _is_nan(value: Any) -> bool:
    """How tables write an empty cell."""
    return isinstance(value, float) and math.isnan(value)


def _text(where: str, column: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""  # an example that cannot be explained, and is counted as one
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        return " ".join(value)
    raise InputError(f"{where}: column {column!r} holds a {type(value).__name__}, expected a text or a list of words.")
