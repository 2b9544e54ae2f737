"""Rows run together for the methods that look inside a model, and their scores taken apart again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lignite.attribution.layer_ig import Following
from lignite.attribution.rules import FIRST_NESTED
from lignite.blocks.baselines import starts_of
from lignite.blocks.fitting import padded_rows
from lignite.blocks.recompute import bytes_again, runs_again
from lignite.blocks.shared import SharedStack
from lignite.blocks.stack import LengthError, Stack, Start, points_at_once
from lignite.methods.method import Declared, DrawnNodes, Explanation, FromBaseline, Integrated, from_one
from lignite.models.load import Model
from lignite.models.stream import parts_within
from lignite.results.schema import EXPLAIN
from lignite.targets.ask import check_said_again
from lignite.targets.objective import chances
from lignite.targets.rows import Row, batches, bytes_per_token, same_questions

Found = TypeVar("Found")

Scored = Callable[[Declared, Model, Sequence[Row], float], list[Explanation]]
"""What computes a method that starts at baselines."""


NODES = FIRST_NESTED
"""Points of a row whose path is followed: where those of some rows fill the memory, more rows bring nothing but padding
(a list of 40 sentences in one stack, all as long as the longest, took a quarter more than one after the other)."""


def in_stacks(
    model: Model, rows: Sequence[Row], budget: float, *, shared: bool = True, points: float = 1.0
) -> Iterator[tuple[list[int], Stack]]:
    """Numbers of the rows that are run together, and their stack, in which each row is run at so many `points`.

    What several rows ask of one input is `shared`, unless whoever looks inside the model must find every row there.
    """
    for numbers in batches(model, rows, budget / points / bytes_per_token(model, gradient=True)):
        stack = _stacked(model, [rows[number] for number in numbers], shared)
        stack.again = runs_again(model, stack.states[0].shape[1], budget)
        check_said_again(model, stack.rows, stack.answers())
        yield numbers, stack


def _stacked(model: Model, rows: list[Row], shared: bool) -> Stack:
    """The stack of some rows, padded to the length that the model would pad them to inside, where it would."""
    try:
        several = shared and len(set(same_questions(rows))) < len(rows)
        return (SharedStack if several else Stack)(model, rows)
    except LengthError as error:
        if any("input_ids" not in row.encoded.tensors for row in rows):
            raise
        return Stack(model, padded_rows(model, rows, error.n_seen))


def explain_stacks(
    model: Model,
    rows: Sequence[Row],
    budget: float,
    compute: Callable[[Stack], Mapping[str, Float[Tensor, "row *axes"]]],
    *,
    shared: bool = True,
) -> list[Explanation]:
    """Explanations of all rows, computed a stack at a time."""
    return by_stack(model, rows, budget, lambda stack: of_rows(stack, compute(stack)), shared=shared)


def by_stack(
    model: Model,
    rows: Sequence[Row],
    budget: float,
    explain: Callable[[Stack], Sequence[Found]],
    *,
    shared: bool = True,
    points: float = 1.0,
) -> list[Found]:
    """What is found of all rows, a stack at a time."""
    found: dict[int, Found] = {}
    for numbers, stack in in_stacks(model, rows, budget, shared=shared, points=points):
        found |= zip(numbers, explain(stack), strict=True)
    return [found[number] for number in range(len(rows))]


def of_rows(
    stack: Stack,
    variables: Mapping[str, Float[Tensor, "row *axes"]],
    n_nodes: Int[Tensor, "row layer"] | None = None,
) -> list[Explanation]:
    """The explanations of a stack's rows; axes of tokens lose their padding. Every variable is read once for all."""
    kept = stack.kept.cpu().numpy()
    found = {name: without_padding(values, EXPLAIN.variables[name], kept) for name, values in variables.items()}
    value = stack.value.double().tolist()
    nodes = None if n_nodes is None else n_nodes.long().tolist()
    said = [None if each is None else each.cpu().double().numpy() for each in stack.said]
    return [
        Explanation(
            {name: values[place] for name, values in found.items()} | _of_the_start(row, place, said),
            value=value[place],
            plan={} if nodes is None else {"n_nodes": nodes[place]},
        )
        for place, row in enumerate(stack.rows)
    ]


def _of_the_start(
    row: Row, place: int, said: Sequence[Float[np.ndarray, "row choice"] | None]
) -> dict[str, np.ndarray]:
    """What the model says of the start itself, averaged over baselines; nothing of starts that are no input."""
    logits = [each[place] for each in said if each is not None]
    if not logits or len(logits) < len(said) or row.choices is None or not row.choices.numbers:
        return {}
    listed = list(row.choices.numbers)
    return {
        "start_logit": np.mean([each[listed] for each in logits], axis=0),
        "start_probability": np.mean([chances(each, row.objective.link)[listed] for each in logits], axis=0),
    }


def without_padding(
    values: Float[Tensor, "row *axes"], axes: Sequence[str], kept: Bool[np.ndarray, "row token"]
) -> list[Float[np.ndarray, "..."]]:
    """Every row's values as an array, without the padding of its tokens."""
    tokens = [place for place, axis in enumerate(axes) if axis in ("token", "target", "source")]
    found = []
    for row, own in zip(values.detach().cpu().numpy(), kept, strict=True):
        for place in () if own.all() else tokens:  # it is a copy
            row = row.compress(own, axis=place)
        found.append(np.asarray(row))
    return found


def averaged(scored: Scored[Declared]) -> Scored[Declared]:
    """The mean of a method's results over its baselines."""

    def over_baselines(options: Declared, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
        runs = [scored(from_one(options, name), model, rows, budget) for name in options.baselines]
        return [mean_of(same) for same in zip(*runs, strict=True)]

    return over_baselines


def mean_of(runs: Sequence[Explanation]) -> Explanation:
    """Every variable averaged: displacements may cancel, so what gaps are allowed is that of each path, averaged."""
    first = runs[0]
    shared = [
        name for name in first.variables if all(name in run.variables for run in runs)
    ]  # not every start is an input
    nodes = [run.plan["n_nodes"] for run in runs if "n_nodes" in run.plan]
    return Explanation(
        {name: np.asarray(np.mean([run.variables[name] for run in runs], axis=0)) for name in shared},
        value=first.value,
        plan={**first.plan, **({"n_nodes": np.mean(nodes, axis=0).astype(int).tolist()} if nodes else {})},
    )


def precision_of(stack: Stack, options: Integrated, budget: float) -> Following:
    """How finely the paths of a stack are followed."""
    return Following(
        tol=options.tol,
        max_steps=options.max_steps,
        n_steps=options.n_steps,
        max_points=points_at_once(stack, budget, gradient=True),
        memory=budget,
        above=_above(stack),
        stochastic=isinstance(options, DrawnNodes) and options.nodes == "stochastic",
        seed=options.seed if isinstance(options, DrawnNodes) else 0,
        by_block=bool(parts_within(stack.network)),
    )


def _above(stack: Stack) -> float:
    """Of what a point takes, the share that is the same at whichever layer it enters."""
    if stack.again:
        return bytes_per_token(stack.model, gradient=True, n_blocks=1) / bytes_again(stack.model)
    return bytes_per_token(stack.model, gradient=True, n_blocks=0) / bytes_per_token(stack.model, gradient=True)


def start_of(stack: Stack, options: FromBaseline) -> Start:
    """Where the method's one baseline enters the first block, certified there."""
    (start,) = starts_of(stack, options.baselines, keep_special=options.keep_special, through=False, every_layer=False)
    return start
