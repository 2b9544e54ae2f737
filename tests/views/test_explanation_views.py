"""Views of an explanation show its scores as they are, their sign readable by everyone, and untrusted text as text."""

import io
import json
import re

import numpy as np
import pytest
import xarray as xr
from rich.cells import cell_len
from rich.color import Color
from rich.console import Console
from tests.kit.pages import BLINDNESS, HOSTILE, Elements, blocks_of, lab, linear, meta_of, static
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_flow import sample_flow

from lignite.errors import FileError, OptionError
from lignite.results.certificate import certificates
from lignite.views.explanation.facts import (
    arrange,
    certificate_text,
    layer_rows,
    pieces,
    question,
    settings,
    strongest,
)
from lignite.views.explanation.page import explanation_frame, explanation_html, save_explanation_page
from lignite.views.explanation.picture import choose_ink, draw_explanation, save_explanation_picture
from lignite.views.explanation.terminal import STEPS, print_explanation, shade

TEXT = "The unbelievable plot bored nobody."


def printed(dataset: xr.Dataset, *, width: int = 80, **options) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_explanation(dataset, console=console, **options)
    return console.file.getvalue()


def with_relevance(dataset: xr.Dataset, values) -> xr.Dataset:
    """The same explanation with other scores of its tokens."""
    return dataset.assign(relevance=("token", np.asarray(values, dtype="float64")))


# The text


def shown(dataset: xr.Dataset) -> str:
    return "".join(piece.text for piece in pieces(dataset))


@pytest.mark.parametrize("words", [False, True])
def test_the_text_is_written_as_it_was_given(words):
    """A reader checks the explanation against the sentence, not against a list of tokens."""
    dataset = arrange(sample_explanation(), tokens=not words)

    assert shown(dataset) == f"[CLS] {TEXT} [SEP]"


@pytest.mark.parametrize("words", [False, True])
def test_every_token_stands_in_the_text_once_and_in_order(words):
    """A score without a place, or a place with two scores, would be a lie about the text."""
    dataset = arrange(sample_explanation(pair=True), tokens=not words)

    places = [piece.index for piece in pieces(dataset) if piece.index is not None]

    assert places == list(range(dataset.sizes["token"]))


def test_a_piece_of_a_word_is_the_stretch_of_text_it_stands_for():
    """Offsets, not the tokenizer's marks, say what a token covers."""
    found = {piece.index: piece.text for piece in pieces(sample_explanation())}

    assert [found[place] for place in (2, 3, 4)] == ["un", "believ", "able"]


def test_words_that_were_not_given_to_the_model_are_shown_without_a_score():
    """Where special tokens are hidden or offsets leave a hole, the text between stays readable."""
    dataset = sample_explanation().isel(token=[1, 5, 7])

    found = pieces(dataset)

    assert "".join(piece.text for piece in found) == TEXT
    assert next(piece for piece in found if "unbelievable" in piece.text).index is None


def test_tokens_that_spell_one_character_each_show_themselves():
    """Byte-level tokenizers cut one letter into several tokens with the same offsets."""
    dataset = sample_explanation(tokens=["a", "ã", "Ĥ", "b"])
    dataset = dataset.assign_coords(start=("token", [0, 2, 2, 4]), stop=("token", [1, 3, 3, 5]))
    dataset.attrs["text"] = "a め b"

    found = pieces(dataset)

    assert "".join(piece.text for piece in found) == "a めĤ b"
    assert [piece.index for piece in found if piece.index is not None] == [0, 1, 2, 3]


