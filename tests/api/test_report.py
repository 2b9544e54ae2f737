"""A report: every change that it names is what the untouched model says of that text."""

import numpy as np
import pytest
import torch
from tests.kit.headed_models import headed
from tests.kit.tiny_tokenizers import byte_level

import lignite
from lignite.errors import FileError, InputError, OptionError
from lignite.views.report.facts import changes, checks, decided, evidence, singly, text_of, unchanged
from lignite.views.report.page import report_html
from lignite.zoo.samples import digit_scene

TEXT = "The plot was thin, but the acting was superb."


@pytest.fixture(scope="module")
def model():
    return lignite.load("tiny-sentiment")


@pytest.fixture(scope="module")
def told(model):
    return lignite.report(model, TEXT)


def said(model, text):
    """What transformers itself says."""
    with torch.no_grad():
        logits = model.network(**model.tokenizer(text, return_tensors="pt")).logits[0]
    shares = torch.softmax(logits, -1)
    return model.network.config.id2label[int(shares.argmax())], shares


def test_every_change_is_true_of_the_untouched_model(model, told):
    """Text, decision and probabilities, asked without lignite."""
    before, _ = said(model, TEXT)

    assert told.sizes["change"] >= 2
    for at in range(told.sizes["change"]):
        decision, shares = said(model, str(told.new_text.values[at]))
        assert decision == told.new_decision.values[at] != before
        assert float(shares.max()) == pytest.approx(float(told.probability_after[at]), abs=1e-5)
        assert float(1 - shares.max()) == pytest.approx(float(told.probability_left[at]), abs=1e-5)


def test_of_a_pair_the_text_that_a_word_stands_in_is_changed(model):
    """Offsets count in both texts together; the second is asked as a text of its own."""
    found = lignite.report(model, ("A superb film.", "The plot was dull."))

    assert str(found.new_text.values[0]).split("\n")[0] in ("A superb film.", "A film.")
    for at in range(found.sizes["change"]):
        first, second = str(found.new_text.values[at]).split("\n")
        with torch.no_grad():
            logits = model.network(**model.tokenizer(first, second, return_tensors="pt")).logits[0]
        assert float(torch.softmax(logits, -1).max()) == pytest.approx(float(found.probability_after[at]), abs=1e-5)


def test_two_texts_are_told_apart_wherever_they_are_shown(model):
    """Run together they are a text that nobody wrote."""
    found = lignite.report(model, ("A superb film.", "The plot was dull."))

    assert "read these two texts" in decided(found)[0]
    assert "".join(piece for piece, _ in text_of(found)).strip() == "A superb film.\nThe plot was dull."
    for change in changes(found):
        assert "".join(piece for piece, _ in change.before).count("\n") == 1
        assert "".join(piece for piece, _ in change.after).count("\n") == 1


def test_what_a_word_does_alone_is_what_the_model_says_without_it(model, told):
    """The number in the appendix is asked, not estimated."""
    place = told.token.values.tolist().index("superb")

    _, shares = said(model, TEXT.replace(" superb", ""))

    assert float(told.alone[place]) == pytest.approx(float(shares[0]), abs=1e-5)
    assert np.isnan(told.alone.values[told.special.values]).all()


def test_the_strongest_words_are_compared_with_others(model, told):
    """Taking the three strongest away is one text, asked of the model."""
    words = told.token.values[told.strongest.values].tolist()
    assert words == ["was", "thin", "was"]

    _, shares = said(model, "The plot, but the acting superb.")

    assert float(told.without_strongest) == pytest.approx(float(shares[0]), abs=1e-5)
    assert 0 < float(told.without_others) < 1


@pytest.mark.parametrize(("gone", "lot", "mark"), [(0.55, 0.56, "no"), (0.40, 0.45, "partly"), (0.40, 0.56, "yes")])
def test_a_probability_that_hardly_moves_shows_no_need(told, gone, lot, mark):
    """99.8 % instead of 99.9 % is the same to a reader, though twice what chance takes."""
    moved = told.assign(without_strongest=gone, without_others=lot)

    assert float(moved.probability[0]) == pytest.approx(0.569, abs=1e-3)
    assert checks(moved)[-1].mark == mark


