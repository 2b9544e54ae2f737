"""Attention-aware layer-wise relevance propagation, where its authors' library is installed."""

from dataclasses import dataclass

from lignite.methods.method import Method


@dataclass(frozen=True, kw_only=True)
class AttnLRP(Method, name="attnlrp", scored_by="attnlrp.attnlrp"):
    """Gradient × input with lxt's rules for softmax, products and norms (Achtibat et al. 2024), on a copy."""
