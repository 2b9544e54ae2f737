"""What a block is called with and what it returns: where its states stand, and the same for other tokens or points."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.utils import _pytree as pytree

from lignite.attribution.axes import RowStates, Targets
from lignite.errors import ModelError

Place = int | str
"""Where something stands among the arguments of a call: its number, or its keyword."""

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

# States


def find_states(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Place, Tensor] | None:
    """Find a block's states among its arguments: their place, and they; None if it takes none for one input."""
    place, value = (0, args[0]) if args else ("hidden_states", kwargs.get("hidden_states"))
    if isinstance(value, Tensor) and value.ndim in (3, 4) and value.dtype.is_floating_point and 1 in value.shape[:2]:
        return place, value
    return None


def put_argument(args: tuple[Any, ...], kwargs: dict[str, Any], place: Place, value: Any) -> Arguments:
    """Put something else at a place of a call."""
    if isinstance(place, int):
        return (*args[:place], value, *args[place + 1 :]), kwargs
    return args, {**kwargs, place: value}


def first_tensor(output: Any) -> Tensor | None:
    """Find a block's states among what it returns; None if there are none."""
    result = output[0] if isinstance(output, tuple | list) and output else output
    return result if isinstance(result, Tensor) else None


def read_states(output: Any) -> Tensor:
    """Read a block's states from what it returns."""
    states = first_tensor(output)
    if states is None:
        raise ModelError("a block returns no states; it cannot be explained.")
    return states


def put_states(output: Any, states: Shaped[Tensor, "..."]) -> Any:
    """Put other states into what a block returns."""
    return states if isinstance(output, Tensor) else pack_output(output, [states, *output[1:]])


def pack_output(output: Any, parts: Sequence[Any]) -> Any:
    """Pack parts into the kind of tuple or list that a block returns."""
    return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)


@dataclass(frozen=True)
class Layout:
    """A layout says how states lie in a tensor: which axis holds the rows, which the tokens, and the shape of what is
    left.
    """

    row: int
    token: int
    rest: tuple[int, ...]

    def read(self, tensor: Float[Tensor, "*layout"]) -> RowStates:
        """Read states as rows of tokens."""
        return tensor if self.is_plain else tensor.movedim((self.row, self.token), (0, 1)).flatten(2)

    def given(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], place: Place) -> RowStates:
        """Read what stands at a place of a call as rows of tokens."""
        return self.read(args[place] if isinstance(place, int) else kwargs[place])

    def write(self, states: RowStates) -> Tensor:
        """Write states into a tensor of this layout."""
        if self.is_plain:
            return states
        return states.unflatten(2, self.rest).movedim((0, 1), (self.row, self.token)).contiguous()

    @property
    def is_plain(self) -> bool:
        """Whether the tensor is ``[row, token, d]``, as everything that takes a block apart expects."""
        return (self.row, self.token, len(self.rest)) == (0, 1, 1)


def layout_of(shape: tuple[int, ...], n_tokens: int | None) -> Layout | None:
    """Tell how the states of one row lie in a tensor of this shape; None if they do not.

    Examples
    --------
    >>> layout_of((1, 7, 16), 7), layout_of((4, 1, 7, 16), 7), layout_of((7, 1, 16), 7)
    (Layout(row=0, token=1, rest=(16,)), Layout(row=1, token=2, rest=(4, 16)), Layout(row=1, token=0, rest=(16,)))
    """
    usual = len(shape) == 3 and shape[0] == 1
    for row, token in ((0, 1), (1, 2), (1, 0), (0, 2)) if len(shape) in (3, 4) else ():
        if shape[row] == 1 and shape[token] == n_tokens:
            return Layout(row, token, tuple(size for axis, size in enumerate(shape) if axis not in (row, token)))
    return Layout(0, 1, shape[2:]) if usual else None


# Every tensor among them


