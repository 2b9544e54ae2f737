"""Flow as a picture of nodes and lines: tokens stand below each other, layers side by side."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from lignite.results.schema import FLOW, layout_of
from lignite.views.flow.facts import reader_of
from lignite.views.palette import sign_colour

EDGES = 40
"""Lines of each layer, unless somebody asks for more."""

MANY = 40
"""Tokens, beyond which those without a line are left out."""

SEEN = 0.01
"""Lines thinner than this part of the thickest are not drawn."""

INK = "#1d1f23"


def has_ways(dataset: xr.Dataset, map: str) -> bool:
    """Whether a map of a flow leads through all layers: from token to token, without a hole."""
    square = {"source", "target"} <= set(dataset.dims) and dataset.sizes["target"] == dataset.sizes["source"]
    return square and map in ("whole", "composed") and bool((np.diff(dataset.layer.values) == 1).all())


def trace_reader(dataset: xr.Dataset, map: str) -> Float[np.ndarray, "layer target source"]:
    """What the token from which the answer is read holds after the last layer, followed back to where it came from.

    Every layer's scores are shares of what their target receives, as in `chain`, times what of that target ends in the
    reader: a line is what passes through it, and the lines into a level add up to what it holds.
    """
    held = np.zeros(dataset.sizes["target"])
    held[reader_of(dataset)] = 1.0
    passed: list[np.ndarray] = []
    for layer in dataset.layer.values[::-1]:
        shares = dataset.sel(layer=[layer]).lignite.chain(map).values.astype(np.float64)
        passed.append(held[:, None] * shares)
        held = passed[-1].sum(0)
    return np.stack(passed[::-1])


def told_of(dataset: xr.Dataset, *, traced: bool) -> str:
    """What the lines of a graph are, in a line of words."""
    if traced:
        reader = str(dataset.target_token.values[reader_of(dataset)])
        return f"what {reader} holds after the last layer, and from where: orange adds, blue takes away"
    if layout_of(dataset) is FLOW:
        return "the strongest scores of a layer: orange moves on, blue holds back"
    return "where relevance goes: orange speaks for, blue against"


def draw_graph(
    axes: Axes,
    scores: Float[np.ndarray, "layer target source"],
    labels: Sequence[str],
    levels: Sequence[str],
    *,
    k: int = EDGES,
    points: float = 6.5,
) -> None:
    """Draw of every layer the `k` strongest scores as lines, thick as they are large, in the colour of their sign."""
    kept = [(layer, *edge) for layer, rows in enumerate(scores) for edge in _strongest(rows, k)]
    limit = max((abs(value) for *_, value in kept), default=0.0) or 1.0
    kept = [edge for edge in kept if abs(edge[-1]) >= SEEN * limit]
    used = sorted({place for _, target, source, _ in kept for place in (target, source)})
    shown = used if len(labels) > MANY and used else list(range(len(labels)))
    row = {place: at for at, place in enumerate(shown)}
    for layer, target, source, value in sorted(kept, key=lambda edge: abs(edge[-1])):
        size = abs(value) / limit
        ends = [(layer, row[source]), (layer + 0.5, row[source]), (layer + 0.5, row[target]), (layer + 1, row[target])]
        curve = Path(ends, [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])
        look: dict[str, Any] = {"alpha": 0.3 + 0.7 * size, "linewidth": 0.3 + 4.5 * size, "capstyle": "round"}
        axes.add_patch(PathPatch(curve, facecolor="none", edgecolor=sign_colour(value), **look))
    across, down = np.meshgrid(range(len(levels)), range(len(shown)))
    axes.scatter(across, down, s=5, color=INK, zorder=3)
    axes.set_xlim(-0.04, len(levels) - 0.96)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    named = [labels[place] for place in shown]
    axes.set_yticks(range(len(shown)), named, parse_math=False, fontsize=points)
    axes.tick_params(axis="y", length=0, labelright=True)
    axes.set_xticks(range(len(levels)), levels, fontsize=points + 0.5)
    axes.tick_params(axis="x", length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)


def _strongest(rows: Float[np.ndarray, "target source"], k: int) -> list[tuple[int, int, float]]:
    order = np.argsort(-np.abs(np.nan_to_num(rows)), axis=None, kind="stable")[:k]
    return [
        (int(target), int(source), float(rows[target, source]))
        for target, source in np.transpose(np.unravel_index(order, rows.shape))
        if rows[target, source]
    ]
