"""What a model cannot do becomes one line that names it, whoever raised it."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from lignite.errors import LigniteError, ModelError
from lignite.models.facts import attention_of

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
    """Whether an error rose inside a module's call or autograd, and not in lignite's own lines there."""
    files = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    inside = any(file == _MODULE or _AUTOGRAD in file.parents for file in files)
    return inside and _OWN not in files[-1].parents


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
