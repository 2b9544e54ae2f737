"""Views show what the Dataset holds: the numbers as they are, what is left out said, untrusted text kept as text."""

import html
import io
import json
import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib.patches import PathPatch
from rich.cells import cell_len
from rich.console import Console
from tests.kit.pages import BLINDNESS, HOSTILE, Elements, blocks_of, lab, linear, meta_of, scores_in, static
from tests.kit.sample_flow import sample_flow

from lignite.errors import FileError, OptionError
from lignite.views import payload
from lignite.views.flow.facts import relative_gaps, shares, worst_gaps
from lignite.views.flow.page import flow_frame, flow_html, save_page
from lignite.views.flow.picture import draw_flow, save_picture
from lignite.views.flow.terminal import print_flow
from lignite.views.palette import diverging


def printed(dataset: xr.Dataset, *, width: int = 80, **options) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_flow(dataset, console=console, **({"tokens": True} | options))
    return console.file.getvalue()


def plant(dataset: xr.Dataset, *, map: str = "whole", value: float, **place: int) -> xr.Dataset:
    """The same result with one score replaced."""
    planted = dataset.copy(deep=True)
    planted[map].loc[place] = value
    return planted


# Colour


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("sight", BLINDNESS)
def test_for_and_against_look_different_to_every_eye(sight, dark):
    """A sign that only some readers can see is no sign."""
    colours = [lab(BLINDNESS[sight] @ linear(colour)) for colour in diverging(dark=dark)]

    distances = [np.linalg.norm(colours[step] - colours[-1 - step]) for step in range(5)]

    assert (
        min(distances) > 12
    )  # CIE76; about 2.3 is just noticeable, neighbouring map colours are told apart from 10 on


@pytest.mark.parametrize("dark", [False, True])
def test_magnitude_is_lightness(dark):
    """So the scale survives a grey print: neutral is the lightest colour on paper, the darkest on a dark screen."""
    lightness = [lab(linear(colour))[0] for colour in diverging(dark=dark)]

    outward = np.diff(lightness[5:]), np.diff(lightness[5::-1])

    for steps in outward:
        assert (steps > 0).all() if dark else (steps < 0).all()


# Terminal


@pytest.mark.parametrize("map", ["whole", "composed"])
def test_the_strongest_flow_of_a_layer_is_named_with_sign_and_number(map):
    """The sentence a reader takes away."""
    dataset = plant(sample_flow(), map=map, value=-1234.0, layer=1, target=2, source=5)

    lines = printed(dataset, map=map).splitlines()

    strongest = next(line for line in lines if line.startswith("layer 1 "))
    assert "5 plot → 2 un" in strongest
    assert "-1234" in strongest


def test_a_flow_through_a_head_names_the_head():
    """Attention scores belong to one head each."""
    dataset = plant(sample_flow(), map="attention", value=99.0, layer=2, head=1, target=3, source=7)

    strongest = next(line for line in printed(dataset, map="attention").splitlines() if line.startswith("layer 2 "))

    assert re.search(r"7 nobody → 3 believ\s+head 1\s+\+99\.0", strongest)


def test_the_share_is_of_the_targets_displacement():
    """Scores of different targets are comparable only as shares."""
    dataset = plant(sample_flow(), value=50.0, layer=0, target=3, source=1)
    dataset.whole_displacement.loc[{"layer": 0, "target": 3}] = 200.0

    strongest = next(line for line in printed(dataset).splitlines() if line.startswith("layer 0 "))

    assert "+50.0" in strongest
    assert "25.0 %" in strongest


def test_what_a_token_keeps_for_itself_is_not_ranked_but_reported():
    """The diagonal dominates under the zero baseline and would fill every list."""
    dataset = sample_flow(layers=(4,), tokens=["a", "b"], details=False)
    dataset["whole"][0] = [[9.0, 1.0], [0.0, 0.0]]

    text = printed(dataset)

    assert "0 a → 0 a" not in text
    assert "1 b → 0 a" in text
    assert "90.0 %" in next(line for line in text.splitlines() if re.match(r"\s+4 ", line))


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("map", ["whole", "attention", "whole_circuits", "mlp"])
def test_no_line_is_wider_than_the_terminal(width, map):
    """A wrapped or cropped table cannot be read: number and bar of every layer must fit."""
    dataset = sample_flow(tokens=[*HOSTILE, "a" * 70, "b"])

    lines = printed(dataset, width=width, map=map).splitlines()

    assert max(cell_len(line) for line in lines) <= width
    rows = [found for line in lines for found in re.findall(r"layer \d .*?[+-]\d\S* +[\d.]+ % +█{8}", line)]
    assert len(rows) == 3


