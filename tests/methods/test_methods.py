"""Comparators against their definitions, written out literally on small models."""

import itertools
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.polynomial.legendre import leggauss
from numpy.testing import assert_allclose
from tests.kit.architectures import full_precision
from tests.kit.bag_of_words import bag_of_words
from tests.kit.headed_models import headed
from tests.kit.methods import those_of
from tests.kit.snapshots import snapshot
from tests.kit.tiny_tokenizers import byte_level
from tests.kit.wide import mostly_wide
from torch import nn

from lignite.blocks.stack import Stack
from lignite.errors import OptionError
from lignite.methods import METHODS
from lignite.methods.scoring.attention import reading
from lignite.models.hold import at_rest
from lignite.targets.ask import ask, predict
from lignite.targets.edits import replace_tokens
from lignite.targets.rows import Row
from lignite.targets.target import Target

BUDGET = 2.0**26
KINDS = ("attention-rollout", "attnlrp", "deeplift", "grad-cam", "ig", "occlusion", "random", "saliency", "shapley")
"""One for every way of asking a model; the others of a kind run with the sweeps."""
COMPARATORS = sorted(METHODS.keys() - {"ca-lig", "relevance-flow"})
BY_CAPTUM = {"shapley", "kernel-shap", "lime"}
TEXTS = ["the plot was thin, but the acting says it all", "people at the plot", "nothing was thin at all but acting"]
"""Three lengths, so that batches are padded."""

HEADS = {
    "bert": "BertForSequenceClassification",
    "distilbert": "DistilBertForSequenceClassification",
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
}
"""Heads that read one place: the first of an encoder, the last of a decoder."""

WORTH = {"the": 0.1, "plot": 0.5, "was": -0.2, "thin": -0.9, "but": 0.3, "acting": 0.7, "says": 0.0, "all": 0.25}
"""What each word adds to the logit of a bag of words, whose mask is worth 0.05: absent words are not nothing."""


def tiny(name, **options):
    return headed(name, HEADS[name], **options)


def bag():
    return bag_of_words(WORTH, mask=0.05)


every_kind_of_method = pytest.mark.parametrize("method", mostly_wide(COMPARATORS, KINDS))
every_method = pytest.mark.parametrize("method", COMPARATORS)

ROUNDED = {"rtol": 1e-9, "atol": 1e-12}
"""Float64 sums in another order: 1e-16 for each of some thousand operations, with room."""
SINGLE = {"rtol": 1e-4, "atol": 1e-5}
"""Captum concludes in float32 (6e-8), and its regressions weigh two samples a million times the others."""


def explain(model, rows, method, **options):
    if method in BY_CAPTUM | {"deeplift"}:
        pytest.importorskip("captum", reason="captum is not installed")
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    with at_rest(model.network):
        chosen = METHODS[method](**those_of(method, **{"baseline": "mask", **options}))
        found = chosen.explain(model, rows, BUDGET)
        return [explanation.variables for explanation in found]


def relevance(model, rows, method, **options):
    return [variables["relevance"] for variables in explain(model, rows, method, **options)]


def words_of(row):
    return [place for place, special in enumerate(row.encoded.tokens.special) if not special]


# Words taken away


BAGS = ["the plot was thin but the acting says all", "acting plot", "thin was the plot"]


def weights_of(row: Row) -> np.ndarray:
    """What each word of a bag adds to the logit beside what the mask in its place would; special tokens stay."""
    tokens = row.encoded.tokens
    return np.array(
        [0 if special else WORTH[word] - 0.05 for word, special in zip(tokens.text, tokens.special, strict=True)]
    )


@pytest.mark.parametrize("method", ["occlusion", "shapley"])
def test_in_a_sum_over_words_a_word_is_worth_its_weight(method):
    """Where words do not interact, taking one away costs the same whatever the others do."""
    model = bag()
    rows = ask(model, BAGS, "positive")

    found = relevance(model, rows, method, n_samples=3)

    # captum sums the differences of a logit of size 5 in float32
    tolerance = {"rtol": 0, "atol": 2e-6} if method == "shapley" else ROUNDED
    for row, scores in zip(rows, found, strict=True):
        assert_allclose(scores, weights_of(row), **tolerance)


