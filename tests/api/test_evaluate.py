"""Evaluations: the numbers belong to the methods they stand beside, and finished work is never lost."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from tests.kit.explainer import ROWS, TEXTS, Explainer
from tests.kit.headed_models import headed
from tests.kit.tiny_tokenizers import byte_level

import lignite
from lignite.api import units
from lignite.api.evaluate import Evaluation, evaluate
from lignite.api.evaluate_request import read_methods
from lignite.api.units import hash_weights
from lignite.errors import FileError, GapWarning, InputError, OptionError
from lignite.methods import CaLig, IntegratedGradients, Random
from lignite.metrics.asking import context
from lignite.metrics.asking.faithfulness import faithfulness
from lignite.metrics.asking.robustness import infidelity
from lignite.metrics.readings.statistics import compare, interval
from lignite.metrics.registry import METRICS, choose_metrics
from lignite.targets.ask import ask, predict
from lignite.targets.target import Target
from lignite.views.evaluation.page import evaluation_html
from lignite.views.evaluation.picture import draw_curves
from lignite.views.evaluation.terminal import print_evaluation

CHEAP = {"metrics": "deletion,insertion", "steps": 4, "fills": "mask"}


@pytest.fixture(scope="module")
def model():
    return lignite.load("tiny-sentiment")


@pytest.fixture
def explainer(monkeypatch):
    stand_in = Explainer()
    monkeypatch.setattr(units, "explain_rows", stand_in)
    return stand_in


def means(evaluation, metric, fill="mask"):
    table = evaluation.table
    return table[(table["metric"] == metric) & (table["fill"] == fill)].set_index("method")["mean"].to_dict()


def same(first, second, *, but=("seconds",)):
    for name in ("table", "scores", "curves", "tests", "skipped"):
        frames = [getattr(one, name) for one in (first, second)]
        if "metric" in frames[0]:
            frames = [frame[~frame["metric"].isin(but)].reset_index(drop=True) for frame in frames]
        pd.testing.assert_frame_equal(*frames, check_exact=True)


# Numbers


def test_what_each_method_scores_stands_beside_its_name(model, explainer):
    """The scores of `faithfulness`, asked for one text and method at a time, found again under the right names."""
    told = evaluate(model, TEXTS, "occlusion,saliency", list(METRICS)[:13], steps=4, fills=("pad", "mask"))

    scores = told.scores.set_index(["example", "method", "metric", "fill"])["value"]
    for number, text in enumerate(TEXTS):
        (row,) = ask(model, [text])
        for method in ("occlusion", "saliency", "random"):
            relevance = explainer.result(model, row, method)["relevance"].values
            alone = faithfulness(model, [row], [relevance], fills=("mask", "pad"), steps=4).isel(method=0, example=0)
            for fill in ("mask", "pad"):
                by = alone.sel(fill=fill)
                expected = {
                    "deletion": by.deletion.sel(output="probability"),
                    "insertion-logit": by.insertion.sel(output="logit"),
                    "insertion-minus-deletion": by.insertion_minus_deletion.sel(output="probability"),
                    "comprehensiveness": by.comprehensiveness.sel(output="probability"),
                    "sufficiency-logit": by.sufficiency.sel(output="logit"),
                    "log-odds": by.log_odds,
                    "decision-flip": by.decision_flip,
                    "flipped": by.flipped,
                    "area-between": by.area_between,
                }
                found = {name: scores[number, method, name, fill] for name in expected}
                # float32 sums in other batches differ by some 1e-6 of a logit
                assert found == pytest.approx({name: float(value) for name, value in expected.items()}, abs=1e-5)


def test_a_method_that_asked_the_model_beats_chance(model, explainer):
    """Occlusion has tried what removal measures; a random order has not."""
    told = evaluate(model, TEXTS, ["occlusion"], fills="mask")

    for metric, better in [("deletion", -1), ("insertion", 1), ("comprehensiveness", 1), ("log-odds", -1)]:
        found = means(told, metric)
        assert better * found["occlusion"] > better * found["random"], metric


def test_means_and_intervals_are_those_of_the_scores(model, explainer):
    """Missing scores are left out of a mean and of its n."""
    told = evaluate(model, ROWS, "ca-lig,occlusion", "auprc,deletion", rationale="why", steps=4, fills="mask")

    for (method, metric), rows in told.table.groupby(["method", "metric"]):
        scores = told.scores[(told.scores["method"] == method) & (told.scores["metric"] == metric)]
        expected = interval(scores["value"].to_numpy())
        found = rows.iloc[0]
        assert (found["mean"], found["low"], found["high"], found["n"]) == (
            expected.mean, expected.low, expected.high, expected.n,
        )  # fmt: skip
    counts = told.table.set_index(["method", "metric"])["n"]
    assert counts["ca-lig", "auprc"] == 3
    assert counts["ca-lig", "deletion"] == 4


def test_tests_compare_with_the_reference_on_the_same_examples(model, explainer):
    """Method minus reference, example by example; the reference is the first unless another is named."""
    told = evaluate(model, TEXTS, "occlusion,saliency", "deletion", steps=4, reference="saliency", fills="mask")

    wide = told.scores.pivot(index="example", columns="method", values="value")
    expected = compare(wide["occlusion"].to_numpy(), wide["saliency"].to_numpy())
    row = told.tests.set_index("method").loc["occlusion"]
    assert (row["difference"], row["p"], row["n"]) == (expected.difference, expected.p, 4)
    assert set(told.tests["method"]) == {"occlusion", "random"}
    assert set(evaluate(model, TEXTS, "occlusion", "deletion", steps=2, fills="mask").tests["reference"]) == {
        "occlusion"
    }


def test_curves_are_means_at_equal_shares_of_the_tokens(model, explainer):
    """They start at the prediction and end where nothing of the text is left, for every method alike."""
    told = evaluate(model, TEXTS, "occlusion", **CHEAP)

    deletion = told.curves[(told.curves["curve"] == "deletion") & (told.curves["measure"] == "probability")]
    start = deletion[deletion["share"] == 0]
    predicted = predict(model, ask(model, TEXTS)).probability.mean()
    # float32 sums in other batches
    assert start["mean"].to_numpy() == pytest.approx(float(predicted), abs=1e-6)
    assert deletion[deletion["share"] == 1]["mean"].nunique() == 1
    assert sorted(deletion["share"].unique()) == [0, 0.25, 0.5, 0.75, 1]


def test_a_regression_has_scores_without_a_probability(model, explainer):
    """What has no probability is measured in its own unit; the other columns stay, empty."""

    def positive(outputs):
        return outputs.logits[:, 1]

    told = evaluate(model, TEXTS[:2], "occlusion", "deletion,deletion-logit", steps=2, fills="mask", target=positive)

    assert np.isnan(list(means(told, "deletion").values())).all()
    assert np.isfinite(list(means(told, "deletion-logit").values())).all()
    assert set(told.curves["measure"]) == {"logit"}
    assert draw_curves(told).axes[0].get_ylabel() == "logit"


def test_evidence_is_compared_with_the_tokens_it_covers(model, explainer):
    """Hand-made: the first method ranks by place, so that evidence in front is found and evidence behind is not."""
    rows = [{"text": "superb but a bit too long", "why": [[0, 6]]}, {"text": "it is a bit superb", "why": [[12, 18]]}]

    told = evaluate(model, rows, "saliency", "token-f1", rationale="why")

    scores = told.scores[told.scores["method"] == "saliency"]["value"].tolist()
    assert scores == [1.0, 0.0]


@pytest.mark.parametrize(("target", "expected"), [("positive", 0.0), ("negative", 1.0)])
def test_signs_are_turned_to_the_class_that_is_explained(model, explainer, target, expected):
    """A good word speaks against the other class; the stand-in's numbers are all negative but for [CLS]."""
    rows = [{"text": "superb fun", "signs": [[0, 6, 1], [7, 10, 1]]}]

    told = evaluate(model, rows, "saliency", "sign-agreement", polarity="signs", target=target)

    assert means(told, "sign-agreement", "")["saliency"] == expected


