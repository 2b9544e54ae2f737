"""Every sentence of a corpus is asked the same; a run goes on, and a sentence never brings others down."""

import pytest
import xarray as xr
from tests.kit.linear_blocks import linear_model
from tests.kit.toy_study import TOO_LONG, toy_study

import lignite
from lignite.data.sentences import read_sentences
from lignite.errors import FileError, InputError, LigniteWarning

LINES = ["people was thin", "the plot", "it says", "the acting was"]


@pytest.fixture(scope="module")
def model() -> lignite.Model:
    return linear_model()


@pytest.fixture
def toy():
    with toy_study() as found:
        yield found


def test_a_file_and_a_list_are_asked_alike(model, toy, tmp_path):
    """Where sentences come from is no part of what they say."""
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(LINES))

    read, listed = lignite.study.toy(model, path), lignite.study.toy(model, LINES)

    assert read.sentence.values.tolist() == [f"lines.txt:{number}" for number in (1, 2, 3, 4)]
    assert read.attrs["corpus"] == "lines.txt"
    xr.testing.assert_equal(read.drop_vars("sentence"), listed.drop_vars("sentence"))


def test_its_numbers_depend_neither_on_order_nor_on_company(model, toy):
    """A sentence is answered by itself, however many stand around it."""
    forth, back = lignite.study.toy(model, LINES), lignite.study.toy(model, LINES[::-1])
    with pytest.warns(LigniteWarning, match="one sentence has no interval"):
        alone = lignite.study.toy(model, LINES[2:3])

    xr.testing.assert_equal(
        forth.drop_vars("sentence"), back.isel(sentence=slice(None, None, -1)).drop_vars("sentence")
    )
    xr.testing.assert_equal(alone.isel(sentence=0, drop=True), forth.isel(sentence=2, drop=True))


def test_a_larger_limit_keeps_the_sentences_of_a_smaller_one(model, toy):
    """Results of a trial are part of those of the whole."""
    few, more = (set(lignite.study.toy(model, LINES, limit=limit).sentence.values.tolist()) for limit in (2, 3))

    assert len(few) == 2
    assert few < more


@pytest.mark.parametrize("stop", range(len(LINES)))
def test_a_run_that_is_stopped_at_any_sentence_ends_with_the_same(model, toy, tmp_path, monkeypatch, stop):
    """What is finished is not computed again, and restored numbers are the very ones."""
    expected, resume, answer = lignite.study.toy(model, LINES), tmp_path / "run.jsonl", toy.answer
    toy.asked.clear()

    def stopped(self, model, sentence, others):
        found = answer(self, model, sentence, others)
        if len(toy.asked) == stop + 1:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(toy, "answer", stopped)
    with pytest.raises(KeyboardInterrupt):
        lignite.study.toy(model, LINES, resume=resume)
    found = lignite.study.toy(model, LINES, resume=resume)

    assert toy.asked == [*LINES[: stop + 1], *LINES[stop:]]
    xr.testing.assert_identical(found, expected)


def test_finished_sentences_of_other_settings_or_weights_are_refused(model, toy, tmp_path):
    """Numbers of two settings, or of two models, do not belong into one mean."""
    lignite.study.toy(model, LINES, resume=tmp_path / "run.jsonl")

    with pytest.raises(FileError, match="options"):
        lignite.study.toy(model, LINES, resume=tmp_path / "run.jsonl", worth=2)
    with pytest.raises(FileError, match="model"):
        lignite.study.toy(linear_model(1), LINES, resume=tmp_path / "run.jsonl")


def test_a_sentence_that_cannot_be_answered_is_left_out_and_named(model, toy):
    """One sentence that is too long does not cost the night's work."""
    with pytest.warns(LigniteWarning, match="1 of 5 sentences are left out; the first: 4: it is too long"):
        found = lignite.study.toy(model, [*LINES, TOO_LONG])

    assert found.sentence.values.tolist() == ["0", "1", "2", "3"]
    assert found.attrs["skipped"] == '["4: it is too long."]'
    with pytest.raises(InputError, match="no sentence of 1 can be answered; the first: 0: it is too long"):
        lignite.study.toy(model, [TOO_LONG])


@pytest.mark.parametrize("corpus", [[], [3], [[]], [{"words": "one"}]])
def test_what_is_no_corpus_is_refused(model, toy, corpus):
    """Numbers and empty lists are mistakes of the caller's."""
    with pytest.raises(InputError):
        lignite.study.toy(model, corpus)


def test_words_and_sentences_of_a_treebank_are_taken_as_they_are(model, toy, tmp_path):
    """Words that a treebank tells apart are those that the model is given."""
    path = tmp_path / "a.mrg"
    path.write_text("(S (NP (DT the) (NN plot)) (VP (VBD was) (JJ thin)))\n(S (NN plot))")

    read, listed = lignite.study.toy(model, path), lignite.study.toy(model, [["the", "plot", "was", "thin"], ["plot"]])
    again = lignite.study.toy(model, read_sentences(path))

    xr.testing.assert_equal(read.drop_vars("sentence"), listed.drop_vars("sentence"))
    xr.testing.assert_equal(read, again)
