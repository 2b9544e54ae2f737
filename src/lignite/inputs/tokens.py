"""Labels for the tokens of an input, and the input that a model reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from lignite.errors import InputError
from lignite.models.load import Model

Span = tuple[int, int]

NOWHERE: Span = (-1, -1)


@dataclass(frozen=True)
class Tokens:
    """What is known about each position of one model input, one entry per position.

    Attributes
    ----------
    text
        The token as its tokenizer writes it, marks of word starts included (`##`, `▁`, `Ġ`), bytes spelt out;
        `[CLS]`, `[REG1]` or `r0c3` (row 0, column 3) in images.
    position
        Place in the model's input.
    word
        Number of the word, counted over the whole text (:func:`~lignite.inputs.labels.number_words`), -1 for none. A
        token that covers several words counts to the first.
    special
        Added by the tokenizer or the model, not part of the text; unknown and mask tokens stand for text.
    start, stop
        `input[start:stop]` is the token's text without white space around it; -1 where that is not known.
    segment
        For a pair of texts 0 or 1, -1 for special tokens.
    row, col
        For images the place of the patch, -1 for all other tokens.
    top, left, bottom, right
        The patch's pixels, `picture[top:bottom, left:right]` of the picture that the model sees.
    padding
        Masked out before or behind the text: the model ignores it. A token that is hidden inside the text is none.
    input
        The text; for a pair both texts joined by a line break; the name of an image's file; else empty.
    """

    text: tuple[str, ...]
    position: tuple[int, ...]
    word: tuple[int, ...]
    special: tuple[bool, ...]
    start: tuple[int, ...]
    stop: tuple[int, ...]
    padding: tuple[bool, ...]
    segment: tuple[int, ...] | None = None
    row: tuple[int, ...] | None = None
    col: tuple[int, ...] | None = None
    top: tuple[int, ...] | None = None
    left: tuple[int, ...] | None = None
    bottom: tuple[int, ...] | None = None
    right: tuple[int, ...] | None = None
    input: str = ""

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.columns().items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"labels of tokens differ in length ({lengths}): give one entry per token.")

    def __len__(self) -> int:
        return len(self.text)

    def keep(self) -> "Tokens":
        """Drop the padding; `position` still says where each token stood."""
        kept = [place for place, padding in enumerate(self.padding) if not padding]
        columns: dict[str, Any] = {name: tuple(values[i] for i in kept) for name, values in self.columns().items()}
        return replace(self, **columns)

    def box(self, place: int) -> tuple[slice, slice] | None:
        """Give the patch's pixels, ``picture[box]``; None for what is no patch."""
        if self.top is None or self.left is None or self.bottom is None or self.right is None or self.top[place] < 0:
            return None
        return slice(self.top[place], self.bottom[place]), slice(self.left[place], self.right[place])

    def columns(self) -> dict[str, tuple[Any, ...]]:
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "input"}
        return {name: column for name, column in values.items() if column is not None}


@dataclass(frozen=True, eq=False)
class Encoded:
    """One model input, a batch of one: the model's keyword arguments, and a label for each of its tokens.

    `image` is the picture that a model of images sees, where its colours are known.
    """

    tensors: dict[str, Tensor]
    tokens: Tokens
    image: UInt8[np.ndarray, "y x 3"] | None = None


def wordless(
    text: Sequence[str],
    *,
    special: tuple[bool, ...] | None = None,
    padding: tuple[bool, ...] | None = None,
    row: tuple[int, ...] | None = None,
    col: tuple[int, ...] | None = None,
) -> Tokens:
    """Make labels without words or places in a text."""
    none, no = (-1,) * len(text), (False,) * len(text)
    return Tokens(
        text=tuple(text),
        position=tuple(range(len(text))),
        word=none,
        special=special or no,
        start=none,
        stop=none,
        padding=padding or no,
        row=row,
        col=col,
    )


def on_device(model: Model, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Move to the model; only decimals are cast, ids and masks stay whole numbers.

    Tensors made in inference mode are copied: autograd refuses to remember them.
    """
    network = model.network
    return {
        name: (tensor.clone() if tensor.is_inference() else tensor).to(
            network.device, network.dtype if tensor.is_floating_point() else tensor.dtype
        )
        for name, tensor in tensors.items()
    }
