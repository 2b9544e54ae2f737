"""Infidelity and max-sensitivity where both have closed forms: a sum of word numbers, and explanations that scale."""

import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from tests.kit.bag_of_words import asked, bag_of_words, oracle

import lignite
from lignite.errors import InputError, OptionError
from lignite.metrics.asking.robustness import infidelity, max_sensitivity
from lignite.targets.ask import ask, predict

pytest.importorskip("captum")

WEIGHTS = {"a": 8.0, "b": 4.0, "c": -2.0, "d": -1.0}


@pytest.fixture
def bag():
    return bag_of_words(WEIGHTS, pad=0.5)


# Infidelity


@pytest.mark.parametrize("normalize", [True, False])
def test_the_weights_of_a_sum_are_perfectly_faithful(bag, normalize):
    """Removing any set of words changes the sum by the sum of their numbers; so for texts of other lengths, too."""
    rows = asked(bag, "d a c b", "a", "b b c")

    found = infidelity(bag, rows, oracle(bag, rows), normalize=normalize)

    assert_allclose(found, 0, atol=1e-12)  # differences of float64 squares of order a hundred


def test_infidelity_by_hand(bag):
    """One word of number 8 that is given 5: (5 − 8)², whichever sets are drawn; scaled by 8/5 it is right."""
    rows = asked(bag, "a")

    assert_allclose(infidelity(bag, rows, [np.array([0, 5.0, 0])], normalize=False), 9.0, rtol=1e-12)
    assert_allclose(infidelity(bag, rows, [np.array([0, 5.0, 0])]), 0.0, atol=1e-12)  # 64 − 64²/64
    # an explanation of nothing cannot be scaled: it misses all that the removal changes
    assert_allclose(infidelity(bag, rows, [np.zeros(3)]), 64.0, rtol=1e-12)


def test_infidelity_is_the_mean_over_sets_of_any_size(bag):
    """Two words: one of them, or both, with chances ¼, ¼ and ½; errors 1, 2 and 3."""
    rows = asked(bag, "a b")

    found = infidelity(bag, rows, [np.array([0, 8.0 + 1, 4.0 + 2, 0])], normalize=False, n_samples=4000)

    expected = (1 + 4 + 2 * 9) / 4
    spread = np.sqrt((1 + 16 + 2 * 81) / 4 - expected**2)
    assert_allclose(found, expected, atol=4 * spread / np.sqrt(4000), rtol=0)  # four standard errors


@pytest.mark.wide
def test_scaling_is_by_the_best_factor(bag):
    """Least squares: no other factor of the same relevances comes lower on the same sets."""
    rows = asked(bag, "d a c b")
    relevance = np.array([0, 1.0, 3.0, 1.0, 1.0, 0])

    best = infidelity(bag, rows, [relevance])
    others = [infidelity(bag, rows, [factor * relevance], normalize=False) for factor in np.linspace(-1, 5, 601)]

    assert best <= min(others) + 1e-9
    assert_allclose(best, min(others), rtol=1e-3)  # a parabola's floor, met to half a step of 0.01
    assert_allclose(best, infidelity(bag, rows, [-100 * relevance]), rtol=1e-9)


def test_fills_decide_what_removal_means(bag):
    """A [PAD] that is read counts ½ here, so removing a word of number 8 changes 7½."""
    rows = asked(bag, "a")
    relevance = [np.array([0, 8.0, 0])]

    assert_allclose(infidelity(bag, rows, relevance, fill="pad", normalize=False), 0.25, rtol=1e-12)
    assert_allclose(infidelity(bag, rows, relevance, fill="delete", normalize=False), 0, atol=1e-20)


def test_special_tokens_are_never_removed(bag):
    """Whatever relevance they were given."""
    rows = asked(bag, "a b")

    assert_allclose(infidelity(bag, rows, [np.array([99.0, 8.0, 4.0, -99.0])], normalize=False), 0, atol=1e-20)


def test_all_sets_of_all_rows_are_asked_at_once(bag):
    """Not one call for each set."""
    rows = asked(bag, *["a b c d"] * 10)
    infidelity(bag, rows, oracle(bag, rows), n_samples=2)

    bag.network.calls = 0
    infidelity(bag, rows, oracle(bag, rows), n_samples=50)

    assert bag.network.calls <= 4  # 500 sets; the rows as they are; captum may split once


def test_infidelity_repeats_with_its_seed(bag):
    """A table can be made again."""
    rows, wrong = asked(bag, "d a c b"), [np.array([0, 3.0, 1.0, 2.0, 5.0, 0])]

    assert_array_equal(infidelity(bag, rows, wrong, seed=1), infidelity(bag, rows, wrong, seed=1))
    assert infidelity(bag, rows, wrong, seed=1) != infidelity(bag, rows, wrong, seed=2)


# Max-sensitivity


