"""Stacks of blocks written by hand, whose integrals are known."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

ROUNDED = {"rtol": 1e-10, "atol": 1e-12}
"""Float64 sums of some hundred terms, and a differentiation matrix of twelve nodes that loses three digits."""


ROWS, TOKENS, WIDTH = 2, 3, 2


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@dataclass
class Blocks:
    """A stack written by hand: functions of ``[point, token, d]``, then a head; states are those of `first`."""

    first: Tensor
    functions: list[Callable[[Tensor], Tensor]]
    head: Callable[[Tensor], Tensor]
    kept: Tensor = field(default_factory=lambda: torch.ones(ROWS, TOKENS, dtype=torch.bool))

    def __post_init__(self):
        self.states, self.value = self.trace(self.first, torch.arange(len(self.first)))
        self.calls = 0

    @property
    def n_layers(self):
        return len(self.functions)

    def trace(self, states, index):
        found = [states]
        for function in self.functions:
            found.append(function(found[-1]))
        return found, self.head(found[-1])

    def trace_gradients(self, states, index):
        found, value = self.trace(states.detach().requires_grad_(), index)
        return [each.detach() for each in found], list(torch.autograd.grad(value.sum(), found, materialize_grads=True))

    def trace_slopes(self, states, slope, index):
        return list(torch.func.jvp(lambda start: self.trace(start, index)[0], (states,), (slope,))[1])

    def run(self, layer, states, index):
        self.calls += len(index)
        for function in self.functions[layer:]:
            states = function(states)
        return self.head(states)

    def run_entering(self, entry, states, index):
        each = [self.run(layer, states[[at]], index[[at]]) for at, layer in enumerate(entry)]
        return torch.cat(each)

    def block(self, layer, states, index):
        return self.functions[layer](states)

    def each_block(self, states, index):
        return [self.block(layer, each, index) for layer, each in enumerate(states)]


def linear_model(kept: Tensor | None = None) -> tuple[Blocks, list[Tensor]]:
    """Blocks that mix tokens and coordinates linearly; also F's gradient at every layer, worked out by hand."""
    mixing, turning, weight = (
        drawn(3, TOKENS, TOKENS, seed=1),
        drawn(3, WIDTH, WIDTH, seed=2),
        drawn(TOKENS, WIDTH, seed=3),
    )
    functions = [
        lambda x, m=m, w=w: torch.einsum("tu,pud,de->pte", m, x, w) for m, w in zip(mixing, turning, strict=True)
    ]
    gradients = [weight]
    for m, w in zip(mixing.flip(0), turning.flip(0), strict=True):
        gradients.insert(0, m.T @ gradients[0] @ w.T)
    options = {} if kept is None else {"kept": kept}
    return Blocks(
        drawn(ROWS, TOKENS, WIDTH, seed=0), functions, lambda x: (x * weight).sum((1, 2)), **options
    ), gradients


def quadratic_head() -> tuple[Blocks, Tensor]:
    """No block, and F(h) = hᵀ Q h / 2 across tokens and coordinates."""
    form = drawn(TOKENS * WIDTH, TOKENS * WIDTH, seed=4)
    form = form + form.T
    head = lambda x: torch.einsum("pi,ij,pj->p", x.flatten(1), form, x.flatten(1)) / 2  # noqa: E731
    return Blocks(drawn(ROWS, TOKENS, WIDTH, seed=5), [], head), form


def starts(model: Blocks, seed: int | None) -> Tensor:
    return torch.zeros_like(model.first) if seed is None else drawn(ROWS, TOKENS, WIDTH, seed=seed)


MIXED = torch.tensor([[0.0, 1.0, 0.5], [1.0, 0.0, -0.7], [0.5, -0.7, 0.0]], dtype=torch.float64)


def bending_model() -> Blocks:
    """A block that squares, a head that multiplies tokens: y = x², F = Σ_tu M_tu ⟨y_t, y_u⟩ / 2."""
    return Blocks(
        drawn(ROWS, TOKENS, WIDTH, seed=9), [torch.square], lambda y: torch.einsum("ptd,tu,pud->p", y, MIXED, y) / 2
    )


def sharp_model(steepness: float) -> Blocks:
    """F = Σ tanh(s·y) behind a block that doubles: six nodes do not reach it."""
    return Blocks(
        drawn(ROWS, TOKENS, WIDTH, seed=11), [lambda x: 2 * x], lambda y: torch.tanh(steepness * y).sum((1, 2))
    )
