"""Attention-aware layer-wise relevance propagation: gradient × input under rules of its own."""

from dataclasses import dataclass

from lignite.methods.method import Method


@dataclass(frozen=True, kw_only=True)
class AttnLRP(Method, name="attnlrp", scored_by="attnlrp.attnlrp"):
    """Gradient × input, where norms, activations and products follow AttnLRP's rules (Achtibat et al. 2024)."""
