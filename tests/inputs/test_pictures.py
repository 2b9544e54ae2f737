"""Pictures as people have them become pixels for a model: read right, or refused in one clear line."""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from scipy.ndimage import gaussian_filter
from tests.kit.architectures import randomize
from tests.kit.headed_models import headed
from torch.testing import assert_close
from transformers import (
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)

import lignite
from lignite.errors import InputError, OptionError
from lignite.inputs.encode import encode
from lignite.inputs.fills import BLUR_SHARE, blurred, filled
from lignite.inputs.patches import seen
from lignite.inputs.pictures import read_image
from lignite.targets.ask import ask
from lignite.targets.edits import cover, cover_pixels

ORIENTED = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),  # the first row is the right side, the first column the top
    7: lambda stored: np.rot90(stored, 2).transpose(1, 0, 2),
    8: np.rot90,
}
"""What each EXIF orientation makes of the stored rows and columns, after the standard's table."""


def drawn(height: int = 9, width: int = 14, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def processor(size: tuple[int, int] = (8, 8), **options) -> ViTImageProcessorPil:
    return ViTImageProcessorPil(size={"height": size[0], "width": size[1]}, **options)


def vit(*, prepare=..., dtype: torch.dtype = torch.float32, channels: int = 3, size=8) -> lignite.Model:
    """A model of 8 × 8 pixels in four patches, with an image processor unless told otherwise."""
    config = ViTConfig(
        image_size=size, patch_size=4, hidden_size=12, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=20, num_labels=3, num_channels=channels,
    )  # fmt: skip
    network = ViTForImageClassification(config)
    randomize(network, seed=0, gains={})
    return lignite.wrap(network.eval().to(dtype), image_processor=processor() if prepare is ... else prepare)


def saved(path: Path, values: np.ndarray, **options) -> Path:
    Image.fromarray(values).save(path, **options)
    return path


def read(source) -> np.ndarray:
    picture = read_image(source)
    assert picture.mode == "RGB"
    return np.asarray(picture)


# Reading


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tiff", ".ppm", ".PNG"])
def test_files_without_losses_are_read_as_they_were_written(tmp_path, ending):
    """Rows, columns and colours each have an order that a mistake would turn around."""
    path = saved(tmp_path / f"picture{ending}", drawn())

    assert_array_equal(read(path), drawn())
    assert_array_equal(read(str(path)), drawn())


def test_webp_without_losses_is_read_as_it_was_written(tmp_path):
    """The format of most pictures saved from the web."""
    assert_array_equal(read(saved(tmp_path / "picture.webp", drawn(), lossless=True)), drawn())


def test_a_jpeg_keeps_its_colours(tmp_path):
    """Two plain halves: away from their border only the change of colour space rounds, by less than 3 of 255."""
    halves = np.full((32, 64, 3), (200, 30, 40), dtype=np.uint8)
    halves[:, 32:] = (20, 40, 210)

    found = read(saved(tmp_path / "picture.jpg", halves, quality=95)).astype(int)

    assert np.abs(found - halves)[:, [*range(16), *range(48, 64)]].max() < 3


@pytest.mark.parametrize("orientation", ORIENTED)
@pytest.mark.parametrize("ending", [".png", ".tiff"])
def test_photos_are_turned_upright(tmp_path, orientation, ending):
    """Cameras store the rows as the sensor saw them and a note which side is up."""
    note = Image.Exif()
    note[0x0112] = orientation
    path = saved(tmp_path / f"picture{ending}", drawn(), exif=note)

    assert_array_equal(read(path), ORIENTED[orientation](drawn()))


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (255, 0, 0, 51), (255, 204, 204)),  # a fifth of red over white
        ("LA", (0, 51), (204, 204, 204)),
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("1", 0, (0, 0, 0)),
    ],
)
def test_other_kinds_of_pixels_become_colours_over_white(tmp_path, mode, colour, expected):
    """What a transparent part hides is no part of the picture; viewers show white there."""
    picture = Image.new(mode, (5, 3), colour)
    picture.save(tmp_path / "picture.png")

    for source in (picture, tmp_path / "picture.png"):
        assert_array_equal(read(source), np.full((3, 5, 3), expected, dtype=np.uint8))