def test_the_gap_is_that_of_the_worst_layer(model, explainer):
    """|−0.002 / −4| against |0.0002 / 2|; methods that promise nothing have none."""
    told = evaluate(model, TEXTS[:2], "ca-lig,occlusion", "completeness-gap")

    found = means(told, "completeness-gap", "")
    assert found["ca-lig"] == pytest.approx(0.0005)
    assert np.isnan(found["occlusion"])


def test_an_explanation_by_place_alone_fails_where_it_should(model, explainer):
    """It says the same whatever the words around are, or the weights: all its changes are zero, its correlations 1."""
    metrics = "context-correlation,context-change,weight-randomization"

    told = evaluate(model, TEXTS[1:3], "saliency", metrics)

    assert {metric: means(told, metric, "")["saliency"] for metric in metrics.split(",")} == {
        "context-correlation": pytest.approx(1),
        "context-change": 0,
        "weight-randomization": pytest.approx(1),
    }


def test_evidence_kept_in_its_place_is_what_people_marked(model, explainer, monkeypatch):
    """With a rationale it is the same for every method; examples without one have no score."""
    asked = []
    compute = context.context_sensitivity

    def listen(model, rows, explain_rows, *, evidence, **options):
        asked.append([rows[0].encoded.tokens.text[place] for place in np.flatnonzero(evidence[0])])
        return compute(model, rows, explain_rows, evidence=evidence, **options)

    monkeypatch.setattr(context, "context_sensitivity", listen)

    told = evaluate(model, [ROWS[3], ROWS[2]], "saliency", "context-change", rationale="why")

    assert asked == [["great", "fun"]] * 2  # once for each method
    assert told.table["n"].tolist() == [1, 1]


