"""The report of `lignite.study.roles`."""

from collections.abc import Sequence
from itertools import product

import matplotlib
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import fcluster, linkage  # type: ignore[import-untyped]

from lignite.views.drawing import STYLE
from lignite.views.study.report import COLOURS, Report, Table, draw_bar, draw_line, set_panel, spoken, summarize

PLAIN = "as it is"
KIND_COLOURS = ("#33608c", "#4c8a52", "#8fbf8f", "#b5651d", "#e0b080", "#c9c9c9", "#5a5a5a")
MOST_CLUSTERS = 8
ENOUGH = 0.02
"""A head leans on a relation if it gives so much more than distance alone would."""


def report_roles(found: xr.Dataset) -> Report:
    """What each layer and each head does to the words of a sentence, against two controls."""
    beyond = found["related"] - found["expected"]
    layers = summarize(found["share"])
    arcs, sources = summarize(beyond), summarize(found["sources"])
    heads = _tabulate_heads(found)
    clusters = _tabulate_clusters(heads, list(found["kind"].values))
    measures = _measures(found)
    plain = pd.concat([_named(summarize(one.sel(control=PLAIN)), name) for name, one in measures.items()])
    against = [
        _named(summarize(one.sel(control=PLAIN) - one.sel(control=other)), name).assign(control=other)
        for name, one in measures.items()
        for other in found["control"].values[1:]
    ]
    tables = {
        "layers": Table("What each layer does", _LAYERS, plain),
        "arcs": Table("Words in a relation, beyond what their distance explains", _ARCS, arcs),
        "controls": Table(
            "Against the controls",
            "The sentence as it is, less the control, in the same sentences; mean and 95 % interval.",
            pd.concat(against)[["control", "layer", "measure", "mean", "low", "high", "n"]],
        ),
        "heads": Table("Every head", _HEADS, heads),
        "clusters": Table("Heads that do alike", _CLUSTERS, clusters),
    }
    figures = {
        "layers": _draw_layers(layers, found),
        "depth": _draw_depth(
            arcs, sources, summarize(found["circuits"].sel(control=PLAIN)), summarize(found["change"])
        ),
        "heads": _draw_heads(heads),
    }
    told = (
        *_tell_layers(layers, found), *_tell_arcs(arcs), *_tell_sources(sources), *_tell_circuits(plain),
        *_tell_heads(heads, found), _tell_clusters(clusters, heads, found),
    )  # fmt: skip
    return Report(
        "What does depth do?",
        "From whom do the words of a sentence receive in each layer, and through which head? A share is the size of a "
        "score among the sizes of all that a target receives.",
        told,
        tables,
        figures,
    )


_LAYERS = (
    "The sentence as it is; mean over sentences with the 95 % interval. `itself` to `special` are shares by what the "
    "source is to the target and add up to one. `governor` (the word it depends on), `dependents` and `same part of "
    "speech` are shares of such words, of targets that have any. `sources` is the effective number of sources (exp of "
    "the entropy of the shares), `evenness` entropy per that of equal shares. `value` to `residual` are shares of "
    "circuits. `reweighed` is the share of the heads' flow that what follows them, the MLP among it, gives to other "
    "heads. `change` is the share that goes elsewhere than in the layer before."
)
_ARCS = (
    "Share of the words in a relation less the share that they would have if the same sentence's shares depended on "
    "distance and direction alone; mean over sentences with the 95 % interval."
)
_HEADS = (
    "From states to each head, the sentence as it is; means over sentences. Columns of relations are what goes beyond "
    "distance; `cluster` counts from the largest."
)
_CLUSTERS = (
    "Ward's clusters of heads by their shares, relations beyond distance and evenness; as many as separate best "
    "(silhouette), at most eight. Means over their heads; `leans to` is the kind of source with most more "
    "than in all heads."
)


