"""The units of an evaluation, some examples explained by every method and measured, and what results say of them."""

import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
import torch

from lignite.api.evaluate_request import Compared, Scored
from lignite.api.gaps import Missed, missed_in
from lignite.data.examples import Example
from lignite.errors import GapWarning, InputError, LigniteError, NotFiniteError, OptionError, warn
from lignite.methods.scoring.rows import TOL, explain_rows
from lignite.metrics.asking.session import Asking, ExplainRows, Session
from lignite.metrics.metric import Explained, Metric
from lignite.metrics.subjects import Posed, Subjects, measure
from lignite.metrics.tables import Outcome
from lignite.models.load import Model
from lignite.models.stream import weights_of
from lignite.results.certificate import largest_gap
from lignite.runs.unit import Done, Piece, Tick, Unit
from lignite.targets.objective import as_target
from lignite.targets.rows import Row
from lignite.targets.target import Target
from lignite.version import VERSION

TOGETHER = 32
"""The most examples in one unit."""

PIECES_TOGETHER = 96
"""Fewer examples where many methods explain them: what an interruption costs at most, in explanations."""

CHARACTERS_TOGETHER = 8192
"""Fewer examples where they are long."""


@dataclass(frozen=True)
class Skipped:
    """An example, or one explanation of it, that could not be computed; `method` is empty where it is all of them."""

    example: int
    id: str
    method: str
    reason: str


@dataclass(frozen=True)
class Gap:
    """An explanation that misses more than its method promises."""

    example: int
    method: str
    missed: Missed


SKIPPED = tuple(each.name for each in fields(Skipped))
Notes = list[Skipped | Gap]


