"""A result is a contract: what keeps it is accepted, what breaks it is named."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import xarray as xr
from tests.sample_flow import sample_flow

from lignite.errors import GridError, InputError
from lignite.results.build import build_flow
from lignite.results.schema import FLOW, require_same_grid, validate


@dataclass(frozen=True)
class Labels:
    """Token labels as a tokenizer would give them, with a hole in the positions (left padding, say)."""

    text: tuple[str, ...] = ("[CLS]", "un", "##do", "[SEP]")
    position: tuple[int, ...] = (2, 3, 4, 6)
    word: tuple[int, ...] = (-1, 0, 0, -1)
    special: tuple[bool, ...] = (True, False, False, True)
    start: tuple[int, ...] = (-1, 0, 2, -1)
    stop: tuple[int, ...] = (-1, 2, 4, -1)
    segment: tuple[int, ...] | None = None
    row: tuple[int, ...] | None = None
    col: tuple[int, ...] | None = None


def arrays(*, n_layers=2, n_heads=3, n_targets=2, n_sources=4):
    random = np.random.default_rng(0)
    return {
        "attention": random.standard_normal((n_layers, n_heads, n_targets, n_sources)),
        "attention_displacement": random.standard_normal((n_layers, n_heads, n_targets)),
        "attention_gap": random.standard_normal((n_layers, n_heads, n_targets)),
        "whole": random.standard_normal((n_layers, n_targets, n_sources)),
        "whole_displacement": random.standard_normal((n_layers, n_targets)),
        "whole_gap": random.standard_normal((n_layers, n_targets)),
        "whole_circuits": random.standard_normal((4, n_layers, n_targets, n_sources)),
    }


ATTRS = dict.fromkeys(("lignite_version", "model", "revision", "text", "request", "plans", "versions"), "") | {
    "tol": 0.1
}


@pytest.mark.parametrize(
    "options", [{}, {"pair": True}, {"grid": (3, 4)}, {"targets": [4, 7]}, {"details": False}, {"dtype": "float64"}]
)
def test_every_kind_of_sample_keeps_the_layout(options):
    """Pairs of texts, images, chosen targets and plain results are all one layout."""
    validate(sample_flow(**options))


def test_a_selection_of_layers_heads_and_variables_is_still_a_result():
    """Users select before they save; the layout must not punish it."""
    flow = sample_flow()

    selected = flow.sel(layer=[2], head=[1], target=[3, 1], source=[0, 5])[["whole", "attention"]]

    validate(selected)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda flow: flow.sel(layer=1), r"'attention' has the axes head, target, source.*select with lists"),
        (lambda flow: flow.transpose("source", ...), r"use \.transpose\('layer', 'head', 'target', 'source'\)"),
        (lambda flow: flow.rename(whole="wohle"), "no variable 'wohle'; closest: 'whole'"),
        (lambda flow: flow.astype(int), "'attention' holds int64, expected floating-point"),
        (lambda flow: flow.drop_vars("source_word"), "lacks the coordinate 'source_word'"),
        (lambda flow: flow.drop_vars("target"), "axis 'target' has no labels"),
        (lambda flow: flow.isel(source=[0, 0]), "axis 'source' names 0 twice"),
        (lambda flow: flow.isel(source=[]), "axis 'source' is empty"),
        (lambda flow: flow.assign_coords(circuit=list("abcd")), "labelled a, b, c, d, expected value, key"),
        (lambda flow: flow.assign_coords(layer=list("abc")), "'layer' holds <U1, expected whole numbers"),
        (lambda flow: flow.assign_coords(source_special=("source", [0] * 10)), "'source_special' holds int64"),
        (lambda flow: flow.assign_coords(source_start=("target", [0] * 10)), "'source_start' lies along target"),
        (lambda flow: flow.assign_attrs(kind="flaw"), "kind 'flaw', expected one of: flow"),
        (lambda flow: flow.drop_attrs(), "no attribute 'kind'"),
        (lambda flow: flow.assign_attrs(request={}), "'request' is a dict"),
        (lambda flow: flow.assign_attrs(request=True), "'request' is a bool"),
        (lambda flow: flow[["whole_gap"]], "holds no scores"),
        (lambda flow: flow.whole, "got DataArray"),
    ],
)
def test_what_breaks_the_layout_is_named(damage, message):
    """An error that names the offence saves reading the whole Dataset."""
    damaged = damage(sample_flow())

    with pytest.raises(InputError, match=message):
        validate(damaged)


def test_displacement_and_gap_lose_the_axis_they_add_up_over():
    """The layout of the design, written out once by hand."""
    assert FLOW.variables == {
        "attention": ("layer", "head", "target", "source"),
        "attention_displacement": ("layer", "head", "target"),
        "attention_gap": ("layer", "head", "target"),
        "mlp": ("layer", "target", "head"),
        "mlp_displacement": ("layer", "target"),
        "mlp_gap": ("layer", "target"),
        "whole": ("layer", "target", "source"),
        "whole_displacement": ("layer", "target"),
        "whole_gap": ("layer", "target"),
        "composed": ("layer", "target", "source"),
        "composed_displacement": ("layer", "target"),
        "composed_gap": ("layer", "target"),
        "whole_heads": ("layer", "head", "target", "source"),
        "whole_residual": ("layer", "target"),
        "whole_circuits": ("circuit", "layer", "target", "source"),
    }


def test_building_puts_every_label_on_its_place():
    """Targets are named by position, not by place in the array: with padding on the left the two differ."""
    variables = arrays()

    flow = build_flow(tokens=Labels(), layers=[1, 4], targets=[6, 3], variables=variables, attrs=ATTRS)

    expected = xr.DataArray(
        variables["whole"],
        dims=("layer", "target", "source"),
        coords={
            "layer": [1, 4],
            "target": [6, 3],
            "source": [2, 3, 4, 6],
            "source_token": ("source", ["[CLS]", "un", "##do", "[SEP]"]),
            "target_token": ("target", ["[SEP]", "un"]),
            "source_word": ("source", [-1, 0, 0, -1]),
            "target_word": ("target", [-1, 0]),
            "source_special": ("source", [True, False, False, True]),
            "target_special": ("target", [True, False]),
            "source_start": ("source", [-1, 0, 2, -1]),
            "target_start": ("target", [-1, 0]),
            "source_stop": ("source", [-1, 2, 4, -1]),
            "target_stop": ("target", [-1, 2]),
        },
        name="whole",
    )
    xr.testing.assert_identical(flow.whole, expected)
    assert flow["head"].values.tolist() == [0, 1, 2]
    assert flow.circuit.values.tolist() == ["value", "key", "query", "residual"]
    assert flow.attrs == ATTRS | {"kind": "flow"}


def test_segments_and_patches_appear_only_where_there_are_any():
    """A text has no rows, a picture no segments: a coordinate full of −1 would pretend otherwise."""
    tokens = replace(Labels(), segment=(-1, 0, 1, -1), row=(-1, 0, 1, 2), col=(-1, 3, 4, 5))

    flow = build_flow(tokens=tokens, layers=[0, 1], targets=[3, 4], variables=arrays(), attrs=ATTRS)

    assert flow.target_segment.values.tolist() == [0, 1]
    assert flow.target_row.values.tolist() == [0, 1]
    assert flow.source_col.values.tolist() == [-1, 3, 4, 5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": [0, 3]}, "target 0 is no kept position"),
        ({"layers": [0]}, r"'attention' has shape \(2, 3, 2, 4\), expected \(layer 1, head 3, target 2, source 4\)"),
        ({"attrs": {"model": "m"}}, "needs the attributes lignite_version, revision"),
        ({"variables": {"whale": np.zeros((2, 2, 4))}}, "no variable 'whale'"),
        ({"variables": {"whole": np.zeros((2, 2, 4))}}, "'whole' travels without whole_displacement and whole_gap"),
        ({"tokens": replace(Labels(), word=(0, 1))}, "4 positions but 2 entries of 'word'"),
    ],
)
def test_building_refuses_what_does_not_fit(changes, message):
    """A wrong label is worse than none, because nobody sees it."""
    arguments = {"tokens": Labels(), "layers": [0, 1], "targets": [3, 4], "variables": arrays(), "attrs": ATTRS}

    with pytest.raises(InputError, match=message):
        build_flow(**(arguments | changes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda flow: flow.sel(layer=[0, 1]), r"differ in layers: 3 \(0, 1, 2\) and 2 \(0, 1\)"),
        (lambda flow: flow.assign_coords(layer=[0, 1, 3]), "differ in layers: entry 2 is 2 in the first and 3"),
        (lambda flow: flow.sel(target=[5, 2]), "differ in targets: 10"),
        (
            lambda flow: flow.assign_coords(source_token=("source", [*flow.source_token.values[:-1], "[EOS]"])),
            r"tokens of the source axis: entry 9 is '\[SEP\]' in the first and '\[EOS\]'",
        ),
        (lambda flow: flow.assign_coords(target_segment=("target", [0] * 10)), "only one result has 'target_segment'"),
    ],
)
def test_different_grids_are_told_apart(change, message):
    """Maps over different tokens can have the same shape, and numbers of them would mean nothing."""
    flow = sample_flow()

    require_same_grid(flow, flow.copy())
    with pytest.raises(GridError, match=message):
        require_same_grid(flow, change(flow))
