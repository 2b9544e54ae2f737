"""What views of an explained image are drawn from: patches on their pixels, the ground, colours that let it through."""

import base64
import io
from dataclasses import dataclass
from typing import Any

import matplotlib.image
import numpy as np
import xarray as xr
from jaxtyping import Float, Int, UInt8

from lignite.results.pixels import SIDES, spread_on_pixels
from lignite.results.schema import label_name
from lignite.views.labels import limit_of, visible_token
from lignite.views.palette import COLD, WARM

UNIT = 16  # pixels of a patch whose size nobody knows

FOR, AGAINST = WARM[1:4], COLD[1:4]
"""Colours of the overlay, from a small score to the largest: middle tones, which differ from grey and each other."""

OPAQUE = 0.9
"""How much of the ground the largest score covers; a score of zero covers nothing."""

DARKEST, LIGHTEST = 0.5, 0.96
"""Greys of a picture that lies under colours: black would swallow both hues, white would lose the pale tones."""

PLAIN = 0.86
"""Grey of the ground where the picture is not known."""

PATCH_NAMES = "r2c5: the patch in row 2, column 5, counted from 0"
"""How patches are called, for a reader who was never told."""


@dataclass(frozen=True)
class Patches:
    """The patches of an image: their places on the token axis, in the grid, and on the pixels (half-open boxes)."""

    index: Int[np.ndarray, " patch"]
    row: Int[np.ndarray, " patch"]
    col: Int[np.ndarray, " patch"]
    boxes: Int[np.ndarray, "patch side"]
    height: int
    width: int


@dataclass(frozen=True)
class Placeless:
    """A token that stands for no part of the image, such as [CLS], and its score."""

    index: int
    token: str
    score: float


def is_image(dataset: xr.Dataset, axis: str = "token") -> bool:
    """Whether the tokens of a result are patches of an image."""
    row = label_name(axis, "row")
    return row in dataset.coords and bool((dataset[row].values >= 0).any())


def patches(dataset: xr.Dataset, axis: str = "token") -> Patches:
    """Where the patches lie; without known boxes they share the picture evenly."""
    row, col = (dataset[label_name(axis, label)].values for label in ("row", "col"))
    index = np.flatnonzero(row >= 0)
    row, col = row[index].astype(np.int64), col[index].astype(np.int64)
    if all(label_name(axis, side) in dataset.coords for side in SIDES):
        boxes = np.stack([dataset[label_name(axis, side)].values[index] for side in SIDES], axis=1).astype(np.int64)
    else:
        boxes = _even(row, col, dataset)
    height, width = dataset.image.shape[:2] if "image" in dataset else boxes[:, 2:].max(0)
    return Patches(index, row, col, boxes, int(height), int(width))


def _even(
    row: Int[np.ndarray, " patch"], col: Int[np.ndarray, " patch"], dataset: xr.Dataset
) -> Int[np.ndarray, "patch side"]:
    edges = []
    for number, place in enumerate((row, col)):
        count = int(place.max()) + 1
        size = dataset.image.shape[number] if "image" in dataset else count * UNIT
        edges.append(np.round(np.linspace(0, size, count + 1)).astype(np.int64))
    down, right = edges
    return np.stack([down[row], right[col], down[row + 1], right[col + 1]], axis=1)


def placeless(dataset: xr.Dataset, scores: Float[np.ndarray, " token"], axis: str = "token") -> list[Placeless]:
    """Tokens that no overlay can show, in their order."""
    tokens = dataset[label_name(axis, "token")].values
    return [
        Placeless(int(at), visible_token(str(tokens[at])), float(scores[at]))
        for at in np.flatnonzero(dataset[label_name(axis, "row")].values < 0)
    ]


# Scores on pixels


def painted(where: Patches, scores: Float[np.ndarray, " patch"], *, smooth: bool = False) -> Float[np.ndarray, "y x"]:
    """Every pixel's score, NaN where no patch lies; `smooth` mixes those of the four nearest centres (bilinear)."""
    return spread_on_pixels(scores, where.boxes, (where.height, where.width), smooth=smooth)


def limit_on(where: Patches, scores: Float[np.ndarray, "*layer token"]) -> float:
    """Where the colours of patches end. A class token that holds everything would leave them blank."""
    return limit_of(scores[..., where.index])


# Colours


