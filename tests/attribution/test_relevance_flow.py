"""Relevance carried from layer to layer: nothing is lost, and every part is what a definition of its own gives."""

import functools

import numpy as np
import pytest
import torch
from numpy.polynomial.legendre import leggauss
from numpy.testing import assert_allclose
from tests.kit.headed_models import headed
from tests.kit.stacks import ROUNDED, Blocks, bending_model, linear_model, sharp_model, starts
from torch.testing import assert_close

import lignite
from lignite.attribution.layer_ig import Following
from lignite.attribution.relevance_flow import pull_back
from lignite.blocks.baselines import starts_of
from lignite.blocks.stack import Stack
from lignite.errors import OptionError
from lignite.methods import RelevanceFlow
from lignite.methods.options import choose
from lignite.methods.scoring.ends import ends_of
from lignite.models.hold import at_rest
from lignite.targets.ask import ask, predict
from lignite.targets.edits import replace_tokens
from lignite.targets.target import Target

TEXT = "plot was thin"
TIGHT = {"tol": 2e-6, "max_steps": 1000}
SHAPES = {
    "bert": "BertForSequenceClassification",
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "deberta-v2": "DebertaV2ForSequenceClassification",
}


def through(model: Blocks, seed: int | None):
    return model.trace(starts(model, seed), torch.arange(len(model.first)))[0]


@pytest.mark.parametrize("start_seed", [None, 7])
def test_in_a_linear_model_multipliers_are_its_gradients(start_seed):
    """A block that is linear has one transpose, wherever on the path it is asked."""
    model, gradients = linear_model()
    start = through(model, start_seed)

    found = pull_back(model, start, Following())

    for layer, gradient in enumerate(gradients):
        assert_close(found.vectors[layer], gradient.expand_as(model.first), **ROUNDED)
        expected = (gradient * (model.states[layer] - start[layer])).sum(-1)
        assert_close(found.relevance[:, layer], expected, **ROUNDED)
    assert_close(found.displacement, model.value - model.head(start[-1]), **ROUNDED)


def test_one_bend_by_hand():
    """Y = x², F = yᵀ M y / 2: on top the middle of y's line, below x's own mean slope (x⁰ + x) times it."""
    model = bending_model()
    start = through(model, 10)

    found = pull_back(model, start, Following())

    mixed = torch.tensor([[0.0, 1.0, 0.5], [1.0, 0.0, -0.7], [0.5, -0.7, 0.0]], dtype=torch.float64)
    above = torch.einsum("tu,pud->ptd", mixed, (start[1] + model.states[1]) / 2)
    assert_close(found.vectors[1], above, **ROUNDED)
    assert_close(found.vectors[0], above * (start[0] + model.first), **ROUNDED)
    assert_close(found.relevance.sum(-1), found.displacement[:, None].expand(-1, 2), **ROUNDED)


def test_relevance_is_conserved_where_many_nodes_are_needed():
    """The gap of every layer is within the tolerance of the whole, not of its own block."""
    model, tol = sharp_model(6.0), 1e-7
    start = through(model, 12)

    found = pull_back(model, start, Following(tol=tol))

    assert (found.gap.abs() <= found.allowed).all()
    assert (found.n_nodes > 12).any()
    assert (found.relevance.sum(-1) - found.displacement[:, None]).abs().max() <= tol * found.displacement.abs().max()
    assert_close(found.relevance.sum(-1) - found.displacement[:, None], found.gap, rtol=0, atol=1e-13)


def test_a_flow_that_does_not_converge_is_told():
    """Six nodes on a step."""
    model = sharp_model(60.0)

    found = pull_back(model, through(model, 12), Following(tol=1e-9, max_steps=6))

    assert not (found.gap.abs() <= found.allowed).all()


@pytest.mark.parametrize("max_points", [1, 7])
def test_how_many_points_run_at_once_changes_nothing(max_points):
    """Memory decides it."""
    model = sharp_model(3.0)
    start = through(model, 12)

    few, many = (pull_back(model, start, Following(max_points=points)) for points in (max_points, 1000))

    assert_close(few.relevance, many.relevance, **ROUNDED)


