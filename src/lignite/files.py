"""Files that are written whole or not at all, and read only where they are files and come to an end."""

import errno
import json
import math
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from lignite.errors import FileError
from lignite.wording import shorten

try:
    import fcntl
except ImportError:  # Windows: no such locks, so two runs on one journal are not told from each other there
    fcntl = None  # type: ignore[assignment]

MOST_BYTES = 2**30
"""Of a file that is read into memory as a whole: what is larger was not meant, or is better given in parts."""

MOST_NESTED = 100
"""Lists within lists in JSON from others: data sets and results need five, and much deeper ones end the interpreter."""

_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
}
_PART = ".lignite-{}.part"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)


def _shown(path: Path) -> str:
    return shorten(str(path), 200)  # texts are given as names by mistake


# Writing


def check_place(path: str | os.PathLike[str]) -> Path:
    """Where a file of this name would be written, links followed; what is sure to fail is refused before any work."""
    path = Path(path)
    with _written(path):
        place = path.resolve()  # a link keeps pointing to the file that is replaced
        if place.is_dir():
            raise FileError(f"{_shown(path)}: is a folder, expected a file name. Name a file in it.")
        if place.exists() and not place.is_file():
            raise FileError(f"{_shown(path)}: is {_kind(place.stat())}, expected a file name. Choose another name.")
        if not place.parent.is_dir():
            raise FileError(f"{_shown(path)}: there is no folder {place.parent}. Create it first.")
        if place.exists() and not _may_write(place):  # replacing would override the protection
            raise FileError(f"{_shown(path)}: is write-protected. Change its rights or choose another name.")
        if not _may_write(place.parent):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return place


def write_whole(path: str | os.PathLike[str], content: bytes | memoryview) -> None:
    """Write a file in one step: on any failure or interruption the old one stays as it was, and nothing else is left.

    The bytes go to a new file beside the old one, to the disk, and only then take its name and its rights.

    Raises
    ------
    FileError
        If the place cannot be written, or has no room.
    """
    place = check_place(path)
    with _written(Path(path)):
        temporary = place.with_name(_PART.format(secrets.token_hex(8)))
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # some disks say only now that they are full
            if place.exists():
                temporary.chmod(stat.S_IMODE(place.stat().st_mode))
            temporary.replace(place)
        finally:
            with suppress(OSError):
                temporary.unlink()


def remove_parts(folder: Path) -> None:
    """Clear away what is left of files that a killed process was writing into a folder; only one may write there."""
    for part in folder.glob(_PART.format("*")):
        with suppress(OSError):
            part.unlink()


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Turn what systems say about writing into one line."""
    try:
        yield
    except OSError as error:
        name, reason = _shown(path), error.strerror or error
        if error.errno in _NO_ROOM:
            raise FileError(
                f"{name}: there is no room for it ({reason}). Free some space or choose another disk; a file that was "
                "there is kept."
            ) from error
        if error.errno in _NO_RIGHT:
            raise FileError(f"{name}: no permission to write there ({reason}). Choose another folder.") from error
        raise FileError(f"{name}: cannot be written ({reason}). Check the path and the disk.") from error
    except (ValueError, RuntimeError) as error:  # a NUL in the name; links in a circle
        raise FileError(f"{_shown(path)}: is no name of a file ({error}). Choose another name.") from error


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


# Reading


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with a home folder for its ``~``; as it is where nobody has that name."""
    with suppress(RuntimeError):
        return Path(path).expanduser()
    return Path(path)


def check_file(path: str | os.PathLike[str], *, most: int | None = MOST_BYTES) -> int:
    """The size of a file that comes to an end: no folder, device, pipe or socket, and none that is too large.

    Raises
    ------
    FileError
        If there is no such file, it is something else, may not be read, or holds more than `most` bytes.
    """
    path = Path(path)
    with _read(path):
        try:
            status = path.stat()
        except ValueError as error:  # a NUL in the name
            raise FileError(f"{_shown(path)}: is no name of a file ({error}). Check the path.") from error
        return _size(path, status, most)


def read_whole(path: str | os.PathLike[str], *, most: int = MOST_BYTES) -> bytes:
    """The content of a file, as much as it says it holds: what the system makes up while one reads has no size.

    Raises
    ------
    FileError
        As `check_file`; or if the disk fails.
    """
    with open_file(path, most=most) as file:
        return file.read(os.fstat(file.fileno()).st_size)


@contextmanager
def open_file(path: str | os.PathLike[str], *, most: int | None = MOST_BYTES) -> Iterator[BinaryIO]:
    """A file to read from, if it is one; fails as `check_file` does, also later, if the disk fails."""
    path = Path(path)
    check_file(path, most=most)  # opening a device may already do something
    with _read(path):
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            _size(path, os.fstat(descriptor), most)
            yield file


