"""Questions to a result: sum rules survive them, and small answers are worked out by hand or by brute force."""

import itertools
import json

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_flow import sample_flow

from lignite.errors import GridError, InputError, OptionError
from lignite.results.accessor import STILL
from lignite.results.schema import FLOW, validate

EXACT = {"rtol": 1e-12, "atol": 1e-12}  # float64 sums of some dozens of numbers of size one
WORDS = [[0], [1], [2, 3, 4], [5], [6], [7], [8], [9]]  # by hand, from the sample's word numbers


def by_hand(*layers, tokens="ab"):
    """A flow with nothing but `whole`, given matrix by matrix, gaps zero."""
    scores = np.array(layers, dtype=np.float64)
    flow = sample_flow(tokens=list(tokens), layers=range(len(layers)), details=False, dtype="float64")
    flow = flow[["whole", "whole_displacement", "whole_gap"]]
    flow["whole"].values[:] = scores
    flow["whole_displacement"].values[:] = scores.sum(-1)
    flow["whole_gap"].values[:] = 0
    return flow


def assert_every_sum_rule_holds(flow):
    """Scores sum to displacement plus gap; heads with the residual, and circuits, sum to the whole."""
    for name, entry in FLOW.maps.items():
        if entry.part_of is None and name != "attention_sum":  # which stands in the place of attention
            total = flow[name].sum(entry.adds_over)
            assert_allclose(total, flow[f"{name}_displacement"] + flow[f"{name}_gap"], **EXACT)
    diagonal = flow["target"] == flow["source"]
    heads = flow.whole_heads.sum("head") + flow.whole_residual * diagonal
    assert_allclose(heads.transpose("layer", "target", "source"), flow.whole, **EXACT)
    assert_allclose(flow.whole_circuits.sum("circuit"), flow.whole, **EXACT)


def test_the_sample_itself_keeps_the_sum_rules():
    """Otherwise the tests below would show nothing."""
    assert_every_sum_rule_holds(sample_flow(dtype="float64"))


class TestMergeWords:
    def test_scores_of_sub_words_are_added_on_both_axes(self):
        """Zeros and ones times the map, the definition of adding rows and columns."""
        flow = sample_flow(dtype="float64")
        pool = np.array([[float(place in places) for place in range(10)] for places in WORDS])

        merged = flow.lignite.merge_words()

        assert_allclose(merged.attention, np.einsum("wt,lhts,vs->lhwv", pool, flow.attention, pool), **EXACT)
        assert_allclose(merged.whole_circuits, np.einsum("wt,clts,vs->clwv", pool, flow.whole_circuits, pool), **EXACT)
        assert_allclose(merged.composed, np.einsum("wt,lts,vs->lwv", pool, flow.composed, pool), **EXACT)
        assert_allclose(merged.mlp, np.einsum("wt,lth->lwh", pool, flow.mlp), **EXACT)
        assert_allclose(merged.attention_gap, np.einsum("wt,lht->lhw", pool, flow.attention_gap), **EXACT)

    def test_a_target_may_be_the_mean_of_its_sub_words_while_sources_are_added(self):
        """Sources are shares of something and must be added, whatever a long target should count."""
        flow = sample_flow(dtype="float64")

        merged = flow.lignite.merge_words(reduce="mean")

        expected = flow.whole.values[:, 2:5].mean(1)
        expected = np.stack([expected[:, places].sum(1) for places in WORDS], axis=1)
        assert_allclose(merged.whole.sel(target=2), expected, **EXACT)

    @pytest.mark.parametrize("reduce", ["sum", "mean"])
    @pytest.mark.parametrize("options", [{}, {"pair": True}])
    def test_every_sum_rule_survives(self, reduce, options):
        """A word's scores must still sum to its displacement; that is why displacements are merged, too."""
        flow = sample_flow(dtype="float64", **options)

        merged = flow.lignite.merge_words(reduce=reduce)

        assert_every_sum_rule_holds(merged)
        validate(merged)

    def test_words_are_labelled_from_the_text_and_start_at_their_first_sub_word(self):
        """The text has the case and the accents that a tokenizer may have dropped."""
        merged = sample_flow().lignite.merge_words()

        for axis in ("source", "target"):
            words = ["[CLS]", "The", "unbelievable", "plot", "bored", "nobody", ".", "[SEP]"]
            assert merged[f"{axis}_token"].values.tolist() == words
            assert merged[axis].values.tolist() == [0, 1, 2, 5, 6, 7, 8, 9]
            assert merged[f"{axis}_start"].values.tolist() == [-1, 0, 4, 17, 22, 28, 34, -1]
            assert merged[f"{axis}_stop"].values.tolist() == [-1, 3, 16, 21, 27, 34, 35, -1]
            assert merged[f"{axis}_word"].values.tolist() == [-1, 0, 1, 2, 3, 4, 5, -1]
            assert merged[f"{axis}_special"].values.tolist() == [True, *[False] * 6, True]

    @pytest.mark.parametrize(
        ("pieces", "word"),
        [
            (("un", "##believ", "##able"), "unbelievable"),
            (("Ġun", "believ", "able"), "unbelievable"),
            (("▁un", "believ", "able"), "unbelievable"),
            (("un", "believ", "able</w>"), "unbelievable"),
            (("▁", "C", "##"), "C"),
        ],
    )
    def test_without_offsets_pieces_are_joined(self, pieces, word):
        """Slow tokenizers know no offsets; their marks are not part of the word."""
        flow = sample_flow()
        tokens = [*flow.source_token.values[:2], *pieces, *flow.source_token.values[5:]]
        nowhere = np.full(10, -1)
        flow = flow.assign_coords(
            {f"{axis}_{label}": (axis, nowhere) for axis in ("source", "target") for label in ("start", "stop")}
        )
        flow = flow.assign_coords({f"{axis}_token": (axis, tokens) for axis in ("source", "target")})

        merged = flow.lignite.merge_words()

        assert merged.source_token.values.tolist()[1:4] == ["the", word, "plot"]
        assert merged.target_token.values.tolist()[1:4] == ["the", word, "plot"]

    def test_equal_word_numbers_in_two_texts_are_two_words(self):
        """Both texts of a pair count from zero."""
        flow = sample_flow(pair=True)

        merged = flow.lignite.merge_words()

        assert merged.source_token.values.tolist() == [
            *("[CLS]", "the", "unbelievable", "plot", "bored", "nobody", ".", "[SEP]")
        ]
        assert merged.source_segment.values.tolist() == [-1, 0, 0, 0, 1, 1, 1, -1]

    def test_a_part_of_a_word_on_the_target_axis_is_called_by_that_part(self):
        """Three of twelve letters are not the word; its place among the sources is still the word's."""
        flow = sample_flow(targets=[3, 4, 8], dtype="float64")

        merged = flow.lignite.merge_words()

        assert merged.target_token.values.tolist() == ["believable", "."]
        assert merged["target"].values.tolist() == [2, 8]
        assert_allclose(
            merged.whole.isel(target=0).sum("source"), flow.whole.isel(target=[0, 1]).sum(["target", "source"])
        )

    def test_patches_and_merged_results_stay_as_they_are(self):
        """What has no words has nothing to merge, and once is enough."""
        image = sample_flow(grid=(3, 4))
        merged = sample_flow().lignite.merge_words()

        xr.testing.assert_equal(image.lignite.merge_words(), image)
        xr.testing.assert_identical(merged.lignite.merge_words(), merged)

    def test_one_missing_number_spoils_its_own_word_only(self):
        """NaN times zero is NaN: a merge by matrix product would spread it."""
        flow = sample_flow(dtype="float64")
        flow["whole"].values[0, 3, 5] = np.nan

        merged = flow.lignite.merge_words()

        assert np.isnan(merged.whole).sum() == 1
        assert np.isnan(merged.whole.sel(layer=0, target=2, source=5))


