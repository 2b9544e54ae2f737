"""Scores of a file as rows of an evaluation: the same scores give the same numbers, others' tokens are refused."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from tests.kit.explainer import TEXTS

import lignite
from lignite.errors import InputError, OptionError

CHEAP = {"metrics": "insertion-minus-deletion,completeness-gap", "steps": 4}


@pytest.fixture(scope="module")
def model():
    return lignite.load("tiny-sentiment")


@pytest.fixture(scope="module")
def lines(model):
    """What another program would write of `gradient-x-input`."""
    return [
        {
            "text": text,
            "tokens": why.token.values.tolist(),
            "scores": {"theirs": why.relevance.values.astype(float).tolist()},
            "target": why.attrs["prediction"],
        }
        for text in TEXTS
        for why in [lignite.explain(model, text, method="gradient-x-input")]
    ]


def written(path, lines):
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["theirs.jsonl", "theirs.jsonl.gz"])
def test_the_same_scores_give_the_same_numbers(model, lines, tmp_path, name):
    """A row from a file differs from the row that computed it in its name alone; what it costs nobody knows."""
    path = written(tmp_path / name, lines[::-1])

    told = lignite.evaluate(model, TEXTS, "gradient-x-input", scores=path, **CHEAP)

    table = told.table[told.table["metric"] != "completeness-gap"].drop(columns="metric")
    own, theirs = (
        table[table["method"] == method].drop(columns="method").reset_index(drop=True)
        for method in ("gradient-x-input", "theirs")
    )
    pd.testing.assert_frame_equal(own, theirs)
    assert (told.table[told.table["metric"] == "completeness-gap"].set_index("method")["n"]["theirs"]) == 0
    assert (told.tests.set_index("method").loc["theirs", "difference"].dropna() == 0).all()
    assert told.attrs["coverage"] == f"{len(TEXTS)} of {len(TEXTS)}"


def test_scores_of_other_tokens_are_refused(model, lines):
    """Two of them swapped: the line, both tokens and the remedy are named, before anything is computed."""
    tokens = list(lines[1]["tokens"])
    tokens[1], tokens[2] = tokens[2], tokens[1]

    with pytest.raises(InputError) as refused:
        lignite.evaluate(model, TEXTS, "random", scores=[lines[0], lines[1] | {"tokens": tokens}, *lines[2:]], **CHEAP)

    assert f"example 2: token 1 is {tokens[1]!r}, and this model reads {tokens[2]!r} there. Score" in str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tokens": ["[CLS]"]}, "'theirs' needs one finite score for each of the 1 tokens"),
        ({"tokens": None}, "'tokens' must list the tokens"),
        ({"scores": {}}, "'scores' must give one number a token"),
        ({"scores": {"theirs": [float("nan")] * 99}}, "'theirs' needs one finite score"),
        ({"scores": {"theirs": "many"}}, "the scores of 'theirs' are no list of numbers"),
        ({"scores": {"random": "tokens"}}, "'random' is the name of a method's row already"),
        ({"target": 1.5}, "'target' is a float"),
        ({"text": TEXTS[1]}, "has scores at example 2; keep one"),
    ],
)
def test_a_line_that_cannot_be_used_is_one_clear_error(model, lines, change, said):
    """What is wrong, and with which line."""
    if change.get("scores") == {"random": "tokens"}:
        changed = [line | {"scores": {"random": line["scores"]["theirs"]}} for line in lines]
    else:
        changed = [lines[0], lines[1], lines[2] | change, *lines[3:]]

    with pytest.raises((InputError, OptionError), match=said):
        lignite.evaluate(model, TEXTS, "random", scores=changed, **CHEAP)


def test_missing_scores_are_refused_or_left_out_of_every_row(model, lines):
    """Means over other examples are no comparison."""
    with pytest.raises(InputError, match=f"missing for 1 of {len(TEXTS)} examples, the first of them 1 "):
        lignite.evaluate(model, TEXTS, "random", scores=lines[1:], **CHEAP)

    told = lignite.evaluate(model, TEXTS, "random", scores=lines[1:], partial_scores=True, **CHEAP)

    assert told.attrs["coverage"] == f"{len(TEXTS) - 1} of {len(TEXTS)}"
    counts = told.table[told.table["metric"] == "insertion-minus-deletion"]["n"]
    assert set(counts) == {len(TEXTS) - 1}
    with pytest.raises(InputError, match="Add them"):
        lignite.evaluate(model, ["Never scored."], "random", scores=lines, partial_scores=True, **CHEAP)


def test_scores_for_another_class_leave_their_text_out(model, lines):
    """What speaks for one class is no answer for the other."""
    other = {"positive": "negative", "negative": "positive"}[lines[0]["target"]]

    told = lignite.evaluate(model, TEXTS, "random", scores=[lines[0] | {"target": other}, *lines[1:]], **CHEAP)

    (reason,) = told.skipped["reason"]
    assert f"its scores are for {other!r}" in reason
    assert set(told.table[told.table["metric"] == "insertion-minus-deletion"]["n"]) == {len(TEXTS) - 1}


def test_metrics_that_explain_anew_are_refused_beside_scores(model, lines):
    """A file cannot explain a shuffled text."""
    with pytest.raises(OptionError, match="'context-change' explains other inputs"):
        lignite.evaluate(model, TEXTS, "random", "context-change", scores=lines)


def test_other_scores_are_measured_anew(model, lines, tmp_path):
    """Finished work is found again by the scores themselves, not by the name of the file."""
    turned = [line | {"scores": {"theirs": [-each for each in line["scores"]["theirs"]]}} for line in lines]
    kept = {"resume": tmp_path / "run.jsonl", **CHEAP}

    first, second = (lignite.evaluate(model, TEXTS, "random", scores=some, **kept) for some in (lines, turned))

    means = [told.pivot()["insertion-minus-deletion", "delete"]["theirs"] for told in (first, second)]
    assert not np.isclose(*means)