@pytest.mark.parametrize("offsets", ["unknown", "start anew", "beyond the text"])
def test_without_usable_offsets_tokens_stand_side_by_side(offsets):
    """Tensors come without a text, some pairs count each text from zero, and attributes can be changed."""
    dataset = sample_explanation()
    if offsets == "unknown":
        nowhere = ("token", np.full(10, -1))
        dataset = dataset.assign_coords(start=nowhere, stop=nowhere)
    elif offsets == "beyond the text":
        dataset.attrs["text"] = "The"
    else:
        second = np.arange(10) >= 6
        dataset = dataset.assign_coords(
            start=("token", np.where(second, dataset.start - 22, dataset.start)),
            stop=("token", np.where(second, dataset.stop - 22, dataset.stop)),
        )

    assert shown(arrange(dataset, tokens=True)) == "[CLS] the unbelievable plot bored nobody . [SEP]"


# What is arranged


def test_special_tokens_are_shown_hidden_or_shared():
    """Three honest ways; only sharing keeps the sum."""
    dataset = with_relevance(sample_explanation(), [4.0, 1, 0, 0, 0, 0, -3, 0, 0, 2.0])

    hidden = arrange(dataset, tokens=True, special="hide")
    shared = arrange(dataset, tokens=True, special="share")

    assert arrange(dataset, tokens=True).sizes["token"] == 10
    np.testing.assert_allclose(hidden.relevance, [1, 0, 0, 0, 0, -3, 0, 0])
    # 6 to share in proportion to 1 and 3: 1.5 and 4.5
    np.testing.assert_allclose(shared.relevance, [2.5, 0, 0, 0, 0, 1.5, 0, 0])
    with pytest.raises(OptionError, match="choose from 'show', 'rank', 'hide', 'share'"):
        arrange(dataset, special="drop")


def test_hiding_special_tokens_where_there_are_none_changes_nothing():
    """A decoder's input often has no special token."""
    dataset = sample_explanation(tokens=["a", "b"])

    xr.testing.assert_identical(arrange(dataset, tokens=True, special="share"), dataset)


def test_a_flow_is_no_explanation():
    """Each kind of result has its own views."""
    with pytest.raises(OptionError, match=r"kind 'flow'.*explain\(\)"):
        printed(sample_flow())


# Numbers


def test_the_strongest_are_ranked_by_size_and_parted_by_sign():
    """Share is of all magnitude, so that both lists together cannot exceed the whole."""
    dataset = with_relevance(sample_explanation(), [0, 1, 0, 5, 0, -3, 0, 0, -1, 0])

    assert [(entry.token, entry.score, entry.share) for entry in strongest(dataset, 9, sign="for")] == [
        ("##believ", 5.0, 0.5), ("the", 1.0, 0.1),
    ]  # fmt: skip
    assert [entry.position for entry in strongest(dataset, 9, sign="against")] == [5, 8]
    assert [entry.position for entry in strongest(dataset, 2)] == [3, 5]


def test_a_layer_is_added_up_by_sign():
    """For and against cancel in a sum, and a reader wants to see both."""
    dataset = sample_explanation(n_layers=2)
    dataset["layer_relevance"][1] = [2, -0.5, 0, 0, 0, 0, -1, 0, 1, 0]
    dataset["displacement"][:] = [8.0, -4.0]
    dataset["gap"][:] = [0.0, 0.01]

    row = layer_rows(dataset)[1]

    assert (row.layer, row.total_for, row.total_against) == (1, 3.0, -1.5)
    assert row.gap == pytest.approx(0.0025)  # 0.01 / 4; the result is float32
    assert row.special == 2.0
    assert [entry.token for entry in row.strongest] == ["bored", "."]
    assert [entry.token for entry in layer_rows(dataset, special=True)[1].strongest] == ["[CLS]", "bored"]


def test_the_certificate_names_the_worst_layer():
    """It speaks of the change that is explained, so its sign does not matter."""
    dataset = sample_explanation(n_layers=3, method="relevance-flow", detail=())
    dataset["displacement"][:] = [2.0, -2.0, 2.0]
    dataset["gap"][:] = [0.001, -0.5, -0.001]

    text = certificate_text(dataset)

    assert "miss at most 25 %" in text
    assert "(layer 1); 2 of 3 layers within 0.1 %" in text


