"""Find the stack of blocks, and record each block's exact call in one forward pass of the untouched model."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import isfinite
from typing import Any, cast

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from lignite.blocks.arguments import Layout, Place, find_states, first_tensor, layout_of, put_argument, put_states
from lignite.blocks.attention import READABLE, configurations, intercepted
from lignite.errors import BypassError, ModelError, NotFiniteError
from lignite.models.bare import Bare
from lignite.models.facts import attention_of, block_counts, has_encoder_and_decoder, size_options
from lignite.models.hold import Captured, after_each, before_each

_CACHES = ("past_key_values", "past_key_value", "layer_past", "cache_params")


@dataclass(frozen=True, eq=False)
class BlockCall:
    """A block is called with these arguments; these states enter it and leave it.

    What is recorded of a model is light: a state of every layer, once, and the arguments beside it as the model handed
    them, which most blocks share. Weights, graphs and copies belong to what is made of a call, one block at a time.

    Attributes
    ----------
    args, kwargs
        The arguments, with nothing in the place of the states.
    states_at
        That place: 0 or a keyword.
    layout
        How states lie there, and in what is returned.
    masked
        The same call made on lignite's attention function: there masks are additive floats whatever attention the model
        was loaded with. None where the model's own masks are understood, or where it does not run on a function it does
        not know.
    """

    layer: int
    name: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    states_at: Place
    states: Float[Tensor, "token d"]
    output: Float[Tensor, "token d"]
    layout: Layout
    masked: "BlockCall | None" = None


@dataclass(frozen=True, eq=False)
class Met:
    """A block was met when it was called so, whatever the shape of its states."""

    name: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    states_at: Place
    states: Shaped[Tensor, "*layout"]
    output: Shaped[Tensor, "*layout"]
    handed: tuple[Tensor, Tensor]  # the very tensors that entered and left
    version: int  # of the one that left, when it did: what is changed in place has a higher one


@dataclass(eq=False)
class Called:
    """A list of modules was called with this: its outermost calls, and the lists in whose blocks they happened."""

    name: str
    calls: list[Met] = field(default_factory=list)
    within: set[str] = field(default_factory=set)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.calls[0].states.shape)


@dataclass(frozen=True, eq=False)
class Blocks:
    """These blocks are explained, in the order of their calls; `layout` says how their states lie."""

    name: str
    calls: list[Met]
    layout: Layout


def body_of(network: nn.Module) -> nn.Module:
    """Find the stack whose blocks are explained: the encoder of an encoder-decoder, else the model without its head."""
    if has_encoder_and_decoder(getattr(network, "config", None)):
        return cast(nn.Module, cast(Any, network).get_encoder())
    body = getattr(network, "base_model", network)
    main_input = getattr(network, "main_input_name", "input_ids")
    return body if main_input in inspect.signature(body.forward).parameters else network


def record(network: nn.Module, tensors: Mapping[str, Tensor]) -> list[BlockCall]:
    """Run the model on one input as the user loaded it; and once more for its masks, where they are not understood.

    Use it inside `at_rest`. Both runs leave the model as it was.

    Raises
    ------
    ModelError
        If no stack of blocks is found in the model; the message names what was found.
    NotFiniteError
        If a state is NaN or infinite; the message names the first layer and any such weight.
    """
    calls = _run(network, tensors)
    if all(attention_of(config) in READABLE for config in configurations(network)):
        return calls
    try:
        with intercepted(network):
            masked = _run(network, tensors)
    except (LookupError, ValueError, NotImplementedError):
        return calls  # some look attention up in tables of their own (ModernBERT before transformers 5.1)
    return [replace(call, masked=other) for call, other in zip(calls, masked, strict=True)]


def record_states(network: nn.Module, tensors: Mapping[str, Tensor]) -> list[Float[Tensor, "token d"]]:
    """Record the states that enter each block, for one input; use it inside `at_rest`."""
    return [call.states for call in _run(network, tensors)]


def _run(network: nn.Module, tensors: Mapping[str, Tensor]) -> list[BlockCall]:
    blocks = find_blocks(network, tensors)
    if len(blocks.layout.rest) > 1:
        raise ModelError(
            f"The blocks of {type(network).__name__} ({blocks.name!r}) carry states "
            f"{list(blocks.calls[0].states.shape)}, not one vector for every token: they cannot be taken apart. "
            "lignite.explain reads such models."
        )
    _check_finite(network, blocks.calls)
    return [_as_block_call(layer, call, blocks.layout) for layer, call in enumerate(blocks.calls)]


def _as_block_call(layer: int, call: Met, layout: Layout) -> BlockCall:
    kwargs = {key: None if key in _CACHES else value for key, value in call.kwargs.items()}
    args, kwargs = put_argument(call.args, kwargs, call.states_at, None)
    states, output = (layout.read(each)[0] for each in (call.states, call.output))
    return BlockCall(layer, call.name, call.module, args, kwargs, call.states_at, states, output, layout)


# Which list is the stack


def find_blocks(network: nn.Module, tensors: Mapping[str, Tensor]) -> Blocks:
    """Find the outermost list of modules whose blocks carry the states from the embeddings to the head.

    Use it inside `at_rest`.

    Raises
    ------
    ModelError
        If there is none, or none with as many blocks as the configuration says; the message names what was found.
    """
    body = body_of(network)
    return blocks_under(network, body, lambda: _run_as_far_as(network, body, tensors), n_tokens_of(tensors))


def _run_as_far_as(network: nn.Module, body: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Run the network until its body has answered: what a head hands to the body is part of what the model does."""

    def leave(*_: Any) -> None:
        raise Captured(None)

    with suppress(Captured), after_each([body] if body is not network else [], leave):
        network(**_accepted(network, tensors))


