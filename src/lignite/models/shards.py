"""Read the weights of a saved model a part at a time, named and converted as transformers does when it loads all."""

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import PreTrainedModel

from lignite.errors import ModelError
from lignite.memory import free_memory
from lignite.models.experts import ByExpert
from lignite.models.stream import Part, Stream, parts_of

Skeleton = Callable[[Mapping[str, Any]], PreTrainedModel]
"""Builds a network from weights by their names in the files."""


class _Unread(Tensor):
    """A weight that is not read stays without numbers, wherever it is sent."""

    def to(self, *args: Any, device: Any = None, dtype: torch.dtype | None = None, **kwargs: Any) -> Any:
        return self if dtype is None else super().to(dtype=dtype)


class Stored:
    """Weights are stored in safetensors files, under names of their own; what is read is not kept.

    Raises
    ------
    ModelError
        If a file is no such file, or not all of it.
    """

    def __init__(self, files: Iterable[Path]):
        self.unread: dict[str, Tensor] = {}
        self._files: dict[str, Any] = {}
        self._begins: dict[str, tuple[Path, int]] = {}
        for file in files:
            try:
                known, opened = _shapes_in(file), _opened(file)
                self._begins |= {key: (file, begin) for key, begin in _begins_in(file)}
            except (OSError, SafetensorError) as error:
                raise ModelError(
                    f"{file}: the weights cannot be loaded ({error}): copy or download it again."
                ) from error
            self.unread |= known
            self._files |= dict.fromkeys(known, opened)

    def bytes_in(self, dtype: torch.dtype | str) -> int:
        """Count what all weights take in memory, in this precision or (``"auto"``) as they are stored."""
        return sum(
            each.numel()
            * (dtype.itemsize if isinstance(dtype, torch.dtype) and each.is_floating_point() else each.itemsize)
            for each in self.unread.values()
        )

    def lazily(self, key: str) -> Any:
        """Give a weight that is read when it is indexed."""
        return self._files[key].get_slice(key)

    def one_of(self, key: str, number: int) -> Tensor:
        """Read one of the parts that a weight is a stack of, where slices of what is opened read all of them."""
        (file, begin), stacked = self._begins[key], self.unread[key]
        shape = stacked.shape[1:]
        found = bytearray(shape.numel() * stacked.itemsize)
        with file.open("rb") as opened:
            opened.seek(begin + number * len(found))
            if opened.readinto(found) != len(found):
                raise OSError(f"{file.name} ends before {key}")
        return torch.frombuffer(found, dtype=stacked.dtype).view(shape)


def _shapes_in(file: Path) -> dict[str, Tensor]:
    with safe_open(file, "pt") as mapped:  # a tensor that is never looked at is never read
        return {key: mapped.get_tensor(key).to("meta").as_subclass(_Unread) for key in mapped.keys()}  # noqa: SIM118


def _begins_in(file: Path) -> Iterator[tuple[str, int]]:
    """Say where in the file the numbers of each weight begin: behind its header and the size of that."""
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(size))
    for key, said in header.items():
        if key != "__metadata__":
            yield key, 8 + size + said["data_offsets"][0]


def _opened(file: Path) -> Any:
    """Open a file to be read, not mapped: the pages of a mapped file count as the process's own while they stay."""
    try:
        return safe_open(file, "pt", backend="pread")
    except TypeError:  # safetensors before 0.8 maps all files
        return safe_open(file, "pt")


@dataclass
class _Source:
    """Weights of the network are made of these stored ones by a conversion; None: of one, as it is."""

    conversion: Any
    keys: list[tuple[str, str]] = field(default_factory=list)


def fits(stored: Stored, dtype: torch.dtype | str, device: torch.device) -> bool:
    """Whether a model's weights would leave some of the free memory free."""
    return stored.bytes_in(dtype) < free_memory(device)


def stream_weights(stored: Stored, name: str, build: Skeleton, device: torch.device) -> PreTrainedModel:
    """Build a network of which the weights outside its blocks are read, and those of a block when it runs.

    Raises
    ------
    ModelError
        If transformers makes the weights of a block of anything but stored weights.
    """
    skeleton = build(stored.unread)
    parts = parts_of(skeleton)
    sources = _sources_of(skeleton, stored.unread, name)
    coming = {key for target in parts.weights & sources.keys() for key, _ in sources[target].keys}
    network = build({key: each if key in coming else stored.lazily(key) for key, each in stored.unread.items()})
    network._apply(lambda tensor: tensor if tensor.is_meta else tensor.to(device))
    absent = [key for key, weight in network.named_parameters() if weight.is_meta and key not in parts.weights]
    if absent:
        raise ModelError(f"{name} cannot be streamed ({absent[0]} belongs to no block): load it with stream=False.")

    def read(part: Part) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for target, source in sources.items():
            if target in part.blanks:
                found |= _converted(
                    network, target, source, _reads(stored, source, part.blanks[target].dtype, device), name
                )
        return found

    def read_expert(target: str, number: int) -> Tensor:
        source, blank = sources[target], network.get_parameter(target)
        reads = _reads_of_one(stored, source, number, blank.dtype, device)
        return _converted(network, target, source, reads, name)[target][0]

    streamed = {target: network.get_parameter(target) for target in parts.weights & sources.keys()}
    split = frozenset(each for each, weight in streamed.items() if _splits(sources[each], stored, weight.shape))
    Stream(network, parts, read, ByExpert(split, read_expert))
    return network


