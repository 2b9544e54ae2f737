"""Every option of a run, frozen, validated once, stored with the result."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lignite.calls import fit_fields, fitting, is_several
from lignite.errors import OptionError
from lignite.wording import did_you_mean, quoted

MAPS = ("attention", "mlp", "whole", "composed")
BASELINES = ("target_token", "zero", "mean", "pad", "mask")
CHOICES = {
    "mlp_baseline": ("attention_start", "zero"),
    "self_term": ("measured", "zero_ratio", "map_ratio"),
    "readout": ("displacement", "projection"),
    "composition": ("product", "conserving"),
    "plan": ("auto", "shared", "closed-form", "target-batches", "definition"),
}
DETAILS = ("heads", "circuits")

EXPLAIN_METHODS = (
    "ca-lig", "relevance-flow", "ig", "gradient-x-input", "saliency", "deeplift", "occlusion", "kernel-shap", "lime",
    "shapley", "attention-rollout", "attention-last", "attention-x-gradient", "grad-cam", "sequential-ig", "attnlrp",
    "random",
)  # fmt: skip
TOKEN_BASELINES = ("pad", "mask", "eos", "bos", "unk")
"""Baselines that put one of the tokenizer's special tokens in the place of every word."""
EXPLAIN_BASELINES = ("auto", "zero", "mean", *TOKEN_BASELINES, "mean-embedding", "blur", "grey", "black")
EXPLAIN_CHOICES = {
    "method": EXPLAIN_METHODS,
    "path": ("input", "layer"),
    "aggregate": ("sum", "rollout", "last"),
    "nodes": ("adaptive", "stochastic"),
}
LAYER_WEIGHTS = ("all", "lower-half", "lower-third")
EXPLAIN_DETAILS = ("heads", "relevance-flow")
PARTS = ("start", "end")

MOST_NODES = 2048
"""Of a fixed rule: finding the nodes of a larger one takes longer than a finer path can be worth."""
MOST_STEPS = 1_000_000
MOST_SAMPLES = 1_000_000
MOST_TOKENS = 10_000_000


@dataclass(frozen=True)
class FlowRequest:
    """Options of `lignite.flow`; see there for their meaning.

    `baseline` is the name of a baseline or ``"tensor"``; the tensor itself is not stored.
    """

    layers: tuple[int, ...] | None = None
    targets: tuple[int, ...] | None = None
    maps: tuple[str, ...] = MAPS
    baseline: str = "target_token"
    mlp_baseline: str = "attention_start"
    self_term: str = "measured"
    readout: str = "displacement"
    composition: str = "product"
    detail: tuple[str, ...] = ()
    tol: float = 1e-3
    n_steps: int | None = None
    max_steps: int = 256
    plan: str = "auto"

    def __post_init__(self) -> None:
        """Refuse unknown names, impossible numbers and options that contradict each other."""
        fit_fields(self)
        if not self.maps:
            raise OptionError(f"maps is empty; give some of {', '.join(MAPS)}.")
        for name in self.maps:
            check_choice("maps", name, MAPS)
        check_choice("baseline", self.baseline, (*BASELINES, "tensor"))
        for option, choices in CHOICES.items():
            check_choice(option, getattr(self, option), choices)
        for name in self.detail:
            check_choice("detail", name, DETAILS)
        _check_cost(self.tol, self.n_steps, self.max_steps)
        if self.self_term != "measured" and self.baseline != "target_token":
            raise OptionError(
                f"self_term={self.self_term!r} completes the diagonal of baseline='target_token'; with "
                f"baseline={self.baseline!r} the diagonal is measured. Leave self_term='measured'."
            )
        if self.detail and self.self_term != "measured":
            raise OptionError(
                f"detail={', '.join(self.detail)} splits measured scores; self_term={self.self_term!r} replaces some. "
                "Ask for one of the two."
            )
        if self.detail and "whole" not in self.maps:
            raise OptionError(f"detail={', '.join(self.detail)} splits the map 'whole'; add it to maps.")

    def to_json(self) -> str:
        """Every option, for the result's attributes."""
        return json.dumps({item.name: getattr(self, item.name) for item in fields(self)})


