"""Ask a model about inputs: settle what is explained of each, and refuse a model that answers by chance.

What it says of many rows at once is a prediction.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lignite.errors import ModelError, NotFiniteError, OptionError
from lignite.inputs.encode import encode
from lignite.inputs.tokens import Encoded, Tokens
from lignite.memory import memory_budget
from lignite.models.facts import has_encoder_and_decoder
from lignite.models.hold import at_rest
from lignite.models.load import Model
from lignite.models.outputs import row_of
from lignite.targets.objective import (
    Function,
    Objective,
    Wanted,
    as_target,
    check_decoder,
    choices_of,
    laid_out,
    list_choices,
    probabilities,
    resolve,
    values,
    values_of,
)
from lignite.targets.rows import Row, batches, bytes_per_token, collate, run, same_questions
from lignite.targets.target import Target

REPEATED = 1e-5
"""Largest relative difference between two answers to one input that still is rounding (a graphics card's sums)."""


def ask(model: Model, inputs: Any, target: Wanted = None, *, twice: bool = True) -> list[Row]:
    """Encode inputs and settle what is explained of each; with `Target.steps`, one row for every generated token.

    The model is asked `twice` about one input, since answers by chance have no explanation; whoever asks it again
    anyway compares what it says then (`check_said_again`).
    """
    wanted = target if callable(target) and not isinstance(target, Target) else as_target(target)
    with at_rest(model.network), torch.no_grad():
        encoded = encode(model, inputs)
        for item in encoded:
            check_decoder(model, item)
        if isinstance(wanted, Target) and wanted.steps is not None:
            return [row for item in encoded for row in _continue(model, item, wanted.steps)]
        function = wanted if callable(wanted) and not isinstance(wanted, Target) else None

        def settle(item: Encoded, outputs: Any, length: int) -> list[Row]:
            return settle_rows(model, item, outputs, [resolve(model, item, outputs, wanted, length=length)])

        return [row for (row,) in settle_all(model, encoded, settle, twice, function)]


Settle = Callable[[Encoded, Any, int], list[Row]]
"""What is explained of one input, given what the model answers, padded to a length."""


def settle_all(
    model: Model, encoded: Sequence[Encoded], settle: Settle, twice: bool, function: Function | None = None
) -> list[list[Row]]:
    """Run the model on all inputs, and settle what is explained of each; a `function` of the output sees no padding."""
    unsettled = [Row(item, Objective("function" if function else "", "", function=function)) for item in encoded]
    settled: dict[int, list[Row]] = {}
    max_tokens = memory_budget(model.device) / bytes_per_token(model, gradient=False)
    for places in batches(model, unsettled, max_tokens):
        outputs = run(model.network, collate(model, [unsettled[place] for place in places]))
        length = max(len(encoded[place].tokens) for place in places)
        for number, place in enumerate(places):
            own = row_of(outputs, number, len(places))
            settled[place] = settle(encoded[place], own, length)
        if twice and len(settled) == len(places):
            _check_repeats(model, settled[places[0]][0], outputs if len(places) == 1 else None)
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


def check_repeated(model: Model, first: Float[Tensor, "..."], again: Float[Tensor, "..."], what: str) -> None:
    """Refuse a model whose `what` differ when it is asked twice about one input."""
    miss = float((first - again).abs().max())
    if miss > REPEATED * max(1.0, float(first.abs().max())):
        raise ModelError(
            f"{type(model.network).__name__} does not repeat itself: asked twice about one input, its {what} differ "
            f"by {miss:.2g}. Something in its forward pass is random even in evaluation mode, such as dropout that is "
            "not told training=self.training; make it repeatable, for an answer by chance has no explanation."
        )


def answered(row: Row, value: Float[Tensor, "*one"], choices: Float[Tensor, " choice"] | None) -> tuple[float, ...]:
    """Say what is compared when a model is asked about a row again: F, and the choices that stand beside it.

    F alone may be the same by chance: dropout on logits leaves half of them as they were. Of a vocabulary the choices
    that the row lists are looked at.
    """
    if choices is None or row.choices is None:
        listed: list[int] = []
    elif row.objective.kind == "span":
        listed = [place for place, padding in enumerate(row.encoded.tokens.padding) if not padding]
    else:
        listed = list(row.choices.numbers)
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
    """List all choices of one row, or its function's value."""
    return values(outputs, [objective]) if objective.function else choices_of(outputs, [objective]).float()


def settle_rows(model: Model, encoded: Encoded, outputs: Any, objectives: Sequence[Objective]) -> list[Row]:
    """Make rows of one input, one for each of its objectives, from what the model answers."""
    listed, rows = list_choices(model, outputs, objectives), []
    for objective in objectives:
        value, choices = laid_out([objective]).answers(outputs)
        if not torch.isfinite(value).all():
            raise NotFiniteError(
                f"The model's answer for {encoded.tokens.input[:40]!r} is {float(value)}; load it in float32 "
                "(dtype='float32'), or check its weights."
            )
        row = Row(encoded, objective, listed)
        rows.append(replace(row, answer=answered(row, value, None if choices is None else choices[0])))
    return rows


def _continue(model: Model, encoded: Encoded, steps: int) -> Iterator[Row]:
    """Continue greedily, one row per generated token."""
    for step in range(steps):
        outputs = run(model.network, encoded.tensors)
        (row,) = settle_rows(model, encoded, outputs, [resolve(model, encoded, outputs, None)])
        if step == 0:
            _check_repeats(model, row, outputs)
        if row.objective.kind != "next" or has_encoder_and_decoder(model.config):
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
        (longer,) = encode(model, {"input_ids": ids, "attention_mask": mask})
        known = encoded.tokens
        columns = {name: getattr(known, name) + getattr(longer.tokens, name)[-1:] for name in _LABELS}
        # Places in the text belong to the text that was given; what the model has added has none.
        columns |= {name: (*getattr(known, name), -1) for name in ("word", "start", "stop")}
        encoded = Encoded(longer.tensors, Tokens(**columns, input=known.input))


_LABELS = ("text", "position", "special", "padding")


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


def predict(model: Model, rows: Sequence[Row], *, memory: int | float | str | None = None) -> Prediction:
    """Compute F, its probability and the leading choice of every row, in batches of similar length."""
    budget = memory_budget(model.device, memory)
    with at_rest(model.network), torch.no_grad():  # tensors made outside may be those of the caller's inference mode
        value = torch.empty(len(rows), dtype=torch.float64)
        probability = torch.empty_like(value)
        label = torch.full((len(rows),), -1, dtype=torch.long)
        answers: list[tuple[float, ...]] = [()] * len(rows)
        groups: dict[int, list[int]] = {}
        for place, first in enumerate(same_questions(rows)):
            groups.setdefault(first, []).append(place)
        firsts = list(groups)
        for numbers in batches(
            model, [rows[first] for first in firsts], budget / bytes_per_token(model, gradient=False)
        ):
            asked = [rows[firsts[number]] for number in numbers]
            outputs = run(model.network, collate(model, asked))
            places = [place for number in numbers for place in groups[firsts[number]]]
            some = [rows[place] for place in places]
            objectives = [row.objective for row in some]
            choices = None
            if objectives[0].function is None:
                sizes = torch.tensor([len(groups[firsts[number]]) for number in numbers])
                choices = choices_of(outputs, [row.objective for row in asked])
                choices = choices.repeat_interleave(sizes.to(choices.device), 0)
            found = values(outputs, objectives) if choices is None else values_of(choices, objectives)
            value[places] = found.double().cpu()
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


def _without_padding(logits: Float[Tensor, "row choice"], rows: Sequence[Row]) -> Tensor:
    """Where tokens are the choices, padding is none."""
    if rows[0].objective.kind != "span":
        return logits
    logits = logits.clone()
    for number, row in enumerate(rows):
        padding = torch.tensor(row.encoded.tokens.padding, device=logits.device)
        logits[number, : row.n_tokens][padding] = -torch.inf
        logits[number, row.n_tokens :] = -torch.inf
    return logits


def _leading(
    logits: Float[Tensor, "row choice"], chances: Float[Tensor, " row"], objectives: Sequence[Objective]
) -> Tensor:
    link = objectives[0].link
    if link == "softmax":
        return logits.argmax(1).cpu()
    return (chances > 0.5).long() if link == "sigmoid" else torch.full((len(objectives),), -1)
