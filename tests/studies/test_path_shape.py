"""Shapes of paths that are known by hand: a straight one accrues evenly, one that goes and comes back cancels."""

import numpy as np
import pytest
import xarray as xr
from tests.kit.copying_heads import copying_model
from tests.kit.headed_models import headed

import lignite
from lignite.api.flow import flow_along
from lignite.studies.path_shape import MAPS, NODES, Paths, count_turns, shape, shortest_half
from lignite.views.study.paths import report_paths

TEXT = "people says the plot was thin"
ROUNDED = 1e-6  # scores of order one, in double precision


@pytest.fixture(scope="module")
def straight() -> xr.Dataset:
    """Every map of this model is linear in a: from zero its length grows evenly."""
    model = copying_model(("previous", "everyone"), ("itself", "previous"), residual=0.5)
    return lignite.study.paths(model, [TEXT, "the plot was thin"], baseline="zero", parts=8)


def test_a_linear_block_accrues_evenly_and_never_turns(straight):
    """Half of it on half of the path, and as much at every place as the place is far."""
    np.testing.assert_allclose(straight["accrued"].transpose(..., "end") - straight["end"], 0, atol=ROUNDED)
    np.testing.assert_allclose(straight["half"], 0.5, atol=ROUNDED)
    np.testing.assert_allclose(straight["turns"], 0, atol=ROUNDED)
    np.testing.assert_allclose(straight["cancelled"], 0, atol=ROUNDED)


def test_a_linear_block_needs_no_more_than_the_fewest_nodes(straight):
    """Nodes are graded by a power of two at most, which a rule of two nodes integrates exactly."""
    np.testing.assert_allclose(straight["missed"], 0, atol=ROUNDED)
    assert straight["nodes"].values.tolist() == list(NODES)


def test_parts_add_up_to_the_flow():
    """On a block with norms and an MLP, under the path of every target of its own; to the tolerance of the flow."""
    model = headed("bert", "BertForSequenceClassification")

    along = flow_along(model, TEXT, [0.1, 0.3, 0.55, 0.8])
    whole = lignite.flow(model, TEXT, tol=1e-5)

    assert along["end"].values.tolist() == [0.1, 0.3, 0.55, 0.8, 1.0]
    for name in MAPS:
        together = along[name].sum("part").transpose(*whole[name].dims)
        np.testing.assert_allclose(together, whole[name], atol=2e-3 * float(abs(whole[name]).max()))


def test_a_path_that_turns_back_is_told_so():
    """One source gives 3 and takes 1 back, the other gives 4 late: an eighth of the sizes is taken twice."""
    parts = np.array([[[3.0, 0.0]], [[-1.0, 0.0]], [[0.0, 4.0]]])

    found = shape(parts)

    np.testing.assert_allclose(found["accrued"], [3 / 8, 4 / 8, 1])
    np.testing.assert_allclose(found["cancelled"], 1 - 6 / 8)
    np.testing.assert_allclose(found["turns"], (1 + 0) / 2)
    np.testing.assert_allclose(found["half"], 1 / 3)


def test_half_of_it_is_found_between_places():
    """Nine tenths in one of two parts: five ninths of that part are enough."""
    np.testing.assert_allclose(shortest_half(np.array([[0.1, 0.9], [0.5, 0.5]])), [5 / 9 / 2, 0.5])


def test_what_is_next_to_nothing_does_not_turn():
    """Rounding has a sign, too."""
    rows = np.array([[[1.0, 1.0], [-0.001, -0.5], [1.0, 1.0]]])

    np.testing.assert_allclose(count_turns(rows), (0 + 2) / 2)


def test_the_report_has_every_map_and_says_how_evenly_it_accrues(straight, tmp_path):
    """Findings, tables, a picture."""
    report = report_paths(straight)

    assert "attention 0.500 [0.500, 0.500], mlp 0.500 [0.500, 0.500], whole 0.500 [0.500, 0.500]" in report.findings[0]
    needed = report.tables["needed"].frame
    assert set(needed["nodes"]) == {str(NODES[0])}
    assert (tmp_path / "paths.png") in lignite.study.write(straight, tmp_path)


def test_parts_of_the_path_are_options():
    """Fewer parts, fewer places."""
    found = Paths(parts=2, baseline="zero").answer(copying_model(("previous",)), _sentence(), {})

    assert found["end"].values.tolist() == [0.5, 1.0]


def _sentence():
    from lignite.data.sentences import Sentence

    return Sentence(0, "a", None, TEXT)
