"""The arrays of a flow, filled from its layers as they finish."""

import numpy as np
import torch
from torch import Tensor

from lignite.errors import ModelError
from lignite.results.schema import FLOW


class Arrays:
    """Arrays of a flow are filled from its layers, in order, in the axes of the result's layout.

    Layers wait on their device until they take more than `budget` bytes: each array that is fetched is waited for.
    `sources` are those that are no padding, where there is some. Engines have targets first.
    """

    def __init__(self, n_layers: int, sources: Tensor | None, budget: float):
        self.n_layers, self.sources, self.budget = n_layers, sources, budget
        self.waiting: list[dict[str, Tensor]] = []
        self.n_filled = 0
        self.found: dict[str, np.ndarray] = {}

    def put(self, variables: dict[str, Tensor]) -> None:
        """Take the variables of the next layer."""
        self.waiting.append(variables)
        if sum(part.nbytes for layer in self.waiting for part in layer.values()) > self.budget:
            self._fill()

    def filled(self) -> dict[str, np.ndarray]:
        """Hand over the arrays, once all layers are there."""
        self._fill()
        return self.found

    def _fill(self) -> None:
        names = list(self.waiting[0]) if self.waiting else []
        n_layers = len(self.waiting)
        for name in names:
            self._fill_one(name, [layer.pop(name) for layer in self.waiting])
        self.n_filled += n_layers
        self.waiting = []

    def _fill_one(self, name: str, layers: list[Tensor]) -> None:
        dims = FLOW.variables[name]
        if len({layer.shape for layer in layers}) > 1:
            raise _unequal(name)
        ours = ("layer", "target", *(dim for dim in dims if dim not in ("layer", "target")))
        stacked = layers[0][None] if len(layers) == 1 else torch.stack(layers)
        layers.clear()
        stacked = stacked.permute([ours.index(dim) for dim in dims])
        if "source" in dims and self.sources is not None:
            stacked = stacked.index_select(dims.index("source"), self.sources.to(stacked.device))
        values, axis = stacked.cpu().numpy(), dims.index("layer")
        if values.shape[axis] == self.n_layers:
            self.found[name] = values
            return
        shape = (*values.shape[:axis], self.n_layers, *values.shape[axis + 1 :])
        if name not in self.found:
            self.found[name] = np.empty(shape, values.dtype)
        if self.found[name].shape != shape:
            raise _unequal(name)
        these = slice(self.n_filled, self.n_filled + values.shape[axis])
        self.found[name][(*[slice(None)] * axis, these)] = values


def _unequal(name: str) -> ModelError:
    return ModelError(
        f"The chosen layers differ in their number of heads, so {name} fits no array; pass layers= of one kind."
    )
