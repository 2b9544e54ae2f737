"""Tensors that the mathematics hands around, by their axes; others carry theirs where they stand."""

from jaxtyping import Float, Int
from torch import Tensor

Nodes = Float[Tensor, " node"]
"""Nodes of a rule, or their weights."""

Targets = Int[Tensor, " target"]
"""Tokens that are targets, or the places of some targets among those that are integrated."""

PerTarget = Float[Tensor, " target *head"]
"""A number for each target, or for each head of each target."""

HeadVectors = Float[Tensor, "node target head d_value"]
"""Heads of targets along their paths, or directions at them."""

Pairs = Float[Tensor, "node head target source"]
"""A number for each node, head, target and source."""