def weights_now(model):
    """Explains by asking the table, as a gradient times input would for a sum."""

    def explain(rows):
        with torch.no_grad():
            return [model.network.weights(row.encoded.tensors["input_ids"])[0, :, 0].numpy() for row in rows]

    return explain


def test_sensitivity_is_that_of_the_noise(bag):
    """Relevances that are the word vectors move as far as these: ‖noise‖ / ‖weights‖, the largest of the samples."""
    (row,) = asked(bag, "a b")
    spread = float(bag.network.weights.weight.detach().std())
    seen = []

    def explain(rows):
        (relevance,) = weights_now(bag)(rows)
        seen.append(relevance)
        return [relevance]

    (found,) = max_sensitivity(bag, [row], explain, radius=0.2, n_samples=7)

    still, noisy = seen[0], np.array(seen[1:])
    assert len(noisy) == 7
    assert_array_equal(noisy[:, [0, 3]], np.zeros((7, 2)))  # special tokens stay
    moves = noisy - still
    assert 0.1 * spread < abs(moves).max() <= 0.2 * spread
    assert_allclose(found, np.linalg.norm(moves, axis=1).max() / np.linalg.norm(still), rtol=1e-6)


def test_an_explanation_that_never_moves_is_not_sensitive(bag):
    """Zero, also for one that is zero throughout."""
    rows = asked(bag, "a b", "c")

    found = max_sensitivity(bag, rows, lambda several: [np.arange(row.n_tokens) * 1.0 for row in several])
    silent = max_sensitivity(bag, rows, lambda several: [np.zeros(row.n_tokens) for row in several])

    assert_array_equal(found, np.zeros(2))
    assert_array_equal(silent, np.zeros(2))


def test_explanations_by_gradients_work_inside():
    """Captum calls without gradients, and most explanations need them; the model and its hooks are as before."""
    model = lignite.load("tiny-sentiment")
    rows = ask(model, ["A dull film.", "Superb!"])
    before = predict(model, rows).value
    draws = torch.get_rng_state()

    def saliency(several):
        found = []
        for row in several:
            vectors = model.network.get_input_embeddings()(row.encoded.tensors["input_ids"]).detach().requires_grad_()
            logits = model.network(inputs_embeds=vectors, attention_mask=row.encoded.tensors["attention_mask"]).logits
            (gradient,) = torch.autograd.grad(logits[0, row.objective.index], vectors)
            found.append(gradient[0].norm(dim=-1).numpy())
        return found

    wide, narrow = (max_sensitivity(model, rows, saliency, radius=radius, n_samples=4) for radius in (0.2, 0.002))

    assert (narrow > 0).all()
    # a smooth function: a hundredth of the noise, drawn alike, moves a hundredth as far, to first order
    assert_allclose(narrow / wide, 0.01, rtol=0.3)
    assert not model.network.get_input_embeddings()._forward_hooks
    assert_array_equal(predict(model, rows).value.numpy(), before.numpy())
    assert torch.equal(torch.get_rng_state(), draws)


def test_noise_repeats_with_the_seed_and_for_each_row(bag):
    """And differs between seeds and rows."""
    rows = asked(bag, "a b", "a b")

    one, again, other = (max_sensitivity(bag, rows, weights_now(bag), seed=seed) for seed in (1, 1, 2))

    assert_array_equal(one, again)
    assert len({*one.tolist(), *other.tolist()}) == 4


# Errors


def test_without_captum_the_extra_is_named(bag, monkeypatch):
    """It is optional, and lignite imports without it."""
    monkeypatch.setitem(sys.modules, "captum.metrics", None)

    with pytest.raises(OptionError, match=r"captum, which is not installed.*lignite\[compare\]"):
        infidelity(bag, asked(bag, "a"), [np.zeros(3)])
    with pytest.raises(OptionError, match=r"lignite\[compare\]"):
        max_sensitivity(bag, asked(bag, "a"), weights_now(bag))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: infidelity(m, asked(m, "a"), []), InputError, "0 explanations of 1 rows"),
        (lambda m: infidelity(m, asked(m, "a"), [np.zeros(2)]), InputError, r"shape \(2,\)"),
        (lambda m: infidelity(m, asked(m, "a"), [np.zeros(3)], fill="zero"), OptionError, "fill='zero'"),
        (lambda m: infidelity(m, asked(m, "a"), [np.zeros(3)], n_samples=0), OptionError, "n_samples=0"),
        (lambda m: max_sensitivity(m, asked(m, "a"), weights_now(m), radius=0.0), OptionError, r"radius=0\.0"),
    ],
)
def test_bad_input_is_named(bag, call, error, message):
    """What was given, what was expected, what to do."""
    with pytest.raises(error, match=message):
        call(bag)


def test_texts_that_would_vanish_are_refused():
    """Without special tokens nothing is left of a text all of whose words are deleted."""
    bare = bag_of_words(WEIGHTS, special=False)

    with pytest.raises(OptionError, match="would leave nothing of row 0"):
        infidelity(bare, asked(bare, "a b"), [np.zeros(2)], fill="delete")
