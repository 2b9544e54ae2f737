"""Both halves of a panel are computed as one where they fit: the numbers of each by itself, in the launches of one."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from tests.kit.architectures import ARCHITECTURES

import lignite
from lignite.attribution.maps import AtNodes


@pytest.fixture
def answers(monkeypatch):
    """What maps have said when they were asked for both halves at once."""
    given, inner = [], AtNodes.halves

    def noted(self, *args):
        given.append(inner(self, *args))
        return given[-1]

    monkeypatch.setattr(AtNodes, "halves", noted)
    return given


@pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")
@pytest.mark.parametrize("name", ["bert", "llama"])
@pytest.mark.parametrize("baseline", ["zero", "target_token"])
def test_halves_together_are_as_each_by_itself(name, baseline, answers, monkeypatch):
    """All maps, with what they are divided into; levels and sums, which decide what is cut, are the same too."""
    architecture = ARCHITECTURES[name]
    model, inputs = lignite.wrap(architecture.build(dtype=torch.float64)), architecture.inputs()
    options = {"baseline": baseline, "detail": ("heads", "circuits"), "tol": 1e-8, "max_steps": 100}

    together = lignite.flow(model, inputs, **options)
    at_once = [each for each in answers if each is not None]
    monkeypatch.setattr(AtNodes, "halves", lambda *_: None)
    apart = lignite.flow(model, inputs, **options)

    assert len(at_once) == len(answers) > 0
    for variable, expected in apart.data_vars.items():
        if expected.dtype.kind == "f":
            scale = float(np.nanmax(abs(apart[variable.split("_")[0]])))
            assert_allclose(together[variable], expected, rtol=0, atol=1e-12 * scale, err_msg=variable)


def test_halves_that_do_not_fit_are_computed_one_after_the_other(answers):
    """The budget holds a chunk of one half's nodes."""
    bert = ARCHITECTURES["bert"]
    model, inputs = lignite.wrap(bert.build(dtype=torch.float64)), bert.inputs()
    options = {"baseline": "zero", "maps": "whole"}

    small = lignite.flow(model, inputs, memory="40 KB", **options)
    n_asked = len(answers)
    expected = lignite.flow(model, inputs, **options)

    assert answers[:n_asked].count(None) == n_asked > 0
    assert None not in answers[n_asked:]
    assert_allclose(small.whole, expected.whole, rtol=0, atol=1e-12 * float(abs(expected.whole).max()))
