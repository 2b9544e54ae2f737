"""An explanation's numbers by their places in the model's input."""

import numpy as np
from jaxtyping import Float

from lignite.errors import InputError, NotFiniteError
from lignite.targets.rows import Row


def by_place(
    number: int, row: Row, relevance: Float[np.ndarray, "_"], *, method: str = ""
) -> Float[np.ndarray, " token"]:
    """Relevances by place in the model's input, 0 for padding, checked; `number` and `method` name them in errors."""
    kept = ~np.asarray(row.encoded.tokens.padding, dtype=bool)
    scores = np.asarray(relevance, dtype=np.float64)
    origin = f"{method}: " if method else ""
    if scores.shape != (kept.sum(),):
        raise InputError(
            f"{origin}the relevances of row {number} ({beginning(row)}) have shape {scores.shape}, but the row has "
            f"{int(kept.sum())} tokens without padding; give one number for each."
        )
    if not np.isfinite(scores).all():
        raise NotFiniteError(f"{origin}a relevance of row {number} ({beginning(row)}) is NaN or infinite.")
    placed = np.zeros(len(kept))
    placed[kept] = scores
    return placed


def beginning(row: Row) -> str:
    """How an input begins, for errors."""
    return repr(row.encoded.tokens.input[:40] or " ".join(row.encoded.tokens.text)[:40])
