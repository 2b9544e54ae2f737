"""Hold a model as it is while it is explained: what stands in for its parts is seen by one thread, and taken back.

What the model cannot do becomes one line that names it, whoever raised it.
"""

import copy
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lignite.errors import LigniteError, ModelError
from lignite.models.facts import attention_of, without_padding

FOREIGN = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    ImportError,
)
"""How other people's code fails: models, and functions of what they return."""

FORWARD_CONTRACT = (
    "A forward must take input_ids or pixel_values (and attention_mask) by name, and return its logits as `.logits`, "
    "as ['logits'], first in a tuple, or alone"
)
"""What a model of the user's own must offer, for messages."""

_OWN = Path(__file__).resolve().parent.parent
_MODULE = Path(torch.nn.modules.module.__file__)
_AUTOGRAD = Path(torch.autograd.__file__).parent


@contextmanager
def named_failures(network: nn.Module) -> Iterator[None]:
    """Turn what a model raises, forwards or backwards, into a `ModelError`; everything else passes as it is."""
    try:
        yield
    except LigniteError:
        raise
    except FOREIGN as error:
        if not _is_the_models(error):
            raise
        raise ModelError(_described(network, error)) from error


def _is_the_models(error: BaseException) -> bool:
    """Whether an error rose inside a module's call or autograd, and not in lignite's own lines there.

    What looks on while torch computes (`_ONLOOKERS`) is in the stack of every error that rises there.
    """
    frames = traceback.extract_tb(error.__traceback__)
    while frames and frames[-1].name in _ONLOOKERS:
        frames.pop()
    files = [Path(frame.filename) for frame in frames]
    inside = any(file == _MODULE or _AUTOGRAD in file.parents for file in files)
    return inside and _OWN not in files[-1].parents


_ONLOOKERS = ("__torch_function__", "__torch_dispatch__")


def _described(network: nn.Module, error: BaseException) -> str:
    name, reason = type(network).__name__, f"{type(error).__name__}: {first_line(error)}"
    if isinstance(error, torch.OutOfMemoryError):
        return f"the device's memory is full ({first_line(error)}); give memory= less than it took, or a shorter input."
    if isinstance(error, TypeError) and "argument" in str(error):
        return f"{name} cannot be called as lignite calls it ({reason}). {FORWARD_CONTRACT}."
    kind = attention_of(getattr(network, "config", None))
    if kind not in (None, "eager", "sdpa"):
        reason += f"; it was loaded with attn_implementation={kind!r}, try 'sdpa'"
    return (
        f"{name} fails on this input ({reason}). If it fails on the same tensors by itself, too, mend the model or the "
        "input; if not, lignite cannot explain it this way: try method='occlusion', which only asks it."
    )


def first_line(error: BaseException) -> str:
    """Say what an error says, in one line."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")


_one_at_a_time = threading.RLock()


class Captured(BaseException):
    """Leaves a block as soon as the wanted tensors are known. Not an Exception, so that no block can catch it."""

    def __init__(self, content: Any):
        super().__init__()
        self.content = content


_NOTHING = object()


class _Seen:
    """An attribute that one thread sees with another value, on some objects; everybody else sees what they hold."""

    def __init__(self, name: str, owner: type, things: Sequence[Any], value: Any):
        self.name, self.value, self.thread = name, value, threading.get_ident()
        self.things = frozenset(map(id, things))
        found = (parent.__dict__[name] for parent in owner.__mro__ if name in parent.__dict__)
        self.before = next(found, _NOTHING)  # a default of the class, or another such view

    def __get__(self, thing: Any, owner: type | None = None) -> Any:
        if thing is not None and threading.get_ident() == self.thread and id(thing) in self.things:
            return self.value
        if isinstance(self.before, _Seen):
            return self.before.__get__(thing, owner)
        if thing is not None and self.name in thing.__dict__:
            return thing.__dict__[self.name]
        if self.before is _NOTHING:
            raise AttributeError(self.name)
        return self.before

    def __set__(self, thing: Any, value: Any) -> None:
        thing.__dict__[self.name] = value

    def __delete__(self, thing: Any) -> None:
        del thing.__dict__[self.name]


@contextmanager
def seen_as(name: str, things: Sequence[Any], value: Any) -> Iterator[None]:
    """Let this thread read another value of an attribute; the objects are not touched, other threads see what is there.

    A model is often in use by others while it is explained: a configuration that changed under their eyes would give
    them half of one attention and half of another.
    """
    by_class: dict[type, list[Any]] = {}
    for thing in things:
        by_class.setdefault(type(thing), []).append(thing)
    with ExitStack() as restored:
        for owner, some in by_class.items():
            view = _Seen(name, owner, some, value)
            restored.callback(_put_back, owner, name, owner.__dict__.get(name, _NOTHING))
            setattr(owner, name, view)
        yield


def _put_back(owner: type, name: str, before: Any) -> None:
    if before is _NOTHING:
        delattr(owner, name)
    else:
        setattr(owner, name, before)


def own_calls(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a hook that answers in this thread alone: others may be running the same module."""
    thread = threading.get_ident()

    def called(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs) if threading.get_ident() == thread else None

    return called


