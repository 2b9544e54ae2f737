"""The same numbers on a GPU."""

import pytest
import torch
import xarray as xr
from tests.architectures import ARCHITECTURES

import lignite

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


@pytest.mark.parametrize("name", ["bert", "llama", "deberta-v2", "vit"])
@pytest.mark.parametrize("baseline", ["target_token", "zero"])
def test_a_gpu_gives_the_flow_of_the_cpu(name, baseline):
    """Every route and plan leaves its tensors on the model's device and its numbers as they are."""
    architecture = ARCHITECTURES[name]
    inputs = architecture.inputs(seed=1)
    network = architecture.build(seed=0, dtype=torch.float64)
    options = {"baseline": baseline, "n_steps": 6, "maps": ("attention", "mlp", "whole")}

    expected = lignite.flow(lignite.wrap(network), inputs, **options)
    actual = lignite.flow(lignite.wrap(network.cuda()), inputs, **options)

    # float64 on both sides; norms that compute in float32 differ by its rounding between devices.
    xr.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