@dataclass(frozen=True)
class Target:
    """What is explained of a model's output; every field may be left to the model.

    Attributes
    ----------
    label
        A class by name or number; for language models a token of the vocabulary, as text or as id.
    against
        Another one: the difference of the two logits is explained.
    token
        Place in the input, for models that answer at every token (token classes, masked words, next tokens).
    part
        ``"start"`` or ``"end"`` of an answer, for question answering.
    steps
        Explain each of so many tokens that the model continues the text with, one result per step.
    """

    label: str | int | None = None
    against: str | int | None = None
    token: int | None = None
    part: str | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        fit_fields(self)
        if self.part is not None:
            check_choice("part", self.part, PARTS)
        if self.steps is not None:
            check_count("steps", self.steps, MOST_TOKENS)
        if self.against is not None and self.label is None:
            raise OptionError(f"against={self.against!r} needs label= beside it: the difference of two logits.")
        if self.steps is not None and (self.label, self.token, self.part) != (None, None, None):
            raise OptionError("steps= explains what the model itself continues with; leave label, token and part out.")


@dataclass(frozen=True)
class ExplainRequest:
    """Options of `lignite.explain`; see there for their meaning.

    `baseline` is one name or several, whose explanations are averaged; ``"auto"`` is the usual one of the kind of
    model. `fusion` is a number in [0, 1] or ``"auto"``.
    """

    method: str = "ca-lig"
    baseline: tuple[str, ...] = ("auto",)
    path: str = "input"
    fusion: float | str = 1.0
    aggregate: str = "sum"
    layer_weights: tuple[float, ...] | str | None = "lower-third"
    ends: bool = False
    orders: bool = False
    detail: tuple[str, ...] = ()
    keep_special: bool = True
    nodes: str = "adaptive"
    n_samples: int = 25
    tol: float = 1e-3
    n_steps: int | None = None
    max_steps: int = 256
    window: int | None = None
    overlap: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse unknown names, impossible numbers and options that contradict each other."""
        fit_fields(self)
        for option, choices in EXPLAIN_CHOICES.items():
            check_choice(option, getattr(self, option), choices)
        if not self.baseline:
            raise OptionError(f"baseline is empty; give some of {', '.join(EXPLAIN_BASELINES)}.")
        for name in self.baseline:
            check_choice("baseline", name, EXPLAIN_BASELINES)
        if "auto" in self.baseline and len(self.baseline) > 1:
            given = ", ".join(self.baseline)
            raise OptionError(f"baseline={given}: 'auto' is one of the others; name those you mean.")
        for name in self.detail:
            check_choice("detail", name, EXPLAIN_DETAILS)
        self._check_fusion()
        self._check_weights()
        _check_cost(self.tol, self.n_steps, self.max_steps)
        if self.window is not None:
            check_count("window", self.window, MOST_TOKENS)
        check_count("n_samples", self.n_samples, MOST_SAMPLES)
        if self.overlap is not None and not (self.window is not None and 0 <= self.overlap < self.window):
            raise OptionError(f"overlap={self.overlap!r} must be at least 0 and smaller than window={self.window!r}.")
        check_seed(self.seed)
        self._check_method()
        if self.nodes == "stochastic" and (self.n_steps is None or self.n_steps < 4 or self.n_steps % 2):
            raise OptionError(
                f"nodes='stochastic' draws n_steps nodes, two in each part of the path; n_steps={self.n_steps!r} must "
                "be an even number, at least 4."
            )

    def _check_method(self) -> None:
        """Refuse options of one method with another, which would ignore them."""
        own = ("path", "fusion", "aggregate", "layer_weights") if self.method != "ca-lig" else ()
        if self.ends and self.method not in ("ca-lig", "relevance-flow"):
            raise OptionError(f"ends=True belongs to ca-lig and relevance-flow, not {self.method!r}; leave it out.")
        if self.orders and self.method != "relevance-flow":
            raise OptionError(f"orders=True belongs to method='relevance-flow', not {self.method!r}; leave it out.")
        if self.orders and self.ends:
            raise OptionError("ends=True and orders=True each stand beside half of the path; ask for one of the two.")
        for item in fields(self):
            if item.name in own and getattr(self, item.name) != item.default:
                raise OptionError(
                    f"{item.name}={getattr(self, item.name)!r} belongs to method='ca-lig', not {self.method!r}; "
                    "leave it out."
                )
        if self.detail and self.method not in ("ca-lig", "relevance-flow"):
            raise OptionError(
                f"detail={', '.join(self.detail)} belongs to ca-lig and relevance-flow, not {self.method!r}."
            )
        if "relevance-flow" in self.detail and self.method != "relevance-flow":
            raise OptionError("detail='relevance-flow' divides conserved relevance: use method='relevance-flow'.")

    def _check_fusion(self) -> None:
        given = self.fusion
        if given == "auto":
            return
        if isinstance(given, str) or not 0 <= given <= 1:
            raise OptionError(
                f"fusion={given!r} must be a number from 0 (attention gradients) to 1 (layer IG) or 'auto'."
            )

    def _check_weights(self) -> None:
        given = self.layer_weights
        if given is None:
            return
        if isinstance(given, str):
            check_choice("layer_weights", given, LAYER_WEIGHTS)
            return
        if self.aggregate != "sum":
            raise OptionError(f"layer_weights= weigh the sum over layers; aggregate={self.aggregate!r} has none.")
        weights = tuple(fitting("layer_weights", weight, float) for weight in given)
        if not np.isfinite(weights).all() or not any(weights):
            raise OptionError(f"layer_weights={quoted(given)} must be finite numbers, not all of them zero.")
        object.__setattr__(self, "layer_weights", weights)

    def to_json(self) -> str:
        """Every option, for the result's attributes."""
        return json.dumps({item.name: getattr(self, item.name) for item in fields(self)})


