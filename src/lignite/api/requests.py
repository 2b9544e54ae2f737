"""What is asked of every row of a corpus, and into which files it goes."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from lignite.api.explain import OWN, explain
from lignite.api.flow import flow
from lignite.api.flow_options import FlowOptions
from lignite.api.run_options import RowOptions
from lignite.api.windows import check_windows
from lignite.data.corpus import Entry
from lignite.errors import OptionError
from lignite.methods import Method
from lignite.methods.options import choose, record
from lignite.models.load import Model
from lignite.options import gather, options_of
from lignite.results.certificate import certificates
from lignite.results.folder import FLOWS
from lignite.results.parquet import EXAMPLES, TOKENS, Explained, write_tables
from lignite.results.zarr import ENDING, write_store
from lignite.targets.objective import Wanted, as_target


@dataclass(frozen=True, kw_only=True)
class Request(ABC):
    """What is asked of every row, and of which."""

    verb: ClassVar[str]
    characters: ClassVar[int]
    """Of the texts in one shard, at most: the room that what comes of them takes in memory."""
    folders: ClassVar[tuple[str, ...]]
    """Where shards stand, below the folder of a run."""
    failures: ClassVar[str]
    """Where the reason of a row without a result is found."""

    rows: Any
    """Which rows: `RowOptions`, or options that name them as those do."""

    @property
    @abstractmethod
    def together(self) -> int:
        """Rows that the model is given at once."""

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """The whole request, as a manifest keeps it."""

    def settle(self, model: Model, entries: list[Entry]) -> tuple["Request", list[Entry]]:
        """The request with all that has to be known of model and corpus before any row, and the rows that it is for."""
        return self, entries

    @abstractmethod
    def compute(self, model: Model, entries: Sequence[Entry]) -> Sequence[Any]:
        """A result for each row, an error in the place of one that has none; raised where rows are not told apart."""

    def misses(self, result: Any) -> bool:
        """Whether a result misses more than its tolerance."""
        return not all(each.kept for each in certificates(result))

    def like(self, result: Any) -> Any:
        """What files of other rows need to know of this result."""
        return result

    @abstractmethod
    def files(self, name: str, some: list[Explained], like: Any) -> dict[str, bytes]:
        """What a shard of this name writes, by file; `like` is of the result of another row. It may empty the list."""


def read_row_options(options: dict[str, Any]) -> RowOptions:
    """Which rows are asked about; their options are taken from the others."""
    return RowOptions(**{name: options.pop(name) for name in list(options) if name in options_of(RowOptions)})


@dataclass(frozen=True, kw_only=True)
class ExplainRequest(Request):
    """Explain every row, as `lignite.explain` does."""

    verb: ClassVar[str] = "explain"
    characters: ClassVar[int] = 65_536
    folders: ClassVar[tuple[str, ...]] = (EXAMPLES, TOKENS)
    failures: ClassVar[str] = "the column failure of examples"

    method: Method
    target: Wanted = None
    window: int | None = None
    overlap: int | None = None

    @classmethod
    def of(
        cls,
        *,
        target: Wanted = None,
        method: str | Method = "relevance-flow",
        window: int | None = None,
        overlap: int | None = None,
        **options: Any,
    ) -> "ExplainRequest":
        """The request that `lignite.explain` would take with these arguments."""
        if options.get("targets") is not None:
            raise OptionError("targets= gives several explanations for one row; run once for each class (target=).")
        rows = read_row_options(options)
        chosen = choose(method, options, beside=OWN)
        if window is not None or overlap is not None:
            check_windows(window, overlap)
        if target is not None:
            if callable(target):
                raise OptionError("target is a function, which no manifest can hold: name a class or a token.")
            target = as_target(target)
            if target.steps is not None:
                raise OptionError("steps= gives several results for one row; explain a continuation with explain().")
        return cls(rows=rows, method=chosen, target=target, window=window, overlap=overlap)

    @property
    def together(self) -> int:
        return 64

    def record(self) -> dict[str, Any]:
        target = None if self.target is None else asdict(as_target(self.target))
        return record(self.method) | {"target": target, "window": self.window, "overlap": self.overlap}

    def compute(self, model: Model, entries: Sequence[Entry]) -> Sequence[Any]:
        results: Sequence[xr.Dataset] = explain(
            model,
            [entry.input for entry in entries],
            target=self.target,
            method=self.method,
            window=self.window,
            overlap=self.overlap,
        )
        return results

    def files(self, name: str, some: list[Explained], like: Any) -> dict[str, bytes]:
        return {f"{table}/{name}.parquet": content for table, content in write_tables(some, like).items()}


@dataclass(frozen=True, kw_only=True)
class FlowRequest(Request):
    """The flow of every row, as `lignite.flow` finds it."""

    verb: ClassVar[str] = "flow"
    characters: ClassVar[int] = 8_192
    folders: ClassVar[tuple[str, ...]] = (FLOWS,)
    failures: ClassVar[str] = "the attribute failures of the tree"

    options: FlowOptions

    @classmethod
    def of(cls, *, request: FlowOptions | None = None, **options: Any) -> "FlowRequest":
        """The request that `lignite.flow` would take with these arguments."""
        rows = read_row_options(options)
        chosen = gather("run('flow')", FlowOptions, request, options)
        if not isinstance(chosen.baseline, str):
            raise OptionError("baseline is a tensor, which no manifest can hold: name one.")
        return cls(rows=rows, options=chosen)

    @property
    def together(self) -> int:
        return 1  # they are computed one by one in any case

    def record(self) -> dict[str, Any]:
        return self.options.values()

    def compute(self, model: Model, entries: Sequence[Entry]) -> Sequence[Any]:
        results: Sequence[xr.Dataset] = flow(model, [entry.input for entry in entries], request=self.options)
        return results

    def like(self, result: Any) -> None:
        return None

    def files(self, name: str, some: list[Explained], like: Any) -> dict[str, bytes]:
        failed = {f"{one.number:08d}": one.failure for one in some if one.result is None}
        ids = {f"{one.number:08d}": one.id for one in some}
        return {f"{FLOWS}/{name}{ENDING}": write_store(_taken_out(some), {"ids": ids, "failures": failed})}


def _taken_out(some: list[Explained]) -> Iterator[tuple[str, xr.Dataset]]:
    """Flows, each taken out of the list before the next: all of them together may be as large as the memory."""
    some.reverse()
    while some:
        one = some.pop()
        if one.result is not None:
            yield f"{one.number:08d}", _tagged(one.result, one.tags)


def _tagged(flow: xr.Dataset, tags: Sequence[str]) -> xr.Dataset:
    """Give every source the part of speech of its word, where the corpus has them; special tokens have none."""
    if not tags:
        return flow
    spoken = ["" if word < 0 else tags[word] for word in flow["source_word"].values]
    return flow.assign_coords(source_tag=("source", np.asarray(spoken, dtype=np.str_)))
