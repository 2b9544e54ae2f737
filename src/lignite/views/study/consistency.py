"""The report of `lignite.study.consistency`."""

from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from matplotlib.figure import Figure

from lignite.metrics.readings.agreement import MEASURES
from lignite.metrics.readings.pairings import CORRELATIONS, DIAGONALS, PAIRING, rank_pairings
from lignite.views.drawing import STYLE, choose_ink
from lignite.views.study.report import COLOURS, Report, Table, draw_line, set_panel, spoken

LEADING = "spearman"
"""The measure of the pictures: its unit is that of no map, so that products may be compared as well."""

NAMED = ("attention_start", "zero")
"""Starts of the MLP map that the paper finds best, with attention from the target token."""

SHOWN = 5
"""Pairings in the picture of layers."""


def report_consistency(compared: xr.Dataset) -> Report:
    """Which starts make a layer told in two steps agree with the layer told at once."""
    ranked = {measure: rank_pairings(compared, measure) for measure in MEASURES}
    by_claim = _claims(compared, ranked)
    by_layer = {
        layer: rank_pairings(compared, LEADING, layer=layer).set_index(list(PAIRING))
        for layer in compared["layer"].values.tolist()
    }
    tables = {
        "claims": Table(
            "Where the paper's pairing stands",
            "For every measure, with and without what a token gives itself: the best of all pairings, and the best of "
            "those with attention from the target token and the MLP from the attention's start or from zero. `behind` "
            "is how much it agrees less than the best in the same sentences, with its interval.",
            by_claim,
        ),
        **{
            measure: Table(
                f"All pairings by {measure}",
                f"Without the diagonal; mean over layers, then over sentences, with the 95 % interval over sentences. "
                f"{'More' if measure in CORRELATIONS else 'Less'} is better.",
                ranked[measure],
            )
            for measure in MEASURES
        },
        "layers": Table(
            "The best pairing and the paper's, layer by layer", _LAYERS, _tabulate_layers(by_layer, ranked[LEADING])
        ),
    }
    figures = {"pairings": _draw_pairings(compared), "layers": _draw_layers(by_layer, ranked[LEADING])}
    return Report(
        "Does attention followed by the MLP tell the same as the whole layer?",
        "A layer is explained at once, and in two steps whose scores are joined. Each needs a start for its path. "
        "Which starts make the two agree?",
        tuple(_findings(compared, ranked[LEADING], by_claim)),
        tables,
        figures,
    )


_LAYERS = (
    "Mean over sentences, with the 95 % interval over sentences; spearman without the diagonal. Where both rows are "
    "one, the best pairing is the paper's."
)


def _is_named(ranked: pd.DataFrame) -> pd.Series:
    """Pairings that the paper finds among the best."""
    return (ranked["attention"] == "target_token") & ranked["mlp"].isin(NAMED) & (ranked["whole"] == "target_token")


