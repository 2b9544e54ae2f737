"""The report of `lignite.study.baselines`."""

import matplotlib
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lignite.views.attributes import from_json
from lignite.views.drawing import STYLE
from lignite.views.study.report import COLOURS, Report, Table, draw_interval, set_panel, spoken, tabulate
from lignite.views.study.trust import CHANCE, SURE, file_name, note_of, rank_methods

AGREEMENT = "agreement-of-baselines"
FAITHFUL = ("insertion-minus-deletion", "comprehensiveness")
MEASURED = (*FAITHFUL, "completeness-gap", "seconds")
"""What every method is measured by, from every baseline."""
PROBED = ("context-correlation-unrelated",)
CHEAP = ("completeness-gap",)
"""What every baseline is asked at a fixed number of nodes."""


def from_start(method: str, start: str) -> str:
    """The row of a method, with its options, that starts from this baseline."""
    return f"{method}{',' if ':' in method else ':'}baseline={start}"


def report_starts(found: xr.Dataset) -> Report:
    """Which baseline to start from, and what the usual one is behind."""
    ranked = {
        str(measure): _split(rank_methods(found, place))
        for place, measure in enumerate(found["measure"].values)
        if found["score"].transpose(..., "measure").values[..., place].size
        and found["score"].sel({"measure": measure}).notnull().any()
    }
    leading = next(measure for measure in ranked if measure.startswith(FAITHFUL[0]))
    short = {measure: table for measure, table in ranked.items() if measure in _first_fills(found)}
    tables = {"overview": Table("All baselines", _OVERVIEW, tabulate(short, ["method", "baseline"]))}
    places = {str(measure): place for place, measure in enumerate(found["measure"].values)}
    tables |= {
        file_name(measure): Table(measure, note_of(found, places[measure]), table) for measure, table in ranked.items()
    }
    return Report(
        f"Where should paths through {found.attrs['model']} start?",
        "Integrated gradients compare an input with one that says nothing. Each baseline is such an input; what "
        "follows from it is measured on the same examples.",
        tuple(_findings(found, ranked, leading)),
        tables,
        {"baselines": _draw(ranked, leading)},
    )


_OVERVIEW = (
    "Mean over examples with its 95 % interval. `fixed` rows are integrated gradients with a fixed number of nodes, "
    "the same for all: what their scores miss is how hard the path from that baseline is."
)


def _first_fills(found: xr.Dataset) -> set[str]:
    """Of measures that were taken under several fills, the one under the first: their mean."""
    first: dict[str, str] = {}
    for measure, metric in zip(found["measure"].values, found["metric"].values, strict=True):
        first.setdefault(str(metric), str(measure))
    return set(first.values())


def _split(ranked: pd.DataFrame) -> pd.DataFrame:
    """Rows by method and baseline, told apart."""
    named = ranked["method"].str.extract(r"^(?P<way>.+?)(?:[:,]baseline=(?P<baseline>[^,]+))?(?P<fixed>,n_steps=\d+)?$")
    way = named["way"].where(named["fixed"].isna(), "fixed")
    rest = ranked.drop(columns="method")
    return pd.concat([way.rename("method"), named["baseline"].fillna("–"), rest], axis=1)


