"""Every metric that `evaluate` knows, by name, and which of them are measured."""

from collections.abc import Collection, Iterable

from lignite.calls import as_names
from lignite.errors import OptionError
from lignite.metrics.metric import Case, Found, Metric
from lignite.metrics.readings.localization import LOCALIZATION
from lignite.metrics.readings.plausibility import PLAUSIBILITY
from lignite.metrics.removal import REMOVAL
from lignite.metrics.stability import STABILITY
from lignite.wording import did_you_mean


def _told(case: Case) -> dict[str, float]:
    """What an explanation misses by its own account, not a number where nothing is promised, and what it took."""
    return {"completeness_gap": case.explained.gap, "seconds": case.explained.seconds}


COST = (
    Found(
        "completeness-gap",
        "what the scores miss of what they had to explain, as a share of it; the worst of their sums",
        find=_told,
        better="lower",
    ),
    Found("seconds", "time of one explanation", find=_told, better="lower", tested=False),
)

METRICS: dict[str, Metric] = {
    metric.name: metric for metric in (*REMOVAL, *PLAUSIBILITY, *LOCALIZATION, *STABILITY, *COST)
}
"""In the order of tables."""

_COLUMNS = {"mask": "mask=… or boxes=…"}
"""Columns that hold what a metric needs, where they are not called so."""


def choose_metrics(
    metrics: str | Metric | Iterable[str | Metric] | None, *, evidence: Collection[str] = (), reads: str = "text"
) -> tuple[Metric, ...]:
    """Metrics by their names, in the order of tables, and those that are given themselves.

    Without any, all that are cheap and that the evidence and the inputs allow.

    Parameters
    ----------
    evidence
        What people said about the examples, by names of `lignite.metrics.metric.Evidence`.
    reads
        What the model reads, ``"text"`` or ``"image"``.

    Examples
    --------
    >>> [metric.name for metric in choose_metrics("insertion, deletion")]
    ['deletion', 'insertion']
    """
    if metrics is None:
        usual = [metric for metric in METRICS.values() if metric.default and metric.reads in ("", reads)]
        return tuple(metric for metric in usual if set(metric.needs) <= set(evidence))
    several = [metrics] if isinstance(metrics, Metric) else metrics.split(",") if isinstance(metrics, str) else metrics
    given = list(several)
    named = as_names("metrics", [name for name in given if not isinstance(name, Metric)])
    names = {name.strip().replace("_", "-") for name in named if name.strip()}
    for name in sorted(names - METRICS.keys()):
        listed = ", ".join(METRICS)
        raise OptionError(f"metrics={name!r} is not known; choose from {listed}.{did_you_mean(name, METRICS)}")
    chosen = [metric for name, metric in METRICS.items() if name in names]
    chosen += [metric for metric in given if isinstance(metric, Metric) and metric not in chosen]
    if not chosen:
        raise OptionError(f"metrics is empty; give some of {', '.join(METRICS)}.")
    for metric in chosen:
        _check(metric, evidence, reads)
    return tuple(chosen)


def _check(metric: Metric, evidence: Collection[str], reads: str) -> None:
    if metric.reads not in ("", reads):
        raise OptionError(
            f"metrics={metric.name!r} is for {metric.reads}s, and this model reads {reads}s; leave it out."
        )
    if not set(metric.needs) <= set(evidence):
        columns = ", and ".join(_COLUMNS.get(what, f"{what}=…") for what in metric.needs)
        raise OptionError(f"metrics={metric.name!r} needs human evidence: name its column, {columns}.")
    if METRICS.get(metric.name, metric) != metric:
        raise OptionError(
            f"metrics: {metric.name!r} is the name of another metric already; give yours a name of its own."
        )


def described() -> list[tuple[str, str]]:
    """Every metric with its meaning in one sentence, for lists in documents and in the help of the command line."""
    return [(name, _sentence(metric)) for name, metric in METRICS.items()]


def _sentence(metric: Metric) -> str:
    notes = [f"{metric.better} is better"] if metric.better else []
    notes += [f"{metric.reads}s"] if metric.reads else []
    notes += [f"needs {' and '.join(metric.needs)}"] if metric.needs else []
    notes += [] if metric.default else ["when named"]
    return metric.meaning + (f" ({'; '.join(notes)})" if notes else "")
