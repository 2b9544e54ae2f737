"""Views of an explained image lay scores on the pixels they speak of, hide no token, and change no number."""

import base64
import io
import re

import matplotlib.image
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from rich.cells import cell_len
from rich.console import Console
from scipy.interpolate import RegularGridInterpolator
from tests.kit.pages import BLINDNESS, lab, meta_of
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_flow import sample_flow
from tests.kit.sample_image_explanation import sample_image_explanation, sample_image_flow

from lignite.errors import OptionError
from lignite.views.explanation.facts import arrange
from lignite.views.explanation.page import explanation_html
from lignite.views.explanation.picture import draw_explanation, save_explanation_picture
from lignite.views.explanation.terminal import patch_sign, print_explanation
from lignite.views.flow.page import flow_html
from lignite.views.flow.picture import draw_flow
from lignite.views.patches.facts import (
    DARKEST,
    LIGHTEST,
    OPAQUE,
    PLAIN,
    ground,
    is_image,
    laid_over,
    limit_on,
    painted,
    patches,
    placeless,
    tint,
)


def scored(dataset: xr.Dataset, values) -> xr.Dataset:
    """The same explanation with other scores: the special tokens first, then the patches row by row."""
    return dataset.assign(relevance=("token", np.asarray(values, dtype="float64")))


def small(**how) -> xr.Dataset:
    """Two rows of three patches of two pixels, behind [CLS]."""
    return sample_image_explanation(grid=(2, 3), patch=2, n_layers=2, detail=(), **how)


# Scores on pixels


def test_every_pixel_has_the_score_of_its_patch():
    """Rows are rows and columns are columns, and what no patch covers has no score."""
    where = patches(small(border=1))

    pixels = painted(where, np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))

    expected = [[1, 1, 2, 2, 3, 3, np.nan]] * 2 + [[4, 4, 5, 5, 6, 6, np.nan]] * 2 + [[np.nan] * 7]
    np.testing.assert_array_equal(pixels, expected)


def test_patches_may_differ_in_size():
    """Their boxes say where they lie, not their numbers."""
    dataset = small()
    dataset = dataset.assign_coords(
        top=("token", [-1, 0, 0, 0, 1, 1, 1]), bottom=("token", [-1, 1, 1, 1, 4, 4, 4]),
        left=("token", [-1, 0, 1, 4, 0, 1, 4]), right=("token", [-1, 1, 4, 6, 1, 4, 6]),
    )  # fmt: skip

    pixels = painted(patches(dataset), np.arange(1.0, 7))

    np.testing.assert_array_equal(pixels, [[1, 2, 2, 2, 3, 3]] + [[4, 5, 5, 5, 6, 6]] * 3)


def test_without_boxes_the_patches_share_the_picture_evenly():
    """Results that only know rows and columns are drawn as well."""
    known, unknown = (patches(small(boxes=boxes)) for boxes in (True, False))

    np.testing.assert_array_equal(unknown.boxes, known.boxes)


@pytest.mark.parametrize("grid", [(5, 4), (1, 3), (3, 1)])
def test_smooth_pixels_are_bilinear_between_the_centres(grid):
    """The textbook's interpolation, held at the outer centres; another implementation is the judge."""
    dataset = sample_image_explanation(grid=grid, patch=6, border=2, n_layers=1, detail=())
    where = patches(dataset)
    scores = np.random.default_rng(0).standard_normal(len(where.index))

    pixels = painted(where, scores, smooth=True)

    rows, cols = (6 * np.arange(size) + 3.0 for size in grid)
    lattice = scores.reshape(grid)
    if 1 in grid:  # the judge needs two points on every axis; a line is the same twice
        lattice, rows, cols = (np.repeat(lattice, 2, grid.index(1)), *_twice(rows, cols, grid.index(1)))
    judge = RegularGridInterpolator((rows, cols), lattice)
    down, right = np.meshgrid(
        np.clip(np.arange(6 * grid[0]) + 0.5, rows[0], rows[-1]),
        np.clip(np.arange(6 * grid[1]) + 0.5, cols[0], cols[-1]),
        indexing="ij",
    )
    # a handful of float64 roundings
    np.testing.assert_allclose(pixels[: 6 * grid[0], : 6 * grid[1]], judge((down, right)), rtol=0, atol=1e-13)
    assert np.isnan(pixels[6 * grid[0] :]).all()
    assert np.isnan(pixels[:, 6 * grid[1] :]).all()


