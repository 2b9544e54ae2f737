"""Pictures become what a model reads: files, arrays and tensors, labels for their patches, and what replaces pixels."""

import inspect
import io
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8, UInt16
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from lignite.errors import FileError, InputError, OptionError, warn
from lignite.files import expanded, read_whole
from lignite.inputs.tokens import Encoded, Tokens, on_device, shorten, wordless
from lignite.models.facts import can_stretch, forward_names, height_and_width, patch_size, vision_config
from lignite.models.hold import at_rest, standing_in
from lignite.models.load import Model

IMAGE_FILLS = ("blur", "grey", "black")
"""What stands in the place of removed pixels, in their own colours: a blur of the image, one half, zero."""

MOST_BYTES = 2**28
"""Of an image's file."""

BLUR_SHARE = 1 / 8
"""Width (standard deviation) of the blur in shorter sides: shapes are gone, where light falls stays."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|data:", re.IGNORECASE)

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


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


def is_picture(item: object) -> bool:
    """Whether something is an image by itself: a path, a picture, an array, a tensor of pixels."""
    return isinstance(item, Path | Image.Image | np.ndarray | Tensor)


def names_an_image(text: str) -> bool:
    """Whether a text is the name of an image rather than something to read: one word, or an existing file."""
    if not text.strip().lower().endswith(ENDINGS) or "\n" in text.strip():
        return False
    try:
        return len(text.split()) == 1 or Path(text.strip()).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):
        return False


def is_folder(item: object) -> bool:
    """Whether something names a folder; a long text is no name at all, nor is an empty one."""
    if isinstance(item, str) and not item.strip():
        return False
    try:
        return isinstance(item, str | Path) and Path(item).expanduser().is_dir()
    except (OSError, ValueError, RuntimeError):
        return False


def encode_picture(model: Model, item: Any) -> list[Encoded]:
    """One image, all images of a folder, or ready pixels, for a model of images."""
    if isinstance(item, Tensor) and item.is_floating_point():
        return encode_pixels(model, {"pixel_values": item if item.ndim == 4 else item[None]})
    if isinstance(item, Tensor):
        item = item.detach().cpu().numpy()
        item = np.moveaxis(item, 0, -1) if item.ndim == 3 and item.shape[0] in (1, 3, 4) else item
    if is_folder(item):
        return _encode_folder(model, Path(item).expanduser())
    return [_encode_one(model, item)]


def _encode_folder(model: Model, folder: Path) -> list[Encoded]:
    """Every image of a folder in the order of their names; what cannot be read is named in a warning each."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    if not files:
        inner = next((path for path in sorted(folder.iterdir()) if path.is_dir() and _holds_images(path)), None)
        advice = "name another one" if inner is None else f"name one of the folders in it, such as {inner}"
        raise InputError(f"the folder {folder} holds no image ({', '.join(ENDINGS)}): {advice}.")
    found, bad = [], []
    for path in files:
        try:
            found.append(_encode_one(model, path))
        except InputError as error:
            bad.append(str(error))
    if not found:
        raise InputError(f"none of the {len(files)} images in {folder} can be read; the first: {bad[0]}")
    for message in bad:
        warn(f"left out: {message}")
    return found


def _holds_images(folder: Path) -> bool:
    try:
        return any(path.suffix.lower() in ENDINGS for path in folder.iterdir())
    except OSError:
        return False


def _encode_one(model: Model, source: Any) -> Encoded:
    opened = _opened(source)
    if model.image_processor is None:
        raise InputError(
            f"{model.name} has no image processor to prepare pictures with: name one, lignite.wrap(network, "
            "image_processor=…), or give {'pixel_values': …}."
        )
    _warn_of_transparency(model, opened, named(source))
    picture = _over_white(opened)
    config = vision_config(model.network)
    if getattr(config, "num_channels", 3) == 1:
        prepared: Any = np.asarray(picture.convert("L"))[..., None]
    else:
        prepared = np.asarray(picture)
    try:
        given = model.image_processor(images=prepared, input_data_format="channels_last", return_tensors="pt")
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"the image processor of {model.name} cannot prepare {named(source)} ({reason}).") from error
    accepted = forward_names(model.network)
    tensors = {name: torch.as_tensor(values) for name, values in given.items() if accepted is None or name in accepted}
    (encoded,) = encode_pixels(model, tensors)
    name = Path(source).name if isinstance(source, str | Path) else ""
    return replace(encoded, tokens=replace(encoded.tokens, input=name))


