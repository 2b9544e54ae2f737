"""A study is one class: its name, its options, how a sentence is answered, what is told. All else finds it there."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from tests.kit.command_line import run
from tests.kit.linear_blocks import linear_model
from tests.kit.toy_study import toy_study

import lignite
from lignite.apps.shared import Loading
from lignite.errors import OptionError
from lignite.options import options_of
from lignite.studies import STUDIES

LINES = ["people was thin", "the plot", "it says", "the acting was"]


@pytest.fixture(scope="module")
def model():
    return linear_model()


@pytest.fixture
def toy():
    with toy_study() as found:
        yield found


def test_it_is_asked_by_its_name_with_its_options(model, toy):
    """One number a sentence, in the corpus's order, and what was asked stands beside it."""
    found = lignite.study.toy(model, LINES, worth=2)

    assert found.letters.sel(layer=0).values.tolist() == [2.0 * len(line) for line in LINES]
    assert found.letters.sel(layer=1).isnull().all()
    assert found.letters.dims == ("sentence", "layer")
    assert json.loads(found.attrs["request"]) == {"worth": 2.0, "limit": None, "seed": 0}
    assert json.loads(found.attrs["missing"]) == ["the rest"]
    assert found.attrs["corpus"] == ""


def test_its_function_documents_and_checks_its_options(model, toy):
    """What help says is what is taken."""
    assert "worth" in lignite.study.toy.__doc__
    assert lignite.study.toy.__doc__.startswith("Count the letters of a sentence.")
    with pytest.raises(OptionError, match=r"toy\(\) has no option 'wort'; it has worth\. Did you mean 'worth'"):
        lignite.study.toy(model, LINES, wort=1)
    with pytest.raises(OptionError, match="worth='much' is a str"):
        lignite.study.toy(model, LINES, worth="much")
    with pytest.raises(AttributeError, match="no study 'astrology'; it has consistency"):
        lignite.study.astrology  # noqa: B018 (asked for)


def test_its_files_are_what_it_tells(model, toy, tmp_path):
    """A page, its numbers, its tables."""
    written = lignite.study.write(lignite.study.toy(model, LINES), tmp_path)

    assert {path.name for path in written} == {"index.html", "toy.nc", "all.csv", "all.tex"}
    assert pd.read_csv(tmp_path / "all.csv")["letters"].tolist() == [len(line) for line in LINES]
    assert f"{np.mean([len(line) for line in LINES]):g} letters." in (tmp_path / "index.html").read_text()


def test_the_command_line_has_it_and_its_options(toy, tmp_path, monkeypatch):
    """Help is made of the class; findings are printed, files written, finished sentences kept beside them."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(Loading, "load", lambda self, name: linear_model())
    (tmp_path / "lines.txt").write_text("\n".join(LINES))

    listed, help = run("study", "--help").stdout, run("study", "toy", "--help").stdout
    made = run("study", "toy", "--data", tmp_path / "lines.txt", "--worth", "2", "-o", tmp_path / "new")
    again = run("study", "toy", "--data", tmp_path / "lines.txt", "--worth", "2", "-o", tmp_path / "new")

    assert re.search(r"toy +Count the letters of a sentence\.", listed)
    assert re.search(r"--worth .*What a letter is worth\.", help)
    assert made.exit_code == 0, made.stderr
    assert made.stdout.splitlines() == ["Letters", f"- {2 * np.mean([len(line) for line in LINES]):g} letters."]
    assert again.stdout == made.stdout
    assert toy.asked == LINES
    assert "index.html" in made.stderr
    assert {"index.html", "toy.nc", "all.csv", "all.tex", "answers.jsonl"} == {
        path.name for path in (tmp_path / "new").iterdir()
    }


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.conllu", "1\tone\n", "a.conllu, line 1: 2 columns between tabs, where CoNLL-U has 10"),
        ("a.conllu", "# sent_id = 1\n\n", "a.conllu, line 1: a sentence without words"),
        ("a.txt", "x" * 1001, "a.txt, line 1: a word of 1001 characters"),
        ("a.txt", "", "a.txt holds no sentence"),
        ("a.mrg", "(S (DT the)", "a.mrg, line 1: the tree that begins here is never closed"),
        ("a.doc", "one", "a.doc: the ending says how sentences are written"),
    ],
)
def test_what_is_wrong_with_a_corpus_is_one_line(tmp_path, name, content, said):
    """Before a model is loaded, and without a traceback."""
    (tmp_path / name).write_text(content)

    result = run("study", "consistency", "--data", tmp_path / name, "-m", "nowhere")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("lignite: ")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_every_option_of_every_study_has_help_and_a_default_that_it_accepts():
    """Generated help without words is worse than none."""
    for name, declared in STUDIES.items():
        assert declared.__doc__, name
        for each in options_of(declared).values():
            assert each.help.endswith((".", ".)")), (name, each.name)
