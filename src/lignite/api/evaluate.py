"""Evaluate: how far the explanations of many methods can be trusted, measured on the same examples side by side."""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from os import PathLike
from pathlib import Path
from typing import Any

from lignite.api.compared import DEFAULT_METHODS, find_reference, read_methods
from lignite.api.provenance import attributes_of, settings_of
from lignite.api.units import SKIPPED, Skipped, Work, warn_of_gaps
from lignite.calls import Progress, public
from lignite.data.columns import Columns
from lignite.data.examples import read_examples
from lignite.metrics.asking.session import Asking
from lignite.metrics.metric import Metric
from lignite.metrics.registry import choose_metrics
from lignite.metrics.subjects import Subjects, explains_cells, one_per_class
from lignite.metrics.tables import Scored, tabulate
from lignite.models.facts import reads_images
from lignite.models.load import as_model
from lignite.options import check_known, check_share, options_of, with_options
from lignite.results.evaluation import Evaluation, frame
from lignite.runs.journal import Journal
from lignite.runs.local import run
from lignite.targets.edits import check_fills, usual_fill


@public
@with_options({name: (each, each.help) for name, each in options_of(Columns).items()})
def evaluate(
    model: Any,
    examples: Any,
    methods: str | Iterable[str] = DEFAULT_METHODS,
    metrics: str | Metric | Iterable[str | Metric] | None = None,
    *,
    target: Any = None,
    explain_label: bool = False,
    limit: int | None = None,
    seed: int = 0,
    fills: str | Iterable[str] | None = None,
    steps: int = 10,
    smooth: bool = False,
    confidence: float = 0.95,
    reference: str | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    resume: str | PathLike[str] | None = None,
    memory: int | float | str | None = None,
    progress: Progress | None = None,
    **columns: Any,
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
    methods
        Names of methods of `lignite.explain`, each with options of its own if need be:
        ``"ca-lig:path=layer,baseline=mask,tol=0.01"``. Several values of one option are joined by ``+``. A row
        `random` is always added: what it reaches, chance reaches.
    metrics
        Names from `lignite.metrics.registry.METRICS`, or metrics of one's own (`lignite.metrics.metric`); by default
        all that are cheap and that the columns allow.
    smooth
        Draw relevance as lines between the patches' centres (bilinear) before it is compared with masks and cells.
    target
        What is explained, as in `lignite.explain`; by default each example's predicted class.
    explain_label
        Explain each example's own label instead: what speaks for the truth, not for the prediction. With `cells` and no
        `label`, every mosaic is explained once for each class in its cells, as one example each.
    limit, seed
        Measure so many examples, drawn at random; the seed also serves random methods and intervals.
    fills
        What stands in the place of a removed token, some of ``"mask"``, ``"pad"`` and ``"delete"`` (the text becomes
        shorter); by default the first that this model has. For images ``"black"`` (as perturbation tests are
        published), ``"grey"``, ``"blur"``; by default black, or blur where colours are not known.
    steps, confidence
        Points of the deletion and insertion curves; confidence of all intervals.
    reference
        Method that the others are tested against; by default the first.
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
    rows = read_methods(methods, options, seed=seed)
    compared = find_reference(reference, rows)
    check_known("evaluate()", columns, options_of(Columns), beside=inspect.signature(evaluate).parameters)
    named = Columns(**columns)
    check_share("confidence", confidence, "of all intervals, such as 0.95")
    images = reads_images(model.network)
    named.check_kind(model.name, images=images, smooth=smooth)
    by_cell = explains_cells(named, target, explain_label=explain_label)
    given = read_examples(examples, named, images=images, limit=limit, seed=seed)
    subjects = Subjects(model, one_per_class(given) if by_cell else given, target, explain_label=explain_label)
    chosen = choose_metrics(metrics, evidence=named.evidence, reads="image" if images else "text")
    how = Asking(
        fills=(usual_fill(model, images=images),) if fills is None else check_fills(model, fills, images=images),
        steps=steps,
        seed=seed,
        memory=memory,
        by_rationale=named.rationale is not None,
        smooth=smooth,
    )
    work = Work(model, subjects, rows, chosen, how)
    settings = settings_of(work)
    with Journal(resume, settings) as journal:
        notes = run(work.units(), journal, progress)
    warn_of_gaps(rows, notes)
    scored = Scored(subjects.examples, [row.name for row in rows], chosen, how, work.pieces(journal.finished))
    return Evaluation(
        **tabulate(scored, confidence=confidence, reference=compared),
        skipped=frame([astuple(note) for note in notes if isinstance(note, Skipped)], SKIPPED),
        attrs=attributes_of(work, scored, settings, examples) | {"confidence": confidence, "reference": compared},
    )


def _show(evaluation: Evaluation, path: Path) -> None:
    """Pages and pictures, drawn by a room that plain numbers do not need."""
    from lignite.views.evaluation.page import save_evaluation

    save_evaluation(evaluation, path)


Evaluation.show = _show
