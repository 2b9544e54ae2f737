"""What people said about an example, read from a cell: a class, evidence in a text, rectangles, the cells of a mosaic.

`where` says where the cell stands, for errors.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from lignite.errors import InputError
from lignite.files import parse_json
from lignite.inputs.labels import number_words
from lignite.inputs.pictures import decoding
from lignite.models.facts import reads_grey
from lignite.models.load import Model
from lignite.wording import shorten, sides

Span = tuple[int, int]
Box = tuple[int, int, int, int]
SignedSpan = tuple[int, int, int]


def read_label(where: str, value: Any) -> str | int | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and value.is_integer():  # a table with an empty cell turns its numbers into these
        return int(value)
    if isinstance(value, int | str):
        return value
    raise InputError(f"{where}: the label {value!r} is neither a name nor a whole number.")


def read_boxes(where: str, value: Any) -> tuple[Box, ...] | None:
    value = _structure(value)
    if value is None:
        return None
    boxes = [list(box) if isinstance(box, list | tuple) else [box] for box in value] if _is_list(value) else [[value]]
    for box in boxes:
        whole = len(box) == 4 and all(_is_whole(side) for side in box)
        if not whole or not (0 <= box[0] < box[2] and 0 <= box[1] < box[3]):
            raise InputError(
                f"{where}: the boxes hold {shorten(repr(box), 60)}, expected [[top, left, bottom, right], …] in whole "
                "pixels, bottom and right excluded."
            )
    return tuple((int(top), int(left), int(bottom), int(right)) for top, left, bottom, right in boxes)


def read_mosaic(where: str, value: Any) -> tuple[str | int, ...] | None:
    value = _structure(value)
    if value is None:
        return None
    cells = [read_label(where, cell) for cell in value] if _is_list(value) else []
    known = tuple(cell for cell in cells if cell is not None)
    if len(known) != len(cells) or len(known) < 4 or math.isqrt(len(known)) ** 2 != len(known):
        raise InputError(
            f"{where}: the cells are {shorten(repr(value), 60)}, expected the classes of a mosaic in reading order: 4 "
            "of two by two (or 9 of three by three)."
        )
    return known


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_whole(value: Any) -> bool:
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))


def read_rationale(where: str, text: str, value: Any, *, by_words: bool) -> tuple[Span, ...] | None:
    value = _structure(value)
    if value is None:
        return None
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        raise InputError(f"{where}: the rationale is a {type(value).__name__}; give spans, flags or evidence strings.")
    if all(isinstance(part, str) for part in value):
        spans = [_find(where, text, part) for part in value if part.strip()]
    elif all(_is_flag(part) for part in value):
        spans = _flagged(where, text, value)
    elif by_words:
        words = _words_by_space(text)
        counted = [_span(where, part, len(words), "words") for part in value]
        spans = [(words[start][0], words[stop - 1][1]) for start, stop in counted]
    else:
        spans = [_span(where, part, len(text), "characters") for part in value]
    return _joined(spans) or None


def read_polarity(where: str, text: str, value: Any) -> tuple[SignedSpan, ...] | None:
    value = _structure(value)
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise InputError(f"{where}: the polarity is a {type(value).__name__}, expected [[start, stop, sign], …].")
    signed = []
    for part in value:
        if not isinstance(part, list | tuple) or len(part) != 3 or not isinstance(part[2], int | float):
            raise InputError(f"{where}: the polarity holds {shorten(repr(part), 60)}, expected [start, stop, sign].")
        start, stop = _span(where, list(part[:2]), len(text), "characters")
        if part[2] != 0:
            signed.append((start, stop, 1 if part[2] > 0 else -1))
    return tuple(sorted(signed)) or None


def _structure(value: Any) -> Any:
    """What a cell holds, None where it is empty; in one of a CSV file a list is written as JSON."""
    if isinstance(value, str) and value.strip().startswith("["):
        with suppress(ValueError):
            value = parse_json(value)
    elif isinstance(value, list | tuple):
        value = [part.tolist() if isinstance(part, np.ndarray | np.generic) else part for part in value]
    return None if value in ("", []) else value


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool | int | float) and value in (0, 1)


def _find(where: str, text: str, evidence: str) -> Span:
    start = text.find(evidence)
    if start < 0:
        raise InputError(
            f"{where}: the evidence {shorten(evidence, 60)!r} does not stand in the text {shorten(text, 60)!r}."
        )
    return start, start + len(evidence)


def _flagged(where: str, text: str, flags: Sequence[Any]) -> list[Span]:
    by_space, by_sign = _words_by_space(text), _words_by_sign(text)
    words = by_space if len(flags) == len(by_space) else by_sign
    if len(flags) != len(words):
        counts = f"{len(by_space)} words between white space, {len(by_sign)} with punctuation apart"
        raise InputError(f"{where}: the rationale has {len(flags)} flags, the text {counts}. Give one flag per word.")
    runs: list[Span] = []
    for place, flag in enumerate(flags):
        if flag and place > 0 and flags[place - 1]:
            runs[-1] = (runs[-1][0], words[place][1])  # words marked side by side are one piece of evidence
        elif flag:
            runs.append(words[place])
    return runs


def _words_by_space(text: str) -> list[Span]:
    spans, start = [], 0
    for word in text.split():
        start = text.index(word, start)
        spans.append((start, start + len(word)))
        start += len(word)
    return spans


def _words_by_sign(text: str) -> list[Span]:
    spans: dict[int, Span] = {}
    for place, word in enumerate(number_words(text)):
        if word >= 0:
            spans[word] = (spans.get(word, (place, place))[0], place + 1)
    return list(spans.values())


def _span(where: str, value: Any, length: int, unit: str) -> Span:
    if isinstance(value, Mapping):
        value = [value.get("start"), value.get("stop", value.get("end"))]
    whole = isinstance(value, list | tuple) and all(isinstance(end, int) and not isinstance(end, bool) for end in value)
    if not whole or len(value) != 2:
        raise InputError(
            f"{where}: the rationale holds {shorten(repr(value), 60)}; a span reads [start, stop], in {unit}."
        )
    start, stop = value
    if not 0 <= start < stop <= length:
        raise InputError(
            f"{where}: the span [{start}, {stop}] does not fit a text of {length} {unit}. Count from 0, stop excluded."
        )
    return start, stop


def _joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Sorted; what overlaps or touches becomes one."""
    joined: list[Span] = []
    for start, stop in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return tuple(joined)


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
                f"the image processor of {model.name} makes {sides(carried.shape)} pixels of the {what} and "
                f"{sides(wanted)} of the image: give the {what} in {sides(wanted)} pixels, as the model sees it."
            )
        outline = carried
    elif size != wanted:
        also = "" if original is None or tuple(original) == wanted else f"the image {sides(original)}, and "
        raise InputError(
            f"the {what} has {sides(size)} pixels, {also}the picture that the model sees {sides(wanted)}: "
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
