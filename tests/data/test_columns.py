"""Columns are named once, and what cannot be meant is refused before a data set is read."""

import pytest

from lignite.api.evaluate_options import EvaluateOptions
from lignite.data.columns import Columns
from lignite.errors import OptionError


@pytest.mark.parametrize(
    ("named", "evidence"),
    [
        ({}, set()),
        ({"label": "l", "pair": "p"}, set()),
        ({"rationale": "r", "polarity": "p"}, {"rationale", "polarity"}),
        ({"mask": "m", "distractor": "d"}, {"mask", "distractor"}),
        ({"boxes": "b", "cells": "c"}, {"mask", "cells"}),
    ],
)
def test_evidence_is_what_the_columns_hold_of_it(named, evidence):
    """Rectangles outline an object as a mask does; texts and classes are no evidence."""
    assert Columns(**named).evidence == evidence


def test_only_what_the_kind_of_input_has_is_read():
    """The names of both kinds have defaults; a model reads one."""
    columns = Columns(text="t", image="i", label="l")

    assert columns.read(images=False) == {"text": "t", "label": "l"}
    assert columns.read(images=True) == {"image": "i", "label": "l"}


@pytest.mark.parametrize(
    ("named", "images", "said"),
    [
        ({"mask": "m"}, False, "mask='m' is for models of images; reader reads texts"),
        ({"rationale": "r"}, True, "rationale='r' is for models of texts; reader reads images"),
    ],
)
def test_columns_of_the_other_kind_are_refused(named, images, said):
    """They would be left out without a word."""
    with pytest.raises(OptionError, match=said):
        Columns(**named).check_kind("reader", images=images)


def test_drawing_between_patches_is_for_images():
    """Words have no edges to smooth."""
    EvaluateOptions(smooth=True).check_kind("reader", images=True)
    with pytest.raises(OptionError, match="smooth=True is for models of images"):
        EvaluateOptions(smooth=True).check_kind("reader", images=False)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"mask": "m", "boxes": "b"}, "both outline the object"),
        ({"distractor": "d"}, "needs the object's own"),
        ({"label": 3}, "label=3 is an int"),
    ],
)
def test_columns_that_contradict_each_other_are_refused(named, said):
    """Which outline is meant cannot be guessed."""
    with pytest.raises(OptionError, match=said):
        Columns(**named)