def test_a_small_difference_of_large_outputs_is_judged_beside_them():
    """Where a path ends near the output it started from, rounding is most of what is left to explain."""
    dataset = sample_explanation(n_layers=3)
    dataset.attrs["value"] = -8.0
    dataset["displacement"][:] = [2.0, 2.0, 0.0]
    dataset["gap"][:] = [0.0, 0.0, 1e-3]

    assert float(certificates(dataset)[0].worst) == pytest.approx(1e-3 / 0.08)  # a hundredth of 8


def test_a_sum_over_the_input_is_certified_too():
    """Integrated gradients have no layers, but a total."""
    dataset = sample_explanation(method="ig").assign(total_displacement=-4.0, total_gap=0.02)

    assert certificate_text(dataset) == "scores miss 0.5 % of the change they explain, more than 0.1 %"


def test_relevance_that_gets_lost_between_layers_is_certified():
    """Relevance flow promises that nothing is lost; the books are kept per token."""
    dataset = sample_explanation(method="relevance-flow", n_layers=2)
    dataset["relevance_flow_gap"][:] = 0.0
    dataset["relevance_flow"][1, 4] = 0.0
    dataset["relevance_flow"][1, 4, 2] = 3.0
    dataset["relevance_flow_gap"][1, 4] = -0.03  # the target carries 3.03

    flow = certificates(dataset)[-1]

    assert float(flow.worst) == pytest.approx(0.03 / 3.03, rel=1e-5)  # float32
    assert (int(flow.within.sum()), flow.within.size) == (19, 20)
    assert certificate_text(dataset).endswith("handed on between layers but for 0.99 % (layer 1)")


def test_a_method_that_promises_nothing_is_not_certified():
    """No gap is not a small gap."""
    assert certificates(sample_explanation(method="random")) == []
    assert certificate_text(sample_explanation(method="random")).startswith("none:")


@pytest.mark.parametrize(
    ("target", "prediction", "expected"),
    [
        ({"name": "positive", "kind": "class"}, "positive", ("logit", 0.7, 0.7)),
        ({"name": "negative", "kind": "class"}, "positive", ("logit", 0.7, 0.3)),
        ({"name": "positive against negative", "against": 0}, "positive", ("logit difference", 0.7, None)),
        ({"name": "negative after 'the' (5)", "kind": "next"}, "positive", ("logit", 0.7, 0.3)),
        ({"name": "length", "kind": "function"}, "", ("value", None, None)),
    ],
)  # fmt: skip
def test_prediction_and_question_are_told_apart(target, prediction, expected):
    """Whoever asks why not the other class must see which probability is whose."""
    dataset = sample_explanation().assign(probability=("class", [0.3, 0.7]))
    dataset.attrs |= {"target": json.dumps({"against": None} | target), "prediction": prediction}

    asked = question(dataset)

    numbers = [None if np.isnan(value) else value for value in (asked.probability, asked.target_probability)]
    assert (asked.unit, *numbers) == expected


def test_only_options_that_the_method_listens_to_are_named():
    """A fusion share beside a random baseline would mislead."""
    dataset = sample_explanation(method="random")
    dataset.attrs["request"] = json.dumps({"baseline": ["mask"], "fusion": 0, "ends": False, "seed": 3})

    assert settings(dataset) == {"method": "random", "seed": "3"}
    assert settings(dataset.assign_attrs(method="ca-lig")) == {"method": "ca-lig", "baseline": "mask", "fusion": "0"}


def test_the_seams_of_a_long_text_are_told_in_every_view():
    """A word at a seam was read in half of its context; the reader must know where."""
    windows = [
        {"start": 0, "stop": 20, "value": 1.0, "tokens": 6},
        {"start": 17, "stop": 35, "value": 2.0, "tokens": 6},
    ]
    dataset = sample_explanation().assign_attrs(windows=json.dumps(windows))
    expected = "2 windows, characters 0 to 20, 17 to 35"

    figure = draw_explanation(dataset)

    assert expected in printed(dataset)
    assert expected in explanation_html(dataset)
    assert any(expected in text.get_text() for text in figure.texts)
    assert "windows" not in printed(sample_explanation())


