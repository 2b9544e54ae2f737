"""The report of `lignite.study.trust`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from matplotlib.figure import Figure

from lignite.metrics.readings.statistics import compare, holm, interval
from lignite.views.drawing import STYLE
from lignite.views.study.report import Report, Table, draw_interval, set_panel, spoken, tabulate
from lignite.wording import counted

CHANCE = "random"
SURE = 0.05
"""Largest p, corrected for the number of methods, at which a difference is called one."""
KEPT = 0.5
"""A correlation with the explanation of noise above which a method shows the input more than the model, interval
included: orders of a handful of tokens that have nothing to do with each other correlate by as much now and then."""


@dataclass(frozen=True)
class Asked:
    """A question of the report, the metrics that answer it, the leading one first, and what its best is called."""

    name: str
    title: str
    best: str
    metrics: tuple[str, ...]
    probed: bool = False


QUESTIONS = (
    Asked(
        "faithful",
        "Is what it ranks first what the model relies on?",
        "Most faithful",
        ("insertion-minus-deletion", "comprehensiveness", "sufficiency"),
    ),
    Asked(
        "people",
        "Does it agree with what people marked?",
        "Agrees most with people",
        ("auprc", "token-f1", "sign-agreement-balanced", "relevance-mass", "pointing-game"),
    ),
    Asked(
        "steady",
        "Does it stay when words change that it calls unrelated?",
        "Steadiest",
        ("context-correlation-unrelated", "context-change-unrelated"),
        probed=True,
    ),
    Asked(
        "learnt",
        "Does it depend on what the model has learnt?",
        "Depends most on what was learnt",
        ("weight-randomization",),
        probed=True,
    ),
    Asked("whole", "Do its scores add up to what they explain?", "Adds up best", ("completeness-gap",)),
    Asked("cost", "What does it cost?", "Fastest", ("seconds",)),
)

NEEDS = {"auprc": "rationale", "token-f1": "rationale", "sign-agreement-balanced": "polarity"}
NEEDS |= dict.fromkeys(("relevance-mass", "pointing-game"), "mask")
"""Metrics that compare with what people marked, and the column that holds it."""


def asked_of(evidence: Collection[str]) -> list[str]:
    """Name the metrics that every example is measured by, given what people marked."""
    wanted = [name for each in QUESTIONS if not each.probed for name in each.metrics]
    return [name for name in wanted if name not in NEEDS or NEEDS[name] in evidence]


def probed_of(*, images: bool) -> list[str]:
    """Name the metrics that only some examples are measured by: those that explain each one dozens of times."""
    wanted = [each for each in QUESTIONS if each.probed]
    return [name for each in wanted if not (images and each.name == "steady") for name in each.metrics]


def report_trust(found: xr.Dataset) -> Report:
    """Each question's leader, who is level with it, and what it costs."""
    ranked = {
        (each.name, place): rank_methods(found, place)
        for each in QUESTIONS
        for metric in each.metrics
        for place in _places(found, metric)
        if np.isfinite(found["score"].transpose(..., "measure").values[..., place]).any()
    }
    leading = {each.name: ranked[key] for each in QUESTIONS if (key := _leading(found, each)) in ranked}
    tables = {"overview": Table("All methods", _OVERVIEW, tabulate(leading, ["method"]))}
    for each in QUESTIONS:
        for name, place in ranked:
            if name == each.name:
                measure = str(found["measure"].values[place])
                note = f"{each.title} {note_of(found, place)}"
                tables[file_name(measure)] = Table(measure, note, ranked[name, place])
    return Report(
        f"Which explanation of {found.attrs['model']} should be trusted?",
        "Every method explains the same examples. Who is faithful to the model, who agrees with people, who stays when "
        "what does not matter changes, who depends on what was learnt, and what does each cost?",
        tuple(_findings(found, leading)),
        tables,
        {"overview": _draw(found, leading)},
    )


_OVERVIEW = "Leading measure of every question: mean over examples with its 95 % interval."


def note_of(found: xr.Dataset, place: int) -> str:
    """What a table of ranked rows holds: the meaning of its measure, then of its columns."""
    return f"{str(found['meaning'].values[place]).capitalize()}. {_READ}"


_READ = (
    "Mean over examples with its 95 % interval; `behind` is by how much a row is worse than the best on the same "
    "examples, `p` that of a paired bootstrap, corrected for the number of rows (Holm)."
)


