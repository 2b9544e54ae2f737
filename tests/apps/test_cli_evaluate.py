"""The command `lignite evaluate`: typed options reach the function, and what goes wrong is one line."""

import csv
import json

import pytest
from tests.kit.explainer import ROWS, Explainer
from typer.testing import CliRunner

import lignite
from lignite.api import evaluate as evaluations
from lignite.api import units
from lignite.api.evaluate import Evaluation
from lignite.apps import cli
from lignite.apps.commands import evaluate as evaluate_command

QUICK = ("--methods", "occlusion", "--metrics", "deletion", "--steps", "2")


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(evaluate_command.sys, "argv", ["lignite", "evaluate", "my data.jsonl"])


@pytest.fixture
def explainer(monkeypatch):
    stand_in = Explainer()
    monkeypatch.setattr(units, "explain_rows", stand_in)
    return stand_in


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def run(*args):
    return CliRunner().invoke(cli.app, ["evaluate", *map(str, args)])


def test_the_table_is_printed_and_written(explainer, data, tmp_path):
    """In every format at once; what was written goes to standard error."""
    names = ["told.json", "told.csv", "told.html", "told.png"]

    result = run(data, *QUICK, *(part for name in names for part in ("-o", tmp_path / name)))

    assert result.exit_code == 0, result.stderr
    assert "occlusion" in result.stdout
    assert "random" in result.stdout
    assert [f"wrote {tmp_path / name}" for name in names] == result.stderr.splitlines()
    with (tmp_path / "told.csv").open() as file:
        assert {row["method"] for row in csv.DictReader(file)} == {"occlusion", "random"}
    told = Evaluation.open(tmp_path / "told.json")
    assert told.attrs["command"] == "lignite evaluate 'my data.jsonl'"


def test_typed_options_reach_the_function(explainer, data, tmp_path, monkeypatch):
    """One library, two ways in."""
    asked = {}
    compute = evaluations.evaluate

    def listen(model, examples, *, request, **options):
        asked.update(options, examples=examples, **request.values())
        return compute(model, examples, request=request, **options)

    monkeypatch.setattr(evaluations, "evaluate", listen)

    result = run(
        data, "--methods", "ca-lig:baseline=zero,fusion=0.7,ig", "--methods", "occlusion",
        "--metrics", "deletion,auprc",
        "--text", "text", "--label", "label", "--rationale", "why", "--polarity", "signs", "--limit", 3, "--seed", 2,
        "--fills", "mask,unigram", "--corpus", data, "--draws", 2, "--partial-scores",
        "--steps", 3, "--confidence", 0.9, "--reference", "ig", "--target", "positive",
        "--against", "negative", "--resume", tmp_path / "run.jsonl", "-q",
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    expected = {
        "methods": "ca-lig:baseline=zero,fusion=0.7,ig,occlusion", "metrics": "deletion,auprc", "text": "text",
        "label": "label", "rationale": "why", "polarity": "signs", "limit": 3, "seed": 2, "fills": "mask,unigram",
        "corpus": str(data), "draws": 2, "scores": None, "partial_scores": True,
        "steps": 3, "confidence": 0.9, "reference": "ig", "target": "positive", "against": "negative",
        "explain_label": False,
        "resume": tmp_path / "run.jsonl", "examples": str(data), "pair": None, "memory": None,
        "image": "image", "mask": None, "distractor": None, "boxes": None, "cells": None, "smooth": False,
    }  # fmt: skip
    assert {name: value for name, value in asked.items() if name != "progress"} == expected
    assert [method.name for method, _ in explainer.asked] == ["ca-lig", "ig", "occlusion", "random"]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--text", "review"), 2, "no column 'review'"),
        (("--methods", "igg"), 2, "Did you mean 'ig'"),
        (("--metrics", "auprc"), 2, "needs human evidence"),
        (("--label", "id"), 2, "the label 'a' is none of this model's classes"),
        (("--against", "positive"), 2, "--against positive needs --target"),
        (("--steps", "0"), 2, "--steps 0 must be a whole number"),
        (("-o", "table.xlsx"), 2, "names no format"),
        (("-o", "/none/table.csv"), 1, "there is no folder"),
        (("--resume", "/none/run.jsonl"), 1, "there is no folder"),
        (("--fills", "blank"), 2, "--fills blank"),
    ],
)
def test_what_is_wrong_is_one_line_and_an_exit_code(explainer, data, args, code, said):
    """Nothing is computed, and nobody reads a traceback."""
    result = run(data, *QUICK, *args)

    assert result.exit_code == code
    assert len(result.stderr.splitlines()) == 1
    assert said in result.stderr
    assert explainer.asked == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.jsonl", "", "holds no example"),
        ("cut.jsonl", '{"text": "A film."}\n{"text": "A fi', "line 2: is cut off"),
        ("data.txt", "A film.", "names no known format"),
    ],
)
def test_a_data_set_that_cannot_be_read_is_one_line(explainer, tmp_path, name, content, said):
    """Which file, which line, what to do."""
    (tmp_path / name).write_text(content)

    result = run(tmp_path / name, *QUICK)

    assert result.exit_code in (1, 2)
    assert len(result.stderr.splitlines()) == 1
    assert said in result.stderr


def test_a_second_run_goes_on_from_the_first(explainer, data, tmp_path):
    """The same command again costs nothing."""
    run(data, *QUICK, "--resume", tmp_path / "run.jsonl")
    explainer.asked.clear()

    result = run(data, *QUICK, "--resume", tmp_path / "run.jsonl")

    assert result.exit_code == 0, result.stderr
    assert explainer.asked == []


def test_a_cut_line_is_told_in_one_line(explainer, data, tmp_path):
    """A run that was killed while it wrote."""
    path = tmp_path / "run.jsonl"
    run(data, *QUICK, "--resume", path)
    path.write_bytes(path.read_bytes()[:-20])

    result = run(data, *QUICK, "--resume", path)

    assert result.exit_code == 0, result.stderr
    assert "lignite: warning: " in result.stderr
    assert "1 line was cut off" in result.stderr


def test_scores_of_a_file_stand_beside_the_methods(data, tmp_path):
    """Numbers that another program wrote down, under its own name."""
    texts = [json.loads(line)["text"] for line in data.read_text().splitlines()]
    found = [lignite.explain(lignite.load("tiny-sentiment"), text, method="gradient-x-input") for text in texts]
    scores = [
        {"text": text, "tokens": why.token.values.tolist(), "scores": {"theirs": why.relevance.values.tolist()}}
        for text, why in zip(texts, found, strict=True)
    ]
    theirs, path = tmp_path / "theirs.jsonl", tmp_path / "told.json"
    theirs.write_text("\n".join(map(json.dumps, scores)))

    result = run(data, "--methods", "random", "--metrics", "insertion", "--scores", theirs, "--steps", 2, "-o", path)

    assert result.exit_code == 0, result.stderr
    assert f"known for {len(texts)} of {len(texts)} examples" in " ".join(result.stdout.split())
    assert list(Evaluation.open(path).pivot().index) == ["random", "theirs"]


def test_real_explanations_are_measured(data, tmp_path):
    """Nothing stands in here: on the bundled model, integrated gradients find what the model relies on."""
    path = tmp_path / "told.json"

    result = run(
        data, "--methods", "ig:n_steps=8", "--metrics", "insertion", "--steps", "4", "--fills", "mask", "-q", "-o", path
    )

    assert result.exit_code == 0, result.stderr
    found = Evaluation.open(path).table.set_index("method")["mean"]
    assert found["ig:n_steps=8"] > found["random"]
