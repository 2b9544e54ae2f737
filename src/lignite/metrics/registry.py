"""Every metric that `evaluate` knows, by name: what it means, what it needs, and how it is measured."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from lignite.data.examples import Example
from lignite.errors import InputError, OptionError
from lignite.metrics.asking.context import ExplainRows, context_sensitivity
from lignite.metrics.asking.faithfulness import PERTURBED, faithfulness
from lignite.metrics.asking.robustness import infidelity, max_sensitivity
from lignite.metrics.asking.sanity import weight_randomization
from lignite.metrics.readings.localization import SIDES, enlarge, grid_pointing_game, localization
from lignite.metrics.readings.plausibility import plausibility, rationale_from_spans, sign_agreement
from lignite.models.load import Model
from lignite.request import as_names
from lignite.targets.rows import Row
from lignite.wording import did_you_mean


@dataclass(frozen=True)
class Metric:
    """What a number means.

    Attributes
    ----------
    better
        ``"higher"``, ``"lower"``, or nothing where neither is.
    needs
        Column without which it is not defined, such as ``"rationale"`` or ``"mask"``.
    reads
        Inputs that it is defined for, ``"text"`` or ``"image"``; nothing for both.
    source
        Where it comes from: variable and output of `faithfulness`, or name in another measure.
    part
        Of `faithfulness`, that asks for it.
    pixelwise
        Whether pixels are removed, not patches.
    per_fill
        Whether it depends on what stands in the place of removed tokens.
    default
        Whether it is measured when no metric is named.
    tested
        Whether methods are compared by it.
    """

    meaning: str
    better: str = ""
    family: str = "faithfulness"
    needs: str = ""
    reads: str = ""
    source: tuple[str, str] = ("", "")
    part: str = ""
    pixelwise: bool = False
    per_fill: bool = False
    default: bool = True
    tested: bool = True

    def as_dict(self) -> dict[str, Any]:
        """For the attributes of a result."""
        return {"meaning": self.meaning, "better": self.better, "family": self.family}


def _removal(
    meaning: str,
    better: str,
    variable: str,
    output: str = "",
    *,
    part: str = "curves",
    pixelwise: bool = False,
    reads: str = "",
    default: bool = True,
) -> Metric:
    return Metric(
        meaning, better, reads=reads, source=(variable, output), part=part, pixelwise=pixelwise, per_fill=True,
        default=default,
    )  # fmt: skip


def _perturbed(order: str, better: str, *, pixelwise: bool) -> Metric:
    first, what = {"positive": "most", "negative": "least"}[order], "pixels" if pixelwise else "patches"
    return _removal(
        f"area under the accuracy as 0, 10 … 90 % of the {what} are removed, {first} relevant first",
        better, f"{order}_perturbation", part="perturbation", pixelwise=pixelwise, reads="image", default=pixelwise,
    )  # fmt: skip


def _human(meaning: str, name: str, needs: str = "rationale", *, default: bool = True) -> Metric:
    return Metric(
        meaning, "higher", family="plausibility", needs=needs, reads="text", source=(name, ""), default=default
    )


def _located(meaning: str, name: str, better: str = "higher", *, needs: str = "mask", default: bool = True) -> Metric:
    return Metric(
        meaning, better, family="localization", needs=needs, reads="image", source=(name, ""), default=default
    )


METRICS: dict[str, Metric] = {
    "insertion-minus-deletion": _removal(
        "area between the insertion and the deletion curve", "higher", "insertion_minus_deletion", "probability"
    ),
    "deletion": _removal(
        "area under the probability as tokens are removed, most relevant first", "lower", "deletion", "probability"
    ),
    "insertion": _removal(
        "area under the probability as tokens come back, most relevant first", "higher", "insertion", "probability"
    ),
    "comprehensiveness": _removal(
        "fall of the probability without the most relevant 1, 5, 10, 20, 50 %, mean",
        "higher",
        "comprehensiveness",
        "probability",
        part="bins",
    ),
    "sufficiency": _removal(
        "fall of the probability with the most relevant 1, 5, 10, 20, 50 % alone, mean",
        "lower",
        "sufficiency",
        "probability",
        part="bins",
    ),
    "log-odds": _removal(
        "change of the log probability without the most relevant 20 %", "lower", "log_odds", part="bins"
    ),
    "decision-flip": _removal("share of tokens removed until the label flips", "lower", "decision_flip"),
    "flipped": _removal("share of inputs whose label flips at all", "higher", "flipped", default=False),
    "area-between": _removal(
        "area between the curves of removing the least and the most relevant first, in logits", "higher", "area_between"
    ),
    "deletion-logit": _removal("deletion, in logits", "lower", "deletion", "logit", default=False),
    "insertion-logit": _removal("insertion, in logits", "higher", "insertion", "logit", default=False),
    "comprehensiveness-logit": _removal(
        "comprehensiveness, in logits", "higher", "comprehensiveness", "logit", part="bins", default=False
    ),
    "sufficiency-logit": _removal(
        "sufficiency, in logits", "lower", "sufficiency", "logit", part="bins", default=False
    ),
    "positive-perturbation": _perturbed("positive", "lower", pixelwise=True),
    "negative-perturbation": _perturbed("negative", "higher", pixelwise=True),
    "positive-perturbation-patches": _perturbed("positive", "lower", pixelwise=False),
    "negative-perturbation-patches": _perturbed("negative", "higher", pixelwise=False),
    "untouched-accuracy": Metric(
        "share of images whose label leads before anything is removed: where perturbation starts",
        reads="image", source=("untouched", ""), part="perturbation", pixelwise=True, tested=False,
    ),
    "insertion-minus-deletion-pixels": _removal(
        "insertion-minus-deletion, pixel by pixel", "higher", "insertion_minus_deletion", "probability",
        pixelwise=True, reads="image", default=False,
    ),
    "deletion-pixels": _removal(
        "deletion, pixel by pixel", "lower", "deletion", "probability", pixelwise=True, reads="image", default=False
    ),
    "insertion-pixels": _removal(
        "insertion, pixel by pixel", "higher", "insertion", "probability", pixelwise=True, reads="image", default=False
    ),
    "token-f1": _human("share of marked tokens among as many most relevant ones", "token_f1"),
    "token-f1-threshold": _human(
        "F1 of the tokens with half the largest relevance or more", "token_f1_threshold", default=False
    ),
    "iou-f1": _human("F1 of stretches that share half their union with a marked one", "iou_f1"),
    "auprc": _human("area under precision over recall of the marked tokens", "auprc"),
    "average-precision": _human("the same area by steps", "average_precision", default=False),
    "sign-agreement": _human("share of labelled words whose relevance has their sign", "sign_agreement", "polarity"),
    "sign-agreement-balanced": _human(
        "its mean over words for and words against", "sign_agreement_balanced", "polarity"
    ),
    "pointing-game": _located("share of images whose most relevant pixel lies on the object", "pointing_game"),
    "relevance-mass": _located("share of the positive relevance on the object", "relevance_mass"),
    "relevance-rank": _located("share of the object among as many most relevant pixels", "relevance_rank"),
    "pixel-accuracy": _located("share of pixels on the right side of the mean relevance", "pixel_accuracy"),
    "iou": _located("intersection over union of the object and the pixels above the mean relevance", "iou"),
    "mean-iou": _located("mean of iou and that of the background", "mean_iou", default=False),
    "pixel-average-precision": _located("area under precision over recall of the object's pixels", "average_precision"),
    "pixel-average-precision-both": _located(
        "the same over object and background in one list", "average_precision_both", default=False
    ),
    "distractor-mass": _located(
        "share of the positive relevance on the distractor", "distractor_mass", "lower", needs="distractor"
    ),
    "object-share": _located(
        "the object's part of the relevance on object and distractor", "object_share", needs="distractor"
    ),
    "grid-pointing-game": _located(
        "share of the positive relevance in the explained class's cells of a mosaic", "cells", needs="cells"
    ),
    "context-correlation": Metric(
        "rank correlation of the evidence's relevances before and after the words around it are shuffled",
        "higher", family="context", reads="text", source=("rank_correlation", "all"), default=False,
    ),
    "context-change": Metric(
        "change of the evidence's relevances when the words around it are shuffled, as a share of them",
        "lower", family="context", reads="text", source=("l1", "all"), default=False,
    ),
    "context-correlation-unrelated": Metric(
        "context-correlation, shuffling only words that stand away and that the explanation calls unrelated",
        "higher", family="context", reads="text", source=("rank_correlation", "unrelated"), default=False,
    ),
    "context-change-unrelated": Metric(
        "context-change, shuffling only words that stand away and that the explanation calls unrelated",
        "lower", family="context", reads="text", source=("l1", "unrelated"), default=False,
    ),
    "infidelity": Metric(
        "squared difference of removed relevance and change of the output, relevance scaled to fit best",
        "lower", family="robustness", reads="text", per_fill=True, default=False,
    ),
    "max-sensitivity": Metric(
        "largest change of the explanation when word vectors move by a tenth of their spread, as a share of it",
        "lower", family="robustness", reads="text", default=False,
    ),
    "weight-randomization": Metric(
        "rank correlation (its size) with the explanation of a model whose weights became noise, mean over the stages "
        "from the head down",
        "lower", family="sanity", default=False,
    ),
    "completeness-gap": Metric(
        "what the scores miss of what they had to explain, as a share of it; the worst of their sums",
        "lower", family="completeness",
    ),
    "seconds": Metric("time of one explanation", "lower", family="cost", tested=False),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Evidence:
    """What people marked in an image, in the pixels that the model sees, and the classes of a mosaic's cells."""

    mask: Bool[np.ndarray, "y x"] | None = None
    distractor: Bool[np.ndarray, "y x"] | None = None
    cells: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Subject:
    """An example as the model sees it.

    Attributes
    ----------
    correct
        Whether its label is the predicted one, NaN where unknown.
    label
        Number of its class, where known.
    evidence
        Of an image.
    """

    example: Example
    row: Row
    correct: float = float("nan")
    label: int | None = None
    evidence: Evidence = Evidence()


