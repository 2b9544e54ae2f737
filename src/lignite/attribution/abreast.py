"""Layers abreast: the first panels of layers that are alike are computed as one, where launches cost more than numbers.

Layers of a flow do not depend on each other once they are recorded. Blocks are alike if they differ in tensors alone;
these are laid side by side, and torch runs the arithmetic of one layer on all of them (`torch.vmap`). What the first
panels do not settle is refined in all layers at once, and every layer is tried by itself, through the block as the
model runs it.
"""

import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import isfinite
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils import _pytree as pytree

from lignite.attribution.axes import Nodes, PerTarget, Targets
from lignite.attribution.block import Block, OpenBlock
from lignite.attribution.layer import attribute_layer
from lignite.attribution.layer_scores import LayerScores, MapOptions
from lignite.attribution.layer_work import LayerWork, Settled
from lignite.attribution.offer import offered_maps
from lignite.attribution.panels import Precision, Scores
from lignite.attribution.paths import SharedPath
from lignite.attribution.plan import FORM_TOLERANCE, GRADED_POWER, choose_plan, form_like, off_by
from lignite.attribution.readout import length
from lignite.attribution.rounds import Halved, first_bytes, first_of, foresees, halves_of, refine_layers
from lignite.attribution.target_path import ClosedForm, Norm
from lignite.attribution.trial import TRIAL_TOLERANCE, Coarsest, Definition, Draw, Measured, Trial, draw

ABREAST = ("cuda",)
"""Devices that wait for the host to launch what they compute. A processor computes as it is told: to lay weights side
by side costs it more than it saves."""

UNFIT = (RuntimeError, ValueError, TypeError, LookupError, AttributeError)
"""How blocks fail that torch cannot lay side by side (some choose what they compute by its values), or for want of
memory; they are then run one by one."""

Alone = Callable[["Laid"], LayerScores]
"""Computes one layer by itself."""


Start = Callable[[Float[Tensor, "token d"]], Float[Tensor, "token d"] | None]
"""Says of states that enter a block where paths to them start; None for the target token."""