def test_many_tokens_are_abridged_and_the_omission_is_counted():
    """Never cut silently: the reader learns how many tokens are missing and which."""
    dataset = sample_flow(tokens=[f"t{i}" for i in range(512)], layers=(0,), n_heads=1, details=False)

    text = printed(dataset)

    assert "512 tokens" in text
    assert "448 left out (positions 48 to 495)" in text
    assert "511 t511" in text
    assert len(text.splitlines()) < 80


def test_many_layers_are_all_named():
    """With many layers each one shows fewer flows, and the heading says how many."""
    dataset = sample_flow(layers=range(48), details=False)

    text = printed(dataset)

    assert all(re.search(rf"^layer {layer} ", text, re.MULTILINE) for layer in range(48))
    assert "48 of 3,456 scores" in text  # 48 layers of 8 x 9 pairs of different tokens that no special token gives
    assert printed(dataset, k=3).count(" → ") == 3 * 48 + 1  # and the strongest of all, first


def test_text_from_a_model_cannot_command_the_terminal():
    """A token is untrusted: escape sequences and markup are shown, not obeyed."""
    dataset = sample_flow(tokens=HOSTILE, layers=(0,))
    dataset.attrs["text"] = "\x1b[2J[red]text[/red]"
    dataset.attrs["model"] = "evil\x1b]0;title\x07"

    text = printed(dataset, width=200, k=60)

    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    assert "[bold]x[/bold]" in text
    assert r"\x1b[31mred" in text
    assert "[red]text[/red]" in text


def test_an_ascii_terminal_gets_ascii():
    """Output must not fail in a pipe with an old encoding."""
    buffer = io.BytesIO()
    console = Console(file=io.TextIOWrapper(buffer, encoding="ascii"), width=100, color_system=None)

    print_flow(sample_flow(tokens=HOSTILE), console=console)

    console.file.flush()
    assert b"->" in buffer.getvalue()
    assert rb"\u1230\u120b\u121d" in buffer.getvalue()


def test_colour_only_repeats_the_sign():
    """Without colour nothing is lost: the same characters are printed."""
    dataset = sample_flow()
    console = Console(file=io.StringIO(), width=80, color_system="truecolor", force_terminal=True)

    print_flow(dataset, console=console, tokens=True)

    coloured = console.file.getvalue()
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == printed(dataset)


# Certificate


def test_the_worst_gap_is_found_where_it_is():
    """The certificate names layer, head and target, and counts the others."""
    dataset = sample_flow()
    dataset["attention_gap"] = dataset.attention_gap * 0
    dataset["attention_displacement"] = xr.full_like(dataset.attention_displacement, 4.0)
    dataset.attention_gap.loc[{"layer": 1, "head": 0, "target": 6}] = -0.5

    worst = next(gap for gap in worst_gaps(dataset) if gap.map == "attention")

    assert (worst.layer, worst.head, worst.target, worst.target_token) == (1, 0, 6, "bored")
    assert worst.relative == 0.125  # 0.5 / 4
    assert (worst.within, worst.total) == (59, 60)  # 3 layers, 2 heads, 10 targets, one of them wrong


def test_a_target_that_did_not_move_is_judged_by_its_layer():
    """0 / 0 is no error, and a speck of dust over nothing is a small one."""
    dataset = sample_flow(layers=(0,), tokens=["a", "b", "c"], details=False)
    dataset["whole_displacement"][0] = [0.0, 2.0, 2.0]
    dataset["whole_gap"][0] = [0.0, 0.0, 0.02]

    resting = relative_gaps(dataset, "whole")
    dataset["whole_gap"][0] = [1e-6, 0.0, 0.0]
    dusty = relative_gaps(dataset, "whole")

    np.testing.assert_allclose(resting[0], [0, 0, 0.01], rtol=1e-6)  # float32
    np.testing.assert_allclose(dusty[0], [1e-6 / (1e-3 * 2), 0, 0], rtol=1e-6)