def test_a_palette_with_a_transparent_colour_is_laid_over_white(tmp_path):
    """Palettes keep transparency beside the pixels, where a plain conversion loses it."""
    picture = Image.new("P", (4, 2), 1)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((0, 0), 0)
    picture.save(tmp_path / "picture.png", transparency=0)

    found = read(tmp_path / "picture.png")

    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[1, 3].tolist() == [0, 0, 255]


def test_sixteen_bits_of_grey_become_eight():
    """Pillow would cut them off at 255 and make nearly everything white."""
    levels = np.array([[0, 255, 256], [32767, 32768, 65535]], dtype=np.uint16)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, format="PNG")

    found = read(Image.open(file))

    assert_array_equal(found, np.repeat((levels // 256).astype(np.uint8)[..., None], 3, axis=2))


def test_sixteen_bits_of_grey_in_big_endian_order_become_eight():
    """TIFF files come in both orders of bytes."""
    levels = np.array([[0, 256], [32768, 65535]], dtype=">u2")
    tags = [(256, 4, 2), (257, 4, 2), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 122), (277, 3, 1), (279, 4, 8)]
    entries = b"".join(
        struct.pack(">HHI", tag, kind, 1) + struct.pack(">I" if kind == 4 else ">HH", *((value, 0)[: 5 - kind]))
        for tag, kind, value in tags
    )
    head = b"MM\x00*" + struct.pack(">IH", 8, len(tags)) + entries + struct.pack(">I", 0)
    file = io.BytesIO(head.ljust(122, b"\0") + levels.tobytes())

    found = read(Image.open(file))

    assert_array_equal(found[..., 0], [[0, 1], [128, 255]])


@pytest.mark.parametrize(("inks", "expected"), [((0, 0, 0, 0), (255, 255, 255)), ((0, 255, 255, 0), (255, 0, 0))])
def test_printing_colours_become_light(tmp_path, inks, expected):
    """No ink is white; magenta and yellow make red. JPEG files for print hold them inverted."""
    picture = Image.new("CMYK", (16, 16), inks)
    picture.save(tmp_path / "picture.jpg", quality=100)

    for source in (picture, tmp_path / "picture.jpg"):
        assert np.abs(read(source).astype(int) - expected).max() <= 2  # JPEG rounds


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_decimals_are_shares_of_full_light(dtype):
    """As matplotlib and scikit-image keep pictures; whole numbers and decimals name the same colours."""
    assert_array_equal(read((drawn() / 255).astype(dtype)), drawn())


def test_an_array_without_colours_is_grey():
    """With and without an axis for the one channel."""
    grey = drawn()[..., 0]

    assert_array_equal(read(grey), np.repeat(grey[..., None], 3, axis=2))
    assert_array_equal(read(grey[..., None]), np.repeat(grey[..., None], 3, axis=2))


def test_a_photo_with_a_preview_behind_it_is_read(tmp_path):
    """Phones write several pictures into one JPEG (MPO); the first is the photo."""
    first, second = (Image.fromarray(np.full((16, 16, 3), level, dtype=np.uint8)) for level in (200, 10))
    first.save(tmp_path / "photo.jpg", format="MPO", save_all=True, append_images=[second])

    found = read(tmp_path / "photo.jpg")

    with Image.open(tmp_path / "photo.jpg") as stored:
        assert stored.n_frames == 2
    assert np.abs(found.astype(int) - 200).max() <= 2  # JPEG rounds


def test_a_file_is_closed_again(tmp_path):
    """A folder of thousands of pictures would run out of handles (open files are warnings, and those are errors)."""
    path = saved(tmp_path / "picture.png", drawn())
    handles = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0

    pictures = [read_image(path) for _ in range(3)]

    assert len(pictures) == 3
    assert not handles or len(list(Path("/proc/self/fd").iterdir())) == handles


# Refusing


def broken(folder: Path, kind: str) -> str:
    """A file that is no single, whole picture of a sensible size."""
    path = folder / f"{kind}.png"
    match kind:
        case "cut":
            whole = io.BytesIO()
            Image.fromarray(drawn(40, 40)).save(whole, format="PNG")
            path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
        case "cut-jpeg":
            whole = io.BytesIO()
            Image.fromarray(drawn(40, 40)).save(whole, format="JPEG")
            path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
        case "flipped":
            whole = io.BytesIO()
            Image.fromarray(drawn(40, 40)).save(whole, format="PNG")
            data = bytearray(whole.getvalue())
            data[len(data) // 2] ^= 0xFF
            path.write_bytes(bytes(data))
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("this is no picture")
        case "animated":
            frames = [Image.fromarray(drawn(seed=seed)) for seed in range(3)]
            frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:])
        case "pages":
            frames = [Image.fromarray(drawn(seed=seed)) for seed in range(2)]
            frames[0].save(path, format="TIFF", save_all=True, append_images=frames[1:])
        case "pixel":
            saved(path, drawn(1, 1))
        case "decimals":
            Image.fromarray(np.full((4, 4), 0.3, dtype=np.float32)).save(path, format="TIFF")
        case "folder":
            path.mkdir()
    return str(path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("cut", "damaged.*save or copy it again"),
        ("cut-jpeg", "damaged.*save or copy it again"),
        ("flipped", "damaged.*save or copy it again"),
        ("empty", r"is empty \(0 bytes\)"),
        ("text", "no image that Pillow can read.*convert it"),
        ("animated", "holds 3 frames, expected one"),
        ("pages", "holds 2 frames, expected one"),
        ("pixel", "1 × 1 pixels, too small"),
        ("decimals", "mode 'F'"),
        ("folder", "is a folder, expected an image"),
        ("missing", "there is no image.*check the path"),
    ],
)
def test_a_file_that_is_no_picture_is_refused_in_one_line(tmp_path, kind, message):
    """The line names the file: among thousands, that is what is asked for."""
    path = broken(tmp_path, kind)

    with pytest.raises(InputError, match=message) as caught:
        read_image(path)

    assert kind in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("~nobody-at-home/cat.png", "damaged|no image"),
        ("a\0b.png", "no name of a file"),
    ],
)
def test_a_name_that_can_be_none_is_refused(name, message):
    """An empty name would mean the working folder; a homeless one ends inside the standard library."""
    with pytest.raises(InputError, match=message):
        encode(vit(), name)