# Terminal


def test_without_colour_every_word_has_its_number_below_it():
    """A pipe, a log and a reader who sees no colours get everything."""
    dataset = with_relevance(sample_explanation(), [0, 1, 0.25, 0.25, 0, -0.5, -2, 0, 12.34, 0])

    lines = printed(dataset, tokens=False).splitlines()

    at = next(number for number, line in enumerate(lines) if "unbelievable" in line)
    words, numbers = lines[at], lines[at + 1]
    for word, number in {"The": "+1", "unbelievable": "+0.5", "plot": "-0.5", "bored": "-2", ".": "+12"}.items():
        start = words.index(word)
        assert numbers[start : start + len(number)] == number


def test_nothing_but_text_where_there_is_no_terminal():
    """No escape sequence in a pipe."""
    assert "\x1b" not in printed(sample_explanation())


@pytest.mark.parametrize("system", ["standard", "256", "truecolor"])
def test_colour_follows_sign_and_size_on_every_kind_of_terminal(system):
    """Warm for, cool against, nothing for what hardly counts; few colours are enough."""
    dataset = with_relevance(sample_explanation(tokens=["good", "bad", "the"]), [1.0, -1.0, 0.001])
    console = Console(file=io.StringIO(), width=80, color_system=system, force_terminal=True)

    print_explanation(dataset, console=console)

    line = next(line for line in console.file.getvalue().splitlines() if re.search(r"good\x1b\S* \S*bad", line))
    styles = dict(re.findall(r"\x1b\[([\d;]+)m(good|bad)", line))
    assert len(styles) == 2  # two different ones
    assert re.search(r"\x1b\[0m the", line)
    assert "+1" not in line  # numbers stand in the lists


def test_the_numbers_of_the_lists_are_the_same_with_and_without_colour():
    """Colour repeats, it does not replace."""
    dataset = sample_explanation()
    console = Console(file=io.StringIO(), width=80, color_system="truecolor", force_terminal=True)

    print_explanation(dataset, console=console)

    coloured = re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())
    plain = printed(dataset)
    assert coloured[coloured.index("\nfor ") :] == plain[plain.index("\nfor ") :]


@pytest.mark.parametrize("sight", BLINDNESS)
def test_shades_of_the_terminal_differ_for_every_eye(sight):
    """Sign by hue and its counterpart at every step; on black and on white, because the background is not known."""
    for share in (0.1, 0.4, 0.9):
        warm, cool = (shade(sign * share) for sign in (1, -1))
        seen = [
            lab(BLINDNESS[sight] @ linear((style.bgcolor or style.color).get_truecolor().hex)) for style in (warm, cool)
        ]
        assert np.linalg.norm(seen[0] - seen[1]) > 12  # CIE76, as for the maps


@pytest.mark.parametrize("share", [0.1, 0.4, 0.9, -0.1, -0.4, -0.9])
def test_shaded_words_are_readable(share):
    """WCAG asks for a contrast of 3 for large or bold text; where only the letters are coloured, on either ground."""
    style = shade(share)
    letters = luminance(style.color)
    grounds = [luminance(style.bgcolor)] if style.bgcolor else [0.0, 1.0]

    for ground in grounds:
        contrast = (max(letters, ground) + 0.05) / (min(letters, ground) + 0.05)
        assert contrast > (3 if style.bgcolor else 2)


def luminance(colour: Color) -> float:
    return float(linear(colour.get_truecolor().hex) @ [0.2126, 0.7152, 0.0722])


