"""Which maps a block offers, by how far it can be taken apart."""

from lignite.attribution.block import Block
from lignite.attribution.layer_scores import MapOptions
from lignite.errors import OptionError


def offered_maps(block: Block) -> tuple[str, ...]:
    """List the maps that a block shows; `composed` follows from two of them."""
    return ("attention", "mlp", "whole") if block.n_heads else ("whole",)


def check_offered(block: Block, options: MapOptions) -> None:
    """Refuse maps and details that a block does not show."""
    why = f" ({block.refused[-1]})" if block.refused else ""
    if not block.n_heads and set(options.maps) != {"whole"}:
        raise OptionError(
            f"This layer offers the map 'whole' alone, since its block could not be split at its heads{why}; asked for "
            f"{', '.join(options.maps)}. Pass maps=('whole',)."
        )
    if "circuits" in options.detail and block.route != "interface":
        raise OptionError(
            "detail='circuits' needs a block on transformers' attention interface; this one bypasses it, or computes "
            f"something beside it{why}. Leave circuits out; maps are offered all the same."
        )
    if "heads" in options.detail and not block.n_heads:
        raise OptionError(f"detail='heads' needs a block with heads; this one offers none{why}. Leave detail out.")
