"""The same scores whatever else was given: other texts, padding, memory, threads, or a choice of targets and layers."""

import gc
from dataclasses import replace
from itertools import pairwise

import numpy as np
import psutil
import pytest
import torch
import xarray as xr
from tests.kit.architectures import ARCHITECTURES, full_precision
from tests.kit.tiny_tokenizers import byte_level, word_piece
from tests.kit.wide import wide

import lignite

pytestmark = pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")  # few nodes, for time

PROMISE = 1e-5  # of the largest displacement: float32 sums in another order
DIVERSE = ("bert", "deberta-v2", "mamba", *wide("gpt2", "gpt_oss", "olmo"))
"""Closed forms of several kinds, target batches, the projection route, and no route at all."""

TEXTS = ["the plot was thin", "people says nothing at all but it was acting", "it was the plot"]


def model_of(name: str, dtype: torch.dtype = torch.float32) -> lignite.Model:
    network = ARCHITECTURES[name].build(dtype=dtype)
    return lignite.wrap(full_precision(network) if dtype == torch.float64 else network)


def reading_model(name: str) -> lignite.Model:
    """With a tokenizer, and as many embeddings as it has words."""
    architecture, tokenizer = ARCHITECTURES[name], word_piece() if name == "bert" else byte_level()
    wide = {**architecture.config, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    wide |= {"max_position_embeddings": 64} if name == "bert" else {"n_positions": 64}
    return lignite.wrap(replace(architecture, config=wide).build(dtype=torch.float32), tokenizer)


def inputs_of(name: str, **options) -> dict[str, torch.Tensor]:
    return ARCHITECTURES[name].inputs(**({"seed": 2, "length": 7} | options))


def run(name: str, **options) -> xr.Dataset:
    maps = ("whole",) if name == "mamba" else ("attention", "mlp", "whole", "composed")
    return lignite.flow(model_of(name), inputs_of(name), **({"maps": maps} | options))


def assert_same_scores(actual: xr.Dataset, expected: xr.Dataset, *, allowed: float = PROMISE) -> None:
    """Every variable, on the tokens by their order: numbers of positions may differ where padding does."""
    assert set(actual.data_vars) == set(expected.data_vars)
    for name in expected.data_vars:
        scale = float(expected[f"{name.split('_')[0]}_displacement"].max())
        np.testing.assert_allclose(
            actual[name].values, expected[name].values, rtol=0, atol=allowed * scale, err_msg=str(name)
        )


@pytest.mark.parametrize("baseline", ["target_token", "pad", *wide("zero", "mean")])
@pytest.mark.parametrize("name", ["bert", *wide("gpt2")])
def test_a_list_of_texts_gives_what_each_text_gives_alone(name, baseline):
    """Nobody should have to know what else was in a batch."""
    model = reading_model(name)

    together = lignite.flow(model, TEXTS, baseline=baseline, tol=1e-2)

    assert isinstance(together, list)
    for text, flow in zip(TEXTS, together, strict=True):
        assert_same_scores(flow, lignite.flow(model, text, baseline=baseline, tol=1e-2), allowed=0)
        assert flow.attrs["text"] == text


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("baseline", ["target_token", "zero", "mean"])
@pytest.mark.parametrize(
    "name", ["bert", "llama", *wide("roberta", "bloom", "mpnet", "deberta-v2", "gpt2", "t5", "modernbert")]
)
def test_padding_does_not_change_the_scores(name, baseline, side):
    """A row of a padded batch, on either side, is the text alone, where its tokens have the same positions."""
    # All tokens at their mean, heads hardly move at first: float32 finds the direction of their readout to 1e-3 only.
    model, alone = model_of(name, torch.float64 if baseline == "mean" else torch.float32), inputs_of(name)
    pad = 1 if name == "mpnet" else model.config.pad_token_id  # MPNet counts positions past id 1 whatever it is told
    amount = (3, 0) if side == "left" else (0, 3)
    padded = {
        "input_ids": torch.nn.functional.pad(alone["input_ids"], amount, value=pad),
        "attention_mask": torch.nn.functional.pad(alone["attention_mask"], amount, value=0),
    }
    if side == "left" and name in (
        "bert",
        "gpt2",
        "deberta-v2",
    ):  # they count the padding, too
        padded["position_ids"] = (torch.arange(7 + 3) - 3).clamp_min(0)[None]

    flows = [lignite.flow(model, inputs, baseline=baseline, n_steps=4) for inputs in (padded, alone)]

    assert_same_scores(*flows)
    assert list(flows[0].source.values - flows[1].source.values) == [amount[0]] * 7


@pytest.mark.parametrize("name", ["bert", *wide("llama")])
def test_rows_of_a_batch_give_what_they_give_alone(name):
    """Tensors as a tokenizer returns them, one row per text, padded to the longest."""
    model, rows = model_of(name), [inputs_of(name, seed=seed, length=length) for seed, length in ((3, 5), (4, 8))]
    batch = {
        key: torch.cat([torch.nn.functional.pad(row[key], (0, 8 - row[key].shape[1]), value=0) for row in rows])
        for key in rows[0]
    }

    together = lignite.flow(model, batch, n_steps=4)

    for row, flow in zip(rows, together, strict=True):
        assert_same_scores(flow, lignite.flow(model, row, n_steps=4))


@pytest.mark.wide
@pytest.mark.parametrize("baseline", ["target_token", "zero"])
@pytest.mark.parametrize("name", DIVERSE)
def test_memory_decides_how_much_at_once_and_nothing_else(name, baseline):
    """One pair of node and target at a time, or all of them."""
    detail = () if name == "mamba" else ("heads",)
    options = {"baseline": baseline, "n_steps": 4, "detail": detail}

    small, large = (run(name, memory=memory, **options) for memory in ("1 kB", "1 GiB"))

    assert_same_scores(small, large)


@pytest.mark.parametrize("baseline", ["target_token", *wide("zero")])
def test_adaptive_runs_do_not_depend_on_memory(baseline):
    """The decision to cut a panel is made from sums whose order depends on memory; it must not flip."""
    small, large = (run("bert", baseline=baseline, memory=memory, tol=1e-2) for memory in ("20 kB", "1 GiB"))

    assert_same_scores(small, large)


@pytest.mark.parametrize("baseline", ["target_token", *wide("zero")])
@pytest.mark.parametrize("name", ["bert", *wide("gpt_oss")])
def test_threads_change_rounding_at_most(name, baseline):
    """Sums are split among threads."""
    one = run(name, baseline=baseline, n_steps=4)
    torch.set_num_threads(2)

    two = run(name, baseline=baseline, n_steps=4)

    assert_same_scores(two, one)


@pytest.mark.parametrize("baseline", ["target_token", "zero"])
@pytest.mark.parametrize("name", DIVERSE)
def test_a_run_repeats_bit_by_bit(name, baseline):
    """Nothing is random, trials of closed forms included."""
    first = run(name, baseline=baseline, n_steps=4)
    torch.manual_seed(99)
    torch.rand(3)

    again = run(name, baseline=baseline, n_steps=4)

    xr.testing.assert_identical(first, again)


@pytest.mark.parametrize("baseline", ["target_token", "zero"])
@pytest.mark.parametrize("name", [*DIVERSE, *wide("dinov3_vit")])
def test_some_targets_get_the_scores_they_get_among_all(name, baseline):
    """Choosing targets saves time and changes nothing."""
    inputs = inputs_of(name)
    inputs = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in inputs.items()}
    maps = ("whole",) if name == "mamba" else ("attention", "mlp", "whole", "composed")
    options = {"baseline": baseline, "n_steps": 4, "maps": maps}

    some = lignite.flow(model_of(name), inputs, targets=[5, 1], **options)

    every = lignite.flow(model_of(name), inputs, **options)
    assert list(some.target.values) == [1, 5]
    assert_same_scores(some, every.sel(target=[1, 5]))


