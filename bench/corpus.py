"""Explanations of a corpus: sentences a second for each core, however they are given, and with more workers.

python bench/corpus.py ways | workers | all [METHOD]
"""

import argparse
import gzip
import json
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

import lignite
from clock import seconds_of

SHARED = Path(__file__).parents[2] / "shared"
MODEL, SENTENCES = SHARED / "models" / "sst-minilm", SHARED / "data" / "sst"

METHODS = ("gradient-x-input", "attnlrp", "ig", "ca-lig", "ca-lig:path=layer", "relevance-flow")
PAIRS = 3
"""Of runs by one worker and by two, one after the other, so that both meet the same machine."""


def sentences(most: int) -> list[str]:
    """So many sentences of the Stanford Sentiment Treebank, its splits one after the other."""
    found: list[str] = []
    for split in ("train", "dev", "test"):
        with gzip.open(SENTENCES / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
            found += [json.loads(line)["text"] for line in lines]
    return found[:most]


@contextmanager
def folder() -> Iterator[Path]:
    """Where a run is kept while it is measured."""
    with tempfile.TemporaryDirectory() as place:
        yield Path(place) / "run"


def run(texts: list[str], method: str, *, workers: int = 1, model: object = MODEL) -> float:
    """Wall seconds of a whole run, its model loaded by every worker."""
    with folder() as out:
        start = time.perf_counter()
        lignite.run("explain", data=texts, model=model, out=out, method=method, workers=workers)
        return time.perf_counter() - start


def ways(most: int = 128) -> None:
    """One text at a time, a list, and a run, on CPU time: sentences a second."""
    model, texts = lignite.load(MODEL), sentences(most)
    print("| method | one at a time | a list | lignite run | list / one |")
    print("| --- | --- | --- | --- | --- |")
    for method in METHODS:
        lignite.explain(model, texts[0], method=method)
        calls: list[Callable[[], object]] = [
            lambda: [lignite.explain(model, text, method=method) for text in texts],  # noqa: B023
            lambda: lignite.explain(model, texts, method=method),  # noqa: B023
            lambda: run(texts, method, model=model),  # noqa: B023
        ]
        rates = [len(texts) / seconds_of(call) for call in calls]
        print(f"| {method} | {' | '.join(f'{rate:.2f}' for rate in rates)} | {rates[1] / rates[0]:.2f} |", flush=True)


def workers(most: int = 768, method: str = "gradient-x-input") -> None:
    """Two workers beside one, in pairs, on wall time: start, loading and all."""
    texts, ratios = sentences(most), []
    print("| pair | load before | one worker, s | two workers, s | ratio |")
    print("| --- | --- | --- | --- | --- |")
    for pair in range(PAIRS):
        load = os.getloadavg()[0]
        one, two = run(texts, method), run(texts, method, workers=2)
        ratios.append(one / two)
        print(f"| {pair + 1} | {load:.1f} | {one:.1f} | {two:.1f} | {ratios[-1]:.2f} |", flush=True)
    print(f"\nMedian ratio {statistics.median(ratios):.2f}, {len(texts)} sentences, {method}.")


def everything(method: str = "gradient-x-input", most: int = 10_000) -> None:
    """10,000 sentences end to end, by two workers."""
    texts, load = sentences(most), os.getloadavg()[0]
    seconds = run(texts, method, workers=2)
    print(f"{len(texts)} sentences, {method}: {seconds:.0f} s, {len(texts) / seconds / 2:.1f} a second per core")
    print(f"(load {load:.1f} before, {os.getloadavg()[0]:.1f} after)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["ways", "workers", "all"])
    parser.add_argument("method", nargs="?", default="gradient-x-input")
    parser.add_argument("--sentences", type=int, default=None)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, one thread each, torch {torch.__version__}")
    most = {} if arguments.sentences is None else {"most": arguments.sentences}
    if arguments.what == "ways":
        ways(**most)
    elif arguments.what == "workers":
        workers(method=arguments.method, **most)
    else:
        everything(arguments.method, **most)
