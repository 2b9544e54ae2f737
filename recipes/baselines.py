"""Compare where paths may start, on decoders and on encoders, by what they cost and how faithful they are.

    python recipes/baselines.py [QUESTION ...] [--methods METHOD ...] [--limit N] [--workers N] [--fresh] [--finished]

Needs out/models/llama, gpt2 and llama-sst (train_decoder.py). Words are removed in three ways of which no baseline is
one: they are deleted, hidden by the attention mask, or replaced by words drawn from the corpus. What is finished is
kept in out/baselines, so that an interrupted run goes on where it stopped. Tables go to
docs/results/baselines.md, between <!-- baselines-QUESTION --> and <!-- end of baselines-QUESTION -->.
"""

import argparse
import hashlib
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

import lignite
from data import ROOT, shared_folder
from lignite.api.units import hash_weights
from lignite.attribution.fusion import weights_of
from lignite.attribution.layer_ig import along_each_layer, along_input
from lignite.attribution.relevance_flow import pull_back
from lignite.blocks.baselines import starts_of, words_in
from lignite.blocks.stack import Stack
from lignite.inputs.roles import TOKEN_BASELINES
from lignite.methods import METHODS as EXPLAINERS
from lignite.methods.method import Integrated
from lignite.methods.scoring.stacks import in_stacks, precision_of
from lignite.metrics.asking.faithfulness import BINS, n_removed
from lignite.metrics.readings.statistics import compare, holm, interval
from lignite.models.hold import at_rest
from lignite.targets.ask import ask
from lignite.targets.edits import removable
from lignite.targets.rows import Row
from lignite.targets.target import Target
from tables import insert, number, pages
from train_decoder import SOURCES, reviews, snippets
from train_decoder import rows as lines_of
from training import processor

SEED = 0
DRAWS = 4
STEPS = 6
FIXED, FEW = 8, 12
"""Gaps at a fixed number of nodes are those of the first few texts."""
NODES = 32
"""Of the path that hides words."""
TOL = 0.01
BUDGET = 2.0**28
METHODS = ("relevance-flow", "ig", "ca-lig")
FILLS = ("deleted", "hidden", "drawn")
MEASURES = ("area", "comprehensiveness", "sufficiency")
FILL_DRAWS = 2

Start = Callable[[Stack], list[Tensor]]
"""States of every layer from which the paths of a stack's rows start."""


# Where the words come from


@dataclass(frozen=True)
class Words:
    """How often a tokenizer's pieces occur in a corpus."""

    counts: Tensor

    @classmethod
    def of(cls, model: Any, texts: Sequence[str]) -> "Words":
        pieces = model.tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
        size = model.network.get_input_embeddings().num_embeddings
        counts = torch.bincount(torch.tensor([number for piece in pieces for number in piece]), minlength=size)
        counts[model.tokenizer.all_special_ids] = 0
        return cls(counts.double())

    def drawn(self, shape: Sequence[int], seed: int, weights: Tensor | None = None) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        weights = self.counts if weights is None else weights
        found = torch.multinomial(weights, int(np.prod(shape)), replacement=True, generator=generator)
        return found.reshape(*shape)


def seed_for(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:6], "big")


# Where paths start


def replaced(stack: Stack) -> Tensor:
    """Places of the words: no padding, no special tokens."""
    return words_in(stack, keep_special=True)


def from_token(number: int) -> Start:
    return lambda stack: stack.see(input_ids=torch.where(replaced(stack), number, stack.tensors["input_ids"])).states


def from_name(name: str) -> Start:
    """A baseline of the package."""
    return lambda stack: starts_of(stack, [name], keep_special=True, through=True)[0].states


def from_vector(vector: Tensor) -> Start:
    """Every word is read as this vector."""

    def start(stack: Stack) -> list[Tensor]:
        places = replaced(stack)[..., None]
        table = stack.network.get_input_embeddings()
        hook = table.register_forward_hook(lambda module, args, output: torch.where(places, vector, output))
        try:
            return stack.see().states
        finally:
            hook.remove()

    return start