def test_kernel_shap_recovers_the_weights_of_a_sum():
    """The regression has no residual there, so that its weights do not matter, only that it has enough sets."""
    model = bag()
    rows = ask(model, BAGS, "positive")

    found = relevance(model, rows, "kernel-shap", n_samples=10)

    for row, scores in zip(rows, found, strict=True):
        assert_allclose(scores, weights_of(row), **SINGLE)


def test_lime_recovers_the_weights_of_a_sum_but_for_what_its_penalty_takes():
    """Sets, kernel and ridge are known, so that the shrinkage (C + 1)⁻¹ w can be written down for all 2⁹ sets."""
    model = bag()
    (row,) = ask(model, BAGS[0], "positive")
    weights = weights_of(row)[words_of(row)]
    n_words, n_sets = len(weights), 200 * len(weights)
    sets = np.array(list(itertools.product([0, 1], repeat=n_words)))
    present = sets.sum(1)
    chance = np.array([0 if k == n_words else 1 / n_words / math.comb(n_words, int(k)) for k in present])
    distance = 1 - np.sqrt(present / n_words)  # between a set and the text, as vectors of zeros and ones
    importance = (n_sets * chance + (present == n_words)) * np.exp(-(distance**2) / (2 * 0.25**2))
    centred = sets - np.average(sets, axis=0, weights=importance)
    curvature = (importance[:, None] * centred).T @ centred
    taken = np.linalg.solve(curvature + np.eye(n_words), weights)

    (found,) = relevance(model, [row], "lime", n_samples=200)

    # 1800 drawn sets know the curvature to a few per cent, twice that along its weakest axis
    assert_allclose(found[words_of(row)], weights - taken, rtol=0, atol=0.2 * np.abs(taken).max())


def test_the_token_that_is_asked_about_and_special_tokens_are_always_there():
    """Without its mask a masked word is another question; [CLS] is where the head reads."""
    model = tiny("gpt2")
    (row,) = ask(model, "the plot was thin", target=Target(token=3))

    (found,) = relevance(model, [row], "occlusion")

    special = np.array(row.encoded.tokens.special)
    assert special.any()
    assert not found[special].any()
    assert found[3] == 0
    assert (found[1:3] != 0).all()


def test_special_tokens_are_replaced_when_asked():
    """`keep_special=False` lets everything but the place of the answer play."""
    model = bag()
    (row,) = ask(model, BAGS[0], "positive")

    (found,) = relevance(model, [row], "occlusion", keep_special=False)

    assert_allclose(found[[0, -1]], [-0.05, -0.05], **ROUNDED)  # [CLS] and [SEP] are worth nothing, the mask is
    assert_allclose(found[1:-1], weights_of(row)[1:-1], **ROUNDED)


def test_occlusion_is_the_fall_of_the_prediction():
    """By one call for every token, the others as they are."""
    model = tiny("bert")
    (row,) = ask(model, TEXTS[0])
    before = float(predict(model, [row]).value)

    (found,) = relevance(model, [row], "occlusion", baseline=("pad",))

    for place, special in enumerate(row.encoded.tokens.special):
        after = before if special else float(predict(model, [replace_tokens(row, [place], 0)]).value)
        assert_allclose(found[place], before - after, **ROUNDED)


def test_shapley_values_sum_to_what_all_words_are_worth_together():
    """Each order in which words arrive leads from no word to all of them."""
    model = tiny("bert")
    (row,) = ask(model, TEXTS[1])
    nobody = replace_tokens(row, words_of(row), model.tokenizer.mask_token_id)
    total = predict(model, [row, nobody]).value

    (found,) = relevance(model, [row], "shapley", n_samples=2)

    assert_allclose(found.sum(), float(total[0] - total[1]), rtol=0, atol=1e-5)  # as above, in float32


def test_shapley_values_are_those_of_all_orders():
    """With many orders the mean over them comes close to the definition's over all."""
    model = tiny("bert")
    (row,) = ask(model, "plot was thin")
    words = [1, 2, 3]
    value = {}
    for present in range(8):
        absent = [word for bit, word in enumerate(words) if not present >> bit & 1]
        value[present] = float(predict(model, [replace_tokens(row, absent, model.tokenizer.mask_token_id)]).value)
    weight = {0: 1 / 3, 1: 1 / 6, 2: 1 / 3}  # by the number of words that are there before
    expected = [
        sum(
            weight[bin(present).count("1")] * (value[present | 1 << bit] - value[present])
            for present in range(8)
            if not present >> bit & 1
        )
        for bit in range(3)
    ]
    spread = max(value.values()) - min(value.values())

    (exact,) = relevance(model, [row], "kernel-shap", n_samples=400)
    (sampled,) = relevance(model, [row], "shapley", n_samples=400)

    # one order's share lies within the spread, so a mean of 400 is within 5 standard errors of it with room
    assert_allclose(sampled[1:4], expected, rtol=0, atol=5 * spread / 20 / 2)
    assert_allclose(exact[1:4], expected, rtol=0, atol=5 * spread / 20 / 2)


