"""The number that is explained: a class, a token, an answer's start, or any function of what a model returns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from transformers.models.auto import modeling_auto as auto

from lignite.errors import InputError, ModelError, OptionError
from lignite.inputs.tokens import Encoded
from lignite.models.facts import (
    answers_last,
    class_names,
    declared_labels,
    declared_problem,
    declared_vocabulary,
    fills_masks,
    has_encoder_and_decoder,
    writes_words,
)
from lignite.models.hold import FORWARD_CONTRACT
from lignite.models.load import Model
from lignite.models.outputs import described, each_row, logits_of, part_of
from lignite.targets.names import Labels, Vocabulary
from lignite.targets.target import Target
from lignite.wording import quoted

LISTED = 10
"""Tokens of a vocabulary that a result lists beside the explained one: those with the highest logits."""

Function = Callable[[Any], Tensor]
Wanted = Target | Function | str | int | tuple[str | int, str | int] | None


@dataclass(frozen=True, eq=False)
class Objective:
    """F for one input.

    Attributes
    ----------
    kind
        ``"class"`` (one answer for the input), ``"token-class"``, ``"masked"`` and ``"next"`` (an answer at every
        token), ``"span"`` (where an answer starts or ends) or ``"function"``.
    index, against
        The explained choice, and the one whose logit is subtracted from its own.
    position
        The token at which the model answers; None where it answers for the whole input. For a span it is the chosen
        token itself.
    name
        In words.
    """

    kind: str
    name: str
    index: int | None = None
    against: int | None = None
    position: int | None = None
    part: str | None = None
    link: str = "softmax"
    function: Function | None = None


@dataclass(frozen=True, eq=False)
class Choices:
    """What the model says of one input as it stands: its choices, their numbers, logits and probabilities.

    For a vocabulary only the `LISTED` highest and the explained ones; empty for a function.
    """

    names: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    logit: tuple[float, ...] = ()
    probability: tuple[float, ...] = ()
    best: str = ""


@dataclass(frozen=True, eq=False)
class Questions:
    """Questions are the objectives of some rows, laid out where the model is: to answer them, nothing is copied there.

    Attributes
    ----------
    first
        What they have in common: the kind, and the function where it is one.
    numbers
        `index`, `against`, `position` and whether `part` is the second of `parts`; −1 for None.
    opposed
        Whether anything is `against`.
    parts
        Of an answer's start and end, those that are asked about.
    """

    first: Objective
    numbers: Int[Tensor, "number row"]
    opposed: bool
    parts: tuple[str, ...]

    def of(self, rows: Int[Tensor, " point"]) -> "Questions":
        """Ask every point what its row is asked."""
        return replace(self, numbers=self.numbers[:, rows])

    def answers(self, outputs: Any) -> tuple[Float[Tensor, " row"], Float[Tensor, "row choice"] | None]:
        """Compute F of every row, differentiable, and give the choices that it is one of; a function has none."""
        if self.first.function is not None:
            return _of_function(self.first.function, outputs, self.numbers.shape[1]), None
        choices = self.choices(outputs)
        return self.values_of(choices), choices

    def values(self, outputs: Any) -> Float[Tensor, " row"]:
        """Compute F of every row, differentiable."""
        return self.answers(outputs)[0]

    def values_of(self, logits: Float[Tensor, "row choice"]) -> Float[Tensor, " row"]:
        """Compute F of every row from the logits that it chooses among, differentiable."""
        index, against, _, _ = self.numbers.to(logits.device)
        value = logits.gather(1, index[:, None])[:, 0]
        if not self.opposed:
            return value
        other = logits.gather(1, against.clamp_min(0)[:, None])[:, 0]
        return value - torch.where(against >= 0, other, torch.zeros_like(value))

    def choices(self, outputs: Any) -> Float[Tensor, "row choice"]:
        """Find the logits among which each row's objective is one."""
        if self.first.kind == "span":
            found = [part_of(outputs, f"{part}_logits") for part in self.parts]
            second = self.numbers[3].to(found[0].device) == 1
            return found[0] if len(found) == 1 else torch.where(second[:, None], found[1], found[0])
        logits = logits_of(outputs)
        assert logits is not None  # `kind_of` has seen them
        if self.first.kind == "class":
            return logits
        rows = torch.arange(len(logits), device=logits.device)
        return logits[rows, self.numbers[2].to(logits.device)]


