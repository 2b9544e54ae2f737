"""Whatever is given to a public function, the answer is a result or one clear line."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.fuzz import TEXT, tiny

import lignite
from lignite.errors import InputError, LigniteError, ModelError, OptionError


@pytest.fixture(scope="module")
def model():
    return tiny()


def fuzz(*options):
    command = [sys.executable, str(Path(__file__).parents[1] / "fuzz.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_no_argument_leads_to_an_error_of_somebody_else():
    """One call in two hundred; a process of its own, without the checks of types that tests put in front."""
    code, said = fuzz("--share=0.005")

    assert code == 0, said


@pytest.mark.wide
def test_no_argument_at_all_leads_to_an_error_of_somebody_else():
    """Every argument of every public function with every value."""
    code, said = fuzz()

    assert code == 0, said


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (lignite.flow, {"baselin": "zero"}, r"flow\(\) has no option 'baselin'.*Did you mean 'baseline'\?"),
        (
            lignite.explain,
            {"method": "ca-lig", "layer_weight": 1},
            r"'ca-lig' has no option 'layer_weight'.*Did you mean 'layer_weights'\?",
        ),
        (lignite.evaluate, {"method": "ig"}, r"evaluate\(\) has no option 'method'.*Did you mean 'methods'\?"),
        (lignite.evaluate, {}, r"evaluate\(\): missing a required argument: 'examples'"),
        (lignite.flow, {"n_steps": 10**30}, "n_steps=10+ is too large"),
        (lignite.flow, {"max_steps": 10**5000}, "max_steps=int too large to show is too large"),
        (lignite.flow, {"n_steps": 10**9}, "n_steps=1000000000 must be a whole number, at least 1 and at most"),
        (lignite.flow, {"n_steps": True}, "n_steps=True is a bool; give a whole number or None"),
        (lignite.flow, {"tol": math.nan}, "tol=nan must be a number between 0 and 1"),
        (lignite.flow, {"tol": "0.1"}, "tol='0.1' is a str; give a number"),
        (lignite.flow, {"progress": 5}, "progress=5 is an int; give a function or None"),
        (
            lignite.explain,
            {"method": "ca-lig", "layer_weights": 5},
            "layer_weights=5 is an int; give 'all' or 'lower-half' or 'lower-third', several numbers or None",
        ),
        (lignite.explain, {"method": "ig", "seed": -1}, "seed=-1 must be a whole number, at least 0"),
        (lignite.explain, {"ends": 1}, "ends=1 is an int; give True or False"),
        (lignite.evaluate, {"confidence": "x"}, "confidence='x' is a str; give a number"),
        (lignite.evaluate, {"steps": 0}, "steps=0 must be a whole number, at least 1"),
        (lignite.evaluate, {"resume": 5}, "resume=5 is an int; give a text, a path or None"),
        (lignite.load, {"name": None}, "name=None is a NoneType; give a text or a Path"),
        (lignite.load, {"name": "tiny-sentiment", "task": 5}, "task=5 is an int; give a text or None"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(model, function, options, message):
    """Given, expected, and the nearest that there is."""
    usual = {lignite.flow: {"inputs": TEXT}, lignite.explain: {"inputs": TEXT}, lignite.evaluate: {"examples": [TEXT]}}
    given = {"model": model, **usual.get(function, {})} if function is not lignite.load else {}
    if not options:
        del given["examples"]

    with pytest.raises(OptionError, match=message) as caught:
        function(**{**given, **options})

    assert "\n" not in str(caught.value)


def test_a_name_longer_than_names_are_is_refused():
    """Texts are given where models are asked for."""
    with pytest.raises(ModelError, match=r"^a+…a+ is no name of a folder or a model"):
        lignite.load("a" * 5000)


def test_numbers_of_numpy_are_numbers(model):
    """They come out of every table and every computation; the result stores Python's."""
    expected = lignite.explain(model, TEXT, method="ca-lig", n_steps=4, tol=0.5, seed=3, layer_weights=(0.5, 2.0))

    found = lignite.explain(
        model,
        TEXT,
        method="ca-lig",
        n_steps=np.int64(4),
        tol=np.float32(0.5),
        seed=np.uint8(3),
        layer_weights=(0.5, 2.0),
    )

    assert found.attrs["request"] == expected.attrs["request"]
    np.testing.assert_array_equal(found.relevance, expected.relevance)


@pytest.mark.parametrize(
    "beside",
    [
        {"token_type_ids": torch.full((1, 2), 7)},
        {"position_ids": torch.full((1, 2), 9999)},
        {"inputs_embeds": torch.zeros(1, 2, 8)},
    ],
)
def test_tensors_that_no_model_reads_are_refused(model, beside):
    """Numbers outside the tables of a model end inside torch, or read the memory of something else."""
    for explain in (lignite.flow, lignite.explain):
        with pytest.raises((InputError, ModelError)):
            explain(model, {"input_ids": torch.tensor([[5, 6]]), **beside})


@pytest.mark.parametrize(
    "target",
    [lambda outputs: outputs.logits[:, 0].detach(), lambda outputs: 1 / 0, lambda outputs: outputs.nothing, lambda: 1],
)
def test_a_target_that_cannot_be_explained_is_refused(model, target):
    """A function of the user's own fails in the user's own words, and one without a gradient has nothing to explain."""
    with pytest.raises(LigniteError):
        lignite.explain(model, TEXT, target=target)


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
def test_a_data_set_nested_without_end_is_refused(model, tmp_path, ending):
    """A few kilobytes of brackets end the interpreter."""
    path = tmp_path / f"data{ending}"
    path.write_text("[" * 100_000 + "\n")

    with pytest.raises(LigniteError, match="nested more than"):
        lignite.evaluate(model, path, "random", "deletion")