@pytest.mark.parametrize("method", ["shapley", "kernel-shap"])
def test_one_word_is_worth_what_its_absence_costs(method):
    """There is but one order, and nothing to draw between everybody and nobody."""
    model = bag()
    (row,) = ask(model, "plot", "positive")

    (found,) = relevance(model, [row], method, n_samples=2)

    assert_allclose(found, weights_of(row), **SINGLE)


def test_an_input_without_words_that_may_be_absent_scores_zero():
    """The only token of a text is where the answer is given."""
    model = tiny("gpt2")
    (row,) = ask(model, {"input_ids": torch.tensor([[7]])})

    for method in ("occlusion", "sequential-ig", "shapley", "kernel-shap", "lime"):
        (found,) = relevance(model, [row], method)
        assert found.tolist() == [0.0]


# Along paths


@pytest.mark.parametrize("baseline", ["mask", "zero"])
@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_sequential_ig_is_a_path_for_every_token(name, baseline):
    """The definition, token by token and node by node, on states put into the model's first block."""
    model = tiny(name)
    (row,) = ask(model, TEXTS[1])
    tensors, tokens = row.encoded.tensors, row.encoded.tokens
    last = row.objective.position
    first_block = model.network.bert.encoder.layer[0] if name == "bert" else model.network.transformer.h[0]

    def states_of(ids):
        caught = []
        handle = first_block.register_forward_pre_hook(lambda module, args: caught.append(args[0]))
        model.network(**{**tensors, "input_ids": ids})
        handle.remove()
        return caught[0].detach()

    def answer(states):
        handle = first_block.register_forward_pre_hook(lambda module, args: (states, *args[1:]))
        logits = model.network(**tensors).logits[0]
        handle.remove()
        return (logits if last is None else logits[last])[row.objective.index]

    actual = states_of(tensors["input_ids"])
    masked = states_of(torch.full_like(tensors["input_ids"], model.tokenizer.mask_token_id))
    start = masked if baseline == "mask" else torch.zeros_like(actual)
    nodes, weights = leggauss(40)
    expected = np.zeros(len(tokens))
    for place in range(len(tokens)):
        if tokens.special[place] or place == last:
            continue
        from_here = actual.clone()
        from_here[0, place] = start[0, place]
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            # a = t ** 2 crowds the nodes where a norm turns a state that comes out of nothing
            states = (from_here + node**2 * (actual - from_here)).requires_grad_()
            (gradient,) = torch.autograd.grad(answer(states), states)
            expected[place] += weight * 2 * node * float((gradient * (actual - from_here))[0, place].sum())

    (found,) = relevance(model, [row], "sequential-ig", baseline=(baseline,))

    # what 40 nodes miss where a norm turns within 1e-3 of zero
    assert_allclose(found, expected, rtol=0, atol=1e-9 if baseline == "mask" else 1e-3 * np.abs(expected).max())


def test_sequential_ig_from_the_mask_is_occlusion():
    """Two ways to the same number: states of a masked word, and the word replaced before it is read."""
    model = tiny("bert")
    rows = ask(model, TEXTS)

    along_paths = relevance(model, rows, "sequential-ig")
    occluded = relevance(model, rows, "occlusion")

    for one, other in zip(along_paths, occluded, strict=True):
        assert_allclose(one, other, **ROUNDED)


@pytest.mark.parametrize("baseline", ["zero", "mean", "pad", "mask"])
def test_integrated_gradients_are_complete(baseline):
    """Their sum is what F gains over the baseline, within the gap that is stored."""
    model = tiny("bert")
    rows = ask(model, TEXTS)

    for scores in explain(model, rows, "ig", baseline=(baseline,), tol=1e-4):
        displacement, gap = scores["total_displacement"], scores["total_gap"]
        assert_allclose(scores["relevance"].sum(), displacement + gap, **ROUNDED)
        assert abs(gap) <= 1e-4 * abs(displacement) + 1e-6


