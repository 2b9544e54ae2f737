"""One examination for every architecture: which way it is divided, by which plans it is computed, and how exactly.

``python -m tests.battery`` prints the table; ``--write docs/architectures.md`` puts it where readers find it.
"""

import argparse
import functools
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tests.kit.architectures import ARCHITECTURES, Architecture, full_precision
from tests.kit.definition import Definition, EagerBlock, eager_blocks, eager_network
from torch import Tensor

import lignite
from lignite.attribution.layer import attribute_layer
from lignite.attribution.layer_scores import LayerScores, MapOptions
from lignite.attribution.panels import Precision
from lignite.blocks.record import record
from lignite.blocks.routes import Route, split_block
from lignite.models.hold import at_rest

DOCUMENT = Path(__file__).parents[1] / "docs" / "architectures.md"
LENGTH = 6
LAYERS = (0, 1)  # families that alternate kinds of layers do so from the first to the second
N_STEPS = 2
TARGETS = (2, LENGTH - 1)
BUDGET = 1e8

FAMILIES = "# Families\n"
"""What follows this heading in the document is written by `tests.families`."""

INTRODUCTION = f"""\
# Architectures

Each row is a family of transformers as a tiny random model in float64: the route by which its blocks are divided
(`interface`: at transformers' attention interface, `projection`: at the input of the output projection, `definition`:
not at all, `whole` map alone), the plans that follow for the target-token and the zero baseline (docs/method.md), how
far the divided block is from the model's own output, and the largest error of any `attention`, `mlp` or `whole` score
against the definition on the model's own eager blocks, relative to the largest score of its map.
{len(ARCHITECTURES)} families; written by `python -m tests.battery --write docs/architectures.md`.
Modules that are not transformers' own are tried out instead: [how-to/wrap.md](how-to/wrap.md).

"""
HEADER = ("architecture", "class", "route", "target-token path", "zero path", "split error", "largest error")


@dataclass(frozen=True)
class Examination:
    """What was found in the examined layers of one architecture: names as sets in order, errors as the largest.

    `parts` is how far heads and residual, or the four circuits, are from adding up to the `whole` map.
    """

    name: str
    model_class: str
    routes: tuple[str, ...]
    token_plans: tuple[str, ...]
    zero_plans: tuple[str, ...]
    split: float
    error: float
    parts: float

    def cells(self) -> tuple[str, ...]:
        """A row of the table."""
        names = (" / ".join(values) for values in (self.routes, self.token_plans, self.zero_plans))
        return (self.name, self.model_class, *names, f"{self.split:.0e}", f"{self.error:.0e}")


@functools.cache
def examine(name: str) -> Examination:
    """Hold one architecture to the definition, in double precision."""
    architecture = ARCHITECTURES[name]
    truths = eager_blocks(architecture, eager_network(architecture), architecture.inputs(seed=1, length=LENGTH))
    model, blocks = blocks_of(architecture, torch.float64)
    plans, errors, parts = {True: [], False: []}, [], []
    with at_rest(model.network):
        for layer in LAYERS:
            for from_zero in (False, True):
                blocks[layer], scores = scores_of(blocks[layer], from_zero=from_zero)
                plans[from_zero].append(scores.plan)
                errors.append(largest_error(scores, truths[layer], from_zero=from_zero))
                parts.append(parts_error(scores))
    routes = _distinct(block.route for block in blocks)
    return Examination(
        name, architecture.model_class, routes, _distinct(plans[False]), _distinct(plans[True]),
        max(block.error for block in blocks), max(errors), max(parts),
    )  # fmt: skip


def blocks_of(architecture: Architecture, dtype: torch.dtype) -> tuple[lignite.Model, list[Route]]:
    """The divided blocks; in double precision of a model that computes in double throughout."""
    network = architecture.build(seed=0, dtype=dtype)
    model = lignite.wrap(full_precision(network) if dtype == torch.float64 else network)
    inputs = architecture.inputs(seed=1, length=LENGTH)
    inputs = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in inputs.items()}
    with at_rest(network):
        return model, [split_block(model, call) for call in record(network, inputs)[: max(LAYERS) + 1]]


