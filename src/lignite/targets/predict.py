"""What a model says of many inputs: the number that is explained, its probability, and the leading choice."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lignite.memory import memory_budget
from lignite.models.hold import at_rest
from lignite.models.load import Model
from lignite.targets.ask import answered
from lignite.targets.objective import Objective, choices_of, probabilities, values
from lignite.targets.rows import Row, batches, bytes_per_token, collate, run


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
