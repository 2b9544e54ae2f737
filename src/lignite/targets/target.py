"""What is explained of a model's output, as a user says it."""

from dataclasses import dataclass
from typing import Literal

from lignite.errors import OptionError
from lignite.options import Options, option

PANEL = "What is asked"
MOST_STEPS = 10_000_000
"""Tokens that a text may be continued with: more than anybody could wait for."""


@dataclass(frozen=True)
class Target(Options):
    """What is explained of a model's output; every field may be left to the model."""

    label: str | int | None = option(
        None,
        "Class by name or number; for language models a token of the vocabulary, as text or as id.",
        panel=PANEL, metavar="LABEL", typed="--target", unset="what the model predicts",
    )  # fmt: skip
    against: str | int | None = option(
        None, "Another one: the difference of the two logits is explained.", panel=PANEL, metavar="LABEL"
    )
    token: int | None = option(
        None,
        "Place in the input (from 0, -1: the last), for models that answer at every token (token classes, masked "
        "words, next tokens).",
        panel=PANEL, metavar="N", unset="the only mask, or the last token",
    )  # fmt: skip
    part: Literal["start", "end"] | None = option(
        None, "For question answering: start or end of the answer.", panel=PANEL, metavar="NAME"
    )
    steps: int | None = option(
        None,
        "Explain each of so many tokens that the model continues the text with, one result per step.",
        panel=PANEL, metavar="N", most=MOST_STEPS,
    )  # fmt: skip

    def check(self) -> None:
        """Refuse half a difference, and steps that are also something else."""
        if self.against is not None and self.label is None:
            raise OptionError(f"against={self.against!r} needs label= beside it: the difference of two logits.")
        if self.steps is not None and (self.label, self.token, self.part) != (None, None, None):
            raise OptionError("steps= explains what the model itself continues with; leave label, token and part out.")
