"""Of a block's experts, those that tokens are sent to: they are read when they are, and stand in the place of all."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor, nn


class ByExpert(NamedTuple):
    """Of these weights, by their names in the network, what belongs to one expert can be read alone.

    Attributes
    ----------
    read
        Reads it, by the weight's name and the expert's number.
    """

    weights: frozenset[str]
    read: Callable[[str, int], Tensor]


class _Held:
    """These experts are in memory; their parts of each weight are rows of a tensor, in ascending order.

    Attributes
    ----------
    rows
        Whose row each one is. Where all have one, those of experts that are not here are empty.
    """

    def __init__(self, rows: Sequence[int], weights: Mapping[str, Tensor]):
        self.rows, self.weights = rows, weights
        self.here: set[int] = set()

    def put(self, number: int, parts: Mapping[str, Tensor]) -> None:
        for name, part in parts.items():
            # graphs refuse tensors that were written to since, and may have this one: no row of theirs changes
            self.weights[name].data[self.rows.index(number)] = part
        self.here.add(number)

    def part(self, name: str, number: int) -> Tensor:
        return self.weights[name][self.rows.index(number)]


class Experts:
    """The forward of a module of experts: those that its tokens are sent to are read, and are all that it has.

    transformers' code for experts, whichever of its ways is chosen, touches only those that tokens are sent to. With
    fewer experts under other numbers, in the same order, it does the same arithmetic.

    Attributes
    ----------
    names
        The module's names of its weights, and the network's.
    held
        Experts stay once they were visited, until somebody lets go of them.
    """

    def __init__(self, module: nn.Module, n_experts: int, names: Mapping[str, str], read: Callable[[str, int], Tensor]):
        self.module, self.n_experts, self.names, self._read = module, n_experts, names, read
        self.held: _Held | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        choices = [each for each in (*args, *kwargs.values()) if _tells_experts(each)]
        held = self.hold(self._visited(choices))
        if len(held.rows) == self.n_experts:
            return self._run(held, args, kwargs)
        (chosen,) = choices
        numbers = torch.searchsorted(torch.tensor(held.rows, device=chosen.device), chosen).to(chosen.dtype)
        renumbered = [numbers if each is chosen else each for each in args]
        return self._run(held, renumbered, {key: numbers if each is chosen else each for key, each in kwargs.items()})

    def _visited(self, choices: list[Tensor]) -> Iterable[int]:
        """List the experts that tokens are sent to; all, where that is not one tensor of their numbers."""
        if len(choices) == 1 and not torch._C._functorch.is_batchedtensor(choices[0]):  # torch.vmap hides the numbers
            found: list[int] = choices[0].unique().tolist()
            if found and found[0] >= 0 and found[-1] < self.n_experts:
                return found
        return range(self.n_experts)

    def _run(self, held: _Held, args: Iterable[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run a light copy of the module that has these experts: others may be running the module itself."""
        module = object.__new__(type(self.module))
        vars(module).update(vars(self.module), training=self.module.training, num_experts=len(held.rows))
        vars(module)["_parameters"] = dict(held.weights)
        vars(module).pop("forward", None)
        return module.forward(*args, **kwargs)

    def hold(self, numbers: Iterable[int]) -> _Held:
        """Hold at least these experts, in the precision of what stands in their weights' places."""
        before, asked = self.held, set(numbers)
        fits = before is not None and all(weight.dtype == self._dtype(name) for name, weight in before.weights.items())
        if before is not None and fits and asked <= before.here:
            return before
        asked |= set() if before is None else before.here
        held = before if before is not None and fits and len(before.rows) == self.n_experts else None
        with torch.inference_mode(False), torch.no_grad():
            for number in sorted(asked if held is None else asked - held.here):
                if before is not None and number in before.here:
                    parts = {name: before.part(name, number) for name in self.names}
                else:
                    parts = {name: self._read(key, number) for name, key in self.names.items()}
                held = self._laid_out(parts, asked) if held is None else held
                held.put(number, parts)
        assert held is not None
        self.held = held
        return held

    def _laid_out(self, parts: Mapping[str, Tensor], asked: Iterable[int]) -> _Held:
        """Make room for experts of which one has these parts.

        A processor's memory is taken when it is written to: there, all have room, and what comes later moves nothing.
        """
        if all(part.device.type == "cpu" for part in parts.values()):
            try:
                return self._room(range(self.n_experts), parts)
            except RuntimeError:  # some systems promise no more memory than they have
                pass
        return self._room(sorted(asked), parts)

    def _room(self, rows: Sequence[int], parts: Mapping[str, Tensor]) -> _Held:
        return _Held(
            rows,
            {name: part.new_empty(len(rows), *part.shape, dtype=self._dtype(name)) for name, part in parts.items()},
        )

    def _dtype(self, name: str) -> torch.dtype:
        return self.module.get_parameter(name).dtype

    def let_go(self) -> None:
        self.held = None

    def whole(self, key: str) -> Tensor:
        """Read a weight of all experts, by its name in the network, and do not keep it."""
        with torch.inference_mode(False), torch.no_grad():
            first = self._read(key, 0)
            found = first.new_empty(self.n_experts, *first.shape)
            for number in range(self.n_experts):
                found[number] = self._read(key, number) if number else first
        return found

    def place_of(self, tensor: Shaped[Tensor, "..."]) -> "ExpertsPlace | None":
        """Say where a view of what is held is to be had again; None of any other tensor."""
        stored, held = tensor.untyped_storage().data_ptr(), self.held
        if held is None:
            return None
        for name, weight in held.weights.items():
            if weight.untyped_storage().data_ptr() == stored and weight.dtype == tensor.dtype:
                size = weight.stride(0)
                first, last = (offset // size for offset in _reach(tensor))
                rows = tuple(held.rows[first : last + 1])
                return ExpertsPlace(self, name, rows, held.here.intersection(rows), first * size)
        return None

    def __deepcopy__(self, memo: dict[int, Any]) -> "Experts":
        """Go with a copy of the module, and share what is held: each expert is the same there."""
        copied = Experts(copy.deepcopy(self.module, memo), self.n_experts, self.names, self._read)
        copied.held = self.held
        return copied


class ExpertsPlace(NamedTuple):
    """Rows of a weight, of which some were needed; a view of it counted its numbers from an earlier one."""

    experts: Experts
    name: str
    rows: tuple[int, ...]
    needed: set[int]
    skipped: int

    def found(self) -> Tensor:
        """Give these rows, read again if they are gone."""
        held = self.experts.hold(self.needed)
        weight = held.weights[self.name]
        first = held.rows.index(self.rows[0]) if self.rows[0] in held.rows else 0
        if tuple(held.rows[first : first + len(self.rows)]) == self.rows:
            return weight[first : first + len(self.rows)]
        found = weight.new_empty(len(self.rows), *weight.shape[1:])
        for row, number in enumerate(self.rows):
            if number in self.needed:
                found[row] = held.part(self.name, number)
        return found


def held_in(module: nn.Module) -> Iterator[Tensor]:
    """List the weights of experts that are held in a module."""
    for part in module.modules():
        forward = vars(part).get("forward")
        if isinstance(forward, Experts) and forward.held is not None:
            yield from forward.held.weights.values()


def _reach(tensor: Shaped[Tensor, "..."]) -> tuple[int, int]:
    """Find the first and the last place in its storage that a view looks at."""
    first = int(tensor.storage_offset())
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return first, first + sum((size - 1) * step for size, step in steps)


def _tells_experts(given: Any) -> bool:
    return isinstance(given, Tensor) and given.dtype in (torch.int32, torch.int64)


def experts_in(module: nn.Module, name: str, streamed: frozenset[str], by_expert: ByExpert) -> Iterator[Experts]:
    """Find the modules of experts in a module of this name that run as well with some of them.

    That is promised by transformers' interface for experts, for code of the class alone.
    """
    for place, part in module.named_modules(prefix=name):
        names = {key: f"{place}.{key}" for key, weight in part._parameters.items() if weight is not None}
        known = vars(part)
        if (
            names
            and known.keys() >= {"num_experts", "has_gate", "has_bias", "is_transposed"}
            and "forward" not in known
            and not known.get("_is_expert_parallel", False)
            and streamed.intersection(by_expert.weights).issuperset(names.values())
            and all(len(part._parameters[key]) == known["num_experts"] for key in names)
        ):
            yield Experts(part, known["num_experts"], names, by_expert.read)
