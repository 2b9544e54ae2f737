"""Layers abreast: the first panels of layers that are alike are computed as one, where launches cost more than numbers.

Layers of a flow do not depend on each other once they are recorded. Blocks are alike if they differ in tensors alone;
these are laid side by side, and torch runs the arithmetic of one layer on all of them (`torch.vmap`). What the first
panels do not settle is refined layer by layer, and every layer is tried by itself, through the block as the model runs
it.
"""

import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils import _pytree as pytree

from lignite.attribution.axes import Targets
from lignite.attribution.block import Block, OpenBlock
from lignite.attribution.layer import attribute_layer, tried
from lignite.attribution.layer_scores import LayerScores, MapOptions
from lignite.attribution.layer_work import LayerWork, Settled
from lignite.attribution.offer import offered_maps
from lignite.attribution.panels import Precision
from lignite.attribution.plan import choose_plan
from lignite.attribution.target_path import ClosedForm, Norm
from lignite.attribution.trial import draw

ABREAST = ("cuda",)
"""Devices that wait for the host to launch what they compute. A processor computes as it is told: to lay weights side
by side costs it more than it saves."""

UNFIT = (RuntimeError, ValueError, TypeError, LookupError, AttributeError)
"""How blocks fail that torch cannot lay side by side (some choose what they compute by its values), or for want of
memory; they are then run one by one."""

Alone = Callable[["Laid"], LayerScores]
"""Computes one layer by itself."""


@dataclass(eq=False)
class Laid:
    """A layer is laid out when its block is there, with what it is tried with; `work` is to be done abreast, if any.

    `leaves` are all tensors and settings that its first panels are made of, in nested containers of the form `spec`.
    """

    block: Block
    start: Float[Tensor, "token d"] | None
    seed: int
    likely: Norm | None = None
    work: LayerWork | None = None
    leaves: Sequence[Any] = ()
    spec: Any = None

    def is_like(self, other: "Laid") -> bool:
        """Whether both differ in tensors alone."""
        if self.work is None or other.work is None or self.spec != other.spec:
            return False
        return all(map(_alike, self.leaves, other.leaves))

    @property
    def taken(self) -> int:
        """Bytes that the layer takes beside others: its largest piece of work, and a copy of all it is made of."""
        assert self.work is not None
        copied = sum(each.nbytes for each in self.leaves if isinstance(each, Tensor))
        return copied + self.work.first_bytes


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
    waiting: list[Laid] = []
    likely: Norm | None = None
    for each in layers:
        each.likely = likely
        _lay_out(each, targets, options, precision, budget, sources)
        if waiting and not (waiting[0].is_like(each) and (len(waiting) + 1) * each.taken <= budget):
            yield from _finished(waiting, alone)
            waiting = []
        if each.work is None:
            yield (found := alone(each))
            likely = found.norm
        else:
            waiting.append(each)
            likely = cast(ClosedForm, each.work.plan.path).norm
        del each  # its block is gone before that of the next layer is made, unless it waits
    yield from _finished(waiting, alone)


def _lay_out(
    laid: Laid,
    targets: Targets,
    options: MapOptions,
    precision: Precision,
    budget: float,
    sources: Int[Tensor, " source"] | None,
) -> None:
    """Prepare what of a layer goes abreast: closed forms whose first panels, and a copy of the weights, fit at once."""
    block = laid.block
    plain = options.self_term == "measured" and options.keep == "full" and options.plan in ("auto", "closed-form")
    if block.states.device.type not in ABREAST or block.route != "interface" or laid.start is not None or not plain:
        return
    options = options if options.maps else replace(options, maps=offered_maps(block))
    parts = cast(OpenBlock, block).parts()
    plan = None if parts is None else choose_plan(block, None, "auto", likely=laid.likely)
    if plan is None or not isinstance(plan.path, ClosedForm):
        return
    work = LayerWork(block, None, targets, options, precision, plan, budget, sources, laid.seed, attribute_layer)
    if work.at_once < len(targets) or not work.fits_at_once:
        return
    form = plan.path.made_of
    laid.leaves, laid.spec = pytree.tree_flatten((plan.name, parts, form))
    laid.work = work


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
    return one is other or (type(one) is type(other) and isinstance(one, Hashable) and bool(one == other))


def _finished(group: Sequence[Laid], alone: Alone) -> Iterator[LayerScores]:
    """Compute first panels abreast, read at once what they settle, and finish the layers one by one."""
    if len(group) < 2:
        yield from map(alone, group)
        return
    works = [cast(LayerWork, each.work) for each in group]
    drawn = [draw(len(work.targets), each.seed) for work, each in zip(works, group, strict=True)]
    try:
        found = _first(group, works, torch.tensor([each.row for each in drawn], device=works[0].targets.device))
    except UNFIT:
        yield from map(alone, group)
        return
    read = {name: found[name].tolist() for name in ("content", "shares", "sums")}
    settled: list[Settled | None] = []
    for place, (work, own) in enumerate(zip(works, drawn, strict=True)):
        given = pytree.tree_map(lambda each, place=place: each[place], found)
        missing = [not each for each in read["content"][place]]
        if work.precision.n_steps is None and any(missing):
            work.given = given
            settled.append(None)
        else:
            settled.append(work.settled(own, given, read["shares"][place], missing))
    rows = [each[1].rows for each in settled if each is not None]
    measured = iter(torch.cat(rows).tolist() if rows else [])
    for each, work, one in zip(group, works, settled, strict=True):
        result = _refined(work, each.seed) if one is None else _judged(one, measured)
        norm = cast(ClosedForm, work.plan.path).norm
        yield alone(each) if result is None else replace(result, norm=norm, memory=int(len(group) * each.taken))


def _refined(work: LayerWork, seed: int) -> LayerScores | None:
    result, complaint = tried(work, seed)
    return result if complaint is None else None


def _judged(settled: Settled, read: Iterator[float]) -> LayerScores | None:
    """Judge a layer by its trial; None where it does not hold, or looked at a target that stands still."""
    result, measured = settled
    verdicts = measured.verdicts([next(read) for _ in measured.rows])
    result.trial |= {name: verdict.error for name, verdict in verdicts.items()}
    holds = all(verdict.holds for verdict in verdicts.values())
    return result if holds and any(verdict.size > 0 for verdict in verdicts.values()) else None


def _first(group: Sequence[Laid], works: Sequence[LayerWork], rows: Int[Tensor, " layer"]) -> dict[str, Any]:
    """Compute the first panels of all layers as those of one, whose tensors have one more axis that nobody sees."""
    first, columns = works[0], list(zip(*(each.leaves for each in group), strict=True))
    differs = [isinstance(same[0], Tensor) and any(each is not same[0] for each in same) for same in columns]
    spec, path = group[0].spec, cast(ClosedForm, first.plan.path)

    def of_one(row: Int[Tensor, "1"], *own: Tensor) -> dict[str, Any]:
        tensors = iter(own)
        leaves = [next(tensors) if apart else same[0] for apart, same in zip(differs, columns, strict=True)]
        name, parts, form = pytree.tree_unflatten(leaves, spec)
        block = cast(OpenBlock, first.block).made_of(parts)
        plan = replace(first.plan, name=name, path=type(path)(block, **form))
        return first.like(block, plan).first(row)

    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)  # it loops over layers
        stacked = [torch.stack(same) for apart, same in zip(differs, columns, strict=True) if apart]
        found: dict[str, Any] = torch.vmap(of_one)(rows[:, None], *stacked)
    return found
