"""Several classes of one input, or several tokens of a vocabulary, asked about at once: one row for each."""

from dataclasses import replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lignite.calls import check_count
from lignite.errors import OptionError
from lignite.inputs.encode import encode
from lignite.inputs.tokens import Encoded
from lignite.models.hold import at_rest
from lignite.models.load import Model
from lignite.targets.ask import settle_all, settle_rows
from lignite.targets.objective import Objective, Wanted, as_target, check_decoder, choices_of, resolve
from lignite.targets.rows import Row
from lignite.targets.target import Target

Targets = Literal["all"] | int
"""Every class, or so many of the most probable ones."""


def ask_classes(model: Model, inputs: Any, target: Wanted, targets: Targets, *, twice: bool = True) -> list[list[Row]]:
    """Encode inputs, and settle what is explained of each: a row for every class, the most probable first.

    `target` may say where the model is asked (``Target(token=…)``), but names no class.

    Raises
    ------
    OptionError
        If the model has no classes to choose from, or fewer than that.
    """
    wanted = _check(target, targets)
    with at_rest(model.network), torch.no_grad():
        encoded = encode(model, inputs)
        for item in encoded:
            check_decoder(model, item)

        def settle(item: Encoded, outputs: Any, length: int) -> list[Row]:
            likeliest = resolve(model, item, outputs, wanted, length=length)
            numbers = _chosen(model, likeliest, choices_of(outputs, [likeliest])[0], targets)
            asked = (replace(wanted, label=number) for number in numbers)
            return settle_rows(
                model, item, outputs, [resolve(model, item, outputs, each, length=length) for each in asked]
            )

        return settle_all(model, encoded, settle, twice)


def name_class(row: Row) -> str:
    """The name that the class of a row has among all that its result lists."""
    assert row.choices is not None
    assert row.objective.index is not None
    return row.choices.names[row.choices.numbers.index(row.objective.index)]


def _check(target: Wanted, targets: Targets) -> Target:
    if targets != "all":
        check_count("targets", targets)
    if callable(target) and not isinstance(target, Target):
        raise OptionError(f"targets={targets!r} asks about classes, and target= is a function of the output: drop one.")
    wanted = as_target(target)
    for name in ("label", "against", "part", "steps"):
        if (given := getattr(wanted, name)) is not None:
            raise OptionError(
                f"targets={targets!r} chooses the classes itself, and {name}={given!r} asks for something else: leave "
                f"one of them out{', or explain one class against another with target=' if name == 'against' else ''}."
            )
    return wanted


def _chosen(model: Model, likeliest: Objective, logits: Float[Tensor, " choice"], targets: Targets) -> list[int]:
    """Numbers of the classes that are explained: by falling logit, those without probabilities as they stand."""
    name, n_choices = type(model.network).__name__, len(logits)
    if likeliest.kind == "span":
        raise OptionError(
            f"targets={targets!r}: what {name} answers is a place in the text, no class; explain its start and its end "
            "with target=lignite.Target(part=…)."
        )
    if n_choices == 1:
        raise OptionError(f"targets={targets!r}: {name} answers with one number; leave targets out to explain it.")
    if likeliest.link == "none":
        if targets != "all":
            raise OptionError(f"targets={targets}: the {n_choices} outputs of {name} have no probabilities; use 'all'.")
        return list(range(n_choices))
    if targets == "all" and likeliest.kind in ("masked", "next"):
        raise OptionError(
            f"targets='all': {name} chooses among {n_choices:,} tokens; give a number, such as targets=5."
        )
    count = n_choices if targets == "all" else targets
    if count > n_choices:
        raise OptionError(f"targets={targets} is more than the {n_choices} classes of {name}; give 'all', or fewer.")
    return logits.argsort(descending=True, stable=True)[:count].tolist()
