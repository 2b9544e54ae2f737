"""Measure every method on every set, and write the tables of docs/results.

    python recipes/tables.py [STUDY ...] [--shared FOLDER] [--limit N] [--fresh]

Each study is one call of `lignite.evaluate`, the function behind `lignite evaluate`. What it found is kept in
out/tables: STUDY.json holds all scores, STUDY.jsonl the finished explanations, so that an interrupted run goes on where
it stopped. Tables replace what stands between <!-- STUDY --> and <!-- end of STUDY --> on their page.
"""

import argparse
import gzip
import json
import re
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import lignite
from data import ROOT, prepared, shared_folder
from lignite.api.evaluate import Evaluation, evaluate
from lignite.results.evaluation import MEAN

MEMORY = "32 MiB"
"""For intermediate tensors: on one thread what stays near the processor is a quarter faster than the usual budget."""
TOL = 0.01
"""Gap allowed to every method that integrates: an order of tokens does not change with it, and time does."""
INTEGRATING = ("ca-lig", "relevance-flow", "ig")
CHOICES = (
    "ca-lig:layer_weights=all",
    "ca-lig:layer_weights=lower-half",
    "ca-lig:layer_weights=lower-third",
    "ca-lig:layer_weights=all,path=layer",
    "ca-lig:layer_weights=lower-third,path=layer",
    "ca-lig:layer_weights=lower-third,baseline=pad",
    "ca-lig:layer_weights=lower-third,baseline=mask+pad",
    "ca-lig:layer_weights=lower-third,baseline=zero",
    "ca-lig:layer_weights=all,fusion=0.7",
    "ca-lig:layer_weights=all,fusion=0.3",
    "ca-lig:layer_weights=all,fusion=0",
    "ca-lig:layer_weights=all,fusion=auto",
    "ca-lig:aggregate=rollout,fusion=0.5",
    "ca-lig:aggregate=last",
    "ca-lig:layer_weights=lower-third,ends=true",
    "ca-lig:layer_weights=lower-third,ends=true,baseline=mask+pad",
    "relevance-flow:orders=false,baseline=mask",
    "relevance-flow:orders=false,baseline=pad",
    "relevance-flow:orders=false,baseline=mask+pad",
    "relevance-flow:ends=true,orders=false,baseline=mask",
    "relevance-flow:ends=true,orders=false,baseline=mask+pad",
    "relevance-flow:baseline=mask",
    "relevance-flow",
    "ig:baseline=mask",
    "ig:baseline=zero",
    "ig:baseline=mask+pad",
)
"""CA-LIG and relevance flow with their options changed, and their nearest rivals."""
MAIN = (
    "relevance-flow",
    "relevance-flow:orders=false,baseline=mask",
    "relevance-flow:orders=false,baseline=mask+pad",
    "ca-lig",
    "ig:baseline=mask",
    "shapley:n_samples=10",
    "attnlrp",
    "gradient-x-input",
    "attention-x-gradient",
    "attention-rollout",
    "random",
)
"""Under neutral fills: what people choose among."""
LONG = (*MAIN[: MAIN.index("shapley:n_samples=10")], "attnlrp", "attention-x-gradient", "random")
"""The same for long texts: without the dearest row, thousands of predictions for one text, and the two last."""
OF_DECODERS = (
    "relevance-flow",
    "relevance-flow:orders=false",
    "ca-lig",
    "ig",
    *MAIN[MAIN.index("shapley:n_samples=10") :],
)
"""The same for models without a mask or a pad token, from the usual baseline."""
NEUTRAL = ("neutral",)
"""Fills that nobody starts from."""
SAMPLED = ("lime:n_samples=10", "shapley:n_samples=10", "shapley:n_samples=5,baseline=mask+pad")
"""What the best of these has to beat: as many predictions from one baseline, or half from each of two."""
ALL = (
    "relevance-flow",
    "relevance-flow:orders=false,baseline=mask",
    "ca-lig",
    "ig:baseline=mask",
    "ig:baseline=zero",
    "attnlrp",
    "gradient-x-input",
    "saliency",
    "attention-rollout",
    "attention-last",
    "attention-x-gradient",
    "grad-cam",
    "random",
    "deeplift",
    "sequential-ig",
    *SAMPLED,
    "kernel-shap:n_samples=10",
)
"""The last four ask the model hundreds of times for one text: they cost more than all others together."""
FEW = (
    "relevance-flow",
    "ca-lig",
    "ig:baseline=mask",
    "attnlrp",
    "gradient-x-input",
    "attention-x-gradient",
    "attention-rollout",
    "grad-cam",
    "random",
)
"""For people's evidence, which differences between the variants of a method do not touch."""
FAITHFULNESS = (
    "insertion-minus-deletion",
    "comprehensiveness",
    "sufficiency",
    "log-odds",
    "decision-flip",
    "area-between",
)
PLAUSIBILITY = ("token-f1", "iou-f1", "auprc")
SIGNS = ("sign-agreement", "sign-agreement-balanced")
COST = ("completeness-gap", "seconds")
LEADING = ("insertion-minus-deletion", "comprehensiveness", "sufficiency", *COST)

