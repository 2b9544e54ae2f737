"""What a network and its configurations tell of themselves, under whatever names: sizes, tables, inputs, patches."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel


def text_config(config: Any) -> Any:
    """The configuration of what reads texts; the whole one where several do, or none."""
    try:
        return config.get_text_config()
    except (ValueError, AttributeError):  # several texts are read: nothing says which is meant
        return config


def number_of(config: Any, name: str, default: int = 0) -> int:
    """A whole number of a configuration, the largest where it has one per layer or stage; `default` where it has none.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> config = SimpleNamespace(intermediate_size=[32, 64], hidden_size=16)
    >>> number_of(config, "intermediate_size"), number_of(config, "hidden_size"), number_of(config, "vocab_size", 9)
    (64, 16, 9)
    """
    value = getattr(config, name, None)
    several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return max((int(each) for each in several if isinstance(each, int | float)), default=default) or default


def writes_words(network: nn.Module) -> bool:
    """Whether a model ends in logits over its vocabulary."""
    try:
        head = network.get_output_embeddings()  # type: ignore[operator]
    except (NotImplementedError, AttributeError):
        return False
    return head is not None


def vocabulary_size(network: PreTrainedModel) -> int | None:
    """How many tokens the model can read; None where ids are not looked up in a table."""
    try:
        embeddings = network.get_input_embeddings()
    except (NotImplementedError, AttributeError):  # byte and character models hash their ids instead
        return None
    return embeddings.num_embeddings if isinstance(embeddings, nn.Embedding) else None


def class_names(config: Any, count: int | None = None) -> list[str]:
    """Names of a classifier's classes, by their numbers; of `count` classes, named or not.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> class_names(SimpleNamespace(id2label={0: "dull", 1: "superb"}), 3)
    ['dull', 'superb', 'LABEL_2']
    """
    names = getattr(config, "id2label", None) or {}
    return [str(names.get(number, f"LABEL_{number}")) for number in range(len(names) if count is None else count)]


def position_tables(network: PreTrainedModel) -> list[nn.Embedding]:
    """Learned position embeddings; those with a padding index number their tokens from the next one on."""
    return [
        module
        for name, module in network.named_modules()
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
    ]


def forward_names(network: PreTrainedModel) -> frozenset[str] | None:
    """Names of the inputs that a model's forward spells out; None where it takes anything."""
    parameters = inspect.signature(network.forward).parameters.values()
    names = {p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    return frozenset(names) or None


def reads_images(network: PreTrainedModel) -> bool:
    return getattr(network, "main_input_name", "input_ids") == "pixel_values"


def vision_config(network: PreTrainedModel) -> PreTrainedConfig:
    """The configuration of what looks at images, one level down in pairs of towers."""
    return getattr(network.config, "vision_config", None) or network.config


def size_options(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What a model must be told to stretch its position embeddings over an image of another size than its own."""
    pixels = tensors.get("pixel_values")
    if pixels is None or pixels.ndim != 4 or not isinstance(network, PreTrainedModel):
        return {}
    config = vision_config(network)
    size = getattr(config, "image_size", None)
    if size is None or tuple(pixels.shape[2:]) == height_and_width(size) or not can_stretch(network, config):
        return {}
    return {"interpolate_pos_encoding": True}


def can_stretch(network: nn.Module, config: PreTrainedConfig) -> bool:
    """Whether position embeddings are stretched on request; only those of a square can be."""
    tall, wide = height_and_width(config.image_size)
    towers = [network, *(part for part in network.children() if isinstance(part, PreTrainedModel))]
    return tall == wide and any(
        "interpolate_pos_encoding" in inspect.signature(part.forward).parameters for part in towers
    )


def height_and_width(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def patch_size(network: PreTrainedModel) -> tuple[int, int] | None:
    """Height and width of a patch in pixels; None for models that name none, or several."""
    size = getattr(vision_config(network), "patch_size", None)
    whole = isinstance(size, int) or (isinstance(size, list | tuple) and len(size) == 2)
    return height_and_width(size) if whole and size is not None else None
