"""Choose how a block is computed: the cheapest plan whose form holds on the actual input, in pieces that fit memory."""

import random
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from lignite.attribution.attend import repeat_groups
from lignite.attribution.black_box import StraightPaths
from lignite.attribution.block import Block, OpenBlock, Projections, Rotation
from lignite.attribution.integrals import NODES_PER_PANEL
from lignite.attribution.maps import Chunking
from lignite.attribution.paths import Path, SharedPath
from lignite.attribution.target_path import ClosedForm, Norm, TargetBatches
from lignite.errors import OptionError

GRADED_POWER = 3
"""Grading of paths that start at nothing, a = t ** 3: norms turn there at a near sqrt(epsilon) / size. Cubic grading
takes the fewest nodes over post-norm and pre-norm models together (bench/README.md)."""

FORM_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}
"""Largest relative difference of a closed form from `pre` itself at a random mixture.

A wrong form misses by parts in ten. Right ones differ by rounding: norms of float64 models often compute in float32,
and float32 Gram matrices of states whose mean or largest coordinate dominates lose two to three digits.
"""


LIVE_PAIRS = 13
"""Tensors ``[head, target, source]`` alive at once at a node, counted in target_path.py and attend.py where keys have a
norm, which takes most: weights of the mixture and their slopes (4); logits, attention, components along directions,
their slopes and the total (6); products of queries and keys, which all nodes share (3)."""

LIVE_VECTORS = 6
"""Vectors of a target alive at once: heads, output, their gradients, directions, and a copy on the way into `post`."""

LIVE_KEYS = 10
"""Copies of all tokens' queries, keys, values and states that a run of `pre` in forward mode keeps: each with its slope
before and after the norm, the projection and the position code."""

LIVE_STATES = 6
"""Copies of all tokens' states that a path through a black box keeps next to the block's own graph: its slope, its
points and the sum that makes them, what leaves the block, the gradient, and its product with the slope."""

HELD = 4
"""Copies of its scores that a target holds while its maps are integrated: as they are found and as they are refined, a
piece of each, and what is made of them."""

GRAPH_AND_GRADIENT = 2
"""A backward pass makes a gradient of the size of everything that the forward pass has kept."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A plan says how one block's `attention` and `whole` maps are computed.

    `name` is stored with the result; `power` grades the nodes as a = t ** power. A `path` that is a `StraightPaths`
    takes the block as a black box.
    """

    name: str
    power: int
    path: Path | StraightPaths


MIXED_NODES, MIXED_TARGETS, MIXED_PAIRS = 6, 16, 512
"""Nodes and targets at which a form must hold where a norm comes first: sources are dealt out among the targets, and
one pass of `pre` serves all (docs/method.md, section 5). Long inputs try so many pairs at fewer nodes, two at least:
a node takes as much memory as the block does on its input."""


def choose_plan(
    block: Block,
    baseline: Float[Tensor, "token d"] | None,
    wanted: str = "auto",
    *,
    seed: int = 0,
    without: Collection[str] = (),
    likely: Norm | None = None,
) -> Plan:
    """Choose the plan for a path from `baseline`, or from each target's own state where it is None.

    `without` names plans that were tried and found wrong, `likely` is the norm of a closed form that is tried first.

    Raises
    ------
    OptionError
        If `wanted` is not ``"auto"`` and does not hold for this block and baseline.
    """
    if wanted == "definition" or block.route != "interface":
        if wanted not in ("auto", "definition"):
            raise OptionError(f"plan={wanted!r} needs a block split at the attention interface, not {block.route!r}.")
        black_box = wanted == "definition" or block.route == "definition"
        paths = StraightPaths(block, baseline, through_heads=not black_box)
        return Plan("definition" if black_box else "target-batches", grading(baseline), paths)
    block = cast(OpenBlock, block)
    if baseline is not None:
        if wanted not in ("auto", "shared"):
            raise OptionError(
                f"plan={wanted!r} is for baseline='target_token'; other baselines share one path ('shared')."
            )
        return Plan("shared", grading(baseline), SharedPath(block, baseline))
    if wanted == "shared":
        raise OptionError("plan='shared' needs a baseline that all targets share; 'target_token' is not one.")
    passed_over = wanted == "target-batches" or "closed-form" in without
    found = None if passed_over else find_closed_form(block, seed=seed, without=without, likely=likely)
    if found is not None:
        return Plan(found[0], 1, found[1])
    if wanted == "closed-form":
        raise OptionError("plan='closed-form' does not hold for this block: its keys are no mixture of captured ones.")
    return Plan("target-batches", 1, TargetBatches(block))


