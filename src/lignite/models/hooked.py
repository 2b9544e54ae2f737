"""TransformerLens's HookedTransformer, by the names that it gives its parts."""

from dataclasses import replace
from typing import Any

from torch import nn

from lignite.models.unknown import Told


def is_hooked(module: nn.Module) -> bool:
    """Tell whether a module names its parts as a HookedTransformer does."""
    return hasattr(module, "hook_dict") and all(hasattr(module, name) for name in ("cfg", "embed", "blocks", "unembed"))


def by_own_names(module: nn.Module, told: Told) -> Told:
    """Add what a HookedTransformer says of itself to what its user says; anything else stays to be explored."""
    if not is_hooked(module):
        return told
    hooked: Any = module
    return replace(
        told,
        blocks=hooked.blocks if told.blocks is None else told.blocks,
        embed=hooked.embed if told.embed is None else told.embed,
        n_words=int(hooked.cfg.d_vocab),
        n_places=int(hooked.cfg.n_ctx),
    )