@pytest.mark.parametrize("name", ["bert", "gemma2", *wide("gpt_neo")])
def test_some_layers_get_the_scores_they_get_among_all(name):
    """A layer is explained from its recorded call; which others are asked for does not matter."""
    some = run(name, layers=[-1, 0], n_steps=4)

    every = run(name, n_steps=4)
    assert list(some.layer.values) == [0, 2]
    assert_same_scores(some, every.sel(layer=[0, 2]), allowed=0)


@pytest.mark.parametrize("wanted", ["attention", "mlp", "whole", "composed"])
def test_a_map_alone_is_what_it_is_among_all(wanted):
    """Maps share work, not results: they pass through the block side by side, so sums may come in another order."""
    alone = run("bert", maps=wanted, n_steps=4)

    every = run("bert", n_steps=4)
    assert set(alone.data_vars) == {wanted, f"{wanted}_displacement", f"{wanted}_gap", f"{wanted}_allowed"}
    assert_same_scores(alone, every[list(alone.data_vars)])


@pytest.mark.wide
def test_two_hundred_runs_take_no_more_memory_than_twenty():
    """Hooks, graphs and recorded calls that stay behind would end a run over a data set."""
    model, inputs, process = model_of("bert"), inputs_of("bert", length=5), psutil.Process()
    tensors, resident = [], []

    for call in range(1, 201):
        lignite.flow(model, inputs, baseline=("target_token", "zero")[call % 2], layers=1, maps="whole", n_steps=2)
        if call in (20, 110, 200):
            gc.collect()
            tensors.append(sum(issubclass(type(item), torch.Tensor) for item in gc.get_objects()))
            resident.append(process.memory_info().rss)

    assert all(later <= earlier for earlier, later in pairwise(tensors))
    # the allocator keeps pages of its own; 180 runs that left one layer's tensors behind would hold over 20 MB
    assert resident[-1] - resident[0] < 8 * 2**20