def test_robustness_is_captums(model, explainer):
    """By place alone nothing moves; infidelity depends on what stands in the place of removed tokens."""
    pytest.importorskip("captum", reason="robustness is measured with captum")

    told = evaluate(model, TEXTS[:2], "saliency", "infidelity,max-sensitivity", fills=("mask", "pad"))

    assert means(told, "max-sensitivity", "")["saliency"] == 0
    rows = ask(model, TEXTS[:2])
    for fill in ("mask", "pad"):
        alone = [infidelity(model, [row], [-np.arange(float(row.n_tokens))], fill=fill)[0] for row in rows]
        # float32 sums in other batches, squared
        assert means(told, "infidelity", fill)["saliency"] == pytest.approx(np.mean(alone), rel=1e-4)


def test_batches_change_nothing(model, explainer, monkeypatch):
    """Whoever measures a few more examples gets the same numbers for the first ones."""
    together = evaluate(model, TEXTS, "occlusion", "deletion,log-odds", steps=4)
    monkeypatch.setattr(units, "TOGETHER", 1)

    alone = evaluate(model, TEXTS, "occlusion", "deletion,log-odds", steps=4)

    # float32 sums in other batches differ by some 1e-6
    pd.testing.assert_frame_equal(alone.scores, together.scores, check_exact=False, rtol=0, atol=1e-5)
    assert max(len(rows) for _, rows in explainer.asked[-8:]) == 1


def test_the_model_is_the_same_afterwards(model, explainer):
    """And its hash tells: one changed number is another model."""
    before = hash_weights(model)

    told = evaluate(model, TEXTS[:1], "occlusion", **CHEAP)

    assert hash_weights(model) == before == told.attrs["model_sha256"]
    weight = next(model.network.parameters())
    with torch.no_grad():
        weight[0, 0] += 1
        changed = hash_weights(model)
        weight[0, 0] -= 1
    assert changed != before


# Methods


def test_options_in_a_name_reach_the_method(model, explainer):
    """Settings are compared by naming them; each row keeps its full name."""
    names = "ig:baseline=zero+mask,n_steps=8,ca-lig:fusion=0.7,layer_weights=lower-half,ig"

    told = evaluate(model, TEXTS[:1], names, options={"ig": {"tol": 0.1}}, seed=5, **CHEAP)

    assert list(told.pivot().index) == [
        "ig:baseline=zero+mask,n_steps=8", "ca-lig:fusion=0.7,layer_weights=lower-half", "ig", "random",
    ]  # fmt: skip
    assert [method for method, _ in explainer.asked] == [
        IntegratedGradients(seed=5, tol=0.1, baseline=("zero", "mask"), n_steps=8),
        CaLig(seed=5, fusion=0.7, layer_weights="lower-half"),
        IntegratedGradients(seed=5, tol=0.1),
        Random(seed=5),
    ]
    assert told.attrs["methods"]["ig"]["tol"] == 0.1


def test_weights_of_layers_are_numbers():
    """One per layer, joined like everything that has several values."""
    (method, _) = read_methods("ca-lig:layer_weights=1+0.5+0")

    assert method.method == CaLig(layer_weights=(1, 0.5, 0))


def test_random_is_always_there_once():
    """What chance reaches belongs into every table."""
    assert [method.name for method in read_methods("ig")] == ["ig", "random"]
    assert [method.name for method in read_methods(["random:seed=3", "ig"])] == ["random:seed=3", "ig"]


@pytest.mark.parametrize(
    ("methods", "options", "said"),
    [
        ("igg", None, "Did you mean 'ig'"),
        ("ig:steps=4", None, "no option 'steps'"),
        ("ig:n_steps", None, "'n_steps' is no option"),
        ("ig:window=64", None, "Cut the texts"),
        ("ig:tol=2", None, "method 'ig:tol=2': tol=2"),
        ("ig:method=lime", None, "no option 'method'"),
        ("ca-lig:baseline=zeros", None, "baseline='zeros'"),
        ("", None, "methods is empty"),
        ("ig", {"lime": {"seed": 1}}, "options for 'lime'"),
    ],
)
def test_a_wrong_method_is_refused_before_anything_is_computed(methods, options, said):
    """Hours later would be too late."""
    with pytest.raises(OptionError, match=re.escape(said)):
        read_methods(methods, options)


@pytest.mark.parametrize(
    ("metrics", "said"),
    [("deletio", "Did you mean 'deletion'"), ("auprc", "rationale=…"), ("sign-agreement", "polarity=…"), ([], "empty")],
)
def test_a_wrong_metric_is_refused(metrics, said):
    """The message names what is missing."""
    with pytest.raises(OptionError, match=said):
        choose_metrics(metrics)


