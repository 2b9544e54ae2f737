"""`lignite explain` and `lignite flow` on pictures: files, folders, and what a bundled model brings along."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image
from tests.kit.command_line import run
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

import lignite
from lignite.zoo.samples import digit_scene

pytestmark = pytest.mark.usefixtures("plain_terminal")

QUICK = ("--method", "gradient-x-input")


@pytest.fixture(scope="module")
def seer(tmp_path_factory):
    """A folder with a small image classifier of random weights."""
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=32, patch_size=8, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        num_labels=3,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("seer")
    ViTForImageClassification(config).eval().save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture
def photo(tmp_path):
    """A picture that was drawn by hand: a light square on dark ground."""
    pixels = np.full((40, 60, 3), 30, dtype=np.uint8)
    pixels[10:25, 30:50] = (250, 200, 80)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def test_a_picture_is_explained_as_in_python(seer, photo, tmp_path):
    """One library, two ways in; the file's name is the title."""
    path = tmp_path / "why.nc"

    result = run("explain", photo, "--model", seer, "--tol", "0.01", "-o", path)

    assert result.exit_code == 0, result.stderr
    why = lignite.open(path)
    xr.testing.assert_identical(why, lignite.explain(lignite.load(seer), str(photo), tol=0.01).assign_attrs(why.attrs))
    assert why.attrs["text"] == "photo.png"
    assert why["image"].shape == (32, 32, 3)
    assert "photo.png" in result.stdout


def test_every_kind_of_file_is_written(seer, photo, tmp_path):
    """Overlay and strip as pictures, the page, and the numbers."""
    names = ["why.png", "why.svg", "why.pdf", "why.html", "why.json", "why.nc"]

    result = run(
        "explain", photo, "--model", seer, *QUICK, *(part for name in names for part in ("-o", tmp_path / name))
    )

    assert result.exit_code == 0, result.stderr
    with Image.open(tmp_path / "why.png") as drawn:
        assert drawn.size[0] > 300
    assert (tmp_path / "why.svg").read_text("utf-8").lstrip().startswith("<?xml")
    assert (tmp_path / "why.pdf").read_bytes().startswith(b"%PDF")
    assert "data:image/png;base64" in (tmp_path / "why.html").read_text("utf-8")
    assert "image" in json.loads((tmp_path / "why.json").read_text("utf-8"))["variables"]
    xr.testing.assert_identical(lignite.open(tmp_path / "why.json"), lignite.open(tmp_path / "why.nc"))


def test_a_folder_is_done_but_for_the_file_that_cannot_be_read(seer, photo, tmp_path):
    """One bad download must not cost the others; it is named once."""
    folder = tmp_path / "photos"
    folder.mkdir()
    with Image.open(photo) as picture:
        picture.save(folder / "a.png")
        picture.rotate(90).save(folder / "c.png")
    (folder / "b.jpg").write_bytes(b"no image")

    result = run("explain", folder, "--model", seer, *QUICK, "-o", tmp_path / "why.nc")

    assert result.exit_code == 0, result.stderr
    assert [lignite.open(tmp_path / f"why-{number}.nc").attrs["text"] for number in (1, 2)] == ["a.png", "c.png"]
    assert not (tmp_path / "why-3.nc").exists()
    assert result.stderr.count("b.jpg") == 1


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["nowhere.png"], "there is no image 'nowhere.png': check the path."),
        (["PHOTO", "--baseline", "pad"], "this input has none"),
        (["PHOTO", "--baseline", "mask"], "has none"),
        (["PHOTO", "--pair", "PHOTO"], "reads images, not a pair of texts"),
        (["PHOTO", "--window", "10"], "window"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_one_line(seer, photo, typed, message):
    """What was given, what was expected, what to do."""
    typed = [str(photo) if part == "PHOTO" else part for part in typed]

    result = run("explain", *typed, "--model", seer)

    assert result.exit_code == 2, result.stdout
    assert message in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.stderr


def test_a_flow_from_patch_to_patch_is_saved_and_viewed(seer, photo, tmp_path):
    """The same command as for texts."""
    path = tmp_path / "flow.nc"

    first = run("flow", photo, "--model", seer, "--maps", "whole", "-o", path, "-o", tmp_path / "flow.png")
    second = run("view", path)

    assert (first.exit_code, second.exit_code) == (0, 0), first.stderr + second.stderr
    flow = lignite.open(path)
    assert flow["target_row"].values.tolist()[:3] == [-1, 0, 0]
    assert flow["source_col"].values.tolist()[:4] == [-1, 0, 1, 2]
    assert "r0c1" in second.stdout


def test_several_explanations_share_a_picture_and_edges_can_be_smoothed(seer, photo, tmp_path):
    """Methods are compared side by side; smooth relevance is another picture of the same numbers."""
    names = [tmp_path / "one.nc", tmp_path / "two.nc"]
    for path, method in zip(names, ("gradient-x-input", "saliency"), strict=True):
        assert run("explain", photo, "--model", seer, "--method", method, "-q", "-o", path).exit_code == 0

    for picture, look in (("both.png", "--patches"), ("smooth.png", "--smooth")):
        result = run("view", *names, look, "-q", "-o", tmp_path / picture)
        assert result.exit_code == 0, result.stderr

    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["both.png", "photo.png", "smooth.png"]
    assert (tmp_path / "both.png").read_bytes() != (tmp_path / "smooth.png").read_bytes()


def test_the_bundled_model_of_images_brings_a_picture(tmp_path):
    """`lignite explain --model tiny-digits` answers at once, offline, and names the digit that is there."""
    path = tmp_path / "why.nc"

    result = run("explain", "--model", "tiny-digits", *QUICK, "-o", path)

    assert result.exit_code == 0, result.stderr
    why = lignite.open(path)
    assert np.array_equal(why["image"].values, digit_scene().image)
    assert why.attrs["prediction"] == digit_scene().label