def test_a_text_in_the_place_of_a_name_is_refused_in_a_short_line():
    """Who asks a model of images about a review gets no crash over a name too long for the file system."""
    with pytest.raises(InputError, match=r"cannot be read|no image") as caught:
        encode(vit(), "A superb film, " * 1000)

    assert len(str(caught.value)) < 500


def test_a_picture_too_large_to_open_safely_is_refused(tmp_path, monkeypatch):
    """A small file can unpack to gigabytes; Pillow's own limit counts, also where it would only warn."""
    path = saved(tmp_path / "huge.png", drawn(20, 30))
    for limit in (599, 200):  # above its limit Pillow warns, above twice that it refuses
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)

        with pytest.raises(InputError, match=rf"huge\.png has more than {limit} pixels"):
            read_image(path)

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    assert read_image(path).size == (30, 20)


def test_a_damaged_file_behind_an_opened_picture_is_noticed(tmp_path):
    """Pillow reads pixels when they are asked for."""
    with (
        Image.open(broken(tmp_path, "cut")) as picture,
        pytest.raises(InputError, match=r"cut\.png is damaged.*save or copy"),
    ):
        read_image(picture)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 8, 8, 3), np.uint8), r"shape \(2, 8, 8, 3\).*give \[y, x\]"),
        (np.zeros((8, 8, 5), np.uint8), r"give \[y, x\]"),
        (np.zeros(8, np.uint8), r"give \[y, x\]"),
        (np.zeros((0, 8, 3), np.uint8), r"give \[y, x\]"),
        (np.zeros((1, 1, 3), np.uint8), "too small"),
        (np.full((8, 8, 3), 300), "whole numbers 0 to 255"),
        (np.full((8, 8, 3), 1.5), "decimals outside 0 to 1"),
        (np.full((8, 8, 3), -0.1), "decimals outside 0 to 1"),
        (np.full((8, 8, 3), np.nan), "decimals outside 0 to 1"),
        (np.zeros((8, 8), bool), "whole numbers 0 to 255"),
        (np.full((8, 8), "a"), "whole numbers 0 to 255"),
    ],
)
def test_an_array_that_is_no_picture_is_refused(values, message):
    """Numbers of an unknown range would be read as some picture, and explained as that."""
    with pytest.raises(InputError, match=message):
        read_image(values)


