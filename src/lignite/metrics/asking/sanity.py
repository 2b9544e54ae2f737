"""Whether an explanation depends on what the model has learnt (Adebayo et al. 2018, :arxiv:`1810.03292`).

An explanation that stays the same when the weights become noise, or when the model has learnt shuffled labels, shows
the text and not the model. Low correlation is what a method should have here; it proves nothing more.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from lignite.blocks.record import record
from lignite.errors import InputError, ModelError
from lignite.metrics.asking.session import ExplainRows, Session, by_place
from lignite.metrics.metric import Metric, Question
from lignite.metrics.readings.statistics import rank_correlation
from lignite.models.hold import at_rest, before_each, switches_undone
from lignite.models.load import Model
from lignite.models.stream import parts_within
from lignite.targets.edits import removable
from lignite.targets.rows import Row, run


@dataclass(frozen=True)
class Stage:
    """Weights that become noise together."""

    name: str
    weights: tuple[tuple[str, nn.Parameter], ...]


def weight_randomization(
    model: Model,
    rows: Sequence[Row],
    explain_rows: ExplainRows,
    *,
    relevances: Sequence[np.ndarray] | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Turn weights into noise from the head down, explain the same output again, and compare.

    At each stage everything above is noise, too (Adebayo et al. call this cascading).

    The model is bit-identical afterwards, also after an exception. While this runs, nobody else may use it.

    Parameters
    ----------
    explain_rows
        Explains rows with `model`: one array per row, one number per token that is no padding.
    relevances
        What `explain_rows` says of the model as it is, where that is known already.

    Returns
    -------
    A Dataset over `stage` (``"head"``, ``"block 5"`` … ``"block 0"``, ``"embeddings"``) and `example`:
    `rank_correlation` (Spearman) between the relevances of both models over the tokens that are neither special nor
    read by the head, and `rank_correlation_absolute`, that of their sizes; NaN where one is constant.

    Notes
    -----
    Noise is drawn from a normal distribution with the mean and spread that the numbers of a weight had, so that states
    keep their size. Weights that the word embeddings share with the head count to the embeddings; blocks that share
    their weights become noise together, at the highest.
    """
    if not rows:
        raise InputError("there are no rows to explain; give at least one.")
    if parts_within(model.network):
        raise ModelError(f"{model.name} is streamed, and noise has to stay in its weights: load it with stream=False.")
    with at_rest(model.network):
        found = stages(model, rows[0])
        before = list(explain_rows(rows)) if relevances is None else list(relevances)
        after = []
        for number in range(len(found)):
            with _noise([weight for stage in found[: number + 1] for weight in stage.weights], seed):
                after.append(list(explain_rows(rows)))
    comparisons = [compare_explanations(rows, before, other) for other in after]
    together = xr.concat(comparisons, dim="stage").assign_coords(stage=[stage.name for stage in found])
    return together.assign_attrs(kind="weight-randomization")


def compare_explanations(rows: Sequence[Row], first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> xr.Dataset:
    """Rank correlations of two explanations of each row, by their values and by their sizes.

    For label randomization, `second` explains the same outputs of a model of the same kind that was trained on
    shuffled labels.
    """
    if not len(rows) == len(first) == len(second):
        raise InputError(f"{len(first)} and {len(second)} explanations of {len(rows)} rows; give one each.")
    signed, absolute = [], []
    for number, (row, one, other) in enumerate(zip(rows, first, second, strict=True)):
        places = removable(row)
        x, y = by_place(number, row, one)[places], by_place(number, row, other)[places]
        signed.append(rank_correlation(x, y))
        absolute.append(rank_correlation(abs(x), abs(y)))
    return xr.Dataset(
        {
            "rank_correlation": ("example", np.array(signed)),
            "rank_correlation_absolute": ("example", np.array(absolute)),
        },
        {"example": np.arange(len(rows))},
        {"kind": "label-randomization"},
    )


def stages(model: Model, row: Row) -> list[Stage]:
    """Weights of the head, of each block from the last to the first, and of the embeddings, each weight once.

    What is called before the first block belongs to the embeddings, all else outside the blocks to the head.
    """
    network = model.network
    with at_rest(network), torch.no_grad():
        with switches_undone(network):
            blocks = [call.module for call in record(network, row.encoded.tensors)]
        early = _called_before(network, blocks[0], row)
    groups = {"embeddings": [weight for module in early for weight in module.parameters(recurse=False)]}
    groups |= {f"block {number}": list(block.parameters()) for number, block in reversed(list(enumerate(blocks)))}
    groups["head"] = list(network.parameters())
    taken: set[int] = set()
    found = {}
    for name, weights in groups.items():
        own = {id(weight) for weight in weights} - taken
        taken |= own
        found[name] = Stage(name, tuple(item for item in network.named_parameters() if id(item[1]) in own))
    ordered = [
        found.pop("head"),
        *(stage for name, stage in found.items() if name != "embeddings"),
        found["embeddings"],
    ]
    return [stage for stage in ordered if stage.weights]


def _called_before(network: nn.Module, block: nn.Module, row: Row) -> list[nn.Module]:
    """Modules that run before the first block does, those around it left out."""
    around = {id(module) for module in network.modules() if any(part is block for part in module.modules())}
    called: list[nn.Module] = []
    entered = False

    def note(module: nn.Module, _: object) -> None:
        nonlocal entered
        entered = entered or module is block
        if not entered and id(module) not in around:
            called.append(module)

    with before_each(network.modules(), note):
        run(network, row.encoded.tensors)
    return called


@contextmanager
def _noise(weights: Sequence[tuple[str, nn.Parameter]], seed: int) -> Iterator[None]:
    saved = [(weight, weight.detach().clone()) for _, weight in weights]
    try:
        for name, weight in weights:
            weight.data.copy_(draw_noise(name, weight.detach(), seed))
        yield
    finally:
        for weight, old in saved:
            weight.data.copy_(old)


def draw_noise(name: str, weight: Tensor, seed: int) -> Tensor:
    """Draw normal numbers like those of a weight; they depend on its name and the seed alone."""
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    numbers = torch.randn(weight.shape, generator=generator)
    exact = weight.float()
    return (exact.mean().cpu() + exact.std(correction=0).cpu() * numbers).to(weight)


def ask_noisy(question: Question, session: Session, metrics: Sequence[Metric]) -> list[xr.Dataset]:
    """Turn weights into noise: `weight_randomization` of all cases of a method."""
    return [
        weight_randomization(
            session.model,
            session.rows,
            session.explainers[method],
            relevances=relevances,
            seed=session.how.seed,
        )
        for method, relevances in session.relevances.items()
    ]
