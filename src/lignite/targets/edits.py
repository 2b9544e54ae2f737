"""Inputs with some of their tokens replaced, removed, moved or covered; what is asked about them moves along."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lignite.calls import check_choice
from lignite.errors import InputError, OptionError
from lignite.inputs.fills import IMAGE_FILLS, filled, role_id, without_role
from lignite.inputs.tokens import Encoded, Tokens
from lignite.models.facts import noted
from lignite.models.load import Model
from lignite.targets.objective import Objective
from lignite.targets.rows import Row, is_per_token


def words_of(row: Row, *, keep_special: bool = True) -> list[int]:
    """List the places that may change: never the padding, and special tokens only if they are not kept."""
    tokens = row.encoded.tokens
    return [
        place
        for place, (padding, special) in enumerate(zip(tokens.padding, tokens.special, strict=True))
        if not padding and not (special and keep_special)
    ]


def removable(row: Row) -> list[int]:
    """List the places that may change while the question stays: all words but the one at which the model answers."""
    return [place for place in words_of(row) if place != row.objective.position]


def replace_tokens(row: Row, places: Sequence[int], token_id: int | Int[Tensor, " place"]) -> Row:
    """The same input with another word, or one each, at some places of the model's input."""
    _check_places(row, places)
    ids = _ids(row).clone()
    ids[0, list(places)] = torch.as_tensor(token_id, dtype=ids.dtype, device=ids.device)
    return _edited(row, {**row.encoded.tensors, "input_ids": ids}, row.encoded.tokens)


def hide_tokens(row: Row, places: Sequence[int]) -> Row:
    """The same input with the words at some places hidden from everybody by the attention mask, all in their places."""
    _check_places(row, places)
    ids = _ids(row)
    mask = row.encoded.tensors.get("attention_mask", torch.ones_like(ids))
    if mask.shape != ids.shape:
        raise InputError(
            f"words are hidden in an attention mask [row, token], and this input's is {list(mask.shape)}; give one "
            "flag per token, or none."
        )
    mask = mask.clone()
    mask[0, list(places)] = 0
    return _edited(row, {**row.encoded.tensors, "attention_mask": mask}, row.encoded.tokens)


def is_image(row: Row) -> bool:
    """Whether the input is an image, whose patches are covered where words would be replaced."""
    return "pixel_values" in row.encoded.tensors


def cover(model: Model, row: Row, places: Sequence[int], fill: str | Float[Tensor, "1 channel y x"]) -> Row:
    """The same image with the patches at some places of the model's input covered, as by `cover_pixels`."""
    _check_places(row, places)
    pixels = np.zeros(_pixels(row).shape[2:], dtype=bool)
    tokens = row.encoded.tokens
    for place in places:
        box = tokens.box(place)
        if box is None:
            raise InputError(f"token {place} ({tokens.text[place]}) is no patch of the image; it cannot be covered.")
        pixels[box] = True
    return cover_pixels(model, row, pixels, fill)


def cover_pixels(
    model: Model, row: Row, pixels: Bool[np.ndarray, "y x"], fill: str | Float[Tensor, "1 channel y x"]
) -> Row:
    """The same image with some of its pixels covered by one of `IMAGE_FILLS`, or by those of another image."""
    values = _pixels(row)
    if pixels.shape != tuple(values.shape[2:]):
        raise InputError(f"pixels {pixels.shape} do not fit the image, {tuple(values.shape[2:])}; give one per pixel.")
    hidden = torch.from_numpy(pixels).to(values.device)
    covering = _filled(model, row, fill) if isinstance(fill, str) else fill
    covered = torch.where(hidden, covering, values)
    return _edited(row, {**row.encoded.tensors, "pixel_values": covered}, row.encoded.tokens)


def _filled(model: Model, row: Row, fill: str) -> Tensor:
    check_choice("fill", fill, IMAGE_FILLS)
    return noted(row.encoded, fill, lambda: filled(model, _pixels(row), fill))  # a blur costs more than a look