@pytest.mark.parametrize("source", [b"\x89PNG", 3, None, ["a.png"]])
def test_what_can_be_no_picture_is_refused(source):
    """Bytes, for instance, are no name."""
    with pytest.raises(InputError, match="cannot read an image from"):
        read_image(source)


@pytest.mark.parametrize("given", ["path", "picture", "array", "tensor"])
def test_a_model_of_texts_says_that_it_reads_no_pictures(tmp_path, given):
    """A path is most likely meant as the text in the file, which is what the line says."""
    path = saved(tmp_path / "cat.png", drawn())
    item = {"path": path, "picture": read_image(path), "array": drawn(), "tensor": torch.zeros(1, 3, 8, 8)}[given]

    with pytest.raises(InputError, match="reads texts, not") as caught:
        encode(headed("bert", "BertForSequenceClassification"), item)

    assert "\n" not in str(caught.value)


def test_a_model_without_an_image_processor_says_what_it_needs():
    """Nobody else knows size and colours that it was trained with."""
    with pytest.raises(InputError, match=r"no image processor.*image_processor=.*pixel_values"):
        encode(vit(prepare=None), drawn())


def test_a_processor_that_fails_is_quoted():
    """Means for four channels, say, are a mistake of the processor's file."""
    wrong = processor(image_mean=[0.5] * 4, image_std=[0.5] * 4)

    with pytest.raises(InputError, match=r"cannot prepare the array \(mean must have 3 elements") as caught:
        encode(vit(prepare=wrong), drawn())

    assert "\n" not in str(caught.value)


def test_no_rows_of_pixels_are_refused():
    """An empty answer would look like a finished one."""
    with pytest.raises(InputError, match=r"shape \(0, 3, 8, 8\)"):
        encode(vit(), torch.zeros(0, 3, 8, 8))


# Folders and lists


def folder_of(path: Path, **pictures: np.ndarray) -> Path:
    for name, values in pictures.items():
        saved(path / f"{name}.png", values)
    return path


def test_a_folder_is_all_its_pictures_in_order_of_their_names(tmp_path):
    """Other files are no concern; names tell results apart."""
    folder_of(tmp_path, b=drawn(seed=1), a=drawn(seed=0), c=drawn(seed=2))
    (tmp_path / "notes.txt").write_text("hello")

    for given in (tmp_path, str(tmp_path)):
        encoded = encode(vit(), given)

        assert [each.tokens.input for each in encoded] == ["a.png", "b.png", "c.png"]
        for seed, each in enumerate(encoded):
            (alone,) = encode(vit(), drawn(seed=seed))
            assert_close(each.tensors, alone.tensors, rtol=0, atol=0)


