"""The set-to-set maps of a block as integrands: how each source's share of a target's readout grows along the path.

Halves are joined (`compose`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from lignite.attribution.attend import differentiate, differentiate_total
from lignite.attribution.axes import HeadVectors, Nodes, NodeStates, PerTarget, Targets
from lignite.attribution.block import Block, HeadedBlock
from lignite.attribution.panels import Scores, of_targets
from lignite.attribution.paths import Path
from lignite.attribution.readout import Readout

ByNode = dict[str, Tensor]
"""Additive parts of the scores as they are found, node by node: each ``[node, target, ...]``."""

Halves = tuple[Scores, Scores, PerTarget]
"""Scores of both halves of a panel, and the readout between them."""

Watched = int | slice | None
"""A target whose scores are noted node by node, by its place; a slice stands for several where none of them moves."""


@dataclass(frozen=True)
class Chunking:
    """A chunking says how many nodes and targets are computed at once. Sizes are bytes; results do not depend on them.

    A node costs `per_node` once and `per_target` for every target.
    """

    budget: float
    per_node: int
    per_target: int

    def holds(self, n_nodes: int, n_targets: int) -> bool:
        """Whether so many nodes and targets are computed in one piece."""
        return n_nodes * (self.per_node + n_targets * self.per_target) <= self.budget

    def taken(self, n_nodes: int, n_targets: int) -> int:
        """Count the bytes of the largest piece."""
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


class Map(ABC):
    """A map is an integrand whose scores are added up chunk by chunk.

    `seen` are the scores of a watched target at every node of the first call.
    """

    def __init__(self, block: Block, chunking: Chunking):
        self.block, self.chunking = block, chunking
        self.seen: list[Float[Tensor, "node *head source"]] = []
        self._ready: Scores | None = None
        self._watched: Watched = None

    def watch(self, place: int) -> None:
        """Look at one target, given by its place in the first call of `scores`."""
        self._watched = place

    def start_again(self, chunking: Chunking) -> None:
        """Forget what the first call has found, and compute smaller pieces from now on."""
        self.chunking, self.seen, self._ready, self._watched = chunking, [], None, None

    def have_ready(self, scores: Scores, *, started: bool) -> None:
        """Answer the first call with scores that were computed together with those of other maps.

        If it was `started`, their first node is the start of the path, which is no node of a rule.
        """
        self._ready = scores
        if started:
            self.seen = [each[1:] for each in self.seen]

    def scores(self, nodes: Nodes, weights: Nodes, targets: Targets) -> Scores:
        ready, watched = self._ready, self._watched
        self._ready = self._watched = None
        if ready is not None:
            return ready
        if self.chunking.holds(len(nodes), len(targets)):
            return self.chunk(nodes, weights, targets, watched)
        finished: list[Scores] = []
        last, chosen = None, targets
        for some, rows in self.chunking.chunks(len(nodes), len(targets)):
            chosen = chosen if rows == last else targets[rows]  # what belongs to the same targets is kept by them
            inside = watched is not None and rows.start <= watched < rows.stop
            place = watched - rows.start if watched is not None and inside else None
            part = self.chunk(nodes[some], weights[some], chosen, place)
            if place is not None:
                self.seen[-1] = self.seen[-1].clone()  # a view would keep those of all targets
            if rows == last:
                for name, value in part.items():
                    finished[-1][name] += value
            else:
                finished.append(part)
            last = rows
        return {name: torch.cat([part[name] for part in finished]) for name in finished[0]}

    def level(self, point: float, targets: Targets) -> PerTarget:
        node = torch.tensor([point], dtype=self.block.states.dtype, device=targets.device)
        with torch.no_grad():
            levels = [self.level_at(node, targets[rows]) for _, rows in self.chunking.chunks(1, len(targets))]
        return torch.cat(levels)

    @abstractmethod
    def chunk(self, nodes: Nodes, weights: Nodes, targets: Targets, watched: Watched = None) -> Scores:
        """Add up the scores of some targets over some nodes; those of the target at `watched` are noted by node."""

    @abstractmethod
    def level_at(self, node: Float[Tensor, "1"], targets: Targets) -> PerTarget:
        """Give the readout of some targets at one node."""


class AtNodes(Map):
    """Maps that give scores node by node can add them up over several parts of a path at once."""

    readout: Readout

    @abstractmethod
    def by_node(self, nodes: Nodes, weights: Nodes, targets: Targets) -> tuple[ByNode, Tensor]:
        """Give the weighted scores of some targets at some nodes, and what its readout reads there."""

    def chunk(self, nodes: Nodes, weights: Nodes, targets: Targets, watched: Watched = None) -> Scores:
        return self.added(self.by_node(nodes, weights, targets)[0], watched)

    def added(self, found: ByNode, watched: Watched) -> Scores:
        """Add up what was found at some nodes, and note it of the target at `watched`."""
        if watched is not None:
            self.seen.append(found["scores"][:, watched])
        return {name: part.sum(0) for name, part in found.items()}

    def halves(self, nodes: Nodes, weights: Nodes, targets: Targets) -> Halves | None:
        """Add up the nodes of two panels, each by itself, with the readout at the node between them, which is the last.

        None where they do not fit at once.
        """
        if not self.chunking.holds(len(nodes), len(targets)):
            return None
        found, values = self.by_node(nodes, weights, targets)
        return self.two(found, values[-1], targets)

    def two(self, found: ByNode, values: Float[Tensor, "target *head d"], targets: Targets) -> Halves:
        """Add up both halves of what was found at their nodes and at the point between, which has these values."""
        half = len(found["scores"]) // 2
        first, second = (
            {name: part[of].sum(0) for name, part in found.items()} for of in (slice(half), slice(half, -1))
        )
        return first, second, self.readout.level(values, targets)


class AttentionMap(AtNodes):
    """States to heads, one readout per head and target: scores ``[target, head, source]``."""

    def __init__(self, path: Path, readout: Readout, chunking: Chunking):
        super().__init__(path.block, chunking)
        self.path, self.readout, self.scoring = path, readout, path.block.scoring

    def by_node(self, nodes: Nodes, weights: Nodes, targets: Targets) -> tuple[ByNode, HeadVectors]:
        with torch.no_grad():
            point = self.path.at(nodes, targets)
            attention, heads = point.attend(self.scoring, targets)
            directions = self.readout.gradient(heads, targets) * weights.view(-1, 1, 1, 1)
            total = differentiate_total(point, attention, directions, self.scoring, targets)
            return {"scores": total.transpose(1, 2)}, heads

    def level_at(self, node: Float[Tensor, "1"], targets: Targets) -> Float[Tensor, "target head"]:
        _, heads = self.path.at(node, targets).attend(self.scoring, targets)
        return self.readout.level(heads, targets)[0]


@dataclass(frozen=True, eq=False)
class Asked:
    """A map asks `post` for states and heads at its nodes; `more` is what it needs to go on with the answer."""

    states: NodeStates
    heads: HeadVectors
    more: Any = None


class ThroughPost(AtNodes):
    """Maps to the block's output pull their readouts back through `post`, by which several maps can go together.

    `moves` tells whether the gradient with respect to the states is wanted, too. Without a readout it is made of the
    block's output at the first node, where several maps go together.
    """

    block: HeadedBlock
    moves: bool
    readout: Readout

    def __init__(self, block: HeadedBlock, readout: Readout | None, chunking: Chunking):
        super().__init__(block, chunking)
        if readout is not None:
            self.readout = readout

    @abstractmethod
    def ask(self, nodes: Nodes, targets: Targets) -> Asked:
        """Say for which states and heads `post` is wanted."""

    @abstractmethod
    def go_on(
        self, asked: Asked, to_heads: HeadVectors, to_states: NodeStates | None, weights: Nodes, targets: Targets
    ) -> ByNode:
        """Make scores of the readouts' gradients: with respect to heads and, where these move, to states."""

    def by_node(self, nodes: Nodes, weights: Nodes, targets: Targets) -> tuple[ByNode, NodeStates]:
        (found,), output = together([(self, nodes, weights)], targets)
        return found, output


