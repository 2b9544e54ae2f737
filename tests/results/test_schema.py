"""A result is a contract: what keeps it is accepted, what breaks it is named."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_flow import sample_flow

from lignite.errors import GridError, InputError
from lignite.results.build import build_explanation, build_flow
from lignite.results.schema import EXPLAIN, EXPLAIN_ATTRS, FLOW, require_same_grid, validate


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
    top: tuple[int, ...] | None = None
    left: tuple[int, ...] | None = None
    bottom: tuple[int, ...] | None = None
    right: tuple[int, ...] | None = None


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
        (lambda flow: flow.rename(whole="wohle"), r"no variable 'wohle'\. Did you mean 'whole'"),
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
        "attention_allowed": ("layer", "head", "target"),
        "mlp": ("layer", "target", "head"),
        "mlp_displacement": ("layer", "target"),
        "mlp_gap": ("layer", "target"),
        "mlp_allowed": ("layer", "target"),
        "whole": ("layer", "target", "source"),
        "whole_displacement": ("layer", "target"),
        "whole_gap": ("layer", "target"),
        "whole_allowed": ("layer", "target"),
        "composed": ("layer", "target", "source"),
        "composed_displacement": ("layer", "target"),
        "composed_gap": ("layer", "target"),
        "composed_allowed": ("layer", "target"),
        "whole_heads": ("layer", "head", "target", "source"),
        "whole_residual": ("layer", "target"),
        "whole_circuits": ("circuit", "layer", "target", "source"),
        "attention_sum": ("layer", "target", "source"),
        "attention_sum_displacement": ("layer", "target"),
        "attention_sum_gap": ("layer", "target"),
        "attention_sum_allowed": ("layer", "target"),
        "attention_top": ("layer", "head", "target", "rank"),
        "attention_top_source": ("layer", "head", "target", "rank"),
        "attention_dropped": ("layer", "head", "target"),
        "attention_dropped_mass": ("layer", "head", "target"),
        "attention_stats": ("layer", "head", "target", "statistic"),
        "whole_top": ("layer", "target", "rank"),
        "whole_top_source": ("layer", "target", "rank"),
        "whole_dropped": ("layer", "target"),
        "whole_dropped_mass": ("layer", "target"),
        "whole_stats": ("layer", "target", "statistic"),
        "composed_top": ("layer", "target", "rank"),
        "composed_top_source": ("layer", "target", "rank"),
        "composed_dropped": ("layer", "target"),
        "composed_dropped_mass": ("layer", "target"),
        "composed_stats": ("layer", "target", "statistic"),
        "image": ("y", "x", "channel"),
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


EXPLAIN_OPTIONS = [
    {},
    {"method": "relevance-flow", "stochastic": True},
    {"method": "ig"},
    {"method": "attention-rollout"},
    {"pair": True},
    {"grid": (3, 4)},
    {"tokens": ["a", "rose", "is", "a", "rose"]},
    {"detail": ()},
    {"dtype": "float64"},
]


@pytest.mark.parametrize("options", EXPLAIN_OPTIONS)
def test_explanations_of_every_method_keep_one_layout(options):
    """A view that can draw one method can draw all."""
    validate(sample_explanation(**options))


def test_a_selection_of_an_explanation_is_still_a_result():
    """Tokens have no index, so they are selected by place; all else by name."""
    explanation = sample_explanation()

    selected = explanation.isel(token=[4, 0]).sel(layer=[2])[["relevance", "layer_ig", "gap"]]

    validate(selected)
    assert "token" not in selected.indexes
    assert selected.token.values.tolist() == ["##able", "[CLS]"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda why: why.rename(relevance="relevanz"),
            r"an explanation has no variable 'relevanz'\. Did you mean 'relevance'",
        ),
        (lambda why: why.assign_coords(token=why.token), r"indexed by strings, which repeat: use \.drop_indexes"),
        (lambda why: why.drop_vars("token"), "axis 'token' lacks the coordinate 'token'"),
        (lambda why: why.drop_vars("position"), "axis 'token' lacks the coordinate 'position'"),
        (lambda why: why.drop_vars("word"), "axis 'token' lacks the coordinate 'word'"),
        (lambda why: why.drop_vars("source_word"), "axis 'source' lacks the coordinate 'source_word'"),
        (lambda why: why.drop_vars("class"), "axis 'class' has no labels"),
        (lambda why: why.assign_coords({"class": ["yes", "yes"]}), "axis 'class' names yes twice"),
        (lambda why: why.assign_coords({"class": [0, 1]}), "'class' holds int64, expected strings"),
        (lambda why: why.isel(token=[3, 3]), "axis 'token' names 3 twice"),
        (lambda why: why.isel(token=[]), "axis 'token' is empty"),
        (lambda why: why[["layer_ig"]].isel(token=3), r"'layer_ig' has the axes layer, expected layer, token"),
        (lambda why: why.assign_coords(position=("source", range(10))), "'position' lies along source"),
        (lambda why: why.assign_coords(position=("token", np.ones(10))), "'position' holds float64, expected whole"),
        (lambda why: why.assign_coords(special=("token", [0] * 10)), "'special' holds int64, expected true or false"),
        (lambda why: why[["gap", "probability"]], "holds no scores of an explanation"),
        (lambda why: why.assign(whole=why.relevance_flow), "an explanation has no variable 'whole'"),
        (lambda why: why.assign(total_gap=why.gap), "'total_gap' has the axes layer, expected none"),
        (lambda why: why.assign_attrs(target={}), "'target' is a dict"),
    ],
)
def test_what_breaks_the_layout_of_an_explanation_is_named(damage, message):
    """An error that names the offence saves reading the whole Dataset."""
    damaged = damage(sample_explanation())

    with pytest.raises(InputError, match=message):
        validate(damaged)


def test_the_layout_of_an_explanation_is_that_of_the_design():
    """Written out once by hand."""
    assert EXPLAIN.variables == {
        "relevance": ("token",),
        "total_displacement": (),
        "total_gap": (),
        "total_allowed": (),
        "layer_relevance": ("layer", "token"),
        "layer_ig": ("layer", "token"),
        "layer_ig_error": ("layer", "token"),
        "displacement": ("layer",),
        "gap": ("layer",),
        "allowed": ("layer",),
        "output_ig": ("token",),
        "added": ("token",),
        "removed": ("token",),
        "falling": ("token",),
        "rising": ("token",),
        "output_displacement": (),
        "output_gap": (),
        "output_allowed": (),
        "attention_gradient": ("layer", "target", "source"),
        "attention_gradient_heads": ("layer", "head", "target", "source"),
        "relevance_flow": ("layer", "target", "source"),
        "relevance_flow_heads": ("layer", "head", "target", "source"),
        "relevance_residual": ("layer", "target"),
        "relevance_flow_gap": ("layer", "target"),
        "relevance_flow_allowed": ("layer", "target"),
        "probability": ("class",),
        "logit": ("class",),
        "start_probability": ("class",),
        "start_logit": ("class",),
        "image": ("y", "x", "channel"),
    }


def test_every_part_of_an_explanation_is_in_its_document():
    """The Dataset is the contract of everything after it, so its document must name all that it may hold."""
    document = (Path(__file__).parents[2] / "docs/results-layout.md").read_text(encoding="utf-8")
    expected = [*EXPLAIN.variables, *EXPLAIN.index, *EXPLAIN_ATTRS, "token", "position"]

    assert [name for name in expected if f"`{name}`" not in document] == []


def explain_arrays():
    random = np.random.default_rng(0)
    return {
        "relevance": random.standard_normal(4),
        "layer_relevance": random.standard_normal((2, 4)),
        "attention_gradient": random.standard_normal((2, 4, 4)),
        "attention_gradient_heads": random.standard_normal((2, 3, 4, 4)),
        "probability": np.array([0.3, 0.7]),
    }


EXPLAINED = dict.fromkeys(EXPLAIN_ATTRS, "") | {"tol": 0.1, "value": -1.5}


def test_building_an_explanation_puts_every_label_on_its_place():
    """Tokens keep their position in the input, and their strings are no index, whatever xarray likes."""
    variables = explain_arrays()

    why = build_explanation(tokens=Labels(), variables=variables, attrs=EXPLAINED, layers=[0, 4], classes=["no", "yes"])

    labels = {
        "position": ("token", [2, 3, 4, 6]),
        "word": ("token", [-1, 0, 0, -1]),
        "special": ("token", [True, False, False, True]),
        "start": ("token", [-1, 0, 2, -1]),
        "stop": ("token", [-1, 2, 4, -1]),
    }
    expected = xr.DataArray(variables["layer_relevance"], dims=("layer", "token"), coords={"layer": [0, 4], **labels})
    xr.testing.assert_identical(why.layer_relevance.drop_vars("token"), expected.rename("layer_relevance"))
    assert why.token.values.tolist() == ["[CLS]", "un", "##do", "[SEP]"]
    assert set(why.indexes) == {"layer", "head", "target", "source", "class"}
    for axis in ("target", "source"):
        assert why[axis].values.tolist() == [2, 3, 4, 6]
        for name, (_, values) in labels.items():
            if name != "position":
                assert why[f"{axis}_{name}"].values.tolist() == values
        assert why[f"{axis}_token"].values.tolist() == ["[CLS]", "un", "##do", "[SEP]"]
    assert why["head"].values.tolist() == [0, 1, 2]
    assert why.probability.sel({"class": "yes"}) == 0.7
    assert why.attrs == EXPLAINED | {"kind": "explain"}


def test_an_explanation_without_layers_or_classes_has_no_such_axes():
    """Most comparators know one number per token and nothing else."""
    why = build_explanation(
        tokens=replace(Labels(), segment=(-1, 0, 1, -1)), variables={"relevance": np.ones(4)}, attrs=EXPLAINED
    )

    assert dict(why.sizes) == {"token": 4}
    assert why.segment.values.tolist() == [-1, 0, 1, -1]
    assert "row" not in why.coords


def test_layers_are_counted_from_zero_unless_numbered():
    """Most methods explain all layers; only the numbers of a choice must be told."""
    why = build_explanation(tokens=Labels(), variables=explain_arrays(), attrs=EXPLAINED, classes=["no", "yes"])

    assert why["layer"].values.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variables": {"layer_relevance": np.zeros((2, 4))}}, "needs the variable 'relevance'"),
        ({"variables": {"relevance": np.zeros(5)}}, r"'relevance' has shape \(5,\), expected \(token 4\)"),
        ({"variables": explain_arrays() | {"relevant": np.zeros(4)}}, "an explanation has no variable 'relevant'"),
        ({"variables": explain_arrays() | {"layer_ig": np.zeros((2, 4))}}, "without displacement and gap"),
        ({"variables": explain_arrays() | {"output_ig": np.zeros(4)}}, "without output_displacement and output_gap"),
        (
            {"variables": explain_arrays() | {"relevance_flow": np.zeros((2, 4, 4))}},
            "'relevance_flow' travels without relevance_flow_gap",
        ),
        ({"variables": explain_arrays() | {"total_gap": np.zeros(())}}, "'total_gap' travels without total_displ"),
        ({"layers": [0, 1, 2]}, r"'layer_relevance' has shape \(2, 4\), expected \(layer 3, token 4\)"),
        ({"classes": None}, "need the names of their classes"),
        ({"classes": ["yes"]}, r"'probability' has shape \(2,\), expected \(class 1\)"),
        ({"attrs": {"model": "m"}}, "an explanation needs the attributes lignite_version, revision"),
        ({"tokens": replace(Labels(), stop=(0, 1))}, "4 positions but 2 entries of 'stop'"),
    ],
)
def test_building_an_explanation_refuses_what_does_not_fit(changes, message):
    """A wrong label is worse than none, because nobody sees it."""
    arguments = {"tokens": Labels(), "variables": explain_arrays(), "attrs": EXPLAINED, "classes": ["no", "yes"]}

    with pytest.raises(InputError, match=message):
        build_explanation(**(arguments | changes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda why: why.sel(layer=[0, 1]), r"differ in layers: 3 \(0, 1, 2\) and 2 \(0, 1\)"),
        (lambda why: why.isel(token=[1, 0, *range(2, 10)]), "differ in tokens: entry 0 is 0 in the first and 1"),
        (lambda why: sample_explanation(tokens=list("abcdefghij")), r"tokens of the token axis: entry 0 is '\[CLS\]'"),
        (lambda why: sample_explanation(pair=True), "only one result has 'segment'"),
        (lambda why: why.sel(source=[0, 3]), "differ in sources"),
        (lambda why: sample_flow(), "one result is an explanation, the other a flow"),
    ],
)
def test_explanations_of_different_tokens_are_told_apart(change, message):
    """Relevance of other tokens can have the same shape, and numbers of both would mean nothing."""
    why = sample_explanation()

    require_same_grid(why, why.copy())
    with pytest.raises(GridError, match=message):
        require_same_grid(why, change(why))


def test_explanations_by_methods_with_and_without_layers_can_be_compared():
    """That is what comparators are for: one number per token is common to all."""
    require_same_grid(sample_explanation(method="ca-lig"), sample_explanation(method="saliency"))