class TestTop:
    def test_the_strongest_come_first_whatever_their_sign(self):
        """Strength is magnitude; the share is of the row's own displacement."""
        flow = by_hand([[3, -1], [2, 2]], [[1, 0], [-9, 11]])

        table = flow.lignite.top(3)

        assert table.to_dict("list") == {
            "layer": [1, 1, 0],
            "target": [1, 1, 0],
            "target_token": ["b", "b", "a"],
            "source": [1, 0, 0],
            "source_token": ["b", "a", "a"],
            "score": [11.0, -9.0, 3.0],
            "share": [5.5, -4.5, 1.5],
        }

    def test_layers_and_the_diagonal_can_be_left_out(self):
        """A token's share of itself hides everything else under some baselines."""
        flow = by_hand([[3, -1], [2, 2]], [[1, 0], [-9, 11]])

        assert flow.lignite.top(layer=0).score.tolist() == [3.0, 2.0, 2.0, -1.0]
        assert flow.lignite.top(layer=[1], drop_diagonal=True).score.tolist() == [-9.0, 0.0]

    @pytest.mark.parametrize(
        ("name", "columns", "displacement"),
        [
            ("attention", ["layer", "head", "target", "target_token", "source", "source_token"], "attention"),
            ("whole_circuits", ["circuit", "layer", "target", "target_token", "source", "source_token"], "whole"),
            ("mlp", ["layer", "target", "target_token", "head"], "mlp"),
        ],
    )
    def test_every_map_names_all_its_axes(self, name, columns, displacement):
        """The table's rows lead back to the number in the result."""
        flow = sample_flow()

        table = flow.lignite.top(7, map=name)

        assert table.columns.tolist() == [*columns, "score", "share"]
        assert len(table) == 7
        for _, row in table.iterrows():
            place = {dim: row[dim] for dim in flow[name].dims}
            assert flow[name].sel(place) == row.score
            there = {dim: row[dim] for dim in flow[f"{displacement}_displacement"].dims}
            assert_allclose(
                row.share, row.score / flow[f"{displacement}_displacement"].sel(there), rtol=1e-6
            )  # float32
        assert_allclose(abs(table.score).max(), abs(flow[name]).max())

    def test_the_diagonal_goes_by_position_not_by_place(self):
        """With a chosen target the first row is not the first token."""
        flow = sample_flow(targets=[4, 7])

        table = flow.lignite.top(1000, drop_diagonal=True, layer=0)

        assert len(table) == 2 * 9
        assert (table.target != table.source).all()

    def test_a_target_that_moved_nowhere_has_no_shares(self):
        """Shares of rounding are noise."""
        flow = by_hand([[1e-9, 0, 0], [0, 4, 0], [0, 0, 5]], tokens="abc")

        table = flow.lignite.top(3)

        assert table.share.isna().tolist() == [False, False, True]


class TestDropSpecial:
    def test_special_tokens_leave_both_axes_and_nothing_else_changes(self):
        """[CLS] and [SEP] soak up flow and crowd out what a reader came for."""
        flow = sample_flow()

        dropped = flow.lignite.drop_special()

        plain = list(range(1, 9))
        xr.testing.assert_equal(dropped, flow.sel(source=plain, target=plain))
        assert dropped.attrs["dropped_special"] == 1
        validate(dropped)

    def test_a_result_of_special_tokens_alone_is_refused(self):
        """An empty map would look like no flow."""
        with pytest.raises(OptionError, match="every token of the target axis is special"):
            sample_flow(targets=[0, 9]).lignite.drop_special()


