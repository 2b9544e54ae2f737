"""Explanations by attention weights: the last layer's, their rollout, and the rollout of those that raise F."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lignite.attribution.lines import every_row, gradient_at
from lignite.blocks.attention_weights import Heads, LayerAttention, differentiate_attention
from lignite.blocks.baselines import hold_against_another_input
from lignite.blocks.stack import Stack
from lignite.methods.attention import AttentionLast, AttentionRollout, AttentionTimesGradient
from lignite.methods.method import Explanation
from lignite.methods.scoring.stacks import explain_stacks
from lignite.models.load import Model
from lignite.targets.rows import Row


def attention_rollout(options: AttentionRollout, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """Attention and the residual stream, half each, followed through all layers (Abnar and Zuidema 2020). Unsigned."""

    def half_residual(attention: LayerAttention) -> Tensor:
        mixed = _beside_residual(attention.mean(_weights))
        return mixed / mixed.sum(-1, keepdim=True)

    return explain_stacks(model, rows, budget, lambda stack: _follow(stack, half_residual))


def attention_last(options: AttentionLast, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """The last layer's attention, mean of its heads. Unsigned."""

    def last(stack: Stack) -> dict[str, Tensor]:
        hold_against_another_input(stack)
        top = next(differentiate_attention(stack))
        return {"relevance": _read(stack, reading(stack), top.mean(_weights))}

    return explain_stacks(model, rows, budget, last)


def attention_x_gradient(
    options: AttentionTimesGradient, model: Model, rows: Sequence[Row], budget: float
) -> list[Explanation]:
    """Attention where it raises F, added to the residual stream and followed through all layers (Chefer et al. 2021).

    Unsigned: attention that lowers F is cut off.
    """

    def raising(attention: LayerAttention) -> Tensor:
        return _beside_residual(attention.mean(lambda weights, gradients: (weights * gradients).clamp_min(0)))

    return explain_stacks(model, rows, budget, lambda stack: _follow(stack, raising))


def _weights(weights: Heads, _: Heads) -> Heads:
    return weights


def _beside_residual(scores: Float[Tensor, "row target source"]) -> Float[Tensor, "row target source"]:
    return scores + torch.eye(scores.shape[-1]).to(scores)


def _follow(stack: Stack, map_of: Callable[[LayerAttention], Float[Tensor, "row target source"]]) -> dict[str, Tensor]:
    """Read the product of all layers' maps at the place that predicts.

    The rollout R = C^L … C^1 costs a matrix product per layer. Only one of its rows is read: taken from the top, that
    is a vector's way down, on which it passes what the states of each layer are worth.
    """
    hold_against_another_input(stack)
    weight = reading(stack)
    by_layer = []
    for attention in differentiate_attention(stack):
        weight = _read(stack, weight, map_of(attention))
        by_layer.append(weight)
    return {"relevance": weight, "layer_relevance": torch.stack(by_layer[::-1], dim=1)}


def _read(
    stack: Stack, weight: Float[Tensor, "row target"], scores: Float[Tensor, "row target source"]
) -> Float[Tensor, "row source"]:
    scores = torch.where(stack.kept[:, :, None] & stack.kept[:, None], scores, 0)  # padding may hold anything, even NaN
    return torch.einsum("rt,rts->rs", weight, scores)


def reading(stack: Stack) -> Float[Tensor, "row token"]:
    """Share of each token that leaves the last block in what the head reads; a single one has exactly 1.

    By the length of F's gradient there times the length of the state. The product is the same whatever the length of
    a state that a norm in the head is about to take away. A head that reads nothing has no shares, only zeros.
    """
    top = stack.states[stack.n_layers]
    gradient = gradient_at(stack, stack.n_layers, top, every_row(stack))
    size = gradient.norm(dim=-1) * top.norm(dim=-1)
    size = torch.where(stack.kept, size, 0)
    return size / size.sum(-1, keepdim=True).clamp_min(torch.finfo(size.dtype).tiny)
