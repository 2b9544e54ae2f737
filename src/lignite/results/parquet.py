"""Explanations as tables: one of examples, one of their tokens, in Parquet, and back to the Datasets that they were.

A variable keeps its name. What lies along the tokens of an explanation is a column of the table of tokens, a row for
each; all else is a column of the table of examples. Other axes are lists within a cell, in the order of the layout.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import xarray as xr

from lignite.late import import_extra
from lignite.results.build import build_explanation
from lignite.results.certificate import certificates, largest_gap
from lignite.results.schema import EXPLAIN, OPTIONAL_LABELS, PICTURE, TOKEN_AXIS, TOKEN_LABELS

EXAMPLES, TOKENS = "examples", "tokens"
"""Names of the tables."""

ALONG_TOKENS = (TOKEN_AXIS, "target")
"""Axes that are rows of the table of tokens: those that receive are the tokens themselves."""

_ABOUT = ("text", "prediction", "value")
"""Attributes with a column of their own; the others, mostly the same for all, share one."""

_KINDS = {"U": "string", "i": "int64", "b": "bool_"}

load = partial(import_extra, extra="parquet", what="tables of explanations")


@dataclass(frozen=True)
class Explained:
    """What came of one row of a corpus: a result, or the reason why there is none; and the tags of its words."""

    number: int
    id: str
    text: str
    result: xr.Dataset | None
    failure: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Variable:
    """A variable as it is kept: its type, and which of its axes are lists in a cell."""

    name: str
    dtype: str

    @property
    def by_token(self) -> bool:
        return any(dim in ALONG_TOKENS for dim in self.dims)

    @property
    def dims(self) -> tuple[str, ...]:
        return EXPLAIN.variables[self.name]

    @property
    def inner(self) -> tuple[str, ...]:
        """Axes that a cell holds; a picture is one text of bytes."""
        return tuple(dim for dim in self.dims if dim not in ALONG_TOKENS)


def variables_of(result: xr.Dataset) -> dict[str, str]:
    """The type of every variable: every shard of a corpus has columns for those of its first explanation."""
    return {name: result[name].dtype.name for name in EXPLAIN.variables if name in result}


def labels_of(result: xr.Dataset) -> list[str]:
    """What is known of its tokens."""
    return [name for name in TOKEN_LABELS if name in result.coords]


def write_tables(some: Sequence[Explained], like: xr.Dataset) -> dict[str, bytes]:
    """The two tables of some explanations, by name; with the columns of `like`, and of what one has beside them."""
    kept: dict[str, str] = {}
    labels: list[str] = []
    for result in (like, *(one.result for one in some if one.result is not None)):
        kept = {**variables_of(result), **kept}
        labels += [name for name in labels_of(result) if name not in labels]
    variables = [Variable(name, kept[name]) for name in EXPLAIN.variables if name in kept]
    return {
        EXAMPLES: as_parquet(_examples(some, [each for each in variables if not each.by_token])),
        TOKENS: as_parquet(_tokens(some, [each for each in variables if each.by_token], labels)),
    }


Columns = dict[str, tuple[Any, list[Any]]]
"""Type and cells of every column."""


def as_parquet(columns: Columns) -> bytes:
    arrow = load("pyarrow")
    table = arrow.table({name: arrow.array(cells, kind) for name, (kind, cells) in columns.items()})
    sink = arrow.BufferOutputStream()
    load("pyarrow.parquet").write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def _kind(variable: Variable) -> Any:
    arrow = load("pyarrow")
    if variable.name == PICTURE:
        return arrow.binary()
    kind = arrow.from_numpy_dtype(np.dtype(variable.dtype))
    for _ in variable.inner:
        kind = arrow.list_(kind)
    return kind


def _examples(some: Sequence[Explained], variables: Sequence[Variable]) -> Columns:
    arrow = load("pyarrow")
    found = [_facts(one) for one in some]
    text, number, flag = arrow.string(), arrow.float64(), arrow.bool_()
    kinds = {
        "example": arrow.int64(), "id": text, "text": text, "target": text, "prediction": text,
        "probability_of_prediction": number, "value": number, "start_value": number, "largest_gap": number,
        "within_tolerance": flag, "failure": text,
    }  # fmt: skip
    columns: Columns = {name: (kind, [facts.get(name) for facts in found]) for name, kind in kinds.items()}
    for each in variables:
        columns[each.name] = (_kind(each), [_cell(one.result, each) for one in some])
        if each.name == PICTURE:
            shapes = [None if one.result is None else list(one.result[PICTURE].shape) for one in some]
            columns[f"{PICTURE}_shape"] = (arrow.list_(arrow.int64()), shapes)
    columns["class"] = (arrow.list_(text), [_classes(one.result) for one in some])
    columns["attrs"] = (text, [facts.get("attrs") for facts in found])
    return columns


def _facts(one: Explained) -> dict[str, Any]:
    """What is asked of an explanation first, as cells of its row."""
    known = {"example": one.number, "id": plain(one.id), "text": plain(one.text), "failure": one.failure or None}
    if one.result is None:
        return known
    result, attrs = one.result, one.result.attrs
    moved = next(
        (result[name].values.flat[0] for name in ("total_displacement", "displacement") if name in result), None
    )
    gap = largest_gap(result)
    return known | {
        "target": json.loads(attrs["target"])["name"],
        "prediction": attrs["prediction"],
        "probability_of_prediction": float(result["probability"].max()) if "probability" in result else None,
        "text": attrs["text"],
        "value": attrs["value"],
        "start_value": None if moved is None else attrs["value"] - float(moved),
        "largest_gap": None if np.isnan(gap) else gap,
        "within_tolerance": all(each.kept for each in certificates(result)),
        "attrs": json.dumps({name: value for name, value in attrs.items() if name not in _ABOUT}),
    }


def plain(text: str) -> str:
    """What a row was called, whatever was in it: half of a pair of surrogates has no UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def _classes(result: xr.Dataset | None) -> list[str] | None:
    return None if result is None or "class" not in result.coords else result["class"].values.tolist()


