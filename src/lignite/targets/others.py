"""Pictures of a corpus, whose patches stand in the place of those that are removed from an image."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lignite.calls import check_count, check_seed
from lignite.errors import InputError
from lignite.inputs.tokens import Encoded
from lignite.models.notes import notes_on
from lignite.options import MOST_DRAWS
from lignite.targets.rows import Row

MOST_PICTURES = 64
"""So many of a data set are kept to draw from: each of them is held in memory."""


@dataclass(frozen=True, eq=False)
class Others:
    """Pictures of a corpus, each once, and `draws` fixed patchworks of them for every image.

    A patchwork has in every place the patch that another picture has there, each place another one by lot. What is
    drawn depends on the image's own pixels and the seed alone: every method, and every question on that image, meets
    the same patches.
    """

    pictures: Sequence[Float[Tensor, "1 channel y x"]] = field(repr=False)
    draws: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse drawings that are none."""
        check_count("draws", self.draws, MOST_DRAWS)
        check_seed(self.seed)

    @classmethod
    def of_inputs(cls, inputs: Iterable[Encoded], *, draws: int = 4, seed: int = 0) -> "Others":
        """Keep the pictures among inputs, each of them once."""
        values = [each.tensors["pixel_values"] for each in inputs if "pixel_values" in each.tensors]
        return cls(list({_content(one): one for one in values}.values()), draws, seed)

    @cached_property
    def digest(self) -> str:
        """The same for the same pictures and drawings."""
        known = hashlib.sha256(f"{self.draws} {self.seed}".encode())
        for picture in self.pictures:
            known.update(_content(picture))
        return known.hexdigest()[:16]

    def drawn(self, row: Row) -> Float[Tensor, "draw channel y x"]:
        """Pixel values that stand in the place of an image's own, drawing by drawing.

        Raises
        ------
        InputError
            If no other picture has the image's size.
        """
        known = notes_on(row.encoded)
        note = f"patches drawn {self.digest}"
        if note not in known:
            known[note] = self._drawn(row)
        found: Tensor = known[note]
        return found

    def _drawn(self, row: Row) -> Float[Tensor, "draw channel y x"]:
        own = row.encoded.tensors["pixel_values"]
        content = _content(own)
        others = [one for one in self.pictures if one.shape == own.shape and _content(one) != content]
        if not others:
            raise InputError(
                "fills='others' needs patches of other pictures, and there is none of this one's size, "
                f"{own.shape[2]} × {own.shape[3]} pixels: name more, corpus=…, or use another fill."
            )
        source = hashlib.sha256(f"{self.seed} ".encode() + content).digest()
        generator = np.random.default_rng(int.from_bytes(source[:8], "big"))
        made = own.repeat(self.draws, 1, 1, 1)
        for place in range(row.n_tokens):
            box = row.encoded.tokens.box(place)
            if box is None:
                continue
            for draw, number in enumerate(generator.integers(len(others), size=self.draws)):
                made[draw][:, *box] = others[number][0][:, *box].to(made)
        return made


def _content(pixels: Float[Tensor, "1 channel y x"]) -> bytes:
    """Equal for pictures of equal size and pixels."""
    values = pixels.detach().to("cpu", torch.float64).numpy()
    return hashlib.sha256(str(values.shape).encode() + values.tobytes()).digest()