@dataclass(frozen=True, eq=False)
class Explained:
    """One explanation: relevance of the kept tokens, what it misses, and how long it took."""

    relevance: np.ndarray
    gap: float
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What is measured, and how.

    `by_rationale`: evidence kept in its place is what people marked, not the method. `smooth`: between the centres of
    patches relevance is drawn as a line.
    """

    metrics: tuple[str, ...]
    fills: tuple[str, ...]
    steps: int = 10
    seed: int = 0
    memory: int | float | str | None = None
    by_rationale: bool = False
    smooth: bool = False


@dataclass(frozen=True)
class Measured:
    """Scores of one explanation as (metric, fill, value), and its curves, at equal shares of tokens or their own."""

    scores: list[tuple[str, str, float]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)


def choose_metrics(
    metrics: str | Iterable[str] | None,
    *,
    rationale: bool = False,
    polarity: bool = False,
    reads: str = "text",
    mask: bool = False,
    distractor: bool = False,
    cells: bool = False,
) -> tuple[str, ...]:
    """Names of metrics, in the order of their list; without names those that the columns and the inputs allow.

    Examples
    --------
    >>> choose_metrics("insertion, deletion")
    ('deletion', 'insertion')
    """
    present = {
        "": True, "rationale": rationale, "polarity": polarity, "mask": mask, "distractor": mask and distractor,
        "cells": cells,
    }  # fmt: skip
    if metrics is None:
        return tuple(
            name
            for name, metric in METRICS.items()
            if metric.default and present[metric.needs] and metric.reads in ("", reads)
        )
    named = metrics.split(",") if isinstance(metrics, str) else as_names("metrics", metrics)
    chosen = {name.strip().replace("_", "-") for name in named if name.strip()}
    if not chosen:
        raise OptionError(f"metrics is empty; give some of {', '.join(METRICS)}.")
    for name in sorted(chosen):
        if name not in METRICS:
            listed = ", ".join(METRICS)
            raise OptionError(f"metrics={name!r} is not known; choose from {listed}.{did_you_mean(name, METRICS)}")
        needs = METRICS[name].needs
        if METRICS[name].reads not in ("", reads):
            raise OptionError(
                f"metrics={name!r} is for {METRICS[name].reads}s, and this model reads {reads}s; leave it out."
            )
        if not present[needs]:
            column = "mask=… or boxes=…, and distractor=…" if needs == "distractor" else f"{needs}=…"
            column = "mask=… or boxes=…" if needs == "mask" else column
            raise OptionError(f"metrics={name!r} needs human evidence: name its column, {column}.")
    return tuple(name for name in METRICS if name in chosen)


def measure(
    model: Model,
    subjects: Sequence[Subject],
    explained: Mapping[str, Sequence[Explained]],
    plan: Plan,
    explainers: Mapping[str, ExplainRows],
) -> dict[str, list[Measured]]:
    """All chosen metrics of the explanations of several methods, one entry per subject.

    `explainers` explain changed rows, or rows with a changed model, as each method does.
    """
    found = {name: [Measured() for _ in subjects] for name in explained}
    for pixelwise in (False, True):
        names = [
            name
            for name in plan.metrics
            if METRICS[name].family == "faithfulness" and METRICS[name].pixelwise == pixelwise
        ]
        if names:
            _removals(model, subjects, explained, plan, names, found, pixelwise=pixelwise)
    for name, ones in explained.items():
        for subject, one, measured in zip(subjects, ones, found[name], strict=True):
            measured.scores.extend(
                (metric, "", value) for metric, value in _beside(subject, one, plan.smooth) if metric in plan.metrics
            )
        for again in (_context, _robustness, _sanity):
            added = again(model, subjects, ones, plan, explainers[name])
            for measured, more in zip(found[name], added, strict=True):
                measured.scores.extend(more)
    return found


def check_evidence(subject: Subject) -> None:
    """Refuse human evidence that meets no token of its text or picture, before anything is explained.

    Raises InputError; OptionError where signs have no meaning for the model's classes.
    """
    list(_beside(subject, Explained(np.zeros(len(subject.row.encoded.tokens.keep())), 0.0, 0.0), smooth=False))


def shares(plan: Plan) -> list[float]:
    """Shares of the tokens at which curves are given."""
    return [step / plan.steps for step in range(plan.steps + 1)]


def _removals(
    model: Model,
    subjects: Sequence[Subject],
    explained: Mapping[str, Sequence[Explained]],
    plan: Plan,
    names: Sequence[str],
    found: Mapping[str, list[Measured]],
    *,
    pixelwise: bool,
) -> None:
    """Add what the model says of inputs without some of their tokens, or pixels, to what was `found`."""
    parts = tuple(dict.fromkeys(METRICS[name].part for name in names))
    said = faithfulness(
        model,
        [subject.row for subject in subjects],
        {name: [one.relevance for one in several] for name, several in explained.items()},
        fills=plan.fills,
        steps=plan.steps,
        parts=parts,
        pixelwise=pixelwise,
        labels=[_label(subject) for subject in subjects] if "perturbation" in parts else None,
        memory=plan.memory,
    )
    scores = {name: _removal_scores(said, METRICS[name]) for name in names}
    curves = list(_removal_curves(said, "-pixels" if pixelwise else "")) if "curves" in parts else []
    if "perturbation" in parts:
        curves += _perturbation_curves(said, "" if pixelwise else "-patches")
    for number, several in enumerate(found.values()):
        for example, measured in enumerate(several):
            for name, values in scores.items():
                of_one = zip(_fills(METRICS[name], plan), values[number, example].tolist(), strict=True)
                measured.scores.extend((name, fill, value) for fill, value in of_one)
            for entry, values in curves:
                measured.curves.append(entry | {"values": values[number, example].tolist()})


def _label(subject: Subject) -> int:
    """The class that the image should be given: its own where it is known, else the explained one."""
    index = subject.row.objective.index
    return subject.label if subject.label is not None else -1 if index is None else index


def _fills(metric: Metric, plan: Plan) -> tuple[str, ...]:
    return plan.fills if metric.per_fill else ("",)


def _removal_scores(said: xr.Dataset, metric: Metric) -> Float[np.ndarray, "method example fill"]:
    variable, output = metric.source
    scores = said[variable] if not output else said[variable].sel(output=output)
    if not metric.per_fill:
        scores = scores.expand_dims(method=said["method"], fill=[""])
    return scores.transpose("method", "example", "fill").values


_Curve = tuple[dict[str, Any], Float[np.ndarray, "method example share"]]


def _removal_curves(said: xr.Dataset, ending: str) -> Iterator[_Curve]:
    """Curves by name, output and fill, at equal shares: in short texts a step may be less than a token."""
    wanted = said["step"].values / said["step"].values[-1]
    for name in ("deletion", "insertion"):
        at = said[f"{name}_share"].transpose("example", "step").values
        for output in said["output"].values.tolist():
            for fill in said["fill"].values.tolist():
                curve = (
                    said[f"{name}_curve"].sel(output=output, fill=fill).transpose("method", "example", "step").values
                )
                if np.isnan(curve).all():  # a regression has no probability
                    continue
                values = np.stack(
                    [[np.interp(wanted, at[place], one) for place, one in enumerate(method)] for method in curve]
                )
                yield {"curve": name + ending, "measure": output, "fill": fill}, values


def _perturbation_curves(said: xr.Dataset, ending: str) -> Iterator[_Curve]:
    shares = [percent / 100 for percent in (0, *PERTURBED)]
    for name in ("positive", "negative"):
        for fill in said["fill"].values.tolist():
            hits = said[f"{name}_perturbation_hits"].sel(fill=fill).transpose("method", "example", "percent").values
            entry = {"curve": f"{name}-perturbation{ending}", "measure": "accuracy", "fill": fill, "shares": shares}
            yield entry, hits


def _beside(subject: Subject, explained: Explained, smooth: bool) -> Iterator[tuple[str, float]]:
    """What needs no further question to the model."""
    tokens, example, evidence = subject.row.encoded.tokens.keep(), subject.example, subject.evidence
    if example.rationale is not None:
        found = plausibility(explained.relevance, rationale_from_spans(tokens, example.rationale))
        yield from ((name, found[METRICS[name].source[0]]) for name in METRICS if METRICS[name].needs == "rationale")
    if example.polarity is not None:
        turned = _turn(subject.row)
        signs = [(start, stop, turned * sign) for start, stop, sign in example.polarity]
        found = sign_agreement(explained.relevance, tokens, signs)
        yield from ((name, found[METRICS[name].source[0]]) for name in METRICS if METRICS[name].needs == "polarity")
    if evidence.mask is not None or evidence.cells is not None:
        relevance = _by_pixel(subject.row, explained.relevance, smooth)
        if evidence.mask is not None:
            found = localization(relevance, evidence.mask, distractor=evidence.distractor)
            known = ((name, METRICS[name].source[0]) for name in METRICS if METRICS[name].family == "localization")
            yield from ((name, found[source]) for name, source in known if source in found)
        if evidence.cells is not None:
            yield "grid-pointing-game", _in_cells(relevance, evidence.cells, subject.row.objective.index)
    yield "completeness-gap", explained.gap
    yield "seconds", explained.seconds


def _by_pixel(row: Row, relevance: np.ndarray, smooth: bool) -> Float[np.ndarray, "y x"]:
    columns = row.encoded.tokens.keep().columns()
    if any(side not in columns for side in SIDES):
        raise InputError(
            "the places of this model's patches are not known, so their relevance cannot be compared with an outline: "
            "leave mask=, boxes= and cells= out."
        )
    boxes = np.stack([np.array(columns[side]) for side in SIDES], axis=1)
    return enlarge(relevance, boxes, tuple(row.encoded.tensors["pixel_values"].shape[2:]), smooth=smooth)


def _in_cells(relevance: np.ndarray, cells: Sequence[int], explained: int | None) -> float:
    """Where the explained class is in no cell of the mosaic, no share of it is right."""
    return grid_pointing_game(relevance, cells, explained) if explained in cells else float("nan")


def _chosen(plan: Plan, family: str) -> list[str]:
    return [name for name in plan.metrics if METRICS[name].family == family]


def _context(
    model: Model, subjects: Sequence[Subject], explained: Sequence[Explained], plan: Plan, explain_rows: ExplainRows
) -> Iterator[list[tuple[str, str, float]]]:
    chosen = _chosen(plan, "context")
    for subject, one in zip(subjects, explained, strict=True):
        rationale = subject.example.rationale
        if not chosen or (plan.by_rationale and rationale is None):
            yield [(name, "", float("nan")) for name in chosen]
            continue
        evidence = None
        if rationale is not None:
            evidence = [rationale_from_spans(subject.row.encoded.tokens.keep(), rationale).evidence]
        # One text at a time: its shuffles must not depend on which others are measured with it.
        found = context_sensitivity(
            model, [subject.row], explain_rows, relevances=[one.relevance], evidence=evidence, seed=plan.seed,
            memory=plan.memory,
        )  # fmt: skip
        pairs = ((name, METRICS[name].source) for name in chosen)
        yield [(name, "", float(found[what].sel(context=context).item())) for name, (what, context) in pairs]


def _robustness(
    model: Model, subjects: Sequence[Subject], explained: Sequence[Explained], plan: Plan, explain_rows: ExplainRows
) -> Iterator[list[tuple[str, str, float]]]:
    chosen = _chosen(plan, "robustness")
    for subject, one in zip(subjects, explained, strict=True):
        scores = []
        if "infidelity" in chosen:
            for fill in plan.fills:
                found = infidelity(
                    model, [subject.row], [one.relevance], fill=fill, seed=plan.seed, memory=plan.memory
                )  # fmt: skip
                scores.append(("infidelity", fill, float(found[0])))
        if "max-sensitivity" in chosen:
            found = max_sensitivity(model, [subject.row], explain_rows, seed=plan.seed)
            scores.append(("max-sensitivity", "", float(found[0])))
        yield scores


def _sanity(
    model: Model, subjects: Sequence[Subject], explained: Sequence[Explained], plan: Plan, explain_rows: ExplainRows
) -> Iterator[list[tuple[str, str, float]]]:
    if "weight-randomization" not in plan.metrics:
        yield from ([] for _ in subjects)
        return
    rows = [subject.row for subject in subjects]
    relevances = [one.relevance for one in explained]
    found = weight_randomization(model, rows, explain_rows, relevances=relevances, seed=plan.seed)
    # A correlation is not defined where one explanation is constant: the same everywhere is no likeness.
    sizes = abs(found["rank_correlation"]).fillna(0.0).mean("stage").values
    yield from ([("weight-randomization", "", float(size))] for size in sizes)


def _turn(row: Row) -> int:
    """1 where the explained class is the one that positive signs speak for: the second of two, or a regression."""
    outlook, objective = row.outlook, row.objective
    n_choices = 0 if outlook is None else len(outlook.choices)
    if objective.kind != "class" or objective.index is None or n_choices not in (1, 2):
        raise OptionError(
            f"polarity speaks of two classes, the second of which is the good one; this model answers with "
            f"{n_choices} ({objective.name}). Leave polarity out."
        )
    return 1 if objective.index == n_choices - 1 else -1