def from_draw(words: Words, weights: Tensor, draw: int) -> Start:
    """Every word is another one, drawn at random; the same for the same text."""

    def start(stack: Stack) -> list[Tensor]:
        ids = stack.tensors["input_ids"].clone()
        for place, row in enumerate(stack.rows):
            seed = seed_for("start", draw, row.encoded.tokens.input)
            ids[place, : row.n_tokens] = words.drawn([row.n_tokens], seed, weights)
        return stack.see(input_ids=torch.where(replaced(stack), ids, stack.tensors["input_ids"])).states

    return start


def candidates(model: Any, words: Words) -> dict[str, list[Start]]:
    """Every baseline by name, as the starts whose explanations are averaged."""
    tokenizer = model.tokenizer
    special = {name: getattr(tokenizer, f"{name}_token_id") for name in TOKEN_BASELINES}
    named = {token: name for name, token in reversed(special.items()) if token is not None}  # each token once
    (the,) = tokenizer(" the", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        table = model.network.get_input_embeddings()(torch.arange(len(words.counts)))
    by_corpus = (words.counts[:, None] * table.double()).sum(0) / words.counts.sum()
    flat = torch.ones_like(words.counts)
    flat[tokenizer.all_special_ids] = 0
    draws = {
        f"{DRAWS} draws from the {name}": [from_draw(words, weights, draw) for draw in range(DRAWS)]
        for name, weights in (("corpus", words.counts), ("vocabulary", flat))
    }
    return {
        **{name: [from_name(name)] for name in ("zero", "mean-embedding", *named.values(), "mean")},
        "mean embedding of the corpus": [from_vector(by_corpus.to(table))],
        "the word “the”": [from_token(the)],
        **draws,
    }


# Explanations


@dataclass
class Found:
    """Of one row: relevance of each token, the size of the gap and of F's change, nodes, and F."""

    relevance: np.ndarray
    gap: float
    size: float
    nodes: float
    value: float


def integrated(stack: Stack, start: list[Tensor], method: Integrated) -> list[Found]:
    precision = precision_of(stack, method, BUDGET)
    if method.name == "relevance-flow":
        flow = pull_back(stack, start, precision)
        relevance, gap, change = flow.relevance[:, 0], flow.gap[:, 0], flow.displacement
        nodes = flow.n_nodes.double().mean(1)
    else:
        found = (
            along_each_layer(stack, start[:1], precision, wanted=[0])
            if method.name == "ig"
            else along_input(stack, start[0], precision)
        )
        weights = torch.tensor(weights_of("lower-third", stack.n_layers)) if method.name == "ca-lig" else torch.ones(1)
        relevance = torch.einsum("l,rlt->rt", weights.to(found.scores), found.scores[:, : len(weights)])
        gap, change, nodes = found.gap[:, 0], found.displacement[:, 0], found.n_nodes[:, 0].double()
    numbers = torch.stack([gap.abs(), change.abs(), nodes.to(gap), stack.value], 1).tolist()
    return [
        Found(relevance[place, : row.n_tokens].double().numpy(), *numbers[place])
        for place, row in enumerate(stack.rows)
    ]


def explained(model: Any, rows: Sequence[Row], starts: Sequence[Start], method: str, **options: Any) -> list[Found]:
    """The mean over the starts; nodes are added up."""
    chosen = EXPLAINERS[method](**options)
    assert isinstance(chosen, Integrated)
    found: list[list[Found]] = [[] for _ in rows]
    with at_rest(model.network):
        for numbers, stack in in_stacks(model, rows, BUDGET):
            for start in starts:
                for number, one in zip(numbers, integrated(stack, start(stack), chosen), strict=True):
                    found[number].append(one)
    return [
        Found(
            np.mean([one.relevance for one in several], axis=0),
            statistics.fmean(one.gap for one in several),
            statistics.fmean(one.size for one in several),
            sum(one.nodes for one in several),
            several[0].value,
        )
        for several in found
    ]


HIDDEN = "words hidden"
"""A path of its own: not between states, but of the attention mask, so that no layer but the input has scores."""


def hidden(model: Any, rows: Sequence[Row], nodes: int) -> list[Found]:
    """Integrated gradients over how visible each word is to the others.

    Visibility a multiplies the word's weight before the softmax divides: log a is added to its scores, in every layer.
    At 0 this is the model's own answer with the words hidden by the attention mask, at 1 its answer to the text.
    """
    places, weights = np.polynomial.legendre.leggauss(nodes)
    t = torch.from_numpy((places + 1) / 2)
    points, steps = (t**3).float(), (torch.from_numpy(weights / 2) * 3 * t**2).float()  # most happens near 0
    return [_hidden(model, row, points, steps) for row in rows]


def _hidden(model: Any, row: Row, points: Tensor, steps: Tensor) -> Found:
    ids = row.encoded.tensors["input_ids"]
    words = ~torch.tensor(row.encoded.tokens.special)
    blank = answers(model, row, ids, torch.where(words, 0, torch.ones_like(ids)))
    whole = answers(model, row, ids, torch.ones_like(ids))
    seen = points[:, None].repeat(1, ids.shape[1]).requires_grad_()
    length = ids.shape[1]
    causal = torch.zeros(length, length)
    if is_decoder(model):
        causal = torch.full((length, length), -torch.inf).triu(1)
    mask = causal + torch.where(words, seen.log(), 0.0)[:, None, None]
    value = answers(model, row, ids.expand(len(points), -1), mask)
    (slope,) = torch.autograd.grad(value.sum(), seen)
    relevance = (steps[:, None] * slope).sum(0) * words
    change = float((whole - blank).detach())
    gap = abs(float(relevance.sum()) - change)
    return Found(relevance.double().numpy(), gap, abs(change), len(points), float(whole.detach()))


def is_decoder(model: Any) -> bool:
    return model.network.config.model_type in ("llama", "gpt2")


def answers(model: Any, row: Row, ids: Tensor, mask: Tensor, ends: Tensor | None = None) -> Tensor:
    """F of each of these texts, asked for as in the row; the answer of a decoder stands at the end of the text."""
    logits = model.network(input_ids=ids, attention_mask=mask).logits
    if logits.ndim == 3:
        logits = logits[:, -1] if ends is None else logits[torch.arange(len(logits)), ends]
    index, against = row.objective.index, row.objective.against
    return logits[:, index] if against is None else logits[:, index] - logits[:, against]


# Removal, by code of its own


class Judge:
    """F of one input with some of its words removed, in any of three ways; every case is asked once."""

    def __init__(self, model: Any, row: Row, words: Words):
        self.model, self.row = model, row
        self.ids = row.encoded.tensors["input_ids"][0]
        self.drawn = words.drawn([FILL_DRAWS, len(self.ids)], seed_for("fill", row.encoded.tokens.input))
        self.known: dict[tuple[str, bytes], float] = {}

    def inputs(self, fill: str, removed: np.ndarray) -> list[tuple[Tensor, Tensor]]:
        gone = torch.from_numpy(removed)
        everywhere = torch.ones_like(self.ids)
        if fill == "deleted":
            return [(self.ids[~gone], everywhere[~gone])]
        if fill == "hidden":
            return [(self.ids, (~gone).long())]
        return [(torch.where(gone, other, self.ids), everywhere) for other in self.drawn]

    def ask(self, fill: str, cases: Sequence[np.ndarray]) -> list[float]:
        new = {case.tobytes(): case for case in cases if (fill, case.tobytes()) not in self.known}
        asked = [(key, one) for key, case in new.items() for one in self.inputs(fill, case)]
        found: dict[bytes, list[float]] = {}
        for (key, _), value in zip(asked, self.values([one for _, one in asked]), strict=True):
            found.setdefault(key, []).append(value)
        self.known |= {(fill, key): float(np.mean(values)) for key, values in found.items()}
        return [self.known[fill, case.tobytes()] for case in cases]

    @torch.no_grad()
    def values(self, inputs: Sequence[tuple[Tensor, Tensor]]) -> list[float]:
        """F of texts and masks of any length; shorter ones are filled up behind their end, and masked there."""
        if not inputs:
            return []
        ids, masks = zip(*inputs, strict=True)
        pad = self.model.tokenizer.pad_token_id or 0
        texts = pad_sequence(list(ids), batch_first=True, padding_value=pad)
        seen = pad_sequence(list(masks), batch_first=True)
        ends = torch.tensor([len(one) - 1 for one in ids])
        return answers(self.model, self.row, texts, seen, ends).tolist()

    def places(self) -> list[int]:
        """Words; the last token stays where the model answers at it."""
        last = len(self.ids) - 1
        return [place for place in removable(self.row) if not (is_decoder(self.model) and place == last)]

    def scores(self, relevance: np.ndarray, fill: str) -> dict[str, float]:
        """Insertion − deletion, comprehensiveness and sufficiency, in the unit of F."""
        places = np.array(self.places())
        order = places[np.argsort(-relevance[places], kind="stable")]
        n = len(order)

        def without(gone: np.ndarray) -> np.ndarray:
            flags = np.zeros(len(self.ids), dtype=bool)
            flags[gone] = True
            return flags

        shares = np.linspace(0, n, STEPS + 1).round().astype(int)
        counts = [*shares, *(n_removed(share, 100, n) for share in BINS)]
        cases = [without(order[count:]) for count in counts] + [without(order[:count]) for count in counts]
        left, lost = np.array(self.ask(fill, cases)).reshape(2, -1)  # with the best alone, and without them
        curves, bins = slice(0, len(shares)), slice(len(shares), None)
        return {
            "area": float(np.trapezoid((left - lost)[curves], shares / n)),
            "comprehensiveness": float((lost[0] - lost[bins]).mean()),
            "sufficiency": float((lost[0] - left[bins]).mean()),
        }


# What is asked


@dataclass(frozen=True)
class Question:
    """A model, and what of it: the ``"next"`` token, its ``"difference"`` from the runner-up, or a ``"class"``."""

    model: str
    kind: str
    title: str
    limit: int = 24
    methods: tuple[str, ...] = METHODS


CHEAP = METHODS[:2]
QUESTIONS = {
    "llama-next": Question("llama", "next", "RMSNorm decoder, next token"),
    "llama-difference": Question("llama", "difference", "RMSNorm decoder, next token less its rival", methods=CHEAP),
    "llama-class": Question("llama-sst", "class", "RMSNorm decoder, class of a sentence", methods=CHEAP),
    "gpt2-next": Question("gpt2", "next", "LayerNorm decoder, next token", methods=CHEAP),
    "tiny-class": Question("tiny-sentiment", "class", "Encoder, class of a sentence"),
    "sst-class": Question("sst-minilm", "class", "Larger encoder, class of a sentence", limit=16, methods=CHEAP),
}


@torch.no_grad()
def beginnings(model: Any, sentences: Sequence[str], words: Words) -> list[tuple[str, int, int]]:
    """Of each sentence the beginning behind which it helps the model most to have read it; the next token; its rival.

    How much it helps: log probability of the token that follows, less the log of its share of the corpus.
    """
    usual = ((words.counts + 1) / (words.counts + 1).sum()).log()
    found = []
    for sentence in sentences:
        ids = model.tokenizer(sentence, return_tensors="pt")["input_ids"]
        if not 12 <= ids.shape[1] <= 40:
            continue
        logs = model.network(input_ids=ids).logits[0].log_softmax(-1)
        gains = [
            (float(logs[place - 1, token] - usual[token]), place)
            for place, token in enumerate(ids[0].tolist())
            if place >= 8 and words.counts[token] > 0
        ]
        _, place = max(gains)
        token = int(ids[0, place])
        rivals = logs[place - 1].clone()
        rivals[token] = -torch.inf
        text = model.tokenizer.decode(ids[0, :place], skip_special_tokens=True)
        if model.tokenizer(text)["input_ids"] == ids[0, :place].tolist():
            found.append((text, token, int(rivals.argmax())))
    return found


def rows_of(question: Question, model: Any, data: Path, words: Words, limit: int) -> list[Row]:
    """Inputs from dev, and what is asked of them."""
    order = random.Random(SEED)
    if question.kind == "class":
        texts = [row["text"] for row in lines_of(data / "sst" / "dev.jsonl.gz") if row["label"] is not None]
        return ask(model, order.sample(texts, limit))
    sentences = [
        sentence
        for source in (snippets, reviews)
        for sentence in order.sample([line for document in source(data, "dev") for line in document], 2 * limit)
    ]
    with at_rest(model.network):
        found = order.sample(beginnings(model, sentences, words), limit)
    rivals = [rival if question.kind == "difference" else None for _, _, rival in found]
    targets = [Target(label=token, against=rival) for (_, token, _), rival in zip(found, rivals, strict=True)]
    return [row for (text, _, _), target in zip(found, targets, strict=True) for row in ask(model, text, target)]


def texts_of(name: str, shared: Path, limit: int) -> list[str]:
    """Beginnings behind which a decoder is asked for its next token: those of its question, without the answer."""
    question = QUESTIONS[f"{name}-next"]
    asked = Asked.of(question, shared, limit)
    return [row.encoded.tokens.input for row in asked.rows]


# Measured, kept, and written down


def measured(
    model: Any, rows: Sequence[Row], judges: Sequence[Judge], method: str, starts: Sequence[Start] | None
) -> dict[str, Any]:
    """One baseline under one method: scores of every row under every fill, and what they cost."""
    before = time.process_time()
    found = hidden(model, rows, NODES) if starts is None else explained(model, rows, starts, method, tol=TOL)
    seconds = time.process_time() - before
    few = rows[:FEW]
    coarse = hidden(model, few, FIXED) if starts is None else explained(model, few, starts, method, n_steps=FIXED)
    scores = {
        fill: [judge.scores(one.relevance, fill) for judge, one in zip(judges, found, strict=True)] for fill in FILLS
    }
    return {
        "nodes": [one.nodes for one in found],
        "missed": [one.gap > TOL * max(one.size, 1e-2 * abs(one.value)) for one in found],
        "change": [one.size for one in found],
        "coarse_gap": [one.gap / one.size for one in coarse],
        "seconds": seconds,
        **{f"{name} {fill}": [one[name] for one in scores[fill]] for name in MEASURES for fill in FILLS},
    }


@dataclass
class Asked:
    """A question with its model and inputs."""

    question: Question
    model: Any
    rows: list[Row]
    words: Words

    @classmethod
    def of(cls, question: Question, shared: Path, limit: int | None) -> "Asked":
        bundled = question.model == "tiny-sentiment"
        home = shared / "models" if question.model == "sst-minilm" else ROOT / "out" / "models"
        model = lignite.load(question.model if bundled else home / question.model, device="cpu")
        kinds = SOURCES.values() if question.kind != "class" else (snippets,)
        corpus = [line for source in kinds for document in source(shared / "data", "train") for line in document]
        words = Words.of(model, corpus)
        return cls(question, model, rows_of(question, model, shared / "data", words, limit or question.limit), words)

    def head(self) -> str:
        """What stands above the tables."""
        return (
            f"`{self.question.model}`, sha256 of its weights `{hash_weights(self.model)[:16]}…`, {len(self.rows)} "
            f"texts of dev, seed {SEED}, `tol` {TOL}, {processor()}, one thread a process.\n"
        )

    def baselines(self, method: str) -> dict[str, list[Start] | None]:
        """What can be measured under a method; None hides words, which scores the input alone."""
        extra: dict[str, list[Start] | None] = {HIDDEN: None} if method == "ig" else {}
        return {**candidates(self.model, self.words), **extra}

    def file(self, name: str, method: str) -> Path:
        """Where finished baselines are kept."""
        return ROOT / "out" / "baselines" / f"{name}-{method}-{hash_weights(self.model)[:8]}-{len(self.rows)}.json"


@cache
def asked_of(name: str, shared: Path, limit: int | None) -> Asked:
    """Once for every process."""
    return Asked.of(QUESTIONS[name], shared, limit)


@cache
def judges_of(name: str, shared: Path, limit: int | None) -> list[Judge]:
    asked = asked_of(name, shared, limit)
    return [Judge(asked.model, row, asked.words) for row in asked.rows]


@dataclass(frozen=True)
class Job:
    """One baseline of one question under one method."""

    name: str
    method: str
    baseline: str
    shared: Path
    limit: int | None

    def run(self) -> dict[str, Any]:
        torch.set_num_threads(1)
        asked = asked_of(self.name, self.shared, self.limit)
        judges = judges_of(self.name, self.shared, self.limit)
        return measured(asked.model, asked.rows, judges, self.method, asked.baselines(self.method)[self.baseline])


def finish(jobs: Sequence[Job], n_workers: int) -> None:
    """Measure what is not yet in the files, several at once, and keep each as soon as it is there."""
    with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(job.run): job for job in jobs}
        for done in as_completed(running):
            job = running[done]
            path = asked_of(job.name, job.shared, job.limit).file(job.name, job.method)
            known = known_of(path) | {job.baseline: done.result()}
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(known))
            print(job.name, job.method, job.baseline, f"{known[job.baseline]['seconds']:.0f} s", sep=" | ", flush=True)


