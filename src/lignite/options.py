"""Options that a frozen dataclass declares: name, kind, choices, default and help of each are written once, there.

Functions, the command line, messages, results and pages read them from the fields.
"""

import collections.abc
import inspect
import json
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, TypeVar

from lignite.calls import alternatives, as_names, as_numbers, check_choice, check_count, fitting, is_several
from lignite.errors import OptionError
from lignite.wording import did_you_mean, quoted

Described = TypeVar("Described", bound=Callable[..., object])
Made = TypeVar("Made", bound="Options")

COST = "Precision and cost"
"""The heading of options that change how exact or how dear a number is, not what it means."""
MOST_NODES = 2048
"""Of a fixed rule: finding the nodes of a larger one takes longer than a finer path can be worth."""
MOST_STEPS = 1_000_000
MOST_DRAWS = 1_000
"""Of words in the place of others: their mean does not move any more."""

_WRITTEN = {"true": True, "false": False, "none": None, "null": None}


def option(
    default: Any,
    help: str,
    *,
    panel: str = "What is computed",
    metavar: str | None = None,
    typed: str | None = None,
    unset: str | None = None,
    most: int | None = None,
    told: bool = False,
) -> Any:
    """Declare a field of an `Options` class.

    Parameters
    ----------
    default, help
        Its value where nobody says another, and its meaning in one or two sentences.
    panel, metavar, typed
        How the command line shows it: under which heading, by which word for its value, and the flags themselves where
        they are not ``--name``.
    unset
        What happens where the default is None or nothing, in words.
    most
        Of a number of things: the largest allowed; the smallest is 1.
    told
        Whether it tells two explanations of one method apart, so that views name it.
    """
    shown = {"help": help, "panel": panel, "metavar": metavar, "typed": typed, "unset": unset}
    return field(default=default, metadata={**shown, "most": most, "told": told})


@dataclass(frozen=True)
class Option:
    """One option as its field declares it; see `option`."""

    name: str
    kind: Any
    default: Any
    help: str
    panel: str
    metavar: str | None
    typed: str | None
    unset: str | None
    most: int | None
    told: bool

    @property
    def kinds(self) -> tuple[Any, ...]:
        """What a value may be, one after the other."""
        return alternatives(self.kind)

    @property
    def choices(self) -> tuple[str, ...]:
        """The names to choose from; empty where it takes none."""
        listed = [kind for kind in self.kinds if typing.get_origin(kind) is Literal]
        listed += [part for kind in self.kinds for part in typing.get_args(kind) if typing.get_origin(part) is Literal]
        return tuple(dict.fromkeys(name for literal in listed for name in typing.get_args(literal)))

    @property
    def holds_names(self) -> bool:
        """Whether it takes several names."""
        return any(
            _takes_several(kind) and typing.get_origin(typing.get_args(kind)[0]) in (Literal, str)
            for kind in self.kinds
        )

    @property
    def holds_several(self) -> bool:
        """Whether it takes several values."""
        return any(map(_takes_several, self.kinds))

    @property
    def holds_numbers(self) -> bool:
        """Whether it takes several whole numbers."""
        return self.holds_several and self._item is int

    def fit(self, value: Any) -> Any:
        """The value as its field holds it.

        Raises
        ------
        OptionError
            If it is of another kind, none of the choices, or too large.
        """
        if self.holds_names:
            names = as_names(self.name, value)
            for name in names:
                check_choice(self.name, name, self.choices)
            return names
        if isinstance(value, str) and self.choices and not {int, float, str} & set(self.kinds):
            check_choice(self.name, value, self.choices)
        elif isinstance(value, str) and self.choices and value not in self.choices:
            listed = " or ".join(map(repr, self.choices))
            raise OptionError(f"{self.name}={quoted(value)} must be a number or {listed}.")
        if self.holds_numbers:
            return as_numbers(self.name, value)
        value = fitting(self.name, value, self.kind)
        if self.holds_several and is_several(value):
            value = tuple(fitting(self.name, each, self._item) for each in value)
        if self.most is not None and value is not None:
            check_count(self.name, value, self.most)
        return value

    @property
    def _item(self) -> Any:
        return next(typing.get_args(kind)[0] for kind in self.kinds if _takes_several(kind))

    def read(self, text: str, separator: str = "+") -> Any:
        """The value that a text stands for; what it does not fit is left as it is, for `fit` to refuse.

        Examples
        --------
        >>> from lignite.methods import CaLig
        >>> steps = options_of(CaLig)["n_steps"]
        >>> options_of(CaLig)["layer_weights"].read("1+0.5"), steps.read("8"), steps.read("None"), steps.read("eight")
        ((1.0, 0.5), 8, None, 'eight')
        """
        parts = [part.strip() for part in text.split(separator)]
        if self.holds_names:
            return tuple(part for part in parts if part)
        if str in self.kinds:
            return text
        word = text.strip().lower()
        if word in _WRITTEN and type(_WRITTEN[word]) in self.kinds:
            return _WRITTEN[word]
        if int in self.kinds and re.fullmatch(r"[+-]?\d{1,18}", word):
            return int(word)
        several = self.holds_several
        if several or float in self.kinds:
            try:
                numbers = tuple(map(float, parts))
            except ValueError:
                return text
            return numbers if several else numbers[0] if len(numbers) == 1 else text
        return text

    def written(self, separator: str = "+") -> str | None:
        """The default as it is typed; None where it is nothing."""
        if self.default is None or self.default == () or self.default is False:
            return None
        if isinstance(self.default, tuple):
            return separator.join(map(str, self.default))
        return str(self.default)


