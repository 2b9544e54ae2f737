"""What the mathematics needs of a transformer block; lignite.models provides it for real ones."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from lignite.attribution.attend import Scoring
from lignite.attribution.axes import PointHeads, PointStates, TargetPointHeads, Targets, TargetStates


class Projections(NamedTuple):
    """Queries, keys and values that `pre` computes from states; grouped keys are not repeated."""

    query: Float[Tensor, "point head token d_key"]
    key: Float[Tensor, "point kv token d_key"]
    value: Float[Tensor, "point kv token d_value"]


class Rotation(NamedTuple):
    """A linear position code: a key is ``unrotated * cos + turned * sin + passed``, elementwise.

    `cos` and `sin` belong to positions, the other three to the token's content.
    """

    unrotated: Float[Tensor, "point kv token d_key"]
    turned: Float[Tensor, "point kv token d_key"]
    passed: Float[Tensor, "point kv token d_key"]
    cos: Float[Tensor, "token d_key"]
    sin: Float[Tensor, "token d_key"]


@runtime_checkable
class Block(Protocol):
    """A block on one input, as a function of its states. Points of a batch never interact.

    `states` are those that entered it, `output` those that left it. `route` is "interface" where it can be taken apart
    completely (an `OpenBlock`), "projection" where it is split at its output projection and offers `attention` and
    `post` but no `pre` (a `HeadedBlock`), "definition" where it has no heads (`n_heads` 0) and offers `whole` alone.
    `norms_first` tells whether a norm runs before attention.
    """

    @property
    def route(self) -> str: ...

    @property
    def refused(self) -> Sequence[str]: ...

    @property
    def norms_first(self) -> bool: ...

    @property
    def states(self) -> Float[Tensor, "token d"]: ...

    @property
    def output(self) -> Float[Tensor, "token d"]: ...

    @property
    def n_heads(self) -> int: ...

    def whole(self, states: PointStates) -> PointStates: ...

    def as_loaded(
        self, states: PointStates, change: Callable[[PointHeads], PointHeads] | None = None
    ) -> tuple[PointHeads, PointStates]:
        """Heads (none where it shows none) and output as the model runs the block; `change` may give it other heads."""

    def retreat(self, reason: str) -> "Block":
        """The same block by the next route, since this one was found wrong; SplitError if there is none."""

    def post_bound(self) -> int:
        """Memory that one target's `post` keeps at most, from the widths of its linear maps."""

    def path_bytes(self) -> int:
        """Memory that one run of the block on all tokens keeps for its backward pass."""


@runtime_checkable
class HeadedBlock(Block, Protocol):
    """A block that shows the heads of its input, and takes others."""

    @property
    def heads(self) -> Float[Tensor, "token head d_value"]: ...

    def attention(self, states: PointStates) -> PointHeads: ...

    def post(self, states: TargetStates, heads: TargetPointHeads, targets: Targets) -> TargetStates:
        """The rest of the block for some of its tokens: each is treated alone."""

    def post_bytes(self) -> int:
        """Memory that one target's `post` keeps for its backward pass."""


@runtime_checkable
class OpenBlock(HeadedBlock, Protocol):
    """A block that shows also what its attention made them of."""

    @property
    def projections(self) -> Projections: ...

    @property
    def scoring(self) -> Scoring: ...

    def pre(self, states: PointStates) -> Projections: ...

    def rotation(self, states: PointStates) -> Rotation | None:
        """Keys before positions are rotated in; None where the block is handed no rotary positions."""

    def norm_epsilons(self) -> list[float]:
        """Epsilons of the norms in the block: candidates for that of the norm through which states pass first."""

    def key_norm_input(self) -> tuple[float, Float[Tensor, "group token d"]] | None:
        """Epsilon and input of a norm that keys pass through after their projection; None where there is none."""

    def beside(self, recorded: Any) -> "Runs":
        """The way into another block, as the model has called it, that is taken apart like this one."""

    @property
    def drift(self) -> Float[Tensor, ""] | None:
        """How far the block is from what was recorded; above one it is another. None where that is read already."""

    def parts(self, recorded: Any) -> Any | None:
        """All that such a block is made of, in nested containers: alike blocks differ in tensors alone.

        None where it must be run by itself (weights that are not where it computes, or in another form).
        """

    def made_of(self, parts: Any) -> "OpenBlock":
        """The block of this kind that is made of other such parts; it shares nothing with the model."""


class Runs(Protocol):
    """A way into a block runs it as the model does; `states` are those that entered it."""

    @property
    def states(self) -> Float[Tensor, "token d"]: ...

    def as_loaded(self, states: PointStates) -> PointStates: ...
