"""Calls of public functions: an argument that a function does not have is refused in our own words."""

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from lignite.errors import OptionError
from lignite.wording import did_you_mean

Given = ParamSpec("Given")
Returned = TypeVar("Returned")


def public(function: Callable[Given, Returned]) -> Callable[Given, Returned]:
    """The function, which refuses arguments that it does not have, and names the nearest that it has.

    Examples
    --------
    >>> @public
    ... def half(number, *, digits=2): ...
    >>> half(1, digit=3)
    Traceback (most recent call last):
    lignite.errors.OptionError: half() has no argument 'digit'; it takes number, digits. Did you mean 'digits'?
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Given.args, **options: Given.kwargs) -> Returned:
        try:
            signature.bind(*args, **options)
        except TypeError as error:
            raise OptionError(_reason(function.__name__, signature, options, error)) from None
        return function(*args, **options)

    return call


def _reason(name: str, signature: inspect.Signature, options: dict[str, object], error: TypeError) -> str:
    known = list(signature.parameters)
    for option in options:
        if option not in known:
            listed = ", ".join(known)
            return f"{name}() has no argument {option!r}; it takes {listed}.{did_you_mean(option, known)}"
    by_name = [entry.name for entry in signature.parameters.values() if entry.kind is entry.KEYWORD_ONLY]
    named = f"; options such as {by_name[0]}= are given by name" if by_name and "too many" in str(error) else ""
    return f"{name}(): {error}{named}."