def test_shading_starts_where_the_legend_says():
    """Below the first step a word looks like any other."""
    assert not shade(STEPS[0] - 1e-9)
    assert shade(-STEPS[0]).color is not None
    assert f"{100 * STEPS[0]:.0f} %" == "5 %"


@pytest.mark.parametrize("width", [44, 80, 200])
@pytest.mark.parametrize("words", [False, True])
def test_no_line_is_wider_than_the_terminal_and_no_number_is_cut(width, words):
    """Whatever the tokens are."""
    dataset = sample_explanation(tokens=[*HOSTILE, "a" * 70, "b"], n_layers=4)

    text = printed(dataset, width=width, tokens=not words)

    assert max(cell_len(line) for line in text.splitlines()) <= width
    for row in layer_rows(arrange(dataset, tokens=not words)):
        line = next(line for line in text.splitlines() if re.match(rf"\s+{row.layer} +\+", line))
        assert f"{row.total_for:+#.3g}" in line
        assert re.search(r"[+-]\d\S*\s*$", line)  # the last score named is complete


def test_text_from_a_model_cannot_command_the_terminal():
    """A token is untrusted, and so are names of classes and models."""
    dataset = sample_explanation(tokens=HOSTILE, classes=("\x1b[2Jno", "[red]yes[/red]"), label="[red]yes[/red]")
    dataset.attrs["model"] = "evil\x1b]0;title\x07"

    for system in (None, "truecolor"):
        console = Console(file=io.StringIO(), width=200, color_system=system, force_terminal=system is not None)
        print_explanation(dataset, console=console, k=60)
        text = re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())

        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
        assert "[red]yes[/red]" in text
        assert "[bold]x[/bold]" in text