def _twice(rows: np.ndarray, cols: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    double = [np.array([line[0], line[0] + 1]) if number == axis else line for number, line in enumerate((rows, cols))]
    return double[0], double[1]


def test_a_patch_that_is_missing_stays_a_hole():
    """Neither its pixels nor, when smooth, its neighbours take a score from nowhere."""
    where = patches(small().isel(token=[0, 1, 2, 4, 5, 6]))
    scores = np.full(5, 2.0)

    honest, smooth = (painted(where, scores, smooth=smooth) for smooth in (False, True))

    for pixels in (honest, smooth):
        assert np.isnan(pixels[:2, 4:]).all()
        np.testing.assert_allclose(pixels[np.isfinite(pixels)], 2.0, rtol=1e-12)  # equal scores mix to themselves
        assert np.isfinite(pixels).sum() == 20


def test_colours_end_at_the_largest_patch():
    """A class token may hold more than all patches, and would leave them blank."""
    dataset = scored(small(), [50, 1, -4, 2, 0, 0, np.nan])

    assert limit_on(patches(dataset), dataset.relevance.values) == 4


def test_tokens_without_a_place_are_named_with_their_scores():
    """What no colour can show is told in numbers."""
    dataset = scored(small(specials=("[CLS]", "[REG1]")), [3, -2, *range(6)])

    found = placeless(dataset, dataset.relevance.values)

    assert [(entry.token, entry.score) for entry in found] == [("[CLS]", 3), ("[REG1]", -2)]


# Colours


def test_zero_is_transparent_and_size_is_opacity():
    """The ground shows where nothing is said, and less of it the more is said, alike for both signs."""
    shares = np.linspace(0, 1, 21)

    warm, cold = tint(shares), tint(-shares)

    assert warm[0, 3] == cold[0, 3] == 0
    assert tint(np.array([np.nan]))[0, 3] == 0
    np.testing.assert_array_equal(warm[:, 3], cold[:, 3])
    assert (np.diff(warm[:, 3]) > 0).all()
    assert warm[-1, 3] == pytest.approx(OPAQUE)
    assert (warm[1:, 0] > warm[1:, 2]).all()  # red over blue
    assert (cold[1:, 2] > cold[1:, 0]).all()


@pytest.mark.parametrize("grey", [DARKEST, 0.7, LIGHTEST])
@pytest.mark.parametrize("sight", BLINDNESS)
def test_for_and_against_differ_on_every_ground_for_every_eye(sight, grey):
    """The picture under the colours may be dark or light."""
    under = np.full((1, 1, 3), grey)
    for share in (0.3, 0.6, 1.0):
        seen = [laid_over(under, np.full((1, 1), sign * share))[0, 0] / 255 for sign in (1, -1)]

        colours = [lab(BLINDNESS[sight] @ _linear(colour)) for colour in seen]

        assert np.linalg.norm(colours[0] - colours[1]) > 12  # CIE76, as for the maps


def _linear(colour: np.ndarray) -> np.ndarray:
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)


def test_the_ground_is_the_picture_in_middle_greys():
    """Black would swallow both hues; a picture that is not known is a plain grey."""
    dataset = small()
    dataset["image"][:] = 0
    dataset["image"][:, :3] = 255

    under = ground(dataset, patches(dataset))

    np.testing.assert_allclose(under[:, :3], LIGHTEST, rtol=1e-12)  # the weights of luma add up to 1
    np.testing.assert_allclose(under[:, 3:], DARKEST, rtol=1e-12)
    assert (ground(small(image=False), patches(small(image=False))) == PLAIN).all()


# Pictures


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def pictures(figure: Figure) -> list[np.ndarray]:
    """What is drawn into axes without an axis, brought back to the picture's own pixels."""
    return [axes.images[0].get_array() for axes in figure.axes if not axes.axison]


def test_patches_are_drawn_where_they_lie_in_their_colour():
    """The pixels of an overlay are the ground under the colour of the patch's share."""
    dataset = scored(small(), [9, 4, -4, 0, 1, 0, -2])

    _, overlay, *_ = pictures(draw_explanation(dataset))

    times = overlay.shape[0] // 4
    shares = np.repeat(np.repeat(np.array([[1, -1, 0], [0.25, 0, -0.5]]), 2, 0), 2, 1)
    expected = laid_over(ground(dataset, patches(dataset)), shares)
    np.testing.assert_array_equal(overlay[::times, ::times], expected)


