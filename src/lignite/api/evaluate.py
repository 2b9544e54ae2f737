"""Evaluate: how far the explanations of many methods can be trusted, measured on the same examples side by side."""

import inspect
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

from lignite import version
from lignite.api.units import Compared, Skipped, Work, warn_of_gaps
from lignite.calls import Progress, as_names, check_choice, check_count, check_seed, fitting, public
from lignite.data.columns import Columns
from lignite.data.examples import read_examples
from lignite.errors import OptionError
from lignite.methods import METHODS
from lignite.methods.options import choose, split
from lignite.metrics.asking.session import Asking
from lignite.metrics.registry import METRICS, choose_metrics
from lignite.metrics.subjects import Subjects, one_per_class
from lignite.metrics.tables import Scored, tabulate
from lignite.models.facts import reads_images
from lignite.models.identity import hash_weights
from lignite.models.load import Model, as_model
from lignite.options import options_of
from lignite.results.evaluation import Evaluation, frame
from lignite.results.provenance import versions
from lignite.runs.journal import Journal
from lignite.runs.local import run
from lignite.targets.edits import check_fills, usual_fill
from lignite.targets.objective import Wanted, as_target
from lignite.targets.target import Target

DEFAULT_METHODS = (
    "ca-lig", "relevance-flow", "ig", "gradient-x-input", "attention-x-gradient", "attention-rollout", "random",
)  # fmt: skip

MOST_POINTS = 10_000
"""Of a curve: texts have fewer words."""


@public
def evaluate(
    model: Any,
    examples: Any,
    methods: str | Iterable[str] = DEFAULT_METHODS,
    metrics: str | Iterable[str] | None = None,
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
        texts, images or mappings, or a folder of images; see `lignite.data.examples.read_examples` for what the columns
        hold.
    methods
        Names of methods of `lignite.explain`, each with options of its own if need be:
        ``"ca-lig:path=layer,baseline=mask,fusion=0.7"``. Several values of one option are joined by ``+``. A row
        `random` is always added: what it reaches, chance reaches.
    metrics
        Names from `lignite.metrics.registry.METRICS`; by default all that are cheap and that the columns allow.
    smooth
        Compare relevance with masks and cells after drawing it as lines between the patches' centres (bilinear, as
        segmentation tests do), not with the edges that patches have.
    target
        What is explained, as in `lignite.explain`; by default each example's predicted class.
    explain_label
        Explain each example's own label instead: what speaks for the truth, not for the prediction. With `cells` and no
        `label`, every mosaic is explained once for each class in its cells, as one example each.
    limit, seed
        Measure so many examples, drawn at random; the seed also serves random methods and intervals.
    fills
        What stands in the place of a removed token, some of ``"mask"``, ``"pad"`` and ``"delete"`` (the text becomes
        shorter); by default the first of them that this model has. For images some of ``"black"``, ``"grey"`` and
        ``"blur"``; by default black, as perturbation tests are published, or blur where colours are not known.
    steps
        Points of the deletion and insertion curves.
    confidence
        Of all intervals.
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
    columns
        Names of the examples' columns, as fields of `lignite.data.columns.Columns`: `text`, `pair`, `label`,
        `rationale`, `polarity`; for images `image`, `label`, `mask`, `distractor`, `boxes`, `cells`. Masks and boxes go
        the way of their image through the model's image processor, each pixel as its nearest neighbour.

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
    compared = _reference(reference, rows)
    named = Columns.named(columns, by="evaluate", beside=_arguments())
    _check_options(target, confidence, steps, seed)
    images = reads_images(model.network)
    _check_columns(model, named, images=images, smooth=smooth)
    by_cell = _explains_cells(named, target, explain_label=explain_label)
    given = read_examples(examples, named, images=images, limit=limit, seed=seed)
    how = Asking(
        fills=(usual_fill(model, images=images),) if fills is None else check_fills(model, fills, images=images),
        steps=steps,
        seed=seed,
        memory=memory,
        by_rationale=named.rationale is not None,
        smooth=smooth,
    )
    subjects = Subjects(model, list(one_per_class(given)) if by_cell else given, target, explain_label=explain_label)
    chosen = choose_metrics(metrics, evidence=named.evidence, reads="image" if images else "text")
    work = Work(model, subjects, rows, chosen, how)
    settings = _settings(work, target, explain_label=explain_label)
    with Journal(resume, settings) as journal:
        notes = run(work.units(), journal, progress)
    warn_of_gaps(rows, notes)
    pieces = work.pieces(journal.finished)
    scored = Scored(subjects.examples, [method.name for method in rows], chosen, how, pieces)
    skipped = [tuple(asdict(note).values()) for note in notes if isinstance(note, Skipped)]
    return Evaluation(
        **tabulate(scored, confidence=confidence, reference=compared),
        skipped=frame(skipped, ["example", "id", "method", "reason"]),
        attrs=_attributes(work, scored, settings, examples) | {"confidence": confidence, "reference": compared},
    )


