"""Does attention followed by the MLP tell the same as the whole layer, and under which baselines? (:arxiv:`2606.21564`)

A layer is explained twice: at once (`whole`), and in two steps whose scores are joined (`composed`). Both need a start,
and each step may have another. For every pairing of starts the two maps are compared, sentence by sentence.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from os import PathLike
from typing import Any

import numpy as np
import torch
import xarray as xr

from lignite.api.flow import flow
from lignite.attribution.compose import compose
from lignite.calls import Progress, public
from lignite.data.sentences import Sentence
from lignite.errors import OptionError
from lignite.metrics.readings.agreement import MEASURES, agree
from lignite.metrics.readings.pairings import DIAGONALS
from lignite.models.load import Model, as_model
from lignite.runs.unit import Piece
from lignite.studies.corpus import Question, ask_sentences, describe

WHOLE = ("zero", "target_token", "target_token/zero_ratio")
ATTENTION = ("zero", "target_token", "target_token/zero_ratio", "target_token/map_ratio")
"""Where the path starts, and behind the stroke what completes the diagonal, which is zero by construction under the
target-token baseline."""

MLP = ("zero", "attention_start")
COMPOSITIONS = ("product", "conserving")

DIMS = ("layer", "whole", "attention", "mlp", "composition", "diagonal")
AXES: tuple[Sequence[str], ...] = (WHOLE, ATTENTION, MLP, COMPOSITIONS, DIAGONALS)


@dataclass(frozen=True)
class Halves:
    """Maps of a layer's two steps, by the start of each; all of one sentence."""

    attention: dict[str, xr.DataArray]
    moved: dict[str, xr.DataArray]
    """How far each head moved, along the path that starts there."""
    mlp: dict[tuple[str, str], xr.DataArray]
    """By the baseline of the states, at whose start the heads' may begin, and by the heads' own."""


