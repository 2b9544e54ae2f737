"""Everything of a model that a run may not leave changed."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.testing import assert_close


@dataclass
class Snapshot:
    """Everything about a model that a run could leave changed."""

    tensors: dict[str, tuple[int, torch.Tensor]]
    gradients: dict[str, torch.Tensor | None]
    required: dict[str, bool]
    training: dict[str, bool]
    hooks: dict[str, list[list[Any]]]
    attributes: dict[str, set[str]]
    configurations: list[dict[str, Any]]

    def assert_equal(self, other: "Snapshot") -> None:
        assert self.tensors.keys() == other.tensors.keys()
        for name, (place, tensor) in self.tensors.items():
            assert place == other.tensors[name][0], f"{name} is another tensor"
            assert_close(tensor, other.tensors[name][1], rtol=0, atol=0, equal_nan=True, msg=name)  # packed: no numbers
        assert self.gradients.keys() == other.gradients.keys()
        for name, gradient in self.gradients.items():
            assert (gradient is None) == (other.gradients[name] is None), name
            if gradient is not None:
                assert_close(gradient, other.gradients[name], rtol=0, atol=0, msg=name)
        for field in ("required", "training", "hooks", "attributes", "configurations"):
            assert getattr(self, field) == getattr(other, field), field


def snapshot(network: nn.Module) -> Snapshot:
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    modules = dict(network.named_modules())
    return Snapshot(
        tensors={name: (tensor.data_ptr(), tensor.detach().clone()) for name, tensor in tensors.items()},
        gradients={
            name: None if p.grad is None else p.grad.clone() for name, p in network.named_parameters()
        },
        required={name: parameter.requires_grad for name, parameter in network.named_parameters()},
        training={name: module.training for name, module in modules.items()},
        hooks={
            name: [list(value.items()) for key, value in vars(module).items() if key.endswith("_hooks")]
            for name, module in modules.items()
        },
        attributes={name: set(vars(module)) for name, module in modules.items()},
        configurations=[
            copy.deepcopy(vars(module.config)) for module in modules.values() if hasattr(module, "config")
        ],
    )  # fmt: skip


class Interruption(Exception):
    """Raised by a hook of the user's."""