def before_each(
    modules: Iterable[nn.Module], see: Callable[..., Any], *, with_kwargs: bool = False
) -> AbstractContextManager[None]:
    """Let a function see what enters each of these modules, or change it, in this thread."""
    return _hooked([module.register_forward_pre_hook for module in modules], see, with_kwargs)


def after_each(
    modules: Iterable[nn.Module], see: Callable[..., Any], *, with_kwargs: bool = False
) -> AbstractContextManager[None]:
    """Let a function see what leaves each of these modules, or change it, in this thread."""
    return _hooked([module.register_forward_hook for module in modules], see, with_kwargs)


@contextmanager
def _hooked(registers: Sequence[Callable[..., Any]], see: Callable[..., Any], with_kwargs: bool) -> Iterator[None]:
    mine = own_calls(see)
    with ExitStack() as hooks:
        for register in registers:
            hooks.enter_context(register(mine, with_kwargs=with_kwargs))
        yield


@contextmanager
def standing_in(name: str, others: Mapping[nn.Module, Any]) -> Iterator[None]:
    """Let each module answer to a method's name with another function, in this thread; others call its own.

    What somebody else had set is put back.
    """
    thread = threading.get_ident()
    before = {module: module.__dict__[name] for module in others if name in module.__dict__}

    def instead_of(own: Any, other: Any) -> Any:
        def answer(*args: Any, **kwargs: Any) -> Any:
            return (other if threading.get_ident() == thread else own)(*args, **kwargs)

        return answer

    try:
        for module, other in others.items():
            module.__dict__[name] = instead_of(getattr(module, name), other)
        yield
    finally:
        for module in others:
            module.__dict__.pop(name, None)
            if module in before:
                module.__dict__[name] = before[module]


_at_rest: list[tuple[nn.Module, list[nn.Module]]] = []
"""Models that are held, innermost last."""


@contextmanager
def at_rest(network: nn.Module) -> Iterator[None]:
    """Hold a model in evaluation mode and without parameter gradients; one thread at a time.

    Classifiers on decoders refuse batches without a padding token, since they look for each row's last word: where none
    is defined they see an id that no token has, which finds that word where all rows have one length. Masked
    autoencoders, which hide and shuffle most patches even then, see all of them in order.

    Evaluation mode is this thread's alone. requires_grad is put back on the way out, also after an exception or Ctrl-C.
    Inference mode and autocast of the caller do not reach inside: the one knows no gradients, the other rounds to half
    precision. What the model itself raises leaves as one `ModelError`.
    """
    device = next((weight.device.type for weight in network.parameters()), "cpu")
    quiet = torch.autocast(device, enabled=False)
    with _one_at_a_time, named_failures(network), torch.inference_mode(False), quiet:
        if any(held is network for held, _ in _at_rest):
            yield
            return
        modules = list(network.modules())
        held = network, modules
        trained = [module for module in modules if module.training]
        compiled = [module for module in modules if module._compiled_call_impl is not None]  # blind to stand-ins
        learning = [weight for weight in network.parameters() if weight.requires_grad]
        maskers = [module for module in modules if hasattr(type(module), "random_masking")]
        _at_rest.append(held)
        try:
            for weight in learning:
                weight.requires_grad_(False)
            with (
                _fused_paths_off(modules),
                seen_as("training", trained, False),
                seen_as("_compiled_call_impl", compiled, None),
                seen_as("pad_token_id", without_padding(getattr(network, "config", None)), -1),
                standing_in("random_masking", dict.fromkeys(maskers, _everything_in_order)),
            ):
                yield
        finally:
            for weight in learning:
                weight.requires_grad_(True)
            _at_rest.remove(held)


