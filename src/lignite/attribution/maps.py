"""The set-to-set maps of a block as integrands: how each source's share of a target's readout grows along the path."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lignite.attribution.attend import Point, differentiate, differentiate_total
from lignite.attribution.block import Block
from lignite.attribution.readout import Readout, of_targets
from lignite.attribution.refinement import Scores


@runtime_checkable
class Path(Protocol):
    """Where nodes of a path are evaluated for some targets, in any of the fast plans."""

    moves: bool
    """Whether targets' own states move along their path."""

    def at(self, nodes: Float[Tensor, " node"], targets: Int[Tensor, " target"]) -> Point: ...

    def heads_at_start(self, targets: Int[Tensor, " target"]) -> Float[Tensor, "target head d_value"]: ...


class Remembering:
    """A path that keeps the last nodes it was asked for, for maps that ask for the same ones in turn."""

    def __init__(self, path: Path):
        self.path, self.moves = path, path.moves
        self.last: tuple[Tensor, Tensor, Point] | None = None

    def at(self, nodes: Float[Tensor, " node"], targets: Int[Tensor, " target"]) -> Point:
        if self.last is None or self.last[0] is not nodes or self.last[1] is not targets:
            self.last = nodes, targets, self.path.at(nodes, targets)
        return self.last[2]

    def heads_at_start(self, targets: Int[Tensor, " target"]) -> Float[Tensor, "target head d_value"]:
        return self.path.heads_at_start(targets)