@public
def consistency(
    model: Any,
    corpus: Any,
    *,
    limit: int | None = None,
    seed: int = 0,
    tol: float = 1e-3,
    resume: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Compare `composed` with `whole` over a corpus, under every pairing of their starts.

    Parameters
    ----------
    model
        From `lignite.load` or `lignite.wrap`, or what `wrap` takes; bit-identical afterwards.
    corpus
        A file of sentences (`.conllu`, trees in brackets, `.txt`), or a list of texts or of lists of words.
    limit, seed
        Take so many sentences, drawn at random; a larger limit keeps the smaller one's.
    tol
        Gap allowed per displacement, of each map.
    resume
        File that keeps finished sentences (JSON lines); a run that was stopped goes on with it.
    progress
        Called with the sentences finished and their number.

    Returns
    -------
    The measures of `lignite.agreement`, over sentence, layer, start of `whole`, of `attention` and of `mlp`,
    composition, and whether what a token gives itself takes part; `rank_pairings` ranks the pairings.

    Raises
    ------
    FileError
        If the corpus cannot be read, or finished work cannot be kept.
    InputError
        If no sentence can be answered.
    """
    model = as_model(model)
    question = Question("consistency", {"tol": tol}, partial(_answer, model, tol))
    answers = ask_sentences(model, corpus, question, limit=limit, seed=seed, resume=resume, progress=progress)
    found = [_restored(piece) for piece in answers.pieces]
    together = xr.concat(found, "sentence", combine_attrs="drop")
    missing = dict.fromkeys(said for one in found for said in one.attrs["skipped"])
    return together.assign_coords(sentence=[sentence.id for sentence in answers.sentences]).assign_attrs(
        describe(model, question, answers, limit=limit, seed=seed), missing=json.dumps(list(missing))
    )


def _answer(model: Model, tol: float, sentence: Sentence) -> Piece:
    compared = compare_pairings(model, sentence.input, tol=tol)
    values = {name: compared[name].values.ravel().tolist() for name in MEASURES}
    return {"layers": compared["layer"].values.tolist(), "skipped": compared.attrs["skipped"], **values}


def _restored(piece: Piece) -> xr.Dataset:
    shape = (len(piece["layers"]), *map(len, AXES))
    values = {name: np.array(piece[name], dtype=float).reshape(shape) for name in MEASURES}
    return _labelled(values, piece["layers"], piece["skipped"])


def _labelled(values: dict[str, np.ndarray], layers: Sequence[int], skipped: Sequence[str]) -> xr.Dataset:
    coordinates = {"layer": list(layers), **{name: list(axis) for name, axis in zip(DIMS[1:], AXES, strict=True)}}
    return xr.Dataset({name: (DIMS, one) for name, one in values.items()}, coordinates, {"skipped": list(skipped)})


def compare_pairings(model: Model, sentence: Any, *, tol: float = 1e-3) -> xr.Dataset:
    """Compare `composed` with `whole` under every pairing of their starts, in one sentence.

    Six flows serve all 96 pairings: what a step is under one start does not depend on the start of the other.

    Parameters
    ----------
    sentence
        A text or words, as `lignite.flow` takes them.
    tol
        Gap allowed per displacement, of each map.

    Returns
    -------
    The measures of `lignite.agreement`, each over layer, start of `whole`, of `attention` and of `mlp`, composition,
    and whether what a token gives itself takes part. A start that the model cannot offer (attention weights that its
    blocks do not show) is NaN everywhere, and named in the attribute `skipped`.
    """
    wholes, halves, skipped = _maps(model, sentence, tol)
    first = next(iter(wholes.values()))
    others = first["target"].values[:, None] != first["source"].values
    parts = (np.ones_like(others), others)
    shape = (first.sizes["layer"], *map(len, AXES))
    found = {name: np.full(shape, np.nan) for name in MEASURES}
    steps = product(enumerate(ATTENTION), enumerate(MLP), enumerate(COMPOSITIONS))
    for (at_attention, attention), (at_mlp, mlp), (at_composition, composition) in steps:
        if attention not in halves.attention:
            continue
        joined = _joined(halves, attention, mlp, composition)
        for (at, whole), layer, (side, entries) in product(enumerate(WHOLE), range(shape[0]), enumerate(parts)):
            agreed = agree(joined[layer], wholes[whole].values[layer].astype(np.float64), entries)
            for name in MEASURES:
                found[name][layer, at, at_attention, at_mlp, at_composition, side] = agreed[name]
    return _labelled(found, first["layer"].values.tolist(), skipped)


def _maps(model: Model, sentence: Any, tol: float) -> tuple[dict[str, xr.DataArray], Halves, list[str]]:
    """Every map that some pairing needs, each once; and the starts that the model cannot offer."""
    wholes: dict[str, xr.DataArray] = {}
    skipped = []
    halves = Halves({}, {}, {})
    for start in ATTENTION:
        baseline, _, self_term = start.partition("/")
        maps = ("attention", "mlp", "whole") if not self_term else ("attention", "whole")
        try:
            found = flow(model, sentence, baseline=baseline, self_term=self_term or "measured", maps=maps, tol=tol)
        except OptionError as error:
            if self_term != "map_ratio":
                raise
            skipped.append(f"{start}: {error}")
            continue
        halves.attention[start] = found["attention"]
        halves.moved[start] = found["attention_displacement"]
        if start in WHOLE:
            wholes[start] = found["whole"]
        if not self_term:
            halves.mlp[baseline, "attention_start"] = found["mlp"]
            silent = flow(model, sentence, baseline=baseline, mlp_baseline="zero", maps="mlp", tol=tol)
            halves.mlp[baseline, "zero"] = silent["mlp"]
    return wholes, halves, skipped


def _joined(halves: Halves, attention: str, mlp: str, composition: str) -> np.ndarray:
    """`composed` of every layer, ``[layer, target, source]``."""
    maps, moved = halves.attention[attention], halves.moved[attention]
    after = halves.mlp[attention.partition("/")[0], mlp].transpose("layer", "target", "head")
    targets = torch.arange(maps.sizes["target"])
    return np.stack(
        [
            compose(
                torch.from_numpy(one.transpose("target", "head", "source").values.astype(np.float64)),
                torch.from_numpy(far.transpose("target", "head").values.astype(np.float64)),
                torch.from_numpy(given.values.astype(np.float64)),
                targets,
                composition=composition,
            )[0].numpy()
            for one, far, given in zip(maps, moved, after, strict=True)
        ]
    )
