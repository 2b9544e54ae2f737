"""The way around states that do not carry the answer: a method that reads none, tried before it is named."""

from collections.abc import Callable, Iterator, Sequence
from functools import wraps

import numpy as np

from lignite.errors import BypassError, LigniteError
from lignite.inputs.fills import IMAGE_FILLS
from lignite.methods.perturbation import kernel_shap, occlusion, shapley
from lignite.methods.stacks import Method, Scores
from lignite.models.load import Model
from lignite.request import TOKEN_BASELINES, ExplainRequest
from lignite.targets.ask import check_repeats
from lignite.targets.edits import is_image
from lignite.targets.rows import Row

_READ_NO_STATES: dict[str, Callable[..., list[Scores]]] = {
    "occlusion": occlusion,
    "shapley": shapley,
    "kernel-shap": kernel_shap,
}


def with_way_around(method: Method) -> Method:
    """The method, whose refusal of a bypassed stack names another one that explains this very input.

    Raises
    ------
    ModelError
        If the stack is no bypassed one, but of a model that does not repeat itself.
    """

    @wraps(method)
    def explained(model: Model, rows: Sequence[Row], request: ExplainRequest, budget: float) -> list[Scores]:
        try:
            return method(model, rows, request, budget)
        except BypassError as error:
            row = error.row if isinstance(error.row, Row) else rows[0]
            check_repeats(model, row)  # what is said by chance is not replayed, either
            raise BypassError(f"{error} {_advice(model, row, request, budget)}", row) from error

    return explained


def _advice(model: Model, row: Row, request: ExplainRequest, budget: float) -> str:
    for way in _ways(row, request):
        try:
            (scores,) = _READ_NO_STATES[way.method](model, [row], way, budget)
        except LigniteError:
            continue
        if np.isfinite(scores["relevance"]).all():
            found = f"method={way.method!r} with baseline={way.baseline[0]!r}"
            return f"Use {found}: it reads no states, and explains this input."
    return (
        "No other method that was tried explains this input either: it has no token or colour to put in a word's place."
    )


def _ways(row: Row, request: ExplainRequest) -> Iterator[ExplainRequest]:
    fillers = IMAGE_FILLS if is_image(row) else ("mask", *TOKEN_BASELINES)
    asked = [name for name in request.baseline if name in fillers]
    for method in _READ_NO_STATES:
        for name in dict.fromkeys([*asked, *fillers]):
            yield ExplainRequest(method=method, baseline=(name,), keep_special=request.keep_special, n_samples=2)