IMAGE_METHODS = (
    *(
        f"relevance-flow:{orders}baseline={baseline}"
        for orders in ("orders=true,", "orders=false,")
        for baseline in ("mean", "black", "blur", "black+blur")
    ),
    "ca-lig:baseline=mean",
    "ca-lig:layer_weights=all,baseline=mean",
    "ca-lig:layer_weights=all,path=layer,baseline=mean",
    "ig:baseline=black",
    "ig:baseline=blur",
    "ig:baseline=mean",
    "attnlrp",
    "gradient-x-input",
    "attention-x-gradient",
    "grad-cam",
    "hirescam",
    "layercam",
    "occlusion:baseline=black",
    "occlusion:baseline=mean",
    "attention-rollout",
    "random",
)
"""Every row names its baseline, which decides more than the method does."""
FEW_OF_IMAGES = tuple(
    method for method in IMAGE_METHODS if "blur" not in method.removesuffix("black+blur") and "path=layer" not in method
)
"""For places in pictures, which the lesser baselines touch little."""
SAME = (
    "The lower third of three layers is layer 0, so that `ca-lig:baseline=mean` is `ig:baseline=mean` by another name."
)
SOME = "The model read the first {} texts of train (`python recipes/train.py {} --examples={}`)."
IMAGE_FILLS = ("others", "black", "mean", "blur")
REMOVAL = ("insertion-minus-deletion", "comprehensiveness")
PLACES = ("pointing-game", "relevance-mass", "relevance-rank", "iou", "pixel-average-precision")
BESIDE = ("distractor-mass", "object-share")


CARD = "card.json"
BEGINNINGS = "beginnings"
"""Of sentences, behind which a decoder is asked for the next token (baselines.py picks them)."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """One table: a set, a model, methods and metrics."""

    title: str
    data: str
    split: str = "test"
    methods: tuple[str, ...]
    metrics: tuple[str, ...] = (*FAITHFULNESS, *COST)
    fills: tuple[str, ...] = NEUTRAL
    limit: int
    steps: int = 10
    """Points of the curves."""
    words: tuple[int, int] | None = None
    """Only texts of so many words, at least and at most."""
    beginning: int | None = None
    """So many words of every text are read, and no more."""
    rivals: str = ""
    """File of the shared folder with scores by other people's code; only texts that it has are drawn."""
    of_label: bool = False
    """Whether the label people gave is explained, not the predicted one: evidence was marked for that."""
    columns: tuple[str, ...] = ()
    """Of images: what is known of their places."""
    trained: str = ""
    """Name of the model's folder, where it is not that of the data."""
    note: str = ""
    """What a reader must know of the rows."""

    @property
    def model(self) -> str:
        """Name of the model's folder."""
        return self.trained or ("sst-minilm" if self.data in ("sst", "movies") else self.data)

    @property
    def of_images(self) -> bool:
        return self.methods in (IMAGE_METHODS, FEW_OF_IMAGES)

    @property
    def in_order(self) -> bool:
        """Whether the first texts are taken, whose order is by lot; drawn words come from all of them."""
        return self.fills == NEUTRAL

    @property
    def things(self) -> str:
        return "pictures" if self.of_images else "texts"