def test_metrics_follow_the_columns():
    """Without evidence nothing is compared with it."""
    plain, marked = ({metric.name for metric in choose_metrics(None, evidence=given)} for given in ((), ("rationale",)))

    assert marked - plain == {"token-f1", "iou-f1", "auprc"}
    assert [metric.name for metric in choose_metrics("log_odds")] == ["log-odds"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fills": "blank"}, "fills='blank'"),
        ({"reference": "ig"}, "reference='ig'"),
        ({"explain_label": True}, "label="),
        ({"target": Target(steps=2)}, "steps="),
        ({"confidence": 1.5}, "confidence"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_computed(model, explainer, options, said):
    """One clear line each."""
    with pytest.raises(OptionError, match=said):
        evaluate(model, TEXTS, "occlusion", "deletion", **options)

    assert explainer.asked == []


@pytest.mark.parametrize(
    ("family", "network"),
    [("gpt2", "GPT2LMHeadModel"), ("llama", "LlamaForCausalLM"), ("gpt2", "GPT2ForSequenceClassification")],
)
def test_decoders_are_measured_too(explainer, family, network):
    """They have no mask token, and need none; the token that answers is never removed."""
    decoder = headed(family, network, tokenizer=byte_level())

    told = evaluate(decoder, ["the plot was thin", "it says"], "saliency", "deletion,log-odds", steps=2)

    emptied = family == "gpt2" and network.endswith("Classification")  # no token would stay
    assert told.attrs["fills"] == ["unigram"] if emptied else ["delete", "hide", "unigram"]
    assert set(told.table["n"]) == {2}
    assert np.isfinite(told.table["mean"]).all()
    with pytest.raises(OptionError, match=r"has no mask token.*use 'pad'"):
        evaluate(decoder, ["it says"], "saliency", "deletion", fills="mask")


def test_labels_belong_to_models_of_classes(explainer):
    """A language model has no class to be right about."""
    decoder = headed("gpt2", "GPT2LMHeadModel", tokenizer=byte_level())

    with pytest.raises(OptionError, match="label= names classes of whole texts"):
        evaluate(decoder, [{"text": "it says", "label": 1}], "saliency", "deletion", label="label")


# Labels


def test_accuracy_counts_labels_by_name_and_number(model, explainer):
    """Upper and lower case are one name; the labels are turned around for two of four texts."""
    predicted = [row.objective.name for row in ask(model, TEXTS)]
    number = {"negative": 0, "positive": 1}
    labels = [predicted[0].upper(), number[predicted[1]], str(1 - number[predicted[2]]), 1 - number[predicted[3]]]
    rows = [{"text": text, "label": label} for text, label in zip(TEXTS, labels, strict=True)]

    assert evaluate(model, rows, "saliency", label="label", **CHEAP).attrs["accuracy"] == 0.5
    assert np.isnan(evaluate(model, rows, "saliency", **CHEAP).attrs["accuracy"])


@pytest.mark.parametrize("label", [2, -1, "neutral", "2"])
def test_a_label_outside_the_classes_is_named_before_anything_is_computed(model, explainer, monkeypatch, label):
    """It stands in the last row, many batches away, where it would cost the most."""
    monkeypatch.setattr(units, "TOGETHER", 1)
    rows = [*ROWS, {"id": "last", "text": "A film.", "label": label, "why": None}]

    with pytest.raises(InputError, match=f"example last: the label {label!r} is none of .* 0 'negative', 1 'positive'"):
        evaluate(model, rows, "occlusion", label="label", **CHEAP)

    assert explainer.asked == []


def test_labels_can_be_explained(model, explainer):
    """What speaks for the truth; an example without a label is counted as missing."""
    rows = [ROWS[0], {**ROWS[1], "label": 1}, {"id": "none", "text": "A film.", "label": None}]

    told = evaluate(model, rows, "occlusion", label="label", explain_label=True, **CHEAP)

    asked = {row.encoded.tokens.input: row.objective.index for _, rows in explainer.asked for row in rows}
    assert asked == {TEXTS[0]: 1, TEXTS[1]: 1}  # the second one is predicted to be negative
    assert told.skipped[["id", "method"]].values.tolist() == [["none", ""]]


# What cannot be computed


def test_examples_that_cannot_be_explained_are_counted_with_their_reason(model, explainer):
    """Left out of the table, not of the report."""
    rows = [{"text": "A film."}, {"text": "word " * 400}, {"text": " "}]

    told = evaluate(model, rows, "occlusion", **CHEAP)

    assert told.skipped["example"].tolist() == [1, 2]
    assert "at most" in told.skipped["reason"][0]
    assert "empty" in told.skipped["reason"][1]
    assert set(told.table["n"]) == {1}
    assert told.attrs["n_examples"] == 3


def test_one_failure_costs_one_explanation(model, explainer):
    """Explanations come in batches: the others are computed again, one by one."""

    def fail(method, text):
        if method == "occlusion" and text == TEXTS[1]:
            raise InputError("cannot be explained.")

    explainer.fail = fail

    told = evaluate(model, TEXTS, "occlusion", **CHEAP)

    assert told.skipped.values.tolist() == [[1, "2", "occlusion", "cannot be explained."]]
    counts = told.table[told.table["metric"] == "deletion"].set_index("method")["n"]
    assert counts.to_dict() == {"occlusion": 3, "random": 4}


def test_a_method_that_never_works_keeps_its_row(model, explainer):
    """An empty row says more than a missing one."""

    def fail(method, text):
        if method == "attnlrp":
            raise OptionError("needs a library.")

    explainer.fail = fail

    told = evaluate(model, TEXTS[:2], "attnlrp,occlusion", **CHEAP)

    assert means(told, "deletion").keys() == {"attnlrp", "occlusion", "random"}
    assert told.table.set_index("method")["n"]["attnlrp"].tolist() == [0, 0]
    print_evaluation(told, console=Console(file=io.StringIO()))
    evaluation_html(told)


def test_nothing_at_all_to_measure_is_still_a_report(model, explainer):
    """Every text is too long: the report says so."""
    told = evaluate(model, ["word " * 400], "occlusion")

    assert len(told.skipped) == 1
    assert set(told.table["n"]) == {0}


def test_evidence_that_meets_no_token_is_reported(model, explainer):
    """White space is a place in the text, but no token stands there."""
    rows = [{"text": "A  film.", "why": [[1, 2]]}, {"text": "A film.", "why": [[2, 6]]}]

    told = evaluate(model, rows, "occlusion", "auprc", rationale="why")

    assert told.skipped["example"].tolist() == [0]
    assert "meets no token" in told.skipped["reason"][0]


def test_gaps_are_told_once_per_method(model, explainer, monkeypatch):
    """One warning per batch would fill the screen."""
    monkeypatch.setattr(units, "TOGETHER", 1)
    explainer.missed = -0.1

    with pytest.warns(GapWarning) as caught:
        evaluate(model, TEXTS, "ca-lig", **CHEAP)

    assert [str(item.message) for item in caught] == [
        "ca-lig misses more than 0.001 of the displacement for 'A superb film.' at layers 1 and 3 more; the metric "
        "completeness-gap says how much. Raise its max_steps."
    ]


# Resuming


def test_finished_work_is_not_computed_again(model, explainer, tmp_path):
    """And the numbers are those of the first run, to the last bit."""
    path = tmp_path / "run.jsonl"
    options = {"rationale": "why", "label": "label", "metrics": "deletion,auprc", "steps": 4, "resume": path}
    first = evaluate(model, ROWS, "occlusion", **options)
    explainer.asked.clear()

    second = evaluate(model, ROWS, "occlusion", **options)

    assert explainer.asked == []
    same(first, second, but=())
    assert second.attrs == first.attrs


def test_a_stopped_run_goes_on_where_it_ended(model, explainer, tmp_path, monkeypatch):
    """Interrupted at the third text: what was finished stays, the result is that of a run without a stop."""
    path = tmp_path / "run.jsonl"
    monkeypatch.setattr(units, "TOGETHER", 1)
    whole = evaluate(model, TEXTS, "occlusion", **CHEAP)

    def stop(method, text):
        if text == TEXTS[2]:
            raise KeyboardInterrupt

    explainer.fail = stop
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, TEXTS, "occlusion", resume=path, **CHEAP)
    explainer.fail = lambda method, text: None
    explainer.asked.clear()

    resumed = evaluate(model, TEXTS, "occlusion", resume=path, **CHEAP)

    assert {text for _, text in explainer.explained} == set(TEXTS[2:])
    same(resumed, whole)


@pytest.mark.wide
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_is_killed_at_a_unit_goes_on_to_identical_tables(model, tmp_path, monkeypatch, when):
    """To the last bit: the journal holds whole units, so what is asked together is asked together again."""
    monkeypatch.setattr(units, "TOGETHER", 2)
    path = tmp_path / "run.jsonl"
    killed = (
        "import os, signal, sys\n"
        "import lignite\n"
        "from lignite.api import units\n"
        "from lignite.runs.unit import Journal\n"
        "from tests.kit.explainer import TEXTS\n"
        "units.TOGETHER = 2\n"
        "write = Journal.write\n"
        "def kill(journal, pieces, *files):\n"
        "    if sys.argv[2] == 'after': write(journal, pieces, *files)\n"
        "    if sys.argv[2] == 'after' or journal.finished: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    write(journal, pieces, *files)\n"
        "Journal.write = kill\n"
        "lignite.evaluate(lignite.load('tiny-sentiment'), TEXTS, 'occlusion', 'deletion,log-odds', steps=4,\n"
        "    resume=sys.argv[1])\n"
    )
    ended = subprocess.run([sys.executable, "-c", killed, str(path), when], check=False, cwd=Path(__file__).parents[2])
    options = {"metrics": "deletion,log-odds", "steps": 4}

    resumed = evaluate(model, TEXTS, "occlusion", resume=path, **options)

    assert ended.returncode == -9
    same(resumed, evaluate(model, TEXTS, "occlusion", **options))


@pytest.mark.parametrize("cut", [1, 7, 100])
def test_a_line_cut_in_half_is_computed_again(model, explainer, tmp_path, cut):
    """Killed while writing: one row is lost, the others stay, and it is said."""
    path = tmp_path / "run.jsonl"
    whole = evaluate(model, TEXTS, "occlusion", resume=path, **CHEAP)
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    explainer.asked.clear()

    if cut == 1:  # only the line break is gone
        resumed = evaluate(model, TEXTS, "occlusion", resume=path, **CHEAP)
    else:
        with pytest.warns(UserWarning, match="1 line was cut off; .* the other 7 are kept"):
            resumed = evaluate(model, TEXTS, "occlusion", resume=path, **CHEAP)

    assert len(explainer.explained) == (0 if cut == 1 else 1)
    # float32 sums in other batches differ by some 1e-6
    pd.testing.assert_frame_equal(resumed.scores, whole.scores, rtol=0, atol=1e-5)
    explainer.asked.clear()
    evaluate(model, TEXTS, "occlusion", resume=path, **CHEAP)  # whole again, without a word
    assert explainer.asked == []


def test_a_damaged_line_costs_its_row_alone(model, explainer, tmp_path):
    """A disk that failed in the middle: what stands behind it is kept, and the damage is told once."""
    path = tmp_path / "run.jsonl"
    evaluate(model, TEXTS[:2], "occlusion", resume=path, **CHEAP)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:2], lines[2][:30], *lines[3:]]))
    explainer.asked.clear()

    with pytest.warns(UserWarning, match="1 line was cut off"):
        evaluate(model, TEXTS[:2], "occlusion", resume=path, **CHEAP)
    evaluate(model, TEXTS[:2], "occlusion", resume=path, **CHEAP)  # a second warning would be an error here

    assert len(explainer.explained) == 1