def rank_methods(found: xr.Dataset, place: int) -> pd.DataFrame:
    """Rank methods by one measure, the best first, with intervals over examples and paired tests against the best.

    Methods without any score are left out, and one of them must have some; the best has no p.
    """
    values = found["score"].transpose("sentence", "method", "measure").values[..., place]
    scores = {str(name): own for name, own in zip(found["method"].values, values.T, strict=True)}
    scores = {name: own for name, own in scores.items() if np.isfinite(own).any()}
    sign = -1.0 if found["better"].values[place] == "lower" else 1.0
    means = {name: float(np.nanmean(own)) for name, own in scores.items()}
    order = sorted(scores, key=lambda name: -sign * means[name])
    compared = [compare(sign * scores[order[0]], sign * scores[name]) for name in order[1:]]
    p_values = [np.nan, *holm([each.p for each in compared])]
    behind = [(0.0, np.nan, np.nan), *((each.difference, each.low, each.high) for each in compared)]
    rows = []
    for name, (difference, low, high), p in zip(order, behind, p_values, strict=True):
        own = interval(scores[name])
        rows.append((name, own.mean, own.low, own.high, own.n, difference, low, high, float(p)))
    columns = ["method", "mean", "low", "high", "n", "behind", "behind_low", "behind_high", "p"]
    return pd.DataFrame(rows, columns=columns)


def _places(found: xr.Dataset, metric: str) -> list[int]:
    return [place for place, name in enumerate(found["metric"].values) if name == metric]


def _leading(found: xr.Dataset, asked: Asked) -> tuple[str, int]:
    """The first of its measures that was measured; under the first fill."""
    measured = [place for metric in asked.metrics for place in _places(found, metric)]
    scores = found["score"].transpose(..., "measure").values
    return asked.name, next((place for place in measured if np.isfinite(scores[..., place]).any()), -1)


def _findings(found: xr.Dataset, leading: Mapping[str, pd.DataFrame]) -> list[str]:
    said = []
    for each in QUESTIONS:
        ranked = leading.get(each.name)
        if ranked is None:
            continue
        contest = ranked[ranked["method"] != CHANCE] if each.name in ("cost", "learnt") else ranked
        said.append(_say_leader(found, each, contest.reset_index(drop=True)))
        if each.name == "faithful":
            said += _say_chance(ranked)
        if each.name == "learnt":
            said += _say_kept(contest)
    if (accuracy := found.attrs.get("accuracy", np.nan)) == accuracy:
        said.append(f"The model itself is right on {accuracy:.3f} of the examples; explanations are of what it says.")
    return said


def _say_leader(found: xr.Dataset, asked: Asked, ranked: pd.DataFrame) -> str:
    best = ranked.iloc[0]
    measure = str(found["measure"].values[_leading(found, asked)[1]])
    told = f"{asked.best}: {best['method']} ({measure} {spoken(best)}, {counted(int(best['n']), 'example')})"
    rest = ranked.iloc[1:]
    level = [str(name) for name in rest[~(rest["p"] <= SURE)]["method"]]
    behind = len(rest) - len(level)
    if asked.name in ("cost", "whole") or not len(rest):
        return f"{told}."
    beside = ", ".join(level) if level else "nobody"
    return f"{told}; {beside} level with it, {behind or 'none'} behind by more than chance."


def _say_chance(ranked: pd.DataFrame) -> list[str]:
    chance = ranked[ranked["method"] == CHANCE]
    if chance.empty:
        return []
    high = float(chance["high"].iloc[0])
    low = [str(row["method"]) for _, row in ranked.iterrows() if row["method"] != CHANCE and row["low"] <= high]
    return [f"No better than chance, as far as these examples tell: {', '.join(low)}."] if low else []


def _say_kept(ranked: pd.DataFrame) -> list[str]:
    kept = [f"{row['method']} ({row['mean']:.2f})" for _, row in ranked.iterrows() if row["low"] > KEPT]
    if not kept:
        return ["No method keeps more than half of its order of tokens when the weights are noise."]
    return [
        f"Claims of {', '.join(kept)} survive when the weights are noise (rank correlation above {KEPT:g}): they show "
        "the input more than what the model has learnt."
    ]


def file_name(measure: str) -> str:
    """The name of a measure as that of a file: its fill behind a stroke, not in brackets."""
    return measure.replace(" (", "-").rstrip(")")


def _draw(found: xr.Dataset, leading: Mapping[str, pd.DataFrame]) -> Figure:
    """A panel for each question: methods from the most to the least faithful, means with their intervals."""
    shown = {name: ranked.set_index("method") for name, ranked in leading.items()}
    order = list(next(iter(shown.values())).index)[::-1]
    order = [str(name) for name in found["method"].values if name not in order] + order
    measures = {each.name: str(found["measure"].values[_leading(found, each)[1]]) for each in QUESTIONS}
    with matplotlib.rc_context(STYLE):
        width = 1.6 + 1.9 * len(shown)
        figure = Figure(figsize=(width, 0.9 + 0.28 * len(order)), facecolor="white", layout="constrained")
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for panel, (name, ranked) in zip(panels, shown.items(), strict=True):
            for row, method in enumerate(order):
                if method in ranked.index:
                    own = ranked.loc[method]
                    colour = "#999999" if method == CHANCE else "#33608c"
                    draw_interval(panel, own, row, colour)
            set_panel(panel, name, measures[name].replace(" (", "\n("), "")
            panel.xaxis.label.set_size(6)
            panel.locator_params(axis="x", nbins=4)
        panels[0].set_yticks(range(len(order)), order)
    return figure