def laid_out(objectives: Sequence[Objective], device: torch.device | str = "cpu") -> Questions:
    """Lay out the questions of some rows on a device."""
    parts = tuple(sorted({item.part for item in objectives if item.part is not None}, reverse=True))
    asked = [
        (item.index, item.against, item.position, parts.index(item.part) if item.part else None) for item in objectives
    ]
    numbers = [[-1 if number is None else number for number in numbers] for numbers in zip(*asked, strict=True)]
    opposed = any(item.against is not None for item in objectives)
    return Questions(objectives[0], torch.tensor(numbers, dtype=torch.long).to(device), opposed, parts)


def values(outputs: Any, objectives: Sequence[Objective]) -> Float[Tensor, " row"]:
    """Compute F of every row, differentiable."""
    return laid_out(objectives).values(outputs)


def values_of(logits: Float[Tensor, "row choice"], objectives: Sequence[Objective]) -> Float[Tensor, " row"]:
    """Compute F of every row from the logits that it chooses among, differentiable."""
    return laid_out(objectives).values_of(logits)


def choices_of(outputs: Any, objectives: Sequence[Objective]) -> Float[Tensor, "row choice"]:
    """Find the logits among which each row's objective is one."""
    return laid_out(objectives).choices(outputs)


def probabilities(logits: Float[Tensor, "row choice"], objectives: Sequence[Objective]) -> Float[Tensor, " row"]:
    """Compute the probability of each row's choice (against the opposed one, if there is one); NaN for regressions."""
    found = []
    for row, item in zip(logits.double(), objectives, strict=True):
        if item.link == "none":
            found.append(torch.full((), torch.nan, dtype=torch.float64, device=row.device))
        elif item.against is not None:
            found.append(torch.sigmoid(row[item.index] - row[item.against]))
        else:
            found.append(_linked(row, item.link)[item.index])
    return torch.stack(found)


def chances(logits: Float[np.ndarray, " choice"], link: str) -> Float[np.ndarray, " choice"]:
    """Compute probabilities of logits; not a number where there is no link between them."""
    return np.asarray(_linked(torch.from_numpy(logits), link).numpy())


def _linked(logits: Float[Tensor, "*row choice"], link: str) -> Tensor:
    if link == "none":
        return torch.full_like(logits, torch.nan)
    return torch.sigmoid(logits) if link == "sigmoid" else torch.softmax(logits, dim=-1)


def _of_function(function: Function, outputs: Any, n_rows: int) -> Tensor:
    """Apply the function to each row by itself: what mixes rows, or counts them, sees one."""
    found = []
    for value in each_row(function, outputs, n_rows):
        if not isinstance(value, Tensor) or value.shape not in ((), (1,)) or not value.dtype.is_floating_point:
            shape = f" of shape {tuple(value.shape)} and {value.dtype}" if isinstance(value, Tensor) else f" {value!r}"
            raise OptionError(
                f"the target function returned a {type(value).__name__}{shape} for an input; return a tensor with one "
                "number per input, such as outputs.logits[:, 1]."
            )
        found.append(value.reshape(()))
    return torch.stack(found)


def kind_of(model: Model, outputs: Any) -> str:
    """Tell what a model answers, told by what it returns for one input and by the class it was loaded as."""
    name = type(model.network).__name__
    if part_of(outputs, "start_logits") is not None and part_of(outputs, "end_logits") is not None:
        return "span"
    logits = logits_of(outputs)
    if logits is None:
        raise ModelError(
            f"{name} returns no logits, so there is no prediction to explain (it returns {described(outputs)}). Load "
            f"it with its head (task=), or give target= a function of its output. {FORWARD_CONTRACT}."
        )
    _check_logits(model, outputs, logits)
    if logits.ndim == 2:
        return "class"
    if not writes_words(model.network) and name not in _LANGUAGE_MODELS:
        return "token-class"
    # Bart's head is listed among those for masked words, too; its decoder writes the next one.
    masked = name in _MASKED and not has_encoder_and_decoder(model.config)
    return "masked" if masked or fills_masks(model.config) else "next"


def _check_logits(model: Model, outputs: Any, logits: Shaped[Tensor, "..."]) -> None:
    """Refuse what is no row of choices for the input or each of its tokens; unnamed, they are as many as the labels."""
    name, shape = type(model.network).__name__, tuple(logits.shape)
    if logits.ndim not in (2, 3) or len(logits) != 1 or 0 in shape:
        raise ModelError(
            f"{name} returns logits of shape {shape} for one input; lignite reads [1, label] and [1, token, label]. "
            "Give target= a function of its output that returns one number."
        )
    n_labels = declared_labels(model.config)
    vocabulary = declared_vocabulary(model.config)
    if part_of(outputs, "logits") is None and shape[-1] not in (
        (n_labels, vocabulary) if len(shape) == 3 else (n_labels,)
    ):
        raise ModelError(
            f"{name} returns {described(outputs)}, whose first tensor has shape {shape}: nothing says that these are "
            f"logits (config.num_labels is {n_labels}). {FORWARD_CONTRACT}; or give target= a function of its output."
        )