def _findings(found: xr.Dataset, ranked: dict[str, pd.DataFrame], leading: str) -> list[str]:
    said, usual = [], str(found.attrs["usual"])
    for way, table in ranked[leading].groupby("method", sort=False):
        if way == CHANCE:
            continue
        table = table.reset_index(drop=True)
        best, own = table.iloc[0], table[table["baseline"] == usual]
        said.append(f"Under {way} the most faithful baseline is {best['baseline']} ({leading} {spoken(best)}).")
        said += [_say_usual(found, str(way), str(best["baseline"]), usual, leading)] if len(own) else []
    gaps = ranked.get("completeness-gap")
    fixed = None if gaps is None else gaps[gaps["method"] == "fixed"]
    if fixed is not None and len(fixed):
        first, last = fixed.iloc[0], fixed.iloc[-1]
        said.append(
            f"At a fixed cost the path from {first['baseline']} misses least ({spoken(first)}), that from "
            f"{last['baseline']} most ({spoken(last)})."
        )
    agreed = ranked.get(AGREEMENT)
    if agreed is not None and len(agreed):
        last = agreed[agreed["method"] != CHANCE].iloc[-1]
        said.append(
            f"Least like all others are explanations by {last['method']} from {last['baseline']} (rank correlation "
            f"{spoken(last)})."
        )
    said += _recommend(ranked, leading)
    missing = [str(told).partition(":")[0] for told in from_json(found, "missing").get("missing", [])]
    return said + ([f"Not offered by this model: {', '.join(missing)}."] if missing else [])


def _recommend(ranked: dict[str, pd.DataFrame], leading: str) -> list[str]:
    """Of the baselines that are level with the best under every method, the one whose path misses least."""
    ways = [table for way, table in ranked[leading].groupby("method", sort=False) if way != CHANCE]
    best = {table.iloc[0]["baseline"] for table in ways}
    level = [
        {row["baseline"] for _, row in table.iterrows() if row["baseline"] in best or row["p"] > SURE} for table in ways
    ]
    shared = set.intersection(*level) if level else set()
    gaps = ranked.get("completeness-gap")
    fixed = [] if gaps is None else [start for start in gaps[gaps["method"] == "fixed"]["baseline"] if start in shared]
    if not fixed:
        return []
    return [
        f"Recommended here: {fixed[0]}. No method tells it from its most faithful baseline (level are "
        f"{', '.join(sorted(shared))}), and of these its path misses least at a fixed cost."
    ]


def _say_usual(found: xr.Dataset, way: str, best: str, usual: str, leading: str) -> str:
    """What an explanation without options gives away."""
    if best == usual:
        return f"That is the usual one, which {way} takes without options."
    place = [str(name) for name in found["measure"].values].index(leading)
    pair = [from_start(way, start) for start in (best, usual)]
    compared = rank_methods(found.sel({"method": pair}), place).iloc[1]
    told = f"{compared['behind']:.3f} [{compared['behind_low']:.3f}, {compared['behind_high']:.3f}]"
    if compared["p"] <= SURE:
        return f"The usual one, {usual}, is behind it by {told}."
    return f"The usual one, {usual}, is level with it (behind by {told})."


def _draw(ranked: dict[str, pd.DataFrame], leading: str) -> Figure:
    """Faithfulness of every baseline, under each method, and what its path misses at a fixed cost."""
    faithful = ranked[leading][ranked[leading]["method"] != CHANCE]
    order = list(dict.fromkeys(faithful["baseline"]))[::-1]
    gaps = ranked.get("completeness-gap")
    fixed = None if gaps is None else gaps[gaps["method"] == "fixed"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 1.3 + 0.32 * len(order)), facecolor="white", layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        ways = list(dict.fromkeys(faithful["method"]))
        for number, way in enumerate(ways):
            _draw_rows(left, faithful[faithful["method"] == way], order, number, len(ways), label=str(way))
        if fixed is not None and len(fixed):
            _draw_rows(right, fixed, order, 0, 1)
        for panel, title in ((left, leading), (right, "missing at a fixed number of nodes")):
            set_panel(panel, title, "", "")
        left.set_yticks(range(len(order)), order)
        if len(ways) > 1:
            figure.legend(loc="outside lower left", fontsize=7, frameon=False, ncols=len(ways))
    return figure


def _draw_rows(panel: Axes, rows: pd.DataFrame, order: list[str], number: int, of: int, label: str = "_") -> None:
    colour, shift = COLOURS[number], (number - (of - 1) / 2) * 0.22
    for place, (_, row) in enumerate(rows.iterrows()):
        draw_interval(panel, row, order.index(row["baseline"]) - shift, colour, "_" if place else label)
