"""What a forward pass returns, in whatever shape: its named parts, its logits, and what belongs to one row of it."""

import copy
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from lignite.errors import LigniteError, OptionError
from lignite.models.hold import first_line


def part_of(outputs: Any, name: str) -> Any:
    """Find a named part of what a model returned, None where it has none: an attribute, or an entry of a dictionary."""
    return outputs.get(name) if isinstance(outputs, Mapping) else getattr(outputs, name, None)


def logits_of(outputs: Any) -> Tensor | None:
    """Find the logits: those so named, else the tensor returned first or alone; None where nothing else is named."""
    named = part_of(outputs, "logits")
    if named is not None:
        return named if isinstance(named, Tensor) else None
    first = outputs[0] if isinstance(outputs, tuple | list) and outputs else outputs
    return first if isinstance(first, Tensor) and first.dtype.is_floating_point else None


def row_of(outputs: Any, row: int, n_rows: int) -> Any:
    """Cut out what the model would have returned for one row of a batch: tensors with an axis of rows keep that row.

    Nested tuples, dictionaries and plain objects keep their kind, so that a function of the output finds what it would
    find for this input alone.
    """
    if n_rows == 1:
        return outputs
    return pytree.tree_map(lambda part: _row_of_part(part, row, n_rows), outputs)


def _row_of_part(part: Any, row: int, n_rows: int) -> Any:
    if isinstance(part, Tensor):
        return part[row : row + 1] if part.ndim and len(part) == n_rows else part
    held = getattr(part, "__dict__", None)
    if not held or not any(isinstance(value, Tensor) for value in held.values()):
        return part
    single = copy.copy(part)
    single.__dict__.update({name: _row_of_part(value, row, n_rows) for name, value in held.items()})
    return single


def tensors_of(outputs: Any) -> list[Tensor]:
    """List every tensor of decimals in what a model returned, in one order for one model."""
    found = []
    for part in pytree.tree_leaves(outputs):
        held = [part] if isinstance(part, Tensor) else list(getattr(part, "__dict__", {}).values())
        found += [each for each in held if isinstance(each, Tensor) and each.dtype.is_floating_point]
    return found


def cut_to(outputs: Any, sizes: Any) -> Any:
    """Cut every axis of outputs but the rows' to what the untouched model returned (`sizes_of`).

    Parts that it did not return, such as attention asked for beside them, stay as they are.
    """
    if isinstance(outputs, Mapping) and isinstance(sizes, dict):
        kept = {name: cut_to(part, sizes[name]) if name in sizes else part for name, part in outputs.items()}
        return type(outputs)(**kept) if is_dataclass(outputs) else kept
    leaves, form = pytree.tree_flatten(outputs)
    if isinstance(sizes, dict) or len(leaves) != len(sizes):
        return outputs
    return pytree.tree_unflatten([_cut(leaf, size) for leaf, size in zip(leaves, sizes, strict=True)], form)


def sizes_of(outputs: Any) -> Any:
    """List the shapes of every tensor that a model returned or is given, by name where it gives names."""
    if isinstance(outputs, Mapping):
        return {name: sizes_of(part) for name, part in outputs.items()}
    return [tuple(leaf.shape) if isinstance(leaf, Tensor) else None for leaf in pytree.tree_leaves(outputs)]


def _cut(leaf: Any, size: tuple[int, ...] | None) -> Any:
    if not isinstance(leaf, Tensor) or size is None or leaf.ndim != len(size):
        return leaf
    return leaf[(slice(None), *(slice(0, length) for length in size[1:]))]


def each_row(function: Any, outputs: Any, n_rows: int) -> list[Any]:
    """Apply a user's function to every row's own outputs.

    Raises
    ------
    OptionError
        If the function fails, or returns anything but one number for an input.
    """
    found = []
    for row in range(n_rows):
        try:
            value = function(row_of(outputs, row, n_rows))
        except (LigniteError, MemoryError):
            raise
        except Exception as error:  # whatever somebody's function raises
            raise OptionError(
                f"the target function failed on what the model returns ({type(error).__name__}: "
                f"{first_line(error)}); it is given the output for one input, {described(outputs)}."
            ) from error
        found.append(value)
    return found


def described(outputs: Any) -> str:
    """Name kind and parts of an output, for messages."""
    if isinstance(outputs, Tensor):
        return f"a tensor of shape {tuple(outputs.shape)}"
    names = [str(name) for name in outputs] if isinstance(outputs, Mapping) else []
    return f"a {type(outputs).__name__}" + (f" with {', '.join(names)}" if names else "")
