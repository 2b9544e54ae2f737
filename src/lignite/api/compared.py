"""Methods side by side, as the rows of a table: each with its options, under the name it was asked for."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

from lignite.calls import as_names, check_choice, fitting
from lignite.data.examples import Example
from lignite.errors import OptionError
from lignite.methods import METHODS, Method
from lignite.methods.options import choose, record, split
from lignite.options import options_of


@dataclass(frozen=True, eq=False)
class Compared:
    """One row of the table: a method with its options, under the name it was asked for."""

    name: str
    method: Method

    @cached_property
    def options(self) -> str:
        """Every option, as keys know them."""
        return json.dumps(record(self.method))

    def key(self, example: Example) -> str:
        """Of its explanation of an example: the same for the same content and options, whatever they are called."""
        return sha256(f"{example.key} {self.options}".encode()).hexdigest()[:32]


def read_methods(
    methods: str | Iterable[str], options: Mapping[str, Mapping[str, Any]] | None = None, *, seed: int = 0
) -> tuple[Compared, ...]:
    """Names with options become methods, `random` added; every option is checked here, before anything is computed.

    Examples
    --------
    >>> [compared.name for compared in read_methods("ig:baseline=zero+mask,n_steps=8,random")]
    ['ig:baseline=zero+mask,n_steps=8', 'random']
    """
    names = _split(methods) if isinstance(methods, str) else as_names("methods", methods)
    if not names:
        raise OptionError(f"methods is empty; give some of {', '.join(METHODS)}.")
    more = {name: fitting(f"options[{name!r}]", own, Mapping) for name, own in (options or {}).items()}
    found = [_compared(name, more, seed) for name in names]
    unused = [name for name in more if name not in {key for one in found for key in (one.name, one.method.name)}]
    if unused:
        raise OptionError(f"options for {unused[0]!r}, which is not among the methods {', '.join(names)}.")
    if not any(one.method.name == "random" for one in found):
        found.append(_compared("random", {}, seed))
    return tuple({one.name: one for one in found}.values())


def _split(text: str) -> tuple[str, ...]:
    """Cut at commas; a part like ``key=value`` belongs to the method before it."""
    names: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        if names and re.match(r"\w+\s*=", part):
            names[-1] += f",{part}"
        elif part:
            names.append(part)
    return tuple(dict.fromkeys(names))


def _compared(name: str, more: Mapping[str, Mapping[str, Any]], seed: int) -> Compared:
    """The method of a name; options in it go before those given for the name, these before those of the method."""
    base, written = split(name)
    chosen = {**more.get(base, {}), **more.get(name, {}), **written}
    for option in chosen:
        if option in ("window", "overlap"):
            raise OptionError(
                f"method {name!r}: {option}= is for texts that the model cannot read at once, and what it cannot read "
                "cannot be measured. Cut the texts of the data set."
            )
    if "seed" in options_of(METHODS[base]):
        chosen = {"seed": seed, **chosen}
    try:
        return Compared(name, choose(base, chosen))
    except OptionError as error:
        raise OptionError(f"method {name!r}: {error}") from error


def find_reference(name: str | None, methods: Sequence[Compared]) -> str:
    """The name of the method that the others are tested against: by default the first."""
    if name is None:
        return methods[0].name
    check_choice("reference", name, [method.name for method in methods])
    return name