class TestNormalize:
    @pytest.mark.parametrize("by", ["displacement", "row", "max"])
    def test_every_sum_rule_survives(self, by):
        """A map, its details, its displacement and its gap are divided by one number."""
        normalized = sample_flow(dtype="float64").lignite.normalize(by=by)

        assert_every_sum_rule_holds(normalized)
        validate(normalized)

    def test_each_divisor_is_what_it_is_called(self):
        """Worked by hand on a map with a cancelling row."""
        flow = by_hand([[3, -1], [2, 2]], [[1, 0], [-9, 11]])

        by_displacement = flow.lignite.normalize().whole
        by_row = flow.lignite.normalize(by="row").whole
        by_max = flow.lignite.normalize(by="max").whole

        assert_allclose(by_displacement, [[[1.5, -0.5], [0.5, 0.5]], [[1, 0], [-4.5, 5.5]]], **EXACT)
        assert_allclose(by_row, [[[0.75, -0.25], [0.5, 0.5]], [[1, 0], [-0.45, 0.55]]], **EXACT)
        assert_allclose(by_max, [[[1, -1 / 3], [2 / 3, 2 / 3]], [[1 / 11, 0], [-9 / 11, 1]]], **EXACT)

    def test_heads_keep_their_proportions_under_the_maximum(self):
        """One largest number for the layer; one per head would make a silent head shout."""
        flow = sample_flow()

        normalized = flow.lignite.normalize(by="max")

        expected = flow.attention / abs(flow.attention).max(["head", "target", "source"])
        assert_allclose(normalized.attention, expected, rtol=1e-6)  # float32
        assert normalized.attention.dtype == np.float32

    @pytest.mark.parametrize("by", ["displacement", "row", "max"])
    def test_a_target_that_moved_nowhere_is_zero(self, by):
        """A decoder's first token has only itself to read, so that nothing moves it under the target-token baseline."""
        flow = by_hand([[0, 0], [1, 3]], [[0, 0], [0, 0]])

        normalized = flow.lignite.normalize(by=by)

        assert np.isfinite(normalized.whole).all()
        assert_allclose(normalized.whole.sel(target=0), 0)
        assert_allclose(normalized.whole.sel(layer=1), 0)

    def test_what_is_missing_is_named(self):
        """A detail alone does not know its row."""
        flow = sample_flow()

        with pytest.raises(OptionError, match="lacks whole_displacement"):
            flow[["whole"]].lignite.normalize()
        with pytest.raises(OptionError, match="details of 'whole' but not 'whole' itself"):
            flow[["whole_heads"]].lignite.normalize(by="row")


class TestChain:
    def test_two_layers_by_hand(self):
        """P0 = [[1/2, 1/2], [1/4, 3/4]] and P1 = [[0, 1], [5/4, -1/4]], multiplied on paper."""
        flow = by_hand([[2, 2], [1, 3]], [[0, 4], [5, -1]])

        chain = flow.lignite.chain()

        assert chain.dims == ("target", "source")
        assert_allclose(chain, [[0.25, 0.75], [0.5625, 0.4375]], **EXACT)

    def test_cumulative_products_end_in_the_chain(self):
        """One product per layer, the first being that layer's own shares."""
        flow = sample_flow(dtype="float64", layers=(3, 4, 5))

        steps = flow.lignite.chain(cumulative=True)

        assert steps["layer"].values.tolist() == [3, 4, 5]
        assert_allclose(steps.sel(layer=3), flow.whole.sel(layer=3) / flow.whole.sel(layer=3).sum("source"), **EXACT)
        assert_allclose(steps.sel(layer=4), flow.sel(layer=[3, 4]).lignite.chain(), **EXACT)
        assert_allclose(steps.sel(layer=5), flow.lignite.chain(), **EXACT)

    @pytest.mark.parametrize("name", ["whole", "composed"])
    @pytest.mark.parametrize("residual", [None, 0.5])
    def test_shares_are_conserved_through_all_layers(self, name, residual):
        """Nothing is lost or made: each row of the chain sums to one."""
        chain = sample_flow(dtype="float64").lignite.chain(name, residual=residual)

        # Shares of either sign grow from layer to layer, and rounding grows with the largest of them.
        assert_allclose(chain.sum("source"), 1, rtol=0, atol=1e-13 * float(abs(chain).sum("source").max()))

    def test_the_residual_mixes_in_the_identity(self):
        """Half of each token stays: (P + I) / 2 per layer, on paper."""
        flow = by_hand([[0, 4], [1, 3]])

        assert_allclose(flow.lignite.chain(residual=0.5), [[0.5, 0.5], [0.125, 0.875]], **EXACT)
        assert_allclose(flow.lignite.chain(residual=1.0), np.eye(2), **EXACT)

    def test_a_target_that_moved_nowhere_stays_itself(self):
        """Its scores are rounding; dividing them by each other would send its flow anywhere."""
        flow = by_hand([[2e-9, 1e-9, 0], [1, 3, 0], [0, 2, 2]], [[0, 0, 0], [1, 3, 0], [0, 2, 2]], tokens="abc")

        chain = flow.lignite.chain()

        assert STILL * 4 > 3e-9  # below the share of the median displacement, 4, that counts as movement
        assert_allclose(chain.sel(target=0), [1, 0, 0], **EXACT)
        assert_allclose(chain.sel(target=1), [0.25 + 0.75 * 0.25, 0.75 * 0.75, 0], **EXACT)

    def test_what_counts_as_movement_is_measured_in_each_layer(self):
        """States grow from layer to layer; the first layer of a deep model is small beside the last."""
        flow = by_hand([[1e-7, 1e-7], [0, 1e-7]], [[1, 0], [0, 1]])

        assert_allclose(flow.lignite.chain(), [[0.5, 0.5], [0, 1]], **EXACT)

    def test_the_order_of_layers_and_targets_on_the_axes_does_not_matter(self):
        """Axes are labelled; a product that went by place would be another one."""
        flow = sample_flow(dtype="float64")
        shuffled = flow.isel(layer=[2, 0, 1], target=np.roll(np.arange(10), 3))

        xr.testing.assert_allclose(shuffled.lignite.chain(), flow.lignite.chain(), rtol=1e-12)
        assert shuffled.lignite.paths(5) == flow.lignite.paths(5)


