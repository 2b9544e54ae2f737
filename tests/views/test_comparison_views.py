"""Comparisons as people see them: the answer first, one scale, static, safe, and readable at any width."""

import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console
from tests.kit.pages import HOSTILE, Elements
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_flow import sample_flow
from tests.kit.sides import of_words

import lignite
from lignite.errors import OptionError
from lignite.views.comparison.facts import ExplanationSides, likeness
from lignite.views.comparison.page import comparison_html
from lignite.views.comparison.scatter import scatter_of
from lignite.views.comparison.terminal import print_comparison
from lignite.views.notebook import card_of
from lignite.views.tones import tone_of

TEXT = "the plot was thin but superb"
ONE, OTHER = (0.1, -0.5, 0.2, 2.0, -0.1, -1.0), (0.1, 0.6, 0.2, 1.9, -0.1, -1.2)


def methods():
    return lignite.compare(of_words(TEXT, ONE), of_words(TEXT, OTHER, method="occlusion"))


def pair():
    return lignite.compare(
        of_words("a good film", (0.5, 2.0, 0.1)), of_words("a very bad film", (0.2, -0.3, -1.5, 0.3))
    )


def several():
    texts = ("one two three", "four five six", "seven eight nine")
    return lignite.compare(
        *(
            [of_words(text, (1.0, 2.0, -number), method=name) for text in texts]
            for number, name in ((1, "ig"), (4, "x"))
        )
    )


def images():
    return lignite.compare(
        *(sample_explanation(seed=seed, method=name, grid=(2, 3)) for seed, name in ((0, "ig"), (1, "ca-lig")))
    )


def flows():
    return lignite.compare(sample_flow(seed=0), sample_flow(seed=1), names=("before", "after"))


EVERY = {"methods": methods, "pair": pair, "several": several, "images": images, "flows": flows}


def printed(dataset, *, width=80, **how):
    file = io.StringIO()
    print_comparison(dataset, console=Console(file=file, width=width, highlight=False, **how))
    return file.getvalue()


def test_the_answer_comes_first_and_names_where_sides_differ():
    """Who reads one line knows how alike they are; who reads two knows where not."""
    lines = printed(methods(), width=200).splitlines()

    assert lines[0].startswith("ig and occlusion weigh the words ")
    assert lines[1] == "occlusion differs most from ig at plot +0.600 instead of -0.500."


def test_a_word_that_only_one_side_has_is_said_so():
    """`instead of` nothing would be a lie."""
    found = lignite.compare(of_words("it is good", (0.1, 0.1, 2.0)), of_words("it is not good", (0.1, 0.1, -3.0, 1.5)))

    assert "not −3.00, which only “not” has" in ExplanationSides(found).apart[0]


@pytest.mark.parametrize(("value", "words"), [(1.0, "much alike"), (-1.0, "the other way round"), (np.nan, "no order")])
def test_a_correlation_is_said_in_words(value, words):
    """A number between −1 and 1 is no answer."""
    assert words in likeness(value)


def test_outliers_are_the_largest_differences_of_words():
    """By magnitude, special tokens left out."""
    assert [found.token for found in ExplanationSides(methods()).outliers(1, 2)] == ["plot", "superb"]


def test_every_side_reads_as_it_was_written():
    """Words, punctuation and blanks of its own text, not of the other's."""
    found = ExplanationSides(pair())

    texts = ["".join(piece for piece, _ in found.read(line)) for line in found.lines[:2]]

    assert texts == ["a good film", "a very bad film"]


def test_all_texts_are_coloured_on_one_scale():
    """A text in which nothing speaks loudly must not look as one in which something does."""
    sides = ([of_words("weak one", (0.1 * times, 0.0)), of_words("strong two", (2 * times, 0.0))] for times in (1, 1.1))

    page = comparison_html(lignite.compare(*sides, names=("a", "b")))

    weak, strong = (re.search(f'class="w ([^"]*)"[^>]*>{word}<', page).group(1) for word in ("weak", "strong"))
    assert (weak, strong) == (tone_of(0.1 / 2.2), tone_of(2 / 2.2))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("width", [40, 80])
def test_no_line_is_wider_than_the_terminal(name, width):
    """Forty columns are a phone."""
    assert max(map(len, printed(EVERY[name](), width=width).splitlines())) <= width


def test_without_colours_numbers_say_everything(monkeypatch):
    """NO_COLOR, a pipe, a printer."""
    plain = printed(methods(), no_color=True, force_terminal=True)

    assert "\x1b[3" not in plain.replace("\x1b[3m", "")
    assert "+0.600" in plain
    assert "+1.10" in plain  # the difference


@pytest.mark.parametrize("name", EVERY)
def test_a_terminal_writes_numbers_as_programs_read_them(name):
    """What it prints is copied: a minus there is the hyphen of a keyboard, in a comparison as in an explanation."""
    assert not {"−", "–"} & set(printed(EVERY[name]()))


