"""All maps of one layer, from its block and the start of its path."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lignite.attribution.axes import Targets
from lignite.attribution.block import Block
from lignite.attribution.integrals import NODES_PER_PANEL
from lignite.attribution.layer_scores import LayerScores, MapOptions
from lignite.attribution.layer_work import LayerWork
from lignite.attribution.offer import check_offered, offered_maps
from lignite.attribution.panels import Precision
from lignite.attribution.plan import choose_plan
from lignite.attribution.rules import panel_rule
from lignite.attribution.target_path import ClosedForm, Norm
from lignite.attribution.trial import draw
from lignite.errors import OptionError, SplitError


def attribute_layer(
    block: Block,
    baseline: Float[Tensor, "token d"] | None,
    targets: Targets,
    options: MapOptions,
    precision: Precision,
    *,
    budget: float,
    seed: int = 0,
    sources: Int[Tensor, " source"] | None = None,
    likely: Norm | None = None,
) -> tuple[Block, LayerScores]:
    """Integrate every requested map of a block, by the cheapest plan that passes its trial.

    Gives also the block, by the route on which the scores held.

    Parameters
    ----------
    block
        On the input to explain. Where no plan of its route passes, the next route is taken.
    baseline
        Start of the path; None for the target-token path.
    options, precision
        What is computed, and how exactly.
    budget
        Bytes that intermediate tensors may take.
    seed, likely
        Whom and where a trial looks at; the norm of the closed form that is tried first.
    sources
        Tokens that are no padding, where less than all scores are kept; None for all.

    Raises
    ------
    OptionError
        If a map or detail is asked for that the block cannot offer.
    SplitError
        If no plan passes its trial.
    NotFiniteError
        If scores are NaN or infinite.
    """
    failed: tuple[str, ...] = ()
    offered = options
    while True:
        options = offered if offered.maps else replace(offered, maps=offered_maps(block))
        check_offered(block, options)
        plan = choose_plan(block, baseline, options.plan, without=failed, likely=likely)
        work = LayerWork(block, baseline, targets, options, precision, plan, budget, sources, seed, attribute_layer)
        result, complaint = tried(work, seed)
        if work.block is not block:  # a run from zero, for the self term, has already gone on by the next route
            block = work.block
            continue
        if complaint is None:
            return block, replace(result, norm=plan.path.norm if isinstance(plan.path, ClosedForm) else None)
        if options.plan != "auto":
            raise OptionError(f"plan={options.plan!r} does not hold for this layer: {complaint} Leave plan='auto'.")
        if likely is not None:
            likely = None
        elif plan.name.startswith("closed-form"):
            guessed = plan.name.startswith("closed-form (linear") and not failed
            failed = ("linear",) if guessed else ("closed-form",)
        else:
            block = block.retreat(complaint)


def tried(work: LayerWork, seed: int) -> tuple[LayerScores, str | None]:
    """Compute all maps, hold them to the definition for one target, and say what is wrong with them, if anything is."""
    still: set[int] = set()
    while True:
        try:
            result, verdicts = work.tried(drawn := draw(len(work.targets), seed, without=still))
        except SplitError as error:
            return LayerScores(work.plan.name), str(error)
        still.add(drawn.row)
        if any(verdict.size > 0 for verdict in verdicts.values()) or len(still) == len(work.targets):
            break
        # a target that stands still shows nothing: another one is drawn
    wrong = [
        f"{name} differs from the model's own by {found.error:.1e} of its largest score (allowed: {found.allowed:.0e})"
        for name, found in verdicts.items()
        if not found.holds
    ]
    return result, f"tried at one target, {'; '.join(wrong)}." if wrong else None


def follow_layer(
    block: Block, baseline: Float[Tensor, "token d"] | None, targets: Targets, options: MapOptions,
    cuts: Sequence[float], budget: float,
) -> dict[str, Float[Tensor, "part target *head source"]]:  # fmt: skip
    """Give the scores of every map part by part: what is added between each two cuts of the path, from 0 to 1."""
    plan, precision = choose_plan(block, baseline, options.plan), Precision(n_steps=NODES_PER_PANEL)
    work, found = LayerWork(block, baseline, targets, options, precision, plan, budget, None, 0, attribute_layer), {}
    for name in work.needed:
        integrand, _, power = work.map(name)
        ends = pairwise(cut ** (1 / power) for cut in (0.0, *cuts, 1.0))
        rules = [panel_rule(work.n_nodes, *each, power, block.states.dtype, block.states.device) for each in ends]
        found[name] = torch.stack([integrand.scores(*rule, targets)["scores"] for rule in rules])
    return found