def test_the_displacement_of_integrated_gradients_is_the_models_own():
    """F less F of the text whose words are all masks, asked of the model itself."""
    model = tiny("bert")
    (row,) = ask(model, TEXTS[0])
    value = predict(model, [row, replace_tokens(row, words_of(row), model.tokenizer.mask_token_id)]).value

    (found,) = explain(model, [row], "ig", baseline=("mask",))

    assert_allclose(found["total_displacement"], float(value[0] - value[1]), **ROUNDED)


@pytest.mark.parametrize("method", ["ig", "deeplift", "sequential-ig", "occlusion"])
def test_several_baselines_are_averaged(method):
    """Every variable is the mean of its runs; what a model says of a start is told where every start is an input."""
    model = tiny("bert")
    rows = ask(model, TEXTS[:2])

    both = explain(model, rows, method, baseline=("mask", "zero"))
    each = [explain(model, rows, method, baseline=(name,)) for name in ("mask", "zero")]

    for mean, first, second in zip(both, *each, strict=True):
        assert mean.keys() == second.keys()
        assert first.keys() - mean.keys() <= {"start_logit", "start_probability"}  # no model reads states of zero
        for name, scores in mean.items():
            assert_allclose(scores, (first[name] + second[name]) / 2, **ROUNDED)


def test_deeplift_is_complete_where_everything_but_activations_is_linear():
    """Its rescale rule is exact then; attention that does not look and norms that do nothing make a BERT so."""
    model = tiny("bert")
    for name, module in list(model.network.named_modules()):
        if isinstance(module, nn.LayerNorm):
            model.network.set_submodule(name, nn.Identity())
        if name.endswith("self.query"):
            module.weight.data.zero_()
            module.bias.data.zero_()
    rows = ask(model, TEXTS)

    found = relevance(model, rows, "deeplift", baseline=("mask",))

    words = [[place for place, special in enumerate(row.encoded.tokens.special) if not special] for row in rows]
    masked = [
        replace_tokens(row, places, model.tokenizer.mask_token_id) for row, places in zip(rows, words, strict=True)
    ]
    difference = predict(model, rows).value - predict(model, masked).value
    # captum replaces secants shorter than 1e-10 by slopes; everything else is float64
    assert_allclose([scores.sum() for scores in found], difference, rtol=1e-7, atol=1e-9)


def test_saliency_is_its_definition():
    """The gradient at the first block's input, by a hook on the untouched model."""
    model = tiny("bert")
    (row,) = ask(model, TEXTS[0])
    caught = []
    first = model.network.bert.encoder.layer[0]
    handle = first.register_forward_pre_hook(lambda _, args: (caught.append(args[0]), args[0].retain_grad())[1])
    model.network(**row.encoded.tensors).logits[0, row.objective.index].backward()
    handle.remove()

    (saliency,) = relevance(model, [row], "saliency")

    assert_allclose(saliency, caught[0].grad[0].norm(dim=-1), **ROUNDED)


# Attention


def attentions(model, row):
    """Weights and gradients of an eager copy, as transformers returns them."""
    eager = type(model.network)(model.config).to(model.dtype)
    eager.load_state_dict(model.network.state_dict())
    full_precision(eager.eval()).set_attn_implementation("eager")
    outputs = eager(**row.encoded.tensors, output_attentions=True)
    logits = outputs.logits[0]
    value = (logits if row.objective.position is None else logits[row.objective.position])[row.objective.index]
    gradients = torch.autograd.grad(value, outputs.attentions)
    return [each[0].detach() for each in outputs.attentions], [each[0] for each in gradients]


@pytest.mark.parametrize("name", ["bert", "gpt2", "distilbert", "llama"])
def test_rollout_follows_the_mean_of_all_heads_through_all_layers(name):
    """Abnar and Zuidema: half attention, half identity; products from the first layer up; read where the head reads."""
    model = tiny(name)
    rows = ask(model, TEXTS)

    found = relevance(model, rows, "attention-rollout")

    for row, scores in zip(rows, found, strict=True):
        weights, _ = attentions(model, row)
        product = np.eye(row.n_tokens)
        for layer in weights:
            product = (0.5 * layer.mean(0).numpy() + 0.5 * np.eye(row.n_tokens)) @ product
        assert_allclose(scores, product[row.objective.position or 0], **ROUNDED)


