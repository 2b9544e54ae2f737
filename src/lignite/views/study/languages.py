"""The report of `lignite.study.languages`."""

from collections.abc import Mapping
from itertools import combinations

import matplotlib
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from matplotlib.figure import Figure

from lignite.metrics.readings.statistics import compare_groups, holm
from lignite.views.drawing import STYLE
from lignite.views.study.report import COLOURS, Report, Table, draw_interval, draw_line, set_panel, spoken, summarize
from lignite.views.study.trust import CHANCE, SURE

KINDS = ("special", "punctuation", "beginning", "continuing")
"""Tokens that are none of the text, that have no letter or digit, and the first and the later pieces of words."""

MEASURED = ("insertion-minus-deletion", "comprehensiveness", "sufficiency", "completeness-gap")
PROBED = ("context-correlation-unrelated", "context-change-unrelated")

SHOWN = ("tokens per word", "effective words", "evenness", "continuing, beyond number", "formed", "faithful")
"""Numbers that have a panel."""


def report_languages(found: xr.Dataset) -> Report:
    """Where languages differ, and by how much."""
    numbers = _numbers(found)
    spoken_in = {str(name): found["language"].values == name for name in np.unique(found["language"].values)}
    frames = {name: _by_language(values, spoken_in) for name, values in numbers.items()}
    layers = pd.concat(
        [_by_language(found["settled"], spoken_in).assign(measure="settled")]
        + [_by_language(found["share"].sel(kind=kind, drop=True), spoken_in).assign(measure=kind) for kind in KINDS]
    )
    differing = _compare(numbers, spoken_in)
    together = pd.concat([frame.assign(measure=name) for name, frame in frames.items()])
    tables = {
        "numbers": Table("Language by language", _NUMBERS, together[["measure", "language", *_MEAN]]),
        "differences": Table("Between two languages", _DIFFERENCES, differing),
        "layers": Table("Layer by layer", _LAYERS, layers[["measure", "language", "layer", *_MEAN]]),
    }
    return Report(
        f"Is {found.attrs['model']} explained alike in every language?",
        "One model reads several languages. Are its predictions explained by as many words, as faithfully, by the same "
        "kinds of token, and from the same layer on?",
        tuple(_tell(found, frames, differing)),
        tables,
        {"languages": _draw(frames, layers)},
    )


_MEAN = ("mean", "low", "high", "n")
_NUMBERS = (
    "Mean over examples with its 95 % interval. `effective words`: the exponential of the entropy of words' shares in "
    "relevance; `evenness` is that entropy as a share of its largest. Shares of punctuation and of the continuing "
    "pieces of words are those in the lowest layer, `beyond number` less their share of the tokens; those of special "
    "tokens in the highest. `formed`: the layer from which on the ranks of words are those in the highest (above 0.9)."
)
_DIFFERENCES = (
    "`first` less `second`, of different examples, with the 95 % interval of a bootstrap of both; `p` is corrected for "
    "the number of rows (Holm)."
)
_LAYERS = (
    "`settled`: rank correlation over words of a layer's relevance with that in the highest; and the share of every "
    "kind of token in the sizes of a layer's relevance. Mean over examples with the 95 % interval."
)


def _numbers(found: xr.Dataset) -> dict[str, xr.DataArray]:
    """Every number that is compared, one for each example."""
    lowest, highest = (found["share"].isel(layer=layer, drop=True) for layer in (0, -1))
    of_kind = {kind: lowest.sel(kind=kind, drop=True) for kind in KINDS}
    share = {kind: found["token_share"].sel(kind=kind, drop=True) for kind in KINDS}
    method = next(str(name) for name in found["method"].values if name != CHANCE)
    score = found["score"].transpose("sentence", "method", "measure")
    first: dict[str, int] = {}
    for place, metric in enumerate(found["metric"].values):
        first.setdefault(str(metric), place)  # of several fills the first: their mean
    scores = {name: score.isel(measure=place, drop=True) for name, place in first.items()}
    faithful = scores.pop(MEASURED[0])
    return {
        "right": found["correct"],
        "tokens per word": found["fertility"],
        "words": found["words"],
        "effective words": found["sources"],
        "evenness": found["evenness"],
        "punctuation": of_kind["punctuation"],
        "continuing": of_kind["continuing"],
        "punctuation, beyond number": of_kind["punctuation"] - share["punctuation"],
        "continuing, beyond number": of_kind["continuing"] - share["continuing"],
        "special, highest layer": highest.sel(kind="special", drop=True),
        "formed": found["formed"],
        "faithful": faithful.sel({"method": method}, drop=True),
        "faithful beyond chance": (
            faithful.sel({"method": method}, drop=True) - faithful.sel({"method": CHANCE}, drop=True)
        ),
        **{name: own.sel({"method": method}, drop=True) for name, own in scores.items()},
    }


