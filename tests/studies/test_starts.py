"""Where paths should start: who agrees with whom, what a fixed cost leaves out, what is recommended."""

import json

import numpy as np
import pytest
import torch

import lignite
from lignite.inputs.encode import encode
from lignite.metrics.metric import Case, Explained
from lignite.studies.starts import AGREED, offered_by

TEXTS = ("A superb film.", "A dull, thin plot.", "The plot was thin, but the acting was superb.")


@pytest.fixture(scope="module")
def model():
    return lignite.load("tiny-sentiment")


@pytest.fixture(scope="module")
def found(model):
    return lignite.study.baselines(model, list(TEXTS), methods="relevance-flow:orders=False", probed=1)


def test_agreement_is_the_mean_correlation_with_the_others(model):
    """Three orders of three tokens by hand: a and b reverse each other, c swaps two of a; chance is nobody's other."""
    told = {"a": [1, 2, 3], "b": [3, 2, 1], "c": [1, 3, 2], "random": [1, 2, 3]}
    tokens = encode(model, "film")[0].tokens  # three, with the special ones
    cases = {name: [Case(Explained(np.array(given, float)), tokens)] for name, given in told.items()}
    a, b, c, chance = AGREED.measure(cases)[:, 0, 0]
    assert (a, b, c) == pytest.approx(((-1 + 0.5) / 2, (-1 - 0.5) / 2, (0.5 - 0.5) / 2))
    assert chance == pytest.approx((1 - 1 + 0.5) / 3)


def test_only_what_a_model_offers_is_compared(model):
    """A BERT has no end of texts and no pixels; the reasons are kept."""
    offered, missing = offered_by(model, TEXTS[0])
    assert offered == ["zero", "mean", "pad", "mask", "unk", "mean-embedding"]
    assert [told.partition(":")[0] for told in missing] == ["eos", "bos", "blur", "grey", "black"]


@pytest.mark.wide
def test_a_fixed_row_misses_what_eight_nodes_miss_of_the_models_own_change(model, found):
    """From mask, the change is that of the untouched network's logit between the masked text and the text."""
    encoded = model.tokenizer(TEXTS[1], return_tensors="pt")
    masked = {**encoded, "input_ids": encoded["input_ids"].clone()}
    masked["input_ids"][0, 1:-1] = model.tokenizer.mask_token_id
    with torch.no_grad():
        whole, blank = (model.network(**given).logits[0] for given in (encoded, masked))
    change = float((whole - blank)[whole.argmax()])
    why = lignite.explain(model, TEXTS[1], method="ig", baseline="mask", n_steps=8, tol=0.999)
    expected = abs(float(why.relevance.sum()) - change) / abs(change)
    ours = found["score"].sel({"measure": "completeness-gap", "method": "ig:baseline=mask,n_steps=8"}).values[1]
    assert expected > 1e-3
    assert ours == pytest.approx(expected, rel=1e-2)


@pytest.mark.wide
def test_the_report_names_the_usual_baseline_and_recommends_one_of_those_compared(model, found):
    """What stands in the findings is what was measured; nothing is recommended that the model has not."""
    told = lignite.study.report(found)
    assert found.attrs["usual"] == "mask"
    recommended = next(line for line in told.findings if line.startswith("Recommended here: "))
    assert recommended.split()[2].rstrip(".") in {"zero", "mean", "pad", "mask", "unk", "mean-embedding"}
    assert told.findings[-1] == "Not offered by this model: eos, bos, blur, grey, black."
    assert len(json.loads(found.attrs["missing"])) == 5
    fixed = told.tables["completeness-gap"].frame.query("method == 'fixed'")
    assert list(fixed["mean"]) == sorted(fixed["mean"])
    faithful = next(table.frame for name, table in told.tables.items() if name.startswith("insertion"))
    own = faithful[faithful["method"] == "relevance-flow:orders=False"]
    assert set(own["baseline"]) == {"zero", "mean", "pad", "mask", "unk", "mean-embedding"}