def tint(shares: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape 4"]:
    """Colour and opacity of scores as shares of the largest: warm for, cool against, zero (and NaN) transparent."""
    shares = np.clip(np.nan_to_num(shares), -1, 1)
    size = np.abs(shares)
    stops = np.linspace(0, 1, len(FOR))
    sides = [[np.interp(size, stops, channel) for channel in _channels(colours)] for colours in (AGAINST, FOR)]
    cold, warm = (np.stack(side, axis=-1) for side in sides)
    opacity = OPAQUE * (1 - (1 - size) ** 2)  # steep at first: a fifth of the largest score is seen on any ground
    return np.concatenate([np.where((shares > 0)[..., None], warm, cold), opacity[..., None]], axis=-1)


def _channels(colours: tuple[str, ...]) -> Float[np.ndarray, "channel stop"]:
    return np.array([[int(colour[at : at + 2], 16) / 255 for colour in colours] for at in (1, 3, 5)])


def ground(dataset: xr.Dataset, where: Patches) -> Float[np.ndarray, "y x 3"]:
    """What lies under the colours: the picture in middle greys, a plain grey where it is not known."""
    if "image" not in dataset:
        return np.full((where.height, where.width, 3), PLAIN)
    luma = picture(dataset).astype(np.float64) / 255 @ [0.299, 0.587, 0.114]
    return np.repeat((DARKEST + (LIGHTEST - DARKEST) * luma)[..., None], 3, axis=-1)


def picture(dataset: xr.Dataset) -> UInt8[np.ndarray, "y x 3"]:
    """The picture as the model saw it."""
    return dataset.image.transpose("y", "x", "channel").values


def laid_over(
    under: Float[np.ndarray, "y x 3"], shares: Float[np.ndarray, "y x"], *, opacity: float = 1.0
) -> UInt8[np.ndarray, "y x 3"]:
    """The ground with the colours of the scores on it."""
    colours = tint(shares)
    cover = opacity * colours[..., 3:]
    return np.round(255 * (cover * colours[..., :3] + (1 - cover) * under)).astype(np.uint8)


def overlaid(dataset: xr.Dataset, *, smooth: bool = False) -> UInt8[np.ndarray, "y x 3"]:
    """The picture under the colours of its relevance."""
    where, scores = patches(dataset), dataset.relevance.values.astype(np.float64)
    limit = limit_on(where, scores)
    return laid_over(ground(dataset, where), painted(where, scores[where.index] / limit, smooth=smooth))


def enlarged(pixels: UInt8[np.ndarray, "y x 3"], width: int) -> UInt8[np.ndarray, "y2 x2 3"]:
    """At least `width` pixels wide, every pixel a square of equal ones: what is drawn keeps its edges."""
    times = max(1, -(-width // pixels.shape[1]))
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def overlay_colours() -> dict[str, Any]:
    """What a script needs to colour as `tint` and `ground` do."""
    greys = {"darkest": DARKEST, "lightest": LIGHTEST, "plain": PLAIN}
    return {"for": FOR, "against": AGAINST, "opaque": OPAQUE, **greys}


def grid_of(dataset: xr.Dataset, pictures: list[str], axis: str = "token") -> dict[str, Any] | None:
    """What a script needs to know of the patches; None where the tokens are no patches.

    A place is the row and the column of a token's patch and the pixels of its box; `picture` is the number of the
    picture among `pictures`, where it is put unless it is there, −1 where it is not known.
    """
    if not is_image(dataset, axis):
        return None
    where = patches(dataset, axis)
    places: list[list[int] | None] = [None] * dataset.sizes[axis]
    for index, row, col, box in zip(where.index, where.row, where.col, where.boxes.tolist(), strict=True):
        places[int(index)] = [int(row), int(col), *box]
    number = -1
    if "image" in dataset:
        address = f"data:image/png;base64,{base64.b64encode(png(picture(dataset))).decode('ascii')}"
        if address not in pictures:
            pictures.append(address)
        number = pictures.index(address)
    return {"size": [where.height, where.width], "places": places, "picture": number}


def png(pixels: UInt8[np.ndarray, "y x 3"]) -> bytes:
    """The picture as a PNG file, without time or names."""
    file = io.BytesIO()
    matplotlib.image.imsave(file, pixels, format="png", metadata={"Software": "lignite"})
    return file.getvalue()
