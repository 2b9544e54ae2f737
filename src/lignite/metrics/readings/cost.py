"""What an explanation misses by its own account, and what it takes."""

from lignite.metrics.metric import Case, Reading


class CompletenessGap(Reading):
    """What the certificate of a result says; not a number where nothing is promised."""

    def read(self, case: Case) -> float:
        return case.explained.gap


class Seconds(Reading):
    """Time on the clock."""

    def read(self, case: Case) -> float:
        return case.explained.seconds


COST = (
    CompletenessGap(
        "completeness-gap",
        "what the scores miss of what they had to explain, as a share of it; the worst of their sums",
        better="lower",
    ),
    Seconds("seconds", "time of one explanation", better="lower", tested=False),
)
