"""Relevance propagation by gradients: products, norms and activations let relevance through as AttnLRP's rules say."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as nnf
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

Elementwise = Callable[[Tensor], Tensor]


class Propagation(TorchFunctionMode):
    """What is computed inside has the values it has anyway, and gradients by AttnLRP's rules (docs/method.md).

    Times the input, they are its relevance. Norms are divided by a constant, activations multiply their input by one,
    and a product of two things that depend on the input gives each of them half of the gradient.

    Examples
    --------
    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> with Propagation():
    ...     (x * x).backward()
    >>> (x.grad * x).item()
    9.0
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        rule = _RULES.get(function)
        if rule is None or not torch.is_grad_enabled():
            return function(*args, **kwargs)
        return rule(function, *args, **kwargs)


def of_activation(
    function: Elementwise, input: Float[Tensor, "*axes"], value: Float[Tensor, "*axes"]
) -> Float[Tensor, "*axes"]:
    """Give the value of an element-wise function the gradient of its secant from zero: how steeply it got there."""
    with torch.no_grad():
        secant = (value - function(torch.zeros_like(input))) / input
    nothing = input == 0
    if bool(nothing.any()):
        with torch.enable_grad():
            zero = torch.zeros_like(input).requires_grad_()
            (slope,) = torch.autograd.grad(function(zero).sum(), zero)
        secant = torch.where(nothing, slope, secant)
    return _valued(value, input * secant)


