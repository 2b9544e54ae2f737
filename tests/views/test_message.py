"""Every view says the answer first, in words that a reader knows, and a sum that leads to it."""

import io
import json

import numpy as np
import pytest
import xarray as xr
from rich.console import Console
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_flow import sample_flow
from tests.kit.sample_image_explanation import sample_image_explanation

from lignite.results.spelling import readable
from lignite.views.explanation.facts import arrange
from lignite.views.explanation.message import absent, message
from lignite.views.explanation.page import explanation_html
from lignite.views.explanation.picture import draw_explanation
from lignite.views.explanation.terminal import print_explanation
from lignite.views.flow.facts import answer, strongest
from lignite.views.flow.facts import arrange as arrange_flow
from lignite.views.flow.page import flow_html
from lignite.views.flow.terminal import print_flow
from lignite.views.labels import limit_of


def scored(values, **options) -> xr.Dataset:
    """An explanation whose scores add up to its answer of 2.5."""
    dataset = sample_explanation(method="ig", dtype="float64", **options)
    total = float(np.sum(values))
    return dataset.assign(
        relevance=("token", np.asarray(values, dtype="float64")), total_displacement=total, total_gap=0.0,
        probability=("class", [0.3, 0.7]),
    )  # fmt: skip


def printed(dataset: xr.Dataset, *, width: int = 80, **options) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_explanation(dataset, console=console, **options)
    return console.file.getvalue()


SPEAKING = [9.0, 0, 1, 1, 1, -0.5, -2, 0, 0, 0]
"""[CLS] loudest, then "unbelievable" in three pieces, and "bored" against it."""


def test_the_answer_stands_first_with_who_speaks_for_and_against_it():
    """In ten seconds a reader knows what the model says and why."""
    said = message(arrange(scored(SPEAKING)))

    assert said.text == ("The model says positive (70.0 %). For positive: unbelievable +3.00. Against: bored -2.00.")
    assert printed(scored(SPEAKING)).startswith("The model says positive (70.0 %).\nFor positive: unbelievable")


def test_another_class_than_the_predicted_one_is_asked_for_by_its_name():
    """Or what speaks for it is read as speaking for the answer."""
    said = message(arrange(scored(SPEAKING).assign_attrs(prediction="negative")))

    assert said.verdict == "The model says negative (30.0 %). Asked was positive, to which it gives 70.0 %."


def test_where_nothing_speaks_for_the_answer_what_is_against_it_says_against_what():
    """Whom it hurts is not left open."""
    said = message(arrange(scored([9.0, 0, 0, 0, 0, -0.5, -2, 0, 0, 0])))

    assert said.sides == "Against positive: bored -2.00, plot -0.500."


def test_a_full_stop_that_speaks_ends_no_sentence():
    """Against: acting -1.20, , -0.792 is read as a fault."""
    dataset = sample_explanation(method="ig", tokens=["bored", ",", "."], dtype="float64")
    dataset["relevance"][:] = [-1.2, -0.79, 2.0]

    assert message(dataset).sides == "For positive: “.” +2.00. Against: bored -1.20, “,” -0.790."


def test_start_for_against_and_end_add_up():
    """Whoever sees an answer of 2.5 beside "for +12" must see where the rest went."""
    steps = message(arrange(scored(SPEAKING))).steps

    assert [(step.kind, step.value) for step in steps] == [
        ("start", 2.5 - 9.5), ("for", 12.0), ("against", -2.5), ("end", 2.5),
    ]  # fmt: skip
    # -7 … 5 is the whole width of 12: the bars lie where the sum has got to
    np.testing.assert_allclose([(step.left, step.right) for step in steps], [
        (0, 7 / 12), (0, 1), (9.5 / 12, 1), (7 / 12, 9.5 / 12),
    ])  # fmt: skip


def test_scores_in_another_unit_than_the_answer_are_not_added_to_it():
    """Fused scores of CA-LIG are parts of each layer's largest."""
    dataset = sample_explanation(method="ca-lig")
    dataset.relevance[:] *= 3

    assert [step.kind for step in message(arrange(dataset)).steps] == ["start", "end"]


def test_a_result_outside_its_tolerance_says_so_before_anything_else():
    """On the result itself and in every view, not in a warning that scrolled away."""
    dataset = scored(SPEAKING).assign(total_gap=0.95)  # of 9.5
    expected = "Not settled: scores miss up to 10 % of what they explain, 0.1 % is allowed."

    assert message(arrange(dataset)).text.startswith(expected)
    assert printed(dataset).startswith(expected)
    assert any(text.get_text().startswith("Not settled") for text in draw_explanation(dataset).texts)
    assert expected in explanation_html(dataset)
    assert "Not settled" not in printed(scored(SPEAKING))


def test_a_flow_outside_its_tolerance_says_so_first_too():
    """The same of every kind of result."""
    dataset = sample_flow()
    dataset["whole_gap"][1, 3] = 0.5 * dataset["whole_displacement"][1, 3]
    console = Console(file=io.StringIO(), width=120, color_system=None)

    print_flow(dataset, console=console, tokens=True)

    assert console.file.getvalue().startswith("Not settled: 1 of 150 targets miss more than they may, whole up to 50")
    assert "Not settled: 1 of" in flow_html(dataset, tokens=True)


def test_special_tokens_are_ranked_only_where_that_is_asked_for():
    """[CLS] may hold most of the relevance, and says nothing to a reader of the text."""
    dataset = arrange(scored(SPEAKING))

    assert message(dataset, special=True).strongest_for[0].token == "[CLS]"
    listed = printed(scored(SPEAKING))
    assert "special tokens, not ranked  +9.00" in listed
    assert "0 [CLS]" in printed(scored(SPEAKING), special="rank")
    assert "0 [CLS]" not in listed


