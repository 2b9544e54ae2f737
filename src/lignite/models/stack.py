"""The stack of blocks as a function: from the states that enter any layer to the number that is explained."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.autograd.forward_ad as forward_ad
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lignite.attribution.attend import repeat_groups
from lignite.attribution.shared_path import load_forward_mode
from lignite.errors import ModelError, OptionError
from lignite.models.attention import (
    AttendCall,
    Captured,
    compute,
    configurations,
    intercepted,
    standing_in,
    switches_undone,
)
from lignite.models.loading import Model
from lignite.models.outputs import part_of
from lignite.models.prediction import Row, collate, run
from lignite.models.recording import first_tensor, stack_of
from lignite.models.targets import values

REPLAYED = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest relative difference between the model's own answer and the one replayed from a layer's states: sums in
another order. A model whose head reads other layers too misses by parts in ten."""

_blocks_of: "WeakKeyDictionary[nn.Module, tuple[tuple[int, ...], list[nn.Module]]]" = WeakKeyDictionary()


class LengthError(ModelError):
    """The blocks of a model see another number of tokens than its input has: `n_seen`."""

    def __init__(self, message: str, n_seen: int):
        super().__init__(message)
        self.n_seen = n_seen


Answer = Callable[[int, nn.Module, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""What a block does when it is called: number of the call, module, its own forward, the arguments."""


class Stack:
    """Some rows run as one batch, with the states of every layer; use it inside `at_rest`.

    Attributes
    ----------
    kept
        True for tokens, false for padding.
    states
        ``[row, token, d]`` entering each block, and last those that leave the last one. Padding holds anything.
    value
        F of every row.

    Raises
    ------
    ModelError
        If the model's answer is no function of the states that enter a layer, or some of its blocks are not called
        with states ``[row, token, d]``.
    """

    def __init__(self, model: Model, rows: Sequence[Row]):
        self.model = model
        self.network = model.network
        self.rows = list(rows)
        self.objectives = [row.objective for row in rows]
        self.tensors = collate(model, rows)
        self.blocks = _find_blocks(model, rows[0])
        self.kept = self._kept()
        self.states: list[Tensor] = []
        self._returned: list[Any] = []
        with torch.no_grad():
            self.value = self._run_all(self._record)
        if len(self.states) != len(self.blocks):
            raise ModelError(
                f"{self._name} does not call its blocks with states [row, token, d]; it cannot be explained."
            )
        self.states.append(_states_of(self._returned[-1]))
        if self.states[0].shape[:2] != self.kept.shape:
            raise LengthError(
                f"The blocks of {self._name} see {self.states[0].shape[1]} tokens where the input has "
                f"{self.kept.shape[1]}; this kind of input is not supported.",
                self.states[0].shape[1],
            )

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    @property
    def _name(self) -> str:
        return type(self.network).__name__

    def _kept(self) -> Bool[Tensor, "row token"]:
        length = max(row.n_tokens for row in self.rows)
        kept = torch.zeros(len(self.rows), length, dtype=torch.bool, device=self.model.device)
        for number, row in enumerate(self.rows):
            kept[number, : row.n_tokens] = ~torch.tensor(row.encoded.tokens.padding, device=kept.device)
        return kept

    def check(self) -> None:
        """Replay the answer from every layer's states: what no function of them is cannot be attributed to them.

        Raises
        ------
        ModelError
            Naming the first layer from which the answer is not reproduced.
        """
        first = torch.zeros(1, dtype=torch.long, device=self.model.device)
        with torch.no_grad():
            for layer in range(self.n_layers + 1):
                again = self.run(layer, self.states[layer][:1], first)
                miss = float((again - self.value[:1]).abs().max())
                if miss > REPLAYED.get(self.value.dtype, 1e-4) * max(1.0, float(self.value[0].abs())):
                    raise ModelError(
                        f"The answer of {self._name} cannot be replayed from the states entering layer {layer} "
                        f"(it misses by {miss:.2g}): its head reads more than the last states. Use method='occlusion'."
                    )

    def run(
        self, layer: int, states: Float[Tensor, "point token d"], index: Int[Tensor, " point"]
    ) -> Float[Tensor, " point"]:
        """F of row ``index[point]`` with these states entering a block: only the blocks above are run.

        `layer` ``n_layers`` stands for the states that leave the last block. Differentiable.
        """

        def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            if number < layer:
                return self._stand_in(number, states, index)
            if number == layer:
                args, kwargs = _with_states(args, kwargs, states)
            return forward(*args, **kwargs)

        return self._run_rows(answer, index)

    def trace(
        self, states: Float[Tensor, "point token d"], index: Int[Tensor, " point"]
    ) -> tuple[list[Float[Tensor, "point token d"]], Float[Tensor, " point"]]:
        """States at every layer and F, starting from other states at the first; differentiable."""
        found: list[Tensor] = []

        def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            if number == 0:
                args, kwargs = _with_states(args, kwargs, states)
            found.append(_entering(args, kwargs))
            output = forward(*args, **kwargs)
            if number == self.n_layers - 1:
                found.append(_states_of(output))
            return output

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
                    f"{self._name} cannot be differentiated forwards ({error}); use path='layer', or nodes='adaptive'."
                ) from error
            tangents = [forward_ad.unpack_dual(each).tangent for each in found]
        return [torch.zeros_like(states) if each is None else each for each in tangents]

    def block(
        self, layer: int, states: Float[Tensor, "point token d"], index: Int[Tensor, " point"]
    ) -> Float[Tensor, "point token d"]:
        """What one block makes of other states; differentiable."""

        def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            if number < layer:
                return self._stand_in(number, states, index)
            args, kwargs = _with_states(args, kwargs, states)
            raise Captured(_states_of(forward(*args, **kwargs)))

        try:
            self._run_rows(answer, index)
        except Captured as found:
            return found.content
        raise ModelError(f"block {layer} of {self._name} was not reached.")

    def run_inputs(self, **others: Tensor) -> list[Float[Tensor, "row token d"]]:
        """States of every layer for the same rows with other words (`input_ids`) or other pixels (`pixel_values`)."""
        found: list[Tensor] = []

        def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            found.append(_entering(args, kwargs).detach().clone())
            output = forward(*args, **kwargs)
            if number == self.n_layers - 1:
                found.append(_states_of(output).detach().clone())
            return output

        with torch.no_grad(), self._answering(answer):
            run(self.network, {**self.tensors, **others})
        return found

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
        weights = self._weights_on_the_interface() or self._weights_returned()
        if weights is None:
            raise OptionError(
                f"{self._name} shows no attention weights that its answer depends on; use a method without attention "
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
        return [found[layer] for layer in range(self.n_layers)], value

    def _weights_returned(self) -> tuple[list[Tensor], Tensor] | None:
        """What the model itself returns as attention, if it is weights of every token by every token."""
        with torch.enable_grad():
            states = self.states[0].detach().requires_grad_()

            def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
                if number == 0:
                    args, kwargs = _with_states(args, kwargs, states)
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

    def _record(self, number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        states = _entering(args, kwargs, required=False)
        if states is not None:
            self.states.append(states.detach().clone())
        output = forward(*args, **kwargs)
        self._returned.append(pytree.tree_map_only(Tensor, Tensor.detach, output))
        return output

    def _stand_in(self, number: int, states: Tensor, index: Tensor) -> Any:
        """What a block below returned, with its states replaced; position biases that T5 hands on stay."""
        n_rows = len(self.rows)

        def pick(part: Tensor) -> Tensor:
            return part[index] if part.ndim and len(part) == n_rows else part

        output = self._returned[number]
        if isinstance(output, Tensor):
            return states
        rest = pytree.tree_map_only(Tensor, pick, list(output[1:]))
        return type(output)([states, *rest])

    @contextmanager
    def _answering(self, answer: Answer) -> Iterator[None]:
        """Let `answer` decide what each block does; forwards that others have set on a module are put back."""
        calls = [0]
        modules = dict.fromkeys(self.blocks)  # one that is shared stands there several times

        def stand_for(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                number = calls[0]
                calls[0] += 1
                return answer(number, module, forward, args, kwargs)

            return call

        with standing_in("forward", {module: stand_for(module, module.forward) for module in modules}):
            yield


def _find_blocks(model: Model, row: Row) -> list[nn.Module]:
    """Blocks in the order in which they are called; one that is shared stands there several times."""
    modules = tuple(map(id, model.network.modules()))  # somebody may have put other blocks in
    known = _blocks_of.get(model.network)
    if known is None or known[0] != modules:
        with switches_undone(model.network):
            known = _blocks_of[model.network] = (modules, stack_of(model.network, row.encoded.tensors))
    return known[1]


def _entering(args: tuple[Any, ...], kwargs: dict[str, Any], *, required: bool = True) -> Any:
    found = args[0] if args else kwargs.get("hidden_states")
    if isinstance(found, Tensor) and found.ndim == 3 and found.dtype.is_floating_point:
        return found
    if required:
        raise ModelError("a block is called without states [row, token, d]; it cannot be explained.")
    return None


def _with_states(
    args: tuple[Any, ...], kwargs: dict[str, Any], states: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if args:
        return (states, *args[1:]), kwargs
    return args, {**kwargs, "hidden_states": states}


def _states_of(output: Any) -> Tensor:
    states = first_tensor(output)
    if states is None:
        raise ModelError("a block returns no states; it cannot be explained.")
    return states