@dataclass(frozen=True, eq=False)
class Work:
    """What all units of an evaluation share; `about` says how its tables are made."""

    model: Model
    subjects: Subjects
    methods: Sequence[Compared | Scored]
    metrics: Sequence[Metric]
    how: Asking
    about: Mapping[str, Any] = field(default_factory=dict)

    def units(self) -> list[Unit]:
        """The whole evaluation: a piece for every example and method."""
        return [
            Unit(
                tuple(method.key(example) for method in self.methods for example in some),
                partial(explain_and_measure, self, some),
            )
            for some in _together(self.subjects.examples, max(1, min(TOGETHER, PIECES_TOGETHER // len(self.methods))))
        ]

    def outcome(self, finished: Mapping[str, Piece]) -> Outcome:
        """What was measured, of finished pieces."""
        keys = {
            (example.number, method.name): method.key(example)
            for example in self.subjects.examples
            for method in self.methods
        }
        pieces = {place: finished[key] for place, key in keys.items() if key in finished}
        names = [method.name for method in self.methods]
        return Outcome(self.subjects.examples, names, self.metrics, self.how, pieces)

    def record(self) -> dict[str, Any]:
        """What results say of methods and metrics, and of how the model was asked."""
        how = self.how
        return {
            "methods": {row.name: json.loads(row.options) for row in self.methods},
            "baselines": {row.name: list(row.baselines(self.model)) for row in self.methods},
            "metrics": {metric.name: {"meaning": metric.meaning, "better": metric.better} for metric in self.metrics},
            "fills": list(how.fills),
            "steps": how.steps,
            "seed": how.seed,
            "target": target_text(self.subjects),
            "neutral": list(how.averaged),
            "draws": how.corpus.draws if how.corpus else 0,
            **self.about,
        }

    def explainer(self, method: Compared | Scored) -> ExplainRows:
        """What explains other rows as a method does, for metrics that change a text or the model."""

        def relevances(rows: Sequence[Row]) -> list[np.ndarray]:
            if isinstance(method, Scored):
                raise OptionError(f"{method.name}: its scores come from a file, which explains nothing anew.")
            results = explain_rows(self.model, rows, method.method, memory=self.how.memory)
            return [result["relevance"].values.astype(np.float64) for result in results]

        return relevances


def _together(examples: Sequence[Example], most: int) -> Iterator[list[Example]]:
    some: list[Example] = []
    for example in examples:
        longest = max(len(other.text) + len(other.pair or "") for other in [*some, example])
        if some and (len(some) == most or longest * (len(some) + 1) > CHARACTERS_TOGETHER):
            yield some
            some = []
        some.append(example)
    if some:
        yield some


def explain_and_measure(work: Work, examples: Sequence[Example], missing: Collection[str], tick: Tick) -> Done:
    notes: Notes = []
    posed = [one for example in examples if (one := _pose(work, example, missing, notes)) is not None]
    explained: dict[Compared | Scored, dict[int, Explained]] = {}
    for method in work.methods:
        wanted = [one for one in posed if method.key(one.example) in missing]
        if wanted:
            explained[method] = _explain(work, wanted, method, notes)
            tick(len(wanted))
    return Done(_measure(work, posed, explained, notes), tuple(notes))


def _pose(work: Work, example: Example, missing: Collection[str], notes: Notes) -> Posed | None:
    """What is asked about an example; None where nothing is left to do, or nothing can be done."""
    if not any(method.key(example) in missing for method in work.methods):
        return None
    try:
        row = work.subjects.ask(example)
        _check_scores(work, example, row)
    except (InputError, NotFiniteError) as error:
        notes.append(_skipped(example, error))
        return None
    work.subjects.check_labels(row)
    try:
        return work.subjects.pose(example, row)
    except InputError as error:
        notes.append(_skipped(example, error))
        return None


def _check_scores(work: Work, example: Example, row: Row) -> None:
    """Scores of a file are for the class that the other rows explain."""
    for given in {method.given(example) for method in work.methods if isinstance(method, Scored)}:
        if given.target is not None and work.subjects.class_of(example, given.target) != row.objective.index:
            raise InputError(
                f"{given.where}: its scores are for {given.target!r}, and {row.objective.name} is explained here; name "
                "that class as target=, or leave the text out."
            )


def _skipped(example: Example, error: Exception, method: str = "") -> Skipped:
    return Skipped(example.number, example.id, method, str(error))


def _explain(work: Work, some: Sequence[Posed], method: Compared | Scored, notes: Notes) -> dict[int, Explained]:
    """Explanations by the number of their example; where a batch fails, each example is tried alone."""
    if isinstance(method, Scored):
        return {one.example.number: Explained(method.given(one.example).scores[method.name]) for one in some}
    try:
        return _explain_together(work, some, method, notes)
    except LigniteError as error:
        if len(some) == 1:
            notes.append(_skipped(some[0].example, error, method.name))
            return {}
    found: dict[int, Explained] = {}
    for one in some:
        found |= _explain(work, [one], method, notes)
    return found


def _explain_together(work: Work, some: Sequence[Posed], method: Compared, notes: Notes) -> dict[int, Explained]:
    start = time.perf_counter()
    rows = [one.subject.row for one in some]
    results = explain_rows(work.model, rows, method.method, memory=work.how.memory)
    seconds = (time.perf_counter() - start) / len(some)
    found: dict[int, Explained] = {}
    for one, result in zip(some, results, strict=True):
        relevance = result["relevance"].values.astype(np.float64)
        if not np.isfinite(relevance).all():
            raise NotFiniteError("a relevance is NaN or infinite; load the model with dtype='float32'.")
        found[one.example.number] = Explained(relevance, largest_gap(result), seconds)
    notes.extend(
        Gap(one.example.number, method.name, each)
        for one, result in zip(some, results, strict=True)
        for each in missed_in(result)
    )
    return found


def _measure(
    work: Work, posed: Sequence[Posed], explained: Mapping[Compared | Scored, Mapping[int, Explained]], notes: Notes
) -> dict[str, Piece]:
    """Measure all methods that explained the same examples in one go."""
    groups: dict[tuple[int, ...], list[Compared | Scored]] = {}
    for method, found in explained.items():
        if found:
            groups.setdefault(tuple(found), []).append(method)
    by_number = {one.example.number: one for one in posed}
    pieces: dict[str, Piece] = {}
    for numbers, methods in groups.items():
        given = {method: [explained[method][number] for number in numbers] for method in methods}
        pieces |= _measure_together(work, [by_number[number] for number in numbers], given, notes)
    return pieces


def _measure_together(
    work: Work, some: Sequence[Posed], given: Mapping[Compared | Scored, Sequence[Explained]], notes: Notes
) -> dict[str, Piece]:
    """Pieces by their keys; where some cannot be measured together, each example is tried alone."""
    session = Session(
        work.model,
        [one.subject for one in some],
        {method.name: several for method, several in given.items()},
        {method.name: work.explainer(method) for method in given},
        work.how,
    )
    try:
        found = measure(session, work.metrics)
    except (InputError, NotFiniteError) as error:
        if len(some) == 1:
            notes.append(_skipped(some[0].example, error))
            return {}
    else:
        return {
            method.key(one.example): {"id": one.example.id, "method": method.name, "correct": one.correct}
            | asdict(result)
            for method in given
            for one, result in zip(some, found[method.name], strict=True)
        }
    pieces: dict[str, Piece] = {}
    for place, one in enumerate(some):
        alone = {method: [several[place]] for method, several in given.items()}
        pieces |= _measure_together(work, [one], alone, notes)
    return pieces


def warn_of_gaps(methods: Sequence[Compared | Scored], notes: Sequence[Skipped | Gap]) -> None:
    """One warning for each method that misses more than it promises."""
    for method in methods:
        missed = [note.missed for note in notes if isinstance(note, Gap) and note.method == method.name]
        if missed and isinstance(method, Compared):
            options = method.method.values()
            more = f" and {len(missed) - 1} more" if len(missed) > 1 else ""
            warn(
                f"{method.name} misses more than {options.get('tol', TOL):g} of the displacement for {missed[0]}"
                f"{more}; the metric completeness-gap says how much. Raise its "
                f"{'n_steps' if options.get('n_steps') else 'max_steps'}.",
                GapWarning,
            )


def hash_weights(model: Model) -> str:
    """Take the sha256 of names, types, shapes and bytes of all weights: the same wherever the model is stored."""
    digest = sha256()
    for name, weight in weights_of(model.network):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def settings_of(work: Work) -> dict[str, Any]:
    """What finished work must have been computed with to be taken over."""
    return {"model": hash_weights(work.model), "lignite": VERSION, **questions_of(work)}


def questions_of(work: Work) -> dict[str, Any]:
    """What is asked about every explanation, whatever the model."""
    how = work.how
    return {
        "metrics": [metric.name for metric in work.metrics],
        "fills": list(how.fills),
        "steps": how.steps,
        "seed": how.seed,
        "evidence": "rationale" if how.by_rationale else "most relevant",
        "target": target_text(work.subjects),
        **({"smooth": True} if how.smooth else {}),
        **({"corpus": how.corpus.digest} if how.corpus else {}),
    }


def target_text(subjects: Subjects) -> str:
    """What is explained of every example, in words."""
    target = subjects.target
    if subjects.explain_label:
        return "each example's label"
    if target is None:
        return "predicted"
    if callable(target) and not isinstance(target, Target):
        return f"function {getattr(target, '__qualname__', repr(target))}"
    return json.dumps(asdict(as_target(target)))
