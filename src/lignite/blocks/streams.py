"""Where a model keeps what it knows of every token, between one block and the next."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lignite.blocks.arguments import Arguments, Layout, Place, layout_of
from lignite.blocks.record import Blocks, Met, blocks_under, find_blocks, n_tokens_of
from lignite.errors import BypassError
from lignite.models.facts import has_encoder_and_decoder, notes_on
from lignite.models.hold import after_each, before_each, modules_of, switches_undone
from lignite.models.load import Model
from lignite.targets.rows import Row, run


@dataclass(frozen=True, eq=False)
class Stream:
    """A stream is one state per token that is handed from block to block, or held beside them until some block reads
    it.

    Attributes
    ----------
    reads
        Calls that read it, and at which places.
    made_by
        For each of these the call that made what is read there; none where it was made before all of them, or is the
        same that an earlier call has read.
    is_shifted
        True for the tokens of a decoder that reads the input one place later.
    """

    reads: Mapping[int, tuple[Place, ...]]
    made_by: Mapping[int, int]
    layout: Layout
    is_shifted: bool = False

    @property
    def width(self) -> int:
        return torch.Size(self.layout.rest).numel()


@dataclass(frozen=True, eq=False)
class Structure:
    """A structure lists the blocks in the order of their calls, and the streams they read; `writers` names the one that
    each writes.
    """

    name: str
    modules: Sequence[nn.Module]
    streams: Sequence[Stream]
    writers: Sequence[int]

    @property
    def is_plain(self) -> bool:
        """Tell whether blocks read one stream alone, of states ``[row, token, d]``."""
        return len(self.streams) == 1 and self.streams[0].layout.is_plain

    def source(self, place: int, layer: int) -> int | None:
        """Find the call at which a stream's state of a layer is to be seen: the next that reads it.

        None where it leaves the last block. A stream that is not read any more stays as it was read last.
        """
        reads = self.streams[place].reads
        following = [number for number in reads if number >= layer]
        if following:
            return min(following)
        writes = [number for number, writer in enumerate(self.writers) if writer == place]
        return None if writes and max(writes) >= max(reads) else max(reads)

    def orders(self, kept: Bool[Tensor, "row token"]) -> "list[Int[Tensor, 'row token'] | None]":
        """List for every stream the place of each token of the input in it; None where it is the token's own."""
        return [_shifted(kept) if stream.is_shifted else None for stream in self.streams]


def _shifted(kept: Bool[Tensor, "row token"]) -> Int[Tensor, "row token"]:
    """Shift places as a decoder does that reads a text one place later; its start token goes to the text's last one."""
    n_rows, n_tokens = kept.shape
    places = torch.arange(n_tokens, device=kept.device)
    last = torch.where(kept, places, -1).amax(1, keepdim=True)
    order = (places + 1).expand(n_rows, -1).clone()
    order[:, -1:] = last + 1
    return order.scatter(1, last, 0)


def structures_of(model: Model, row: Row) -> list[Structure]:
    """List ways to read a model as a stack, the likeliest first; found once per model, on its first input."""
    network, tensors = model.network, row.encoded.tensors
    # Somebody may have put other blocks in; a decoder that is given its own words does not read the text.
    key = (*map(id, modules_of(network)), *sorted(tensors))
    notes = notes_on(network)
    if "structures" not in notes or notes["structures"][0] != key:
        with switches_undone(network):
            ways = _encoder_and_decoder(model, row), plain(find_blocks(network, tensors))
        notes["structures"] = key, [way for way in ways if way is not None]
    return cast("list[Structure]", notes["structures"][1])


def prefer(network: nn.Module, structure: Structure) -> None:
    """Try this structure first from now on: by it the answer could be replayed."""
    found = notes_on(network)["structures"][1]
    found[:] = [structure, *(other for other in found if other is not structure)]


def plain(blocks: Blocks) -> Structure:
    """Make one stream, which every block reads and writes."""
    stream = _chain(blocks.calls, 0, blocks.layout)
    return Structure(blocks.name, [call.module for call in blocks.calls], [stream], [0] * len(blocks.calls))


def _chain(calls: Sequence[Met], first: int, layout: Layout, *, is_shifted: bool = False) -> Stream:
    """Make the stream of what blocks hand to each other; arguments that are the very states, once more, are replaced
    with them.
    """
    numbers = range(first, first + len(calls))
    reads = {number: _places_of(call) for number, call in zip(numbers, calls, strict=True)}
    return Stream(reads, {number: number - 1 for number in numbers if number > first}, layout, is_shifted)


def _places_of(call: Met) -> tuple[Place, ...]:
    others = [place for place, value in _arguments(call.args, call.kwargs) if value is call.handed[0]]
    return (call.states_at, *(place for place in others if place != call.states_at))


def _arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[tuple[Place, Any]]:
    return [*enumerate(args), *kwargs.items()]


# An encoder and a decoder that read the same text


