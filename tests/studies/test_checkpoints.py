"""Two models of one kind, whose heads are known by hand: what changed is told, and what did not."""

import numpy as np
import pytest
import xarray as xr
from tests.kit.copying_heads import copying_model

import lignite
from lignite.data.sentences import Sentence
from lignite.errors import FileError, InputError
from lignite.studies import checkpoints as module
from lignite.studies.checkpoints import Compare
from lignite.views.study.compare import report_compare

TEXT = "people says the plot was thin"
SENTENCE = Sentence(0, "a", None, TEXT)
N_TOKENS = 6 + 2
ROUNDED = 1e-6  # shares of scores in double precision


def compared(before: lignite.Model, after: lignite.Model) -> xr.Dataset:
    return Compare(baseline="zero", tol=1e-4).answer(before, SENTENCE, {"other": after}).sel(against="other")


def test_a_model_beside_itself_has_not_changed():
    """Nothing goes elsewhere, and nothing moves further."""
    model = copying_model(("previous", "everyone"), ("itself", "previous"))

    found = compared(model, model)

    for name in ("changed", "head_changed", "reweighed", "larger"):
        np.testing.assert_allclose(found[name], 0, atol=ROUNDED)


def test_a_head_that_looks_elsewhere_has_changed_and_no_other():
    """From the token before to itself: all of its flow, but that of the first token, which is before nobody."""
    found = compared(copying_model(("previous", "everyone")), copying_model(("itself", "everyone")))

    np.testing.assert_allclose(found["head_changed"].sel(layer=0, head=0), (N_TOKENS - 1) / N_TOKENS, atol=ROUNDED)
    np.testing.assert_allclose(found["head_changed"].sel(layer=0, head=1), 0, atol=ROUNDED)


def test_targets_that_move_twice_as_far_are_told_in_powers_of_two():
    """States leave once by the head that sees itself, and once or thrice beside it."""
    once, thrice = (copying_model(("itself",), residual=residual) for residual in (1.0, 3.0))

    found = compared(once, thrice)

    np.testing.assert_allclose(found["larger"], np.log2(4 / 2), atol=ROUNDED)
    np.testing.assert_allclose(found["changed"], 0, atol=ROUNDED)


def test_models_of_other_sizes_are_refused():
    """A difference of different things is none."""
    with pytest.raises(InputError, match="compare checkpoints of one kind"):
        compared(copying_model(("previous",)), copying_model(("previous",), ("previous",)))


def test_the_study_loads_the_other_and_keeps_answers_apart(monkeypatch, tmp_path):
    """The other checkpoint is one of the settings: its answers are not those of a third."""
    loaded = {"one": copying_model(("itself",)), "two": copying_model(("itself",), seed=1)}
    monkeypatch.setattr(module, "load", lambda name, **_: loaded[name])
    model, corpus = copying_model(("previous",)), [TEXT, "the plot was thin"]

    found = lignite.study.compare(model, corpus, other="one", baseline="zero", resume=tmp_path / "run.jsonl")
    report = report_compare(found)

    assert found["against"].values.tolist() == ["other", "random weights"]
    assert report.findings[0].startswith(
        "Against the other checkpoint, over 2 sentences, the flow of layer 0 changed most"
    )
    assert {path.name for path in lignite.study.write(found, tmp_path)} >= {"changed.png", "heads.csv", "layers.tex"}
    assert "<image" not in (tmp_path / "index.html").read_text()  # the page shows no pictures inside a drawing
    monkeypatch.setitem(loaded, "one", loaded["two"])
    with pytest.raises(FileError, match="other"):
        lignite.study.compare(model, corpus, other="one", baseline="zero", resume=tmp_path / "run.jsonl")