def test_padding_carries_nothing():
    """Its states are anything; here they are large, and both the head and every block read them."""
    kept = torch.tensor([[True, True, False], [False, True, True]])
    model, _ = linear_model(kept)

    found = pull_back(model, through(model, 7), Following(n_steps=4))

    assert not found.relevance[~kept[:, None].expand(-1, 4, -1)].any()
    assert all(not vectors[~kept].any() for vectors in found.vectors)


def test_multipliers_of_a_transformer_are_those_of_the_definition():
    """m^l = ∫ J_l(H⁰ + a(H − H⁰))ᵀ m^{l+1} da, by 80 Gauss nodes in each block of a BERT."""
    model = headed("bert", "BertForSequenceClassification")
    rows = ask(model, TEXT)
    with at_rest(model.network):
        stack = Stack(model, rows)
        start = starts_of(stack, ["mask"], keep_special=True, through=True)[0].states
        encoder = model.network.bert.encoder.layer
        nodes, weights = leggauss(80)

        def head(states):
            pooled = model.network.bert.pooler(states)
            return model.network.classifier(pooled)[0, rows[0].objective.index]

        vector, expected = None, []
        for layer in range(3, -1, -1):
            total = torch.zeros_like(start[layer])
            for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
                leaf = (start[layer] + node * (stack.states[layer] - start[layer])).requires_grad_()
                if vector is None:
                    value = head(leaf)
                else:
                    output = encoder[layer](leaf)
                    value = ((output[0] if isinstance(output, tuple) else output) * vector).sum()
                total += weight * torch.autograd.grad(value, leaf)[0]
            vector = total
            expected.insert(0, (vector * (stack.states[layer] - start[layer])).sum(-1)[0])

        found = pull_back(stack, start, Following(tol=1e-8, max_steps=1000))

    # gaps of 1e-8 of the whole are left; single tokens miss by what their errors cancel
    assert_close(found.relevance[0], torch.stack(expected), rtol=0, atol=1e-6)


# Results


CASES = [("bert", "mask"), ("bert", "zero"), ("gpt2", "mask"), ("llama", "zero"), ("deberta-v2", "mask")]
every_case = pytest.mark.parametrize(("name", "baseline"), CASES)


@functools.cache
def divided(name: str, baseline: str):
    """Explained once, looked at by several tests."""
    return lignite.explain(
        headed(name, SHAPES[name]), TEXT, method="relevance-flow", baseline=baseline, orders=False,
        detail=("relevance-flow", "heads"), **TIGHT,
    )  # fmt: skip


@every_case
def test_relevance_is_conserved_from_layer_to_layer(name, baseline):
    """Every layer's sum is F minus F of the baseline, to 1e-5 in float64."""
    model = headed(name, SHAPES[name])
    (row,) = ask(model, TEXT)
    with at_rest(model.network), torch.no_grad():
        stack = Stack(model, [row])
        begin = starts_of(stack, [baseline], keep_special=True, through=True)[0].states
        before = float(stack.run(0, begin[0], torch.zeros(1, dtype=torch.long)))

    why = divided(name, baseline)

    displacement = why.attrs["value"] - before
    assert_allclose(why.displacement, displacement, rtol=0, atol=1e-9)
    assert_allclose(why.layer_relevance.sum("token"), displacement, rtol=0, atol=1e-5 * abs(displacement))
    assert_allclose(why.output_ig.sum(), displacement, rtol=0, atol=1e-5 * abs(displacement))
    assert_allclose(why.relevance, why.layer_relevance[0], rtol=0, atol=0)
    assert_allclose(why.gap, why.layer_relevance.sum("token") - why.displacement, rtol=0, atol=1e-12)


@every_case
def test_rows_sum_to_the_layer_above_and_columns_to_the_layer_below(name, baseline):
    """Followed token by token, not only in sum."""
    why = divided(name, baseline)

    scale = float(abs(why.displacement).max())
    above = np.concatenate([why.layer_relevance.values[1:], why.output_ig.values[None]])
    # both integrals, of the block as a whole and of its parts, stop at 2e-6 of the whole; their tokens miss by more
    assert_allclose(why.relevance_flow.sum("source"), above, rtol=0, atol=1e-5 * scale)
    assert_allclose(why.relevance_flow.sum("target"), why.layer_relevance, rtol=0, atol=1e-4 * scale)
    assert_allclose(why.relevance_flow_gap, why.relevance_flow.sum("source") - above, rtol=0, atol=1e-12)


