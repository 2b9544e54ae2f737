"""Take tokens away and see what becomes of F: occlusion, sequential IG, Shapley values, KernelSHAP, LIME."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from lignite.late import load_optional
from lignite.methods.method import Explanation, FromBaseline, Sampled
from lignite.methods.perturbation import KernelShap, Lime, Occlusion, Random, SequentialIG, Shapley
from lignite.methods.scoring.presence import games_of, relevance_of, values_of, values_of_states
from lignite.methods.scoring.stacks import averaged
from lignite.models.load import Model
from lignite.targets.rows import Row

COMPARE = "install lignite[compare]"

Ask = Callable[[Tensor], Tensor]
"""F of one input for presences ``[sample, player]``."""

Estimator = Callable[[Any, Ask, int, int], Tensor]
"""Scores of the players, by captum's attribution room, a way to ask, the number of players and samples per player."""


@averaged
def occlusion(options: Occlusion, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """What F loses when one token is replaced, each by itself."""
    return _left_out(values_of, options, model, rows, budget)


@averaged
def sequential_ig(options: SequentialIG, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """Integrated gradients of each token along a path of its own, all others in place (Enguehard 2023).

    Along its path only one token moves, so that the integral, summed over the token's coordinates, is F at the end
    less F at the start: no quadrature, no gap. From a mask or pad baseline this is occlusion, whose scores it equals.
    """
    return _left_out(values_of_states, options, model, rows, budget)


def _left_out(
    ask: Callable[..., list[np.ndarray]], options: FromBaseline, model: Model, rows: Sequence[Row], budget: float
) -> list[Explanation]:
    """Ask for F of every input, then without each of its players."""
    games = games_of(model, rows, options)
    cases = [np.vstack([np.ones(game.n_players, bool), ~np.eye(game.n_players, dtype=bool)]) for game in games]
    values = ask(model, games, cases, options, budget)
    return [
        Explanation({"relevance": relevance_of(game, value[0] - value[1:])})
        for game, value in zip(games, values, strict=True)
    ]


@averaged
def shapley(options: Shapley, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """Shapley values by `n_samples` random orders in which the tokens arrive (Castro et al. 2009)."""
    return _by_captum(options, model, rows, budget, _shapley)


def _shapley(attr: Any, ask: Ask, n_players: int, n_samples: int) -> Tensor:
    everybody, nobody = torch.ones(1, n_players), torch.zeros(1, n_players)
    sampling = attr.ShapleyValueSampling(ask)
    return cast(Tensor, sampling.attribute(everybody, nobody, n_samples=n_samples, perturbations_per_eval=n_players))


@averaged
def kernel_shap(options: KernelShap, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """Shapley values by regression on `n_samples` random sets of tokens per token (Lundberg and Lee 2017)."""
    return _by_captum(options, model, rows, budget, _kernel_shap)


def _kernel_shap(attr: Any, ask: Ask, n_players: int, n_samples: int) -> Tensor:
    everybody, nobody = torch.ones(1, n_players), torch.zeros(1, n_players)
    load_optional("sklearn.linear_model", "kernel-shap", COMPARE)
    if n_players == 1:  # captum draws sets between everybody and nobody, and there is none
        return ask(everybody) - ask(nobody)
    count = n_samples * n_players + 2  # with everybody and nobody, whose values are met exactly
    regression = attr.KernelShap(ask)
    return cast(Tensor, regression.attribute(everybody, nobody, n_samples=count, perturbations_per_eval=count))


@averaged
def lime(options: Lime, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """A linear model of F around the input, fitted to `n_samples` random sets per token (Ribeiro et al. 2016).

    Sets, weights and penalty are those of its authors' text explainer: any number of tokens is absent, each number
    equally often; an exponential kernel of width 0.25 on the cosine distance; ridge regression with a penalty of 1.
    """
    return _by_captum(options, model, rows, budget, _lime)


def _lime(attr: Any, ask: Ask, n_players: int, n_samples: int) -> Tensor:
    load_optional("sklearn.linear_model", "lime", COMPARE)
    lime_room = load_optional("captum.attr._core.lime", "lime", COMPARE)
    linear = load_optional("captum._utils.models.linear_model", "lime", COMPARE)
    count, sets = n_samples * n_players + 1, _lime_sets(n_players)
    explainer = attr.LimeBase(
        ask,
        interpretable_model=linear.SkLearnRidge(alpha=1.0),
        similarity_func=lime_room.get_exp_kernel_similarity_function("cosine", kernel_width=0.25),
        perturb_func=lambda *_, **__: next(sets),
        perturb_interpretable_space=True,
        from_interp_rep_transform=lambda presence, *_, **__: presence,
        to_interp_rep_transform=None,
    )
    return cast(Tensor, explainer.attribute(torch.ones(1, n_players), n_samples=count, perturbations_per_eval=count))


def _lime_sets(n_players: int) -> Iterator[Tensor]:
    yield torch.ones(1, n_players)
    while True:
        n_absent = int(torch.randint(1, n_players + 1, ()))
        presence = torch.ones(1, n_players)
        presence[0, torch.randperm(n_players)[:n_absent]] = 0
        yield presence


class _Questions:
    """What captum asks about one game: noted at first, answered later."""

    def __init__(self) -> None:
        self.asked: list[Tensor] = []
        self.answers: Iterator[Tensor] = iter(())
        self.answered = False

    def __call__(self, presence: Tensor) -> Tensor:
        if self.answered:
            return next(self.answers)
        self.asked.append(presence.bool())
        return torch.zeros(len(presence), dtype=torch.float64)

    def answer(self, values: np.ndarray) -> None:
        self.answers = iter(torch.from_numpy(values).split([len(presence) for presence in self.asked]))
        self.answered = True


def _by_captum(
    options: Sampled, model: Model, rows: Sequence[Row], budget: float, estimate: Estimator
) -> list[Explanation]:
    """Let captum draw sets of tokens for every row, ask the model about all of them at once, and let captum conclude.

    Captum asks row by row. What it asks depends on random numbers alone: a first pass, answered with zeros, collects
    the questions, and a second one with the same random numbers gets the answers.
    """
    attr = load_optional("captum.attr", options.name, COMPARE)
    games = games_of(model, rows, options)
    playing = [game for game in games if game.n_players]
    questions = [_Questions() for _ in playing]

    def run(number: int) -> np.ndarray:
        game = playing[number]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(game.row, options.seed))
            return estimate(attr, questions[number], game.n_players, options.n_samples).reshape(-1).numpy()

    for number in range(len(playing)):
        run(number)
    presences = [torch.cat(each.asked).numpy() for each in questions]
    for each, values in zip(questions, values_of(model, playing, presences, options, budget), strict=True):
        each.answer(values)
    scores = iter([run(number) for number in range(len(playing))])
    return [
        Explanation({"relevance": relevance_of(game, next(scores) if game.n_players else np.zeros(0))})
        for game in games
    ]


def random(options: Random, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """Uniform numbers from -1 to 1, the same ones for the same input and seed."""
    return [
        Explanation(
            {
                "relevance": np.random.default_rng(seed_of(row, options.seed)).uniform(
                    -1, 1, row.encoded.tokens.padding.count(False)
                )
            }
        )
        for row in rows
    ]


def seed_of(row: Row, seed: int) -> int:
    """A number that depends on the input and the user's seed alone, not on the other inputs or their order."""
    digest = hashlib.sha256(str(seed).encode())
    tensors, tokens = row.encoded.tensors, row.encoded.tokens
    if "input_ids" in tensors:
        ids = tensors["input_ids"][0].tolist()
        kept = [number for number, padding in zip(ids, tokens.padding, strict=True) if not padding]
        digest.update(str(kept).encode())
    else:
        for name in sorted(tensors):
            digest.update(tensors[name].detach().cpu().double().numpy().tobytes())
    return int.from_bytes(digest.digest()[:6])
