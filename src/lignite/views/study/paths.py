"""The report of `lignite.study.paths`."""

import matplotlib
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from matplotlib.figure import Figure

from lignite.metrics.readings.statistics import interval, rank_correlation
from lignite.views.drawing import STYLE
from lignite.views.study.report import COLOURS, Report, Table, draw_line, set_panel, spoken, summarize

GAPS = (0.1, 0.01, 0.001)
SINGLE = ("half", "turns", "cancelled")


def report_paths(found: xr.Dataset) -> Report:
    """Where attribution accrues, whether paths turn, and what that costs."""
    over = found.mean("layer")
    whole = {name: summarize(over[name]) for name in SINGLE}
    by_layer = pd.concat([summarize(found[name]).assign(measure=name) for name in SINGLE])
    accrued, missed = summarize(over["accrued"]), summarize(over["missed"])
    needed = _tabulate_needed(missed)
    tied = _tie(found)
    tables = {
        "shape": Table("The shape of paths", _SHAPE, by_layer[["map", "layer", "measure", "mean", "low", "high", "n"]]),
        "accrued": Table("How much has accrued", _ACCRUED, accrued),
        "missed": Table(
            "Gaps of fixed rules",
            "What scores miss of the displacement, as a share of it, by a rule of so many nodes; mean over targets, "
            "heads and layers, then over sentences, with the 95 % interval.",
            missed,
        ),
        "needed": Table("Nodes for a gap", "The smallest of these rules whose mean gap is within so much.", needed),
        "tied": Table("Turning and agreement", _TIED, tied),
    }
    figures = {"paths": _draw(accrued, missed, by_layer)}
    return Report(
        "What shape do paths have?",
        "Integrated gradients add up what happens on the way from a start to the input. Where on the way do scores "
        "accrue, do they turn back, and what does it cost?",
        tuple(_tell(found, whole, needed, tied)),
        tables,
        figures,
    )


_SHAPE = (
    "`half`: the smallest share of the path on which half of a target's scores accrue, by size (0.5 where they accrue "
    "evenly). `turns`: how often a source's score changes sign along the path. `cancelled`: the share of sizes that is "
    "taken back again. Mean over targets and heads, then over sentences, with the 95 % interval."
)
_ACCRUED = (
    "The share of the sizes of all scores that is added up to this place of the path; mean over targets, heads and "
    "layers, then over sentences, with the 95 % interval."
)
_TIED = (
    "Rank correlation, over the sentences of a layer, of what the map `whole` takes back with the agreement of "
    "`composed` and `whole`; `n` sentences. And its mean over layers, with the 95 % interval over them."
)


def _tabulate_needed(missed: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for name, here in missed.groupby("map", sort=False):
        for gap in GAPS:
            enough = here[here["mean"] <= gap]["nodes"]
            rows.append({"map": name, "gap": gap, "nodes": str(int(enough.min())) if len(enough) else "more"})
    return pd.DataFrame(rows)


def _tie(found: xr.Dataset) -> pd.DataFrame:
    rows = []
    for layer in found["layer"].values.tolist():
        turned = found["cancelled"].sel(layer=layer, map="whole").values
        agreed = found["agreement"].sel(layer=layer).values
        known = ~np.isnan(turned) & ~np.isnan(agreed)
        value = rank_correlation(turned[known], agreed[known]) if known.sum() > 1 else np.nan
        rows.append({"layer": str(layer), "mean": value, "n": int(known.sum())})
    over = interval(np.array([row["mean"] for row in rows], dtype=np.float64))
    rows.append({"layer": "all", "mean": over.mean, "low": over.low, "high": over.high, "n": over.n})
    return pd.DataFrame(rows)[["layer", "mean", "low", "high", "n"]]


def _tell(found: xr.Dataset, whole: dict[str, pd.DataFrame], needed: pd.DataFrame, tied: pd.DataFrame) -> list[str]:
    by = {name: frame.set_index("map") for name, frame in whole.items()}
    maps = list(found["map"].values)
    told = [
        f"Over {found.sizes['sentence']} sentences half of a score's size accrues on this share of the path, at least: "
        + ", ".join(f"{name} {spoken(by['half'].loc[name])}" for name in maps)
        + ".",
        "Of the sizes of scores this share is taken back along the path: "
        + ", ".join(f"{name} {spoken(by['cancelled'].loc[name])}" for name in maps)
        + "; a score changes sign so often: "
        + ", ".join(f"{name} {spoken(by['turns'].loc[name])}" for name in maps)
        + ".",
    ]
    fine = needed[needed["gap"] == GAPS[1]]
    told.append(
        f"A mean gap of {GAPS[1]:g} takes "
        + ", ".join(f"{row['nodes']} nodes ({row['map']})" for _, row in fine.iterrows())
        + "."
    )
    over = tied.iloc[-1]
    if np.isfinite(over["mean"]):
        told.append(
            "Where the whole layer's scores turn back more, the two ways to tell a layer agree "
            f"{'less' if over['mean'] < 0 else 'more'}: rank correlation {spoken(over)}, mean over layers"
            + ("; its interval holds zero." if over["low"] <= 0 <= over["high"] else ".")
        )
    return told


def _draw(accrued: pd.DataFrame, missed: pd.DataFrame, by_layer: pd.DataFrame) -> Figure:
    """How scores accrue, what rules miss, and how much is taken back, layer by layer."""
    maps = list(dict.fromkeys(accrued["map"]))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 2.9), facecolor="white", layout="constrained")
        left, middle, right = figure.subplots(1, 3)
        left.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
        start = {"end": 0.0, "mean": 0.0, "low": 0.0, "high": 0.0}
        for name, colour in zip(maps, COLOURS, strict=False):
            line = pd.concat([pd.DataFrame([start]), accrued[accrued["map"] == name][list(start)]])
            draw_line(left, line, "end", name, colour)
            draw_line(middle, missed[missed["map"] == name], "nodes", name, colour)
            here = by_layer[(by_layer["map"] == name) & (by_layer["measure"] == "cancelled")]
            draw_line(right, here, "layer", name, colour)
        middle.set_xscale("log", base=2)
        middle.set_yscale("log")
        middle.set_xticks(sorted(set(missed["nodes"])), [str(each) for each in sorted(set(missed["nodes"]))])
        middle.minorticks_off()
        right.set_xticks(sorted(set(by_layer["layer"])))
        right.set_ylim(bottom=0)
        set_panel(left, "scores accrue", "place on the path", "share accrued")
        set_panel(middle, "fixed rules", "nodes", "gap per displacement")
        set_panel(right, "taken back", "layer", "share of sizes")
        left.legend(fontsize=6.5, frameon=False)
    return figure
