"""Tiny random models of any family and head, with a tokenizer: whatever may be asked, one of them answers."""

from typing import Any

import torch
import transformers
from tests.kit.architectures import ARCHITECTURES, full_precision, randomize
from tests.kit.tiny_tokenizers import word_piece
from transformers import PreTrainedTokenizerBase

import lignite


def headed(
    name: str,
    model_class: str,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    tokenizer: PreTrainedTokenizerBase | None = None,
    **config: Any,
) -> lignite.Model:
    """`model_class` at the size of the architecture `name`, random in every weight; three classes where it has classes.

    In double precision it computes in double throughout.
    """
    words = word_piece() if tokenizer is None else tokenizer
    architecture, made = ARCHITECTURES[name], getattr(transformers, model_class)
    known = {**architecture.config, "vocab_size": len(words), "num_labels": 3, "pad_token_id": words.pad_token_id}
    if getattr(made.config_class, "model_type", "") == "roberta":
        known["max_position_embeddings"] = 40 + 1  # counted from the padding id on
    network = made(made.config_class(**{**known, **config})).to(dtype)
    randomize(network, seed=seed, gains=architecture.gains)
    network.eval()
    return lignite.wrap(full_precision(network) if dtype == torch.float64 else network, words)
