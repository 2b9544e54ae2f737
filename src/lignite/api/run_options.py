"""The options of `lignite.run`: which rows of a corpus, and how the work is divided."""

from dataclasses import dataclass
from typing import Literal

from lignite.calls import check_seed
from lignite.data.columns import InputColumns
from lignite.options import COST, Options, option

MOST_WORKERS = 1_000


@dataclass(frozen=True, kw_only=True)
class RowOptions(InputColumns):
    """Which rows of a corpus are explained, or followed, and by which columns."""

    limit: int | None = option(
        None, "Take so many rows, drawn at random; a larger number keeps the smaller one's rows.",
        panel="Data", metavar="N", unset="all",
    )  # fmt: skip
    seed: int = option(0, "Of the rows drawn.", panel="Data", metavar="N")

    def check(self) -> None:
        """Refuse what no generator starts from."""
        check_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """How the work is divided."""

    shard: int = option(
        128, "Rows that are computed and written together, at most: what an interruption costs for each worker.",
        panel=COST, metavar="N", most=100_000,
    )  # fmt: skip
    engine: Literal["local", "ray"] = option(
        "local", "Where workers are: processes of this machine, or actors of the Ray cluster at hand, on a GPU each if "
        "the model is on one. What comes of it is the same.",
        panel=COST, metavar="NAME",
    )  # fmt: skip
    workers: int = option(
        1, "Processes that compute side by side, each with the model and one thread; their number changes no byte.",
        panel=COST, metavar="N", most=MOST_WORKERS,
    )  # fmt: skip

    @property
    def elsewhere(self) -> bool:
        """Whether other processes than this one compute."""
        return self.workers > 1 or self.engine != "local"