def test_the_picture_stands_beside_its_explanation_as_the_model_saw_it():
    """Colours hide what they lie on."""
    dataset = small()

    first, *_ = pictures(draw_explanation(dataset))

    times = first.shape[0] // 4
    np.testing.assert_array_equal(first[::times, ::times], dataset.image)


@pytest.mark.parametrize("smooth", [False, True])
def test_a_picture_says_whether_colours_are_mixed(smooth):
    """Smooth colours look finer than the model's patches are."""
    written = " ".join(texts(draw_explanation(small(), smooth=smooth)))

    assert ("bilinear" in written) is smooth
    assert ("every patch in one colour" in written) is not smooth


def test_every_layer_has_a_picture_with_its_sums():
    """Evidence forms from layer to layer; what the class token holds and what is missed stand under each."""
    dataset = sample_image_explanation(grid=(3, 4), n_layers=5, detail=())

    figure = draw_explanation(dataset)

    written = texts(figure)
    assert [text for text in written if text.startswith("layer ")] == [f"layer {at}" for at in range(5)]
    assert len(pictures(figure)) == 2 + 5
    class_token = dataset.layer_relevance.isel(token=0).values
    assert [text for text in written if text.startswith("[CLS] ")] == [f"[CLS] {value:+#.3g}" for value in class_token]
    assert sum(text.startswith("gap ") for text in written) == 5


@pytest.mark.parametrize("scale", ["shared", "own"])
def test_layers_share_a_scale_or_say_where_their_own_ends(scale):
    """Small pictures are compared with each other, unless each is to show its own pattern."""
    dataset = small()
    scores = np.zeros((2, 7))
    scores[:, 1] = [1.0, 4.0]
    dataset["layer_relevance"] = (("layer", "token"), scores)

    figure = draw_explanation(dataset, scale=scale)

    first = pictures(figure)[2][0, 0]
    shown = laid_over(ground(dataset, patches(dataset))[:1, :1], np.array([[0.25 if scale == "shared" else 1.0]]))
    np.testing.assert_array_equal(first, shown[0, 0])
    titles = [text for text in texts(figure) if text.startswith("layer ")]
    assert titles == (["layer 0", "layer 1"] if scale == "shared" else ["layer 0  ±1", "layer 1  ±4"])


def test_a_layer_without_scores_does_not_pale_the_others():
    """Late layers may hold all in the class token; nothing is the largest of nothing."""
    dataset = small()
    scores = np.zeros((2, 7))
    scores[0, 1] = 1e-3
    dataset["layer_relevance"] = (("layer", "token"), scores)

    first = pictures(draw_explanation(dataset))[2][0, 0]

    full = laid_over(ground(dataset, patches(dataset))[:1, :1], np.array([[1.0]]))
    np.testing.assert_array_equal(first, full[0, 0])


def test_special_tokens_are_numbers_beside_the_picture():
    """Many of them are added up, none is dropped without a word."""
    names = ("[CLS]", *(f"[REG{at}]" for at in range(1, 12)))
    dataset = scored(small(specials=names), [*range(1, 13), *range(6)])

    written = texts(draw_explanation(dataset))

    for name, score in zip(names[:8], range(1, 9), strict=True):
        assert written[written.index(name) + 1] == f"{score:+#.3g}"
    assert written[written.index("4 more, together") + 1] == f"{9 + 10 + 11 + 12:+#.3g}"


def test_listed_patches_carry_their_positions_in_the_picture():
    """The reader of a list need not count rows and columns: a number stands on the patch that it names."""
    dataset = scored(small(), [9, 3, 0, -2, 1, -4, 0])

    figure = draw_explanation(dataset)

    overlay = next(axes for axes in figure.axes if axes.texts)
    height, width = overlay.images[0].get_array().shape[:2]
    found = {text.get_text(): text.get_position() for text in overlay.texts}
    assert list(found) == ["1", "4", "5", "3"]  # for, then against, the strongest first; not [CLS], and not what is 0
    for number, (x, y) in found.items():
        row, col = divmod(int(number) - 1, 3)
        np.testing.assert_allclose((x + 0.5, y + 0.5), ((col + 0.5) * width / 3, (row + 0.5) * height / 2))
    written = texts(figure)
    assert written[written.index("5 r1c1") + 1] == "−4.00"