@every_case
def test_heads_and_residual_add_up_to_the_flow(name, baseline):
    """The residual stream goes from a token to itself; all else passes through a head."""
    why = divided(name, baseline)

    through_heads = why.relevance_flow_heads.sum("head").values
    residual = np.einsum("lt,ts->lts", why.relevance_residual.values, np.eye(why.sizes["token"]))
    scale = float(abs(why.relevance_flow).max())
    # parts are summed in another order than the whole
    assert_allclose(through_heads + residual, why.relevance_flow, rtol=0, atol=1e-10 * scale)
    assert abs(through_heads).max() > 1e-3 * scale


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_causal_model_sends_nothing_back(name):
    """Sources after their target give exactly zero, in every head; so do all tokens after the one that answers."""
    why = lignite.explain(
        headed(name, SHAPES[name]), TEXT, target=Target(token=2), method="relevance-flow",
        detail=("relevance-flow", "heads"), tol=1e-2,
    )  # fmt: skip

    later = np.triu(np.ones((why.sizes["token"],) * 2, dtype=bool), 1)
    assert not why.relevance_flow.values[:, later].any()
    assert not why.relevance_flow_heads.values[:, :, later].any()
    assert not why.layer_relevance.values[:, 3:].any()
    assert why.layer_relevance.values[:, 1:3].all()


@pytest.mark.parametrize(("name", "side"), [("bert", "right"), ("gpt2", "left")])
def test_padding_stays_out_of_the_flow(name, side):
    """A padded row of tensors is the text alone; on the left only for heads that do not read the first place."""
    model, amount = headed(name, SHAPES[name]), (3, 0) if side == "left" else (0, 3)
    alone = dict(ask(model, TEXT)[0].encoded.tensors)
    alone["position_ids"] = torch.arange(alone["input_ids"].shape[1])[None]
    padded = {name: torch.nn.functional.pad(tensor, amount) for name, tensor in alone.items()}
    options = {"method": "relevance-flow", "detail": ("relevance-flow", "heads"), "n_steps": 12, "tol": 1e-2}

    one, other = (lignite.explain(model, tensors, **options) for tensors in (alone, padded))

    assert list(other.position.values) == [place + amount[0] for place in one.position.values]
    for variable in ("relevance", "relevance_flow", "relevance_flow_heads", "relevance_residual", "relevance_flow_gap"):
        # float64; masked scores are finite, and softmax leaves nothing of them
        assert_allclose(other[variable], one[variable], rtol=0, atol=1e-9, err_msg=variable)


def test_random_nodes_are_refused():
    """Their errors would add up from layer to layer, and nobody could say how far."""
    with pytest.raises(OptionError, match="nodes='stochastic' belongs to ca-lig, ig, not 'relevance-flow'"):
        lignite.explain(headed("bert", SHAPES["bert"]), TEXT, method="relevance-flow", nodes="stochastic", n_steps=4)


def test_the_mean_of_baselines_is_conserved_too():
    """Two flows, each conserved; displacements and relevances are averaged alike."""
    model = headed("bert", SHAPES["bert"])

    options = {"method": "relevance-flow", "orders": False, "tol": 1e-6}

    both = lignite.explain(model, TEXT, baseline=("mask", "pad"), **options)

    parts = [lignite.explain(model, TEXT, baseline=name, **options) for name in ("mask", "pad")]
    assert_allclose(both.relevance, (parts[0].relevance + parts[1].relevance) / 2, rtol=1e-9, atol=1e-12)
    assert_allclose(both.layer_relevance.sum("token"), both.displacement, rtol=0, atol=1e-5)


def test_a_block_that_computes_in_single_precision_is_pulled_back():
    """Mamba's scan does, whatever the precision of the model's weights."""
    why = lignite.explain(headed("mamba", "MambaForCausalLM"), TEXT, baseline="mask", tol=1e-2)

    assert (abs(why.gap) <= why.allowed).all()
    assert why.relevance.values[1:-1].all()


