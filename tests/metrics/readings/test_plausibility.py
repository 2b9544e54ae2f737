"""Agreement with people: small texts by hand, ERASER's definitions on fixtures of our own, scikit-learn's curves."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lignite.errors import InputError, NotFiniteError, OptionError
from lignite.inputs.tokens import Tokens
from lignite.metrics.readings.plausibility import (
    Rationale,
    plausibility,
    rationale_from_spans,
    runs,
    sign_agreement,
    span_f1,
    top,
)

EXACT = {"rtol": 1e-12, "atol": 1e-15}  # float64 on a handful of numbers

TEXT = "A truly unwatchable, joyless film."
TOKENS = Tokens(
    text=("[CLS]", "a", "truly", "un", "##watch", "##able", ",", "joy", "##less", "film", ".", "[SEP]"),
    position=tuple(range(12)),
    word=(-1, 0, 1, 2, 2, 2, 3, 4, 4, 5, 6, -1),
    special=(True, *[False] * 10, True),
    start=(-1, 0, 2, 8, 10, 15, 19, 21, 24, 29, 33, -1),
    stop=(-1, 1, 7, 10, 15, 19, 20, 24, 28, 33, 34, -1),
    padding=(False,) * 12,
    input=TEXT,
)


def flagged(*places: int) -> tuple[bool, ...]:
    return tuple(place in places for place in range(12))


def scored(**by_token: float) -> np.ndarray:
    names = [token.strip("#[]") for token in TOKENS.text]
    return np.array([by_token.get(name, 0.0) for name in names])


# Rationales


def test_a_token_that_shares_a_character_with_a_span_is_evidence():
    """People mark characters; "watchable" cuts through the middle of a word and takes in its pieces alone."""
    start = TEXT.index("watchable")

    marked = rationale_from_spans(TOKENS, [[start, start + 9], [21, 28]])

    assert marked.evidence == flagged(4, 5, 7, 8)
    assert marked.spans == ((4, 6), (7, 9))
    assert marked.counted == tuple(not special for special in TOKENS.special)


def test_special_tokens_are_no_evidence_even_where_somebody_typed_them():
    """They have a place in the text then, and a span that holds nothing else meets no token."""
    typed = Tokens(**{**vars(TOKENS), "special": tuple(place in (0, 6, 11) for place in range(12))})

    marked = rationale_from_spans(typed, [[15, 24]])

    assert marked.evidence == flagged(5, 7)
    with pytest.raises(InputError, match="19 to 20 meets no token"):
        rationale_from_spans(typed, [[19, 20]])


def test_spans_that_touch_stay_two_spans():
    """ERASER counts the spans people marked, not the stretches these happen to form."""
    marked = rationale_from_spans(TOKENS, [[8, 19], [19, 20], [8, 19]])

    assert marked.evidence == flagged(3, 4, 5, 6)
    assert marked.spans == ((3, 6), (6, 7))


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([[30, 40]], r"ends at 40, but the text has 34 characters: do spans count characters of this very text"),
        ([[7, 8]], "7 to 8 meets no token"),
        ([[5, 5]], "5 to 5; expected 0 <= start < stop"),
        ([[-1, 5]], "-1 to 5; expected"),
        ([[1, 2, 3]], r"is \[1, 2, 3\]; expected \[start, stop\]"),
    ],
)
def test_spans_that_do_not_fit_the_text_are_refused(spans, message):
    """A rationale made for another text would be scored without a word otherwise."""
    with pytest.raises(InputError, match=message):
        rationale_from_spans(TOKENS, spans)


def test_without_places_or_text_only_what_is_known_is_checked():
    """Slow tokenizers give no places; results of a file have no text, so the last token ends it."""
    nowhere = Tokens(**{**vars(TOKENS), "start": (-1,) * 12, "stop": (-1,) * 12})
    textless = Tokens(**{**vars(TOKENS), "input": ""})

    with pytest.raises(InputError, match=r"no places in the text.*leave the rationale out"):
        rationale_from_spans(nowhere, [[0, 1]])
    with pytest.raises(InputError, match="the text has 34 characters"):
        rationale_from_spans(textless, [[33, 35]])
    assert rationale_from_spans(textless, [[33, 35]], length=36).evidence == flagged(10)


# Scores

UNWATCHABLE = Rationale(flagged(3, 4, 5, 7), ((3, 6), (7, 8)), tuple(not special for special in TOKENS.special))
"""Four tokens in two stretches: un ##watch ##able, and joy."""


