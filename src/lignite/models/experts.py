"""Of a block's experts, those that tokens are sent to: they are read when they are, and stand in the place of all."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
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


class _Held(NamedTuple):
    """These experts are in memory, in ascending order, and so stand their parts of each weight."""

    numbers: tuple[int, ...]
    weights: Mapping[str, Tensor]


_NONE = _Held((), {})


class Experts:
    """The forward of a module of experts: those that its tokens are sent to are read, and are all that it has.

    transformers' code for experts, whichever of its ways is chosen, asks how many there are and which one a token is
    sent to. With fewer experts under other numbers, in the same order, it does the same arithmetic.

    Attributes
    ----------
    names
        The module's names of its weights, and the network's.
    held
        Experts stay once they were visited, until somebody lets go of them.
    """

    def __init__(self, module: nn.Module, n_experts: int, names: Mapping[str, str], read: Callable[[str, int], Tensor]):
        self.module, self.n_experts, self.names, self._read = module, n_experts, names, read
        self.held = _NONE

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        choices = [each for each in (*args, *kwargs.values()) if _tells_experts(each)]
        held = self.hold(self._visited(choices))
        if len(held.numbers) == self.n_experts:
            return self._run(held, args, kwargs)
        (chosen,) = choices
        numbers = torch.searchsorted(torch.tensor(held.numbers, device=chosen.device), chosen).to(chosen.dtype)
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
        vars(module).update(vars(self.module), training=self.module.training, num_experts=len(held.numbers))
        vars(module)["_parameters"] = dict(held.weights)
        vars(module).pop("forward", None)
        return module.forward(*args, **kwargs)

    def hold(self, numbers: Iterable[int]) -> _Held:
        """Hold at least these experts, in the precision of what stands in their weights' places."""
        held, asked = self.held, set(numbers)
        places = {name: self.module.get_parameter(name) for name in self.names}
        fits = all(name in held.weights and held.weights[name].dtype == place.dtype for name, place in places.items())
        if not fits or not asked <= set(held.numbers):
            together = tuple(sorted(asked.union(held.numbers)))
            held = _Held(together, {name: self._stacked(name, together, place.dtype) for name, place in places.items()})
            self.held = held
        return held

    def _stacked(self, name: str, numbers: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Lay experts' parts of a weight one behind the other, one after the other: no more is there twice."""
        known = dict(zip(self.held.numbers, self.held.weights.get(name, ()), strict=True))
        with torch.inference_mode(False), torch.no_grad():
            parts = (known[each] if each in known else self._read(self.names[name], each) for each in numbers)
            first = next(parts)
            stacked = first.new_empty(len(numbers), *first.shape, dtype=dtype)
            for place, part in enumerate(chain([first], parts)):
                stacked[place] = part
        return stacked

    def let_go(self) -> None:
        self.held = _NONE

    def whole(self, key: str) -> Tensor:
        """Read a weight of all experts, by its name in the network, and do not keep it."""
        name = next(name for name, known in self.names.items() if known == key)
        return self._stacked(name, tuple(range(self.n_experts)), self.module.get_parameter(name).dtype)

    def place_of(self, tensor: Shaped[Tensor, "..."]) -> "ExpertsPlace | None":
        """Say where a view of what is held is to be had again; None of any other tensor."""
        stored = tensor.untyped_storage().data_ptr()
        for name, weight in self.held.weights.items():
            if weight.untyped_storage().data_ptr() == stored and weight.dtype == tensor.dtype:
                size, numbers = weight.stride(0), self.held.numbers
                first, last = (offset // size for offset in _reach(tensor))
                return ExpertsPlace(self, name, numbers[first : last + 1], first * size)
        return None

    def __deepcopy__(self, memo: dict[int, Any]) -> "Experts":
        """Go with a copy of the module, and hold what is held: it is never written to."""
        copied = Experts(copy.deepcopy(self.module, memo), self.n_experts, self.names, self._read)
        copied.held = self.held
        return copied


class ExpertsPlace(NamedTuple):
    """Some experts' parts of a weight; a view of it counted its numbers from an earlier one than these begin with."""

    experts: Experts
    name: str
    numbers: tuple[int, ...]
    skipped: int

    def found(self) -> Tensor:
        """Give these parts, read again if they are gone."""
        held = self.experts.hold(self.numbers)
        places = [held.numbers.index(each) for each in self.numbers]
        weight = held.weights[self.name]
        one_run = places[-1] - places[0] == len(places) - 1
        return weight[places[0] : places[-1] + 1] if one_run else weight[places]


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
