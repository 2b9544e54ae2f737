"""The way around states that do not carry the answer: a method that reads none, tried before it is named."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from lignite.errors import BypassError, LigniteError
from lignite.inputs.fills import IMAGE_FILLS
from lignite.inputs.roles import TOKEN_BASELINES
from lignite.methods.gradients import IntegratedGradients
from lignite.methods.method import Explanation, Method
from lignite.methods.perturbation import KernelShap, Occlusion, Shapley
from lignite.methods.shared import FromBaseline, from_one
from lignite.models.load import Model
from lignite.targets.ask import check_repeats
from lignite.targets.edits import is_image
from lignite.targets.rows import Row


def explain_or_advise(method: Method, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """Explain rows; the refusal of a bypassed stack names another method that explains this very input.

    Raises
    ------
    ModelError
        If the stack is no bypassed one, but of a model that does not repeat itself.
    """
    try:
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
