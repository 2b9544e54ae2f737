"""Ask a model about many inputs at once: rows of one batch get the numbers they would get alone."""

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lignite.errors import InputError, ModelError, NotFiniteError, OptionError
from lignite.memory import memory_budget
from lignite.models.attention import at_rest, seen_as, switches_undone
from lignite.models.configuration import number_of, text_config, writes_words
from lignite.models.failures import FOREIGN
from lignite.models.images import IMAGE_FILLS, filled, size_options
from lignite.models.loading import Model
from lignite.models.outputs import row_of, tensors_of
from lignite.models.targets import (
    Objective,
    Outlook,
    Wanted,
    as_target,
    check_decoder,
    choices_of,
    outlook,
    probabilities,
    resolve,
    values,
)
from lignite.models.tokens import Encoded, Tokens, role_id, vocabulary_size, without_role
from lignite.request import Target, check_choice

PADDED_TOLERANCE = 1e-4
"""Largest relative change of a logit by padding that still is rounding (float32 sums in another order)."""

REPEATED = 1e-5
"""Largest relative difference between two answers to one input that still is rounding (a graphics card's sums)."""

_ELSEWHERE = ("decoder_", "pixel_", "entity_")
"""Inputs whose names begin so belong to another part of the input, however long they are."""

_padding_is_harmless: "WeakKeyDictionary[nn.Module, bool]" = WeakKeyDictionary()
_fills: "WeakKeyDictionary[Encoded, dict[str, Tensor]]" = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Row:
    """One input, what is asked of it, and what the model says of it as it stands (None once it has been edited).

    `answer` is what the model said when it was asked what there is to explain: F, and choices beside it (`answered`).
    """

    encoded: Encoded
    objective: Objective
    outlook: Outlook | None = None
    answer: tuple[float, ...] | None = None

    @property
    def n_tokens(self) -> int:
        return len(self.encoded.tokens)


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of some rows.

    Attributes
    ----------
    value
        F: a logit, a difference of logits, or what the target function returned.
    probability
        Of the explained choice; NaN for regressions and functions.
    label
        Number of the choice with the highest logit; 0 or 1 (explained choice improbable, probable) where several
        labels may hold at once; -1 where there are no choices.
    answers
        What `check_said_again` compares of every row, empty where the model has not been asked about it before.
    """

    value: Float[Tensor, " row"]
    probability: Float[Tensor, " row"]
    label: Int[Tensor, " row"]
    answers: list[tuple[float, ...]]


def ask(model: Model, inputs: Any, target: Wanted = None, *, twice: bool = True) -> list[Row]:
    """Encode inputs and settle what is explained of each; with `Target.steps`, one row for every generated token.

    The model is asked `twice` about one input, since answers by chance have no explanation; whoever asks it again
    anyway compares what it says then (`check_said_again`).
    """
    wanted = target if callable(target) and not isinstance(target, Target) else as_target(target)
    with at_rest(model.network), torch.no_grad():
        encoded = model.encode(inputs)
        for item in encoded:
            check_decoder(model, item)
        if isinstance(wanted, Target) and wanted.steps is not None:
            return [row for item in encoded for row in _continue(model, item, wanted.steps)]
        return _ask_all(model, encoded, wanted, twice)


def _ask_all(model: Model, encoded: Sequence[Encoded], wanted: Wanted, twice: bool) -> list[Row]:
    function = wanted if callable(wanted) and not isinstance(wanted, Target) else None
    unsettled = [Row(item, Objective("function" if function else "", "", function=function)) for item in encoded]
    settled: dict[int, Row] = {}
    max_tokens = memory_budget(model.device) / bytes_per_token(model, gradient=False)
    for places in batches(model, unsettled, max_tokens):
        outputs = run(model.network, collate(model, [unsettled[place] for place in places]))
        length = max(len(encoded[place].tokens) for place in places)
        for number, place in enumerate(places):
            own = row_of(outputs, number, len(places))
            settled[place] = _settle(model, encoded[place], own, wanted, length)
        if twice and len(settled) == len(places):
            _check_repeats(model, settled[places[0]], outputs if len(places) == 1 else None)
    return [settled[place] for place in range(len(encoded))]


def _check_repeats(model: Model, row: Row, outputs: Any) -> None:
    """Ask about one input twice: what a model says by chance cannot be explained.

    Raises
    ------
    ModelError
        If the answers differ.
    """
    first = _answer(run(model.network, row.encoded.tensors) if outputs is None else outputs, row.objective)
    check_repeated(model, first, _answer(run(model.network, row.encoded.tensors), row.objective), "answers")


def check_repeated(model: Model, first: Tensor, again: Tensor, what: str) -> None:
    """Refuse a model whose `what` differ when it is asked twice about one input."""
    miss = float((first - again).abs().max())
    if miss > REPEATED * max(1.0, float(first.abs().max())):
        raise ModelError(
            f"{type(model.network).__name__} does not repeat itself: asked twice about one input, its {what} differ "
            f"by {miss:.2g}. Something in its forward pass is random even in evaluation mode, such as dropout that is "
            "not told training=self.training; make it repeatable, for an answer by chance has no explanation."
        )


def answered(row: Row, value: Tensor, choices: Tensor | None) -> tuple[float, ...]:
    """What is compared when a model is asked about a row again: F, and the choices that stand beside it.

    F alone may be the same by chance: dropout on logits leaves half of them as they were. Of a vocabulary the choices
    that the row's outlook lists are looked at.
    """
    if choices is None or row.outlook is None:
        listed: list[int] = []
    elif row.objective.kind == "span":
        listed = [place for place, padding in enumerate(row.encoded.tokens.padding) if not padding]
    else:
        listed = list(row.outlook.numbers)
    beside = [] if choices is None else choices[listed].tolist()
    return float(value), *beside


def check_said_again(model: Model, rows: Sequence[Row], again: Sequence[tuple[float, ...]]) -> None:
    """Compare what a model says of some rows (`answered`) with what it said when it was asked about them first.

    Company in a batch rounds otherwise, so what differs is asked about once more by itself.

    Raises
    ------
    ModelError
        If the model does not repeat itself.
    """
    for row, answer in zip(rows, again, strict=True):
        if row.answer is not None and not _is_same(row.answer, answer):
            check_repeats(model, row)


def check_repeats(model: Model, row: Row) -> None:
    """Ask about one input twice, and refuse a model that answers differently."""
    with at_rest(model.network), torch.no_grad():
        _check_repeats(model, row, None)


def _is_same(first: Sequence[float], again: Sequence[float]) -> bool:
    allowed = REPEATED * max([1.0, *(abs(each) for each in first if math.isfinite(each))])
    return all(one == other or abs(one - other) <= allowed for one, other in zip(first, again, strict=True))


def _answer(outputs: Any, objective: Objective) -> Tensor:
    """All choices of one row, or its function's value."""
    return values(outputs, [objective]) if objective.function else choices_of(outputs, [objective]).float()


