"""Work that takes long, in units: what one brings under which keys, and a journal that keeps what is finished."""

import io
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from lignite.calls import Progress
from lignite.errors import FileError, warn
from lignite.files import as_json, check_place, from_json, lock, parse_json

FORMAT = "lignite evaluation run"
VERSION = 1


class Journal(AbstractContextManager["Journal"]):
    """Finished pieces of a run by their key, kept in a file of JSON lines where a path is given.

    The first line holds the settings; a run with other settings is refused, since its numbers would not mean the same,
    and so is a second run while the first one lasts. Every piece is one line, handed to the system with those that
    were finished together, and never rewritten. A line that was cut off when a run was killed is dropped, with a
    warning, and its piece is computed again.
    """

    def __init__(self, path: str | os.PathLike[str] | None, settings: Mapping[str, Any]) -> None:
        self.path = None if path is None else Path(path)
        self.finished: dict[str, dict[str, Any]] = {}
        self._file: io.FileIO | None = None
        if self.path is None:
            return
        header = {"format": FORMAT, "version": VERSION, "settings": as_json(settings)}
        try:
            check_place(self.path)  # opening a pipe would wait for its other end
            self._file = io.FileIO(self.path, "r+", opener=_open_or_create)
            self._begin(self._file, header)
        except OSError as error:
            self.close()
            raise FileError(
                f"{self.path}: cannot keep finished work there ({error.strerror or error}). Name another file."
            ) from error
        except BaseException:
            self.close()
            raise

    def write(self, pieces: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep finished pieces by their keys, handed to the system together."""
        self.finished.update({key: dict(piece) for key, piece in pieces.items()})
        if self._file is not None:
            self._append([{"key": key, **as_json(piece)} for key, piece in pieces.items()])

    def close(self) -> None:
        """Let other runs go on with the file."""
        if self._file is not None:
            self._file.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, file: io.FileIO, header: dict[str, Any]) -> None:
        """Read what is there, alone: the line that another run is writing would look like one that was cut off."""
        if not lock(file.fileno()):
            raise FileError(
                f"{self.path}: another run is writing its finished work there. Wait for its end, or name another file."
            )
        file.seek(0)
        content = file.readall()
        if content:
            self._resume(content, header)
        else:
            self._append([header])

    def _append(self, entries: Sequence[dict[str, Any]]) -> None:
        """Write a line for each, or no part of them."""
        assert self._file is not None
        end = self._file.seek(0, os.SEEK_END)
        lines = memoryview(b"".join(json.dumps(entry, allow_nan=False).encode() + b"\n" for entry in entries))
        try:
            while lines:
                lines = lines[self._file.write(lines) :]
        except BaseException as error:
            with suppress(OSError):
                self._file.truncate(end)
            if not isinstance(error, OSError):
                raise
            raise FileError(
                f"{self.path}: finished work cannot be written ({error.strerror or error}). Free some space and start "
                "the same command again: it goes on from here."
            ) from error

    def _resume(self, content: bytes, header: dict[str, Any]) -> None:
        first, *lines = content.split(b"\n")
        self._compare(_parsed(first), header)
        place, damaged = len(first) + 1, []
        for line in lines:
            piece = _piece(line)
            if piece is not None:
                self.finished[piece.pop("key")] = piece
            elif line.strip():
                damaged.append((place, len(line)))
            place += len(line) + 1
        self._mend(damaged, ended=content.endswith(b"\n"))
        if damaged:
            warn(
                f"{self.path}: {len(damaged)} line{'s were' if len(damaged) > 1 else ' was'} cut off; what stood there "
                f"is computed again, the other {len(self.finished)} are kept."
            )

    def _mend(self, damaged: Sequence[tuple[int, int]], *, ended: bool) -> None:
        """Put blanks over damaged lines, and an end to the last one; all else stays where it is."""
        assert self._file is not None
        for place, length in damaged:
            self._file.seek(place)
            self._file.write(b" " * length)
        if not ended:
            self._file.seek(0, os.SEEK_END)
            self._file.write(b"\n")

    def _compare(self, found: Any, header: dict[str, Any]) -> None:
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise FileError(f"{self.path}: is no file of finished work, so it is left alone. Name another file.")
        if found.get("version") != VERSION:
            raise FileError(
                f"{self.path}: has layout version {found.get('version')!r}, this lignite writes {VERSION}. "
                "Name another file."
            )
        before, now = found.get("settings"), header["settings"]
        before = before if isinstance(before, dict) else {}
        other = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if other:
            name = other[0]
            raise FileError(
                f"{self.path}: was begun with {name}={_short(before.get(name))}, this run has {_short(now.get(name))}. "
                "Give the same settings, or name another file."
            )


def _open_or_create(path: str | os.PathLike[str], flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)


def _parsed(line: bytes) -> Any:
    try:
        return parse_json(line)
    except ValueError:
        return None


def _piece(line: bytes) -> dict[str, Any] | None:
    """What a line holds, with its key; None where it is damaged."""
    value = _parsed(line)
    if not isinstance(value, dict) or not isinstance(value.get("key"), str):
        return None
    try:
        return {name: from_json(entry) for name, entry in value.items()}
    except (TypeError, ValueError):
        return None


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


Piece = Mapping[str, Any]
"""What is kept of one finished piece of work: whatever JSON can hold."""

Tick = Callable[[int], None]
"""Called with so many pieces more that are finished."""


@dataclass(frozen=True, eq=False)
class Done:
    """What came of a unit: pieces by their keys, and notes that are told at the end of the run, but not kept.

    A piece that could not be computed is missing; a later run tries it again.
    """

    pieces: Mapping[str, Piece] = field(default_factory=dict)
    notes: tuple[Any, ...] = ()


@dataclass(frozen=True, eq=False)
class Unit:
    """Work that is done in one go, and written in one go.

    Attributes
    ----------
    keys
        Of the pieces that it brings: the same for the same content and options, whatever the run.
    compute
        Takes the keys that are still missing, and is ticked for every piece that is finished or given up.
    """

    keys: tuple[str, ...]
    compute: Callable[[Collection[str], Tick], Done]


def run(units: Sequence[Unit], journal: Journal, progress: Progress | None = None) -> list[Any]:
    """Compute what the journal does not hold yet; afterwards it holds every piece that could be computed.

    A unit is written whole when it is finished, so that a run that is stopped at any unit, however, goes on to the same
    numbers: what is computed together is computed together again.

    Returns
    -------
    Notes of all units, in their order.
    """
    notes: list[Any] = []
    count = _Count(sum(len(unit.keys) for unit in units), progress)
    for unit in units:
        missing = [key for key in unit.keys if key not in journal.finished]
        count.tick(len(unit.keys) - len(missing))
        if missing:
            end = count.done + len(missing)
            done = unit.compute(missing, count.tick)
            journal.write(done.pieces)
            notes.extend(done.notes)
            count.tick(end - count.done)
    return notes


class _Count:
    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total, self.done, self._progress = total, 0, progress

    def tick(self, pieces: int) -> None:
        self.done += pieces
        if pieces and self._progress is not None:
            self._progress(self.done, self.total)
