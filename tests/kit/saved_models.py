"""Small models with random weights in folders, and results that are the same."""

from pathlib import Path

import pytest
import torch
import xarray as xr

IDS = {"input_ids": torch.arange(4, 13)[None]}
few_nodes = pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning", "ignore::lignite.errors.BaselineWarning")


def save_random(folder: Path, config, kind, dtype, **options) -> Path:
    """Random weights, biases and norms; `options` are those of `save_pretrained`."""
    torch.manual_seed(0)
    network = kind(config).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.1 * torch.randn(weight.shape)
    network.to(dtype).save_pretrained(folder, **options)
    return folder


def assert_same(one: xr.Dataset, other: xr.Dataset) -> None:
    """To the bit, in every variable."""
    xr.testing.assert_identical(one.drop_attrs(), other.drop_attrs())
