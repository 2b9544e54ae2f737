"""Explanations by gradients of F with respect to states: integrated, as they are, as secants, or by rules."""

from dataclasses import dataclass

from lignite.methods.method import DrawnNodes, FromBaseline, Method
from lignite.options import option


@dataclass(frozen=True, kw_only=True)
class IntegratedGradients(FromBaseline, DrawnNodes, name="ig", scored_by="gradients.ig"):
    """Integrated gradients along a line in the states that enter the first block (Sundararajan et al. 2017)."""


@dataclass(frozen=True, kw_only=True)
class GradientTimesInput(Method, name="gradient-x-input", scored_by="gradients.gradient_x_input"):
    """Gradient of F times the states that enter the first block."""


@dataclass(frozen=True, kw_only=True)
class Saliency(Method, name="saliency", scored_by="gradients.saliency"):
    """Length of the gradient of F at the states that enter the first block. Unsigned: it tells no for from against."""


@dataclass(frozen=True, kw_only=True)
class DeepLift(FromBaseline, name="deeplift", scored_by="gradients.deeplift"):
    """Differences from a baseline carried back by secants (Shrikumar et al. 2017), by captum."""


@dataclass(frozen=True, kw_only=True)
class ActivationMap(Method):
    """A method that weights what the last block's attention reads by F's gradient there."""

    signed: bool = option(
        True,
        "Scores below zero speak against; without, they are 0, as in the published maps, which end in a ReLU.",
        typed="--signed/--unsigned",
        told=True,
    )


@dataclass(frozen=True, kw_only=True)
class GradCam(ActivationMap, name="grad-cam", scored_by="activation_maps.grad_cam"):
    """Channels that the last block's attention reads, weighted by F's mean gradient (Selvaraju et al. 2017)."""


@dataclass(frozen=True, kw_only=True)
class HiResCam(ActivationMap, name="hirescam", scored_by="activation_maps.hirescam"):
    """Gradient of F times what the last block's attention reads, summed over channels (Draelos and Carin 2020)."""


@dataclass(frozen=True, kw_only=True)
class LayerCam(ActivationMap, name="layercam", scored_by="activation_maps.layercam"):
    """Positive part of F's gradient times what the last block's attention reads (Jiang et al. 2021)."""


@dataclass(frozen=True, kw_only=True)
class AttnLRP(Method, name="attnlrp", scored_by="gradients.attnlrp"):
    """Gradient × input, where norms, activations and products follow AttnLRP's rules (Achtibat et al. 2024)."""
