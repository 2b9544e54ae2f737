"""Tokens in the order of their relevance and in the opposite one: every change of F, and nothing lost on the way."""

import json
from itertools import chain

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from tests.kit.headed_models import headed
from tests.kit.stacks import ROUNDED, ROWS, TOKENS, bending_model, drawn, starts
from torch.testing import assert_close

import lignite
from lignite.attribution.orders import arrivals, in_both_orders
from lignite.errors import OptionError
from lignite.methods import RelevanceFlow
from lignite.methods.options import choose
from lignite.targets.ask import ask, predict
from lignite.targets.edits import remove_tokens, replace_tokens
from lignite.targets.target import Target
from lignite.zoo.samples import digit_scene

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

    found = in_both_orders(model, torch.where(moves[..., None], start, model.first), moves, relevance, max_points, 32)

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
        model, start, torch.ones(ROWS, TOKENS, dtype=torch.bool), drawn(ROWS, TOKENS, seed=1), max_points=4, n_groups=32
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
        in_both_orders(model, start, everywhere, relevance.expand(ROWS, -1).double(), max_points=4, n_groups=32)[0]
        for relevance in (torch.zeros(TOKENS), torch.arange(TOKENS, 0, -1))
    )

    assert_close(equal, falling, rtol=0, atol=0)


def test_a_row_without_tokens_that_move_has_nothing_to_order():
    """A text of special tokens."""
    model = bending_model()
    moves = torch.tensor([[False] * TOKENS, [True] * TOKENS])

    found = in_both_orders(model, starts(model, 10), moves, drawn(ROWS, TOKENS, seed=1), max_points=4, n_groups=32)

    assert not found[0][0].any()
    assert found[0][1].all()


# Results


def absent(row, places, way, model):
    """The text without the words at some places."""
    if way == "delete":
        return remove_tokens(row, places) if places else row
    return replace_tokens(row, places, getattr(model.tokenizer, f"{way}_token_id"))


def changes_in(model, row, groups, way):
    """What each word of a group adds to the groups before it, by the model's own answers to edited texts."""
    found = np.zeros(row.n_tokens)
    for count, group in enumerate(groups):
        there, then = ([*chain(*groups[some:])] for some in (count, count + 1))
        before, after = predict(model, [absent(row, places, way, model) for places in (there, then)]).value.tolist()
        found[group] = (after - before) / len(group)
    return found


@pytest.mark.parametrize("baseline", ["mask", ("mask", "pad")])
@pytest.mark.parametrize("groups", [2, 32])
def test_orders_are_half_of_the_relevance_which_still_adds_up(baseline, groups):
    """By the model's own answers, in the order of each baseline's own flow; of deletion, in that of their mean."""
    model = headed("bert", "BertForSequenceClassification")
    (row,) = ask(model, TEXT)
    words = [place for place, special in enumerate(row.encoded.tokens.special) if not special]
    names = [baseline] if isinstance(baseline, str) else list(baseline)
    flows = [lignite.explain(model, TEXT, baseline=name, orders=False, **OPTIONS) for name in names]
    path = np.mean([flow.relevance.values for flow in flows], 0)
    ranked = [flow.relevance.values for flow in flows] + [path]
    expected, moved = np.zeros((2, row.n_tokens)), []
    for way, relevance in zip([*names, "delete"], ranked, strict=True):
        order = sorted(words, key=lambda place: -relevance[place])
        parts = [order[:2], order[2:]] if groups == 2 else [[place] for place in order]  # four words
        for which, arriving in enumerate((parts, parts[::-1])):
            expected[which] += changes_in(model, row, arriving, way) / len(ranked)
        moved.append(float(np.diff(predict(model, [absent(row, words, way, model), row]).value)[0]))

    why = lignite.explain(model, TEXT, baseline=baseline, orders=True, groups=groups, **OPTIONS)

    assert_allclose(why.falling, expected[0], rtol=0, atol=1e-9)  # float64, sums in batches of another size
    assert_allclose(why.rising, expected[1], rtol=0, atol=1e-9)
    assert_allclose(why.relevance, path / 2 + expected.sum(0) / 4, rtol=0, atol=1e-9)
    displacement = np.mean(moved[:-1]) / 2 + np.mean(moved) / 2
    assert_allclose(why.total_displacement, displacement, rtol=0, atol=1e-9)
    assert_allclose(why.relevance.sum(), displacement + float(why.total_gap), rtol=0, atol=1e-9)
    assert abs(float(why.total_gap)) <= float(why.total_allowed)
    assert_allclose(why.total_allowed, np.mean([flow.allowed[0] for flow in flows]) / 2, rtol=1e-9)
    for name in ("layer_relevance", "output_ig", "displacement", "gap"):
        assert_allclose(why[name], np.mean([flow[name] for flow in flows], 0), rtol=0, atol=1e-9)
    assert json.loads(why.attrs["plans"])["absent"] == [*names, "delete"]
    assert "unasked" not in json.loads(why.attrs["plans"])


