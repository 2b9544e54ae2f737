"""Removal measures of images: sums of known patches by hand, and loops over the network itself."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from tests.kit.bag_of_words import asked, bag_of_words
from tests.kit.patch_sums import oracle, patch_sums, white

from lignite.errors import InputError, OptionError
from lignite.inputs.fills import IMAGE_FILLS
from lignite.metrics.asking import faithfulness as module
from lignite.metrics.asking.faithfulness import faithfulness
from lignite.targets.ask import ask

EXACT = {"rtol": 1e-9, "atol": 1e-9}  # float64 sums of a handful of numbers of order ten; colours are 255/255
WEIGHTS = [[-1.0, 8.0], [-2.0, 4.0]]
"""Relevant first: 8, 4, −1, −2. A white image's logit falls: 9, 1, −3, −2, 0; and rises: 0, 8, 12, 11, 9."""


@pytest.fixture
def model():
    return patch_sums(WEIGHTS)


def rows_of(model, *images):
    return ask(model, list(images or [white(model)]), "bright")


def measured(model, *, images=(), relevances=None, **options):
    rows = rows_of(model, *images)
    return faithfulness(model, rows, relevances or {"oracle": oracle(model, rows)}, **{"fills": IMAGE_FILLS, **options})


# Patches


def test_curves_and_areas_by_hand(model):
    """Trapezoids over quarters: (9/2 + 1 − 3 − 2 + 0)/4 and (0 + 8 + 12 + 11 + 9/2)/4, as for a text of four words."""
    found = measured(model, fills="black", steps=4).squeeze()

    logit = found.sel(output="logit")
    assert_allclose(logit.deletion_curve, [9, 1, -3, -2, 0], **EXACT)
    assert_allclose(logit.insertion_curve, [0, 8, 12, 11, 9], **EXACT)
    assert_allclose([logit.deletion, logit.insertion], [0.125, 8.875], **EXACT)
    assert_allclose(found.sel(output="probability").deletion_curve, expit([9, 1, -3, -2, 0]), **EXACT)
    assert_allclose(logit.comprehensiveness_bins, [8, 8, 8, 8, 12], **EXACT)
    assert_allclose(logit.sufficiency_bins, [1, 1, 1, 1, -3], **EXACT)
    assert (found.decision_flip, found.n_tokens) == (0.5, 4)


def test_each_fill_leaves_another_image(model):
    """A grey patch still adds half its weight; the blur of an image of one colour is that image."""
    found = measured(model, steps=4).sel(output="logit").squeeze()

    assert found.fill.values.tolist() == ["blur", "grey", "black", "mean"]
    black = np.array([9.0, 1, -3, -2, 0])
    assert_allclose(found.deletion_curve.sel(fill="grey"), (9 + black) / 2, **EXACT)
    assert_allclose(found.insertion_curve.sel(fill="grey"), (9 + np.array([0, 8, 12, 11, 9])) / 2, **EXACT)
    assert_allclose(found.deletion_curve.sel(fill="blur"), np.full(5, 9.0), **EXACT)


def test_a_removed_patch_may_become_the_average_of_all(model):
    """The image's own, pixel by pixel of the patch: with everything removed, each weight counts the mean colour."""
    image = np.random.default_rng(0).integers(0, 256, white(model).shape).astype(np.uint8)

    found = measured(model, images=[image], fills="mean", steps=4).sel(output="logit").squeeze()

    colours = image.reshape(2, 4, 2, 4, 3).mean((1, 3, 4)) / 255
    weights, order = np.array(WEIGHTS).ravel(), [1, 3, 0, 2]
    expected = [
        np.where(np.isin(range(4), order[:gone]), colours.mean(), colours.ravel()) @ weights for gone in range(5)
    ]
    assert_allclose(found.deletion_curve, expected, rtol=1e-6)  # pixels are float32