def leading(title: str, data: str, *, limit: int = 24, words: tuple[int, int] | None = (6, 30), **more: Any) -> Study:
    """The study that the page of a set begins with: neutral fills, short texts unless it says otherwise."""
    settings = {"methods": MAIN, "metrics": LEADING, "steps": 6, **more}
    return Study(title=title, data=data, limit=limit, words=words, **settings)


def evidence(title: str, data: str, methods: tuple[str, ...] = FEW) -> Study:
    """Agreement with what people marked, of explanations of the label that they marked it for."""
    return Study(
        title=f"{title}, human evidence", data=data, methods=methods, metrics=PLAUSIBILITY, limit=40, of_label=True
    )


def scenes(what: str, trained: str, *, split: str = "test", limit: int = 40, note: str = "") -> Study:
    """Faithfulness and places in scenes, by one of the models that read them."""
    return Study(
        title=f"Fashion scenes, {what}",
        data="fmnist-scenes",
        trained=trained,
        split=split,
        methods=IMAGE_METHODS,
        metrics=(*REMOVAL, *PLACES, *BESIDE, *COST),
        fills=IMAGE_FILLS,
        limit=limit,
        of_label=True,
        columns=("mask", "distractor"),
        note=note,
    )


def mosaics(what: str, trained: str) -> Study:
    """Which quarter of a mosaic each of its classes is found in."""
    return Study(
        title=f"Fashion mosaics, {what}",
        data="fmnist-mosaics",
        trained=trained,
        methods=FEW_OF_IMAGES,
        metrics=("grid-pointing-game",),
        fills=("black",),
        limit=8,
        of_label=True,
        columns=("cells",),
    )


WITH_SIGNS = (*FAITHFULNESS, *SIGNS, *COST)
STUDIES = {
    "choose-sst": Study(
        title="SST, dev",
        data="sst",
        split="dev",
        methods=(*CHOICES, *SAMPLED),
        metrics=WITH_SIGNS,
        fills=("mask", "pad"),
        limit=30,
    ),
    "choose-hatexplain": Study(
        title="HateXplain, dev", data="hatexplain", split="dev", methods=CHOICES, fills=("mask", "pad"), limit=20
    ),
    "sst-dev": leading("SST, dev, neutral fills", "sst", split="dev", rivals="sst"),
    "sst": leading("SST", "sst", limit=64, rivals="sst"),
    "sst-filled": Study(
        title="SST, test, by fills that are baselines",
        data="sst",
        methods=ALL,
        metrics=WITH_SIGNS,
        fills=("mask", "pad"),
        limit=40,
    ),
    "gpt2": leading(
        "Next tokens of a small decoder",
        BEGINNINGS,
        split="dev",
        trained="gpt2",
        methods=OF_DECODERS,
        metrics=("insertion-minus-deletion", "area-between", "comprehensiveness", "sufficiency", *COST),
        limit=40,
        words=None,
    ),
    "hatexplain": leading("HateXplain", "hatexplain"),
    "toxic-spans": leading("Toxic Spans", "toxic-spans", note=SOME.format("1,600", "toxic-spans", 1600)),
    "amharic": leading("Amharic tweets", "amharic", limit=48),
    "movies": leading("Movie reviews", "movies", methods=LONG, limit=10, words=None, beginning=100),
    "newsgroups": leading(
        "20 Newsgroups",
        "newsgroups",
        methods=LONG,
        limit=6,
        words=(40, 80),
        note=SOME.format("4,000", "newsgroups", 4000),
    ),
    "hatexplain-evidence": evidence("HateXplain", "hatexplain"),
    "toxic-spans-evidence": evidence("Toxic Spans", "toxic-spans"),
    "movies-evidence": evidence("Movie reviews", "movies"),
    "scenes-deep-dev": scenes("six layers, dev", "fmnist-scenes-deep", split="dev", limit=25),
    "scenes-deep": scenes("six layers", "fmnist-scenes-deep"),
    "scenes": scenes("three layers", "fmnist-scenes", note=SAME),
    "scenes-mae": scenes("encoder pre-trained as a masked autoencoder", "fmnist-scenes-mae", note=SAME),
    "mosaics-deep": mosaics("six layers", "fmnist-scenes-deep"),
    "mosaics": mosaics("three layers", "fmnist-scenes"),
    "flowers-pets": Study(
        title="Flowers and pets",
        data="flowers-pets",
        trained="flowers-pets-deep",
        methods=IMAGE_METHODS,
        metrics=(*REMOVAL, *COST),
        fills=IMAGE_FILLS,
        limit=60,
        of_label=True,
    ),
    "pets": Study(
        title="Pets, their outlines",
        data="pets",
        trained="flowers-pets-deep",
        methods=FEW_OF_IMAGES,
        metrics=PLACES,
        fills=("black",),
        limit=60,
        of_label=True,
        columns=("mask",),
    ),
    "flower-mosaics": Study(
        title="Flower mosaics",
        data="flower-mosaics",
        trained="flowers-pets-deep",
        methods=FEW_OF_IMAGES,
        metrics=("grid-pointing-game",),
        fills=("black",),
        limit=40,
        of_label=True,
        columns=("cells",),
    ),
}


