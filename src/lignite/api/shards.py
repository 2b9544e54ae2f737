"""A shard of a corpus: some rows, computed together by whichever process takes them, and made into files."""

import time
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from typing import Any

import torch

from lignite.api.requests import Request
from lignite.api.units import hash_weights
from lignite.data.corpus import Entry
from lignite.errors import InputError, LigniteError, LigniteWarning, ModelError, OptionError
from lignite.memory import budget_held
from lignite.models.load import Model, as_model, load
from lignite.results.parquet import Explained
from lignite.runs.unit import FILES, Done, Tick
from lignite.version import versions
from lignite.wording import one_line, shorten

LOST = "every worker that computed this row died, perhaps for lack of memory; it was left out"
"""Why there is nothing of such a row."""

LONGEST_REASON = 500
"""Characters of why a row failed."""


@dataclass(frozen=True)
class Source:
    """Where every process takes its model from: a name, or in one process a model that is loaded already."""

    name: str
    options: tuple[tuple[str, Any], ...] = ()
    given: Model | None = None

    @classmethod
    def of(cls, model: Any, options: Mapping[str, Any] | None, *, elsewhere: bool) -> "Source":
        if isinstance(model, str) or hasattr(model, "__fspath__"):
            return cls(str(model), tuple(sorted((options or {}).items())))
        if options:
            raise OptionError("loading= is for a model that is named; this one is loaded already.")
        if elsewhere:
            raise OptionError("workers load the model each by itself: give its name or folder.")
        return cls("", given=as_model(model))

    def load(self) -> Model:
        """The model, loaded once by each process."""
        return self.given if self.given is not None else _loaded(self.name, self.options)

    def read(self) -> Model:
        """The model as it stands on the disk now."""
        return self.given if self.given is not None else load(self.name, **dict(self.options))


@lru_cache(1)
def _loaded(name: str, options: tuple[tuple[str, Any], ...]) -> Model:
    return load(name, **dict(options))


@dataclass(frozen=True, eq=False)
class Job:
    """What all shards of a run share.

    Attributes
    ----------
    id
        Tells it from every other one.
    first
        Some rows, of which one is computed before all others, in every process.
    memory
        For intermediate tensors.
    about
        The model and what it runs on, which must be the same in every process.
    """

    id: str
    source: Source
    request: Request
    first: tuple[Entry, ...]
    memory: int | float | str
    about: Mapping[str, Any]


def about(model: Model) -> dict[str, Any]:
    """What numbers depend on beside what is asked."""
    return {
        "model": hash_weights(model),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
        "versions": versions("xarray", "numpy"),
    }


def check_same(job: Job, model: Model) -> None:
    """Refuse a worker whose numbers would not mean the same as those of the others.

    Raises
    ------
    ModelError
        If its model, its device or its libraries are not those of the run.
    """
    for name, here in about(model).items():
        if here != job.about[name]:
            raise ModelError(
                f"a worker has {name}={here!r}, and the run was begun with {job.about[name]!r}. Give all machines the "
                "same."
            )


@dataclass(frozen=True)
class Timing:
    """How long the rows that were given to the model together took; `longest` names one of them."""

    rows: int
    characters: int
    seconds: float
    longest: str


def probe(job: Job) -> Any:
    """The result of the first of some rows that has one; every process then has asked the model the same first.

    Raises
    ------
    OptionError, ModelError
        If what is asked does not fit the model.
    InputError
        If none of these rows has a result.
    """
    model, failures = job.source.load(), []
    with _alone(job):
        for entry in job.first:
            try:
                found = job.request.compute(model, [entry])[0]
                if not isinstance(found, Exception):
                    return found
                raise found
            except (OptionError, ModelError):
                raise
            except Exception as error:  # whatever a row leads to; another one may be better
                failures.append(_reason(error))
    raise InputError(f"none of {len(job.first)} rows that were tried has a result; the first: {failures[0]}")


_taken: dict[str, Job] = {}
_probes: dict[str, Any] = {}
"""Of the jobs that this process works for, by what tells one from others: the job, and what is known of the result of
its first row."""


def take(job: Job) -> None:
    """Let this process know a job: shards name theirs, and do not carry it."""
    _taken[job.id] = job


