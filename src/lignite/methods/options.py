"""A method is chosen by name, by text, ``"ca-lig:path=layer"``, or is given; its options are known, or refused."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lignite.calls import check_choice
from lignite.errors import OptionError
from lignite.methods import METHODS, Method
from lignite.options import Option, check_known, options_of
from lignite.wording import quoted

OWN = "*"
ORDER = (
    "baseline", OWN, "ends", "orders", "groups", "detail", "keep_special", "nodes", "n_samples", "tol", "n_steps",
    "max_steps", "seed",
)  # fmt: skip
"""How results and help list options; those that one method alone has stand at `OWN`."""


@dataclass(frozen=True)
class Known:
    """An option, and the methods that have it."""

    option: Option
    methods: tuple[str, ...] = ()

    @property
    def help(self) -> str:
        """Its meaning, and which methods have it."""
        return (
            self.option.help if len(self.methods) == len(METHODS) else f"{self.option.help} ({', '.join(self.methods)})"
        )


def known_options() -> dict[str, Known]:
    """Every option of every method, in order."""
    found: dict[str, Known] = {}
    for method, declared in METHODS.items():
        for name, each in options_of(declared).items():
            before = found.get(name, Known(each))
            found[name] = Known(before.option, (*before.methods, method))
    return {name: found[name] for name in sorted(found, key=_place)}


def _place(name: str) -> int:
    return ORDER.index(name if name in ORDER else OWN)


def told_of(method: str) -> tuple[str, ...]:
    """The options that tell two explanations of one method apart, in order; none of a method that nobody knows."""
    own = options_of(METHODS[method]) if method in METHODS else {}
    return tuple(name for name in known_options() if name in own and own[name].told)


def choose(method: str | Method, options: Mapping[str, Any], *, beside: Iterable[str] = ()) -> Method:
    """The method with these options; `beside` are names that a caller takes itself, for advice.

    Examples
    --------
    >>> choose("ca-lig:path=layer", {"tol": 0.01}) == choose("ca-lig", {"path": "layer", "tol": 0.01})
    True
    >>> choose("ig", {"path": "layer"})
    Traceback (most recent call last):
    lignite.errors.OptionError: path='layer' belongs to ca-lig, not 'ig'; leave it out.
    """
    if isinstance(method, Method):
        _check_known(type(method), options, beside)
        return replace(method, **options)
    name, written = split(method)
    twice = [option for option in options if option in written]
    if twice:
        raise OptionError(f"{twice[0]}= is given twice, in method={method!r} and beside it; give it once.")
    return _make(name, {**written, **options}, beside)


def parse(text: str, defaults: Mapping[str, Any] | None = None) -> Method:
    """The method that a text names, with its options; `defaults` hold for those that the text leaves out.

    Examples
    --------
    >>> parse("ig:baseline=zero+mask,n_steps=8").values()["baseline"]
    ('zero', 'mask')
    """
    name, written = split(text)
    return _make(name, {**(defaults or {}), **written})


def split(text: str) -> tuple[str, dict[str, Any]]:
    """A method's name, and the values that are written behind it."""
    name, _, written = text.partition(":")
    check_choice("method", name, METHODS)
    declared = options_of(METHODS[name])
    found: dict[str, Any] = {}
    for part in written.split(",") if written else ():
        option, sign, value = (piece.strip() for piece in part.partition("="))
        if not sign or not option or not value:
            raise OptionError(f"method {text!r}: {part!r} is no option; write it like {name}:path=layer,tol=0.01.")
        found[option] = declared[option].read(value) if option in declared else value
    return name, found


def _make(name: str, options: Mapping[str, Any], beside: Iterable[str] = ()) -> Method:
    _check_known(METHODS[name], options, beside)
    return METHODS[name](**options)


def _check_known(declared: type[Method], options: Mapping[str, Any], beside: Iterable[str]) -> None:
    """Refuse options that the method does not have: it would ignore them."""
    own = options_of(declared)
    for option, value in options.items():
        if option in own:
            continue
        having = [name for name, each in METHODS.items() if option in options_of(each)]
        if having:
            listed = ", ".join(having)
            raise OptionError(f"{option}={quoted(value)} belongs to {listed}, not {declared.name!r}; leave it out.")
        check_known(repr(declared.name), [option], own, [*beside, *known_options()])


def record(method: Method) -> dict[str, Any]:
    """The method and each of its options, as results keep them."""
    values = method.values()
    return {"method": method.name} | {name: values[name] for name in sorted(values, key=_place)}
