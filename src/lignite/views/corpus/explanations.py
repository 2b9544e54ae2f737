"""The explanations of a corpus, summed up: words of every class, layers, words that turned a decision."""

from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from matplotlib.figure import Figure

from lignite.metrics.readings.statistics import interval
from lignite.results.folder import Explanations
from lignite.views.drawing import STYLE
from lignite.views.study.report import COLOURS, RESAMPLES, Report, Table, draw_line, set_panel, spoken
from lignite.wording import counted, shorten

WORDS = 15
"""Shown of each class."""

FEWEST = 3
"""Examples that a word has to stand in, where any word does: what is said of one is no rule."""

TURNED = 20
"""Examples shown in which a word turned the decision."""

BY_LAYER = ("layer_relevance", "layer_ig")
"""Variables that say how relevance lies in the layers, the first that there is."""


def report_explanations(found: Explanations) -> Report:
    """What the explanations of a corpus say together."""
    examples = found.examples[found.examples["failure"].isna()].set_index("example")
    words = words_of(found.tokens, examples)
    strongest, turned, layers = rank_words(words), find_turned(words, examples), layers_of(found.tokens)
    tables = {}
    if len(words):  # pictures have none
        tables["words"] = Table("Words", _WORDS, strongest)
        tables["turned"] = Table("Words that turned the decision", _TURNED, turned.head(TURNED))
    if layers is not None:
        tables["layers"] = Table("Layers", _LAYERS, layers)
    return Report(
        "What do the explanations say together?",
        f"{counted(len(examples), 'explanation')} by {found.manifest['request']['method']}, of "
        f"{counted(found.manifest['rows'], 'row')}.",
        tuple(_tell(found, examples, strongest, turned)),
        tables,
        {} if layers is None else {"layers": _draw(layers)},
    )


_WORDS = (
    "Relevance of a word for the class that was explained, summed over its pieces and its places in a text; mean over "
    f"the texts that have it, with the 95 % interval of a bootstrap over them. Words of fewer than {FEWEST} texts are "
    "left out, unless all are."
)
_TURNED = (
    "Texts in which a single word is more relevant than the margin, the logit of the prediction less that of the "
    "second class: without what it gives, the model would not have decided so. Largest excess first."
)
_LAYERS = (
    "`size`: sum of the magnitudes of all tokens' relevance in the states that enter a layer. `special`: the share of "
    "it that special tokens hold. Mean over texts, with the 95 % interval."
)


def words_of(tokens: pd.DataFrame, examples: pd.DataFrame) -> pd.DataFrame:
    """A row for every different word of every text: `example`, `target`, `word` and its `relevance` there."""
    own = tokens[~tokens["special"] & (tokens["word"] >= 0)]
    places = own.groupby(["example", "word"], sort=True).agg(
        relevance=("relevance", "sum"), start=("start", "min"), stop=("stop", "max"), token=("token", "first")
    )
    places = places.reset_index()
    texts = examples["text"]
    spelled = [
        texts[row.example][row.start : row.stop].casefold() if row.start >= 0 else row.token
        for row in places.itertuples(index=False)
    ]
    found = places.assign(word=spelled)
    found = found[np.asarray([any(map(str.isalnum, word)) for word in found["word"]], dtype=bool)]
    found = found.groupby(["example", "word"], as_index=False)["relevance"].sum()
    return found.assign(target=found["example"].map(examples["target"]))


def rank_words(words: pd.DataFrame) -> pd.DataFrame:
    """Words of each class by their mean relevance, with the number of texts and the interval."""
    rows = []
    for target, of_class in words.groupby("target"):
        counts = of_class["word"].value_counts()
        often = counts[counts >= FEWEST] if (counts >= FEWEST).any() else counts
        means = of_class[of_class["word"].isin(often.index)].groupby("word")["relevance"].mean()
        for word in means.sort_values(ascending=False, kind="stable").head(WORDS).index:
            known = interval(of_class.loc[of_class["word"] == word, "relevance"].to_numpy(), n_resamples=RESAMPLES)
            rows.append((target, word, known.mean, known.low, known.high, known.n))
    return pd.DataFrame(rows, columns=["class", "word", "mean", "low", "high", "n"])