_MASKED = frozenset(auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.values())
_LANGUAGE_MODELS = _MASKED | frozenset(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())


def resolve(model: Model, encoded: Encoded, outputs: Any, wanted: Wanted, *, length: int | None = None) -> Objective:
    """Turn what the user asked for into an objective of this input.

    `outputs` are the model's for this input, padded to `length` tokens where it was.

    Raises
    ------
    OptionError
        If there is no such class, token or position.
    InputError
        If the input leaves open what is asked (no mask, several masks).
    """
    if callable(wanted) and not isinstance(wanted, Target):
        return Objective("function", getattr(wanted, "__name__", "function"), function=wanted)
    target = as_target(wanted)
    kind, n_tokens = kind_of(model, outputs), length or len(encoded.tokens)
    if target.part is not None and kind != "span":
        raise OptionError(f"part={target.part!r} belongs to question answering; {type(model.network).__name__} is not.")
    if kind == "span":
        return _resolve_span(encoded, outputs, target, n_tokens)
    answers = logits_of(outputs)
    assert answers is not None
    if kind != "class":
        _check_places(model, encoded, kind, answers, n_tokens)
    position = _position(model, encoded, kind, target)
    logits = answers[0] if position is None else answers[0, position]
    if kind in ("masked", "next"):
        return _make(kind, logits, target, position, Vocabulary(model), "softmax", encoded)
    return _make(
        kind,
        logits,
        target,
        position,
        Labels(class_names(model.config, len(logits))),
        _link(model, len(logits)),
        encoded,
    )


def as_target(wanted: Wanted) -> Target:
    """Make a Target of every way of asking: a label, a pair of labels, a Target."""
    if wanted is None:
        return Target()
    if isinstance(wanted, Target):
        return wanted
    if isinstance(wanted, str) or (isinstance(wanted, int) and not isinstance(wanted, bool)):
        return Target(label=wanted)
    if isinstance(wanted, tuple | list) and len(wanted) == 2:
        return Target(label=wanted[0], against=wanted[1])
    raise OptionError(
        f"target={quoted(wanted)} is not understood: give a label or its number, a pair of them (the difference of "
        "their logits), a lignite.Target, or a function of the model's output."
    )


def _make(
    kind: str,
    logits: Float[Tensor, " choice"],
    target: Target,
    position: int | None,
    read: "Labels | Vocabulary",
    link: str,
    encoded: Encoded,
) -> Objective:
    index = int(logits.argmax()) if target.label is None else read.number(target.label)
    against = None if target.against is None else read.number(target.against)
    if against == index:
        raise OptionError(f"label and against are both {read.name(index)!r}; their difference is always zero.")
    name = read.name(index) + ("" if against is None else f" against {read.name(against)}")
    if position is not None and (kind != "next" or target.token is not None):  # next is after the last one
        where = "after" if kind == "next" else "at"
        name = f"{name} {where} {encoded.tokens.text[position]!r} ({position})"
    return Objective(kind, name, index, against, position, link=link)


def _link(model: Model, n_choices: int) -> str:
    problem = declared_problem(model.config)
    if problem == "regression" or (n_choices == 1 and problem is None):
        return "none"
    return "sigmoid" if problem == "multi_label_classification" or n_choices == 1 else "softmax"


def _check_places(
    model: Model, encoded: Encoded, kind: str, logits: Float[Tensor, "1 place choice"], n_tokens: int
) -> None:
    """A token's number must mean the same token in the input and in the answer."""
    decoder = kind == "next" and has_encoder_and_decoder(model.config)
    n_tokens = encoded.tensors["decoder_input_ids"].shape[1] if decoder else n_tokens
    if logits.shape[1] != n_tokens:
        raise OptionError(
            f"{type(model.network).__name__} answers at {logits.shape[1]} places of its own, not at the {n_tokens} "
            "tokens of its input, so token= would name another one: give target= a function of its output, such as "
            "lambda outputs: outputs.logits[:, 0, 1]."
        )


