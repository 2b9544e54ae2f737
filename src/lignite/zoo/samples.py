"""Pictures to explain, made on the spot: a handwritten digit among things that are none, so that its place is known.

The digits are scikit-learn's, which needs no network for them. `train_tiny_digits` shows its model the same scenes, of
other digits.
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from lignite.errors import OptionError

SIDE = 64
"""Height and width of every picture."""

TILE = 24
"""Side of an enlarged digit, three patches of the bundled model."""

STEP = 8
"""Pixels from one place where something may stand to the next, a patch of the bundled model."""

TESTED = 360
"""How many digits, the last ones of the set, no training scene shows. The set goes from writer to writer, so most of
them are in hands that training did not see."""

INKED = 0.3
"""Share of ink from which a pixel counts as part of a digit."""

Box = tuple[int, int, int, int]
"""Top, left, bottom, right in pixels, the last two exclusive."""


@dataclass(frozen=True)
class Digits:
    ink: Float[np.ndarray, "digit 8 8"]
    """0 for paper, 1 for ink."""
    labels: Int[np.ndarray, "digit"]


@dataclass(frozen=True)
class Scene:
    """One digit, and where it is."""

    image: UInt8[np.ndarray, "y x 3"]
    label: str
    box: Box
    """The smallest that holds the mask."""
    mask: Bool[np.ndarray, "y x"]
    """The pixels of the digit's strokes."""


@dataclass(frozen=True)
class Mosaic:
    """Four different digits, a quarter of the picture each, in reading order."""

    image: UInt8[np.ndarray, "y x 3"]
    labels: tuple[str, ...]
    boxes: tuple[Box, ...]
    """The quarters."""
    masks: Bool[np.ndarray, "quarter y x"]
    """The pixels of each digit's strokes."""


def digit_scene(number: int = 0) -> Scene:
    """A digit that no bundled model was trained on, somewhere among scrambled digits and strokes.

    The same number gives the same picture. Numbers that differ by a multiple of 360 show the same digit elsewhere.

    Raises
    ------
    OptionError
        If scikit-learn, whose digits these are, is not installed, or the number is negative.

    Examples
    --------
    >>> scene = digit_scene(3)
    >>> scene.image.shape, scene.label, scene.box
    ((64, 64, 3), '8', (8, 37, 32, 53))
    """
    digits = read_digits("test")
    return compose(digits, shown(digits, number), lot("scene", number))


def digit_scenes(count: int) -> Iterator[Scene]:
    """The first `count` scenes, made one by one."""
    if count < 1:
        raise OptionError(f"digit_scenes({count}): nothing to make. Ask for one scene or more.")
    return (digit_scene(number) for number in range(count))


def digit_mosaic(number: int = 0) -> Mosaic:
    """Four different digits that no bundled model was trained on, and nothing else, for the grid pointing game.

    Raises
    ------
    OptionError
        As `digit_scene`.
    """
    digits = read_digits("test")
    first, chance = shown(digits, number), lot("mosaic", number)
    others = [label for label in chance.permutation(10) if label != digits.labels[first]][:3]
    drawn = [chance.choice(np.flatnonzero(digits.labels == label)) for label in others]
    places = chance.permutation([first, *drawn])
    canvas = paper(chance)
    half = SIDE // 2
    boxes = tuple((top, left, top + half, left + half) for top in (0, half) for left in (0, half))
    masks = np.zeros((4, SIDE, SIDE), dtype=bool)
    for mask, place, (top, left, _, _) in zip(masks, places, boxes, strict=True):
        ink = enlarged(digits.ink[place])
        down, right = somewhere(half - TILE, chance)
        at = (top + down, left + right)
        mask |= laid(ink, at) > INKED
        canvas = painted(canvas, laid(ink, at), ink_colour(chance))
    return Mosaic(pixels(canvas), tuple(str(digits.labels[place]) for place in places), boxes, masks)


@cache
def read_digits(split: Literal["train", "test"]) -> Digits:
    """scikit-learn's digits, scaled to 0…1."""
    try:
        datasets = importlib.import_module("sklearn.datasets")
    except ImportError as error:
        raise OptionError(
            "Pictures of digits are made from those of scikit-learn, which cannot be imported "
            f"({error}): pip install scikit-learn, or name an image file."
        ) from error
    ink, labels = datasets.load_digits(return_X_y=True)
    part = slice(-TESTED, None) if split == "test" else slice(None, -TESTED)
    return Digits(ink.reshape(-1, 8, 8)[part] / 16, labels[part])


def shown(digits: Digits, number: int) -> int:
    """Which digit a picture shows: all come once before one comes again."""
    if number < 0:
        raise OptionError(f"picture number {number}: pictures are numbered from 0.")
    return int(np.random.default_rng(0).permutation(len(digits.labels))[number % len(digits.labels)])


def lot(kind: str, number: int) -> np.random.Generator:
    """Chance that falls the same way whenever a picture is made."""
    return np.random.default_rng([*kind.encode(), number])


