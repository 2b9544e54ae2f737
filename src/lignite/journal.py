"""A file of finished work, so that a long run that was stopped goes on where it ended."""

import json
import math
import os
import secrets
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from lignite.errors import FileError

FORMAT = "lignite evaluation run"
VERSION = 1


class Journal:
    """Finished pieces of a run by their key, kept in a file of JSON lines where a path is given.

    The first line holds the settings; a run with other settings is refused, since its numbers would not mean the same.
    Every piece is one line, handed to the system as soon as it is finished. A line that was cut off when a run was
    killed is dropped, with a warning, and its piece is computed again.
    """

    def __init__(self, path: str | os.PathLike[str] | None, settings: Mapping[str, Any]) -> None:
        self.path = None if path is None else Path(path)
        self.finished: dict[str, dict[str, Any]] = {}
        self._file: Any = None
        if self.path is None:
            return
        header = {"format": FORMAT, "version": VERSION, "settings": _plain(settings)}
        try:
            content = self.path.read_bytes() if self.path.exists() else b""
            if content:
                self._resume(content, header)
            else:
                _replace(self.path, [json.dumps(header).encode()])
            self._file = self.path.open("ab")
        except OSError as error:
            raise FileError(
                f"{self.path}: cannot keep finished work there ({error.strerror or error}). Name another file."
            ) from error

    def write(self, key: str, piece: Mapping[str, Any]) -> None:
        """Keep one finished piece."""
        self.finished[key] = dict(piece)
        if self._file is None:
            return
        try:
            self._file.write(json.dumps({"key": key, **_plain(piece)}, allow_nan=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise FileError(
                f"{self.path}: finished work cannot be written ({error.strerror or error}). Free some space and start "
                "the same command again: it goes on from here."
            ) from error

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def _resume(self, content: bytes, header: dict[str, Any]) -> None:
        first, *lines = content.split(b"\n")
        self._compare(_parsed(first), header)
        whole = [line for line in lines if _is_piece(_parsed(line))]
        broken = sum(1 for line in lines if line.strip()) - len(whole)
        if broken or not content.endswith(b"\n"):
            _replace(self.path, [first, *whole])
        if broken:
            warnings.warn(
                f"{self.path}: {broken} line{'s were' if broken > 1 else ' was'} cut off; what stood there is computed "
                f"again, the other {len(whole)} are kept.",
                UserWarning,
                stacklevel=4,
            )
        for line in whole:
            piece = _with_numbers(json.loads(line))
            self.finished[piece.pop("key")] = piece

    def _compare(self, found: Any, header: dict[str, Any]) -> None:
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise FileError(f"{self.path}: is no file of finished work, so it is left alone. Name another file.")
        if found.get("version") != VERSION:
            raise FileError(
                f"{self.path}: has layout version {found.get('version')!r}, this lignite writes {VERSION}. "
                "Name another file."
            )
        before, now = found.get("settings", {}), header["settings"]
        other = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if other:
            name = other[0]
            raise FileError(
                f"{self.path}: was begun with {name}={_short(before.get(name))}, this run has {_short(now.get(name))}. "
                "Give the same settings, or name another file."
            )


def _replace(path: Path | None, lines: list[bytes]) -> None:
    """Write all lines in one step, or nothing: what was finished is never lost on the way."""
    assert path is not None
    temporary = path.resolve().with_name(f".lignite-{secrets.token_hex(8)}.part")
    try:
        temporary.write_bytes(b"".join(line + b"\n" for line in lines))
        temporary.replace(path.resolve())
    finally:
        with suppress(OSError):
            temporary.unlink()


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _is_piece(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("key"), str)


def _plain(value: Any) -> Any:
    """What JSON can hold: NaN, which it cannot, becomes null; infinity a text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else {"float": repr(value)}
    return value


def _with_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"float"}:
            return float(value["float"])
        return {key: _with_numbers(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_with_numbers(entry) for entry in value]
    return math.nan if value is None else value


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
