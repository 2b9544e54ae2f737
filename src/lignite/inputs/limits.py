"""What a model cannot read is refused before it is asked: empty texts, too many tokens, numbers outside its tables."""

from collections.abc import Mapping

import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn
from transformers import PreTrainedModel

from lignite.errors import InputError
from lignite.models.facts import position_tables, vocabulary_size
from lignite.models.load import Model


def check_text(text: str, what: str = "the text") -> None:
    if not text.strip():
        raise InputError(f"{what} is empty ({text!r}): give at least one word.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{what} holds half a character (a lone surrogate) at {error.start}: decode its file as UTF-8."
        ) from error


def check_length(model: Model, length: int) -> None:
    limit = model.max_length
    if limit is not None and length > limit:
        raise InputError(
            f"the text has {length} tokens, but {model.name} reads at most {limit} (special tokens included): "
            "shorten or split it; lignite never cuts a text off."
        )


def check_vocabulary(model: Model, ids: Int[Tensor, "*any"]) -> None:
    size = vocabulary_size(model.network)
    if size is None:
        return
    outside = ids[(ids < 0) | (ids >= size)]
    if not len(outside):
        return
    number = int(outside[0])
    added = getattr(model.tokenizer, "added_tokens_decoder", {}).get(number)
    if added is not None:
        raise InputError(
            f"token {str(added)!r} ({number}) is outside the vocabulary of {model.name} (0 to {size - 1}): it was "
            "added to the tokenizer alone; make room in the model, network.resize_token_embeddings(len(tokenizer)), or "
            "leave it out of the text."
        )
    raise InputError(
        f"token id {number} is outside the vocabulary of {model.name} (0 to {size - 1}): "
        "use the tokenizer that belongs to the model."
    )


def check_tables(model: Model, tensors: Mapping[str, Tensor]) -> None:
    """Numbers of segments and positions are looked up in tables, which fail in their own words."""
    tables = {"token_type_ids": _type_tables(model.network), "position_ids": position_tables(model.network)}
    for name, known in tables.items():
        numbers = tensors.get(name)
        if numbers is None:
            continue
        if not are_whole(numbers):
            raise InputError(f"{name} of {numbers.dtype}: give whole numbers, one per token.")
        size = min((table.num_embeddings for table in known), default=None)
        if bool((numbers < 0).any()) or (size is not None and bool((numbers >= size).any())):
            reach = "at least 0" if size is None else f"0 to {size - 1}"
            raise InputError(
                f"{name} from {int(numbers.min())} to {int(numbers.max())} are not {reach}, which is what {model.name} "
                "reads: correct them or leave them out."
            )


def _type_tables(network: PreTrainedModel) -> list[nn.Embedding]:
    return [
        module
        for name, module in network.named_modules()
        if name.endswith("token_type_embeddings") and isinstance(module, nn.Embedding)
    ]


def are_whole(tensor: Shaped[Tensor, "..."]) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
