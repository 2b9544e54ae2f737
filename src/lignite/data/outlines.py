"""Outlines that people drew on an image, read from files and carried to the picture that the model sees."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from lignite.errors import InputError
from lignite.inputs.pictures import decoding
from lignite.models.facts import reads_grey
from lignite.models.load import Model


def read_outline(source: Any, *, what: str = "mask") -> Bool[np.ndarray, "y x"]:
    """Flags of the pixels that are not zero: of a picture in any channel but transparency, or of an array ``[y, x]``.

    Raises
    ------
    InputError
        If there is no such file, it is no picture, or the array has other axes; the message calls it `what`.
    """
    if isinstance(source, str | Path):
        with decoding(source, what=what) as picture:
            return _flags(picture)
    if isinstance(source, Image.Image):
        return _flags(source)
    values = np.asarray(source)
    if values.ndim != 2 or values.dtype.kind not in "bui" or not values.size:
        raise InputError(
            f"the {what} is an array of shape {values.shape} and {values.dtype}: give flags or whole numbers [y, x], "
            "not zero on the object."
        )
    return np.asarray(values != 0)


def _flags(picture: Image.Image) -> Bool[np.ndarray, "y x"]:
    values = np.asarray(picture)
    if picture.mode in ("LA", "PA", "RGBA", "La", "RGBa"):
        values = values[..., :-1]
    marked: np.ndarray = np.asarray(values != 0)
    return marked if marked.ndim == 2 else np.asarray(marked.any(axis=-1))


def carry(
    model: Model, outline: Bool[np.ndarray, "y x"], original: Sequence[int] | None, picture: Sequence[int], *, what: str
) -> Bool[np.ndarray, "seen_y seen_x"]:
    """The outline on the picture that the model sees.

    An outline of the size of the original image goes the way of the image: through the model's image processor, which
    cuts and resizes it, each pixel as its nearest neighbour. One of the size of what the model sees stays as it is.

    Parameters
    ----------
    original, picture
        Height and width of the image as it was given (None if pixel values were given) and as the model sees it.

    Raises
    ------
    InputError
        If it has neither size, or if nothing of it is left.
    """
    size, wanted = outline.shape, tuple(picture)
    if original is not None and size == tuple(original):
        if not outline.any():
            raise InputError(f"the {what} is empty: no pixel is marked.")
        carried = _processed(model, outline, what)
        if carried.shape != wanted:
            raise InputError(
                f"the image processor of {model.name} makes {_size(carried.shape)} pixels of the {what} and "
                f"{_size(wanted)} of the image: give the {what} in {_size(wanted)} pixels, as the model sees it."
            )
        outline = carried
    elif size != wanted:
        also = "" if original is None or tuple(original) == wanted else f"the image {_size(original)}, and "
        raise InputError(
            f"the {what} has {_size(size)} pixels, {also}the picture that the model sees {_size(wanted)}: "
            "give it in one of these sizes."
        )
    if not outline.any():
        raise InputError(f"the {what} is empty: no pixel of it is in the picture that the model sees.")
    return outline


def _processed(model: Model, outline: np.ndarray, what: str) -> Bool[np.ndarray, "y x"]:
    n_channels = 1 if reads_grey(model.network) else 3
    prepared = np.repeat(outline[..., None], n_channels, axis=-1).astype(np.uint8) * 255
    try:
        given = model.image_processor(
            images=prepared,
            input_data_format="channels_last",
            resample=Image.Resampling.NEAREST,
            do_rescale=False,
            do_normalize=False,
            return_tensors="np",
        )
        pixels = np.asarray(given["pixel_values"])
    except (ValueError, TypeError, RuntimeError, KeyError) as error:
        raise InputError(
            f"the image processor of {model.name} cannot carry a {what} along ({error}): give it in the size of "
            "the picture that the model sees."
        ) from error
    if pixels.ndim != 4 or not np.isin(pixels, (0, 255)).all():
        raise InputError(
            f"the image processor of {model.name} changes the {what}'s numbers: give it in the size of the picture "
            "that the model sees."
        )
    return pixels[0, 0] > 0


def _size(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))
