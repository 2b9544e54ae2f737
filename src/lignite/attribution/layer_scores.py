"""The scores of one layer, as they are found: all targets at once, or some after others where memory asks for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lignite.attribution.target_path import Norm


@dataclass(frozen=True)
class MapOptions:
    """These options say which maps of a layer are wanted and what their numbers mean (docs/notation.md, choices).

    No `maps` are all that the block offers.
    """

    maps: tuple[str, ...]
    detail: tuple[str, ...] = ()
    readout: str = "displacement"
    mlp_baseline: str = "attention_start"
    self_term: str = "measured"
    composition: str = "product"
    plan: str = "auto"
    keep: str = "full"


@dataclass
class LayerScores:
    """The scores of one layer are its maps by the names of the result layout, target first, and what to say about them.

    `missed` are for each map the targets (rows) that did not converge, `n_nodes` the nodes a target needed on average,
    `trial` how far its scores of one target at one node were from the definition, relative to the largest, `memory` the
    bytes of the largest piece of work at most, `halved` how often the budget was, because memory ran out. `norm` is
    that of the closed form, if it has one: likely that of the next layer, too.
    """

    plan: str
    variables: dict[str, Tensor] = field(default_factory=dict)
    missed: dict[str, list[int]] = field(default_factory=dict)
    n_nodes: dict[str, float] = field(default_factory=dict)
    trial: dict[str, float] = field(default_factory=dict)
    memory: int = 0
    halved: int = 0
    norm: Norm | None = None

    def put(self, rows: slice, n_targets: int, variables: Mapping[str, Tensor]) -> None:
        """Take what was found of some targets; where these are all, as it is, else in the computer's own memory."""
        if rows == slice(0, n_targets):
            self.variables = dict(variables)
            return
        for name, part in variables.items():
            if name not in self.variables:
                self.variables[name] = torch.empty(n_targets, *part.shape[1:], dtype=part.dtype)
            self.variables[name][rows] = part.cpu()

    def note(self, name: str, rows: slice, n_targets: int, missing: Sequence[bool], n_nodes: float) -> None:
        """Take what there is to say about a map of some targets."""
        self.missed.setdefault(name, []).extend(rows.start + row for row, missed in enumerate(missing) if missed)
        share = (rows.stop - rows.start) / n_targets
        self.n_nodes[name] = self.n_nodes.get(name, 0.0) + share * n_nodes


def in_pieces(n_rows: int, at_once: int) -> list[slice]:
    """Cut rows into pieces of so many."""
    return [slice(first, min(first + at_once, n_rows)) for first in range(0, n_rows, at_once)]


def halves(rows: slice) -> list[slice]:
    """Cut some rows into two; a single one stays."""
    middle = (rows.start + rows.stop) // 2
    return [each for each in (slice(rows.start, middle), slice(middle, rows.stop)) if each.start < each.stop]
