"""The options of `lignite.flow`."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from lignite.calls import check_choice
from lignite.errors import OptionError
from lignite.options import COST, MOST_NODES, MOST_STEPS, Options, check_share, option, options_of
from lignite.wording import quoted

Map = Literal["attention", "mlp", "whole", "composed"]
MAPS: tuple[str, ...] = get_args(Map)
Detail = Literal["heads", "circuits"]
DETAILS: tuple[str, ...] = get_args(Detail)


@dataclass(frozen=True, kw_only=True)
class FlowOptions(Options):
    """What is computed of the blocks, from where, and how exactly."""

    layers: Sequence[int] | None = option(
        None, "Layers, from 0, or from the end: -1 is the last.", metavar="LIST", unset="all"
    )
    targets: Sequence[int] | None = option(None, "Target tokens, from 0.", metavar="LIST", unset="all")
    maps: Map | Sequence[Map] = option(
        MAPS,
        "attention: states to heads; mlp: heads to states; whole: states to states; composed: attention, then mlp.",
        metavar="LIST",
    )
    baseline: Literal["target_token", "zero", "mean", "pad", "mask"] | Any = option(
        "target_token",
        "Start of the path: target_token (every source starts as the target's own state), zero, mean (of the layer's "
        "states), pad or mask (states of an input whose words are all that token); in Python also a tensor, of axes d, "
        "token and d, or layer, token and d.",
        metavar="NAME",
    )
    mlp_baseline: Literal["attention_start", "zero"] = option(
        "attention_start",
        "Start of the path from heads to states: attention_start (heads at the start of the path above) or zero.",
        metavar="NAME",
    )
    self_term: Literal["measured", "zero_ratio", "map_ratio"] = option(
        "measured",
        "What a token gives itself under baseline target_token: measured (zero by construction), zero_ratio (share of "
        "self as in a run from zero) or map_ratio (share of self in the attention weights).",
        metavar="NAME",
    )
    readout: Literal["displacement", "projection"] = option(
        "displacement",
        "What is explained of a target: its displacement (how far it moves), or its projection on its total move, "
        "signed and smooth.",
        metavar="NAME",
    )
    composition: Literal["product", "conserving"] = option(
        "product",
        "How composed is made: product, or conserving (heads divided by their displacement first).",
        metavar="NAME",
    )
    detail: Detail | Sequence[Detail] = option(
        (),
        "Split whole exactly, by heads, by circuits (value, key, query, residual), or both.",
        metavar="LIST",
        unset="none",
    )
    tol: float = option(1e-3, "Gap allowed, as a share of the displacement.", panel=COST, metavar="SHARE")
    n_steps: int | None = option(
        None, "A fixed number of nodes on the path.", panel=COST, metavar="N", unset="adaptive", most=MOST_NODES
    )
    max_steps: int = option(256, "The most nodes that one target may take.", panel=COST, metavar="N", most=MOST_STEPS)
    plan: Literal["auto", "shared", "closed-form", "target-batches", "definition"] = option(
        "auto",
        "How to compute: auto, or one that is required: shared, closed-form, target-batches or definition. Results "
        "agree.",
        panel=COST,
        metavar="NAME",
    )

    keep: str = option(
        "full",
        "What is kept of maps with sources: full, sum (over heads), top:K (the K strongest sources of each target, and "
        "what the others come to) or stats (six numbers per target). Certificates are of all scores.",
        panel=COST,
        metavar="KEEP",
    )

    def check(self) -> None:
        """Refuse maps that are none, and options that contradict each other."""
        if isinstance(self.baseline, str) or not hasattr(
            self.baseline, "__array__"
        ):  # a tensor is for the layers to judge
            check_choice("baseline", self.baseline, options_of(FlowOptions)["baseline"].choices)
        check_share("tol", self.tol, "the gap allowed per displacement")
        if not self.maps:
            raise OptionError(f"maps is empty; give some of {', '.join(MAPS)}.")
        if not re.fullmatch(r"full|sum|stats|top:[1-9]\d{0,8}", self.keep):
            raise OptionError(
                f"keep={quoted(self.keep)} is not known; give full, sum, stats, or top: and a number, such as top:64."
            )
        if self.detail and self.keep != "full":
            raise OptionError(
                f"detail={', '.join(self.detail)} splits scores, of which keep={self.keep!r} keeps less. Leave "
                "one of the two out."
            )
        if self.self_term != "measured" and self.baseline_name != "target_token":
            raise OptionError(
                f"self_term={self.self_term!r} completes the diagonal of baseline='target_token'; with "
                f"baseline={self.baseline_name!r} the diagonal is measured. Leave self_term='measured'."
            )
        if self.detail and self.self_term != "measured":
            raise OptionError(
                f"detail={', '.join(self.detail)} splits measured scores; self_term={self.self_term!r} replaces some. "
                "Ask for one of the two."
            )
        if self.detail and self.plan == "definition":
            raise OptionError(
                f"plan='definition' runs blocks as one piece, and detail={', '.join(self.detail)} splits them. Leave "
                "one of the two out."
            )
        if self.detail and "whole" not in self.maps:
            raise OptionError(f"detail={', '.join(self.detail)} splits the map 'whole'; add it to maps.")

    @property
    def baseline_name(self) -> str:
        """The name of the baseline, or that it was given as numbers."""
        return self.baseline if isinstance(self.baseline, str) else "tensor"

    def to_json(self) -> str:
        """Every option, as text; a baseline that was given as numbers is not stored."""
        return json.dumps(self.values() | {"baseline": self.baseline_name})
