"""Tokens in the order of their relevance and in the opposite one: every change of F, and nothing lost on the way."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from tests.kit.headed_models import headed
from tests.kit.stacks import ROUNDED, ROWS, TOKENS, bending_model, drawn, starts
from torch.testing import assert_close

import lignite
from lignite.attribution.orders import in_both_orders
from lignite.errors import OptionError
from lignite.methods import RelevanceFlow
from lignite.methods.options import choose
from lignite.targets.ask import ask
from lignite.targets.edits import replace_tokens
from lignite.targets.predict import predict
from lignite.targets.target import Target

TEXT = "the plot was thin"
OPTIONS = {"method": "relevance-flow", "tol": 1e-3}


@pytest.mark.parametrize("max_points", [1, 2, 100])
def test_each_token_changes_f_after_those_before_it(max_points):
    """A head that multiplies tokens: what one adds depends on who is there. One row moves two tokens only."""
    model = bending_model()
    start = starts(model, 10)
    moves = torch.tensor([[True, True, True], [True, False, True]])
    relevance = torch.tensor([[0.1, 3.0, -2.0], [-1.0, 9.0, 5.0]], dtype=torch.float64)
    by_hand = [[[1, 0, 2], [2, 0, 1]], [[2, 0], [0, 2]]]

    found = in_both_orders(model, torch.where(moves[..., None], start, model.first), moves, relevance, max_points)

    for row in range(ROWS):
        for which in range(2):
            present = [token for token in range(TOKENS) if not moves[row, token]]
            before = value_with(model, start, row, present)
            for token in by_hand[row][which]:
                present.append(token)
                after = value_with(model, start, row, present)
                assert_close(found[which][row, token], after - before, **ROUNDED)
                before = after
    assert not found[0][~moves].any()
    assert not found[1][~moves].any()


def value_with(model, start, row, present):
    states = start[row].clone()
    states[present] = model.first[row, present]
    return model.run(0, states[None], torch.tensor([row]))[0]


def test_both_orders_add_up_to_the_displacement():
    """Differences of neighbours: all between the ends cancels."""
    model = bending_model()
    start = starts(model, 10)

    found = in_both_orders(
        model, start, torch.ones(ROWS, TOKENS, dtype=torch.bool), drawn(ROWS, TOKENS, seed=1), max_points=4
    )

    displacement = model.value - model.run(0, start, torch.arange(ROWS))
    for scores in found:
        assert_close(scores.sum(1), displacement, **ROUNDED)


def test_equal_relevances_arrive_in_the_order_of_the_text():
    """Whatever a sort makes of them: the same text has the same explanation everywhere."""
    model = bending_model()
    start = starts(model, 10)
    everywhere = torch.ones(ROWS, TOKENS, dtype=torch.bool)

    equal, falling = (
        in_both_orders(model, start, everywhere, relevance.expand(ROWS, -1).double(), max_points=4)[0]
        for relevance in (torch.zeros(TOKENS), torch.arange(TOKENS, 0, -1))
    )

    assert_close(equal, falling, rtol=0, atol=0)


def test_a_row_without_tokens_that_move_has_nothing_to_order():
    """A text of special tokens."""
    model = bending_model()
    moves = torch.tensor([[False] * TOKENS, [True] * TOKENS])

    found = in_both_orders(model, starts(model, 10), moves, drawn(ROWS, TOKENS, seed=1), max_points=4)

    assert not found[0][0].any()
    assert found[0][1].all()


# Results


@pytest.mark.parametrize("baseline", ["mask", ("mask", "pad")])
def test_orders_are_half_of_the_relevance_which_still_adds_up(baseline):
    """By the model's own answers to edited texts, in the order of each baseline's own flow."""
    model = headed("bert", "BertForSequenceClassification")
    (row,) = ask(model, TEXT)
    words = [place for place, special in enumerate(row.encoded.tokens.special) if not special]
    names = [baseline] if isinstance(baseline, str) else list(baseline)
    expected = np.zeros((2, row.n_tokens))
    for name in names:
        blank = getattr(model.tokenizer, f"{name}_token_id")
        flow = lignite.explain(model, TEXT, baseline=name, **OPTIONS).relevance.values
        order = sorted(words, key=lambda place: -flow[place])
        for which, arriving in enumerate((order, order[::-1])):
            texts = [replace_tokens(row, arriving[count:], blank) for count in range(len(words))] + [row]
            expected[which][arriving] += np.diff(predict(model, texts).value.numpy()) / len(names)

    why, plain = (lignite.explain(model, TEXT, baseline=baseline, orders=on, **OPTIONS) for on in (True, False))

    assert_allclose(why.falling, expected[0], rtol=0, atol=1e-9)  # float64, sums in batches of another size
    assert_allclose(why.rising, expected[1], rtol=0, atol=1e-9)
    assert_allclose(why.relevance, plain.relevance / 2 + expected.sum(0) / 4, rtol=0, atol=1e-9)
    displacement = float(why.displacement[0])
    assert_allclose(why.relevance.sum(), displacement, rtol=0, atol=1e-3 * abs(displacement) + 1e-9)
    for name in ("layer_relevance", "output_ig", "displacement", "gap"):
        assert_allclose(why[name], plain[name], rtol=0, atol=0)


def test_rows_of_a_batch_are_ordered_each_in_its_own_text():
    """Shorter ones stand beside padding there, and the mask of another row would hide or show other tokens."""
    model = headed("bert", "BertForSequenceClassification")
    texts = [TEXT, "thin", "the plot was thin, but it says nothing"]

    together = lignite.explain(model, texts, orders=True, n_steps=4, **OPTIONS | {"tol": 0.9})

    for text, why in zip(texts, together, strict=True):
        alone = lignite.explain(model, text, orders=True, n_steps=4, **OPTIONS | {"tol": 0.9})
        for name in ("falling", "rising", "relevance"):
            assert_allclose(why[name], alone[name], rtol=0, atol=1e-9, err_msg=f"{text}: {name}")


def test_tokens_behind_the_one_that_answers_stay_out_of_the_order():
    """They cannot matter, and are exactly zero."""
    why = lignite.explain(headed("gpt2", "GPT2LMHeadModel"), TEXT, target=Target(token=2), orders=True, **OPTIONS)

    for scores in (why.falling.values, why.rising.values, why.relevance.values):
        assert not scores[3:].any()
        assert scores[1:3].all()


@pytest.mark.parametrize("method", ["ca-lig", "ig", "shapley"])
def test_orders_belong_to_relevance_flow(method):
    """Any other would silently ignore them."""
    with pytest.raises(OptionError, match=f"orders=True belongs to relevance-flow, not '{method}'"):
        choose(method, {"orders": True})


def test_ends_and_orders_exclude_each_other():
    """Each is half of the relevance."""
    with pytest.raises(OptionError, match="ask for one of the two"):
        RelevanceFlow(orders=True, ends=True)
