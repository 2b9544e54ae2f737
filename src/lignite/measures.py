"""Every metric that `evaluate` knows, by name: what it means, what it needs, and how it is measured."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from lignite.errors import OptionError
from lignite.examples import Example
from lignite.metrics.context import ExplainRows, context_sensitivity
from lignite.metrics.faithfulness import faithfulness
from lignite.metrics.plausibility import plausibility, rationale_from_spans, sign_agreement
from lignite.metrics.robustness import infidelity, max_sensitivity
from lignite.metrics.sanity import weight_randomization
from lignite.models.loading import Model
from lignite.models.prediction import Row
from lignite.request import as_names


@dataclass(frozen=True)
class Metric:
    """What a number means.

    Attributes
    ----------
    better
        ``"higher"``, ``"lower"``, or nothing where neither is.
    needs
        Column without which it is not defined, ``"rationale"`` or ``"polarity"``.
    source
        Where it comes from: variable and output of `faithfulness`, or name in another measure.
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
    source: tuple[str, str] = ("", "")
    per_fill: bool = False
    default: bool = True
    tested: bool = True

    def as_dict(self) -> dict[str, Any]:
        """For the attributes of a result."""
        return {"meaning": self.meaning, "better": self.better, "family": self.family}


def _removal(meaning: str, better: str, variable: str, output: str = "", *, default: bool = True) -> Metric:
    return Metric(meaning, better, source=(variable, output), per_fill=True, default=default)


def _human(meaning: str, name: str, needs: str = "rationale", *, default: bool = True) -> Metric:
    return Metric(meaning, "higher", family="plausibility", needs=needs, source=(name, ""), default=default)


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
    ),
    "sufficiency": _removal(
        "fall of the probability with the most relevant 1, 5, 10, 20, 50 % alone, mean",
        "lower",
        "sufficiency",
        "probability",
    ),
    "log-odds": _removal("change of the log probability without the most relevant 20 %", "lower", "log_odds"),
    "decision-flip": _removal("share of tokens removed until the label flips", "lower", "decision_flip"),
    "flipped": _removal("share of texts whose label flips at all", "higher", "flipped", default=False),
    "area-between": _removal(
        "area between the curves of removing the least and the most relevant first, in logits", "higher", "area_between"
    ),
    "deletion-logit": _removal("deletion, in logits", "lower", "deletion", "logit", default=False),
    "insertion-logit": _removal("insertion, in logits", "higher", "insertion", "logit", default=False),
    "comprehensiveness-logit": _removal(
        "comprehensiveness, in logits", "higher", "comprehensiveness", "logit", default=False
    ),
    "sufficiency-logit": _removal("sufficiency, in logits", "lower", "sufficiency", "logit", default=False),
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
    "context-correlation": Metric(
        "rank correlation of the evidence's relevances before and after the words around it are shuffled",
        "higher", family="context", source=("rank_correlation", "all"), default=False,
    ),
    "context-change": Metric(
        "change of the evidence's relevances when the words around it are shuffled, as a share of them",
        "lower", family="context", source=("l1", "all"), default=False,
    ),
    "context-correlation-unrelated": Metric(
        "context-correlation, shuffling only words that stand away and that the explanation calls unrelated",
        "higher", family="context", source=("rank_correlation", "unrelated"), default=False,
    ),
    "context-change-unrelated": Metric(
        "context-change, shuffling only words that stand away and that the explanation calls unrelated",
        "lower", family="context", source=("l1", "unrelated"), default=False,
    ),
    "infidelity": Metric(
        "squared difference of removed relevance and change of the output, relevance scaled to fit best",
        "lower", family="robustness", per_fill=True, default=False,
    ),
    "max-sensitivity": Metric(
        "largest change of the explanation when word vectors move by a tenth of their spread, as a share of it",
        "lower", family="robustness", default=False,
    ),
    "weight-randomization": Metric(
        "rank correlation (its size) with the explanation of a model whose weights became noise, mean over the stages "
        "from the head down",
        "lower", family="sanity", default=False,
    ),
    "completeness-gap": Metric(
        "what the scores miss of their displacement, as a share of it", "lower", family="completeness"
    ),
    "seconds": Metric("time of one explanation", "lower", family="cost", tested=False),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Subject:
    """An example as the model sees it. `correct` says whether its label is the predicted one, NaN where unknown."""

    example: Example
    row: Row
    correct: float = float("nan")


