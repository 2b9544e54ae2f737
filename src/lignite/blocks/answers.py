"""The answer at both ends: what is replayed from states is held against the model itself."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lignite.attribution.lines import every_row
from lignite.blocks.replay import ROUNDING
from lignite.blocks.stack import Seen, Stack, Start, points_at_once
from lignite.blocks.streams import Structure, differing, prefer, with_held
from lignite.errors import BypassError, LigniteError
from lignite.memory import memory_budget
from lignite.models.facts import special_ids, vocabulary_size
from lignite.models.hold import FOREIGN
from lignite.models.load import Model
from lignite.models.stream import parts_within

CHANGE_SHARE = 1e-3
"""Largest miss of a replayed answer, as a share of its change: that of scores, by default."""

NOISE = 10
"""How much more rounding may add than for the input's own states, where the answer itself is a small difference."""


_NOT_ALONE = (RuntimeError, ValueError, IndexError, TypeError)
"""What blocks raise that do not take some points of a batch alone."""


Begun = TypeVar("Begun")


def certified(
    stack: Stack,
    make: Callable[[], tuple[list[Start], list[Seen]]],
    begin: Callable[[list[Start]], Begun],
    *,
    every_layer: bool = True,
) -> tuple[list[Start], Begun]:
    """Return starts of paths once the stack has been shown to answer as the model does at their ends.

    The stack is read by the first of its structures for which it does.

    Parameters
    ----------
    make
        Returns the starts, and the states and answers of inputs, for the stack as it is read at the time.
    begin
        Begins what is to be done with the starts, so that a device computes it while the model is held against the
        stack; begun in vain where that fails, and with whatever it raises.
    every_layer
        Enter these states at every layer; otherwise at the first alone.

    Returns
    -------
    The starts, and what `begin` makes of them.

    Raises
    ------
    BypassError
        If the answer is no function of the states that enter a layer, however the stack is read.
    """
    found: list[BypassError] = []
    for structure in _structures(stack):
        if structure is not stack.structure:
            stack.take(structure)
        starts, ends = make()
        begun = _attempted(begin, starts)
        layers = range(stack.n_layers + 1 if every_layer else 1)
        faults = (_fault(stack, end, layers) for end in ends)
        fault = next((each for each in faults if each is not None), None)
        if fault is None:
            prefer(stack.network, structure)
            return starts, begin(starts) if begun is None else begun[0]
        found.append(fault)
    raise found[0]


def _attempted(begin: Callable[[list[Start]], Begun], starts: list[Start]) -> tuple[Begun] | None:
    """Begin, or don't: of a stack that is read wrongly, or takes no sweep, errors mean nothing yet."""
    try:
        return (begin(starts),)
    except torch.OutOfMemoryError:
        raise
    except (*FOREIGN, LigniteError):
        return None


def _structures(stack: Stack) -> Iterator[Structure]:
    yield from list(stack.structures)
    moved = another_input(stack).states[0]
    own, other, entered = stack.arguments(), stack.arguments(**_other_tensors(stack)), stack.arguments(moved)
    wider = with_held(stack.structure, own, other, entered, stack.kept.shape[1])
    if wider is not None:
        yield wider


def _fault(stack: Stack, end: Seen, layers: Sequence[int]) -> BypassError | None:
    """Say what is wrong if states entering some layer do not give the model's own answer to their input."""
    miss, allowed = _miss(stack, end, layers)
    wrong = ~(miss <= allowed)
    if not bool(wrong.any()):
        return None
    row = int(wrong.any(1).nonzero()[0])
    layer = int(wrong[row].nonzero()[0])
    change = float((end.value - stack.value)[row].abs())
    return BypassError(
        f"The answer of {stack.name} cannot be replayed from the states entering layer {layer} of "
        f"{stack.structure.name!r} (it misses by {float(miss[row, layer]):.2g} of a change of {change:.2g}): "
        f"{_cause(stack, at_the_top=bool(wrong[row, -1]))}.",
        stack.rows[row],
    )


def _miss(
    stack: Stack, end: Seen, layers: Sequence[int]
) -> tuple[Float[Tensor, "row layer"], Float[Tensor, "row one"]]:
    """Measure how far the answer replayed from each layer is from the model's own, and say what may be rounding.

    All layers are asked about in one sweep. What fails there is asked about again, one layer after the other. Where the
    answer is a small difference, rounding shows in how the input's own states are replayed.
    """
    change = (end.value - stack.value).abs()
    size = torch.maximum(end.value.abs(), stack.value.abs())
    likely = CHANGE_SHARE * change + ROUNDING.get(stack.value.dtype, ROUNDING[torch.float32]).answer * size
    for answers in (swept, one_by_one) if stack.sweeps and len(layers) > 1 else (one_by_one,):
        try:
            found = answers(stack, end, layers)
        except _NOT_ALONE as error:
            if answers is one_by_one or isinstance(error, torch.OutOfMemoryError):
                raise
            stack.sweeps = False
            continue
        miss = (found - end.value[:, None]).abs()
        if bool((miss <= likely[:, None]).all()):
            return miss, likely[:, None]
        with torch.no_grad():
            noise = (stack.run(0, stack.states[0], every_row(stack)) - stack.value).abs()
        allowed = (likely + NOISE * torch.minimum(noise, NOISE * likely))[:, None]
        if bool((miss <= allowed).all()):
            break
    return miss, allowed