def _by_language(values: xr.DataArray, spoken_in: Mapping[str, np.ndarray]) -> pd.DataFrame:
    parts = [summarize(values.isel(sentence=own)).assign(language=name) for name, own in spoken_in.items()]
    return pd.concat(parts, ignore_index=True)


def _compare(numbers: Mapping[str, xr.DataArray], spoken_in: Mapping[str, np.ndarray]) -> pd.DataFrame:
    rows = []
    for name, values in numbers.items():
        for first, second in combinations(spoken_in, 2):
            found = compare_groups(values.values[spoken_in[first]], values.values[spoken_in[second]])
            row = {"measure": name, "first": first, "second": second, "mean": found.difference}
            rows.append({**row, "low": found.low, "high": found.high, "p": found.p})
    frame = pd.DataFrame(rows)
    return frame.assign(p=holm(frame["p"]))


_SAID = {
    "right": "The model is right on so many of the examples",
    "tokens per word": "A word is cut into so many tokens",
    "effective words": "Relevance is on so many words, effectively",
    "evenness": "It is spread this evenly over words (1: over all alike)",
    "continuing, beyond number": "The later pieces of words have more of the relevance than of the tokens by",
    "formed": "From this layer on the ranks of words are those of the highest",
    "faithful": f"Faithfulness ({MEASURED[0]}, neutral fills)",
    PROBED[0]: "When unrelated words change places, the ranks of what stays correlate by",
}


def _tell(found: xr.Dataset, frames: Mapping[str, pd.DataFrame], differing: pd.DataFrame) -> list[str]:
    told = []
    for name, said in _SAID.items():
        known = frames[name].dropna(subset=["mean"])
        if len(known):
            listed = ", ".join(f"{row['language']} {spoken(row)}" for _, row in known.iterrows())
            told.append(f"{said}: {listed}.{_say_differences(differing[differing['measure'] == name])}")
    sure = int((differing["p"] <= SURE).sum())
    told.append(
        f"Of {int(differing['p'].notna().sum())} comparisons of two languages {sure} differ by more than chance, "
        "corrected for their number."
    )
    return told


def _say_differences(rows: pd.DataFrame) -> str:
    sure = rows[rows["p"] <= SURE]
    if not rows["p"].notna().any():
        return ""
    if sure.empty:
        return " No two languages differ by more than chance."
    listed = ", ".join(f"{row['first']} − {row['second']} {spoken(row)}" for _, row in sure.iterrows())
    return f" They differ: {listed}."


def _draw(frames: Mapping[str, pd.DataFrame], layers: pd.DataFrame) -> Figure:
    """A panel for each leading number, a row for each language; and how layers near the highest."""
    shown = [name for name in SHOWN if frames[name]["mean"].notna().any()]
    languages = list(dict.fromkeys(layers["language"]))
    colours = dict(zip(languages, COLOURS * len(languages), strict=False))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 2.6 + 0.36 * len(languages)), facecolor="white", layout="constrained")
        grid = figure.add_gridspec(2, 5)
        panels = [figure.add_subplot(grid[place // 3, place % 3]) for place in range(len(shown))]
        for panel, name in zip(panels, shown, strict=True):
            for at, language in enumerate(languages):
                row = frames[name][frames[name]["language"] == language].iloc[0]
                draw_interval(panel, row, at, colours[language])
            set_panel(panel, name, "", "")
            first = panel.get_subplotspec().colspan.start == 0  # type: ignore[union-attr]
            panel.set_yticks(range(len(languages)), languages if first else [""] * len(languages))
            panel.set_ylim(len(languages) - 0.5, -0.5)
            panel.locator_params(axis="x", nbins=4)
        along = figure.add_subplot(grid[:, 3:])
        for language, colour in colours.items():
            here = layers[(layers["measure"] == "settled") & (layers["language"] == language)]
            draw_line(along, here, "layer", language, colour)
        set_panel(along, "rank correlation with the highest layer", "layer", "")
        along.set_xticks(sorted(set(layers["layer"].astype(int))))
        along.legend(fontsize=6.5, frameon=False)
    return figure
