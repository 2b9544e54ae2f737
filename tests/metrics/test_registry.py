"""A metric is one object: made, it is measured, listed, and found by the command line."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tests.kit.bag_of_words import asked, bag_of_words
from typer.testing import CliRunner

import lignite
from lignite.apps.cli import app
from lignite.errors import InputError, OptionError
from lignite.metrics.asking.session import Asking, Session, Subject
from lignite.metrics.metric import Evidence, Explained, Metric, Question, Reading
from lignite.metrics.registry import METRICS, choose_metrics, described
from lignite.metrics.subjects import check_evidence, measure
from lignite.targets.ask import predict
from lignite.targets.edits import filler, replace_tokens

TEXTS = ("b a c", "a c")


class Length(Reading):
    """A reading that needs nothing."""

    def read(self, case):
        return float(len(case.relevance))


class FirstMarked(Reading):
    """A reading of what people marked."""

    def read(self, case):
        return float(case.evidence.rationale[0][0])


@dataclass(frozen=True)
class FirstWord(Question):
    """What the model says of texts without their first word, under every fill."""

    def ask(self, session, metrics):
        ASKED.append([metric.name for metric in metrics])
        edited = [
            replace_tokens(row, [1], filler(session.model, fill)) for row in session.rows for fill in session.how.fills
        ]
        values = predict(session.model, edited).value.numpy()
        return values.reshape(1, len(session.rows), len(session.how.fills))

    def curves(self, answer):
        return [({"curve": "first word", "measure": "logit", "fill": "mask", "shares": [1.0]}, answer[..., :1])]


@dataclass(frozen=True, kw_only=True)
class Without(Metric):
    """A metric that asks, times a factor."""

    factor: float
    per_fill: bool = True

    @property
    def asks(self):
        return FirstWord()

    def measure(self, cases, answer):
        return self.factor * answer


ASKED: list[list[str]] = []
LENGTH = Length(name="length", meaning="number of explained tokens", better="lower")


@pytest.fixture
def model():
    return bag_of_words({"a": 8.0, "b": 4.0, "c": -2.0})


def session_of(model, *evidence):
    rows = asked(model, *TEXTS)
    subjects = [Subject(row, said) for row, said in zip(rows, evidence or [Evidence()] * len(rows), strict=True)]
    explained = {"one": [Explained(np.zeros(len(row.encoded.tokens.keep())), gap=0.5) for row in rows]}
    return Session(model, subjects, explained, {}, Asking(fills=("mask", "pad")))


def test_a_metric_is_measured_listed_and_offered_by_its_object_alone(monkeypatch):
    """Adding one is one object in the registry: nothing else names metrics."""
    monkeypatch.setitem(METRICS, "length", LENGTH)
    model = lignite.load("tiny-sentiment")

    told = lignite.evaluate(model, ["A superb film.", "Dull."], "random", "length,completeness-gap")
    help_text = CliRunner().invoke(app, ["evaluate", "--help"], env={"COLUMNS": "120", "TERM": "dumb"}).stdout

    lengths = [len(lignite.explain(model, text, method="random").token) for text in ("A superb film.", "Dull.")]
    scores = told.scores[told.scores["metric"] == "length"]
    assert scores["value"].tolist() == lengths
    assert told.attrs["metrics"]["length"] == {"meaning": "number of explained tokens", "better": "lower"}
    assert ("length", "number of explained tokens (lower is better)") in described()
    assert "length: number of explained tokens (lower is better)" in re.sub(r"[│\s]+", " ", help_text)
    assert LENGTH in choose_metrics(None)


def test_a_metric_of_ones_own_is_given_itself():
    """Beside names, or alone; one that takes the name of another would stand in its column."""
    deletion = METRICS["deletion"]

    assert choose_metrics(LENGTH) == (LENGTH,)
    assert choose_metrics([LENGTH, "deletion", deletion]) == (deletion, LENGTH)
    with pytest.raises(OptionError, match="'deletion' is the name of another"):
        choose_metrics(Length(name="deletion", meaning="number of explained tokens"))
    with pytest.raises(OptionError, match="'first' needs human evidence"):
        choose_metrics(FirstMarked(name="first", meaning="of this test", needs=("rationale",)))


def test_metrics_that_ask_the_same_share_one_answer(model, monkeypatch):
    """Questions are what costs: equal ones are asked once, and each metric makes its own number of the answer."""
    for name, factor in (("once", 1.0), ("twice", 2.0)):
        monkeypatch.setitem(METRICS, name, Without(name=name, meaning="of this test", factor=factor))
    ASKED.clear()

    found = measure(session_of(model), choose_metrics("once,twice"))["one"]

    mask, pad = (
        [
            predict(model, [replace_tokens(row, [1], filler(model, fill))]).value[0].item()
            for row in asked(model, *TEXTS)
        ]
        for fill in ("mask", "pad")
    )
    assert ASKED == [["once", "twice"]]
    for place, entries in enumerate(found):
        assert entries.scores == [
            ("once", "mask", mask[place]), ("once", "pad", pad[place]),
            ("twice", "mask", 2 * mask[place]), ("twice", "pad", 2 * pad[place]),
        ]  # fmt: skip
        assert [curve["values"] for curve in entries.curves] == [[mask[place]]]


def test_a_reading_is_not_asked_where_nobody_said_what_it_needs(model):
    """It may count on what it needs; elsewhere its number is missing, not zero."""
    first = FirstMarked(name="first", meaning="of this test", needs=("rationale",))

    session = session_of(model, Evidence(rationale=((2, 3),)), Evidence())

    found = measure(session, [first, METRICS["completeness-gap"]])["one"]

    assert found[0].scores == [("first", "", 2.0), ("completeness-gap", "", 0.5)]
    assert np.isnan(found[1].scores[0][2])


def test_evidence_is_tried_by_every_reading_that_needs_it(model, monkeypatch):
    """Also by those that nobody chose: an example is measured in full or not at all."""

    class Picky(Reading):
        def read(self, case):
            raise InputError("cannot be read")

    monkeypatch.setitem(METRICS, "picky", Picky(name="picky", meaning="of this test", needs=("rationale",)))
    plain, marked = session_of(model, Evidence(), Evidence(rationale=((2, 3),))).subjects

    check_evidence(plain)
    with pytest.raises(InputError, match="cannot be read"):
        check_evidence(marked)


def test_the_document_lists_every_metric():
    """With the meaning that tables and pages give it."""
    document = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text("utf-8")

    assert [f"- `{name}`: {meaning}" for name, meaning in described()] == re.findall(
        r"^- `[\w-]+`: .*$", document.partition("\n## Metrics\n")[2], re.MULTILINE
    )


def test_every_metric_says_what_it_is():
    """Tables, pages and lists have nothing else to say of it."""
    for name, metric in METRICS.items():
        assert name == metric.name
        assert metric.meaning
        assert metric.better in ("higher", "lower", "")
        assert metric.reads in ("text", "image", "")
        assert set(metric.needs) <= set(vars(Evidence()))