def known_of(path: Path) -> dict[str, dict[str, Any]]:
    return json.loads(path.read_text()) if path.is_file() else {}


def area(scores: dict[str, Any]) -> np.ndarray:
    """Insertion − deletion of every text, the mean over the fills."""
    return np.mean([scores[f"area {fill}"] for fill in FILLS], axis=0)


def cell(scores: np.ndarray | Sequence[float]) -> str:
    found = interval(scores, seed=SEED)
    return f"{number(found.mean)} [{number(found.low)}, {number(found.high)}]"


def cells(baseline: str, known: dict[str, dict[str, Any]]) -> list[str]:
    """One row of a table."""
    scores = known[baseline]
    by_measure = [np.mean([scores[f"{name} {fill}"] for fill in FILLS], axis=0).mean() for name in MEASURES[1:]]
    ahead = compare(area(scores), area(known["zero"]), seed=SEED)
    return [
        baseline,
        f"{statistics.fmean(scores['nodes']):.0f}",
        f"{statistics.median(scores['coarse_gap']):.1%}",
        *(cell(scores[f"area {fill}"]) for fill in FILLS),
        *(number(one) for one in by_measure),
        "" if baseline == "zero" else f"{number(ahead.difference)} [{number(ahead.low)}, {number(ahead.high)}]",
    ]


