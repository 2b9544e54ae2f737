"""A recorded call of a block, made again with other states."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lignite.attribution.axes import PointStates, Targets
from lignite.blocks.arguments import Arguments, change_tensors, keep_tokens, put_argument, read_states, tile_points
from lignite.blocks.attention import configurations, intercepted
from lignite.blocks.probe import move_first, tells_points_apart
from lignite.blocks.record import BlockCall
from lignite.blocks.rounding import HALF, ROUNDING, in_full, largest_difference
from lignite.errors import SplitError
from lignite.models.failures import FOREIGN, first_line


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
            return read_states(self.module(*args, **kwargs))
        args, kwargs = self.arguments(states, masked=True)
        with intercepted(configurations(self.module)):
            return read_states(self.module(*args, **kwargs))

    def arguments(
        self,
        states: Float[Tensor, "point row d"],
        targets: Targets | None = None,
        *,
        masked: bool = False,
    ) -> Arguments:
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
            args, kwargs = change_tensors(args, change), change_tensors(kwargs, change)
        return put_argument(args, kwargs, call.states_at, states)

    def verify(self) -> Float[Tensor, "token d"]:
        """Return the output in which paths end, once the block has said the same again.

        Raises
        ------
        SplitError
            If it has not.
        """
        again, given = self.as_loaded(self.states[None])[0], self.output
        if self.kept is not None:
            # What leaves a padding token that may look nowhere differs between attention implementations.
            given = torch.where(self.kept[:, None], given, again)
        allowed = ROUNDING[self.model_dtype].block
        error = largest_difference(again, given)
        if not error <= allowed:
            raise SplitError(f"differs from the block by {error:.1e} (allowed: {allowed:.0e})")
        # Paths are followed in float32, so they end in float32: the output of a half-precision model was rounded.
        return again if self.model_dtype in HALF else given

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
    module = copy.deepcopy(call.module).float() if dtype in HALF else call.module
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
