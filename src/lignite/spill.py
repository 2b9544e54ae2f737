"""Tensors of which as many stay in memory as there is room for; the others lie in a file."""

import tempfile
import weakref
from collections.abc import Iterable, Iterator
from typing import IO, Any, NamedTuple, cast

import torch
from jaxtyping import Shaped
from torch import Tensor

from lignite.errors import FileError


class _Written(NamedTuple):
    """A tensor was written at this place of the file."""

    at: int
    shape: torch.Size
    dtype: torch.dtype
    device: torch.device


class Spilled:
    """Spilled tensors are taken out in the order in which they were put in, or read in any.

    Those that come when the `room` is taken go to a file that has no name and is gone with them, in the folder that
    `tempfile` chooses (``TMPDIR``).

    Raises
    ------
    FileError
        If that folder is full.

    Examples
    --------
    >>> parts = Spilled([torch.ones(2), torch.zeros(2)], room=8.0)
    >>> [part.tolist() for part in parts], parts.n_written
    ([[1.0, 1.0], [0.0, 0.0]], 1)
    """

    def __init__(self, tensors: Iterable[Tensor] = (), *, room: float):
        self.room, self.n_written = room, 0
        self._kept: list[Tensor | _Written] = []
        self._file: IO[bytes] | None = None
        for tensor in tensors:
            self.put(tensor)

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[place] for place in range(len(self)))

    def __getitem__(self, place: int) -> Tensor:
        kept = self._kept[place]
        return kept if isinstance(kept, Tensor) else self._read(kept)

    def put(self, tensor: Shaped[Tensor, "..."]) -> None:
        """Put a tensor behind the others; it has no graph afterwards."""
        tensor = tensor.detach()
        if tensor.nbytes <= self.room:
            self.room -= tensor.nbytes
            self._kept.append(tensor)
        else:
            self._kept.append(self._write(tensor))

    def taken(self, *, last_first: bool = False) -> Iterator[Tensor]:
        """Take all tensors out, one after the other: none is kept for longer than whoever takes it keeps it."""
        if not last_first:
            self._kept.reverse()
        while self._kept:
            kept = self._kept.pop()
            yield kept if isinstance(kept, Tensor) else self._read(kept)

    def _write(self, tensor: Shaped[Tensor, "..."]) -> _Written:
        if self._file is None:
            self._file = tempfile.TemporaryFile("w+b", buffering=0)  # noqa: SIM115
            weakref.finalize(self, self._file.close)
        numbers = memoryview(cast(Any, _bytes_of(tensor.cpu().contiguous()).numpy()))
        at, done = self._file.seek(0, 2), 0
        try:
            while done < len(numbers):
                done += self._file.write(numbers[done:])
        except OSError as error:
            raise FileError(
                f"{len(numbers) / 2**20:,.0f} MiB of what is kept beside the memory allowed cannot be written to "
                f"{tempfile.gettempdir()} ({error.strerror}): allow more memory (memory=), or name a folder with more "
                "room in TMPDIR."
            ) from error
        self.n_written += 1
        return _Written(at, tensor.shape, tensor.dtype, tensor.device)

    def _read(self, written: _Written) -> Tensor:
        assert self._file is not None
        tensor = torch.empty(written.shape, dtype=written.dtype)
        numbers = memoryview(cast(Any, _bytes_of(tensor).numpy()))
        self._file.seek(written.at)
        done = 0
        while done < len(numbers):
            done += self._file.readinto(numbers[done:])  # type: ignore[attr-defined] # of files without a buffer
        return tensor.to(written.device)


def _bytes_of(tensor: Shaped[Tensor, "..."]) -> Tensor:
    return tensor.view(-1).view(torch.uint8)
