"""What stands in the place of words and pixels that are taken away."""

import inspect
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from lignite.errors import OptionError
from lignite.inputs.patches import read_colours
from lignite.models.facts import patch_size, vocabulary_size
from lignite.models.hold import standing_in
from lignite.models.load import Model

IMAGE_FILLS = ("blur", "grey", "black", "mean")
"""What stands in the place of removed pixels: a blur of the image, one half, zero, the image's average patch."""
COLOURS = ("grey", "black")
"""Those that need a processor which tells what a colour is to the model."""

BLUR_SHARE = 1 / 8
"""Width (standard deviation) of the blur in shorter sides: shapes are gone, where light falls stays."""


def role_id(model: Model, role: str) -> int | None:
    """Find the id of the tokenizer's ``"mask"`` or ``"pad"`` token; None if it has none or the model cannot read it."""
    number = getattr(model.tokenizer, f"{role}_token_id", None)
    size = vocabulary_size(model.network)
    return int(number) if number is not None and number >= 0 and (size is None or number < size) else None


def without_role(model: Model, role: str) -> str:
    """Say why `role_id` is None, as the beginning of an error."""
    number = getattr(model.tokenizer, f"{role}_token_id", None)
    if number is None:
        return f"{model.name} has no {role} token to put in the place of words"
    token, size = getattr(model.tokenizer, f"{role}_token", ""), vocabulary_size(model.network) or 0
    return (
        f"{model.name} cannot read its tokenizer's {role} token {token!r}, id {number} outside the vocabulary, 0 to "
        f"{size - 1} (network.resize_token_embeddings(len(tokenizer)) makes room for it)"
    )


def filled(model: Model, pixel_values: Float[Tensor, "image channel y x"], fill: str) -> Tensor:
    """Give the same images with every pixel replaced by the fill, as pixel values.

    Raises
    ------
    OptionError
        If the model's image processor is not known, and with it not which value is grey; or patches have no size.
    """
    if fill == "blur":
        return blurred(pixel_values)
    if fill == "mean":
        return averaged(model, pixel_values)
    known = read_colours(model, pixel_values)
    if known is None:
        raise OptionError(
            f"{fill!r} is a colour, and {model.name} has no image processor that tells its colours: name one, "
            "lignite.wrap(network, image_processor=…), or use 'blur'."
        )
    mean, scale = known
    level = {"grey": 0.5, "black": 0.0}[fill]
    return ((level - mean) / scale).expand_as(pixel_values).contiguous()


def averaged(model: Model, pixel_values: Float[Tensor, "image channel y x"]) -> Tensor:
    """Give the same images with every patch replaced by the average patch of the image, position by position.

    A patch enters the model through an affine map of its pixels, so the patches of this image enter as the mean of what
    they are, each in its own place (docs/method.md). What lies beyond the last whole patch is read by no patch.

    Raises
    ------
    OptionError
        If the model does not say how large its patches are.
    """
    size = patch_size(model.network)
    if size is None:
        raise OptionError(
            f"'mean' is an average patch, and {model.name} does not tell the size of patches; use 'blur'."
        )
    tall, wide = size
    rows, cols = pixel_values.shape[2] // tall, pixel_values.shape[3] // wide
    whole = pixel_values[:, :, : rows * tall, : cols * wide]
    blocks = whole.unflatten(3, (cols, wide)).unflatten(2, (rows, tall))
    average = blocks.double().mean((2, 4)).to(pixel_values.dtype)
    replaced = pixel_values.clone()
    replaced[:, :, : rows * tall, : cols * wide] = average.repeat(1, 1, rows, cols)
    return replaced


def blurred(pixel_values: Float[Tensor, "image channel y x"]) -> Float[Tensor, "image channel y x"]:
    """Make a Gaussian blur as wide as `BLUR_SHARE` of the shorter side, edges mirrored."""
    if pixel_values.dtype in (torch.float16, torch.bfloat16):
        return blurred(pixel_values.float()).to(pixel_values.dtype)  # the squares below need more digits
    channels = pixel_values.shape[1]
    for axis in (2, 3):
        length = pixel_values.shape[axis]
        width = BLUR_SHARE * min(pixel_values.shape[2:])
        reach = min(length - 1, max(1, round(3 * width))) if length > 1 else 0
        places = torch.arange(-reach, reach + 1).to(pixel_values)
        kernel = torch.exp(-(places**2) / (2 * width**2))
        kernel = (kernel / kernel.sum()).reshape((-1, 1) if axis == 2 else (1, -1)).expand(channels, 1, -1, -1)
        margin = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        padded = nn.functional.pad(pixel_values, margin, mode="reflect")
        pixel_values = nn.functional.conv2d(padded, kernel, groups=channels)
    return pixel_values


@contextmanager
def patches_masked(network: PreTrainedModel) -> Any:
    """Let every patch enter the first block as the model's mask token.

    Raises
    ------
    OptionError
        If the model has none.
    """
    rooms = [part for part in network.modules() if isinstance(getattr(part, "mask_token", None), nn.Parameter)]
    rooms = [part for part in rooms if "bool_masked_pos" in inspect.signature(part.forward).parameters]
    if len(rooms) != 1:
        raise OptionError(
            f"baseline='mask' needs a mask token, and {type(network).__name__} has {'none' if not rooms else 'several'}"
            f"; use one of {', '.join(map(repr, IMAGE_FILLS))}, 'zero', 'mean'."
        )
    (room,) = rooms
    forward = room.forward

    def masked(pixel_values: Float[Tensor, "image channel y x"], *args: Any, **kwargs: Any) -> Any:
        tall, wide = patch_size(network) or (1, 1)
        count = (pixel_values.shape[2] // tall) * (pixel_values.shape[3] // wide)
        everywhere = torch.ones(len(pixel_values), count, dtype=torch.bool, device=pixel_values.device)
        if args:  # the second argument of the position is the mask
            args = (everywhere, *args[1:])
            return forward(pixel_values, *args, **kwargs)
        return forward(pixel_values, **{**kwargs, "bool_masked_pos": everywhere})

    with standing_in("forward", {room: masked}):
        yield