def _claims(compared: xr.Dataset, without: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    rows = []
    for measure in MEASURES:
        for diagonal in DIAGONALS:
            ranked = without[measure] if diagonal == "without" else rank_pairings(compared, measure, diagonal=diagonal)
            best, named = ranked.iloc[0], ranked[_is_named(ranked)].iloc[0]
            rows.append(
                {
                    "measure": measure,
                    "diagonal": diagonal,
                    "best": _name(best),
                    "best_mean": best["mean"],
                    "paper": _name(named),
                    "rank": int(named.name) + 1,
                    **{key: named[key] for key in ("mean", "low", "high", "behind", "behind_low", "behind_high")},
                }
            )
    return pd.DataFrame(rows)


def _name(pairing: Mapping[str, object] | pd.Series) -> str:
    return f"{pairing['attention']} + {pairing['mlp']}, {pairing['composition']}, against {pairing['whole']}"


def _findings(compared: xr.Dataset, ranked: pd.DataFrame, claims: pd.DataFrame) -> list[str]:
    n, best = compared.sizes["sentence"], ranked.iloc[0]
    first = (
        f"Over {n} sentences the two agree best, by rank and without the diagonal, from {_name(best)}: {spoken(best)}."
    )
    kept = int((claims["rank"] == 1).sum())
    close = int(((claims["behind_low"] <= 0) & (claims["rank"] > 1)).sum())
    second = (
        "The pairings that the paper finds best (attention from the target token, the MLP from the attention's start "
        f"or from zero) lead under {kept} of {len(claims)} measures"
        + (f", and are level with the best under {close} more." if close else ".")
    )
    starts = ranked.groupby("mlp", sort=False)["mean"].max()
    third = "The best pairing with each start of the MLP map: " + ", ".join(
        f"{start} {mean:.3f}" for start, mean in starts.items()
    )
    return [first, second, f"{third}."]


def _chosen(ranked: pd.DataFrame) -> dict[str, dict[str, str]]:
    """The best pairing and the paper's, by what they are called."""
    rows = {"best": ranked.iloc[0], "paper": ranked[_is_named(ranked)].iloc[0]}
    return {name: {axis: str(row[axis]) for axis in PAIRING} for name, row in rows.items()}


def _tabulate_layers(by_layer: Mapping[int, pd.DataFrame], ranked: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for layer, here in by_layer.items():
        for name, pairing in _chosen(ranked).items():
            found = here.loc[tuple(pairing[axis] for axis in PAIRING)]
            rows.append({"layer": layer, "pairing": name, **{key: found[key] for key in ("mean", "low", "high", "n")}})
    return pd.DataFrame(rows)


def _draw_pairings(compared: xr.Dataset) -> Figure:
    """A panel for each composition: rows are the starts of the two steps, columns that of the whole."""
    means = compared[LEADING].sel(diagonal="without").mean(["layer", "sentence"])
    rows = [(attention, mlp) for attention in means["attention"].values for mlp in means["mlp"].values]
    wholes, joins = means["whole"].values.tolist(), means["composition"].values.tolist()
    with matplotlib.rc_context(STYLE):
        figure = Figure(
            figsize=(4.2 + 2.6 * len(joins), 0.9 + 0.36 * len(rows)), facecolor="white", layout="constrained"
        )
        panels = figure.subplots(1, len(joins), sharey=True, squeeze=False)[0]
        for panel, composition in zip(panels, joins, strict=True):
            values = np.array(
                [
                    [float(means.sel(attention=a, mlp=m, whole=w, composition=composition)) for w in wholes]
                    for a, m in rows
                ]
            )
            least = min(0.0, float(np.nanmin(values)))
            cells = panel.pcolormesh(values, cmap="cividis", vmin=least, vmax=1, edgecolors="white", linewidth=0.8)
            for (row, column), value in np.ndenumerate(values):
                if np.isfinite(value):
                    ink = choose_ink(cells.cmap(cells.norm(value))[:3])
                    panel.text(column + 0.5, row + 0.5, f"{value:.2f}", ha="center", va="center", fontsize=7, color=ink)
            panel.set_ylim(len(rows), 0)
            panel.set_xticks(np.arange(len(wholes)) + 0.5, [name.replace("/", "\n") for name in wholes], fontsize=7)
            panel.set_yticks(np.arange(len(rows)) + 0.5, [f"{a}  +  {m}" for a, m in rows], fontsize=7)
            panel.set_title(composition, fontsize=8, loc="left")
            panel.set_xlabel("start of the whole", fontsize=7)
            panel.tick_params(length=0)
            panel.spines[:].set_visible(False)
        panels[0].set_ylabel("start of attention + start of the MLP", fontsize=7)
        figure.suptitle("Rank correlation of composed with whole, without the diagonal", fontsize=9, x=0.01, ha="left")
    return figure


def _draw_layers(by_layer: Mapping[int, pd.DataFrame], ranked: pd.DataFrame) -> Figure:
    """The best pairings through the layers, with intervals."""
    layers = list(by_layer)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.4), facecolor="white", layout="constrained")
        panel = figure.subplots()
        for (_, row), colour in zip(ranked.head(SHOWN).iterrows(), COLOURS, strict=False):
            found = pd.DataFrame([table.loc[tuple(row[axis] for axis in PAIRING)] for table in by_layer.values()])
            draw_line(panel, found.assign(layer=layers), "layer", _name(row), colour)
        panel.set_xticks(layers)
        set_panel(panel, "", "layer", "rank correlation")
        figure.legend(loc="outside lower left", fontsize=6.5, frameon=False)
    return figure