def _valued(value: Float[Tensor, "*axes"], followed: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Return a value to the bit, with the gradient of something else."""
    return value.detach() + (followed - followed.detach())


def _activation(
    function: Callable[..., Tensor], input: Float[Tensor, "*axes"], *args: Any, **kwargs: Any
) -> Float[Tensor, "*axes"]:
    if not input.requires_grad:
        return function(input, *args, **kwargs)
    kwargs.pop("inplace", None)

    def same(other: Float[Tensor, "*axes"]) -> Tensor:
        return function(other, *args, **kwargs)

    return of_activation(same, input, same(input))


def _scale(function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """Return the size of states, by which norms divide, as a constant."""
    return function(*args, **kwargs).detach()


def _layer_norm(
    function: Callable[..., Tensor],
    input: Float[Tensor, "*axes"],
    normalized_shape: Sequence[int],
    weight: Float[Tensor, "*last"] | None = None,
    bias: Float[Tensor, "*last"] | None = None,
    eps: float = 1e-5,
) -> Float[Tensor, "*axes"]:
    value = function(input, normalized_shape, weight, bias, eps)
    dims = tuple(range(-len(normalized_shape), 0))
    return _divided(value, input - input.mean(dims, keepdim=True), dims, weight, eps)


def _rms_norm(
    function: Callable[..., Tensor],
    input: Float[Tensor, "*axes"],
    normalized_shape: Sequence[int],
    weight: Float[Tensor, "*last"] | None = None,
    eps: float | None = None,
) -> Float[Tensor, "*axes"]:
    value = function(input, normalized_shape, weight, eps)
    dims = tuple(range(-len(normalized_shape), 0))
    return _divided(value, input, dims, weight, torch.finfo(input.dtype).eps if eps is None else eps)


def _divided(
    value: Float[Tensor, "*axes"],
    states: Float[Tensor, "*axes"],
    dims: tuple[int, ...],
    weight: Float[Tensor, "*last"] | None,
    eps: float,
) -> Float[Tensor, "*axes"]:
    scale = (states.detach().square().mean(dims, keepdim=True) + eps).rsqrt()
    return _valued(value, states * scale if weight is None else states * scale * weight)


def _unit_length(
    function: Callable[..., Tensor],
    input: Float[Tensor, "*axes"],
    p: float = 2.0,
    dim: int = 1,
    eps: float = 1e-12,
    **kwargs: Any,
) -> Float[Tensor, "*axes"]:
    length = input.detach().norm(p, dim, keepdim=True).clamp_min(eps)
    return _valued(function(input, p, dim, eps, **kwargs), input / length)


def _product(function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """Share the gradient of a product equally among those of its factors that depend on the input."""
    n_moving = sum(factor.requires_grad for factor in _tensors((*args, *kwargs.values())))
    product = function(*args, **kwargs)
    if n_moving > 1:
        product.register_hook(lambda gradient: gradient / n_moving)
    return product


def _tensors(args: Sequence[Any]) -> Iterator[Tensor]:
    for each in args:
        if isinstance(each, Tensor):
            yield each
        elif isinstance(each, list | tuple):
            yield from _tensors(each)


def _added_product(function: Callable[..., Tensor], input: Float[Tensor, "*some"], *args: Any, **kwargs: Any) -> Tensor:
    """Share as a product does; what the product is added to has its own gradient."""
    n_moving = sum(factor.requires_grad for factor in _tensors((*args, *kwargs.values())))
    share = 1 / max(1, n_moving)
    factors = [_passing(each, share) for each in args]
    return function(input, *factors, **{name: _passing(each, share) for name, each in kwargs.items()})


def _power(function: Callable[..., Tensor], input: Any, exponent: Any) -> Tensor:
    """Return a power: one below zero is a size that a norm divides by."""
    power = function(input, exponent)
    return power.detach() if isinstance(exponent, int | float) and exponent < 0 else power


def _attention(
    function: Callable[..., Tensor],
    query: Float[Tensor, "*rows head target d"],
    key: Float[Tensor, "*rows group source d"],
    value: Float[Tensor, "*rows group source d_value"],
    *args: Any,
    **kwargs: Any,
) -> Float[Tensor, "*rows head target d_value"]:
    """Share as two products do, queries with keys and their softmax with values; the softmax has its own gradient."""
    weighed = 0.5 if (query.requires_grad or key.requires_grad) and value.requires_grad else 1.0
    met = 0.5 if query.requires_grad and key.requires_grad else 1.0
    query, key = _passing(query, weighed * met), _passing(key, weighed * met)
    return function(query, key, _passing(value, weighed), *args, **kwargs)


def _passing(states: Any, share: float) -> Any:
    """Return the same states, which let a share of the gradient through; what does not move, as it is."""
    if share == 1 or not isinstance(states, Tensor) or not states.requires_grad:
        return states
    same = states.view_as(states)
    same.register_hook(lambda gradient: gradient * share)
    return same


_ACTIVATIONS = (
    nnf.gelu, nnf.silu, nnf.mish, nnf.hardswish, nnf.elu, nnf.celu, nnf.selu, nnf.softplus, nnf.logsigmoid,
    nnf.hardtanh, nnf.relu6, nnf.tanh, torch.tanh, Tensor.tanh, nnf.sigmoid, torch.sigmoid, Tensor.sigmoid,
)  # fmt: skip
"""Without those that are straight on either side of zero: there the gradient is the secant."""
_SCALES = (
    torch.sqrt, Tensor.sqrt, torch.rsqrt, Tensor.rsqrt, torch.norm, Tensor.norm, torch.linalg.norm,
    torch.linalg.vector_norm,
)  # fmt: skip
_PRODUCTS = (
    torch.mul, torch.multiply, Tensor.mul, Tensor.multiply, Tensor.mul_, Tensor.__mul__, Tensor.__rmul__,
    Tensor.__imul__, torch.matmul, Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__, torch.mm, Tensor.mm,
    torch.bmm, Tensor.bmm, torch.einsum, nnf.linear,
)  # fmt: skip
_ADDED_PRODUCTS = (torch.addmm, Tensor.addmm, torch.baddbmm, Tensor.baddbmm, torch.addcmul, Tensor.addcmul)
_RULES: dict[Any, Callable[..., Tensor]] = {
    **dict.fromkeys(_ACTIVATIONS, _activation),
    **dict.fromkeys(_SCALES, _scale),
    **dict.fromkeys(_PRODUCTS, _product),
    **dict.fromkeys(_ADDED_PRODUCTS, _added_product),
    **dict.fromkeys((torch.pow, Tensor.pow, Tensor.__pow__), _power),
    nnf.layer_norm: _layer_norm,
    nnf.rms_norm: _rms_norm,
    nnf.normalize: _unit_length,
    nnf.scaled_dot_product_attention: _attention,
}
