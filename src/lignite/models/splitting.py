"""Split a recorded block into pre, attend and post, and check the split against the block's own output."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lignite.attribution.attend import Scoring, heads_of
from lignite.attribution.block import Projections, Rotation
from lignite.errors import SplitError
from lignite.models.attention import AttendCall, Captured, configurations, intercepted, observed, own_calls
from lignite.models.failures import FOREIGN
from lignite.models.loading import Model
from lignite.models.recording import BlockCall, first_tensor

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

    Half-precision blocks are copied to float32 first; others are used in place. Use it inside `at_rest`.

    Attributes
    ----------
    route
        ``"interface"``: split at transformers' attention interface. ``"projection"``: split at the input of the output
        projection, for blocks with attention of their own. ``"definition"``: no split, `whole` alone.
    error
        Largest relative difference between the chosen route and the model's own output, over tokens.
    refused
        Why better routes were refused, one line each.
    """

    heads: Float[Tensor, "token head d_value"] | None = None
    projections: Projections | None = None
    scoring: Scoring | None = None

    def __init__(self, call: BlockCall, n_heads: int | None, kept: Bool[Tensor, " token"] | None = None):
        self.layer, self.name = call.layer, call.name
        self.model_dtype = _precision(call)
        self.module, self._call = call.module, call
        if self.model_dtype in HALF:
            self.module = copy.deepcopy(call.module).float().eval()
        self._configs = configurations(self.module)
        self.states = _to_float32(call.states)
        self.output = self._given = _to_float32(call.output)
        self._tiled = False
        self._aligned = False
        self._projection: nn.Module | None = None
        self._n_heads = n_heads
        self._kept = None if kept is None or bool(kept.all()) else kept
        self._probe = 0 if kept is None else int(kept.nonzero()[0, 0])
        self._others = torch.arange(len(self.states), device=self.states.device) != self._probe
        self.refused: list[str] = []
        self._attempts = {
            "interface": self._try_interface, "projection": self._try_projection, "definition": self._try_whole
        }  # fmt: skip
        self.route, self.error = self._choose_route()

    @property
    def n_heads(self) -> int:
        return 0 if self.heads is None else self.heads.shape[1]

    # The functions of the block

    def whole(self, states: Float[Tensor, "point token d"]) -> Float[Tensor, "point token d"]:
        """The block itself, on the attention it was loaded with; on plain softmax attention where it is split there."""
        return self._run(states)

    def attention(self, states: Float[Tensor, "point token d"]) -> Float[Tensor, "point token head d_value"]:
        """Every head's output before the output projection."""
        if self.route == "interface":
            assert self.scoring is not None
            return heads_of(*self.pre(states), self.scoring)
        return self._capture_projection_input(states)

    def pre(self, states: Float[Tensor, "point token d"], **overrides: Any) -> Projections:
        """Queries, keys and values; `overrides` replace recorded keyword arguments of the block."""
        return self._capture_call(states, overrides).projections

    def post(
        self,
        states: Float[Tensor, "point target d"],
        heads: Float[Tensor, "point target head d_value"],
        targets: Int[Tensor, " target"],
    ) -> Float[Tensor, "point target d"]:
        """The rest of the block, for some of its tokens."""
        n_tokens = len(self.states)
        if not self._aligned or _is_all(targets, n_tokens):
            return self._run(states, heads=heads, targets=targets)
        all_states = self.states.expand(len(states), -1, -1).clone()
        all_states[:, targets] = states
        assert self.heads is not None
        all_heads = self.heads.expand(len(heads), -1, -1, -1).clone()
        all_heads[:, targets] = heads
        return self._run(all_states, heads=all_heads)[:, targets]

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

        args, kwargs = self._filled(self._call, states, None)
        with self._watching(states, see):
            output = first_tensor(self.module(*args, **kwargs))
        assert output is not None
        if self.route != "definition" and (not seen or seen[0].shape[:2] != states.shape[:2] or seen[0].ndim != 4):
            raise SplitError("its heads are not seen while the model runs")
        return (seen[0] if seen else None), output

    @contextmanager
    def _watching(self, states: Tensor, see: Callable[[Tensor], Tensor]) -> Iterator[None]:
        def see_flat(heads: Tensor) -> Tensor:
            return see(heads.reshape(*states.shape[:2], self._n_heads or 1, -1))

        if self.route == "interface":
            with observed(see):
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
        self.route, self.error = self._choose_route()

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

    def path_bytes(self) -> int:
        """Memory that one run of the block on all tokens keeps for its backward pass."""
        states = self.states[None].clone().requires_grad_()
        return _saved_bytes(lambda: self.whole(states), self.module)

    # Running the module

    def _run(self, states: Tensor, heads: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        args, kwargs = self._arguments(states, targets)
        if self.route == "interface":
            with intercepted(self._configs, None if heads is None else lambda _: heads):
                output = self.module(*args, **kwargs)
        elif heads is None:
            output = self.module(*args, **kwargs)
        else:
            with self._at_projection(states, lambda _: heads):
                output = self.module(*args, **kwargs)
        result = first_tensor(output)
        assert result is not None
        return result

    def _capture_call(self, states: Tensor, overrides: dict[str, Any]) -> AttendCall:
        def leave(call: AttendCall) -> Tensor:
            raise Captured(call)

        args, kwargs = self._arguments(states, None)
        try:
            with intercepted(self._configs, leave):
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
        if targets is not None and not _is_all(targets, n_tokens):
            args, kwargs = (_convert(part, lambda tensor: _rows(tensor, n_tokens, targets)) for part in (args, kwargs))
        if self._tiled and n_points > 1:
            args, kwargs = (_convert(part, lambda tensor: _tile(tensor, n_points)) for part in (args, kwargs))
        if isinstance(call.states_at, int):
            return (states, *args[1:]), kwargs
        return args, {**kwargs, call.states_at: states}

    # Choosing and checking

    def _choose_route(self) -> tuple[str, float]:
        tolerance = TOLERANCE[self.model_dtype]
        with torch.no_grad():
            for route, attempt in list(self._attempts.items()):
                del self._attempts[route]
                self.route, self._aligned, self._tiled, self._projection = route, False, False, None
                self.heads, self.projections, self.scoring = None, None, None
                try:
                    error = attempt()
                except (SplitError, *FOREIGN) as failure:
                    reason = str(failure).splitlines() or [repr(failure)]
                    self.refused.append(f"{route}: {reason[0]}")
                    continue
                if error <= tolerance:
                    return route, error
                self.refused.append(f"{route}: differs from the block by {error:.1e} (allowed: {tolerance:.0e})")
        raise SplitError(
            f"Layer {self.layer} ({self.name}) cannot be replayed, so nothing said about it could be trusted. "
            f"{'; '.join(self.refused)}. Its call depends on something lignite does not record; please report it."
        )

    def _replay(self) -> float:
        output = self.whole(self.states[None])[0]
        given = self._given
        if self._kept is not None:
            # What leaves a padding token that may look nowhere differs between attention implementations.
            given = torch.where(self._kept[:, None], given, output)
        # Paths are followed in float32, so they end in float32: the output of a half-precision model was rounded.
        self.output = output if self.model_dtype in HALF else given
        return _relative(output, given)

    def _try_whole(self) -> float:
        error = self._replay()
        self._check_batches(self.whole)
        return error

    def _try_interface(self) -> float:
        if self._call.masked is None:
            raise SplitError("its model runs on attention functions of its own alone")
        call = self._capture_call(self.states[None], {})
        n_tokens = len(self.states)
        bias = call.scoring.bias
        if call.projections.key.shape[2] != n_tokens or call.projections.query.shape[2] != n_tokens:
            raise SplitError("its attention looks at other tokens than those of its states")
        if bias is not None:
            if bias.ndim != 3:
                raise SplitError(f"its attention bias has shape {list(bias.shape)}, not [1, head, target, source]")
            bias = bias.expand(-1, n_tokens, n_tokens)
        self.scoring = Scoring(call.scoring.scale, bias, call.scoring.softcap, call.scoring.sinks)
        self.projections = call.projections
        self.heads = heads_of(*call.projections, self.scoring)[0]
        # Padding and half precision make the recorded output another than this route's own, which it is then held to.
        own = self._kept is not None or self.model_dtype in HALF
        error = self._replay() if own else 0.0
        self._check_pre(call.projections)
        return max(error, self._check_post())

    def _check_pre(self, projections: Projections) -> None:
        """Points side by side must not change each other, nor tokens each other."""
        pair = torch.cat([self._perturbed(), self.states[None]])
        self._tile_if_needed(lambda: _by_token(self.pre(pair).key)[1], _by_token(projections.key)[0])
        for alone, together in zip(projections, self.pre(pair), strict=True):
            expected, given = _by_token(alone)[0], _by_token(together)
            _equal(given[1], expected, "several points at once change its queries, keys or values", self._allowed)
            if len(self.states) > 1:
                rows = given[0, self._others], expected[self._others]
                _equal(*rows, "a token's query, key or value depends on other tokens", self._allowed)

    def _try_projection(self) -> float:
        if not self._n_heads:
            raise SplitError("the configuration does not say how many heads it has")
        if len(self.states) < 2:
            raise SplitError("one token alone does not show where tokens meet")
        error = self._replay()
        free = self._run(self._perturbed())
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
            moved = self._run(self._perturbed(), heads=held)
            if _relative(moved[0, self._others], self.output[self._others]) <= self._allowed:
                self.heads = held[0]
                self._check_batches(self._capture_projection_input)
                return max(error, self._check_post())
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
            self._run(self.states[None])
        finally:
            for handle in handles:
                handle.remove()
        return seen

    def _check_post(self) -> float:
        """Post must rebuild the output, treat tokens alone, and do so for any selection of them and several points."""
        assert self.heads is not None
        n_tokens = len(self.states)
        everyone = torch.arange(n_tokens, device=self.states.device)
        error = self._difference(self.post(self.states[None], self.heads[None], everyone)[0])
        if n_tokens == 1:
            return error
        some = everyone[[n_tokens - 1, self._probe]]
        expected = self.output[some].repeat(2, 1)

        def rebuild() -> Tensor:
            assert self.heads is not None
            return self.post(self.states[some].expand(2, -1, -1), self.heads[some].expand(2, -1, -1, -1), some).flatten(
                0, 1
            )

        try:
            self._aligned = not _relative(rebuild(), expected) <= self._allowed
        except FOREIGN:
            self._aligned = True
        if self._aligned:
            # Selected tokens alone are not understood, so all are run: then it must be seen that others do not matter.
            _equal(rebuild(), expected, "several points at once change the result", self._allowed)
            moved = self.post(self._perturbed(), self.heads[None], everyone)[0, self._others]
            complaint = "with its heads held fixed, a token still depends on others"
            _equal(moved, self.output[self._others], complaint, self._allowed)
        return error

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
        generator = torch.Generator().manual_seed(104_729)
        noise = torch.randn(self.states.shape[-1], generator=generator, dtype=torch.float64).to(self.states)
        moved = self.states.clone()
        moved[self._probe] += noise * moved[self._probe].std()
        return moved[None]

    def _difference(self, output: Tensor) -> float:
        return _relative(output, self.output)


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


def _is_all(targets: Tensor, n_tokens: int) -> bool:
    return len(targets) == n_tokens and bool((targets == torch.arange(n_tokens, device=targets.device)).all())


def _relative(actual: Tensor, expected: Tensor) -> float:
    """Largest relative difference over tokens: the last axis is a token's vector."""
    actual, expected = actual.flatten(0, -2), expected.flatten(0, -2)
    size = torch.linalg.vector_norm(expected, dim=-1)
    error = torch.linalg.vector_norm(actual - expected, dim=-1) / torch.maximum(size, 1e-3 * size.max())
    return float(error.max()) if torch.isfinite(error).all() else float("inf")


def _equal(actual: Tensor, expected: Tensor, complaint: str, allowed: float) -> None:
    error = _relative(actual, expected)
    if not error <= allowed:
        raise SplitError(f"{complaint} (by {error:.1e})")


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
