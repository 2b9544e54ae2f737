"""Paths through a block that can be taken apart: where their nodes are evaluated, and where they start."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from lignite.attribution.attend import Point
from lignite.attribution.axes import Nodes, TargetHeads, Targets
from lignite.attribution.block import OpenBlock


class Path(ABC):
    """A path evaluates nodes for some targets, where the block can be taken apart.

    `moves` tells whether targets' own states move along their path.
    """

    moves = False

    def __init__(self, block: OpenBlock):
        self.block = block

    @abstractmethod
    def at(self, nodes: Nodes, targets: Targets) -> Point:
        """Evaluate some nodes."""

    def heads_at_start(self, targets: Targets) -> TargetHeads:
        """Compute the heads of some targets where their path starts."""
        point = self.at(torch.zeros(1, dtype=self.block.states.dtype, device=self.block.states.device), targets)
        return point.attend(self.block.scoring, targets)[1][0]


class Remembering(Path):
    """A remembering path keeps the last nodes it was asked for: several maps ask for the same ones in turn."""

    def __init__(self, path: Path):
        super().__init__(path.block)
        self.path, self.moves = path, path.moves
        self.last: tuple[Tensor, Tensor, Point] | None = None

    def at(self, nodes: Nodes, targets: Targets) -> Point:
        if self.last is None or self.last[0] is not nodes or self.last[1] is not targets:
            self.last = nodes, targets, self.path.at(nodes, targets)
        return self.last[2]

    def heads_at_start(self, targets: Targets) -> TargetHeads:
        return self.path.heads_at_start(targets)
