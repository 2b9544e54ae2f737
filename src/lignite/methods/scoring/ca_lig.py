"""CA-LIG: layer-wise integrated gradients of the prediction, fused with class-specific attention gradients."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from lignite.attribution.fusion import fuse, rollout, structure_of, weights_of
from lignite.attribution.layer_ig import Following, LayerIG, along_input, begin_each_layer
from lignite.blocks.attention_weights import differentiate_attention
from lignite.blocks.baselines import begin_at, usual_baselines, warn_of_leaps
from lignite.blocks.stack import Stack, Start
from lignite.calls import public
from lignite.errors import OptionError
from lignite.memory import memory_budget
from lignite.methods.ca_lig import CaLig
from lignite.methods.method import Explanation, from_one
from lignite.methods.options import choose
from lignite.methods.scoring.attention import reading
from lignite.methods.scoring.ends import beside, ends_of
from lignite.methods.scoring.precision import explainable
from lignite.methods.scoring.stacks import NODES, by_stack, of_rows, precision_of, without_padding
from lignite.metrics.asking.faithfulness import faithfulness
from lignite.models.facts import read_widths, reads_images
from lignite.models.load import Model, as_model
from lignite.targets.ask import ask
from lignite.targets.edits import usual_fill
from lignite.targets.objective import Wanted
from lignite.targets.rows import Row

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of content among which ``fusion="auto"`` chooses."""

SUMS = ("displacement", "gap", "allowed")


@dataclass(frozen=True)
class Parts:
    """What one row's relevance is made of: integrals of every layer and of what leaves the last, and who reads it."""

    found: Explanation
    reader: Float[np.ndarray, " token"]


