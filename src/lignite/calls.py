"""The border of the library: arguments of public functions that they do not have, or of a kind that they cannot use."""

import collections.abc
import functools
import inspect
import numbers
import os
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

import numpy as np

from lignite.errors import OptionError
from lignite.wording import did_you_mean, quoted, with_article

Progress = Callable[[int, int], None]
"""Called with how much is finished, and how much there is."""

Given = ParamSpec("Given")
Returned = TypeVar("Returned")

LARGEST = 2**63 - 1
"""The whole numbers that arrays can hold."""

_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a text",
    type(None): "None",
    os.PathLike: "a path",
    collections.abc.Mapping: "a mapping",
    collections.abc.Callable: "a function",
}
_SEVERAL = {int: "several whole numbers", float: "several numbers", str: "several texts"}


class _Unfit(Exception):
    """A value is not of this kind."""


def public(function: Callable[Given, Returned]) -> Callable[Given, Returned]:
    """The function behind a border: arguments are known and of their kind, or refused in our own words.

    Kinds are read from the annotations. Numbers of numpy become Python's; True and False are no numbers.

    Examples
    --------
    >>> @public
    ... def half(number: float, *, digits: int = 2): ...
    >>> half(1, digit=3)
    Traceback (most recent call last):
    lignite.errors.OptionError: half() has no argument 'digit'; it takes number, digits. Did you mean 'digits'?
    >>> half(1, digits="3")
    Traceback (most recent call last):
    lignite.errors.OptionError: digits='3' is a str; give a whole number.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Given.args, **options: Given.kwargs) -> Returned:
        try:
            bound = signature.bind(*args, **options)
        except TypeError as error:
            raise OptionError(_reason(function.__name__, signature, options, error)) from None
        kinds = _kinds_of(function)
        for name, value in bound.arguments.items():
            bound.arguments[name] = fitting(name, value, kinds.get(name, Any))
        return function(*bound.args, **bound.kwargs)

    return call


def fitting(option: str, value: Any, expected: Any) -> Any:
    """The value as the first of the expected kinds that it is.

    Examples
    --------
    >>> fitting("tol", np.float32(0.5), float | None), fitting("steps", np.int64(3), int), fitting("target", None, Any)
    (0.5, 3, None)

    Raises
    ------
    OptionError
        If it is of none of them.
    """
    kinds = alternatives(expected)
    for kind in kinds:
        try:
            return _as_kind(value, kind)
        except _Unfit:
            continue
    if int in kinds and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        raise OptionError(f"{option}={quoted(value)} is too large; whole numbers go up to {LARGEST:,}.")
    words = list(dict.fromkeys(_in_words(kind) for kind in kinds))
    listed = ", ".join(words[:-1]) + f" or {words[-1]}" if len(words) > 1 else words[0]
    raise OptionError(f"{option}={quoted(value)} is {with_article(type(value).__name__)}; give {listed}.")


_kinds_of = functools.cache(typing.get_type_hints)


def alternatives(expected: Any) -> tuple[Any, ...]:
    """The kinds of a union, one after the other; of anything else that kind alone."""
    if typing.get_origin(expected) in (typing.Union, types.UnionType):
        return tuple(kind for part in typing.get_args(expected) for kind in alternatives(part))
    return (expected,)


def _as_kind(value: Any, kind: Any) -> Any:
    origin = typing.get_origin(kind) or kind
    if origin is Any:
        return value
    if origin is typing.Literal:
        return value if isinstance(value, str) and value in typing.get_args(kind) else _refuse()
    if origin is bool:
        return bool(_instance(value, bool | np.bool_))
    if origin is int:
        return _whole(value)
    if origin is float:
        return _real(value)
    if origin is collections.abc.Callable:
        return value if callable(value) else _refuse()
    if origin in (collections.abc.Iterable, collections.abc.Sequence):
        return value if is_several(value) else _refuse()
    if origin is tuple:
        return _instance(value, tuple | list)
    if isinstance(origin, type):
        return _instance(value, origin)
    return value  # whatever is more than a kind is for the function to judge


def is_several(value: Any) -> bool:
    """Whether one may go through a value; not through the letters of a text, nor through an array without axes."""
    if isinstance(value, str | bytes | bytearray):
        return False
    try:
        iter(value)
    except TypeError:
        return False
    return True


def check_count(option: str, value: Any, most: int | None = None) -> None:
    """Refuse what is no number of things, or more than anybody could wait for."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < 1 or (most is not None and value > most):
        bound = "" if most is None else f" and at most {most:,}"
        raise OptionError(f"{option}={value!r} must be a whole number, at least 1{bound}.")


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
    near = did_you_mean(value, choices) if isinstance(value, str) else ""
    raise OptionError(f"{option}={quoted(value)} is not known; choose from {listed}.{near}")


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


def _instance(value: Any, kind: Any) -> Any:
    return value if isinstance(value, kind) else _refuse()


def _whole(value: Any) -> int:
    value = _single(value)
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and abs(int(value)) <= LARGEST:
        return int(value)
    return _refuse()


def _real(value: Any) -> float:
    value = _single(value)
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return _refuse()
    try:
        return float(value)
    except OverflowError:
        return _refuse()


def _single(value: Any) -> Any:
    """The number in an array or a tensor without axes."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def _refuse() -> Any:
    raise _Unfit


def _in_words(kind: Any) -> str:
    origin = typing.get_origin(kind) or kind
    if origin is typing.Literal:
        return " or ".join(map(repr, typing.get_args(kind)))
    if origin in (collections.abc.Iterable, collections.abc.Sequence, tuple):
        return _SEVERAL.get(next(iter(typing.get_args(kind)), object), "several of them")
    return _NAMES.get(origin, with_article(getattr(origin, "__name__", str(origin))))


def _reason(name: str, signature: inspect.Signature, options: dict[str, object], error: TypeError) -> str:
    known = list(signature.parameters)
    for option in options:
        if option not in known:
            listed = ", ".join(known)
            return f"{name}() has no argument {option!r}; it takes {listed}.{did_you_mean(option, known)}"
    by_name = [entry.name for entry in signature.parameters.values() if entry.kind is entry.KEYWORD_ONLY]
    named = f"; options such as {by_name[0]}= are given by name" if by_name and "too many" in str(error) else ""
    return f"{name}(): {error}{named}."
