"""What the module of a page is given: a description that is JSON, and numbers as bytes."""

import json
import math
import zlib
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from lignite.views.palette import diverging
from lignite.views.patches.facts import overlay_colours

MAX_BYTES = 64_000_000
"""Browsers open this much base64 at once; more than twice as much makes them slow."""

EXACT = 600_000
"""Bytes of one block of scores that stay float32, which no rounding touches; larger ones are rounded row by row."""

LEVELS = 127
"""Steps from zero to the largest score of a row that a rounded score can have."""


class Payload:
    """`meta` describes, `blocks` are numbers by name, `pictures` addresses of images; `notes` say what is left out."""

    def __init__(self) -> None:
        self.blocks: dict[str, bytes] = {}
        self.pictures: list[str] = []
        self.notes: list[str] = []
        self.meta: dict[str, Any] = {
            "palette": {"light": diverging(), "dark": diverging(dark=True)},
            "overlay": overlay_colours(),
            "pictures": self.pictures,
        }

    def put(self, name: str, values: np.ndarray) -> None:
        """Numbers under a name, in float32."""
        self.blocks[name] = values.astype("<f4").tobytes()

    def put_rows(self, name: str, values: Float[np.ndarray, "*row column"], *, levels: int = LEVELS) -> None:
        """Scores under a name: as they are, or of many each row in steps of its largest.

        A script reads from the length which of the two it is: of rounded rows the steps come first, in float32, then
        the scores, a byte each. A rounded score is half a step away at most, 1 / (2 levels) of the largest of its row.
        """
        if values.size * 4 <= EXACT:
            self.put(name, values)
            return
        rows = values.reshape(-1, values.shape[-1]).astype(np.float64)
        known = np.isfinite(rows)
        largest = np.abs(np.where(known, rows, 0)).max(axis=1, keepdims=True).astype("<f4")
        shares = np.divide(rows, largest, out=np.zeros_like(rows), where=known & (largest > 0))
        coded = np.where(known, np.round(levels * shares), -128).astype("i1")  # −128: no number
        self.blocks[name] = (largest / levels).astype("<f4").tobytes() + coded.tobytes()
        note = (
            f"Scores of large maps are rounded to {math.ceil(500 / levels) / 10} % of the largest of their row; "
            "the saved result has them all."
        )
        if note not in self.notes:
            self.notes.append(note)

    def packed(self) -> tuple[dict[str, Any], bytes]:
        """Everything for a page in one file: `meta`, which says where blocks lie, and all of them compressed."""
        ends = np.cumsum([0, *(len(block) for block in self.blocks.values())]).tolist()
        return self.meta | {"blocks": dict(zip(self.blocks, pairwise(ends), strict=False))}, self._compressed

    @cached_property
    def _compressed(self) -> bytes:
        return zlib.compress(b"".join(self.blocks.values()), 6)

    def size(self) -> int:
        """Bytes that this takes on a page, close to."""
        return len(self._compressed) * 4 // 3 + len(json.dumps(self.meta))
