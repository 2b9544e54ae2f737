"""The report of `lignite.study.context`."""

import matplotlib
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from matplotlib.figure import Figure

from lignite.views.drawing import STYLE
from lignite.views.study.report import COLOURS, Report, Table, set_panel, spoken, summarize

MEASURES = ("rank_correlation", "l1", "probability_change", "label_change")


def report_context(found: xr.Dataset) -> Report:
    """How far explanations move with the words around, and whether the model had a reason to."""
    frames = {name: summarize(found[name]) for name in MEASURES}
    first = str(found["method"].values[0])
    behind = summarize(found["l1"] - found["l1"].sel({"method": first}))
    together = pd.concat([frame.assign(measure=name) for name, frame in frames.items()])
    tables = {
        "moved": Table("What moves", _MOVED, together[["around", "method", "measure", "mean", "low", "high", "n"]]),
        "against": Table(
            f"Against {first}",
            f"How much more an explanation moves (`l1`) than that of {first}, in the same sentences; mean and 95 % "
            "interval.",
            behind[behind["method"] != first],
        ),
    }
    return Report(
        "Does an explanation depend on the words around?",
        "The words that an explanation calls most relevant stay where they are, the others change places. How far does "
        "the relevance of those that stay move, and does the model itself?",
        tuple(_tell(found, frames)),
        tables,
        {"context": _draw(frames)},
    )


_MOVED = (
    "`rank_correlation` of the relevance of the words that stay, before and after; `l1`: its change as a share of its "
    "size. `probability_change` and `label_change` are the model's own: how far the probability of the class moves, "
    "how often another class leads. `around`: all words around, or only those that the method itself calls unrelated. "
    "Mean over orders, then over sentences, with the 95 % interval."
)


def _tell(found: xr.Dataset, frames: dict[str, pd.DataFrame]) -> list[str]:
    told = []
    words = {"all": "all words around", "unrelated": "only the words that it calls unrelated"}
    for around in found["around"].values.tolist():
        here = (
            frames["l1"][frames["l1"]["around"] == around].dropna(subset=["mean"]).sort_values("mean", ascending=False)
        )
        if not len(here):
            continue
        listed = ", ".join(f"{row['method']} {spoken(row)}" for _, row in here.iterrows())
        told.append(f"When {words[around]} change places, this share of what stays moves: {listed}.")
        model = frames["probability_change"]
        own = model[(model["around"] == around) & (model["method"] == here.iloc[0]["method"])].iloc[0]
        told.append(
            f"The probability of the class itself moves by {spoken(own)} then (around what {own['method']} keeps)."
        )
    return told


def _draw(frames: dict[str, pd.DataFrame]) -> Figure:
    """A bar for each method: what moves of its explanation, and of the model, when words around change places."""
    methods = list(dict.fromkeys(frames["l1"]["method"]))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 0.9 + 0.42 * len(methods)), facecolor="white", layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for panel, name, title in zip(
            panels, ("l1", "probability_change"), ("change of what stays", "change of the probability"), strict=True
        ):
            for offset, (around, colour) in enumerate(zip(("all", "unrelated"), COLOURS, strict=False)):
                here = frames[name][frames[name]["around"] == around].set_index("method").loc[methods]
                places = np.arange(len(methods)) + (offset - 0.5) * 0.36
                mean, low, high = (here[key].to_numpy() for key in ("mean", "low", "high"))
                errors = np.nan_to_num(np.stack([mean - low, high - mean]).clip(min=0))
                panel.barh(places, np.nan_to_num(mean), height=0.34, color=colour, label=f"{around} words around")
                panel.errorbar(mean, places, xerr=errors, fmt="none", ecolor="#222222", elinewidth=0.8)
            panel.set_yticks(np.arange(len(methods)), methods)
            set_panel(panel, title, "share" if name == "l1" else "probability", "")
        panels[0].invert_yaxis()
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower left", fontsize=7, frameon=False, ncols=2
        )
    return figure