def grading(start: Float[Tensor, "*any"] | None) -> int:
    """Choose the power p by which nodes of a path from `start` are graded, a = t ** p; 1 is no grading."""
    return 1 if start is None or bool(start.any()) else GRADED_POWER


def find_closed_form(
    block: OpenBlock, *, seed: int = 0, without: Collection[str] = (), likely: Norm | None = None
) -> tuple[str, ClosedForm] | None:
    """Find the closed form that keys and values take along target-token paths, at random mixtures.

    Candidates are no norm, a LayerNorm and an RMSNorm with each epsilon found in the block, before a norm of the keys
    where there is one. Where no norm runs before attention, none is taken unseen; else the `likely` one (that of the
    layer before), if it is near enough; else the first without a norm that fits, else the one nearest to `pre` itself.
    This chooses; whether it holds is for the trial to say, and what it has refused is passed over.
    """
    tolerance = FORM_TOLERANCE[block.states.dtype]
    with torch.no_grad():
        forms = _Forms(block)
        if not block.norms_first and "linear" not in without:
            return forms.named(None, None)
        many = partial(_dealt_widely, block, seed + 1)
        if likely is not None:
            found = forms.named(likely, forms.bias)
            if float(many().error(found[1])) <= tolerance:
                return found
        one = _Mixtures(block, seed, with_keys=forms.key_norm is not None or forms.rotation is not None)
        linear = forms.named(None, None)
        if "linear" not in without and float(one.error(linear[1])) <= tolerance:
            return linear
        norms = [Norm(centred, eps) for eps in block.norm_epsilons() for centred in (True, False)]
        candidates = [forms.named(norm, forms.bias) for norm in norms]
        errors = torch.stack([one.error(form) for _, form in candidates]).nan_to_num(nan=torch.inf).tolist()
        best = min(range(len(norms)), key=errors.__getitem__)
        if not errors[best] <= tolerance or not float(many().error(candidates[best][1])) <= tolerance:
            return None
    return candidates[best]


def form_like(block: OpenBlock, norm: Norm | None) -> ClosedForm:
    """Make the closed form of a block as another one's was found."""
    with torch.no_grad():
        forms = _Forms(block)
        return forms.named(norm, None if norm is None else forms.bias)[1]


def off_by(form: ClosedForm, *, seed: int = 0) -> Float[Tensor, ""]:
    """Say how far a closed form is from `pre` where a norm runs first; nothing is read."""
    block = form.block
    with torch.no_grad():
        return _dealt_widely(block, seed + 1).error(form) if block.norms_first else block.states.new_zeros(())