def test_methods_and_examples_may_be_added(model, explainer, tmp_path):
    """A larger table starts from the smaller one."""
    path = tmp_path / "run.jsonl"
    evaluate(model, TEXTS[:2], "occlusion", resume=path, **CHEAP)
    explainer.asked.clear()

    evaluate(model, TEXTS[:3], "occlusion,saliency", resume=path, **CHEAP)

    new = [("occlusion", TEXTS[2]), ("random", TEXTS[2]), *(("saliency", text) for text in TEXTS[:3])]
    assert sorted(explainer.explained) == sorted(new)


def test_other_options_of_a_method_are_other_work(model, explainer, tmp_path):
    """A number that was computed with another baseline is not taken for this one."""
    path = tmp_path / "run.jsonl"
    evaluate(model, TEXTS[:1], "ig", resume=path, **CHEAP)
    explainer.asked.clear()

    evaluate(model, TEXTS[:1], "ig", options={"ig": {"baseline": "zero"}}, resume=path, **CHEAP)

    assert [method for method, _ in explainer.explained] == ["ig"]


def test_other_settings_are_refused(model, explainer, tmp_path):
    """Rows of two models in one table would compare what cannot be compared; the file is left as it was."""
    path = tmp_path / "run.jsonl"
    evaluate(model, TEXTS[:1], "occlusion", resume=path, **CHEAP)
    content = path.read_bytes()

    for options in ({"steps": 3}, {"seed": 1}, {"fills": "pad"}, {"target": "positive"}, {"metrics": "deletion"}):
        with pytest.raises(FileError, match=f"was begun with {next(iter(options))}="):
            evaluate(model, TEXTS[:1], "occlusion", resume=path, **CHEAP | options)
    other = lignite.load("tiny-sentiment")
    with torch.no_grad():
        next(other.network.parameters())[0, 0] += 1
    with pytest.raises(FileError, match="was begun with model="):
        evaluate(other, TEXTS[:1], "occlusion", resume=path, **CHEAP)

    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"my notes\n", b'{"text": "A film."}\n', b"\x00\xff"])
