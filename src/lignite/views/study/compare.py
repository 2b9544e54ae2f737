"""The report of `lignite.study.compare`."""

import matplotlib
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from matplotlib.figure import Figure

from lignite.views.attributes import from_json
from lignite.views.drawing import STYLE
from lignite.views.labels import model_title
from lignite.views.study.report import COLOURS, Report, Table, draw_bar, draw_line, set_panel, spoken, summarize

MEASURES = ("changed", "reweighed", "larger")


def report_compare(found: xr.Dataset) -> Report:
    """Which layers and heads have another flow in the other checkpoint."""
    layers = pd.concat([summarize(found[name]).assign(measure=name) for name in MEASURES])
    heads = summarize(found["head_changed"])
    tables = {
        "layers": Table("Layers", _LAYERS, layers[["against", "layer", "measure", "mean", "low", "high", "n"]]),
        "heads": Table("Heads", _HEADS, heads.sort_values(["against", "mean"], ascending=[True, False], kind="stable")),
    }
    other = str(from_json(found, "request").get("other", ""))
    return Report(
        "Which layers and heads changed?",
        f"The flow of every sentence in this model beside that in {model_title(other)}, and weights drawn at random.",
        tuple(_tell(found, layers, heads)),
        tables,
        {"changed": _draw(layers, heads)},
    )


_LAYERS = (
    "`changed`: share of a target's flow (`whole`) that goes elsewhere. `reweighed`: share of what heads have in a "
    "target's output that other heads have. `larger`: logarithm (base 2) of how much further targets move. Mean over "
    "targets, then over sentences, with the 95 % interval."
)
_HEADS = (
    "Share of a head's flow that comes from elsewhere; mean over targets, then over sentences, with the 95 % interval."
)


def _tell(found: xr.Dataset, layers: pd.DataFrame, heads: pd.DataFrame) -> list[str]:
    told = []
    for against in found["against"].values.tolist():
        here = layers[(layers["against"] == against) & (layers["measure"] == "changed")]
        most, least = here.loc[here["mean"].idxmax()], here.loc[here["mean"].idxmin()]
        beside = "the other checkpoint" if against == "other" else against
        told.append(
            f"Against {beside}, over {found.sizes['sentence']} sentences, the flow of layer {int(most['layer'])} "
            f"changed most ({spoken(most)} goes elsewhere), that of layer {int(least['layer'])} "
            f"least ({spoken(least)})."
        )
        own = heads[heads["against"] == against].sort_values("mean", ascending=False)
        listed = "; ".join(
            f"head {int(row['head'])} of layer {int(row['layer'])} {spoken(row)}" for _, row in own.head(3).iterrows()
        )
        told.append(f"The heads that changed most: {listed}; the median head {own['mean'].median():.3f}.")
    return told


def _draw(layers: pd.DataFrame, heads: pd.DataFrame) -> Figure:
    """Layers as lines, heads as cells."""
    compared = list(dict.fromkeys(heads["against"]))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.4 + 3.0 * len(compared), 2.9), facecolor="white", layout="constrained")
        panels = figure.subplots(1, 1 + len(compared), squeeze=False)[0]
        for against, colour in zip(compared, COLOURS, strict=False):
            here = layers[(layers["against"] == against) & (layers["measure"] == "changed")]
            draw_line(panels[0], here, "layer", against, colour)
        set_panel(panels[0], "flow that goes elsewhere", "layer", "share of flow")
        panels[0].set_ylim(bottom=0)
        panels[0].set_xticks(sorted(set(layers["layer"])))
        panels[0].legend(fontsize=6.5, frameon=False)
        for panel, against in zip(panels[1:], compared, strict=True):
            cells = heads[heads["against"] == against].pivot_table(index="layer", columns="head", values="mean")
            drawn = panel.pcolormesh(
                cells.to_numpy(), edgecolors="white", linewidth=0.5, cmap="cividis", vmin=0,
                vmax=float(np.nanmax(heads["mean"])) or 1.0,
            )  # fmt: skip
            panel.set_xticks(np.arange(0, cells.shape[1], 2) + 0.5, [str(each) for each in cells.columns[::2]])
            panel.set_yticks(np.arange(cells.shape[0]) + 0.5, [str(each) for each in cells.index])
            set_panel(panel, f"heads, against {against}", "head", "layer")
            panel.grid(False)
            panel.tick_params(length=0)
            panel.spines[:].set_visible(False)
        draw_bar(figure, drawn, list(panels[1:]))
    return figure
