"""Infidelity and max-sensitivity (Yeh et al. 2019, :arxiv:`1901.09392`), as captum computes them.

captum is an optional extra; nothing else in lignite's metrics needs it.
"""

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lignite.calls import check_choice, check_count
from lignite.errors import InputError, ModelError, OptionError
from lignite.metrics.asking.session import ExplainRows, Session, by_place
from lignite.metrics.metric import Metric, Question
from lignite.models.hold import after_each
from lignite.models.load import Model
from lignite.targets.ask import predict
from lignite.targets.edits import removable
from lignite.targets.fills import FILLS, Corpus, check_fills, corpus_of, ways_of
from lignite.targets.rows import Row


def infidelity(
    model: Model,
    rows: Sequence[Row],
    relevances: Sequence[np.ndarray],
    *,
    fill: str = "mask",
    corpus: Corpus | None = None,
    n_samples: int = 20,
    normalize: bool = True,
    seed: int = 0,
    memory: int | float | str | None = None,
) -> np.ndarray:
    """How far the relevances of removed tokens are from what their removal changes, one number per row.

    The mean over random sets S of tokens of ``(sum of relevance over S − (F(x) − F(x without S)))²``. The size of S is
    any number from one to all tokens with equal chance, then S any set of that size.

    Parameters
    ----------
    fill
        What removing means: one of those of `faithfulness`.
    corpus
        Where ``"unigram"`` draws words from; by default the rows themselves. Answers are averaged over draws.
    normalize
        Multiply each row's relevances by the factor that makes its infidelity least, so that methods with other units
        than the output's (attention, LIME) can be compared; without it, units count.

    Returns
    -------
    Squares of the output's unit; 0 is best.
    """
    metrics = _captum()
    check_choice("fill", fill, FILLS)
    check_fills(model, (fill,), row=rows[0] if rows else None)
    check_count("n_samples", n_samples)
    if len(relevances) != len(rows) or not rows:
        raise InputError(f"{len(relevances)} explanations of {len(rows)} rows; give one for each, and at least one.")
    free = [removable(row) for row in rows]
    for number, (row, places) in enumerate(zip(rows, free, strict=True)):
        if not places:
            raise InputError(f"row {number} has no token that may be removed; leave it out.")
        if fill in ("delete", "hide") and len(places) == row.n_tokens:
            raise OptionError(f"fill={fill!r} would leave nothing of row {number}; use 'mask' or 'pad'.")
    longest = max(map(len, free))
    scores = torch.zeros(len(rows), longest, dtype=torch.float64)
    for number, (row, given) in enumerate(zip(rows, relevances, strict=True)):
        scores[number, : len(free[number])] = torch.from_numpy(by_place(number, row, given)[free[number]])
    drawn_from = corpus or corpus_of(model, rows, [fill])
    ways = ways_of([fill], drawn_from)
    generator = np.random.default_rng(seed)

    def output(presence: Float[Tensor, "point token"], number: Tensor) -> Float[Tensor, " point"]:
        edited: list[Row] = []
        for present, which in zip(presence.bool(), number.tolist(), strict=True):
            gone = [place for place, there in zip(free[which], present.tolist(), strict=False) if not there]
            edited.extend(way.without(model, rows[which], gone, drawn_from) for way in ways)
        return predict(model, edited, memory=memory).value.reshape(-1, len(ways)).mean(1)

    def remove(presence: Float[Tensor, "point token"], number: Tensor) -> tuple[Tensor, Tensor]:
        removed = torch.zeros_like(presence)
        for point, which in enumerate(number.tolist()):
            size = len(free[which])
            chosen = generator.permutation(size)[: generator.integers(1, size, endpoint=True)]
            removed[point, chosen] = 1.0
        return removed, presence - removed

    numbers = torch.arange(len(rows))
    there = torch.ones_like(scores)
    found: Tensor = metrics.infidelity(
        output,
        lambda presence: remove(presence, numbers.repeat_interleave(len(presence) // len(rows))),
        there,
        scores,
        additional_forward_args=(numbers,),
        n_perturb_samples=n_samples,
        normalize=normalize,
    )
    return np.maximum(found.numpy(), 0.0)  # where it is zero, differences of squares leave rounding of either sign


def max_sensitivity(
    model: Model,
    rows: Sequence[Row],
    explain_rows: ExplainRows,
    *,
    radius: float = 0.1,
    n_samples: int = 10,
    seed: int = 0,
) -> np.ndarray:
    """How far an explanation moves at most when the vectors of the words move a little, one number per row.

    The largest ``‖r′ − r‖ / ‖r‖`` over samples, r the relevances of all kept tokens. Every word of the text (special
    tokens stay) gets uniform noise in its embedding, at most `radius` times the spread of all embeddings in size; a
    word that occurs twice is moved alike. The model itself is not changed: noise is added to what its table returns.

    Parameters
    ----------
    explain_rows
        Explains rows with `model`. It is called ``n_samples + 1`` times for every row, one row at a time.
    """
    metrics = _captum()
    check_count("n_samples", n_samples)
    if not 0 < radius < float("inf"):
        raise OptionError(f"radius={radius!r} must be a positive share of the spread of the embeddings.")
    table = _table(model)
    spread = float(table.weight.detach().float().std())
    found = []
    for number, row in enumerate(rows):
        ids = row.encoded.tensors["input_ids"][0]
        words = torch.unique(ids[[place for place, flag in enumerate(row.encoded.tokens.special) if not flag]])

        def relevances(noise: Tensor | tuple[Tensor], row: Row = row, words: Tensor = words) -> tuple[Tensor]:
            explained = []
            for sample in noise if isinstance(noise, Tensor) else noise[0]:  # captum gives now this, now that
                with _moved(table, words, sample), torch.enable_grad():  # captum calls without gradients
                    explained.append(torch.as_tensor(np.asarray(explain_rows([row])[0]), dtype=torch.float64))
            return (torch.stack(explained),)

        with torch.random.fork_rng(devices=[]):  # captum draws from the generator that everybody shares
            torch.manual_seed((seed * len(rows) + number) % 2**63)
            still = torch.zeros(1, len(words), table.embedding_dim)
            largest = metrics.sensitivity_max(
                relevances, still, perturb_radius=radius * spread, n_perturb_samples=n_samples
            )
        found.append(float(largest))
    return np.array(found)


def _captum() -> Any:
    try:
        return importlib.import_module("captum.metrics")
    except ImportError as error:
        raise OptionError(
            "infidelity and max-sensitivity are computed by captum, which is not installed: pip install "
            "'lignite[compare]'."
        ) from error


def _table(model: Model) -> nn.Embedding:
    table = model.network.get_input_embeddings()
    if not isinstance(table, nn.Embedding):
        raise ModelError(
            f"max-sensitivity moves word vectors, but {type(model.network).__name__} has no table of them "
            f"(its input embeddings are {type(table).__name__})."
        )
    return table


@contextmanager
def _moved(table: nn.Embedding, words: Tensor, noise: Float[Tensor, "word d"]) -> Iterator[None]:
    """Add noise to the vectors of some words wherever the table is asked for them."""

    def add(_: nn.Module, inputs: tuple[Tensor, ...], vectors: Tensor) -> Tensor:
        at = inputs[0][..., None] == words.to(inputs[0].device)
        return vectors + (at.to(vectors) @ noise.to(vectors))

    with after_each([table], add):
        yield


def ask_without_some(
    question: Question, session: Session, metrics: Sequence[Metric]
) -> Float[np.ndarray, "method example fill"]:
    """Remove random sets of tokens: `infidelity` of each case alone, under every fill."""
    how = session.how

    def number(place: int, relevance: Float[np.ndarray, " token"], fill: str) -> float:
        rows = [session.rows[place]]
        (found,) = infidelity(
            session.model, rows, [relevance], fill=fill, corpus=how.corpus, seed=how.seed, memory=how.memory
        )
        return float(found)

    return np.array(
        [
            [[number(place, relevance, fill) for fill in how.fills] for place, relevance in enumerate(several)]
            for several in session.relevances.values()
        ]
    )


def ask_moved(
    question: Question, session: Session, metrics: Sequence[Metric]
) -> Float[np.ndarray, "method example fill"]:
    """Move the vectors of words: `max_sensitivity` of each case alone."""
    return np.array(
        [
            [max_sensitivity(session.model, [row], explain_rows, seed=session.how.seed) for row in session.rows]
            for explain_rows in session.explainers.values()
        ]
    )