def _arguments() -> tuple[str, ...]:
    return tuple(name for name in inspect.signature(evaluate).parameters if name != "columns")


def _check_options(target: Any, confidence: float, steps: int, seed: int) -> None:
    if not callable(target):
        wanted = as_target(target)
        if wanted is not None and wanted.steps is not None:
            raise OptionError(
                "target: steps= explains many tokens of one text; evaluate measures one prediction of each."
            )
    if not 0 < confidence < 1:
        raise OptionError(f"confidence={confidence!r} must be a number between 0 and 1, such as 0.95.")
    check_count("steps", steps, MOST_POINTS)
    check_seed(seed)


def _check_columns(model: Model, columns: Columns, *, images: bool, smooth: bool) -> None:
    """Refuse columns of texts for a model of images, and the other way round."""
    reads, other = ("images", "texts") if images else ("texts", "images")
    wrong: dict[str, Any] = {**columns.foreign(images=images), **({"smooth": True} if smooth and not images else {})}
    for name, column in wrong.items():
        raise OptionError(f"{name}={column!r} is for models of {other}; {model.name} reads {reads}. Leave it out.")


def _explains_cells(columns: Columns, target: Any, *, explain_label: bool) -> bool:
    """Whether every mosaic is explained once for each class in its cells."""
    by_cell = explain_label and columns.label is None and columns.cells is not None
    if explain_label and not by_cell and (columns.label is None or target is not None):
        raise OptionError("explain_label=True needs the column of the labels, label=…, and no target= beside it.")
    if by_cell and target is not None:
        raise OptionError("explain_label=True explains the classes of the cells; leave target= out.")
    return by_cell


def _settings(work: Work, target: Wanted, *, explain_label: bool) -> dict[str, Any]:
    """What finished work must have been computed with to be taken over."""
    how = work.how
    return {
        "model": hash_weights(work.model),
        "lignite": version.VERSION,
        "metrics": list(work.metrics),
        "fills": list(how.fills),
        "steps": how.steps,
        "seed": how.seed,
        "evidence": "rationale" if how.by_rationale else "most relevant",
        "target": "each example's label" if explain_label else _target_text(target),
        **({"smooth": True} if how.smooth else {}),
    }


def _target_text(target: Wanted) -> str:
    if target is None:
        return "predicted"
    if callable(target) and not isinstance(target, Target):
        return f"function {getattr(target, '__qualname__', repr(target))}"
    return json.dumps(asdict(as_target(target)))


def _attributes(work: Work, scored: Scored, settings: Mapping[str, Any], examples: Any) -> dict[str, Any]:
    model = work.model
    return {
        "lignite_version": version.VERSION,
        "kind": "evaluate",
        "model": model.name,
        "revision": model.revision or "",
        "model_sha256": settings["model"],
        "data": str(examples) if isinstance(examples, str | PathLike) else type(examples).__name__,
        "n_examples": len(scored.examples),
        "accuracy": scored.accuracy,
        "methods": {method.name: json.loads(method.options) for method in work.methods},
        "metrics": {name: METRICS[name].as_dict() for name in scored.metrics},
        **{name: settings[name] for name in ("fills", "steps", "seed", "target")},
        "versions": versions("numpy"),
        "command": "",
    }


def _show(evaluation: Evaluation, path: Path) -> None:
    """Pages and pictures, drawn by a room that plain numbers do not need."""
    from lignite.views.evaluation.page import save_evaluation

    save_evaluation(evaluation, path)


Evaluation.show = _show


# Methods


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


def _reference(name: str | None, methods: Sequence[Compared]) -> str:
    if name is None:
        return methods[0].name
    check_choice("reference", name, [method.name for method in methods])
    return name