def test_shares_of_a_row_add_up_to_one_but_for_its_gap():
    """The unit that makes targets comparable."""
    dataset = sample_flow(dtype="float64")

    total = shares(dataset.whole, dataset.whole_displacement).sum("source")

    gap = dataset.whole_gap / dataset.whole_displacement
    xr.testing.assert_allclose(total, 1 + gap)


def test_gaps_of_a_negative_total_are_judged_by_its_size():
    """A product of maps may add up to less than nothing; its gap is no smaller for that."""
    dataset = sample_flow(layers=(0,), tokens=["a", "b", "c"], details=False)
    dataset["composed_displacement"][0] = [-4.0, 2.0, 2.0]
    dataset["composed_gap"][0] = [1.0, 0.5, -0.5]

    relative = relative_gaps(dataset, "composed")

    np.testing.assert_array_equal(relative[0], [0.25, 0.25, 0.25])


def test_a_target_that_moved_nowhere_has_no_shares():
    """A decoder's first token sees itself alone: dividing its rounding by its rounding says nothing."""
    displacement = xr.DataArray([[1e-9, 2.0, -4.0]], dims=("layer", "target"))
    scores = xr.DataArray(np.ones((1, 3, 2)), dims=("layer", "target", "source"))

    found = shares(scores, displacement)

    np.testing.assert_array_equal(found[0, :, 0], [np.nan, 0.5, -0.25])


# Picture


def panels(figure):
    return [axes for axes in figure.axes if axes.get_title(loc="left").startswith("layer")]


def test_a_cell_shows_the_score_of_its_target_row_and_source_column():
    """A transposed heat map tells the opposite story."""
    dataset = sample_flow(layers=(3, 7))

    drawn = panels(draw_flow(dataset, tokens=True, map="composed"))

    assert [axes.get_title(loc="left") for axes in drawn] == ["layer 3", "layer 7"]
    for axes, layer in zip(drawn, (3, 7), strict=True):
        image = axes.images[0]
        np.testing.assert_array_equal(image.get_array(), dataset.composed.sel(layer=layer).astype("float64"))
        assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first target stands on top
    assert drawn[0].get_yticklabels()[5].get_text() == "plot 5"
    assert drawn[1].get_xticklabels()[7].get_text() == "nobody 7"


def test_one_head_or_all_of_them():
    """A split map is drawn part by part or added up."""
    dataset = sample_flow(dtype="float64")

    one = panels(draw_flow(dataset, tokens=True, map="attention", head=1))[2].images[0].get_array()
    summed = panels(draw_flow(dataset, tokens=True, map="attention"))[2].images[0].get_array()

    layer = dataset.isel(layer=2)
    total = layer.attention.values.sum(0)
    np.testing.assert_array_equal(one, layer.attention.values[1])
    np.testing.assert_allclose(summed, total)


def test_all_layers_share_one_scale_around_zero_that_the_diagonal_does_not_set():
    """The same colour is the same number everywhere; a token's own share would drown the others."""
    dataset = sample_flow(dtype="float64")
    for token in range(10):
        dataset.whole.loc[{"layer": 1, "target": token, "source": token}] = 1e6

    drawn = panels(draw_flow(dataset, tokens=True, map="whole"))

    others = np.abs(dataset.whole.values[:, ~np.eye(10, dtype=bool)])
    limits = {(axes.images[0].norm.vmin, axes.images[0].norm.vmax) for axes in drawn}
    assert len(limits) == 1
    low, high = limits.pop()
    assert low == -high
    np.testing.assert_allclose(high, np.quantile(others, 0.995))


def test_the_colour_bar_states_its_limits():
    """A scale that clips must say so."""
    figure = draw_flow(sample_flow(), tokens=True, map="whole")

    told = " ".join(text.get_text() for text in figure.texts)
    assert "colours end at 99.5 % of magnitudes off the diagonal" in told
    assert "% of cells beyond" in told
    assert all(text.get_rotation() == 0 for text in figure.texts)


