"""Flows side by side: as shares of what a target receives, with rank correlations, and the heads that changed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from lignite.errors import GridError, OptionError
from lignite.metrics.readings.agreement import agree
from lignite.metrics.readings.alignment import AlignedRow
from lignite.metrics.readings.changes import larger, moved
from lignite.metrics.readings.comparison import How, intervals
from lignite.results.kept import check_every_source
from lignite.results.schema import FLOW, FLOW_COMPARISON, along

COMPARED = ("whole", "composed", "attention")
MEASURES = ("spearman", "changed", "larger", "reweighed")
"""Of a layer: rank correlation of the scores between different tokens; share of a target's flow that goes elsewhere;
how much further targets move (logarithm, base 2); share of the heads' part that others have."""


def compare_flows(
    examples: Sequence[Sequence[xr.Dataset]],
    names: Sequence[str],
    rows: Sequence[Sequence[AlignedRow]],
    map: str,
    how: How,
) -> xr.Dataset:
    """Compare flows, one of each side for every example, on the rows that `align` found along their sources."""
    _check(examples, map)
    merged = [
        [_on_rows(side, some, at) for at, side in enumerate(sides)] for sides, some in zip(examples, rows, strict=True)
    ]
    measured = np.stack([_measured(sides, map, how.reference) for sides in merged], axis=-1)
    layers = examples[0][0]["layer"].values
    variables: dict[str, Any] = {
        "change": (FLOW_COMPARISON.variables["change"], measured),
        **intervals(measured, "change", FLOW_COMPARISON.others["change_mean"], how),
    }
    coords: dict[str, Any] = {
        "side": list(names),
        "measure": list(MEASURES),
        "layer": layers,
        "example": np.arange(len(examples)),
        "text": (("side", "example"), _texts(examples)),
    }
    if heads := _heads(merged, how.reference):
        variables["head_change"] = (FLOW_COMPARISON.variables["head_change"], heads[0])
        coords["head"] = heads[1]
    if len(examples) == 1:
        share = np.stack([_shares(side, map) for side in merged[0]])
        dims = FLOW_COMPARISON.variables["share"]
        variables |= {"share": (dims, share), "difference": (dims, share - share[how.reference])}
        labels = _labels(rows[0])
        coords |= along("source", labels) | along("target", labels)
        coords |= {"source": np.arange(len(rows[0])), "target": np.arange(len(rows[0]))}
    attrs = {"kind": FLOW_COMPARISON.kind, "confidence": how.confidence, "seed": how.seed,
             "reference": names[how.reference]}  # fmt: skip
    return xr.Dataset(variables, coords, attrs)


def _check(examples: Sequence[Sequence[xr.Dataset]], map: str) -> None:
    for sides in examples:
        for side in sides:
            check_every_source(side, "a comparison shows")
            if map not in COMPARED or map not in side:
                present = [name for name in COMPARED if name in side]
                raise OptionError(
                    f"map={map!r}: a flow here has {', '.join(present) or 'none'}; choose one they share."
                )
            if side.sizes["target"] != side.sizes["source"]:
                raise GridError("flows are compared where every token is a target: compute them with targets=None.")
            if not np.array_equal(side["layer"].values, examples[0][0]["layer"].values):
                raise GridError(
                    f"the flows have other layers ({_listed(examples[0][0])} and {_listed(side)}): compare models of "
                    "one depth, or choose layers that both have with layers=."
                )


def _listed(side: xr.Dataset) -> str:
    return ", ".join(map(str, side["layer"].values.tolist()))


def _on_rows(side: xr.Dataset, rows: Sequence[AlignedRow], number: int) -> xr.Dataset:
    """A flow on the common rows: as a source a row gives what its tokens give, as a target it receives their sum."""
    gather = np.zeros((len(rows), side.sizes["source"]))
    for at, row in enumerate(rows):
        if not row.places[number]:
            raise GridError(
                f"{row.label!r} is a word of some texts alone: a flow has a place for every pair of words, so compare "
                "flows of texts that differ in words, not in their number."
            )
        gather[at, list(row.places[number])] = 1
    found: dict[str, Any] = {}
    for name in ("whole", "composed", "attention", "mlp", "whole_displacement", "composed_displacement"):
        if name not in side:
            continue
        values, dims = side[name].values.astype(np.float64), FLOW.variables[name]
        for axis in ("target", "source"):
            if axis in dims:
                values = np.moveaxis(np.tensordot(gather, values, (1, dims.index(axis))), 0, dims.index(axis))
        found[name] = (dims, values)
    return xr.Dataset(found)


def _shares(side: xr.Dataset, map: str) -> Float[np.ndarray, "layer target source"]:
    """Scores divided by the sum of magnitudes that their target receives; heads added up."""
    scores = side[map].sum("head") if "head" in side[map].dims else side[map]
    values = scores.transpose("layer", "target", "source").values
    total = np.abs(values).sum(-1, keepdims=True)
    return np.divide(values, total, out=np.zeros_like(values), where=total > 0)


def _measured(sides: Sequence[xr.Dataset], map: str, reference: int) -> Float[np.ndarray, "measure side layer"]:
    """Every side beside the reference."""
    others = ~np.eye(sides[0].sizes["target"], dtype=bool)
    beside = sides[reference]
    found = []
    for side in sides:
        pairs = zip(_shares(beside, map), _shares(side, map), strict=True)
        layers = side.sizes["layer"]
        changed = moved(beside, side, map)
        found.append(
            [
                [agree(first, second, others)["spearman"] for first, second in pairs],
                changed.mean(-1) if changed.ndim > 1 else changed,
                larger(beside, side, map) if f"{map}_displacement" in side else np.full(layers, np.nan),
                moved(beside, side, "mlp") if _same_heads(beside, side, "mlp") else np.full(layers, np.nan),
            ]
        )
    return np.array(found).transpose(1, 0, 2)


def _same_heads(one: xr.Dataset, other: xr.Dataset, map: str) -> bool:
    return map in one and map in other and one[map].sizes["head"] == other[map].sizes["head"]


def _heads(
    merged: Sequence[Sequence[xr.Dataset]], reference: int
) -> tuple[Float[np.ndarray, "side layer head example"], np.ndarray] | None:
    """How much of each head's flow comes from elsewhere, where all sides have the same heads."""
    if not all(_same_heads(sides[reference], side, "attention") for sides in merged for side in sides):
        return None
    found = np.stack(
        [np.stack([moved(sides[reference], side, "attention") for side in sides]) for sides in merged], axis=-1
    )
    return found, np.arange(found.shape[2])


def _texts(examples: Sequence[Sequence[xr.Dataset]]) -> np.ndarray:
    return np.array(
        [[str(sides[at].attrs.get("text", "")) for sides in examples] for at in range(len(examples[0]))], dtype=np.str_
    )


def _labels(rows: Sequence[AlignedRow]) -> dict[str, np.ndarray]:
    return {
        "token": np.array([row.label for row in rows], dtype=np.str_),
        "word": np.array([-1 if row.special else at for at, row in enumerate(rows)]),
        "special": np.array([row.special for row in rows]),
        "start": np.array([row.spans[0][0] for row in rows]),
        "stop": np.array([row.spans[0][1] for row in rows]),
    }