def read_image(source: Any) -> Image.Image:
    """A picture in red, green and blue, upright, from a file, a picture or an array ``[y, x]`` or ``[y, x, channel]``.

    Transparent parts become white, as transformers' processors read them. Numbers of an array are whole from 0 to 255
    or decimals from 0 to 1; of a file with 16 bits the highest number tells how many are in use.

    Raises
    ------
    InputError
        If there is no image, it is damaged, moves, is a single pixel or too large to be opened safely.
    """
    return _over_white(_opened(source))


def _opened(source: Any) -> Image.Image:
    """The picture upright, with 8 bits, its transparency kept."""
    if isinstance(source, str | Path):
        return _read_file(str(source))
    if isinstance(source, np.ndarray):
        return _upright(_from_array(source), "the array")
    if isinstance(source, Image.Image):
        try:
            return _upright(source, named(source))  # a file behind it may be read only now
        except InputError:
            raise
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise _unread(named(source), error) from error
    raise InputError(
        f"cannot read an image from {type(source).__name__}: give a file name, a Pillow image (of a stream or bytes, "
        "PIL.Image.open(io.BytesIO(…))), an array [y, x, 3] or {'pixel_values': …}."
    )


def named(source: Any) -> str:
    """How an error calls an image."""
    if isinstance(source, str | Path):
        return str(source)
    return getattr(source, "filename", "") or f"the {'array' if isinstance(source, np.ndarray) else 'picture'}"


def _read_file(name: str) -> Image.Image:
    if not name.strip():
        raise InputError(f"the name of the image is empty ({name!r}): give the name of a file.")
    if _ADDRESS.match(name):
        raise InputError(
            f"{shorten(name, 200)} is an address, and lignite fetches nothing: save the image, name the file."
        )
    if is_folder(name):
        raise InputError(f"{name} is a folder, expected an image: name the file in it.")
    with decoding(name) as picture:
        _check_still(picture, name)
        return _upright(picture, name)


@contextmanager
def decoding(name: str | Path, *, what: str = "image") -> Iterator[Image.Image]:
    """The picture in a file, decoded, and what goes wrong with it in one line.

    Raises
    ------
    InputError
        If there is no such file, it is none (a device, a pipe, a socket), is damaged, or is too large to be opened
        safely: in bytes, or in pixels, of which a small file may declare any number.
    """
    name = str(name)
    try:
        content = read_whole(expanded(name), most=MOST_BYTES)
        if not content:
            raise InputError(f"{name} is empty (0 bytes): save or copy it again.")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as picture:
                picture.load()
                yield picture
    except InputError:
        raise
    except FileError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise InputError(f"there is no {what} {shorten(name, 200)!r}: check the path.") from error
        raise InputError(f"the {what} {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{name} has more than {Image.MAX_IMAGE_PIXELS:,} pixels, too many to open safely: make it smaller."
        ) from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is no image that Pillow can read: convert it to PNG or JPEG.") from error
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error, IndexError, TypeError) as error:
        raise _unread(name, error) from error


def _unread(name: str, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), type(error).__name__)
    return InputError(f"{shorten(name, 200)} is damaged or cannot be opened ({reason}): save or copy it again.")


def _check_still(picture: Image.Image, name: str) -> None:
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":  # many phones put a preview or a second view behind the photo
        raise InputError(f"{name} holds {frames} frames, expected one image: save the one to explain.")


def _upright(picture: Image.Image, name: str) -> Image.Image:
    _check_still(picture, name)
    width, height = picture.size
    if min(width, height) < 1 or width * height < 2:
        raise InputError(f"{name} is {height} × {width} pixels, too small to explain: give a larger image.")
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16"):
        picture = _in_eight_bits(np.asarray(picture).astype(np.uint16), name)
    elif picture.mode in ("I", "F"):
        raise InputError(
            f"{name} has pixels of mode {picture.mode!r}, whose black and white are not known: save it with 8 bits."
        )
    clear = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    return picture.convert("RGBA" if clear else "RGB")