class TestPaths:
    @pytest.mark.parametrize("k", [1, 2, 5, 17, 300])
    @pytest.mark.parametrize(("target", "residual"), [(None, None), (2, None), (None, 0.3)])
    def test_the_strongest_paths_are_those_that_trying_them_all_finds(self, k, target, residual):
        """The search keeps k per token and layer; all 4⁴ paths of three layers are few enough to try."""
        flow = sample_flow(tokens="abcd", dtype="float64", details=False)
        shares = (flow.whole / flow.whole.sum("source")).values
        shares = shares if residual is None else (1 - residual) * shares + residual * np.eye(4)
        products = {
            places: np.prod([shares[layer, places[layer + 1], places[layer]] for layer in range(3)])
            for places in itertools.product(range(4), repeat=4)
            if target in (None, places[-1])
        }
        expected = sorted(products, key=lambda places: -abs(products[places]))[:k]

        found = flow.lignite.paths(k, target=target, residual=residual)

        assert [path.positions for path in found] == expected
        assert_allclose([path.strength * path.sign for path in found], [products[p] for p in expected], rtol=1e-12)

    def test_all_paths_together_are_the_chain(self):
        """The chain sums over ways; a path is one way."""
        flow = sample_flow(tokens="abc", layers=(1, 2), dtype="float64", details=False)
        total = np.zeros((3, 3))

        for path in flow.lignite.paths(27):
            total[path.positions[-1], path.positions[0]] += path.sign * path.strength

        assert_allclose(total, flow.lignite.chain(), rtol=1e-10)

    def test_a_path_tells_its_tokens_layers_and_steps(self):
        """From the lowest layer's source to the highest layer's target, on paper."""
        flow = by_hand([[2, 2], [1, 3]], [[0, 4], [5, -1]]).assign_coords(layer=[6, 7])

        path = flow.lignite.paths(1)[0]

        assert path.tokens == ("b", "b", "a")
        assert path.positions == (1, 1, 0)
        assert path.layers == (6, 7)
        assert path.shares == (0.75, 1.0)
        assert (path.strength, path.sign) == (0.75, 1)
        assert str(path) == "+0.75  b → b → a"

    def test_paths_that_carry_nothing_are_left_out(self):
        """In a decoder most pairs are masked; a path of strength zero is no path."""
        flow = by_hand([[1, 0], [0, 1]], [[1, 0], [1, 1]])

        found = flow.lignite.paths(10)

        assert {path.positions for path in found} == {(0, 0, 0), (0, 0, 1), (1, 1, 1)}


@pytest.mark.parametrize("ask", [lambda flow: flow.lignite.chain(), lambda flow: flow.lignite.paths()])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda flow: flow.sel(target=[0, 3]), GridError, "position 1 is not on both token axes.*targets=None"),
        (lambda flow: flow.sel(source=[0, 3]), GridError, "position 1 is not on both token axes"),
        (lambda flow: flow.sel(layer=[0, 2]), OptionError, "layer 1 is missing between layers 0 and 2"),
        (lambda flow: flow[["mlp"]], OptionError, "no map 'whole', it has mlp"),
    ],
)
def test_flow_through_layers_needs_every_token_and_layer(ask, change, error, message):
    """A hole in the product would pass for a flow that stops."""
    with pytest.raises(error, match=message):
        ask(change(sample_flow()))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda flow: flow.lignite.chain("attention"), "chain 'whole' or 'composed' instead"),
        (lambda flow: flow.lignite.chain(residual=1.5), "residual is 1.5"),
        (lambda flow: flow.lignite.paths(0), "k=0 must be"),
        (lambda flow: flow.lignite.paths(target=10), r"target 10 is no position of this result \(0 to 9\)"),
        (lambda flow: flow.lignite.top(0), "k=0 must be"),
        (lambda flow: flow.lignite.top(map="hole"), "no map 'hole'.*Did you mean 'whole'"),
        (lambda flow: flow.lignite.top(layer=3), "layer 3 is not in this result, it has 0, 1, 2"),
        (lambda flow: flow.lignite.top(map="mlp", drop_diagonal=True), "no diagonal"),
        (lambda flow: flow[["whole"]].lignite.top(), "lacks whole_displacement"),
    ],
)
def test_wrong_options_are_answered_with_the_right_ones(ask, message):
    """One line that says what to do."""
    with pytest.raises(OptionError, match=message):
        ask(sample_flow())


def test_other_datasets_are_sent_away():
    """Xarray offers the accessor on every Dataset, also on those that are no results."""
    with pytest.raises(InputError, match="no attribute 'kind'"):
        xr.Dataset({"rain": ("day", [1.0])}).lignite.top()


def test_nothing_is_changed_in_place():
    """A question must not alter the answer to the next one."""
    flow = sample_flow()
    before = flow.copy(deep=True)

    flow.lignite.merge_words()
    flow.lignite.drop_special()
    flow.lignite.normalize()
    flow.lignite.chain()
    flow.lignite.paths()
    flow.lignite.top()

    xr.testing.assert_identical(flow, before)


