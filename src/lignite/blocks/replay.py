"""A recorded call of a block, made again with other states, its heads seen and given; and what may be rounding then."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from lignite.attribution.attend import heads_of
from lignite.attribution.axes import PointHeads, PointStates, TargetPointHeads, Targets, TargetStates
from lignite.attribution.block import Projections
from lignite.blocks.arguments import (
    Arguments,
    change_tensors,
    keep_tokens,
    put_argument,
    read_states,
    tile_points,
)
from lignite.blocks.attention import READABLE, AttendCall, OwnCall, intercepted, observed
from lignite.blocks.norms import norms_in
from lignite.blocks.record import BlockCall
from lignite.errors import SplitError
from lignite.models.experts import held_in
from lignite.models.hold import FOREIGN, Captured, before_each, first_line
from lignite.models.outputs import sizes_of
from lignite.models.stream import in_memory

HALF = (torch.float16, torch.bfloat16)
"""Precisions that record states but are too coarse to integrate in: their blocks are worked on in float32."""


class Rounding(NamedTuple):
    """These relative differences, and smaller ones, are put down to rounding.

    Attributes
    ----------
    block
        Of a token's output, between a split or replayed block and the recorded one, in the precision the model ran in.
        float32 is the promise; float64 models keep norms and softmax that compute in float32, whose rounding is 6e-8
        per operation; the half precisions carry 11 and 8 bits, and a block adds up some tens of roundings.
    answer
        Of the number that is explained, between its replay from states and the model: sums in another order; float64
        models, too, may compute rotary angles and softmax in float32. What bypasses the states misses by parts in ten.
    again
        Between two answers to the same question, put in another shape (padded, or in float32): sums in another order.
    """

    block: float
    answer: float
    again: float


ROUNDING = {
    torch.float64: Rounding(block=1e-6, answer=1e-7, again=1e-9),
    torch.float32: Rounding(block=1e-5, answer=1e-5, again=1e-4),
    torch.float16: Rounding(block=2e-2, answer=1e-5, again=2e-2),
    torch.bfloat16: Rounding(block=1e-1, answer=1e-5, again=1e-1),
}


def in_full(tensor: Shaped[Tensor, "*any"]) -> Shaped[Tensor, "*any"]:
    """Widen numbers to a precision that can be integrated in."""
    return tensor.float() if tensor.dtype in HALF else tensor


def largest_difference(actual: Float[Tensor, "*any token d"], expected: Float[Tensor, "*any token d"]) -> float:
    """Measure how far tokens' vectors are apart at most, relative to their length; infinite where one is not finite.

    Examples
    --------
    >>> largest_difference(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    1.0
    """
    error = differences(actual, expected)
    return float(error.max()) if torch.isfinite(error).all() else float("inf")


def differences(
    actual: Float[Tensor, "*any token d"], expected: Float[Tensor, "*any token d"]
) -> Float[Tensor, " vector"]:
    """Measure how far every token's vector is apart, relative to its length."""
    actual, expected = actual.flatten(0, -2), expected.flatten(0, -2)
    size = torch.linalg.vector_norm(expected, dim=-1)
    return torch.linalg.vector_norm(actual - expected, dim=-1) / torch.maximum(size, 1e-3 * size.max())


def move_first(states: Float[Tensor, "token d"], kept: Bool[Tensor, " token"] | None) -> Float[Tensor, "1 token d"]:
    """Move the first token of states, which all that look back can see.

    It moves by noise of its own size: a constant would vanish in a norm.
    """
    # a seed of its own: noise along the state vanishes in a norm too, and weights may be draws from seed 0
    generator = torch.Generator("cpu").manual_seed(104_729)
    noise = torch.randn(states.shape[-1], generator=generator, dtype=torch.float64, device="cpu").to(states)
    moved, place = states.clone(), _first(kept)
    moved[place] += noise * moved[place].std()
    return moved[None]


def others_than_first(states: Float[Tensor, "token d"], kept: Bool[Tensor, " token"] | None) -> Bool[Tensor, " token"]:
    """Flag all tokens but the one that `move_first` moves."""
    return torch.arange(len(states), device=states.device) != _first(kept)


def _first(kept: Bool[Tensor, " token"] | None) -> int:
    return 0 if kept is None else int(kept.nonzero()[0, 0])


def tells_points_apart(call: BlockCall) -> bool:
    """Tell whether anything that the block is handed beside its states has several rows (ALiBi of every head)."""
    shapes = sizes_of((call.args, call.kwargs))
    return any(shape is not None and len(shape) > 2 and shape[0] > 1 for shape in shapes)


@contextmanager
def norms_noted(module: nn.Module) -> Iterator[list[nn.Module]]:
    """Note the norms of a block that run."""
    seen: list[nn.Module] = []
    with before_each(norms_in(module), lambda norm, _: seen.append(norm)):
        yield seen


def linear_inputs(module: nn.Module, run: Callable[[], Any], n_tokens: int) -> list[tuple[nn.Module, int]]:
    """List the linear maps of a block that see one row per token, in the order in which they run, with its width."""
    seen: list[tuple[nn.Module, int]] = []

    def note(part: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor) and inputs[0].shape[:-1].numel() == n_tokens:
            seen.append((part, inputs[0].shape[-1]))

    maps = [part for part in module.modules() if getattr(getattr(part, "weight", None), "ndim", 0) == 2]
    with before_each(maps, note):
        run()
    return seen


def saved_bytes(run: Callable[[], Tensor], module: nn.Module) -> int:
    """Count the bytes that autograd keeps of a run, without weights."""
    kept: dict[int, int] = {}

    def note(tensor: Shaped[Tensor, "..."]) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        # a graph that kept the tensors it has made would hold itself; one that kept none would use their places again
        return tensor.detach()

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        run()
    weights = {weight.untyped_storage().data_ptr() for weight in (*module.parameters(), *held_in(module))}
    return sum(size for place, size in kept.items() if place not in weights)


@dataclass(frozen=True, eq=False)
class Replay:
    """A replay makes one call of one block again, with other states; use it inside `at_rest`.

    Attributes
    ----------
    module
        The model's own, or a copy in float32 of one in half precision.
    model_dtype
        The precision the model ran in.
    states, output
        What entered and left when the call was recorded, in float32 or better.
    kept
        True for tokens, false for padding; None where all are tokens.
    n_heads
        How many the configuration says there are; None where it does not.
    is_tiled
        Whether what the block is handed beside its states is repeated for several points.
    is_plain
        Whether lignite's attention stands in for the model's own, which refuses.
    """

    call: BlockCall
    module: nn.Module
    model_dtype: torch.dtype
    states: Float[Tensor, "token d"]
    output: Float[Tensor, "token d"]
    kept: Bool[Tensor, " token"] | None
    n_heads: int | None
    is_tiled: bool = False
    is_plain: bool = False

    def as_loaded(self, states: PointStates) -> PointStates:
        """Run the block as the model runs it: masks, biases and scores are computed by the model's own code."""
        if not self.is_plain:
            args, kwargs = self.arguments(states)
            return self.read(self.module(*args, **kwargs))
        args, kwargs = self.arguments(states, masked=True)
        with intercepted(self.module):
            return self.read(self.module(*args, **kwargs))

    def read(self, output: Any) -> TargetStates:
        """Read states from what the block returns."""
        return self.call.layout.read(read_states(output))

    def arguments(self, states: TargetStates, targets: Targets | None = None, *, masked: bool = False) -> Arguments:
        """Put other states into the call, of all tokens or some; `masked`: as it was made on lignite's attention."""
        call = (self.call.masked or self.call) if masked else self.call
        changes: list[Callable[[Tensor], Tensor]] = []
        if self.model_dtype in HALF:
            changes.append(in_full)
        if targets is not None:
            changes.append(lambda tensor: keep_tokens(tensor, len(self.states), targets))
        if self.is_tiled and len(states) > 1:
            changes.append(lambda tensor: tile_points(tensor, len(states)))
        args, kwargs = call.args, call.kwargs
        for change in changes:
            args, kwargs = change_tensors((args, kwargs), change)
        return put_argument(args, kwargs, call.states_at, call.layout.write(states))

    def verify(self) -> Float[Tensor, "token d"]:
        """Return the output in which paths end, once the block has said the same again.

        Raises
        ------
        SplitError
            If it has not.
        """
        again = self.as_loaded(self.states[None])[0]
        allowed = ROUNDING[self.model_dtype].block
        error = largest_difference(again, self._given(again))
        if not error <= allowed:
            raise SplitError(f"differs from the block by {error:.1e} (allowed: {allowed:.0e})")
        # Paths are followed in float32, so they end in float32: the output of a half-precision model was rounded.
        return again if self.model_dtype in HALF else self._given(again)

    def _given(self, again: Float[Tensor, "token d"]) -> Float[Tensor, "token d"]:
        """Give what was recorded.

        What leaves a padding token that may look nowhere differs between attention implementations.
        """
        return self.output if self.kept is None else torch.where(self.kept[:, None], self.output, again)

    def drift(self, again: Float[Tensor, "token d"]) -> Float[Tensor, ""]:
        """Say how far the block's output now is from what was recorded, in units of what rounding may do; not read."""
        return differences(again, self._given(again)).max() / ROUNDING[self.model_dtype].block

    def tile_if_needed(
        self, together: Callable[["Replay"], Float[Tensor, "*any d"]], alone: Float[Tensor, "*any d"]
    ) -> "Replay":
        """Find the replay by which several points `together` give what they give `alone`.

        Blocks with batch-major extras (ALiBi of every head) need these repeated for several points.

        Raises
        ------
        SplitError
            If there is none.
        """
        for is_tiled in (False, True):
            tried = replace(self, is_tiled=is_tiled)
            try:
                if largest_difference(together(tried), alone) <= self.allowed:
                    return tried
            except FOREIGN:
                continue
        raise SplitError("it gives different results for several inputs at once than for one")

    def batched(self, function: Callable[["Replay", Tensor], Tensor]) -> "Replay":
        """Find the replay by which points side by side do not change each other in what `function` makes of them."""
        pair = torch.cat([self.states[None], move_first(self.states, self.kept)])
        alone = torch.cat([function(self, states[None]) for states in pair]).flatten(0, 1)
        return self.tile_if_needed(lambda tried: function(tried, pair).flatten(0, 1), alone)

    @property
    def allowed(self) -> float:
        """What rounding may do to a token's output here."""
        return ROUNDING[self.states.dtype].block


def replay(call: BlockCall, n_heads: int | None, kept: Bool[Tensor, " token"] | None) -> tuple[Replay, tuple[str, ...]]:
    """Prepare a recorded call to be made again; say what had to be put in the place of the model's own code for it.

    Blocks in half precision are copied to float32; others are used in place.
    """
    half = (weight.dtype for weight in call.module.parameters() if weight.dtype in HALF)
    dtype = next(half, call.states.dtype)  # states kept in float32 (Mamba's) do not make half-precision weights exact
    module = in_memory(call.module)
    module = copy.deepcopy(module).float() if dtype in HALF else module
    found = Replay(call, module, dtype, in_full(call.states), in_full(call.output), kept, n_heads)
    refusal = None if call.masked is None else _refusal(found)
    if refusal is None:
        return found, ()
    reason = f"its own attention function refuses: plain attention stands in ({first_line(refusal)})"
    return replace(found, is_plain=True), (reason,)


def _refusal(found: Replay) -> Exception | None:
    """Ask what the model's own attention function has against two inputs at once and their gradients."""
    pair = torch.cat([found.states[None], move_first(found.states, found.kept)]).requires_grad_()
    failure: Exception | None = None
    for is_tiled in (False, True) if tells_points_apart(found.call) else (False,):
        try:
            with torch.enable_grad():
                replace(found, is_tiled=is_tiled).as_loaded(pair)
            return None
        except torch.OutOfMemoryError:
            raise
        except FOREIGN as error:
            failure = failure or error
    return failure


# At the attention interface


@contextmanager
def attending(found: Replay, answer: Callable[[OwnCall | AttendCall], Tensor]) -> Iterator[None]:
    """Let `answer` stand for attention: the model's own where its masks are understood, else lignite's."""
    with (observed if found.call.masked is None else intercepted)(found.module, answer):
        yield


def capture_call(found: Replay, states: PointStates, read: Callable[[Any], Any], overrides: dict[str, Any]) -> Any:
    """Return what `read` makes of the block's call of attention; the block is left there."""

    def leave(call: Any) -> Tensor:
        raise Captured(read(call))

    args, kwargs = found.arguments(states, masked=True)
    try:
        with attending(found, leave):
            found.module(*args, **(kwargs | overrides))
    except Captured as captured:
        return captured.content
    raise SplitError("it does not use transformers' attention interface")


def run_attended(
    found: Replay, states: TargetStates, heads: TargetPointHeads, targets: Targets | None = None
) -> TargetStates:
    args, kwargs = found.arguments(states, targets, masked=True)
    with attending(found, lambda _: heads):
        return found.read(found.module(*args, **kwargs))


def read_projections(call: OwnCall | AttendCall) -> Projections:
    return call.projections if isinstance(call, AttendCall) else Projections(*call.args[1:4])


def read_call_and_heads(call: OwnCall | AttendCall) -> tuple[AttendCall, Tensor]:
    if isinstance(call, AttendCall):
        return call, heads_of(*call.projections, call.scoring)
    if call.name not in READABLE:
        raise SplitError(
            f"its model runs on the attention function {call.name!r} alone, whose masks are not understood"
        )
    return call.attended(), call.heads()


# At the output projection


def capture_projected(found: Replay, module: nn.Module, states: PointStates) -> PointHeads:
    """Return the input of a linear map, as heads; the block is left there."""

    def leave(heads: Float[Tensor, "*row any"]) -> Tensor:
        raise Captured(heads)

    args, kwargs = found.arguments(states)
    try:
        with at_projection(module, states.shape[:2], leave):
            found.module(*args, **kwargs)
    except Captured as captured:
        return captured.content.reshape(*states.shape[:2], found.n_heads, -1)
    raise SplitError("its output projection is not run")


def run_projected(
    found: Replay, module: nn.Module, states: TargetStates, heads: TargetPointHeads, targets: Targets | None = None
) -> TargetStates:
    args, kwargs = found.arguments(states, targets)
    with at_projection(module, states.shape[:2], lambda _: heads):
        return found.read(found.module(*args, **kwargs))


@contextmanager
def at_projection(module: nn.Module, shape: Sequence[int], see: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace the input of a linear map by what `see` makes of it.

    A map that also serves something else (shared relative embeddings) is met at its first call with one row per token.
    """
    n_rows, met = torch.Size(shape).numel(), False

    def meet(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        nonlocal met
        if met or inputs[0].shape[:-1].numel() != n_rows:
            return None
        met = True
        return see(inputs[0]).reshape(inputs[0].shape), *inputs[1:]

    with before_each([module], meet):
        yield