def scores_of(block: Route, *, from_zero: bool) -> tuple[Route, LayerScores]:
    """All that the block's route offers, and the block by the route that held."""
    offered = {
        "interface": {"maps": ("attention", "mlp", "whole"), "detail": ("heads", "circuits")},
        "projection": {"maps": ("attention", "mlp", "whole"), "detail": ("heads",)},
        "definition": {"maps": ("whole",)},
    }[block.route]
    baseline = torch.zeros_like(block.states) if from_zero else None
    options, precision = MapOptions(**offered), Precision(n_steps=N_STEPS)
    return attribute_layer(block, baseline, torch.tensor(TARGETS), options, precision, budget=BUDGET)


def largest_error(scores: LayerScores, truth: EagerBlock, *, from_zero: bool) -> float:
    """Of any score of the outer heads and of any displacement, relative to the largest of its map."""
    definition = Definition(truth, torch.zeros_like(truth.states) if from_zero else None, TARGETS, N_STEPS)
    found, outer = scores.variables, [0, truth.n_heads - 1]
    comparisons = [(found["whole"], found["whole_displacement"], definition.whole())]
    if "attention" in found:
        attention = found["attention"][:, outer], found["attention_displacement"][:, outer]
        comparisons.append((*attention, definition.attention(outer)))
        comparisons.append((found["mlp"], found["mlp_displacement"], definition.mlp()))
    errors = []
    for measured, moved, (expected, displacement) in comparisons:
        scale = torch.maximum(expected.abs().max(), displacement.abs().max())
        errors += [(measured - expected).abs().max() / scale, (moved - displacement).abs().max() / scale]
    return float(max(errors))


def parts_error(scores: LayerScores) -> float:
    """How far the split by head and by circuit is from adding up, relative to the largest part."""
    found, rows = scores.variables, torch.arange(len(TARGETS))
    errors = [torch.tensor(0.0)]
    if "whole_heads" in found:
        total = found["whole_heads"].sum(1)
        total[rows, list(TARGETS)] += found["whole_residual"]
        errors.append(_relative(total, found["whole"], found["whole_heads"]))
    if "whole_circuits" in found:
        errors.append(_relative(found["whole_circuits"].sum(1), found["whole"], found["whole_circuits"]))
    return float(max(errors))


def _relative(actual: Tensor, expected: Tensor, parts: Tensor) -> Tensor:
    return (actual - expected).abs().max() / torch.maximum(expected.abs().max(), parts.abs().max())


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def table(examinations: Sequence[Examination]) -> str:
    """Markdown, one row per architecture."""
    rows = [HEADER, ("---",) * len(HEADER), *(examination.cells() for examination in examinations)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def read_table(path: Path = DOCUMENT) -> dict[str, tuple[str, ...]]:
    """The rows of the written table by architecture."""
    lines = [line for line in path.read_text("utf-8").partition(FAMILIES)[0].splitlines() if line.startswith("| ")]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[2:]]
    return {row[0]: row for row in rows}


def main() -> None:
    """Examine every architecture, or those that are named."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.battery", description="Hold architectures to the definition."
    )
    parser.add_argument(
        "names", nargs="*", choices=[[], *ARCHITECTURES], metavar="NAME", help="architectures; all if none"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table of all architectures into a document")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = [examine(name) for name in (arguments.names if not arguments.write else ()) or ARCHITECTURES]
    print(table(rows), end="")
    if arguments.write:
        families = "".join(arguments.write.read_text("utf-8").partition(FAMILIES)[1:])
        arguments.write.write_text(f"{INTRODUCTION}{table(rows)}\n{families}", "utf-8")


if __name__ == "__main__":
    main()