def test_up_to_thirty_two_words_arrive_one_by_one_and_more_cost_no_more():
    """A text of any length asks about 31 levels of either order, beside the blank input."""
    asked = []
    for n_tokens in (20, 32, 33, 100):
        falling, rising = arrivals(drawn(n_tokens, seed=n_tokens), torch.arange(n_tokens), 32)
        asked.append(len(falling.between()))
        sizes = [len(group) for group in falling.groups]
        assert max(sizes) - min(sizes) <= 1
        assert sum(sizes) == n_tokens
        assert torch.equal(torch.cat(list(falling.groups)).sort().values, torch.arange(n_tokens))
        assert [group.tolist() for group in rising.groups] == [group.tolist() for group in falling.groups[::-1]]

    assert asked == [19, 31, 31, 31]


@pytest.mark.parametrize(
    ("name", "head", "given", "target", "reason"),
    [
        (
            "gpt2",
            "GPT2ForSequenceClassification",
            {"input_ids": [[5, 6, 7]]},
            None,
            "all tokens of the input are removed",
        ),
        ("gpt2", "GPT2LMHeadModel", {"input_ids": [[5]]}, None, "no word of the input can be deleted"),
        ("bert", "BertForSequenceClassification", TEXT, lambda out: out.logits[:, 1], "a function of the output"),
    ],
)
def test_a_result_says_why_deletion_was_not_asked(name, head, given, target, reason):
    """Nothing left, nothing that may go, a question bound to places: the mean is then over the baselines alone."""
    model = headed(name, head)
    given = given if isinstance(given, str) else {key: torch.tensor(ids) for key, ids in given.items()}

    why, plain = (
        lignite.explain(model, given, target=target, baseline="mean-embedding", orders=on, **OPTIONS)
        for on in (True, False)
    )

    plans = json.loads(why.attrs["plans"])
    assert plans["absent"] == ["mean-embedding"]
    assert plans["unasked"].startswith(f"delete: {reason}")
    assert_allclose(why.total_displacement, plain.displacement[0], rtol=1e-9)
    assert_allclose(why.falling.sum(), plain.displacement[0], rtol=0, atol=1e-9)


def test_one_text_that_cannot_be_asked_keeps_the_others():
    """Texts of one batch are asked about together; only the one without a word to delete goes without."""
    model = headed("gpt2", "GPT2LMHeadModel")

    texts = [{"input_ids": torch.tensor([ids])} for ids in ([5, 6, 7], [5])]
    long, short = lignite.explain(model, texts, orders=True, **OPTIONS)

    assert json.loads(long.attrs["plans"])["absent"][-1] == "delete"
    assert "unasked" in json.loads(short.attrs["plans"])
    alone = lignite.explain(model, texts[0], orders=True, **OPTIONS)
    assert_allclose(long.relevance, alone.relevance, rtol=0, atol=1e-9)


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
    assert json.loads(why.attrs["plans"])["absent"][-1] == "delete"


@pytest.mark.parametrize("method", ["ca-lig", "ig", "shapley"])
def test_orders_belong_to_relevance_flow(method):
    """Any other would silently ignore them."""
    with pytest.raises(OptionError, match=f"orders=True belongs to relevance-flow, not '{method}'"):
        choose(method, {"orders": True})


def test_ends_and_orders_exclude_each_other():
    """Each is half of the relevance."""
    with pytest.raises(OptionError, match="with ends=True say orders=False"):
        RelevanceFlow(orders=True, ends=True)


@pytest.mark.parametrize(
    ("name", "given", "options", "orders"),
    [
        ("tiny-sentiment", "A superb film.", {}, True),
        ("tiny-sentiment", "A superb film.", {"ends": True}, False),
        ("tiny-digits", None, {}, False),
        ("tiny-digits", None, {"orders": True}, True),
    ],
)
def test_orders_left_open_are_taken_for_texts_alone(name, given, options, orders):
    """For pictures they bring nothing that could be measured at twice the time; whoever names them gets them."""
    model = lignite.load(name)
    why = lignite.explain(model, digit_scene().image if given is None else given, tol=0.01, **options)
    assert json.loads(why.attrs["request"])["orders"] is orders
    assert ("falling" in why) is orders
