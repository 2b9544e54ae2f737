"""What stands in the place of removed words or patches in an evaluation, and where drawn words come from."""

from collections.abc import Iterator
from typing import Any

from lignite.api.evaluate_options import EvaluateOptions
from lignite.data.columns import Columns
from lignite.data.examples import read_examples, read_texts
from lignite.errors import InputError, NotFiniteError, OptionError
from lignite.inputs.encode import encode
from lignite.inputs.tokens import Encoded
from lignite.metrics.subjects import Subjects
from lignite.models.facts import reads_images
from lignite.models.load import Model
from lignite.targets.edits import usual_fill
from lignite.targets.fills import OTHERS, Corpus, Unigram, check_fills
from lignite.targets.others import MOST_PICTURES, Others
from lignite.targets.rows import Row


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
