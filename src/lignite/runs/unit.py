"""Work that takes long, in units: what one brings under which keys, and a journal that keeps what is finished."""

import io
import json
import os
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any

from lignite.calls import Progress
from lignite.errors import FileError, warn
from lignite.files import as_json, check_place, from_json, lock, open_file, parse_json, remove_parts, write_whole
from lignite.runs.spare import Divisible

FORMAT = "lignite evaluation run"
VERSION = 1
FILES = "files"
"""Of a piece: names of its files, from the journal's folder, and the sha256 of what they hold."""


class Journal(AbstractContextManager["Journal"]):
    """Finished pieces of a run by their key, kept in a file of JSON lines where a path is given.

    The first line holds the settings; a run with other settings is refused once anything is finished, since its numbers
    would not mean the same, and so is a second run while the first one lasts. Every piece is one line, handed to the
    system with those that were finished together, and never rewritten while the run lasts. A line that was cut off when
    a run was killed is dropped, with a warning, and its piece is computed again.

    What is too large for a line stands in files beside the journal: a piece then has `FILES`, which names each with the
    sha256 of its content. They are on the disk before the line is; where one is missing or has another content when the
    run goes on, the piece is computed again, with a warning.
    """

    def __init__(self, path: str | os.PathLike[str] | None, settings: Mapping[str, Any]) -> None:
        self.path = None if path is None else Path(path)
        self.finished: dict[str, dict[str, Any]] = {}
        self._file: io.FileIO | None = None
        if self.path is None:
            return
        self._header = header = {"format": FORMAT, "version": VERSION, "settings": as_json(settings)}
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

    def write(self, pieces: Mapping[str, Mapping[str, Any]], files: Mapping[str, bytes] | None = None) -> None:
        """Keep finished pieces by their keys, handed to the system together; their files first, each whole."""
        for name, content in (files or {}).items():
            assert self.path is not None, "files stand beside a journal, and this one has no place"
            write_whole(self.path.parent / name, content)
        self.finished.update({key: dict(piece) for key, piece in pieces.items()})
        if self._file is not None:
            self._append([{"key": key, **as_json(piece)} for key, piece in pieces.items()])

    def settle(self, keys: Sequence[str]) -> None:
        """Write the lines of these pieces alone, in this order: what came of a run then shows no trace of its way."""
        if self.path is None:
            return
        entries = [self._header, *({"key": key, **as_json(self.finished[key])} for key in keys)]
        write_whole(self.path, _lines(entries))

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
        lines = memoryview(_lines(entries))
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
        found = _parsed(first)
        self._check_layout(found)
        before, now = found.get("settings"), header["settings"]
        if isinstance(before, dict) and before != now and not any(map(bytes.strip, lines)):
            assert self._file is not None
            self._file.truncate(0)  # nothing is finished yet: perhaps these settings were refused, and are mended now
            self._append([header])
            return
        self._compare(before if isinstance(before, dict) else {}, now)
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
        self._check_files()

    def _check_files(self) -> None:
        """Forget pieces whose files are not what was written; what a killed run left of others is cleared away."""
        assert self.path is not None
        folder = self.path.parent
        named = {key: piece[FILES] for key, piece in self.finished.items() if isinstance(piece.get(FILES), dict)}
        for inside in {(folder / name).parent for files in named.values() for name in files}:
            remove_parts(inside)
        damaged = {
            key: name
            for key, files in named.items()
            for name, digest in files.items()
            if file_digest(folder / name) != digest
        }
        for key in damaged:
            del self.finished[key]
        if damaged:
            more = f", as are {len(damaged) - 1} others" if len(damaged) > 1 else ""
            first = folder / next(iter(damaged.values()))
            warn(f"{first}: is missing or damaged{more}; what stood there is computed again.")

    def _mend(self, damaged: Sequence[tuple[int, int]], *, ended: bool) -> None:
        """Put blanks over damaged lines, and an end to the last one; all else stays where it is."""
        assert self._file is not None
        for place, length in damaged:
            self._file.seek(place)
            self._file.write(b" " * length)
        if not ended:
            self._file.seek(0, os.SEEK_END)
            self._file.write(b"\n")

    def _check_layout(self, found: Any) -> None:
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise FileError(f"{self.path}: is no file of finished work, so it is left alone. Name another file.")
        if found.get("version") != VERSION:
            raise FileError(
                f"{self.path}: has layout version {found.get('version')!r}, this lignite writes {VERSION}. "
                "Name another file."
            )

    def _compare(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        other = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if other:
            name, old, new = _innermost(other[0], before.get(other[0]), now.get(other[0]))
            raise FileError(
                f"{self.path}: was begun with {name}={_short(old)}, this run has {_short(new)}. "
                "Give the same settings, or name another file."
            )


def _innermost(name: str, before: Any, now: Any) -> tuple[str, Any, Any]:
    """Of a setting that differs, the first one within it that does, as far as both runs have it.

    Examples
    --------
    >>> _innermost("request", {"method": "ig", "tol": 1}, {"method": "ca-lig"})
    ('request.method', 'ig', 'ca-lig')
    """
    if isinstance(before, dict) and isinstance(now, dict):
        other = next(key for key in {**before, **now} if before.get(key) != now.get(key))
        if other in before and other in now:
            return _innermost(f"{name}.{other}", before[other], now[other])
    return name, before, now


def _lines(entries: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(entry, allow_nan=False).encode() + b"\n" for entry in entries)


def file_digest(path: Path) -> str | None:
    """The sha256 of what a file holds; None where it cannot be read."""
    digest = sha256()
    try:
        with open_file(path, most=None) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except FileError:
        return None
    return digest.hexdigest()


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
    """What came of a unit: pieces by their keys, the files that they name, and notes that are told at the end of the
    run, but not kept.

    A piece that could not be computed is missing; a later run tries it again.
    """

    pieces: Mapping[str, Piece] = field(default_factory=dict)
    notes: tuple[Any, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Unit:
    """Work that is done in one go, and written in one go.

    Attributes
    ----------
    keys
        Of the pieces that it brings: the same for the same content and options, whatever the run.
    compute
        Takes the keys that are still missing, and is ticked for every piece that is finished or given up.
    size
        How much of the run's progress it is, where it is not as much as its pieces are; `compute` then ticks so often.
    """

    keys: tuple[str, ...]
    compute: Callable[[Collection[str], Tick], Done]
    size: int | None = None


Tell = Callable[[Unit, Done], None]
"""Called with every unit that was computed in this run, and what came of it, once that is kept."""


Crew = Callable[[Sequence[Callable[[], Done]]], Iterator[tuple[int, Done]]]
"""What calls bring, each behind its place, as they are finished in other processes."""


def run(
    units: Sequence[Unit],
    journal: Journal,
    progress: Progress | None = None,
    *,
    crew: Crew | None = None,
    tell: Tell | None = None,
) -> list[Any]:
    """Compute what the journal does not hold yet; afterwards it holds every piece that could be computed.

    A unit is written whole when it is finished, so that a run that is stopped at any unit, however, goes on to the same
    numbers: what is computed together is computed together again. With a `crew` units are computed in other processes,
    which leaves no trace in what is kept but the order of its lines.

    Returns
    -------
    Notes of all units, in the order in which they were finished.
    """
    count = _Count(sum(map(_size_of, units)), progress)
    waiting: list[Waiting] = []
    for unit in units:
        missing = [key for key in unit.keys if key not in journal.finished]
        if missing:
            waiting.append((unit, missing))
        count.tick(_size_of(unit) - (_left(unit, missing) if missing else 0))
    notes: list[Any] = []
    with closing(_compute(waiting, count) if crew is None else _share(waiting, crew, count)) as computed:
        for unit, done in computed:
            journal.write(done.pieces, done.files)
            notes.extend(done.notes)
            if tell is not None:
                tell(unit, done)
    return notes


Waiting = tuple[Unit, list[str]]
"""A unit, and the keys that are missing of it."""


def _compute(waiting: Sequence[Waiting], count: "_Count") -> Generator[tuple[Unit, Done]]:
    for unit, missing in waiting:
        end = count.done + _left(unit, missing)
        yield unit, unit.compute(missing, count.tick)
        count.tick(end - count.done)


def _share(waiting: Sequence[Waiting], crew: Crew, count: "_Count") -> Generator[tuple[Unit, Done]]:
    for place, done in crew([_Call(unit.compute, missing) for unit, missing in waiting]):
        yield waiting[place][0], done
        count.tick(_left(*waiting[place]))


@dataclass(frozen=True, eq=False)
class _Call:
    """What a unit brings, in another process: nobody there waits for ticks."""

    compute: Callable[[Collection[str], Tick], Done]
    missing: Collection[str]

    def __call__(self) -> Done:
        return self.compute(self.missing, lambda _: None)

    def divide(self) -> Sequence["_Call"]:
        halves: Sequence[Any] = self.compute.divide() if isinstance(self.compute, Divisible) else ()
        return [replace(self, compute=half) for half in halves]

    def leave_out(self, parts: Sequence["_Call"]) -> "_Call":
        assert isinstance(self.compute, Divisible)
        return replace(self, compute=self.compute.leave_out([part.compute for part in parts]))


def _size_of(unit: Unit) -> int:
    return len(unit.keys) if unit.size is None else unit.size


def _left(unit: Unit, missing: Collection[str]) -> int:
    return len(missing) if unit.size is None else unit.size


class _Count:
    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total, self.done, self._progress = total, 0, progress

    def tick(self, pieces: int) -> None:
        self.done += pieces
        if pieces and self._progress is not None:
            self._progress(self.done, self.total)