def test_a_bad_picture_in_a_folder_is_named_and_the_rest_is_done(tmp_path):
    """One damaged file of a thousand must neither stop the night's run nor vanish from it."""
    folder_of(tmp_path, a=drawn(seed=0), z=drawn(seed=2))
    broken(tmp_path, "text")
    broken(tmp_path, "cut")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        encoded = encode(vit(), tmp_path)

    assert [each.tokens.input for each in encoded] == ["a.png", "z.png"]
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 2
    assert "cut.png is damaged" in messages[0]
    assert "text.png is no image" in messages[1]


def test_a_folder_without_pictures_is_refused(tmp_path):
    """So is one whose pictures are all damaged: a list of no results would say nothing."""
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="holds no image"):
        encode(vit(), tmp_path)

    broken(tmp_path, "text")
    with pytest.raises(InputError, match=r"none of the 1 images.*text\.png"):
        encode(vit(), tmp_path)


def test_a_bad_picture_in_a_list_is_an_error(tmp_path):
    """A list is an order of this and that; its results are counted on to match it."""
    good = saved(tmp_path / "good.png", drawn())

    with pytest.raises(InputError, match=r"text\.png is no image"):
        encode(vit(), [good, broken(tmp_path, "text")])


@pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")
def test_a_folder_gives_a_list_of_results_and_a_text_of_that_name_one(tmp_path, monkeypatch):
    """However many pictures are in it. For a model of texts the name of a folder is a text like any other."""
    (tmp_path / "pictures").mkdir()
    folder_of(tmp_path / "pictures", a=drawn())
    monkeypatch.chdir(tmp_path)
    texts = headed("bert", "BertForSequenceClassification", dtype=torch.float32)

    for ask_for in (
        lambda model, item: lignite.explain(model, item, method="occlusion"),
        lambda model, item: lignite.flow(model, item, n_steps=1, layers=0, maps="whole"),
    ):
        assert [result.attrs["text"] for result in ask_for(vit(), "pictures")] == ["a.png"]
        assert ask_for(texts, "pictures").attrs["text"] == "pictures"


# What the model gets, and what it sees


def test_every_way_to_give_a_picture_gives_the_same_pixels(tmp_path):
    """Path, name, picture, array, decimals and a tensor of whole numbers; the pixels are the processor's own."""
    model, path = vit(), saved(tmp_path / "picture.png", drawn())
    expected = model.image_processor(images=Image.fromarray(drawn()), return_tensors="pt")["pixel_values"]
    sources = [
        path, str(path), read_image(path), drawn(), drawn() / 255,
        torch.from_numpy(drawn()), torch.from_numpy(drawn()).permute(2, 0, 1),
    ]  # fmt: skip

    for source in sources:
        (encoded,) = encode(model, source)

        assert_close(encoded.tensors["pixel_values"], expected, rtol=0, atol=0)


def test_a_tensor_of_decimals_is_ready_for_the_model():
    """One image or several; the model's own type of number."""
    pixels = torch.randn(2, 3, 8, 8)
    model = vit(dtype=torch.float64)

    assert len(encode(model, pixels)) == 2
    for given in (pixels[0], {"pixel_values": pixels[:1]}, {"pixel_values": pixels[0]}):
        (encoded,) = encode(model, given)
        assert_close(encoded.tensors["pixel_values"], pixels[:1].double(), rtol=0, atol=0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]},
        {"do_normalize": False},
        {"do_rescale": False, "image_mean": [120.0, 110.0, 100.0], "image_std": [60.0, 61.0, 62.0]},
        {"rescale_factor": 1 / 127.5, "image_mean": [1.0, 0.9, 0.8], "image_std": [1.0, 0.5, 0.7]},
    ],
    ids=["half", "clip", "bare", "unscaled", "two"],
)
def test_the_model_sees_the_picture_that_its_processor_made(options):
    """Nothing is resized here, so undoing the normalization must give the picture itself, whatever its constants."""
    model = vit(prepare=processor(**options))

    (encoded,) = encode(model, drawn(8, 8))

    assert_array_equal(encoded.image, drawn(8, 8))  # float32 keeps 255 levels apart


