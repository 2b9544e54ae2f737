"""Where examples come from: files, tables, folders and lists, as rows with the words that say where each stands."""

import csv
import gzip
import io
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd  # type: ignore[import-untyped]

from lignite.calls import is_several
from lignite.errors import FileError, InputError
from lignite.files import MOST_BYTES, check_file, expanded, is_folder, parse_json, read_whole
from lignite.inputs.pictures import ENDINGS as IMAGE_ENDINGS
from lignite.late import import_extra

ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")

Placed = tuple[str, Any]
"""A row, behind the words that say where it stands; in its place the error of one that cannot be read."""


def read_rows(
    source: Any, *, image: str | None = None, keep_bad: bool = False, also: Iterable[str] = ()
) -> tuple[list[Placed], Path]:
    """All rows of a data set, and the folder that its paths are relative to; `image` is the column of images.

    A line that cannot be read is refused, or with `keep_bad` stands as its error among the others. `also` are endings
    that the caller reads by itself.
    """
    named = isinstance(source, str | os.PathLike)
    if image is not None and is_folder(source) and not _holds_tables(expanded(source)):
        return list(_read_folder(expanded(source), image)), Path()
    if image is not None and named and Path(source).suffix.lower() in IMAGE_ENDINGS:
        return [(str(source), {image: source, "id": Path(source).name})], Path()
    rows = list(_number_rows(source, also))
    bad = next((row for _, row in rows if isinstance(row, FileError)), None)
    if bad is not None and not keep_bad:
        raise bad
    return rows, expanded(source).parent if named else Path()


def _number_rows(source: Any, also: Iterable[str]) -> Iterator[Placed]:
    if isinstance(source, str | os.PathLike):
        path = expanded(source)
        yield from _read_saved(path) if is_folder(path) else _read_file(path, also)
        return
    if isinstance(source, pd.DataFrame):
        source = source.to_dict("records")
    elif isinstance(source, Mapping):
        raise InputError(f"examples is one mapping ({listed(source)}): give a list of mappings, or a DataFrame.")
    elif not is_several(source):
        raise InputError(
            f"examples is a {type(source).__name__}: give a path, a DataFrame, a datasets.Dataset, or a list of texts "
            "or mappings."
        )
    for number, row in enumerate(source, start=1):
        yield f"example {number}", row


def _read_folder(folder: Path, column: str) -> Iterator[Placed]:
    """Every image, also of folders below, which are then named as their class is: a row has it as its label."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_ENDINGS:
            inner = path.parent.relative_to(folder)
            label = {"label": path.parent.name} if inner.parts else {}
            yield str(path), {column: path, "id": str(inner / path.name), **label}


def _read_file(path: Path, also: Iterable[str]) -> Iterator[Placed]:
    ending = next((known for known in ENDINGS if path.name.lower().removesuffix(".gz").endswith(known)), None)
    if ending is None:
        check_file(path, most=None)
        raise FileError(
            f"{path}: its ending names no known format; use {', '.join((*ENDINGS, *also))}, or .gz after one."
        )
    if ending == ".parquet":
        yield from _read_parquet(path)
        return
    content = read_text(path)
    if ending == ".jsonl":
        yield from _read_json_lines(path, content)
    elif ending == ".json":
        yield from _read_json(path, content)
    else:
        yield from _read_table(path, content, "\t" if ending == ".tsv" else ",")


def read_text(path: Path) -> str:
    """All of a file, unfolded where it ends in `.gz`."""
    try:
        content = read_whole(path)
        if path.name.lower().endswith(".gz"):
            content = unzip(path, content)
        return content.decode("utf-8-sig")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileError(f"{path}: is cut off or no gzip file ({error}). Copy it again.") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: is not UTF-8 (byte {error.start}). Convert it, for example with iconv.") from error


def unzip(path: Path, content: bytes) -> bytes:
    """Unfold at most as much as may stand in a file: a few kilobytes can hold more than any memory."""
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        unfolded = file.read(MOST_BYTES + 1)
    if len(unfolded) > MOST_BYTES:
        raise FileError(f"{path}: unfolds into more than {MOST_BYTES >> 20:,} MiB. Give it in parts.")
    return unfolded


def _read_json_lines(path: Path, content: str) -> Iterator[Placed]:
    lines = content.split("\n")  # splitlines would cut at marks that JSON allows inside its strings
    last = max((number for number, line in enumerate(lines, start=1) if line.strip()), default=0)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            yield where, parse_json(line)
        except ValueError as error:
            what = "is cut off" if number == last and not content.endswith("\n") else "is no JSON"
            yield where, FileError(f"{where}: {what} ({error}). Copy or write the file again.")


def _read_json(path: Path, content: str) -> Iterator[Placed]:
    try:
        rows = parse_json(content)
    except ValueError as error:
        raise FileError(f"{path}: is no complete JSON ({error}). Copy or write the file again.") from error
    if not isinstance(rows, list):
        raise FileError(f"{path}: holds a JSON {type(rows).__name__}, expected a list of examples.")
    for number, row in enumerate(rows, start=1):
        yield f"{path}, example {number}", row


def _read_table(path: Path, content: str, delimiter: str) -> Iterator[Placed]:
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
            if len(row) == len(header):
                yield where, dict(zip(header, row, strict=True))
            else:
                yield (
                    where,
                    FileError(
                        f"{where}: has {len(row)} fields, the header has {len(header)}. The file is cut off, or a "
                        "field that holds the separator is not quoted."
                    ),
                )
    except csv.Error as error:
        raise FileError(f"{path}, line {reader.line_num}: is cut off or badly quoted ({error}). Write it again.") from (
            error
        )


_STATE = "state.json"


def _holds_tables(folder: Path) -> bool:
    return (folder / _STATE).is_file() or any(folder.glob(f"*/{_STATE}")) or any(folder.glob("*.parquet"))


def _read_saved(folder: Path) -> Iterator[Placed]:
    """The Parquet files of a folder, or what `datasets.Dataset.save_to_disk` wrote: files of Arrow's stream format."""
    if not (folder / _STATE).is_file():
        parts = sorted(folder.glob("*.parquet"))
        for path in parts:
            yield from _read_parquet(path)
        if parts:
            return
        splits = [path.parent.name for path in sorted(folder.glob(f"*/{_STATE}"))]
        advice = f"name one of its splits: {', '.join(splits)}" if splits else "name the file in it"
        raise FileError(f"{folder}: is a folder, but none that datasets saved, nor one of Parquet files; {advice}.")
    try:
        state = parse_json(read_whole(folder / _STATE))
        named = [str(entry["filename"]) for entry in state["_data_files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(f"{folder / _STATE}: does not name the files of a data set. Save it again.") from error
    arrow = import_extra("pyarrow", "parquet", f"{folder}: data sets that datasets saved")
    number = 0
    for name in named:
        check_file(folder / name, most=None)
        try:
            with arrow.memory_map(str(folder / name)) as file:
                rows = arrow.ipc.open_stream(file).read_all().to_pylist()
        except arrow.ArrowException as error:
            raise FileError(f"{folder / name}: is cut off or no Arrow file ({error}). Copy it again.") from error
        for row in rows:
            number += 1
            yield f"{folder}, example {number}", row


def _read_parquet(path: Path) -> Iterator[Placed]:
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


def listed(columns: Iterable[Any]) -> str:
    """The first names of some columns, for errors."""
    names = [repr(str(name)) for name in columns]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") if names else "none"
