"""What a designer sees in the gallery: legends that name both sides, nothing cut, nothing in a computer's words."""

import io
import itertools
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from fontTools.fontBuilder import FontBuilder
from fontTools.ttLib.tables._g_l_y_f import Glyph
from matplotlib import pyplot
from matplotlib.patches import Rectangle
from rich.console import Console
from tests.kit.pages import static
from tests.kit.sample_evaluation import sample_evaluation
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_flow import sample_flow
from tests.kit.sample_image_explanation import sample_image_explanation, sample_image_flow

import lignite
from lignite.results.notebook import html_of_several
from lignite.views import drawing
from lignite.views.comparison.page import comparison_html
from lignite.views.comparison.picture import draw_comparison
from lignite.views.drawing import fonts_for
from lignite.views.evaluation.page import evaluation_html
from lignite.views.evaluation.picture import draw_curves
from lignite.views.evaluation.terminal import print_evaluation
from lignite.views.explanation.message import absent
from lignite.views.explanation.page import explanation_html
from lignite.views.explanation.picture import draw_explanation, save_explanation_picture
from lignite.views.explanation.terminal import print_explanation
from lignite.views.flow.page import flow_html
from lignite.views.flow.picture import draw_flow
from lignite.views.flow.terminal import print_flow
from lignite.views.notebook import card_of
from lignite.views.writer import Writer


def printed(dataset, **console) -> str:
    console = Console(file=io.StringIO(), **console)
    print_explanation(dataset, console=console)
    return console.file.getvalue()


def printed_flow(flow) -> str:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    print_flow(flow, console=console)
    return console.file.getvalue()


def compared():
    """A picture explained in two ways."""
    return lignite.compare(*(sample_image_explanation(method=method) for method in ("ig", "ca-lig")))


def words_of(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


@pytest.mark.parametrize(
    "legend",
    [
        lambda: re.search(r'<p class="key">.*?</p>', static(explanation_html(sample_explanation())))[0],
        lambda: card_of(sample_explanation()).replace("&nbsp;", ""),
        lambda: "\n".join(words_of(draw_explanation(sample_explanation()))),
        lambda: "\n".join(words_of(draw_explanation(sample_image_explanation()))).replace("seven", "positive"),
        lambda: printed(sample_explanation(), width=80, color_system="truecolor", force_terminal=True),
    ],
    ids=["page", "card", "picture", "image", "terminal"],
)
def test_a_legend_names_what_colours_speak_for_and_against(legend):
    """Against what? A picture on a slide stands alone."""
    told = legend()

    assert re.search("for positive", told)
    assert re.search("against positive", told)


def test_the_swatches_of_a_legend_stand_on_the_line_of_its_words():
    """Below it they seem to belong to what comes next."""
    figure = draw_explanation(sample_explanation())
    (word,) = [text for text in figure.texts if text.get_text() == "for positive"]
    boxes = [box for box in figure.artists if isinstance(box, Rectangle)]

    beside = min(
        boxes, key=lambda box: np.hypot(box.get_x() - word.get_position()[0], box.get_y() - word.get_position()[1])
    )

    assert beside.get_y() == pytest.approx(word.get_position()[1])


@pytest.mark.parametrize("width", [34, 40, 56, 80])
def test_a_narrow_terminal_has_fewer_columns_of_layers_and_cuts_none(width):
    """A number without its end is another number."""
    lines = printed(sample_explanation(n_layers=3), width=width, color_system=None).splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("layer "))

    for line in lines[start + 1 : start + 4]:
        assert re.fullmatch(r" +\d( +[+-]?\d[\d.e+-]*( %)?| +<0\.0001 %)*[ ·+-]+ \S+ [+-]\S+.*", line), line


def test_a_bar_too_short_to_tell_is_left_out():
    """Four blocks of the same length say that four numbers are the same."""
    assert "█" not in printed(sample_explanation(), width=40, color_system=None).split("by layer")[0]


# Pages


