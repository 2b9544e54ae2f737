"""Context sensitivity on models whose answer to any order of words can be written down."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from tests.kit.bag_of_words import asked, bag_of_words, oracle

import lignite
from lignite.errors import InputError, OptionError
from lignite.metrics.asking.context import context_sensitivity
from lignite.targets.ask import ask
from lignite.targets.rows import Row

EXACT = {"rtol": 1e-12, "atol": 1e-12}  # float64 sums of a handful of numbers of order ten
WEIGHTS = {"good": 8.0, "bad": -6.0, **{f"w{number}": number / 16 for number in range(1, 9)}}
TEXT = "w1 w8 w7 good bad w6 w5 w2 w4 w3"
"""The evidence stands at places 4 and 5 of the input; w1 to w4, the lower half by size, at 1, 8, 10 and 9."""


@pytest.fixture
def bag():
    return bag_of_words(WEIGHTS)


def words_of(row):
    return list(row.encoded.tokens.text)


def shuffled_rows(model, rows, **options):
    """What was asked to be explained, context by context, and the result."""
    seen = []

    def explain(several):
        seen.extend(several)
        return oracle(model, several)

    found = context_sensitivity(model, rows, explain, relevances=oracle(model, rows), **options)
    return seen, found


def test_an_explanation_by_word_alone_does_not_depend_on_context(bag):
    """The weights of a bag of words are its truth, and no order of the others changes them or the sum."""
    found = context_sensitivity(bag, asked(bag, TEXT), lambda rows: oracle(bag, rows))

    assert_allclose(found.rank_correlation, 1, **EXACT)
    for name in ("l1", "value_change", "probability_change", "label_change"):
        assert_allclose(found[name], 0, **EXACT)
    assert (found.moved > 0).all()
    assert found.n_evidence.values.tolist() == [2]


def test_changes_are_those_of_the_formula():
    """A word's number times its place: the answer moves with the context, the explanation made to halve does, too."""
    model = bag_of_words(WEIGHTS, by_position=True)
    rows = asked(model, TEXT)
    before = [np.array([0, 0, 0, 0, 8.0, -6.0, 0, 0, 0, 0, 0, 0])]
    seen = []

    def explain(several):
        seen.extend(several)
        return [before[0] / 2 + 1.0 for _ in several]

    found = context_sensitivity(model, rows, explain, relevances=before, n_shuffles=4).sel(context="all").squeeze()

    def value(row):
        return sum(place * WEIGHTS.get(word, 0.0) for place, word in enumerate(words_of(row)))

    every = np.array([value(row) for row in seen[:4]])
    whole = value(rows[0])
    assert_allclose(found.value_change, abs(every - whole).mean(), **EXACT)
    chances = 1 / (1 + np.exp(-every))
    assert_allclose(found.probability_change, abs(chances - 1 / (1 + np.exp(-whole))).mean(), **EXACT)
    # 8 → 5 and −6 → −2: changes of 3 and 4 over a size of 14
    assert_allclose([found.l1, found.rank_correlation], [7 / 14, 1], **EXACT)


def test_a_label_that_turns_is_counted():
    """A sentence that says the opposite once its words are shuffled."""
    model = bag_of_words({"good": 1.0, "not": -2.0, "x": 0.0}, by_position=True)
    rows = asked(model, "x good good not x x")
    held = [[False, False, True, False, False, False, False, False]]

    found = context_sensitivity(model, rows, lambda several: oracle(model, several), evidence=held, n_shuffles=40)

    # 2 + 3 − 8 at first; afterwards 2 + place(good) − 2 place(not) over places 1, 3, 4, 5, 6
    positive = [2 + good - 2 * other > 0 for good in (1, 3, 4, 5, 6) for other in (1, 3, 4, 5, 6) if good != other]
    expected = np.mean(positive)
    turned = found.label_change.sel(context="all").item()
    assert 0 < turned < 1
    assert_allclose(turned, expected, atol=3 * np.sqrt(expected * (1 - expected) / 40), rtol=0)  # of 40 draws