def test_a_terminal_of_ascii_gets_a_hyphen():
    """A minus that it cannot print must not become an escape."""
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")

    print_comparison(methods(), console=Console(file=file, width=80))

    file.flush()
    shown = file.buffer.getvalue().decode()
    assert "-0.500" in shown
    assert "u2212" not in shown


@pytest.mark.parametrize("name", EVERY)
def test_the_page_is_static(name):
    """It is read without a script, in print, by a screen reader."""
    page = comparison_html(EVERY[name]())

    assert Elements(page).scripts == {}
    assert "script-src" not in page
    assert not re.search(r"\bnan\b|None", page)


def test_the_page_holds_every_word_with_every_number():
    """In text, not in colours alone."""
    page = comparison_html(methods())

    for word in TEXT.split():
        assert word in page
    for number in ("−0.500", "+0.600", "+1.10", "+2.00"):
        assert number in page
    assert "all scores add up" in page


def test_every_name_of_a_measure_is_explained():
    """A reader who does not know rank correlation finds it on the page."""
    assert "from −1 (the other way round) to 1" in comparison_html(methods())


def test_intervals_are_shown_where_there_are_several_texts():
    """And are not invented where there is one."""
    assert "mean over 3 texts with its 95 % bootstrap interval" in comparison_html(several())
    assert "bootstrap" not in comparison_html(methods())


@pytest.mark.parametrize("draw", [comparison_html, card_of, printed])
def test_hostile_words_do_nothing(draw):
    """Texts and names of models are others'."""
    words = [word.replace(" ", "_").replace("\n", "_") for word in HOSTILE]
    text = " ".join(words)
    scores = np.linspace(-1, 1, len(words))
    found = lignite.compare(
        of_words(text, scores, model="<b>m</b>"), of_words(text, scores[::-1].copy(), model="<i>n</i>"),
    )  # fmt: skip

    shown = draw(found)

    assert "\x1b[31m" not in shown
    if draw is printed:
        assert "[bold]x[/bold]" in shown
    else:
        assert "<script>alert" not in shown
        assert "<b>m</b>" not in shown
        assert "{{_7*7_}}" in shown


@pytest.mark.parametrize("name", EVERY)
def test_a_comparison_is_one_picture(tmp_path, name):
    """The same comparison gives the same bytes; fonts miss nothing unseen."""
    found, first, second = EVERY[name](), tmp_path / "one.png", tmp_path / "two.png"

    found.lignite.save(first)
    found.lignite.save(second)

    assert first.read_bytes()[:4] == b"\x89PNG"
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("name", EVERY)
def test_a_notebook_shows_it_in_its_cell(name):
    """Static, inside one element."""
    card = card_of(EVERY[name]())

    assert card.startswith('<div class="lignite-card">')
    assert Elements(card).scripts == {}


def test_a_scatter_puts_sides_on_one_scale():
    """The diagonal means agreement only where both axes are the same."""
    found = scatter_of(ExplanationSides(methods()), 1)

    same = [(x, y) for x, y, _ in found.points if abs(x - (100 - y)) < 1e-9]
    assert len(same) == 3  # the, was, but
    assert (found.low, found.high) == ("−2.00", "+2.00")
    assert {label.text for label in found.labels} >= {"plot", "superb"}


@pytest.mark.parametrize("kind", ["scatter", "differences"])
def test_plots_draw_into_axes_of_ones_own(kind):
    """A figure of several panels."""
    axes = Figure().subplots()

    assert methods().lignite.plot(kind, axes, side="occlusion") is axes
    with pytest.raises(OptionError, match="nobody"):
        methods().lignite.plot(kind, axes, side="nobody")


def test_a_comparison_has_no_questions_of_its_own():
    """Its rows belong to several results: each is asked by itself."""
    with pytest.raises(OptionError, match="made of"):
        methods().lignite.merge_words()


def test_a_table_for_a_spreadsheet_has_a_column_for_each_side(tmp_path):
    """Scores, shares and differences, word by word."""
    methods().lignite.save(tmp_path / "x.csv")

    head, *rows = (tmp_path / "x.csv").read_text().splitlines()
    assert "relevance: ig" in head
    assert "difference: occlusion" in head
    assert len(rows) == 6


def test_sides_that_are_not_settled_say_so_first():
    """Else their difference is taken for one of the model."""
    off = of_words(TEXT, OTHER, method="occlusion")
    off["total_gap"] = off["total_gap"] + 1.0

    lines = printed(lignite.compare(of_words(TEXT, ONE), off), width=200).splitlines()

    assert lines[0].startswith("Not settled: occlusion")


def test_three_sides_are_told_by_the_closest_and_the_furthest():
    """A matrix is no sentence."""
    sides = [of_words(TEXT, scores, method=name) for name, scores in (("a", ONE), ("b", ONE), ("c", OTHER[::-1]))]

    assert ExplanationSides(lignite.compare(*sides)).verdict.startswith(
        "Of these, closest are a and b (rank correlation 1.00)"
    )