def continued() -> list:
    """A text that goes on twice."""
    texts = ["[CLS]", "a", "dull", "plot"], ["[CLS]", "a", "dull", "plot", "was"]
    return [
        sample_explanation(tokens=tokens, method="ig", label=label).assign(relevance=("token", scores))
        for tokens, label, scores in zip(
            texts, ("positive", "negative"), ([0.1, 0, 2, 0], [0.1, 0, 1, 0, 3]), strict=True
        )
    ]


def test_a_continuation_opens_with_what_was_written_and_why_and_can_be_saved():
    """A matrix alone is read by whoever knows what to look for."""
    page = static(explanation_html(continued()))

    first = page[: page.index("</section>")]
    assert re.search(r'data-card="continuation"', first)
    assert re.search(r'<h2 class="answer">The model goes on with \S+ \S+\.</h2>', first)
    assert re.search(r'<p class="sides">Most is due, of \S+ to dull \+2\.00, of \S+ to was \+3\.00\.</p>', first)


def test_the_settings_of_a_flow_stand_under_a_heading_and_not_before_its_answer():
    """`attention_start` says nothing to whoever wants to know what moved what."""
    page = static(flow_html(sample_flow()))

    assert page.index("<h1>") < page.index("target_token")
    assert page.index("<h1>") < page.index("worst gap")


def test_a_flow_in_which_nothing_stands_out_says_so_beside_its_colours():
    """The largest of equals would be as dark as a single cause."""
    tokens = [f"w{number}" for number in range(12)]
    even, one = (sample_flow(tokens=tokens, details=False) for _ in range(2))
    even["whole"][:] = even["composed"][:] = 1.0
    one["whole"][:] = one["composed"][:] = 0.01
    one["whole"][..., 4] = one["composed"][..., 4] = 5.0

    assert "spread evenly over 12 tokens: none stands out" in static(flow_html(even))
    assert "none carries more than" in static(flow_html(even))
    assert "spread evenly" not in static(flow_html(one))


def test_an_evaluation_says_who_is_best_before_it_says_of_what():
    """Checksums and seeds are for whoever doubts."""
    console = Console(file=io.StringIO(), width=80, color_system=None)
    print_evaluation(sample_evaluation(), console=console)

    page = static(evaluation_html(sample_evaluation()))

    assert console.file.getvalue().startswith("Best on seconds: ig 2.000.")
    assert page.index("Best on seconds: ig 2.000.") < page.index("sha256")
    assert any(text.startswith("Best on seconds: ig 2.000.") for text in words_of(draw_curves(sample_evaluation())))


@pytest.mark.parametrize(
    "told",
    [
        lambda: static(explanation_html(sample_image_explanation())),
        lambda: "\n".join(words_of(draw_explanation(sample_image_explanation()))),
        lambda: printed(sample_image_explanation(), width=80, color_system=None),
        lambda: card_of(sample_image_explanation()),
        lambda: static(flow_html(sample_image_flow())),
        lambda: "\n".join(words_of(draw_flow(sample_image_flow()))),
        lambda: printed_flow(sample_image_flow()),
        lambda: card_of(sample_image_flow()),
        lambda: static(comparison_html(compared())),
        lambda: card_of(compared()),
        lambda: "\n".join(words_of(draw_comparison(compared()))),
    ],
    ids=[
        "page",
        "picture",
        "terminal",
        "card",
        "flow page",
        "flow picture",
        "flow terminal",
        "flow card",
        "comparison page",
        "comparison card",
        "comparison picture",
    ],
)
def test_whoever_reads_the_name_of_a_patch_is_told_where_it_is(told):
    """r2c5 is nobody's word."""
    assert re.search(r"r2c5: the patch in row 2,\s+column 5", told())


def test_colours_of_a_comparison_are_named_by_what_all_sides_explain():
    """For what? Only where sides explain different classes there is no name for it."""
    same = lignite.compare(*(sample_explanation(seed=at, method="ig") for at in (0, 1)))
    apart = lignite.compare(*(sample_explanation(method="ig", label=label) for label in ("positive", "negative")))

    for told in (
        static(comparison_html(same)),
        card_of(same).replace("&nbsp;", ""),
        "\n".join(words_of(draw_comparison(same))),
    ):
        assert "for positive" in told
        assert "against positive" in told
    assert ">&nbsp;against&nbsp;<" in comparison_html(apart)


