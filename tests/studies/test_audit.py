"""The audit of a model's explanations: who is ahead, who is level, and whose scores belong to which example."""

import json

import numpy as np
import pytest
import xarray as xr
from tests.kit.command_line import run

import lignite
from lignite.data.examples import read_examples
from lignite.views.study.trust import rank_methods, report_trust

TEXTS = ("A superb film.", "A dull, thin plot.", "The acting was superb.", "It was a thin and silly story.")
METHODS = "gradient-x-input,attention-last"
UNMEASURED = {"weight-randomization", "context-correlation-unrelated", "context-change-unrelated"}
"""What only the probed examples have."""


@pytest.fixture(scope="module")
def model():
    return lignite.load("tiny-sentiment")


@pytest.fixture(scope="module")
def found(model):
    return lignite.study.trust(model, [{"text": text, "id": "same"} for text in TEXTS], methods=METHODS, probed=2)


def scored(values, better="higher", metric="insertion-minus-deletion"):
    """A result of one measure: methods by their scores of every example."""
    score = np.array(list(values.values()), dtype=float).T[..., None]
    return xr.Dataset(
        {"score": (("sentence", "method", "measure"), score)},
        {
            "sentence": [str(number) for number in range(len(score))],
            "method": list(values),
            "measure": [metric],
            "metric": ("measure", [metric]),
            "fill": ("measure", [""]),
            "better": ("measure", [better]),
            "meaning": ("measure", ["area between curves"]),
        },
        {"model": "toy", "accuracy": np.nan},
    )


def test_methods_are_ranked_by_their_mean_and_tested_against_the_best():
    """Differences are those of the same example; what is better decides the order."""
    scores = {"low": [0.1, 0.2, 0.3, 0.4], "high": [0.6, 0.7, 0.8, 0.9], "none": [np.nan] * 4}
    for better, order in (("higher", ["high", "low"]), ("lower", ["low", "high"])):
        ranked = rank_methods(scored(scores, better), 0)
        assert list(ranked["method"]) == order
        assert ranked["behind"].tolist() == pytest.approx([0, 0.5])
        assert ranked["mean"].tolist() == pytest.approx([np.mean(scores[name]) for name in order])
        assert np.isnan(ranked["p"][0])
        assert ranked["p"][1] < 0.01  # always by the same half: of resampled differences none is as far from zero


def test_findings_say_who_leads_who_is_level_and_who_is_no_better_than_chance():
    """Three methods: one ahead of all, one level with chance, and chance."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, 40)) * 0.1
    best = 0.8 + noise[0]
    report = report_trust(
        scored({"weak": noise[1], "good": best, "twin": best + 1e-4 * rng.normal(size=40), "random": -noise[1]})
    )
    first, second = report.findings
    leader = "good" if "Most faithful: good" in first else "twin"
    other = {"good": "twin", "twin": "good"}[leader]
    assert first.startswith(f"Most faithful: {leader} (insertion-minus-deletion 0.")
    assert f"; {other} level with it, 2 behind by more than chance." in first
    assert second == "No better than chance, as far as these examples tell: weak."
    assert set(report.tables) == {"overview", "insertion-minus-deletion"}


def test_what_survives_noise_is_said_with_its_interval():
    """A method counts that keeps more than half of its order for sure; one that may, does not."""
    kept = {"steady": [0.9, 0.8, 0.9, 0.8], "may": [0.1, 0.9, 0.2, 0.95], "random": [1.0] * 4}
    told = report_trust(scored(kept, "lower", "weight-randomization")).findings[-1]
    assert told.startswith("Claims of steady (0.85) survive when the weights are noise")
    assert "may" not in told.partition(" survive")[0]


def test_every_score_belongs_to_its_example(model, found):
    """Equal names are told apart; a text measured alone has the numbers that it has among others."""
    assert found["sentence"].values.tolist() == [f"same ({number})" for number in range(1, 5)]
    for place, text in enumerate(TEXTS):
        metrics = ["insertion-minus-deletion", "comprehensiveness"]
        alone = lignite.evaluate(model, [text], METHODS, metrics, fills="delete,hide")  # drawn words are the corpus's
        for row in alone.scores.query("fill != 'neutral'").itertuples():
            known = (found["metric"].values == row.metric) & (found["fill"].values == row.fill)
            ours = found["score"].sel({"method": row.method}).values[place, known]
            assert ours == pytest.approx([row.value], abs=1e-6)


def test_only_the_probed_examples_are_measured_dearly(model, found):
    """Two of four, and these are the texts that they are said to be."""
    noise = found["score"].sel({"measure": "weight-randomization", "method": "attention-last"})
    probed = np.flatnonzero(np.isfinite(noise.values))
    assert len(probed) == 2
    for place in probed:
        alone = lignite.evaluate(model, [TEXTS[place]], METHODS, ["weight-randomization"]).scores
        expected = alone.loc[alone["method"] == "attention-last", "value"].item()
        assert noise.values[place] == pytest.approx(expected, abs=1e-6)
    dear = found["score"].values[:, :, [name in UNMEASURED for name in found["metric"].values]]
    rest = np.setdiff1d(np.arange(4), probed)
    assert np.isnan(dear[rest]).all()


def test_examples_that_were_read_before_stay_what_they_are():
    """A number is a place in the list at hand; all else is theirs."""
    read = read_examples([{"text": "A superb film.", "id": "a"}, {"text": "A dull plot.", "id": "b"}])
    again = read_examples(read[1:])
    assert [(one.number, one.id, one.text) for one in again] == [(0, "b", "A dull plot.")]
    assert again[0].key == read[1].key


@pytest.mark.wide
def test_the_command_reads_columns_and_goes_on(tmp_path):
    """Evidence in a column brings its question; a second run computes nothing anew and tells the same."""
    lines = [{"text": text, "why": [[2, 8]]} for text in TEXTS]
    data = tmp_path / "lines.jsonl"
    data.write_text("\n".join(map(json.dumps, lines)))
    command = ["study", "trust", "--data", str(data), "--rationale", "why", "--methods", METHODS, "--probed", "1"]
    first, second = (run(*command, "-o", str(tmp_path / "told")) for _ in range(2))
    assert first.exit_code == second.exit_code == 0
    assert "Agrees most with people" in first.stdout
    assert first.stdout.splitlines()[1:] == second.stdout.splitlines()[1:]
    assert {"index.html", "trust.nc", "overview.png", "auprc.csv"} <= {
        path.name for path in (tmp_path / "told").iterdir()
    }
