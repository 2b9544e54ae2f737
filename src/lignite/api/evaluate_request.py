"""The request of an evaluation, read: rows of methods and of a file's scores, fills, and what draws words for them."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

from lignite.api.evaluate_options import EvaluateOptions
from lignite.calls import as_names, check_choice, fitting
from lignite.data.columns import Columns
from lignite.data.examples import Example, read_examples, read_texts
from lignite.data.scores import GivenScores, Text, covered, names_of, read_scores
from lignite.errors import InputError, NotFiniteError, OptionError
from lignite.inputs.encode import encode
from lignite.inputs.tokens import Encoded
from lignite.methods import METHODS, Method
from lignite.methods.method import FromBaseline
from lignite.methods.options import choose, record, split
from lignite.methods.scoring.rows import settle
from lignite.metrics.metric import Metric
from lignite.metrics.subjects import Subjects
from lignite.models.facts import reads_images
from lignite.models.load import Model
from lignite.options import options_of
from lignite.targets.edits import usual_fill
from lignite.targets.fills import MOST_PICTURES, OTHERS, Corpus, Others, Unigram, check_fills
from lignite.targets.rows import Row


@dataclass(frozen=True, eq=False)
class Beside:
    """The examples that are measured, and the scores that a file has of each; nothing where none was named."""

    examples: list[Example]
    scores: dict[Text, GivenScores]
    names: tuple[str, ...] = ()
    coverage: str = ""


def read_beside(model: Model, examples: list[Example], asked: EvaluateOptions) -> Beside:
    """Scores of the examples, aligned with the model's own tokens.

    Raises
    ------
    InputError
        If tokens differ, or scores are missing that were not to be left out.
    """
    if asked.scores is None:
        return Beside(examples, {})
    given = read_scores(asked.scores)
    names = names_of(given)
    measured = covered(examples, given, names, partial=asked.partial_scores)
    for example in measured:
        try:
            (encoded, *_) = encode(model, example.input)
        except InputError:
            continue  # its turn to be skipped comes
        given[example.text, example.pair].check_tokens(encoded.tokens.keep().text)
    return Beside(measured, given, names, f"{len(measured)} of {len(examples)}")


def check_without_explaining(metrics: Sequence[Metric], beside: Beside) -> None:
    """Refuse metrics that explain other inputs, which no file of scores can.

    Raises
    ------
    OptionError
        If there is one.
    """
    for metric in metrics:
        if beside.names and metric.explains:
            raise OptionError(
                f"metrics={metric.name!r} explains other inputs, or another model, and scores= come from a file: leave "
                "one of the two out."
            )


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


def read_fills(subjects: Subjects, fills: Any) -> tuple[str, ...]:
    """Fills by their names: of texts the neutral ones unless others are named, of images the usual one.

    Raises
    ------
    OptionError
        If the model has one of them not.
    """
    model = subjects.model
    named = [name.strip() for name in fills.split(",")] if isinstance(fills, str) else fills
    if reads_images(model.network):
        return check_fills(model, usual_fill(model, images=True) if named is None else named, images=True)
    return check_fills(model, "neutral" if named is None else named, row=_first(subjects))


def _first(subjects: Subjects) -> Row | None:
    """The first example that can be explained."""
    for example in subjects.examples:
        try:
            return subjects.ask(example)
        except (InputError, NotFiniteError):
            continue
    return None


def read_corpus(model: Model, fills: tuple[str, ...], examples: Any, asked: EvaluateOptions) -> Corpus | None:
    """Words or pictures of a corpus, or of the data set itself where none is named; None where no fill draws any.

    Of many pictures so many are kept as are drawn from, chosen by lot.

    Raises
    ------
    OptionError
        If a corpus is named, and none is needed.
    """
    if "unigram" in fills:
        texts = read_texts(examples, asked) if asked.corpus is None else read_texts(asked.corpus)
        return Unigram.of_texts(model, texts, draws=asked.draws, seed=asked.seed)
    if OTHERS in fills:
        return Others.of_inputs(_pictures(model, examples, asked), draws=asked.draws, seed=asked.seed)
    if asked.corpus is not None:
        raise OptionError(
            f"corpus= is where fills='unigram' and 'others' draw words and patches from, and fills are "
            f"{', '.join(fills)}."
        )
    return None


def _pictures(model: Model, examples: Any, asked: EvaluateOptions) -> Iterator[Encoded]:
    """Those that can be read."""
    source, columns = (examples, asked) if asked.corpus is None else (asked.corpus, Columns())
    for example in read_examples(source, columns, images=True, limit=MOST_PICTURES, seed=asked.seed):
        try:
            yield from encode(model, example.input)
        except InputError:
            continue
