"""Ways to explain a prediction, behind one signature; docs/method.md has their formulas and sources."""

from collections.abc import Mapping
from types import MappingProxyType

from lignite.methods.attention import attention_last, attention_rollout, attention_x_gradient
from lignite.methods.attnlrp import attnlrp
from lignite.methods.ca_lig import ca_lig
from lignite.methods.chance import random
from lignite.methods.gradients import deeplift, grad_cam, gradient_x_input, ig, saliency
from lignite.methods.perturbation import kernel_shap, lime, occlusion, sequential_ig, shapley
from lignite.methods.relevance_flow import relevance_flow
from lignite.methods.stacks import Method, Scores

__all__ = ["METHODS", "Method", "Scores"]

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "ca-lig": ca_lig,
        "relevance-flow": relevance_flow,
        "ig": ig,
        "gradient-x-input": gradient_x_input,
        "saliency": saliency,
        "deeplift": deeplift,
        "occlusion": occlusion,
        "kernel-shap": kernel_shap,
        "lime": lime,
        "shapley": shapley,
        "attention-rollout": attention_rollout,
        "attention-last": attention_last,
        "attention-x-gradient": attention_x_gradient,
        "grad-cam": grad_cam,
        "sequential-ig": sequential_ig,
        "attnlrp": attnlrp,
        "random": random,
    }
)