@pytest.mark.parametrize("name", ["bert", "gpt2", "distilbert", "llama"])
def test_attention_x_gradient_adds_up_what_raises_the_answer(name):
    """Chefer et al.: R ← R + Ā R with Ā the mean over heads of (A ∘ ∂F/∂A)⁺, from the identity."""
    model = tiny(name)
    rows = ask(model, TEXTS)

    found = relevance(model, rows, "attention-x-gradient")

    for row, scores in zip(rows, found, strict=True):
        rolled = np.eye(row.n_tokens)
        for weights, gradients in zip(*attentions(model, row), strict=True):
            rolled = rolled + np.maximum((weights * gradients).numpy(), 0).mean(0) @ rolled
        assert_allclose(scores, rolled[row.objective.position or 0], **ROUNDED)


def test_the_layers_of_a_rollout_are_what_remains_to_be_followed():
    """Relevance entering layer l knows the maps from l up: for the last layer one map alone."""
    model = tiny("bert")
    (row,) = ask(model, TEXTS[0])
    weights, _ = attentions(model, row)

    (found,) = explain(model, [row], "attention-rollout")
    (last,) = relevance(model, [row], "attention-last")

    top = weights[-1].mean(0)[0].numpy()
    assert_allclose(last, top, **ROUNDED)
    assert_allclose(found["layer_relevance"][-1], (top + np.eye(row.n_tokens)[0]) / 2, **ROUNDED)
    assert_allclose(found["layer_relevance"][0], found["relevance"], rtol=0, atol=0)


@pytest.mark.parametrize(("name", "place"), [("bert", 0), ("distilbert", 0), ("gpt2", -1), ("llama", -1)])
def test_a_head_that_reads_one_token_is_read_there_alone(name, place):
    """A weight of exactly one, whatever the padding beside it: a rollout's row is then not mixed with others."""
    model = tiny(name)
    rows = ask(model, TEXTS)

    with at_rest(model.network):
        weights = reading(Stack(model, rows))

    for row, found in zip(rows, weights, strict=True):
        expected = torch.zeros_like(found)
        expected[range(row.n_tokens)[place]] = 1
        assert_allclose(found, expected, rtol=0, atol=0)


def test_a_head_that_reads_every_token_is_read_at_every_token():
    """A mean over tokens of linear parts reads each by the length of its state: the gradients are all alike."""
    model = tiny("bert")
    pooler = model.network.bert.pooler
    pooler.forward = lambda states: states.mean(1)  # no token stands out
    (row,) = ask(model, TEXTS[0])
    weights, _ = attentions(model, row)
    caught = []
    handle = pooler.register_forward_pre_hook(lambda module, args: caught.append(args[0]))
    model.network(**row.encoded.tensors)
    handle.remove()
    length = caught[0][0].detach().norm(dim=-1)

    (found,) = relevance(model, [row], "attention-last")

    assert_allclose(found, (length / length.sum()) @ weights[-1].mean(0), **ROUNDED)


# What holds for all


@every_kind_of_method
def test_rows_get_the_same_scores_alone_together_and_in_any_order(method):
    """Batches and padding are ours, not the user's."""
    model = tiny("bert")
    rows = ask(model, TEXTS)

    together = explain(model, rows, method, n_samples=5)
    backwards = explain(model, rows[::-1], method, n_samples=5)[::-1]
    alone = [explain(model, [row], method, n_samples=5)[0] for row in rows]

    tolerance = {"rtol": 1e-5, "atol": 1e-5} if method in BY_CAPTUM else {"rtol": 1e-7, "atol": 1e-9}
    for row, *same in zip(rows, together, backwards, alone, strict=True):
        for scores in same:
            assert scores["relevance"].shape == (row.n_tokens,)
            assert scores.keys() == same[0].keys()
            for name in scores:
                assert_allclose(scores[name], same[0][name], **tolerance)


@every_kind_of_method
def test_padding_of_the_users_is_left_out(method):
    """Rows given as tensors keep their padding in the model, and nothing of it in the result."""
    model = tiny("bert")
    short, long = (model.tokenizer(text) for text in (TEXTS[1], TEXTS[0]))
    padded = model.tokenizer.pad([short, long], return_tensors="pt")
    alone = relevance(model, ask(model, {name: torch.tensor([ids]) for name, ids in short.items()}), method)

    found = relevance(model, ask(model, dict(padded)), method)

    # the same random sets, since seeds know no padding
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if method in BY_CAPTUM else {"rtol": 1e-7, "atol": 1e-9}
    assert found[0].shape == (len(short["input_ids"]),)
    assert_allclose(found[0], alone[0], **tolerance)