def test_an_ascii_terminal_gets_ascii():
    """Output must not fail in a pipe with an old encoding."""
    console = Console(file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"), width=100, color_system=None)

    print_explanation(sample_explanation(tokens=HOSTILE), console=console)

    console.file.flush()
    assert rb"\u1230\u120b\u121d" in console.file.buffer.getvalue()


def test_a_very_long_text_is_abridged_and_says_so():
    """Never cut silently."""
    dataset = sample_explanation(tokens=[f"t{i}" for i in range(1200)], n_layers=2, detail=())

    text = printed(dataset)

    assert "200 of 1200 tokens are left out in the middle" in text
    assert re.search(r"\bt749\b", text.split("left out")[0])
    assert not re.search(r"\bt750\b", text.split("left out")[0])
    assert re.search(r"\bt950\b", text.split("left out")[0])


def test_tokens_beyond_the_list_are_counted():
    """Ten of five hundred is another statement than ten of twelve."""
    dataset = with_relevance(sample_explanation(tokens=list("abcdef")), [6, 5, 4, 3, 2, -1])

    text = printed(dataset, k=2, tokens=True)

    assert "+20.0 from 5 tokens" in text
    assert "and 3 tokens more" in text


def test_an_explanation_of_nothing_prints():
    """All scores zero is an answer, too."""
    dataset = sample_explanation() * 0

    dataset.attrs = sample_explanation().attrs
    text = printed(dataset)

    assert text.count("none") == 2
    assert "every score is zero" in text


# Picture


def test_bars_and_cells_stand_for_the_scores():
    """One bar per token, one row per layer, the first layer on top."""
    dataset = sample_explanation(n_layers=3, dtype="float64")

    figure = draw_explanation(dataset, tokens=True)

    bars, heat = figure.axes[:2]
    np.testing.assert_allclose([bar.get_height() for bar in bars.patches], dataset.relevance)
    np.testing.assert_array_equal(heat.images[0].get_array(), dataset.layer_relevance)
    assert heat.get_ylim()[0] > heat.get_ylim()[1]
    assert [label.get_text() for label in heat.get_yticklabels()] == ["0", "1", "2"]
    limit = float(abs(dataset.layer_relevance).max())
    np.testing.assert_allclose((heat.images[0].norm.vmin, heat.images[0].norm.vmax), (-limit, limit))


def test_a_method_without_layers_is_drawn_without_a_heat_map():
    """Nothing is made up."""
    figure = draw_explanation(sample_explanation(method="ig"))

    assert len(figure.axes) == 1


def test_the_text_of_a_picture_is_the_text():
    """Every token, in order, on a box of its colour unless it hardly counts."""
    dataset = with_relevance(sample_explanation(), [0, 1, 0.5, 0.5, 0.5, 0, -1, 0.001, 0, 0])

    figure = draw_explanation(dataset, tokens=True)

    words = [text.get_text() for text in figure.texts if text.get_fontsize() == 11.0 and text.get_weight() != "bold"]
    assert words == ["[CLS]", "The", "un", "believ", "able", "plot", "bored", "nobody", ".", "[SEP]"]
    boxes = [
        patch for patch in figure.get_children() if type(patch).__name__ == "Rectangle" and patch is not figure.patch
    ]
    assert len(boxes) == 5 + 2  # and those of the legend: for, against
    for warm, cold in ((boxes[0], boxes[4]), boxes[5:]):
        red, _, blue, _ = warm.get_facecolor()
        assert red > blue
        red, _, blue, _ = cold.get_facecolor()
        assert blue > red


def test_every_word_of_a_picture_lies_inside_it():
    """Long words are broken, long texts take more lines."""
    dataset = sample_explanation(tokens=["a" * 400, *(f"word{i}" for i in range(80))], n_layers=2, detail=())
    figure = draw_explanation(dataset, tokens=True)
    renderer = figure.canvas.get_renderer()

    for text in figure.texts:
        box = text.get_window_extent(renderer)
        assert box.x1 <= figure.bbox.x1
        assert box.y0 >= 0
    assert sum(text.get_text().count("a") for text in figure.texts if set(text.get_text()) == {"a"}) == 400


def test_pieces_of_a_word_stay_on_one_line():
    """As in print: lines break at blanks."""
    n_words, size = 60, 16
    dataset = sample_explanation(tokens=["in", "comprehensible"] * n_words, n_layers=2, detail=())
    starts = [word * (size + 1) + offset for word in range(n_words) for offset in (0, 2)]
    stops = [start + length for start, length in zip(starts, (2, 14) * n_words, strict=True)]
    dataset = dataset.assign_coords(start=("token", starts), stop=("token", stops))
    dataset.attrs["text"] = " ".join(["incomprehensible"] * n_words)

    figure = draw_explanation(dataset, tokens=True)

    firsts, lasts = (
        [text.get_position()[1] for text in figure.texts if text.get_text() == piece]
        for piece in ("in", "comprehensible")
    )
    assert len(firsts) == n_words
    assert len(set(firsts)) > 2
    assert firsts == lasts


def test_ink_is_chosen_for_contrast():
    """At least 4.5 on any colour, as WCAG asks for small text: the better of black and white never falls below."""
    for red in range(0, 256, 15):
        for green in range(0, 256, 15):
            colour = (red / 255, green / 255, 0.5)
            ground = float(
                linear("#" + "".join(f"{round(255 * part):02x}" for part in colour)) @ [0.2126, 0.7152, 0.0722]
            )
            ink = {"#000000": 0.0, "#ffffff": 1.0}[choose_ink(colour)]
            assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) >= 4.5