def test_nothing_is_named_where_nothing_stands_out():
    """A first among equals is chance."""
    even = [1.0, -1.1, 1.2, -1, 1, 1.1, 1, -1.3, 1]
    said = message(arrange(scored(even, tokens=list("abcdefghi"))))
    tokens = scored([30.0, *even], tokens=["[CLS]", *"abcdefghi"])
    beside = message(arrange(tokens.assign_coords(special=("token", [True, *[False] * 9]))))

    assert said.sides == beside.sides == "Spread evenly over 9 words: none stands out."


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"baseline": ["mask"]}, "words masked"),
        ({"baseline": ["mask", "pad"], "orders": True}, "words masked, padded or deleted"),
        ({"baseline": "tensor of 3 x 4"}, "baseline tensor of 3 x 4"),
        ({}, "at the start"),
    ],
)
def test_the_start_is_told_in_words(request_, expected):
    """Zero relevance means "as at the start"."""
    assert absent(sample_explanation().assign_attrs(request=json.dumps(request_))) == expected


def test_the_start_of_a_picture_is_told_in_patches():
    """Words are not what it is made of."""
    told = [
        absent(sample_image_explanation().assign_attrs(request=json.dumps({"baseline": [name]})))
        for name in ("mean", "mask", "blur")
    ]

    assert told == ["every patch the mean patch", "patches masked", "baseline blur"]


@pytest.mark.parametrize(
    ("tokens", "read"),
    [
        (("[CLS]", "un", "##believ", "##able", "."), ["[CLS]", "un", "believ", "able", "."]),
        (("[CLS]", "Ġun", "ét", "<0xC3>", "."), ["[CLS]", "un", "ét", "‹C3›", "."]),
        (("[CLS]", "▁un", "believ", "<0xD8>", "##"), ["[CLS]", "un", "believ", "‹D8›", "##"]),
    ],
)
def test_no_mark_of_a_tokenizer_is_shown(tokens, read):
    """Ġ, ## and <0xD8> are spelling, not text; where offsets are unknown they are decoded."""
    dataset = sample_explanation(tokens=tokens)
    nowhere = ("token", np.full(5, -1))
    dataset = dataset.assign_coords(start=nowhere, stop=nowhere, special=("token", [True, *[False] * 4]))

    assert readable(dataset).token.values.tolist() == read


def test_a_token_of_known_place_reads_as_the_text_does():
    """Case and accents that a tokenizer dropped are the reader's."""
    assert readable(sample_explanation()).token.values.tolist()[1:5] == ["The", "un", "believ", "able"]


def test_words_are_what_a_flow_is_about_unless_tokens_are_asked_for():
    """As for explanations."""
    words, tokens = (arrange_flow(sample_flow(), tokens=tokens) for tokens in (False, True))

    assert words.source_token.values.tolist()[2] == "unbelievable"
    assert tokens.source_token.values.tolist()[2:5] == ["un", "believ", "able"]


def test_special_tokens_are_not_ranked_in_a_flow():
    """Neither what they give nor what they receive, unless it is asked for or there is nothing else."""
    dataset = sample_flow(layers=[0])
    dataset["whole"][0] = 0.1
    dataset["whole"][0, 4, 0], dataset["whole"][0, 0, 6], dataset["whole"][0, 5, 7] = 9.0, 8.0, 7.0

    assert answer(arrange_flow(dataset, tokens=True), "whole").startswith("Strongest: nobody → plot in layer 0, +7.00")
    ranked = strongest(dataset, map="whole", layer=0, k=2, special=True)
    assert [(each.source, each.target) for each in ranked] == [(0, 4), (6, 0)]
    (alone,) = strongest(dataset.isel(target=[0]), map="whole", layer=0, k=1)
    assert (alone.source, alone.target) == (6, 0)


# Colours


def test_one_extreme_score_leaves_the_others_their_colours():
    """A scale that ends at the largest shows one token and eleven blanks."""
    values = np.array([100.0, 1, -2, 3, 0.5, -1, 1, 2, -3, 1, 1, -1])

    assert limit_of(values) == 4 * 3.0  # four times the largest but one
    assert limit_of(values[1:]) == 3.0
    console = Console(file=io.StringIO(), width=120, color_system="truecolor", force_terminal=True)
    print_explanation(scored(values, tokens=list("abcdefghijkl")), console=console)
    assert "1 score lies beyond" in console.file.getvalue()
    drawn = draw_explanation(scored(values, tokens=list("abcdefghijkl")))
    assert any("colours end at 12.0; 1 token lies beyond" in text.get_text() for text in drawn.texts)


def test_no_colour_on_a_terminal_means_numbers(monkeypatch):
    """NO_COLOR must not leave a reader without either."""
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="truecolor")

    print_explanation(scored(SPEAKING), console=console)

    assert "below each word its score: + for positive, - against it" in console.file.getvalue()
    assert "48;" not in console.file.getvalue()


def test_sixteen_colours_tell_strong_from_weak_and_for_from_against():
    """The nearest of sixteen to a shade may be the grey of the background."""
    dataset = scored([1.0, 0.4, 0.1, -0.1, -0.4, -1.0], tokens=["aa", "bb", "cc", "dd", "ee", "ff"])
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system="standard")

    print_explanation(dataset, console=console)

    text = console.file.getvalue()
    styles = {
        word: text[: text.index(f"m{word}\x1b")].rsplit("\x1b[", 1)[1] for word in ("aa", "bb", "cc", "dd", "ee", "ff")
    }
    assert styles == {
        "aa": "1;37;41", "bb": "30;43", "cc": "33", "dd": "36", "ee": "30;46", "ff": "1;37;44",
    }  # fmt: skip  # white on red, black on yellow, yellow; cyan, black on cyan, white on blue
