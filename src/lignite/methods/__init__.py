"""Ways to explain a prediction, behind one signature; docs/method.md has their formulas and sources."""

from collections.abc import Mapping
from types import MappingProxyType

from lignite.methods.attention import attention_last, attention_rollout, attention_x_gradient
from lignite.methods.attnlrp import attnlrp
from lignite.methods.ca_lig import ca_lig
from lignite.methods.chance import random
from lignite.methods.detour import with_way_around
from lignite.methods.gradients import deeplift, grad_cam, gradient_x_input, ig, saliency
from lignite.methods.perturbation import kernel_shap, lime, occlusion, sequential_ig, shapley
from lignite.methods.relevance_flow import relevance_flow
from lignite.methods.stacks import Method, Scores

__all__ = ["METHODS", "Method", "Scores"]

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "ca-lig": with_way_around(ca_lig),
        "relevance-flow": with_way_around(relevance_flow),
        "ig": with_way_around(ig),
        "gradient-x-input": with_way_around(gradient_x_input),
        "saliency": with_way_around(saliency),
        "deeplift": with_way_around(deeplift),
        "occlusion": with_way_around(occlusion),
        "kernel-shap": with_way_around(kernel_shap),
        "lime": with_way_around(lime),
        "shapley": with_way_around(shapley),
        "attention-rollout": with_way_around(attention_rollout),
        "attention-last": with_way_around(attention_last),
        "attention-x-gradient": with_way_around(attention_x_gradient),
        "grad-cam": with_way_around(grad_cam),
        "sequential-ig": with_way_around(sequential_ig),
        "attnlrp": with_way_around(attnlrp),
        "random": random,
    }
)
