"""Patches of other pictures as a fill: which they are, and the model's own answers averaged over them."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from tests.kit.patch_sums import PATCH, oracle, patch_sums

import lignite
from lignite.errors import InputError
from lignite.metrics.asking.faithfulness import faithfulness
from lignite.targets.ask import ask
from lignite.targets.fills import Others

EXACT = {"rtol": 1e-12, "atol": 1e-12}  # float64 sums of a handful of numbers
WEIGHTS = [[1.0, -2.0, 0.5], [3.0, 0.25, -1.0]]


@pytest.fixture
def model():
    return patch_sums(WEIGHTS)


def pictures(count, *, size=(8, 12), seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (count, *size, 3))
    return list(values.astype(np.uint8))


def rows_of(model, images):
    return ask(model, images, "bright")


def encoded(rows):
    return [row.encoded for row in rows]


def patches_of(values):
    """Every patch's pixels, row by row, of pixel values [draw, channel, y, x]."""
    return values.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH).flatten(2, 3).movedim(2, 1).flatten(2)


def test_a_patch_gives_way_to_one_of_another_picture_at_the_same_place(model):
    """Never the image's own, not all from one picture, and other ones in other drawings."""
    rows = rows_of(model, pictures(5))
    stored = patches_of(torch.cat([row.encoded.tensors["pixel_values"] for row in rows]))

    drawn = patches_of(Others.of_inputs(encoded(rows), draws=6).drawn(rows[0]))

    same = (drawn[:, None] == stored[None]).all(-1)  # draw, picture, patch
    assert (same.sum(1) == 1).all()
    assert not same[:, 0].any()
    chosen = same.int().argmax(1)
    assert all(len(set(one.tolist())) > 1 for one in chosen)
    assert len({tuple(one.tolist()) for one in chosen}) == 6


def test_an_image_meets_the_same_patches_whatever_stands_beside_it(model):
    """So that methods, metrics and interrupted runs are compared on the same questions; a seed draws others."""
    images = pictures(5)
    first = Others.of_inputs(encoded(rows_of(model, images))).drawn(rows_of(model, images)[2])
    alone = Others.of_inputs(encoded(rows_of(model, images))).drawn(rows_of(model, images[2:3])[0])
    other = Others.of_inputs(encoded(rows_of(model, images)), seed=1).drawn(rows_of(model, images)[2])

    assert_array_equal(first, alone)
    assert not torch.equal(first, other)


def test_answers_are_means_over_the_drawings(model):
    """The logit is a sum over patches: what is removed counts as the drawn patches' mean colours do."""
    rows = rows_of(model, pictures(4))
    others = Others.of_inputs(encoded(rows), draws=3, seed=2)
    colours = patches_of(others.drawn(rows[1])).mean(-1).numpy()  # draw, patch
    own = patches_of(rows[1].encoded.tensors["pixel_values"]).mean(-1).numpy()[0]
    weights = np.array(WEIGHTS).ravel()
    order = np.argsort(-weights, kind="stable")

    found = faithfulness(model, rows[1:2], oracle(model, rows[1:2]), fills="neutral", corpus=others, steps=6).squeeze()

    expected = []
    for count in range(7):
        gone = np.isin(np.arange(6), order[:count])
        expected.append((np.where(gone, colours, own) * weights).sum(1))
    assert str(found.fill.values) == "others"
    assert_allclose(found.deletion_curve.sel(output="logit"), np.mean(expected, axis=1), rtol=1e-6)  # pixels in float32
    chances = 1 / (1 + np.exp(-np.array(expected)))
    assert_allclose(found.deletion_curve.sel(output="probability"), chances.mean(1), rtol=1e-6)


def test_single_pixels_give_way_to_those_of_the_same_patchwork(model):
    """Perturbation by pixels asks about the same pictures: with all of them gone, nothing but the patchwork is left."""
    rows = rows_of(model, pictures(4))
    others = Others.of_inputs(encoded(rows), draws=2)
    answers = model.network(others.drawn(rows[0]).to(torch.float64)).logits[:, 1]

    found = faithfulness(
        model, rows[:1], oracle(model, rows[:1]), fills="others", corpus=others, steps=1, pixelwise=True
    ).squeeze()  # fmt: skip

    assert_allclose(found.deletion_curve.sel(output="logit", step=1), answers.mean().item(), rtol=1e-6)


def test_a_picture_without_fellows_of_its_size_is_refused(model):
    """Equal pictures are one, and another size has other patches."""
    rows = rows_of(model, [pictures(1)[0], pictures(1)[0]])

    with pytest.raises(InputError, match=r"none of this one's size, 8 × 12 pixels: name more, corpus="):
        Others.of_inputs(encoded(rows)).drawn(rows[0])


def test_a_data_set_is_judged_by_its_own_pictures(model):
    """`neutral` is those of the other examples, or of a corpus that is named; the result tells which drawings."""
    images = [{"image": image} for image in pictures(4)]
    black = [{"image": np.zeros_like(one)} for one in pictures(2)]
    black[1]["image"][0, 0] = 1  # or else they were one

    own = lignite.evaluate(model, images, "occlusion", "comprehensiveness", fills="neutral", target="bright")
    told = lignite.evaluate(
        model, images, "occlusion", "comprehensiveness", fills="neutral", corpus=black, target="bright"
    )

    assert own.attrs["fills"] == ["others"]
    assert own.attrs["draws"] == 4
    assert own.table["mean"].iloc[0] != told.table["mean"].iloc[0]