@pytest.mark.parametrize(("ending", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_the_same_result_gives_the_same_picture_file(tmp_path, ending, start):
    """Pictures can be kept under version control: no time, no random name."""
    dataset = sample_flow()

    first = save_picture(dataset, tmp_path / f"first{ending}").read_bytes()
    second = save_picture(dataset, tmp_path / f"second{ending}").read_bytes()

    assert first.startswith(start)
    assert first == second


def test_text_in_an_svg_stays_text(tmp_path):
    """It can be searched, and the reader's fonts draw what ours cannot."""
    dataset = sample_flow(tokens=HOSTILE)

    svg = save_picture(dataset, tmp_path / "flow.svg").read_text()

    assert ">ሰላም 3</text>" in svg
    assert ">$x_1$ 5</text>" in svg  # dollar signs would start a formula
    assert "alert(1)</script>" not in svg


def test_a_character_without_a_glyph_is_replaced_and_explained(tmp_path):
    """Warnings are errors here: an unknown script must not stop a run, nor vanish without a word."""
    dataset = sample_flow(tokens=["\U000f1234", "b"])  # private use: no font has it

    figure = draw_flow(dataset, tokens=True)
    save_picture(dataset, tmp_path / "flow.png")
    save_picture(dataset, tmp_path / "flow.pdf")
    svg = save_picture(dataset, tmp_path / "flow.svg").read_text()

    assert panels(figure)[0].get_yticklabels()[0].get_text() == "□ 0"
    assert any("no installed font" in text.get_text() for text in figure.texts)
    assert ">\U000f1234 0</text>" in svg


def test_long_texts_label_one_token_in_a_few_and_say_so():
    """Labels that overlap are no labels."""
    dataset = sample_flow(tokens=[f"t{i}" for i in range(200)], layers=(0, 1), n_heads=1, details=False)

    figure = draw_flow(dataset, tokens=True)

    first = panels(figure)[0]
    step = np.diff(first.get_yticks())[0]
    height = first.get_position().height * figure.get_figheight()
    assert height / 200 * step > 6.5 / 72  # inches between labels: more than their 6.5 points
    assert any(f"1 token in {step:.0f} is labelled" in text.get_text() for text in figure.texts)


def test_drawing_leaves_matplotlib_as_it_was():
    """A library call must not restyle the user's own figures."""
    before = dict(matplotlib.rcParams)

    draw_flow(sample_flow(), tokens=True)

    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"map": "mpl"}, "whole, composed"),
        ({"map": "attention", "head": 7}, "0, 1"),
        ({"map": "whole", "head": 0}, "not split by head"),
    ],
)
def test_an_unknown_choice_is_answered_with_the_known_ones(options, expected):
    """One line that says what to do."""
    with pytest.raises(OptionError, match=expected):
        draw_flow(sample_flow(), tokens=True, **options)


@pytest.mark.parametrize(("save", "path"), [(save_picture, "flow.jpg"), (save_page, "flow.txt")])
def test_an_unknown_ending_is_refused(tmp_path, save, path):
    """The ending chooses the format; a surprise would be a wrong file."""
    with pytest.raises(FileError, match=path):
        save(sample_flow(), tmp_path / path)


@pytest.mark.parametrize(("save", "path"), [(save_picture, "flow.png"), (save_page, "flow.html")])
def test_a_missing_folder_is_one_clear_error(tmp_path, save, path):
    """A path that cannot be written is the user's to mend."""
    with pytest.raises(FileError, match="there is no folder"):
        save(sample_flow(), tmp_path / "nowhere" / path)


# Page


def decoded(page: str) -> tuple[dict, dict[str, np.ndarray]]:
    """Description and maps of a page, a row for each layer, part and target, read as a browser would."""
    meta, blocks = meta_of(page), blocks_of(page)
    tokens = meta["views"]["tokens"]
    maps = {}
    for entry in meta["maps"]:
        columns = len(tokens["tokens"] if entry["columns"] == "source" else meta["heads"])
        rows = len(meta["layers"]) * (len(entry["parts"]) or 1) * len(tokens["targets"])
        maps[entry["name"]] = scores_in(blocks[entry["name"]], columns, rows * columns)
    return meta, maps


def laid_out(scores: xr.DataArray) -> np.ndarray:
    """A row for each layer, part and target."""
    scores = scores.transpose("layer", ..., "target", scores.dims[-1])
    return scores.values.reshape(-1, scores.shape[-1])


def test_the_page_holds_exactly_the_numbers_of_the_result():
    """What is read off the page is what was computed, to the last bit of float32."""
    dataset = sample_flow(layers=(2, 3, 5), targets=[1, 4, 8])

    meta, maps = decoded(flow_html(dataset, tokens=True))

    assert meta["layers"] == [2, 3, 5]
    assert meta["views"]["tokens"]["targets"] == [1, 4, 8]
    for name in ("whole", "composed", "mlp", "attention", "whole_heads", "whole_circuits"):
        np.testing.assert_array_equal(maps[name], laid_out(dataset[name]))


