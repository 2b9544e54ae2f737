"""The options of `lignite.evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lignite.calls import check_seed
from lignite.data.columns import Columns
from lignite.errors import OptionError
from lignite.options import MOST_DRAWS, check_share, option

DEFAULT_METHODS = (
    "relevance-flow", "ca-lig", "ig", "attnlrp", "gradient-x-input", "attention-x-gradient", "attention-rollout",
    "random",
)  # fmt: skip
MOST_POINTS = 10_000
"""Of a curve: texts have fewer words."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(Columns):
    """What is measured of which methods, and on which columns of the data."""

    of_images_alone: ClassVar[tuple[str, ...]] = (*Columns.of_images_alone, "smooth")

    limit: int | None = option(
        None,
        "Measure so many examples, drawn at random; a larger number keeps the smaller one's examples.",
        panel="Data", metavar="N", unset="all",
    )  # fmt: skip
    methods: str | Sequence[str] = option(
        DEFAULT_METHODS,
        "Methods, each with its own options if need be: ca-lig:path=layer,baseline=mask+zero,ig. A row random is "
        "always added: what it reaches, chance reaches.",
        metavar="LIST",
    )  # fmt: skip
    metrics: str | Sequence[Any] | Any = option(
        None,
        "Such as deletion,insertion,comprehensiveness or auprc; an unknown name brings the whole list. In Python also "
        "metrics of one's own (lignite.metrics.metric).",
        metavar="LIST", unset="those that are cheap and that the columns allow",
    )  # fmt: skip
    target: Any = option(
        None, "Class to explain; in Python whatever lignite.explain takes.", metavar="CLASS", unset="the predicted one"
    )
    against: str | int | None = option(
        None, "With a target: explain the difference of the two logits.", metavar="CLASS"
    )
    explain_label: bool = option(
        False,
        "Explain each example's own label, right or wrong: what speaks for the truth, not for the prediction. With "
        "cells and no label, every mosaic is explained once for each class in its cells, as one example each.",
    )
    fills: str | Sequence[str] | None = option(
        None,
        "What stands in the place of removed tokens: delete (nothing: the text becomes shorter), hide (a word that the "
        "attention mask hides), unigram (words drawn from a corpus), mask, pad; or neutral, those of the first three "
        "that the model can do: no method starts from them, and tables lead with their mean. In images others (patches "
        "of other pictures, at the same place), which is what neutral means there; black (as perturbation tests are "
        "published), grey, blur, mean (the image's average patch).",
        metavar="LIST", unset="neutral, or black",
    )  # fmt: skip
    corpus: Any = option(
        None,
        "Where unigram draws words from, and others patches: a file as that of the examples; in Python also a list.",
        metavar="FILE", unset="the examples",
    )  # fmt: skip
    draws: int = option(
        4,
        "How often unigram draws a word for every place, or others a patch, the same ones for all methods; answers are "
        "averaged.",
        metavar="N", most=MOST_DRAWS,
    )  # fmt: skip
    scores: Any = option(
        None,
        "Scores that other code gave, as further rows: JSON lines with text (and pair), tokens (as this model's "
        "tokenizer cuts the text, special ones included), scores by the name of each method, one number a token, and "
        "target, the class that they are for, if told. In Python also a list of such mappings.",
        metavar="FILE",
    )  # fmt: skip
    partial_scores: bool = option(
        False, "Measure all rows on those examples alone that have scores; otherwise a missing one is refused."
    )
    steps: int = option(10, "Points of the deletion and insertion curves.", metavar="N", most=MOST_POINTS)
    smooth: bool = option(
        False,
        "Compare relevance with masks and cells after drawing it as lines between the patches' centres (bilinear), "
        "without edges.",
    )
    seed: int = option(0, "Of the examples drawn, of random methods and of intervals.", metavar="N")
    confidence: float = option(0.95, "Of all intervals.", metavar="SHARE")
    reference: str | None = option(
        None, "Method that the others are tested against.", metavar="METHOD", unset="the first"
    )

    def check(self) -> None:
        """Refuse what no example, interval or generator can have, and half a difference."""
        super().check()
        if self.against is not None and self.target is None:
            raise OptionError(f"against={self.against!r} needs target= beside it: the difference of two logits.")
        check_share("confidence", self.confidence, "of all intervals, such as 0.95")
        check_seed(self.seed)

    @property
    def wanted(self) -> Any:
        """What is explained of every example, as `lignite.explain` takes it."""
        return self.target if self.against is None else (self.target, self.against)
