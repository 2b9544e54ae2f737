"""Save results and read them back unchanged, as NetCDF or as JSON; or as what people look at.

NetCDF (`.nc`) is compact and every array tool opens it. JSON (`.json`) is for reading by eye and from other languages:
strict JSON, one innermost row of an array per line, with "NaN", "Infinity" and "-Infinity" as strings. Both keep every
value, name and type; only the width of string arrays, which says nothing, becomes the smallest that fits.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import xarray as xr

from lignite.calls import public
from lignite.errors import FileError, InputError, OptionError
from lignite.files import (
    as_json,
    check_file,
    check_place,
    float_name,
    from_json,
    is_folder,
    open_file,
    read_saved,
    write_whole,
)
from lignite.late import find_late
from lignite.results.evaluation import FORMAT, VERSION, Evaluation
from lignite.results.folder import open_folder
from lignite.results.schema import validate, without_repeating_index
from lignite.results.table import as_csv

DATA = (".nc", ".json", ".csv")
WRITTEN = (*DATA, ".html", ".png", ".svg", ".pdf")

JSON_FORMAT = "lignite result"
JSON_VERSION = 1

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_COMPRESSION = {"zlib": True, "complevel": 4, "shuffle": True}
_ELEMENT_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    **dict.fromkeys(("uint8", "int8", "int16", "int32", "int64"), (int,)),
    **dict.fromkeys(("float16", "float32", "float64"), (float, int, str)),
}


@public
def save(
    dataset: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    tokens: bool = False,
    special: str | None = None,
    smooth: bool = False,
    map: str | None = None,
    head: int | None = None,
) -> None:
    """Write a result; the ending of `path` picks the format. A file of that name is replaced in one step, or not.

    `.nc` and `.json` keep everything, `.csv` is a table for a spreadsheet; `.html` is a page to explore, `.png`, `.svg`
    and `.pdf` are pictures. Pages and pictures show words unless `tokens` asks for their pieces; `special` tokens are
    shown (the default), ranked with the others (``"rank"``), hidden (``"hide"``) or, of an explanation, shared among
    the others (``"share"``). `smooth` mixes the colours of an image's patches; `map` and `head` choose what a picture
    of a flow shows.
    """
    path = Path(path)
    ending = _known_ending(path, WRITTEN)
    validate(dataset)
    look = {"tokens": tokens, "special": special, "smooth": smooth, "map": map, "head": head}
    if ending not in DATA:
        find_late("lignite.views.files.write_view")(dataset, path, **look)
        return
    for name, value in look.items():
        if value is not None and value is not False:
            raise OptionError(f"{name}={value!r} is how pages and pictures look; {ending} keeps all. Leave it out.")
    check_place(path)
    write_whole(path, as_netcdf(dataset, path) if ending == ".nc" else _text_of(dataset, path, ending))


@public
def open(path: str | os.PathLike[str]) -> Any:
    """Read a saved result into memory; the file is closed again.

    An explanation and a flow are an `xarray.Dataset`, the `.json` of an evaluation is an `Evaluation`. Of the folder of
    a run (`lignite.run`) explanations come as `Explanations`, a list of Datasets that is read as it is
    asked, with tables of all; flows as an `xarray.DataTree`, with a group for each, whose arrays are read when they
    are asked for.
    """
    path = Path(path)
    if is_folder(path):
        return open_folder(path)
    if not path.suffix:
        check_file(path)  # more likely a folder that is missing than a file of no kind
    if _known_ending(path, (".nc", ".json")) == ".nc":
        dataset = _read_netcdf(path)
    else:
        content = read_saved(path, {JSON_FORMAT: JSON_VERSION, FORMAT: VERSION}, noun="result")
        if content["format"] == FORMAT:
            return Evaluation.of_json(content, path)
        dataset = _of_json(content, path)
    dataset = without_repeating_index(dataset)
    try:
        validate(dataset)
    except InputError as error:
        raise FileError(f"{path}: holds no result that lignite understands: {error}") from error
    return dataset


def _text_of(dataset: xr.Dataset, path: Path, ending: str) -> bytes:
    return as_csv(dataset) if ending == ".csv" else _json(dataset, path)


def _known_ending(path: Path, known: tuple[str, ...]) -> str:
    ending = path.suffix.lower()
    if ending not in known:
        what = "results are read from" if len(known) == 2 else "results are saved as"
        raise FileError(f"{path}: unknown ending {ending!r}; {what} {', '.join(known)}. Choose one of them.")
    return ending


def as_netcdf(dataset: xr.Dataset, path: Path) -> memoryview:
    # A fill value would mark numbers as missing that are none; stale encodings of an opened file could contradict it.
    encoding = {variable: {**_COMPRESSION, "_FillValue": None} for variable in dataset.data_vars}
    try:
        # In memory: HDF5 ends the whole process where a disk is full.
        return dataset.drop_encoding().to_netcdf(None, engine="h5netcdf", encoding=encoding)
    except (ValueError, TypeError) as error:  # NUL characters and lone surrogates have no place in NetCDF strings
        raise FileError(f"{path}: NetCDF cannot hold this result ({error}). Save it as .json.") from error


def _read_netcdf(path: Path) -> xr.Dataset:
    with open_file(path, most=None) as file:
        first_bytes = file.read(len(_HDF5_SIGNATURE))
    if not first_bytes:
        raise FileError(f"{path}: is empty. Save the result again.")
    if first_bytes != _HDF5_SIGNATURE:
        raise FileError(f"{path}: is no NetCDF 4 file. If it is JSON, rename it to .json; else save the result again.")
    try:
        with xr.open_dataset(path, engine="h5netcdf", decode_times=False) as lazy:
            _check_size(path, lazy)
            dataset = lazy.load()
    except FileError:
        raise
    except Exception as error:  # damaged files raise whatever the damaged place leads to
        raise FileError(f"{path}: is damaged or no result ({error}). Save the result again.") from error
    dataset = dataset.drop_encoding()
    dataset.attrs = _plain_numbers(dataset.attrs)
    for variable in dataset.variables.values():
        variable.attrs = _plain_numbers(variable.attrs)
    return dataset


def _check_size(path: Path, lazy: xr.Dataset) -> None:
    """Refuse what would fill the memory: a small file may declare arrays of any size."""
    wanted, free = lazy.nbytes, psutil.virtual_memory().available
    if wanted > free:
        raise FileError(
            f"{path}: its arrays take {wanted / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB of memory are free. "
            "Open it on a larger machine, if it is a result."
        )


def _plain_numbers(attrs: dict[Any, Any]) -> dict[Any, Any]:
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in attrs.items()}


def _json(dataset: xr.Dataset, path: Path) -> bytes:
    sections = {"coords": dataset.coords, "variables": dataset.data_vars}
    try:
        body = ",\n".join(
            f'"{section}": {{\n'
            + ",\n".join(f" {_text(str(key))}: {_array_text(array)}" for key, array in arrays.items())
            + "\n}"
            for section, arrays in sections.items()
        )
    except ValueError as error:
        raise FileError(f"{path}: JSON cannot hold this result ({error}). Save it as .nc.") from error
    head = f'"format": {_text(JSON_FORMAT)},\n"version": {JSON_VERSION},\n"attrs": {_attrs_text(dataset.attrs)}'
    # A lone surrogate has no UTF-8, but its backslash form is its JSON form.
    return f"{{\n{head},\n{body}\n}}\n".encode(errors="backslashreplace")


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _attrs_text(attrs: dict[Any, Any]) -> str:
    lines = (f" {_text(str(key))}: {_text(as_json(value))}" for key, value in attrs.items())
    return "{\n" + ",\n".join(lines) + "\n}" if attrs else "{}"


def _array_text(array: xr.DataArray) -> str:
    dtype = "str" if array.dtype.kind == "U" else array.dtype.name
    if dtype not in _ELEMENT_TYPES:
        raise ValueError(f"{array.name!r} holds {array.dtype}")
    fields = {"dims": list(array.dims), "shape": list(array.shape), "dtype": dtype}
    head = ", ".join(f"{_text(key)}: {_text(value)}" for key, value in fields.items())
    attrs = _text({str(key): as_json(value) for key, value in array.attrs.items()})
    return f'{{{head}, "attrs": {attrs}, "data":\n  {_rows_text(_elements(array.values), indent=3)}}}'


def _rows_text(values: Any, *, indent: int) -> str:
    if not isinstance(values, list) or not values or not isinstance(values[0], list):
        return _text(values)
    return "[" + (",\n" + " " * indent).join(_rows_text(row, indent=indent + 1) for row in values) + "]"


def _elements(values: np.ndarray) -> Any:
    """Nested lists of what JSON can hold, as short as is lossless."""
    if values.dtype.kind != "f":
        return values.tolist()
    shortest = values.astype(np.str_).astype(np.float64)  # as a float32, 0.1 needs no 0.10000000149011612
    exact = values.astype(np.float64)
    numbers = np.where(shortest.astype(values.dtype) == values, shortest, exact)
    elements = np.empty(values.size, dtype=object)
    elements[:] = [value if math.isfinite(value) else float_name(value) for value in numbers.ravel().tolist()]
    return elements.reshape(values.shape).tolist()


def _of_json(content: Mapping[str, Any], path: Path) -> xr.Dataset:
    try:
        return xr.Dataset(
            {name: _variable(entry) for name, entry in content["variables"].items()},
            {name: _variable(entry) for name, entry in content["coords"].items()},
            from_json(content["attrs"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise FileError(f"{path}: is damaged ({error}). Save the result again.") from error


def _variable(entry: dict[str, Any]) -> xr.Variable:
    dtype, allowed = entry["dtype"], _ELEMENT_TYPES[entry["dtype"]]
    elements = _flat(entry["data"], len(entry["shape"]))
    for element in elements:
        if type(element) not in allowed:  # numpy would round, cast or parse it without a word
            raise ValueError(f"{element!r} among values of type {dtype}")
    values = np.array(elements, dtype=np.str_ if dtype == "str" else dtype).reshape(entry["shape"])
    return xr.Variable(entry["dims"], values, from_json(entry["attrs"]))


def _flat(values: Any, depth: int) -> list[Any]:
    flat = [values]
    for _ in range(depth):
        flat = [element for row in flat for element in row]
    return flat
