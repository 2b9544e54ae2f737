"""What is shown of a study: findings in words, tables and pictures."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd  # type: ignore[import-untyped]
from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of a study, with what their columns mean.

    `frame` may have the columns `mean`, `low` and `high`, which are drawn as an interval.
    """

    title: str
    note: str
    frame: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Report:
    """A study as it is shown; tables and figures by the names of their files."""

    title: str
    question: str
    findings: tuple[str, ...]
    tables: Mapping[str, Table]
    figures: Mapping[str, Figure]