@pytest.mark.parametrize(("ending", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_the_same_explanation_gives_the_same_picture_file(tmp_path, ending, start):
    """Pictures can be kept under version control."""
    dataset = sample_explanation(tokens=[*HOSTILE, "b"], n_layers=2)

    first = save_explanation_picture(dataset, tmp_path / f"first{ending}").read_bytes()
    second = save_explanation_picture(dataset, tmp_path / f"second{ending}").read_bytes()

    assert first.startswith(start)
    assert first == second


def test_text_in_an_svg_stays_text(tmp_path):
    """It can be searched, and the reader's fonts draw what ours cannot."""
    svg = save_explanation_picture(sample_explanation(tokens=HOSTILE), tmp_path / "why.svg").read_text()

    assert ">ሰላም</text>" in svg
    assert ">日本語</text>" in svg
    assert ">$x_1$</text>" in svg
    assert "alert(1)</script>" not in svg


def test_a_picture_has_a_known_ending(tmp_path):
    """The ending picks the format."""
    with pytest.raises(FileError, match=r"\.png, \.svg, \.pdf"):
        save_explanation_picture(sample_explanation(), tmp_path / "why.jpg")


# Page


def decoded(page: str, key: str, n_tokens: int) -> np.ndarray:
    return np.frombuffer(blocks_of(page)[key], dtype="<f4").reshape(-1, n_tokens)


def test_the_page_holds_every_score_of_tokens_and_of_words():
    """What the script draws is what the result holds: relevance first, then the layers of every map."""
    dataset = sample_explanation(n_layers=3)
    words = dataset.lignite.merge_words()

    page = explanation_html(dataset)

    for key, expected in (("0-tokens-show", dataset), ("0-words-show", words)):
        rows = decoded(page, key, expected.sizes["token"])
        np.testing.assert_array_equal(rows[0], expected.relevance)
        np.testing.assert_array_equal(rows[1:4], expected.layer_relevance)
        np.testing.assert_array_equal(rows[4:7], expected.layer_ig)
        np.testing.assert_array_equal(rows[7], expected.output_ig)
    maps = meta_of(page)["entries"][0]["maps"]
    assert [(entry["name"], entry["first"], len(entry["rows"])) for entry in maps] == [
        ("layer_relevance", 1, 3), ("layer_ig", 4, 4),
    ]  # fmt: skip


def test_shared_special_tokens_keep_the_sum_of_every_row():
    """The third way of looking at them comes with the page."""
    dataset = sample_explanation()

    page = explanation_html(dataset)

    shown_rows, shared = (decoded(page, f"0-tokens-{kind}", 10) for kind in ("show", "share"))
    np.testing.assert_array_equal(shared[:, [0, 9]], 0)
    # the last row, above the last block, stands on a special token alone: nothing to share it by
    np.testing.assert_allclose(shared[:-1].sum(1), shown_rows[:-1].sum(1), rtol=1e-5)  # float32


def test_several_explanations_share_a_page():
    """Methods, targets, steps or texts side by side."""
    datasets = [sample_explanation(method=method) for method in ("ca-lig", "ig", "random")]

    page = explanation_html(datasets)

    assert re.findall(r"<td>(ca-lig|ig|random)[^<]*</td><td class=.n.>", page) == ["ca-lig", "ig", "random"]
    for number, dataset in enumerate(datasets):
        np.testing.assert_array_equal(decoded(page, f"{number}-tokens-show", 10)[0], dataset.relevance)
    with pytest.raises(OptionError, match="at least one"):
        explanation_html([])


def test_a_page_opens_as_asked():
    """The reader can still change it."""
    meta = meta_of(explanation_html(sample_explanation(), tokens=True, special="hide"))

    assert (meta["words"], meta["special"]) == (False, "hide")
    with pytest.raises(OptionError, match="special='no'"):
        explanation_html(sample_explanation(), special="no")


def test_the_page_needs_nothing_else_and_runs_no_strange_script():
    """No address to load from; tokens, classes and models are text."""
    dataset = sample_explanation(tokens=HOSTILE, classes=("<b>no</b>", "</script>yes"), label="</script>yes")
    dataset.attrs["model"] = "<img src=x onerror=alert(2)>"

    page = explanation_html(dataset)

    elements = Elements(page)
    assert {tag for tag, _ in elements.tags} & {"img", "link", "iframe", "object", "b"} <= {"b"}
    assert not any(name in ("src", "href", "onerror") for _, attributes in elements.tags for name in attributes)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
    assert [tag for tag, _ in elements.tags].count("script") == 3  # description, numbers, module
    view = json.loads(elements.scripts["meta"])["entries"][0]["views"]["tokens"]
    assert view["tokens"][:2] == list(HOSTILE[:2])
    assert view["tokens"][2] == r"\x1b[31mred"


def test_the_page_says_everything_without_a_script():
    """JavaScript may be switched off, the page printed, or read aloud: sentence, text, lists and layers stand in it."""
    dataset = with_relevance(sample_explanation(), [0, 1, 0, 5, 0, -3, 0, 0, -1, 0])

    page = static(explanation_html(dataset, tokens=True))

    (verdict,) = set(re.findall(r'<h2 class="answer">(.*?)</h2>', page))
    assert verdict == "The model says positive (88.4&nbsp;%)."
    assert "For positive: believ +5.00. Against: plot −3.00." in page
    text = re.search(r'<p class="text[^>]*data-view="tokens"[^>]*>(.*?)</p>', page)[1]
    assert re.findall(r'data-i="(\d)" class="([fa]\d+) ?"', text) == [
        ("1", "f3"),
        ("3", "f10"),
        ("5", "a7"),
        ("8", "a3"),
    ]
    for name, listed in (("for", ["believ", "The"]), ("against", ["plot", "."])):
        table = re.search(rf'data-name="{name}".*?</table>', page, re.DOTALL)[0]
        assert re.findall(r'<th scope="row"><bdi>(.*?)</bdi>', table) == listed
    layers = re.search(r'data-view="tokens" data-map="layer_ig".*?</table>', page, re.DOTALL)[0]
    assert re.findall(r"<tr data-row=.(\d+).", layers) == ["0", "4", "5", "6", "7"]
    assert len(re.findall(r"<td data-i=", layers)) == 5 * 10
    assert certificate_text(dataset) in page


def test_a_flow_too_large_for_the_page_is_left_out_with_a_word():
    """Never silently."""
    dataset = sample_explanation(method="relevance-flow")

    with_flow, without = explanation_html(dataset), explanation_html(dataset, max_bytes=100)

    flow = decoded(with_flow, "0-tokens-flow", 10).reshape(3, 10, 10)
    np.testing.assert_array_equal(flow, dataset.relevance_flow)
    assert "0-tokens-flow" not in blocks_of(without)
    assert "Relevance flows are left out" in without
    assert "max_bytes" not in without  # no option that a reader of the page could raise
    assert "left out" not in re.sub(r"<script.*?</script>", "", with_flow, flags=re.DOTALL)


def test_numbers_that_are_none_do_not_break_the_page():
    """NaN is no JSON; a function of the output has no probability."""
    dataset = sample_explanation().drop_vars(["probability", "logit"])
    dataset.attrs |= {"value": float("nan"), "prediction": ""}

    page = static(explanation_html(dataset))

    assert "NaN" not in explanation_html(dataset).split('id="meta"')[1].split("</script>")[0]
    assert "nan" not in page
    assert "The likeliest classes" not in page


def test_a_frame_holds_the_whole_page_as_text():
    """In a notebook the page keeps its styles and scripts to itself."""
    framed = explanation_frame(sample_explanation(), height=500)

    attributes = Elements(framed).tags[0][1]
    assert attributes["srcdoc"] == explanation_html(sample_explanation())
    assert "allow-same-origin" not in attributes["sandbox"]


def test_a_page_of_512_tokens_is_small_and_quick_to_make(tmp_path):
    """Two views of 25 rows and 512 columns of 4 bytes in base64 are 137 kB; the rest is text, a table and scripts."""
    dataset = sample_explanation(tokens=[f"t{i}" for i in range(512)], n_layers=12, detail=())

    path = save_explanation_page(dataset, tmp_path / "why.html")

    assert path.stat().st_size < 350_000