def test_sums_and_special_tokens_are_bars_on_one_scale():
    """How much of an explanation lies outside the picture is seen beside what its patches say."""
    figure = draw_explanation(scored(small(), [2, 3, 0, -2, 1, -6, 0]))

    bars = [artist.get_width() for artist in figure.artists if isinstance(artist, Rectangle)]
    np.testing.assert_allclose(np.array(bars) / max(bars), [4 / 8, 8 / 8, 2 / 8])


def test_a_bar_under_a_sum_covers_none_of_its_words():
    """One that ends behind half a word reads as a mark on it."""
    figure = draw_explanation(scored(small(), [2, 3, 0, -2, 1, -6, 0]))
    figure.canvas.draw()

    lines = [text.get_window_extent() for text in figure.texts if text.get_weight() == "bold"]
    for bar in (artist.get_window_extent() for artist in figure.artists if isinstance(artist, Rectangle)):
        assert not any(bar.overlaps(line) for line in lines)


@pytest.mark.parametrize(("special", "said"), [("hide", "hidden"), ("share", "shared among the patches")])
def test_a_picture_says_what_became_of_special_tokens(special, said):
    """Their scores are gone, or in the colours."""
    written = " ".join(texts(draw_explanation(small(), special=special)))

    assert said in written
    assert "outside the picture" not in written


def test_an_image_that_is_not_known_is_a_plain_ground():
    """Pixel values without a known colour space still have explanations; the file's name stays."""
    figure = draw_explanation(scored(small(image=False), [0, 1, 0, 0, 0, 0, 0]))

    overlay, *_ = pictures(figure)
    assert set(np.unique(overlay[:, -1])) == {round(255 * PLAIN)}
    assert any("disc.png" in text for text in texts(figure))


def test_every_word_of_a_picture_lies_inside_it():
    """Names of classes and files are as long as they like."""
    dataset = sample_image_explanation(
        grid=(2, 9), n_layers=3, detail=(), classes=["negative", "a" * 200], label="a" * 200
    )
    dataset.attrs["text"] = "b" * 300 + ".png"
    for shown in (dataset, [dataset, dataset, dataset, dataset]):
        figure = draw_explanation(shown)
        renderer = figure.canvas.get_renderer()
        figure.draw(renderer)

        for text in figure.texts:
            box = text.get_window_extent(renderer)
            assert figure.bbox.x0 <= box.x0
            assert box.x1 <= figure.bbox.x1
            assert box.y0 >= 0


def test_grids_keep_their_shape():
    """A wide picture is wide."""
    figure = draw_explanation(sample_image_explanation(grid=(4, 7), n_layers=2, detail=()))
    width, height = figure.get_size_inches()

    for axes in figure.axes:
        if not axes.axison:
            box = axes.get_position()
            assert (box.width * width) / (box.height * height) == pytest.approx(7 / 4)


def test_explanations_of_an_image_stand_side_by_side():
    """The picture first, then each method or class with its own scale, sums and certificate."""
    methods = ["ca-lig", "ig", "random"]
    datasets = [small(method=method, seed=seed) for seed, method in enumerate(methods)]

    figure = draw_explanation(datasets)

    assert len(pictures(figure)) == 4
    written = texts(figure)
    for method in methods:
        assert any(text.startswith(method) for text in written)
    assert sum(text.startswith("[CLS] ") for text in written) == 3
    assert written.count("no certificate") == 1
    assert any("scale of its own" in text for text in written)


def test_a_shared_scale_compares_sizes():
    """Two classes of one method have one unit."""
    datasets = [scored(small(), [0, 0.01 * size, 0, 0, 0, 0, 0]) for size in (1, 4, 0)]

    _, weak, strong, _ = pictures(draw_explanation(datasets, scale="shared"))

    under = ground(datasets[0], patches(datasets[0]))[:1, :1]
    np.testing.assert_array_equal(weak[0, 0], laid_over(under, np.array([[0.25]]))[0, 0])
    np.testing.assert_array_equal(strong[0, 0], laid_over(under, np.array([[1.0]]))[0, 0])


def test_pictures_of_different_images_are_named():
    """Then no single picture stands for all."""
    other = small()
    other["image"][:] = 0
    other.attrs["text"] = "night.png"

    figure = draw_explanation([small(), other])

    assert len(pictures(figure)) == 2
    assert {"disc.png", "night.png"} <= set(texts(figure))


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([], "at least one"),
        ([sample_explanation(n_layers=1), small()], "texts and images have no picture in common"),
    ],
)
def test_what_cannot_be_drawn_together_is_refused(results, message):
    """With the way out."""
    with pytest.raises(OptionError, match=message):
        draw_explanation(results)


