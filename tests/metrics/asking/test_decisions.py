"""What changes a decision is found by asking, and holds nothing that is not needed."""

from types import SimpleNamespace

import pytest

import lignite
from lignite.errors import InputError
from lignite.metrics.asking.decisions import Answer, Part, TextEdits, check_decides, find_without, neighbours

YES = 0


class Rule:
    """A model that decides "no" when a rule holds of what is gone; it counts how often it was asked."""

    def __init__(self, holds, unasked=lambda gone: False):
        self.holds, self.unasked, self.asked = holds, unasked, 0

    def answers(self, sets):
        self.asked += len(sets)
        return [
            None
            if self.unasked(gone)
            else Answer("yes", YES, 0.9, 0.9)
            if not self.holds(gone)
            else Answer("no", 1, 0.9, 0.1)
            for gone in sets
        ]


@pytest.mark.parametrize("needed", [{0}, {2, 5}, {0, 1, 2}, {7}])
def test_the_words_that_decide_are_found_and_no_others(needed):
    """Taken out along an order that names others first; those are put back."""
    found, _ = find_without(Rule(lambda gone: needed <= gone), range(8), YES)

    assert found.gone == needed
    assert found.answer.decision == "no"


def test_a_set_of_which_any_two_decide_keeps_two():
    """Whatever can stay, stays: no word of the set is needless."""
    found, _ = find_without(Rule(lambda gone: len(gone & {1, 3, 4, 6}) >= 2), range(8), YES)

    assert len(found.gone) == 2


def test_a_decision_that_moves_back_is_met_where_it_first_moves():
    """More taken out may restore the decision; the first set that changes it counts."""
    found, _ = find_without(Rule(lambda gone: 2 in gone and 6 not in gone), range(8), YES)

    assert found.gone == {2}


def test_where_nothing_changes_it_the_largest_part_is_told():
    """A text must stay one: what would leave nothing is not asked."""
    found, largest = find_without(Rule(lambda gone: False, unasked=lambda gone: len(gone) > 5), range(8), YES)

    assert found is None
    assert largest.gone == {0, 1, 2, 3, 4}


def test_a_long_text_costs_few_questions():
    """Coarse first, then what lies between: not one question for every word."""
    rule = Rule(lambda gone: {100} <= gone)

    found, _ = find_without(rule, range(400), YES)

    assert found.gone == {100}
    assert rule.asked < 400


@pytest.mark.parametrize(
    ("text", "gone", "left"),
    [
        ("The plot was thin, but good.", ["thin"], "The plot was, but good."),
        ("The plot was thin.", ["The"], "plot was thin."),
        ("so so good", ["so"], "so good"),
        ("映画は良い", ["良い"], "映画は"),
    ],
)
def test_a_text_without_a_word_is_a_text(text, gone, left):
    """No doubled blanks, no blank before a comma; scripts without blanks lose the word alone."""
    parts = [Part(0, text.index(word), text.index(word) + len(word)) for word in gone]

    assert TextEdits(None, (text,), parts, None).without(frozenset(range(len(parts)))) == (left,)


def test_a_text_without_letters_is_not_asked():
    """What a model says of a full stop tells nothing."""
    edits = TextEdits(
        None, ("A film.",), [Part(0, 0, 1), Part(0, 2, 6)], SimpleNamespace(objective=SimpleNamespace(index=0))
    )

    assert edits.answers([frozenset([0, 1])]) == [None]


def test_the_second_of_two_texts_keeps_the_first():
    """A pair is asked as a pair."""
    edits = TextEdits(None, ("A film.", "A plot."), [Part(1, 2, 6)], None)

    assert edits.without(frozenset([0])) == ("A film.", "A.")


def test_neighbours_are_whole_words_and_never_the_word_itself():
    """A piece of a word in the place of a word is no text that anybody writes."""
    found = neighbours(lignite.load("tiny-sentiment"), "superb", 20)

    assert len(found) == 20
    assert "superb" not in found
    assert all(word.isalpha() and len(word) >= 3 for word in found)


@pytest.mark.parametrize(
    ("kind", "link", "words"),
    [("span", "softmax", "place in the text"), ("class", "sigmoid", "several labels"), ("class", "none", "a number")],
)
def test_what_is_no_decision_among_several_is_refused(kind, link, words):
    """A report tells what else would have been decided."""
    with pytest.raises(InputError, match=words):
        check_decides(SimpleNamespace(objective=SimpleNamespace(kind=kind, link=link, index=0)))
