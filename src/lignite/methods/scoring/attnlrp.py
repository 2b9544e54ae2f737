"""Attention-aware layer-wise relevance propagation, where its authors' library is installed."""

import copy
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from lignite.errors import OptionError
from lignite.methods.attnlrp import AttnLRP
from lignite.methods.gradients import GradientTimesInput
from lignite.methods.method import Explanation
from lignite.methods.scoring.gradients import gradient_x_input
from lignite.methods.scoring.optional import load_optional
from lignite.models.hold import at_rest
from lignite.models.load import Model
from lignite.targets.predict import predict
from lignite.targets.rows import Row

REMEDY = "install a release of lxt that knows your transformers; its licence keeps it out of lignite's dependencies"
SAME_ANSWER = 1e-3
"""Largest relative change of F by lxt's rules that still is rounding: they change how F is differentiated, not F."""


def attnlrp(options: AttnLRP, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """Gradient × input with lxt's rules for softmax, products and norms (Achtibat et al. 2024), on a copy of the model.

    The copy takes as much memory as the model. What lxt changes in transformers' classes is put back afterwards.

    Raises
    ------
    OptionError
        If lxt is not installed, does not know this architecture or changes the model's answer.
    """
    lxt = load_optional("lxt.efficient", options.name, REMEDY)
    maps = load_optional("lxt.efficient.models", options.name, REMEDY)
    family = sys.modules[type(model.network).__module__]
    expected = predict(model, rows[:1], memory=budget).value
    with _put_back(_targets(maps, family)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lxt warns of every class that it has changed before
        copied = _rebuilt_with(lxt, family, model)
        with at_rest(copied.network):
            _check_answer(expected, predict(copied, rows[:1], memory=budget).value)
            return gradient_x_input(GradientTimesInput(), copied, rows, budget)


def _targets(maps: Any, family: ModuleType) -> list[Any]:
    """Classes and modules that lxt is going to change."""
    try:
        return list(maps.get_default_map(family))
    except ValueError as error:
        raise OptionError(
            f"method='attnlrp': lxt has no rules for {family.__name__.split('.')[-2]}; use 'ig'."
        ) from error


def _rebuilt_with(lxt: Any, family: ModuleType, model: Model) -> Model:
    """The same weights in classes that lxt has changed: for some families it changes only what is built later."""
    lxt.monkey_patch(family)
    network = getattr(family, type(model.network).__name__)(copy.deepcopy(model.config)).to(model.device, model.dtype)
    network.load_state_dict(model.network.state_dict())
    return replace(model, network=network.eval())


def _check_answer(expected: Tensor, found: Tensor) -> None:
    if not torch.allclose(found, expected, rtol=SAME_ANSWER, atol=SAME_ANSWER):
        raise OptionError(
            f"method='attnlrp': with lxt's rules the model answers {float(found[0]):.4g} instead of "
            f"{float(expected[0]):.4g}; {REMEDY}."
        )


@contextmanager
def _put_back(targets: Sequence[Any]) -> Iterator[None]:
    """Give classes and modules their attributes back, and attention tables their entries."""
    tables = [getattr(target, "ALL_ATTENTION_FUNCTIONS", None) for target in targets]
    entries = [part for table in tables for owner in (table, type(table)) for part in _dicts_of(owner)]
    before = [(target, dict(vars(target))) for target in targets]
    contents = [(part, dict(part)) for part in entries]
    try:
        yield
    finally:
        for target, attributes in before:
            for name in vars(target).keys() - attributes.keys():
                delattr(target, name)
            for name, value in attributes.items():
                if vars(target).get(name) is not value:
                    setattr(target, name, value)
        for part, content in contents:
            part.clear()
            part.update(content)


def _dicts_of(owner: Any) -> list[dict[Any, Any]]:
    return [part for part in getattr(owner, "__dict__", {}).values() if isinstance(part, dict)]