def n_tokens_of(tensors: Mapping[str, Tensor]) -> int | None:
    """Count the tokens of an input, where its shape tells; an image's depend on the model."""
    return next((tensors[name].shape[1] for name in ("input_ids", "inputs_embeds") if name in tensors), None)


def blocks_under(network: nn.Module, root: nn.Module, run: Callable[[], Any], n_tokens: int | None) -> Blocks:
    """Find the stack among the lists below one module, while the model runs."""
    members = _members(root)
    if not members:
        raise BypassError(
            f"{type(network).__name__} has no list of blocks (an nn.ModuleList) to explain. "
            "Give a transformer model whose layers stand in such a list."
        )
    with torch.no_grad(), _recording(members) as called:
        run()
    found = {name: each for name, each in called.items() if each.calls and layout_of(each.shape, n_tokens)}
    if not found:
        raise BypassError(
            f"No block of {type(network).__name__} maps states [1, token, d] to states of the same shape, so none can "
            "be explained. Give a transformer whose layers keep the number of tokens and the width."
        )
    chains = [each for each in found.values() if _is_chain(members, each, run)]
    chosen = _choose(chains, set(found), counts_of(network, root), n_tokens)
    if chosen is None:
        raise BypassError(
            f"{type(network).__name__} has no list of blocks that carry the states from the embeddings to the head, as "
            f"many as its configuration says ({' or '.join(map(str, counts_of(network, root))) or 'any number'}). "
            f"Found: {_described(found.values())}."
        )
    layout = layout_of(chosen.shape, n_tokens)
    assert layout is not None
    calls = []
    for call in chosen.calls:  # where tokens are merged, what follows belongs to the head
        if call.states.shape != chosen.calls[0].states.shape:
            break
        calls.append(call)
    return Blocks(chosen.name, calls, layout)


def _described(found: Any) -> str:
    return ", ".join(f"{each.name!r} called {len(each.calls)} times with {list(each.shape)}" for each in found)


def counts_of(network: nn.Module, root: nn.Module) -> tuple[int, ...]:
    """Read how many blocks the configuration says a stack has; nothing where it does not say."""
    return block_counts(getattr(root, "config", None) or getattr(network, "config", None))


def _choose(chains: Sequence[Called], found: set[str], counts: Sequence[int], n_tokens: int | None) -> Called | None:
    outermost = [each for each in chains if not each.within & found]
    for some in (outermost, chains):
        fitting = [
            each
            for each in some
            if not counts or {len(each.calls), len({id(call.module) for call in each.calls})} & set(counts)
        ]
        if not fitting:
            continue
        best = max(fitting, key=lambda each: len(each.calls))
        before = outermost[: outermost.index(best)] if best in outermost else []
        # A stack may stand behind another one that merges the tokens: then the first one is explained, up to there.
        early = [each for each in before if each.shape[1] == n_tokens != best.shape[1]]
        return early[0] if early else best
    return None


def _is_chain(members: "Mapping[str, list[tuple[str, nn.Module]]]", called: Called, run: Callable[[], Any]) -> bool:
    """Tell whether every block works on what the one before it made: parts side by side are no stack."""
    calls = called.calls
    handed_on = (
        before.handed[1] is after.handed[0] or _same(before.output, after.states) for before, after in pairwise(calls)
    )
    if all(handed_on):
        return True
    with torch.no_grad(), _recording({called.name: members[called.name]}, shaken=calls[0].module) as again:
        run()
    moved = again[called.name].calls
    return len(moved) == len(calls) and not any(
        _same(one.states, other.states) for one, other in zip(calls[1:], moved[1:], strict=True)
    )