def test_a_resized_picture_is_seen_as_it_was_resized():
    """By the processor with its normalization left out, up to the rounding to 255 levels."""
    bare = processor(do_normalize=False)
    expected = bare(images=drawn(30, 20), input_data_format="channels_last", return_tensors="np")["pixel_values"][0]

    (encoded,) = encode(vit(), drawn(30, 20))

    # bicubic resizing may overshoot full light, which no picture shows
    assert_allclose(encoded.image, 255 * np.clip(expected, 0, 1).transpose(1, 2, 0), rtol=0, atol=0.5 + 1e-3)


def test_grey_models_read_and_see_grey():
    """Handwritten digits, say; the picture is shown with three equal channels."""
    grey = drawn(8, 8)[..., 0]
    model = vit(prepare=processor(image_mean=[0.5], image_std=[0.25]), channels=1)

    (encoded,) = encode(model, grey)

    assert encoded.tensors["pixel_values"].shape == (1, 1, 8, 8)
    assert_array_equal(encoded.image, np.repeat(grey[..., None], 3, axis=2))
    explained = lignite.explain(model, grey, method="occlusion")
    assert_array_equal(explained.image, encoded.image)


def test_colours_that_nobody_knows_are_not_shown():
    """Without a processor, or with a function of one's own, the numbers may mean anything."""
    pixels = torch.randn(1, 3, 8, 8)
    own = vit(prepare=lambda images, **_: {"pixel_values": pixels})

    assert seen(vit(prepare=None), pixels) is None
    (encoded,) = encode(own, drawn())
    assert encoded.image is None
    assert_close(encoded.tensors["pixel_values"], pixels, rtol=0, atol=0)
    assert "image" not in lignite.explain(own, drawn(), method="occlusion")


# Fills


@pytest.mark.parametrize("options", [{}, {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}])
def test_grey_and_black_are_what_the_processor_makes_of_such_pictures(options):
    """Grey is one half, between the levels 127 and 128; the processor is linear in them."""
    model = vit(prepare=processor(**options), dtype=torch.float64)
    (encoded,) = encode(model, drawn())

    def processed(level: int) -> torch.Tensor:
        return encode(model, np.full((8, 8, 3), level, np.uint8))[0].tensors["pixel_values"]

    pixels = encoded.tensors["pixel_values"]
    rounded = {"rtol": 0, "atol": 1e-6}  # processors compute in float32
    assert_close(filled(model, pixels, "black"), processed(0), **rounded)
    assert_close(filled(model, pixels, "grey"), (processed(127) + processed(128)) / 2, **rounded)


@pytest.mark.parametrize("size", [(24, 24), (16, 40), (40, 16), (5, 6)])
def test_the_blur_is_a_gaussian(size):
    """Against SciPy with the same reach of three widths; edges are mirrored without repeating the last pixel."""
    pixels = torch.randn(2, 3, *size, dtype=torch.float64)

    found = blurred(pixels)

    width = BLUR_SHARE * min(size)
    expected = gaussian_filter(pixels.numpy(), (0, 0, width, width), mode="mirror", truncate=3.0)
    assert_allclose(found, expected, rtol=0, atol=1e-12)  # sums of some hundred float64 products


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float16, 2**-10), (torch.bfloat16, 2**-7)])
def test_the_blur_of_a_half_precision_model_is_the_same(dtype, rounding):
    """Its kernel is wider than half precision counts: only the pixels themselves may be rounded."""
    pixels = torch.rand(1, 1, 280, 264).to(dtype)

    found = blurred(pixels)

    assert found.dtype == dtype
    assert_close(found.double(), blurred(pixels.double()), rtol=rounding, atol=0)