@pytest.mark.parametrize("method", [name for name in COMPARATORS if name != "random"])
def test_what_follows_the_answer_of_a_causal_model_has_no_part_in_it(method):
    """Exactly zero: not a rounding error's worth."""
    model = tiny("gpt2")
    rows = ask(model, TEXTS[:2], target=Target(token=3))

    for row, scores in zip(rows, relevance(model, rows, method, n_samples=3), strict=True):
        assert row.n_tokens > 5
        assert not scores[4:].any()
        assert scores[:3].any()


@every_method
def test_a_method_leaves_the_model_as_it_was(method):
    """Weights, flags, hooks, and what libraries write on modules while they work."""
    model = tiny("bert", dtype=torch.float32)
    model.network.train()
    before = snapshot(model.network)

    explain(model, ask(model, TEXTS[:2]), method, n_samples=2)

    before.assert_equal(snapshot(model.network))


@every_method
def test_a_method_leaves_the_random_numbers_of_the_user_alone(method):
    """An explanation in the middle of a training must not change the training."""
    model = tiny("bert")
    rows = ask(model, TEXTS[:1])
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)

    explain(model, rows, method, n_samples=2)

    assert torch.rand(3).tolist() == expected.tolist()


def test_scores_by_chance_repeat_for_a_text_and_a_seed_alone():
    """A table made again is the same table; another seed is another throw."""
    model = tiny("bert")
    rows = ask(model, TEXTS)

    first = relevance(model, rows, "random")
    again = relevance(model, rows[1:], "random")
    other = relevance(model, rows, "random", seed=1)

    assert_allclose(again[0], first[1], rtol=0, atol=0)
    assert (first[0] != other[0]).all()
    assert (first[0][:4] != first[1][:4]).all()
    assert np.abs(np.concatenate(first)).max() <= 1


# What cannot be done


def test_a_missing_library_is_named_with_its_remedy(monkeypatch):
    """Captum is nobody's burden until it is asked for."""
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    model = bag()

    with at_rest(model.network), pytest.raises(OptionError, match=r"'shapley' runs on captum.*lignite\[compare\]"):
        METHODS["shapley"](baseline="mask").explain(model, ask(model, BAGS), BUDGET)


@pytest.mark.parametrize("method", ["lime", "kernel-shap"])
def test_what_captum_needs_beside_itself_is_named(monkeypatch, method):
    """Its regressions are scikit-learn's, which it does not bring along."""
    pytest.importorskip("captum", reason="captum is not installed")
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    model = bag()

    with at_rest(model.network), pytest.raises(OptionError, match=rf"'{method}' runs on sklearn.*lignite\[compare\]"):
        METHODS[method](baseline="mask").explain(model, ask(model, BAGS), BUDGET)


@pytest.mark.filterwarnings("ignore::lignite.errors.BaselineWarning")
def test_a_tokenizer_without_a_mask_is_said_to_have_none():
    """GPT-2 has no token that says nothing."""
    gpt2 = tiny("gpt2")
    model = replace(gpt2, tokenizer=byte_level())
    rows = ask(model, {"input_ids": torch.tensor([[5, 6, 7]])})

    for method in ("occlusion", "sequential-ig", "ig", "shapley"):
        with pytest.raises(OptionError, match="no mask token"):
            relevance(model, rows, method, baseline=("mask",))
        assert relevance(model, rows, method, baseline=("zero",))[0].shape == (3,)


def test_deeplift_says_where_it_does_not_run():
    """A module that is called twice has two inputs, and captum keeps one."""
    model = tiny("bert")
    layers = model.network.bert.encoder.layer
    layers[2].intermediate.intermediate_act_fn = layers[1].intermediate.intermediate_act_fn  # the first keeps notes
    before = snapshot(model.network)

    with pytest.raises(OptionError, match=r"'deeplift' does not run on BertForSequenceClassification.*use 'ig'"):
        relevance(model, ask(model, TEXTS), "deeplift")

    before.assert_equal(snapshot(model.network))


def test_importing_the_methods_imports_no_library_of_others():
    """Whoever never compares needs none of them."""
    import subprocess

    code = "import sys, lignite.methods; print(sorted({'captum', 'sklearn'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"
