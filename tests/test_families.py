"""Every family of transformers, held against the untouched model: what is not right is refused, never wrong."""

from collections import Counter

import pytest
from tests.families import HEADER, QUESTIONS, examine, read_document

EVERY = [(question, family) for question in QUESTIONS for family in question.families]
RIGHT = {"sequence classifiers": 115, "next tokens": 160, "images": 12}
"""Families that are explained rightly, at the least: refusing what works is no answer."""


@pytest.mark.wide
@pytest.mark.parametrize(("question", "family"), EVERY, ids=[f"{q.name}-{family}" for q, family in EVERY])
def test_a_family_is_right_or_refused(question, family):
    """A number that is certified and wrong is worse than none, and a foreign error helps nobody."""
    found = examine(question, family)
    if any("not done in" in each.note for each in (found.explain, found.flow)):
        pytest.skip(f"{found.explain.note or found.flow.note}: says how fast this machine is")

    assert found.explain.word in ("right", "refused", "–"), found.explain.note
    assert found.flow.word in ("right", "refused", "–"), found.flow.note
    assert found.cells()[:4] == read_document()[question.name, family][:4]


def test_the_written_table_holds_every_family():
    """`python -m tests.families --write docs/architectures.md` writes it; it is read before a model is tried."""
    assert set(read_document()) == {(question.name, family) for question, family in EVERY}


@pytest.mark.parametrize("name", RIGHT)
def test_most_families_are_explained(name):
    """The wide run holds the written table to what is found; this holds the table to its promise."""
    words = Counter(row[HEADER.index("explain")] for (question, _), row in read_document().items() if question == name)

    assert words["right"] >= RIGHT[name]
    assert not set(words) - {"right", "refused", "–"}
