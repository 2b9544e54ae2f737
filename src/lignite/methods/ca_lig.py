"""CA-LIG: layer-wise integrated gradients of the prediction, fused with class-specific attention gradients."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lignite.errors import OptionError
from lignite.methods.method import DrawnNodes, FromBaseline, WithEnds
from lignite.options import option
from lignite.wording import quoted

LayerWeights = Literal["all", "lower-half", "lower-third"]


@dataclass(frozen=True, kw_only=True)
class CaLig(FromBaseline, WithEnds, DrawnNodes, name="ca-lig", scored_by="ca_lig.explain"):
    """Layer-wise integrated gradients, fused with attention gradients (:arxiv:`2602.16608`)."""

    path: Literal["input", "layer"] = option(
        "input",
        "input: one straight line at the embeddings, followed through all layers; layer: a straight line in each "
        "layer's own states.",
        metavar="NAME",
        told=True,
    )
    fusion: float | Literal["auto"] = option(
        1.0,
        "Share of layer-wise integrated gradients, 0 to 1; the rest is attention gradients. auto chooses per input by "
        "faithfulness.",
        metavar="SHARE",
        told=True,
    )
    aggregate: Literal["sum", "rollout", "last"] = option(
        "sum",
        "How layers become one number per token: sum (a weighted mean, so that it adds up to the displacement), "
        "rollout or last.",
        metavar="NAME",
        told=True,
    )
    layer_weights: LayerWeights | Sequence[float] | None = option(
        "lower-third",
        "Weights of the sum: all, lower-half, lower-third, or a number per layer, such as 1,1,0.5,0.",
        metavar="LIST",
        told=True,
    )
    detail: Literal["heads"] | Sequence[Literal["heads"]] = option(
        (), "Also keep scores by head: heads keeps attention gradients.", metavar="LIST", unset="none"
    )

    def check(self) -> None:
        """Refuse shares and weights that are none, and weights of a sum that is not made."""
        super().check()
        if not isinstance(self.fusion, str) and not 0 <= self.fusion <= 1:
            raise OptionError(
                f"fusion={self.fusion!r} must be a number from 0 (attention gradients) to 1 (layer IG) or 'auto'."
            )
        weights = self.layer_weights
        if weights is None or isinstance(weights, str):
            return
        if self.aggregate != "sum":
            raise OptionError(f"layer_weights= weigh the sum over layers; aggregate={self.aggregate!r} has none.")
        if not np.isfinite(weights).all() or not any(weights):
            raise OptionError(f"layer_weights={quoted(weights)} must be finite numbers, not all of them zero.")
