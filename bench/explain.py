"""Cost of `lignite.explain`: against captum's layer-by-layer integrated gradients, and of batches against a loop.

python bench/explain.py captum | sentences | memory | batches | ends
"""

import argparse
import gzip
import itertools
import json
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

import lignite
from clock import peak_memory, seconds_of
from lignite.blocks.answers import another_input, one_by_one, swept
from lignite.blocks.stack import Stack
from lignite.inputs.encode import encode
from lignite.models.hold import at_rest
from lignite.targets.ask import ask
from lignite.targets.edits import filler
from models import bert_classifier, token_ids

TOL = 1e-3
N_TOKENS = 128
REVIEW = (
    "The film opens slowly and the first half hour never quite finds its rhythm, with scenes that wander from one "
    "dinner table to the next. Then the two leads finally meet, and everything changes: their quarrels are funny, "
    "their silences are tense, and the camera watches them with patience. Not all of it works. The subplot is thin, "
    "and the ending is tied up a little too neatly. But the acting is superb, the music is lovely, and the last "
    "conversation on the bridge is one of the most moving things I have seen this year."
)
"""About as many tokens as the random case has."""

STEPS = (3, 4, 6, 12, 18, 24, 36, 48, 72, 96, 144)
"""Numbers of steps among which captum's smallest sufficient one is looked for; the search is not counted."""

SHARED = Path(__file__).parents[2] / "shared"
TRAINED, SENTENCES = SHARED / "models" / "sst-minilm", SHARED / "data" / "sst" / "test.jsonl.gz"

USUAL_STEPS = 50
"""What captum takes where nobody says how many."""

MASKED = {name: {"baseline": "mask"} for name in ("ig", "ca-lig", "relevance-flow:orders=False")}
"""The path that captum goes; relevance flow without options goes two, and asks orders."""


def against_captum() -> None:
    """All layers of a classifier: captum layer by layer, with the fewest steps that reach our tolerance, and our paths.

    Each layer with its own fewest steps flatters captum, which has no way to know them; one number of steps for all
    layers, the fewest that suffices in each, is what a careful user would run (its time follows from the steps).
    """
    print("| model, tokens | captum's steps | captum, own steps | captum, same steps | path=layer | path=input |")
    print("| --- | --- | --- | --- | --- | --- |")
    cases = [("BERT-base size, random weights", bert_classifier(), None)]
    if TRAINED.is_dir():
        cases.append(("six layers, trained", lignite.load(TRAINED), REVIEW))
    for name, model, text in cases:
        inputs = _inputs(model, text)
        pass_seconds = seconds_of(lambda: _forward_backward(model, inputs), 3)  # noqa: B023 (called at once)
        rivals, steps, gap = _captum(model, inputs)
        own = {}
        for path in ("layer", "input"):
            result = lignite.explain(model, inputs, baseline="mask", path=path, tol=TOL)
            own[path] = seconds_of(lambda: lignite.explain(model, inputs, baseline="mask", path=path, tol=TOL))  # noqa: B023
            worst = float(abs(result.gap / result.displacement).max())
            print(f"<!-- {name}, {path}: largest gap {worst:.1e}, nodes {result.attrs['plans']} -->")
        one = rivals * max(steps) * len(steps) / sum(steps)
        print(
            f"| {name}, {inputs['input_ids'].shape[1]} | {steps}, gap {gap:.1e} "
            f"| {rivals:.1f} s = {rivals / pass_seconds:.0f} passes | {one:.1f} s "
            + "".join(
                f"| {own[path]:.1f} s = {own[path] / pass_seconds:.0f} passes: {rivals / own[path]:.1f} × and "
                f"{one / own[path]:.1f} × "
                for path in own
            )
            + "|"
        )


RIVALS = ("fewest steps", "50 steps", "50, doubled")


