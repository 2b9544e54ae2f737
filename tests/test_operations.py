"""How many tensor operations a flow takes, and how often it waits for the device: on short inputs they are the cost."""

import contextlib
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.architectures import ARCHITECTURES
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import lignite
from lignite.request import MAPS

LENGTH = 39  # as many positions as the tiny model has, less one
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "unique")
VIEWS = ("view", "t", "transpose", "expand", "select", "slice", "unsqueeze", "squeeze", "detach", "permute", "alias",
         "_unsafe_view", "split_with_sizes", "split", "unbind", "diagonal", "reshape", "_reshape_alias")  # fmt: skip


class Counted(TorchDispatchMode):
    """Counts what reaches the device; `waits` are reads of it, for which the host stands still."""

    def __init__(self):
        super().__init__()
        self.operations, self.waits = Counter(), 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        self.operations[name] += 1
        indexes = args[1] if name in ("index", "index_put_") else ()
        by_mask = any(index is not None and index.dtype == torch.bool for index in indexes)
        self.waits += by_mask or name in WAITS
        return function(*args, **(kwargs or {}))

    @property
    def total(self) -> int:
        return sum(self.operations.values())

    @property
    def launched(self) -> int:
        """Those that compute or move anything; views cost the host alone."""
        return sum(count for name, count in self.operations.items() if name not in VIEWS)


@contextlib.contextmanager
def counting(monkeypatch):
    """Reads of whole tensors do not show among the operations of a CPU."""
    with Counted() as counted, monkeypatch.context() as patch:
        for name in ("tolist", "numpy", "cpu"):
            read = getattr(Tensor, name)

            def noted(tensor, *args, read=read, **options):
                counted.waits += 1
                return read(tensor, *args, **options)

            patch.setattr(Tensor, name, noted)
        yield counted


def cost_of(monkeypatch, n_layers: int, **options) -> Counted:
    bert = ARCHITECTURES["bert"]
    architecture = replace(bert, config={**bert.config, "num_hidden_layers": n_layers})
    model, inputs = lignite.wrap(architecture.build(seed=0, dtype=torch.float32)), architecture.inputs(length=LENGTH)
    lignite.flow(model, inputs, **options)  # what is kept from call to call is there
    with counting(monkeypatch) as counted:
        lignite.flow(model, inputs, **options)
    return counted


@pytest.mark.parametrize(("maps", "operations", "launches"), [(MAPS, 560, 310), (("whole",), 365, 165)])
def test_a_layer_takes_few_operations_and_waits_little(maps, operations, launches, monkeypatch):
    """A launch costs microseconds and a wait empties the queue; a GPU is idle meanwhile. Every check is in the count.

    A plain forward pass of one layer takes 39, of which 12 compute.
    """
    one, three = (cost_of(monkeypatch, n_layers, maps=maps, tol=0.1) for n_layers in (1, 3))

    assert (three.total - one.total) / 2 <= operations
    assert (three.launched - one.launched) / 2 <= launches
    assert (three.waits - one.waits) / 2 <= 4