def test_a_fill_is_for_every_image_of_a_batch_its_own():
    """A blur must not mix the images, nor their channels."""
    pixels = torch.randn(3, 3, 8, 12, dtype=torch.float64)

    found = blurred(pixels)

    for row in range(3):
        for channel in range(3):
            alone = blurred(pixels[row : row + 1, channel : channel + 1])
            assert_close(found[row : row + 1, channel : channel + 1], alone, rtol=0, atol=1e-14)


def test_colours_are_refused_where_nobody_knows_them():
    """Which number is black is the processor's secret; a blur needs no such knowledge."""
    model, pixels = vit(prepare=None), torch.randn(1, 3, 8, 8)

    for fill in ("grey", "black"):
        with pytest.raises(OptionError, match=rf"'{fill}' is a colour.*use 'blur'") as caught:
            lignite.explain(model, pixels, baseline=fill)
        assert "\n" not in str(caught.value)
    assert filled(model, pixels, "blur").shape == pixels.shape


@pytest.mark.parametrize("fill", ["blur", "grey", "black"])
def test_covering_changes_the_pixels_of_the_patches_and_no_others(fill):
    """Patch r1c0 is rows 4 to 7 and columns 0 to 3; what comes in its place is the fill of the whole image."""
    model = vit(dtype=torch.float64)
    (row,) = ask(model, drawn())
    before = row.encoded.tensors["pixel_values"].clone()

    after = cover(model, row, [3], fill).encoded.tensors["pixel_values"]

    assert row.encoded.tokens.text[3] == "r1c0"
    expected = before.clone()
    expected[:, :, 4:8, 0:4] = filled(model, before, fill)[:, :, 4:8, 0:4]
    assert_close(after, expected, rtol=0, atol=0)
    assert not bool((after[:, :, 4:8, 0:4] == before[:, :, 4:8, 0:4]).all())
    assert_close(row.encoded.tensors["pixel_values"], before, rtol=0, atol=0)


def test_a_blur_covers_each_picture_by_its_own():
    """Fills are kept from call to call; one picture's blur in another would tell a model what was never there."""
    model = vit()
    pictures = [np.asarray(read_image(drawn(8, 8, seed=seed))) for seed in (0, 1)]
    rows = ask(model, pictures)

    covered = [cover(model, row, [1, 2, 3, 4], "blur").encoded.tensors["pixel_values"] for row in rows]

    for row, found in zip(rows, covered, strict=True):
        assert_close(found, blurred(row.encoded.tensors["pixel_values"]), rtol=0, atol=0)


def test_single_pixels_can_be_covered():
    """Metrics on pixels remove them one by one."""
    model = vit(dtype=torch.float64)
    (row,) = ask(model, drawn())
    pixels = np.zeros((8, 8), dtype=bool)
    pixels[2, 5] = True

    after = cover_pixels(model, row, pixels, "black").encoded.tensors["pixel_values"]

    changed = (after != row.encoded.tensors["pixel_values"]).any(1)[0]
    assert changed.nonzero().tolist() == [[2, 5]]


def test_what_cannot_be_covered_is_refused():
    """The class token has no pixels, words have none either, and a mask of another size hides something else."""
    model = vit()
    (row,) = ask(model, drawn())
    texts = headed("bert", "BertForSequenceClassification", dtype=torch.float32)
    (words,) = ask(texts, "a superb film")

    with pytest.raises(InputError, match=r"token 0 \(\[CLS\]\) is no patch"):
        cover(model, row, [1, 0], "blur")
    with pytest.raises(InputError, match="place 5 is not in this input"):
        cover(model, row, [5], "blur")
    with pytest.raises(InputError, match=r"pixels \(8, 4\) do not fit the image, \(8, 8\)"):
        cover_pixels(model, row, np.zeros((8, 4), dtype=bool), "blur")
    with pytest.raises(OptionError, match="fill='white'"):
        cover_pixels(model, row, np.zeros((8, 8), dtype=bool), "white")
    with pytest.raises(InputError, match="no image"):
        cover(texts, words, [1], "blur")


