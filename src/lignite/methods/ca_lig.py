"""CA-LIG: layer-wise integrated gradients of the prediction, fused with class-specific attention gradients."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lignite.attribution.fusion import fuse, rollout, structure_of, weights_of
from lignite.attribution.layer_ig import Following, LayerIG, along_each_layer, along_input
from lignite.blocks.answers import Start
from lignite.blocks.attention_weights import differentiate_attention
from lignite.blocks.baselines import starts_of
from lignite.blocks.leap import warn_of_leaps
from lignite.blocks.stack import Stack
from lignite.errors import OptionError
from lignite.methods.attention import reading
from lignite.methods.ends import beside, ends_of
from lignite.methods.stacks import Scores, explain_stacks, points_at_once
from lignite.metrics.asking.faithfulness import faithfulness
from lignite.models.facts import reads_images
from lignite.models.load import Model
from lignite.request import ExplainRequest
from lignite.targets.edits import fillers
from lignite.targets.rows import Row

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of content among which ``fusion="auto"`` chooses."""


def ca_lig(model: Model, rows: Sequence[Row], request: ExplainRequest, budget: float) -> list[Scores]:
    """Integrate in every layer, fuse with attention gradients, aggregate over layers (:arxiv:`2602.16608`)."""

    def compute(stack: Stack, _: Sequence[Row]) -> dict[str, Tensor]:
        return _parts(stack, request, budget)

    found = explain_stacks(model, rows, budget, compute)
    shares = _shares(model, rows, found, request, budget)
    for scores, share in zip(found, shares, strict=True):
        scores |= _assembled(scores, request, share)
        scores["_fusion"] = np.asarray(share)
        scores["output_ig"] = scores["layer_ig"][-1]
        for name in ("displacement", "gap", "allowed"):
            scores[f"output_{name}"] = scores[name][-1]
        for name in ("layer_ig", "layer_ig_error", "displacement", "gap", "allowed", "_n_nodes"):
            if name in scores:
                scores[name] = scores[name][:-1]
        del scores["_reader"]
    return found


def precision_of(stack: Stack, request: ExplainRequest, budget: float) -> Following:
    """How finely the paths of a stack are followed."""
    return Following(
        tol=request.tol,
        max_steps=request.max_steps,
        n_steps=request.n_steps,
        max_points=points_at_once(stack, budget, gradient=True),
        stochastic=request.nodes == "stochastic",
        seed=request.seed,
    )


def _parts(stack: Stack, request: ExplainRequest, budget: float) -> dict[str, Tensor]:
    precision = precision_of(stack, request, budget)
    starts = starts_of(stack, request.baseline, keep_special=request.keep_special, through=request.path == "input")
    warn_of_leaps(stack, request.baseline, starts)
    runs = [_integrated(stack, start, request, precision) for start in starts]
    parts = {
        "layer_ig": _mean([run.scores for run in runs]),
        "displacement": _mean([run.displacement for run in runs]),
        "gap": _mean([run.gap for run in runs]),
        "allowed": _mean([run.allowed for run in runs]),
        "_n_nodes": torch.stack([run.n_nodes for run in runs]).sum(0),
        "_reader": reading(stack),
    }
    if request.ends:
        ends = [ends_of(stack, start.states[0], request, budget) for start in starts]
        parts |= {name: _mean([each[name] for each in ends]) for name in ends[0]}
    errors = [run.error for run in runs if run.error is not None]
    if errors:
        parts["layer_ig_error"] = torch.stack(errors).square().sum(0).sqrt() / len(errors)
    structural = request.fusion != 1 or request.aggregate == "rollout" or "heads" in request.detail
    try:
        weights, gradients = differentiate_attention(stack)
    except OptionError:
        if structural:
            raise
        return parts
    if len({each.shape for each in weights}) > 1 and "heads" in request.detail:
        raise OptionError("detail='heads': the layers of this model differ in their number of heads.")
    by_head = [each * slope for each, slope in zip(weights, gradients, strict=True)]
    parts["attention_gradient"] = torch.stack([each.mean(1) for each in by_head], 1)
    if "heads" in request.detail:
        parts["attention_gradient_heads"] = torch.stack(by_head, 1)
    return parts


def _integrated(stack: Stack, start: Start, request: ExplainRequest, precision: Following) -> LayerIG:
    if request.path == "input":
        return along_input(stack, start.states[0], precision, base=start.value, images=start.states)
    return along_each_layer(stack, start.states, precision, wanted=range(stack.n_layers + 1), base=start.value)


def _mean(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(parts)).mean(0)


def _assembled(scores: Scores, request: ExplainRequest, share: float) -> Scores:
    """Fused maps of every layer, and what they come to."""
    content = torch.from_numpy(scores["layer_ig"][:-1])
    layer = content
    gradient = torch.from_numpy(scores["attention_gradient"]) if "attention_gradient" in scores else None
    if share != 1:
        assert gradient is not None
        layer = fuse(content, structure_of(gradient), share)
    if request.aggregate == "rollout":
        assert gradient is not None
        relevance = rollout(content, gradient, share, torch.from_numpy(scores["_reader"]))
    elif request.aggregate == "last":
        relevance = layer[-1]
    else:
        weights = weights_of(request.layer_weights, len(layer))
        relevance = torch.einsum("l,lt->t", layer.new_tensor(weights), layer)
    if "added" in scores:
        relevance = beside(relevance, torch.from_numpy(scores["added"]), torch.from_numpy(scores["removed"]))
    return {"relevance": relevance.numpy(), "layer_relevance": layer.numpy()}


def _shares(
    model: Model, rows: Sequence[Row], found: Sequence[Scores], request: ExplainRequest, budget: float
) -> list[float]:
    """The share of content for every row: as asked, or the one whose order of tokens is the most faithful."""
    if request.fusion != "auto":
        return [float(request.fusion)] * len(rows)
    best = _gains(model, rows, found, request, budget).argmax("method").values
    return [SHARES[::-1][int(place)] for place in best]


def fit_share(model: Model, rows: Sequence[Row], request: ExplainRequest, budget: float) -> float:
    """The one share of content whose orders of tokens are the most faithful over all rows."""
    found = explain_stacks(model, rows, budget, lambda stack, _: _parts(stack, request, budget))
    best = _gains(model, rows, found, request, budget).mean("example").argmax("method")
    return SHARES[::-1][int(best)]


def _gains(
    model: Model, rows: Sequence[Row], found: Sequence[Scores], request: ExplainRequest, budget: float
) -> xr.DataArray:
    """Insertion minus deletion of every row and share, by logit.

    Shares come in falling order: the first of equals is then plain layer IG, whose sums mean something.
    """
    candidates = {
        str(share): [_assembled(scores, request, share)["relevance"] for scores in found] for share in SHARES[::-1]
    }
    measured = faithfulness(model, rows, candidates, fills=(_fill(model),), memory=budget)
    gain: xr.DataArray = measured["insertion_minus_deletion"].sel(output="logit").isel(fill=0, drop=True)
    return gain.sel({"method": list(candidates)})  # `sel` has a keyword of that name


def _fill(model: Model) -> str:
    """What stands in the place of what is removed, where a share is chosen by faithfulness."""
    if reads_images(model.network):
        return "blur"
    return next(iter(fillers(model)), "delete")
