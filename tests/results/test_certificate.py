"""One rule says what scores may miss, and everybody who speaks of it reads the same two numbers."""

import warnings

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_flow import sample_flow

import lignite
from lignite.api import flow as flows
from lignite.api.gaps import Missed, missed_in, remedy
from lignite.methods import CaLig
from lignite.results.certificate import certificate, certificates, largest_gap
from lignite.tolerance import CARRIED_SHARE, size_among_predictions, size_among_targets, size_of_carried
from lignite.views.explanation.facts import certificates as shown
from lignite.views.flow.facts import worst_gaps

TOL = 1e-3
sizes = st.floats(1e-6, 10, allow_nan=False)


def with_certificate(dataset: xr.Dataset, gaps: dict[str, float], allowed: float) -> xr.Dataset:
    """Sums of so much gap each, of which so much is allowed."""
    for prefix, gap in gaps.items():
        dataset[f"{prefix}gap"] = xr.full_like(dataset[f"{prefix}gap"], gap)
        dataset[f"{prefix}allowed"] = xr.full_like(dataset[f"{prefix}gap"], allowed)
    return dataset


@given(layers=sizes, output=sizes, flow=sizes, allowed=sizes)
def test_whoever_speaks_of_an_explanation_says_the_same(layers, output, flow, allowed):
    """The warning is given exactly if a page says that the promise is not kept, and if the metric exceeds `tol`."""
    gaps = {"": layers, "output_": output, "relevance_flow_": -flow}
    why = with_certificate(sample_explanation(method="relevance-flow", n_layers=2), gaps, allowed)

    warned = bool(missed_in(why))

    assert warned == (not all(entry.kept for entry in shown(why)))
    assert warned == (largest_gap(why) > TOL)
    assert warned == any(np.float32(gap) > np.float32(allowed) for gap in (layers, output, flow))


@given(whole=sizes, mlp=sizes, allowed=sizes)
def test_whoever_speaks_of_a_flow_says_the_same(whole, mlp, allowed):
    """Terminal and page show the worst gaps of every map, the warning names them."""
    flow = with_certificate(sample_flow(details=False), {"whole_": whole, "mlp_": mlp}, allowed)
    flow = flow[["whole", "whole_displacement", "whole_gap", "whole_allowed", "mlp", "mlp_gap", "mlp_allowed"]]

    warned = bool(flows.missed_in(flow))

    assert warned == any(worst.within < worst.total for worst in worst_gaps(flow))
    assert warned == (largest_gap(flow) > TOL)


@pytest.mark.parametrize("n_steps", [1, 4, 40])
@pytest.mark.parametrize("method", ["ca-lig", "relevance-flow", "ig"])
def test_the_engine_decides_what_is_allowed(method, n_steps):
    """On a real path: `allowed` is stored with every gap, and warned of is what exceeds it."""
    model = lignite.load("tiny-sentiment")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        why = lignite.explain(model, "A superb film.", method=method, n_steps=n_steps)

    gaps = [name for name in why if str(name).endswith("gap")]
    wide = [bool((abs(why[name]) > why[str(name)[:-3] + "allowed"]).any()) for name in gaps]
    assert len(told) == any(wide)
    assert any(wide) == (largest_gap(why) > TOL)
    for name in gaps:
        displacement = why[str(name)[:-3] + "displacement"].values
        size = np.maximum(abs(displacement), 0.01 * np.maximum(abs(why.value), abs(why.value - displacement)))
        half = 0.5 if method == "relevance-flow" and name == "total_gap" else 1  # of a mean, the other half is exact
        size = size if half == 1 else float(why.allowed[0]) / TOL
        np.testing.assert_allclose(why[str(name)[:-3] + "allowed"], half * TOL * size, rtol=1e-5)


def test_what_is_allowed_follows_the_maps_of_a_flow():
    """Each target's own displacement, or a thousandth of the median of its layer."""
    model = lignite.load("tiny-sentiment")

    flow = lignite.flow(model, "A superb film.", layers=1)

    for name in ("attention", "mlp", "whole"):
        moved = abs(flow[f"{name}_displacement"].values)
        floor = 1e-3 * np.sort(moved, axis=None)[(moved.size - 1) // 2]
        np.testing.assert_allclose(flow[f"{name}_allowed"], TOL * np.maximum(moved, floor), rtol=1e-5)
    heads = (flow.attention_allowed * abs(flow.mlp)).sum("head")
    np.testing.assert_allclose(flow.composed_allowed, heads, rtol=1e-5)


def test_baselines_that_cancel_keep_what_each_of_their_paths_may_miss():
    """F rises from one by what it falls from the other: the mean displacement is nothing, what is allowed is not."""
    why = with_certificate(sample_explanation(method="ig"), {"total_": 5e-6}, 2e-6 * 4)
    why["total_displacement"] = xr.zeros_like(why.total_displacement)

    assert largest_gap(why) == pytest.approx(TOL * 5 / 8, rel=1e-6)
    assert not missed_in(why)


def test_files_of_earlier_versions_are_judged_by_the_rule_of_their_engine():
    """They have no `allowed`. A displacement of a thousandth between two predictions of 4 is held to 0.04."""
    why = sample_explanation(method="ig").assign(total_displacement=1e-3, total_gap=5e-6)
    why.attrs["value"] = 4.0

    found = certificate(why, "total_")

    assert float(found.worst) == pytest.approx(5e-6 / 0.04)  # not 0.5 % of 1e-3
    assert found.kept
    assert largest_gap(why) == float(found.worst)


def test_random_nodes_promise_no_gap():
    """Their standard error is what is told of them."""
    why = with_certificate(sample_explanation(n_layers=2), {"": 1.0, "output_": 1.0}, 1e-3)
    why.attrs["request"] = '{"method": "ca-lig", "nodes": "stochastic"}'

    assert all(found.kept and not found.promised for found in certificates(why))
    assert not missed_in(why)


@pytest.mark.parametrize("make", [torch.tensor, np.asarray, lambda values: xr.DataArray(values, dims="target")])
def test_tensors_and_labelled_arrays_go_by_one_rule(make):
    """The engine and the files speak of the same sizes."""
    moved = make([-4.0, 1e-9, 2.0])

    np.testing.assert_allclose(size_among_targets(moved, 2.0), [4, 2e-3, 2])
    np.testing.assert_allclose(size_among_predictions(moved, moved * 0 + 5, moved * 0 - 8), [4, 0.08, 2])
    np.testing.assert_allclose(size_of_carried(moved, 3.0), [4, 3 * CARRIED_SHARE, 2])


def test_a_warning_names_the_places_and_the_trueremedy():
    """Rounding is not mended by nodes, and a path from nothing not only by them."""
    why = with_certificate(sample_explanation(n_layers=3), {"": 0.0, "output_": 0.0}, 1e-3)
    why["gap"][:] = [0.0, 0.5, 0.5]
    (missed,) = missed_in(why)
    assert missed.where.endswith("at layers 1, 2")
    assert not missed.rounded
    why["gap"][:] = [0.0, 0.0, 2e-6]
    why["allowed"][:] = 1e-6
    (missed,) = missed_in(why)
    assert missed.rounded
    assert "dtype='float64'" in remedy([missed], CaLig())
    assert "dtype" not in remedy([missed, Missed("", rounded=False)], CaLig())
    assert "'mask', 'pad' or another token" in remedy([Missed("", rounded=False)], CaLig(baseline="zero"))
