"""What the module of a page is given: a description that is JSON, and numbers as bytes."""

from typing import Any

import numpy as np

from lignite.views.palette import diverging
from lignite.views.patches.facts import overlay_colours

MAX_BYTES = 64_000_000
"""Browsers open this much base64 at once; more than twice as much makes them slow."""


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

    def put(self, name: str, values: np.ndarray, kind: str = "<f4") -> None:
        """Numbers under a name, in float32 or as the numpy type `kind`."""
        self.blocks[name] = values.astype(kind).tobytes()