def _settle(model: Model, encoded: Encoded, outputs: Any, wanted: Wanted, length: int) -> Row:
    objective = resolve(model, encoded, outputs, wanted, length=length)
    value = values(outputs, [objective])
    if not torch.isfinite(value).all():
        raise NotFiniteError(
            f"The model's answer for {encoded.tokens.input[:40]!r} is {float(value)}; load it in float32 "
            "(dtype='float32'), or check its weights."
        )
    row = Row(encoded, objective, outlook(model, outputs, objective))
    choices = None if objective.function else choices_of(outputs, [objective])[0]
    return replace(row, answer=answered(row, value, choices))


def _continue(model: Model, encoded: Encoded, steps: int) -> Iterator[Row]:
    """Greedy continuation, one row per generated token."""
    for step in range(steps):
        outputs = run(model.network, encoded.tensors)
        row = _settle(model, encoded, outputs, None, len(encoded.tokens))
        if step == 0:
            _check_repeats(model, row, outputs)
        if row.objective.kind != "next" or getattr(model.config, "is_encoder_decoder", False):
            raise OptionError(
                f"steps={steps} needs a model that continues texts; {type(model.network).__name__} does not."
            )
        yield row
        assert row.objective.index is not None
        ids = torch.cat(
            [encoded.tensors["input_ids"], encoded.tensors["input_ids"].new_tensor([[row.objective.index]])], 1
        )
        mask = torch.ones_like(ids)
        mask[:, :-1] = encoded.tensors.get("attention_mask", mask[:, :-1])
        (longer,) = model.encode({"input_ids": ids, "attention_mask": mask})
        known = encoded.tokens
        columns = {name: getattr(known, name) + getattr(longer.tokens, name)[-1:] for name in _LABELS}
        # Places in the text belong to the text that was given; what the model has added has none.
        columns |= {name: (*getattr(known, name), -1) for name in ("word", "start", "stop")}
        encoded = Encoded(longer.tensors, Tokens(**columns, input=known.input))


_LABELS = ("text", "position", "special", "padding")


