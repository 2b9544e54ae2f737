"""Split a recorded block into pre, attend and post, and check the split against the block's own output."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lignite.attribution.attend import Scoring, heads_of
from lignite.attribution.block import Projections, Rotation
from lignite.blocks.attention import READABLE, AttendCall, OwnCall, configurations, intercepted, observed
from lignite.blocks.record import BlockCall, first_tensor
from lignite.errors import SplitError
from lignite.models.failures import FOREIGN
from lignite.models.hold import Captured, own_calls
from lignite.models.load import Model

HALF = (torch.float16, torch.bfloat16)
"""Precisions that record states but are too coarse to integrate in: their blocks are worked on in float32."""

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest relative difference of a token's output between the split and the block, by the precision the model ran in.

float32 is the promise; float64 models keep norms and softmax that compute in float32, whose rounding is 6e-8 per
operation; the half precisions carry 11 and 8 bits, and a block adds up some tens of roundings.
"""

_KEY_NORMS = ("k_norm", "key_norm", "k_layernorm", "key_layernorm", "norm_k")


class RecordedBlock:
    """A block on the input it was recorded with, as a function of its states: satisfies attribution's `Block`.

    Half-precision blocks are copied to float32 first; others are used in place. Use it inside `at_rest`. A route is
    taken as soon as the block can be run by it; whether what comes out is right is for the trial of every layer and map
    to say (`lignite.attribution.trial`), which has it `retreat` where it is not.

    Attributes
    ----------
    route
        ``"interface"``: split at transformers' attention interface. ``"projection"``: split at the input of the output
        projection, for blocks with attention of their own. ``"definition"``: no split, `whole` alone.
    refused
        Why better routes were refused, one line each.
    """

    route: str
    norms_first = True
    heads: Float[Tensor, "token head d_value"] | None = None
    projections: Projections | None = None
    scoring: Scoring | None = None

    def __init__(self, call: BlockCall, n_heads: int | None, kept: Bool[Tensor, " token"] | None = None):
        self.layer, self.name = call.layer, call.name
        self.model_dtype = _precision(call)
        self.module, self._call = call.module, call
        if self.model_dtype in HALF:
            self.module = copy.deepcopy(call.module).float()
        self.states = _to_float32(call.states)
        self.output = self._given = _to_float32(call.output)
        self._tiled = self._plain = False
        self._projection: nn.Module | None = None
        self._n_heads = n_heads
        self._kept = kept
        self.refused: list[str] = []
        self._attempts = {
            "interface": self._try_interface, "projection": self._try_projection, "definition": self._try_whole
        }  # fmt: skip
        self._choose_route()

    @cached_property
    def _probe(self) -> int:
        """The first token that is no padding, which all that look back can see."""
        return 0 if self._kept is None else int(self._kept.nonzero()[0, 0])

    @cached_property
    def _others(self) -> Bool[Tensor, " token"]:
        return torch.arange(len(self.states), device=self.states.device) != self._probe

    @cached_property
    def error(self) -> float:
        """Largest relative difference between the split and the model's own output, over tokens."""
        with torch.no_grad():
            if self.heads is None:
                output = self.whole(self.states[None])[0]
            else:
                everyone = torch.arange(len(self.states), device=self.states.device)
                output = self.post(self.states[None], self.heads[None], everyone)[0]
        if self._kept is None:
            return _relative(output, self.output)
        return _relative(output[self._kept], self.output[self._kept])

    @property
    def n_heads(self) -> int:
        return 0 if self.heads is None else self.heads.shape[1]

    # The functions of the block

    def whole(self, states: Float[Tensor, "point token d"]) -> Float[Tensor, "point token d"]:
        """The block itself, as the model runs it."""
        return self._run_as_loaded(states)

    def attention(self, states: Float[Tensor, "point token d"]) -> Float[Tensor, "point token head d_value"]:
        """Every head's output before the output projection."""
        if self.route == "interface":
            assert self.scoring is not None
            return heads_of(*self.pre(states), self.scoring)
        return self._capture_projection_input(states)

    def pre(self, states: Float[Tensor, "point token d"], **overrides: Any) -> Projections:
        """Queries, keys and values; `overrides` replace recorded keyword arguments of the block."""
        projections: Projections = self._capture(states, _projections_of, overrides)
        return projections

    def post(
        self,
        states: Float[Tensor, "point target d"],
        heads: Float[Tensor, "point target head d_value"],
        targets: Int[Tensor, " target"],
    ) -> Float[Tensor, "point target d"]:
        """The rest of the block, for some of its tokens."""
        if len(targets) == len(self.states):
            return self._run(states, heads)
        if self._understands_selections:
            return self._run(states, heads, targets)
        all_states = self.states.expand(len(states), -1, -1).clone()
        all_states[:, targets] = states
        assert self.heads is not None
        all_heads = self.heads.expand(len(heads), -1, -1, -1).clone()
        all_heads[:, targets] = heads
        return self._run(all_states, all_heads)[:, targets]

    @cached_property
    def _understands_selections(self) -> bool:
        """Whether `post` answers for some tokens alone, as it does for all; else all are run."""
        assert self.heads is not None
        kept = range(len(self.states)) if self._kept is None else self._kept.nonzero()[:, 0].tolist()
        some = torch.tensor([kept[-1], kept[0]], device=self.states.device)
        states, heads = self.states[some].expand(2, -1, -1), self.heads[some].expand(2, -1, -1, -1)
        with torch.no_grad():
            try:
                output = self._run(states, heads, some)
                return _relative(output.flatten(0, 1), self.output[some].repeat(2, 1)) <= self._allowed
            except FOREIGN:
                return False

    def as_loaded(
        self,
        states: Float[Tensor, "point token d"],
        change: Callable[[Float[Tensor, "point token head d_value"]], Tensor] | None = None,
    ) -> tuple[Float[Tensor, "point token head d_value"] | None, Float[Tensor, "point token d"]]:
        """Heads and output of the block as the model runs it, nothing captured; `change` may give it other heads.

        Masks, biases and scores are computed anew by the model's own code and its own attention function.
        """
        seen: list[Tensor] = []

        def see(heads: Tensor) -> Tensor:
            seen.append(heads)
            return heads if change is None else change(heads)

        with self._watching(states, see):
            output = self._run_as_loaded(states)
        if self.route != "definition" and (not seen or seen[0].shape[:2] != states.shape[:2] or seen[0].ndim != 4):
            raise SplitError("its heads are not seen while the model runs")
        return (seen[0] if seen else None), output

    def _run_as_loaded(self, states: Tensor) -> Tensor:
        if not self._plain:
            args, kwargs = self._filled(self._call, states, None)
            try:
                return _states_of(self.module(*args, **kwargs))
            except FOREIGN as failure:
                if self._call.masked is None or isinstance(failure, torch.OutOfMemoryError):
                    raise
                self._plain = True
                self.refused.append(f"its own attention function refuses: plain attention stands in ({_line(failure)})")
        args, kwargs = self._filled(self._call.masked or self._call, states, None)
        with intercepted(configurations(self.module)):
            return _states_of(self.module(*args, **kwargs))

    @contextmanager
    def _watching(self, states: Tensor, see: Callable[[Tensor], Tensor]) -> Iterator[None]:
        def see_flat(heads: Tensor) -> Tensor:
            return see(heads.reshape(*states.shape[:2], self._n_heads or 1, -1))

        if self.route == "interface":
            with observed(lambda own: see(own.heads())):
                yield
        elif self.route == "projection":
            with self._at_projection(states, see_flat):
                yield
        else:
            yield

    def retreat(self, reason: str) -> None:
        """Go on by the next route, since this one was found wrong.

        Raises
        ------
        SplitError
            If no route is left.
        """
        self.refused.append(f"{self.route}: {reason}")
        self._choose_route()

    # What closed forms and memory estimates ask for

    def key_norm_input(self) -> tuple[float, Float[Tensor, "group token d"]] | None:
        """Epsilon and input of the norm that keys pass through after their projection; None if there is none."""
        found = [
            (name, module)
            for name, module in self.module.named_modules()
            if name.rpartition(".")[2] in _KEY_NORMS and _epsilon(module) is not None
        ]
        if len(found) != 1:
            return None
        inputs: list[Tensor] = []
        handle = found[0][1].register_forward_pre_hook(own_calls(lambda _, args: inputs.append(args[0])))
        try:
            key = self.pre(self.states[None]).key
        finally:
            handle.remove()
        if len(inputs) != 1:
            return None
        vectors = inputs[0][0]
        if vectors.ndim == 3 and vectors.shape[:2] != key.shape[1:3]:
            vectors = vectors.transpose(0, 1)
        eps = _epsilon(found[0][1])
        assert eps is not None
        return eps, vectors if vectors.ndim == 3 else vectors[None]

    def norm_epsilons(self) -> list[float]:
        """Epsilons of the norms in the block, and the two usual ones for norms that keep theirs in their code."""
        found = {_epsilon(module) for module in self.module.modules() if not any(module.children())}
        return sorted({eps for eps in found if eps is not None} | {1e-5, 1e-6})

    def rotation(self, states: Float[Tensor, "point token d"]) -> Rotation | None:
        """Keys before positions are rotated in, for blocks that are handed cosines and sines; else None.

        Nothing is assumed of how they are applied but that keys are linear in them, elementwise; callers check.
        """
        embeddings = self._arguments(states, None)[1].get("position_embeddings")
        if not (
            isinstance(embeddings, tuple) and len(embeddings) == 2 and all(isinstance(e, Tensor) for e in embeddings)
        ):
            return None
        cos, sin = embeddings
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)

        def key(cos: Tensor, sin: Tensor) -> Tensor:
            return self.pre(states, position_embeddings=(cos, sin)).key

        passed = key(zero, zero)
        unrotated, turned = key(one, zero) - passed, key(zero, one) - passed
        # Which channel of the cosines multiplies which coordinate of a key is asked with counted cosines.
        count = torch.arange(1, cos.shape[-1] + 1, dtype=cos.dtype, device=cos.device).expand_as(cos)
        by_cos = _channel(key(count, zero) - passed, unrotated)
        by_sin = _channel(key(zero, count) - passed, turned)
        return Rotation(unrotated, turned, passed, cos[0][:, by_cos].to(passed), sin[0][:, by_sin].to(passed))

    def post_bytes(self) -> int:
        """Memory that one target's `post` keeps for its backward pass."""
        assert self.heads is not None
        n_rows = min(2, len(self.states))
        targets = torch.arange(n_rows, device=self.states.device)
        states = self.states[None, :n_rows].clone().requires_grad_()
        heads = self.heads[None, :n_rows].clone().requires_grad_()
        return _saved_bytes(lambda: self.post(states, heads, targets), self.module) // n_rows

    def post_bound(self) -> int:
        """Memory that one target's `post` keeps at most: what enters and leaves linear maps, and as much beside."""
        widths = sum(sum(weight.shape) for weight in self.module.parameters() if weight.ndim == 2)
        stacked = sum(len(weight) * sum(weight.shape[1:]) for weight in self.module.parameters() if weight.ndim > 2)
        return 2 * (widths + stacked) * self.states.element_size()

    def path_bytes(self) -> int:
        """Memory that one run of the block on all tokens keeps for its backward pass."""
        states = self.states[None].clone().requires_grad_()
        return _saved_bytes(lambda: self.whole(states), self.module)

    # Running the module

    def _run(self, states: Tensor, heads: Tensor, targets: Tensor | None = None) -> Tensor:
        """The block with its heads given, for all its tokens or some."""
        args, kwargs = self._arguments(states, targets)
        with (
            self._attending(lambda _: heads)
            if self.route == "interface"
            else self._at_projection(states, lambda _: heads)
        ):
            return _states_of(self.module(*args, **kwargs))

    @contextmanager
    def _attending(self, answer: Callable[[OwnCall | AttendCall], Tensor]) -> Iterator[None]:
        """Let `answer` stand for attention: the model's own where its masks are understood, else lignite's."""
        if self._call.masked is None:
            with observed(answer):
                yield
        else:
            with intercepted(configurations(self.module), answer):
                yield

    def _capture(self, states: Tensor, read: Callable[[Any], Any], overrides: dict[str, Any]) -> Any:
        """What `read` makes of the block's call of attention; the block is left there."""

        def leave(call: Any) -> Tensor:
            raise Captured(read(call))

        args, kwargs = self._arguments(states, None)
        try:
            with self._attending(leave):
                self.module(*args, **(kwargs | overrides))
        except Captured as captured:
            return captured.content
        raise SplitError("it does not use transformers' attention interface")

    def _capture_projection_input(self, states: Tensor) -> Tensor:
        def leave(heads: Tensor) -> Tensor:
            raise Captured(heads)

        args, kwargs = self._arguments(states, None)
        try:
            with self._at_projection(states, leave):
                self.module(*args, **kwargs)
        except Captured as captured:
            return captured.content.reshape(*states.shape[:2], self._n_heads, -1)
        raise SplitError("its output projection is not run")

    @contextmanager
    def _at_projection(self, states: Tensor, see: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Replace the input of the output projection by what `see` makes of it.

        A projection that also maps something else (shared relative embeddings) is met at its first call with one row
        per token.
        """
        assert self._projection is not None
        n_rows, met = states.shape[:2].numel(), False

        def meet(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            nonlocal met
            if met or inputs[0].shape[:-1].numel() != n_rows:
                return None
            met = True
            return see(inputs[0]).reshape(inputs[0].shape), *inputs[1:]

        handle = self._projection.register_forward_pre_hook(own_calls(meet))
        try:
            yield
        finally:
            handle.remove()

    def _arguments(self, states: Tensor, targets: Tensor | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        call = self._call if self.route != "interface" or self._call.masked is None else self._call.masked
        return self._filled(call, states, targets)

    def _filled(
        self, call: BlockCall, states: Tensor, targets: Tensor | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A recorded call with other states, for all its tokens or some."""
        n_tokens, n_points = len(self.states), len(states)
        args, kwargs = call.args, call.kwargs
        if self.model_dtype in HALF:
            args, kwargs = _convert(args, _to_float32), _convert(kwargs, _to_float32)
        if targets is not None:
            args, kwargs = (_convert(part, lambda tensor: _rows(tensor, n_tokens, targets)) for part in (args, kwargs))
        if self._tiled and n_points > 1:
            args, kwargs = (_convert(part, lambda tensor: _tile(tensor, n_points)) for part in (args, kwargs))
        if isinstance(call.states_at, int):
            return (states, *args[1:]), kwargs
        return args, {**kwargs, call.states_at: states}

    # Choosing and checking

    def _choose_route(self) -> None:
        with torch.no_grad():
            for route, attempt in list(self._attempts.items()):
                del self._attempts[route]
                self.route, self._tiled, self._projection = route, False, None
                self.heads, self.projections, self.scoring = None, None, None
                for name in ("error", "_understands_selections"):
                    self.__dict__.pop(name, None)
                try:
                    attempt()
                except (SplitError, *FOREIGN) as why:
                    self.refused.append(f"{route}: {_line(why)}")
                    continue
                return
        raise SplitError(
            f"Layer {self.layer} ({self.name}) cannot be replayed, so nothing said about it could be trusted. "
            f"{'; '.join(self.refused)}. Its call depends on something lignite does not record; please report it."
        )

    def _replay(self) -> None:
        """Run again, the block must say the same."""
        output, given = self.whole(self.states[None])[0], self._given
        if self._kept is not None:
            # What leaves a padding token that may look nowhere differs between attention implementations.
            given = torch.where(self._kept[:, None], given, output)
        tolerance = TOLERANCE[self.model_dtype]
        error = _relative(output, given)
        if not error <= tolerance:
            raise SplitError(f"differs from the block by {error:.1e} (allowed: {tolerance:.0e})")
        # Paths are followed in float32, so they end in float32: the output of a half-precision model was rounded.
        self.output = output if self.model_dtype in HALF else given

    def _try_whole(self) -> None:
        self._replay()
        self._check_batches(self.whole)

    def _try_interface(self) -> None:
        with self._noting_norms() as norms:
            call, heads = self._capture(self.states[None], _call_and_heads, {})
        self.norms_first = bool(norms)
        n_tokens = len(self.states)
        bias = call.scoring.bias
        if call.projections.key.shape[2] != n_tokens or call.projections.query.shape[2] != n_tokens:
            raise SplitError("its attention looks at other tokens than those of its states")
        if bias is not None:
            if bias.ndim != 3:
                raise SplitError(f"its attention bias has shape {list(bias.shape)}, not [1, head, target, source]")
            bias = bias.expand(-1, n_tokens, n_tokens)
        self.scoring = Scoring(call.scoring.scale, bias, call.scoring.softcap, call.scoring.sinks)
        self.projections, self.heads = call.projections, heads[0]
        if self.model_dtype in HALF:
            self._replay()
        if self._has_rows_of_its_own():
            alone = _by_token(self.projections.key)[0]
            pair = torch.cat([self._perturbed(), self.states[None]])
            self._tile_if_needed(lambda: _by_token(self.pre(pair).key)[1], alone)

    @contextmanager
    def _noting_norms(self) -> Iterator[list[nn.Module]]:
        """Norms of the block that run, by their names or their epsilon."""
        seen: list[nn.Module] = []
        norms = [part for part in self.module.modules() if "Norm" in type(part).__name__ or _epsilon(part) is not None]
        handles = [norm.register_forward_pre_hook(own_calls(lambda part, _: seen.append(part))) for norm in norms]
        try:
            yield seen
        finally:
            for handle in handles:
                handle.remove()

    def _has_rows_of_its_own(self) -> bool:
        """Whether something that the block is handed beside its states has more rows than one (ALiBi of every head)."""
        rows: list[int] = []

        def note(tensor: Tensor) -> Tensor:
            rows.append(len(tensor) if tensor.ndim > 2 else 1)
            return tensor

        _convert((self._call.args, self._call.kwargs), note)
        return any(number > 1 for number in rows)

    def _try_projection(self) -> None:
        if not self._n_heads:
            raise SplitError("the configuration does not say how many heads it has")
        if len(self.states) < 2:
            raise SplitError("one token alone does not show where tokens meet")
        self._replay()
        free = self.whole(self._perturbed())
        if _relative(free[0, self._others], self.output[self._others]) <= self._allowed:
            raise SplitError("its tokens never meet")
        for module, width in self._linear_inputs():
            if width % self._n_heads:
                continue
            self._projection = module
            held = self._capture_projection_input(self.states[None])
            met = self._capture_projection_input(self._perturbed())[0, self._others]
            if _relative(met, held[0, self._others]) <= self._allowed:
                continue  # tokens have not met yet
            moved = self._run(self._perturbed(), held)
            if _relative(moved[0, self._others], self.output[self._others]) <= self._allowed:
                self.heads = held[0]
                self._check_batches(self._capture_projection_input)
                return
        raise SplitError("no linear map was found after which each token is treated alone")

    def _linear_inputs(self) -> list[tuple[nn.Module, int]]:
        """Linear maps of the block that see one row per token, in the order in which they run."""
        seen: list[tuple[nn.Module, int]] = []

        def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if inputs and isinstance(inputs[0], Tensor) and inputs[0].shape[:-1].numel() == len(self.states):
                seen.append((module, inputs[0].shape[-1]))

        leaves = [
            module for module in self.module.modules() if getattr(getattr(module, "weight", None), "ndim", 0) == 2
        ]
        handles = [module.register_forward_pre_hook(own_calls(note)) for module in leaves]
        try:
            self.whole(self.states[None])
        finally:
            for handle in handles:
                handle.remove()
        return seen

    @property
    def _allowed(self) -> float:
        return TOLERANCE[self.states.dtype]

    def _check_batches(self, function: Callable[[Tensor], Tensor]) -> None:
        """Points side by side must not change each other."""
        pair = torch.cat([self.states[None], self._perturbed()])
        alone = torch.cat([function(states[None]) for states in pair]).flatten(0, 1)
        self._tile_if_needed(lambda: function(pair).flatten(0, 1), alone)

    def _tile_if_needed(self, together: Callable[[], Tensor], alone: Tensor) -> None:
        """Blocks with batch-major extras (ALiBi of every head) need these repeated for several points."""
        for self._tiled in (False, True):
            try:
                if _relative(together(), alone) <= self._allowed:
                    return
            except FOREIGN:
                continue
        raise SplitError("it gives different results for several inputs at once than for one")

    def _perturbed(self) -> Float[Tensor, "1 token d"]:
        """The states with their first token moved, which all that look back can see.

        It moves by noise of its own size: a constant would vanish in a norm.
        """
        # a seed of its own: noise along the state vanishes in a norm too, and weights may be draws from seed 0
        generator = torch.Generator("cpu").manual_seed(104_729)
        noise = torch.randn(self.states.shape[-1], generator=generator, dtype=torch.float64, device="cpu").to(
            self.states
        )
        moved = self.states.clone()
        moved[self._probe] += noise * moved[self._probe].std()
        return moved[None]


def _precision(call: BlockCall) -> torch.dtype:
    """What a block computes in: states kept in float32 (Mamba's) do not make half-precision weights exact."""
    half = (weight.dtype for weight in call.module.parameters() if weight.dtype in HALF)
    return next(half, call.states.dtype)


def _to_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in HALF else tensor


def _convert(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Apply `change` to every tensor in nested arguments."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_convert(part, change) for part in value))
    if isinstance(value, tuple | list):
        return type(value)(_convert(part, change) for part in value)
    if isinstance(value, dict):
        return {key: _convert(part, change) for key, part in value.items()}
    return value


def _rows(tensor: Tensor, n_tokens: int, targets: Tensor) -> Tensor:
    """Keep the chosen tokens along every axis of the tensor that counts tokens."""
    for axis in range(1, tensor.ndim):
        if tensor.shape[axis] == n_tokens:
            tensor = tensor.index_select(axis, targets)
    return tensor


def _tile(tensor: Tensor, n_points: int) -> Tensor:
    return tensor.repeat(n_points, *[1] * (tensor.ndim - 1)) if tensor.ndim > 1 else tensor


def _states_of(output: Any) -> Tensor:
    states = first_tensor(output)
    assert states is not None
    return states


def _projections_of(call: OwnCall | AttendCall) -> Projections:
    return call.projections if isinstance(call, AttendCall) else Projections(*call.args[1:4])


def _call_and_heads(call: OwnCall | AttendCall) -> tuple[AttendCall, Tensor]:
    if isinstance(call, AttendCall):
        return call, heads_of(*call.projections, call.scoring)
    if call.name not in READABLE:
        raise SplitError(
            f"its model runs on the attention function {call.name!r} alone, whose masks are not understood"
        )
    return call.attended(), call.heads()


def _line(failure: Exception) -> str:
    return (str(failure).splitlines() or [repr(failure)])[0]


def _relative(actual: Tensor, expected: Tensor) -> float:
    """Largest relative difference over tokens: the last axis is a token's vector."""
    actual, expected = actual.flatten(0, -2), expected.flatten(0, -2)
    size = torch.linalg.vector_norm(expected, dim=-1)
    error = torch.linalg.vector_norm(actual - expected, dim=-1) / torch.maximum(size, 1e-3 * size.max())
    return float(error.max()) if torch.isfinite(error).all() else float("inf")


def _by_token(projected: Float[Tensor, "point head token d"]) -> Float[Tensor, "point token any"]:
    return projected.transpose(1, 2).flatten(2)


def _epsilon(module: nn.Module) -> float | None:
    for name in ("eps", "variance_epsilon", "epsilon", "norm_eps"):
        value = getattr(module, name, None)
        if isinstance(value, float):
            return value
    return None


def _channel(counted: Tensor, once: Tensor) -> Int[Tensor, " d_key"]:
    """For every coordinate of a key, the channel of the cosines (or sines) that multiplies it."""
    once, counted = once.flatten(0, -2), counted.flatten(0, -2)
    clearest = once.abs().argmax(0, keepdim=True)
    content = once.gather(0, clearest)[0]
    ratio = counted.gather(0, clearest)[0] / torch.where(content == 0, torch.ones_like(content), content)
    return ratio.round().long().sub(1).clamp_min(0)


def _saved_bytes(run: Callable[[], Tensor], module: nn.Module) -> int:
    """Bytes autograd keeps of a run, weights not counted."""
    weights = {weight.untyped_storage().data_ptr() for weight in module.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        run()
    return sum(kept.values())


def block_of(model: Model, call: BlockCall, kept: Bool[Tensor, " token"] | None = None) -> RecordedBlock:
    """A recorded call as a block that the engine can take apart."""
    config = model.config
    n_heads = getattr(config, "num_attention_heads", None) or getattr(
        config.get_text_config(), "num_attention_heads", None
    )
    return RecordedBlock(call, n_heads if isinstance(n_heads, int) else None, kept)
