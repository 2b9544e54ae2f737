"""Explanations by gradients of F with respect to states: integrated or not, as they are or as secants."""

from dataclasses import dataclass

from lignite.methods.method import Method
from lignite.methods.shared import DrawnNodes, FromBaseline


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
class GradCam(Method, name="grad-cam", scored_by="gradients.grad_cam"):
    """States weighted by F's gradient, averaged over tokens (Selvaraju et al. 2017), as they enter each block."""