def test_words_are_made_of_their_tokens_as_the_library_makes_them():
    """The page adds tokens up to words itself; the place of each must be the word's."""
    dataset = sample_flow(pair=True, targets=[1, 3, 4, 8])
    words = dataset.lignite.merge_words()

    meta, maps = decoded(flow_html(dataset))

    view = meta["views"]["words"]
    made = np.zeros((3, words.sizes["target"], words.sizes["source"]))
    for row, target in enumerate(view["target_of"]):
        for column, source in enumerate(view["source_of"]):
            made[:, target, source] += maps["whole"].reshape(3, 4, 10)[:, row, column]
    np.testing.assert_allclose(made, words.whole, rtol=1e-5, atol=1e-6)  # float32
    assert view["positions"] == words.source.values.tolist()
    assert [view["positions"][at] for at in view["targets"]] == words.target.values.tolist()


@pytest.mark.parametrize("size", [1e-20, 1.0, 1e20])
def test_rounded_scores_miss_no_more_than_the_page_says(size, monkeypatch):
    """Each row has a scale of its own, so that neither size nor a large row beside it matters."""
    monkeypatch.setattr(payload, "EXACT", 0)
    dataset = sample_flow(dtype="float64")
    dataset["whole"] = dataset.whole * size
    dataset["whole"][0, 3] *= 1e6

    page = flow_html(dataset, tokens=True)

    whole = laid_out(dataset.whole)
    missed = np.abs(decoded(page)[1]["whole"] - whole) / np.abs(whole).max(1, keepdims=True)
    assert 1e-4 < missed.max() < 1 / 254 + 1e-6  # half a step of 127, and float32
    assert "rounded to 0.4 % of the largest of their row" in static(page)


def test_a_large_result_fits_its_budget_and_says_what_it_gave_up():
    """A page that freezes is no page; a map that is silently missing is worse."""
    dataset = sample_flow(tokens=[f"t{i}" for i in range(128)], layers=(0, 1), n_heads=4)
    budget = 600_000  # characters: a map of float32 in base64 takes 175 kB, four heads of attention 700 kB

    page = flow_html(dataset, tokens=True, max_bytes=budget)

    meta, maps = decoded(page)
    assert sum(map(len, blocks_of(page).values())) * 4 / 3 <= budget
    assert [entry["name"] for entry in meta["maps"]] == ["whole", "composed", "attention", "mlp"]
    assert "heads of attention are added up" in page
    assert "map whole_heads is left out" in page
    assert "map whole_circuits is left out" in page
    assert "max_bytes" not in page  # no option that a reader of the page could raise
    np.testing.assert_allclose(maps["attention"], laid_out(dataset.attention.sum("head")), rtol=1e-5, atol=1e-6)


def test_every_head_of_128_tokens_fits_into_three_megabytes():
    """Twelve layers of twelve heads, as BERT has them: a page that can be sent by mail; random scores pack worst."""
    dataset = sample_flow(tokens=[f"t{i}" for i in range(128)], layers=range(12), n_heads=12)
    splits = ("whole_heads", "whole_circuits", "whole_residual")
    dataset = dataset.drop_vars([name for name in dataset if name in splits])

    page = flow_html(dataset, tokens=True)

    assert len(page) < 3_000_000
    attention = laid_out(dataset.attention)
    missed = np.abs(decoded(page)[1]["attention"] - attention) / np.abs(attention).max(1, keepdims=True)
    told = max(float(found) for found in re.findall(r"rounded to ([\d.]+) %", static(page)))
    assert missed.max() < told / 100 + 1e-4


def test_the_page_asks_nothing_of_the_network():
    """It opens on a train, from an attachment, in a sandbox: all of it is in the file."""
    page = flow_html(sample_flow(), tokens=True)

    elements = Elements(page)
    attributes = {name for _, attrs in elements.tags for name in attrs}
    policy = next(attrs["content"] for tag, attrs in elements.tags if attrs.get("http-equiv"))
    assert not attributes & {"src", "href", "srcset", "data", "action", "background"}
    assert not {tag for tag, _ in elements.tags} & {"link", "iframe", "img", "object", "embed", "base"}
    code = page.replace("http://www.w3.org/2000/svg", "")  # a name, from which nothing is fetched
    assert not re.search(r"https?:|//\w+\.\w+/|@import|url\(|fetch\(|XMLHttpRequest|import\(", code)
    assert policy.startswith("default-src 'none'")