def forget(job: Job) -> None:
    """Let go of a job, and of its model."""
    _taken.pop(job.id, None)
    _probes.pop(job.id, None)


def probed(job: Job) -> Any:
    """What is to be known of the result that `probe` found, once by each process."""
    if job.id not in _probes:
        if job.source.given is None:
            check_same(job, job.source.load())
        _probes[job.id] = job.request.like(probe(job))
    return _probes[job.id]


@dataclass(frozen=True, eq=False)
class Shard:
    """Some rows of a corpus, computed when it is called, by a process that has taken the job of this id."""

    job: str
    name: str
    entries: tuple[Entry, ...]

    def __call__(self, missing: Collection[str], tick: Tick) -> Done:
        """Compute all rows; one that fails has its reason, and brings no other down."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LigniteWarning)  # what a row misses is kept with it
            job = _taken[self.job]
            like, model = probed(job), job.source.load()
            with _alone(job):
                found, timings = self._compute(job.request, model, tick)
        counts = {
            "rows": len(found),
            "failures": sum(one.result is None for one in found),
            "missed": sum(one.result is not None and job.request.misses(one.result) for one in found),
        }
        files = job.request.files(self.name, found, like)
        piece = {FILES: {name: sha256(content).hexdigest() for name, content in files.items()}, **counts}
        return Done({self.name: piece}, tuple(timings), files)

    @property
    def _readable(self) -> list[Entry]:
        return [entry for entry in self.entries if not entry.failure]

    def divide(self) -> list["Shard"]:
        """Half of the rows, and the others; nothing where there is but one."""
        rows = tuple(self._readable)
        if len(rows) < 2:
            return []
        return [replace(self, entries=half) for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :])]

    def leave_out(self, parts: Sequence["Shard"]) -> "Shard":
        """The same shard, these rows of it told as lost."""
        lost = {entry.number for part in parts for entry in part.entries}
        entries = (replace(entry, failure=LOST) if entry.number in lost else entry for entry in self.entries)
        return replace(self, entries=tuple(entries))

    def _compute(self, request: Request, model: Model, tick: Tick) -> tuple[list[Explained], list[Timing]]:
        found = {entry.number: _failed(entry, entry.failure) for entry in self.entries if entry.failure}
        tick(len(found))
        timings: list[Timing] = []
        readable = self._readable
        for first in range(0, len(readable), request.together):
            some = readable[first : first + request.together]
            found |= {one.number: one for one in _attempt(request, model, some, timings)}
            tick(len(some))
        return [found[entry.number] for entry in sorted(self.entries, key=lambda entry: entry.number)], timings


def _attempt(request: Request, model: Model, some: Sequence[Entry], timings: list[Timing]) -> Iterator[Explained]:
    """Results of some rows; where they cannot be had together, each half is tried by itself."""
    start = time.perf_counter()
    try:
        results = request.compute(model, some)
    except Exception as error:  # whatever a row leads to
        if len(some) == 1:
            yield _failed(some[0], _reason(error))
            return
        for half in (some[: len(some) // 2], some[len(some) // 2 :]):
            yield from _attempt(request, model, half, timings)
        return
    longest = max(some, key=lambda entry: len(entry.text))
    timings.append(Timing(len(some), len(longest.text), time.perf_counter() - start, longest.id))
    for entry, result in zip(some, results, strict=True):
        if isinstance(result, Exception):
            yield _failed(entry, _reason(result))
        else:
            yield Explained(entry.number, entry.id, entry.text, result, tags=entry.tags)


def _failed(entry: Entry, reason: str) -> Explained:
    return Explained(entry.number, entry.id, entry.text, None, reason)


def _reason(error: Exception) -> str:
    told = str(error) if isinstance(error, LigniteError) else f"{type(error).__name__}: {error}"
    return shorten(one_line(told), LONGEST_REASON)


@contextmanager
def _alone(job: Job) -> Iterator[None]:
    """One thread, and one budget: sums then keep their order, whoever computes them and whatever else is going on."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with budget_held(job.memory):
            yield
    finally:
        torch.set_num_threads(threads)