def test_a_blurred_patch_shows_what_stood_around_it(model):
    """RISE's insertion starts from the blur: without any patch the model sees it whole, neither image nor nothing."""
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, white(model).shape).astype(np.uint8)
    (row,) = ask(model, [image], "bright")
    blurred = module.cover_pixels(model, row, np.ones(image.shape[:2], dtype=bool), "blur")

    found = measured(model, images=[image], fills="blur", steps=4).sel(output="logit").squeeze()

    with torch.no_grad():
        ends = [float(model.network(one.encoded.tensors["pixel_values"]).logits[0, 1]) for one in (blurred, row)]
    assert_allclose(found.insertion_curve[[0, -1]], ends, **EXACT)
    assert abs(ends[0] - ends[1]) > 1e-3


def test_the_class_token_is_not_removed(model):
    """No pixel belongs to it: whatever its relevance, the curves are those of the patches."""
    rows = rows_of(model)
    with_class = [np.concatenate([[99.0], one[1:]]) for one in oracle(model, rows)]

    found = faithfulness(model, rows, {"with": with_class, "without": oracle(model, rows)}, fills="black", steps=4)

    assert_array_equal(found.deletion_curve.sel({"method": "with"}), found.deletion_curve.sel({"method": "without"}))
    assert found.n_tokens == 4


def test_equal_images_are_asked_about_once(model):
    """Two methods, two fills and twice the same image: each edited input reaches the network a single time."""
    rows = rows_of(model, white(model), white(model))
    relevances = {name: oracle(model, rows) for name in ("one", "other")}
    model.network.rows = 0

    faithfulness(model, rows, relevances, fills=("black", "grey"), steps=4, parts="curves")

    assert model.network.rows == 1 + 2 * (4 + 3)  # both curves share the empty image, both fills the whole one


