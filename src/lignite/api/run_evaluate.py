"""The evaluation of a whole corpus: what is asked of its rows, and what stands in its folder when it is opened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

from lignite.api.evaluate import evaluation_of, prepare
from lignite.api.evaluate_options import EvaluateOptions
from lignite.api.evaluate_request import Compared, Scored, read_methods
from lignite.api.requests import Request
from lignite.api.units import Gap, Skipped, Work, explain_and_measure, questions_of
from lignite.data.corpus import Entry
from lignite.data.examples import Example
from lignite.errors import InputError, OptionError
from lignite.metrics.asking.session import Asking
from lignite.metrics.metric import Metric
from lignite.metrics.registry import METRICS
from lignite.metrics.subjects import Subjects, explains_cells, one_per_class
from lignite.metrics.tables import Outcome
from lignite.models.load import Model
from lignite.options import gather
from lignite.results.evaluation import Evaluation
from lignite.results.measured import MEASURED, SKIPPED, MeasuredRow, read_pieces, read_table, write_measured
from lignite.results.parquet import EXAMPLES, Explained
from lignite.runs.unit import Done

MOST_TOGETHER = 32
"""Rows that are explained together, at most."""

EXPLANATIONS_TOGETHER = 96
"""Fewer rows where many methods explain them."""

TIME = "seconds"
"""The metric that no two runs agree in."""


@dataclass(frozen=True)
class Settled:
    """What has to be known of model and corpus before any row; `metrics` by their names."""

    methods: tuple[Compared | Scored, ...]
    metrics: tuple[str, ...]
    how: Asking
    record: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest(Request):
    """Explain every row by several methods and measure how far that holds, as `lignite.evaluate` does."""

    verb: ClassVar[str] = "evaluate"
    characters: ClassVar[int] = 65_536
    folders: ClassVar[tuple[str, ...]] = MEASURED
    failures: ClassVar[str] = "the column failure of examples"

    rows: EvaluateOptions
    explainers: tuple[Compared, ...]
    settled: Settled | None = None

    @classmethod
    def of(
        cls,
        *,
        request: EvaluateOptions | None = None,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        **more: Any,
    ) -> "EvaluateRequest":
        """The request that `lignite.evaluate` would take with these arguments."""
        asked = gather("run('evaluate')", EvaluateOptions, request, more)
        if callable(asked.wanted):
            raise OptionError("target is a function, which no manifest can hold: name a class or a token.")
        explains_cells(asked, asked.target, explain_label=asked.explain_label)
        return cls(rows=asked, explainers=read_methods(asked.methods, options, seed=asked.seed))

    @property
    def together(self) -> int:
        return max(1, min(MOST_TOGETHER, EXPLANATIONS_TOGETHER // len(self.explainers)))

    def settle(self, model: Model, entries: list[Entry]) -> tuple[Request, list[Entry]]:
        """Methods, metrics and fills for this model; rows that a file has no scores of are left out."""
        if explains_cells(self.rows, self.rows.target, explain_label=self.rows.explain_label):
            entries = _one_per_class(entries)
        examples = [entry.example for entry in entries if entry.example is not None]
        work = prepare(model, examples, self.rows, self.explainers, examples, memory=None)
        metrics = _kept_metrics(work.metrics, named=self.rows.metrics is not None)
        work = replace(work, metrics=metrics)
        measured = {example.number for example in work.subjects.examples}
        record = {**questions_of(work), **work.record(), "examples": _digest(work)}
        settled = Settled(tuple(work.methods), tuple(metric.name for metric in metrics), work.how, record)
        return replace(self, settled=settled), [
            entry for entry in entries if entry.example is None or entry.number in measured
        ]

    def record(self) -> dict[str, Any]:
        assert self.settled is not None
        return dict(self.settled.record)

    def compute(self, model: Model, entries: Sequence[Entry]) -> Sequence[Any]:
        assert self.settled is not None
        examples = [entry.example for entry in entries if entry.example is not None]
        work = Work(
            model,
            Subjects(model, examples, self.rows.wanted, explain_label=self.rows.explain_label),
            self.settled.methods,
            [METRICS[name] for name in self.settled.metrics],
            self.settled.how,
        )
        keys = {method.key(example) for method in work.methods for example in examples}
        done = explain_and_measure(work, examples, keys, lambda _: None)
        return [_measured(work, example, done) for example in examples]

    def misses(self, result: Any) -> bool:
        return result.missed

    def files(self, name: str, some: Sequence[Explained], like: Any) -> dict[str, bytes]:
        return {f"{table}/{name}.parquet": content for table, content in write_measured(some).items()}


def _one_per_class(entries: Sequence[Entry]) -> list[Entry]:
    """Every mosaic once for each class in its cells, and every row that cannot be read."""
    found: list[Entry] = []
    for entry in entries:
        several: list[Example | None] = [None] if entry.example is None else [*one_per_class([entry.example])]
        found += [replace(entry, id=entry.id if one is None else one.id, example=one) for one in several]
    return [
        replace(entry, number=number, example=None if entry.example is None else replace(entry.example, number=number))
        for number, entry in enumerate(found)
    ]


def _kept_metrics(metrics: Sequence[Metric], *, named: bool) -> list[Metric]:
    """Those that come out the same in every run, and that a manifest can name."""
    for metric in metrics:
        if named and metric.name == TIME:
            raise OptionError(
                f"metrics={TIME!r} differs from run to run, and a run ends with the same bytes: leave it out."
            )
        if metric.name not in METRICS:
            raise OptionError(
                f"metrics={metric.name!r} is none of lignite's own, which no manifest can hold: use evaluate()."
            )
    return [metric for metric in metrics if metric.name != TIME]


def _digest(work: Work) -> str:
    """Of all examples, with what people said of them, and of scores that come from a file."""
    given = [method for method in work.methods if isinstance(method, Scored)]
    digest = sha256()
    for example in work.subjects.examples:
        digest.update(" ".join([example.key, *(method.key(example) for method in given)]).encode())
    return digest.hexdigest()


def _measured(work: Work, example: Example, done: Done) -> MeasuredRow | InputError:
    """What came of one example; the reason where nothing did."""
    found = {method.name: done.pieces.get(method.key(example)) for method in work.methods}
    pieces = {name: piece for name, piece in found.items() if piece is not None}
    skipped = [note for note in done.notes if isinstance(note, Skipped) and note.example == example.number]
    if not pieces:
        return InputError(skipped[0].reason)
    correct = next(iter(pieces.values()))["correct"]
    missed = any(isinstance(note, Gap) and note.example == example.number for note in done.notes)
    return MeasuredRow(pieces, correct, tuple((note.method, note.reason) for note in skipped), missed)


def open_evaluation(folder: Path, manifest: Mapping[str, Any]) -> Evaluation:
    """The evaluation of what a run has finished, as `lignite.evaluate` gives it."""
    asked = manifest["request"]
    rows = read_table(folder, EXAMPLES)
    failed = [Skipped(number, name, "", failure) for number, name, _, _, failure in rows if failure is not None]
    ids = {number: name for number, name, *_ in rows}
    parts = [Skipped(number, ids[number], *rest) for number, *rest in read_table(folder, SKIPPED)]
    outcome = Outcome(
        [Example(number, name, text) for number, name, text, *_ in rows],
        list(asked["methods"]),
        [METRICS[name] for name in asked["metrics"]],
        Asking(tuple(asked["fills"]), steps=asked["steps"], seed=asked["seed"]),
        dict(read_pieces(folder)),
    )
    told = {"model": manifest["name"], "revision": manifest["revision"], "model_sha256": manifest["model"]}
    told |= {"data": manifest["source"], "versions": manifest["versions"]}
    return evaluation_of(outcome, sorted([*failed, *parts], key=lambda note: note.example), told | asked)