def _same(one: Shaped[Tensor, "..."], other: Shaped[Tensor, "..."]) -> bool:
    return one.shape == other.shape and bool(torch.equal(one, other))


def _members(root: nn.Module) -> dict[str, list[tuple[str, nn.Module]]]:
    """List the modules of every list below one, by name; a list of lists holds what these hold."""
    if isinstance(root, Bare):
        return root.lists_of_blocks()

    def inside(name: str, part: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        for number, child in enumerate(cast(nn.ModuleList, part)):
            if isinstance(child, nn.ModuleList):
                yield from inside(f"{name}.{number}", child)
            else:
                yield f"{name}.{number}", child

    lists = {name: part for name, part in root.named_modules() if isinstance(part, nn.ModuleList)}
    inner = {id(child) for part in lists.values() for child in part if isinstance(child, nn.ModuleList)}
    found = {name: list(inside(name, part)) for name, part in lists.items() if id(part) not in inner}
    return {name: members for name, members in found.items() if members}


def _accepted(body: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    parameters = inspect.signature(body.forward).parameters
    named = {name: tensor for name, tensor in tensors.items() if name in parameters}
    accepted: dict[str, Any] = named or dict(tensors)  # a wrapped forward names nothing
    if "use_cache" in parameters:
        accepted["use_cache"] = False
    return accepted | size_options(body, tensors)


@contextmanager
def _recording(
    members: "Mapping[str, list[tuple[str, nn.Module]]]", shaken: nn.Module | None = None
) -> Iterator[dict[str, Called]]:
    """Note the calls of every list's modules; the first output of one that is `shaken` is changed."""
    called = {name: Called(name) for name in members}
    open_calls: list[tuple[str, nn.Module, Any]] = []

    def entering(name: str, given: Float[Tensor, "*layout"]) -> Tensor:
        """Copy states, which a block may change in place, or take the copy of what the block before has left, if it
        fits.
        """
        before = called[name].calls[-1] if called[name].calls else None
        passed_on = before is not None and before.handed[1] is given and before.version == given._version
        return before.output if before is not None and passed_on else given.clone()

    def on_entry(name: str) -> Any:
        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            inner = any(name == other for other, _, _ in open_calls)
            found = None if inner else find_states(args, kwargs)
            open_calls.append(
                (name, module, None if found is None else (found, entering(name, found[1]), args, kwargs))
            )

        return enter

    def on_exit(name: str, place: str) -> Any:
        def leave(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            own = max(number for number, (other, _, _) in enumerate(open_calls) if other == name)
            _, _, entered = open_calls.pop(own)
            result = first_tensor(output)
            if entered is None or result is None or result.shape != entered[0][1].shape:
                return None
            (states_at, given), kept, args, kwargs = entered
            handed, left = (given, result), result.clone()
            called[name].calls.append(Met(place, module, args, kwargs, states_at, kept, left, handed, result._version))
            called[name].within |= {other for other, around, _ in open_calls if around is not module}
            if module is shaken and len(called[name].calls) == 1:
                return put_states(output, result + torch.arange(result.shape[-1]).to(result).cos())
            return None

        return leave

    with ExitStack() as hooks:
        for name, some in members.items():
            for place, block in some:
                hooks.enter_context(before_each([block], on_entry(name), with_kwargs=True))
                hooks.enter_context(after_each([block], on_exit(name, place), with_kwargs=True))
        yield called


def _check_finite(network: nn.Module, calls: Sequence[Met]) -> None:
    """Check all states at once, since reading a number waits for the device: a norm is finite if all of it is."""
    passed = [calls[0].states, *(call.output for call in calls)]  # a block carries on what enters it
    largest = [torch.linalg.vector_norm(each, ord=torch.inf) for each in passed]
    finite = [isfinite(size) for size in torch.stack(largest).tolist()]
    if all(finite):
        return
    layer = max(0, finite.index(False) - 1)
    weights = ((name, weight) for name, weight in network.named_parameters() if not weight.is_meta)
    broken = [name for name, weight in weights if not torch.isfinite(weight).all()]
    cause = (
        f"these weights are not finite: {', '.join(broken[:3])}{' …' if len(broken) > 3 else ''}. "
        "Load a sound checkpoint."
        if broken
        else "all weights are finite: the numbers overflow. Load the model in float32 (dtype='float32')."
    )
    raise NotFiniteError(f"States of layer {layer} ({calls[layer].name}) contain NaN or infinity; {cause}")
