"""Localisation: numbers by hand on pictures of a few pixels, and two other implementations of the same curves."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import average_precision_score, jaccard_score

from lignite.errors import InputError, NotFiniteError, OptionError
from lignite.metrics.readings.localization import (
    MEASURES,
    grid_pointing_game,
    localization,
    mask_from_boxes,
)
from lignite.results.pixels import enlarge

EXACT = {"rtol": 1e-12, "atol": 1e-12}  # float64 sums and quotients of a handful of numbers of order one
MAP = np.array([[4.0, 3.0, -2.0], [1.0, 0.0, 2.0]])
MASK = np.array([[True, False, True], [True, False, False]])


def grid(rows, cols, height, width):
    """Boxes of a whole grid in reading order."""
    return np.array(
        [
            [row * height, col * width, (row + 1) * height, (col + 1) * width]
            for row in range(rows)
            for col in range(cols)
        ]
    )


# Enlarging


def test_every_pixel_gets_the_relevance_of_its_patch():
    """Patches of 1 × 2 pixels; the class token has no place, and the last column of pixels no patch."""
    boxes = np.array([[-1, -1, -1, -1], *grid(2, 2, 1, 2)])

    found = enlarge(np.array([99.0, 1, 2, 3, 4]), boxes, (2, 5))

    assert_array_equal(found, [[1, 1, 2, 2, np.nan], [3, 3, 4, 4, np.nan]])


def test_patches_stand_where_their_boxes_say():
    """The order of the tokens is not the order of the picture where somebody sorted them."""
    boxes = grid(2, 3, 2, 4)
    order = [4, 0, 5, 2, 1, 3]
    scores = np.arange(6.0)

    for smooth in (False, True):
        sorted_by_place = enlarge(scores, boxes, (4, 12), smooth=smooth)
        assert_array_equal(enlarge(scores[order], boxes[order], (4, 12), smooth=smooth), sorted_by_place)


@pytest.mark.parametrize(("rows", "cols", "height", "width"), [(3, 2, 4, 4), (4, 7, 5, 2), (1, 3, 2, 3), (5, 1, 3, 8)])
def test_smooth_relevance_is_that_of_torchs_bilinear_interpolation(rows, cols, height, width):
    """What published segmentation tests do with a grid of patches."""
    scores = np.random.default_rng(0).standard_normal(rows * cols)
    expected = torch.nn.functional.interpolate(
        torch.tensor(scores).reshape(1, 1, rows, cols), scale_factor=(height, width), mode="bilinear"
    )[0, 0]

    found = enlarge(scores, grid(rows, cols, height, width), (rows * height, cols * width), smooth=True)

    assert_allclose(found, expected, **EXACT)


def test_smooth_relevance_leaves_out_what_no_patch_reads():
    """A picture of five columns under patches of two has a column that the model never reads."""
    found = enlarge(np.array([1.0, 3.0]), grid(1, 2, 1, 2), (1, 5), smooth=True)

    assert_allclose(found, [[1, 1.5, 2.5, 3, np.nan]], **EXACT)


# Measures


def test_every_measure_by_hand():
    """Map [4 3 −2; 1 0 2], object at 4, −2 and 1: 5 of 10 is on it; the three largest are 4, 3, 2; the mean is 4/3.

    Above the mean: 4, 3, 2, of which one is right; wrong are 3, 2 in and −2, 1 out, so 2 of 6 are right, 1 of 5 in the
    union, and 1 of 5 among the others. By falling relevance 4⁺ 3 2 1⁺ 0 −2⁺: precision 1, 2/4 and 3/6 at thirds.
    """
    found = localization(MAP, MASK)

    assert_allclose(found["pointing_game"], 1, **EXACT)
    assert_allclose(found["relevance_mass"], 5 / 10, **EXACT)
    assert_allclose(found["relevance_rank"], 1 / 3, **EXACT)
    assert_allclose(found["pixel_accuracy"], 2 / 6, **EXACT)
    assert_allclose(found["iou"], 1 / 5, **EXACT)
    assert_allclose(found["mean_iou"], (1 / 5 + 1 / 5) / 2, **EXACT)
    assert_allclose(found["average_precision"], (1 + 1 / 2 + 1 / 2) / 3, **EXACT)
    assert tuple(found) == MEASURES


def test_the_mean_over_both_classes_weighs_object_and_background():
    """Map [3 1 1 1] on an object of the first two: above 1.5 is the first; 1 of 2 and 2 of 3."""
    found = localization(np.array([[3.0, 1, 1, 1]]), np.array([[True, True, False, False]]))

    assert_allclose([found["iou"], found["mean_iou"]], [1 / 2, (1 / 2 + 2 / 3) / 2], **EXACT)
    assert_allclose(found["pixel_accuracy"], 3 / 4, **EXACT)


def test_one_of_several_largest_pixels_is_drawn():
    """A patch that half covers the object hits half the time, whichever corner a program would look at first."""
    relevance = np.array([[2.0, 2, 1, 0]])

    assert localization(relevance, np.array([[False, True, True, True]]))["pointing_game"] == 0.5
    assert localization(relevance, np.array([[True, True, False, False]]))["pointing_game"] == 1
    assert localization(relevance, np.array([[False, False, True, True]]))["pointing_game"] == 0


def test_the_pointing_game_forgives_as_many_pixels_as_it_is_told():
    """Three right and four down is five pixels away, as the crow flies."""
    relevance, mask = np.zeros((6, 6)), np.zeros((6, 6), dtype=bool)
    relevance[0, 0], mask[4:, 3:] = 1, True

    hits = [localization(relevance, mask, tolerance=tolerance)["pointing_game"] for tolerance in (0, 4.9, 5)]

    assert hits == [0, 0, 1]


def test_rank_counts_equal_pixels_by_their_expected_number():
    """Object of three, ranked 5⁺, then 1⁺ 1 1⁺ 1 for two places, of which half are on the object: 1 + 2 · ½ of 3."""
    relevance, mask = np.array([[5.0, 1, 1, 1, 1, -3]]), np.array([[True, True, False, True, False, False]])

    assert_allclose(localization(relevance, mask)["relevance_rank"], (1 + 2 * 0.5) / 3, **EXACT)


def test_rank_takes_the_positive_part():
    """What speaks against counts as nothing: object at −1 and −9, one positive, two of three zeros drawn."""
    relevance, mask = np.array([[-1.0, 0, -9, 5]]), np.array([[True, False, True, False]])

    assert_allclose(localization(relevance, mask)["relevance_rank"], (1 * 2 / 3) / 2, **EXACT)


def test_the_distractor_has_its_own_mass():
    """Of 10 positive, 5 on the object and 2 on the other thing, one of whose pixels belongs to the object as well."""
    distractor = np.array([[False, False, False], [True, True, True]])

    found = localization(MAP, MASK, distractor=distractor)

    assert_allclose([found["distractor_mass"], found["object_share"]], [2 / 10, 5 / 7], **EXACT)
    assert tuple(found) == (*MEASURES, "distractor_mass", "object_share")


def test_shares_of_nothing_are_not_known():
    """Without positive relevance there is no share of it; without any on the two things, no share between them."""
    negative = localization(
        -np.ones((1, 3)), np.array([[True, False, False]]), distractor=np.array([[False, True, False]])
    )
    elsewhere = localization(
        np.array([[0.0, 0, 1]]), np.array([[True, False, False]]), distractor=np.array([[False, True, False]])
    )

    assert np.isnan([negative["relevance_mass"], negative["distractor_mass"], negative["object_share"]]).all()
    assert (elsewhere["relevance_mass"], elsewhere["distractor_mass"]) == (0, 0)
    assert np.isnan(elsewhere["object_share"])


def test_pixels_that_no_patch_covers_take_no_part():
    """They can neither be found nor missed: a border of NaN, marked or not, changes no measure."""
    wide = np.pad(MAP, 1, constant_values=np.nan)

    for border in (False, True):
        found = localization(wide, np.pad(MASK, 1, constant_values=border))
        assert found == localization(MAP, MASK)


def test_a_constant_map_finds_nothing():
    """Nothing is above the mean; the largest pixel, the rank and the precision are those of a blind guess."""
    # six times 0.1, added up and divided by 6, is less than 0.1 in floating point
    found = localization(np.full((2, 3), 0.1), MASK & [[True], [False]])

    assert (found["iou"], found["pixel_accuracy"]) == (0, 2 / 3)
    guesses = [found[name] for name in ("pointing_game", "relevance_mass", "relevance_rank", "average_precision")]
    assert_allclose(guesses, 1 / 3, **EXACT)


def test_an_object_that_fills_the_picture_leaves_no_background_to_compare():
    """The mean over both classes is then that of one."""
    found = localization(np.array([[2.0, 1, 0]]), np.ones((1, 3), dtype=bool))

    assert_allclose([found["iou"], found["mean_iou"]], [1 / 3, (1 / 3 + 0) / 2], **EXACT)
    assert localization(np.array([[1.0, 0]]), np.ones((1, 2), dtype=bool))["relevance_mass"] == 1


@given(st.integers(0, 10_000))
def test_curves_are_those_of_scikit_learn(seed):
    """Average precision with many equal relevances, and intersection over union above the mean."""
    draw = np.random.default_rng(seed)
    relevance, mask = draw.integers(-3, 4, (4, 5)).astype(float), draw.random((4, 5)) < 0.4
    mask[draw.integers(4), draw.integers(5)] = True
    mask[0, 0] = False

    found = localization(relevance, mask)

    values, inside = relevance.ravel(), mask.ravel()
    scaled = (values - values.min()) / max(np.ptp(values), 1)
    both = average_precision_score(np.concatenate([~inside, inside]), np.concatenate([1 - scaled, scaled]))
    above = values > values.mean()
    assert_allclose(found["average_precision"], average_precision_score(inside, values), **EXACT)
    assert_allclose(found["average_precision_both"], both, **EXACT)
    assert_allclose(found["iou"], jaccard_score(inside, above), **EXACT)
    assert_allclose(found["mean_iou"], jaccard_score(inside, above, average="macro"), **EXACT)


@given(st.integers(0, 10_000), st.floats(1e-30, 1e30))
def test_the_unit_of_relevance_does_not_matter(seed, factor):
    """Logits, shares or any other unit: what methods are compared by must not see it."""
    draw = np.random.default_rng(seed)
    relevance, mask = draw.standard_normal((3, 4)), draw.random((3, 4)) < 0.5
    mask[0, 0] = True

    one, other = localization(relevance, mask), localization(factor * relevance, mask)

    assert_allclose(list(other.values()), list(one.values()), rtol=1e-9, atol=1e-12)  # rounding of products and means


def test_a_cell_of_a_mosaic_has_its_share_of_the_positive_relevance():
    """Cells in reading order; of 1 + 2 + 3 + 4 the third has 3, and what is negative does not count."""
    relevance = np.array([[1.0, -5, 2, -5], [3, -5, 4, -5]])

    shares = [
        grid_pointing_game(relevance, ["cat", "dog", "bag", "cup"], name) for name in ("cat", "dog", "bag", "cup")
    ]

    assert_allclose(shares, [0.1, 0.2, 0.3, 0.4], **EXACT)
    assert_allclose(grid_pointing_game(relevance, [7, 5, 5, 7], 7), 0.5, **EXACT)
    assert np.isnan(grid_pointing_game(-abs(relevance), [1, 2, 3, 4], 1))


def test_mosaics_of_nine_cells_divide_pixels_by_their_centres():
    """Of seven columns 7/3 belong to a cell: centres 0.5, 1.5 to the first, 2.5 to 4.5 to the second."""
    relevance = np.zeros((3, 7))
    relevance[1, :] = [1, 2, 4, 8, 16, 32, 64]

    shares = [grid_pointing_game(relevance, list(range(9)), cell) for cell in range(9)]

    assert_allclose(np.array(shares) * 127, [0, 0, 0, 3, 28, 96, 0, 0, 0], rtol=1e-12, atol=1e-9)


def test_boxes_become_pixels():
    """Half-open, as places in texts are; several boxes are one object."""
    found = mask_from_boxes([[0, 0, 1, 2], [1, 1, 3, 2]], (3, 3))

    assert_array_equal(found, [[True, True, False], [False, True, False], [False, True, False]])


# Bad input


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: localization(MAP, MASK[:, :2]), InputError, "the mask has 2 × 2 pixels.*2 × 3"),
        (lambda: localization(MAP, np.zeros_like(MASK)), InputError, "the mask is empty"),
        (lambda: localization(MAP, MASK, distractor=np.zeros_like(MASK)), InputError, "the distractor is empty"),
        (lambda: localization(np.where(MASK, np.nan, MAP), MASK), InputError, "the mask is empty"),
        (lambda: localization(np.where(MASK, np.inf, MAP), MASK), NotFiniteError, "infinite"),
        (lambda: localization(np.full((2, 3), np.nan), MASK), InputError, "not all of them NaN"),
        (lambda: localization(MAP, MASK, tolerance=-1), OptionError, "tolerance=-1"),
        (lambda: localization(MAP, MASK, tolerance=float("nan")), OptionError, "tolerance=nan"),
        (lambda: grid_pointing_game(MAP, [1, 2, 3], 1), InputError, "3 cells: give 4"),
        (lambda: grid_pointing_game(MAP, [1], 1), InputError, "1 cells"),
        (lambda: grid_pointing_game(MAP, [1, 2, 3, 4], 5), InputError, "5 is in no cell of the mosaic .1, 2, 3, 4."),
        (lambda: mask_from_boxes([], (3, 3)), InputError, "no boxes"),
        (lambda: mask_from_boxes([[0, 0, 1]], (3, 3)), InputError, "a box is .0, 0, 1."),
        (lambda: mask_from_boxes([[0, 0, 4, 1]], (3, 3)), InputError, "does not fit a picture of 3 × 3"),
        (lambda: mask_from_boxes([[1, 0, 1, 1]], (3, 3)), InputError, "does not fit"),
        (lambda: mask_from_boxes([[0, -1, 1, 1]], (3, 3)), InputError, "does not fit"),
        (lambda: enlarge(np.ones(2), grid(1, 3, 1, 1), (1, 3)), InputError, "one number and one box"),
        (lambda: enlarge(np.array([1, np.nan]), grid(1, 2, 1, 1), (1, 2)), NotFiniteError, "token 1"),
        (lambda: enlarge(np.ones(1), -np.ones((1, 4), int), (1, 2)), InputError, "no token has a place"),
        (lambda: enlarge(np.ones(2), grid(1, 2, 2, 2), (2, 3)), InputError, "reaches to 2 × 4 pixels.*2 × 3"),
        (lambda: enlarge(np.ones(3), grid(2, 2, 1, 1)[:3], (2, 2), smooth=True), InputError, "grid of 2 × 2"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, error, words):
    """A mask of another size, or none at all, would give a number that looks like any other."""
    with pytest.raises(error, match=words):
        call()