def rivals(study: Study, shared: Path) -> list[dict[str, Any]]:
    """Scores that other people's code gave, one text a line; none where the shared folder has not got them."""
    path = shared / "rivals" / f"{study.rivals}.jsonl.gz"
    if not study.rivals or not path.is_file():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


THEIR_NAMES = {"attnlrp": "attnlrp (lxt)", "attnlrp-words": ""}
"""What rows of a rival's scores are called, where not as in the file; nothing for those left out."""


def rows_of_rivals(study: Study, shared: Path) -> list[dict[str, Any]] | None:
    """Their scores as `lignite.evaluate` takes them; a study without them goes on, and says so."""
    found = rivals(study, shared)
    if not found:
        if study.rivals:
            print(f"no {study.rivals}.jsonl.gz in {shared / 'rivals'}: its rows are left out", file=sys.stderr)
        return None
    named = [{THEIR_NAMES.get(name, name): scores for name, scores in line["scores"].items()} for line in found]
    return [
        {"text": line["text"], "tokens": line["tokens"], "target": line["target"]}
        | {"scores": {name: scores for name, scores in known.items() if name}}
        for line, known in zip(found, named, strict=True)
    ]


def examples(study: Study, shared: Path) -> Any:
    """What a study draws from: texts, of evidence only those in which people marked some; or a file of pictures."""
    if study.of_images:
        return ROOT / "out" / "data" / f"{study.data}-{study.split}.jsonl"
    if study.data == BEGINNINGS:
        from baselines import texts_of  # which writes its own tables with this script

        return [{"text": text} for text in texts_of(study.model, shared, 2 * study.limit)]
    rows = prepared(study.data, study.split)
    if study.words is not None:
        least, most = study.words
        rows = [row for row in rows if least <= len(row["text"].split()) <= most]
    if study.beginning is not None:
        rows = [row | {"text": " ".join(row["text"].split()[: study.beginning])} for row in rows]
    if scored := {row["text"] for row in rivals(study, shared)}:
        rows = [row for row in rows if row["text"] in scored]
    return [row for row in rows if row["rationale"]] if study.of_label else rows


def count(study: Study, shared: Path) -> int:
    """How many examples a study draws from."""
    found = examples(study, shared)
    return len(found.read_text("utf-8").splitlines()) if isinstance(found, Path) else len(found)