def find_turned(words: pd.DataFrame, examples: pd.DataFrame) -> pd.DataFrame:
    """Texts in which one word is more relevant than the margin of the prediction."""
    columns = ["id", "word", "relevance", "margin", "prediction", "text"]
    if "logit" not in examples:
        return pd.DataFrame(columns=columns)
    asked = examples[examples["prediction"] == examples["target"]]
    margins = asked["logit"].map(_margin)
    strongest = words.sort_values("relevance", ascending=False, kind="stable").drop_duplicates("example")
    found = strongest.assign(margin=strongest["example"].map(margins)).dropna(subset="margin")
    found = found[found["relevance"] > found["margin"]]
    found = found.assign(
        **{name: found["example"].map(examples[name]) for name in ("id", "prediction")},
        text=[shorten(text, 120) for text in found["example"].map(examples["text"])],
    )
    order = (found["margin"] - found["relevance"]).sort_values(kind="stable").index
    return found.loc[order, columns].reset_index(drop=True)


def _margin(logits: Any) -> float:
    """How far the first class is ahead of the second; not a number for one alone, which has nothing to win against."""
    if logits is None or len(logits) < 2:
        return float("nan")
    second, first = np.sort(np.asarray(logits))[-2:]
    return float(first - second)


def layers_of(tokens: pd.DataFrame) -> pd.DataFrame | None:
    """How much relevance lies in every layer, and which share of it on special tokens; None without layers."""
    name = next((name for name in BY_LAYER if name in tokens), None)
    if name is None:
        return None
    sizes = np.abs(np.stack([np.asarray(cell) for cell in tokens[name]]))
    every = pd.DataFrame(sizes).groupby(tokens["example"].to_numpy()).sum()
    special = pd.DataFrame(sizes * tokens["special"].to_numpy()[:, None]).groupby(tokens["example"].to_numpy()).sum()
    return pd.DataFrame(
        [
            {"measure": measure, "layer": layer, "mean": known.mean, "low": known.low, "high": known.high, "n": known.n}
            for measure, values in (("size", every), ("special", special / every.where(every > 0)))
            for layer in values.columns
            for known in [interval(values[layer].to_numpy(), n_resamples=RESAMPLES)]
        ]
    )


def _tell(found: Explanations, examples: pd.DataFrame, strongest: pd.DataFrame, turned: pd.DataFrame) -> Iterator[str]:
    for target, rows in strongest.groupby("class"):
        yield f"For {target}: {_listed(rows.head(5).to_dict('records'))}."
    if len(turned):
        first = turned.iloc[0]
        yield (
            f"In {len(turned)} of {len(examples)} texts a single word is more relevant than the margin; most of all "
            f"{first['word']!r} in {first['id']!r} ({first['relevance']:.2f} of {first['margin']:.2f})."
        )
    if examples["largest_gap"].notna().any():
        missed = int((~examples["within_tolerance"].astype(bool)).sum())
        yield f"{missed} of {len(examples)} explanations miss more than their tolerance."
    else:
        yield "This method promises no sum, so nothing tells whether parts are missing."
    failed = len(found.examples) - len(examples)
    if failed:
        reason = found.examples["failure"].dropna().iloc[0]
        yield f"{counted(failed, 'row')} failed; the first: {reason}"


def _listed(rows: Sequence[Any]) -> str:
    return ", ".join(f"{row['word']} {spoken(row)} in {row['n']}" for row in rows)


def _draw(layers: pd.DataFrame) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 2.7), facecolor="white", layout="constrained")
        for panel, (measure, title) in zip(figure.subplots(1, 2), _TITLES.items(), strict=True):
            draw_line(panel, layers[layers["measure"] == measure], "layer", measure, COLOURS[0])
            set_panel(panel, title, "layer", measure)
            panel.set_ylim(bottom=0)
            panel.set_xticks(sorted(set(layers["layer"])))
    return figure


_TITLES = {"size": "magnitude of relevance", "special": "share on special tokens"}
