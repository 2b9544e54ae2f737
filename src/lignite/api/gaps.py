"""What the certificate of an explanation says is missed, in words, and what helps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from lignite.methods import Method
from lignite.methods.method import FromBaseline, Integrated
from lignite.results.certificate import Certificate, certificates

ROUNDINGS = 256
"""A gap of fewer roundings of the prediction is what its precision leaves; more nodes do not close it."""


@dataclass(frozen=True)
class Missed:
    """Where scores miss more than they may, in words, and whether it is rounding that they miss."""

    where: str
    rounded: bool

    def __str__(self) -> str:
        return self.where


PLACES = {"": "layers", "output_": "the states that leave the last layer", "relevance_flow_": "layers"}
"""How a warning names the places of a sum, by how its variables begin."""


def missed_in(result: xr.Dataset) -> list[Missed]:
    """What the certificate of a result says is missed, a line for each of its sums."""
    missed = [each for each in certificates(result) if not each.kept]
    text = str(result.attrs.get("text", ""))
    shown = repr(text[:40] + ("…" if len(text) > 40 else ""))
    return [Missed(f"{shown}{_places(result, each)}", _is_rounding(result, each)) for each in missed]


def _places(result: xr.Dataset, found: Certificate) -> str:
    if found.prefix not in PLACES:
        return ""
    wide = ~found.within
    if "layer" not in wide.dims:
        return f" at {PLACES[found.prefix]}"
    layers = wide.any([dim for dim in wide.dims if dim != "layer"])
    numbers = ", ".join(str(layer) for layer in result["layer"].values[layers.values])
    what = ", handed on between tokens," if found.prefix == "relevance_flow_" else ""
    return f"{what} at {PLACES[found.prefix]} {numbers}"


def _is_rounding(result: xr.Dataset, found: Certificate) -> bool:
    gap, value = result[f"{found.prefix}gap"], float(result.attrs["value"])
    moved = result["displacement" if found.prefix == "relevance_flow_" else f"{found.prefix}displacement"]
    scale = max(abs(value), float(abs(value - moved).max()))
    return bool((abs(gap.where(~found.within, 0)) <= ROUNDINGS * np.finfo(gap.dtype).eps * scale).all())


def gap_message(missed: Sequence[Missed], method: Method) -> str:
    """The warning that names what is missed."""
    shown = "; ".join(map(str, missed[:5])) + (f"; and {len(missed) - 5} more" if len(missed) > 5 else "")
    tol = f"{method.tol:g}" if isinstance(method, Integrated) else "allowed"
    return f"Scores miss more than {tol} of their displacement for {shown}. {remedy(missed, method)}"


def remedy(missed: Sequence[Missed], method: Method) -> str:
    """What to change, so that less is missed."""
    if all(each.rounded for each in missed):
        return "What is missed is the rounding of the model's numbers: load it with dtype='float64', or raise tol."
    if not isinstance(method, Integrated):
        return "The method has no precision of its own that could be raised: read these scores with their gap."
    if method.n_steps:
        return f"Raise n_steps above {method.n_steps}, or leave it out to let nodes be added where they are needed."
    if isinstance(method, FromBaseline) and set(method.baselines) & {"zero", "mean"}:
        return (
            f"Raise max_steps above {method.max_steps}, or start where the model has been: paths from no token's "
            "states turn sharply at every norm, those from baseline='mask', 'pad' or another token do not."
        )
    return f"Raise max_steps above {method.max_steps}; paths from baseline='mask' are the smoothest."
