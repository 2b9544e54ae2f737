"""Numbers that configurations tell under many names, some of them one per layer: the one place that reads them."""

from collections.abc import Sequence
from typing import Any

from torch import nn


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
