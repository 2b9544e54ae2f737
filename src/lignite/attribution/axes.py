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

TargetStates = Float[Tensor, "point target d"]
"""States of targets at each point: what enters the rest of a block, or leaves it."""

TargetPointHeads = Float[Tensor, "point target head d_value"]
"""Heads of targets at each point."""

NodeStates = Float[Tensor, "node target d"]
"""States of targets along their paths, or gradients there."""

PointStates = Float[Tensor, "point token d"]
"""States of all tokens at each point, which is a copy of the input or of a row with other states."""

PointHeads = Float[Tensor, "point token head d_value"]
"""Heads of all tokens at each point."""

PointRows = Int[Tensor, " point"]
"""The row, or line, that each point belongs to."""

PerPoint = Float[Tensor, " point"]
"""A number for each point."""

RowStates = Float[Tensor, "row token d"]
"""States of all tokens in each row of a batch."""

TargetHeads = Float[Tensor, "target head d_value"]
"""Heads of targets."""
