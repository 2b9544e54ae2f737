"""Examples as a model sees them: what is explained of each, and what people said of it in the model's own numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool

from lignite.data.columns import Columns
from lignite.data.evidence import carry, read_outline
from lignite.data.examples import Example
from lignite.errors import InputError, OptionError
from lignite.inputs.pictures import read_image
from lignite.metrics.asking.session import Session, Subject
from lignite.metrics.metric import Evidence, Explained, Metric, Reading
from lignite.metrics.readings.localization import mask_from_boxes
from lignite.metrics.registry import METRICS
from lignite.models.facts import class_names
from lignite.models.load import Model
from lignite.targets.ask import ask
from lignite.targets.names import Labels
from lignite.targets.objective import Wanted, as_target
from lignite.targets.rows import Row
from lignite.targets.target import Target


@dataclass(frozen=True, eq=False)
class Posed:
    """An example and the subject that it became; `correct`: whether its label is predicted, NaN where unknown."""

    example: Example
    subject: Subject
    correct: float


class Subjects:
    """Examples that are posed to a model, one at a time.

    Parameters
    ----------
    target
        What is explained.
    explain_label
        Explain each example's own label instead.
    """

    def __init__(self, model: Model, examples: Sequence[Example], target: Wanted, *, explain_label: bool) -> None:
        self.model = model
        self.examples = examples
        if not callable(target) and as_target(target).steps is not None:
            raise OptionError(
                "target: steps= explains many tokens of one text; evaluate measures one prediction of each."
            )
        self.target = target
        self.explain_label = explain_label
        self._labels = Labels(class_names(model.config))
        self._labels_fit = False

    def ask(self, example: Example) -> Row:
        """Settle what is explained of an example.

        Raises
        ------
        InputError
            If it cannot be explained.
        """
        target = self.target
        if self.explain_label:
            if example.label is None:
                raise InputError("there is no label to explain.")
            target = Target(label=self.class_of(example, example.label))
        rows = ask(self.model, [example.input], target)
        if len(rows) != 1:
            raise InputError(f"is {len(rows)} inputs, expected one: name a single image.")
        return rows[0]

    def check_labels(self, row: Row) -> None:
        """Before hours of work, with the first row that was asked about: every label is one of the model's classes.

        Raises
        ------
        InputError
            If one is not; the message names its example.
        OptionError
            If the model has no classes of whole inputs.
        """
        if self._labels_fit:
            return
        labelled = [example for example in self.examples if example.label is not None]
        if labelled and row.objective.kind != "class":
            raise OptionError(
                f"label= names classes of whole texts, but {type(self.model.network).__name__} answers otherwise "
                f"({row.objective.name}). Leave label out."
            )
        for example in labelled:
            self.class_of(example, example.label)
        for example in self.examples:
            for cell in example.cells or ():
                self.class_of(example, cell)
        self._labels_fit = True

    def pose(self, example: Example, row: Row) -> Posed:
        """Put beside it what people said.

        Raises
        ------
        InputError
            If that cannot be used, as an outline of another size.
        OptionError
            If signs have no meaning for this model.
        """
        known = example.label is not None and example.image is not None
        label = self.class_of(example, example.label) if known else None
        correct = self._correct(example, row)
        subject = Subject(row, self._evidence(example, row), label)
        check_evidence(subject)
        return Posed(example, subject, correct)

    def class_of(self, example: Example, label: str | int | None) -> int:
        """Number of an example's class, given by number or by name; or of that of one of its cells."""
        found = None if label is None else self._labels.find(label)
        if found is None:
            raise InputError(
                f"example {example.id}: the label {label!r} is none of this model's classes: {self._labels.listed}. "
                "Give one of them, by name or number."
            )
        return found

    def _correct(self, example: Example, row: Row) -> float:
        several = example.cells is not None  # of which whichever leads is right
        if several or example.label is None or row.choices is None or not row.choices.best:
            return float("nan")
        return float(row.choices.best == self._labels.name(self.class_of(example, example.label)))

    def _evidence(self, example: Example, row: Row) -> Evidence:
        polarity = None
        if example.polarity is not None:
            turned = _turn(row)
            polarity = [(start, stop, turned * sign) for start, stop, sign in example.polarity]
        if example.image is None:
            return Evidence(example.rationale, polarity)
        outlines = self._outlines(example, row)
        cells = None if example.cells is None else tuple(self.class_of(example, cell) for cell in example.cells)
        return Evidence(
            mask=outlines.get("mask"),
            distractor=outlines.get("distractor"),
            cells=cells,
            explained=row.objective.index,
        )

    def _outlines(self, example: Example, row: Row) -> dict[str, Bool[np.ndarray, "y x"]]:
        """What people marked in an image, carried to the picture that the model sees."""
        picture = tuple(row.encoded.tensors["pixel_values"].shape[2:])
        drawn = {
            what: read_outline(source, what=what)
            for what, source in (("mask", example.mask), ("distractor", example.distractor))
            if source is not None
        }
        original = None
        if (drawn or example.boxes is not None) and not hasattr(example.image, "detach"):  # a tensor is what is seen
            width, height = read_image(example.image).size
            original = (height, width)
        if example.boxes is not None:
            drawn["mask"] = mask_from_boxes(example.boxes, original or picture)
        return {what: carry(self.model, outline, original, picture, what=what) for what, outline in drawn.items()}


