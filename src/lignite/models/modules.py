"""A module that is not transformers' own becomes what everything else reads: a model with its readers."""

from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from lignite.errors import ModelError
from lignite.models.bare import Bare
from lignite.models.facts import read_images
from lignite.models.hooked import by_own_names
from lignite.models.readers import as_tokenizer, as_transform
from lignite.models.unknown import Told, explore


def dress_module(
    module: nn.Module, told: Told, tokenizer: Any, image_processor: Any, *, advice: str
) -> tuple[Bare, PreTrainedTokenizerBase | None, Any]:
    """Try a module out, and dress it and what reads its inputs.

    `advice` names a model of transformers inside it, empty where none is near.

    Raises
    ------
    ModelError, OptionError
        As `lignite.wrap`.
    """
    beside = getattr(module, "tokenizer", None)
    words = as_tokenizer(tokenizer if tokenizer is not None else beside if _is_tokenizer(beside) else None)
    told = by_own_names(module, told)
    pictured = image_processor is not None or told.mean is not None
    try:
        bare = explore(module, told, reads_words=words is not None, reads_pictures=pictured)
    except ModelError as error:
        raise (ModelError(f"{error} Or {advice}.") if advice else error) from error.__cause__
    if bare.main_input_name != "pixel_values":
        return bare, words, None
    return bare, words, as_transform(image_processor, read_images(bare.config).size, *_colours(module, told))


def _is_tokenizer(given: Any) -> bool:
    return isinstance(given, PreTrainedTokenizerBase)


def _colours(module: nn.Module, told: Told) -> tuple[Any, Any]:
    """Read mean and scale of colours: as told, else as timm's models name them."""
    if told.mean is not None or told.std is not None:
        return told.mean, told.std
    known = getattr(module, "pretrained_cfg", None) or {}
    return (known.get("mean"), known.get("std")) if isinstance(known, dict) else (None, None)
