"""Scores of single explanations become the tables of an evaluation: means, curves and tests between methods."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]

from lignite.data.examples import Example
from lignite.metrics.asking.session import Asking
from lignite.metrics.metric import Metric
from lignite.metrics.readings.statistics import compare, holm, interval
from lignite.results.evaluation import MEAN, frame


@dataclass(frozen=True, eq=False)
class Outcome:
    """What was measured of which explanations: by the number of an example and the name of a method.

    A piece holds `scores` (metric, fill, value), `curves`, and whether the prediction was `correct`. The mean over the
    neutral fills is taken for every example by itself, and stands under the fill `MEAN`.
    """

    examples: Sequence[Example]
    methods: Sequence[str]
    metrics: Sequence[Metric]
    how: Asking
    pieces: Mapping[tuple[int, str], Mapping[str, Any]]

    def of(self, method: str) -> Iterator[tuple[Example, Mapping[str, Any]]]:
        """Examples that a method explained, and what was measured."""
        for example in self.examples:
            if (example.number, method) in self.pieces:
                yield example, self.pieces[example.number, method]

    @property
    def columns(self) -> list[tuple[Metric, str]]:
        """Metrics and fills, also those that came out for no example."""
        fills = (MEAN, *self.how.fills) if self.how.averaged else self.how.fills
        return [(metric, fill) for metric in self.metrics for fill in (fills if metric.per_fill else ("",))]

    def measured(self, piece: Mapping[str, Any]) -> list[tuple[str, str, float]]:
        """Scores of one explanation, and their means over the neutral fills."""
        averaged = self.how.averaged
        known: dict[str, dict[str, float]] = {}
        for metric, fill, value in piece["scores"]:
            known.setdefault(metric, {})[fill] = value
        for of_metric in known.values():
            if averaged and averaged[0] in of_metric:
                of_metric[MEAN] = float(np.mean([of_metric[fill] for fill in averaged]))
        return [(metric, fill, value) for metric, by_fill in known.items() for fill, value in by_fill.items()]

    def drawn(self, piece: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Curves of one explanation, those over the neutral fills first."""
        averaged = self.how.averaged
        groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for curve in piece["curves"]:
            if curve["fill"] in averaged:
                groups.setdefault((curve["curve"], curve["measure"]), []).append(curve)
        means = [
            {**some[0], "fill": MEAN, "values": np.mean([curve["values"] for curve in some], axis=0).tolist()}
            for some in groups.values()
            if len(some) == len(averaged)
        ]
        return [*means, *piece["curves"]]

    @property
    def accuracy(self) -> float:
        """How often the model is right, where that is known: the same for every method that explained an example."""
        known = [piece["correct"] for _, piece in self.of(self.methods[0]) if piece["correct"] == piece["correct"]]
        return float(np.mean(known)) if known else float("nan")


def tabulate(outcome: Outcome, *, confidence: float, reference: str) -> dict[str, pd.DataFrame]:
    """The tables of an `lignite.results.evaluation.Evaluation` but for what was skipped, by their names."""
    scores = _scores(outcome)
    return {
        "table": _table(outcome, scores, confidence),
        "scores": scores,
        "curves": _curves(outcome, confidence),
        "tests": _tests(outcome, scores, reference, confidence),
    }


def _scores(outcome: Outcome) -> pd.DataFrame:
    rows = []
    for example in outcome.examples:
        for method in outcome.methods:
            piece = outcome.pieces.get((example.number, method))
            for metric, fill, value in () if piece is None else outcome.measured(piece):
                rows.append((example.number, example.id, method, metric, fill, value))
    return frame(rows, ["example", "id", "method", "metric", "fill", "value"])


def _table(outcome: Outcome, scores: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Every method keeps its rows, also one that explained nothing."""
    groups = {key: group["value"].to_numpy() for key, group in scores.groupby(["method", "metric", "fill"], sort=False)}
    rows = []
    for method in outcome.methods:
        for metric, fill in outcome.columns:
            known = groups.get((method, metric.name, fill), np.empty(0))
            found = interval(known, confidence=confidence, seed=outcome.how.seed)
            rows.append((method, metric.name, fill, found.mean, found.low, found.high, found.n))
    return frame(rows, ["method", "metric", "fill", "mean", "low", "high", "n"])


def _tests(outcome: Outcome, scores: pd.DataFrame, reference: str, confidence: float) -> pd.DataFrame:
    rows = []
    for metric, fill in outcome.columns:
        some = scores[(scores["metric"] == metric.name) & (scores["fill"] == fill)]
        wide = some.pivot(index="example", columns="method", values="value")
        others = [method for method in outcome.methods if method != reference and method in wide]
        if not metric.tested or reference not in wide:
            continue
        known = {name: wide[name].to_numpy() for name in (reference, *others)}
        found = [
            compare(known[name], known[reference], confidence=confidence, seed=outcome.how.seed) for name in others
        ]
        adjusted = holm([item.p for item in found])
        for name, item, p_holm in zip(others, found, adjusted, strict=True):
            difference = (item.difference, item.low, item.high)
            rows.append((name, reference, metric.name, fill, *difference, item.p, float(p_holm), item.n))
    return frame(rows, ["method", "reference", "metric", "fill", "difference", "low", "high", "p", "p_holm", "n"])


def _curves(outcome: Outcome, confidence: float) -> pd.DataFrame:
    rows = []
    for method in outcome.methods:
        collected: dict[tuple[str, str, str], list[list[float]]] = {}
        own: dict[str, list[float]] = {}
        for _, piece in outcome.of(method):
            for curve in outcome.drawn(piece):
                collected.setdefault((curve["curve"], curve["measure"], curve["fill"]), []).append(curve["values"])
                own[curve["curve"]] = curve.get("shares", outcome.how.shares())
        for (name, measured, fill), values in collected.items():
            for share, column in zip(own[name], np.array(values, dtype=np.float64).T, strict=True):
                found = interval(column, confidence=confidence, method="percentile", seed=outcome.how.seed)
                rows.append((method, name, measured, fill, share, found.mean, found.low, found.high, found.n))
    return frame(rows, ["method", "curve", "measure", "fill", "share", "mean", "low", "high", "n"])