class _Watched(TorchFunctionMode):
    """Does nothing; while somebody may be watching, torch's own layers take no short cut past their parts."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


def _fused_paths_off(modules: Sequence[nn.Module]) -> AbstractContextManager[Any]:
    """Keep torch's encoder layers, in this thread, from running as one fused kernel that has no derivatives and pads.

    They do so in evaluation mode where no gradient is asked for.
    """
    fused = nn.MultiheadAttention | nn.TransformerEncoderLayer | nn.TransformerEncoder
    return _Watched() if any(isinstance(module, fused) for module in modules) else nullcontext()


def modules_of(network: nn.Module) -> list[nn.Module]:
    """List every module of a network; of one that is at rest those it came with, which are looked for once."""
    for held, modules in _at_rest:
        if held is network:
            return modules
    return list(network.modules())


@contextmanager
def switches_undone(network: nn.Module) -> Iterator[None]:
    """Put back the attention that a model exchanges for another one by itself, for good, where an input is short.

    BigBird does so; what it says of the next, longer input would otherwise depend on who came before.
    """
    changing = [part for part in modules_of(network) if hasattr(type(part), "set_attention_type")]
    within = {id(part): part for parent in changing for part in parent.modules()}.values()
    before = [(part, part.__dict__.get("attention_type", _NOTHING), dict(part._modules)) for part in within]
    try:
        yield
    finally:
        for part, kind, parts in before:
            if kind is not _NOTHING:
                part.__dict__["attention_type"] = kind
            part._modules.update(parts)


def _everything_in_order(
    sequence: Float[Tensor, "row patch d"], noise: Float[Tensor, "row patch"] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """A masked autoencoder's masking, off: all patches, none of them masked, and the order that restores theirs."""
    n_rows, n_patches, _ = sequence.shape
    order = torch.arange(n_patches, device=sequence.device).expand(n_rows, -1)
    return sequence, torch.zeros(n_rows, n_patches, device=sequence.device), order


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """List weights and buffers of a module by all their names."""
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


_SETTINGS = (type(None), bool, int, float, str, torch.dtype)


def with_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Copy a module, with these tensors in the place of its own, which are not copied; nor are settings.

    What `copy.deepcopy` gives, in a tenth of its time: most of what a module holds are settings and empty tables.
    """
    made = {id(part): object.__new__(type(part)) for part in module.modules()}
    known: dict[int, Any] = made | {id(own): own for _, own in named_tensors(module)}
    for part in module.modules():
        held = vars(made[id(part)])
        for name, value in vars(part).items():
            if isinstance(value, _SETTINGS) or name == "config":
                held[name] = value
            elif name == "_modules":
                held[name] = {child: None if own is None else made[id(own)] for child, own in value.items()}
            elif name in ("_parameters", "_buffers") or (isinstance(value, dict | set) and not value):
                held[name] = value.copy()
            else:
                held[name] = copy.deepcopy(value, known)
    copied = made[id(module)]
    for name, tensor in tensors.items():
        where, _, last = name.rpartition(".")
        part = copied.get_submodule(where)
        own: dict[str, Any] = part._parameters if last in part._parameters else part._buffers
        own[last] = tensor
    return copied
