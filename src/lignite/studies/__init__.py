"""Questions over a corpus, asked sentence by sentence and answered with intervals; as `lignite.study`."""

from lignite.studies.pairings import consistency, tabulate

__all__ = ["consistency", "tabulate"]
