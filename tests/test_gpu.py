"""The same numbers on a GPU; and, where there is none, that every tensor is made where the model is."""

import numpy as np
import pytest
import torch
import xarray as xr
from tests.kit.architectures import ARCHITECTURES

import lignite
from lignite.methods import METHODS

pytestmark = pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")  # six nodes, converged or not


FOUR = ("attention", "mlp", "whole", "composed")


def needs_a_gpu(test):
    skip = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
    return pytest.mark.gpu(skip(test))


@needs_a_gpu
@pytest.mark.parametrize("name", ["bert", "llama", "deberta-v2", "vit"])
@pytest.mark.parametrize(
    ("baseline", "maps"), [("target_token", FOUR), ("zero", FOUR), ("zero", ("attention", "whole"))]
)
def test_a_gpu_gives_the_flow_of_the_cpu(name, baseline, maps):
    """Every route and plan leaves its tensors on the model's device and its numbers as they are.

    Without `mlp`, layers go abreast from a shared baseline too.
    """
    architecture = ARCHITECTURES[name]
    inputs = architecture.inputs(seed=1)
    network = architecture.build(seed=0, dtype=torch.float64)
    options = {"baseline": baseline, "n_steps": 6, "maps": maps}

    expected = lignite.flow(lignite.wrap(network), inputs, **options)
    actual = lignite.flow(lignite.wrap(network.cuda()), inputs, **options)

    # Llama's norm computes in float32 even here: its rounding, 6e-8, times 1/sqrt(1e-6), its steepest slope at zero.
    share = 6e-5 if name == "llama" else 1e-9
    for variable, scores in expected.data_vars.items():
        # a gap is a small difference of sums, each of which rounds as the displacement does
        size = float(abs(expected[variable.replace("_gap", "_displacement")]).max())
        np.testing.assert_allclose(actual[variable], scores, rtol=0, atol=share * size, err_msg=variable)


@pytest.mark.wide
@pytest.mark.parametrize("name", ["bert", "llama", "mpnet", "vit"])
@pytest.mark.parametrize("baseline", ["target_token", "zero"])
def test_every_tensor_is_made_where_the_model_is(name, baseline):
    """A tensor made without a device lands on the host; here that is a place from which nothing can be read."""
    architecture = ARCHITECTURES[name]
    model, inputs = lignite.wrap(architecture.build(seed=0, dtype=torch.float64)), architecture.inputs(seed=1)
    options = {"baseline": baseline, "n_steps": 6, "maps": ("attention", "mlp", "whole")}
    expected = lignite.flow(model, inputs, **options)

    with torch.device("meta"):
        actual = lignite.flow(model, inputs, **options)

    xr.testing.assert_identical(actual, expected)


TEXTS = ["The plot was thin, but the acting was superb.", "A dull film.", "Not a bad idea, done badly."]
EVERY = [{"method": name} for name in METHODS] + [{"method": "ca-lig", "path": "layer"}]


@needs_a_gpu
@pytest.mark.parametrize("options", EVERY, ids=str)
def test_a_gpu_gives_the_explanations_of_the_cpu(options):
    """One text and a list, by every method, with its defaults."""
    model = lignite.load("tiny-sentiment", dtype="float64", device="cpu")
    expected = [lignite.explain(model, TEXTS[0], **options), *lignite.explain(model, TEXTS, **options)]
    model = lignite.load("tiny-sentiment", dtype="float64", device="cuda")
    actual = [lignite.explain(model, TEXTS[0], **options), *lignite.explain(model, TEXTS, **options)]

    for one, other in zip(actual, expected, strict=True):
        for variable, scores in other.data_vars.items():
            if scores.dtype.kind == "f" and scores.size:
                # softmax of attention and norms round in float64; a gap is as exact as the change it is a part of
                size = max(float(np.nanmax(abs(other[each]))) for each in ("relevance", "logit"))
                np.testing.assert_allclose(one[variable], scores, rtol=0, atol=1e-7 * size, err_msg=variable)
