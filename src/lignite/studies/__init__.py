"""Questions over a corpus, asked sentence by sentence and answered with intervals; as `lignite.study`."""

from lignite.metrics.readings.pairings import rank_pairings
from lignite.studies.pairings import consistency
from lignite.views.study.page import write_study as write

__all__ = ["consistency", "rank_pairings", "write"]