def explained(*layers, output, tokens="abc", special=()):
    """A relevance flow given layer by layer as `[target, source]`, with the relevance that its columns sum to."""
    why = sample_explanation(method="relevance-flow", tokens=list(tokens), n_layers=len(layers), dtype="float64")
    why = why[["relevance", "layer_relevance", "displacement", "gap", "relevance_flow", "relevance_flow_gap"]]
    flow = np.array(layers, dtype=np.float64)
    why["relevance_flow"].values[:] = flow
    why["relevance_flow_gap"].values[:] = 0
    why["layer_relevance"].values[:] = flow.sum(1)
    why["relevance"].values[:] = flow[0].sum(0)
    why["displacement"].values[:] = flow.sum((1, 2))
    why["gap"].values[:] = 0
    assert_allclose(flow.sum(2), [*flow.sum(1)[1:], output])
    flags = np.isin(list(tokens), list(special))
    return why.assign_coords(
        special=("token", flags), target_special=("target", flags), source_special=("source", flags)
    )


def assert_relevance_adds_up(why):
    """Over tokens to displacement plus gap, from layer to layer, and over heads."""
    layers = why.layer_ig if "layer_ig" in why else why.layer_relevance
    assert_allclose(layers.sum("token"), why.displacement + why.gap, **EXACT)
    assert_allclose(why.output_ig.sum("token"), why.output_displacement + why.output_gap, **EXACT)
    above = np.concatenate([layers.values[1:], why.output_ig.values[None]])
    assert_allclose(why.relevance_flow.sum("source"), above + why.relevance_flow_gap, **EXACT)
    assert_allclose(why.relevance_flow.sum("target"), layers, **EXACT)
    heads = why.relevance_flow_heads.sum("head") + why.relevance_residual * (why["target"] == why["source"])
    assert_allclose(heads.transpose("layer", "target", "source"), why.relevance_flow, **EXACT)
    if "attention_gradient" in why:
        assert_allclose(why.attention_gradient_heads.mean("head"), why.attention_gradient, **EXACT)


OPTIONS = [{}, {"pair": True}, {"n_layers": 5, "n_heads": 3, "seed": 1}, {"tokens": list("abcdef")}]
BOTH = pytest.mark.parametrize("method", ["ca-lig", "relevance-flow"])


@BOTH
@pytest.mark.parametrize("options", OPTIONS)
def test_the_sample_explanation_itself_adds_up(method, options):
    """Otherwise the tests below would show nothing."""
    assert_relevance_adds_up(sample_explanation(method=method, dtype="float64", **options))


class TestMergeWordsOfAnExplanation:
    def test_scores_of_sub_words_are_added_on_every_token_axis(self):
        """Zeros and ones times the map, the definition of adding."""
        why = sample_explanation(dtype="float64", stochastic=True)
        pool = np.array([[float(place in places) for place in range(10)] for places in WORDS])

        merged = why.lignite.merge_words()

        assert_allclose(merged.relevance, pool @ why.relevance.values, **EXACT)
        assert_allclose(merged.layer_ig_error, why.layer_ig_error.values @ pool.T, **EXACT)
        assert_allclose(merged.relevance_residual, why.relevance_residual.values @ pool.T, **EXACT)
        for name in ("attention_gradient_heads", "relevance_flow_heads"):
            assert_allclose(merged[name], np.einsum("wt,lhts,vs->lhwv", pool, why[name], pool), **EXACT)

    @BOTH
    @pytest.mark.parametrize("options", OPTIONS)
    def test_every_sum_stays(self, method, options):
        """A word's relevance is what its sub-words have together, at every layer."""
        merged = sample_explanation(method=method, dtype="float64", **options).lignite.merge_words()

        assert_relevance_adds_up(merged)
        validate(merged)

    def test_the_rest_stays_as_it_is(self):
        """Classes, displacements and gaps know no tokens."""
        why = sample_explanation()

        merged = why.lignite.merge_words()

        for name in ("probability", "logit", "displacement", "gap", "output_displacement", "output_gap"):
            xr.testing.assert_identical(merged[name], why[name])

    def test_words_are_labelled_from_the_text_and_stay_without_an_index(self):
        """All three token axes have the same words."""
        merged = sample_explanation().lignite.merge_words()

        words = ["[CLS]", "The", "unbelievable", "plot", "bored", "nobody", ".", "[SEP]"]
        for prefix in ("", "source_", "target_"):
            assert merged[f"{prefix}token"].values.tolist() == words
            assert merged[f"{prefix}start"].values.tolist() == [-1, 0, 4, 17, 22, 28, 34, -1]
            assert merged[f"{prefix}stop"].values.tolist() == [-1, 3, 16, 21, 27, 34, 35, -1]
        for name in ("position", "source", "target"):
            assert merged[name].values.tolist() == [0, 1, 2, 5, 6, 7, 8, 9]
        assert "token" not in merged.indexes
        assert merged.attrs["merged_words"] == "sum"

    def test_the_mean_makes_long_and_short_words_comparable(self):
        """A word of three pieces has three chances to be relevant; sources are added all the same."""
        why = sample_explanation(dtype="float64")

        merged = why.lignite.merge_words(reduce="mean")

        assert_allclose(merged.relevance, [why.relevance.values[places].mean() for places in WORDS], **EXACT)
        expected = why.attention_gradient.isel(target=[2, 3, 4]).mean("target").isel(source=[2, 3, 4]).sum("source")
        assert_allclose(merged.attention_gradient.sel(target=2, source=2), expected, **EXACT)

    def test_a_method_without_layers_has_words_too(self):
        """Words are the unit in which methods are compared."""
        merged = sample_explanation(method="ig", dtype="float64").lignite.merge_words()

        assert dict(merged.sizes) == {"token": 8, "class": 2}
        assert_allclose(merged.relevance.sum(), merged.total_displacement + merged.total_gap, **EXACT)


