"""The stack of blocks as a function: from the states that enter any layer to the number that is explained."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lignite.attribution.attend import repeat_groups
from lignite.attribution.shared_path import load_forward_mode
from lignite.blocks.attention import AttendCall, compute, configurations, intercepted
from lignite.blocks.record import as_output, first_tensor, with_first
from lignite.blocks.streams import Place, Structure, structures_of
from lignite.errors import BypassError, ModelError, OptionError
from lignite.models.hold import Captured, standing_in
from lignite.models.load import Model
from lignite.models.outputs import part_of
from lignite.targets.ask import answered
from lignite.targets.objective import choices_of, values
from lignite.targets.rows import Row, collate, run


class LengthError(BypassError):
    """The blocks of a model see another number of tokens than its input has: `n_seen`."""

    def __init__(self, message: str, n_seen: int):
        super().__init__(message)
        self.n_seen = n_seen


Answer = Callable[[int, nn.Module, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""What a block does when it is called: number of the call, module, its own forward, the arguments."""

Parts = list[Tensor]
"""A layer's states, one tensor ``[point, token, d]`` per stream, each with a width of its own."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What the untouched model does with some input: states of every layer, F, and its choices where it has any."""

    states: list[Float[Tensor, "row token d"]]
    value: Float[Tensor, " row"]
    choices: Float[Tensor, "row choice"] | None