def together(
    maps: Sequence[tuple[ThroughPost, Float[Tensor, " _"], Float[Tensor, " _"]]],
    targets: Targets,
    read_from: Callable[[Float[Tensor, "target d"]], Readout] | None = None,
) -> tuple[list[ByNode], NodeStates]:
    """Compute several maps, each at nodes of its own, by one forward and one backward pass of `post`.

    With `read_from` all have one start and one readout, which it makes of what leaves the block at the first node.
    Gives also what leaves the block at all nodes, those of one map after those of another.
    """
    with torch.no_grad():
        asked = [one.ask(nodes, targets) for one, nodes, _ in maps]
        heads, states = (_joined([getattr(each, name) for each in asked]) for name in ("heads", "states"))
    sizes = [len(nodes) for _, nodes, _ in maps]
    block, moves = maps[0][0].block, any(one.moves for one, _, _ in maps)

    def post(heads: HeadVectors, states: NodeStates = states) -> NodeStates:
        return block.post(states, heads, targets)

    with torch.enable_grad():
        level, pull = differentiated(post, [heads, states] if moves else [heads])
        if read_from is not None:
            readout = read_from(level[0])
            for one, _, _ in maps:
                one.readout = readout
            direction = readout.gradient(level, targets)
        else:
            levels = zip(maps, _parted(level, sizes), strict=True)
            direction = _joined([one.readout.gradient(some, targets) for (one, _, _), some in levels])
        gradients = [_parted(each, sizes) for each in pull(direction)]
    to_states: Sequence[Tensor | None] = gradients[1] if moves else [None] * len(maps)
    with torch.no_grad():
        found = [
            one.go_on(each, to_heads, to_own, weights, targets)
            for (one, _, weights), each, to_heads, to_own in zip(maps, asked, gradients[0], to_states, strict=True)
        ]
    return found, level


