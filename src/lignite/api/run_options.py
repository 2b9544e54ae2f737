"""The options of `lignite.run`: which rows of a corpus, and how the work is divided."""

from dataclasses import dataclass

from lignite.calls import check_seed
from lignite.data.columns import InputColumns
from lignite.options import COST, option

MOST_WORKERS = 1_000


@dataclass(frozen=True, kw_only=True)
class RunOptions(InputColumns):
    """Which rows of a corpus, by which columns, and how the work is divided."""

    limit: int | None = option(
        None, "Take so many rows, drawn at random; a larger number keeps the smaller one's rows.",
        panel="Data", metavar="N", unset="all",
    )  # fmt: skip
    seed: int = option(0, "Of the rows drawn.", panel="Data", metavar="N")
    shard: int = option(
        128, "Rows that are computed and written together, at most: what an interruption costs for each worker.",
        panel=COST, metavar="N", most=100_000,
    )  # fmt: skip
    workers: int = option(
        1, "Processes that compute side by side, each with the model and one thread; their number changes no byte.",
        panel=COST, metavar="N", most=MOST_WORKERS,
    )  # fmt: skip

    def check(self) -> None:
        """Refuse what no generator starts from."""
        check_seed(self.seed)
