"""Take tokens away and see what becomes of F: occlusion, sequential IG, Shapley values, KernelSHAP, LIME; or draw."""

from dataclasses import dataclass

from lignite.methods.method import FromBaseline, Sampled, Seeded


@dataclass(frozen=True, kw_only=True)
class Occlusion(FromBaseline, name="occlusion", scored_by="perturbation.occlusion"):
    """What F loses when one token is replaced, each by itself."""


@dataclass(frozen=True, kw_only=True)
class KernelShap(Sampled, name="kernel-shap", scored_by="perturbation.kernel_shap"):
    """Shapley values by regression on `n_samples` random sets of tokens per token (Lundberg and Lee 2017)."""


@dataclass(frozen=True, kw_only=True)
class Lime(Sampled, name="lime", scored_by="perturbation.lime"):
    """A linear model of F around the input, fitted to `n_samples` random sets per token (Ribeiro et al. 2016)."""


@dataclass(frozen=True, kw_only=True)
class Shapley(Sampled, name="shapley", scored_by="perturbation.shapley"):
    """Shapley values by `n_samples` random orders in which the tokens arrive (Castro et al. 2009)."""


@dataclass(frozen=True, kw_only=True)
class SequentialIG(FromBaseline, name="sequential-ig", scored_by="perturbation.sequential_ig"):
    """Integrated gradients of each token along a path of its own, all others in place (Enguehard 2023)."""


@dataclass(frozen=True, kw_only=True)
class Random(Seeded, name="random", scored_by="perturbation.random"):
    """Uniform numbers from -1 to 1, the same ones for the same input and seed."""