class TestMergeSpans:
    def test_a_phrase_becomes_one_token(self):
        """The text has "unbelievable plot" at places 2 to 5, "nobody." at places 7 and 8, counted by hand."""
        why = sample_explanation(dtype="float64")
        groups = [[0], [1], [2, 3, 4, 5], [6], [7, 8], [9]]
        pool = np.array([[float(place in places) for place in range(10)] for places in groups])

        merged = why.lignite.merge_spans([(28, 35), [4, 21]])

        assert_allclose(merged.relevance, pool @ why.relevance.values, **EXACT)
        assert_allclose(merged.relevance_flow, np.einsum("wt,lts,vs->lwv", pool, why.relevance_flow, pool), **EXACT)
        assert merged.token.values.tolist() == ["[CLS]", "the", "unbelievable plot", "bored", "nobody.", "[SEP]"]
        assert merged.position.values.tolist() == [0, 1, 2, 6, 7, 9]
        assert merged.target_start.values.tolist() == [-1, 0, 4, 22, 28, -1]
        assert merged.source_stop.values.tolist() == [-1, 3, 21, 27, 35, -1]
        assert json.loads(merged.attrs["merged_spans"]) == [[4, 21], [28, 35]]
        assert_relevance_adds_up(merged)
        validate(merged)

    @pytest.mark.parametrize(
        ("spans", "tokens"),
        [
            ([(5, 7)], ["unbeliev", "##able"]),
            ([(4, 8), (8, 13)], ["un", "believable"]),
            ([(4, 9), (9, 13)], ["unbeliev", "able"]),
            ([], ["un", "##believ", "##able"]),
        ],
    )
    def test_a_token_that_a_border_cuts_goes_where_most_of_it_is(self, spans, tokens):
        """The letters of "believ" are 6 to 12: two of six are before 8, three before 9, where the first phrase wins."""
        merged = sample_explanation().lignite.merge_spans(spans)

        assert merged.token.values.tolist()[2 : 2 + len(tokens)] == tokens
        assert merged.token.values.tolist()[2 + len(tokens)] == "plot"

    def test_a_phrase_of_a_flow_is_merged_on_both_axes(self):
        """Targets may be a choice; a phrase without a target is still a source."""
        flow = sample_flow(targets=[2, 5, 6], dtype="float64")

        merged = flow.lignite.merge_spans([(4, 21), (28, 35)])

        assert merged["target"].values.tolist() == [2, 6]
        assert merged["source"].values.tolist() == [0, 1, 2, 6, 7, 9]
        expected = flow.whole.sel(target=[2, 5]).sum("target").sel(source=[7, 8]).sum("source")
        assert_allclose(merged.whole.sel(target=2, source=7), expected, **EXACT)

    @pytest.mark.parametrize(
        ("spans", "message"),
        [
            ([(3, 4)], r"phrase \(3, 4\) \(' '\) holds no token"),
            ([(4, 4)], r"phrase \(4, 4\) is empty or outside the text of 35 characters"),
            ([(30, 36)], r"phrase \(30, 36\) is empty or outside"),
            ([(-3, 2)], r"phrase \(-3, 2\) is empty or outside"),
            ([(17, 27), (4, 18)], r"phrases \(4, 18\) and \(17, 27\) overlap"),
            ([(1, 2, 3)], r"\(1, 2, 3\) is no phrase"),
        ],
    )
    def test_what_is_no_phrase_of_the_text_is_refused(self, spans, message):
        """A phrase that merges nothing would pass for one that says nothing."""
        with pytest.raises(OptionError, match=message):
            sample_explanation().lignite.merge_spans(spans)

    def test_a_phrase_ends_with_its_text(self):
        """Of two texts that are read as one input, no words belong together across the border."""
        with pytest.raises(OptionError, match=r"\('plot\\nbored'\) lies in both texts"):
            sample_explanation(pair=True).lignite.merge_spans([(17, 27)])


class TestTopOfAnExplanation:
    def test_the_strongest_tokens_come_first_and_keep_their_sign(self):
        """Worked by hand; the magnitudes sum to 8."""
        why = explained([[3, -4, 0], [0, 0, 0], [0, 0, 1]], output=[-1, 0, 1])

        assert why.lignite.top(2).to_dict("list") == {
            "position": [1, 0],
            "token": ["b", "a"],
            "score": [-4.0, 3.0],
            "share": [-0.5, 0.375],
        }

    def test_evidence_for_and_against_is_asked_for_apart(self):
        """Zero speaks for neither."""
        why = explained([[3, -4, 0], [0, 0, 0], [0, 0, 0]], output=[-1, 0, 0])

        assert why.lignite.top(sign="for").token.tolist() == ["a"]
        assert why.lignite.top(sign="against").token.tolist() == ["b"]
        assert why.lignite.top().token.tolist() == ["b", "a", "c"]

    def test_shares_of_a_layer_are_of_that_layer(self):
        """Layers differ in size; the columns name the layer."""
        why = explained([[3, -1, 0], [0, 2, 0], [0, 0, 2]], [[2, 2, 0], [0, 0, 0], [0, 0, 2]], output=[4, 0, 2])

        table = why.lignite.top(4, map="layer_relevance")

        assert table.to_dict("list") == {
            "layer": [0, 0, 1, 1],
            "position": [0, 2, 0, 1],
            "token": ["a", "c", "a", "b"],
            "score": [3.0, 2.0, 2.0, 2.0],
            "share": [1 / 2, 1 / 3, 1 / 3, 1 / 3],
        }
        assert why.lignite.top(map="layer_relevance", layer=1).layer.tolist() == [1, 1, 1]

    def test_maps_between_tokens_name_both(self):
        """As in a flow."""
        table = sample_explanation().lignite.top(4, map="relevance_flow_heads", drop_diagonal=True, sign="against")

        assert table.columns.tolist() == [
            *("layer", "head", "target", "target_token", "source", "source_token", "score", "share")
        ]
        assert (table.score < 0).all()
        assert (table.target != table.source).all()

    def test_the_sign_can_be_chosen_in_a_flow_too(self):
        """A source can also hold its target back."""
        flow = by_hand([[3, -1], [2, -4]])

        assert flow.lignite.top(sign="against").score.tolist() == [-4.0, -1.0]