Pull = Callable[[Any], Sequence[Tensor]]
"""Takes a direction of a function's value, or of each of its values, back to its arguments."""


def is_abreast(tensor: Shaped[Tensor, "..."]) -> bool:
    """Whether torch itself puts several runs side by side (`torch.vmap`)."""
    return torch._C._functorch.is_batchedtensor(tensor)


def differentiated(function: Callable[..., Any], args: Sequence[Tensor], *, has_aux: bool = False) -> Any:
    """Evaluate a function, and give its value, how directions go back, and what it says beside (`has_aux`).

    That is what `torch.func.vjp` does, which is taken where torch puts several runs side by side; elsewhere autograd
    goes through what it cannot.
    """
    if is_abreast(args[0]):
        return torch.func.vjp(function, *args, has_aux=has_aux)
    leaves = [each.detach().requires_grad_() for each in args]
    value, *beside = function(*leaves) if has_aux else (function(*leaves),)

    def pull(direction: Any) -> Sequence[Tensor]:
        return torch.autograd.grad(value, leaves, direction, materialize_grads=True)

    found = value.detach() if isinstance(value, Tensor) else tuple(each.detach() for each in value)
    return found, pull, *beside


def _parted(whole: Float[Tensor, "node *any"], sizes: Sequence[int]) -> Sequence[Float[Tensor, "_ *any"]]:
    return [whole] if len(sizes) == 1 else whole.split(sizes)


def _joined(parts: Sequence[Float[Tensor, "_ *any"]]) -> Float[Tensor, "node *any"]:
    # one that is expanded would be copied by every linear map that reads it
    return parts[0].contiguous() if len(parts) == 1 else torch.cat(list(parts))


class WholeMap(ThroughPost):
    """States to the block's output: scores ``[target, source]``, and their exact split by head and by circuit.

    The parts ``heads [target, head, source]`` and ``residual [target]`` add up to the scores, as do the four
    ``circuits [target, circuit, source]``: value, key, query, residual.
    """

    def __init__(self, path: Path, readout: Readout | None, chunking: Chunking, detail: tuple[str, ...] = ()):
        super().__init__(path.block, readout, chunking)
        self.path, self.scoring, self.moves, self.detail = path, path.block.scoring, path.moves, detail

    def ask(self, nodes: Nodes, targets: Targets) -> Asked:
        point = self.path.at(nodes, targets)
        attention, heads = point.attend(self.scoring, targets)
        return Asked(point.states, heads, (point, attention))

    def go_on(
        self, asked: Asked, to_heads: HeadVectors, to_states: NodeStates | None, weights: Nodes, targets: Targets
    ) -> ByNode:
        """Divide the integrand among the sources and, if they are asked for, by head and by circuit.

        total      [node, head, target, source]      what each source gives, through all circuits
        residual   [node, target]                    what the target gives itself, past the heads
        split      [node, target, circuit, source]
        """
        point, attention = asked.more
        directions, residual = to_heads * weights.view(-1, 1, 1, 1), None
        if to_states is not None:
            residual = (to_states * point.states_slope).sum(-1) * weights[:, None]
        total = differentiate_total(point, attention, directions, self.scoring, targets)
        parts = {"scores": total.sum(1)}
        if residual is None and not self.detail:
            return parts
        rows = torch.arange(len(targets), device=targets.device)
        residual = total.new_zeros(len(weights), len(targets)) if residual is None else residual
        parts["scores"][:, rows, targets] += residual
        if "heads" in self.detail:
            parts |= {"heads": total.transpose(1, 2), "residual": residual}
        if "circuits" in self.detail:
            circuits = differentiate(point, attention, directions, self.scoring)
            split = total.new_zeros(len(weights), len(targets), 4, total.shape[-1])
            split[:, :, 0], split[:, :, 1] = circuits.value.sum(1), circuits.key.sum(1)
            if circuits.query is not None:
                split[:, rows, 2, targets] = circuits.query.sum(1)
            split[:, rows, 3, targets] = residual
            parts["circuits"] = split
        return parts

    def level_at(self, node: Float[Tensor, "1"], targets: Targets) -> Float[Tensor, " target"]:
        point = self.path.at(node, targets)
        _, heads = point.attend(self.scoring, targets)
        return self.readout.level(self.block.post(point.states, heads, targets), targets)[0]


