"""Stream the weights of a network: a block's are in memory while it runs, and are read again when it runs again."""

import copy
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial, update_wrapper
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Shaped
from torch import Tensor, nn
from transformers import PreTrainedModel

from lignite.errors import ModelError
from lignite.memory import hand_back
from lignite.models.experts import ByExpert, Experts, ExpertsPlace, experts_in
from lignite.models.hold import modules_of

Weights = dict[str, nn.Parameter]
"""Weights of a part, by their names in the network."""

Read = Callable[["Part"], dict[str, Tensor]]

Change = Callable[[Tensor], Tensor]


class Parts(NamedTuple):
    """These modules of a network are parts, by their names, and these of their weights come and go."""

    names: tuple[str, ...]
    weights: frozenset[str]


def parts_of(network: nn.Module) -> Parts:
    """List what can be streamed of a network: the members of its outermost lists of modules, one after the other.

    A weight that stands in several places stays in memory, and so does the first of each transformer in the network,
    which says on what device that one is.
    """
    places: dict[int, int] = {}
    for _, weight in network.named_parameters(remove_duplicate=False):
        places[id(weight)] = places.get(id(weight), 0) + 1
    first = {id(next(each.parameters(), None)) for each in network.modules() if isinstance(each, PreTrainedModel)}
    found: dict[str, set[str]] = {}
    for part in _members(network):
        within = network.get_submodule(part).named_parameters(prefix=part)
        found[part] = {name for name, weight in within if places[id(weight)] == 1 and id(weight) not in first}
    return Parts(tuple(part for part in found if found[part]), frozenset().union(*found.values()))


def _members(module: nn.Module, name: str = "") -> Iterator[str]:
    for key, child in module.named_children():
        place = f"{name}.{key}" if name else key
        if isinstance(module, nn.ModuleList) and not isinstance(child, nn.ModuleList):
            yield place
        else:
            yield from _members(child, place)


class Part:
    """A part is a module whose weights come and go together.

    Attributes
    ----------
    blanks
        What stands in the places of its weights while they are not in memory; `held` are the weights while they are.
    experts
        Modules of it that read their own weights, of those experts that are visited. Blanks stay in their places.
    n_reads
        How often its weights were read, but for these.
    """

    def __init__(self, stream: "Stream", network: nn.Module, name: str, streamed: frozenset[str]):
        self.stream, self.name, self.module = stream, name, network.get_submodule(name)
        self.experts = list(experts_in(self.module, name, streamed, stream.by_expert))
        apart = {key for each in self.experts for key in each.names.values()}
        blanks = {
            key: self._own(blank_of(weight))
            for key, weight in self.module.named_parameters(prefix=name)
            if key in streamed
        }
        for each in self.experts:
            each.module._parameters.update({own: blanks[key] for own, key in each.names.items()})
            each.module.__dict__["forward"] = each
        self.blanks = {key: blank for key, blank in blanks.items() if key not in apart}
        self.held: Weights | None = None
        self.n_running = self.n_reads = 0
        self._places = [(key, *_place_of(network, key)) for key in self.blanks]
        self.put(None)
        self.module.__dict__["forward"] = Streamed(self)

    def put(self, weights: dict[str, Tensor] | None) -> None:
        """Put weights in their places, or blanks."""
        self.held = None if weights is None else {key: self._own(weight) for key, weight in weights.items()}
        for key, owner, name in self._places:
            owner._parameters[name] = (self.held or self.blanks)[key]
        if weights is None:
            for each in self.experts:
                each.let_go()

    def whole(self, key: str) -> Tensor:
        """Give a weight, read now if it is not held; one of experts with all of them."""
        if key in self.blanks:
            return self.stream.weights(self)[key]
        return next(each for each in self.experts if key in each.names.values()).whole(key)

    def _own(self, weight: Shaped[Tensor, "..."]) -> nn.Parameter:
        owned = nn.Parameter(weight, requires_grad=False)
        owned.streamed_with = self  # type: ignore[attr-defined]
        return owned


def blank_of(weight: Shaped[Tensor, "..."], dtype: torch.dtype | None = None) -> Tensor:
    """Make a weight of the same shape that takes no memory."""
    return torch.empty(weight.shape, dtype=dtype or weight.dtype, device="meta")


def _place_of(network: nn.Module, key: str) -> tuple[nn.Module, str]:
    owner, _, name = key.rpartition(".")
    return network.get_submodule(owner), name


