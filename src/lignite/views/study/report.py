"""What is shown of a study: findings in words, tables and pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
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


def spoken(found: Any) -> str:
    """A mean with its interval, where it has one: a single sentence has none.

    Examples
    --------
    >>> spoken({"mean": 0.5, "low": 0.25, "high": 0.75}), spoken({"mean": 0.5, "low": np.nan, "high": np.nan})
    ('0.500 [0.250, 0.750]', '0.500')
    """
    return f"{found['mean']:.3f}" + (f" [{found['low']:.3f}, {found['high']:.3f}]" if np.isfinite(found["low"]) else "")