def _sources_of(network: PreTrainedModel, stored: Mapping[str, Tensor], name: str) -> dict[str, _Source]:
    """Find what each weight is made of; of those that are made together the first is named."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import (
            WeightConverter,
            WeightRenaming,
            dot_natural_key,
            rename_source_key,
        )
    except ImportError as error:
        raise ModelError(
            f"{name}: streaming needs a later transformers ({error}): load it with stream=False."
        ) from error
    mapping = get_model_conversion_mapping(network)
    renamings = [each for each in mapping if isinstance(each, WeightRenaming)]
    converters = [each for each in mapping if isinstance(each, WeightConverter)]
    by_pattern = {pattern: each for each in converters for pattern in each.source_patterns}
    known, prefix = network.state_dict(), network.base_model_prefix
    sources: dict[str, _Source] = {}
    for key in sorted(stored, key=dot_natural_key):
        target, pattern = rename_source_key(key, renamings, converters, prefix, known)
        if target not in known and key in known:
            target, pattern = rename_source_key(key, [], [], prefix, known)
        if target in known:
            conversion = WeightRenaming(key, target) if pattern is None else by_pattern[pattern]
            sources.setdefault(target, _Source(conversion)).keys.append((key, pattern or key))
    return sources


Reads = list[tuple[str, str, Callable[[], Tensor]]]
"""Ways to read what a weight is made of: by which key it is stored, which pattern of the conversion that is."""


def _converted(network: PreTrainedModel, target: str, source: _Source, reads: Reads, name: str) -> dict[str, Tensor]:
    """Read what a weight is made of, in its own precision, and make it and those that are made with it."""
    conversion = copy.deepcopy(source.conversion)
    for key, pattern, read in reads:
        conversion.add_tensor(target, key, pattern, read)
    try:
        found = conversion.convert(target, model=network, config=network.config)
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError) as error:
        raise ModelError(f"{name}: {target} cannot be read ({error}): copy or download the model again.") from error
    return {key: each[0] if isinstance(each, list) else each for key, each in found.items()}


def _reads(stored: Stored, source: _Source, dtype: torch.dtype, device: torch.device) -> Reads:
    def read(key: str) -> Tensor:
        return stored.lazily(key)[...].to(device=device, dtype=dtype)

    return [(key, pattern, partial(read, key)) for key, pattern in source.keys]


# Experts, one at a time


def _splits(source: _Source, stored: Stored, shape: torch.Size) -> bool:
    """Whether what one expert has of a weight is made of stored weights of its own, or of its own part of one."""
    from transformers.core_model_loading import Concatenate, Interleave, Transpose

    if not shape or len(source.conversion.target_patterns) > 1:
        return False
    for operation in getattr(source.conversion, "operations", [])[_is_per_expert(source) :]:
        axes = [getattr(operation, name) for name in ("dim", "dim0", "dim1") if hasattr(operation, name)]
        known = type(operation) in (Concatenate, Interleave, Transpose)
        if not known or min(axes) < 1 or getattr(operation, "check_dims", False):
            return False
    counts = Counter(pattern for _, pattern in source.keys)
    if _is_per_expert(source):
        return set(counts.values()) == {shape[0]}
    return set(counts.values()) == {1} and all(stored.unread[key].shape[:1] == shape[:1] for key, _ in source.keys)


def _is_per_expert(source: _Source) -> bool:
    """Whether a weight is stored as one for each expert, in their order, or several."""
    from transformers.core_model_loading import MergeModulelist

    first = next(iter(getattr(source.conversion, "operations", ())), None)
    return isinstance(first, MergeModulelist) and first.dim == 0


def _reads_of_one(stored: Stored, source: _Source, number: int, dtype: torch.dtype, device: torch.device) -> Reads:
    def read(key: str) -> Tensor:
        return stored.one_of(key, number)[None].to(device=device, dtype=dtype)

    if not _is_per_expert(source):
        return [(key, pattern, partial(read, key)) for key, pattern in source.keys]
    of_pattern: dict[str, list[str]] = {}
    for key, pattern in source.keys:
        of_pattern.setdefault(pattern, []).append(key)
    own = _Source(source.conversion, [(keys[number], pattern) for pattern, keys in of_pattern.items()])
    return _reads(stored, own, dtype, device)
