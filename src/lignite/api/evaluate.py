"""Evaluate: how far the explanations of many methods can be trusted, measured on the same examples side by side."""

import json
import platform
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import torch
import transformers

from lignite import version
from lignite.api.explain import Missed, explain_rows
from lignite.calls import fitting, public
from lignite.data.examples import Example, read_examples
from lignite.data.outlines import carry, read_outline
from lignite.errors import FileError, GapWarning, InputError, LigniteError, NotFiniteError, OptionError, warn
from lignite.files import parse_json, read_whole, write_whole
from lignite.inputs.pictures import IMAGE_FILLS, read_image
from lignite.metrics.asking.context import ExplainRows
from lignite.metrics.readings.localization import mask_from_boxes
from lignite.metrics.readings.statistics import compare, holm, interval
from lignite.metrics.registry import (
    METRICS,
    Evidence,
    Explained,
    Plan,
    Subject,
    check_evidence,
    choose_metrics,
    measure,
    shares,
)
from lignite.models.facts import reads_images
from lignite.models.load import Model, as_model
from lignite.request import EXPLAIN_METHODS, ExplainRequest, Target, as_names, check_choice, check_count, check_seed
from lignite.results.certificate import largest_gap
from lignite.runs.journal import Journal
from lignite.targets.ask import ask
from lignite.targets.edits import filler, fillers
from lignite.targets.objective import Wanted, as_target
from lignite.targets.rows import Row

Progress = Callable[[int, int], None]

DEFAULT_METHODS = (
    "ca-lig", "relevance-flow", "ig", "gradient-x-input", "attention-x-gradient", "attention-rollout", "random",
)  # fmt: skip

FORMAT = "lignite evaluation"
VERSION = 1
TABLES = ("table", "scores", "curves", "tests", "skipped")

TOGETHER = 32
"""Examples explained in one batch, and what an interruption costs at most."""
MOST_POINTS = 10_000
"""Of a curve: texts have fewer words."""

CHARACTERS_TOGETHER = 8192
"""Fewer examples where they are long."""

_REAL = ("tol", "fusion", "layer_weights")
"""Options whose numbers need not be whole."""


@dataclass(frozen=True, eq=False)
class Method:
    """One row of the table: a method with its options, under the name it was asked for."""

    name: str
    method: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def request(self) -> ExplainRequest:
        """The options as `explain` understands them, with its defaults."""
        return ExplainRequest(method=self.method, **self.options)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured.

    Attributes
    ----------
    table
        A row per method, metric and fill: mean over examples, its confidence interval (low, high), and their number n.
    scores
        A row per example, method, metric and fill; NaN where a metric is not defined for an example.
    curves
        Mean deletion and insertion curves: what the model says when this share of the tokens is gone, or back. Of
        images also the accuracy, when this share of the pixels is gone.
    tests
        Each method against the reference, on the examples that both have: mean difference with its interval, two-sided
        p of a paired bootstrap, and `p_holm`, corrected for the number of methods compared.
    skipped
        Examples, or single explanations, that could not be computed, and why.
    attrs
        Model and hash of its weights, data, seed, versions, and every option.
    """

    table: pd.DataFrame
    scores: pd.DataFrame
    curves: pd.DataFrame
    tests: pd.DataFrame
    skipped: pd.DataFrame
    attrs: dict[str, Any]

    def pivot(self, value: str = "mean") -> pd.DataFrame:
        """Methods as rows, metrics and fills as columns."""
        wide = self.table.pivot(index="method", columns=["metric", "fill"], values=value)
        order = list(dict.fromkeys(zip(self.table["metric"], self.table["fill"], strict=True)))
        return wide.reindex(index=list(dict.fromkeys(self.table["method"])), columns=order)

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything (.json), the table alone (.csv), a page (.html), or the curves (.png, .svg, .pdf)."""
        from lignite.views.evaluation.page import save_evaluation

        path = Path(path)
        if path.suffix.lower() == ".json":
            _write_json(self, path)
        else:
            save_evaluation(self, path)

    @classmethod
    def open(cls, path: str | PathLike[str]) -> "Evaluation":
        """Read what `save` wrote as .json; the other formats hold less."""
        return cls(**_read_json(Path(path)))

    def __repr__(self) -> str:
        n_methods, n_metrics = self.table["method"].nunique(), self.table["metric"].nunique()
        skipped = f", {len(self.skipped)} skipped" if len(self.skipped) else ""
        return f"Evaluation({n_methods} methods, {n_metrics} metrics, {self.attrs['n_examples']} examples{skipped})"