def _named(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    return frame.assign(measure=name)[["layer", "measure", "mean", "low", "high", "n"]]


def _measures(found: xr.Dataset) -> dict[str, xr.DataArray]:
    """Every number of a layer by its name."""
    split = {
        str(name): found[variable].sel({axis: name}, drop=True)
        for variable, axis in (("share", "kind"), ("related", "relation"), ("circuits", "circuit"))
        for name in found[axis].values
    }
    return {**split, **{name: found[name] for name in ("sources", "evenness", "reweighed", "change")}}


def _tabulate_heads(found: xr.Dataset) -> pd.DataFrame:
    means = found.sel(control=PLAIN).mean("sentence")
    beyond = means["head_related"] - means["head_expected"]
    kinds, relations = found["kind"].values.tolist(), found["relation"].values.tolist()
    rows = []
    for layer, head in product(found["layer"].values.tolist(), found["head"].values.tolist()):
        here, above = means.sel(layer=layer, head=head), beyond.sel(layer=layer, head=head)
        shares = dict(zip(kinds, here["head_share"].values.tolist(), strict=True))
        arcs = dict(zip(relations, above.values.tolist(), strict=True))
        spread = {"sources": float(here["head_sources"]), "evenness": float(here["head_evenness"])}
        rows.append({"layer": layer, "head": head, **shares, **arcs, **spread})
    frame = pd.DataFrame(rows)
    frame.insert(2, "cluster", cluster(_profiles(frame)))
    return frame


def _profiles(heads: pd.DataFrame) -> np.ndarray:
    values: np.ndarray = heads.drop(columns=["layer", "head", "sources", "cluster"], errors="ignore").to_numpy()
    return np.nan_to_num(values)


def cluster(profiles: np.ndarray) -> np.ndarray:
    """Number Ward's clusters of some rows from the largest on: as many as separate best, one of fewer than four."""
    if len(profiles) < 4:
        return np.zeros(len(profiles), dtype=int)
    tree = linkage(profiles, "ward")
    most = min(MOST_CLUSTERS, len(profiles) - 1)
    cuts = [fcluster(tree, count, "maxclust") for count in range(2, most + 1)]
    chosen = max(cuts, key=lambda labels: silhouette(profiles, labels))
    numbers, counts = np.unique(chosen, return_counts=True)
    order = numbers[np.argsort(-counts, kind="stable")].tolist()
    return np.array([order.index(label) for label in chosen])


def silhouette(profiles: np.ndarray, labels: np.ndarray) -> float:
    """How much nearer rows are to their own cluster than to the next one, mean over rows (Rousseeuw 1987)."""
    away = np.linalg.norm(profiles[:, None] - profiles[None], axis=-1)
    found = []
    for row, label in enumerate(labels):
        own = (labels == label) & (np.arange(len(labels)) != row)
        if not own.any() or len(np.unique(labels)) < 2:
            found.append(0.0)
            continue
        inside = away[row, own].mean()
        outside = min(away[row, labels == other].mean() for other in np.unique(labels) if other != label)
        found.append((outside - inside) / max(inside, outside, np.finfo(float).tiny))
    return float(np.mean(found))


def _tabulate_clusters(heads: pd.DataFrame, kinds: Sequence[str]) -> pd.DataFrame:
    rows, overall = [], heads.drop(columns=["layer", "head", "cluster"]).mean()
    for number, members in heads.groupby("cluster"):
        means = members.drop(columns=["layer", "head", "cluster"]).mean()
        by_layer = members["layer"].value_counts().sort_index()
        rows.append(
            {
                "cluster": number,
                "heads": len(members),
                "layers": " ".join(f"{layer}:{count}" for layer, count in by_layer.items()),
                "leans to": (means - overall)[list(kinds)].idxmax(),
                **means.to_dict(),
            }
        )
    return pd.DataFrame(rows)


# Findings


def _tell_layers(layers: pd.DataFrame, found: xr.Dataset) -> list[str]:
    plain = layers[layers["control"] == PLAIN].set_index(["kind", "layer"])
    first, last = int(found["layer"].values[0]), int(found["layer"].values[-1])
    parts = []
    for kind in ("itself", "special"):
        bottom, top = plain.loc[(kind, first)], plain.loc[(kind, last)]
        name = "what a word gives itself" if kind == "itself" else "the share of special tokens"
        parts.append(f"{name} goes from {spoken(bottom)} in layer {first} to {spoken(top)} in layer {last}")
    near = found["share"].sel(control=PLAIN, kind=["previous", "next"]).sum("kind", skipna=False)
    by_layer = summarize(near).set_index("layer")
    best = by_layer["mean"].idxmax()
    return [
        f"Over {found.sizes['sentence']} sentences {parts[0]}, {parts[1]}.",
        f"The two neighbours of a word give most in layer {best}: {spoken(by_layer.loc[best])}.",
    ]


def _tell_arcs(arcs: pd.DataFrame) -> list[str]:
    if not np.isfinite(arcs["mean"]).any():
        return ["The corpus has no dependencies: nothing is said of them."]
    told = []
    for relation in dict.fromkeys(arcs["relation"]):
        here = arcs[arcs["relation"] == relation]
        plain = here[here["control"] == PLAIN]
        best = plain.loc[plain["mean"].idxmax()]
        other = {row["control"]: row for _, row in here[here["layer"] == best["layer"]].iterrows()}
        beside = ", ".join(f"{name} {spoken(row)}" for name, row in other.items() if name != PLAIN)
        name = {"governor": "The word that a word depends on gives", "dependents": "Its dependents give"}
        given = f"{spoken(best)} of the flow in layer {int(best['layer'])} ({beside})"
        subject = name.get(relation, f"Words of the {relation} give")
        if best["low"] > 0:
            told.append(f"{subject} more than distance explains, most {given}.")
        else:
            told.append(f"{subject} no more than distance explains in any layer: at most {given}.")
    return told


def _tell_sources(sources: pd.DataFrame) -> list[str]:
    here = sources[sources["control"] == PLAIN]
    most, least = here.loc[here["mean"].idxmax()], here.loc[here["mean"].idxmin()]
    return [
        f"A word receives from {spoken(most)} sources, effectively, in layer {int(most['layer'])}, and from "
        f"{spoken(least)} in layer {int(least['layer'])}."
    ]


def _tell_circuits(plain: pd.DataFrame) -> list[str]:
    by = plain.set_index(["measure", "layer"])
    if not np.isfinite(by.loc["residual"]["mean"]).all():
        return []
    called = {"residual": "the residual path carries", "value": "values carry", "reweighed": "what follows them moves"}
    parts = []
    for name, words in called.items():
        here = by.loc[name]
        most, least = here["mean"].idxmax(), here["mean"].idxmin()
        parts.append(f"{words} {spoken(here.loc[least])} (layer {least}) to {spoken(here.loc[most])} (layer {most})")
    return [f"Of the sizes of scores, {parts[0]}, {parts[1]}; of the heads' flow, {parts[2]} to other heads."]


def _tell_heads(heads: pd.DataFrame, found: xr.Dataset) -> list[str]:
    plain, parts = found.sel(control=PLAIN), []
    for kind in ("previous", "next", "special"):
        best = heads.loc[heads[kind].idxmax()]
        place = {"layer": int(best["layer"]), "head": int(best["head"])}
        row = summarize(plain["head_share"].sel({"kind": kind, **place})).iloc[0]
        parts.append(f"{kind}: head {place['head']} of layer {place['layer']} with {spoken(row)}")
    told = [f"The heads that read most from one kind of source: {'; '.join(parts)}."]
    return told + (_tell_leaning(found) if heads["governor"].notna().any() else [])


def _tell_leaning(found: xr.Dataset) -> list[str]:
    """Which heads give more to a relation than distance explains, under every control."""
    beyond = found["head_related"] - found["head_expected"]
    means, parts, best = beyond.mean("sentence"), [], []
    for name in found["relation"].values:
        counts = (means.sel(relation=name) > ENOUGH).sum(["layer", "head"])
        plain = means.sel(relation=name, control=PLAIN)
        place = {str(axis): int(at) for axis, at in plain.argmax(["layer", "head"]).items()}
        rows = summarize(beyond.sel(relation=name).isel(place))
        by_control = "; ".join(f"{row['control']} {spoken(row)}" for _, row in rows.iterrows())
        layer, head = (int(found[axis].values[place[axis]]) for axis in ("layer", "head"))
        parts.append(
            f"{name} " + ", ".join(f"{int(counts.sel(control=each))} ({each})" for each in found["control"].values)
        )
        best.append(f"{name}: head {head} of layer {layer} ({by_control})")
    n_heads = found.sizes["layer"] * found.sizes["head"]
    return [
        f"Of {n_heads} heads so many give more than {ENOUGH:g} beyond distance: {'; '.join(parts)}.",
        f"The heads that do so most: {'; '.join(best)}.",
    ]


def _tell_clusters(clusters: pd.DataFrame, heads: pd.DataFrame, found: xr.Dataset) -> str:
    halves = [
        _tabulate_heads(found.isel(sentence=slice(start, None, 2)))["cluster"].to_numpy()
        for start in (0, 1)
        if found.sizes["sentence"] > 1
    ]
    agreed = f"{alike(*halves):.2f} (adjusted Rand index)" if halves else ""
    stable = f"; two halves of the sentences agree on them by {agreed}" if halves else ""
    listed = ", ".join(f"{row['heads']} that lean to {row['leans to']}" for _, row in clusters.iterrows())
    return f"Heads fall into {len(clusters)} clusters ({listed}){stable}."


def alike(first: np.ndarray, second: np.ndarray) -> float:
    """How far two clusterings agree beyond chance: the adjusted Rand index (Hubert and Arabie 1985)."""
    table = np.array([[np.sum((first == a) & (second == b)) for b in np.unique(second)] for a in np.unique(first)])
    both, one, other = (float((n * (n - 1) / 2).sum()) for n in (table, table.sum(1), table.sum(0)))
    chance = one * other / max(len(first) * (len(first) - 1) / 2, 1)
    most = (one + other) / 2
    return 1.0 if most == chance else (both - chance) / (most - chance)


# Figures


def _draw_layers(layers: pd.DataFrame, found: xr.Dataset) -> Figure:
    """Shares by what the source is, layer by layer, a panel for each control."""
    controls, kinds = list(found["control"].values), list(found["kind"].values)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 3.0), facecolor="white", layout="constrained")
        panels = figure.subplots(1, len(controls), sharey=True, squeeze=False)[0]
        for panel, control in zip(panels, controls, strict=True):
            means = layers[layers["control"] == control].pivot_table(index="layer", columns="kind", values="mean")
            below = np.zeros(len(means))
            for kind, colour in zip(kinds, KIND_COLOURS, strict=True):
                panel.bar(means.index, means[kind], bottom=below, color=colour, width=0.82, label=kind)
                below += means[kind].to_numpy()
            set_panel(panel, control, "layer", "share of flow" if panel is panels[0] else "")
            panel.set_xticks(list(means.index))
            panel.set_ylim(0, 1)
            panel.grid(False)
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles[::-1], names[::-1], loc="outside right center", fontsize=7, frameon=False)
    return figure


