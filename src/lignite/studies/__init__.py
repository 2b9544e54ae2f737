"""Questions over a corpus, asked sentence by sentence and answered with intervals; as `lignite.study`.

Each study is a file with a class; imported here, it is a function `lignite.study.NAME` and a command `lignite study`.
"""

from typing import Any

# in the order in which help and messages list them
# isort: off
from lignite.studies.pairings import Consistency

from lignite.studies.audit import Trust

# isort: on
from lignite.metrics.readings.pairings import rank_pairings
from lignite.studies.asking import ask, report, write
from lignite.studies.study import STUDIES, Study

__all__ = ["STUDIES", "Consistency", "Study", "Trust", "rank_pairings", "report", "write"]


def __getattr__(name: str) -> Any:
    if name not in STUDIES:
        raise AttributeError(f"lignite.study has no study {name!r}; it has {', '.join(STUDIES)}.")
    return ask(STUDIES[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *STUDIES})
