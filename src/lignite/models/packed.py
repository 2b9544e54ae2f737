"""Layers whose weights bitsandbytes has packed into 8 or 4 bits, and plain layers of the numbers they stand for."""

import copy
import sys
from collections.abc import Collection, Iterator
from typing import Any, TypeVar

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from lignite.errors import ModelError
from lignite.models.stream import light_copy

Network = TypeVar("Network", bound=nn.Module)


def packed_layers(network: nn.Module) -> set[nn.Linear]:
    """Find the layers of a network whose weights bitsandbytes has packed.

    Raises
    ------
    ModelError
        If packed weights stand in a module that computes with them in a way of its own, or are not in memory.
    """
    library = sys.modules.get("bitsandbytes")  # it is there wherever something of it is
    return set() if library is None else set(_layers(network, library.nn))


def _layers(network: nn.Module, kinds: Any) -> Iterator[nn.Linear]:
    known = (kinds.Linear4bit.forward, kinds.Linear8bitLt.forward)
    for place, module in network.named_modules():
        weights = [weight for weight in module._parameters.values() if weight is not None]
        own = "forward" in vars(module) and "_hf_hook" not in vars(module)
        if type(module).forward in known and not own:
            if any(weight.is_meta for weight in weights):
                raise ModelError(
                    f"the weights of {type(network).__name__} are packed by bitsandbytes and not in memory ({place} is "
                    "on 'meta'): load it without offloading, or stream the model it was made of."
                )
            yield module
        elif any(isinstance(weight, kinds.Params4bit | kinds.Int8Params) for weight in weights):
            raise ModelError(
                f"{place} of {type(network).__name__} computes in a way of its own ({type(module).__name__}) with "
                "weights that bitsandbytes has packed: put a plain layer of their numbers in its place."
            )


def with_plain_layers(network: Network, layers: Collection[nn.Linear], dtype: torch.dtype) -> Network:
    """Copy a network with plain layers of weights on 'meta' in the place of packed ones; all else is shared."""
    known: dict[int, Any] = {id(layer): _plain(layer, dtype) for layer in layers}
    for module in network.modules():
        held = (*module._parameters.values(), *module._buffers.values(), *vars(module).values())
        known |= {id(each): each for each in held if isinstance(each, Tensor)}
    copied: Network = light_copy(network, known)
    return copied


def precision_of(network: nn.Module, layers: Collection[nn.Linear]) -> torch.dtype:
    """Find the precision in which a network computes, whatever its weights were packed from."""
    config: Any = getattr(network, "config", None)
    if getattr(network, "is_quantized", False):
        return config.dtype  # as it was loaded, and as transformers unpacks it
    packed = {id(layer.weight) for layer in layers}
    others = (each.dtype for each in network.parameters() if each.is_floating_point() and id(each) not in packed)
    return next(others, torch.float32)


def at_least(tensor: Shaped[Tensor, "..."], dtype: torch.dtype) -> Tensor:
    """Give numbers in this precision unless they have more bits.

    Of files with packed weights transformers leaves all others as they are stored, whatever it was asked for; what has
    to be float32 beside half precision stays.
    """
    return tensor.to(dtype) if tensor.is_floating_point() and tensor.itemsize <= dtype.itemsize else tensor


def _plain(layer: nn.Linear, dtype: torch.dtype) -> nn.Linear:
    made = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None, device="meta", dtype=dtype)
    made.requires_grad_(False)
    for name, weight in layer._parameters.items():
        if weight is not None and weight.dtype == dtype and _is_plain(layer, weight):
            made._parameters[name] = weight
    own = vars(made)
    given = {name: value for name, value in vars(layer).items() if name in own}  # training, hooks
    own |= given | {name: own[name] for name in ("_parameters", "_load_state_dict_pre_hooks")}
    return made


def _is_plain(layer: nn.Linear, weight: nn.Parameter) -> bool:
    """Whether it is the bias, shared with a plain layer, or not packed yet."""
    whole = weight.shape == (layer.out_features, layer.in_features)
    return weight is layer.bias or (weight.is_floating_point() and whole)


def unpacked(layer: nn.Linear, name: str) -> Tensor:
    """Give the numbers that the weight, or the bias, of a packed layer stands for; the layer is not touched.

    Raises
    ------
    ModelError
        If the scales of a packed weight are nowhere.
    """
    weight = layer._parameters[name]
    assert weight is not None
    kinds: Any = sys.modules["bitsandbytes"]
    if _is_plain(layer, weight):
        return weight.detach()
    if isinstance(layer, kinds.nn.Linear8bitLt):
        scales = layer.state.SCB if layer.state.SCB is not None else getattr(weight, "SCB", None)
        if scales is not None:
            return kinds.functional.int8_vectorwise_dequant(weight.data, scales.to(weight.device))
    else:
        state = getattr(weight, "quant_state", None) or layer.quant_state
        if state is not None:
            return kinds.functional.dequantize_4bit(*_in_order(weight.data, state, kinds.functional))
    raise ModelError(
        f"a {type(layer).__name__} of {layer.in_features} and {layer.out_features} features has packed weights without "
        "scales: load the model again."
    )


def _in_order(data: Shaped[Tensor, "..."], state: Any, functions: Any) -> tuple[Tensor, Any]:
    """Put packed weights back in order that the layer's forward has rearranged for a CPU with bfloat16 products."""
    if not getattr(state, "packing_format_for_cpu", False):
        return data, state
    found = copy.copy(state)
    found.original_nested = False  # its scales were unpacked for good
    data, found = functions._convert_weight_packed_for_cpu_inverse(data, found)
    found.absmax = state.absmax.T.reshape(-1).float()  # which the library leaves transposed
    return data, found
