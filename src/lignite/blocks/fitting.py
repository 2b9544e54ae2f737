"""Inputs as long as the blocks see them: what a model pads inside, is padded outside instead, and masked.

Attention in windows or chunks needs a multiple of their length, so that some models pad every input themselves. Their
blocks then see more tokens than the input has. An input that is padded to that length beforehand is the same input to
the model: the tokens that were added count as padding, whose scores are dropped.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lignite.blocks.arguments import find_states
from lignite.blocks.record import BlockCall, body_of, record, record_states
from lignite.blocks.replay import ROUNDING
from lignite.errors import BypassError, InputError, SplitError
from lignite.inputs.tokens import Encoded, Tokens
from lignite.models.facts import forward_names
from lignite.models.hold import Captured, before_each
from lignite.models.load import Model
from lignite.models.outputs import cut_to, sizes_of
from lignite.targets.ask import check_repeated
from lignite.targets.objective import Function, values
from lignite.targets.rows import Row, is_per_token, lengthened, padding_id, run


def padded_rows(model: Model, rows: Sequence[Row], length: int) -> list[Row]:
    """Pad rows to `length` tokens; a function of the output still sees what it would see without.

    Raises
    ------
    ModelError
        If the model cannot be told what is padding, or answers another thing then.
    """
    padded = []
    for row in rows:
        encoded = padded_to(model, row.encoded, length)
        outputs = run(model.network, row.encoded.tensors)
        objective = row.objective
        if objective.function is not None:
            objective = replace(objective, function=_cut_before(objective.function, sizes_of(outputs)))
        longer = replace(row, encoded=encoded, objective=objective)
        _check_place(model, encoded, len(row.encoded.tokens))
        _check_same(model, values(outputs, [row.objective]), longer)
        padded.append(longer)
    return padded


def _cut_before(function: Function, sizes: Any) -> Function:
    return lambda outputs: function(cut_to(outputs, sizes))


def _check_same(model: Model, expected: Float[Tensor, " row"], row: Row) -> None:
    found = values(run(model.network, row.encoded.tensors), [row.objective])
    miss = float((found - expected).abs())
    if miss > ROUNDING.get(expected.dtype, ROUNDING[torch.float32]).again * max(1.0, float(expected.abs())):
        raise BypassError(
            f"{type(model.network).__name__} pads its input inside, and answers another thing (by {miss:.2g}) to the "
            "same input padded beforehand, so that its blocks cannot be followed."
        )


def _check_place(model: Model, encoded: Encoded, n_tokens: int) -> None:
    """Exchange a word and see that its own state enters the first block changed, and no other.

    As many states as there are tokens may also be a fixed number of latents, or the patches of an image beside them.
    """
    place = next(place for place in reversed(range(n_tokens)) if not encoded.tokens.padding[place])
    ids = encoded.tensors["input_ids"].clone()
    others = [token for token in ids[0].tolist() if token != int(ids[0, place])]
    ids[0, place] = others[0] if others else 0
    changed = {**encoded.tensors, "input_ids": ids}
    before, after = (record_states(model.network, tensors)[0] for tensors in (encoded.tensors, changed))
    moved = torch.zeros(0) if before.shape != after.shape else (after - before).abs().amax(-1) / before.abs().max()
    places = (moved > ROUNDING[before.dtype].again).nonzero().flatten().tolist()
    if len(moved) != len(encoded.tokens) or places != [place]:
        raise _not_one_for_each(model, len(before), n_tokens)


def _not_one_for_each(model: Model, n_seen: int, n_tokens: int) -> InputError:
    return InputError(
        f"The blocks of {type(model.network).__name__} see {n_seen} states where the input has {n_tokens} tokens, and "
        "not one for each of them; it cannot be followed through them. Use method='occlusion', which only asks the "
        "model."
    )


def padded_to(model: Model, encoded: Encoded, length: int) -> Encoded:
    """Put masked padding on the right of an input."""
    network, tensors = model.network, dict(encoded.tensors)
    n_tokens = len(encoded.tokens)
    accepted = forward_names(network)
    ids = tensors.get("input_ids")
    if ids is None or length < n_tokens or (accepted is not None and "attention_mask" not in accepted):
        raise _not_one_for_each(model, length, n_tokens)
    tensors.setdefault("attention_mask", torch.ones_like(ids))
    fills = {"input_ids": padding_id(model)}
    known = replace(encoded, tensors=tensors)
    longer = {
        name: lengthened(tensor, length, fills.get(name, 0)) if is_per_token(known, name) else tensor
        for name, tensor in tensors.items()
    }
    return replace(encoded, tensors=longer, tokens=_with_padding(encoded.tokens, length - n_tokens))


def _with_padding(tokens: Tokens, count: int) -> Tokens:
    """Label what was added: no word, no place in the text."""
    n_tokens = len(tokens)
    new: dict[str, tuple[Any, ...]] = {
        "text": ("[PAD]",) * count,
        "position": tuple(range(n_tokens, n_tokens + count)),
        "special": (True,) * count,
        "padding": (True,) * count,
    }
    columns: dict[str, Any] = {
        name: (*column, *new.get(name, (-1,) * count)) for name, column in tokens.columns().items()
    }
    return replace(tokens, **columns)


def record_fitted(model: Model, encoded: Encoded) -> tuple[list[BlockCall], Encoded]:
    """Record every block's call, and return the input as the blocks see it: padded, where the model pads it inside.

    Raises
    ------
    InputError
        If the blocks see other tokens than those of the input.
    """
    calls = record(model.network, encoded.tensors)
    check_repeated(model, calls[0].states, _entering(model, encoded, calls[0]), "states")
    n_seen, n_tokens = len(calls[0].states), len(encoded.tokens)
    if n_seen == n_tokens:
        return calls, encoded
    encoded = padded_to(model, encoded, n_seen)
    _check_place(model, encoded, n_tokens)
    return record(model.network, encoded.tensors), encoded


def _entering(model: Model, encoded: Encoded, first: BlockCall) -> Tensor:
    """Read the input once more, up to the first block, and return the states that enter it."""

    def leave(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found = find_states(args, kwargs)
        if found is not None:
            raise Captured(first.layout.read(found[1])[0])

    body: Any = body_of(model.network)
    accepted = forward_names(body)
    tensors = {name: each for name, each in encoded.tensors.items() if accepted is None or name in accepted}
    try:
        with before_each([first.module], leave, with_kwargs=True), torch.no_grad():
            run(body, tensors)
    except Captured as found:
        return cast(Tensor, found.content)
    return first.states


@contextmanager
def chance_named(model: Model, encoded: Encoded) -> Iterator[None]:
    """Say, where a block cannot be replayed, if that is because the model does not repeat itself.

    Raises
    ------
    ModelError
        If states of some layer differ when the model reads the input twice.
    """
    try:
        yield
    except SplitError:
        first, again = (record(model.network, encoded.tensors) for _ in range(2))
        for one, other in zip(first, again, strict=True):
            check_repeated(model, one.output, other.output, "states")
        raise
