"""Ask whether explanations depend on what the model has learnt: noise for weights, and labels dealt out by lot.

    python recipes/sanity.py [--shared FOLDER] [--limit N]

Needs out/data/sst-dev.jsonl and out/models/label-random. The table goes to docs/results/sanity.md, between
<!-- sanity --> and <!-- end of sanity -->.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import lignite
from data import ROOT, prepared, shared_folder
from lignite.api.evaluate_request import read_methods
from lignite.api.units import hash_weights
from lignite.methods import Method
from lignite.methods.scoring.rows import explain_rows
from lignite.metrics.asking.sanity import compare_explanations, weight_randomization
from lignite.metrics.readings.statistics import interval
from lignite.targets.ask import ask
from lignite.targets.rows import Row
from tables import FEW, insert, number, pages

METHODS = (*FEW, "occlusion")
SEED = 0
LIMIT = 8


def relevances(model: lignite.Model, rows: Sequence[Row], method: Method) -> list[np.ndarray]:
    return [found["relevance"].values for found in explain_rows(model, rows, method)]


def cell(scores: np.ndarray) -> str:
    """Mean rank correlation with its interval."""
    found = interval(scores, seed=SEED)
    return f"{number(found.mean)} [{number(found.low)}, {number(found.high)}]"


def measure(learnt: lignite.Model, dealt: lignite.Model, texts: Sequence[str]) -> list[str]:
    """Markdown rows: method, a column for every stage of noise, and one for the model of dealt labels."""
    rows = ask(learnt, texts)
    lines: list[str] = []
    for method in read_methods(METHODS, seed=SEED):
        before = relevances(learnt, rows, method.method)
        noisy: xr.Dataset = weight_randomization(
            learnt,
            rows,
            lambda some, method=method: relevances(learnt, some, method.method),
            relevances=before,
            seed=SEED,
        )
        other = compare_explanations(rows, before, relevances(dealt, rows, method.method))
        stages = [str(stage) for stage in noisy["stage"].values]
        if not lines:
            names = [stage if place == 0 else f"and {stage}" for place, stage in enumerate(stages)]
            lines = [f"| method | {' | '.join(names)} | labels |", f"| --- |{' --- |' * (len(stages) + 1)}"]
        cells = [cell(noisy["rank_correlation"].sel(stage=stage).values) for stage in stages]
        lines.append(f"| `{method.name}` | {' | '.join(cells)} | {cell(other['rank_correlation'].values)} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="Weight and label randomization.")
    parser.add_argument("--shared", type=Path, help="folder with data/ and models/ (default: LIGNITE_SHARED)")
    parser.add_argument("--limit", type=int, default=LIMIT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    learnt = lignite.load(shared_folder(arguments.shared) / "models" / "sst-minilm")
    dealt = lignite.load(ROOT / "out" / "models" / "label-random")
    texts = [row["text"] for row in prepared("sst", "dev")[: arguments.limit]]

    table = measure(learnt, dealt, texts)
    content = [
        f"Rank correlation (Spearman) of explanations of the same output before and after, the mean of {len(texts)} "
        "sentences of `sst`, dev, with 95 % bootstrap intervals; near 0 is what a method should have. From left to "
        "right the head, then block after block from the last to the first, then the embeddings become noise, all that "
        f"came before staying noise (seed {SEED}). `labels`: the same model trained on labels dealt out by lot. Models "
        f"`sst-minilm`, sha256 `{hash_weights(learnt)[:16]}…`, and `label-random`, `{hash_weights(dealt)[:16]}…`.",
        "",
        "    python recipes/sanity.py" + (f" --limit {arguments.limit}" if arguments.limit != LIMIT else ""),
        "",
        *table,
    ]
    trial = arguments.limit != LIMIT
    insert(pages(trial), "sanity", "Sanity", "\n".join(content))


if __name__ == "__main__":
    main()
