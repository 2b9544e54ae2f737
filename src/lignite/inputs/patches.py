"""Pixels become what a model reads, with a label for each of its patches."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from transformers import PreTrainedConfig

from lignite.errors import InputError
from lignite.inputs.tokens import Encoded, Tokens, on_device, wordless
from lignite.models.bare import Bare
from lignite.models.facts import Images, can_stretch, read_images
from lignite.models.hold import at_rest
from lignite.models.load import Model


@dataclass(frozen=True)
class _Layout:
    """Tokens before the patches, and whether position embeddings adapt to any image size by themselves."""

    prefix: tuple[str, ...] = ("[CLS]",)
    registers: bool = False
    any_size: bool = False


_LAYOUTS = {
    "vit": _Layout(),
    "vit_mae": _Layout(),
    "vit_msn": _Layout(),
    "ijepa": _Layout(prefix=()),
    "deit": _Layout(prefix=("[CLS]", "[DIST]")),
    "dinov2": _Layout(any_size=True),
    "dinov2_with_registers": _Layout(registers=True, any_size=True),
    "dinov3_vit": _Layout(registers=True, any_size=True),
    "beit": _Layout(),
    "data2vec-vision": _Layout(),
    "clip_vision_model": _Layout(),
    "siglip_vision_model": _Layout(prefix=()),
}


def _layout_of(known: Images) -> _Layout | None:
    """Find the layout of a family, or the one that a trial has found."""
    if known.prefix is None:
        return _LAYOUTS.get(known.family)
    return _Layout(prefix=("[CLS]", *(f"[REG{number}]" for number in range(1, known.prefix)))[: known.prefix])


def encode_pixels(model: Model, tensors: dict[str, Tensor]) -> list[Encoded]:
    """Encode pixels as an image processor returns them, ``[image, channel, y, x]``, with labels for their patches."""
    pixels = tensors["pixel_values"]
    if pixels.ndim != 4 or not pixels.is_floating_point() or not len(pixels):
        raise InputError(
            f"pixel_values of shape {tuple(pixels.shape)} and {pixels.dtype}: "
            "give decimals [image, channel, height, width]."
        )
    _check_size(model, pixels)
    rows = [
        on_device(model, {name: tensor[row : row + 1] for name, tensor in tensors.items()})
        for row in range(len(pixels))
    ]
    tokens = image_tokens(model.config, pixels.shape[2], pixels.shape[3])
    if tokens is None:
        count = _count_tokens(model, rows[0])
        tokens = wordless([f"t{number}" for number in range(count)], row=(-1,) * count, col=(-1,) * count)
    return [Encoded(row, tokens, seen(model, row["pixel_values"])) for row in rows]


def image_tokens(config: PreTrainedConfig, height: int, width: int) -> Tokens | None:
    """Lay out the tokens of an image of this size, or None for models whose order of tokens is not known.

    Nothing is measured here: compare the number of tokens with that of the states before use.
    """
    known = read_images(config)
    layout = _layout_of(known)
    if layout is None:
        return None
    registers = known.registers if layout.registers else 0
    prefix = [*layout.prefix, *(f"[REG{number}]" for number in range(1, registers + 1))]
    assert known.patch is not None  # as for all whose layout is known
    tall, wide = known.patch
    grid = [(row, col) for row in range(height // tall) for col in range(width // wide)]
    none = (-1,) * len(prefix)
    tokens = wordless(
        [*prefix, *(f"r{row}c{col}" for row, col in grid)],
        special=(True,) * len(prefix) + (False,) * len(grid),
        row=none + tuple(row for row, _ in grid),
        col=none + tuple(col for _, col in grid),
    )
    return replace(
        tokens,
        top=none + tuple(row * tall for row, _ in grid),
        left=none + tuple(col * wide for _, col in grid),
        bottom=none + tuple((row + 1) * tall for row, _ in grid),
        right=none + tuple((col + 1) * wide for _, col in grid),
    )


def _check_size(model: Model, pixels: Float[Tensor, "image channel y x"]) -> None:
    known = read_images(model.config)
    layout = _layout_of(known)
    if layout is None:
        return
    assert known.size is not None  # as for all whose layout is known
    assert known.patch is not None
    name, channels, given, expected = model.name, pixels.shape[1], tuple(pixels.shape[2:]), known.size
    if channels != known.channels:
        raise InputError(f"the image has {channels} channels, but {name} reads {known.channels}: convert it.")
    if not layout.any_size and given != expected and not can_stretch(model.network):
        raise InputError(
            f"the image is {given[0]} × {given[1]} pixels, but {name} reads {expected[0]} × {expected[1]}: resize it."
        )
    table = any(place.endswith("position_embeddings") for place, _ in model.network.named_parameters())
    if layout.any_size and table and expected[0] != expected[1]:
        raise InputError(
            f"{name} was made for images of {expected[0]} × {expected[1]} pixels, but its code stretches positions of "
            "squares alone, and fails on any image: build it with a square image_size."
        )
    if given[0] < known.patch[0] or given[1] < known.patch[1]:
        raise InputError(f"the image, {given[0]} × {given[1]} pixels, is smaller than one patch of {name}: enlarge it.")


def _count_tokens(model: Model, row: dict[str, Tensor]) -> int:
    """Run a model whose layout is not known once, to see how many tokens enter its first block."""
    with at_rest(model.network), torch.no_grad():
        if isinstance(model.network, Bare):
            return model.network.count_tokens(**row)
        output = model.network(**row, output_hidden_states=True)
    states = getattr(output, "hidden_states", None) or getattr(output, "encoder_hidden_states", None)
    if not states or states[0].ndim != 3:
        raise InputError(f"{model.name} does not turn an image into a row of tokens: lignite has nothing to label.")
    return int(states[0].shape[1])


def read_colours(model: Model, like: Float[Tensor, "..."]) -> tuple[Tensor, Tensor] | None:
    """Read mean and scale with which colours from 0 to 1 were made pixel values, [channel, 1, 1]; None if not known."""
    processor: Any = getattr(model, "image_processor", None)
    if not hasattr(processor, "do_normalize"):  # a function of the user's own says nothing of its colours
        return None
    mean, scale = torch.zeros(1), torch.ones(1)
    if processor.do_normalize:
        mean = torch.as_tensor(processor.image_mean, dtype=torch.float64).reshape(-1)
        scale = torch.as_tensor(processor.image_std, dtype=torch.float64).reshape(-1)
    rescaled = getattr(processor, "rescale_factor", 1 / 255) if getattr(processor, "do_rescale", True) else 1
    mean, scale = mean / (255 * rescaled), scale / (255 * rescaled)  # numbers from 0 to 255 times this were normalized
    shape = (-1, 1, 1)
    return mean.reshape(shape).to(like), scale.reshape(shape).to(like)


def seen(model: Model, pixel_values: Float[Tensor, "1 channel y x"]) -> UInt8[np.ndarray, "y x 3"] | None:
    """Give the picture that the model sees, cut and resized by its processor; None where nobody knows the colours."""
    known = read_colours(model, pixel_values.double())
    if known is None or pixel_values.shape[1] not in (1, 3):
        return None
    mean, scale = known
    colours = (pixel_values[0].double() * scale + mean).clamp(0, 1)
    picture: np.ndarray = (colours * 255).round().to(torch.uint8).cpu().numpy()
    return np.ascontiguousarray(np.moveaxis(np.broadcast_to(picture, (3, *picture.shape[1:])), 0, -1))
