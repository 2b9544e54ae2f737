"""Relevance flow: what the prediction changed by, carried from layer to layer without loss."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lignite.errors import OptionError
from lignite.methods.method import FromBaseline, Integrated, Method, WithEnds
from lignite.options import COST, MOST_NODES, option

Detail = Literal["heads", "relevance-flow"]


@dataclass(frozen=True, kw_only=True)
class RelevanceFlow(FromBaseline, WithEnds, Integrated, name="relevance-flow", scored_by="relevance_flow.explain"):
    """The prediction pulled back through one block after the other, along the path between its two inputs."""

    orders: bool | None = option(
        None,
        "Average with what each token adds when tokens arrive by falling and by rising relevance, absent ones being "
        "the baseline's or deleted; relevance still adds up.",
        unset="for texts, not for images, where they bring little",
        told=True,
    )
    groups: int = option(
        32,
        "The most groups in which tokens arrive, for two predictions per group and way of being absent; those of a "
        "group share evenly.",
        panel=COST,
        metavar="N",
        most=MOST_NODES,
    )
    detail: Detail | Sequence[Detail] = option(
        (),
        "Also keep more: heads keeps relevance by head, relevance-flow divides the relevance of every token over the "
        "tokens it came from.",
        metavar="LIST",
        unset="none",
    )

    @property
    def absences(self) -> tuple[str, ...]:
        """Its baselines, and deletion where tokens arrive in orders."""
        return (*self.baselines, "delete") if self.orders else self.baselines

    def check(self) -> None:
        """Refuse two companions of the path at once."""
        super().check()
        if self.orders and self.ends:
            raise OptionError(
                "ends=True and orders=True each stand beside half of the path; with ends=True say orders=False."
            )

    def settle(self, baselines: Sequence[str], *, images: bool) -> Method:
        """The same method from all of these baselines, if its own are left open: their mean is the more faithful.

        Orders that are left open are taken for texts: for images they bring little at twice the time (docs/results).
        """
        orders = not images and not self.ends if self.orders is None else self.orders
        starts = tuple(baselines) if self.is_open else self.baselines
        return replace(self, baseline=starts, orders=orders)  # type: ignore[arg-type] # checked when it is made