def test_a_file_of_somebody_else_is_left_alone(model, explainer, tmp_path, content):
    """The data set itself is easily given by mistake."""
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)

    with pytest.raises(FileError, match="is no file of finished work"):
        evaluate(model, TEXTS[:1], "occlusion", resume=path, **CHEAP)

    assert path.read_bytes() == content


def test_a_folder_that_is_not_there_is_named(model, explainer, tmp_path):
    """Before anything is computed."""
    with pytest.raises(FileError, match="there is no folder"):
        evaluate(model, TEXTS[:1], "occlusion", resume=tmp_path / "none" / "run.jsonl", **CHEAP)

    assert explainer.asked == []


# Files and views


@pytest.fixture(scope="module")
def told(model):
    """An evaluation with everything: evidence, two fills, a skipped example, names that need care."""
    patch = pytest.MonkeyPatch()
    patch.setattr(units, "explain_rows", Explainer())
    rows = [*ROWS, {"id": "<b>", "text": "word " * 400, "label": 1, "why": None, "signs": None}]
    try:
        return evaluate(
            model, rows, "ca-lig,occlusion,ig:baseline=zero+pad", fills=("mask", "delete"),
            label="label", rationale="why", polarity="signs",
        )  # fmt: skip
    finally:
        patch.undo()


def test_everything_is_read_back_unchanged(told, tmp_path):
    """NaN included."""
    told.save(tmp_path / "told.json")

    read = Evaluation.open(tmp_path / "told.json")

    same(read, told, but=())
    assert read.attrs == told.attrs
    json.loads((tmp_path / "told.json").read_text(), parse_constant=pytest.fail)  # strict JSON has no NaN


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("told.csv", "a", "only the .json"),
        ("told.json", "{", "no complete JSON"),
        ("told.json", '{"format": "x"}', "no evaluation"),
        ("told.json", '{"format": "lignite evaluation", "version": 9}', "version 9"),
        ("told.json", '{"format": "lignite evaluation", "version": 1}', "damaged"),
        ("none.json", None, "no such file"),
    ],
)
def test_a_file_that_is_no_evaluation_is_refused(tmp_path, name, content, said):
    """What is wrong, and what to do."""
    if content is not None:
        (tmp_path / name).write_text(content)

    with pytest.raises(FileError, match=said):
        Evaluation.open(tmp_path / name)


