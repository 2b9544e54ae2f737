"""A stack whose rows ask several questions of the same inputs: what they share is run once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from lignite.attribution.axes import PerPoint, PointRows, PointStates
from lignite.blocks.arguments import UnclearError
from lignite.blocks.stack import Answer, Seen, Stack
from lignite.models.load import Model
from lignite.targets.rows import Row, run, same_questions


@dataclass(frozen=True, eq=False)
class Same:
    """Points with the same states in the same place: `first` are the distinct ones, `back` finds that of every point.

    `turn` counts the points that are the same: those of one turn are all distinct.
    """

    first: Int[Tensor, " distinct"]
    back: Int[Tensor, " point"]
    turn: Int[Tensor, " point"]

    @classmethod
    def of(cls, states: PointStates, place: Int[Tensor, " point"]) -> "Same":
        """Compare states digit by digit; their sums tell which to compare."""
        sums = states.detach().flatten(1).sum(1, dtype=torch.float64)
        known: dict[tuple[int, float], list[int]] = {}
        first: list[int] = []
        back, count = [], []
        for point, key in enumerate(zip(place.tolist(), sums.tolist(), strict=True)):
            alike = known.setdefault(key, [])
            at = next((at for at in alike if torch.equal(states[point], states[first[at]])), len(first))
            if at == len(first):
                alike.append(at)
                first.append(point)
                count.append(0)
            back.append((at, count[at]))
            count[at] += 1
        found = torch.tensor(back, device=states.device)
        return cls(torch.tensor(first, device=states.device), found[:, 0], found[:, 1])

    def turns(self) -> Iterator[tuple[Int[Tensor, " some"], bool]]:
        """Points by their turn, and whether more are to come."""
        last = int(self.turn.max())
        for turn in range(last + 1):
            yield (self.turn == turn).nonzero()[:, 0], turn < last

    def apply(self, states: PointStates, function: Callable[[PointStates], Tensor]) -> Tensor:
        """Compute a function of distinct states that answers for every point, differentiable in the states of each."""
        if len(self.first) == len(self.back):
            return function(states)
        if not (torch.is_grad_enabled() and states.requires_grad):
            return function(states[self.first])
        found: Tensor = _Once.apply(states, self, function)
        return found


class _Once(torch.autograd.Function):
    """One graph of distinct points, through which every point that they stand for is differentiated by itself."""

    @staticmethod
    def forward(ctx: Any, states: PointStates, same: Same, function: Callable[[PointStates], Tensor]) -> Tensor:
        with torch.enable_grad():
            ctx.leaf = states[same.first].detach().requires_grad_()
            ctx.value = function(ctx.leaf)
        ctx.same = same
        return ctx.value.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Float[Tensor, "point *any"]) -> tuple[Tensor, None, None]:
        same: Same = ctx.same
        gradient = ctx.leaf.new_empty((len(same.back), *ctx.leaf.shape[1:]))
        for which, more in same.turns():
            sent = torch.zeros_like(given)
            sent[which] = given[which]
            (part,) = torch.autograd.grad(ctx.value, ctx.leaf, sent, retain_graph=more)
            gradient[which] = part[same.back[which]]
        return gradient, None, None


class SharedStack(Stack):
    """A stack runs points of several rows once where they read the same input and have the same states.

    A forward pass then serves all classes, and one graph every class's own backward pass.
    """

    def __init__(self, model: Model, rows: Sequence[Row]):
        self._first = torch.tensor(same_questions(rows), device=model.device)
        self._asked: tuple[Same, PointRows] | None = None
        super().__init__(model, rows)

    def see(self, **others: Tensor) -> Seen:
        """See what the untouched model does; rows of one input see the same, to the last digit."""
        seen = super().see(**others)
        assert seen.choices is not None  # nothing is shared of functions
        choices = seen.choices[self._first]
        return Seen([each[self._first] for each in seen.states], self.questions.values_of(choices), choices)

    def run(self, layer: int, states: PointStates, index: PointRows) -> PerPoint:
        same = Same.of(states, self._first[index])
        return self._of_all(same, states, index, lambda distinct, rows: Stack.run(self, layer, distinct, rows))

    def run_entering(
        self, entry: Sequence[int], states: PointStates, index: PointRows, *, n_passing: int = 0
    ) -> PerPoint:
        if n_passing or not self.sweeps:
            return super().run_entering(entry, states, index, n_passing=n_passing)
        layers = torch.tensor(entry, device=states.device)
        same = Same.of(states, self._first[index] * (self.n_layers + 1) + layers)
        entries = layers[same.first].tolist()
        try:
            return self._of_all(
                same, states, index, lambda distinct, rows: self._run_together(entries, distinct, rows, 0)
            )
        except UnclearError:
            return self._run_apart(entry, states, index)

    def block(self, layer: int, states: PointStates, index: PointRows) -> PointStates:
        same = Same.of(states, self._first[index])
        rows = index[same.first]
        return same.apply(states, lambda distinct: Stack.block(self, layer, distinct, rows)[same.back])

    def each_block(self, states: Sequence[PointStates], index: PointRows) -> list[PointStates]:
        return [self.block(layer, each, index) for layer, each in enumerate(states)]

    def trace(self, states: PointStates, index: PointRows) -> tuple[list[PointStates], PerPoint]:
        if torch.is_grad_enabled() or forward_ad.unpack_dual(states).tangent is not None:
            return super().trace(states, index)
        same = Same.of(states, self._first[index])
        with self._asking(same, index):
            found, value = super().trace(states[same.first], index[same.first])
        return [each[same.back] for each in found], value

    def trace_gradients(self, states: PointStates, index: PointRows) -> tuple[list[PointStates], list[PointStates]]:
        same = Same.of(states, self._first[index])
        with torch.enable_grad(), self._asking(same, index):
            found, value = super().trace(states[same.first].detach().requires_grad_(), index[same.first])
        gradients = [each.detach()[same.back] for each in found]
        for which, more in same.turns():
            asked = value[which].sum()
            parts = torch.autograd.grad(asked, found, retain_graph=more, materialize_grads=True)
            for gradient, part in zip(gradients, parts, strict=True):
                gradient[which] = part[same.back[which]]
        return [each.detach()[same.back] for each in found], gradients

    def _of_all(
        self,
        same: Same,
        states: PointStates,
        index: PointRows,
        function: Callable[[PointStates, PointRows], PerPoint],
    ) -> PerPoint:
        """Compute F of all points from distinct ones."""

        def answered(distinct: PointStates) -> PerPoint:
            with self._asking(same, index):
                return function(distinct, index[same.first])

        return same.apply(states, answered)

    @contextmanager
    def _asking(self, same: Same, index: PointRows) -> Iterator[None]:
        """While this lasts, distinct points are asked what all points ask."""
        self._asked = same, index
        try:
            yield
        finally:
            self._asked = None

    def _run_rows(self, answer: Answer, index: PointRows) -> Tensor:
        if self._asked is None:
            return super()._run_rows(answer, index)
        same, rows = self._asked
        with self.answering(answer):
            outputs = run(self.network, {name: each[index] for name, each in self.tensors.items()})
        return self.questions.of(rows).values_of(self.questions.of(index).choices(outputs)[same.back])