def _cell(result: xr.Dataset | None, variable: Variable) -> Any:
    if result is None or variable.name not in result:
        return None
    values = result[variable.name].values
    return values.tobytes() if variable.name == PICTURE else values.tolist()


def _tokens(some: Sequence[Explained], variables: Sequence[Variable], labels: Sequence[str]) -> Columns:
    arrow = load("pyarrow")
    explained = [(one.number, one.result) for one in some if one.result is not None]
    numbers = [number for number, result in explained for _ in range(result.sizes[TOKEN_AXIS])]
    columns: Columns = {"example": (arrow.int64(), numbers)}
    for name in ("position", *labels):
        kind = getattr(arrow, _KINDS[TOKEN_LABELS.get(name, "i")])()
        columns[name] = (kind, [cell for _, result in explained for cell in _label(result, name)])
    for each in variables:
        columns[each.name] = (_kind(each), [cell for _, result in explained for cell in _by_token(result, each)])
    return columns


def _label(result: xr.Dataset, name: str) -> list[Any]:
    return result[name].values.tolist() if name in result.coords else [None] * result.sizes[TOKEN_AXIS]


def _by_token(result: xr.Dataset, variable: Variable) -> list[Any]:
    """A cell for each token, all others of its axes within."""
    if variable.name not in result:
        return [None] * result.sizes[TOKEN_AXIS]
    (along,) = (dim for dim in variable.dims if dim in ALONG_TOKENS)
    return result[variable.name].transpose(along, *variable.inner).values.tolist()


# Back


def read_explanation(example: Mapping[str, Any], tokens: Any, types: Mapping[str, str]) -> xr.Dataset:
    """The explanation that stands in these rows.

    Parameters
    ----------
    example
        Its row of the table of examples, as `pyarrow` gives it to Python.
    tokens
        Its rows of the other one, as a table.
    types
        Of the variables, by name (`types_of`).
    """
    columns = {name: column.to_pylist() for name, column in zip(tokens.column_names, tokens.columns, strict=True)}
    variables = {}
    for name, dtype in types.items():
        values = _values(Variable(name, dtype), example, columns)
        if values is not None:
            variables[name] = values
    labels = {name: tuple(columns[name]) for name in ("position", *TOKEN_LABELS) if name in columns}
    known = {name: values for name, values in labels.items() if None not in values}
    labelled: Any = SimpleNamespace(**{**dict.fromkeys(OPTIONAL_LABELS), **known, "text": known[TOKEN_AXIS]})
    return build_explanation(
        tokens=labelled,
        variables=variables,
        classes=example["class"],
        attrs={**json.loads(example["attrs"]), **{name: example[name] for name in _ABOUT}},
    )


def _values(variable: Variable, example: Mapping[str, Any], columns: Mapping[str, list[Any]]) -> np.ndarray | None:
    cells: Any = columns[variable.name] if variable.by_token else example[variable.name]
    if cells is None or (variable.by_token and cells[0] is None):
        return None
    if variable.name == PICTURE:
        return np.frombuffer(cells, dtype=np.uint8).reshape(example[f"{PICTURE}_shape"]).copy()
    values = np.asarray(cells, dtype=variable.dtype)
    if not variable.by_token:
        return values
    (along,) = (place for place, dim in enumerate(variable.dims) if dim in ALONG_TOKENS)
    return np.moveaxis(values, 0, along)


def types_of(schema: Any) -> dict[str, str]:
    """The variables that a table of this schema has, with their types."""
    found = {}
    for name in EXPLAIN.variables:
        if name in schema.names:
            kind = schema.field(name).type
            while hasattr(kind, "value_type"):
                kind = kind.value_type
            found[name] = "uint8" if name == PICTURE else np.dtype(kind.to_pandas_dtype()).name
    return found
