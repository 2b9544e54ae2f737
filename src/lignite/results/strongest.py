"""The largest scores, and the strongest ways through the layers."""

import numpy as np


def find_largest(values: np.ndarray, k: int) -> np.ndarray:
    """Places of the k largest values along the last axis, largest first; equal values in the order of their places."""
    k = min(k, values.shape[-1])
    places = np.sort(np.argpartition(-values, k - 1, axis=-1)[..., :k], axis=-1)
    order = np.argsort(-np.take_along_axis(values, places, axis=-1), axis=-1, kind="stable")
    return np.take_along_axis(places, order, axis=-1)


def find_strongest(magnitudes: np.ndarray, weights: np.ndarray, k: int, ends: list[int] | None) -> list[list[int]]:
    """Places of the k best paths, best first: one row of best products per token, carried from layer to layer.

    `weights` are those of the tokens at the top.
    """
    n_tokens = magnitudes.shape[-1]
    best = np.ones((n_tokens, 1))  # [token, rank]
    back: list[tuple[np.ndarray, np.ndarray]] = []
    for layer in magnitudes:
        n_ranks = best.shape[1]
        products = (layer[:, :, None] * best).reshape(n_tokens, -1)
        kept = find_largest(products, k)
        best = np.take_along_axis(products, kept, axis=-1)
        back.append((kept // n_ranks, kept % n_ranks))
    best = best * weights[:, None]
    candidates = [
        (-best[token, rank], token, rank)
        for token in (range(n_tokens) if ends is None else ends)
        for rank in range(best.shape[1])
        if best[token, rank] > 0
    ]
    return [_trace(back, token, rank) for _, token, rank in sorted(candidates)[:k]]


def _trace(back: list[tuple[np.ndarray, np.ndarray]], token: int, rank: int) -> list[int]:
    places = [token]
    for sources, ranks in reversed(back):
        token, rank = int(sources[token, rank]), int(ranks[token, rank])
        places.append(token)
    return places[::-1]
