"""Every option of a run, frozen, validated once, stored with the result."""

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lignite.errors import OptionError

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
        for option in ("tol", "n_steps", "max_steps"):
            value = getattr(self, option)
            if isinstance(value, np.generic):
                object.__setattr__(self, option, value.item())
        if not self.maps:
            raise OptionError(f"maps is empty; give some of {', '.join(MAPS)}.")
        for name in self.maps:
            check_choice("maps", name, MAPS)
        check_choice("baseline", self.baseline, (*BASELINES, "tensor"))
        for option, choices in CHOICES.items():
            check_choice(option, getattr(self, option), choices)
        for name in self.detail:
            check_choice("detail", name, DETAILS)
        if not (isinstance(self.tol, float | int) and 0 < self.tol < 1):
            raise OptionError(f"tol={self.tol!r} must be a number between 0 and 1: the gap allowed per displacement.")
        if self.n_steps is not None and not _is_count(self.n_steps):
            raise OptionError(f"n_steps={self.n_steps!r} must be a whole number of nodes, at least 1, or None.")
        if not _is_count(self.max_steps):
            raise OptionError(f"max_steps={self.max_steps!r} must be a whole number of nodes, at least 1.")
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


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def check_choice(option: str, value: Any, choices: Iterable[str]) -> None:
    """Refuse a name that is not among the choices, and say which comes closest."""
    choices = tuple(choices)
    if value in choices:
        return
    near = difflib.get_close_matches(str(value), choices, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise OptionError(f"{option}={value!r} is not known; choose from {', '.join(map(repr, choices))}.{hint}")


def as_names(option: str, value: str | Iterable[str] | None) -> tuple[str, ...]:
    """One name or several, without repetitions."""
    if value is None:
        return ()
    if isinstance(value, str):
        value = (value,)
    try:
        return tuple(dict.fromkeys(value))
    except TypeError:
        raise OptionError(f"{option}={value!r} must be a name or several names.") from None


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
        raise OptionError(f"{option}={value!r} must be a whole number or several of them.") from None
    if not numbers or not whole:
        raise OptionError(f"{option}={value!r} must be a whole number or several of them.")
    return tuple(numbers)
