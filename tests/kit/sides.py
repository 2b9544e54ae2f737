"""Explanations written out by hand: tokens, where they stand, and what they say."""

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import xarray as xr

from lignite.results.build import build_explanation

NOWHERE = (-1, -1)


def explanation(
    text: str,
    tokens: Sequence[tuple[str, int, tuple[int, int]]],
    relevance: Sequence[float],
    *,
    adds_up: bool = True,
    segments: Sequence[int] | None = None,
    **attrs: Any,
) -> xr.Dataset:
    """Tokens are text, word (−1: special) and the span of characters; scores add up to the value, from zero."""
    columns: dict[str, Any] = dict.fromkeys(("row", "col", "top", "left", "bottom", "right"))
    columns |= {
        "text": tuple(token for token, _, _ in tokens),
        "word": tuple(word for _, word, _ in tokens),
        "special": tuple(word < 0 for _, word, _ in tokens),
        "start": tuple(span[0] for _, _, span in tokens),
        "stop": tuple(span[1] for _, _, span in tokens),
        "position": tuple(range(len(tokens))),
        "segment": None if segments is None else tuple(segments),
    }
    total = float(np.sum(relevance))
    variables = {"relevance": np.asarray(relevance, dtype=np.float64)}
    if adds_up:
        variables |= {"total_displacement": np.asarray(total), "total_gap": np.asarray(0.0)}
    named = {"model": "m", "method": "ig", "request": json.dumps({"method": "ig", "baseline": ["mask"]}), **attrs}
    own = {
        "lignite_version": "0", "revision": "", "text": text, "plans": "{}", "versions": "{}", "tol": 1e-3,
        "target": json.dumps({"kind": "class", "name": named.pop("target", "positive")}),
        "prediction": "positive", "value": total,
    }  # fmt: skip
    return build_explanation(tokens=SimpleNamespace(**columns), variables=variables, attrs={**own, **named})


def of_words(text: str, relevance: Sequence[float], **how: Any) -> xr.Dataset:
    """Every word between blanks is a token."""
    tokens, at = [], 0
    for number, word in enumerate(text.split(" ")):
        tokens.append((word, number, (at, at + len(word))))
        at += len(word) + 1
    return explanation(text, tokens, relevance, **how)