def _encoder_and_decoder(model: Model, row: Row) -> Structure | None:
    """Make two streams, where a decoder reads the text that the encoder has read; None where it does not."""
    network, tensors = cast(Any, model.network), row.encoded.tensors
    writes_given = any(name.startswith("decoder_") for name in tensors)
    if not has_encoder_and_decoder(model.config) or writes_given or "input_ids" not in tensors:
        return None
    encoder, decoder = (getattr(network, f"get_{part}", lambda: None)() for part in ("encoder", "decoder"))
    if encoder is None or decoder is None or encoder is decoder:
        return None
    handed: list[Any] = []
    read: list[Any] = []

    def hand(_: nn.Module, args: Any, output: Any) -> None:
        handed.append(output[0])

    def see(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        read.append(args[0] if args else kwargs.get("input_ids"))

    def run_network() -> None:
        handed.clear()
        read.clear()
        run(network, tensors)

    with after_each([encoder], hand), before_each([decoder], see, with_kwargs=True), torch.no_grad():
        run_network()
        if not read:
            return None
        below = blocks_under(network, encoder, run_network, n_tokens_of(tensors))
        above = blocks_under(network, decoder, run_network, n_tokens_of(tensors))
    return _side_by_side(network, below, above, tensors["input_ids"], read[0], handed[0])


def _side_by_side(
    network: nn.Module,
    below: Blocks,
    above: Blocks,
    ids: Int[Tensor, "row token"],
    decoder_ids: Any,
    encoded: Float[Tensor, "*layout"],
) -> Structure:
    """Line up the encoder's blocks, then the decoder's: each moves the tokens of its own, the others are held."""
    n_below, n_above = len(below.calls), len(above.calls)
    is_shifted = _is_shifted(ids, decoder_ids)
    if is_shifted is None:
        raise BypassError(
            f"The decoder of {type(network).__name__} makes its words of the text, but they are neither the text's own "
            "nor these one place later: which word each belongs to is not known."
        )
    lower, upper = (
        _chain(below.calls, 0, below.layout),
        _chain(above.calls, n_below, above.layout, is_shifted=is_shifted),
    )
    crossing = {
        n_below + number: tuple(
            place
            for place, value in _arguments(call.args, call.kwargs)
            if isinstance(value, Tensor) and value.shape == encoded.shape and torch.equal(value, encoded)
        )
        for number, call in enumerate(above.calls)
    }
    crossing = {number: places for number, places in crossing.items() if places}
    lower = replace(
        lower,
        reads={**lower.reads, **crossing},
        made_by={**lower.made_by, **({min(crossing): n_below - 1} if crossing else {})},
    )
    modules = [call.module for call in (*below.calls, *above.calls)]
    return Structure(f"{below.name} and {above.name}", modules, [lower, upper], [0] * n_below + [1] * n_above)


def _is_shifted(ids: Int[Tensor, "row token"], decoder_ids: Any) -> bool | None:
    if not isinstance(decoder_ids, Tensor) or decoder_ids.shape != ids.shape:
        return None
    if torch.equal(decoder_ids, ids):
        return False
    return True if torch.equal(decoder_ids[:, 1:], ids[:, :-1]) else None


# What blocks read beside their states

Calls = Sequence[Arguments]
"""Arguments of every call."""


def with_held(structure: Structure, own: Calls, other: Calls, moved: Calls, n_tokens: int) -> Structure | None:
    """Make all that blocks are handed beside their states streams of their own.

    Parameters
    ----------
    own, other, moved
        Arguments of the blocks for the input, for another input, and for this one when the other's states enter the
        first block.

    Returns
    -------
    None where nothing is handed beside the states that has one vector for every token.
    """
    held: list[tuple[Tensor, dict[int, tuple[Place, ...]], Layout]] = []
    made: dict[Place, dict[int, Tensor]] = {}
    for number, place, value in differing(structure, own, other):
        layout = layout_of((1, *value.shape[1:]), n_tokens)
        again = _argument(moved[number], place)
        if layout is None or not isinstance(again, Tensor) or not value.dtype.is_floating_point:
            return None
        if not torch.equal(value, again):
            made.setdefault(place, {})[number] = value
            continue
        for known, reads, _ in held:
            if known is value or (known.shape == value.shape and torch.equal(known, value)):
                reads[number] = (*reads.get(number, ()), place)
                break
        else:
            held.append((value, {number: (place,)}, layout))
    if any(len({value.shape for value in values.values()}) > 1 for values in made.values()):
        return None  # what grows from block to block is no state
    streams = [Stream(reads, {}, layout) for _, reads, layout in held]
    streams += [_made_below(place, values, n_tokens) for place, values in made.items()]
    return replace(structure, streams=[*structure.streams, *streams]) if streams else None


def _made_below(place: Place, values: Mapping[int, Tensor], n_tokens: int) -> Stream:
    """Make the stream of what blocks make for later ones beside their states: anew at each call, or once for all that
    read it.
    """
    numbers = sorted(values)
    made_by = {
        number: number - 1
        for before, number in zip([None, *numbers[:-1]], numbers, strict=True)
        if number > 0 and (before is None or not torch.equal(values[before], values[number]))
    }
    layout = layout_of((1, *values[numbers[0]].shape[1:]), n_tokens)
    assert layout is not None
    return Stream(dict.fromkeys(numbers, (place,)), made_by, layout)


def differing(structure: Structure, own: Calls, other: Calls) -> Iterator[tuple[int, Place, Tensor]]:
    """List arguments that depend on the input, and are no states that a stream hands on: call, place and value."""
    for number, (args, kwargs) in enumerate(own):
        known = {place for stream in structure.streams for place in stream.reads.get(number, ())}
        for place, value in _arguments(args, kwargs):
            if place not in known and _differ(value, _argument(other[number], place)):
                yield number, place, value


def _argument(call: Arguments, place: Place) -> Any:
    args, kwargs = call
    return args[place] if isinstance(place, int) else kwargs.get(place)


def _differ(one: Any, other: Any) -> bool:
    return isinstance(one, Tensor) and not (
        isinstance(other, Tensor) and one.shape == other.shape and torch.equal(one, other)
    )
