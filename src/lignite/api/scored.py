"""Scores of a file beside the methods of an evaluation: checked, before anything is computed."""

from collections.abc import Sequence
from dataclasses import dataclass

from lignite.api.evaluate_options import EvaluateOptions
from lignite.data.examples import Example
from lignite.data.scores import GivenScores, Text, covered, names_of, read_scores
from lignite.errors import InputError, OptionError
from lignite.inputs.encode import encode
from lignite.metrics.metric import Metric
from lignite.models.load import Model


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