def test_words_say_what_numbers_are(told):
    """The decision, its probability, the strongest word: in sentences."""
    assert decided(told)[:2] == [
        "The model tiny-sentiment read this text and says: negative.",
        "It gives 56.9 % to negative: it is hardly decided.",
    ]
    assert evidence(told).startswith("“thin” speaks for negative; “superb” and “plot” speak against it.")
    assert changes(told)[0].told == "Without “thin”, the model says positive."
    assert "“thin”" in singly(told)
    assert unchanged(told) == ""
    assert [check.mark for check in checks(told)] == ["yes", "yes", "yes"]


def test_where_nothing_flips_it_says_so(model):
    """And which words were gone when it did not."""
    found = lignite.report(model, "A superb film.")

    _, shares = said(model, "A.")

    assert unchanged(found) == (
        "Even without “superb” and “film” the model decides the same: it still gives "
        f"{100 * float(shares[1]):.1f} % to positive."
    )
    assert "change" not in found.dims


def test_a_word_against_which_the_explanation_speaks_may_decide(model):
    """Every word is tried, not those alone that an explanation names: it may be wrong."""
    names = lignite.report(model, "Not a dull film.")

    singles = [place for place in range(names.sizes["token"]) if np.isfinite(names.alone.values[place])]

    assert len(singles) == 5  # and the full stop


def test_a_report_is_saved_and_opened_unchanged(told, tmp_path):
    """It is a result like any other; a picture of words is refused."""
    for ending in ("nc", "json"):
        lignite.save(told, tmp_path / f"told.{ending}")
        assert lignite.open(tmp_path / f"told.{ending}").identical(told)
    told.lignite.save(tmp_path / "told.html")
    told.lignite.save(tmp_path / "told.csv")
    with pytest.raises(FileError, match="page of words"):
        told.lignite.save(tmp_path / "told.png")


def test_the_page_is_static_and_whole(told):
    """Readable without a script, with nothing that is not a number."""
    page = report_html(told)

    assert "<script" not in page
    assert "<del>thin</del>" in page
    assert "The plot was, but the acting was superb." in page
    assert "nan" not in page.lower().replace("explanation", "").replace("nancy", "")


def test_a_hostile_text_stays_text(model):
    """Whoever is reported on may have written it."""
    page = report_html(lignite.report(model, "<script>alert(1)</script> superb film"))

    assert "<script>" not in page


def test_patches_are_covered_where_words_would_be_taken_out():
    """The same questions of a picture."""
    found = lignite.report(lignite.load("tiny-digits"), digit_scene().image)

    assert "change" in found.dims
    assert found.gone.values.sum() >= 1
    assert "patches covered" in changes(found)[0].told
    assert evidence(found).startswith("Row 3 column 6, row 2 column 6 and row 2 column 7 speak for 3;")
    assert 'src="data:image/png' in report_html(found)


@pytest.mark.filterwarnings("ignore:Scores miss")  # a random model of three layers; its gap is no matter here
def test_the_next_word_of_a_text_is_a_decision_too():
    """Taken out are words of the text; the decision is how it goes on."""
    model = headed("gpt2", "GPT2LMHeadModel", dtype=torch.float32, tokenizer=byte_level(), num_labels=2)

    found = lignite.report(model, "the plot was thin", method="ig")

    for at in range(found.sizes.get("change", 0)):
        ids = model.tokenizer(str(found.new_text.values[at]), return_tensors="pt")
        with torch.no_grad():
            best = int(model.network(**ids).logits[0, -1].argmax())
        assert repr(model.tokenizer.decode([best])) == found.new_decision.values[at]


@pytest.mark.parametrize("given", [[TEXT, TEXT], {"words": ["A", "film"]}])
def test_what_is_no_text_is_refused(model, given):
    """Edits are texts again."""
    with pytest.raises(InputError, match=r"report|encode"):
        lignite.report(model, given)


def test_unknown_methods_are_refused(model):
    """With the nearest name."""
    with pytest.raises(OptionError, match="ig"):
        lignite.report(model, TEXT, second="igg")
