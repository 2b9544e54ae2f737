"""Rows run together for the methods that look inside a model, and their scores taken apart again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lignite.blocks.answers import Start
from lignite.blocks.baselines import starts_of
from lignite.blocks.fitting import padded_rows
from lignite.blocks.stack import LengthError, Stack
from lignite.models.load import Model
from lignite.request import ExplainRequest
from lignite.results.schema import EXPLAIN
from lignite.targets.ask import check_said_again
from lignite.targets.objective import chances
from lignite.targets.rows import Row, batches, bytes_per_token

Scores = dict[str, np.ndarray]
"""Variables of one row's result, over its kept tokens."""

NOTES = {"_n_nodes": ("layer",), "_reader": ("token",)}
"""Axes of what methods say beside their variables, with a name that starts with an underscore.

`_value` is F of the row, where the method has asked for it.
"""

Method = Callable[[Model, Sequence[Row], ExplainRequest, float], list[Scores]]
"""Explains rows within so many bytes for intermediate tensors."""


def in_stacks(model: Model, rows: Sequence[Row], budget: float) -> Iterator[tuple[list[int], Stack]]:
    """Numbers of the rows that are run together, and their stack."""
    for numbers in batches(model, rows, budget / bytes_per_token(model, gradient=True)):
        stack = _stacked(model, [rows[number] for number in numbers])
        check_said_again(model, stack.rows, stack.answers())
        yield numbers, stack


def _stacked(model: Model, rows: list[Row]) -> Stack:
    """The stack of some rows, padded to the length that the model would pad them to inside, where it would."""
    try:
        return Stack(model, rows)
    except LengthError as error:
        if any("input_ids" not in row.encoded.tensors for row in rows):
            raise
        return Stack(model, padded_rows(model, rows, error.n_seen))


def explain_stacks(
    model: Model,
    rows: Sequence[Row],
    budget: float,
    compute: Callable[[Stack, list[Row]], Mapping[str, Float[Tensor, "row *axes"]]],
) -> list[Scores]:
    """Scores of every row, computed a stack at a time; axes of tokens lose their padding."""
    found: list[Scores] = [{} for _ in rows]
    for numbers, stack in in_stacks(model, rows, budget):
        computed = compute(stack, [rows[number] for number in numbers])
        for place, number in enumerate(numbers):
            kept = stack.kept[place]
            found[number] = {
                name: _without_padding(values[place], NOTES.get(name) or EXPLAIN.variables[name], kept)
                for name, values in computed.items()
            } | _of_the_start(stack, place)
            found[number]["_value"] = stack.value[place].double().cpu().numpy()
    return found


def _of_the_start(stack: Stack, place: int) -> Scores:
    """What the model says of the start itself, averaged over baselines; nothing of starts that are no input."""
    row, said = stack.rows[place], [each[place].double() for each in stack.said if each is not None]
    if not said or len(said) < len(stack.said) or row.outlook is None or not row.outlook.numbers:
        return {}
    logits = [each.cpu().numpy() for each in said]
    listed = list(row.outlook.numbers)
    return {
        "start_logit": np.mean([each[listed] for each in logits], axis=0),
        "start_probability": np.mean([chances(each, row.objective.link)[listed] for each in logits], axis=0),
    }


def _without_padding(values: Tensor, axes: Sequence[str], kept: Tensor) -> np.ndarray:
    for place, axis in enumerate(axes):
        if axis in ("token", "target", "source"):
            values = values.index_select(place, kept.nonzero()[:, 0])
    return values.detach().cpu().numpy()


def every_row(stack: Stack) -> Int[Tensor, " row"]:
    """Each row of a stack once, in order."""
    return torch.arange(len(stack.kept), device=stack.kept.device)


def averaged(method: Method) -> Method:
    """The mean of a method's results over the baselines of a request."""

    def over_baselines(model: Model, rows: Sequence[Row], request: ExplainRequest, budget: float) -> list[Scores]:
        runs = [method(model, rows, replace(request, baseline=(name,)), budget) for name in request.baseline]
        return [_mean_of(same) for same in zip(*runs, strict=True)]

    return over_baselines


def _mean_of(runs: Sequence[Scores]) -> Scores:
    """Every variable averaged: displacements may cancel, so what gaps are allowed is that of each path, averaged."""
    shared = [name for name in runs[0] if all(name in scores for scores in runs)]  # not every start is an input
    return {name: np.asarray(np.mean([scores[name] for scores in runs], axis=0)) for name in shared}


def points_at_once(stack: Stack, budget: float, *, gradient: bool) -> int:
    """How many points of a stack run together within the budget; at least one."""
    n_tokens = stack.states[0].shape[1]
    return max(1, int(budget / bytes_per_token(stack.model, gradient=gradient) / n_tokens))


def words_of(row: Row, keep_special: bool) -> list[int]:
    """Places whose states or tokens a baseline changes: never the padding, and special tokens only if asked."""
    tokens = row.encoded.tokens
    return [
        place
        for place, (padding, special) in enumerate(zip(tokens.padding, tokens.special, strict=True))
        if not padding and not (special and keep_special)
    ]


def start_of(stack: Stack, request: ExplainRequest) -> Start:
    """Where the request's one baseline enters the first block, certified there."""
    (start,) = starts_of(stack, request.baseline, keep_special=request.keep_special, through=False, every_layer=False)
    return start
