"""Flows as a Zarr store in one file, a group for each, and back as a tree whose arrays are read when asked for."""

import io
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from lignite.errors import FileError
from lignite.late import import_extra

ENDING = ".zarr.zip"
_FORMAT = 2
"""The third has no settled type for texts of one length yet."""

_DATE = (1980, 1, 1, 0, 0, 0)
"""Of everything in the file: the same flows are the same bytes, whenever they are written."""

load = partial(import_extra, extra="zarr", what="stores of flows")


def write_store(flows: Mapping[str, xr.Dataset], attrs: Mapping[str, Any]) -> bytes:
    """The store that holds each of these flows as the group of its name, and `attrs` at its root."""
    memory = load("zarr.storage").MemoryStore()
    load("zarr").open_group(memory, mode="w", zarr_format=_FORMAT, attributes=dict(attrs))
    for name, flow in flows.items():
        flow.drop_encoding().to_zarr(memory, group=name, zarr_format=_FORMAT, consolidated=False)
    load("zarr").consolidate_metadata(memory, zarr_format=_FORMAT)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as file:
        for key, content in sorted(memory._store_dict.items()):
            file.writestr(zipfile.ZipInfo(key, _DATE), content.to_bytes())
    return written.getvalue()


def open_store(path: Path) -> xr.DataTree:
    """The flows of a store, a group for each; their arrays stay in the file until they are asked for."""
    try:
        store = load("zarr.storage").ZipStore(path, mode="r")
        return xr.open_datatree(store, engine="zarr", chunks=None, consolidated=True)
    except FileError:
        raise
    except Exception as error:  # damaged files raise whatever the damaged place leads to
        raise FileError(f"{path}: is damaged or no store of flows ({error}). Run the same command again.") from error
