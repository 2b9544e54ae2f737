"""Cost of the removal measures: CPU seconds of one batched call and of loops that ask one question at a time.

python bench/metrics.py [--texts N] [--methods N]
"""

import argparse
import platform
from collections.abc import Sequence

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

import lignite
from clock import seconds_of
from lignite.metrics.asking.faithfulness import BINS, LOG_ODDS_BIN, faithfulness, n_removed
from lignite.targets.ask import ask, predict
from lignite.targets.edits import filler, removable, remove_tokens, replace_tokens
from lignite.targets.rows import Row

STEPS = 10
FILLS = ("mask", "pad", "delete")
"""Those of one text for every question; words that are drawn ask as often as they are drawn."""


def bert(n_layers: int, width: int, n_heads: int) -> lignite.Model:
    """A BERT classifier of some size with random weights: speed does not depend on what it has learnt."""
    torch.manual_seed(0)
    config = BertConfig(
        num_hidden_layers=n_layers, hidden_size=width, num_attention_heads=n_heads, intermediate_size=4 * width
    )
    tokenizer = lignite.load("tiny-sentiment").tokenizer
    network = BertForSequenceClassification(config).eval()
    return lignite.wrap(network, tokenizer, name=f"{n_layers} layers, width {width}")


def texts(n_texts: int) -> list[str]:
    """Random words in sentences as long as those of the Stanford Sentiment Treebank: 19 words, give or take 9."""
    generator = np.random.default_rng(0)
    words = ["the", "a", "film", "plot", "acting", "was", "not", "very", "good", "bad", "thin", "superb", "and", "but"]
    lengths = np.clip(generator.normal(19, 9, size=n_texts), 3, 50).astype(int)
    return [" ".join(generator.choice(words, size=length)) for length in lengths]


def removed_by_measure(order: Sequence[int]) -> dict[str, list[Sequence[int]]]:
    """What each measure would remove if it were computed by itself."""
    n = len(order)
    counts = [n_removed(step, STEPS, n) for step in range(STEPS + 1)]
    bins = [n_removed(share, 100, n) for share in BINS]
    return {
        "deletion": [order[:count] for count in counts],
        "insertion": [order[n - count :] for count in counts],
        "comprehensiveness": [[], *(order[:count] for count in bins)],
        "sufficiency": [[], *(order[count:] for count in bins)],
        "log-odds": [[], order[: n_removed(LOG_ODDS_BIN, 100, n)]],
        "decision flip": [order[:count] for count in counts],
    }


def edited(model: lignite.Model, row: Row, places: Sequence[int], fill: str) -> Row:
    """The row with some words taken out."""
    if not len(places):
        return row
    return remove_tokens(row, places) if fill == "delete" else replace_tokens(row, places, filler(model, fill))


def loop(model: lignite.Model, rows: Sequence[Row], methods: dict[str, list[np.ndarray]], *, once: bool) -> None:
    """Ask one question at a time; `once` asks each question of a text, method and fill once for all measures."""
    for relevances in methods.values():
        for row, relevance in zip(rows, relevances, strict=True):
            order = sorted(removable(row), key=lambda place, relevance=relevance: -relevance[place])
            for fill in FILLS:
                wanted = [tuple(sorted(gone)) for several in removed_by_measure(order).values() for gone in several]
                for gone in dict.fromkeys(wanted) if once else wanted:
                    predict(model, [edited(model, row, gone, fill)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--methods", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, one thread, torch {torch.__version__}; ", end="")
    print(f"{options.texts} texts, {options.methods} random rankings, fills {', '.join(FILLS)}, {STEPS} steps\n")
    print("| model | batched, s | loop, each question once, s | ratio | loop for each measure, s | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    for model in (lignite.load("tiny-sentiment"), bert(6, 384, 12)):
        rows = ask(model, texts(options.texts))
        methods = {
            str(seed): [
                np.random.default_rng([seed, place]).standard_normal(row.n_tokens) for place, row in enumerate(rows)
            ]
            for seed in range(options.methods)
        }
        faithfulness(model, rows[:2], methods["0"][:2], fills=FILLS)  # not counted: padding is tried out
        batched = seconds_of(lambda m=model, r=rows, w=methods: faithfulness(m, r, w, fills=FILLS, steps=STEPS))
        first = {"0": methods["0"]}  # loops share nothing between methods: one is timed and multiplied
        once = options.methods * seconds_of(lambda m=model, r=rows, w=first: loop(m, r, w, once=True))
        each = options.methods * seconds_of(lambda m=model, r=rows, w=first: loop(m, r, w, once=False))
        cells = [
            model.name,
            f"{batched:.2f}",
            f"{once:.1f}",
            f"{once / batched:.1f}",
            f"{each:.1f}",
            f"{each / batched:.1f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