def explain(options: CaLig, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """Integrate in every layer, fuse with attention gradients, aggregate over layers (:arxiv:`2602.16608`)."""
    parts = parts_of(options, model, rows, budget)
    if options.fusion == "auto":
        best = _gains(options, model, rows, parts, budget).argmax("method").values
        shares = [SHARES[::-1][int(place)] for place in best]
    else:
        shares = [float(options.fusion)] * len(rows)
    return [_finished(options, each, share) for each, share in zip(parts, shares, strict=True)]


@public
def fit_fusion(
    model: Any, inputs: Any, *, target: Wanted = None, memory: int | float | str | None = None, **options: Any
) -> float:
    """The share of layer-wise integrated gradients, among five from 0 to 1, that explains a data set most faithfully.

    Measured by insertion − deletion over all inputs, with these options of `lignite.methods.CaLig`. Use it as
    ``explain(…, fusion=share)`` on other inputs than these.

    Raises
    ------
    OptionError
        As `explain`; also if the model has no attention weights to fuse with.
    """
    chosen = CaLig(**{**choose("ca-lig", options).values(), "fusion": "auto"})
    model = as_model(model)
    rows = ask(model, inputs, target)
    chosen = from_one(chosen, usual_baselines(model)[0]) if chosen.is_open else chosen
    with explainable(model, rows) as (model, rows, _):
        parts = parts_of(chosen, model, rows, memory_budget(model.device, memory))
        best = _gains(chosen, model, rows, parts, memory_budget(model.device, memory)).mean("example").argmax("method")
        return SHARES[::-1][int(best)]


def parts_of(options: CaLig, model: Model, rows: Sequence[Row], budget: float) -> list[Parts]:
    """Integrals and attention gradients of every row."""

    def of_stack(stack: Stack) -> list[Parts]:
        variables, n_nodes, reader = _integrated(stack, options, budget)
        kept = stack.kept.cpu().numpy()
        return list(map(Parts, of_rows(stack, variables, n_nodes), without_padding(reader, ("token",), kept)))

    followed = 1 if options.path == "input" else (read_widths(model.config).layers + 2) / 2  # lines, docs/method.md
    return by_stack(model, rows, budget, of_stack, points=float(NODES * followed))


def _finished(options: CaLig, parts: Parts, share: float) -> Explanation:
    """The fused explanation; what leaves the last layer has variables of its own."""
    own = parts.found.variables
    above = {"output_ig": own["layer_ig"][-1]} | {f"output_{name}": own[name][-1] for name in SUMS}
    inside = {name: own[name][:-1] for name in ("layer_ig", "layer_ig_error", *SUMS) if name in own}
    nodes = parts.found.plan["n_nodes"][:-1]
    return Explanation(
        {**own, **_assembled(options, parts, share), **above, **inside},
        value=parts.found.value,
        plan={"path": options.path, "n_nodes": nodes, "fusion": share},
    )


def _integrated(
    stack: Stack, options: CaLig, budget: float
) -> tuple[dict[str, Tensor], Int[Tensor, "row layer"], Float[Tensor, "row token"]]:
    """Variables over all layers and what leaves the last, averaged over baselines, nodes, and who reads what leaves."""
    precision = precision_of(stack, options, budget)
    through = options.path == "input"

    def begin(starts: list[Start]) -> tuple[list[Callable[[], LayerIG]], Tensor, dict[str, Tensor]]:
        begun = [_begin(stack, start, options, precision) for start in starts]
        return begun, reading(stack), _attended(stack, options)  # prepared while a device integrates

    starts, (begun, reader, attended) = begin_at(
        stack, options.baselines, begin, keep_special=options.keep_special, through=through
    )
    warn_of_leaps(stack, options.baselines, starts)
    runs = [end() for end in begun]
    parts = {
        "layer_ig": _mean([run.scores for run in runs]),
        "displacement": _mean([run.displacement for run in runs]),
        "gap": _mean([run.gap for run in runs]),
        "allowed": _mean([run.allowed for run in runs]),
    }
    if options.ends:
        ends = [ends_of(stack, start, options, budget) for start in starts]
        parts |= {name: _mean([each[name] for each in ends]) for name in ends[0]}
    errors = [run.error for run in runs if run.error is not None]
    if errors:
        parts["layer_ig_error"] = torch.stack(errors).square().sum(0).sqrt() / len(errors)
    return parts | attended, torch.stack([run.n_nodes for run in runs]).sum(0), reader


def _begin(stack: Stack, start: Start, options: CaLig, precision: Following) -> Callable[[], LayerIG]:
    """Begin an integral in every layer, and return what ends it."""
    if options.path == "input":
        return partial(along_input, stack, start.states[0], precision, base=start.value, images=start.states)
    return begin_each_layer(stack, start.states, precision, wanted=range(stack.n_layers + 1), base=start.value)


def _attended(stack: Stack, options: CaLig) -> dict[str, Tensor]:
    """Attention weights times their gradients; nothing where the model has none and nothing needs them."""
    by_head = "heads" in options.detail
    n_rows, n_tokens = stack.kept.shape
    heads: list[Tensor] = []
    means = stack.states[0].new_empty(n_rows, stack.n_layers, n_tokens, n_tokens)
    try:
        for above, attention in enumerate(differentiate_attention(stack), 1):
            if by_head:
                heads.append(attention.each(torch.mul))
            means[:, -above] = heads[-1].mean(1) if by_head else attention.mean(torch.mul)
    except OptionError:
        if options.fusion != 1 or options.aggregate == "rollout" or by_head:
            raise
        return {}
    if len({each.shape for each in heads}) > 1:
        raise OptionError("detail='heads': the layers of this model differ in their number of heads.")
    found = {"attention_gradient": means}
    return found | ({"attention_gradient_heads": torch.stack(heads[::-1], 1)} if by_head else {})


def _mean(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(parts)).mean(0)


def _assembled(options: CaLig, parts: Parts, share: float) -> Mapping[str, np.ndarray]:
    """Fused maps of every layer, and what they come to."""
    known = parts.found.variables
    content = torch.from_numpy(known["layer_ig"][:-1])
    layer = content
    if share != 1:
        layer = fuse(content, structure_of(torch.from_numpy(known["attention_gradient"])), share)
    if options.aggregate == "rollout":
        gradient, reader = torch.from_numpy(known["attention_gradient"]), torch.from_numpy(parts.reader)
        relevance = rollout(content, gradient, share, reader)
    elif options.aggregate == "last":
        relevance = layer[-1]
    else:
        weights = weights_of(cast("str | tuple[float, ...] | None", options.layer_weights), len(layer))
        relevance = torch.einsum("l,lt->t", layer.new_tensor(weights), layer)
    if "added" in known:
        relevance = beside(relevance, torch.from_numpy(known["added"]), torch.from_numpy(known["removed"]))
    return {"relevance": relevance.numpy(), "layer_relevance": layer.numpy()}


def _gains(options: CaLig, model: Model, rows: Sequence[Row], parts: Sequence[Parts], budget: float) -> xr.DataArray:
    """Insertion minus deletion of every row and share, by logit.

    Shares come in falling order: the first of equals is then plain layer IG, whose sums mean something.
    """
    candidates = {
        str(share): [_assembled(options, each, share)["relevance"] for each in parts] for share in SHARES[::-1]
    }
    fill = "blur" if reads_images(model.network) else usual_fill(model)
    measured = faithfulness(model, rows, candidates, fills=(fill,), memory=budget)
    gain: xr.DataArray = measured["insertion_minus_deletion"].sel(output="logit").isel(fill=0, drop=True)
    return gain.sel({"method": list(candidates)})  # `sel` has a keyword of that name