def table(known: dict[str, dict[str, Any]]) -> list[str]:
    names = ["baseline", "nodes", f"gap at {FIXED} nodes", *FILLS, "comprehensiveness ↑", "sufficiency ↓", "− `zero`"]
    order = sorted(known, key=lambda baseline: -area(known[baseline]).mean())
    p_values = holm(compare(area(known[one]), area(known["zero"]), seed=SEED).p for one in order)
    lines = [f"| {' | '.join(names)} |", "| --- |" + " --- |" * (len(names) - 1)]
    for baseline, p in zip(order, p_values, strict=True):
        star = r" \*" if p < 0.05 and baseline != "zero" else ""
        lines.append(f"| {' | '.join(cells(baseline, known))}{star} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the baselines of explanations.")
    parser.add_argument("names", nargs="*", metavar="QUESTION", help=f"{', '.join(QUESTIONS)} (default: all)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="only these, to out/baselines alone")
    parser.add_argument("--shared", type=Path, help="folder with data/ and models/ (default: LIGNITE_SHARED)")
    parser.add_argument("--limit", type=int, help="texts per question, for a trial (written to out/results)")
    parser.add_argument("--workers", type=int, default=1, help="processes, one thread each (default: 1)")
    parser.add_argument("--fresh", action="store_true", help="forget what was finished")
    parser.add_argument("--finished", action="store_true", help="write tables of what is finished, measure nothing")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in QUESTIONS]
    if unknown:
        parser.error(f"no question is called {', '.join(unknown)}. Known: {', '.join(QUESTIONS)}.")
    torch.set_num_threads(1)
    shared = shared_folder(arguments.shared)
    names = arguments.names or list(QUESTIONS)
    methods = {
        name: [each for each in QUESTIONS[name].methods if each in (arguments.methods or METHODS)] for name in names
    }
    jobs = []
    for name in names:
        asked = asked_of(name, shared, arguments.limit)
        for method in methods[name]:
            known = {} if arguments.fresh else known_of(asked.file(name, method))
            left = [each for each in asked.baselines(method) if each not in known]
            jobs += [Job(name, method, baseline, shared, arguments.limit) for baseline in left]
            if arguments.fresh:
                asked.file(name, method).unlink(missing_ok=True)
    if not arguments.finished:
        finish(jobs, arguments.workers)
    for name in names:
        asked = asked_of(name, shared, arguments.limit)
        content = [asked.head()]
        for method in methods[name]:
            known = known_of(asked.file(name, method))
            content += [f"`{method}`:", "", *table(known), ""] if known else []
        if not arguments.methods:
            title = f"Baselines: {QUESTIONS[name].title}"
            insert(pages(bool(arguments.limit)), f"baselines-{name}", title, "\n".join(content).rstrip())


if __name__ == "__main__":
    main()