class Streamed:
    """The forward of a part: its weights are there while it runs, and no graph keeps them until it is run backwards."""

    def __init__(self, part: Part):
        self.part, self.own = part, part.module.forward
        update_wrapper(self, self.own)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        stream = self.part.stream
        with stream.running(self.part) as weights:
            if not torch.is_grad_enabled() or _made_again.get():
                return self.own(*args, **kwargs)
            found = {weight.untyped_storage().data_ptr(): key for key, weight in weights.items()}
            with torch.autograd.graph.saved_tensors_hooks(partial(self._leave_out, found), _recall):
                return self.own(*args, **kwargs)

    def _leave_out(self, found: dict[int, str], tensor: Shaped[Tensor, "..."]) -> Any:
        """Keep where a weight is to be had in its place; other tensors are kept as they are."""
        key: str | ExpertsPlace | None = found.get(tensor.untyped_storage().data_ptr())
        if key is None:
            key = next(filter(None, (each.place_of(tensor) for each in self.part.experts)), None)
        if key is None or (isinstance(key, str) and tensor.dtype != self.part.blanks[key].dtype):
            return tensor.detach()  # a graph that keeps the very tensors it has made holds itself
        return _LeftOut(self.part, key, tensor.shape, tensor.stride(), int(tensor.storage_offset()))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        raise ModelError(
            f"the network is streamed ({self.part.name} is read when it runs) and cannot be copied: load it with "
            "stream=False for this."
        )


_made_again: ContextVar[bool] = ContextVar("lignite_graphs_made_again", default=False)


@contextmanager
def graphs_made_again() -> Iterator[None]:
    """Within, whoever runs a block keeps nothing of its graph, and runs it again to have it."""
    token = _made_again.set(True)
    try:
        yield
    finally:
        _made_again.reset(token)


class _LeftOut(NamedTuple):
    """A view of a weight, without its numbers."""

    part: Part
    key: str | ExpertsPlace
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


def _recall(kept: Any) -> Tensor:
    if not isinstance(kept, _LeftOut):
        return cast(Tensor, kept)
    weights = kept.part.stream.weights(kept.part)
    if isinstance(kept.key, str):
        return weights[kept.key].detach().as_strided(kept.size, kept.stride, kept.offset)
    weight = kept.key.found()
    offset = kept.offset - kept.key.skipped + int(weight.storage_offset())
    return weight.as_strided(kept.size, kept.stride, offset)


class Stream:
    """A stream holds two parts of a network in memory: the one that runs, and the next one, which is read meanwhile.

    Which one that is follows from the way the parts were run last, up or down. Arithmetic is that of the network with
    all its weights, to the bit.
    """

    def __init__(self, network: nn.Module, parts: Parts, read: Read, by_expert: ByExpert):
        self._read_part, self.by_expert = read, by_expert
        self._lock = threading.RLock()
        self._reader = ThreadPoolExecutor(1, "lignite-weights")
        self._ahead: dict[Part, Future[dict[str, Tensor]]] = {}
        self._last, self._step = -1, 1
        self.parts = [Part(self, network, name, parts.weights) for name in parts.names]
        self._number = {part: number for number, part in enumerate(self.parts)}

    @contextmanager
    def running(self, part: Part) -> Iterator[Weights]:
        """Hold a part's weights in their places while it runs."""
        with self._lock:
            weights = self.weights(part)
            part.n_running += 1
        try:
            yield weights
        finally:
            with self._lock:
                part.n_running -= 1

    def weights(self, part: Part) -> Weights:
        """Give a part's weights, read now if they were not read ahead; whoever holds them has them for good."""
        with self._lock:
            number = self._number[part]
            if number != self._last:
                self._step = number - self._last if abs(number - self._last) == 1 else 1
                following = number + self._step
                beside = following if 0 <= following < len(self.parts) else self._last
                self._last = number
                self._make_room({part, self.parts[beside]})
                if part.held is None:
                    ahead = self._ahead.pop(part, None)
                    part.put(self._read(part) if ahead is None else ahead.result())
                if beside == following:
                    self._read_ahead(self.parts[following])
            elif part.held is None:
                part.put(self._read(part))
            assert part.held is not None
            return part.held

    def _make_room(self, kept: set[Part]) -> None:
        for part in self.parts:
            if part not in kept and part.held is not None and not part.n_running:
                part.put(None)
        for part in [part for part in self._ahead if part not in kept]:
            self._ahead.pop(part).cancel()
        hand_back()

    def _read_ahead(self, part: Part) -> None:
        if part.held is None and part not in self._ahead:
            self._ahead[part] = self._reader.submit(self._read, part)

    def _read(self, part: Part) -> dict[str, Tensor]:
        part.n_reads += 1
        with torch.inference_mode(False), torch.no_grad():
            weights = self._read_part(part)
        wrong = [key for key, blank in part.blanks.items() if key not in weights or weights[key].shape != blank.shape]
        if wrong or len(weights) != len(part.blanks):
            raise ModelError(
                f"{part.name} cannot be streamed: {wrong[0] if wrong else 'one of its weights'} is not what was read "
                "for it; load the model with stream=False."
            )
        return weights


