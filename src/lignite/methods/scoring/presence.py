"""The prediction of an input some of whose tokens are absent: what every method that removes tokens asks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool

from lignite.blocks.stack import points_at_once
from lignite.errors import BypassError, OptionError
from lignite.inputs.fills import IMAGE_FILLS
from lignite.inputs.roles import TOKEN_BASELINES
from lignite.inputs.tokens import Encoded
from lignite.methods.method import FromBaseline
from lignite.methods.scoring.stacks import in_stacks, start_of
from lignite.models.facts import has_encoder_and_decoder
from lignite.models.load import Model
from lignite.targets.ask import predict
from lignite.targets.edits import cover, filler, is_image, replace_tokens, words_of
from lignite.targets.rows import Row, same_questions

ROWS_AT_ONCE = 1024
"""Inputs prepared at a time; how many of them run together is left to the memory budget."""

Presence = np.ndarray
"""True for players that are there, ``[sample, player]``; every game has sizes of its own."""


@dataclass(frozen=True, eq=False)
class Game:
    """One input and its players: places of the tokens that may be absent, all others always being there."""

    row: Row
    players: tuple[int, ...]

    @property
    def n_players(self) -> int:
        return len(self.players)


def games_of(model: Model, rows: Sequence[Row], options: FromBaseline) -> list[Game]:
    """Let the words of each input play.

    Special tokens stay (unless asked otherwise), and so does the token at which the model answers: a masked word whose
    mask is taken away is another question. What follows that place in a text written from left to right cannot matter.
    """
    return [Game(row, _players(model, row, options)) for row in rows]


def _players(model: Model, row: Row, options: FromBaseline) -> tuple[int, ...]:
    objective = row.objective
    answer = None if has_encoder_and_decoder(model.config) else objective.position
    end = answer if answer is not None and objective.kind == "next" else row.n_tokens
    return tuple(place for place in words_of(row, keep_special=options.keep_special) if place != answer and place < end)


def relevance_of(game: Game, scores: np.ndarray) -> np.ndarray:
    """Scores of the players among the kept tokens; what does not play is irrelevant."""
    relevance = np.zeros(len(game.row.encoded.tokens))
    relevance[list(game.players)] = scores
    return relevance[~np.array(game.row.encoded.tokens.padding)]


def values_of(
    model: Model,
    games: Sequence[Game],
    presences: Sequence[Presence],
    options: FromBaseline,
    budget: float,
) -> list[np.ndarray]:
    """F of every input with only these players present; each distinct case is computed once.

    An absent token is replaced by the baseline's. Under the baselines ``"mean-embedding"``, ``"zero"`` and ``"mean"``,
    which are no tokens, its state entering the first block is; so are an image's patches, whose states there depend on
    their own pixels alone. Where an image's answer bypasses these states, the pixels themselves are covered.
    """
    distinct = [np.unique(presence, axis=0, return_inverse=True) for presence in presences]
    cases = [case for case, _ in distinct]
    texts = not any(is_image(game.row) for game in games)
    (baseline,) = options.baselines
    if texts and baseline in TOKEN_BASELINES:
        found = _values_of_texts(model, games, cases, baseline, budget)
    else:
        try:
            found = values_of_states(model, games, cases, options, budget)
        except BypassError:
            if baseline not in IMAGE_FILLS:
                raise
            found = values_of_edits(model, games, cases, budget, lambda row, gone: cover(model, row, gone, baseline))
    return [values[back.reshape(-1)] for values, (_, back) in zip(found, distinct, strict=True)]


def _values_of_texts(
    model: Model, games: Sequence[Game], cases: Sequence[Presence], baseline: str, budget: float
) -> list[np.ndarray]:
    try:
        token = filler(model, baseline)
    except OptionError as error:
        raise OptionError(f"{error} As a baseline, 'mean-embedding' needs no token.") from error
    return values_of_edits(model, games, cases, budget, lambda row, places: replace_tokens(row, places, token))


def values_of_edits(
    model: Model, games: Sequence[Game], cases: Sequence[Presence], budget: float, edit: Callable[[Row, list[int]], Row]
) -> list[np.ndarray]:
    """F of every input without its absent tokens, taken away by an edit of the input itself."""
    values = [np.empty(len(case)) for case in cases]
    first = same_questions([game.row for game in games])
    for piece in _pieces(cases, ROWS_AT_ONCE, first):
        known: dict[tuple[int, tuple[int, ...]], Encoded] = {}
        rows = []
        for number, sample in piece:
            absent = _absent(games[number], cases[number][sample])
            row = edit(games[number].row, absent)
            rows.append(replace(row, encoded=known.setdefault((first[number], tuple(absent)), row.encoded)))
        found = predict(model, rows, memory=budget).value.tolist()
        for (number, sample), value in zip(piece, found, strict=True):
            values[number][sample] = value
    return values


def _absent(game: Game, present: Bool[np.ndarray, " player"]) -> list[int]:
    return [place for place, there in zip(game.players, present, strict=True) if not there]


def values_of_states(
    model: Model, games: Sequence[Game], cases: Sequence[Presence], options: FromBaseline, budget: float
) -> list[np.ndarray]:
    """F of every input where the states of absent tokens, entering the first block, are the baseline's."""
    values = [np.empty(len(case)) for case in cases]
    for numbers, stack in in_stacks(model, [game.row for game in games], budget):
        start = start_of(stack, options).states[0]
        states = stack.states[0]
        at_once = points_at_once(stack, budget, gradient=False)
        first = same_questions([games[number].row for number in numbers])
        for piece in _pieces([cases[number] for number in numbers], at_once, first):
            index = torch.tensor([place for place, _ in piece], device=states.device)
            absent = torch.zeros(len(piece), states.shape[1], dtype=torch.bool)
            for point, (place, sample) in enumerate(piece):
                number = numbers[place]
                absent[point, _absent(games[number], cases[number][sample])] = True
            points = torch.where(absent.to(states.device)[..., None], start[index], states[index])
            with torch.no_grad():
                found = stack.run(0, points, index).tolist()
            for (place, sample), value in zip(piece, found, strict=True):
                values[numbers[place]][sample] = value
    return values


def _pieces(cases: Sequence[Presence], size: int, first: Sequence[int]) -> Iterator[list[tuple[int, int]]]:
    """Games and their samples, so many at a time; games of one input side by side, sample by sample."""
    pairs = [(number, sample) for number, case in enumerate(cases) for sample in range(len(case))]
    pairs.sort(key=lambda pair: (first[pair[0]], pair[1], pair[0]))
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size]