def change_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Apply `change` to every tensor in nested arguments."""
    return pytree.tree_map_only(Tensor, change, value)


def keep_tokens(tensor: Shaped[Tensor, "..."], n_tokens: int, targets: Targets) -> Tensor:
    """Keep the chosen tokens along every axis of a tensor that counts tokens.

    Examples
    --------
    >>> keep_tokens(torch.zeros(1, 7, 7, 4), 7, torch.tensor([2, 5])).shape
    torch.Size([1, 2, 2, 4])
    """
    for axis in range(1, tensor.ndim):
        if tensor.shape[axis] == n_tokens:
            tensor = tensor.index_select(axis, targets)
    return tensor


def tile_points(tensor: Shaped[Tensor, "..."], n_points: int) -> Tensor:
    """Repeat a tensor once for every point, where it has rows at all."""
    return tensor.repeat(n_points, *[1] * (tensor.ndim - 1)) if tensor.ndim > 1 else tensor


# Some points of several


class UnclearError(Exception):
    """An argument does not say which of its axes holds the points."""


def pick_points(arguments: Any, known: Sequence[Any], some: slice, n_rows: int, n_points: int) -> Any:
    """Pick the arguments of some points, of which no copy is made: an axis that grew with the points is theirs.

    `known` are the sizes (`sizes_of`) of the same arguments for `n_rows` rows.

    Raises
    ------
    UnclearError
        If a tensor does not say which axis that is.
    """
    leaves, spec = pytree.tree_flatten(arguments)
    if len(known) != len(leaves):
        raise UnclearError
    picked = [
        _picked(leaf, shape, some, n_rows, n_points) if isinstance(leaf, Tensor) else leaf
        for leaf, shape in zip(leaves, known, strict=True)
    ]
    return pytree.tree_unflatten(picked, spec)


def put_points(whole: Any, part: Any, some: slice, n_points: int) -> Any:
    """Put what a block returned for some points among what stands in for the others."""
    kept, spec = pytree.tree_flatten(whole)
    new, _ = pytree.tree_flatten(part)
    if len(kept) != len(new):
        raise UnclearError
    merged = [
        _put(before, after, some, n_points) if isinstance(before, Tensor) and isinstance(after, Tensor) else before
        for before, after in zip(kept, new, strict=True)
    ]
    return pytree.tree_unflatten(merged, spec)


def _picked(leaf: Shaped[Tensor, "..."], known: Any, some: slice, n_rows: int, n_points: int) -> Tensor:
    if known is None:
        raise UnclearError
    found = _axis_of_points(known, leaf.shape, n_rows, n_points)
    if found is None:
        return leaf
    axis, times = found
    return leaf.narrow(axis, some.start * times, (some.stop - some.start) * times)


def _put(before: Shaped[Tensor, "..."], after: Shaped[Tensor, "..."], some: slice, n_points: int) -> Tensor:
    n_some = some.stop - some.start
    if after.ndim and after.shape[0] == 1 < n_some and before.shape[0] == n_points:  # the same for all points
        after = after.expand(n_some, *after.shape[1:])
    if n_some == n_points:
        return after
    found = _axis_of_points(after.shape, before.shape, n_some, n_points)
    if found is None:
        return after
    axis, times = found
    first, last = some.start * times, some.stop * times
    parts = before.narrow(axis, 0, first), after.to(before.dtype), before.narrow(axis, last, n_points * times - last)
    return torch.cat([part for part in parts if part.shape[axis]], axis)


def _axis_of_points(known: Sequence[int], shape: Sequence[int], n_rows: int, n_points: int) -> tuple[int, int] | None:
    """Find the axis of a tensor that holds points, and how often it holds each; None if none does.

    `known` is its shape for `n_rows` rows: an axis that grew with them holds them.
    """
    if len(known) != len(shape):
        raise UnclearError
    if n_rows == n_points:
        raise UnclearError
    grown = [axis for axis, (old, new) in enumerate(zip(known, shape, strict=True)) if old != new]
    if not grown:
        return None
    (axis, *more) = grown
    if more or known[axis] % n_rows or known[axis] // n_rows * n_points != shape[axis]:
        raise UnclearError
    return axis, known[axis] // n_rows
