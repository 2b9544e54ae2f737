"""Every sentence of a corpus is asked the same; a run goes on, and a sentence never brings others down."""

import pytest
import xarray as xr
from tests.kit.linear_blocks import linear_model

import lignite
from lignite.data.sentences import read_sentences
from lignite.errors import FileError, InputError, LigniteWarning
from lignite.studies import pairings as module
from lignite.studies.pairings import consistency

LINES = ["people was thin", "the plot", "it says", "the acting was"]


@pytest.fixture(scope="module")
def model() -> lignite.Model:
    return linear_model()


def test_a_study_of_a_corpus_is_that_of_its_sentences(model, tmp_path):
    """A file, a list of texts and a corpus of one are asked alike."""
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(LINES))

    read, listed = consistency(model, path), consistency(model, LINES)
    (one,) = (consistency(model, [LINES[2]]),)

    assert read.sentence.values.tolist() == [f"lines.txt:{number}" for number in (1, 2, 3, 4)]
    xr.testing.assert_equal(read.drop_vars("sentence"), listed.drop_vars("sentence"))
    xr.testing.assert_equal(one.isel(sentence=0, drop=True), listed.isel(sentence=2, drop=True))
    assert read.attrs["study"] == "consistency"


def test_a_larger_limit_keeps_the_sentences_of_a_smaller_one(model):
    """Results of a trial are part of those of the whole."""
    few, more = (set(consistency(model, LINES, limit=limit).sentence.values.tolist()) for limit in (2, 3))

    assert len(few) == 2
    assert few < more


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same(model, tmp_path, monkeypatch):
    """What is finished is not computed again, and restored numbers are the very ones."""
    expected, resume, asked = consistency(model, LINES), tmp_path / "run.jsonl", []
    compare = module.compare_pairings

    def stopped(model, sentence, **options):
        asked.append(sentence)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return compare(model, sentence, **options)

    monkeypatch.setattr(module, "compare_pairings", stopped)
    with pytest.raises(KeyboardInterrupt):
        consistency(model, LINES, resume=resume)
    found = consistency(model, LINES, resume=resume)

    assert asked == [*LINES[:3], *LINES[2:]]
    xr.testing.assert_identical(found, expected)


def test_finished_sentences_of_other_settings_are_refused(model, tmp_path):
    """Numbers of two tolerances do not belong into one mean."""
    consistency(model, LINES[:1], resume=tmp_path / "run.jsonl")

    with pytest.raises(FileError, match="options"):
        consistency(model, LINES[:1], resume=tmp_path / "run.jsonl", tol=1e-2)


def test_a_sentence_that_cannot_be_answered_is_left_out_and_named(model, monkeypatch):
    """One sentence that is too long does not cost the night's work."""
    compare = module.compare_pairings

    def choosy(model, sentence, **options):
        if sentence == LINES[1]:
            raise InputError("too long")
        return compare(model, sentence, **options)

    monkeypatch.setattr(module, "compare_pairings", choosy)
    with pytest.warns(LigniteWarning, match="1 of 4 sentences are left out; the first: 1: too long"):
        found = consistency(model, LINES)
    assert found.sentence.values.tolist() == ["0", "2", "3"]
    assert found.attrs["skipped"] == '["1: too long"]'
    with pytest.raises(InputError, match="no sentence of 1 can be answered; the first: 0: too long"):
        consistency(model, LINES[1:2])


@pytest.mark.parametrize("corpus", [[], [3], [[]], [{"words": "one"}]])
def test_what_is_no_corpus_is_refused(model, corpus):
    """Numbers and empty lists are mistakes of the caller's."""
    with pytest.raises(InputError):
        consistency(model, corpus)


def test_words_and_sentences_of_a_treebank_are_taken_as_they_are(model, tmp_path):
    """Words that a treebank tells apart are those that the model is given."""
    path = tmp_path / "a.mrg"
    path.write_text("(S (NP (DT the) (NN plot)) (VP (VBD was) (JJ thin)))")

    read, listed = consistency(model, path), consistency(model, [["the", "plot", "was", "thin"]])
    again = consistency(model, read_sentences(path))

    xr.testing.assert_equal(read.drop_vars("sentence"), listed.drop_vars("sentence"))
    xr.testing.assert_equal(read, again)