def test_evidence_special_tokens_and_the_number_of_words_stay(bag):
    """Else it would be another text, or another place to look at."""
    seen, _ = shuffled_rows(bag, asked(bag, TEXT), n_shuffles=20)

    assert len(seen) == 40
    for row in seen:
        words = words_of(row)
        assert [words[place] for place in (0, 4, 5, 11)] == ["[CLS]", "good", "bad", "[SEP]"]
        assert sorted(words) == sorted(["[CLS]", *TEXT.split(), "[SEP]"])
        assert words != ["[CLS]", *TEXT.split(), "[SEP]"]


def test_only_unrelated_words_away_from_the_evidence_move_in_the_controlled_version(bag):
    """At least three from places 4 and 5 are 1, 8, 9, 10; of these w1 to w4 alone are in the lower half by size."""
    seen, found = shuffled_rows(bag, asked(bag, TEXT), n_shuffles=20, distance=3)

    original = ["[CLS]", *TEXT.split(), "[SEP]"]
    moved = {place for row in seen[20:] for place, word in enumerate(words_of(row)) if word != original[place]}
    assert moved == {1, 8, 9, 10}
    everywhere = {place for row in seen[:20] for place, word in enumerate(words_of(row)) if word != original[place]}
    assert everywhere == {1, 2, 3, 6, 7, 8, 9, 10}
    assert 0 < found.moved.sel(context="unrelated") <= 4 / 8


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"distance": 1}, {"w1", "w2", "w3", "w4"}),
        ({"distance": 2}, {"w1", "w4"}),
        ({"distance": 1, "unrelated": 0.25}, {"w1", "w2"}),
        ({"distance": 3, "unrelated": 1.0}, {"w1", "w6", "w4", "w7"}),
    ],
)
def test_relevance_and_distance_decide_what_is_unrelated(bag, options, expected):
    """One large word, however far away, stays; so does a small one beside the evidence, at places 3 and 6."""
    rows = asked(bag, "w1 w8 w2 good bad w3 w5 w6 w4 w7")

    seen, _ = shuffled_rows(bag, rows, n_shuffles=20, **options)

    original = words_of(rows[0])
    moved = {
        original[place] for row in seen[20:] for place, word in enumerate(words_of(row)) if word != original[place]
    }
    assert moved == expected


def test_words_of_several_tokens_move_whole():
    """Half a word in front of another half would be a new word."""
    model = lignite.load("tiny-sentiment")
    rows = ask(model, ["An unwatchable, joyless, overwrought mess of a thoroughly unfunny, mawkish film."])
    tokens = rows[0].encoded.tokens
    whole = {}
    for text, word in zip(tokens.text, tokens.word, strict=True):
        whole[word] = (*whole.get(word, ()), text)
    seen = []

    def explain(several):
        seen.extend(several)
        return [np.arange(row.n_tokens, dtype=float) for row in several]

    found = context_sensitivity(model, rows, explain, n_shuffles=10)

    assert max(map(len, whole.values())) > 1
    assert len(seen) == 1 + 20
    for row in seen[1:]:
        places, words = row.encoded.tokens, {}
        for text, word in zip(places.text, places.word, strict=True):
            words[word] = (*words.get(word, ()), text)
        assert words == whole
        runs = [word for place, word in enumerate(places.word) if place == 0 or places.word[place - 1] != word]
        assert len(runs) == len(set(runs)) + 1  # no word stands in two places but the special tokens' −1
    assert_allclose(found.rank_correlation, 1, **EXACT)


def test_a_word_with_something_inside_does_not_move(bag):
    """Its pieces would close up in the place of another word, or take in what stands between that one's."""
    (row,) = asked(bag, "w1 w2 w3 w4 w5 good")
    tokens = replace(row.encoded.tokens, word=(-1, 0, -1, 0, 1, 1, 2, -1))  # w1 and w3 are a word with w2 inside
    torn = Row(replace(row.encoded, tokens=tokens), row.objective)
    held = [[place in (2, 6) for place in range(8)]]

    seen, found = shuffled_rows(bag, [torn], evidence=held)

    assert seen == []
    assert np.isnan(found.moved).all()


