"""Maps of blocks that are a black box up to their heads, or altogether: by reverse passes along each target's path."""

from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from lignite.attribution.axes import HeadVectors, Nodes, NodeStates, TargetHeads, Targets
from lignite.attribution.block import Block, HeadedBlock
from lignite.attribution.maps import Chunking, Map, Watched, WholeMap
from lignite.attribution.panels import Scores
from lignite.attribution.paths import Path
from lignite.attribution.readout import Readout


class StraightPaths:
    """The path of each target, taken literally: for blocks that are a black box up to their heads or beyond.

    `baseline` is None for the target-token path, where each target starts all sources at its own state. With
    `through_heads` the target's output is rebuilt from its heads; without, the whole block is run: the definition.
    """

    def __init__(self, block: Block, baseline: Float[Tensor, "token d"] | None, *, through_heads: bool):
        self.block, self.baseline, self.through_heads = block, baseline, through_heads

    def slope(self, targets: Targets) -> Float[Tensor, "target source d"]:
        states = self.block.states
        start = states[targets, None] if self.baseline is None else self.baseline[None]
        return (states - start).expand(len(targets), -1, -1)

    def states(self, nodes: Nodes, targets: Targets) -> Float[Tensor, "path source d"]:
        """Lay the points of all paths side by side, nodes before targets."""
        slope = self.slope(targets)
        return (self.block.states - slope + nodes[:, None, None, None] * slope).flatten(0, 1)

    def heads(self, states: Float[Tensor, "path source d"]) -> Float[Tensor, "path source head d_value"]:
        """Compute every token's heads; by the definition as the model itself does."""
        if self.through_heads:
            return cast(HeadedBlock, self.block).attention(states)
        return self.block.as_loaded(states)[0]

    def own(
        self, per_path: Float[Tensor, "path token *any"], nodes: Nodes, targets: Targets
    ) -> Float[Tensor, "node target *any"]:
        """Take the row of its own target from every path."""
        rows = targets.repeat(len(nodes))
        return per_path[torch.arange(len(rows), device=rows.device), rows].unflatten(0, (len(nodes), len(targets)))

    def heads_at_start(self, targets: Targets) -> TargetHeads:
        return self._at_start(self.heads, targets)

    def output_at_start(self, targets: Targets) -> Float[Tensor, "target d"]:
        return self._at_start(lambda states: self.block.as_loaded(states)[1], targets)

    def _at_start(
        self, function: Callable[[Float[Tensor, "path source d"]], Float[Tensor, "path source *any"]], targets: Targets
    ) -> Float[Tensor, "target *any"]:
        node = torch.zeros(1, dtype=self.block.states.dtype, device=targets.device)
        with torch.no_grad():
            parts = [self.own(function(self.states(node, target)), node, target)[0] for target in targets.split(1)]
        return torch.cat(parts)

    def divide_one(
        self, gradient: Float[Tensor, "path source d"], weights: Nodes, targets: Targets, place: int
    ) -> Float[Tensor, "node source"]:
        """Divide the integrand of the target at this place among the sources, node by node."""
        own = gradient.unflatten(0, (len(weights), len(targets)))[:, place]
        return (own * self.slope(targets[place : place + 1])).sum(-1) * weights[:, None]

    def divide(
        self, gradient: Float[Tensor, "path source d"], weights: Nodes, targets: Targets
    ) -> Float[Tensor, "target source"]:
        """Divide the integrand of every target among the sources, summed over the nodes."""
        by_node = gradient.unflatten(0, (len(weights), len(targets)))
        return torch.einsum("n,nmsd,msd->ms", weights, by_node, self.slope(targets))


class AttentionByPaths(Map):
    """The `AttentionMap` of a block that is a black box up to its heads takes one reverse pass per head."""

    def __init__(self, path: StraightPaths, readout: Readout, chunking: Chunking):
        super().__init__(path.block, chunking)
        self.path, self.readout = path, readout

    def chunk(self, nodes: Nodes, weights: Nodes, targets: Targets, watched: Watched = None) -> Scores:
        with torch.enable_grad():
            states = self.path.states(nodes, targets).requires_grad_()
            heads = self.path.own(self.path.heads(states), nodes, targets)
            directions = self.readout.gradient(heads.detach(), targets)
            gradients = [
                torch.autograd.grad(heads[:, :, head], states, directions[:, :, head], retain_graph=True)[0]
                for head in range(heads.shape[2])
            ]
        if isinstance(watched, int):
            own = [self.path.divide_one(gradient, weights, targets, watched) for gradient in gradients]
            self.seen.append(torch.stack(own, 1))
        scores = [self.path.divide(gradient, weights, targets) for gradient in gradients]
        return {"scores": torch.stack(scores, dim=1)}

    def level_at(self, node: Float[Tensor, "1"], targets: Targets) -> Float[Tensor, "target head"]:
        heads = self.path.own(self.path.heads(self.path.states(node, targets)), node, targets)
        return self.readout.level(heads, targets)[0]


class WholeByPaths(Map):
    """The `WholeMap` of a block that is a black box up to its heads, or altogether, takes a reverse pass per target."""

    def __init__(self, path: StraightPaths, readout: Readout, chunking: Chunking, detail: tuple[str, ...] = ()):
        super().__init__(path.block, chunking)
        self.path, self.readout, self.detail = path, readout, detail

    def chunk(self, nodes: Nodes, weights: Nodes, targets: Targets, watched: Watched = None) -> Scores:
        with torch.enable_grad():
            states = self.path.states(nodes, targets).requires_grad_()
            heads, output = self._output(states, nodes, targets)
            direction = self.readout.gradient(output.detach(), targets)
            keep = "heads" in self.detail
            (gradient,) = torch.autograd.grad(output, states, direction, retain_graph=keep)
            parts = {"scores": self.path.divide(gradient, weights, targets)}
            if isinstance(watched, int):
                self.seen.append(self.path.divide_one(gradient, weights, targets, watched))
            if keep:
                (to_heads,) = torch.autograd.grad(output, heads, direction, retain_graph=True)
                by_head = [
                    torch.autograd.grad(heads[:, :, head], states, to_heads[:, :, head], retain_graph=True)[0]
                    for head in range(heads.shape[2])
                ]
                through = [self.path.divide(part, weights, targets) for part in by_head]
                parts["heads"] = torch.stack(through, dim=1)
                parts["residual"] = (parts["scores"] - parts["heads"].sum(1)).sum(1)
        return parts

    def level_at(self, node: Float[Tensor, "1"], targets: Targets) -> Float[Tensor, " target"]:
        _, output = self._output(self.path.states(node, targets), node, targets)
        return self.readout.level(output, targets)[0]

    def _output(
        self, states: Float[Tensor, "path source d"], nodes: Nodes, targets: Targets
    ) -> tuple[HeadVectors, NodeStates]:
        """Compute every target's heads and output on its own path; the output is rebuilt from heads where it can be."""
        if not self.path.through_heads:
            heads, output = (self.path.own(each, nodes, targets) for each in self.block.as_loaded(states))
            return heads, output
        block = cast(HeadedBlock, self.block)
        heads = self.path.own(block.attention(states), nodes, targets)
        return heads, block.post(self.path.own(states, nodes, targets), heads, targets)


def map_to_output(
    path: Path | StraightPaths, readout: Readout, chunking: Chunking, detail: tuple[str, ...] = ()
) -> WholeMap | WholeByPaths:
    """Make the map from states to the block's output, as the path allows it."""
    if isinstance(path, StraightPaths):
        return WholeByPaths(path, readout, chunking, detail)
    return WholeMap(path, readout, chunking, detail)
