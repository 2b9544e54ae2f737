"""The flows of a corpus, summed up: by layer and head, by distance, by part of speech, and from special tokens."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from matplotlib.figure import Figure

from lignite.metrics.readings.statistics import interval
from lignite.results.kept import check_every_source, fill
from lignite.results.schema import FLOW
from lignite.views.drawing import STYLE
from lignite.views.study.report import COLOURS, RESAMPLES, Report, Table, draw_line, set_panel, spoken
from lignite.wording import counted

FAR = (0, 1, 2, 3, 4, 8, 16, 32)
"""Distances in tokens, each up to the next, by which flows are told apart."""

BETWEEN_TOKENS = tuple(name for name, each in FLOW.maps.items() if each.certificates and "source" in each.dims)
"""Maps from token to token."""

TAG = "part of speech"
PLACES = ("head", "distance", TAG)
"""Measures that have several numbers for a layer, by what tells these apart."""

Measures = dict[tuple[str, ...], list[float]]
"""A number per text, by measure, map and place."""


def report_flows(tree: xr.DataTree, rows: int, failures: dict[str, str]) -> Report:
    """What the flows of a corpus say together."""
    measures: Measures = defaultdict(list)
    for node in tree.children.values():  # one after the other: a flow is read, and forgotten
        measure_flow(node.to_dataset(), measures)
    table = _as_table(measures)
    heads, tags = table[table["measure"] == "head"], table[table["measure"] == TAG]
    layers = table[~table["measure"].isin(("head", TAG))]
    tables = {"layers": Table("Layers and distances", _LAYERS, layers.drop(columns=["head", TAG]))}
    for name, title, about, some in (("tags", "Parts of speech", _TAGS, tags), ("heads", "Heads", _HEADS, heads)):
        if len(some):
            tables[name] = Table(title, about, some.sort_values("mean", ascending=False, kind="stable"))
    return Report(
        "What do the flows say together?",
        f"{counted(len(tree.children), 'flow')} of {counted(rows, 'row')}.",
        tuple(_tell(table, failures)),
        tables,
        {"flows": _draw(layers)},
    )


_LAYERS = (
    "`size`: sum of the magnitudes of what all sources give a target. `special`: the share of it that comes from "
    "special tokens. `distance`: the share that comes from so many tokens away, up to the next distance. `kept`: where "
    "only the strongest sources were kept, their share. Mean over targets, then over texts, with the 95 % interval."
)
_TAGS = (
    "The share of what a target receives that comes from words of this part of speech; mean over targets, then over "
    "the texts that have such words, with the 95 % interval."
)
_HEADS = "As `size`, for every head of `attention`; mean over targets, then over texts, with the 95 % interval."


def measure_flow(flow: xr.Dataset, measures: Measures) -> None:
    """Measure one flow: how much, from where, and through which head.

    Where the strongest sources were kept, others are in what a target receives and in no share of it.
    """
    dropped = {name: flow[f"{name}_dropped_mass"].values for name in BETWEEN_TOKENS if f"{name}_dropped_mass" in flow}
    flow = fill(flow) if dropped else flow
    check_every_source(flow, "what is said of a corpus is read from")
    away = np.abs(flow["target"].values[:, None] - flow["source"].values)
    special = flow["source_special"].values
    tags = flow["source_tag"].values if "source_tag" in flow.coords else np.empty(0, np.str_)
    for name in BETWEEN_TOKENS:
        if name not in flow:
            continue
        sizes = np.abs(flow[name].values.astype(np.float64))
        received = sizes.sum(-1) + dropped.get(name, 0.0)
        if "head" in flow[name].dims:
            for head, of_head in zip(flow["head"].values, np.moveaxis(received, 1, 0), strict=True):
                _add(measures, flow, ("head", name, str(head)), of_head.mean(-1))
            sizes, received = sizes.sum(1), received.sum(1)
        shares = sizes / np.where(received > 0, received, np.nan)[..., None]
        _add(measures, flow, ("size", name, ""), received.mean(-1))
        if name in dropped:
            _add(measures, flow, ("kept", name, ""), _mean(shares.sum(-1)))
        _add(measures, flow, ("special", name, ""), _mean((shares * special).sum(-1)))
        for tag in sorted({*tags} - {""}):
            _add(measures, flow, (TAG, name, tag), _mean((shares * (tags == tag)).sum(-1)))
        for near, far in zip(FAR, (*FAR[1:], np.inf), strict=True):
            _add(
                measures, flow, ("distance", name, str(near)), _mean((shares * ((away >= near) & (away < far))).sum(-1))
            )


def _mean(shares: np.ndarray) -> np.ndarray:
    """Mean over the targets that receive anything."""
    known = ~np.isnan(shares)
    return np.where(known, shares, 0).sum(-1) / np.where(known.any(-1), known.sum(-1), np.nan)


def _add(measures: Measures, flow: xr.Dataset, key: tuple[str, str, str], by_layer: np.ndarray) -> None:
    for layer, value in zip(flow["layer"].values, by_layer, strict=True):
        measures[(*key, str(layer))].append(float(value))


def _as_table(measures: Measures) -> pd.DataFrame:
    rows = []
    for (measure, name, place, layer), values in measures.items():
        known = interval(values, n_resamples=RESAMPLES)
        at = [place if measure == each else "" for each in PLACES]
        rows.append((measure, name, int(layer), *at, known.mean, known.low, known.high, known.n))
    columns = ["measure", "map", "layer", *PLACES, "mean", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


def _tell(table: pd.DataFrame, failures: dict[str, str]) -> Iterator[str]:
    heads = table[table["measure"] == "head"].sort_values("mean", ascending=False, kind="stable")
    if len(heads):
        listed = "; ".join(f"head {row['head']} of layer {row['layer']} {spoken(row)}" for row in _rows(heads.head(3)))
        yield f"Most flows through {listed}."
    for name in dict.fromkeys(table["map"]):
        here = table[table["map"] == name]
        special = here[here["measure"] == "special"]
        most = special.loc[special["mean"].idxmax()]
        near = here[(here["measure"] == "distance") & here["distance"].isin(("1", "2", "3"))]
        share = near.groupby("layer")["mean"].sum()
        kept = here[here["measure"] == "kept"]["mean"]
        if len(kept):
            yield (
                f"{name}: the sources that were kept give {kept.min():.2f} to {kept.max():.2f} of what is received, by "
                "layer; the others are in no share."
            )
        yield (
            f"{name}: special tokens give most in layer {most['layer']} ({spoken(most)} of what is received); "
            f"neighbours up to three tokens away give {share.min():.2f} to {share.max():.2f}, by layer."
        )
        if len(tags := here[here["measure"] == TAG]):
            most = tags.loc[tags["mean"].idxmax()]
            yield f"{name}: words that are {most[TAG]} give most in layer {most['layer']} ({spoken(most)})."
    if failures:
        yield f"{counted(len(failures), 'row')} failed; the first: {next(iter(failures.values()))}"


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return table.to_dict("records")


def _draw(layers: pd.DataFrame) -> Figure:
    """Layers as lines: how much is given, and how much of it by special tokens; and how far it comes from."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 2.7), facecolor="white", layout="constrained")
        panels = figure.subplots(1, 3)
        for name, colour in zip(dict.fromkeys(layers["map"]), COLOURS, strict=False):
            here = layers[layers["map"] == name]
            for panel, measure in zip(panels, ("size", "special"), strict=False):
                draw_line(panel, here[here["measure"] == measure], "layer", name, colour)
            far = here[here["measure"] == "distance"].groupby("distance", sort=False)[["mean", "low", "high"]].mean()
            draw_line(panels[2], far.reset_index().assign(at=range(len(far))), "at", name, colour)
        set_panel(panels[0], "what a target receives", "layer", "size")
        set_panel(panels[1], "share from special tokens", "layer", "share")
        set_panel(panels[2], "share by distance", "tokens away", "share")
        panels[2].set_xticks(range(len(FAR)), [str(each) for each in FAR])
        for panel in panels[:2]:
            panel.set_xticks(sorted(set(layers["layer"])))
        for panel in panels:
            panel.set_ylim(bottom=0)
        panels[0].legend(fontsize=6.5, frameon=False)
    return figure
