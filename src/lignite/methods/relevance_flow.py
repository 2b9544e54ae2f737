"""Relevance flow: what the prediction changed by, carried from layer to layer without loss."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lignite.attribution.relevance_flow import Multipliers, pull_back, split_by_source
from lignite.blocks.baselines import starts_of
from lignite.blocks.leap import warn_of_leaps
from lignite.blocks.record import record
from lignite.blocks.routes import split_block
from lignite.blocks.stack import Stack
from lignite.errors import OptionError
from lignite.methods.ca_lig import precision_of
from lignite.methods.ends import beside, ends_of, orders_of
from lignite.methods.stacks import Scores, averaged, explain_stacks
from lignite.models.hold import switches_undone
from lignite.models.load import Model
from lignite.request import ExplainRequest
from lignite.targets.rows import Row


@averaged
def relevance_flow(model: Model, rows: Sequence[Row], request: ExplainRequest, budget: float) -> list[Scores]:
    """Pull the prediction back through one block after the other, along the path between its two inputs."""
    if request.nodes == "stochastic":
        raise OptionError("nodes='stochastic' belongs to ca-lig and ig; the errors of a relevance flow would add up.")
    divided: list[Scores] = []

    def compute(stack: Stack, some: Sequence[Row]) -> dict[str, Tensor]:
        (begin,) = starts_of(stack, request.baseline, keep_special=request.keep_special, through=True)
        warn_of_leaps(stack, request.baseline, [begin])
        start = begin.states
        found = pull_back(stack, start, precision_of(stack, request, budget), base=begin.value)
        if request.detail:
            with switches_undone(model.network):
                each = range(len(some))
                divided.extend(_divided(model, stack, start, found, number, request, budget) for number in each)
            order.extend(id(row) for row in some)
        n_layers = stack.n_layers
        relevance, more = found.relevance[:, 0], {}
        if request.ends:
            more = ends_of(stack, start[0], request, budget)
        elif request.orders:
            more = orders_of(stack, start[0], relevance, request, budget)
        if more:
            relevance = beside(relevance, *more.values())
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
            "_n_nodes": found.n_nodes[:, :n_layers],
        }

    order: list[int] = []
    scores = explain_stacks(model, rows, budget, compute)
    if request.detail:
        by_row = dict(zip(order, divided, strict=True))
        scores = [one | by_row[id(row)] for one, row in zip(scores, rows, strict=True)]
    return scores


def _divided(
    model: Model,
    stack: Stack,
    start: Sequence[Tensor],
    found: Multipliers,
    number: int,
    request: ExplainRequest,
    budget: float,
) -> Scores:
    """Every layer's relevance, divided over the tokens and heads it came through, for one row."""
    if not stack.structure.is_plain:
        raise OptionError(
            f"detail={list(request.detail)}: a word of {stack.name} is read in several places: its blocks cannot be "
            "taken apart token by token; leave detail out."
        )
    row, kept = stack.rows[number], stack.kept[number]
    calls = record(model.network, row.encoded.tensors)
    present = kept[: row.n_tokens]
    heads = "heads" in request.detail
    precision = replace(precision_of(stack, request, budget), stochastic=False)
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