def test_token_f1_by_hand():
    """Of the four most relevant three were marked. [CLS], the largest, does not count; "film" speaks against."""
    relevance = scored(CLS=9.0, truly=5.0, un=4.0, joy=2.0, watch=1.0, film=-6.0)

    found = plausibility(relevance, UNWATCHABLE)

    assert_allclose(found["token_f1"], 3 / 4, **EXACT)
    assert top(relevance, UNWATCHABLE, 4).nonzero()[0].tolist() == [2, 3, 4, 7]


def test_token_f1_by_threshold_by_hand():
    """At least half of 5: truly, un, film; precision 1/3, recall 1/4. Nothing positive selects nothing."""
    relevance = scored(truly=5.0, un=4.0, film=2.5, joy=2.0)

    found = plausibility(relevance, UNWATCHABLE)
    none = plausibility(-relevance, UNWATCHABLE)
    lower = plausibility(relevance, UNWATCHABLE, threshold=0.4)

    assert_allclose([found["token_precision"], found["token_recall"]], [1 / 3, 1 / 4], **EXACT)
    assert_allclose(found["token_f1_threshold"], 2 / (3 + 4), **EXACT)
    assert (none["token_precision"], none["token_recall"], none["token_f1_threshold"]) == (0, 0, 0)
    assert_allclose(lower["token_f1_threshold"], 2 * 2 / (4 + 4), **EXACT)


def test_ties_stand_in_the_order_of_the_text():
    """Equal relevances give equal scores on every machine."""
    assert top(np.zeros(12), UNWATCHABLE, 3).nonzero()[0].tolist() == [1, 2, 3]


def test_iou_f1_by_hand():
    """Stretches [2, 5) and [7, 8) against [3, 6) and [7, 8): the first shares 2 of 4 tokens, the second is the same."""
    relevance = scored(truly=4.0, un=3.0, watch=2.0, joy=1.0)

    half = plausibility(relevance, UNWATCHABLE)
    strict = plausibility(relevance, UNWATCHABLE, overlap=0.51)

    assert runs(top(relevance, UNWATCHABLE, 4)) == [(2, 5), (7, 8)]
    assert (half["iou_precision"], half["iou_recall"], half["iou_f1"]) == (1, 1, 1)
    assert (strict["iou_precision"], strict["iou_recall"], strict["iou_f1"]) == (0.5, 0.5, 0.5)


def test_iou_over_a_data_set_averages_precision_and_recall_first():
    """ERASER's macro F1 is that of the means; its micro F1 counts all spans together."""
    human = [[(0, 4)], [(2, 4), (8, 10)], [(5, 6)]]
    predicted = [[(0, 2), (6, 7)], [(2, 4), (8, 9), (20, 30)], []]
    # right: [0, 2) shares 2 of 4; [2, 4) all, [8, 9) 1 of 2. Precision 1/2 and 2/3, recall 1, 1 and 0.
    precision, recall = (1 / 2 + 2 / 3) / 2, (1 + 1 + 0) / 3

    found = span_f1(predicted, human)

    assert_allclose([found["macro_precision"], found["macro_recall"]], [precision, recall], **EXACT)
    assert_allclose(found["macro_f1"], 2 * precision * recall / (precision + recall), **EXACT)
    assert_allclose([found["micro_precision"], found["micro_recall"]], [3 / 5, 3 / 4], **EXACT)
    assert_allclose(found["micro_f1"], 2 * 0.6 * 0.75 / 1.35, **EXACT)
    assert span_f1([[]], [[]])["macro_f1"] == 0.0


def test_areas_under_precision_and_recall_by_hand():
    """Ranked right, wrong, right of two marked: recall ½, ½, 1 at precision 1, ½, ⅔, from precision 1 at recall 0."""
    relevance, marked = np.array([3.0, 2.0, 1.0, 0.0]), (True, False, True, False)
    rationale = Rationale(marked, tuple(runs(marked)), (True,) * 4)

    found = plausibility(relevance, rationale)

    assert_allclose(found["auprc"], 0.5 * 1 + 0.5 * (1 / 2 + 2 / 3) / 2, **EXACT)
    assert_allclose(found["average_precision"], 0.5 * 1 + 0.5 * 2 / 3, **EXACT)