@dataclass(eq=False)
class Laid:
    """A layer that is to be computed: how the model has called its block, how to take that apart, where paths start.

    `seed` is what it is tried with, `likely` the norm of a closed form that is tried first. Of layers abreast only the
    first is taken apart: `leaves` are all tensors and settings that a block is made of, in nested containers `spec`.
    """

    recorded: Any
    split: Callable[[], tuple[Block, Float[Tensor, "token d"] | None]]
    start_of: Start
    seed: int
    likely: Norm | None = None
    leaves: Sequence[Any] = ()
    spec: Any = None

    @cached_property
    def opened(self) -> tuple[Block, Float[Tensor, "token d"] | None]:
        """The block, and the start of the path."""
        return self.split()

    def is_like(self, first: "Laid") -> bool:
        """Whether this layer's block differs from another one in tensors alone."""
        block = cast(OpenBlock, first.opened[0])
        if (parts := block.parts(self.recorded)) is None:
            return False
        self.leaves, self.spec = pytree.tree_flatten((parts, self.start_of(parts["ends"][0])))
        return bool(self.spec == first.spec) and all(map(_alike, self.leaves, first.leaves))


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked of every layer, and what it may take."""

    targets: Targets
    options: MapOptions
    precision: Precision
    budget: float
    sources: Int[Tensor, " source"] | None

    def work_on(self, laid: Laid) -> LayerWork | None:
        """Prepare what of a layer can go abreast: closed forms and shared paths whose first panels fit at once."""
        (block, start), options = laid.opened, self.options
        plans = "auto", "closed-form" if start is None else "shared"
        plain = options.self_term == "measured" and options.keep == "full" and options.plan in plans
        if block.states.device.type not in ABREAST or block.route != "interface" or not plain:
            return None
        options = options if options.maps else replace(options, maps=offered_maps(block))
        if (parts := cast(OpenBlock, block).parts(laid.recorded)) is None:
            return None
        plan = choose_plan(block, start, "auto", likely=laid.likely)
        if not isinstance(plan.path, ClosedForm | SharedPath):
            return None
        work = LayerWork(
            block, start, self.targets, options, self.precision, plan, self.budget, self.sources, laid.seed,
            attribute_layer,
        )  # fmt: skip
        if work.at_once < len(self.targets) or not work.fits_at_once:
            return None
        laid.leaves, laid.spec = pytree.tree_flatten((parts, start))
        return work


def attribute_layers(
    layers: Iterable[Laid],
    targets: Targets,
    options: MapOptions,
    precision: Precision,
    *,
    budget: float,
    sources: Int[Tensor, " source"] | None,
    alone: Alone,
) -> Iterator[LayerScores]:
    """Compute some layers in turn, those that are alike abreast as far as they fit into the budget."""
    asked, group = Asked(targets, options, precision, budget, sources), cast("_Group | None", None)
    likely: Norm | None = None
    for each in layers:
        if group is not None and group.takes(each):
            continue
        if group is not None:
            yield from group.finished(alone)
            group = None
        each.likely = likely
        work = asked.work_on(each)
        if work is None:
            yield (found := alone(each))
            likely = found.norm
        else:
            group = _Group(asked, each, work)
            likely = group.norm
        del each  # its block is gone before that of the next layer is made, unless others wait for it
    if group is not None:
        yield from group.finished(alone)


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
    return one is other or (type(one) is type(other) and isinstance(one, Hashable) and bool(one == other))


class _Group:
    """Layers that are alike: their tensors are stacked, and torch runs on all of them what is written for one.

    `work` is that of the first layer, whose block is the only one that is taken apart.
    """

    def __init__(self, asked: Asked, first: Laid, work: LayerWork):
        self.asked, self.layers, self.work = asked, [first], work
        self.block, path = cast(OpenBlock, work.block), work.plan.path
        self.norm = path.norm if isinstance(path, ClosedForm) else None
        tensors = [each for each in first.leaves if isinstance(each, Tensor)]
        widened = sum(4 * each.numel() for each in tensors if each.dtype in (torch.float16, torch.bfloat16))
        self.copied = sum(each.nbytes for each in tensors) + widened
        self.taken = self.copied + first_bytes(work)
        """Bytes that a layer takes beside others: its largest piece of work, and a copy of all it is made of."""

    def takes(self, laid: Laid) -> bool:
        """Take one more layer, if it is like the others and fits beside them."""
        if (len(self.layers) + 1) * self.taken > self.asked.budget or not laid.is_like(self.layers[0]):
            return False
        laid.likely = self.norm
        self.layers.append(laid)
        return True

    def finished(self, alone: Alone) -> Iterator[LayerScores]:
        """Compute first panels abreast, read at once what they settle, and finish the layers one by one."""
        layers, work = self.layers, self.work
        if len(layers) < 2:
            yield from map(alone, layers)
            return
        drawn = [draw(len(work.targets), each.seed) for each in layers]
        taken = self.copied + first_bytes(work, foreseen=True)
        if foresees(work) and len(layers) * taken <= self.asked.budget:
            work.foresees, self.taken = True, taken
        try:
            self._stack()
            found = self._first(torch.tensor([each.row for each in drawn], device=work.targets.device))
        except UNFIT:
            yield from map(alone, layers)
            return
        judged = self._judged(self._settled(found, drawn))
        for layer, each in enumerate(layers):
            result = judged.get(layer)
            yield alone(each) if result is None else replace(result, memory=int(len(layers) * self.taken))

    def _settled(self, found: dict[str, Any], drawn: Sequence[Draw]) -> dict[int, Settled]:
        """Read what first panels settle, refine the rest; without layers that go by themselves."""
        work, layers = self.work, range(len(self.layers))
        n_flags = found["content"].shape[1]
        read = torch.cat([found.pop(name).to(work.block.states) for name in ("content", "shares", "sums")], 1).tolist()
        holds = [isfinite(own[-2]) and own[-1] <= FORM_TOLERANCE[work.block.states.dtype] for own in read]
        missing = [[good and not each for each in own[:n_flags]] for own, good in zip(read, holds, strict=True)]
        reached = [(own, dict[str, float]()) for own in missing]
        if self.asked.precision.n_steps is None and any(map(any, missing)):
            try:
                reached = refine_layers(work, found, missing, partial(self._halve, found))
            except UNFIT:
                holds = [good and not any(own) for good, own in zip(holds, missing, strict=True)]
        given = _parted(found, len(layers))
        return {
            layer: work.settled(drawn[layer], given[layer], read[layer][n_flags:-2], *reached[layer])
            for layer in layers
            if holds[layer]
        }

    def _stack(self) -> None:
        columns = list(zip(*(each.leaves for each in self.layers), strict=True))
        self.same = [column[0] for column in columns]
        self.apart = [isinstance(one[0], Tensor) and any(each is not one[0] for each in one) for one in columns]
        self.tensors = [torch.stack(one) for apart, one in zip(self.apart, columns, strict=True) if apart]

    def _run(self, compute: Callable[..., Any], *given: Any, layers: Sequence[int]) -> Any:
        """Give what `compute(block, start, *given)` makes of some layers, each of its own."""

        def of_one(own: Sequence[Tensor], *given: Any) -> Any:
            tensors = iter(own)
            leaves = [next(tensors) if apart else same for apart, same in zip(self.apart, self.same, strict=True)]
            parts, start = pytree.tree_unflatten(leaves, self.layers[0].spec)
            return compute(self.block.made_of(parts), start, *given)

        everyone = len(layers) == len(self.layers)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)  # it loops over layers
            return torch.vmap(of_one)(self.tensors if everyone else [each[layers] for each in self.tensors], *given)

    def _first(self, rows: Int[Tensor, " layer"]) -> dict[str, Any]:
        """Compute the first panels of all layers as those of one, and how far off its path is."""

        def first(block: OpenBlock, start: Float[Tensor, "token d"] | None, row: Int[Tensor, "1"]) -> dict[str, Any]:
            work = self._like(block, start)
            found, path = first_of(work, row), work.plan.path
            error = off_by(path) if isinstance(path, ClosedForm) else _graded_otherwise(work.plan.power, start)
            if block.drift is not None:
                error = torch.where(block.drift <= 1, error, torch.inf)
            return found | {"sums": torch.stack([found["sums"].sum(), error])}

        found: dict[str, Any] = self._run(first, rows[:, None], layers=range(len(self.layers)))
        return found

    def _like(self, block: OpenBlock, start: Float[Tensor, "token d"] | None) -> LayerWork:
        """Do the same work on one of the other blocks."""
        path = form_like(block, self.norm) if start is None else SharedPath(block, start)
        return self.work.like(block, start, replace(self.work.plan, path=path))

    def _halve(
        self, found: dict[str, Any], name: str, rule: tuple[Nodes, Nodes], layers: Sequence[int], targets: Sequence[int]
    ) -> Halved:
        """Compute both halves of a panel for some targets in some layers."""
        some = self.work.targets if len(targets) == len(self.work.targets) else self.work.targets[list(targets)]

        def halves(
            block: OpenBlock,
            start: Float[Tensor, "token d"] | None,
            heads: Float[Tensor, "every head d_value"],
            output: Float[Tensor, "every *vector"],
        ) -> tuple[Scores, Scores, PerTarget]:
            return halves_of(self._like(block, start), name, (heads, output), rule, some)

        begun = [found["heads"], found["output"]]
        everyone = len(layers) == len(self.layers)
        halved: Halved = self._run(halves, *(each if everyone else each[layers] for each in begun), layers=layers)
        return halved

    def _judged(self, settled: dict[int, Settled]) -> dict[int, LayerScores]:
        """Judge layers by their trials, without those that do not hold, or looked at a target that stands still."""
        trials = {layer: trial for layer, (_, trial) in settled.items()}
        if not trials:
            return {}
        measured = self._defined(trials)
        if measured is None:
            opened = {layer: self.layers[layer].opened for layer in trials}
            own = {
                layer: replace(trial, block=opened[layer][0], baseline=opened[layer][1])
                for layer, trial in trials.items()
            }
            measured = {layer: Measured(trial) for layer, trial in own.items()}
        strayed = [self._strayed(self.layers[layer], each) for layer, each in measured.items()]
        rows = [part for each, own in zip(measured.values(), strayed, strict=True) for part in (each.rows, own)]
        read, judged = iter(torch.cat(rows).tolist()), dict[int, LayerScores]()
        for layer, each in measured.items():
            verdicts, result = each.verdicts([next(read) for _ in each.rows]), settled[layer][0]
            result.trial |= {name: verdict.error for name, verdict in verdicts.items()}
            holds = next(read) <= TRIAL_TOLERANCE[each.precision] and all(each.holds for each in verdicts.values())
            if holds and any(verdict.size > 0 for verdict in verdicts.values()):
                judged[layer] = replace(result, norm=self.norm)
        return judged

    def _defined(self, trials: dict[int, Trial]) -> dict[int, Measured] | None:
        """Measure trials abreast; None where they do not fit, or torch cannot."""
        question, work = next(iter(trials.values())).question, self.work
        taken = len(trials) * (2 * len(question.names) + 1) * work.pass_bytes
        if len(trials) < 2 or not question.side_by_side or taken > self.asked.budget:
            return None
        states = work.block.states
        numbers = torch.tensor([each.drawn for each in trials.values()], dtype=states.dtype, device=states.device)
        rows = [torch.stack(some) for some in zip(*(each.rows for each in trials.values()), strict=True)]

        def define(
            block: OpenBlock,
            start: Float[Tensor, "token d"] | None,
            numbers: Float[Tensor, " number"],
            *rows: Float[Tensor, "..."],
        ) -> dict[str, Any]:
            return Definition(question, block, start, numbers, rows).found

        try:
            with Coarsest(states.dtype) as watch:
                found = self._run(define, numbers, *rows, layers=list(trials))
        except UNFIT:
            return None
        parts = zip(trials.items(), _parted(found, len(trials)), strict=True)
        return {layer: Measured(trial, own, watch.found) for (layer, trial), own in parts}

    def _strayed(self, laid: Laid, measured: Measured) -> Float[Tensor, "1"]:
        """Find how far what stood beside other layers is from the block as the model runs it, on the same states."""
        if not measured.is_abreast:
            return measured.rows.new_zeros(1)
        found = measured.found
        with torch.no_grad():
            run = self.block.beside(laid.recorded)
            own = run.as_loaded(torch.stack(found["states"]))[:, measured.trial.target]
            return (length(torch.stack(found["output"]) - own) / length(own).clamp_min(1e-30)).amax(0)


def _graded_otherwise(power: int, start: Float[Tensor, "token d"] | None) -> Float[Tensor, ""]:
    """Say that a path which starts at nothing, or does not, is infinitely far off one that is graded otherwise."""
    assert start is not None
    return torch.where(start.any() == (power == GRADED_POWER), torch.inf, 0.0)


def _parted(found: Any, n_layers: int) -> list[Any]:
    """Give every layer what is its own."""
    tensors, spec = pytree.tree_flatten(found)
    return [pytree.tree_unflatten(own, spec) for own in zip(*(each.unbind() for each in tensors), strict=True)]