def test_the_table_alone_is_a_csv_file(told, tmp_path):
    """For spreadsheets and plots."""
    told.save(tmp_path / "told.csv")

    read = pd.read_csv(tmp_path / "told.csv", keep_default_na=False, na_values=["nan"])

    assert read["method"].tolist() == told.table["method"].tolist()
    # pandas writes the shortest decimal that reads back as the same float64, and reads to the last digit but one
    numbers = pd.to_numeric(read["mean"], errors="coerce").to_numpy()
    np.testing.assert_allclose(numbers, told.table["mean"].to_numpy(), rtol=1e-14)
    beside = {row.metric: (row.better, row.meaning) for row in read.itertuples()}
    assert beside == {name: (metric["better"], metric["meaning"]) for name, metric in told.attrs["metrics"].items()}


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_terminal_shows_every_mean_at_any_width(told, width):
    """Columns that do not fit go below; without a terminal there are no escape codes."""
    out = io.StringIO()

    print_evaluation(told, console=Console(file=out, width=width))

    shown = out.getvalue()
    assert "\x1b" not in shown
    assert all(len(line.rstrip()) <= width for line in shown.splitlines())
    flat = re.sub(r"\s+", "", shown)
    for row in told.table.itertuples():
        if np.isfinite(row.mean) and abs(row.mean) >= 5e-4:
            assert f"{row.mean:.3f}" in flat
    for metric in told.table["metric"].unique():
        assert metric in shown
    assert "1 example, under every method" in shown