# Names, addresses, streams


@pytest.mark.parametrize("text", ["cat.png", "holiday/CAT.JPEG", "my cat.png"])
def test_a_model_of_texts_explains_no_name_of_an_image(tmp_path, monkeypatch, text):
    """`lignite explain photo.png` would otherwise tell what the name of the file sounds like."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "my cat.png", drawn())
    model = headed("bert", "BertForSequenceClassification")

    with pytest.raises(InputError, match=r"is the name of an image.*a model of images \('tiny-digits'"):
        encode(model, text)

    assert encode(model, {"words": text.split()})


def test_a_text_about_an_image_is_a_text():
    """Only a name that stands alone, or a file that is there, is none."""
    model = headed("bert", "BertForSequenceClassification")

    for text in ("the plot was cat.png", "plot.pngs", "png"):
        assert encode(model, text)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("https://example.org/cat.png", "is an address, and lignite fetches nothing: save the image"),
        ("data:image/png;base64,iVBORw0KGgo=", "is an address"),
        (b"\x89PNG", r"PIL\.Image\.open\(io\.BytesIO"),
        (io.BytesIO(b"\x89PNG"), r"cannot read an image from BytesIO.*PIL\.Image\.open"),
    ],
)
def test_addresses_and_streams_have_their_own_words(given, message):
    """What opens them is one call away."""
    with pytest.raises(InputError, match=message):
        encode(vit(), given)


def test_a_folder_of_folders_names_one_that_holds_images(tmp_path):
    """Data sets of classes are laid out so."""
    (tmp_path / "cats").mkdir()
    folder_of(tmp_path / "cats", a=drawn())

    with pytest.raises(InputError, match=r"holds no image.*name one of the folders in it, such as .*cats"):
        encode(vit(), tmp_path)


@pytest.mark.parametrize(("highest", "white"), [(200, 255), (1000, 1023), (4000, 4095), (16000, 16383)])
def test_numbers_below_sixteen_bits_are_not_shown_black(highest, white):
    """Cameras and scanners keep 10, 12 or 14 bits in files of 16; read as 16, all of them are nearly black."""
    levels = np.array([[0, highest // 2], [highest - 1, highest]], dtype=np.uint16)

    with pytest.warns(UserWarning, match=f"no number above {highest}: .* {white} being white"):
        found = read(Image.fromarray(levels))

    assert_array_equal(found[..., 0], levels // ((white + 1) // 256))


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_transparency_is_read_as_the_processor_reads_it(mode):
    """Where a processor converts images itself, its pixel values are the model's input."""
    picture = Image.fromarray(np.dstack([drawn(8, 8), np.arange(64, dtype=np.uint8).reshape(8, 8) * 4]), "RGBA")
    if mode == "P":
        picture = Image.fromarray(drawn(8, 8)).quantize(8)
        picture.info["transparency"] = 3
    prepare = processor(do_convert_rgb=True)

    (encoded,) = encode(vit(prepare=prepare), picture)

    own = prepare(images=picture, return_tensors="pt")["pixel_values"]
    assert_close(encoded.tensors["pixel_values"], own.to(encoded.tensors["pixel_values"].dtype), rtol=0, atol=0)


def test_transparency_that_a_processor_does_not_know_is_said():
    """Some loaders drop it, some lay it over white: the prediction depends on it."""
    clear = Image.new("RGBA", (8, 8), (200, 10, 10, 0))

    with pytest.warns(UserWarning, match="transparent parts.*they are read as white"):
        encode(vit(), clear)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode(vit(), Image.new("RGBA", (8, 8), (200, 10, 10, 255)))  # nothing shines through
