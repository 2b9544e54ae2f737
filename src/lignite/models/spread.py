"""Networks whose weights are not simply there: spread over devices, offloaded by accelerate, packed into few bits."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from transformers import PreTrainedModel

from lignite.errors import ModelError
from lignite.models.packed import at_least, packed_layers, precision_of, unpacked, with_plain_layers
from lignite.models.stream import streamed_copy

Network = TypeVar("Network", bound=nn.Module)


class _Elsewhere(NamedTuple):
    """A weight is kept in a map, under a name of its own."""

    kept: Mapping[str, Tensor]
    name: str


def gathered(network: Network) -> Network:
    """Give a network with plain numbers on one device: itself, or a copy that takes them from it block by block.

    The network is read and not touched; what is on the one device already is shared.

    Raises
    ------
    ModelError
        If weights are nowhere, or packed in a way that does not say how to unpack them.
    """
    weights = list(network.parameters())
    layers = packed_layers(network)
    packed = bool(layers) or any(map(is_traceable_wrapper_subclass, weights))
    if not packed and getattr(network, "is_quantized", False):
        raise ModelError(
            f"the weights of {type(network).__name__} are quantised ({_packing(network)}) and cannot be read as "
            "numbers: call its dequantize() first and lignite.wrap it, or lignite.load the model it was made of, with "
            "stream=True."
        )
    offloaded = dict(_offloaded(network))
    absent = next((key for key, weight in network.named_parameters() if weight.is_meta and key not in offloaded), None)
    if absent is not None:
        raise ModelError(
            f"the weights of {type(network).__name__} are not in memory ({absent} is on 'meta'): load them."
        )
    devices = {weight.device for weight in weights}
    if len(devices) <= 1 and not packed and not offloaded:
        return network
    device, dtype = _device_of(network), precision_of(network, layers)

    def find(name: str, tensor: Shaped[Tensor, "..."]) -> Tensor:
        if not tensor.is_meta:
            return tensor
        owner, _, key = name.rpartition(".")
        layer = network.get_submodule(owner)
        if layer in layers:
            return unpacked(layer, key).to(tensor.dtype)
        place = offloaded[name]
        return place.kept[place.name].to(tensor.dtype)

    def plain(tensor: Shaped[Tensor, "..."]) -> Tensor:
        numbers = tensor.dequantize() if is_traceable_wrapper_subclass(tensor) else tensor
        return (at_least(numbers, dtype) if packed else numbers).to(device)

    skeleton = with_plain_layers(network, layers, dtype) if layers else network
    copied: Network = streamed_copy(skeleton, find, plain)
    if offloaded and isinstance(copied, PreTrainedModel):
        copied.tie_weights()  # offloaded apart, tied weights came back as two
    return copied


def _packing(network: nn.Module) -> str:
    found = getattr(getattr(network, "config", None), "quantization_config", None)
    method = found.get("quant_method") if isinstance(found, dict) else getattr(found, "quant_method", None)
    return str(getattr(method, "value", method) or "by some library")


def _offloaded(network: nn.Module) -> Iterator[tuple[str, _Elsewhere]]:
    """List the weights that accelerate brings when a module runs, and where it keeps them."""
    for place, module in network.named_modules():
        for hook in _hooks_of(module):
            kept = getattr(hook, "weights_map", None)
            if not getattr(hook, "offload", False) or kept is None:
                continue
            inside = getattr(hook, "place_submodules", False)
            for key, _ in (*module.named_parameters(recurse=inside), *module.named_buffers(recurse=inside)):
                yield f"{place}.{key}".removeprefix("."), _Elsewhere(kept, key)


def _hooks_of(module: nn.Module) -> list[Any]:
    hook = module.__dict__.get("_hf_hook")
    return [] if hook is None else list(getattr(hook, "hooks", [hook]))


def _device_of(network: nn.Module) -> torch.device:
    """Find the device on which the first weights work."""
    for module in network.modules():
        if any(True for _ in module.parameters(recurse=False)):
            works_on = (getattr(hook, "execution_device", None) for hook in _hooks_of(module))
            given = next((each for each in works_on if each is not None), None)
            return next(module.parameters(recurse=False)).device if given is None else torch.device(given)
    return torch.device("cpu")