def test_several_baselines_share_what_is_seen_of_the_input(monkeypatch):
    """Their paths end in the same states; that their relevance is the mean of each is held elsewhere."""
    model, taken = headed("bert", SHAPES["bert"]), []
    take = Stack.take
    monkeypatch.setattr(Stack, "take", lambda stack, structure: [taken.append(structure), take(stack, structure)][1])

    lignite.explain(model, [TEXT, TEXT], method="relevance-flow", baseline=("mask", "pad"))

    assert len(taken) == 1


# Both ends


@pytest.mark.parametrize("baseline", ["mask", ("mask", "pad")])
def test_both_ends_are_half_of_the_relevance_and_nothing_of_the_layers(baseline):
    """Tokens alone and tokens taken away, by the model's own answers to edited inputs; special tokens stay."""
    model = headed("bert", SHAPES["bert"])
    (row,) = ask(model, TEXT)
    words = [place for place, special in enumerate(row.encoded.tokens.special) if not special]
    added, removed = np.zeros((2, row.n_tokens))
    names = [baseline] if isinstance(baseline, str) else baseline
    for blank in (getattr(model.tokenizer, f"{name}_token_id") for name in names):
        nobody = replace_tokens(row, words, blank)
        alone = [replace_tokens(row, [other for other in words if other != place], blank) for place in words]
        without = [replace_tokens(row, [place], blank) for place in words]
        value = predict(model, [row, nobody, *alone, *without]).value.numpy()
        added[words] += (value[2 : 2 + len(words)] - value[1]) / len(names)
        removed[words] += (value[0] - value[2 + len(words) :]) / len(names)
    options = {"method": "relevance-flow", "orders": False, "baseline": baseline, "tol": 1e-3}

    why, plain = (lignite.explain(model, TEXT, ends=ends, **options) for ends in (True, False))

    assert_allclose(why.added, added, rtol=0, atol=1e-9)  # float64, sums in batches of another size
    assert_allclose(why.removed, removed, rtol=0, atol=1e-9)
    assert_allclose(why.relevance, plain.relevance / 2 + added / 4 + removed / 4, rtol=0, atol=1e-9)
    for name in ("layer_relevance", "output_ig", "displacement", "gap"):
        assert_allclose(why[name], plain[name], rtol=0, atol=0)


@pytest.mark.parametrize("method", ["ca-lig", "relevance-flow"])
def test_ends_behind_the_token_that_answers_are_exactly_zero(method):
    """They are differences of two answers, and of batches of different sizes, yet nothing there can be read."""
    model = headed("gpt2", SHAPES["gpt2"])

    alone = {"orders": False} if method == "relevance-flow" else {}

    why = lignite.explain(model, TEXT, target=Target(token=2), method=method, ends=True, tol=1e-2, **alone)

    for end in (why.added.values, why.removed.values):
        assert not end[3:].any()
        assert end[1:3].all()


def test_places_behind_the_token_that_answers_are_not_even_asked_about(monkeypatch):
    """Half of a long text's predictions, where an early token of it is explained."""
    (row,) = ask(headed("gpt2", SHAPES["gpt2"]), TEXT, Target(token=1))
    asked = []
    run = Stack.run
    monkeypatch.setattr(
        Stack, "run", lambda stack, layer, states, index: asked.extend(index) or run(stack, layer, states, index)
    )
    with at_rest(headed("gpt2", SHAPES["gpt2"]).network):
        stack = Stack(headed("gpt2", SHAPES["gpt2"]), [row])
        (start,) = starts_of(stack, ["mask"], keep_special=True, through=True)
        asked.clear()

        ends_of(stack, start, RelevanceFlow(ends=True, orders=False), 1e9)

    words = sum(not special for special in row.encoded.tokens.special[:2])
    assert len(asked) == 2 * words  # each word added and removed; of the blank input the model itself has said


@pytest.mark.parametrize("method", ["ig", "occlusion"])
def test_ends_belong_to_two_methods(method):
    """Any other would silently ignore them."""
    with pytest.raises(OptionError, match="ends=True belongs to relevance-flow, ca-lig, not"):
        choose(method, {"ends": True})
