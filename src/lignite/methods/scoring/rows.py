"""Explanations of rows whose targets are settled, as labelled results."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import xarray as xr

from lignite.blocks.baselines import usual_baselines
from lignite.calls import Progress
from lignite.errors import BypassError, LigniteError, NotFiniteError
from lignite.inputs.fills import IMAGE_FILLS
from lignite.inputs.roles import TOKEN_BASELINES
from lignite.memory import budget_held, halving, memory_budget
from lignite.methods.gradients import IntegratedGradients
from lignite.methods.method import Explanation, FromBaseline, Method, from_one
from lignite.methods.options import record
from lignite.methods.perturbation import KernelShap, Occlusion, Shapley
from lignite.methods.scoring.precision import explainable
from lignite.models.facts import reads_images
from lignite.models.load import Model
from lignite.results.build import build_explanation
from lignite.results.classes import join_classes
from lignite.results.schema import PICTURE
from lignite.targets.ask import check_repeats, check_said_again, predict
from lignite.targets.classes import name_class
from lignite.targets.edits import is_image
from lignite.targets.rows import Row
from lignite.version import VERSION, versions

BATCH = 64
"""Inputs that are explained together before progress is reported."""

TOL = 1e-3
"""What a result says it keeps where its method has no tolerance of its own."""


def settle(method: Method, model: Model) -> Method:
    """The method with what it leaves open as is usual for the model."""
    return method.settle(usual_baselines(model), images=reads_images(model.network))


def explain_all(
    model: Model,
    rows: Sequence[Row],
    method: Method,
    *,
    memory: int | float | str | None = None,
    progress: Progress | None = None,
) -> list[xr.Dataset]:
    """Explanations of any number of rows, `BATCH` at a time."""
    results: list[xr.Dataset] = []
    for first in range(0, len(rows), BATCH):
        results += explain_rows(model, rows[first : first + BATCH], method, memory=memory)
        if progress:
            progress(len(results), len(rows))
    return results


def explain_classes(
    model: Model,
    groups: Sequence[Sequence[Row]],
    method: Method,
    *,
    memory: int | float | str | None = None,
    progress: Progress | None = None,
) -> list[xr.Dataset]:
    """One explanation of several classes for each group of rows, which ask about one input each."""
    results: list[xr.Dataset] = []
    for some in _together(groups):
        found = iter(explain_rows(model, [row for group in some for row in group], method, memory=memory))
        results += [join_classes(list(islice(found, len(group))), list(map(name_class, group))) for group in some]
        if progress:
            progress(len(results), len(groups))
    return results


def _together(groups: Sequence[Sequence[Row]]) -> Iterator[list[Sequence[Row]]]:
    """Groups that are explained together: as many as `BATCH` rows make, and at least one."""
    some: list[Sequence[Row]] = []
    for group in groups:
        if some and sum(map(len, some)) + len(group) > BATCH:
            yield some
            some = []
        some.append(group)
    if some:
        yield some


def explain_rows(
    model: Model, rows: Sequence[Row], method: Method, *, memory: int | float | str | None = None
) -> list[xr.Dataset]:
    """Explanations of rows, labelled, each by the method from its own baseline or the usual ones of the model."""
    method = settle(method, model)
    with explainable(model, rows) as (model, rows, attention):
        found = halving(partial(explain_or_advise, method, model, rows), memory_budget(model.device, memory))
        answers = _answers(model, rows, found, memory)
    results = []
    for row, explanation, value in zip(rows, found, answers, strict=True):
        _check_finite(row, explanation, value)
        about = {"request": json.dumps(record(method)), "method": method.name}
        plans = {"attention": attention} if attention != "own" else {}
        results.append(_labelled(model, row, explanation, value, about | {"tol": getattr(method, "tol", TOL)}, plans))
    return results


def _answers(
    model: Model, rows: Sequence[Row], found: Sequence[Explanation], memory: int | float | str | None
) -> list[float]:
    """F of every row, as the method has seen it, or asked for anew where it has not."""
    seen = [each.value for each in found if each.value is not None]
    if len(seen) == len(found):
        return seen
    prediction = predict(model, rows, memory=memory)
    check_said_again(model, rows, prediction.answers)
    return [float(value) for value in prediction.value]


def _check_finite(row: Row, found: Explanation, value: float) -> None:
    chances = ("start_probability",)  # a regression has none
    scores = found.variables
    wrong = [name for name, values in scores.items() if name not in chances and not np.isfinite(values).all()]
    if wrong or not np.isfinite(value):
        text = row.encoded.tokens.input
        raise NotFiniteError(
            f"{wrong[0] if wrong else 'the answer'} for {text[:40] + ('…' if len(text) > 40 else '')!r} is NaN or "
            "infinite: the path leaves the range of the model's numbers. Load the model with dtype='float64', or start "
            "the path elsewhere (baseline=)."
        )


def _labelled(
    model: Model, row: Row, found: Explanation, value: float, about: dict[str, Any], plans: dict[str, Any]
) -> xr.Dataset:
    """What was found, with the names of tokens and classes, and where it comes from."""
    tokens, objective, listed = row.encoded.tokens, row.objective, row.choices
    variables = dict(found.variables)
    classes = listed.names if listed is not None and listed.names else None
    if listed is not None and classes:
        variables |= {"logit": np.asarray(listed.logit), "probability": np.asarray(listed.probability)}
    if row.encoded.image is not None:
        variables[PICTURE] = row.encoded.image
    target = {
        "kind": objective.kind,
        "name": objective.name,
        "label": objective.index,
        "against": objective.against,
        "token": objective.position,
        "part": objective.part,
    }
    precision = str(model.dtype).removeprefix("torch.")
    return build_explanation(
        tokens=tokens.keep(),
        variables={name: np.asarray(values) for name, values in variables.items()},
        classes=classes,
        attrs={
            "lignite_version": VERSION,
            "model": model.name,
            "revision": model.revision or "",
            "versions": json.dumps(versions("xarray")),
            **about,
            "text": tokens.input,
            "target": json.dumps(target),
            "prediction": "" if listed is None else listed.best,
            "value": float(value),
            "plans": json.dumps({"precision": precision, **plans, **found.plan}),
        },
    )


def explain_or_advise(method: Method, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """Explain rows; the refusal of a bypassed stack names another method that explains this very input.

    Raises
    ------
    ModelError
        If the stack is no bypassed one, but of a model that does not repeat itself.
    """
    try:
        with budget_held(budget):
            return method.explain(model, rows, budget)
    except BypassError as error:
        row = error.row if isinstance(error.row, Row) else rows[0]
        check_repeats(model, row)  # what is said by chance is not replayed, either
        raise BypassError(f"{error} {_advice(model, row, method, budget)}", row) from error


def _advice(model: Model, row: Row, method: Method, budget: float) -> str:
    for way in _ways(row, method):
        try:
            (found,) = way.explain(model, [row], budget)
        except (LigniteError, RuntimeError):  # torch's own word for what has no gradient: this way is none
            continue
        if np.isfinite(found.variables["relevance"]).all():
            named = f"method={way.name!r} with baseline={way.baselines[0]!r}"
            return f"Use {named}: it was tried, and explains this input."
    return (
        "No other method that was tried explains this input either: it has no token or colour to put in a word's place."
    )


def _ways(row: Row, method: Method) -> Iterator[FromBaseline]:
    """Other methods, from the baselines that were asked for before all others.

    From one of several baselines where only another is refused; then at the first layer alone; then without any state.
    """
    fillers = IMAGE_FILLS if is_image(row) else ("mask", *TOKEN_BASELINES)
    asked = method.baselines if isinstance(method, FromBaseline) else ()
    special = not isinstance(method, FromBaseline) or method.keep_special
    for name in asked:
        if len(asked) > 1 and isinstance(method, FromBaseline):
            yield from_one(method, name)
    for name in asked or fillers[:1]:
        yield from_one(IntegratedGradients(keep_special=special), name)
    for way in (Occlusion(), Shapley(n_samples=2), KernelShap(n_samples=2)):
        for name in dict.fromkeys([*(name for name in asked if name in fillers), *fillers]):
            yield from_one(replace(way, keep_special=special), name)