def _pixels(row: Row) -> Tensor:
    values = row.encoded.tensors.get("pixel_values")
    if values is None:
        raise InputError("the input is no image (pixel_values), so nothing of it can be covered; use words' fills.")
    return values


def remove_tokens(row: Row, places: Sequence[int]) -> Row:
    """The input without the tokens at some places; the place that is asked about moves along."""
    _check_places(row, places)
    gone = set(places)
    kept = [place for place in range(row.n_tokens) if place not in gone]
    if row.objective.position in gone:
        raise InputError(
            f"the token at {row.objective.position} cannot be removed: the model answers there ({row.objective.name})."
        )
    if not kept:
        raise InputError("all tokens of the input are removed; leave at least one.")
    return _arranged(row, kept)


def reorder_tokens(row: Row, order: Sequence[int]) -> Row:
    """The same tokens in another order: place p holds what stood at ``order[p]``."""
    if sorted(order) != list(range(row.n_tokens)):
        raise InputError(f"the order must name each of the {row.n_tokens} tokens once, got {list(order)[:8]} ….")
    return _arranged(row, list(order))


def filler(model: Model, name: str) -> int:
    """Id of the token that words are replaced by, ``"mask"`` or ``"pad"``.

    Raises
    ------
    OptionError
        If the tokenizer has no such token, or it lies outside the model's embeddings.
    """
    token = role_id(model, name)
    if token is not None:
        return token
    usable = fillers(model)
    advice = f"use {usable[0]!r}" if usable else "neither mask nor pad can be used; words can only be removed"
    raise OptionError(f"{without_role(model, name)}: {advice}.")


def fillers(model: Model) -> tuple[str, ...]:
    """Those of ``"mask"`` and ``"pad"`` that can stand in the place of words."""
    return tuple(name for name in ("mask", "pad") if role_id(model, name) is not None)


def usual_fill(model: Model, *, images: bool = False) -> str:
    """What stands in the place of a removed token or patch, unless another is named.

    For words the first of mask and pad that the model has, or nothing at all. For images black, as perturbation tests
    are published, or blur where colours are not known.
    """
    if images:
        return "black" if model.image_processor is not None else "blur"
    return next(iter(fillers(model)), "delete")


def _ids(row: Row) -> Tensor:
    ids = row.encoded.tensors.get("input_ids")
    if ids is None:
        raise InputError("the input has no tokens of a vocabulary (input_ids), so none can be replaced or moved.")
    return ids


def _check_places(row: Row, places: Sequence[int]) -> None:
    outside = [place for place in places if not 0 <= place < row.n_tokens]
    if outside:
        raise InputError(f"place {outside[0]} is not in this input, whose tokens are 0 to {row.n_tokens - 1}.")


def _arranged(row: Row, order: list[int]) -> Row:
    """Tokens picked by their places; position numbers stay where they are and are counted anew."""
    ids = _ids(row)
    tensors = dict(row.encoded.tensors)
    for name in [name for name in tensors if is_per_token(row.encoded, name)]:
        tensors[name] = tensors[name][:, : len(order)] if name == "position_ids" else tensors[name][:, order]
    if tensors["input_ids"].shape[1] != len(order):
        raise InputError(f"the input has {ids.shape[1]} tokens, not {row.n_tokens}; its tokens cannot be moved.")
    tokens = row.encoded.tokens
    columns: dict[str, Any] = {
        name: tuple(column[place] for place in order) for name, column in tokens.columns().items()
    }
    columns["position"] = tuple(range(len(order)))
    position = row.objective.position
    objective = row.objective
    if position is not None:
        moved = order.index(position)
        objective = replace(objective, position=moved, index=moved if objective.kind == "span" else objective.index)
    return _edited(row, tensors, replace(tokens, **columns), objective)


def _edited(row: Row, tensors: dict[str, Tensor], tokens: Tokens, objective: Objective | None = None) -> Row:
    return Row(Encoded(tensors, tokens), objective or row.objective)
