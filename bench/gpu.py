"""What a GPU does of `lignite.flow` and `lignite.explain`: milliseconds, launches, waits, and how long it is busy.

python bench/gpu.py [flow] [explain] [captum] [lists] [large] [--tiny]

The first four take about four minutes; `large`, a Llama of 32.5 billion parameters on one card, is measured where it is
named. `--tiny` is two layers and few tokens, to see on any machine that it runs. Times are of the wall,
the median of some calls after two that are not counted; launches, waits for the device and the time of its kernels are
those of one more call under the profiler. Models have BERT-base's shape and random weights.
"""

import argparse
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.initialization import no_init_weights

import lignite
from clock import wall_seconds
from lignite.attribution import abreast
from models import bert_base, bert_classifier, token_ids


@dataclass(frozen=True)
class Sizes:
    """Sizes of models and inputs."""

    n_layers: int = 12
    lengths: tuple[int, ...] = (41, 128, 512)
    n_texts: int = 64
    repetitions: int = 5
    large: dict[str, int] = field(default_factory=lambda: {
        "hidden_size": 6656, "intermediate_size": 17920, "num_hidden_layers": 60, "num_attention_heads": 52,
    })  # fmt: skip


CHOSEN = Sizes()
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ALL_MAPS = ("attention", "mlp", "whole", "composed")
EXPLAINED = (
    {"method": "relevance-flow"},
    {"method": "ca-lig", "path": "input"},
    {"method": "ca-lig", "path": "layer"},
    {"method": "ig"},
    {"method": "gradient-x-input"},
)
CAPTUM_STEPS = (3, 4, 6, 12, 18, 24, 36, 48)
"""Among these the fewest of each layer are looked for that reach our tolerance; the search is not counted."""
TOL = 1e-3
TEXT = "The plot was thin, but the acting was superb and the music carried the film."
PATIENCE = 20.0
"""Seconds after which a question to a large model is not asked again."""
MASKED = {"baseline": "mask", "tol": TOL}


@dataclass
class Cost:
    """What one call takes."""

    wall: float
    kernels: int
    waits: int
    busy: float

    def cells(self) -> list[str]:
        share = f"{self.busy / self.wall:.0%}"
        return [f"{self.wall * 1e3:.1f}", str(self.kernels), str(self.waits), f"{self.busy * 1e3:.1f}", share]


COLUMNS = ("ms", "launches", "waits", "busy, ms", "busy")


def cost_of(run: Callable[[], object]) -> Cost:
    wall = wall_seconds(run, CHOSEN.repetitions)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if DEVICE.type == "cuda" else [])]
    with profile(activities=activities) as seen:
        wall_seconds(run, 1, 0)
    events = seen.profiler.kineto_results.events()  # type: ignore[union-attr] # there once the block ended
    kernels = [
        event
        for event in events
        if event.device_type() == torch.autograd.DeviceType.CUDA and not event.name().startswith(("Memcpy", "Memset"))
    ]
    waits = sum(event.name() == "cudaStreamSynchronize" for event in events)
    return Cost(wall, len(kernels), waits, sum(event.duration_ns() for event in kernels) / 1e9)


