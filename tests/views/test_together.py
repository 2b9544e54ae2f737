"""Explanations that share a page belong together: classes and their differences, and a text as it is continued."""

import re

import numpy as np
import pytest
from tests.kit.pages import static
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_flow import sample_flow

from lignite.results.certificate import certificates
from lignite.views.explanation.facts import question
from lignite.views.explanation.page import explanation_html
from lignite.views.explanation.together import classes_of, continuation_of, difference
from lignite.views.flow.page import flow_html

CLASSES = ("negative", "positive", "neutral")


def of(label: str, **how):
    made = sample_explanation(label=label, classes=CLASSES, method="relevance-flow", seed=CLASSES.index(label), **how)
    return made.assign_attrs(prediction="positive")


def continued():
    """Two tokens that a model went on with, of a text of three."""
    texts = (["Once", "upon", "a"], ["Once", "upon", "a", "time"])
    return [sample_explanation(tokens=tokens, seed=at, method="ig") for at, tokens in enumerate(texts)]


def test_classes_of_one_text_stand_together_the_predicted_one_first():
    """Other texts, other methods and differences stay apart."""
    other = sample_explanation(classes=CLASSES, method="ig")

    assert classes_of([of("negative"), other, of("positive"), of("neutral", pair=True)]) == [[2, 0]]
    assert classes_of([of("positive"), of("positive")]) == []


def test_a_difference_is_what_its_name_says():
    """Scores and their certificates are subtracted; what may be missed adds up, since either side may."""
    first, second = of("positive"), of("negative")

    made = difference(first, second)

    np.testing.assert_array_equal(made.relevance, first.relevance - second.relevance)
    np.testing.assert_array_equal(made.relevance_flow, first.relevance_flow - second.relevance_flow)
    np.testing.assert_allclose(made.layer_relevance.sum("token"), made.displacement + made.gap, atol=1e-5)
    assert (question(made).name, question(made).unit) == ("positive − negative", "logit difference")
    assert made.attrs["value"] == first.attrs["value"] - second.attrs["value"]
    assert certificates(made)


def test_classes_of_one_text_are_named_once_and_led_to_without_a_script():
    """A table that repeats the chips is one list too many; of two texts it tells which is which."""
    one = [of(name) for name in CLASSES]
    page = static(explanation_html(one))
    two = static(explanation_html([*one, *(each.assign_attrs(text="another") for each in one)]))

    assert 'class="list entries"' not in page
    assert 'class="list entries"' in two
    led = set(re.findall(r'href="#(entry=\d)"', page))
    assert led == set(re.findall(r'<article[^>]* id="(entry=\d)"', page))


def test_a_page_of_classes_has_chips_for_each_and_for_the_differences():
    """Links, so that they work before any script does."""
    page = static(explanation_html([of("negative"), of("positive"), of("neutral")]))

    articles = page.split("<article")[1:]
    assert len(articles) == 5
    for article in articles:
        chips = re.search(r'<nav class="chips".*?</nav>', article, re.DOTALL)[0]
        assert re.findall(r'href="#entry=(\d)"', chips) == ["1", "0", "2", "3", "4"]
        assert "positive − negative" in chips
        assert "positive − neutral" in chips


def test_a_continuation_is_a_matrix_of_what_was_read_by_what_was_written():
    """A token that was not there yet has no cell."""
    datasets = continued()

    found = continuation_of(datasets)

    assert [number for number, _, _ in found.steps] == [0, 1]
    assert [token for token, _ in found.rows] == ["Once", "upon", "a", "time"]
    for column, dataset in enumerate(datasets):
        cells = [cells[column] for _, cells in found.rows]
        assert [cell[1] for cell in cells if cell] == pytest.approx(dataset.relevance.values.tolist())
    assert found.rows[3][1][0] is None
    page = static(explanation_html(datasets))
    assert re.search(r'data-open="1"><bdi>positive</bdi></a><small>\d+\.\d\xa0%</small>', page)
    assert continuation_of([of("positive"), of("negative")]) is None


@pytest.mark.parametrize("make", [explanation_html, flow_html])
def test_words_read_from_the_right_stand_by_themselves_beside_numbers(make):
    """Otherwise a browser draws the number on the word's other side, and its sign behind it."""
    words = ["הסרט", "נפלא", "ארוך"]
    dataset = sample_explanation(tokens=words) if make is explanation_html else sample_flow(tokens=words)

    page = static(make(dataset))

    for sentence in re.findall(r'<(?:p class="sides"|h1)>(.*?)</(?:p|h1)>', page):
        assert re.search("[א-ת]</bdi>", sentence)
        assert not re.search("[א-ת](?!</bdi>|[א-ת])", sentence)
    beside = re.findall(r"<(?:th scope=.row.|span class=.tok.)>([^<]*[א-ת][^<]*)<", page)
    assert beside == []


@pytest.mark.parametrize("make", [lambda: explanation_html(of("positive")), lambda: flow_html(sample_flow(seed=2))])
def test_a_page_writes_its_numbers_one_way(make):
    """A minus is as long as a plus; a hyphen beside it would be read as another thing."""
    shown = re.sub(r"<[^>]*>", " ", static(make()))

    assert "−" in shown
    assert not re.search(r"(?<!\S)-\d", shown)
    assert not re.search(r"\de[+-]\d", shown)