class MlpMap(ThroughPost):
    """A target's own heads to its output, its state held fixed: scores ``[target, head]``."""

    moves = False

    def __init__(
        self,
        block: HeadedBlock,
        start: Float[Tensor, "token head d_value"],
        readout: Readout | None,
        chunking: Chunking,
    ):
        super().__init__(block, readout, chunking)
        self.start, self.slope = start, block.heads - start

    def ask(self, nodes: Nodes, targets: Targets) -> Asked:
        return Asked(self._states(nodes, targets), self._heads(nodes, targets))

    def go_on(
        self, asked: Asked, to_heads: HeadVectors, to_states: NodeStates | None, weights: Nodes, targets: Targets
    ) -> ByNode:
        return {"scores": (to_heads * of_targets(self.slope, targets)).sum(-1) * weights.view(-1, 1, 1)}

    def level_at(self, node: Float[Tensor, "1"], targets: Targets) -> Float[Tensor, " target"]:
        output = self.block.post(self._states(node, targets), self._heads(node, targets), targets)
        return self.readout.level(output, targets)[0]

    def _heads(self, nodes: Nodes, targets: Targets) -> HeadVectors:
        return of_targets(self.start, targets) + nodes.view(-1, 1, 1, 1) * of_targets(self.slope, targets)

    def _states(self, nodes: Nodes, targets: Targets) -> NodeStates:
        return of_targets(self.block.states, targets).expand(len(nodes), -1, -1)


def compose(
    attention: Float[Tensor, "target head source"],
    displacement: Float[Tensor, "target head"],
    mlp: Float[Tensor, "target head"],
    targets: Targets,
    *,
    composition: str = "product",
) -> tuple[Float[Tensor, "target source"], Float[Tensor, " target"]]:
    """Follow scores through the heads, and say what each target's scores should add up to.

    ``"product"`` multiplies what a source gives a head by what that head gives the target, and sums over heads; its
    unit is the product of the two, so compare rankings with a whole-block map, not sizes. ``"conserving"`` first
    divides each head's scores by the head's displacement, so that a target's scores sum to those of its `mlp` map. A
    head that has not moved got everything from the target itself.

    Examples
    --------
    Two heads, each passing on half of what it read:

    >>> attention, mlp = torch.ones(3, 2, 3), torch.full((3, 2), 0.5)
    >>> compose(attention, attention.sum(-1), mlp, torch.arange(3))[0][0]
    tensor([1., 1., 1.])
    """
    if composition == "product":
        return torch.bmm(mlp[:, None], attention)[:, 0], (displacement * mlp).sum(-1)
    resting = displacement == 0
    shares = attention / torch.where(resting, torch.ones_like(displacement), displacement)[..., None]
    rows = torch.arange(len(targets), device=targets.device)
    own = shares.transpose(1, 2)
    own[rows, targets] = torch.where(resting, torch.ones_like(displacement), own[rows, targets])
    return torch.einsum("mhs,mh->ms", shares, mlp), mlp.sum(-1)


def allowed_in_composed(
    allowed: Float[Tensor, "target head"],
    displacement: Float[Tensor, "target head"],
    mlp: Float[Tensor, "target head"],
    *,
    composition: str,
) -> Float[Tensor, " target"]:
    """Say what the gaps of all heads may come to where their scores are followed on."""
    if composition != "product":
        allowed = torch.where(displacement == 0, 0, allowed / displacement)
    return (allowed * mlp.abs()).sum(-1)