@pytest.mark.parametrize("pixelwise", [False, True])
def test_images_edited_in_pieces_give_the_same_numbers(model, monkeypatch, pixelwise):
    """Where all edited images do not fit the memory at once, they are made and asked about a few at a time."""
    images = [white(model), (white(model) * 0.7).astype(np.uint8), white(model) // 3]
    options = {"steps": 3, "parts": module.PARTS, "pixelwise": pixelwise}
    at_once = measured(model, images=images, **options)

    for size in (1, 4000):  # one image of 8 × 8 × 3 numbers has 1536 bytes
        monkeypatch.setattr(module, "BYTES_AT_ONCE", size)
        monkeypatch.setattr(module, "ROWS_AT_ONCE", 5)
        assert measured(model, images=images, **options).equals(at_once)


# Pixels


def test_pixels_are_removed_in_the_order_of_the_enlarged_relevance():
    """Two patches of 4 × 4 with relevance 0 and 1: between their centres it rises by columns, 0 0 0 ⅛ ⅜ ⅝ ⅞ 1 1 1.

    The right patch weighs 8, half a column of it 1 each … its columns go first (equal ones in reading order), then
    those of the left one, which weighs 4: in eighths of 32 pixels the logit falls by 2, four times, then by 1.
    """
    model = patch_sums([[4.0, 8.0]])
    rows = rows_of(model)

    found = faithfulness(model, rows, [np.array([0, 0.0, 1.0])], fills="black", steps=8, pixelwise=True)

    logit = found.sel(output="logit").squeeze()
    assert_allclose(logit.deletion_curve, [12, 10, 8, 6, 4, 3, 2, 1, 0], **EXACT)
    assert_allclose(logit.insertion_curve, [0, 2, 4, 6, 8, 9, 10, 11, 12], **EXACT)
    assert found.n_tokens == 32


def test_pixelwise_curves_are_those_of_a_loop_over_the_network():
    """Bilinear interpolation by torch, the sort and the edits by hand, on a random image that is not square."""
    draw = np.random.default_rng(1)
    model = patch_sums(draw.standard_normal((3, 2)).tolist())
    image = draw.integers(0, 256, white(model).shape).astype(np.uint8)
    scores = draw.standard_normal(6)

    found = measured(
        model, images=[image], relevances=[np.array([0, *scores])], fills="grey", steps=5, pixelwise=True
    ).squeeze()

    grid = torch.tensor(scores).reshape(1, 1, 3, 2)
    enlarged = torch.nn.functional.interpolate(grid, scale_factor=4, mode="bilinear").numpy().ravel()
    order = np.argsort(-enlarged.round(12), kind="stable")
    pixels = torch.tensor(image / 255).permute(2, 0, 1)[None]
    for step, count in enumerate([0, 20, 39, 58, 77, 96]):  # fifths of 96, rounded up
        edited = pixels.clone().reshape(1, 3, 96)
        edited[:, :, order[:count].copy()] = 0.5
        with torch.no_grad():
            expected = float(model.network(edited.reshape(pixels.shape)).logits[0, 1])
        # the image processor divides by 255 in float32
        assert_allclose(found.deletion_curve.sel(output="logit")[step], expected, rtol=1e-6, atol=1e-6)


def test_pixels_that_no_patch_covers_stay():
    """A picture of 9 × 8 pixels under patches of four has a row that the model does not read: n is 64."""
    model = patch_sums(WEIGHTS)
    pixels = torch.ones(1, 3, 9, 8, dtype=torch.float64)
    model.config.image_size = (9, 8)
    rows = ask(model, [{"pixel_values": pixels}], "bright")

    found = faithfulness(model, rows, {"oracle": oracle(model, rows)}, fills="black", steps=4, pixelwise=True)

    assert found.n_tokens == 64
    assert_allclose(found.deletion_curve.sel(output="logit").squeeze()[[0, -1]], [9, 0], **EXACT)


# Positive and negative perturbation


def hits(values):
    """Area from 0 to 0.9 under hits at tenths, written out."""
    return 0.1 * (values[0] / 2 + sum(values[1:9]) + values[9] / 2)


def test_perturbation_by_hand():
    """Ten patches, 5, 4 and eight of −1, sum 1. Most relevant first −4, −8 …: dark at once. Least first: 2 … 9, 5."""
    model = patch_sums([[-1.0, -1, 5, -1, -1], [-1, 4, -1, -1, -1]])

    found = measured(model, fills="black", parts="perturbation").squeeze()

    assert_array_equal(found.positive_perturbation_hits, [1] + [0] * 9)
    assert_array_equal(found.negative_perturbation_hits, [1] * 10)
    assert_allclose([found.positive_perturbation, found.negative_perturbation], [0.05, 0.9], **EXACT)
    assert found.percent.values.tolist() == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert found.untouched == 1
    assert "deletion" not in found
    assert "comprehensiveness" not in found


def test_the_area_counts_the_untouched_accuracy_by_half():
    """Published areas are trapezoids from 0 to 0.9: 3, 2, 2, 2, −3 … lose the sign where −3 outweighs what is left."""
    model = patch_sums([[3.0, 2, 2, 2, -1], [-1, -1, -1, -1, -1]])

    found = measured(model, fills="black", parts="perturbation").squeeze()

    # 3, then 0 (a tie is dark), −2, −4, −6, −5 … −1 as the rest goes
    assert_array_equal(found.positive_perturbation_hits, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    # 3, 4, 5, 6, 7, 8, 9, then 7, 5, 3
    assert_array_equal(found.negative_perturbation_hits, [1] * 10)
    assert_allclose(found.positive_perturbation, hits([1] + [0] * 9), **EXACT)


def test_accuracy_may_return_and_areas_count_every_share():
    """The label is not that of the first flip: 2, −1, 5, 0 … patches in an order that is not the model's."""
    model = patch_sums([[3.0, -6, 5, -1, 1], [-1, 1, -1, 1, -1]])
    rows = rows_of(model)
    by_place = np.array([0, *range(10, 0, -1)], dtype=float)

    found = faithfulness(model, rows, [by_place], fills="black", parts="perturbation").squeeze()

    weights = [3.0, -6, 5, -1, 1, -1, 1, -1, 1, -1]
    positive = [float(sum(weights[count:]) > 0) for count in range(10)]
    negative = [float(sum(weights[: 10 - count]) > 0) for count in range(10)]
    assert_array_equal(found.positive_perturbation_hits, positive)
    assert_array_equal(found.negative_perturbation_hits, negative)
    assert 0 < sum(positive) < 9
    assert_allclose(found.positive_perturbation, hits(positive), **EXACT)
    assert_allclose(found.negative_perturbation, hits(negative), **EXACT)


def test_hits_are_those_of_the_given_labels(model):
    """Accuracy is published against the true class, whatever class is explained."""
    rows = rows_of(model, white(model), white(model))

    found = faithfulness(model, rows, oracle(model, rows), fills="black", parts="perturbation", labels=[1, 0]).squeeze()

    assert_array_equal(found.untouched, [1, 0])
    assert_array_equal(found.positive_perturbation_hits.sum("example"), np.ones(10))


def test_shares_are_rounded_down_as_published():
    """A tenth of 15 patches is one of them, nine tenths 13: two are left."""
    weights = [[15.0, 14, 13, 12, 11], [10, 9, 8, 7, 6], [5, 4, 3, 2, 1]]
    model = patch_sums([[weight - 200 / 15 for weight in row] for row in weights])  # their sum is −80
    rows = ask(model, [white(model)], "dark")
    relevance = [-one for one in oracle(model, rows)]

    found = faithfulness(model, rows, relevance, fills="black", parts="perturbation").squeeze()

    ranked = np.sort(np.ravel(weights) - 200 / 15)  # what speaks for dark first
    gone = [share * 15 // 100 for share in range(0, 100, 10)]
    assert gone == [0, 1, 3, 4, 6, 7, 9, 10, 12, 13]
    assert_array_equal(found.positive_perturbation_hits, [ranked[count:].sum() <= 0 for count in gone])
    rounded_up = [-(-share * 15 // 100) for share in range(0, 100, 10)]
    assert [ranked[count:].sum() <= 0 for count in gone] != [ranked[count:].sum() <= 0 for count in rounded_up]


def test_perturbed_pixels_are_those_of_a_loop_as_published():
    """Relevance is enlarged by torch, the floor of each share of all pixels set to zero, the label compared."""
    draw = np.random.default_rng(4)
    model = patch_sums(draw.normal(0.1, 1, (3, 3)).tolist())
    image = draw.integers(0, 256, white(model).shape).astype(np.uint8)
    (row,) = ask(model, [image])
    scores = draw.standard_normal(9)

    found = faithfulness(
        model, [row], [np.array([0, *scores])], fills="black", parts="perturbation", pixelwise=True
    ).squeeze()

    grid = torch.tensor(scores).reshape(1, 1, 3, 3)
    enlarged = torch.nn.functional.interpolate(grid, scale_factor=4, mode="bilinear").ravel()
    pixels = torch.tensor(image / 255).permute(2, 0, 1)[None]
    for name, sign in (("positive", 1), ("negative", -1)):
        expected = []
        for tenth in range(10):
            edited = pixels.clone().reshape(1, 3, 144)
            edited[:, :, torch.topk(sign * enlarged, int(144 * tenth / 10)).indices] = 0
            with torch.no_grad():
                leading = int(model.network(edited.reshape(pixels.shape)).logits.argmax())
            expected.append(float(leading == row.objective.index))
        assert_array_equal(found[f"{name}_perturbation_hits"], expected)


def test_a_number_that_is_no_label_has_no_accuracy(model):
    """A function of the output has no leading choice: NaN, not a class that is never right."""
    rows = ask(model, [white(model)], lambda outputs: outputs.logits[:, 1] ** 2)

    found = faithfulness(model, rows, oracle(model, rows), fills="black", parts=("perturbation", "curves"))

    assert np.isnan(found.positive_perturbation).all()
    assert np.isnan(found.untouched).all()
    assert_allclose(found.deletion_curve.sel(output="logit").squeeze()[0], 81, **EXACT)


# Planted evidence


@pytest.mark.parametrize("pixelwise", [False, True])
def test_an_oracle_leads_and_its_opposite_comes_last(pixelwise):
    """One patch decides: every measure of removal puts the explanation that names it first, under every fill."""
    draw = np.random.default_rng(0)
    weights = np.zeros((4, 4))
    weights[1, 2] = 8
    model = patch_sums((weights - 0.05).tolist())
    image = draw.integers(180, 256, white(model).shape).astype(np.uint8)
    image[4:8, 8:12] = 255
    rows = rows_of(model, image)
    relevances = {"oracle": oracle(model, rows), "blind": [np.array([0, *draw.standard_normal(16)])]}
    relevances["worst"] = [-one for one in relevances["oracle"]]

    found = faithfulness(model, rows, relevances, fills=("black", "grey"), parts=module.PARTS, pixelwise=pixelwise)

    found = found.isel(example=0).sel(output="probability")
    for name, better in (
        ("deletion", -1), ("insertion", 1), ("comprehensiveness", 1), ("sufficiency", -1), ("log_odds", -1),
    ):  # fmt: skip
        by_method = better * found[name]
        assert (by_method.sel({"method": "oracle"}) >= by_method.max("method")).all()
        assert (by_method.sel({"method": "worst"}) < by_method.sel({"method": "oracle"})).all()
    black = found.sel(fill="black")
    assert black.positive_perturbation.idxmin("method") == "oracle"
    assert black.negative_perturbation.idxmax("method") == "oracle"
    assert black.positive_perturbation.sel({"method": "worst"}) > black.positive_perturbation.sel({"method": "oracle"})


# Bad input


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"fills": "mask"}, OptionError, "fills='mask'.*'blur', 'grey', 'black', 'mean'"),
        ({"fills": ()}, OptionError, "fills is empty"),
        ({"parts": "curve"}, OptionError, "parts='curve'.*Did you mean 'curves'"),
        ({"parts": ()}, OptionError, "parts is empty"),
        ({"steps": 0}, OptionError, "steps=0"),
        ({"labels": [1, 0], "parts": "perturbation"}, InputError, "2 labels of 1 rows"),
        ({"relevances": [np.zeros(4)]}, InputError, "has 5 tokens without padding"),
    ],
)
def test_what_is_not_known_is_refused(model, options, error, words):
    """Before anything is asked of the model."""
    with pytest.raises(error, match=words):
        measured(model, **options)


def test_pixels_are_of_images_alone():
    """A text has none; and images and texts are not removed from alike."""
    texts = bag_of_words({"a": 1.0})
    model = patch_sums(WEIGHTS)
    rows = asked(texts, "a a")

    with pytest.raises(OptionError, match="these rows are texts"):
        faithfulness(texts, rows, [np.zeros(4)], pixelwise=True)
    with pytest.raises(OptionError, match="fills='black'"):
        faithfulness(texts, rows, [np.zeros(4)], fills="black")
    with pytest.raises(InputError, match="some rows are images"):
        faithfulness(model, [*rows_of(model), *rows], [np.zeros(5), np.zeros(4)])


def test_colours_that_nobody_knows_are_not_guessed():
    """Without an image processor no value is black; a blur needs none."""
    model = patch_sums(WEIGHTS, processor=False)
    rows = ask(model, [{"pixel_values": torch.ones(1, 3, 8, 8, dtype=torch.float64)}], "bright")

    with pytest.raises(OptionError, match="'black' is a colour"):
        faithfulness(model, rows, oracle(model, rows), fills="black")
    assert_allclose(faithfulness(model, rows, oracle(model, rows), fills="blur").value, [9.0], **EXACT)
