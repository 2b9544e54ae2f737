"""Randomization checks: which weights become noise when, that all come back, and what the correlations mean."""

import numpy as np
import pytest
import scipy.stats
import torch
import transformers
from numpy.testing import assert_allclose, assert_array_equal
from tests.kit.architectures import ARCHITECTURES, randomize

import lignite
from lignite.errors import InputError
from lignite.metrics.asking.sanity import compare_explanations, stages, weight_randomization
from lignite.targets.ask import ask, predict
from lignite.targets.edits import filler, removable, replace_tokens

TEXTS = ["The plot was thin, but the acting was superb.", "A dull, joyless film."]


@pytest.fixture
def model():
    return lignite.load("tiny-sentiment")


def by_removal(model):
    """Explains by the change that each word's removal makes."""
    mask = filler(model, "mask")

    def explain(rows):
        found = []
        for row in rows:
            without = [replace_tokens(row, [place], mask) for place in range(row.n_tokens)]
            value = predict(model, [row, *without]).value.numpy()
            found.append(value[0] - value[1:])
        return found

    return explain


def weights_of(model):
    return {name: weight.detach().clone() for name, weight in model.network.named_parameters()}


def watched(model, rows, seen):
    """Notes which weights differ from those at first, call by call."""
    first = weights_of(model)

    def explain(several):
        now = weights_of(model)
        seen.append({name for name in first if not torch.equal(first[name], now[name])})
        return [np.arange(row.n_tokens, dtype=float) for row in several]

    return explain


def test_stages_go_from_the_head_to_the_embeddings_and_hold_every_weight_once(model):
    """What is left out would go on explaining."""
    (row,) = ask(model, TEXTS[:1])

    found = stages(model, row)

    assert [stage.name for stage in found] == ["head", *(f"block {number}" for number in (3, 2, 1, 0)), "embeddings"]
    names = [name for stage in found for name, _ in stage.weights]
    assert sorted(names) == sorted(name for name, _ in model.network.named_parameters())
    parts = {stage.name: {name for name, _ in stage.weights} for stage in found}
    assert all(name.startswith("bert.encoder.layer.2.") for name in parts["block 2"])
    assert all(name.startswith("bert.embeddings.") for name in parts["embeddings"])
    assert all(name.startswith(("bert.pooler.", "classifier.")) for name in parts["head"])


@pytest.mark.parametrize(
    ("name", "model_class", "stage_names", "of_head"),
    [
        ("gpt2", "GPT2LMHeadModel", ["head", "block 1", "block 0", "embeddings"], {"transformer.ln_f"}),
        ("llama", "LlamaForCausalLM", ["head", "block 1", "block 0", "embeddings"], {"model.norm", "lm_head"}),
        ("albert", "AlbertForSequenceClassification", ["head", None, "embeddings"], {"albert.pooler", "classifier"}),
    ],
)
def test_shared_weights_belong_to_one_stage(name, model_class, stage_names, of_head):
    """GPT-2's head reads the word table and ALBERT's blocks are one: neither becomes noise twice, or too early."""
    architecture = ARCHITECTURES[name]
    kind = getattr(transformers, model_class)
    network = kind(kind.config_class(**architecture.config)).to(torch.float64).eval()
    randomize(network, seed=0, gains={})
    model = lignite.wrap(network)
    (row,) = ask(model, [architecture.inputs(length=5)])

    found = stages(model, row)

    depth = network.config.num_hidden_layers
    expected = [f"block {depth - 1}" if stage is None else stage for stage in stage_names]
    if name != "albert":
        expected = ["head", *(f"block {number}" for number in reversed(range(depth))), "embeddings"]
    assert [stage.name for stage in found] == expected
    assert {full.rpartition(".")[0] for full, _ in found[0].weights} == of_head
    every = [id(weight) for stage in found for _, weight in stage.weights]
    assert len(every) == len(set(every)) == len(list(network.parameters()))


def test_what_was_noise_stays_noise(model):
    """The way that Adebayo et al. call cascading."""
    rows = ask(model, TEXTS)
    parts = [{name for name, _ in stage.weights} for stage in stages(model, rows[0])]
    noisy = []

    weight_randomization(model, rows, watched(model, rows, noisy))

    assert noisy[0] == set()
    below = [set().union(*parts[: number + 1]) for number in range(len(parts))]
    assert noisy[1:] == below


@pytest.mark.parametrize("name", ["attention.self.query.weight", "output.LayerNorm.weight"])
def test_noise_has_the_mean_and_spread_of_the_weights(model, name):
    """States keep their size, so that the explanation is of a working network and not of a saturated one."""
    rows = ask(model, TEXTS[:1])
    name = f"bert.encoder.layer.1.{name}"
    before, during = weights_of(model)[name], []

    def explain(several):
        during.append(weights_of(model)[name])
        return [np.arange(row.n_tokens, dtype=float) for row in several]

    weight_randomization(model, rows, explain)

    noisy = [weight for weight in during if not torch.equal(weight, before)]
    assert noisy
    # four standard errors of a mean and of a spread; norms have a mean far from zero
    error = float(before.std()) / np.sqrt(before.numel())
    assert_allclose(float(noisy[0].mean()), float(before.mean()), atol=4 * error, rtol=0)
    assert_allclose(float(noisy[0].std()), float(before.std()), rtol=4 / np.sqrt(2 * before.numel()))
    assert abs(np.corrcoef(noisy[0].flatten(), before.flatten())[0, 1]) < 4 / np.sqrt(before.numel())