def test_a_terminal_lists_no_patches_and_leaves_out_no_single_token():
    """Sixty-four names of places say nothing; "1 left out" is longer than what it leaves out."""
    image = printed_flow(sample_image_flow())
    long = printed_flow(sample_flow(tokens=[f"w{at}" for at in range(65)], details=False))

    assert "1 r0c0  2 r0c1" not in image
    assert "w48" in long
    assert "left out" not in long


def test_a_start_of_average_words_is_told_in_words():
    """`mean-embedding` is how an option spells it."""
    dataset = sample_explanation()
    dataset.attrs["request"] = json.dumps({"baseline": "mean-embedding", "orders": True})

    assert absent(dataset) == "words read as the average word or deleted"


# Notebooks


def test_a_list_of_results_is_shown_as_their_answers_and_any_other_list_as_a_list():
    """A continuation is a list; its text was four screens of coordinates."""
    told = html_of_several(continued())

    assert "The model goes on with" in told
    assert told.count('class="lignite-card"') == 3
    assert "and 2 more" in html_of_several([sample_explanation()] * 10)
    assert html_of_several([1, 2]) is html_of_several([]) is html_of_several([xr.Dataset()]) is None


def test_a_cell_sets_its_numbers_and_calls_a_patch_a_patch():
    """As pages do."""
    sample = sample_evaluation()
    below = replace(sample, table=sample.table.assign(mean=-0.5, low=-0.7, high=-0.4))

    assert "-0.500" not in card_of(below)
    unsure = replace(sample, table=sample.table.assign(low=np.nan, high=np.nan))
    assert not re.search("±[–<]", card_of(unsure) + static(evaluation_html(unsure)))
    assert "receives from each patch, layer by layer" in card_of(sample_image_flow())


def test_a_cell_shows_of_many_tokens_those_that_give_most():
    """The first of two hundred patches are the sky."""
    flow = sample_flow(tokens=[f"w{number}" for number in range(40)], details=False)
    flow["whole"][:, -1, 33] = 9.0

    card = card_of(flow)

    assert "<th>w33</th>" in card
    assert card.count("<th>w") == 16
    assert "24 that give less are left out" in card


# Pictures