class Stack:
    """Some rows run as one batch, with the states of every layer; use it inside `at_rest`.

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

    Raises
    ------
    ModelError
        If no stack of blocks is found, or its blocks are not called with one state for every token of the input.
    """

    def __init__(self, model: Model, rows: Sequence[Row]):
        self.model = model
        self.network = model.network
        self.rows = list(rows)
        self.objectives = [row.objective for row in rows]
        self.tensors = collate(model, rows)
        self.kept = self._kept()
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
        """What the model says of every row, to be compared with what it said before (`check_said_again`)."""
        choices = [None] * len(self.rows) if self._choices is None else self._choices
        return [answered(*each) for each in zip(self.rows, self.value, choices, strict=True)]

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    @property
    def name(self) -> str:
        return type(self.network).__name__

    def _kept(self) -> Bool[Tensor, "row token"]:
        length = max(row.n_tokens for row in self.rows)
        kept = torch.zeros(len(self.rows), length, dtype=torch.bool, device=self.model.device)
        for number, row in enumerate(self.rows):
            kept[number, : row.n_tokens] = ~torch.tensor(row.encoded.tokens.padding, device=kept.device)
        return kept

    # Running the model on whole inputs

    def see(self, **others: Tensor) -> Seen:
        """What the untouched model does with the rows, or with other words (`input_ids`) or pixels in their place."""
        structure = self.structure
        read: list[dict[int, Tensor]] = [{} for _ in structure.streams]
        first, n_calls = not self._returned, 0
        written: dict[int, Tensor] = {}

        def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            nonlocal n_calls
            n_calls += 1
            for stream, found in zip(structure.streams, read, strict=True):
                if number in stream.reads:
                    found[number] = stream.layout.read(_at(args, kwargs, stream.reads[number][0])).detach().clone()
            shapes = _shapes((args, kwargs))
            output = forward(*args, **kwargs)
            if first:
                self._shapes.append(shapes)
                self._returned.append(pytree.tree_map_only(Tensor, Tensor.detach, output))
            stream = structure.streams[structure.writers[number]]
            written[structure.writers[number]] = stream.layout.read(_states_of(output)).detach().clone()
            return output

        with torch.no_grad(), self._answering(answer):
            outputs = run(self.network, {**self.tensors, **others})
            value = values(outputs, self.objectives)
            choices = None if self.objectives[0].function else choices_of(outputs, self.objectives)
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

    def run(
        self, layer: int, states: Float[Tensor, "point token d"], index: Int[Tensor, " point"]
    ) -> Float[Tensor, " point"]:
        """F of row ``index[point]`` with these states entering a block: only the blocks above are run.

        `layer` ``n_layers`` stands for the states that leave the last block. Differentiable.
        """
        parts = self._parts(states, index)
        carried = list(parts)

        def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            if number < layer:
                return self._stand_in(number, parts, index)
            args, kwargs = self._handed(number, carried, args, kwargs, made=lambda before: before >= layer)
            return forward(*args, **kwargs)

        return self._run_rows(answer, index)

    def run_entering(
        self,
        entry: Int[Tensor, " point"],
        states: Float[Tensor, "point token d"],
        index: Int[Tensor, " point"],
        *,
        n_passing: int = 0,
    ) -> Float[Tensor, " point"]:
        """F of row ``index[point]`` with each point's states entering at a layer of its own, ``entry[point]``.

        The network is run once for all of them: a block works on those points alone that have entered, so that points
        spread evenly over L layers cost half of what they would if all entered at the first. The first `n_passing`
        points run one block and no more, and are answered by anything. Differentiable.
        """
        if not self.sweeps:
            return self._run_apart(entry, states, index)
        try:
            return self._run_together(entry, states, index, n_passing)
        except _UnclearError:  # which axis of an argument holds the points cannot be told from its size
            return self._run_apart(entry, states, index)

    def _run_apart(self, entry: Tensor, states: Tensor, index: Tensor) -> Tensor:
        found = []
        places = []
        for layer in entry.unique().tolist():
            some = (entry == layer).nonzero()[:, 0]
            found.append(self.run(layer, states[some], index[some]))
            places.append(some)
        return torch.cat(found)[torch.cat(places).argsort()]

    def _run_together(self, entry: Tensor, states: Tensor, index: Tensor, n_passing: int) -> Tensor:
        parts = self._parts(states, index)
        carried = list(parts)
        first, last = int(entry.min()), int(entry.max())

        def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            if number < first:
                return self._stand_in(number, parts, index)
            made = (lambda before: before >= first) if first == last else (lambda before: entry <= before)
            args, kwargs = self._handed(number, carried, args, kwargs, made)
            if number >= last and not n_passing:
                return forward(*args, **kwargs)
            runs = entry <= number
            runs[:n_passing] &= entry[:n_passing] == number
            some = runs.nonzero()[:, 0]
            args, kwargs = self._sliced(number, args, kwargs, some, len(index))
            return self._merged(self._stand_in(number, parts, index), forward(*args, **kwargs), some, len(index))

        return self._run_rows(answer, index)

    def _sliced(self, number: int, args: Any, kwargs: Any, some: Tensor, n_points: int) -> Any:
        """The arguments of some points alone: an axis that grew with the points is theirs."""
        leaves, spec = pytree.tree_flatten((args, kwargs))
        known = self._shapes[number]
        if len(known) != len(leaves):
            raise _UnclearError
        sliced = [
            _picked(leaf, shape, some, len(self.rows), n_points) if isinstance(leaf, Tensor) else leaf
            for leaf, shape in zip(leaves, known, strict=True)
        ]
        return pytree.tree_unflatten(sliced, spec)

    def _merged(self, whole: Any, part: Any, some: Tensor, n_points: int) -> Any:
        """What a block returned for some points, among what stands in for the others."""
        kept, spec = pytree.tree_flatten(whole)
        new, _ = pytree.tree_flatten(part)
        if len(kept) != len(new):
            raise _UnclearError
        merged = [
            _put(before, after, some, n_points) if isinstance(before, Tensor) and isinstance(after, Tensor) else before
            for before, after in zip(kept, new, strict=True)
        ]
        return pytree.tree_unflatten(merged, spec)

    def trace(
        self, states: Float[Tensor, "point token d"], index: Int[Tensor, " point"]
    ) -> tuple[list[Float[Tensor, "point token d"]], Float[Tensor, " point"]]:
        """States at every layer and F, starting from other states at the first; differentiable."""
        found: list[Tensor] = []
        carried = self._parts(states, index)

        def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            layer = states
            if number:
                layer = self._joined(self._entering(number, carried, args, kwargs, lambda _: True), index)
            found.append(layer)
            carried[:] = self._parts(layer, index)
            args, kwargs = self._handed(number, carried, args, kwargs, lambda _: False)
            output = forward(*args, **kwargs)
            if number < self.n_layers - 1:
                return output
            found.append(self._leaving(carried, output, index))
            place = self.structure.writers[number]
            return with_first(output, self._written(place, self._parts(found[-1], index)[place]))

        value = self._run_rows(answer, index)
        return found, value

    def trace_slopes(
        self,
        states: Float[Tensor, "point token d"],
        slope: Float[Tensor, "point token d"],
        index: Int[Tensor, " point"],
    ) -> list[Float[Tensor, "point token d"]]:
        """Direction in which every layer's states move when the first layer's move along `slope` (forward mode)."""
        load_forward_mode()
        with torch.no_grad(), forward_ad.dual_level(), intercepted(configurations(self.network), None, every=True):
            try:
                found, _ = self.trace(forward_ad.make_dual(states, slope), index)
            except (LookupError, ValueError, NotImplementedError, RuntimeError) as error:
                raise ModelError(
                    f"{self.name} cannot be differentiated forwards ({error}); use path='layer', or nodes='adaptive'."
                ) from error
            tangents = [forward_ad.unpack_dual(each).tangent for each in found]
        return [torch.zeros_like(states) if each is None else each for each in tangents]

    def block(
        self, layer: int, states: Float[Tensor, "point token d"], index: Int[Tensor, " point"]
    ) -> Float[Tensor, "point token d"]:
        """What one block makes of other states: those that enter the next one, or leave the last; differentiable."""
        parts = self._parts(states, index)
        carried = list(parts)

        def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            if number < layer:
                return self._stand_in(number, parts, index)
            if number > layer:
                entering = self._entering(number, carried, args, kwargs, made=lambda before: before >= layer)
                raise Captured(self._joined(entering, index))
            args, kwargs = self._handed(number, carried, args, kwargs, made=lambda _: False)
            output = forward(*args, **kwargs)
            if number == self.n_layers - 1:
                raise Captured(self._leaving(carried, output, index))
            return output

        try:
            self._run_rows(answer, index)
        except Captured as found:
            return found.content
        raise ModelError(f"block {layer} of {self.name} was not reached.")

    def arguments(
        self, states: Float[Tensor, "row token d"] | None = None, **others: Tensor
    ) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """What every block is called with, for the rows or other words in their place, or with states at the first."""
        found = []
        rows = torch.arange(len(self.rows), device=self.kept.device)
        carried = [] if states is None else self._parts(states, rows)

        def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            if states is not None:
                args, kwargs = self._handed(number, carried, args, kwargs, lambda _: True)
            found.append((args, kwargs))
            return forward(*args, **kwargs)

        with torch.no_grad(), self._answering(answer):
            run(self.network, {**self.tensors, **others})
        return found

    # Attention

    def attention_gradients(
        self,
    ) -> tuple[list[Float[Tensor, "row head target source"]], list[Float[Tensor, "row head target source"]]]:
        """Attention weights of every layer, and the derivative of F with respect to them, at the input itself.

        Whatever attention the model was loaded with: weights are computed by the definition, in the graph. Models that
        do not run on the attention interface are asked for the weights they return.

        Raises
        ------
        OptionError
            If the model has no attention weights that its answer depends on.
        """
        single = len(self.structure.streams) == 1
        weights = (self._weights_on_the_interface() or self._weights_returned()) if single else None
        if weights is None:
            raise OptionError(
                f"{self.name} shows no attention weights that its answer depends on; use a method without attention "
                "gradients, such as fusion=1."
            )
        found, value = weights
        gradients = torch.autograd.grad(value.sum(), found, allow_unused=True)
        zero = [torch.zeros_like(each) if part is None else part for each, part in zip(found, gradients, strict=True)]
        return [each.detach() for each in found], zero

    def _weights_on_the_interface(self) -> tuple[list[Tensor], Tensor] | None:
        inside: list[int] = []
        found: dict[int, Tensor] = {}

        def handler(call: AttendCall) -> Tensor:
            if not inside or inside[-1] in found:  # cross-attention, or attention outside the stack
                return compute(call)
            query, key, value = call.projections
            key, value = repeat_groups(key, query.shape[1]), repeat_groups(value, query.shape[1])
            weights = call.scoring.weights(query @ key.mT * call.scoring.scale).requires_grad_()
            found[inside[-1]] = weights
            return (weights @ value).transpose(1, 2)

        def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            inside.append(number)
            try:
                return forward(*args, **kwargs)
            finally:
                inside.pop()

        with torch.enable_grad():
            try:
                with intercepted(configurations(self.network), handler, every=True):
                    value = self._run_all(answer)
            except (LookupError, ValueError, NotImplementedError):
                return None  # some look attention up in tables of their own
        if sorted(found) != list(range(self.n_layers)) or not value.requires_grad:
            return None
        if not all(self._are_weights(each) for each in found.values()):
            return None  # sources that are no tokens (DeepSeek V4 compresses them)
        return [found[layer] for layer in range(self.n_layers)], value

    def _weights_returned(self) -> tuple[list[Tensor], Tensor] | None:
        """What the model itself returns as attention, if it is weights of every token by every token."""
        with torch.enable_grad():
            states = self.states[0].detach().requires_grad_()
            carried = [states]

            def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
                args, kwargs = self._handed(number, carried, args, kwargs, lambda _: True)
                return forward(*args, **kwargs)

            with self._answering(answer):
                outputs = run(self.network, self.tensors, output_attentions=True)
            value = values(outputs, self.objectives)
        found = part_of(outputs, "attentions") or part_of(outputs, "encoder_attentions") or ()
        usable = len(found) == self.n_layers and all(self._are_weights(each) for each in found)
        if not usable or all(
            part is None for part in torch.autograd.grad(value.sum(), list(found), allow_unused=True, retain_graph=True)
        ):
            return None
        return list(found), value

    def _are_weights(self, found: Any) -> bool:
        """Whether something is attention of every row, head, target and source, through which gradients pass."""
        if not isinstance(found, Tensor) or not found.requires_grad:
            return False
        n_rows, n_tokens = self.kept.shape
        return (found.shape[0], *found.shape[2:]) == (n_rows, n_tokens, n_tokens)

    # Streams

    def _parts(self, states: Float[Tensor, "point token d"], index: Tensor | None) -> Parts:
        """States of each stream, in its own order of tokens."""
        streams = self.structure.streams
        if len(streams) == 1:
            return [states]
        parts = states.split([stream.width for stream in streams], -1)
        return [self._in_order(part, place, index, back=True) for place, part in enumerate(parts)]

    def _joined(self, parts: Sequence[Tensor], index: Tensor | None) -> Float[Tensor, "point token d"]:
        """All streams' states side by side, in the order of the input's tokens."""
        if len(parts) == 1:
            return parts[0]
        return torch.cat([self._in_order(part, place, index, back=False) for place, part in enumerate(parts)], -1)

    def _in_order(self, part: Tensor, place: int, index: Tensor | None, *, back: bool) -> Tensor:
        order = self._orders[place]
        if order is None:
            return part
        order = order if index is None else order[index]
        order = order.argsort(1) if back else order
        return part.gather(1, order[..., None].expand_as(part))

    def _entering(self, number: int, carried: Parts, args: Any, kwargs: Any, made: Callable[[int], Any]) -> Parts:
        """States of every stream at a call: what the model hands the block where it is made anew, else what is carried.

        `made` says of the call that wrote a stream last whether its points have run it.
        """
        entering = []
        for stream, part in zip(self.structure.streams, carried, strict=True):
            before = stream.made_by.get(number)
            fresh = before is not None and made(before)
            if isinstance(fresh, Tensor):
                given = stream.layout.read(_at(args, kwargs, stream.reads[number][0]))
                part = torch.where(fresh[:, None, None], given, part)
            elif fresh:
                part = stream.layout.read(_at(args, kwargs, stream.reads[number][0]))
            entering.append(part)
        return entering

    def _handed(
        self, number: int, carried: Parts, args: Any, kwargs: Any, made: Callable[[int], Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call with every stream's states in their places; what stays to be read is carried on."""
        carried[:] = self._entering(number, carried, args, kwargs, made)
        for place, stream in enumerate(self.structure.streams):
            for at in stream.reads.get(number, ()):
                args, kwargs = _with_at(args, kwargs, at, stream.layout.write(carried[place]))
        return args, kwargs

    def _leaving(self, carried: Parts, output: Any, index: Tensor) -> Float[Tensor, "point token d"]:
        """States behind the last call."""
        parts = list(carried)
        place = self.structure.writers[-1]
        parts[place] = self.structure.streams[place].layout.read(_states_of(output))
        return self._joined(parts, index)

    def _written(self, place: int, part: Tensor) -> Tensor:
        return self.structure.streams[place].layout.write(part)

    def _stand_in(self, number: int, parts: Parts, index: Tensor) -> Any:
        """What a block below returned, with its states replaced; position biases that T5 hands on stay."""
        n_rows = len(self.rows)

        def pick(part: Tensor) -> Tensor:
            return part[index] if part.ndim and len(part) == n_rows else part

        place = self.structure.writers[number]
        output = self._returned[number]
        states = self._written(place, parts[place])
        if isinstance(output, Tensor):
            return states
        rest = pytree.tree_map_only(Tensor, pick, list(output[1:]))
        return as_output(output, [states, *rest])

    # Answers

    def _run_rows(self, answer: Answer, index: Tensor) -> Tensor:
        n_rows = len(self.rows)
        whole = len(index) == n_rows and bool((index == torch.arange(n_rows, device=index.device)).all())
        tensors = self.tensors if whole else {name: each[index] for name, each in self.tensors.items()}
        objectives = [self.objectives[row] for row in index.tolist()]
        with self._answering(answer):
            return values(run(self.network, tensors), objectives)

    def _run_all(self, answer: Answer) -> Tensor:
        with self._answering(answer):
            return values(run(self.network, self.tensors), self.objectives)

    @contextmanager
    def _answering(self, answer: Answer) -> Iterator[None]:
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


class _UnclearError(Exception):
    """An argument does not say which of its axes holds the points."""


def _shapes(arguments: Any) -> list[tuple[int, ...] | None]:
    return [tuple(leaf.shape) if isinstance(leaf, Tensor) else None for leaf in pytree.tree_leaves(arguments)]


def _axis_of(known: Sequence[int], shape: Sequence[int], n_rows: int, n_points: int) -> tuple[int, int] | None:
    """The axis of a tensor that holds points, and how often it holds each; None if none does.

    `known` is its shape for `n_rows` rows: an axis that grew with them holds them.
    """
    if len(known) != len(shape):
        raise _UnclearError
    if n_rows == n_points:
        raise _UnclearError
    grown = [axis for axis, (old, new) in enumerate(zip(known, shape, strict=True)) if old != new]
    if not grown:
        return None
    (axis, *more) = grown
    if more or known[axis] % n_rows or known[axis] // n_rows * n_points != shape[axis]:
        raise _UnclearError
    return axis, known[axis] // n_rows


def _picked(leaf: Tensor, known: Any, some: Tensor, n_rows: int, n_points: int) -> Tensor:
    if known is None:
        raise _UnclearError
    found = _axis_of(known, leaf.shape, n_rows, n_points)
    if found is None:
        return leaf
    axis, times = found
    places = some if times == 1 else (some[:, None] * times + torch.arange(times, device=some.device)).flatten()
    return leaf.index_select(axis, places)


def _put(before: Tensor, after: Tensor, some: Tensor, n_points: int) -> Tensor:
    if after.ndim and after.shape[0] == 1 < len(some) and before.shape[0] == n_points:  # the same for all points
        after = after.expand(len(some), *after.shape[1:])
    found = _axis_of(after.shape, before.shape, len(some), n_points)
    if found is None:
        return after
    axis, times = found
    places = some if times == 1 else (some[:, None] * times + torch.arange(times, device=some.device)).flatten()
    return before.index_copy(axis, places, after.to(before.dtype))


def _at(args: tuple[Any, ...], kwargs: dict[str, Any], place: Place) -> Any:
    return args[place] if isinstance(place, int) else kwargs[place]


def _with_at(
    args: tuple[Any, ...], kwargs: dict[str, Any], place: Place, value: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(place, int):
        return (*args[:place], value, *args[place + 1 :]), kwargs
    return args, {**kwargs, place: value}


def _states_of(output: Any) -> Tensor:
    states = first_tensor(output)
    if states is None:
        raise ModelError("a block returns no states; it cannot be explained.")
    return states
