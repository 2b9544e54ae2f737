"""What is asked of every row of a corpus, and into which files it goes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import xarray as xr

from lignite.api.explain import OWN, explain
from lignite.api.flow import flow
from lignite.api.flow_options import FlowOptions
from lignite.api.windows import check_windows
from lignite.errors import OptionError
from lignite.methods import Method
from lignite.methods.options import choose, record
from lignite.models.load import Model
from lignite.options import gather
from lignite.results.folder import FLOWS
from lignite.results.parquet import EXAMPLES, TOKENS, Explained, write_tables
from lignite.results.zarr import ENDING, write_store
from lignite.targets.objective import Wanted, as_target


class Request(ABC):
    """What is asked of every row."""

    verb: ClassVar[str]
    together: ClassVar[int]
    """Rows that the model is given at once."""
    characters: ClassVar[int]
    """Of the texts in one shard, at most: the room that what comes of them takes in memory."""
    folders: ClassVar[tuple[str, ...]]
    """Where shards stand, below the folder of a run."""
    failures: ClassVar[str]
    """Where the reason of a row without a result is found."""

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """The whole request, as a manifest keeps it."""

    @abstractmethod
    def compute(self, model: Model, inputs: Sequence[Any]) -> list[xr.Dataset]:
        """A result for each input."""

    @abstractmethod
    def files(self, name: str, some: Sequence[Explained], like: xr.Dataset) -> dict[str, bytes]:
        """What a shard of this name writes, by file; `like` is the result of another row."""


@dataclass(frozen=True)
class ExplainRequest(Request):
    """Explain every row, as `lignite.explain` does."""

    verb: ClassVar[str] = "explain"
    together: ClassVar[int] = 64
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
        chosen = choose(method, options, beside=OWN)
        if window is not None or overlap is not None:
            check_windows(window, overlap)
        if target is not None:
            if callable(target):
                raise OptionError("target is a function, which no manifest can hold: name a class or a token.")
            target = as_target(target)
            if target.steps is not None:
                raise OptionError("steps= gives several results for one row; explain a continuation with explain().")
        return cls(chosen, target, window, overlap)

    def record(self) -> dict[str, Any]:
        target = None if self.target is None else asdict(as_target(self.target))
        return record(self.method) | {"target": target, "window": self.window, "overlap": self.overlap}

    def compute(self, model: Model, inputs: Sequence[Any]) -> list[xr.Dataset]:
        results: list[xr.Dataset] = explain(
            model, list(inputs), target=self.target, method=self.method, window=self.window, overlap=self.overlap
        )
        return results

    def files(self, name: str, some: Sequence[Explained], like: xr.Dataset) -> dict[str, bytes]:
        return {f"{table}/{name}.parquet": content for table, content in write_tables(some, like).items()}


@dataclass(frozen=True)
class FlowRequest(Request):
    """The flow of every row, as `lignite.flow` finds it."""

    verb: ClassVar[str] = "flow"
    together: ClassVar[int] = 1  # they are computed one by one in any case
    characters: ClassVar[int] = 8_192
    folders: ClassVar[tuple[str, ...]] = (FLOWS,)
    failures: ClassVar[str] = "the attribute failures of the tree"

    options: FlowOptions

    @classmethod
    def of(cls, *, request: FlowOptions | None = None, **options: Any) -> "FlowRequest":
        """The request that `lignite.flow` would take with these arguments."""
        chosen = gather("run('flow')", FlowOptions, request, options)
        if not isinstance(chosen.baseline, str):
            raise OptionError("baseline is a tensor, which no manifest can hold: name one.")
        return cls(chosen)

    def record(self) -> dict[str, Any]:
        return self.options.values()

    def compute(self, model: Model, inputs: Sequence[Any]) -> list[xr.Dataset]:
        results: list[xr.Dataset] = flow(model, list(inputs), request=self.options)
        return results

    def files(self, name: str, some: Sequence[Explained], like: xr.Dataset) -> dict[str, bytes]:
        flows = {f"{one.number:08d}": one.result for one in some if one.result is not None}
        failed = {f"{one.number:08d}": one.failure for one in some if one.result is None}
        ids = {f"{one.number:08d}": one.id for one in some}
        return {f"{FLOWS}/{name}{ENDING}": write_store(flows, {"ids": ids, "failures": failed})}


REQUESTS: Mapping[str, Any] = {request.verb: request.of for request in (ExplainRequest, FlowRequest)}
"""What makes a request of each verb from the options that are given with it."""
