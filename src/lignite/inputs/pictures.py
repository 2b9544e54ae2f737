"""Pictures become what a model reads: files, folders and arrays, opened safely, upright and in its colours."""

import io
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt16
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from lignite.errors import FileError, InputError, warn
from lignite.files import expanded, is_folder, read_whole
from lignite.inputs.patches import encode_pixels
from lignite.inputs.tokens import Encoded
from lignite.models.facts import forward_names, reads_grey
from lignite.models.load import Model
from lignite.wording import shorten

MOST_BYTES = 2**28
"""Of an image's file."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|data:", re.IGNORECASE)

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


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


def encode_picture(model: Model, item: Any) -> list[Encoded]:
    """Encode one image, all images of a folder, or ready pixels, for a model of images."""
    if isinstance(item, Tensor) and item.is_floating_point():
        return encode_pixels(model, {"pixel_values": item if item.ndim == 4 else item[None]})
    if isinstance(item, Tensor):
        item = item.detach().cpu().numpy()
        item = np.moveaxis(item, 0, -1) if item.ndim == 3 and item.shape[0] in (1, 3, 4) else item
    if is_folder(item):
        return _encode_folder(model, Path(item).expanduser())
    return [_encode_one(model, item)]


def _encode_folder(model: Model, folder: Path) -> list[Encoded]:
    """Encode every image of a folder in the order of their names; what cannot be read is named in a warning each."""
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
    prepared = np.asarray(picture.convert("L"))[..., None] if reads_grey(model.network) else np.asarray(picture)
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
    """Read a picture upright, in RGB, from a file, a picture or an array ``[y, x]`` or ``[y, x, channel]``.

    Transparent parts become white, as transformers' processors read them. Numbers of an array are whole from 0 to 255
    or decimals from 0 to 1; of a file with 16 bits the highest number tells how many are in use.

    Raises
    ------
    InputError
        If there is no image, it is damaged, moves, is a single pixel or too large to be opened safely.
    """
    return _over_white(_opened(source))


def _opened(source: Any) -> Image.Image:
    """Turn the picture upright, with 8 bits, its transparency kept."""
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
    """Say how an error calls an image."""
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
    """Decode the picture in a file, and say what goes wrong with it in one line.

    Raises
    ------
    InputError
        If there is no such file, it is none (a device, a pipe, a socket), is damaged, or is too large to be opened
        safely: in bytes, or in pixels, of which a small file may declare any number.
    """
    name = str(name)
    try:
        content = read_whole(expanded(name), most=MOST_BYTES)
    except FileError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise InputError(f"there is no {what} {shorten(name, 200)!r}: check the path.") from error
        raise InputError(f"the {what} {error}") from error
    with _undamaged(name), open_bytes(content, name) as picture:
        picture.load()
        yield picture


def open_bytes(content: bytes, name: str) -> Image.Image:
    """Open the picture that stands in these bytes; they are decoded when it is looked at.

    Raises
    ------
    InputError
        If they are none, or too large a picture.
    """
    if not content:
        raise InputError(f"{name} is empty (0 bytes): save or copy it again.")
    with _undamaged(name), warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(content))


@contextmanager
def _undamaged(name: str) -> Iterator[None]:
    """Turn what Pillow says of a picture into one line."""
    try:
        yield
    except InputError:
        raise
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
