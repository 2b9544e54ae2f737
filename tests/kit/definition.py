"""The definition, taken literally: oracle.py on a model's own blocks and eager attention. What the engine is held to.

The blocks are recorded and replayed by a few lines of their own, so that no code that divides blocks is trusted here.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from tests.kit.architectures import Architecture, full_precision
from tests.kit.oracle import attribute_all, attribute_one
from torch import Tensor, nn

from lignite.attribution.plan import GRADED_POWER
from lignite.attribution.rules import Rule, gauss_legendre, graded

_OUTPUT_PROJECTION = re.compile(
    r"(attention|attn|SelfAttention|self_attention)\.(output\.dense|o_proj|out_proj|c_proj|o|dense|out_lin|Wo|wo)$"
)
_CACHES = ("past_key_values", "layer_past", "cache_params")


@dataclass(frozen=True, eq=False)
class EagerBlock:
    """One block as the model calls it on one input; states and heads have no batch axis."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    states: Tensor
    output: Tensor
    n_heads: int

    def whole(self, states: Tensor) -> Tensor:
        output = self.module(states[None], *self.args, **self.kwargs)
        return (output[0] if isinstance(output, tuple) else output)[0]

    def heads(self, states: Tensor) -> Tensor:
        """``[token, head, d_head]``: what enters the output projection."""
        seen: list[Tensor] = []
        self.with_heads(states, lambda heads: seen.append(heads) or heads)
        return seen[0]

    def with_heads(self, states: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """The block's output if its heads were changed so."""

        def replace(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
            return (change(inputs[0].reshape(len(states), self.n_heads, -1)).reshape(inputs[0].shape),)

        with _hooked([self.projection.register_forward_pre_hook(replace)]):
            return self.whole(states)

    @contextmanager
    def stopped(self, *names: str) -> Iterator[None]:
        """No gradient passes through the outputs of these parts of the block."""
        parts = [self.module.get_submodule(name) for name in names]
        with _hooked([part.register_forward_hook(lambda _, inputs, output: output.detach()) for part in parts]):
            yield

    @property
    def projection(self) -> nn.Module:
        (found,) = (part for name, part in self.module.named_modules() if _OUTPUT_PROJECTION.search(name))
        return found


@contextmanager
def _hooked(handles: list[Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for handle in handles:
            stack.callback(handle.remove)
        yield


def eager_network(architecture: Architecture, *, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The architecture in float64 on eager attention; with `dtype`, the weights are rounded to it first."""
    network = full_precision(architecture.build(seed=0, dtype=dtype).double())
    if architecture.attention == "interface":
        network.set_attn_implementation("eager")
    return network.requires_grad_(False)


def eager_blocks(architecture: Architecture, network: nn.Module, inputs: Mapping[str, Tensor]) -> list[EagerBlock]:
    """Every call of a block while the model reads the inputs, in order."""
    blocks: list[EagerBlock] = []

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        output = output[0] if isinstance(output, tuple) else output
        kwargs = {name: None if name in _CACHES else value for name, value in kwargs.items()}
        n_heads = getattr(network.config, "num_attention_heads", 0)
        blocks.append(EagerBlock(module, args[1:], kwargs, args[0][0].clone(), output[0].clone(), n_heads))

    if "use_cache" in inspect.signature(network.forward).parameters:
        inputs = {**inputs, "use_cache": False}
    modules = network.get_submodule(architecture.blocks)
    with torch.no_grad(), _hooked([block.register_forward_hook(note, with_kwargs=True) for block in modules]):
        network(**inputs)
    return blocks


@dataclass(frozen=True, eq=False)
class Definition:
    """Maps of a block by the definition for some targets: every method returns scores and displacements, target first.

    `baseline` is the start of the path, None for the target-token path. Nodes are those of the engine: a path that
    starts at nothing is graded, be it in the states or in the heads.
    """

    block: EagerBlock
    baseline: Tensor | None
    targets: Sequence[int]
    n_steps: int
    readout: str = "displacement"

    @property
    def rule(self) -> Rule:
        smooth = self.baseline is None or self.baseline.any()
        return gauss_legendre(self.n_steps) if smooth else graded(self.n_steps, GRADED_POWER)

    def start(self, target: int) -> Tensor:
        states = self.block.states
        return states[target].expand_as(states) if self.baseline is None else self.baseline

    def whole(self, change: Callable[[Tensor], Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """``[target, source]``; `change` stops gradients at some heads."""
        if change is None:
            return self._attribute(lambda states, j: self.block.whole(states)[j])
        return self._attribute(lambda states, j: self.block.with_heads(states, change)[j])

    def attention(self, heads: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """``[target, head, source]``, of all heads or some."""
        parts = [
            self._attribute(lambda states, j, head=head: self.block.heads(states)[j, head])
            for head in (range(self.block.n_heads) if heads is None else heads)
        ]
        return torch.stack([scores for scores, _ in parts], 1), torch.stack([moved for _, moved in parts], 1)

    def mlp(self, *, from_zero: bool = False) -> tuple[Tensor, Tensor]:
        """``[target, head]``: all other tokens' heads, and all states, stay."""
        with torch.no_grad():
            end = self.block.heads(self.block.states)
            start = torch.stack([self.block.heads(self.start(target))[target] for target in self.targets])
        if from_zero:
            start = torch.zeros_like(start)
        rule = gauss_legendre(self.n_steps) if start.any() else graded(self.n_steps, GRADED_POWER)

        def output(target: int) -> Callable[[Tensor], Tensor]:
            row = (torch.arange(len(end)) == target)[:, None, None]
            return lambda own: self.block.with_heads(self.block.states, lambda _: torch.where(row, own, end))[target]

        rows = [
            attribute_one(output(target), end[target], origin, rule=rule, readout=self.readout)
            for target, origin in zip(self.targets, start, strict=True)
        ]
        return torch.stack([scores for scores, _ in rows]), torch.stack([displacement for _, displacement in rows])

    def heads(self) -> tuple[Tensor, Tensor]:
        """`whole` split by head, ``[target, head, source]``, and what passes by all heads, ``[target, source]``."""
        residual = self.whole(torch.Tensor.detach)[0]
        n_heads = self.block.n_heads

        def through(head: int) -> Callable[[Tensor], Tensor]:
            chosen = (torch.arange(n_heads) == head)[:, None]
            return lambda heads: torch.where(chosen, heads, heads.detach())

        return torch.stack([self.whole(through(head))[0] - residual for head in range(n_heads)], dim=1), residual

    def circuits(self, *, query: str, key: str, value: str) -> dict[str, Tensor]:
        """`whole` split by the projections that its gradient passes, given their names in the block."""
        residual = self.whole(torch.Tensor.detach)[0]
        others = {"value": (query, key), "key": (query, value), "query": (key, value)}
        parts = {"residual": residual}
        for circuit, names in others.items():
            with self.block.stopped(*names):
                parts[circuit] = self.whole()[0] - residual
        return parts

    def _attribute(self, function: Callable[[Tensor, int], Tensor]) -> tuple[Tensor, Tensor]:
        return attribute_all(
            function, self.block.states, self.start, self.targets, rule=self.rule, readout=self.readout
        )