@dataclass(frozen=True, eq=False)
class Explained:
    """One explanation: relevance of the kept tokens, what it misses, and how long it took."""

    relevance: np.ndarray
    gap: float
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What is measured, and how. `by_rationale`: evidence kept in its place is what people marked, not the method."""

    metrics: tuple[str, ...]
    fills: tuple[str, ...]
    steps: int = 10
    seed: int = 0
    memory: int | float | str | None = None
    by_rationale: bool = False


@dataclass(frozen=True)
class Measured:
    """Scores of one explanation as (metric, fill, value), and its curves at equal shares of tokens."""

    scores: list[tuple[str, str, float]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)


def choose_metrics(metrics: str | Iterable[str] | None, *, rationale: bool, polarity: bool) -> tuple[str, ...]:
    """Names of metrics, in the order of their list; without names those that the columns allow.

    Examples
    --------
    >>> choose_metrics("insertion, deletion", rationale=False, polarity=False)
    ('deletion', 'insertion')
    """
    present = {"": True, "rationale": rationale, "polarity": polarity}
    if metrics is None:
        return tuple(name for name, metric in METRICS.items() if metric.default and present[metric.needs])
    named = metrics.split(",") if isinstance(metrics, str) else as_names("metrics", metrics)
    chosen = {name.strip().replace("_", "-") for name in named if name.strip()}
    if not chosen:
        raise OptionError(f"metrics is empty; give some of {', '.join(METRICS)}.")
    for name in sorted(chosen):
        if name not in METRICS:
            near = difflib.get_close_matches(name, METRICS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise OptionError(f"metrics={name!r} is not known; choose from {', '.join(METRICS)}.{hint}")
        needs = METRICS[name].needs
        if not present[needs]:
            raise OptionError(f"metrics={name!r} needs human evidence: name its column, {needs}=….")
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
    removals = [name for name in plan.metrics if METRICS[name].family == "faithfulness"]
    if removals:
        relevances = {name: [one.relevance for one in several] for name, several in explained.items()}
        rows = [subject.row for subject in subjects]
        said = faithfulness(model, rows, relevances, fills=plan.fills, steps=plan.steps, memory=plan.memory)
        scores = {name: _removal_scores(said, METRICS[name]) for name in removals}
        curves = _removal_curves(said)
        for number, several in enumerate(found.values()):
            for example, measured in enumerate(several):
                for name, values in scores.items():
                    of_one = zip(plan.fills, values[number, example].tolist(), strict=True)
                    measured.scores.extend((name, fill, value) for fill, value in of_one)
                for (curve, output, fill), values in curves.items():
                    entry = {"curve": curve, "measure": output, "fill": fill}
                    measured.curves.append(entry | {"values": values[number, example].tolist()})
    for name, ones in explained.items():
        for subject, one, measured in zip(subjects, ones, found[name], strict=True):
            measured.scores.extend(
                (metric, "", value) for metric, value in _beside_text(subject, one) if metric in plan.metrics
            )
        for again in (_context, _robustness, _sanity):
            added = again(model, subjects, ones, plan, explainers[name])
            for measured, more in zip(found[name], added, strict=True):
                measured.scores.extend(more)
    return found


def check_evidence(subject: Subject) -> None:
    """Refuse human evidence that meets no token of its text, before anything is explained.

    Raises InputError; OptionError where signs have no meaning for the model's classes.
    """
    list(_beside_text(subject, Explained(np.zeros(len(subject.row.encoded.tokens.keep())), 0.0, 0.0)))


def shares(plan: Plan) -> list[float]:
    """Shares of the tokens at which curves are given."""
    return [step / plan.steps for step in range(plan.steps + 1)]


def _removal_scores(said: xr.Dataset, metric: Metric) -> Float[np.ndarray, "method example fill"]:
    variable, output = metric.source
    scores = said[variable] if not output else said[variable].sel(output=output)
    return scores.transpose("method", "example", "fill").values


def _removal_curves(said: xr.Dataset) -> dict[tuple[str, str, str], Float[np.ndarray, "method example step"]]:
    """Curves by name, output and fill, at equal shares: in short texts a step may be less than a token."""
    wanted = said["step"].values / said["step"].values[-1]
    found = {}
    for name in ("deletion", "insertion"):
        at = said[f"{name}_share"].transpose("example", "step").values
        for output in said["output"].values.tolist():
            for fill in said["fill"].values.tolist():
                curve = (
                    said[f"{name}_curve"].sel(output=output, fill=fill).transpose("method", "example", "step").values
                )
                if np.isnan(curve).all():  # a regression has no probability
                    continue
                found[name, output, fill] = np.stack(
                    [[np.interp(wanted, at[place], one) for place, one in enumerate(method)] for method in curve]
                )
    return found


def _beside_text(subject: Subject, explained: Explained) -> Iterator[tuple[str, float]]:
    """What needs no further question to the model."""
    tokens, example = subject.row.encoded.tokens.keep(), subject.example
    if example.rationale is not None:
        found = plausibility(explained.relevance, rationale_from_spans(tokens, example.rationale))
        yield from ((name, found[METRICS[name].source[0]]) for name in METRICS if METRICS[name].needs == "rationale")
    if example.polarity is not None:
        turned = _turn(subject.row)
        signs = [(start, stop, turned * sign) for start, stop, sign in example.polarity]
        found = sign_agreement(explained.relevance, tokens, signs)
        yield from ((name, found[METRICS[name].source[0]]) for name in METRICS if METRICS[name].needs == "polarity")
    yield "completeness-gap", explained.gap
    yield "seconds", explained.seconds


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
