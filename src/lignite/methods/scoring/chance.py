"""Scores that know nothing: the row of a table that every method must beat."""

import hashlib
from collections.abc import Sequence

import numpy as np

from lignite.methods.chance import Random
from lignite.methods.method import Explanation
from lignite.models.load import Model
from lignite.targets.rows import Row


def random(options: Random, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """Uniform numbers from -1 to 1, the same ones for the same input and seed."""
    return [
        Explanation(
            {
                "relevance": np.random.default_rng(seed_of(row, options.seed)).uniform(
                    -1, 1, row.encoded.tokens.padding.count(False)
                )
            }
        )
        for row in rows
    ]


def seed_of(row: Row, seed: int) -> int:
    """A number that depends on the input and the user's seed alone, not on the other inputs or their order."""
    digest = hashlib.sha256(str(seed).encode())
    tensors, tokens = row.encoded.tensors, row.encoded.tokens
    if "input_ids" in tensors:
        ids = tensors["input_ids"][0].tolist()
        kept = [number for number, padding in zip(ids, tokens.padding, strict=True) if not padding]
        digest.update(str(kept).encode())
    else:
        for name in sorted(tensors):
            digest.update(tensors[name].detach().cpu().double().numpy().tobytes())
    return int.from_bytes(digest.digest()[:6])