class TestDropSpecialOfAnExplanation:
    def test_special_tokens_leave_every_axis(self):
        """They take their relevance along."""
        why = sample_explanation(stochastic=True)

        dropped = why.lignite.drop_special()

        plain = list(range(1, 9))
        xr.testing.assert_equal(dropped, why.isel(token=plain).sel(source=plain, target=plain))
        assert dropped.attrs["dropped_special"] == 1
        validate(dropped)

    def test_their_relevance_can_be_shared_in_proportion_to_magnitudes(self):
        """6 shared over magnitudes 1 and 2 adds 2 and 4, whatever their signs."""
        why = explained([[6, 0, 0], [0, 1, 0], [0, 0, -2]], output=[6, 1, -2], special="a")

        shared = why.lignite.drop_special(redistribute=True)

        assert shared.token.values.tolist() == ["b", "c"]
        assert_allclose(shared.relevance, [3, 2], **EXACT)
        assert_allclose(shared.layer_relevance, [[3, 2]], **EXACT)

    @pytest.mark.parametrize("method", ["ca-lig", "relevance-flow", "ig", "saliency"])
    @pytest.mark.parametrize("options", [{}, {"pair": True}, {"grid": (3, 4)}])
    def test_every_sum_over_tokens_stays(self, method, options):
        """At every layer, also at the top, where a classifier's token has all relevance and the others none."""
        why = sample_explanation(method=method, dtype="float64", stochastic=True, **options)

        shared = why.lignite.drop_special(redistribute=True)

        assert not shared.special.any()
        assert not shared.relevance.isnull().any()
        for name in ("relevance", "layer_relevance", "layer_ig", "output_ig"):
            if name in why:
                assert_allclose(shared[name].sum("token"), why[name].sum("token"), **EXACT)
        assert "layer_ig_error" not in shared
        assert shared.attrs["redistributed_special"] == 1
        validate(shared)

    def test_rounding_is_no_reason_to_prefer_a_token(self):
        """At the top 1e-7 of one token against 0 of the others is the rounding of float32."""
        why = explained([[6, 0, 0], [0, 1e-7, 0], [0, 0, 0]], output=[6, 1e-7, 0], special="a")

        shared = why.lignite.drop_special(redistribute=True)

        assert_allclose(shared.relevance, [3 + 1e-7, 3], **EXACT)

    def test_only_relevance_can_be_shared(self):
        """A flow's special sources give to each target by itself."""
        with pytest.raises(OptionError, match="redistribute shares relevance, but this is a flow"):
            sample_flow().lignite.drop_special(redistribute=True)


class TestNormalizeOfAnExplanation:
    def test_the_largest_magnitude_of_a_layer_becomes_one(self):
        """Divided by 4 below and by 2 above, with displacement and flow; by hand."""
        why = explained([[3, -4, 0], [0, 0, 0], [0, 0, 1]], [[-1, 0, 0], [0, 0, 0], [0, 0, 1]], output=[-1, 0, 1])

        normalized = why.lignite.normalize()

        assert_allclose(normalized.relevance, [0.75, -1, 0.25], **EXACT)
        assert_allclose(normalized.layer_relevance, [[0.75, -1, 0.25], [-1, 0, 1]], **EXACT)
        assert_allclose(normalized.displacement, [0, 0], **EXACT)
        assert_allclose(normalized.relevance_flow.sel(layer=0), [[0.75, -1, 0], [0, 0, 0], [0, 0, 0.25]], **EXACT)
        assert normalized.attrs["normalized"] == "max"

    def test_rows_sum_to_one_in_magnitude(self):
        """A target that received nothing stays at nothing."""
        why = explained([[3, -4, 0], [0, 0, 0], [0, 0, 1]], output=[-1, 0, 1])

        normalized = why.lignite.normalize(by="row")

        assert_allclose(normalized.relevance, [3 / 8, -4 / 8, 1 / 8], **EXACT)
        assert_allclose(normalized.relevance_flow.sel(layer=0), [[3 / 7, -4 / 7, 0], [0, 0, 0], [0, 0, 1]], **EXACT)

    @pytest.mark.parametrize("by", ["max", "row"])
    @pytest.mark.parametrize("method", ["ca-lig", "relevance-flow", "ig", "saliency"])
    def test_sums_over_tokens_and_heads_survive(self, by, method):
        """Displacement, gap, error and details are divided by the number that their map is divided by."""
        why = sample_explanation(method=method, dtype="float64", stochastic=True)

        normalized = why.lignite.normalize(by=by)

        validate(normalized)
        if method == "ig":
            total = normalized.total_displacement + normalized.total_gap
            assert_allclose(normalized.relevance.sum(), total, **EXACT)
        if method in ("ca-lig", "relevance-flow"):
            layers = normalized.layer_ig if method == "ca-lig" else normalized.layer_relevance
            assert_allclose(layers.sum("token"), normalized.displacement + normalized.gap, **EXACT)
            assert_allclose(
                normalized.output_ig.sum("token"), normalized.output_displacement + normalized.output_gap, **EXACT
            )
            diagonal = normalized["target"] == normalized["source"]
            heads = normalized.relevance_flow_heads.sum("head") + normalized.relevance_residual * diagonal
            assert_allclose(heads.transpose("layer", "target", "source"), normalized.relevance_flow, **EXACT)
        if method == "ca-lig":
            assert_allclose(normalized.layer_ig_error / normalized.layer_ig, why.layer_ig_error / why.layer_ig)

    def test_a_displacement_is_no_unit_for_all_maps(self):
        """Fused relevance has none."""
        with pytest.raises(OptionError, match="by='displacement' is not known; choose from 'row', 'max'"):
            sample_explanation().lignite.normalize(by="displacement")


