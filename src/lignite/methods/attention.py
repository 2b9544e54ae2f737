"""Explanations by attention weights: the last layer's, their rollout, and the rollout of those that raise F."""

from dataclasses import dataclass

from lignite.methods.method import Method


@dataclass(frozen=True, kw_only=True)
class AttentionRollout(Method, name="attention-rollout", scored_by="attention.attention_rollout"):
    """Attention and the residual stream, half each, followed through all layers (Abnar and Zuidema 2020). Unsigned."""


@dataclass(frozen=True, kw_only=True)
class AttentionLast(Method, name="attention-last", scored_by="attention.attention_last"):
    """The last layer's attention, mean of its heads. Unsigned."""


@dataclass(frozen=True, kw_only=True)
class AttentionTimesGradient(Method, name="attention-x-gradient", scored_by="attention.attention_x_gradient"):
    """Attention where it raises F, added to the residual stream, through all layers (Chefer et al. 2021). Unsigned."""