def beside_captum(n_texts: int = 30) -> None:
    """Sentence by sentence: captum's integrated gradients of the embeddings, and everything that we integrate.

    captum once with the fewest steps that reach our tolerance, which nobody knows beforehand; once with its 50 steps,
    whatever they miss; and once with 50, and twice as many until they miss no more: what a careful user does.
    """
    model = lignite.load(TRAINED)
    with gzip.open(SENTENCES, "rt") as lines:
        texts = [json.loads(line)["text"] for line in itertools.islice(lines, n_texts)]
    ratios: dict[str, list[list[float]]] = {}
    steps, missed = [], 0
    for text in texts:
        rival = Rival.of(model, _inputs(model, text))
        steps.append(rival.fewest)
        missed += rival.missed
        for name in ("ig", "ca-lig", "relevance-flow:orders=False", "relevance-flow"):
            ours = seconds_of(lambda: lignite.explain(model, text, method=name, **MASKED.get(name, {})), 2)  # noqa: B023
            ratios.setdefault(name, []).append([ours / each for each in rival.seconds])
    print(f"captum's fewest steps: {sorted(steps)}; 50 miss more than {TOL:g} of the change on {missed} sentences")
    print("| time / captum's: least, median, most; sentences ahead |", *(f" {rival} |" for rival in RIVALS), sep="")
    print("| --- | --- | --- | --- |")
    for name, found in ratios.items():
        cells = [
            f"{min(each):.2f}, {np.median(each):.2f}, {max(each):.2f}; {sum(one < 1 for one in each)} of {len(each)}"
            for each in zip(*found, strict=True)
        ]
        print(f"| `{name}` | {' | '.join(cells)} |")


def _inputs(model: lignite.Model, text: str | None = None) -> dict[str, torch.Tensor]:
    """Of a text, or of random tokens."""
    ids = (token_ids(model, N_TOKENS) if text is None else encode(model, text)[0].tensors)["input_ids"]
    return {"input_ids": ids, "token_type_ids": torch.zeros_like(ids)}


def _forward_backward(model: lignite.Model, inputs: dict[str, torch.Tensor]) -> None:
    embedded = model.network.get_input_embeddings()(inputs["input_ids"]).detach().requires_grad_()
    tensors = {name: each for name, each in inputs.items() if name != "input_ids"}
    torch.autograd.grad(model.network(inputs_embeds=embedded, **tensors).logits[0, 0], embedded)


def _question(
    model: lignite.Model, inputs: dict[str, torch.Tensor]
) -> tuple[Callable[[torch.Tensor], torch.Tensor], torch.Tensor]:
    """What captum is asked: the logit of the predicted class for other ids, and the ids with their words masked."""
    network = model.network
    special = torch.isin(inputs["input_ids"], torch.tensor(model.tokenizer.all_special_ids))
    label = int(network(**inputs).logits.argmax())

    def forward(ids: torch.Tensor) -> torch.Tensor:
        rest = {name: each.expand(len(ids), -1) for name, each in inputs.items() if name != "input_ids"}
        return network(input_ids=ids, **rest).logits[:, label]

    return forward, torch.where(special, inputs["input_ids"], filler(model, "mask"))


def _captum(model: lignite.Model, inputs: dict[str, torch.Tensor]) -> tuple[float, list[int], float]:
    """CPU seconds over all layers, each with the fewest steps that reach our tolerance; those steps, the worst gap."""
    from captum.attr import LayerIntegratedGradients

    stack = model.network.base_model
    layers: list[nn.Module] = [stack.embeddings, *stack.encoder.layer]
    forward, blank = _question(model, inputs)
    change = float((forward(inputs["input_ids"]) - forward(blank)).detach())
    total, used, worst = 0.0, [], 0.0
    for layer in layers:
        method = LayerIntegratedGradients(forward, layer)
        for steps in STEPS:
            start = time.process_time()
            _, delta = method.attribute(
                inputs["input_ids"],
                baselines=blank,
                n_steps=steps,
                internal_batch_size=4,
                return_convergence_delta=True,
            )
            seconds = time.process_time() - start
            gap = abs(float(delta) / change)
            if gap <= TOL:
                break
        total, worst = total + seconds, max(worst, gap)
        used.append(steps)
    return total, used, worst


class Rival(NamedTuple):
    """captum's integrated gradients of one sentence."""

    fewest: int
    missed: bool
    seconds: tuple[float, float, float]
    """CPU time as in `RIVALS`."""

    @classmethod
    def of(cls, model: lignite.Model, inputs: dict[str, torch.Tensor]) -> "Rival":
        """Run them from `mask`."""
        from captum.attr import LayerIntegratedGradients

        forward, blank = _question(model, inputs)
        change = float((forward(inputs["input_ids"]) - forward(blank)).detach())
        method = LayerIntegratedGradients(forward, model.network.get_input_embeddings())

        def gap(steps: int) -> float:
            given = {"baselines": blank, "n_steps": steps, "internal_batch_size": 16, "return_convergence_delta": True}
            return abs(float(method.attribute(inputs["input_ids"], **given)[1]) / change)

        doubled = [USUAL_STEPS]
        while gap(doubled[-1]) > TOL:
            doubled.append(2 * doubled[-1])
        fewest = next(steps for steps in (*STEPS, doubled[-1]) if gap(steps) <= TOL)
        took = [seconds_of(lambda steps=steps: gap(steps), 2) for steps in (fewest, *doubled)]
        return cls(fewest, len(doubled) > 1, (took[0], took[1], sum(took[1:])))