def _over_white(picture: Image.Image) -> Image.Image:
    if picture.mode != "RGBA":
        return picture
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def _warn_of_transparency(model: Model, picture: Image.Image, name: str) -> None:
    """Say it where a processor would not know what to do with a transparent part, and loaders do this or that."""
    if picture.mode != "RGBA" or np.asarray(picture.getchannel("A")).min() == 255:
        return
    if getattr(model.image_processor, "do_convert_rgb", None) is not True:
        warn(
            f"{name} has transparent parts, and the image processor of {model.name} does not say how it reads "
            "them; they are read as white."
        )


def _in_eight_bits(levels: UInt16[np.ndarray, "y x"], name: str) -> Image.Image:
    """Sensors keep 10, 12 or 14 bits in files of 16, so that full light is 1023, 4095 or 16383."""
    highest = int(levels.max())
    bits = next(bits for bits in (8, 10, 12, 14, 16) if highest < 2**bits)
    if bits < 16:
        warn(
            f"{name} has 16 bits, but no number above {highest}: it is read as {bits} bits, {2**bits - 1} being white."
        )
    return Image.fromarray((levels >> (bits - 8)).astype(np.uint8))


def _from_array(values: np.ndarray) -> Image.Image:
    shown = f"an array of shape {values.shape} and {values.dtype}"
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)) or not values.size:
        raise InputError(f"{shown} is no image: give [y, x], [y, x, 3] or [y, x, 4].")
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise InputError(f"{shown} holds decimals outside 0 to 1: scale them, or give whole numbers 0 to 255.")
        values = np.rint(values * 255).astype(np.uint8)
    if values.dtype != np.uint8:
        raise InputError(f"{shown} is no image: give whole numbers 0 to 255 (uint8) or decimals from 0 to 1.")
    return Image.fromarray(values)


def encode_pixels(model: Model, tensors: dict[str, Tensor]) -> list[Encoded]:
    """Pixels as an image processor returns them, ``[image, channel, y, x]``, with labels for their patches."""
    pixels = tensors["pixel_values"]
    if pixels.ndim != 4 or not pixels.is_floating_point() or not len(pixels):
        raise InputError(
            f"pixel_values of shape {tuple(pixels.shape)} and {pixels.dtype}: "
            "give decimals [image, channel, height, width]."
        )
    config = vision_config(model.network)
    _check_size(model, config, pixels)
    rows = [
        on_device(model, {name: tensor[row : row + 1] for name, tensor in tensors.items()})
        for row in range(len(pixels))
    ]
    tokens = image_tokens(config, pixels.shape[2], pixels.shape[3])
    if tokens is None:
        count = _count_tokens(model, rows[0])
        tokens = wordless([f"t{number}" for number in range(count)], row=(-1,) * count, col=(-1,) * count)
    return [Encoded(row, tokens, seen(model, row["pixel_values"])) for row in rows]


def image_tokens(config: PreTrainedConfig, height: int, width: int) -> Tokens | None:
    """Lay out the tokens of an image of this size, or None for models whose order of tokens is not known.

    Nothing is measured here: compare the number of tokens with that of the states before use.
    """
    layout = _LAYOUTS.get(config.model_type)
    if layout is None:
        vision = getattr(config, "vision_config", None)
        return None if vision is None else image_tokens(vision, height, width)
    registers = getattr(config, "num_register_tokens", 0) if layout.registers else 0
    prefix = [*layout.prefix, *(f"[REG{number}]" for number in range(1, registers + 1))]
    tall, wide = height_and_width(config.patch_size)
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


def _check_size(model: Model, config: PreTrainedConfig, pixels: Tensor) -> None:
    layout = _LAYOUTS.get(config.model_type)
    if layout is None:
        return
    name, channels, given = model.name, pixels.shape[1], tuple(pixels.shape[2:])
    if channels != config.num_channels:
        raise InputError(f"the image has {channels} channels, but {name} reads {config.num_channels}: convert it.")
    expected = height_and_width(config.image_size)
    if not layout.any_size and given != expected and not can_stretch(model.network, config):
        raise InputError(
            f"the image is {given[0]} × {given[1]} pixels, but {name} reads {expected[0]} × {expected[1]}: resize it."
        )
    table = any(place.endswith("position_embeddings") for place, _ in model.network.named_parameters())
    if layout.any_size and table and expected[0] != expected[1]:
        raise InputError(
            f"{name} was made for images of {expected[0]} × {expected[1]} pixels, but its code stretches positions of "
            "squares alone, and fails on any image: build it with a square image_size."
        )
    smallest = height_and_width(config.patch_size)
    if given[0] < smallest[0] or given[1] < smallest[1]:
        raise InputError(f"the image, {given[0]} × {given[1]} pixels, is smaller than one patch of {name}: enlarge it.")