@public
def evaluate(
    model: Any,
    examples: Any,
    methods: str | Iterable[str] = DEFAULT_METHODS,
    metrics: str | Iterable[str] | None = None,
    *,
    text: str = "text",
    pair: str | None = None,
    label: str | None = None,
    rationale: str | None = None,
    polarity: str | None = None,
    image: str = "image",
    mask: str | None = None,
    distractor: str | None = None,
    boxes: str | None = None,
    cells: str | None = None,
    smooth: bool = False,
    target: Any = None,
    explain_label: bool = False,
    limit: int | None = None,
    seed: int = 0,
    fills: str | Iterable[str] | None = None,
    steps: int = 10,
    confidence: float = 0.95,
    reference: str | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    resume: str | PathLike[str] | None = None,
    memory: int | float | str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Explain examples by several methods and measure how far the explanations hold.

    Parameters
    ----------
    model
        From `lignite.load` or `lignite.wrap`, or what `wrap` takes; bit-identical afterwards.
    examples
        A path to .jsonl, .json, .csv, .tsv (or .gz of these) or .parquet, a DataFrame, a `datasets.Dataset`, a list of
        texts, images or mappings, or a folder of images; see `lignite.data.examples.read_examples` for the columns and
        for the forms of evidence.
    methods
        Names of methods of `lignite.explain`, each with options of its own if need be:
        ``"ca-lig:path=layer,baseline=mask,fusion=0.7"``. Several values of one option are joined by ``+``. A row
        `random` is always added: what it reaches, chance reaches.
    metrics
        Names from `lignite.metrics.registry.METRICS`; by default all that are cheap and that the columns allow.
    text, pair, label, rationale, polarity
        Columns of the examples.
    image, mask, distractor, boxes, cells
        Columns of the examples of a model of images. Masks and boxes go the way of their image through the model's
        image processor, each pixel as its nearest neighbour.
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
    if isinstance(as_target(target) if not callable(target) else None, Target) and as_target(target).steps is not None:
        raise OptionError("target: steps= explains many tokens of one text; evaluate measures one prediction of each.")
    if not 0 < confidence < 1:
        raise OptionError(f"confidence={confidence!r} must be a number between 0 and 1, such as 0.95.")
    check_count("steps", steps, MOST_POINTS)
    check_seed(seed)
    by_cell = explain_label and label is None and cells is not None
    if explain_label and not by_cell and (label is None or target is not None):
        raise OptionError("explain_label=True needs the column of the labels, label=…, and no target= beside it.")
    if by_cell and target is not None:
        raise OptionError("explain_label=True explains the classes of the cells; leave target= out.")
    of_images = reads_images(model.network)
    _check_columns(
        model,
        of_images,
        texts={"pair": pair, "rationale": rationale, "polarity": polarity},
        images={"mask": mask, "distractor": distractor, "boxes": boxes, "cells": cells, "smooth": smooth or None},
    )
    given = read_examples(
        examples, text=text, pair=pair, label=label, rationale=rationale, polarity=polarity,
        image=image if of_images else None, mask=mask, distractor=distractor, boxes=boxes, cells=cells, limit=limit,
        seed=seed,
    )  # fmt: skip
    if by_cell:
        given = list(_one_per_class(given))
    plan = Plan(
        metrics=choose_metrics(
            metrics,
            rationale=rationale is not None,
            polarity=polarity is not None,
            reads="image" if of_images else "text",
            mask=mask is not None or boxes is not None,
            distractor=distractor is not None,
            cells=cells is not None,
        ),
        fills=_image_fills(model, fills) if of_images else _fills(model, fills),
        steps=steps,
        seed=seed,
        memory=memory,
        by_rationale=rationale is not None,
        smooth=smooth,
    )
    fingerprint = hash_weights(model)
    settings = {
        "model": fingerprint,
        "lignite": version.VERSION,
        "metrics": list(plan.metrics),
        "fills": list(plan.fills),
        "steps": steps,
        "seed": seed,
        "evidence": "rationale" if rationale is not None else "most relevant",
        "target": "each example's label" if explain_label else _target_text(target),
        **({"smooth": True} if smooth else {}),
    }
    with Journal(resume, settings) as journal:
        work = _Work(model, given, rows, plan, journal, target, explain_label)
        work.run(progress)
    scores = _scores(work)
    attrs = _attributes(work, settings, examples=examples, confidence=confidence, reference=compared)
    return Evaluation(
        table=_table(work, scores, confidence),
        scores=scores,
        curves=_curves(work, confidence),
        tests=_tests(work, scores, compared, confidence),
        skipped=_frame(work.skipped, ["example", "id", "method", "reason"]),
        attrs=attrs,
    )


# Methods


def read_methods(
    methods: str | Iterable[str], options: Mapping[str, Mapping[str, Any]] | None = None, *, seed: int = 0
) -> tuple[Method, ...]:
    """Names with options become methods, `random` added; every option is checked here, before anything is computed.

    Examples
    --------
    >>> [method.name for method in read_methods("ig:baseline=zero+mask,n_steps=8,random")]
    ['ig:baseline=zero+mask,n_steps=8', 'random']
    """
    names = _split(methods) if isinstance(methods, str) else as_names("methods", methods)
    if not names:
        raise OptionError(f"methods is empty; give some of {', '.join(EXPLAIN_METHODS)}.")
    more = {name: fitting(f"options[{name!r}]", own, Mapping) for name, own in (options or {}).items()}
    found = [_method(name, more, seed) for name in names]
    unused = [name for name in more if name not in {key for method in found for key in (method.name, method.method)}]
    if unused:
        raise OptionError(f"options for {unused[0]!r}, which is not among the methods {', '.join(names)}.")
    if not any(method.method == "random" for method in found):
        found.append(_method("random", {}, seed))
    return tuple({method.name: method for method in found}.values())


def _split(text: str) -> tuple[str, ...]:
    """Cut at commas; a part like ``key=value`` belongs to the method before it."""
    names: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        if names and re.match(r"\w+\s*=", part):
            names[-1] += f",{part}"
        elif part:
            names.append(part)
    return tuple(dict.fromkeys(names))


def _method(name: str, more: Mapping[str, Mapping[str, Any]], seed: int) -> Method:
    base, _, written = name.partition(":")
    check_choice("methods", base, EXPLAIN_METHODS)
    own = {}
    for part in written.split(",") if written else ():
        option, sign, value = (piece.strip() for piece in part.partition("="))
        if not sign or not option or not value:
            raise OptionError(f"method {name!r}: {part!r} is no option; write it like {base}:path=layer,tol=0.01.")
        own[option] = _value(option, value)
    chosen = {"seed": seed, **more.get(base, {}), **more.get(name, {}), **own}
    known = {item.name for item in fields(ExplainRequest)} - {"method", "window", "overlap"}
    for option in chosen:
        if option in ("window", "overlap"):
            raise OptionError(
                f"method {name!r}: {option}= is for texts that the model cannot read at once, and what it cannot read "
                "cannot be measured. Cut the texts of the data set."
            )
        if option not in known:
            raise OptionError(f"method {name!r}: no option {option!r}; choose from {', '.join(sorted(known))}.")
    for option in ("baseline", "detail"):
        if option in chosen:
            chosen[option] = as_names(option, chosen[option])
    if isinstance(chosen.get("layer_weights"), list):
        chosen["layer_weights"] = tuple(chosen["layer_weights"])
    method = Method(name, base, chosen)
    try:
        method.request  # noqa: B018 (its checks)
    except OptionError as error:
        raise OptionError(f"method {name!r}: {error}") from error
    return method


def _value(option: str, text: str) -> Any:
    if option in ("baseline", "detail") or "+" in text:
        return tuple(_number(option, part) for part in text.split("+"))
    return _number(option, text)


def _number(option: str, text: str) -> Any:
    try:
        value = parse_json({"True": "true", "False": "false", "None": "null"}.get(text, text))
    except ValueError:
        return text
    return float(value) if option in _REAL and type(value) is int else value


def _reference(name: str | None, methods: Sequence[Method]) -> str:
    if name is None:
        return methods[0].name
    check_choice("reference", name, [method.name for method in methods])
    return name


def _check_columns(
    model: Model, of_images: bool, *, texts: Mapping[str, Any], images: Mapping[str, str | bool | None]
) -> None:
    """Refuse columns of texts for a model of images, and the other way round."""
    reads, other, wrong = ("images", "texts", texts) if of_images else ("texts", "images", images)
    for name, column in wrong.items():
        if column is not None:
            raise OptionError(f"{name}={column!r} is for models of {other}; {model.name} reads {reads}. Leave it out.")
    if images["mask"] is not None and images["boxes"] is not None:
        raise OptionError("mask= and boxes= both outline the object: name one of them.")
    if images["distractor"] is not None and images["mask"] is None and images["boxes"] is None:
        raise OptionError("distractor= needs the object's own mask= or boxes= beside it.")


def _one_per_class(mosaics: Sequence[Example]) -> Iterator[Example]:
    """Every mosaic once for each class in its cells, labelled with it."""
    pairs = [(mosaic, cell) for mosaic in mosaics for cell in dict.fromkeys(mosaic.cells or ())]
    for number, (mosaic, cell) in enumerate(pairs):
        yield replace(mosaic, number=number, id=f"{mosaic.id}: {cell}", label=cell)


def _image_fills(model: Model, fills: str | Iterable[str] | None) -> tuple[str, ...]:
    if fills is None:
        return ("blur",) if model.image_processor is None else ("black",)
    chosen = as_names("fills", fills)
    if not chosen:
        raise OptionError(f"fills is empty; give some of {', '.join(map(repr, IMAGE_FILLS))}.")
    for name in chosen:
        check_choice("fills", name, IMAGE_FILLS)
        if name != "blur" and model.image_processor is None:
            raise OptionError(
                f"fills={name!r} is a colour, and {model.name} has no image processor that tells them; use 'blur'."
            )
    return chosen


def _fills(model: Model, fills: str | Iterable[str] | None) -> tuple[str, ...]:
    if fills is None:
        return (*fillers(model), "delete")[:1]
    chosen = as_names("fills", fills)
    if not chosen:
        raise OptionError("fills is empty; give some of 'mask', 'pad', 'delete'.")
    for name in chosen:
        check_choice("fills", name, ("mask", "pad", "delete"))
        if name != "delete":
            filler(model, name)
    return chosen


def _target_text(target: Wanted) -> str:
    if target is None:
        return "predicted"
    if callable(target) and not isinstance(target, Target):
        return f"function {getattr(target, '__qualname__', repr(target))}"
    return json.dumps(asdict(as_target(target)))


def hash_weights(model: Model) -> str:
    """sha256 of names, types, shapes and bytes of all weights: the same wherever the model is stored."""
    digest = sha256()
    for name, weight in sorted(model.network.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


# The work


class _Work:
    """Explains and measures what the journal does not hold yet."""

    def __init__(
        self,
        model: Model,
        examples: Sequence[Example],
        methods: Sequence[Method],
        plan: Plan,
        journal: Journal,
        target: Wanted,
        explain_label: bool,
    ) -> None:
        self.model = model
        self.examples = examples
        self.methods = methods
        self.plan = plan
        self.journal = journal
        self.target = target
        self.explain_label = explain_label
        self.skipped: list[tuple[int, str, str, str]] = []
        self.labels_fit = False
        self.missed: dict[str, list[Missed]] = {}

    def key(self, example: Example, method: Method) -> str:
        """The same for the same content and the same options, whatever they are called."""
        return sha256(f"{example.key} {method.request.to_json()}".encode()).hexdigest()[:32]

    def piece(self, example: Example, method: Method) -> dict[str, Any] | None:
        return self.journal.finished.get(self.key(example, method))

    def run(self, progress: Progress | None) -> None:
        done, total = 0, len(self.examples) * len(self.methods)
        for some in _together(self.examples):
            subjects = [subject for example in some if (subject := self.prepare(example)) is not None]
            explained: dict[Method, dict[int, Explained]] = {}
            for method in self.methods:
                missing = [subject for subject in subjects if self.piece(subject.example, method) is None]
                if missing:
                    explained[method] = self.explain(missing, method)
                done += len(some)
                if progress:
                    progress(done, total)
            self.measure(subjects, explained)
        self.warn()

    def prepare(self, example: Example) -> Subject | None:
        """What is asked about an example; None where nothing is left to do, or nothing can be done."""
        if all(self.piece(example, method) is not None for method in self.methods):
            return None
        try:
            row = self.ask(example)
        except (InputError, NotFiniteError) as error:
            self.skip(example, "", error)
            return None
        if not self.labels_fit:
            self.check_labels(row)
        try:
            subject = Subject(
                example, row, self.correct(example, row), self.label(example), self.evidence(example, row)
            )
            check_evidence(subject)
        except InputError as error:
            self.skip(example, "", error)
            return None
        return subject

    def ask(self, example: Example) -> Row:
        target = self.target
        if self.explain_label:
            if example.label is None:
                raise InputError("there is no label to explain.")
            target = Target(label=_class(self.model, example))
        rows = ask(self.model, [example.input], target)
        if len(rows) != 1:
            raise InputError(f"is {len(rows)} inputs, expected one: name a single image.")
        return rows[0]

    def label(self, example: Example) -> int | None:
        return None if example.label is None or example.image is None else _class(self.model, example)

    def evidence(self, example: Example, row: Row) -> Evidence:
        """What people marked in an image, carried to the picture that the model sees."""
        if example.image is None:
            return Evidence()
        picture = tuple(row.encoded.tensors["pixel_values"].shape[2:])
        drawn = {
            what: read_outline(source, what=what)
            for what, source in (("mask", example.mask), ("distractor", example.distractor))
            if source is not None
        }
        original = None
        if (drawn or example.boxes is not None) and not isinstance(example.image, torch.Tensor):
            width, height = read_image(example.image).size
            original = (height, width)
        if example.boxes is not None:
            drawn["mask"] = mask_from_boxes(example.boxes, original or picture)
        carried = {what: carry(self.model, outline, original, picture, what=what) for what, outline in drawn.items()}
        cells = None
        if example.cells is not None:
            cells = tuple(_class(self.model, example, cell) for cell in example.cells)
        return Evidence(carried.get("mask"), carried.get("distractor"), cells)

    def check_labels(self, row: Row) -> None:
        """Before hours of work: every label is one of the model's classes."""
        labelled = [example for example in self.examples if example.label is not None]
        if labelled and row.objective.kind != "class":
            raise OptionError(
                f"label= names classes of whole texts, but {type(self.model.network).__name__} answers otherwise "
                f"({row.objective.name}). Leave label out."
            )
        for example in labelled:
            _class(self.model, example)
        for example in self.examples:
            for cell in example.cells or ():
                _class(self.model, example, cell)
        self.labels_fit = True

    def correct(self, example: Example, row: Row) -> float:
        if example.label is None or row.outlook is None or not row.outlook.best:
            return float("nan")
        if example.cells is not None:  # a mosaic shows several classes: whichever leads is right
            return float("nan")
        return float(row.outlook.best == _classes(self.model)[_class(self.model, example)])

    def explain(self, subjects: Sequence[Subject], method: Method) -> dict[int, Explained]:
        """Explanations by the number of their example; where a batch fails, each example is tried alone."""
        try:
            return self.explain_together(subjects, method)
        except LigniteError as error:
            if len(subjects) == 1:
                self.skip(subjects[0].example, method.name, error)
                return {}
        found: dict[int, Explained] = {}
        for subject in subjects:
            found |= self.explain([subject], method)
        return found

    def explain_together(self, subjects: Sequence[Subject], method: Method) -> dict[int, Explained]:
        start = time.perf_counter()
        missed: list[Missed] = []
        rows = [subject.row for subject in subjects]
        results = explain_rows(self.model, rows, method.request, memory=self.plan.memory, missed=missed)
        seconds = (time.perf_counter() - start) / len(subjects)
        found: dict[int, Explained] = {}
        for subject, result in zip(subjects, results, strict=True):
            relevance = result["relevance"].values.astype(np.float64)
            if not np.isfinite(relevance).all():
                raise NotFiniteError("a relevance is NaN or infinite; load the model with dtype='float32'.")
            found[subject.example.number] = Explained(relevance, largest_gap(result), seconds)
        self.missed.setdefault(method.name, []).extend(missed)
        return found

    def measure(self, subjects: Sequence[Subject], explained: Mapping[Method, Mapping[int, Explained]]) -> None:
        """All methods that explained the same examples are measured in one go."""
        groups: dict[tuple[int, ...], list[Method]] = {}
        for method, found in explained.items():
            if found:
                groups.setdefault(tuple(found), []).append(method)
        by_number = {subject.example.number: subject for subject in subjects}
        for numbers, methods in groups.items():
            some = [by_number[number] for number in numbers]
            given = {method.name: [explained[method][number] for number in numbers] for method in methods}
            self.measure_together(some, methods, given)

    def measure_together(
        self, subjects: Sequence[Subject], methods: Sequence[Method], given: Mapping[str, Sequence[Explained]]
    ) -> None:
        try:
            explainers = {method.name: self.explainer(method) for method in methods}
            found = measure(self.model, subjects, given, self.plan, explainers)
        except (InputError, NotFiniteError) as error:
            if len(subjects) == 1:
                self.skip(subjects[0].example, "", error)
                return
            for place, subject in enumerate(subjects):
                self.measure_together([subject], methods, {name: [one[place]] for name, one in given.items()})
            return
        for method in methods:
            for subject, result in zip(subjects, found[method.name], strict=True):
                piece = {"id": subject.example.id, "method": method.name, "correct": subject.correct}
                self.journal.write(self.key(subject.example, method), piece | asdict(result))

    def explainer(self, method: Method) -> ExplainRows:
        """What explains other rows as this method does, for metrics that change a text or the model."""

        def relevances(rows: Sequence[Row]) -> list[np.ndarray]:
            results = explain_rows(self.model, rows, method.request, memory=self.plan.memory)
            return [result["relevance"].values.astype(np.float64) for result in results]

        return relevances

    def skip(self, example: Example, method: str, error: Exception) -> None:
        self.skipped.append((example.number, example.id, method, str(error)))

    def warn(self) -> None:
        for method in self.methods:
            missed = self.missed.get(method.name)
            if missed:
                request = method.request
                more = f" and {len(missed) - 1} more" if len(missed) > 1 else ""
                warn(
                    f"{method.name} misses more than {request.tol:g} of the displacement for {missed[0]}{more}; "
                    "the metric completeness-gap says how much. Raise its "
                    f"{'n_steps' if request.n_steps else 'max_steps'}.",
                    GapWarning,
                )


def _together(examples: Sequence[Example]) -> Iterator[list[Example]]:
    some: list[Example] = []
    for example in examples:
        longest = max(len(other.text) + len(other.pair or "") for other in [*some, example])
        if some and (len(some) == TOGETHER or longest * (len(some) + 1) > CHARACTERS_TOGETHER):
            yield some
            some = []
        some.append(example)
    if some:
        yield some


def _classes(model: Model) -> list[str]:
    names = getattr(model.config, "id2label", None) or {}
    return [str(names[number]) for number in sorted(names)]


def _class(model: Model, example: Example, label: str | int | None = None) -> int:
    """Number of an example's class, given by number or by name; or of that of one of its cells."""
    names = _classes(model)
    given = label = example.label if label is None else label
    if isinstance(label, str):
        if label in names:
            return names.index(label)
        folded = [name.casefold() for name in names]
        if folded.count(label.casefold()) == 1:
            return folded.index(label.casefold())
        label = int(label) if label.isdecimal() else -1
    if label is None or not 0 <= label < len(names):
        listed = ", ".join(f"{number} {name!r}" for number, name in enumerate(names[:12]))
        raise InputError(
            f"example {example.id}: the label {given!r} is none of this model's classes: {listed}"
            f"{', …' if len(names) > 12 else ''}. Give one of them, by name or number."
        )
    return label


# Tables


def _scores(work: _Work) -> pd.DataFrame:
    rows = []
    for example in work.examples:
        for method in work.methods:
            piece = work.piece(example, method)
            for metric, fill, value in piece["scores"] if piece is not None else ():
                rows.append((example.number, example.id, method.name, metric, fill, value))
    return _frame(rows, ["example", "id", "method", "metric", "fill", "value"])


def _frame(rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> pd.DataFrame:
    """A table whose columns have the same types with and without rows."""
    whole, text = ("example", "n"), ("id", "method", "metric", "fill", "curve", "measure", "reference", "reason")
    kinds = {name: "int64" if name in whole else "str" if name in text else "float64" for name in columns}
    return pd.DataFrame(rows, columns=list(columns)).astype(kinds)


def _table(work: _Work, scores: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Every method keeps its rows, also one that explained nothing."""
    groups = {key: group["value"].to_numpy() for key, group in scores.groupby(["method", "metric", "fill"], sort=False)}
    rows = []
    for method in work.methods:
        for metric, fill in _columns(work.plan):
            known = groups.get((method.name, metric, fill), np.empty(0))
            found = interval(known, confidence=confidence, seed=work.plan.seed)
            rows.append((method.name, metric, fill, found.mean, found.low, found.high, found.n))
    return _frame(rows, ["method", "metric", "fill", "mean", "low", "high", "n"])


def _columns(plan: Plan) -> list[tuple[str, str]]:
    """Metrics and fills, also those that came out for no example."""
    return [(name, fill) for name in plan.metrics for fill in (plan.fills if METRICS[name].per_fill else ("",))]


def _tests(work: _Work, scores: pd.DataFrame, reference: str, confidence: float) -> pd.DataFrame:
    rows = []
    for metric, fill in _columns(work.plan):
        if not METRICS[metric].tested:
            continue
        some = scores[(scores["metric"] == metric) & (scores["fill"] == fill)]
        wide = some.pivot(index="example", columns="method", values="value")
        others = [method.name for method in work.methods if method.name != reference and method.name in wide]
        if reference not in wide:
            continue
        known = {name: wide[name].to_numpy() for name in (reference, *others)}
        found = [compare(known[name], known[reference], confidence=confidence, seed=work.plan.seed) for name in others]
        adjusted = holm([item.p for item in found])
        for name, item, p_holm in zip(others, found, adjusted, strict=True):
            difference = (item.difference, item.low, item.high)
            rows.append((name, reference, metric, fill, *difference, item.p, float(p_holm), item.n))
    return _frame(rows, ["method", "reference", "metric", "fill", "difference", "low", "high", "p", "p_holm", "n"])


def _curves(work: _Work, confidence: float) -> pd.DataFrame:
    rows = []
    for method in work.methods:
        collected: dict[tuple[str, str, str], list[list[float]]] = {}
        own: dict[str, list[float]] = {}
        for example in work.examples:
            for curve in (work.piece(example, method) or {}).get("curves", ()):
                collected.setdefault((curve["curve"], curve["measure"], curve["fill"]), []).append(curve["values"])
                own[curve["curve"]] = curve.get("shares", shares(work.plan))
        for (curve, measured, fill), values in collected.items():
            for share, column in zip(own[curve], np.array(values, dtype=np.float64).T, strict=True):
                found = interval(column, confidence=confidence, method="percentile", seed=work.plan.seed)
                rows.append((method.name, curve, measured, fill, share, found.mean, found.low, found.high, found.n))
    return _frame(rows, ["method", "curve", "measure", "fill", "share", "mean", "low", "high", "n"])


def _attributes(
    work: _Work, settings: Mapping[str, Any], *, examples: Any, confidence: float, reference: str
) -> dict[str, Any]:
    model, some = work.model, work.methods[0]
    correct = [piece["correct"] for example in work.examples if (piece := work.piece(example, some)) is not None]
    known = [value for value in correct if value == value]
    return {
        "lignite_version": version.VERSION,
        "kind": "evaluate",
        "model": model.name,
        "revision": model.revision or "",
        "model_sha256": settings["model"],
        "data": str(examples) if isinstance(examples, str | PathLike) else type(examples).__name__,
        "n_examples": len(work.examples),
        "accuracy": float(np.mean(known)) if known else float("nan"),
        "methods": {method.name: json.loads(method.request.to_json()) for method in work.methods},
        "metrics": {name: METRICS[name].as_dict() for name in work.plan.metrics},
        "confidence": confidence,
        "reference": reference,
        **{name: settings[name] for name in ("fills", "steps", "seed", "target")},
        "versions": {
            "lignite": version.VERSION,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "command": "",
    }


# Files


def _write_json(evaluation: Evaluation, path: Path) -> None:
    content = {"format": FORMAT, "version": VERSION, "attrs": _without_nan(evaluation.attrs)}
    for name in TABLES:
        frame: pd.DataFrame = getattr(evaluation, name)
        content[name] = {
            "columns": list(frame.columns),
            "rows": [_without_nan(list(row)) for row in frame.itertuples(index=False)],
        }
    # A lone surrogate has no UTF-8, but its backslash form is its JSON form.
    write_whole(path, json.dumps(content, ensure_ascii=False, allow_nan=False).encode(errors="backslashreplace"))


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and value != value else value


def _read_json(path: Path) -> dict[str, Any]:
    if path.suffix.lower() != ".json":
        raise FileError(f"{path}: only the .json of an evaluation holds everything; open that one.")
    try:
        content = parse_json(read_whole(path))
    except ValueError as error:
        raise FileError(f"{path}: is no complete JSON ({error}). Save the evaluation again.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FileError(f"{path}: is JSON, but no evaluation saved by lignite.")
    if content.get("version") != VERSION:
        raise FileError(f"{path}: has layout version {content.get('version')!r}, this lignite reads {VERSION}.")
    try:
        frames = {name: _frame(content[name]["rows"], content[name]["columns"]) for name in TABLES}
        return {**frames, "attrs": _attrs(content["attrs"])}
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"{path}: is damaged ({error}). Save the evaluation again.") from error


def _attrs(attrs: Mapping[str, Any]) -> dict[str, Any]:
    accuracy = attrs["accuracy"]
    return {**attrs, "accuracy": float("nan") if accuracy is None else accuracy}
