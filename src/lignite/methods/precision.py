"""Explain in float32 what a half-precision model says: its rounding is larger than the differences that are sought."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from lignite.models.loading import Model
from lignite.models.prediction import Row
from lignite.models.splitting import HALF


def in_float32(model: Model, rows: Sequence[Row]) -> tuple[Model, list[Row]]:
    """The same model and inputs with half-precision numbers widened; others are returned as they are.

    The copy takes twice the memory of the half-precision weights for as long as it is held, beside them. It is not kept
    from one call to the next: weights may change in between, and a model and a half is much to hold. Use it inside
    `at_rest`, whose state it inherits.
    """
    if model.dtype not in HALF:
        return model, list(rows)
    return replace(model, network=_widened(model.network)), [_widened_row(row) for row in rows]


def _widened(network: nn.Module) -> nn.Module:
    """A copy whose half-precision tensors are float32; what is shared stays shared, and no half-precision copy is made.

    Tensors that modules hold beside their parameters and buffers are widened, too: a product of two precisions fails.
    """
    known: dict[int, object] = {}
    for module in network.modules():
        held = [*module._parameters.values(), *module._buffers.values(), *vars(module).values()]
        for tensor in held:
            if isinstance(tensor, Tensor) and tensor.dtype in HALF and id(tensor) not in known:
                wide = tensor.detach().float()
                known[id(tensor)] = nn.Parameter(wide, tensor.requires_grad) if _is_parameter(tensor) else wide
    return copy.deepcopy(network, known)


def _is_parameter(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.Parameter)


def _widened_row(row: Row) -> Row:
    tensors: Mapping[str, Tensor] = row.encoded.tensors
    wide = {name: tensor.float() if tensor.dtype in HALF else tensor for name, tensor in tensors.items()}
    return replace(row, encoded=replace(row.encoded, tensors=wide))
