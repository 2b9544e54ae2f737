"""Save results and read them back unchanged, as NetCDF or as JSON.

NetCDF (`.nc`) is compact and every array tool opens it. JSON (`.json`) is for reading by eye and from other languages:
strict JSON, one innermost row of an array per line, with "NaN", "Infinity" and "-Infinity" as strings. Both keep every
value, name and type; only the width of string arrays, which says nothing, becomes the smallest that fits.
"""

import json
import math
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lignite.errors import FileError, InputError
from lignite.results.schema import validate, without_repeating_index

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


def save(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write a result; the ending of `path` picks the format. A file of that name is replaced in one step, or not."""
    path = Path(path)
    ending = _known_ending(path)
    validate(dataset)
    with _replacing(path) as temporary:
        if ending == ".nc":
            _write_netcdf(dataset, temporary, name=path)
        else:
            _write_json(dataset, temporary, name=path)


def open(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a saved result into memory; the file is closed again."""
    path = Path(path)
    ending = _known_ending(path)
    first_bytes = _first_bytes(path)
    dataset = without_repeating_index(_read_netcdf(path, first_bytes) if ending == ".nc" else _read_json(path))
    try:
        validate(dataset)
    except InputError as error:
        raise FileError(f"{path}: holds no result that lignite understands: {error}") from error
    return dataset


def _known_ending(path: Path) -> str:
    ending = path.suffix.lower()
    if ending not in (".nc", ".json"):
        raise FileError(f"{path}: unknown ending {ending!r}; results are saved as .nc or .json. Rename the file.")
    return ending


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a name beside `path`; what was written there takes its place on success and vanishes on failure."""
    temporary: Path | None = None
    try:
        place = path.resolve()  # a link keeps pointing to the file that is replaced
        if place.is_dir():
            raise FileError(f"{path}: is a folder, expected a file name. Name a file in it.")
        if not place.parent.is_dir():
            raise FileError(f"{path}: there is no folder {place.parent}. Create it first.")
        if place.exists() and not _may_write(place):  # replacing would override the protection
            raise FileError(f"{path}: is write-protected. Change its rights or choose another name.")
        temporary = place.with_name(f".lignite-{secrets.token_hex(8)}.part")
        yield temporary
        temporary.replace(place)
    except PermissionError as error:
        raise FileError(f"{path}: no permission to write there. Choose another folder.") from error
    except (OSError, RuntimeError) as error:
        raise FileError(f"{path}: cannot be written ({error}). Check the path and the space on the disk.") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            first_bytes = file.read(len(_HDF5_SIGNATURE))
    except FileNotFoundError as error:
        raise FileError(f"{path}: no such file. Check the path.") from error
    except IsADirectoryError as error:
        raise FileError(f"{path}: is a folder, expected a file. Name the file in it.") from error
    except PermissionError as error:
        raise FileError(f"{path}: no permission to read it. Change its rights or copy it.") from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error}). Check the path and the disk.") from error
    if not first_bytes:
        raise FileError(f"{path}: is empty. Save the result again.")
    return first_bytes


def _write_netcdf(dataset: xr.Dataset, temporary: Path, *, name: Path) -> None:
    # A fill value would mark numbers as missing that are none; stale encodings of an opened file could contradict it.
    encoding = {variable: {**_COMPRESSION, "_FillValue": None} for variable in dataset.data_vars}
    try:
        dataset.drop_encoding().to_netcdf(temporary, engine="h5netcdf", encoding=encoding)
    except (ValueError, TypeError) as error:  # NUL characters and lone surrogates have no place in NetCDF strings
        raise FileError(f"{name}: NetCDF cannot hold this result ({error}). Save it as .json.") from error


def _read_netcdf(path: Path, first_bytes: bytes) -> xr.Dataset:
    if first_bytes != _HDF5_SIGNATURE:
        raise FileError(f"{path}: is no NetCDF 4 file. If it is JSON, rename it to .json; else save the result again.")
    try:
        dataset = xr.load_dataset(path, engine="h5netcdf", decode_times=False)
    except Exception as error:  # damaged files raise whatever the damaged place leads to
        raise FileError(f"{path}: is damaged or no result ({error}). Save the result again.") from error
    dataset = dataset.drop_encoding()
    dataset.attrs = _plain_numbers(dataset.attrs)
    for variable in dataset.variables.values():
        variable.attrs = _plain_numbers(variable.attrs)
    return dataset


def _plain_numbers(attrs: dict[Any, Any]) -> dict[Any, Any]:
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in attrs.items()}


def _write_json(dataset: xr.Dataset, temporary: Path, *, name: Path) -> None:
    sections = {"coords": dataset.coords, "variables": dataset.data_vars}
    try:
        body = ",\n".join(
            f'"{section}": {{\n'
            + ",\n".join(f" {_text(str(key))}: {_array_text(array)}" for key, array in arrays.items())
            + "\n}"
            for section, arrays in sections.items()
        )
    except ValueError as error:
        raise FileError(f"{name}: JSON cannot hold this result ({error}). Save it as .nc.") from error
    head = f'"format": {_text(JSON_FORMAT)},\n"version": {JSON_VERSION},\n"attrs": {_attrs_text(dataset.attrs)}'
    # A lone surrogate has no UTF-8, but its backslash form is its JSON form.
    temporary.write_bytes(f"{{\n{head},\n{body}\n}}\n".encode(errors="backslashreplace"))


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _attrs_text(attrs: dict[Any, Any]) -> str:
    lines = (f" {_text(str(key))}: {_text(_attribute(value))}" for key, value in attrs.items())
    return "{\n" + ",\n".join(lines) + "\n}" if attrs else "{}"


def _attribute(value: object) -> object:
    """A number that JSON does not know is wrapped, so that it differs from a text that reads the same."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": _float_text(value)}
    return value


def _float_text(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _array_text(array: xr.DataArray) -> str:
    dtype = "str" if array.dtype.kind == "U" else array.dtype.name
    if dtype not in _ELEMENT_TYPES:
        raise ValueError(f"{array.name!r} holds {array.dtype}")
    fields = {"dims": list(array.dims), "shape": list(array.shape), "dtype": dtype}
    head = ", ".join(f"{_text(key)}: {_text(value)}" for key, value in fields.items())
    attrs = _text({str(key): _attribute(value) for key, value in array.attrs.items()})
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
    elements[:] = [value if math.isfinite(value) else _float_text(value) for value in numbers.ravel().tolist()]
    return elements.reshape(values.shape).tolist()


def _read_json(path: Path) -> xr.Dataset:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: is no complete JSON ({error}). Save the result again.") from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error}). Check the path and the disk.") from error
    if not isinstance(content, dict) or content.get("format") != JSON_FORMAT:
        raise FileError(f"{path}: is JSON, but no result saved by lignite. Choose a file that lignite wrote.")
    if content.get("version") != JSON_VERSION:
        raise FileError(
            f"{path}: has layout version {content.get('version')!r}, this lignite reads {JSON_VERSION}. Update lignite."
        )
    try:
        return xr.Dataset(
            {name: _variable(entry) for name, entry in content["variables"].items()},
            {name: _variable(entry) for name, entry in content["coords"].items()},
            _attrs(content["attrs"]),
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
    return xr.Variable(entry["dims"], values, _attrs(entry["attrs"]))


def _flat(values: Any, depth: int) -> list[Any]:
    flat = [values]
    for _ in range(depth):
        flat = [element for row in flat for element in row]
    return flat


def _attrs(attrs: dict[str, Any]) -> dict[str, Any]:
    return {name: float(value["float"]) if isinstance(value, dict) else value for name, value in attrs.items()}