def _draw_depth(arcs: pd.DataFrame, sources: pd.DataFrame, circuits: pd.DataFrame, change: pd.DataFrame) -> Figure:
    """Relations beyond distance, effective sources, circuits and change through the layers, with intervals."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 5.2), facecolor="white", layout="constrained")
        panels = figure.subplots(2, 2)
        styles = dict(zip(dict.fromkeys(arcs["control"]), ("-", "--", ":"), strict=True))
        for relation, colour in zip(dict.fromkeys(arcs["relation"]), COLOURS, strict=False):
            for control, style in styles.items():
                here = arcs[(arcs["relation"] == relation) & (arcs["control"] == control)]
                draw_line(panels[0, 0], here, "layer", relation if control == PLAIN else "_", colour, style)
        panels[0, 0].axhline(0, color="#444444", linewidth=0.6)
        related = arcs["mean"].notna().any()
        if not related:
            panels[0, 0].text(0.5, 0.6, "the corpus has no dependencies", transform=panels[0, 0].transAxes,
                              fontsize=7, color="#666666", ha="center")  # fmt: skip
        set_panel(panels[0, 0], "relations, beyond distance", "layer", "share of flow")
        for (control, style), colour in zip(styles.items(), COLOURS, strict=False):
            draw_line(panels[0, 1], sources[sources["control"] == control], "layer", control, colour, style)
            draw_line(panels[1, 1], change[change["control"] == control], "layer", control, colour, style)
        set_panel(panels[0, 1], "effective number of sources", "layer", "sources")
        set_panel(panels[1, 1], "flow that goes elsewhere than in the layer before", "layer", "share of flow")
        for name, colour in zip(dict.fromkeys(circuits["circuit"]), COLOURS, strict=False):
            draw_line(panels[1, 0], circuits[circuits["circuit"] == name], "layer", name, colour)
        set_panel(panels[1, 0], "circuits", "layer", "share of sizes")
        for panel in panels.flat:
            panel.set_xticks(sorted(set(sources["layer"])))
            if panel is not panels[1, 1] and (related or panel is not panels[0, 0]):
                panel.legend(fontsize=6.5, frameon=False)
    return figure


def _draw_heads(heads: pd.DataFrame) -> Figure:
    """Layers by heads, a panel for each of what heads do."""
    shown = [
        name for name in ("itself", "previous", "next", "special", "governor", "sources") if heads[name].notna().any()
    ]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 4.6), facecolor="white", layout="constrained")
        panels = figure.subplots(2, 3, squeeze=False).ravel()
        for panel, name in zip(panels, shown, strict=False):
            _draw_cells(figure, panel, heads, name)
        for panel in panels[len(shown) :]:
            panel.set_visible(False)
    return figure


def _draw_cells(figure: Figure, panel: Axes, heads: pd.DataFrame, name: str) -> None:
    cells = heads.pivot_table(index="layer", columns="head", values=name, dropna=False)
    signed = name == "governor"
    most = float(np.nanmax(abs(cells.to_numpy()))) or 1.0
    drawn = panel.pcolormesh(
        cells.to_numpy(), edgecolors="white", linewidth=0.5, cmap="RdBu_r" if signed else "cividis",
        vmin=-most if signed else 0, vmax=most,
    )  # fmt: skip
    panel.set_xticks(np.arange(0, cells.shape[1], 2) + 0.5, [str(each) for each in cells.columns[::2]])
    panel.set_yticks(np.arange(cells.shape[0]) + 0.5, [str(each) for each in cells.index])
    set_panel(panel, "governor, beyond distance" if signed else name, "head", "layer")
    panel.grid(False)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    draw_bar(figure, drawn, panel)