def _dealt_widely(block: OpenBlock, seed: int) -> "_Mixtures":
    """Mix at some nodes and targets: what clips keys or values (OLMo) may leave one mixture alone, not the next."""
    n_nodes = min(MIXED_NODES, max(2, MIXED_PAIRS // len(block.states)))
    return _Mixtures(block, seed, n_nodes=n_nodes, n_targets=MIXED_TARGETS, with_keys=True)


class _Forms:
    """The closed forms that a block's keys and values may have."""

    def __init__(self, block: OpenBlock):
        self.block, self.nothing = block, torch.zeros_like(block.states)
        self.key_norm = block.key_norm_input()
        self.rotation, self.bias_rotation = _rotations(block, self.nothing)

    @cached_property
    def bias(self) -> Projections:
        return self.block.pre(self.nothing[None])

    def named(self, norm: Norm | None, bias: Projections | None) -> tuple[str, ClosedForm]:
        form = ClosedForm(
            self.block,
            norm=norm,
            projections=self.block.projections,
            bias=bias,
            rotation=self.rotation,
            bias_rotation=None if bias is None else self.bias_rotation,
            key_norm=self.key_norm,
        )
        return f"closed-form ({norm or 'linear'}{' + key norm' if self.key_norm else ''})", form


def _rotations(block: OpenBlock, nothing: Float[Tensor, "token d"]) -> tuple[Rotation | None, Rotation | None]:
    """Find keys before positions are rotated in, of the block's states and of nothing, side by side; None where none
    are known.
    """
    try:
        both = block.rotation(torch.stack([block.states, nothing]))
    except (RuntimeError, ValueError, IndexError, AssertionError):
        return None, None  # positions of another layout: the mixture decides whether the form fits without
    if both is None:
        return None, None
    keys = {name: getattr(both, name).split(1) for name in ("unrotated", "turned", "passed")}
    own, none = (both._replace(**{name: parts[place] for name, parts in keys.items()}) for place in (0, 1))
    return own, none


class _Mixtures:
    """Mixtures are values and logits of sources that are dealt out among some targets, at some nodes of their paths.

    `place` says with which target a source is mixed: each node deals anew, and one pass of `pre` serves all.
    """

    def __init__(self, block: OpenBlock, seed: int, *, n_nodes: int = 1, n_targets: int = 1, with_keys: bool):
        lot, states, n_tokens = random.Random(seed), block.states, len(block.states)
        n_targets = min(n_targets, n_tokens)
        chosen = sorted(lot.sample(range(n_tokens), n_targets))
        nodes = [lot.uniform(0.2, 0.8) for _ in range(n_nodes)]
        # where all tokens are targets, none meets itself
        shifts = [1 + lot.randrange(max(1, n_targets - 1)) for _ in nodes]
        self.targets, self.nodes = torch.tensor(chosen, device=states.device), states.new_tensor(nodes)
        sources = torch.arange(n_tokens, device=states.device)
        self.place = (sources + torch.tensor(shifts, device=states.device)[:, None]) % n_targets
        dealt = self.targets[self.place]
        own = states[dealt]
        _, key, value = block.pre(own + self.nodes[:, None, None] * (states - own))
        query = block.projections.query[0][:, dealt].transpose(0, 1) * block.scoring.scale
        self.value = repeat_groups(value, query.shape[1])
        self.logits = (query * repeat_groups(key, query.shape[1])).sum(-1) if with_keys else None

    def error(self, form: ClosedForm) -> Float[Tensor, ""]:
        """Say how far a form is from what `pre` gives, relative to the largest value or logit."""
        values, logits = form.dealt(self.nodes, self.targets, self.place)
        error = _off(values, self.value)
        return error if self.logits is None else torch.maximum(error, _off(logits, self.logits))


def _off(actual: Float[Tensor, "*any"], expected: Float[Tensor, "*any"]) -> Float[Tensor, ""]:
    return (actual - expected).abs().max() / expected.abs().max().clamp_min(1e-30)


def choose_chunking(
    block: Block, plan: Plan, map_name: str, n_targets: int, budget: float, *, n_nodes: int = NODES_PER_PANEL
) -> Chunking:
    """Choose how many nodes and targets of a map are computed at once within `budget` bytes.

    What `post` keeps for its backward pass is measured where its bound does not let all nodes and targets pass.
    """
    if isinstance(plan.path, StraightPaths):
        return Chunking(budget, 0, block.path_bytes() + LIVE_STATES * block.states.nbytes)
    block = plan.path.block
    n_tokens, item = len(block.states), block.states.element_size()
    d_heads, width = block.heads.shape[1] * block.heads.shape[2], block.states.shape[1]
    vectors = LIVE_VECTORS * (d_heads + width) * item
    per_target = vectors if map_name == "mlp" else vectors + LIVE_PAIRS * block.n_heads * n_tokens * item
    # queries, keys and values are as wide as the heads; states are kept before and after the norm
    every_key = LIVE_KEYS * n_tokens * (3 * d_heads + 2 * width) * item
    per_node = every_key if plan.name == "shared" else 0
    if plan.name == "target-batches":
        per_target += every_key
    chunking = Chunking(budget, per_node, per_target)
    if map_name == "attention":
        return chunking
    bounded = replace(chunking, per_target=per_target + GRAPH_AND_GRADIENT * block.post_bound())
    if bounded.holds(2 * n_nodes, n_targets):  # both halves of a bisected panel
        return bounded
    return replace(chunking, per_target=per_target + GRAPH_AND_GRADIENT * block.post_bytes())


def held_bytes(block: Block, maps: Collection[str], detail: Collection[str], *, composed: bool) -> int:
    """Bound the memory that one target's scores take while all of its maps are integrated."""
    columns = {
        "attention": block.n_heads,
        "whole": 1 + 4 * ("circuits" in detail) + block.n_heads * ("heads" in detail),
    }
    per_source = sum(columns.get(name, 0) for name in maps) + composed
    return max(1, HELD * per_source * len(block.states) * block.states.element_size())
