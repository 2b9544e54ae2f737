"""The stack of blocks as a function: from the states that enter any layer to the number that is explained."""

import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lignite.attribution.axes import PerPoint, PointRows, PointStates, RowStates
from lignite.attribution.lines import every_row
from lignite.attribution.paths import load_forward_mode
from lignite.blocks.arguments import (
    Arguments,
    UnclearError,
    pack_output,
    pick_points,
    put_argument,
    put_points,
    put_states,
    read_states,
)
from lignite.blocks.attention import intercepted
from lignite.blocks.recompute import bytes_again, run_again
from lignite.blocks.streams import Structure, structures_of
from lignite.errors import BypassError, ModelError
from lignite.models.hold import Captured, standing_in
from lignite.models.load import Model
from lignite.models.outputs import sizes_of
from lignite.targets.ask import answered
from lignite.targets.objective import laid_out
from lignite.targets.rows import Row, bytes_per_token, collate, run


class LengthError(BypassError):
    """The blocks of a model see another number of tokens than its input has: `n_seen`."""

    def __init__(self, message: str, n_seen: int):
        super().__init__(message)
        self.n_seen = n_seen


Answer = Callable[[int, nn.Module, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""What a block does when it is called: number of the call, module, its own forward, the arguments."""

EVERYONE = sys.maxsize
"""As many points as there are."""

Parts = list[Tensor]
"""A layer's states, one tensor ``[point, token, d]`` per stream, each with a width of its own."""


@dataclass(frozen=True, eq=False)
class Start:
    """A start says where paths begin: states of every layer, last those that leave the last block.

    `value` is the model's own answer to the input that these are the states of, `choices` the logits it is one of; None
    where no input has them.
    """

    states: list[RowStates]
    value: Float[Tensor, " row"] | None = None
    choices: Float[Tensor, "row choice"] | None = None


@dataclass(frozen=True, eq=False)
class Seen(Start):
    """The untouched model does this with some input, where paths may begin or end."""

    value: Float[Tensor, " row"]


class Stack:
    """A stack runs some rows as one batch, from the states of any layer; use it inside `at_rest`.

    Attributes
    ----------
    kept
        True for tokens, false for padding.
    states
        ``[row, token, d]`` entering each block, and last those that leave the last one. Padding holds anything. Where a
        word is read in several places (an encoder and a decoder), its state is all of them side by side.
    value
        F of every row.
    said
        What the model says of every start that was asked for, None where that is no input.
    sweeps
        False where blocks do not take the points of a batch one by one, so that `run_entering` asks layer by layer.
    again
        True where blocks are run again on the way down, because the graph of them all would take too much memory.

    Raises
    ------
    ModelError
        If no stack of blocks is found, or its blocks are not called with one state for every token of the input.
    """

    def __init__(self, model: Model, rows: Sequence[Row]):
        self.model = model
        self.network = model.network
        self.again = False
        self.rows = list(rows)
        self.objectives = [row.objective for row in rows]
        self.tensors = collate(model, rows)
        self.kept = self._kept()
        self.questions = laid_out(self.objectives, self.kept.device)
        self.structures = structures_of(model, rows[0])
        self.take(self.structures[0])

    def take(self, structure: Structure) -> None:
        """Read the rows' states where one of the `structures` says that they are."""
        self.structure = structure
        self.blocks = structure.modules
        self._orders = structure.orders(self.kept)
        self._returned: list[Any] = []
        self._shapes: list[Any] = []
        with torch.no_grad():
            seen = self.see()
        self.states, self.value, self._choices = seen.states, seen.value, seen.choices
        self.sweeps = True
        self.said: list[Tensor | None] = []
        if self.states[0].shape[:2] != self.kept.shape:
            raise LengthError(
                f"The blocks of {self.name} ({structure.name!r}) see {self.states[0].shape[1]} tokens where the input "
                f"has {self.kept.shape[1]}: what becomes of a token cannot be followed.",
                self.states[0].shape[1],
            )

    def answers(self) -> list[tuple[float, ...]]:
        """Return what the model says of every row, to be compared with what it said before (`check_said_again`)."""
        choices = [None] * len(self.rows) if self._choices is None else self._choices.cpu()
        return [answered(*each) for each in zip(self.rows, self.value.cpu(), choices, strict=True)]

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    @property
    def name(self) -> str:
        return type(self.network).__name__

    def _kept(self) -> Bool[Tensor, "row token"]:
        length = max(row.n_tokens for row in self.rows)
        kept = torch.zeros(len(self.rows), length, dtype=torch.bool)
        for number, row in enumerate(self.rows):
            kept[number, : row.n_tokens] = ~torch.tensor(row.encoded.tokens.padding)
        return kept.to(self.model.device)

    # Running the model on whole inputs

    def see(self, **others: Tensor) -> Seen:
        """See what the untouched model does with the rows, or other words (`input_ids`) or pixels in their place."""
        structure = self.structure
        read: list[dict[int, Tensor]] = [{} for _ in structure.streams]
        first, n_calls = not self._returned, 0
        written: dict[int, Tensor] = {}

        def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            nonlocal n_calls
            n_calls += 1
            for stream, found in zip(structure.streams, read, strict=True):
                if number in stream.reads:
                    found[number] = stream.layout.given(args, kwargs, stream.reads[number][0]).detach().clone()
            shapes = sizes_of((args, kwargs))
            output = forward(*args, **kwargs)
            if first:
                self._shapes.append(shapes)
                self._returned.append(pytree.tree_map_only(Tensor, Tensor.detach, output))
            stream = structure.streams[structure.writers[number]]
            written[structure.writers[number]] = stream.layout.read(read_states(output)).detach().clone()
            return output

        with torch.no_grad(), self.answering(answer):
            outputs = run(self.network, {**self.tensors, **others})
            value, choices = self.questions.answers(outputs)
        if n_calls != self.n_layers:
            raise BypassError(
                f"{self.name} calls {n_calls} blocks of {structure.name!r} where it called {self.n_layers} before: "
                "its depth depends on the input, so no layer can be explained."
            )
        states = []
        for layer in range(self.n_layers + 1):
            parts = [
                written[place] if (at := structure.source(place, layer)) is None else read[place][at]
                for place in range(len(structure.streams))
            ]
            states.append(self._joined(parts, None))
        return Seen(states, value, choices)

    # Running it on other states

    def run(self, layer: int, states: PointStates, index: PointRows) -> PerPoint:
        """Compute F of row ``index[point]`` with these states entering a block: only the blocks above are run.

        `layer` ``n_layers`` stands for the states that leave the last block. Differentiable.
        """
        parts = self._parts(states, index)
        carried = list(parts)

        def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            if number < layer:
                return self._stand_in(number, parts, index)
            args, kwargs = self.handed(number, carried, args, kwargs, made=lambda before: EVERYONE * (before >= layer))
            return self.lightly(forward)(*args, **kwargs)

        return self._run_rows(answer, index)

    def run_entering(
        self, entry: Sequence[int], states: PointStates, index: PointRows, *, n_passing: int = 0
    ) -> PerPoint:
        """Compute F of row ``index[point]`` with each point's states entering at a layer of its own, ``entry[point]``.

        Points come in the order of their layers. The network is run once for all of them: a block works on those points
        alone that have entered, so that points spread evenly over L layers cost half of what they would if all entered
        at the first. The first `n_passing` points run one block and no more, and are answered by anything.
        Differentiable.
        """
        if not self.sweeps:
            return self._run_apart(entry, states, index)
        try:
            return self._run_together(entry, states, index, n_passing)
        except UnclearError:  # which axis of an argument holds the points cannot be told from its size
            return self._run_apart(entry, states, index)

    def _run_apart(self, entry: Sequence[int], states: PointStates, index: PointRows) -> Tensor:
        ends = {layer: bisect_right(entry, layer) for layer in sorted(set(entry))}
        pieces = zip(ends, [slice(*each) for each in pairwise([0, *ends.values()])], strict=True)
        return torch.cat([self.run(layer, states[some], index[some]) for layer, some in pieces])

    def _run_together(self, entry: Sequence[int], states: PointStates, index: PointRows, n_passing: int) -> Tensor:
        n_points, n_rows = len(entry), len(self.rows)
        first, last = entry[0], entry[-1]
        parts = self._parts(states, index)
        carried = list(parts)

        def entered(number: int) -> int:
            return bisect_right(entry, number)

        def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            if number < first:
                return self._stand_in(number, parts, index)
            args, kwargs = self.handed(number, carried, args, kwargs, entered)
            forward = self.lightly(forward)
            if number >= last and not n_passing:
                return forward(*args, **kwargs)
            some = slice(n_passing if number else 0, entered(number))
            args, kwargs = pick_points((args, kwargs), self._shapes[number], some, n_rows, n_points)
            return put_points(self._stand_in(number, parts, index), forward(*args, **kwargs), some, n_points)

        return self._run_rows(answer, index)

    def trace(self, states: PointStates, index: PointRows) -> tuple[list[PointStates], PerPoint]:
        """Follow other states from the first layer on: states at every layer, and F; differentiable."""
        found: list[Tensor] = []
        carried = self._parts(states, index)

        def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            layer = states
            if number:
                layer = self._joined(self._entering(number, carried, args, kwargs, lambda _: EVERYONE), index)
            found.append(layer)
            carried[:] = self._parts(layer, index)
            args, kwargs = self.handed(number, carried, args, kwargs, lambda _: 0)
            output = self.lightly(forward)(*args, **kwargs)
            if number < self.n_layers - 1:
                return output
            found.append(self._leaving(carried, output, index))
            place = self.structure.writers[number]
            return put_states(output, self.structure.streams[place].layout.write(self._parts(found[-1], index)[place]))

        value = self._run_rows(answer, index)
        return found, value

    def trace_gradients(self, states: PointStates, index: PointRows) -> tuple[list[PointStates], list[PointStates]]:
        """Follow other states from the first layer on: states at every layer, and the gradients of F there."""
        with torch.enable_grad():
            found, value = self.trace(states.detach().requires_grad_(), index)
            gradients = torch.autograd.grad(value.sum(), found, materialize_grads=True)
        return [each.detach() for each in found], list(gradients)

    def trace_slopes(
        self,
        states: PointStates,
        slope: PointStates,
        index: PointRows,
    ) -> list[PointStates]:
        """Find the direction in which every layer's states move when the first layer's move along `slope` (forward
        mode).
        """
        load_forward_mode()
        with torch.no_grad(), forward_ad.dual_level(), intercepted(self.network, every=True):
            try:
                found, _ = self.trace(forward_ad.make_dual(states, slope), index)
            except (LookupError, ValueError, NotImplementedError, RuntimeError) as error:
                raise ModelError(
                    f"{self.name} cannot be differentiated forwards ({error}); use path='layer', or nodes='adaptive'."
                ) from error
            tangents = [forward_ad.unpack_dual(each).tangent for each in found]
        return [torch.zeros_like(states) if each is None else each for each in tangents]

    def block(self, layer: int, states: PointStates, index: PointRows) -> PointStates:
        """Compute what one block makes of other states: those that enter the next one, or leave the last;
        differentiable.
        """
        parts = self._parts(states, index)
        carried = list(parts)

        def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            if number < layer:
                return self._stand_in(number, parts, index)
            if number > layer:
                entering = self._entering(
                    number, carried, args, kwargs, made=lambda before: EVERYONE * (before >= layer)
                )
                raise Captured(self._joined(entering, index))
            args, kwargs = self.handed(number, carried, args, kwargs, made=lambda _: 0)
            output = forward(*args, **kwargs)
            if number == self.n_layers - 1:
                raise Captured(self._leaving(carried, output, index))
            return output

        try:
            self._run_rows(answer, index)
        except Captured as found:
            return found.content
        raise ModelError(f"block {layer} of {self.name} was not reached.")

    def each_block(self, states: Sequence[PointStates], index: PointRows) -> list[PointStates]:
        """Compute what every block makes of states of its own, as `block` does of one, in one run; differentiable."""
        found: list[Tensor] = []
        carried: Parts = []

        def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            if number:
                made = self._entering(number, carried, args, kwargs, lambda before: EVERYONE * (before >= number - 1))
                found.append(self._joined(made, index))
            carried[:] = self._parts(states[number], index)
            args, kwargs = self.handed(number, carried, args, kwargs, made=lambda _: 0)
            output = self.lightly(forward)(*args, **kwargs)
            if number == self.n_layers - 1:
                raise Captured([*found, self._leaving(carried, output, index)])
            return output

        try:
            self._run_rows(answer, index)
        except Captured as captured:
            made: list[Tensor] = captured.content
            return made
        raise ModelError(f"the last block of {self.name} was not reached.")

    def lightly(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Let a block be run without its graph, if it is to be run again on the way down."""
        return run_again(forward) if self.again else forward

    def arguments(self, states: RowStates | None = None, **others: Tensor) -> list[Arguments]:
        """List what every block is called with, for the rows or other words in their place, or with states at the
        first.
        """
        found = []
        carried = [] if states is None else self._parts(states, every_row(self))

        def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            if states is not None:
                args, kwargs = self.handed(number, carried, args, kwargs, lambda _: EVERYONE)
            found.append((args, kwargs))
            return forward(*args, **kwargs)

        with torch.no_grad(), self.answering(answer):
            run(self.network, {**self.tensors, **others})
        return found

    # Streams

    def _parts(self, states: PointStates, index: PointRows | None) -> Parts:
        """Split states into those of each stream, in its own order of tokens."""
        streams = self.structure.streams
        if len(streams) == 1:
            return [states]
        parts = states.split([stream.width for stream in streams], -1)
        return [self._in_order(part, place, index, back=True) for place, part in enumerate(parts)]

    def _joined(self, parts: Sequence[Tensor], index: PointRows | None) -> PointStates:
        """Put all streams' states side by side, in the order of the input's tokens."""
        if len(parts) == 1:
            return parts[0]
        return torch.cat([self._in_order(part, place, index, back=False) for place, part in enumerate(parts)], -1)

    def _in_order(
        self, part: Float[Tensor, "point token width"], place: int, index: PointRows | None, *, back: bool
    ) -> Tensor:
        order = self._orders[place]
        if order is None:
            return part
        order = order if index is None else order[index]
        order = order.argsort(1) if back else order
        return part.gather(1, order[..., None].expand_as(part))

    def _entering(self, number: int, carried: Parts, args: Any, kwargs: Any, made: Callable[[int], int]) -> Parts:
        """Find the states of every stream at a call: what the model hands the block where it is made anew, or
        what is carried.

        `made` says of the call that wrote a stream last how many points have run it; these are the first ones.
        """
        entering = []
        for stream, part in zip(self.structure.streams, carried, strict=True):
            before = stream.made_by.get(number)
            fresh = 0 if before is None else made(before)
            if fresh:
                given = stream.layout.given(args, kwargs, stream.reads[number][0])
                part = given if fresh >= len(part) else torch.cat([given[:fresh], part[fresh:]])
            entering.append(part)
        return entering

    def handed(self, number: int, carried: Parts, args: Any, kwargs: Any, made: Callable[[int], int]) -> Arguments:
        """Put every stream's states into the arguments of a call; what stays to be read is carried on."""
        carried[:] = self._entering(number, carried, args, kwargs, made)
        for place, stream in enumerate(self.structure.streams):
            for at in stream.reads.get(number, ()):
                args, kwargs = put_argument(args, kwargs, at, stream.layout.write(carried[place]))
        return args, kwargs

    def _leaving(self, carried: Parts, output: Any, index: PointRows) -> PointStates:
        """Read the states behind the last call."""
        parts = list(carried)
        place = self.structure.writers[-1]
        parts[place] = self.structure.streams[place].layout.read(read_states(output))
        return self._joined(parts, index)

    def _stand_in(self, number: int, parts: Parts, index: PointRows) -> Any:
        """Make what a block below returned, with its states replaced; position biases that T5 hands on stay."""
        n_rows = len(self.rows)

        def pick(part: Shaped[Tensor, "..."]) -> Tensor:
            return part[index] if part.ndim and len(part) == n_rows else part

        place = self.structure.writers[number]
        output = self._returned[number]
        states = self.structure.streams[place].layout.write(parts[place])
        if isinstance(output, Tensor):
            return states
        rest = pytree.tree_map_only(Tensor, pick, list(output[1:]))
        return pack_output(output, [states, *rest])

    # Answers

    def _run_rows(self, answer: Answer, index: PointRows) -> Tensor:
        whole = index is every_row(self)  # known without a look at the numbers, for which the host would wait
        tensors = self.tensors if whole else {name: each[index] for name, each in self.tensors.items()}
        with self.answering(answer):
            outputs = run(self.network, tensors)
            return self.questions.of(index).values(outputs)

    @contextmanager
    def answering(self, answer: Answer) -> Iterator[None]:
        """Let `answer` decide what each block does; forwards that others have set on a module are put back."""
        calls = [0]
        modules = dict.fromkeys(self.blocks)  # one that is shared stands there several times

        def stand_for(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                number = calls[0]
                calls[0] += 1
                if number >= self.n_layers:  # a shared block at work in the head
                    return forward(*args, **kwargs)
                return answer(number, module, forward, args, kwargs)

            return call

        with standing_in("forward", {module: stand_for(module, module.forward) for module in modules}):
            yield


def points_at_once(stack: Stack, budget: float, *, gradient: bool) -> int:
    """How many points of a stack run together within the budget; at least one."""
    again = gradient and stack.again
    taken = bytes_again(stack.model) if again else bytes_per_token(stack.model, gradient=gradient)
    return max(1, int(budget / taken / stack.states[0].shape[1]))
