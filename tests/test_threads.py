"""A model that is explained in one thread while another runs it: neither notices the other."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from tests.kit.headed_models import headed
from torch import Tensor
from torch.testing import assert_close

import lignite
from lignite.blocks.attention import intercepted
from lignite.models.hold import at_rest, own_calls, seen_as, standing_in
from lignite.targets.ask import ask, predict

TEXT = "the plot was thin"


def elsewhere(ask_there: Callable[[], Any]) -> Any:
    """The answer of another thread."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(ask_there()))
    thread.start()
    thread.join()
    return answers[0]


def logits_of(model: lignite.Model, *texts: str) -> Tensor:
    inputs = model.tokenizer(list(texts or (TEXT,)), return_tensors="pt")
    with torch.no_grad():
        return model.network(**inputs).logits


@contextmanager
def running(model: lignite.Model, found: list[Tensor]) -> Iterator[None]:
    """Another thread runs the model again and again."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            found.append(logits_of(model))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("name", "model_class"), [("bert", "BertForSequenceClassification"), ("llama", "LlamaForSequenceClassification")]
)
def test_a_thread_that_runs_the_model_and_one_that_explains_it_get_their_own_answers(name, model_class):
    """Blocks are stood in for and attention is exchanged while it runs: for the explaining thread alone."""
    model = headed(name, model_class, attn_implementation="sdpa")
    expected, alone = logits_of(model), lignite.explain(model, TEXT, target=1, method="ca-lig", fusion=0.5, tol=0.1)
    found: list[Tensor] = []

    with running(model, found):
        together = [lignite.explain(model, TEXT, target=1, method="ca-lig", fusion=0.5, tol=0.1) for _ in range(3)]

    assert found
    for each in found:
        assert_close(each, expected, rtol=0, atol=0)
    for why in together:
        assert_allclose(why.relevance, alone.relevance, rtol=0, atol=1e-12)


def test_what_stands_in_for_a_module_is_met_in_its_own_thread_alone():
    """Forwards, hooks, attention, the padding token and evaluation mode, each seen from both threads."""
    model = headed("bert", "BertForSequenceClassification", attn_implementation="sdpa")
    block = model.network.bert.encoder.layer[0]
    config = model.config
    model.network.train()

    def seen() -> tuple[Any, ...]:
        return (
            block.forward(None) == "other" if block.forward.__name__ == "answer" else False,
            config._attn_implementation,
            config.pad_token_id,
            block.training,
        )

    def other(*_: Any) -> str:
        return "other"

    block.forward = lambda *_: "own"
    with (
        at_rest(model.network),
        standing_in("forward", {block: other}),
        intercepted(model.network),
        seen_as("pad_token_id", [config], -1),
    ):
        here, there = seen(), elsewhere(seen)
        hook = own_calls(other)
        assert (hook(), elsewhere(hook)) == ("other", None)

    assert here == (True, "lignite", -1, False)
    assert there == (False, "sdpa", model.tokenizer.pad_token_id, True)
    assert seen() == (False, "sdpa", model.tokenizer.pad_token_id, True)
    assert "pad_token_id" not in type(config).__dict__ or not callable(type(config).__dict__["pad_token_id"])


def test_views_of_an_attribute_nest_and_leave_no_trace():
    """The inner one is seen first, each gives way to the one before it, and classes are as they were."""

    class Base:
        mode = "default"

    class Thing(Base):
        pass

    one, two = Thing(), Base()
    one.mode = "own"
    before = dict(vars(Thing)), dict(vars(Base))

    with seen_as("mode", [one, two], "outer"):
        with seen_as("mode", [one], "inner"):
            assert (one.mode, two.mode, Thing().mode) == ("inner", "outer", "default")
        assert (one.mode, two.mode) == ("outer", "outer")
        one.mode = "changed"
        assert one.mode == "outer"

    assert (one.mode, two.mode, Thing.mode) == ("changed", "default", "default")
    assert (dict(vars(Thing)), dict(vars(Base))) == before


def test_a_thread_that_trains_keeps_its_dropout():
    """Evaluation mode belongs to the explanation: a model in training mode is still one for everybody else."""
    model = headed("bert", "BertForSequenceClassification", hidden_dropout_prob=0.5)
    (row,) = ask(model, TEXT)
    model.network.train()

    with at_rest(model.network):
        steady = [float(predict(model, [row]).value) for _ in range(2)]
        noisy = [float(elsewhere(lambda: logits_of(model)[0, 0])) for _ in range(2)]

    assert steady[0] == steady[1]
    assert noisy[0] != noisy[1]
    assert all(module.training for module in model.network.modules())
    assert np.isfinite(noisy).all()