def _position(model: Model, encoded: Encoded, kind: str, target: Target) -> int | None:
    tokens = encoded.tokens
    if kind == "class":
        if target.token is not None:
            raise OptionError(
                f"token={target.token} belongs to models that answer at every token; "
                f"{type(model.network).__name__} answers once for the whole input."
            )
        return None
    kept = [place for place, padding in enumerate(tokens.padding) if not padding]
    if has_encoder_and_decoder(model.config) and kind == "next":
        return _decoder_position(encoded, target)
    if target.token is not None:
        place = target.token + len(tokens) if target.token < 0 else target.token
        if place not in kept:
            raise OptionError(f"token={target.token} is not in this input, whose tokens are {kept[0]} to {kept[-1]}.")
        if answers_last(model.config) and place != kept[-1]:
            raise OptionError(
                f"{type(model.network).__name__} answers behind the last token alone ({kept[-1]}), not at "
                f"token={target.token}: leave it out, or give the text up to there."
            )
        return place
    if kind == "next":
        return kept[-1]
    if kind == "token-class":
        raise OptionError(
            f"{type(model.network).__name__} answers at every token: name one, target=lignite.Target(token=…), among "
            f"{_numbered(tokens.text, kept)}."
        )
    mask = getattr(model.tokenizer, "mask_token_id", None)
    masked = [place for place in kept if int(encoded.tensors["input_ids"][0, place]) == mask]
    if len(masked) != 1:
        word = getattr(model.tokenizer, "mask_token", None) or "the mask token"
        raise InputError(
            f"the input holds {len(masked)} tokens {word}; write one, or name the token to explain with "
            "target=lignite.Target(token=…)."
        )
    return masked[0]


def check_decoder(model: Model, encoded: Encoded) -> None:
    """Refuse a text alone where the answer also depends on what a decoder has written so far."""
    writes = has_encoder_and_decoder(model.config) and writes_words(model.network)
    if writes and "decoder_input_ids" not in encoded.tensors:
        raise InputError(
            f"{type(model.network).__name__} writes its answer with a decoder: give tensors with input_ids and "
            "decoder_input_ids; the encoder's tokens are explained for the next token after the decoder's."
        )


def _decoder_position(encoded: Encoded, target: Target) -> int:
    given = encoded.tensors["decoder_input_ids"]
    place = given.shape[1] - 1 if target.token is None else target.token
    if not 0 <= place < given.shape[1]:
        raise OptionError(f"token={target.token} is not among the decoder's tokens, 0 to {given.shape[1] - 1}.")
    return place


def _numbered(text: Sequence[str], kept: Sequence[int]) -> str:
    shown = ", ".join(f"{place} {text[place]!r}" for place in kept[:8])
    return shown + (f" … {kept[-1]} {text[kept[-1]]!r}" if len(kept) > 8 else "")


def _resolve_span(encoded: Encoded, outputs: Any, target: Target, n_tokens: int) -> Objective:
    if target.label is not None:
        raise OptionError(f"label={target.label!r}: an answer is a place in the text; use part= and token=.")
    part = target.part or "start"
    logits = part_of(outputs, f"{part}_logits")[0]
    tokens = encoded.tokens
    if logits.shape != (n_tokens,):
        raise ModelError(
            f"the {part}_logits of an answer have shape {tuple(logits.shape)} for an input of {n_tokens} tokens; "
            "give target= a function of the model's output."
        )
    kept = [place for place, padding in enumerate(tokens.padding) if not padding]
    if target.token is None:
        place = kept[int(logits[kept].argmax())]
    else:
        place = target.token + len(tokens) if target.token < 0 else target.token
        if place not in kept:
            raise OptionError(f"token={target.token} is not in this input, whose tokens are {kept[0]} to {kept[-1]}.")
    return Objective("span", f"{part} at {tokens.text[place]!r} ({place})", place, None, place, part=part)


def list_choices(model: Model, outputs: Any, objectives: Sequence[Objective]) -> Choices:
    """List the choices of one input alone, for its results, of which each explains one of them."""
    objective = objectives[0]
    if objective.function is not None:
        return Choices()
    logits = choices_of(outputs, [objective])[0].double()
    probability = _linked(logits, objective.link)
    if objective.kind in ("class", "token-class"):
        read: Labels | Vocabulary = Labels(class_names(model.config, len(logits)))
        listed = list(range(len(logits)))
    elif objective.kind == "span":
        return Choices(best=objective.name)
    else:
        read = Vocabulary(model)
        listed = logits.topk(min(LISTED, len(logits))).indices.tolist()
        explained = [index for each in objectives for index in (each.index, each.against) if index is not None]
        listed += [index for index in dict.fromkeys(explained) if index not in listed]
    names = [read.name(index) for index in listed]
    if len(set(names)) < len(names):  # two ids of a vocabulary may decode to one text
        names = [
            f"{name} (id {index})" if names.count(name) > 1 else name for name, index in zip(names, listed, strict=True)
        ]
    return Choices(
        tuple(names),
        tuple(listed),
        tuple(logits[listed].tolist()),
        tuple(probability[listed].tolist()),
        "" if objective.link == "none" else read.name(int(logits.argmax())),
    )