def _size(path: Path, status: os.stat_result, most: int | None) -> int:
    if not stat.S_ISREG(status.st_mode):
        advice = "Name the file in it." if stat.S_ISDIR(status.st_mode) else "Save its content to a file and name that."
        raise FileError(f"{_shown(path)}: is {_kind(status)}, expected a file. {advice}")
    if most is not None and status.st_size > most:
        size, limit = _mebibytes(status.st_size), _mebibytes(most)
        raise FileError(f"{_shown(path)}: holds {size}, and at most {limit} are read of such a file. Give it in parts.")
    return status.st_size


def _kind(status: os.stat_result) -> str:
    return next((kind for applies, kind in _KINDS.items() if applies(status.st_mode)), "no ordinary file")


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


@contextmanager
def _read(path: Path) -> Iterator[None]:
    """Turn what systems say about reading into one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileError(f"{_shown(path)}: no such file. Check the path.") from error
    except PermissionError as error:
        raise FileError(f"{_shown(path)}: no permission to read it. Change its rights or copy it.") from error
    except OSError as error:
        raise FileError(
            f"{_shown(path)}: cannot be read ({error.strerror or error}). Check the path and the disk."
        ) from error


def is_folder(item: object) -> bool:
    """Whether something names a folder; a long text is no name at all, nor is an empty one."""
    if isinstance(item, str) and not item.strip():
        return False
    try:
        return isinstance(item, str | Path) and Path(item).expanduser().is_dir()
    except (OSError, ValueError, RuntimeError):
        return False


def parse_json(content: str | bytes) -> Any:
    """What JSON from others says, which may not be nested without end.

    Raises
    ------
    ValueError
        If it is no JSON, is cut off, or nested more than `MOST_NESTED` deep.
    """
    try:
        value = json.loads(content)
    except RecursionError:
        raise _too_deep() from None
    brackets = (b"[", b"{") if isinstance(content, bytes) else ("[", "{")
    if sum(map(content.count, brackets)) > MOST_NESTED and not _is_shallow(value):  # type: ignore[arg-type]
        raise _too_deep()
    return value


def read_saved(path: Path, versions: Mapping[str, int], *, noun: str) -> dict[str, Any]:
    """The content of a JSON file that lignite wrote in one of these formats, of this version; `noun` is what it holds.

    Raises
    ------
    FileError
        If it is no such file, or not whole.
    """
    written = read_whole(path)
    if not written:
        raise FileError(f"{path}: is empty. Save the {noun} again.")
    try:
        content = parse_json(written)
    except ValueError as error:
        raise FileError(f"{path}: is no complete JSON ({error}). Save the {noun} again.") from error
    form = content.get("format") if isinstance(content, dict) else None
    if not isinstance(form, str) or form not in versions:
        raise FileError(f"{path}: is JSON, but no {noun} saved by lignite. Choose a file that lignite wrote.")
    found, read = content.get("version"), versions[form]
    if found != read:
        raise FileError(f"{path}: has layout version {found!r}, this lignite reads {read}. Update lignite.")
    return content


def _too_deep() -> ValueError:
    return ValueError(f"lists or objects are nested more than {MOST_NESTED} deep")


def _is_shallow(value: Any) -> bool:
    level = [value]
    for _ in range(MOST_NESTED):
        level = [inner for entry in level for inner in _within(entry)]
        if not level:
            return True
    return False


def _within(value: Any) -> list[Any]:
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [entry for entry in entries if isinstance(entry, dict | list)]


def as_json(value: Any) -> Any:
    """What strict JSON can hold of a value: numbers that it does not know are written otherwise, and found again.

    Examples
    --------
    >>> as_json({"mean": float("nan"), "rows": (1, float("-inf"))})
    {'mean': None, 'rows': [1, {'float': '-Infinity'}]}
    """
    if isinstance(value, Mapping):
        return {str(key): as_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(entry) for entry in value]
    if hasattr(value, "item"):  # a number of numpy
        value = value.item()
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return None if math.isnan(value) else {"float": float_name(value)}


def from_json(value: Any) -> Any:
    """What was given to `as_json`; in a list whatever it was, and None is not a number."""
    if isinstance(value, dict):
        if value.keys() == {"float"}:
            return float(value["float"])
        return {key: from_json(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [from_json(entry) for entry in value]
    return math.nan if value is None else value


def float_name(value: float) -> str:
    """The name, in JavaScript and elsewhere, of a number that JSON does not know."""
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


# Locks


def lock(descriptor: int) -> bool:
    """Whether this process, and no other, may write an open file from now on, until it closes it or ends."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