def _takes_several(kind: Any) -> bool:
    return typing.get_origin(kind) is collections.abc.Sequence


def options_of(declared: type["Options"]) -> Mapping[str, Option]:
    """The options of a class, by name, in the order of its fields."""
    found = {
        item.name: Option(item.name, item.type, item.default, **item.metadata)
        for item in fields(declared)
        if item.metadata
    }
    return types.MappingProxyType(found)


def check_share(name: str, value: float, meaning: str) -> None:
    """Refuse what is no share of anything."""
    if not 0 < value < 1:
        raise OptionError(f"{name}={value!r} must be a number between 0 and 1: {meaning}.")


def gather(
    what: str, record: type[Made], request: Made | None, options: Mapping[str, Any], beside: Iterable[str] = ()
) -> Made:
    """The request as given, with these options in the place of its own; without one, a record of the options."""
    check_known(what, options, options_of(record), beside)
    if request is None:
        return record(**options)
    return replace(request, **options) if options else request


def with_options(listed: Mapping[str, tuple[Option, str]]) -> Callable[[Described], Described]:
    """Let a function's signature and documentation list options, each with its help, after its own arguments."""

    def describe(function: Described) -> Described:
        signature = inspect.signature(function)
        *own, rest = signature.parameters.values()
        own = [each.replace(default=listed[each.name][0].default) if each.name in listed else each for each in own]
        named = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=each.default)
            for name, (each, _) in listed.items()
            if name not in signature.parameters
        ]
        function.__signature__ = signature.replace(parameters=[*own, *named, rest])  # type: ignore[attr-defined]
        before, title, after = (function.__doc__ or "").partition("\n    Returns\n")
        function.__doc__ = f"{before}{_paragraphs(listed)}{title}{after}"
        return function

    return describe


def _paragraphs(listed: Mapping[str, tuple[Option, str]]) -> str:
    lines = ["", "    Options", "    -------"]
    for name, (each, help) in listed.items():
        told = f"{help} By default: {each.unset}." if each.unset else help
        lines += [f"    {name}", textwrap.indent(textwrap.fill(told, 108), " " * 8)]
    return "\n".join([*lines, ""])


def check_known(what: str, options: Iterable[str], listed: Iterable[str], beside: Iterable[str] = ()) -> None:
    """Refuse names that are no options, and say which comes closest; `beside` are other names that may be meant."""
    known = list(listed)
    for name in options:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise OptionError(f"{what} has no option {name!r}; {has}.{did_you_mean(name, [*known, *beside])}")


@dataclass(frozen=True)
class Options:
    """Options that belong together, checked when they are made and unchanged afterwards."""

    __no_type_check__: ClassVar[bool] = True  # no checker of annotations answers before our own words

    def __post_init__(self) -> None:
        """Refuse unknown names, impossible numbers and options that contradict each other."""
        for name, each in options_of(type(self)).items():
            object.__setattr__(self, name, each.fit(getattr(self, name)))
        self.check()

    def check(self) -> None:
        """Refuse values that do not go together; a class with such ones adds to this."""

    def values(self) -> dict[str, Any]:
        """Every option by name."""
        return {name: getattr(self, name) for name in options_of(type(self))}

    def to_json(self) -> str:
        """Every option, as text."""
        return json.dumps(self.values())