@pytest.mark.parametrize("seed", range(8))
def test_areas_are_those_of_scikit_learn(seed):
    """ERASER computes them with it: trapezoids under the curve, ties passing a threshold together."""
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(seed)
    n_tokens = int(generator.integers(3, 40))
    relevance = generator.normal(size=n_tokens).round(int(seed % 2))  # every second one with many ties
    marked = generator.random(n_tokens) < 0.3
    marked[0] = True
    rationale = Rationale(tuple(marked.tolist()), tuple(runs(marked)), (True,) * n_tokens)

    found = plausibility(relevance, rationale)

    precision, recall, _ = metrics.precision_recall_curve(marked, relevance)
    assert_allclose(found["auprc"], metrics.auc(recall, precision), **EXACT)
    assert_allclose(found["average_precision"], metrics.average_precision_score(marked, relevance), **EXACT)


def test_without_marked_tokens_nothing_is_right_or_wrong():
    """A text that nobody gave a reason for says nothing of a method; zeros would count against all."""
    nothing = rationale_from_spans(TOKENS, [])

    found = plausibility(scored(truly=1.0), nothing)

    assert np.isnan(list(found.values())).all()


def test_special_tokens_do_not_bridge_two_texts():
    """The last word of a question and the first of a passage are no stretch."""
    evidence, counted = (False, True, False, True, False), (False, True, False, True, False)
    rationale = Rationale(evidence, ((1, 2), (3, 4)), counted)

    found = plausibility(np.array([0, 1.0, 5.0, 1.0, 0]), rationale)

    assert runs(top(np.array([0, 1.0, 5.0, 1.0, 0]), rationale, 2)) == [(1, 2), (3, 4)]
    assert (found["iou_f1"], found["token_f1"], found["auprc"]) == (1, 1, 1)


# Signs


def test_sign_agreement_by_hand():
    """Pieces of a word are added up: 3 − 1 − 1 speaks for. Two of three words against, one of one for."""
    relevance = scored(un=3.0, watch=-1.0, able=-1.0, joy=-1.0, less=-1.0, truly=2.0, film=-0.5)
    labels = [[8, 19, -1], [21, 28, -1], [29, 33, -1], [2, 7, 1], [0, 1, 0]]

    found = sign_agreement(relevance, TOKENS, labels)

    assert_allclose(found["sign_agreement"], 3 / 4, **EXACT)
    assert_allclose(found["sign_agreement_balanced"], (2 / 3 + 1) / 2, **EXACT)
    assert found["n_words"] == 4


def test_an_explanation_without_signs_agrees_half_of_the_time_when_balanced():
    """Attention weights are all positive; where most words speak for, the plain share would flatter them."""
    labels = [[0, 1, 1], [2, 7, 1], [29, 33, 1], [21, 28, -1]]

    positive, silent = sign_agreement(np.ones(12), TOKENS, labels), sign_agreement(np.zeros(12), TOKENS, labels)

    assert (positive["sign_agreement"], positive["sign_agreement_balanced"]) == (0.75, 0.5)
    assert (silent["sign_agreement"], silent["sign_agreement_balanced"]) == (0.5, 0.5)


def test_without_labels_of_both_signs_there_is_no_balance():
    """Undefined is not zero."""
    one_sided = sign_agreement(np.ones(12), TOKENS, [[0, 1, 1]])
    none = sign_agreement(np.ones(12), TOKENS, [[0, 1, 0]])

    assert one_sided["sign_agreement"] == 1
    assert np.isnan([one_sided["sign_agreement_balanced"], none["sign_agreement"]]).all()
    assert none["n_words"] == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: plausibility(np.zeros(10), UNWATCHABLE), InputError, r"shape \(10,\) do not fit the 12 tokens"),
        (lambda: plausibility(np.full(12, np.nan), UNWATCHABLE), NotFiniteError, "relevance of token 0"),
        (lambda: plausibility(np.zeros(12), UNWATCHABLE, threshold=0.0), OptionError, r"threshold=0\.0"),
        (lambda: plausibility(np.zeros(12), UNWATCHABLE, overlap=1.5), OptionError, r"overlap=1\.5"),
        (lambda: span_f1([[]], []), InputError, "1 predictions for 0 rationales"),
        (lambda: sign_agreement(np.zeros(12), TOKENS, [[0, 1, 2]]), InputError, r"\[0, 1, 2\]; expected"),
        (lambda: sign_agreement(np.zeros(12), TOKENS, [[0, 99, 1]]), InputError, "ends at 99"),
    ],
)
def test_bad_input_is_named(call, error, message):
    """What was given, what was expected, what to do."""
    with pytest.raises(error, match=message):
        call()
