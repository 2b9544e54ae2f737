"""Find the model in whatever people hold it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from lignite.errors import ModelError


@dataclass(frozen=True)
class Held:
    """A network, and the tokenizer and image processor that were found beside it."""

    network: nn.Module
    tokenizer: Any = None
    image_processor: Any = None


def unwrap(thing: object) -> Held:
    """Find the model in a wrapper that leaves its answer as it is; a module of any other kind is the model itself.

    Those are `torch.compile` and `DataParallel`, adapters that sit in the model's own layers (LoRA), and what keeps a
    model beside its tokenizer: pipelines, trainers, cross-encoders.

    Raises
    ------
    ModelError
        If there is none, or the wrapper makes something else of its answer; the message names the place of the model.
    """
    if isinstance(thing, PreTrainedModel):
        return Held(thing)
    inside = _transparent(thing)
    if inside is not None:
        return unwrap(inside)
    if _keeps_a_model(thing):
        keeper: Any = thing
        tokenizer = getattr(keeper, "tokenizer", None) or getattr(keeper, "processing_class", None)
        within = unwrap(keeper.model)
        return Held(within.network, tokenizer, getattr(keeper, "image_processor", None))
    if isinstance(thing, nn.Module) and not _is_adapted(thing):
        return Held(thing)
    raise ModelError(f"cannot wrap {_named(thing)}, expected a transformers model or a module: {advice_on(thing)}.")


def _transparent(thing: object) -> object | None:
    """Find the module inside one that does nothing to its answer; None for others."""
    if isinstance(thing, nn.parallel.DataParallel | nn.parallel.DistributedDataParallel):
        return thing.module
    if isinstance(thing, nn.Module) and isinstance(getattr(thing, "_orig_mod", None), nn.Module):  # torch.compile
        return thing._orig_mod
    if _is_adapted(thing) and not _prompted(thing):
        return thing.get_base_model()  # type: ignore[attr-defined]
    return None


def _is_adapted(thing: object) -> bool:
    return isinstance(thing, nn.Module) and hasattr(thing, "peft_config") and callable(
        getattr(thing, "get_base_model", None)
    )  # fmt: skip


def _prompted(thing: Any) -> bool:
    """Whether an adapter puts tokens before the input, which the model inside never sees."""
    return any(getattr(config, "is_prompt_learning", False) for config in dict(thing.peft_config).values())


def _keeps_a_model(thing: object) -> bool:
    """Pipelines, trainers and cross-encoders: a model, beside a tokenizer or an image processor."""
    beside = ("tokenizer", "processing_class", "image_processor")
    inside = getattr(thing, "model", None)
    held = isinstance(inside, PreTrainedModel) or _transparent(inside) is not None
    return held and any(getattr(thing, name, None) is not None for name in beside)


def _named(thing: object) -> str:
    if thing is None:
        return "None"
    return f"the class {thing.__name__}" if isinstance(thing, type) else f"a {type(thing).__name__}"


def advice_on(thing: object) -> str:
    """Say what to give instead; empty of a module with no model inside it."""
    if isinstance(thing, str | Path):
        return f"load it with lignite.load({str(thing)[:80]!r})"
    if isinstance(thing, type):
        return f"load one with lignite.load(name), or make one first, {thing.__name__}.from_pretrained(name)"
    if isinstance(thing, tuple):
        return "give its parts one by one, lignite.wrap(network, tokenizer)"
    if _is_adapted(thing):
        return "its adapter puts tokens of its own before the input, and get_base_model() never sees them"
    place = _place_of_a_model(thing)
    if place:
        return f"give the model inside it ({place}), and a target= that makes of its output what this one does"
    return "" if isinstance(thing, nn.Module) else "load one with lignite.load(name)"


def _place_of_a_model(thing: object) -> str:
    """Say where a transformers model is, as one would write it; empty if none is near."""
    parts: list[tuple[str, object]] = []
    if isinstance(thing, nn.Sequential) and len(thing):
        parts = [(f"[0].{name}", getattr(thing[0], name, None)) for name in ("auto_model", "model")]
    if isinstance(thing, nn.Module):
        parts += [(f".{name}", child) for name, child in thing.named_children()]
    else:
        parts += [(".model", getattr(thing, "model", None))]
    return next((place for place, part in parts if isinstance(part, PreTrainedModel)), "")
