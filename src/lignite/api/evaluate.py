"""Evaluate: how far the explanations of many methods can be trusted, measured on the same examples side by side."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from os import PathLike
from typing import Any

from lignite.api.evaluate_options import EvaluateOptions
from lignite.api.evaluate_request import (
    Compared,
    check_without_explaining,
    find_reference,
    read_beside,
    read_corpus,
    read_fills,
    read_methods,
    with_scores,
)
from lignite.api.units import SKIPPED, Skipped, Work, settings_of, warn_of_gaps
from lignite.calls import Progress, public
from lignite.data.examples import Example, read_examples
from lignite.metrics.asking.session import Asking
from lignite.metrics.metric import Metric
from lignite.metrics.registry import choose_metrics
from lignite.metrics.subjects import Subjects, explains_cells, one_per_class
from lignite.metrics.tables import Outcome, tabulate
from lignite.models.facts import reads_images
from lignite.models.load import Model, as_model
from lignite.options import gather, options_of, with_options
from lignite.results.evaluation import Evaluation, frame
from lignite.runs.unit import Journal, run
from lignite.version import VERSION, versions


@public
@with_options({name: (each, each.help) for name, each in options_of(EvaluateOptions).items()})
def evaluate(
    model: Any,
    examples: Any,
    methods: str | Iterable[str] | None = None,
    metrics: str | Metric | Iterable[str | Metric] | None = None,
    *,
    request: EvaluateOptions | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    resume: str | PathLike[str] | None = None,
    memory: int | float | str | None = None,
    progress: Progress | None = None,
    **more: Any,
) -> Evaluation:
    """Explain examples by several methods and measure how far the explanations hold.

    Parameters
    ----------
    model
        From `lignite.load` or `lignite.wrap`, or what `wrap` takes; bit-identical afterwards.
    examples
        A path to .jsonl, .json, .csv, .tsv (or .gz of these) or .parquet, a DataFrame, a `datasets.Dataset`, a list of
        texts, images or mappings, or a folder of images. Options name its columns; `read_examples` of
        `lignite.data.examples` says what they hold.
    request
        The options below as one record, of `lignite.api.evaluate_options`; those given beside it go before its own.
    options
        More options by method, ``{"ig": {"baseline": "pad"}}``; those in a name go before.
    resume
        File that keeps finished explanations (JSON lines). Begun anew if it does not exist; otherwise what it holds is
        not computed again, and other settings than its own are refused. Methods and examples may be added.
    memory
        For intermediate tensors: bytes or a text such as ``"2 GiB"``; results do not depend on it.
    progress
        Called with the explanations finished and their number.

    Raises
    ------
    InputError, FileError
        If the examples cannot be read, or do not fit the model's classes.
    OptionError
        If a method, metric or option is unknown, or is not available for this model.

    Warns
    -----
    GapWarning
        Once per method, if explanations miss more than their `tol`.
    """
    model = as_model(model)
    more |= {name: given for name, given in (("methods", methods), ("metrics", metrics)) if given is not None}
    asked = gather("evaluate()", EvaluateOptions, request, more, beside=inspect.signature(evaluate).parameters)
    explainers = read_methods(asked.methods, options, seed=asked.seed)
    images = reads_images(model.network)
    asked.check_kind(model.name, images=images)
    by_cell = explains_cells(asked, asked.target, explain_label=asked.explain_label)
    given = read_examples(examples, asked, images=images, limit=asked.limit, seed=asked.seed)
    work = prepare(model, one_per_class(given) if by_cell else given, asked, explainers, examples, memory=memory)
    settings = settings_of(work)
    with Journal(resume, settings) as journal:
        notes = run(work.units(), journal, progress)
    warn_of_gaps(work.methods, notes)
    skipped = [note for note in notes if isinstance(note, Skipped)]
    told = {"model": model.name, "revision": model.revision or "", "model_sha256": settings["model"]}
    told |= {"data": str(examples) if isinstance(examples, str | PathLike) else type(examples).__name__}
    told |= {"versions": versions("numpy")}
    return evaluation_of(work.outcome(journal.finished), skipped, told | work.record())


def prepare(
    model: Model,
    examples: list[Example],
    asked: EvaluateOptions,
    explainers: tuple[Compared, ...],
    source: Any,
    *,
    memory: int | float | str | None,
) -> Work:
    """Settle all that has to be known before any example is explained; `source` is where they were read from."""
    beside = read_beside(model, examples, asked)
    rows = with_scores(explainers, beside)
    compared = find_reference(asked.reference, rows)
    subjects = Subjects(model, beside.examples, asked.wanted, explain_label=asked.explain_label)
    reads = "image" if reads_images(model.network) else "text"
    chosen = choose_metrics(asked.metrics, evidence=asked.evidence, reads=reads)
    check_without_explaining(chosen, beside)
    fills = read_fills(subjects, asked.fills)
    how = Asking(
        fills=fills,
        corpus=read_corpus(model, fills, source, asked),
        steps=asked.steps,
        seed=asked.seed,
        memory=memory,
        by_rationale=asked.rationale is not None,
        smooth=asked.smooth,
    )
    about = {"confidence": asked.confidence, "reference": compared, "coverage": beside.coverage}
    return Work(model, subjects, rows, chosen, how, about)


def evaluation_of(outcome: Outcome, skipped: Sequence[Skipped], attrs: Mapping[str, Any]) -> Evaluation:
    """The tables of what was measured, with what results say of model, data, methods and metrics."""
    counts = {"n_examples": len(outcome.examples), "accuracy": outcome.accuracy}
    return Evaluation(
        **tabulate(outcome, confidence=attrs["confidence"], reference=attrs["reference"]),
        skipped=frame([astuple(note) for note in skipped], SKIPPED),
        attrs={"lignite_version": VERSION, "kind": "evaluate", **attrs, **counts, "command": ""},
    )