def compose(
    digits: Digits,
    place: int,
    chance: np.random.Generator,
    *,
    scrambled: int = 2,
    strokes: int = 3,
    bent: float = 0.0,
) -> Scene:
    """Put one of the digits at a random place, and up to so many scrambled ones and strokes beside it.

    Everything has a colour of its own, drawn in the same way, so that only its shape tells the digit from the rest.
    `bent` is by how much digits may be stretched, slanted, thickened or thinned.
    """
    whole = laid(bent_by_chance(digits.ink[place], bent, chance), at := somewhere(SIDE - TILE, chance))
    free = np.ones((SIDE, SIDE), dtype=bool)
    free[tile(at)] = False
    canvas = paper(chance)
    for _ in range(int(chance.integers(strokes + 1))):
        canvas = painted(canvas, stroke(chance) * free, ink_colour(chance))
    for _ in range(int(chance.integers(scrambled + 1))):
        other = shuffled(digits.ink[int(chance.integers(len(digits.ink)))], chance)
        corner = vacant(free, chance)
        if corner is not None:
            free[tile(corner)] = False
            canvas = painted(canvas, laid(bent_by_chance(other, bent, chance), corner), ink_colour(chance))
    mask = whole > INKED
    image = pixels(painted(canvas, whole, ink_colour(chance)))
    return Scene(image, str(digits.labels[place]), box_of(mask), mask)


def paper(chance: np.random.Generator) -> Float[np.ndarray, "y x 3"]:
    """A dark sheet whose colour changes from corner to corner, with a little noise."""
    colours = chance.uniform(0.0, 0.4, (2, 2, 3))
    across = np.linspace(0, 1, SIDE)[:, None]
    left, right = ((1 - across) * upper + across * lower for upper, lower in colours.transpose(1, 0, 2))
    sheet = left[:, None] + across * (right - left)[:, None]
    return sheet + chance.normal(0, 0.03, (SIDE, SIDE, 1))


def ink_colour(chance: np.random.Generator) -> Float[np.ndarray, "3"]:
    """A light one, that can be told from the paper."""
    return chance.uniform(0.6, 1.0, 3)


def painted(
    canvas: Float[np.ndarray, "y x 3"], ink: Float[np.ndarray, "y x"], colour: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "y x 3"]:
    return canvas + ink[..., None] * (colour - canvas)


def pixels(canvas: Float[np.ndarray, "y x 3"]) -> UInt8[np.ndarray, "y x 3"]:
    return (canvas.clip(0, 1) * 255).round().astype(np.uint8)


def enlarged(
    ink: Float[np.ndarray, "8 8"], *, tall: float = 1.0, broad: float = 1.0, slant: float = 0.0
) -> Float[np.ndarray, "tile tile"]:
    """Linear between the centres of the old pixels, with paper around them.

    `tall` and `broad` stretch it from the middle; `slant` moves a row to the right by so many rows above the middle.
    """
    old, middle = np.arange(8), 3.5
    centres = (np.arange(TILE) + 0.5) * 8 / TILE - 0.5 - middle
    rows = shares(centres / tall + middle, old) @ ink
    columns = shares((centres + slant * centres[:, None]) / broad + middle, old)
    return np.einsum("yxi,yi->yx", columns, rows)


def shares(places: Float[np.ndarray, "..."], old: Int[np.ndarray, "8"]) -> Float[np.ndarray, "... 8"]:
    """How much each old pixel has in what stands at these places between them."""
    return (1 - np.abs(places[..., None] - old)).clip(0)


def bent_by_chance(
    ink: Float[np.ndarray, "8 8"], bent: float, chance: np.random.Generator
) -> Float[np.ndarray, "tile tile"]:
    tall, broad, slant, thin = chance.uniform(-bent, bent, 4)
    return enlarged(ink ** np.exp(3 * thin), tall=1 + tall, broad=1 + broad, slant=2 * slant)


def shuffled(ink: Float[np.ndarray, "8 8"], chance: np.random.Generator) -> Float[np.ndarray, "8 8"]:
    """A digit cut into sixteen squares and put together anew: as much ink, as thick, but no digit."""
    squares = ink.reshape(4, 2, 4, 2).transpose(0, 2, 1, 3).reshape(16, 2, 2)
    return chance.permutation(squares).reshape(4, 4, 2, 2).transpose(0, 2, 1, 3).reshape(8, 8)


def stroke(chance: np.random.Generator) -> Float[np.ndarray, "y x"]:
    """A straight line with soft edges, about as thick as those of a digit."""
    start, angle, length = chance.uniform(0, SIDE, 2), chance.uniform(0, np.pi), chance.uniform(10, 30)
    down, right = np.arange(SIDE)[:, None] + 0.5 - start[0], np.arange(SIDE) + 0.5 - start[1]
    along = down * np.sin(angle) + right * np.cos(angle)
    across = down * np.cos(angle) - right * np.sin(angle)
    distance = np.hypot(across, along - along.clip(0, length))
    return (2.5 - distance).clip(0, 1)


def somewhere(room: int, chance: np.random.Generator) -> tuple[int, int]:
    """Row and column of a corner that can move by so many pixels."""
    down, right = chance.integers(room // STEP + 1, size=2) * STEP
    return int(down), int(right)


def tile(at: tuple[int, int]) -> tuple[slice, slice]:
    return slice(at[0], at[0] + TILE), slice(at[1], at[1] + TILE)


def laid(ink: Float[np.ndarray, "tile tile"], at: tuple[int, int]) -> Float[np.ndarray, "y x"]:
    """The ink on an otherwise empty sheet."""
    sheet = np.zeros((SIDE, SIDE))
    sheet[tile(at)] = ink
    return sheet


def vacant(free: Bool[np.ndarray, "y x"], chance: np.random.Generator) -> tuple[int, int] | None:
    """A corner from which a tile meets nothing, drawn from all there are; None where there is none."""
    starts = range(0, SIDE - TILE + 1, STEP)
    corners = [(top, left) for top in starts for left in starts if free[tile((top, left))].all()]
    return corners[int(chance.integers(len(corners)))] if corners else None


def box_of(mask: Bool[np.ndarray, "y x"]) -> Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
