"""Relevance flow: what the prediction changed by, carried from layer to layer without loss."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lignite.attribution.relevance_flow import Multipliers, pull_back, split_by_source
from lignite.blocks.baselines import starts_of, warn_of_leaps
from lignite.blocks.record import record
from lignite.blocks.routes import split_block
from lignite.blocks.stack import Stack, Start
from lignite.errors import OptionError
from lignite.methods.method import Explanation
from lignite.methods.relevance_flow import RelevanceFlow
from lignite.methods.scoring.ends import (
    SHARE_OF_THE_PATH,
    Deletion,
    beside,
    ends_of,
    in_both_orders_of_deletion,
    orders_of,
)
from lignite.methods.scoring.stacks import NODES, by_stack, mean_of, of_rows, precision_of
from lignite.models.hold import switches_undone
from lignite.models.load import Model
from lignite.targets.rows import Row


def explain(options: RelevanceFlow, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """Pull the prediction back through one block after the other, averaged with what a few more inputs are worth."""
    found = _over_baselines(options, model, rows, budget)
    if options.ends:
        return [_beside(each, each.variables["added"], each.variables["removed"]) for each in found]
    if not options.orders:
        return found
    paths = [each.variables["relevance"] for each in found]
    deletions = in_both_orders_of_deletion(model, rows, paths, options, budget)
    return [_in_orders(each, options.baselines, one) for each, one in zip(found, deletions, strict=True)]


def _over_baselines(options: RelevanceFlow, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """Relevance along the path alone, and beside it what tokens do where absent ones are a baseline's; their mean."""

    def of_stack(stack: Stack) -> list[Explanation]:
        starts = starts_of(stack, options.baselines, keep_special=options.keep_special, through=True)
        warn_of_leaps(stack, options.baselines, starts)
        return list(map(mean_of, zip(*(from_start(stack, begin) for begin in starts), strict=True)))

    def from_start(stack: Stack, begin: Start) -> list[Explanation]:
        found = pull_back(stack, begin.states, precision_of(stack, options, budget), base=begin.value)
        variables = _variables(stack, begin, found, options, budget)
        explained = of_rows(stack, variables, found.n_nodes[:, : stack.n_layers])
        if not options.detail:
            return explained
        with switches_undone(model.network):
            return [
                one.with_variables(_divided(model, stack, begin.states, found, place, options, budget))
                for place, one in enumerate(explained)
            ]

    return by_stack(model, rows, budget, of_stack, points=float(NODES))


def _beside(found: Explanation, one: np.ndarray, other: np.ndarray) -> Explanation:
    relevance = beside(*map(torch.from_numpy, (found.variables["relevance"], one, other))).numpy()
    return found.with_variables({"relevance": relevance})


def _in_orders(found: Explanation, baselines: Sequence[str], deletion: Deletion) -> Explanation:
    """Average the path with the orders of every way of being absent, and keep books of what the mean adds up to."""
    path, absent = found.variables, list(baselines)
    falling, rising, displacement = path["falling"], path["rising"], float(path["displacement"][0])
    arrived = displacement
    if not deletion.unasked:
        absent.append("delete")
        share = 1 / len(absent)
        falling, rising = (
            (1 - share) * one + share * other for one, other in ((falling, deletion.falling), (rising, deletion.rising))
        )
        arrived = (1 - share) * displacement + share * deletion.displacement
    mean = _beside(found, falling, rising)
    total = SHARE_OF_THE_PATH * displacement + (1 - SHARE_OF_THE_PATH) * arrived
    books = {
        "total_displacement": total,
        "total_gap": float(mean.variables["relevance"].sum(dtype=np.float64)) - total,
        "total_allowed": SHARE_OF_THE_PATH * float(path["allowed"][0]),
    }
    kind = path["displacement"].dtype
    kept = {name: np.asarray(value, dtype=kind) for name, value in books.items()}
    unasked = {"unasked": f"delete: {deletion.unasked}"} if deletion.unasked else {}
    plan = {**mean.plan, "absent": absent, **unasked}
    return replace(mean.with_variables({"falling": falling, "rising": rising, **kept}), plan=plan)


def _variables(
    stack: Stack, start: Start, found: Multipliers, options: RelevanceFlow, budget: float
) -> dict[str, Tensor]:
    """What the multipliers say of every row of a stack, and what its companions do where they are asked for."""
    n_layers = stack.n_layers
    relevance, more = found.relevance[:, 0], {}
    if options.ends:
        more = ends_of(stack, start, options, budget)
    elif options.orders:
        more = orders_of(stack, start, relevance, options, budget)
    return {
        "relevance": relevance,
        **more,
        "layer_relevance": found.relevance[:, :n_layers],
        "displacement": found.displacement[:, None].expand(-1, n_layers),
        "gap": found.gap[:, :n_layers],
        "allowed": found.allowed[:, :n_layers],
        "output_ig": found.relevance[:, n_layers],
        "output_displacement": found.displacement,
        "output_gap": found.gap[:, n_layers],
        "output_allowed": found.allowed[:, n_layers],
    }


def _divided(
    model: Model,
    stack: Stack,
    start: Sequence[Tensor],
    found: Multipliers,
    number: int,
    options: RelevanceFlow,
    budget: float,
) -> dict[str, np.ndarray]:
    """Every layer's relevance, divided over the tokens and heads it came through, for one row."""
    if not stack.structure.is_plain:
        raise OptionError(
            f"detail={list(options.detail)}: a word of {stack.name} is read in several places: its blocks cannot be "
            "taken apart token by token; leave detail out."
        )
    row, kept = stack.rows[number], stack.kept[number]
    calls = record(model.network, row.encoded.tensors)
    present = kept[: row.n_tokens]
    heads = "heads" in options.detail
    precision = precision_of(stack, options, budget)
    layers = []
    for layer, call in enumerate(calls):
        block = split_block(model, call, present)
        below, above, multipliers = (
            states[number, : row.n_tokens] for states in (start[layer], start[layer + 1], found.vectors[layer + 1])
        )
        integral = split_by_source(
            block,
            below,
            above,
            multipliers,
            precision,
            even=float(found.displacement[number]) / int(present.sum()),
            heads=heads,
            budget=budget,
        )  # fmt: skip
        layers.append(integral.scores | {"gap": integral.gap, "allowed": integral.allowed})
        del block  # gone before that of the next layer is made
    divided = {
        "relevance_flow": torch.stack([parts["scores"][present][:, present] for parts in layers]),
        "relevance_flow_gap": torch.stack([parts["gap"][present] for parts in layers]),
        "relevance_flow_allowed": torch.stack([parts["allowed"][present] for parts in layers]),
    }
    if heads and all("heads" in parts for parts in layers):
        divided["relevance_flow_heads"] = torch.stack(
            [parts["heads"][present][..., present].transpose(0, 1) for parts in layers]
        )
        divided["relevance_residual"] = torch.stack([parts["residual"][present] for parts in layers])
    return {name: np.asarray(values.detach().cpu()) for name, values in divided.items()}
