"""Results as tables for a spreadsheet: of an explanation a row per token, of a flow a row per score."""

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from lignite.results.classes import by_class
from lignite.results.schema import (
    CLASS_AXIS,
    CLASSES,
    COMPARISON,
    EXPLAIN,
    FLOW_COMPARISON,
    REPORT,
    TOKEN_AXIS,
    label_name,
    layout_of,
)

LABELS = ("token", "word", "special", "start", "stop", "segment", "row", "col")


def as_csv(dataset: xr.Dataset) -> bytes:
    """The scores with their tokens; what has no place in a table, such as the request, is left out."""
    kinds = {
        EXPLAIN.kind: _of_tokens,
        CLASSES.kind: _of_classes,
        COMPARISON.kind: _of_rows,
        REPORT.kind: _of_report,
        FLOW_COMPARISON.kind: _of_changes,
    }
    table = kinds.get(layout_of(dataset).kind, _of_scores)(dataset)
    return table.to_csv(index=False).encode(errors="backslashreplace")  # a lone surrogate has no UTF-8


def _of_tokens(dataset: xr.Dataset) -> pd.DataFrame:
    """Position, labels, relevance, and every layer of every map of tokens."""
    columns = {"position": dataset["position"].values}
    columns |= {label: dataset[label].values for label in LABELS if label in dataset.coords}
    for name in EXPLAIN.maps:
        if name not in dataset or TOKEN_AXIS not in dataset[name].dims:
            continue
        if "layer" not in dataset[name].dims:
            columns[name] = dataset[name].values
            continue
        for layer in dataset["layer"].values:
            columns[f"{name}_{layer}"] = dataset[name].sel(layer=layer).values
    return pd.DataFrame(columns)


def _of_classes(dataset: xr.Dataset) -> pd.DataFrame:
    """The table of every class, one below the other, with its name in front."""
    parts = [_of_tokens(one).assign(**{CLASS_AXIS: name}) for name, one in by_class(dataset).items()]
    table = pd.concat(parts, ignore_index=True)
    return table[[CLASS_AXIS, *(name for name in table if name != CLASS_AXIS)]]


def _of_rows(dataset: xr.Dataset) -> pd.DataFrame:
    """A row of a comparison per line: its word, and of every side score, share and difference."""
    columns = {"example": dataset["of_example"].values} if "of_example" in dataset.coords else {}
    columns |= {label: dataset[label].values for label in LABELS if label in dataset.coords}
    for name in COMPARISON.maps:
        if name in dataset:
            for side, values in zip(dataset["side"].values, dataset[name].values, strict=True):
                columns[f"{name}: {side}"] = values
    return pd.DataFrame(columns)


def _of_report(dataset: xr.Dataset) -> pd.DataFrame:
    """A word per line, and of each change whether it is without the word."""
    columns = {label: dataset[label].values for label in LABELS if label in dataset.coords}
    columns |= {name: dataset[name].values for name in REPORT.maps if name in dataset}
    if "gone" in dataset.coords:
        for number, gone in enumerate(dataset["gone"].transpose("change", TOKEN_AXIS).values, start=1):
            columns[f"gone in change {number}"] = gone
    return pd.DataFrame(columns)


def _of_changes(dataset: xr.Dataset) -> pd.DataFrame:
    """What changed in every layer of every side."""
    if "change" not in dataset:
        return _of_scores(dataset)
    wide = dataset["change"].to_dataframe("value").reset_index()
    return wide[["side", "layer", "example", "measure", "value"]]


def _of_scores(dataset: xr.Dataset) -> pd.DataFrame:
    """Every score of every map: where it belongs, from which token, to which, and how much."""
    parts = []
    for name, entry in layout_of(dataset).maps.items():
        if name not in dataset:
            continue
        scores = dataset[name]
        places = np.unravel_index(np.arange(scores.size), scores.shape)
        columns = {"map": np.full(scores.size, name)}
        for dim, place in zip(entry.dims, places, strict=True):
            columns[dim] = dataset[dim].values[place]
            if dim in layout_of(dataset).token_axes:
                columns[f"{dim}_token"] = dataset[label_name(dim, "token")].values[place]
        if f"{name}_source" in dataset:
            columns |= _named(dataset, dataset[f"{name}_source"].values.ravel())
        parts.append(pd.DataFrame(columns | {"score": scores.values.ravel()}))
    order = (
        "map",
        "circuit",
        "layer",
        "head",
        "target",
        "target_token",
        "rank",
        "source",
        "source_token",
        "statistic",
        "score",
    )
    table = pd.concat(parts, ignore_index=True)
    table = table[[name for name in order if name in table]]
    whole = [name for name in ("layer", "head", "target", "rank", "source") if name in table]
    return table.astype(dict.fromkeys(whole, "Int64"))  # a map without heads leaves the column empty, not 1.0


def _named(dataset: xr.Dataset, positions: np.ndarray) -> dict[str, np.ndarray]:
    """Sources that are named by position, with their tokens; where there is none, of no token."""
    there, known = positions >= 0, dataset["source"].values
    places = np.searchsorted(known, np.where(there, positions, known[0]))
    return {"source": positions, "source_token": np.where(there, dataset["source_token"].values[places], "")}