def test_an_unknown_scale_is_refused():
    """Given, expected."""
    with pytest.raises(OptionError, match="'shared' or 'own'"):
        draw_explanation(small(), scale="layer")


@pytest.mark.parametrize(("ending", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_the_same_explanation_gives_the_same_picture_file(tmp_path, ending, start):
    """Pictures can be kept under version control."""
    first = save_explanation_picture(small(), tmp_path / f"first{ending}", smooth=True).read_bytes()
    second = save_explanation_picture(small(), tmp_path / f"second{ending}", smooth=True).read_bytes()

    assert first.startswith(start)
    assert first == second


# Pages


def test_the_page_holds_the_picture_and_the_place_of_every_patch():
    """Without a network: the picture lies in the page, unchanged."""
    dataset = small(border=1)

    meta = meta_of(explanation_html(dataset))

    (address,) = meta["pictures"]
    kind, _, data = address.partition(",")
    assert kind == "data:image/png;base64"
    stored = matplotlib.image.imread(io.BytesIO(base64.b64decode(data)), format="png")
    np.testing.assert_array_equal(np.round(255 * stored[..., :3]), dataset.image)
    (entry,) = meta["entries"]
    assert entry["grid"]["size"] == [5, 7]
    assert entry["grid"]["places"] == [
        None,
        *([row, col, 2 * row, 2 * col, 2 * row + 2, 2 * col + 2] for row in (0, 1) for col in (0, 1, 2)),
    ]


def test_one_picture_serves_several_explanations():
    """And a text beside them has none."""
    page = explanation_html([small(), small(method="ig"), small(image=False), sample_explanation(n_layers=1)])

    meta = meta_of(page)

    assert len(meta["pictures"]) == 1
    assert [entry["grid"] and entry["grid"]["picture"] for entry in meta["entries"]] == [0, 0, -1, None]
    texts = [re.search(r'<p class="text', article) for article in page.split("<article")[1:]]
    assert [bool(found) for found in texts] == [False, False, False, True]


@pytest.mark.parametrize("smooth", [False, True])
def test_a_page_opens_smooth_or_honest(smooth):
    """As asked; the reader can change it."""
    assert meta_of(explanation_html(small(), smooth=smooth))["smooth"] is smooth


def test_page_and_picture_colour_alike():
    """The script is told the constants, so that both are changed in one place."""
    overlay = meta_of(explanation_html(small()))["overlay"]

    assert overlay["opaque"] == OPAQUE
    assert (overlay["darkest"], overlay["lightest"], overlay["plain"]) == (DARKEST, LIGHTEST, PLAIN)
    for name, share in (("for", 1.0), ("against", -1.0)):
        last = [int(overlay[name][-1][at : at + 2], 16) / 255 for at in (1, 3, 5)]
        np.testing.assert_allclose(tint(np.array([share]))[0, :3], last, rtol=1e-12)


# Terminal


def printed(dataset: xr.Dataset, *, width: int = 80, **options) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_explanation(dataset, console=console, **options)
    return console.file.getvalue()


def grid_lines(text: str) -> list[str]:
    """The lines of the picture, between the sum and the next empty line."""
    lines = [line.rstrip() for line in text.splitlines()]
    start = lines.index("", lines.index("logit, from start to end")) + 1
    return [line.removeprefix("  ") for line in lines[start : lines.index("", start)]]


def test_the_terminal_shows_signs_and_tenths_of_every_patch():
    """Without colour as with it: rows are lines, two signs a patch."""
    dataset = scored(small(), [7, 4, -4, 0.1, -1, 2, -2.9])

    text = printed(dataset)

    assert grid_lines(text) == ["+9-9 .", "-3+5-7"]  # -2.5 tenths are rounded away from zero
    assert "[CLS] +7.00" in text
    assert "image        disc.png" in text


@pytest.mark.parametrize(
    ("share", "sign"),
    [(1.0, "+9"), (-1.0, "-9"), (0.05, "+1"), (0.0499, " ."), (-0.2, "-2"), (0.0, " ."), (float("nan"), "  ")],
)
def test_a_sign_and_a_digit_stand_for_a_patch(share, sign):
    """Always two cells, so that columns stay columns."""
    assert patch_sign(share) == sign


def test_a_grid_too_wide_for_the_terminal_shows_the_strongest_of_neighbours():
    """And says so; nothing is cut off."""
    dataset = sample_image_explanation(grid=(4, 30), n_layers=1, detail=())
    scores = np.zeros((4, 30))
    scores[3, 28] = -2.0
    scores[0, 0] = 1.0
    dataset = scored(dataset, [0, *scores.ravel()])

    text = printed(dataset, width=44)

    lines = grid_lines(text)
    assert lines == ["+5" + " ." * 14, " ." * 14 + "-9"]
    assert "2 by 2 patches" in text
    assert max(cell_len(line) for line in text.splitlines()) <= 44


def test_an_ascii_terminal_gets_ascii():
    """A log file on an old system stays readable."""
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    print_explanation(small(), console=Console(file=file, width=80, color_system=None))

    file.seek(0)
    assert "outside the picture" in file.read()


# Flows between patches


def test_a_flow_shows_what_the_class_token_reads_in_every_layer():
    """Its row of the map over the picture, on one scale that ends at the largest patch."""
    dataset = sample_image_flow(grid=(2, 3), patch=2, layers=[0, 1], details=False)

    figure = draw_flow(dataset)

    rows = dataset.whole.sel(target=0).values[:, 1:].astype(np.float64)
    where = patches(dataset, "source")
    for layer, drawn in enumerate(pictures(figure)):
        times = drawn.shape[0] // 4
        shares = painted(where, rows[layer] / abs(rows).max())
        np.testing.assert_array_equal(drawn[::times, ::times], laid_over(ground(dataset, where), shares))
    written = texts(figure)
    assert any("what [CLS] 0 reads" in text for text in written)
    own = dataset.whole.sel(target=0, source=0).values
    assert [text for text in written if text.startswith("[CLS] ")] == [f"[CLS] {value:+#.3g}" for value in own]


def test_what_a_patch_keeps_for_itself_does_not_drown_the_others():
    """Colours end at the largest other patch; the target's own is framed."""
    dataset = sample_image_flow(grid=(2, 3), patch=2, layers=[0], details=False)
    dataset["whole"][:] = 0
    dataset["whole"].loc[{"target": 4, "source": [4, 6]}] = [100.0, 2.0]

    figure = draw_flow(dataset.sel(target=[4]))

    (drawn,) = pictures(figure)
    where = patches(dataset, "source")
    shares = painted(where, np.array([0, 0, 0, 1, 0, 1.0]))
    times = drawn.shape[0] // 4
    np.testing.assert_array_equal(drawn[::times, ::times], laid_over(ground(dataset, where), shares))
    frame = next(axes for axes in figure.axes if not axes.axison).patches[0]
    np.testing.assert_allclose(frame.get_xy(), [-0.5, 2 * times - 0.5])
    assert (frame.get_width(), frame.get_height()) == (2 * times, 2 * times)


def test_without_a_class_token_the_first_target_reads():
    """Some models pool their patches."""
    dataset = sample_image_flow(grid=(2, 3), layers=[0], details=False, targets=[2, 3])

    assert any("what r0c1 2 reads" in text for text in texts(draw_flow(dataset)))


def test_the_page_of_a_flow_knows_the_patches():
    """Of an image; a text has none."""
    meta = meta_of(flow_html(sample_image_flow(grid=(2, 3), patch=2, layers=[0], details=False)))

    assert meta["grid"]["places"][1:3] == [[0, 0, 0, 0, 2, 2], [0, 1, 0, 2, 2, 4]]
    assert len(meta["pictures"]) == 1
    assert meta_of(flow_html(sample_flow(layers=[0], details=False)))["grid"] is None


# What all of them start from


def test_patches_are_never_joined_into_words():
    """They have no words, and their boxes and picture stay."""
    dataset = small()

    arranged = arrange(dataset, tokens=False)

    assert is_image(arranged)
    xr.testing.assert_identical(arranged, dataset)


def test_shared_special_tokens_stay_in_the_sum():
    """The picture survives it."""
    dataset = scored(small(), [3, 1, 1, 1, 1, 1, 1])

    arranged = arrange(dataset, special="share")

    np.testing.assert_allclose(arranged.relevance, 1.5, rtol=1e-12)
    np.testing.assert_array_equal(arranged.image, dataset.image)


def test_a_text_is_no_image():
    """It has no rows, or rows that say nothing."""
    dataset = sample_explanation(n_layers=1)

    assert not is_image(dataset)
    assert not is_image(dataset.assign_coords(row=("token", np.full(dataset.sizes["token"], -1))))