def test_a_font_that_was_installed_since_matplotlib_looked_is_found(tmp_path, monkeypatch):
    """Its list of fonts is written once; a reader of Gothic who installs a font would go on seeing boxes."""
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "ahsa"])
    builder.setupCharacterMap({0x10330: "ahsa"})
    builder.setupGlyf({".notdef": Glyph(), "ahsa": Glyph()})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "ahsa": (500, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Sans of a test", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWeightClass=400)
    builder.setupPost()
    builder.save(tmp_path / "new.ttf")
    monkeypatch.setattr(drawing.fontManager, "ttflist", list(drawing.fontManager.ttflist))
    monkeypatch.setattr(drawing, "findSystemFonts", lambda: [str(tmp_path / "new.ttf")])
    drawing._installed.cache_clear()

    try:
        families, missing = fonts_for("a\U00010330")
    finally:
        drawing._installed.cache_clear()

    assert families[-1] == "Sans of a test"
    assert missing == frozenset()


def test_letters_of_a_pdf_are_a_font_and_not_drawings(tmp_path):
    """Publishers refuse Type 3, and nobody finds a word in it."""
    save_explanation_picture(sample_explanation(), tmp_path / "why.pdf")

    written = (tmp_path / "why.pdf").read_bytes()

    assert b"/Subtype /Type3" not in written
    assert b"/FontFile2" in written


def test_the_number_of_a_word_that_is_read_from_the_right_stays_behind_it():
    """In a sentence from the left; else `+2.00` stands before its word, its sign behind."""
    words = words_of(draw_explanation(sample_explanation(tokens=["جدا", "رائعا"], method="ig")))

    (sides,) = [text for text in words if text.startswith("For positive")]
    assert re.search("جدا\u200e [+-]", sides)
    assert "جدا" in words  # the word of the text itself is left as it is


@pytest.mark.parametrize(
    "figure",
    [
        lambda: draw_explanation(sample_explanation(tokens=["-5", "degrees"], method="ig")),
        lambda: draw_explanation(sample_image_explanation()),
        lambda: draw_flow(sample_flow()),
        lambda: draw_curves(sample_evaluation()),
        lambda: (
            lignite.compare(*(sample_explanation(seed=at, method="ig") for at in (0, 1)))
            .lignite.plot("differences")
            .figure
        ),
    ],
    ids=["text", "image", "flow", "evaluation", "differences"],
)
def test_a_picture_sets_every_minus_of_a_number_as_long_as_a_plus_and_leaves_the_text_alone(figure):
    """-0.926 beside +1.70 looks like a mistake on a slide; what somebody wrote is not ours to set."""
    drawn = figure()
    drawn.canvas.draw()

    words = words_of(drawn)
    assert [word for word in words if re.search(r"(?<![\w])-\d", word) and not word.startswith("-5")] == []
    assert ("-5" in words) == any("degrees" in word for word in words)


def test_names_of_a_graph_are_as_small_as_their_rows():
    """Sixty-four over each other are a black bar."""
    _, axes = pyplot.subplots(figsize=(6, 2.4))
    sample_flow(tokens=[f"w{at}" for at in range(60)], details=False).lignite.plot("flow", axes, k=400)
    axes.figure.canvas.draw()

    boxes = [label.get_window_extent() for label in axes.get_yticklabels() if label.get_text()]
    names = [label.get_text() for label in axes.get_yticklabels() if label.get_text()]
    assert len(names) == 2 * len(set(names))  # left and right
    assert axes.get_ylim()[0] == pytest.approx(59.6)  # no rows beyond the sixty
    ends = sorted({(box.y0, box.y1) for box in boxes})  # the same on the left and on the right
    assert len(ends) > 10
    assert all(below[1] <= above[0] for below, above in itertools.pairwise(ends))
    pyplot.close(axes.figure)


def test_zero_is_printed_in_no_colour():
    """It speaks neither for nor against."""
    writer = Writer(Console(file=io.StringIO(), force_terminal=True, color_system="truecolor"))

    assert [bool(writer.sign_style(value)) for value in (0.5, -0.5, 0.0)] == [True, True, False]


def test_panels_of_one_measure_share_its_scale():
    """A curve that falls lower has to end lower, in whatever row it stands."""
    sample = sample_evaluation()
    lower = sample.curves.assign(fill="pad", **{name: sample.curves[name] / 4 for name in ("mean", "low", "high")})

    figure = draw_curves(replace(sample, curves=pd.concat([sample.curves, lower])))

    assert len(figure.axes) == 4
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert figure.legends[0].get_title().get_text().startswith("sample, 3 examples of three.jsonl")


def test_an_overlay_says_what_its_colours_speak_for():
    """Alone in a paper it has no page around it."""
    axes = sample_image_explanation().lignite.plot("overlay")

    told = [text.get_text() for text in axes.get_legend().get_texts()]
    assert told == ["for positive", "against positive"]


def test_a_comparison_goes_into_a_tracker_as_its_picture_and_its_agreement(tmp_path):
    """Two checkpoints of one training are what a tracker is for."""
    one, other = (sample_explanation(seed=seed, method="ig") for seed in (0, 1))
    given = {"text": [], "image": [], "scalar": []}
    writer = SimpleNamespace(
        add_histogram=None,
        add_text=lambda name, text, step: given["text"].append(text),
        add_image=lambda name, pixels, step, dataformats: given["image"].append(pixels.shape),
        add_scalar=lambda name, value, step: given["scalar"].append(name),
    )

    lignite.log(lignite.compare(one, other, names=["one", "other"]), writer)

    assert given["text"][0].startswith("one and other")
    assert len(given["image"]) == 1
    assert "lignite/one, other/rank correlation" in given["scalar"]