def _check_cost(tol: float, n_steps: int | None, max_steps: int) -> None:
    if not 0 < tol < 1:
        raise OptionError(f"tol={tol!r} must be a number between 0 and 1: the gap allowed per displacement.")
    if n_steps is not None:
        check_count("n_steps", n_steps, MOST_NODES)
    check_count("max_steps", max_steps, MOST_STEPS)


def check_count(option: str, value: int, most: int) -> None:
    """Refuse a number of things that is none, or more than anybody could wait for."""
    if not 1 <= value <= most:
        raise OptionError(f"{option}={value!r} must be a whole number, at least 1 and at most {most:,}.")


def check_seed(value: int) -> None:
    """Refuse what generators of random numbers do not start from."""
    if value < 0:
        raise OptionError(f"seed={value!r} must be a whole number, at least 0.")


def check_choice(option: str, value: Any, choices: Iterable[str]) -> None:
    """Refuse a name that is not among the choices, and say which comes closest."""
    choices = tuple(choices)
    if isinstance(value, str) and value in choices:
        return
    listed = ", ".join(map(repr, choices))
    raise OptionError(f"{option}={quoted(value)} is not known; choose from {listed}.{did_you_mean(value, choices)}")


def as_names(option: str, value: Any) -> tuple[str, ...]:
    """One name or several, without repetitions."""
    if value is None:
        return ()
    if isinstance(value, str):
        value = (value,)
    names = list(value) if is_several(value) else []
    if not is_several(value) or not all(isinstance(name, str) for name in names):
        raise OptionError(f"{option}={quoted(value)} must be a name or several names.")
    return tuple(dict.fromkeys(names))


def as_numbers(option: str, value: int | Iterable[int] | None) -> tuple[int, ...] | None:
    """One whole number or several, sorted; None stands for all. A mask of True and False is no choice of numbers."""
    if value is None:
        return None
    try:
        # tolist() turns numbers of numpy and torch into Python's, which alone have one type for True and another for 1
        given = value.tolist() if hasattr(value, "tolist") else value
        several = list(given) if isinstance(given, Iterable) else [given]
        several = [number.item() if hasattr(number, "item") else number for number in several]
        numbers = sorted({int(number) for number in several})
        whole = not any(isinstance(number, bool) for number in several) and set(numbers) == set(several)
    except (TypeError, ValueError, OverflowError):
        raise OptionError(f"{option}={quoted(value)} must be a whole number or several of them.") from None
    if not numbers or not whole:
        raise OptionError(f"{option}={quoted(value)} must be a whole number or several of them.")
    return tuple(numbers)