def test_a_hostile_token_stays_a_token():
    """Tokens come from anybody's text; none may end a script or begin one."""
    harmless = sample_flow(tokens=["a"] * len(HOSTILE))
    hostile = sample_flow(tokens=HOSTILE)
    hostile.attrs |= {"text": HOSTILE[0], "model": HOSTILE[0], "request": json.dumps({"baseline": HOSTILE[0]})}

    elements = Elements(flow_html(hostile, tokens=True))

    expected = [tag for tag, _ in Elements(flow_html(harmless, tokens=True)).tags]
    extra = {"tr", "td", "th", "span", "b", "bdi", "small", "p"}  # options, paths and directions differ
    assert [tag for tag, _ in elements.tags if tag not in extra] == [tag for tag in expected if tag not in extra]
    tokens = json.loads(elements.scripts["meta"])["views"]["tokens"]["tokens"]
    assert tokens[0] == HOSTILE[0]
    assert tokens[2] == r"\x1b[31mred"
    assert tokens[6] == "{{ 7*7 }}"


def test_the_page_states_certificate_and_agreement_without_script():
    """The numbers that decide whether to believe the maps must not depend on a browser's mood."""
    dataset = sample_flow()
    dataset["whole_gap"] = dataset.whole_gap * 0
    dataset["whole_displacement"] = xr.full_like(dataset.whole_displacement, 4.0)
    dataset.whole_gap.loc[{"layer": 2, "target": 7}] = 0.5
    dataset["composed"] = 2 * dataset.whole

    text = re.sub(r"<script.*?</script>", "", flow_html(dataset, tokens=True), flags=re.DOTALL)

    visible = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", text)))
    assert "whole 12.5 % layer 2, target 7 nobody 29 of 30" in visible
    assert "mean +1.00 +1.00 +1.00 +1.00" in visible  # twice a map correlates with it perfectly
    assert "baseline target_token" in visible


@pytest.mark.parametrize(
    "dataset",
    [
        pytest.param(sample_flow(layers=(0,), tokens=["only"]), id="one token"),
        pytest.param(sample_flow(layers=(1, 4)), id="layers left out"),
        pytest.param(sample_flow(pair=True), id="two texts"),
        pytest.param(sample_flow(grid=(3, 4)), id="patches"),
        pytest.param(sample_flow()[["mlp", "mlp_displacement", "mlp_gap"]], id="mlp alone"),
        pytest.param(sample_flow()[["attention"]], id="no displacement"),
        pytest.param(sample_flow() * 0, id="all zero"),
    ],
)
def test_every_shape_of_result_can_be_shown(dataset, tmp_path):
    """A view never fails on a valid result."""
    dataset.attrs = sample_flow().attrs

    page = flow_html(dataset, tokens=True)
    save_picture(dataset, tmp_path / "flow.png")
    text = printed(dataset)

    decoded(page)
    assert "layer" in text


def test_a_frame_carries_the_whole_page():
    """In a notebook the page lives in an iframe: its text survives the double quoting."""
    dataset = sample_flow(tokens=HOSTILE)

    frame = flow_frame(dataset, height=600)

    (tag, attributes) = Elements(frame).tags[0]
    assert tag == "iframe"
    assert len(Elements(frame).tags) == 1
    assert attributes["srcdoc"] == flow_html(dataset)
    assert attributes["height"] == "600"


def test_save_page_writes_the_page(tmp_path):
    """The file is the page, in UTF-8."""
    dataset = sample_flow(tokens=HOSTILE)

    path = save_page(dataset, tmp_path / "flow.html", tokens=True)

    assert isinstance(path, Path)
    assert path.read_text(encoding="utf-8") == flow_html(dataset, tokens=True)


def test_the_picture_of_a_flow_shows_the_way_through_all_layers_and_the_part_of_every_head():
    """Heat maps answer questions that a reader has after this one: where does what is read come from?"""
    whole, one = draw_flow(sample_flow()), draw_flow(sample_flow(), map="attention", head=1)

    assert sum(isinstance(patch, PathPatch) for axes in whole.axes for patch in axes.patches) > 10
    assert "part of each head, %" in {axes.get_title("left") for axes in whole.axes}
    assert not any(isinstance(patch, PathPatch) for axes in one.axes for patch in axes.patches)