def predict(model: Model, rows: Sequence[Row], *, memory: int | float | str | None = None) -> Prediction:
    """F, its probability and the leading choice of every row, in batches of similar length."""
    budget = memory_budget(model.device, memory)
    with at_rest(model.network), torch.no_grad():  # tensors made outside may be those of the caller's inference mode
        value = torch.empty(len(rows), dtype=torch.float64)
        probability = torch.empty_like(value)
        label = torch.full((len(rows),), -1, dtype=torch.long)
        answers: list[tuple[float, ...]] = [()] * len(rows)
        for places in batches(model, rows, budget / bytes_per_token(model, gradient=False)):
            some = [rows[place] for place in places]
            objectives = [row.objective for row in some]
            outputs = run(model.network, collate(model, some))
            found = values(outputs, objectives)
            value[places] = found.double().cpu()
            choices = None if objectives[0].function else choices_of(outputs, objectives)
            for number, place in enumerate(places):
                if rows[place].answer is not None:
                    answers[place] = answered(rows[place], found[number], None if choices is None else choices[number])
            if choices is None:
                probability[places] = torch.nan
                continue
            logits = _without_padding(choices, some)
            chances = probabilities(logits, objectives).cpu()
            probability[places] = chances
            label[places] = _leading(logits, chances, objectives)
    return Prediction(value, probability, label, answers)


def _without_padding(logits: Tensor, rows: Sequence[Row]) -> Tensor:
    """Where tokens are the choices, padding is none."""
    if rows[0].objective.kind != "span":
        return logits
    logits = logits.clone()
    for number, row in enumerate(rows):
        padding = torch.tensor(row.encoded.tokens.padding, device=logits.device)
        logits[number, : row.n_tokens][padding] = -torch.inf
        logits[number, row.n_tokens :] = -torch.inf
    return logits


def _leading(logits: Tensor, chances: Tensor, objectives: Sequence[Objective]) -> Tensor:
    link = objectives[0].link
    if link == "softmax":
        return logits.argmax(1).cpu()
    return (chances > 0.5).long() if link == "sigmoid" else torch.full((len(objectives),), -1)


def batches(model: Model, rows: Sequence[Row], max_tokens: float) -> Iterator[list[int]]:
    """Places of rows that are run together: similar lengths side by side, at most `max_tokens` with their padding."""
    order = sorted(range(len(rows)), key=lambda place: (rows[place].n_tokens, place))
    # A function of the output may average over tokens: it must never see padding.
    function = any(row.objective.function is not None for row in rows)
    mixed = len({row.n_tokens for row in rows}) > 1 and not function and can_pad(model, rows)
    batch: list[int] = []
    for place in order:
        length = rows[place].n_tokens
        alike = not batch or mixed or length == rows[batch[0]].n_tokens
        if batch and (not alike or (len(batch) + 1) * length > max_tokens or not _fit(rows[batch[0]], rows[place])):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _fit(one: Row, other: Row) -> bool:
    """Whether two rows have inputs of the same kind and shape, tokens apart."""
    first, second = one.encoded.tensors, other.encoded.tensors
    return first.keys() == second.keys() and all(
        tensor.shape == second[name].shape or (is_per_token(one.encoded, name) and is_per_token(other.encoded, name))
        for name, tensor in first.items()
    )


def is_per_token(encoded: Encoded, name: str) -> bool:
    """Whether an input of the model has one entry for each token, told by its shape ``[1, token, …]``."""
    return not name.startswith(_ELSEWHERE) and encoded.tensors[name].shape[:2] == (1, len(encoded.tokens))


def can_pad(model: Model, rows: Sequence[Row]) -> bool:
    """Whether this model gives a row the same answer with padding beside it; found by trial, once per model."""
    if any("input_ids" not in row.encoded.tensors or "attention_mask" not in row.encoded.tensors for row in rows):
        return False
    known = _padding_is_harmless.get(model.network)
    if known is None:
        shortest = min(rows, key=lambda row: row.n_tokens)
        longest = max(rows, key=lambda row: row.n_tokens)
        with at_rest(model.network), torch.no_grad():
            try:
                together = run(model.network, collate(model, [shortest, longest]))
            except FOREIGN:  # classifiers on decoders refuse batches when no padding token is defined
                known = False
            else:
                alone = run(model.network, shortest.encoded.tensors)
                known = _same_answer(alone, together)
        _padding_is_harmless[model.network] = known
    return known


def _same_answer(alone: Any, together: Any) -> bool:
    """Whether the first of two rows says the same as alone, its padding left out."""
    for tensor, both in zip(tensors_of(alone), tensors_of(together), strict=False):
        if tensor.shape[:1] != (1,):
            continue
        other = both[(slice(0, 1), *(slice(0, length) for length in tensor.shape[1:]))]
        if other.shape != tensor.shape:
            return False
        if not bool((tensor - other).abs().max() <= PADDED_TOLERANCE * tensor.abs().max()):
            return False
    return True