def run(name: str, study: Study, shared: Path, out: Path, *, limit: int | None, seed: int) -> Evaluation:
    """Measure one study, or what an earlier run of it left to do."""
    folder = shared / "models" if study.model == "sst-minilm" else ROOT / "out" / "models"
    began, last = time.monotonic(), [0.0]

    def show(done: int, total: int) -> None:
        if time.monotonic() - last[0] > 30 or done == total:
            last[0] = time.monotonic()
            print(f"{name}: {done} of {total} explanations, {last[0] - began:.0f} s", file=sys.stderr, flush=True)

    given = examples(study, shared)
    drawn: dict[str, Any] = {"limit": limit or study.limit}
    if study.in_order:
        drawn, given = {"corpus": [row["text"] for row in given]}, given[: limit or study.limit]
    return evaluate(
        lignite.load(folder / study.model),
        given,
        study.methods,
        study.metrics,
        label=None if "cells" in study.columns or study.data == BEGINNINGS else "label",
        **{column: column for column in study.columns},
        rationale="rationale" if set(study.metrics) & set(PLAUSIBILITY) else None,
        polarity="polarity" if set(study.metrics) & set(SIGNS) else None,
        explain_label=study.of_label,
        fills=study.fills,
        steps=study.steps,
        **drawn,
        seed=seed,
        memory=MEMORY,
        options={base: {"tol": TOL} for base in INTEGRATING if any(m.split(":")[0] == base for m in study.methods)},
        scores=rows_of_rivals(study, shared),
        resume=out / f"{name}.jsonl",
        progress=show,
    )


def number(value: float, *, digits: str = ".3f") -> str:
    """With a true minus sign, and a dash where there is none."""
    return "–" if value != value else f"{value:{digits}}".replace("-", "−")


def heading(metric: str, better: str) -> str:
    arrow = {"higher": " ↑", "lower": " ↓"}.get(better, "")
    return f"{metric.replace('-minus-', ' − ').replace('-', ' ')}{arrow}"


DIFFERENCE = "insertion-minus-deletion"
"""The metric whose paired difference to the reference stands in a column of its own."""


def differences(found: Evaluation, fill: str) -> dict[str, str]:
    """By how much each method is ahead of the reference (behind, where negative), on the same examples."""
    tests = found.tests[(found.tests["fill"] == fill) & (found.tests["metric"] == DIFFERENCE)]
    return {
        row.method: f"{number(row.difference)} [{number(row.low)}, {number(row.high)}]" for row in tests.itertuples()
    }


