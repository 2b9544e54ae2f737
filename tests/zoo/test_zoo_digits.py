"""The bundled image model and the scenes it is shown: where the digit is, is known, and the digit is what counts."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from recipes.train_tiny_digits import NO_DIGIT, UNDECIDED, Recipe, patch_labels_of
from sklearn.datasets import load_digits
from transformers import AutoImageProcessor, AutoModelForImageClassification

from lignite.errors import OptionError
from lignite.zoo import bundled, samples
from lignite.zoo.samples import Scene, digit_mosaic, digit_scene, digit_scenes

COUNT = 100


@pytest.fixture(scope="module")
def scenes():
    return list(digit_scenes(COUNT))


@pytest.fixture(scope="module")
def folder():
    return bundled()["tiny-digits"]


@pytest.fixture(scope="module")
def probabilities(folder):
    """How likely the model finds each digit in each picture, from transformers alone."""
    model = AutoModelForImageClassification.from_pretrained(folder, local_files_only=True).eval()
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)

    @torch.inference_mode()
    def run(images):
        return model(**processor(images, return_tensors="pt")).logits.softmax(-1).numpy()

    return run


def small(ink: np.ndarray) -> np.ndarray:
    """The strokes alone, at 8 × 8, of length one: what two pictures of the same digit have in common."""
    rows, columns = np.flatnonzero((ink > 0.3).any(1)), np.flatnonzero((ink > 0.3).any(0))
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    values = np.asarray(Image.fromarray(cut).resize((8, 8), Image.Resampling.BILINEAR)).ravel()
    return values / np.linalg.norm(values)


def nearest(pictures: list[np.ndarray]) -> list[str]:
    """What each picture shows, by its likeness to the digits that training scenes are made of."""
    ink, labels = load_digits(return_X_y=True)
    known = np.stack([small(one.reshape(8, 8) / 16) for one in ink[:1437]])
    return [str(labels[(known @ small(picture)).argmax()]) for picture in pictures]


def share_right(given: list[str], labels: list[str]) -> float:
    return sum(one == other for one, other in zip(given, labels, strict=True)) / len(labels)


def test_the_box_of_a_scene_shows_the_digit_of_its_label(scenes):
    """Localisation is measured against the box: what lies in it must be the reason for the label."""
    cut = [scene.image[scene.box[0] : scene.box[2], scene.box[1] : scene.box[3]] for scene in scenes]
    light = [one.max(axis=-1) / 255 for one in cut]

    given = nearest([(one - one.min()) / (one.max() - one.min()) for one in light])

    assert share_right(given, [scene.label for scene in scenes]) >= 0.75  # by chance 0.1


def test_the_mask_of_a_scene_has_the_shape_of_its_digit(scenes):
    """Relevance mass is counted inside it."""
    given = nearest([scene.mask.astype(np.float32) for scene in scenes])

    assert share_right(given, [scene.label for scene in scenes]) >= 0.75  # by chance 0.1


def test_the_mask_marks_light_strokes(scenes):
    """A mask beside the digit would turn every measure of localisation around."""
    for scene in scenes:
        top, left, bottom, right = scene.box
        inside = scene.image[top:bottom, left:right].mean(axis=-1)
        mask = scene.mask[top:bottom, left:right]

        assert inside[mask].mean() > inside[~mask].mean() + 20  # ink is lighter by 0.2 of 255 or more, paper shades


def test_the_box_is_the_smallest_that_holds_the_mask(scenes):
    """A loose box would forgive relevance beside the digit."""
    for scene in scenes:
        top, left, bottom, right = scene.box
        outside = scene.mask.copy()
        outside[top:bottom, left:right] = False

        assert not outside.any()
        assert scene.mask[top].any()
        assert scene.mask[bottom - 1].any()
        assert scene.mask[:, left].any()
        assert scene.mask[:, right - 1].any()


def test_a_number_always_means_the_same_scene_and_another_number_another():
    """Numbers in documents and tests must name pictures."""
    first, again, other = digit_scene(4), digit_scene(4), digit_scene(5)

    np.testing.assert_array_equal(first.image, again.image)
    assert (first.label, first.box) == (again.label, again.box)
    assert (first.image != other.image).any()
    assert not np.array_equal(digit_scene(4 + 360).image, first.image)  # the same digit, elsewhere


def test_training_and_sample_scenes_share_no_digit():
    """Scores on digits that were learned by heart would say nothing."""
    ink, labels = load_digits(return_X_y=True)

    train, test = samples.read_digits("train"), samples.read_digits("test")

    np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), labels)
    np.testing.assert_array_equal(np.concatenate([train.ink, test.ink]), ink.reshape(-1, 8, 8) / 16)
    assert len(test.labels) == 360


def test_360_scenes_show_every_digit_that_was_kept_back():
    """A drawing with repetition would count some digits twice."""
    digits = samples.read_digits("test")

    places = {samples.shown(digits, number) for number in range(360)}

    assert places == set(range(360))


def test_a_scrambled_digit_keeps_its_ink_and_loses_its_shape():
    """A distractor that differed in thickness could be told without reading it."""
    ink = np.arange(64, dtype=float).reshape(8, 8)

    scrambled = samples.shuffled(ink, np.random.default_rng(0))

    assert sorted(scrambled.ravel()) == sorted(ink.ravel())
    assert (scrambled != ink).mean() > 0.5
    np.testing.assert_array_equal(scrambled[:, 1::2] - scrambled[:, ::2], 1.0)  # squares stay whole


def test_nothing_is_put_where_something_is():
    """A distractor over the digit would make the label a lie."""
    free = np.zeros((64, 64), dtype=bool)
    free[32:56, 8:32] = True
    too_narrow = free.copy()
    too_narrow[40, 20] = False
    chance = np.random.default_rng(0)

    assert samples.vacant(free, chance) == (32, 8)
    assert samples.vacant(too_narrow, chance) is None


def test_an_enlarged_digit_has_the_values_of_the_old_pixels_at_their_centres():
    """Between them it is linear, as another library draws it; Pillow repeats the edge where here paper begins."""
    ink = np.random.default_rng(0).random((8, 8))

    large = samples.enlarged(ink)

    np.testing.assert_allclose(large[1::3, 1::3], ink, atol=1e-12)  # centres of 3 x 3 pixels, float64
    drawn = np.asarray(Image.fromarray(ink.astype(np.float32)).resize((24, 24), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(large[1:-1, 1:-1], drawn[1:-1, 1:-1], atol=1e-6)  # Pillow computes in float32
    np.testing.assert_allclose(large[0, 1::3], ink[0] * 2 / 3, atol=1e-12)  # a third of a pixel beyond the centre


def test_a_digit_is_stretched_and_slanted_about_its_middle():
    """Training bends digits, and a slant to the wrong side would teach hands that nobody has."""
    ink = np.zeros((8, 8))
    ink[:, 3:5] = 1.0  # an upright stroke in the middle

    broad = samples.enlarged(ink, broad=1.5).sum(0)
    tall = samples.enlarged(ink, tall=0.5).sum(1)
    slanted = samples.enlarged(ink, slant=0.5)

    # Ink reaches 1.5 old pixels from the middle across and 4.5 down: 4.5 and 13.5 new ones, here 6.75 for both.
    for line in (broad, tall):
        np.testing.assert_array_equal(line > 0, np.abs(np.arange(24) - 11.5) < 6.75)
    centres = (slanted * np.arange(24)).sum(1) / slanted.sum(1)
    np.testing.assert_allclose(centres, 11.5 + 0.5 * (11.5 - np.arange(24)), atol=1e-9)  # symmetric about each


def test_strokes_and_scrambled_digits_leave_the_digit_alone():
    """Around the digit lies paper, whatever else the scene holds."""
    digits = samples.read_digits("test")
    for place in range(50):
        chance = np.random.default_rng(place)
        scene = samples.compose(digits, place, chance, scrambled=2, strokes=6)
        top, left, bottom, right = scene.box
        inside = scene.image[top:bottom, left:right].reshape(-1, 3)[~scene.mask[top:bottom, left:right].ravel()]

        # paper up to 0.4, its noise up to 5 deviations of 0.03, and 0.3 of an ink of 1 over that: 0.69 of 255
        assert inside.max() <= (0.3 + 0.7 * (0.4 + 0.15)) * 255 + 1


@pytest.mark.parametrize("number", range(12))
def test_a_mosaic_has_four_different_digits_in_reading_order(number):
    """The grid pointing game asks in which quarter the evidence for each of them lies."""
    mosaic = digit_mosaic(number)

    assert len(set(mosaic.labels)) == 4
    assert mosaic.boxes == ((0, 0, 32, 32), (0, 32, 32, 64), (32, 0, 64, 32), (32, 32, 64, 64))
    for mask, (top, left, bottom, right) in zip(mosaic.masks, mosaic.boxes, strict=True):
        assert mask.any()
        assert mask.sum() == mask[top:bottom, left:right].sum()


def test_the_quarters_of_a_mosaic_show_their_labels():
    """Labels in another order than the quarters would turn the game around."""
    mosaics = [digit_mosaic(number) for number in range(25)]

    given = nearest([mask.astype(np.float32) for mosaic in mosaics for mask in mosaic.masks])

    assert share_right(given, [label for mosaic in mosaics for label in mosaic.labels]) >= 0.75  # by chance 0.1


def test_without_scikit_learn_the_error_names_it(monkeypatch):
    """The samples are the only thing in the package that needs it."""
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    samples.read_digits.cache_clear()

    with pytest.raises(OptionError, match="pip install scikit-learn"):
        digit_scene()


@pytest.mark.parametrize("ask", [lambda: digit_scene(-1), lambda: digit_mosaic(-1), lambda: digit_scenes(0)])
def test_numbers_that_name_no_picture_are_refused(ask):
    """-1 would silently mean the last digit."""
    with pytest.raises(OptionError, match=r"from 0|or more"):
        ask()


def test_making_a_scene_does_not_import_torch():
    """The command line writes a sample before it loads a model."""
    code = "import sys; from lignite.zoo.samples import digit_scene; digit_scene(); print('torch' in sys.modules)"

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "False"


def test_a_patch_is_called_by_the_digit_that_covers_a_tenth_of_it():
    """Wrong answers would teach the patches the wrong digit, and only the accuracy would tell."""
    mask = np.zeros((64, 64), dtype=bool)
    mask[0:8, 8:16] = True  # all of patch 1
    mask[8:10, 0:4] = True  # 8 of the 64 pixels of patch 8
    mask[63, 63] = True  # one pixel of the last patch
    scene = Scene(np.zeros((64, 64, 3), dtype=np.uint8), "7", (0, 0, 64, 64), mask)

    labels = patch_labels_of([scene], Recipe())

    assert labels.shape == (1, 64)
    assert labels[0, [1, 8, 63]].tolist() == [7, 7, UNDECIDED]
    assert (labels == NO_DIGIT).sum() == 61


def test_the_model_reads_digits_that_it_never_saw(scenes, probabilities):
    """Below this, explanations would mostly explain mistakes."""
    given = probabilities([scene.image for scene in scenes]).argmax(-1).astype(str).tolist()

    assert share_right(given, [scene.label for scene in scenes]) >= 0.85  # zoo/README.md has the accuracy


def test_the_model_looks_at_the_digit_and_not_at_what_stands_beside_it(scenes, probabilities):
    """Then an explanation that points at a distractor is wrong, whatever the reason."""
    without_digit, alone = [], []
    for scene in scenes:
        top, left, bottom, right = scene.box
        paper = np.median(scene.image, axis=(0, 1)).astype(np.uint8)
        hidden, bare = scene.image.copy(), np.broadcast_to(paper, scene.image.shape).copy()
        hidden[top:bottom, left:right] = paper
        bare[top:bottom, left:right] = scene.image[top:bottom, left:right]
        without_digit.append(hidden)
        alone.append(bare)
    places = np.arange(len(scenes)), [int(scene.label) for scene in scenes]

    whole, hidden, bare = (
        probabilities(images)[places].mean() for images in ([scene.image for scene in scenes], without_digit, alone)
    )

    assert hidden < 0.4 * whole
    assert bare > 0.8 * whole


def test_the_processor_prepares_pictures_as_training_did(folder):
    """Otherwise the model would see colours that it never learned."""
    image = digit_scene(1).image
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)

    prepared = processor(image, return_tensors="pt")["pixel_values"]

    expected = torch.from_numpy((image.astype(np.float64) / 255 - 0.5) / 0.25).permute(2, 0, 1)[None]
    torch.testing.assert_close(prepared.double(), expected, rtol=0, atol=1e-6)  # float32 of numbers up to 2


def test_the_weights_are_small_and_load_in_single_precision(folder):
    """They travel in every wheel; attribution needs float32."""
    model = AutoModelForImageClassification.from_pretrained(folder, local_files_only=True)

    assert sum(file.stat().st_size for file in folder.iterdir()) <= 3 * 2**20
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert model.config.id2label == {number: str(number) for number in range(10)}


def test_nothing_in_the_folder_can_run_code_or_names_a_machine(folder):
    """A pickle runs code when it is loaded; an absolute path would be the trainer's own."""
    assert {file.name for file in folder.iterdir()} == {"config.json", "model.safetensors", "preprocessor_config.json"}
    for name in ("config.json", "preprocessor_config.json"):
        values = json.loads((folder / name).read_text()).values()
        assert not [value for value in values if isinstance(value, str) and value.startswith("/")]
