"""Options that are given as one record, as the command line gives them."""

import json

import numpy as np
import pytest

import lignite
from lignite.api.evaluate_options import EvaluateOptions
from lignite.api.flow_options import FlowOptions
from lignite.errors import OptionError

TEXT = "A superb film."


@pytest.fixture(scope="module")
def model():
    return lignite.load("tiny-sentiment")


def test_a_flow_takes_its_options_one_by_one_or_as_a_record_with_changes(model):
    """Whoever asks for many similar flows writes down once what they share."""
    shared = FlowOptions(layers=[1], maps="whole", max_steps=500)

    one_by_one = lignite.flow(model, TEXT, layers=[1], maps="whole", max_steps=600)
    changed = lignite.flow(model, TEXT, request=shared, max_steps=600)

    assert changed.attrs["request"] == one_by_one.attrs["request"]
    assert (
        json.loads(lignite.flow(model, TEXT, request=shared).attrs["request"])["max_steps"] == shared.max_steps == 500
    )
    np.testing.assert_array_equal(changed.whole, one_by_one.whole)


def test_an_evaluation_takes_its_options_as_a_record_with_changes(model):
    """What stands in a place of its own goes before the record, too."""
    shared = EvaluateOptions(methods="gradient-x-input", metrics="deletion", steps=2, fills="mask, pad", seed=3)

    told = lignite.evaluate(model, [TEXT], "random", request=shared, steps=4)

    assert [told.attrs[name] for name in ("steps", "fills", "seed")] == [4, ["mask", "pad"], 3]
    assert list(told.attrs["methods"]) == ["random"]
    assert list(told.attrs["metrics"]) == ["deletion"]


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda model: lignite.flow(model, TEXT, request=FlowOptions(), n_step=3), "Did you mean 'n_steps'"),
        (lambda model: lignite.flow(model, TEXT, request={"n_steps": 3}), "request="),
        (lambda model: lignite.evaluate(model, [TEXT], request=EvaluateOptions(), step=3), "Did you mean 'steps'"),
        (lambda model: lignite.evaluate(model, [TEXT], against="negative"), "against='negative' needs target="),
        (lambda model: EvaluateOptions(confidence=1.0), "confidence=1.0 must be a number between 0 and 1"),
    ],
    ids=["flow", "no record", "evaluate", "half a difference", "no share"],
)
def test_what_no_record_holds_is_refused(model, ask, said):
    """In the words that single options have."""
    with pytest.raises(OptionError, match=said):
        ask(model)