def row(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def head(*names: str) -> None:
    row(*names)
    row(*["---"] * len(names))


def on_device(model: lignite.Model) -> lignite.Model:
    model.network.to(DEVICE)
    return model


def of_flow() -> None:
    """All layers and targets, recording and checks included, beside one plain forward pass."""
    model = on_device(bert_base(n_layers=CHOSEN.n_layers))
    head("flow", "tokens", *COLUMNS)
    for length in CHOSEN.lengths:
        inputs = token_ids(model, length)
        ids = inputs["input_ids"].to(DEVICE)
        row("plain forward pass", length, *cost_of(lambda ids=ids: forward(model, ids)).cells())
        for maps, baseline in ((ALL_MAPS, "target_token"), (("whole",), "target_token"), (("whole",), "zero")):
            cost = cost_of(lambda inputs=inputs, m=maps, b=baseline: lignite.flow(model, inputs, maps=m, baseline=b))
            row(f"{', '.join(maps)}, {baseline}", length, *cost.cells())
        with in_turn():
            cost = cost_of(lambda inputs=inputs: lignite.flow(model, inputs, maps=ALL_MAPS))
        row(f"{', '.join(ALL_MAPS)}, target_token, layer by layer", length, *cost.cells())
        cost = cost_of(lambda inputs=inputs: lignite.flow(model, inputs, maps="attention"))
        row("attention, target_token", length, *cost.cells())
    trained = on_device(lignite.load("tiny-sentiment"))
    length = lignite.flow(trained, TEXT, maps="whole").sizes["source"]
    row("tiny-sentiment, four maps", length, *cost_of(lambda: lignite.flow(trained, TEXT)).cells())
    with in_turn():
        cost = cost_of(lambda: lignite.flow(trained, TEXT))
    row("tiny-sentiment, four maps, layer by layer", length, *cost.cells())


@contextmanager
def in_turn() -> Iterator[None]:
    """Compute layers one by one, as on a processor."""
    devices, abreast.ABREAST = abreast.ABREAST, ()
    try:
        yield
    finally:
        abreast.ABREAST = devices


@torch.no_grad()
def forward(model: lignite.Model, ids: torch.Tensor) -> object:
    return model.network(input_ids=ids)


def of_explain() -> None:
    """All layers of a classifier from the mask token, to a tolerance of 1e-3."""
    model = on_device(bert_classifier(n_layers=CHOSEN.n_layers))
    model.tokenizer.model_max_length = CHOSEN.lengths[-1]
    head("explain", "tokens", *COLUMNS)
    for length in CHOSEN.lengths:
        inputs = token_ids(model, length)
        for options in EXPLAINED:
            given = MASKED if options["method"] != "gradient-x-input" else {}

            def run(inputs=inputs, options={**options, **given}):  # noqa: B006
                return lignite.explain(model, inputs, **options)

            row(" ".join(options.values()), length, *cost_of(run).cells())


def of_captum() -> None:
    """Take captum layer by layer, each with the fewest steps that reach the tolerance, and with one number for all."""
    model = on_device(bert_classifier(n_layers=CHOSEN.n_layers))
    head("tokens", "captum, own steps, ms", "captum, same steps, ms", "path=layer, ms", "path=input, ms", "ratios")
    for length in CHOSEN.lengths[:2]:
        inputs = {"input_ids": token_ids(model, length)["input_ids"].to(DEVICE)}
        own, same = captum_seconds(model, inputs["input_ids"])
        ours = [
            wall_seconds(lambda p=path, i=inputs: lignite.explain(model, i, method="ca-lig", path=p, **MASKED), 3, 1)
            for path in ("layer", "input")
        ]
        ratios = ", ".join(f"{one / mine:.1f} ×" for mine in ours for one in (own, same))
        row(length, *(f"{each * 1e3:.0f}" for each in (own, same, *ours)), ratios)


def captum_seconds(model: lignite.Model, ids: torch.Tensor) -> tuple[float, float]:
    from captum.attr import LayerIntegratedGradients

    network = model.network
    special = torch.isin(ids, torch.tensor(model.tokenizer.all_special_ids, device=ids.device))
    blank = torch.where(special, ids, model.tokenizer.mask_token_id)
    with torch.no_grad():
        label = int(network(input_ids=ids).logits.argmax())
        ends = [float(network(input_ids=each).logits[0, label]) for each in (ids, blank)]

    def forward(ids: torch.Tensor) -> torch.Tensor:
        return network(input_ids=ids).logits[:, label]

    layers = [network.base_model.embeddings, *network.base_model.encoder.layer]
    methods, steps = [LayerIntegratedGradients(forward, layer) for layer in layers], []

    def run(method: LayerIntegratedGradients, n_steps: int) -> float:
        scores = method.attribute(ids, baselines=blank, n_steps=n_steps)
        return float(scores.sum())

    for method in methods:
        errors = {n: abs(run(method, n) / (ends[0] - ends[1]) - 1) for n in CAPTUM_STEPS}
        steps.append(next((n for n in CAPTUM_STEPS if errors[n] <= TOL), CAPTUM_STEPS[-1]))
    own = sum(wall_seconds(lambda m=m, n=n: run(m, n), 3, 1) for m, n in zip(methods, steps, strict=True))
    same = sum(wall_seconds(lambda m=m: run(m, max(steps)), 3, 1) for m in methods)
    print(f"<!-- captum's steps: {steps} -->")
    return own, same


def of_lists() -> None:
    """Sentences of 4 to 35 random words in one call, against one call each."""
    head("list", "model", "a list, ms", "a loop, ms", "loop / list")
    tiny = on_device(lignite.load("tiny-sentiment"))
    base = on_device(bert_classifier(n_layers=CHOSEN.n_layers))
    rng = np.random.default_rng(0)
    words = [word for word in tiny.tokenizer.get_vocab() if word.isalpha() and len(word) > 2]
    texts = [" ".join(rng.choice(words, rng.integers(4, 36))) for _ in range(CHOSEN.n_texts)]
    for name, model in (("tiny-sentiment", tiny), ("BERT-base shape", base)):
        for options in EXPLAINED[:4]:
            compare(
                " ".join(options.values()), name, texts, lambda text, m=model, o=options: lignite.explain(m, text, **o)
            )
        compare("flow", name, texts, lambda text, m=model: lignite.flow(m, text))


def compare(label: str, name: str, texts: list[str], run: Callable[[object], object]) -> None:
    together = wall_seconds(lambda: run(texts), 1, 1)
    few = texts[::4]
    apart = wall_seconds(lambda: [run(text) for text in few], 1, 1) * len(texts) / len(few)
    row(label, name, f"{together * 1e3:.0f}", f"{apart * 1e3:.0f}", f"{apart / together:.1f}")


def of_large() -> None:
    """A Llama's shape of 32.5 billion random parameters in bfloat16, 64 tokens; memory is what tensors took at most."""
    network = large_llama(CHOSEN.large).eval()
    model = lignite.wrap(network, name="Llama shape")
    inputs = token_ids(model, 64)
    weights = sum(weight.nbytes for weight in network.parameters())
    print(f"{sum(weight.numel() for weight in network.parameters()) / 1e9:.1f} billion, {weights / 2**30:.1f} GiB\n")
    head("question", "s, first call, second", "GiB at most", "GiB beside the weights", "largest gap / displacement")
    questions = {
        "flow": lambda: lignite.flow(model, inputs),
        "relevance-flow": lambda: lignite.explain(model, inputs, method="relevance-flow", orders=False),
    }
    for name, ask in questions.items():
        if DEVICE.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        times, found = [], None
        while len(times) < 2 and sum(times) < PATIENCE:
            start = time.perf_counter()
            found = ask()
            times.append(time.perf_counter() - start)
        gap, size = (found[f"whole_{part}"] if name == "flow" else found[part] for part in ("gap", "displacement"))
        peak = torch.cuda.max_memory_allocated() if DEVICE.type == "cuda" else weights
        memory = [f"{each / 2**30:.2f}" for each in (peak, peak - weights)]
        row(name, ", ".join(f"{each:.2f}" for each in times), *memory, f"{float(abs(gap / size).max()):.1e}")


def large_llama(shape: dict[str, int]) -> torch.nn.Module:
    config = LlamaConfig(**shape, vocab_size=32000, max_position_embeddings=2048, dtype="bfloat16")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with DEVICE, no_init_weights():
            network = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    with torch.no_grad():
        for weight in network.parameters():
            _ = weight.uniform_(0.75, 1.25) if weight.ndim == 1 else weight.normal_(std=weight.shape[1] ** -0.5)
    return network


PARTS = {"flow": of_flow, "explain": of_explain, "captum": of_captum, "lists": of_lists, "large": of_large}
DEFAULT = ("flow", "explain", "captum", "lists")

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="two layers and few tokens, on whatever there is")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: {', '.join(DEFAULT)})")
    given = parser.parse_args()
    tiny = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    CHOSEN = Sizes(2, (7, 9), 4, 1, tiny) if given.tiny else CHOSEN
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "no GPU"
    print(f"{name}, {platform.machine()} host, torch {torch.__version__}\n")
    for part in given.parts or DEFAULT:
        start = time.perf_counter()
        PARTS[part]()
        print(f"\n<!-- {part}: {time.perf_counter() - start:.0f} s -->\n", flush=True)
