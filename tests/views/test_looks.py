"""What a designer sees in the gallery: legends that name both sides, nothing cut, nothing in a computer's words."""

import io
import re

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from rich.console import Console
from tests.kit.pages import static
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_image_explanation import sample_image_explanation

from lignite.views.explanation.page import explanation_html
from lignite.views.explanation.picture import draw_explanation
from lignite.views.explanation.terminal import print_explanation
from lignite.views.notebook import card_of


def printed(dataset, **console) -> str:
    console = Console(file=io.StringIO(), **console)
    print_explanation(dataset, console=console)
    return console.file.getvalue()


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