def swept(stack: Stack, end: Seen, layers: Sequence[int]) -> Float[Tensor, "row layer"]:
    """Compute F of the end's states entering every layer: all in one run, or as many layers as fit, from the top down.

    The rows' own states enter the first block of a run, too: what a block leaves behind for a later one, past all
    arguments, is then never that of a single point, which would fit all that enter above. Of several runs, none is
    answered by what a run below has left behind.
    """
    rows, room = every_row(stack), _room(stack)
    at_once = max(1, room // len(rows))
    with torch.no_grad():
        if at_once < len(layers):
            stack.run(0, stack.states[0], rows)
        ends = range(len(layers), 0, -at_once)
        found = [_entering(stack, end, layers[max(0, last - at_once) : last], room) for last in ends]
    return torch.cat(found[::-1], 1)


def _room(stack: Stack) -> int:
    """How many points a block may work on at once: where its weights are read for that, points may take as much."""
    weights = (sum(blank.nbytes for blank in part.blanks.values()) for part in parts_within(stack.network))
    budget = max(memory_budget(stack.model.device), *weights, 0)
    return points_at_once(stack, budget, gradient=False)


def _entering(stack: Stack, end: Seen, layers: Sequence[int], room: int) -> Float[Tensor, "row layer"]:
    """Compute F of the end's states entering some layers in one run, of all rows or of as many as there is room for."""
    entry = [layers[0], *layers]
    found = []
    for some in every_row(stack).split(max(1, room // len(entry))):
        states = [stack.states[layers[0]][some], *(end.states[layer][some] for layer in layers)]
        each = [layer for layer in entry for _ in range(len(some))]
        values = stack.run_entering(each, torch.cat(states), some.repeat(len(entry)), n_passing=len(some))
        found.append(values.unflatten(0, (len(entry), len(some)))[1:].T)
    return torch.cat(found)


def one_by_one(stack: Stack, end: Seen, layers: Sequence[int]) -> Float[Tensor, "row layer"]:
    """Compute the same from the top down: what blocks below may have left behind was left by the rows' own states."""
    rows = every_row(stack)
    with torch.no_grad():
        if len(layers) > 1:
            stack.run(0, stack.states[0], rows)
        found = {layer: stack.run(layer, end.states[layer], rows) for layer in sorted(layers, reverse=True)}
    return torch.stack([found[layer] for layer in layers], 1)


def _cause(stack: Stack, *, at_the_top: bool) -> str:
    """Name what reads the input beside the states, as far as it can be known."""
    read = differing(stack.structure, stack.arguments(), stack.arguments(**_other_tensors(stack)))
    names = dict.fromkeys(_argument_name(stack, number, place) for number, place, _ in read)
    if names:
        return f"its blocks also read {', '.join(map(repr, names))}, which depend on the input"
    if at_the_top:
        return "its head reads more than the last states, such as the words themselves or other layers"
    return (
        "its blocks read more than the states that enter them, such as what an earlier block has made beside its states"
    )


def _argument_name(stack: Stack, number: int, place: Any) -> str:
    if isinstance(place, str):
        return place
    names = list(inspect.signature(type(stack.blocks[number]).forward).parameters)[1:]
    return names[place] if place < len(names) else f"argument {place}"


# Another input


def another_input(stack: Stack) -> Seen:
    """Record states of every layer, and the model's answer, for inputs of the same shape that hold other words or
    pixels.
    """
    return stack.see(**_other_tensors(stack))


def _other_tensors(stack: Stack) -> dict[str, Tensor]:
    """Put other words at the places of words; turn images and embeddings round and pale them."""
    ids = stack.tensors.get("input_ids")
    if ids is not None:
        return {"input_ids": torch.where(_words(stack, ids), _other_words(stack.model, ids), ids)}
    name = next(name for name in ("pixel_values", "inputs_embeds", *stack.tensors) if name in stack.tensors)
    given = stack.tensors[name]
    return {name: 0.7 * given.flip(-1 if name == "pixel_values" else 1)}


def _words(stack: Stack, ids: Int[Tensor, "row token"]) -> Bool[Tensor, "row token"]:
    words = torch.zeros(stack.kept.shape, dtype=torch.bool)
    for number, row in enumerate(stack.rows):
        words[number, : row.n_tokens] = ~torch.tensor(row.encoded.tokens.special)
    special = torch.tensor(sorted(_special_ids(stack.model)), dtype=torch.long)
    return stack.kept & words.to(ids.device) & ~torch.isin(ids, special.to(ids.device))


def _other_words(model: Model, like: Int[Tensor, "row token"]) -> Tensor:
    """Draw words from all that the model can read, the same ones each time."""
    known = torch.arange(vocabulary_size(model.network) or int(like.max()) + 1)
    words = known[~torch.isin(known, torch.tensor(sorted(_special_ids(model)), dtype=torch.long))]
    words = words if len(words) else like.unique().cpu()
    drawn = torch.randint(len(words), like.shape, generator=torch.Generator().manual_seed(0))
    return words[drawn].to(like)


def _special_ids(model: Model) -> set[int]:
    """List ids that mean something to the model or its tokenizer beside what words mean."""
    return special_ids(model.config) | set(getattr(model.tokenizer, "all_special_ids", ()))
