"""Whatever a user gives becomes what the model reads, each input by itself."""

from collections.abc import Mapping
from pathlib import Path

from lignite.errors import InputError
from lignite.models.images import ImageReader, encode_picture, encode_pixels, is_picture, reads_images
from lignite.models.tokens import Encoded, as_tensors, encode_ids, encode_text


def encode(model: ImageReader, inputs: object) -> list[Encoded]:
    """Prepare inputs for a model, each by itself, so that no result depends on what else was given.

    Parameters
    ----------
    inputs
        A text; a tuple of two texts (a pair, such as question and passage); for models of images the name of a file
        or folder, a Pillow image, an array ``[y, x, 3]``, pixel values as a tensor; a mapping of tensors as tokenizers
        and image processors return them (`input_ids` or `pixel_values`, further inputs of the model's forward, one row
        per example); or a list of these. Rows keep their padding, flagged in the tokens. Without an
        `attention_mask` nothing counts as padding.

    Raises
    ------
    InputError
        If a text is empty or longer than the model can read (nothing is ever cut off), ids are outside the
        vocabulary, a row is masked out entirely, an image cannot be read, or the input is of another kind. Of a
        folder, images that cannot be read are left out, with a warning each.
    """
    if isinstance(inputs, list):
        if not inputs:
            raise InputError("the list of inputs is empty: give at least one text, image or mapping of tensors.")
        return [encoded for item in inputs for encoded in _encode_item(model, item)]
    return _encode_item(model, inputs)


def _encode_item(model: ImageReader, item: object) -> list[Encoded]:
    if reads_images(model.network) and (isinstance(item, str) or is_picture(item)):
        return encode_picture(model, item)
    if isinstance(item, str):
        return [encode_text(model, (item,))]
    if isinstance(item, tuple) and len(item) == 2 and all(isinstance(text, str) for text in item):
        if reads_images(model.network):
            raise InputError(f"{model.name} reads images, not a pair of texts: give the name of an image.")
        return [encode_text(model, item)]
    if isinstance(item, Mapping):
        return _encode_mapping(model, item)
    if is_picture(item):
        raise InputError(
            f"{model.name} reads texts, not {_kind(item)}: give a text (a file's content, not its name), or a mapping "
            "of tensors."
        )
    raise InputError(
        f"cannot encode {_kind(item)}: give a text, a pair of texts as a tuple, an image, a mapping with input_ids or "
        "pixel_values, or a list of these."
    )


def _kind(item: object) -> str:
    if isinstance(item, tuple):
        return f"a tuple of {len(item)} ({', '.join(type(part).__name__ for part in item)})"
    return f"the path {item}" if isinstance(item, Path) else type(item).__name__


def _encode_mapping(model: ImageReader, given: Mapping[str, object]) -> list[Encoded]:
    tensors = as_tensors(model, given)
    texts, images = "input_ids" in tensors, "pixel_values" in tensors
    if texts == images:
        names = ", ".join(tensors) or "nothing"
        raise InputError(f"the mapping holds {names}: give either input_ids or pixel_values, and what belongs to them.")
    return encode_pixels(model, tensors) if images else encode_ids(model, tensors, given)