def memory() -> None:
    """Peak memory of three processes: captum on every layer, and our paths, of the model with random weights."""
    print("| 128 tokens, BERT-base size | model loaded, GiB | peak, GiB |")
    print("| --- | --- | --- |")
    for what in ("captum", "path=layer", "path=input"):
        child = subprocess.run([sys.executable, __file__, "peak", what], check=True, capture_output=True, text=True)
        loaded, peak = child.stdout.split()
        print(f"| {what} | {loaded} | {peak} |")


def peak(what: str) -> None:
    """What the process held when the model was loaded, and at most until all layers were explained; in GiB."""
    model = bert_classifier()
    inputs = _inputs(model)
    loaded = peak_memory()
    if what == "captum":
        _captum(model, inputs)
    else:
        lignite.explain(model, inputs, baseline="mask", path=what.removeprefix("path="), tol=TOL)
    print(f"{loaded:.2f} {peak_memory():.2f}")


def ends(n_tokens: int = 41) -> None:
    """What holding the answer against the model at both ends costs: block calls, and CPU time beside the rest."""
    print(
        "| layers | block calls | rows of blocks | sweep | layer by layer | forward | forward and backward | explain |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for n_layers in (6, 12, 24):
        model = bert_classifier(n_layers=n_layers)
        inputs = {"input_ids": token_ids(model, n_tokens)["input_ids"]}
        rows = ask(model, inputs, 1)
        with at_rest(model.network), torch.no_grad():
            stack = Stack(model, rows)
            end, layers = another_input(stack), range(n_layers + 1)
            calls = _block_calls(stack, lambda: swept(stack, end, layers))  # noqa: B023
            sweep = seconds_of(lambda: swept(stack, end, layers), 3)  # noqa: B023
            apart = seconds_of(lambda: one_by_one(stack, end, layers), 3)  # noqa: B023
            forward = seconds_of(lambda: model.network(**inputs), 3)  # noqa: B023
        both = seconds_of(lambda: _forward_backward(model, inputs), 3)  # noqa: B023
        whole = seconds_of(lambda: lignite.explain(model, inputs, baseline="mask", tol=TOL))  # noqa: B023
        print(
            f"| {n_layers} | {len(calls)} | {sum(calls)} | {sweep:.2f} s = {sweep / forward:.1f} forwards "
            f"| {apart:.2f} s = {apart / forward:.1f} | {forward:.3f} s | {both:.3f} s "
            f"| {whole:.1f} s, of which the sweep is {sweep / whole:.0%} |"
        )


def _block_calls(stack: Stack, run: Callable[[], object]) -> list[int]:
    """Rows that each call of a block works on: those that its attention is given."""
    found: list[int] = []
    hooks = [
        block.attention.register_forward_pre_hook(lambda _, args: found.append(len(args[0]))) for block in stack.blocks
    ]
    run()
    for hook in hooks:
        hook.remove()
    return found


def batches(n_texts: int = 500) -> None:
    """The same code on a list and on one text after the other, with sentences of 5 to 40 tokens."""
    model = lignite.load("tiny-sentiment")
    rng = np.random.default_rng(0)
    words = [word for word in model.tokenizer.get_vocab() if word.isalpha() and len(word) > 2]
    texts = [" ".join(rng.choice(words, rng.integers(4, 36))) for _ in range(n_texts)]
    print("| method | a list | a loop | loop / list |")
    print("| --- | --- | --- | --- |")
    for options in (
        {"method": "ca-lig", "path": "input"}, {"method": "ca-lig", "path": "layer"}, {"method": "relevance-flow"},
        {"method": "ig"},
    ):  # fmt: skip
        together = seconds_of(lambda: lignite.explain(model, texts, **options))  # noqa: B023
        apart = seconds_of(lambda: [lignite.explain(model, text, **options) for text in texts[:50]]) * n_texts / 50  # noqa: B023
        label = " ".join(options.values())
        print(f"| {label} | {together:.1f} s | {apart:.1f} s | {apart / together:.1f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["captum", "sentences", "memory", "batches", "ends", "peak"])
    parser.add_argument("of", nargs="?", help="of peak, which memory calls: captum, path=layer or path=input")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    arguments = parser.parse_args()
    if arguments.what == "peak":
        peak(arguments.of)
    else:
        print(f"{platform.processor() or platform.machine()}, one thread, torch {torch.__version__}")
        {"captum": against_captum, "sentences": beside_captum, "memory": memory, "batches": batches, "ends": ends}[
            arguments.what
        ]()
