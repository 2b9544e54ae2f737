"""The report of `lignite.study.layers`."""

import matplotlib
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from matplotlib.figure import Figure

from lignite.views.drawing import STYLE
from lignite.views.study.report import COLOURS, Report, Table, draw_line, set_panel, spoken, spoken_change, summarize
from lignite.wording import counted

TYPE_COLOURS = ("#33608c", "#b5651d", "#4c8a52", "#8a4c7d", "#c9a227", "#c9c9c9", "#5a5a5a")
SETTLED = 0.9


def report_layers(found: xr.Dataset) -> Report:
    """Where evidence for and against forms, class by class and by kind of word."""
    classes = by_class(found)
    evidence = {name: summarize(one["evidence"]) for name, one in classes.items()}
    sides = {name: summarize(one["evidence"].sum("type", skipna=False)) for name, one in classes.items()}
    likeness = pd.concat([summarize(found[name]).assign(measure=name) for name in ("inherited", "settled")])
    tables = {
        "sides": Table("For and against, layer by layer", _SIDES, _together(sides)),
        "types": Table("Kinds of word", _TYPES, _together(evidence)),
        "likeness": Table(
            "When the picture is that of the top",
            "Rank correlation over words of a layer's relevance with that in the lowest layer (`inherited`) and in the "
            "highest (`settled`); mean over sentences with the 95 % interval.",
            likeness[["measure", "layer", "mean", "low", "high", "n"]],
        ),
    }
    figures = {"evidence": _draw(evidence, classes, likeness)}
    return Report(
        "At which layer does evidence form?",
        "The predicted class is explained in the states that enter every block. Which share of the relevance there "
        "speaks for it, which against, and what kinds of word is it on?",
        tuple(_tell(classes, sides, evidence, likeness)),
        tables,
        figures,
    )


_SIDES = (
    "Share of the sizes of a layer's relevance that speaks for and against the predicted class, by that class; "
    "mean over sentences with the 95 % interval. Layer l is the states that enter block l."
)
_TYPES = (
    "The same, by kind of word (from the corpus's parts of speech; `special` are tokens that are no words): the shares "
    "of a layer add up to one."
)


def by_class(found: xr.Dataset) -> dict[str, xr.Dataset]:
    """Sentences of every predicted class; all of them first, where there are several."""
    names = found["prediction"].values.astype(str)
    several = {str(name): found.isel(sentence=names == name) for name in np.unique(names)}
    return several if len(several) == 1 else {"all": found, **several}


def _together(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    together = pd.concat([frame.assign(prediction=name) for name, frame in frames.items()])
    return together[["prediction", *[column for column in together if column != "prediction"]]]


def _tell(
    classes: dict[str, xr.Dataset],
    sides: dict[str, pd.DataFrame],
    evidence: dict[str, pd.DataFrame],
    likeness: pd.DataFrame,
) -> list[str]:
    told = []
    for name, frame in sides.items():
        against = frame[frame["side"] == "against"].set_index("layer")
        first, last = against.index[0], against.index[-1]
        n = classes[name].sizes["sentence"]
        called = "All predictions" if name == "all" else f"Prediction {name}"
        told.append(
            f"{called} ({counted(n, 'sentence')}): {spoken(against.loc[first])} of relevance speaks against in layer "
            f"{first}, {spoken(against.loc[last])} in layer {last}; by sentence the second is "
            f"{spoken_change(_risen(classes[name]))}."
        )
    whole = evidence[next(iter(evidence))]
    for layer in (whole["layer"].min(), whole["layer"].max()):
        here = whole[(whole["layer"] == layer) & (whole["side"] == "for")].sort_values("mean", ascending=False)
        listed = ", ".join(f"{row['type']} {spoken(row)}" for _, row in here[here["mean"] > 0].head(3).iterrows())
        told.append(f"In layer {layer} most of what speaks for the prediction is on: {listed}.")
    settled = likeness[likeness["measure"] == "settled"]
    never = settled[settled["mean"] < SETTLED]["layer"].max()
    enough = settled if np.isnan(never) else settled[settled["layer"] > never]
    low = settled.iloc[0]
    told.append(
        f"The words' relevance in layer {int(low['layer'])} has a rank correlation of {spoken(low)} with that in the "
        f"highest; it stays above {SETTLED:g} from layer {int(enough['layer'].min())} on."
        if len(enough)
        else "In no layer is the words' relevance near that of the highest."
    )
    return told


def _risen(found: xr.Dataset) -> pd.Series:
    """How much larger the share against is in the highest layer than in the lowest."""
    against = found["evidence"].sel(side="against").sum("type", skipna=False)
    return summarize(against.isel(layer=-1, drop=True) - against.isel(layer=0, drop=True)).iloc[0]


def _draw(evidence: dict[str, pd.DataFrame], classes: dict[str, xr.Dataset], likeness: pd.DataFrame) -> Figure:
    """A panel for each class: what speaks for it above zero, what against it below; and how alike layers are."""
    shown = {name: frame for name, frame in evidence.items() if name != "all" or len(evidence) == 1}
    against = [frame[frame["side"] == "against"].groupby("layer")["mean"].sum().max() for frame in shown.values()]
    every = pd.concat(shown.values()).groupby("type")["mean"].max()
    kinds = set(every[every > 0].index)  # a corpus without parts of speech has one kind of word
    lowest = -max(0.1, 1.15 * max(against))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.0 + 2.7 * len(shown), 3.2), facecolor="white", layout="constrained")
        panels = figure.subplots(1, len(shown) + 1, squeeze=False)[0]
        for panel, (name, frame) in zip(panels, shown.items(), strict=False):
            for side, sign in (("for", 1), ("against", -1)):
                means = frame[frame["side"] == side].pivot_table(
                    index="layer", columns="type", values="mean", sort=False
                )
                below = np.zeros(len(means))
                for kind, colour in zip(means.columns, TYPE_COLOURS, strict=True):
                    if kind not in kinds:
                        continue
                    panel.bar(
                        means.index, sign * means[kind], bottom=sign * below, color=colour, width=0.82,
                        label=kind if sign > 0 else None,
                    )  # fmt: skip
                    below += means[kind].to_numpy()
            panel.axhline(0, color="#222222", linewidth=0.7)
            panel.set_xticks(list(means.index))
            panel.set_ylim(lowest, 1)
            title = f"prediction {name} ({counted(classes[name].sizes['sentence'], 'sentence')})"
            set_panel(panel, title, "layer", "share (against: below 0)" if panel is panels[0] else "")
        for name, colour in zip(("settled", "inherited"), COLOURS, strict=False):
            label = "with the highest layer" if name == "settled" else "with the lowest layer"
            draw_line(panels[-1], likeness[likeness["measure"] == name], "layer", label, colour)
        set_panel(panels[-1], "rank correlation of words' relevance", "layer", "")
        panels[-1].set_xticks(sorted(set(likeness["layer"])))
        panels[-1].legend(fontsize=6.5, frameon=False, loc="lower center")
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles[::-1], names[::-1], loc="outside right center", fontsize=7, frameon=False)
    return figure
