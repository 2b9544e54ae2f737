"""Ways to explain a prediction, a frozen class of options each; docs/method.md has their formulas and sources.

They are made without torch: what they compute stands in `lignite.methods.scoring`.
"""

# in the order in which help and messages list them
# isort: off
from lignite.methods.relevance_flow import RelevanceFlow
from lignite.methods.ca_lig import CaLig
from lignite.methods.gradients import (
    AttnLRP,
    DeepLift,
    GradCam,
    GradientTimesInput,
    HiResCam,
    IntegratedGradients,
    LayerCam,
    Saliency,
)
from lignite.methods.attention import AttentionLast, AttentionRollout, AttentionTimesGradient
from lignite.methods.perturbation import KernelShap, Lime, Occlusion, Random, SequentialIG, Shapley

# isort: on
from lignite.methods.method import METHODS, Explanation, Method

__all__ = [
    "METHODS", "AttentionLast", "AttentionRollout", "AttentionTimesGradient", "AttnLRP", "CaLig", "DeepLift",
    "Explanation", "GradCam", "GradientTimesInput", "HiResCam", "IntegratedGradients", "KernelShap", "LayerCam", "Lime",
    "Method", "Occlusion", "Random", "RelevanceFlow", "Saliency", "SequentialIG", "Shapley",
]  # fmt: skip