def test_words_keep_to_their_text_of_a_pair():
    """A word of the question in the passage would carry the wrong token type."""
    model = lignite.load("tiny-sentiment")
    rows = ask(model, [("was it a very good film", "no it had a thin and dull plot")])
    seen = []

    def explain(several):
        seen.extend(several)
        return [np.arange(row.n_tokens, dtype=float) for row in several]

    context_sensitivity(model, rows, explain, n_shuffles=10)

    for row in seen[1:]:
        assert row.encoded.tokens.segment == rows[0].encoded.tokens.segment
        assert row.encoded.tensors["token_type_ids"].tolist() == rows[0].encoded.tensors["token_type_ids"].tolist()


def test_evidence_can_be_given(bag):
    """Human rationales instead of the explanation's own choice."""
    flags = [place in (1, 2, 3) for place in range(12)]

    seen, found = shuffled_rows(bag, asked(bag, TEXT), evidence=[flags])

    assert found.n_evidence.values.tolist() == [3]
    assert all(words_of(row)[1:4] == ["w1", "w8", "w7"] for row in seen)


@pytest.mark.parametrize(
    ("n_words", "keep", "kept"), [(2, 0.2, 2), (10, 0.2, 2), (11, 0.2, 3), (15, 0.2, 3), (25, 0.28, 7)]
)
def test_the_share_of_evidence_is_rounded_up_and_never_one_word(bag, n_words, keep, kept):
    """0.28 × 25 is a hair more than 7 in floating point, and a fifth of two words less than one."""
    text = " ".join(["w1", "w2"] * 13)[: 3 * n_words]

    found = context_sensitivity(bag, asked(bag, text), lambda rows: oracle(bag, rows), keep=keep, n_shuffles=1)

    assert found.n_evidence.values.tolist() == [kept]


def test_where_nothing_can_change_places_nothing_is_measured(bag):
    """Missing, not zero: a text of evidence alone, and one whose context is one word over and over."""
    seen, found = shuffled_rows(bag, asked(bag, "good bad", "good bad w1 w1 w1", TEXT), keep=0.1)

    assert np.isnan(found[["rank_correlation", "l1", "moved"]].isel(example=[0, 1]).to_array()).all()
    assert np.isfinite(found.l1.sel(context="all", example=2))
    assert {row.n_tokens for row in seen} == {12}


def test_shuffles_repeat_with_the_seed(bag):
    """And do not depend on what else is measured."""
    rows = asked(bag, TEXT, TEXT)

    first, _ = shuffled_rows(bag, rows[:1])
    again, _ = shuffled_rows(bag, rows)
    other, _ = shuffled_rows(bag, rows[:1], seed=1)

    assert [words_of(row) for row in first] == [words_of(row) for row in again[: len(first)]]
    assert [words_of(row) for row in first] != [words_of(row) for row in other]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"keep": 0.0}, OptionError, r"keep=0\.0 must be a share"),
        ({"n_shuffles": 0}, OptionError, "n_shuffles=0"),
        ({"evidence": [[True] * 3]}, InputError, "3 flags of evidence for 12 tokens"),
        ({"evidence": []}, InputError, "0 sets of evidence for 1 rows"),
        ({"relevances": [np.zeros(3)]}, InputError, r"shape \(3,\)"),
        ({"relevances": []}, InputError, "0 explanations of 1 rows"),
    ],
)
def test_bad_input_is_named(bag, options, error, message):
    """What was given, what was expected, what to do."""
    with pytest.raises(error, match=message):
        context_sensitivity(bag, asked(bag, TEXT), lambda rows: oracle(bag, rows), **options)