@dataclass(frozen=True)
class Room:
    """How much is computed at once. Sizes are bytes; results do not depend on them.

    A node costs `per_node` once and `per_target` for every target beside it.
    """

    budget: float
    per_node: int
    per_target: int

    def holds(self, n_nodes: int, n_targets: int) -> bool:
        """Whether so many nodes and targets are computed in one piece."""
        return n_nodes * (self.per_node + n_targets * self.per_target) <= self.budget

    def taken(self, n_nodes: int, n_targets: int) -> int:
        """Bytes of the largest piece."""
        nodes, rows = next(self.chunks(n_nodes, n_targets))
        n_nodes, n_targets = min(n_nodes, nodes.stop), min(n_targets, rows.stop)
        return n_nodes * (self.per_node + n_targets * self.per_target)

    def chunks(self, n_nodes: int, n_targets: int) -> Iterator[tuple[slice, slice]]:
        """Cut the nodes-by-targets rectangle into pieces that fit; a single pair is always attempted."""
        targets = int(max(1, min(n_targets, (self.budget - self.per_node) // self.per_target)))
        nodes = int(max(1, self.budget // (self.per_node + targets * self.per_target)))
        for row in range(0, n_targets, targets):
            for node in range(0, n_nodes, nodes):
                yield slice(node, node + nodes), slice(row, row + targets)


class _Chunked:
    """Adds up the scores of one chunk after the other.

    `watched` is the place of one target in the first call of `scores`, whose scores at every node are `seen`. `ready`
    are the scores of the first call, where they were computed beside those of other maps.
    """

    def __init__(self, room: Room):
        self.room = room
        self.ready: Scores | None = None
        self.watched: int | None = None
        self.seen: list[Float[Tensor, "node *head source"]] = []

    def scores(self, nodes: Tensor, weights: Tensor, targets: Tensor) -> Scores:
        finished: list[Scores] = []
        last, chosen = None, targets
        if self.ready is not None:
            ready, self.ready, self.watched = self.ready, None, None
            return ready
        if self.room.holds(len(nodes), len(targets)):
            part, self.watched = self.chunk(nodes, weights, targets, self.watched), None
            return part
        for some, rows in self.room.chunks(len(nodes), len(targets)):
            chosen = chosen if rows == last else targets[rows]  # what belongs to the same targets is kept by them
            part = self.chunk(nodes[some], weights[some], chosen, self._watched_in(rows))
            if rows == last:
                for name, value in part.items():
                    finished[-1][name] += value
            else:
                finished.append(part)
            last = rows
        self.watched = None
        return {name: torch.cat([part[name] for part in finished]) for name in finished[0]}

    def _watched_in(self, rows: slice) -> int | None:
        inside = self.watched is not None and rows.start <= self.watched < rows.stop
        return self.watched - rows.start if self.watched is not None and inside else None

    def level(self, point: float, targets: Tensor) -> Tensor:
        """The readout at one point of the path."""
        node = torch.tensor([point], dtype=self.dtype, device=targets.device)
        levels = [self.chunk_level(node, targets[rows]) for _, rows in self.room.chunks(1, len(targets))]
        return torch.cat(levels)

    dtype: torch.dtype

    def chunk(self, nodes: Tensor, weights: Tensor, targets: Tensor, watched: int | None = None) -> Scores:
        raise NotImplementedError

    def chunk_level(self, node: Tensor, targets: Tensor) -> Tensor:
        raise NotImplementedError


class AttentionMap(_Chunked):
    """States to heads, one readout per head and target: scores ``[target, head, source]``."""

    def __init__(self, block: Block, path: Path, readout: Readout, room: Room):
        super().__init__(room)
        assert block.scoring is not None
        self.path, self.readout, self.scoring, self.dtype = path, readout, block.scoring, block.states.dtype

    def chunk(self, nodes: Tensor, weights: Tensor, targets: Tensor, watched: int | None = None) -> Scores:
        with torch.no_grad():
            point = self.path.at(nodes, targets)
            attention, heads = point.attend(self.scoring, targets)
            directions = self.readout.gradient(heads, targets) * weights.view(-1, 1, 1, 1)
            total = differentiate_total(point, attention, directions, self.scoring, targets)
            if watched is not None:
                self.seen.append(total[:, :, watched])
            return {"scores": total.sum(0).transpose(0, 1)}

    def chunk_level(self, node: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad():
            point = self.path.at(node, targets)
            _, heads = point.attend(self.scoring, targets)
            return self.readout.level(heads, targets)[0]


@dataclass(frozen=True, eq=False)
class Asked:
    """What a map asks `post` for: states and heads at its nodes, and what it needs to go on with the answer."""

    states: Float[Tensor, "node target d"]
    heads: Float[Tensor, "node target head d_value"]
    more: Any = None


class ThroughPost(_Chunked):
    """Maps to the block's output: readouts are pulled back through `post`, by which several maps can go together."""

    block: Block
    readout: Readout
    """Made of the block's output at the first node where several maps go together."""

    moves: bool
    """Whether the gradient with respect to the states is wanted, too."""

    def ask(self, nodes: Tensor, targets: Tensor) -> Asked:
        raise NotImplementedError

    def go_on(
        self, asked: Asked, gradients: Sequence[Tensor], weights: Tensor, targets: Tensor, watched: int | None
    ) -> Scores:
        """Scores, from the gradients of the readouts with respect to heads and, where they move, states."""
        raise NotImplementedError

    def chunk(self, nodes: Tensor, weights: Tensor, targets: Tensor, watched: int | None = None) -> Scores:
        return together([(self, nodes, weights)], targets, watched)[0]


def together(
    maps: Sequence[tuple[ThroughPost, Tensor, Tensor]],
    targets: Tensor,
    watched: int | None,
    read_from: Callable[[Float[Tensor, "target d"]], Readout] | None = None,
) -> list[Scores]:
    """Scores of several maps, each at nodes of its own, by one forward and one backward pass of `post`.

    With `read_from` all have one start and one readout, which it makes of what leaves the block at the first node.
    """
    with torch.no_grad():
        asked = [one.ask(nodes, targets) for one, nodes, _ in maps]
        heads, states = (_joined([getattr(each, name) for each in asked]) for name in ("heads", "states"))
    sizes = [len(nodes) for _, nodes, _ in maps]
    block, moves = maps[0][0].block, any(one.moves for one, _, _ in maps)
    with torch.enable_grad():
        leaves = [heads.detach().requires_grad_()]
        if moves:
            leaves.append(states.detach().requires_grad_())
        output = block.post(leaves[1] if moves else states, leaves[0], targets)
        level = output.detach()
        if read_from is not None:
            readout = read_from(level[0])
            for one, _, _ in maps:
                one.readout = readout
            direction = readout.gradient(level, targets)
        else:
            levels = zip(maps, _parted(level, sizes), strict=True)
            direction = _joined([one.readout.gradient(some, targets) for (one, _, _), some in levels])
        gradients = [_parted(each, sizes) for each in torch.autograd.grad(output, leaves, direction)]
    with torch.no_grad():
        return [
            one.go_on(each, [part[place] for part in gradients], weights, targets, watched)
            for place, ((one, _, weights), each) in enumerate(zip(maps, asked, strict=True))
        ]


def _parted(whole: Tensor, sizes: Sequence[int]) -> Sequence[Tensor]:
    return [whole] if len(sizes) == 1 else whole.split(sizes)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    # one that is expanded would be copied by every linear map that reads it
    return parts[0].contiguous() if len(parts) == 1 else torch.cat(list(parts))


class WholeMap(ThroughPost):
    """States to the block's output: scores ``[target, source]``, and their exact split by head and by circuit.

    The parts ``heads [target, head, source]`` and ``residual [target]`` add up to the scores, as do the four
    ``circuits [target, circuit, source]``: value, key, query, residual.
    """

    def __init__(self, block: Block, path: Path, readout: Readout | None, room: Room, detail: tuple[str, ...] = ()):
        super().__init__(room)
        assert block.scoring is not None
        self.block, self.path, self.detail = block, path, detail
        if readout is not None:
            self.readout = readout
        self.scoring, self.dtype, self.moves = block.scoring, block.states.dtype, path.moves

    def ask(self, nodes: Tensor, targets: Tensor) -> Asked:
        point = self.path.at(nodes, targets)
        attention, heads = point.attend(self.scoring, targets)
        return Asked(point.states, heads, (point, attention))

    def go_on(
        self, asked: Asked, gradients: Sequence[Tensor], weights: Tensor, targets: Tensor, watched: int | None
    ) -> Scores:
        point, attention = asked.more
        directions, residual = gradients[0] * weights.view(-1, 1, 1, 1), None
        if point.states_slope is not None:
            residual = (gradients[1] * point.states_slope).sum(-1) * weights[:, None]
        return self._divide(point, attention, directions, residual, targets, watched)

    def _divide(
        self,
        point: Point,
        attention: Tensor,
        directions: Tensor,
        residual: Float[Tensor, "node target"] | None,
        targets: Tensor,
        watched: int | None,
    ) -> Scores:
        total = differentiate_total(point, attention, directions, self.scoring, targets)
        if watched is not None:
            own = total[:, :, watched].sum(1)
            if residual is not None:
                own.index_add_(1, targets[watched : watched + 1], residual[:, watched, None])
            self.seen.append(own)
        parts = {"scores": total.sum((0, 1))}
        if residual is None and not self.detail:
            return parts
        rows = torch.arange(len(targets), device=targets.device)
        residual = total.new_zeros(len(targets)) if residual is None else residual.sum(0)
        parts["scores"][rows, targets] += residual
        if "heads" in self.detail:
            parts |= {"heads": total.sum(0).transpose(0, 1), "residual": residual}
        if "circuits" in self.detail:
            circuits = differentiate(point, attention, directions, self.scoring)
            split = torch.zeros(len(targets), 4, total.shape[-1], dtype=self.dtype, device=targets.device)
            split[:, 0], split[:, 1] = circuits.value.sum((0, 1)), circuits.key.sum((0, 1))
            if circuits.query is not None:
                split[rows, 2, targets] = circuits.query.sum((0, 1))
            split[rows, 3, targets] = residual
            parts["circuits"] = split
        return parts

    def chunk_level(self, node: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad():
            point = self.path.at(node, targets)
            _, heads = point.attend(self.scoring, targets)
            return self.readout.level(self.block.post(point.states, heads, targets), targets)[0]


class MlpMap(ThroughPost):
    """A target's own heads to its output, its state held fixed: scores ``[target, head]``."""

    moves = False

    def __init__(self, block: Block, start: Float[Tensor, "target head d_value"], readout: Readout | None, room: Room):
        super().__init__(room)
        assert block.heads is not None
        self.block, self.start, self.dtype = block, start, block.states.dtype
        if readout is not None:
            self.readout = readout
        self.slope = block.heads - start

    def ask(self, nodes: Tensor, targets: Tensor) -> Asked:
        return Asked(self._states(nodes, targets), self._heads(nodes, targets))

    def go_on(
        self, asked: Asked, gradients: Sequence[Tensor], weights: Tensor, targets: Tensor, watched: int | None
    ) -> Scores:
        given = (gradients[0] * of_targets(self.slope, targets)).sum(-1) * weights.view(-1, 1, 1)
        if watched is not None:
            self.seen.append(given[:, watched])
        return {"scores": given.sum(0)}

    def chunk_level(self, node: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad():
            output = self.block.post(self._states(node, targets), self._heads(node, targets), targets)
            return self.readout.level(output, targets)[0]

    def _heads(self, nodes: Tensor, targets: Tensor) -> Tensor:
        return of_targets(self.start, targets) + nodes.view(-1, 1, 1, 1) * of_targets(self.slope, targets)

    def _states(self, nodes: Tensor, targets: Tensor) -> Tensor:
        return of_targets(self.block.states, targets).expand(len(nodes), -1, -1)


class StraightPaths:
    """Each target's path in states, taken literally: for blocks that are a black box up to their heads or beyond.

    `baseline` is None for the target-token path, where each target starts all sources at its own state. With
    `through_heads` the target's output is rebuilt from its heads; without, the whole block is run (plan C).
    """

    def __init__(self, block: Block, baseline: Float[Tensor, "token d"] | None, *, through_heads: bool):
        self.block, self.baseline, self.through_heads = block, baseline, through_heads

    def slope(self, targets: Tensor) -> Float[Tensor, "target source d"]:
        states = self.block.states
        start = states[targets, None] if self.baseline is None else self.baseline[None]
        return (states - start).expand(len(targets), -1, -1)

    def states(self, nodes: Tensor, targets: Tensor) -> Float[Tensor, "path source d"]:
        """All paths side by side, nodes before targets."""
        slope = self.slope(targets)
        return (self.block.states - slope + nodes[:, None, None, None] * slope).flatten(0, 1)

    def heads(self, states: Float[Tensor, "path source d"]) -> Float[Tensor, "path source head d_value"]:
        """Every token's heads; by the definition as the model itself computes them."""
        if self.through_heads:
            return self.block.attention(states)
        heads = self.block.as_loaded(states)[0]
        assert heads is not None
        return heads

    def output(self, states: Float[Tensor, "path source d"]) -> Float[Tensor, "path source d"]:
        """The block's output as the model itself computes it."""
        return self.block.as_loaded(states)[1]

    def own(self, per_path: Tensor, nodes: Tensor, targets: Tensor) -> Tensor:
        """Row of its own target from every path: ``[path, token, ...]`` to ``[node, target, ...]``."""
        rows = targets.repeat(len(nodes))
        return per_path[torch.arange(len(rows), device=rows.device), rows].unflatten(0, (len(nodes), len(targets)))

    def heads_at_start(self, targets: Tensor) -> Float[Tensor, "target head d_value"]:
        return self._at_start(self.heads, targets)

    def output_at_start(self, targets: Tensor) -> Float[Tensor, "target d"]:
        return self._at_start(self.output, targets)

    def _at_start(self, function: Callable[[Tensor], Tensor], targets: Tensor) -> Tensor:
        node = torch.zeros(1, dtype=self.block.states.dtype, device=targets.device)
        with torch.no_grad():
            parts = [self.own(function(self.states(node, target)), node, target)[0] for target in targets.split(1)]
        return torch.cat(parts)

    def divide_one(
        self, gradient: Tensor, weights: Tensor, targets: Tensor, place: int
    ) -> Float[Tensor, "node source"]:
        """Integrand of every source at every node, for the target at this place."""
        own = gradient.unflatten(0, (len(weights), len(targets)))[:, place]
        return (own * self.slope(targets[place : place + 1])).sum(-1) * weights[:, None]

    def divide(self, gradient: Tensor, nodes: Tensor, weights: Tensor, targets: Tensor) -> Tensor:
        """Integrand of every source, summed over the nodes: ``[target, source]``."""
        gradient = gradient.unflatten(0, (len(nodes), len(targets)))
        return torch.einsum("n,nmsd,msd->ms", weights, gradient, self.slope(targets))


class AttentionByPaths(_Chunked):
    """`AttentionMap` of a block whose way to its heads is a black box: one reverse pass per head."""

    def __init__(self, block: Block, path: StraightPaths, readout: Readout, room: Room):
        super().__init__(room)
        self.block, self.path, self.readout, self.dtype = block, path, readout, block.states.dtype

    def chunk(self, nodes: Tensor, weights: Tensor, targets: Tensor, watched: int | None = None) -> Scores:
        with torch.enable_grad():
            states = self.path.states(nodes, targets).requires_grad_()
            heads = self.path.own(self.path.heads(states), nodes, targets)
            directions = self.readout.gradient(heads.detach(), targets)
            gradients = [
                torch.autograd.grad(heads[:, :, head], states, directions[:, :, head], retain_graph=True)[0]
                for head in range(heads.shape[2])
            ]
        if watched is not None:
            own = [self.path.divide_one(gradient, weights, targets, watched) for gradient in gradients]
            self.seen.append(torch.stack(own, 1))
        scores = [self.path.divide(gradient, nodes, weights, targets) for gradient in gradients]
        return {"scores": torch.stack(scores, dim=1)}

    def chunk_level(self, node: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad():
            heads = self.path.own(self.path.heads(self.path.states(node, targets)), node, targets)
            return self.readout.level(heads, targets)[0]


class WholeByPaths(_Chunked):
    """`WholeMap` of a block that is a black box up to its heads, or altogether (plan C)."""

    def __init__(self, block: Block, path: StraightPaths, readout: Readout, room: Room, detail: tuple[str, ...] = ()):
        super().__init__(room)
        self.block, self.path, self.readout, self.detail = block, path, readout, detail
        self.dtype = block.states.dtype

    def chunk(self, nodes: Tensor, weights: Tensor, targets: Tensor, watched: int | None = None) -> Scores:
        with torch.enable_grad():
            states = self.path.states(nodes, targets).requires_grad_()
            heads, output = self._output(states, nodes, targets)
            direction = self.readout.gradient(output.detach(), targets)
            keep = "heads" in self.detail
            (gradient,) = torch.autograd.grad(output, states, direction, retain_graph=keep)
            parts = {"scores": self.path.divide(gradient, nodes, weights, targets)}
            if watched is not None:
                self.seen.append(self.path.divide_one(gradient, weights, targets, watched))
            if keep:
                assert heads is not None
                (to_heads,) = torch.autograd.grad(output, heads, direction, retain_graph=True)
                by_head = [
                    torch.autograd.grad(heads[:, :, head], states, to_heads[:, :, head], retain_graph=True)[0]
                    for head in range(heads.shape[2])
                ]
                through = [self.path.divide(part, nodes, weights, targets) for part in by_head]
                parts["heads"] = torch.stack(through, dim=1)
                parts["residual"] = (parts["scores"] - parts["heads"].sum(1)).sum(1)
        return parts

    def chunk_level(self, node: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad():
            _, output = self._output(self.path.states(node, targets), node, targets)
            return self.readout.level(output, targets)[0]

    def _output(self, states: Tensor, nodes: Tensor, targets: Tensor) -> tuple[Tensor | None, Tensor]:
        if not self.path.through_heads:
            return None, self.path.own(self.path.output(states), nodes, targets)
        heads = self.path.own(self.block.attention(states), nodes, targets)
        return heads, self.block.post(self.path.own(states, nodes, targets), heads, targets)
