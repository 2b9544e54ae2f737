"""Methods side by side, as the rows of a table: each with its options, under the name it was asked for."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

from lignite.api.scored import Beside
from lignite.calls import as_names, check_choice, fitting
from lignite.data.examples import Example
from lignite.data.scores import GivenScores, Text
from lignite.errors import OptionError
from lignite.methods import METHODS, Method
from lignite.methods.options import choose, record, split
from lignite.methods.scoring.rows import settle
from lignite.methods.shared import FromBaseline
from lignite.models.load import Model
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

    def baselines(self, model: Model) -> tuple[str, ...]:
        """What stands for an absent token in its explanations, by names of fills and baselines."""
        settled = settle(self.method, model)
        return settled.absences if isinstance(settled, FromBaseline) else ()

    def key(self, example: Example) -> str:
        """Of its explanation of an example: the same for the same content and options, whatever they are called.

        Options of other methods have no part in it: work stays finished when one of them gets another.
        """
        own = json.dumps({"method": self.method.name, **self.method.values()})
        return sha256(f"{example.key} {own}".encode()).hexdigest()[:32]


@dataclass(frozen=True, eq=False)
class Scored:
    """A row of the table whose scores come from a file: by text, and for none but these."""

    name: str
    scores: Mapping[Text, GivenScores]

    @property
    def options(self) -> str:
        """What keys and results know of it."""
        return json.dumps({"method": "scores", "name": self.name})

    def baselines(self, model: Model) -> tuple[str, ...]:
        """Nobody knows what it takes for an absent token."""
        return ()

    def given(self, example: Example) -> GivenScores:
        """What the file says of an example."""
        return self.scores[example.text, example.pair]

    def key(self, example: Example) -> str:
        """Of its scores of an example: others make another key."""
        content = self.given(example).scores[self.name].tobytes()
        return sha256(f"{example.key} scores".encode() + content).hexdigest()[:32]


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


def with_scores(methods: Sequence[Compared], beside: Beside) -> tuple[Compared | Scored, ...]:
    """The rows of the methods, and below them those of a file."""
    taken = {method.name for method in methods} & set(beside.names)
    if taken:
        raise OptionError(
            f"scores: {min(taken)!r} is the name of a method's row already; call it otherwise in the file."
        )
    return (*methods, *(Scored(name, beside.scores) for name in beside.names))


def find_reference(name: str | None, methods: Sequence[Compared | Scored]) -> str:
    """The name of the method that the others are tested against: by default the first."""
    if name is None:
        return methods[0].name
    check_choice("reference", name, [method.name for method in methods])
    return name