def collate(model: Model, rows: Sequence[Row]) -> dict[str, Tensor]:
    """One batch of several rows; shorter ones are padded on the right and masked."""
    length = max(row.n_tokens for row in rows)
    first = rows[0].encoded.tensors
    if all(row.encoded.tensors["input_ids"].shape[1] == length for row in rows if "input_ids" in row.encoded.tensors):
        return {name: torch.cat([row.encoded.tensors[name] for row in rows]) for name in first}
    fills = {"input_ids": padding_id(model)}
    collated = {}
    for name in first:
        parts = [row.encoded.tensors[name] for row in rows]
        if all(is_per_token(row.encoded, name) for row in rows):
            parts = [lengthened(part, length, fills.get(name, 0)) for part in parts]
        collated[name] = torch.cat(parts)
    return collated


def lengthened(part: Tensor, length: int, fill: int) -> Tensor:
    """An input of every token, with as many more on its right as make `length`."""
    return nn.functional.pad(part, (*[0, 0] * (part.ndim - 2), 0, length - part.shape[1]), value=fill)


def padding_id(model: Model) -> int:
    """Id of a token that the model can read and that stands for none; the first of the vocabulary where it has none."""
    number = role_id(model, "pad")
    if number is not None:
        return number
    size = vocabulary_size(model.network)
    for owner in (model.config, text_config(model.config)):
        number = getattr(owner, "pad_token_id", None)
        if isinstance(number, int) and number >= 0 and (size is None or number < size):
            return number
    return 0


def run(network: nn.Module, tensors: Mapping[str, Tensor], **options: Any) -> Any:
    """The model's whole output, without caches, by name where it can be; use it inside `at_rest`.

    Options that the model's forward does not take are left out.
    """
    parameters = inspect.signature(network.forward).parameters
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    if "use_cache" in parameters:
        options["use_cache"] = False
    options |= {"return_dict": True}
    options = {name: value for name, value in options.items() if takes_any or name in parameters}
    options |= size_options(network, tensors)
    with _batches_allowed(network), switches_undone(network):
        return network(**tensors, **options)


def _batches_allowed(network: nn.Module) -> AbstractContextManager[None]:
    """Classifiers on decoders refuse batches without a padding token, since they look for each row's last word.

    Where none is defined, rows of one batch have one length here, and an id that no token has finds that last word.
    """
    config: Any = network.config
    owners = {id(one): one for one in (config, text_config(config))}.values()
    undefined = [one for one in owners if "pad_token_id" in one.__dict__ and one.__dict__["pad_token_id"] is None]
    return seen_as("pad_token_id", undefined, -1)


def bytes_per_token(model: Model, *, gradient: bool) -> float:
    """Memory that a forward pass takes for one token: of one layer at a time, or of all where gradients are kept."""
    config = text_config(model.config)
    width = number_of(config, "hidden_size", 512)
    inner = number_of(config, "intermediate_size", 4 * width)
    layers = number_of(config, "num_hidden_layers", 1) if gradient else 1
    size = torch.finfo(model.dtype).bits // 8
    vocabulary = number_of(config, "vocab_size") if writes_words(model.network) else 0
    return float(size * (layers * (12 * width + 3 * inner) + (3 if gradient else 2) * vocabulary))


def replace_tokens(row: Row, places: Sequence[int], token_id: int) -> Row:
    """The same input with other words at some places of the model's input."""
    _check_places(row, places)
    ids = _ids(row).clone()
    ids[0, list(places)] = token_id
    return _edited(row, {**row.encoded.tensors, "input_ids": ids}, row.encoded.tokens)


def is_image(row: Row) -> bool:
    """Whether the input is an image, whose patches are covered where words would be replaced."""
    return "pixel_values" in row.encoded.tensors


def cover(model: Model, row: Row, places: Sequence[int], fill: str) -> Row:
    """The same image with the patches at some places of the model's input covered by one of `IMAGE_FILLS`."""
    _check_places(row, places)
    pixels = np.zeros(_pixels(row).shape[2:], dtype=bool)
    tokens = row.encoded.tokens
    for place in places:
        box = tokens.box(place)
        if box is None:
            raise InputError(f"token {place} ({tokens.text[place]}) is no patch of the image; it cannot be covered.")
        pixels[box] = True
    return cover_pixels(model, row, pixels, fill)


def cover_pixels(model: Model, row: Row, pixels: Bool[np.ndarray, "y x"], fill: str) -> Row:
    """The same image with some of its pixels covered by one of `IMAGE_FILLS`."""
    check_choice("fill", fill, IMAGE_FILLS)
    values = _pixels(row)
    if pixels.shape != tuple(values.shape[2:]):
        raise InputError(f"pixels {pixels.shape} do not fit the image, {tuple(values.shape[2:])}; give one per pixel.")
    hidden = torch.from_numpy(pixels).to(values.device)
    known = _fills.setdefault(row.encoded, {})
    if fill not in known:  # a blur costs more than a look at the model
        known[fill] = filled(model, values, fill)
    covered = torch.where(hidden, known[fill], values)
    return _edited(row, {**row.encoded.tensors, "pixel_values": covered}, row.encoded.tokens)


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