def parts_within(module: nn.Module) -> list[Part]:
    """List the streamed parts that a module consists of, or belongs to."""
    weights = (weight for part in modules_of(module) for weight in part._parameters.values())
    found = (getattr(weight, "streamed_with", None) for weight in weights)
    return list(dict.fromkeys(part for part in found if part is not None))


def weights_of(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Give a network's weights and buffers by their names, in their order."""
    for name, tensor in sorted(network.state_dict(keep_vars=True).items()):
        yield name, weight_of(name, tensor)


def weight_of(name: str, tensor: Shaped[Tensor, "..."]) -> Tensor:
    """Give the numbers of a weight of that name in the network: its own, or read for it where it is streamed."""
    part: Part | None = getattr(tensor, "streamed_with", None)
    return tensor if part is None else part.whole(name)


def in_memory(module: nn.Module) -> nn.Module:
    """Give a module whose weights are there for as long as it is held: itself, or a light copy where it is streamed.

    The copy shares its weights with the stream, which may let go of them meanwhile.
    """
    parts = parts_within(module)
    if not parts:
        return module
    known: dict[int, Any] = {}
    for part in parts:
        for key, weight in part.stream.weights(part).items():
            known |= {id(part.blanks[key]): weight, id(weight): weight}
    copied: nn.Module = light_copy(module, known)
    return copied.eval()


def light_copy(module: nn.Module, known: dict[int, Any]) -> Any:
    """Copy a module but for what is known and what brings weights when it runs: a stream, or accelerate's hooks."""
    brought = [each.__dict__[name] for each in module.modules() for name in _BRINGING if _brings(each, name)]
    known |= {id(each): _NOTHING for each in brought}
    copied = copy.deepcopy(module, known)
    for each in copied.modules():
        for name in [name for name, value in each.__dict__.items() if value is _NOTHING]:
            del each.__dict__[name]
    return copied


_NOTHING = object()

_BRINGING = ("forward", "_hf_hook", "_old_forward", "to", "cuda")


def _brings(module: nn.Module, name: str) -> bool:
    held = module.__dict__
    return name in held and (isinstance(held[name], Streamed) or "_hf_hook" in held or "hf_device_map" in held)


def streamed_copy(network: nn.Module, find: Callable[[str, Tensor], Tensor], change: Change) -> Any:
    """Copy a network with all numbers changed, those of its blocks when they run.

    Parameters
    ----------
    find
        Gives the numbers of one of the network's own weights, by its name and what stands in its place.
    change
        Makes of them those that stand in the copy.
    """
    parts = parts_of(network)
    copied = light_copy(network, changed_tensors(network, find, change, parts.weights))
    for module in copied.modules():
        if isinstance(vars(module).get("forward"), Experts):  # they would read what is not changed
            del vars(module)["forward"]

    def read_part(part: Part) -> dict[str, Tensor]:
        own = network.get_submodule(part.name).named_parameters(prefix=part.name)
        return {key: change(find(key, weight).detach()) for key, weight in own if key in part.blanks}

    def own(key: str) -> tuple[Tensor, Part | None]:
        weight = network.get_parameter(key)
        return weight, getattr(weight, "streamed_with", None)

    def is_by_expert(key: str) -> bool:
        """Streamed by experts, or plain and changed into a copy; all others are read whole, or there anyhow."""
        weight, part = own(key)
        if part is not None:
            return key not in part.blanks
        if type(weight) is not nn.Parameter or weight.is_meta or not weight.ndim:
            return False
        nothing = weight.detach()[:0]
        return change(nothing) is not nothing

    def read_expert(key: str, number: int) -> Tensor:
        weight, part = own(key)
        return change(find(key, weight).detach()[number] if part is None else part.stream.by_expert.read(key, number))

    Stream(copied, parts, read_part, ByExpert(frozenset(filter(is_by_expert, parts.weights)), read_expert))
    return copied


def changed_tensors(
    network: nn.Module, find: Callable[[str, Tensor], Tensor], change: Change, blank: frozenset[str] = frozenset()
) -> dict[int, Any]:
    """List what stands for a network's tensors in a changed copy, by their identity; what is shared stays shared.

    Tensors that modules hold beside their parameters and buffers are changed, too: a product of two precisions fails.
    """
    known: dict[int, Any] = {}
    for name, weight in network.named_parameters():
        if name in blank:
            dtype = change(torch.empty(0, dtype=weight.dtype)).dtype
            known[id(weight)] = nn.Parameter(blank_of(weight, dtype), requires_grad=False)
        else:
            known[id(weight)] = nn.Parameter(change(find(name, weight).detach()), weight.requires_grad)
    for name, buffer in network.named_buffers():
        if buffer.is_meta:
            known[id(buffer)] = change(find(name, buffer))
    for module in network.modules():
        for tensor in (*module._buffers.values(), *vars(module).values()):
            if isinstance(tensor, Tensor) and id(tensor) not in known and (other := change(tensor)) is not tensor:
                known[id(tensor)] = other
    return known