def table(found: Evaluation, fill: str) -> list[str]:
    """Markdown: methods by the metrics of one fill; the best mean in bold, * where it differs from the reference."""
    beside = differences(found, fill) if fill in (MEAN, "others") else {}
    rows = found.table[found.table["fill"] == fill]
    metrics = list(dict.fromkeys(rows["metric"]))
    better = {metric: found.attrs["metrics"][metric]["better"] for metric in metrics}
    best = {
        metric: (some["mean"].max() if better[metric] == "higher" else some["mean"].min())
        for metric, some in rows.groupby("metric")
        if better[metric]
    }
    tests = found.tests[(found.tests["fill"] == fill) & (found.tests["p_holm"] < 0.05)]
    different = set(zip(tests["method"], tests["metric"], strict=True))
    cells = rows.set_index(["method", "metric"])
    names = [heading(metric, better[metric]) for metric in metrics]
    names += ["less that of the first row"] if beside else []
    lines = [f"| method | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
    for method in dict.fromkeys(rows["method"]):
        line = []
        for metric in metrics:
            cell = cells.loc[(method, metric)]
            if metric in COST:
                line.append(number(cell["mean"], digits=".2g"))
                continue
            mean = f"**{number(cell['mean'])}**" if cell["mean"] == best.get(metric) else number(cell["mean"])
            star = r"\*" if (method, metric) in different else ""
            line.append(f"{mean}{star} [{number(cell['low'])}, {number(cell['high'])}]")
        line += [beside.get(method, "")] if beside else []
        dagger = " †" if found.shares_baseline(method, fill) else ""
        lines.append(f"| `{method}`{dagger} | {' | '.join(line)} |")
    return lines


def markdown(name: str, study: Study, found: Evaluation, shared: Path) -> str:
    """The tables of a study under a line that says what was measured, and how to do it again."""
    attrs = found.attrs
    kind = "texts with marked evidence" if study.of_label and not study.of_images else study.things
    explained = "their label" if study.of_label else "the predicted class"
    shown, accuracy = f"{attrs['n_examples']}", f"accuracy on these {study.things} {number(attrs['accuracy'])}"
    if "cells" in study.columns:  # each mosaic is explained once for every class in it
        shown = f"{attrs['n_examples'] // 4}"
        explained, accuracy = "each of their four classes", "not trained on mosaics"
    if study.data == BEGINNINGS:
        explained, accuracy = "the predicted next token", f"perplexity and training in its `{CARD}`"
    versions = ", ".join(f"{package} {version}" for package, version in attrs["versions"].items())
    chosen = "the first in an order by lot" if study.in_order else f"drawn with seed {attrs['seed']}"
    cut = f"the first {study.beginning} words of each, " if study.beginning else ""
    lines = [
        f"{shown} of {count(study, shared)} {study.split} {kind} of `{study.data}`, {cut}{chosen}; {explained} is "
        f"explained. Model `{study.model}`, sha256 of its weights "
        f"`{attrs['model_sha256'][:16]}…`, {accuracy}. Means with "
        f"{attrs['confidence']:.0%} bootstrap "
        rf"intervals; best in bold; \* differs from `{attrs['reference']}` (paired bootstrap, Holm, p < 0.05); † "
        f"starts from the very fill it is judged by. "
        f"{versions}.",
        "",
        f"    python recipes/tables.py {name}",
    ]
    lines += ["", study.note] if study.note else []
    if len(found.skipped):
        reasons = found.skipped.groupby(["method", "reason"]).size()
        lines += ["", "Not computed:", ""]
        lines += [f"- {n} × `{method or 'every method'}`: {reason}" for (method, reason), n in reasons.items()]
    for fill in (MEAN, *attrs["fills"], ""):
        if fill in set(found.table["fill"]):
            lines += ["", removal(study, fill), "", *table(found, fill)]
    return "\n".join(lines)


REMOVED = {
    MEAN: "Mean over the neutral fills (tokens deleted, hidden, drawn anew):",
    "delete": "Removed tokens are deleted:",
    "hide": "Removed tokens are hidden by the attention mask:",
    "unigram": "Removed tokens become words drawn from the set, mean of four drawings:",
    "others": "Removed patches become those of other pictures (nobody's baseline), mean of four drawings:",
    "": "Nothing removed:",
}


def removal(study: Study, fill: str) -> str:
    """What stands above the table of a fill."""
    become = (
        f"Removed patches and pixels become `{fill}`:"
        if study.of_images
        else f"Removed tokens become `[{fill.upper()}]`:"
    )
    return REMOVED.get(fill, become)


def summary(study: Study, found: Evaluation) -> str:
    """One measure under the mean over the neutral fills, the best first: the table of the README."""
    rows = found.table[(found.table["fill"] == MEAN) & (found.table["metric"] == DIFFERENCE)]
    beside, reference = differences(found, MEAN), found.attrs["reference"]
    lines = [f"| method | {heading(DIFFERENCE, 'higher')} | less that of `{reference}` |", "| --- | --- | --- |"]
    for row in rows.sort_values("mean", ascending=False).itertuples():
        dagger = " †" if found.shares_baseline(row.method, MEAN) else ""
        interval = f"{number(row.mean)} [{number(row.low)}, {number(row.high)}]"
        lines.append(f"| `{row.method}`{dagger} | {interval} | {beside.get(row.method, '')} |")
    lines += [
        "",
        f"{found.attrs['n_examples']} {study.split} sentences of `{study.data}`, `{study.model}`; the mean over words "
        "deleted, hidden by the attention mask, and replaced by words drawn from the set, with 95% bootstrap intervals"
        + ("; † deletes words itself." if "†" in "".join(lines) else "."),
    ]
    return "\n".join(lines)


FRONT = "sst"
"""The study whose summary stands in the README."""
PAGES = {
    "choose-sst": "sst",
    "choose-hatexplain": "hatexplain",
    "sst-dev": "sst",
    "sst-filled": "sst",
    "hatexplain-evidence": "hatexplain",
    "toxic-spans-evidence": "toxic-spans",
    "movies-evidence": "movies",
    "scenes-dev": "scenes",
    "scenes-deep-dev": "scenes",
    "scenes-deep": "scenes",
    "scenes-mae": "scenes",
    "mosaics": "scenes",
    "mosaics-deep": "scenes",
    "pets": "flowers-pets",
    "flower-mosaics": "flowers-pets",
}
"""Where the tables of a study stand, if not on a page of its name."""


def pages(trial: bool) -> Path:
    """The folder of the pages; a trial leaves those of the documents alone."""
    return ROOT / ("out" if trial else "docs") / "results"


def insert(folder: Path, name: str, title: str, content: str) -> Path:
    """Put tables in their place on their page, or at its end if they have none yet; return the page."""
    page = folder / f"{'baselines' if name.startswith('baselines-') else PAGES.get(name, name)}.md"
    return replace_in(page, name, title, content)


def replace_in(page: Path, name: str, title: str, content: str) -> Path:
    """Put content between the marks of its name, or behind all else; return the page."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    block = f"{begin}\n\n{content}\n\n{end}"
    text = page.read_text("utf-8") if page.is_file() else f"# {title}\n"
    if begin in text:
        text = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: block, text, flags=re.DOTALL)
    else:
        text = f"{text.rstrip()}\n\n## {title}\n\n{block}\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")
    return page


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the methods and write the tables.")
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=f"{', '.join(STUDIES)} (default: all)")
    parser.add_argument("--shared", type=Path, help="folder with data/ and models/ (default: LIGNITE_SHARED)")
    parser.add_argument("--limit", type=int, help="texts of each set; fewer than the tables of the documents have")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs finished")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "tables")
    parser.add_argument("--pages", type=Path, help="default: docs/results, or out/results with --limit")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.studies if name not in STUDIES]
    if unknown:
        parser.error(f"no study is called {', '.join(unknown)}. Known: {', '.join(STUDIES)}.")
    return arguments


def missing(names: Iterable[str]) -> list[str]:
    """Files that a study needs and that the other scripts make."""
    studies = [STUDIES[name] for name in names]
    data = {f"{study.data}-{study.split}.jsonl" for study in studies if study.data != BEGINNINGS}
    models = {study.model for study in studies} - {"sst-minilm"}
    paths = [ROOT / "out" / "data" / file for file in sorted(data)]
    paths += [ROOT / "out" / "models" / model for model in sorted(models)]
    return [str(path) for path in paths if not path.exists()]


def main() -> None:
    arguments = parse_arguments()
    names = arguments.studies or list(STUDIES)
    if absent := missing(names):
        raise SystemExit(f"There is no {', '.join(absent)}. Make them with recipes/data.py and recipes/train.py.")
    folder = arguments.pages or pages(trial=bool(arguments.limit))
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in names:
        study, journal = STUDIES[name], arguments.out / f"{name}.jsonl"
        if arguments.fresh:
            journal.unlink(missing_ok=True)
        shared = shared_folder(arguments.shared)
        found = run(name, study, shared, arguments.out, limit=arguments.limit, seed=arguments.seed)
        found.save(arguments.out / f"{name}.json")
        page = insert(folder, name, study.title, markdown(name, study, found, shared))
        print(f"{name}: written to {page}", flush=True)
        if name == FRONT and folder == pages(trial=False):
            replace_in(ROOT / "README.md", name, study.title, summary(study, found))


if __name__ == "__main__":
    main()
