"""An evaluation of a corpus says what `evaluate` says of the same rows, shard by shard, whatever single rows do."""

import json

import pandas as pd
import pytest
from tests.kit.command_line import run as command
from tests.kit.corpora import content

import lignite
from lignite.errors import InputError, OptionError

pytestmark = pytest.mark.filterwarnings("ignore:.*rows failed:lignite.errors.LigniteWarning")

ROWS = [
    {"id": "a", "text": "A superb film.", "label": "positive", "mark": "superb"},
    {"id": "b", "text": "Dull and long, but honest.", "label": "negative", "mark": "Dull"},
    {"id": "c", "text": "Not bad at all!", "label": "positive", "mark": "Not bad"},
    {"id": "again", "text": "Not bad at all!", "label": "positive", "mark": "Not bad"},
    {"id": "d", "text": "Great.", "label": "positive", "mark": None},
]
BAD = [
    {"id": "empty", "text": "", "label": "positive", "mark": None},
    {"id": "class", "text": "What?", "label": "no such class", "mark": None},
    {"id": "mark", "text": "Where?", "label": "positive", "mark": "nowhere in it"},
]
ASKED = {
    "label": "label",
    "rationale": "mark",
    "methods": "gradient-x-input,saliency",
    "metrics": "deletion,sufficiency,auprc",
    "fills": "delete,hide",  # unigram draws words of bad rows too
}
KEYS = ["id", "method", "metric", "fill"]


@pytest.fixture(scope="module")
def model():
    return lignite.load("tiny-sentiment")


@pytest.fixture(scope="module")
def alone(model):
    """What `evaluate` says of the rows that are in order."""
    return lignite.evaluate(model, ROWS, **ASKED)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """A run over good rows and bad ones, in shards of two."""
    place = tmp_path_factory.mktemp("evaluated")
    rows = [BAD[0], *ROWS[:2], BAD[1], *ROWS[2:], BAD[2]]
    corpus = place / "corpus.jsonl"
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lignite.run("evaluate", data=corpus, model=model, out=place / "out", shard=2, **ASKED)
    return place / "out"


def test_a_run_says_what_evaluate_says(alone, folder):
    """Scores, curves and the table of means; bad rows among the others change none of them."""
    found = lignite.open(folder)

    expected = alone.scores.sort_values(KEYS, ignore_index=True)
    pd.testing.assert_frame_equal(
        found.scores.sort_values(KEYS, ignore_index=True).drop(columns="example"),
        expected.drop(columns="example"),
        rtol=1e-4,  # texts are padded to others' lengths
    )
    for table in ("table", "curves"):
        means = [getattr(each, table).drop(columns=["low", "high"]) for each in (found, alone)]  # ties move intervals
        pd.testing.assert_frame_equal(*means, rtol=1e-4)
    assert found.scores["example"].is_monotonic_increasing  # shards are sorted by length
    assert found.attrs["accuracy"] == alone.attrs["accuracy"]
    assert found.attrs["methods"] == alone.attrs["methods"]


def test_bad_rows_are_skipped_with_their_reason(folder):
    """A label that is no class and evidence that is not in its text refuse their row alone."""
    skipped = lignite.open(folder).skipped.set_index("id")["reason"]

    assert sorted(skipped.index) == ["class", "empty", "mark"]
    assert "none of this model's classes" in skipped["class"]
    assert "nowhere in it" in skipped["mark"]


def test_a_method_that_fails_on_a_row_leaves_the_others_theirs(model, tmp_path, monkeypatch):
    """One explanation is missing, and the row is no failure."""
    from lignite.api import units

    explain_rows = units.explain_rows

    def failing(model, rows, method, **options):
        if method.name == "saliency" and any(row.encoded.tokens.input == "Great." for row in rows):
            raise InputError("not this one")
        return explain_rows(model, rows, method, **options)

    monkeypatch.setattr(units, "explain_rows", failing)

    found = lignite.run("evaluate", data=ROWS, model=model, out=tmp_path / "out", **ASKED)

    assert found.skipped[["id", "method", "reason"]].values.tolist() == [["d", "saliency", "not this one"]]
    assert set(found.scores[found.scores["id"] == "d"]["method"]) == {"gradient-x-input", "random"}
    assert json.loads((tmp_path / "out" / "summary.json").read_bytes())["failures"] == 0


def test_scores_of_a_file_are_measured_beside_the_methods(model, tmp_path):
    """Rows without such scores are left out, as evaluate leaves them out."""
    tokens = lignite.explain(model, "Great.", method="saliency")["token"].values.tolist()
    scores = [{"text": "Great.", "tokens": tokens, "scores": {"mine": [0.0] * len(tokens)}}]
    asked = ASKED | {"scores": scores, "partial_scores": True}

    found = lignite.run("evaluate", data=ROWS, model=model, out=tmp_path / "out", **asked)

    expected = lignite.evaluate(model, ROWS, **asked)
    assert set(found.scores["id"]) == {"d"}
    assert found.attrs["n_examples"] == 1
    pd.testing.assert_series_equal(found.table["mean"], expected.table["mean"], rtol=1e-4)


def test_other_evidence_is_another_run(model, folder, tmp_path):
    """What people marked is part of what is measured."""
    options = {"model": model, "out": tmp_path / "out", **ASKED}
    lignite.run("evaluate", data=ROWS, **options)

    with pytest.raises(lignite.errors.FileError, match=r"was begun with request\.examples="):
        lignite.run("evaluate", data=[ROWS[0] | {"mark": "film"}, *ROWS[1:]], **options)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"metrics": "deletion,seconds"}, "differs from run to run"),
        ({"target": lambda output: output.logits[:, 0]}, "no manifest can hold"),
        ({"metrics": "detection"}, "is not known"),
    ],
)
def test_what_a_folder_cannot_keep_is_refused(model, tmp_path, asked, words):
    """Before anything is computed."""
    with pytest.raises(OptionError, match=words):
        lignite.run("evaluate", data=ROWS, model=model, out=tmp_path / "out", **asked)
    assert not (tmp_path / "out").exists()


def test_time_is_left_out_unless_somebody_names_it(model, tmp_path):
    """It would differ in every run."""
    found = lignite.run("evaluate", data=ROWS[:1], model=model, out=tmp_path / "out", methods="random", fills="mask")

    assert {"deletion", "completeness-gap"} < set(found.table["metric"])
    assert "seconds" not in set(found.table["metric"])


def test_labels_of_other_classes_end_a_run_before_the_work(model, tmp_path):
    """A wrong column would fail every row of a million."""
    with pytest.raises(InputError, match="none of 5 rows that were tried has a result"):
        lignite.run("evaluate", data=ROWS, model=model, out=tmp_path / "out", **ASKED | {"label": "id"})


def test_the_command_shows_a_folder_as_an_evaluation(folder, tmp_path):
    """As a table, as a page, and as the file that keeps all of it."""
    saved = tmp_path / "all.json"

    shown = command("view", str(folder), "-o", str(saved))

    assert "gradient-x-input" in shown.stdout
    assert "deletion" in shown.stdout
    assert len(lignite.Evaluation.open(saved).table) == len(lignite.open(folder).table)


def test_the_command_evaluates_a_corpus(folder, tmp_path):
    """The same bytes as the function leaves."""
    corpus = folder.parent / "corpus.jsonl"
    options = [f"--{name}={value}" for name, value in ASKED.items()]

    command("run", "evaluate", f"--data={corpus}", "--shard=2", *options, "-o", str(tmp_path / "out"))

    assert content(tmp_path / "out") == content(folder)
