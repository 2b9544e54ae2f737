"""Flows as a Zarr store in one file, a group for each, and back as a tree whose arrays are read when asked for."""

import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import xarray as xr

from lignite.errors import FileError
from lignite.late import import_extra

ENDING = ".zarr.zip"
_FORMAT = 2
"""The third has no settled type for texts of one length yet."""

_DATE = (1980, 1, 1, 0, 0, 0)
"""Of everything in the file: the same flows are the same bytes, whenever they are written."""

load = partial(import_extra, extra="zarr", what="stores of flows")


class _Poured(dict[str, Any]):
    """What describes a store stays here; its chunks go into a file as they come."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self.file = file

    def __setitem__(self, key: str, content: Any) -> None:
        if key.rpartition("/")[2].startswith(".z"):  # written again and again
            super().__setitem__(key, content)
        else:
            self.file.writestr(key, content.to_bytes())

    def end(self) -> None:
        """Write what describes the store, too."""
        for key, content in self.items():
            self.file.writestr(key, content.to_bytes())


def write_store(flows: Iterable[tuple[str, xr.Dataset]], attrs: Mapping[str, Any]) -> bytes:
    """The store that holds each of these flows as the group of its name, and `attrs` at its root.

    Flows are asked for one by one, and written to a temporary file chunk by chunk: whoever lets go of what was asked
    for never holds a flow twice.
    """
    zarr = load("zarr")
    with _temporary() as came, _temporary() as written:
        one_by_one = zarr.config.set({"async.concurrency": 1})
        with zipfile.ZipFile(came, "w") as file, one_by_one:
            poured = _Poured(file)
            memory = load("zarr.storage").MemoryStore(poured)
            zarr.open_group(memory, mode="w", zarr_format=_FORMAT, attributes=dict(attrs))
            for name, flow in flows:
                flow.drop_encoding().to_zarr(memory, group=name, zarr_format=_FORMAT, consolidated=False)
                del flow
            zarr.consolidate_metadata(memory, zarr_format=_FORMAT)
            poured.end()
        with zipfile.ZipFile(came) as unordered, zipfile.ZipFile(written, "w") as file:
            for key in sorted(unordered.namelist()):  # they come in another order in every process
                file.writestr(zipfile.ZipInfo(key, _DATE), unordered.read(key))
        written.seek(0)
        return written.read()


@contextmanager
def _temporary() -> Iterator[IO[bytes]]:
    """A file that goes with the last who has it open."""
    try:
        with tempfile.TemporaryFile() as file:
            yield file
    except OSError as error:
        raise FileError(
            f"{tempfile.gettempdir()}: a store of flows is written there first, and cannot be "
            f"({error.strerror or error}). Free some space, or name another folder by TMPDIR."
        ) from error


def open_store(path: Path) -> xr.DataTree:
    """The flows of a store, a group for each; their arrays stay in the file until they are asked for."""
    try:
        store = load("zarr.storage").ZipStore(path, mode="r")
        return xr.open_datatree(store, engine="zarr", chunks=None, consolidated=True)
    except FileError:
        raise
    except Exception as error:  # damaged files raise whatever the damaged place leads to
        raise FileError(f"{path}: is damaged or no store of flows ({error}). Run the same command again.") from error
