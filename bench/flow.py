"""Cost of `lignite.flow`: CPU seconds, ratios measured side by side in one run, and peak memory.

python bench/flow.py budget | scaling | llama | memory
"""

import argparse
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

import lignite
from clock import peak_memory, usual_seconds
from lignite.attribution.layer import attribute_layer
from lignite.attribution.layer_scores import MapOptions
from lignite.attribution.panels import Precision
from lignite.blocks.record import record
from lignite.blocks.routes import Route, split_block
from lignite.memory import memory_budget
from lignite.models.hold import at_rest
from models import bert_base, llama_like, token_ids

N_NODES = 8
FEW_NODES = 2
"""For plans whose cost per node is so high that it does not depend on how many are done at once."""


def budget() -> None:
    """All layers and targets of a BERT-base-sized model at 41 tokens, recording and every check included."""
    model = bert_base()
    inputs = token_ids(model, 41)
    print("| maps | CPU seconds | largest gap / displacement |")
    print("| --- | --- | --- |")
    for maps in (("attention", "mlp", "whole", "composed"), ("attention",), ("mlp",), ("whole",)):
        seconds = usual_seconds(lambda maps=maps: lignite.flow(model, inputs, maps=maps), repetitions=3)
        result = lignite.flow(model, inputs, maps=maps)
        gap = max(float(abs(result[f"{name}_gap"] / result[f"{name}_displacement"]).max()) for name in maps)
        print(f"| {', '.join(maps)} | {seconds:.2f} | {gap:.1e} |")


@contextmanager
def one_block(model: lignite.Model, n_tokens: int) -> Iterator[Route]:
    """A middle block of the model on random words."""
    with at_rest(model.network):
        calls = record(model.network, token_ids(model, n_tokens))
        yield split_block(model, calls[len(calls) // 2])


def scaling(model: lignite.Model, lengths: tuple[int, ...], plans: tuple[str, ...]) -> None:
    """Cost per node in units of a plain forward pass of the block on the same nodes, done at once."""
    columns = [f"`{name}`, {plan}" for plan in plans for name in ("whole", "all maps")]
    print(f"| tokens | forward, ms | {' | '.join(columns)} | definition, `whole` | definition / {plans[0]} |")
    print(f"| {' | '.join(['---'] * (len(columns) + 4))} |")
    for n_tokens in lengths:
        with one_block(model, n_tokens) as block:
            with torch.no_grad():
                nodes = block.states.expand(N_NODES, -1, -1)
                forward = usual_seconds(lambda block=block, nodes=nodes: block.whole(nodes)) / N_NODES
            targets = torch.arange(n_tokens)
            units = []
            for plan in plans:
                for maps in (("whole",), ("attention", "mlp", "whole", "composed")):
                    if plan == "target-batches" and n_tokens > 128:
                        units.append("–")
                        continue
                    cost = per_node(block, targets, maps=maps, plan=plan)
                    units.append(f"{cost / forward:.1f}")
            definition = per_target(block, targets) * n_tokens
            units.append(f"{definition / forward:.0f}")
            row = [str(n_tokens), f"{forward * 1e3:.1f}", *units, f"{float(units[-1]) / float(units[0]):.0f} ×"]
            print(f"| {' | '.join(row)} |", flush=True)


def per_target(block: Route, targets: torch.Tensor) -> float:
    """CPU seconds of a node of one more target by the definition: of six less of two, so that checks cancel."""
    two, six = (per_node(block, targets[:: len(targets) // n][:n], maps=("whole",), plan="definition") for n in (2, 6))
    return (six - two) / 4


def per_node(block: Route, targets: torch.Tensor, *, maps: tuple[str, ...], plan: str) -> float:
    """CPU seconds of a node of the maps of one block, its share of choosing the plan included."""
    many = plan == "closed-form"
    options, precision = MapOptions(maps, plan=plan), Precision(n_steps=N_NODES if many else FEW_NODES)
    budget = memory_budget(torch.device("cpu"))
    seconds = usual_seconds(
        lambda: attribute_layer(block, None, targets, options, precision, budget=budget), 3 if many else 1
    )
    return seconds / (precision.n_steps or 1)


def memory() -> None:
    """Peak memory of the process at 512 tokens on a BERT-base-sized model, all layers and maps, default budget."""
    model = bert_base()
    before = peak_memory()
    start = time.process_time()
    result = lignite.flow(model, token_ids(model, 512))
    seconds = time.process_time() - start
    after = peak_memory()
    print("| tokens | model loaded, GiB | peak, GiB | of which results, GiB | CPU seconds |")
    print("| --- | --- | --- | --- | --- |")
    print(f"| 512 | {before:.2f} | {after:.2f} | {result.nbytes / 2**30:.2f} | {seconds:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("budget", "scaling", "llama", "memory"))
    what = parser.parse_args().what
    torch.set_num_threads(1)
    print(f"{what}: {platform.processor() or platform.machine()}, one thread, torch {torch.__version__}\n")
    if what == "budget":
        budget()
    elif what == "scaling":
        scaling(bert_base(n_layers=2), (16, 44, 64, 128, 256, 512), ("closed-form",))
    elif what == "llama":
        scaling(llama_like(n_layers=2), (16, 44, 64, 128, 256, 512), ("closed-form", "target-batches"))
    else:
        memory()


if __name__ == "__main__":
    main()