def test_the_terminal_needs_no_unicode(told):
    """Old consoles print what they can."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")

    print_evaluation(told, console=Console(file=out, width=100))
    out.flush()

    assert b"+-" in raw.getvalue()


def test_the_best_mean_of_each_column_is_marked(told):
    """In the direction that is better; chance is best at nothing."""
    from lignite.views.evaluation.facts import columns_of

    for column in columns_of(told):
        marked = {name: cell.mean for name, cell in column.cells.items() if cell.best}
        every = [cell.mean for name, cell in column.cells.items() if name != "random" and np.isfinite(cell.mean)]
        best = {"higher": max, "lower": min}[column.better]
        assert set(marked.values()) == ({best(every)} if every else set())


def test_surely_better_and_worse_are_marked(told):
    """+ and - say in which direction a corrected comparison with the reference went, for metrics of both kinds."""
    from dataclasses import replace

    from lignite.views.evaluation.facts import columns_of

    tests = told.tests.copy()
    tests["p_holm"] = np.where(tests["method"] == "random", 0.001, 0.2)
    tests["difference"] = 1.0

    columns = columns_of(replace(told, tests=tests))

    for column in columns:
        expected = {"higher": "+", "lower": "-"}[column.better] if column.metric != "seconds" else ""
        assert column.cells["random"].beside == expected
        assert column.cells["occlusion"].beside == ""


def test_the_page_needs_nothing_else_and_trusts_nobody(told):
    """Names and texts of a data set are not markup; no address is asked for."""
    page = evaluation_html(told)

    assert "<b>:" not in page
    assert "&lt;b&gt;" in page
    assert not re.search(r"(src|href)\s*=", page)
    for method in told.table["method"].unique():
        assert method in page
    assert page.count("<polyline") == 4 * 4  # two curves under two fills, of four methods


@pytest.mark.parametrize("ending", ["png", "svg", "pdf", "html"])
def test_curves_and_pages_are_written(told, tmp_path, ending):
    """The ending picks the format; the same evaluation gives the same bytes."""
    told.save(tmp_path / f"one.{ending}")
    told.save(tmp_path / f"other.{ending}")

    content = (tmp_path / f"one.{ending}").read_bytes()
    assert len(content) > 1000
    assert content == (tmp_path / f"other.{ending}").read_bytes()


def test_no_curves_no_picture(model, explainer, tmp_path):
    """Metrics that remove nothing leave nothing to draw; the page does without."""
    told = evaluate(model, TEXTS[:1], "occlusion", "seconds")

    with pytest.raises(InputError, match="has no curves"):
        told.save(tmp_path / "curves.png")
    evaluation_html(told)


def test_an_unknown_ending_is_refused(told, tmp_path):
    """And the known ones are named."""
    with pytest.raises(FileError, match=r"use .json, .csv, .html"):
        told.save(tmp_path / "told.xlsx")


def test_progress_counts_to_the_end(model, explainer):
    """Also over examples that cannot be explained."""
    seen = []

    evaluate(model, [*TEXTS, " "], "occlusion", progress=lambda done, total: seen.append((done, total)), **CHEAP)

    assert seen[-1] == (10, 10)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


# Neutral fills


def test_texts_are_judged_by_neutral_fills_and_by_their_mean(model, explainer):
    """The mean is taken of each example first; means, intervals and tests are then of these numbers."""
    told = evaluate(model, TEXTS, "occlusion", "deletion,completeness-gap", steps=4)

    wide = told.scores[told.scores["metric"] == "deletion"].pivot(
        index=["example", "method"], columns="fill", values="value"
    )
    assert set(wide) == {"delete", "hide", "unigram", "neutral"}
    np.testing.assert_allclose(wide["neutral"], wide[["delete", "hide", "unigram"]].mean(axis=1), rtol=1e-12)
    by_method = wide["neutral"].unstack("method")
    row = told.table.set_index(["method", "metric", "fill"]).loc[("occlusion", "deletion", "neutral")]
    expected = interval(by_method["occlusion"].to_numpy())
    assert (row["mean"], row["low"], row["high"], row["n"]) == (
        expected.mean, expected.low, expected.high, expected.n,
    )  # fmt: skip
    test = told.tests.set_index(["method", "metric", "fill"]).loc[("random", "deletion", "neutral")]
    paired = compare(by_method["random"].to_numpy(), by_method["occlusion"].to_numpy())
    assert (test["difference"], test["p"]) == (paired.difference, paired.p)
    assert list(told.pivot()["deletion"]) == ["neutral", "delete", "hide", "unigram"]  # tables lead with it
    curves = told.curves[(told.curves["curve"] == "deletion") & (told.curves["measure"] == "probability")]
    means = curves[curves["method"] == "occlusion"].pivot(index="share", columns="fill", values="mean")
    np.testing.assert_allclose(means["neutral"], means[["delete", "hide", "unigram"]].mean(axis=1), rtol=1e-9)


def test_words_are_drawn_from_the_whole_data_set_or_from_a_corpus(model, explainer, tmp_path):
    """Also from texts that are not measured, so that a larger sample meets the same words; a corpus goes before."""
    options = {"fills": "unigram", "metrics": "deletion", "steps": 2}
    corpus = tmp_path / "words.jsonl"
    corpus.write_text('{"text": "superb"}\n')

    few = evaluate(model, ROWS, "saliency", limit=2, **options).scores
    all_of_them = evaluate(model, ROWS, "saliency", **options).scores
    other = evaluate(model, ROWS, "saliency", corpus=corpus, draws=1, **options).scores
    again = evaluate(model, ROWS, "saliency", corpus=["superb"], draws=3, **options).scores
    named = evaluate(model, ROWS, "saliency", corpus=TEXTS, **options).scores

    by_text = all_of_them[all_of_them["id"].isin(few["id"]) & (all_of_them["method"] == "saliency")]["value"]
    # float32 sums in other batches differ by some 1e-6
    np.testing.assert_allclose(few[few["method"] == "saliency"]["value"], by_text, atol=1e-5)
    np.testing.assert_allclose(named["value"], all_of_them["value"], atol=1e-5)
    assert not np.allclose(other["value"], all_of_them["value"], atol=1e-3)
    np.testing.assert_allclose(other["value"], again["value"], atol=1e-5)  # one word: every drawing is the same
    with pytest.raises(
        OptionError, match=r"corpus= is where fills='unigram' and 'others' draw .* from, and fills are mask"
    ):
        evaluate(model, TEXTS, "saliency", corpus=["superb"], fills="mask")


def test_a_row_that_starts_from_its_fill_is_marked(model, explainer, tmp_path):
    """In the terminal, on the page, in CSV: `ca-lig` starts from [MASK], `saliency` from nothing."""
    told = evaluate(model, TEXTS, "ca-lig,ig:baseline=pad,saliency", fills=("mask", "neutral"), **{
        "metrics": "deletion", "steps": 2,
    })  # fmt: skip

    assert told.shares_baseline("ca-lig", "mask")
    others = [("ca-lig", "delete"), ("ca-lig", "neutral"), ("ig:baseline=pad", "mask"), ("saliency", "mask")]
    assert not any(told.shares_baseline(*pair) for pair in others)
    told.save(tmp_path / "told.csv")
    written = pd.read_csv(tmp_path / "told.csv").set_index(["method", "fill"])["shares_baseline"]
    assert [pair for pair, shares in written.items() if shares] == [("ca-lig", "mask")]
    console = Console(width=120, file=io.StringIO())
    print_evaluation(told, console=console)
    lines = console.file.getvalue().splitlines()
    assert [line.split()[:2] for line in lines if "†" in line and "±" in line.split("†")[1]] == [["ca-lig", "†"]]
    assert any("† :" in line or "†: its baseline is this fill" in line for line in lines)
    assert evaluation_html(told).count(">†</span>") == 1


def test_orders_that_delete_share_deletion(model, explainer):
    """And with it the mean over the neutral fills; the path alone does not, and nobody hides words."""
    told = evaluate(model, TEXTS, "relevance-flow:orders=true,relevance-flow:orders=false", metrics="deletion", steps=1)

    orders, path, _ = told.attrs["baselines"]
    assert [told.shares_baseline(orders, fill) for fill in ("delete", "hide", "neutral")] == [True, False, True]
    assert not any(told.shares_baseline(path, fill) for fill in ("delete", "hide", "neutral"))