class TestFlowOfRelevance:
    @pytest.mark.parametrize("options", OPTIONS)
    def test_relevance_at_the_top_times_the_chain_is_relevance_at_the_bottom(self, options):
        """Nothing is lost between the layers but their gaps: the sum of a row goes to its sources, all of it."""
        why = sample_explanation(method="relevance-flow", dtype="float64", gap=0.0, **options)
        top = why.relevance_flow.isel(layer=-1).sum("source")

        chain = why.lignite.chain()

        assert_allclose(chain.sum("source"), 1, rtol=1e-9)  # shares grow where targets receive little
        assert_allclose((chain * top).sum("target"), why.layer_relevance.isel(layer=0), rtol=1e-9, atol=1e-9)

    def test_a_chain_by_hand(self):
        """Above, "a" owes half to "a" and half to "b"; below, "b" owes 3/2 to "a" and −1/2 to "c"."""
        below = [[2, 0, 0], [3, 0, -1], [0, 0, 0]]
        above = [[2, 2, 0], [0, 0, 0], [0, 0, 0]]
        why = explained(below, above, output=[4, 0, 0])

        chain = why.lignite.chain()

        assert_allclose(chain.sel(target=0), [0.5 + 0.5 * 1.5, 0, -0.25], **EXACT)
        assert_allclose(chain.sel(target=2), [0, 0, 1], **EXACT)

    def test_a_token_with_nothing_but_rounding_hands_nothing_down(self):
        """At the top most tokens have none, so that the median is no measure of much; 3e-7 of 4 is float32."""
        why = explained([[4, 0, 0], [3e-7, 0, -2e-7], [0, 0, 0]], output=[4, 1e-7, 0])

        chain = why.lignite.chain()

        assert_allclose(chain, np.eye(3), **EXACT)

    @pytest.mark.parametrize("target", [None, 2])
    def test_the_strongest_paths_are_those_that_trying_them_all_finds(self, target):
        """In the unit of the prediction: the relevance at the top times the shares on the way down."""
        why = sample_explanation(method="relevance-flow", tokens=list("abcd"), dtype="float64", seed=3)
        why = why.sel(layer=[0, 1])  # above all relevance stands on one token
        flow = why.relevance_flow.values
        shares, top = flow / flow.sum(2, keepdims=True), flow[-1].sum(1)
        products = {
            (a, b, c): top[c] * shares[1, c, b] * shares[0, b, a]
            for a, b, c in itertools.product(range(4), repeat=3)
            if target in (None, c)
        }
        expected = sorted(products, key=lambda places: -abs(products[places]))[:7]

        found = why.lignite.paths(7, target=target)

        assert [path.positions for path in found] == expected
        assert_allclose([path.sign * path.strength for path in found], [products[p] for p in expected], rtol=1e-12)

    def test_all_paths_together_are_the_relevance_of_their_sources(self):
        """What a token has at the bottom arrived there in ways that can be counted."""
        why = sample_explanation(method="relevance-flow", tokens=list("abc"), dtype="float64", gap=0.0)
        total = np.zeros(3)

        for path in why.lignite.paths(3**4):
            total[path.positions[0]] += path.sign * path.strength

        assert_allclose(total, why.layer_relevance.sel(layer=0), rtol=1e-9)

    @pytest.mark.parametrize("ask", [lambda why: why.lignite.chain(), lambda why: why.lignite.paths()])
    def test_without_a_relevance_flow_nothing_flows(self, ask):
        """Attention gradients are no shares of anything; the message says how to get the flow."""
        with pytest.raises(OptionError, match=r"no map 'relevance_flow'.*method='relevance-flow', detail="):
            ask(sample_explanation(detail=()))
        with pytest.raises(GridError, match=r"position 1 is not on both token axes.*Select no tokens"):
            ask(sample_explanation().sel(source=[0, 2]))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda why: why.lignite.chain("attention_gradient"), "rows of 'attention_gradient' sum to nothing"),
        (lambda why: why.lignite.chain("layer_ig"), "has the axes layer, token: chain 'relevance_flow' instead"),
        (lambda why: why.lignite.chain("whole"), "no map 'whole', it has .*Compute it with a method= that has it"),
        (lambda why: why.lignite.top(layer=1), "map 'relevance' has no layers"),
        (lambda why: why.lignite.top(map="layer_ig", layer=7), "layer 7 is not in this result, it has 0, 1, 2"),
        (lambda why: why.lignite.top(drop_diagonal=True), "map 'relevance' has no sources and so no diagonal"),
        (lambda why: why.isel(token=[0, 9]).lignite.drop_special(), "every token of the token axis is special"),
    ],
)
def test_wrong_options_for_an_explanation_are_answered_with_the_right_ones(ask, message):
    """One line that says what to do."""
    with pytest.raises(OptionError, match=message):
        ask(sample_explanation())


def test_an_explanation_is_not_changed_in_place():
    """A question must not alter the answer to the next one."""
    why = sample_explanation(stochastic=True)
    before = why.copy(deep=True)

    why.lignite.merge_words()
    why.lignite.merge_spans([(4, 21)])
    why.lignite.drop_special(redistribute=True)
    why.lignite.normalize()
    why.lignite.chain()
    why.lignite.paths()
    why.lignite.top()

    xr.testing.assert_identical(why, before)
    assert "token" not in why.indexes