def _turn(row: Row) -> int:
    """1 where the explained class is the one that positive signs speak for: the second of two, or a regression."""
    listed, objective = row.choices, row.objective
    n_choices = 0 if listed is None else len(listed.names)
    if objective.kind != "class" or objective.index is None or n_choices not in (1, 2):
        raise OptionError(
            f"polarity speaks of two classes, the second of which is the good one; this model answers with "
            f"{n_choices} ({objective.name}). Leave polarity out."
        )
    return 1 if objective.index == n_choices - 1 else -1


def explains_cells(columns: Columns, target: Wanted, *, explain_label: bool) -> bool:
    """Whether every mosaic is explained once for each class in its cells.

    Raises
    ------
    OptionError
        If labels are to be explained and there are none, or another target is named as well.
    """
    by_cell = explain_label and columns.label is None and columns.cells is not None
    if explain_label and not by_cell and (columns.label is None or target is not None):
        raise OptionError("explain_label=True needs the column of the labels, label=…, and no target= beside it.")
    if by_cell and target is not None:
        raise OptionError("explain_label=True explains the classes of the cells; leave target= out.")
    return by_cell


def one_per_class(mosaics: Sequence[Example]) -> list[Example]:
    """Every mosaic once for each class in its cells, labelled with it."""
    pairs = [(mosaic, cell) for mosaic in mosaics for cell in dict.fromkeys(mosaic.cells or ())]
    return [
        replace(mosaic, number=number, id=f"{mosaic.id}: {cell}", label=cell)
        for number, (mosaic, cell) in enumerate(pairs)
    ]


@dataclass(frozen=True)
class Measured:
    """Scores of one explanation as (metric, fill, value), and its curves, at equal shares of tokens or their own."""

    scores: list[tuple[str, str, float]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)


def measure(session: Session, chosen: Sequence[Metric]) -> dict[str, list[Measured]]:
    """Metrics of the explanations of several methods, one entry per subject."""
    answers = {
        question: question.ask(session, [metric for metric in chosen if metric.asks == question])
        for question in dict.fromkeys(metric.asks for metric in chosen)
        if question is not None
    }
    found = {method: [Measured() for _ in session.subjects] for method in session.explained}
    for metric in chosen:
        answer = None if metric.asks is None else answers[metric.asks]
        fills = session.how.fills if metric.per_fill else ("",)
        values = metric.measure(session.cases, answer)
        for entries, numbers in _each(found, values):
            of_one = zip(fills, numbers.tolist(), strict=True)
            entries.scores.extend((metric.name, fill, value) for fill, value in of_one)
    for question, answer in answers.items():
        for entry, values in question.curves(answer):
            for entries, numbers in _each(found, values):
                entries.curves.append(entry | {"values": numbers.tolist()})
    return found


def _each(found: dict[str, list[Measured]], values: np.ndarray) -> list[tuple[Measured, np.ndarray]]:
    """What was found of every method and subject, and its own of some values."""
    return [
        (entries, values[number, place])
        for number, several in enumerate(found.values())
        for place, entries in enumerate(several)
    ]


def check_evidence(subject: Subject) -> None:
    """Refuse human evidence that meets no token of its text or picture, before anything is explained.

    Raises
    ------
    InputError
        As the reading does that cannot use it.
    """
    case = subject.case(Explained(np.zeros(len(subject.row.encoded.tokens.keep()))))
    for metric in METRICS.values():
        if isinstance(metric, Reading) and metric.needs and metric.knows(case.evidence):
            metric.read(case)
