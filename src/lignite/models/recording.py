"""Record each block's exact call in one forward pass of the untouched model."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lignite.errors import ModelError, NotFiniteError
from lignite.models.attention import configurations, intercepted, own_calls
from lignite.models.images import size_options

_CACHES = ("past_key_values", "past_key_value", "layer_past", "cache_params")


@dataclass(frozen=True, eq=False)
class BlockCall:
    """One call of one block: its arguments, the states that entered and the states that left.

    `states_at` says where the states stand among the arguments: 0 or a keyword. `masked` is the same call made on
    lignite's attention function: there masks are additive floats whatever attention the model was loaded with. It is
    None where the model does not run on a function it does not know.
    """

    layer: int
    name: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    states_at: int | str
    states: Float[Tensor, "token d"]
    output: Float[Tensor, "token d"]
    masked: "BlockCall | None" = None


def body_of(network: nn.Module) -> nn.Module:
    """The stack whose blocks are explained: the encoder of an encoder-decoder, else the model without its head."""
    if getattr(getattr(network, "config", None), "is_encoder_decoder", False):
        encoder: nn.Module = cast(Any, network).get_encoder()
        return encoder
    body = getattr(network, "base_model", network)
    main_input = getattr(network, "main_input_name", "input_ids")
    return body if main_input in inspect.signature(body.forward).parameters else network


def record(network: nn.Module, tensors: Mapping[str, Tensor]) -> list[BlockCall]:
    """Run the model twice on one input: as the user loaded it, and on lignite's attention function, for its masks.

    Use it inside `at_rest`. Both runs leave the model as it was.

    Raises
    ------
    ModelError
        If no list of blocks is found in the model.
    NotFiniteError
        If a state is NaN or infinite; the message names the first layer and any such weight.
    """
    calls = _run(network, tensors)
    try:
        with intercepted(configurations(network)):
            masked = _run(network, tensors)
    except (LookupError, ValueError, NotImplementedError):
        return calls  # some look attention up in tables of their own (ModernBERT before transformers 5.1)
    return [replace(call, masked=other) for call, other in zip(calls, masked, strict=True)]


def record_states(network: nn.Module, tensors: Mapping[str, Tensor]) -> list[Float[Tensor, "token d"]]:
    """States that enter each block, for one input; use it inside `at_rest`."""
    return [call.states for call in _run(network, tensors)]


def stack_of(network: nn.Module, tensors: Mapping[str, Tensor]) -> list[nn.Module]:
    """The blocks that are explained, in the order of their calls; use it inside `at_rest`."""
    return [call.module for call in _run(network, tensors)]


def _run(network: nn.Module, tensors: Mapping[str, Tensor]) -> list[BlockCall]:
    body = body_of(network)
    lists = {name: part for name, part in body.named_modules() if isinstance(part, nn.ModuleList) and len(part)}
    if not lists:
        raise ModelError(
            f"{type(network).__name__} has no list of blocks (an nn.ModuleList) to explain. "
            "Give a transformer model whose layers stand in such a list."
        )
    calls: dict[str, list[BlockCall]] = {name: [] for name in lists}
    with torch.no_grad(), _recording(lists, calls):
        body(**_accepted(body, tensors))
    # Blocks may hold lists of parts (T5's sub-layers, a mixture's experts): the stack is the list called most often,
    # the outermost one of equals.
    name = max(calls, key=lambda name: (len(calls[name]), -name.count(".")))
    if not calls[name]:
        raise ModelError(
            f"No block of {type(network).__name__} maps states [1, token, d] to states of the same shape, so none can "
            "be explained. Give a transformer whose layers keep the number of tokens and the width."
        )
    for call in calls[name]:
        _check_finite(network, call)
    return calls[name]


def _accepted(body: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    parameters = inspect.signature(body.forward).parameters
    accepted: dict[str, Any] = {name: tensor for name, tensor in tensors.items() if name in parameters}
    if "use_cache" in parameters:
        accepted["use_cache"] = False
    return accepted | size_options(body, tensors)


@contextmanager
def _recording(lists: dict[str, nn.ModuleList], calls: dict[str, list[BlockCall]]) -> Iterator[None]:
    entered: dict[int, tuple[Any, ...]] = {}
    handles = []

    def on_entry(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found = find_states(args, kwargs)
        if found is not None:
            entered[id(module)] = (*found, args, kwargs)

    def on_exit(name: str, index: int) -> Any:
        def record_call(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            result = first_tensor(output)
            if id(module) not in entered or result is None:
                return
            states_at, states, args, kwargs = entered.pop(id(module))
            if result.shape != states.shape:
                return
            kwargs = {key: None if key in _CACHES else value for key, value in kwargs.items()}
            calls[name].append(
                BlockCall(
                    layer=len(calls[name]),
                    name=f"{name}.{index}",
                    module=module,
                    args=args,
                    kwargs=kwargs,
                    states_at=states_at,
                    states=states[0],
                    output=result[0].clone(),
                )
            )

        return record_call

    try:
        for name, module_list in lists.items():
            for index, block in enumerate(module_list):
                handles.append(block.register_forward_pre_hook(own_calls(on_entry), with_kwargs=True))
                handles.append(block.register_forward_hook(own_calls(on_exit(name, index)), with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def find_states(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int | str, Tensor] | None:
    """Where a block's states stand among its arguments, and a copy of them; None if it takes none for one input."""
    places: list[tuple[int | str, Any]] = [(0, args[0])] if args else [("hidden_states", kwargs.get("hidden_states"))]
    for place, value in places:
        if isinstance(value, Tensor) and value.ndim == 3 and len(value) == 1 and value.dtype.is_floating_point:
            return place, value.detach().clone()
    return None


def first_tensor(output: Any) -> Tensor | None:
    """A block's states among what it returns."""
    result = output[0] if isinstance(output, tuple | list) and output else output
    return result if isinstance(result, Tensor) else None


def _check_finite(network: nn.Module, call: BlockCall) -> None:
    if torch.isfinite(call.states).all() and torch.isfinite(call.output).all():
        return
    broken = [name for name, weight in network.named_parameters() if not torch.isfinite(weight).all()]
    cause = (
        f"these weights are not finite: {', '.join(broken[:3])}{' …' if len(broken) > 3 else ''}. "
        "Load a sound checkpoint."
        if broken
        else "all weights are finite: the numbers overflow. Load the model in float32 (dtype='float32')."
    )
    raise NotFiniteError(f"States of layer {call.layer} ({call.name}) contain NaN or infinity; {cause}")