def test_what_is_known_of_the_model_as_it_is_is_not_explained_again(model):
    """Explanations are dear, and a caller may have them."""
    rows, asked = ask(model, TEXTS), []

    def explain(several):
        asked.append(len(several))
        return [np.arange(row.n_tokens, dtype=float) for row in several]

    known = [np.arange(row.n_tokens, 0, -1, dtype=float) for row in rows]
    found = weight_randomization(model, rows, explain, relevances=known)

    assert len(asked) == len(stages(model, rows[0]))
    assert_allclose(found.rank_correlation, -1, rtol=0, atol=1e-12)  # of rising and falling numbers


def test_weights_of_one_shape_become_different_noise(model):
    """Queries equal to keys would be a network of another kind: every token would look at itself."""
    rows, during = ask(model, TEXTS[:1]), []

    def explain(several):
        during.append(weights_of(model))
        return [np.arange(row.n_tokens, dtype=float) for row in several]

    weight_randomization(model, rows, explain)

    query, key = (
        during[-1][f"bert.encoder.layer.1.attention.self.{name}.weight"].flatten() for name in ("query", "key")
    )
    assert query.shape == key.shape
    assert abs(np.corrcoef(query, key)[0, 1]) < 4 / np.sqrt(query.numel())  # four standard errors


def test_the_model_is_bit_identical_afterwards(model):
    """Also when explaining fails in the middle."""
    rows = ask(model, TEXTS)
    before, value = weights_of(model), predict(model, rows).value
    calls = []

    def failing(several):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("in the middle")
        return [np.arange(row.n_tokens, dtype=float) for row in several]

    weight_randomization(model, rows, by_removal(model))
    with pytest.raises(RuntimeError, match="in the middle"):
        weight_randomization(model, rows, failing)

    after = weights_of(model)
    for name, weight in before.items():
        assert_array_equal(after[name].numpy(), weight.numpy())
    assert all(weight.requires_grad for weight in model.network.parameters())
    assert not any(module._forward_pre_hooks for module in model.network.modules())
    assert_array_equal(predict(model, rows).value.numpy(), value.numpy())


def test_an_explanation_of_the_text_alone_fails_and_one_of_the_model_passes(model):
    """What the check is for: word lengths correlate with themselves whatever the weights are."""
    rows = ask(model, TEXTS)

    text = weight_randomization(
        model, rows, lambda several: [np.array([len(t) * 1.0 for t in row.encoded.tokens.text]) for row in several]
    )
    honest = weight_randomization(model, rows, by_removal(model))

    assert_allclose(text.rank_correlation, 1, rtol=1e-12)
    # eleven and six words: correlations of chance are within ±0.9 and seldom all of one sign
    assert abs(honest.rank_correlation.sel(stage="embeddings")).mean() < 0.8
    assert honest.rank_correlation.dims == ("stage", "example")


def test_correlations_are_scipys_over_the_words(model):
    """Special tokens often hold most of the relevance, and say nothing of the words' order."""
    rows = ask(model, TEXTS)
    generator = np.random.default_rng(0)
    first, second = ([generator.normal(size=row.n_tokens) for row in rows] for _ in range(2))

    found = compare_explanations(rows, first, second)

    for number, row in enumerate(rows):
        x, y = first[number][removable(row)], second[number][removable(row)]
        assert len(x) == row.n_tokens - 2
        assert_allclose(found.rank_correlation[number], scipy.stats.spearmanr(x, y).statistic, rtol=1e-12)
        assert_allclose(
            found.rank_correlation_absolute[number], scipy.stats.spearmanr(abs(x), abs(y)).statistic, rtol=1e-12
        )
    against = compare_explanations(rows, first, [-one for one in first])
    assert_allclose(against.rank_correlation, -1, rtol=1e-12)
    assert_allclose(against.rank_correlation_absolute, 1, rtol=1e-12)


def test_noise_repeats_with_the_seed(model):
    """A table can be made again."""
    rows = ask(model, TEXTS)

    one, again, other = (weight_randomization(model, rows, by_removal(model), seed=seed) for seed in (1, 1, 2))

    assert one.identical(again)
    assert not one.equals(other)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, r: weight_randomization(m, [], by_removal(m)), InputError, "no rows"),
        (lambda m, r: compare_explanations(r, [np.zeros(2)], [np.zeros(2)]), InputError, "1 and 1 explanations of 2"),
        (lambda m, r: compare_explanations(r, [np.zeros(2)] * 2, [np.zeros(2)] * 2), InputError, r"shape \(2,\)"),
    ],
)
def test_bad_input_is_named(model, call, error, message):
    """What was given, what was expected, what to do."""
    rows = ask(model, TEXTS)

    with pytest.raises(error, match=message):
        call(model, rows)