def _count_tokens(model: Model, row: dict[str, Tensor]) -> int:
    """Run a model whose layout is not known once, to see how many tokens enter its first block."""
    with at_rest(model.network), torch.no_grad():
        output = model.network(**row, output_hidden_states=True)
    states = getattr(output, "hidden_states", None) or getattr(output, "encoder_hidden_states", None)
    if not states or states[0].ndim != 3:
        raise InputError(f"{model.name} does not turn an image into a row of tokens: lignite has nothing to label.")
    return int(states[0].shape[1])


def _colours(model: Model, like: Tensor) -> tuple[Tensor, Tensor] | None:
    """Mean and scale with which colours from 0 to 1 were made pixel values, [channel, 1, 1]; None if not known."""
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
    """The picture that the model sees, cut and resized by its processor; None where nobody knows the colours."""
    known = _colours(model, pixel_values.double())
    if known is None or pixel_values.shape[1] not in (1, 3):
        return None
    mean, scale = known
    colours = (pixel_values[0].double() * scale + mean).clamp(0, 1)
    picture: np.ndarray = (colours * 255).round().to(torch.uint8).cpu().numpy()
    return np.ascontiguousarray(np.moveaxis(np.broadcast_to(picture, (3, *picture.shape[1:])), 0, -1))


def filled(model: Model, pixel_values: Float[Tensor, "image channel y x"], fill: str) -> Tensor:
    """The same images with every pixel replaced by the fill, as pixel values.

    Raises
    ------
    OptionError
        If the model's image processor is not known, and with it not which value is grey.
    """
    if fill == "blur":
        return blurred(pixel_values)
    known = _colours(model, pixel_values)
    if known is None:
        raise OptionError(
            f"{fill!r} is a colour, and {model.name} has no image processor that tells its colours: name one, "
            "lignite.wrap(network, image_processor=…), or use 'blur'."
        )
    mean, scale = known
    level = {"grey": 0.5, "black": 0.0}[fill]
    return ((level - mean) / scale).expand_as(pixel_values).contiguous()


def averaged(model: Model, pixel_values: Float[Tensor, "image channel y x"]) -> Tensor:
    """The same images with every patch replaced by the average patch of the image, position by position.

    A patch enters the model through an affine map of its pixels, so the patches of this image enter as the mean of what
    they are, each in its own place (docs/method.md). What lies beyond the last whole patch is read by no patch.

    Raises
    ------
    OptionError
        If the model does not say how large its patches are.
    """
    size = patch_size(model.network)
    if size is None:
        raise OptionError(f"baseline='mean' needs patches, and {model.name} does not tell their size; use 'blur'.")
    tall, wide = size
    rows, cols = pixel_values.shape[2] // tall, pixel_values.shape[3] // wide
    whole = pixel_values[:, :, : rows * tall, : cols * wide]
    blocks = whole.unflatten(3, (cols, wide)).unflatten(2, (rows, tall))
    average = blocks.double().mean((2, 4)).to(pixel_values.dtype)
    replaced = pixel_values.clone()
    replaced[:, :, : rows * tall, : cols * wide] = average.repeat(1, 1, rows, cols)
    return replaced


def blurred(pixel_values: Float[Tensor, "image channel y x"]) -> Float[Tensor, "image channel y x"]:
    """A Gaussian blur as wide as `BLUR_SHARE` of the shorter side, edges mirrored."""
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

    def masked(pixel_values: Tensor, *args: Any, **kwargs: Any) -> Any:
        tall, wide = height_and_width(vision_config(network).patch_size)
        count = (pixel_values.shape[2] // tall) * (pixel_values.shape[3] // wide)
        everywhere = torch.ones(len(pixel_values), count, dtype=torch.bool, device=pixel_values.device)
        if args:  # the second argument of the position is the mask
            args = (everywhere, *args[1:])
            return forward(pixel_values, *args, **kwargs)
        return forward(pixel_values, **{**kwargs, "bool_masked_pos": everywhere})

    with standing_in("forward", {room: masked}):
        yield
