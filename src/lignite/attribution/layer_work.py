"""The work on one layer by one plan: its maps, integrated and tried, with the ends of their paths."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from math import isfinite
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lignite.attribution.axes import PerTarget, TargetHeads, Targets
from lignite.attribution.black_box import AttentionByPaths, StraightPaths, map_to_output
from lignite.attribution.block import Block, HeadedBlock
from lignite.attribution.integrals import NODES_PER_PANEL, Bisecting, Integral, Opened
from lignite.attribution.keep import Full, keep_named
from lignite.attribution.layer_scores import LayerScores, MapOptions, halves, in_pieces
from lignite.attribution.maps import (
    AtNodes,
    AttentionMap,
    ByNode,
    Chunking,
    Map,
    MlpMap,
    ThroughPost,
    WholeMap,
    allowed_in_composed,
    compose,
    together,
)
from lignite.attribution.panels import Goal, Precision, Scores, of_targets
from lignite.attribution.paths import Path, Remembering
from lignite.attribution.plan import GRADED_POWER, Plan, choose_chunking, grading, held_bytes
from lignite.attribution.readout import READOUTS, Readout
from lignite.attribution.rules import foreseen_rule, graded, panel_rule, started_rule
from lignite.attribution.self_term import attention_on_self, complete_diagonal
from lignite.attribution.trial import Draw, Measured, Question, Trial, Verdict, draw_nodes
from lignite.errors import NotFiniteError
from lignite.memory import LEAST, is_out_of_memory, let_go
from lignite.tolerance import size_among_targets

LIVE_WEIGHTS = 4
"""Tensors of the size of attention that a pass of a block keeps: logits, masked logits, weights, and their gradient."""

Found = TypeVar("Found")

Ready = tuple[Map, Readout, int]
"""A map that can be integrated, its readout, and the power by which its path is graded."""


Settled = tuple[LayerScores, Trial]
"""The scores of a layer, and the trial that they have yet to pass."""


class LayerWork:
    """A layer by one plan, with the ends of its paths, which are computed once.

    `attribute` is what computes a layer, which a self term asks for a run from zero. Where the work `foresees` that
    first panels do not suffice, their `halves` are computed with them.
    """

    foresees = False

    def __init__(
        self,
        block: Block,
        baseline: Float[Tensor, "token d"] | None,
        targets: Targets,
        options: MapOptions,
        precision: Precision,
        plan: Plan,
        budget: float,
        sources: Int[Tensor, " source"] | None,
        seed: int,
        attribute: Callable[..., tuple[Block, LayerScores]],
    ):
        self.block, self.baseline, self.targets = block, baseline, targets
        self.options, self.precision, self.plan, self.budget = options, precision, plan, budget
        self.keep, self.sources, self.attribute = keep_named(options.keep), sources, attribute
        self.everyone = len(targets) == len(block.states)
        self.numbers = list(range(len(targets))) if self.everyone else targets.tolist()
        self.integrands: dict[str, Map] = {}
        self.halves: dict[str, tuple[Scores, Scores, PerTarget]] = {}
        self.remembered: Remembering | None = None
        self._heads_at_start: TargetHeads | None = None
        self.chunkings, self.measured = dict[str, Chunking](), cast("tuple[Readout, Tensor, Tensor] | None", None)
        self.seed, self.own_shares, self.halved = seed, dict[str, PerTarget](), 0
        self.at_once = self._targets_at_once()

    @property
    def needed(self) -> list[str]:
        """The maps that are integrated: those that were asked for, and both halves of a composed one."""
        asked = {*self.options.maps, *(("attention", "mlp") if "composed" in self.options.maps else ())}
        return [name for name in ("attention", "mlp", "whole") if name in asked]

    def tried(self, drawn: Draw) -> tuple[LayerScores, dict[str, Verdict]]:
        """Compute every map that was asked for, and try it. Devices are waited for twice, not map by map."""
        while (ready := self._unless_full(partial(self._ready, drawn))) is None:
            pass
        self.integrands = {name: integrand for name, (integrand, _, _) in ready.items()}
        result, verdicts = LayerScores(self.plan.name), dict[str, Verdict]()
        pieces = in_pieces(len(self.targets), self.at_once)
        pieces.sort(key=lambda rows: not rows.start <= drawn.row < rows.stop)  # what fails its trial fails first
        while pieces:
            rows = pieces.pop(0)
            own = drawn if rows.start <= drawn.row < rows.stop else None
            found = self._unless_full(partial(self._tried_some, ready, rows, own, result))
            pieces = [*halves(rows), *pieces] if found is None else pieces
            verdicts |= found or {}
        result.memory, result.halved = self.memory, self.halved
        return result, verdicts

    def _ready(self, drawn: Draw) -> dict[str, Ready]:
        """Make the maps, with the ends of their paths; where everything fits, with their first panels."""
        if isinstance(self.plan.path, StraightPaths) or not self.fits_at_once:
            return {name: self.map(name) for name in self.needed}
        return self.first_panels(self.plan.path, drawn.row)

    def like(self, block: Block, baseline: Float[Tensor, "token d"] | None, plan: Plan) -> "LayerWork":
        """The same work on another block of the same make, by a plan of the same name."""
        work = LayerWork(
            block, baseline, self.targets, self.options, self.precision, plan, self.budget, self.sources, 0,
            self.attribute,
        )  # fmt: skip
        work.chunkings, work.foresees = self.chunkings, self.foresees
        return work

    def settled(
        self, drawn: Draw, given: dict[str, Any], shares: Sequence[float], missing: Sequence[bool],
        taken: Mapping[str, float],
    ) -> Settled:  # fmt: skip
        """Take what was found beside other layers, and the trial of the target that was drawn.

        `taken` are the nodes of those maps whose first panels did not suffice.
        """
        result, n_targets = LayerScores(self.plan.name), len(self.targets)
        everyone = slice(0, n_targets)
        result.put(everyone, n_targets, given["found"])
        for place, name in enumerate(self.needed):
            result.note(
                name,
                everyone,
                n_targets,
                missing[place * n_targets :][:n_targets],
                taken.get(name, float(self.n_nodes)),
            )
        by_map = {name: shares[place * self.n_nodes :][: self.n_nodes] for place, name in enumerate(self.needed)}
        result.memory = self.memory
        return result, self._trial(drawn, draw_nodes(by_map, drawn.seed), given["seen"])

    def _unless_full(self, compute: Callable[[], Found]) -> Found | None:
        """Compute something; where memory runs out, let go of what was held, halve the budget, and give nothing."""
        try:
            return compute()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or self.budget < LEAST:
                raise
        self.budget /= 2
        self.halved += 1
        self.chunkings = {}
        if self.remembered is not None:
            self.remembered.last = None
        for name, integrand in self.integrands.items():
            integrand.start_again(self.chunking(name))
        let_go()
        return None

    def _tried_some(
        self, ready: dict[str, Ready], rows: slice, drawn: Draw | None, result: LayerScores
    ) -> dict[str, Verdict]:
        """Integrate the maps of some targets, add them to the result, and try them if the one drawn is among them."""
        targets = self.targets if rows == slice(0, len(self.targets)) else self.targets[rows]
        if drawn is not None:
            for integrand in self.integrands.values():
                integrand.watch(drawn.row - rows.start)
        opened = {name: self.open(*each, rows, targets) for name, each in ready.items()}
        failing, shares = self._read(opened, watched=drawn is not None)
        integrals = {name: self._complete(name, one.close(failing[name]), rows) for name, one in opened.items()}
        result.put(rows, len(self.targets), self.collect(integrals, targets))
        measured = None
        if drawn is not None:
            seen = {
                name: torch.cat(each.seen) if len(each.seen) > 1 else each.seen[0]
                for name, each in self.integrands.items()
            }
            measured = Measured(self._trial(drawn, draw_nodes(shares, drawn.seed), seen))
        refined = [name for name in opened if opened[name].refines and any(failing[name])]
        flags = [~integrals[name].converged for name in refined]
        sums = [integral.gap.flatten().sum(0, keepdim=True) for integral in integrals.values()]
        n_rows = 0 if measured is None else len(measured.rows)
        everything = torch.cat([*([] if measured is None else [measured.rows]), *flags, *sums]).tolist()
        verdicts = {} if measured is None else measured.verdicts(everything[:n_rows])
        read = iter(everything[n_rows:])
        for name, integral in integrals.items():
            missing = [bool(next(read)) for _ in failing[name]] if name in refined else failing[name]
            n_nodes = float(integral.n_nodes.double().mean()) if name in refined else float(self.n_nodes)
            result.note(name, rows, len(self.targets), missing, n_nodes)
        result.trial |= {name: verdict.error for name, verdict in verdicts.items()}
        for name, total in zip(integrals, read, strict=True):
            if not isfinite(total):  # every score, every displacement is in the sum of gaps
                raise NotFiniteError(
                    f"{name} of a layer contains NaN or infinity; load the model in float32 or float64."
                )
        return verdicts

    @property
    def fits_at_once(self) -> bool:
        """Whether the first panels of all maps, which start where their path does, are one piece."""
        if "mlp" in self.needed and (self.baseline is not None or self.options.mlp_baseline == "zero"):
            return False
        return all(self.chunking(name).holds(2 * self.n_nodes + 1, len(self.targets)) for name in self.needed)

    def first_panels(self, path: Path, watched: int | slice) -> dict[str, Ready]:
        """Compute the first panels of all maps from one point, whose first node is the start, and one pass of `post`.

        The start weighs nothing and is where readouts begin. Where `foresees`, their halves are computed along.
        """
        block, targets, power = path.block, self.targets, self.plan.power
        states = block.states
        path = self.remembered = Remembering(path)
        kind = self.n_nodes, power, states.dtype, states.device
        rule = panel_rule(self.n_nodes, 0.0, 1.0, *kind[1:])
        started = foreseen_rule(*kind) if self.foresees else started_rule(*kind)
        with torch.no_grad():
            heads = path.at(started[0], targets).attend(block.scoring, targets)[1][0]
        self.begin(heads, None)
        found: dict[str, Ready] = {}
        if "attention" in self.needed:
            readout = self._readout(heads, block.heads)
            attention = AttentionMap(path, readout, self.chunking("attention"))
            self._hand("attention", attention, *attention.by_node(*started, targets), watched)
            found["attention"] = attention, readout, power
        through: dict[str, ThroughPost] = {}
        if "whole" in self.needed:
            through["whole"] = WholeMap(path, None, self.chunking("whole"), self.options.detail)
        if "mlp" in self.needed:
            through["mlp"] = MlpMap(block, self._among(block.heads, heads), None, self.chunking("mlp"))
        if through:
            rules = [started, *[rule] * (len(through) - 1)]
            maps = [(one, *own) for one, own in zip(through.values(), rules, strict=True)]

            def read_from(start: Float[Tensor, "target d"]) -> Readout:
                self.begin(heads, start)
                return self._readout(start, block.output)

            by_node, output = together(maps, targets, read_from)
            for place, (name, one) in enumerate(through.items()):
                self._hand(name, one, by_node[place], output, watched, started=place == 0)
                found[name] = one, one.readout, power
        return {name: found[name] for name in self.needed}

    def _hand(
        self,
        name: str,
        one: AtNodes,
        found: ByNode,
        values: Float[Tensor, "node target *head d"],
        watched: int | slice,
        *,
        started: bool = True,
    ) -> None:
        """Hand a map its first panel; of what was computed beyond, its halves are kept."""
        if self.foresees:
            n_first = self.n_nodes + 1
            beyond = {part: each[n_first:] for part, each in found.items()}
            found = {part: each[:n_first] for part, each in found.items()}
            self.halves[name] = one.two(beyond, values[-1], self.targets)
        one.have_ready(one.added(found, watched), started=started)

    @property
    def n_nodes(self) -> int:
        """Nodes of the first panel."""
        return self.precision.n_steps or min(NODES_PER_PANEL, self.precision.max_steps)

    def _targets_at_once(self) -> int:
        """Let all targets hold their scores, if these fit; else as many as half of the budget holds."""
        options, n_targets = self.options, len(self.targets)
        self.held = held_bytes(self.block, self.needed, options.detail, composed="composed" in options.maps)
        if n_targets * self.held <= self.budget:
            return n_targets
        self.budget /= 2
        return max(1, int(self.budget // self.held))

    def open(self, integrand: Map, readout: Readout, power: int, rows: slice, targets: Targets) -> Opened:
        if self.measured is None or self.measured[0] is not readout:  # maps to the block's output may share theirs
            moved = of_targets(readout.displacement, self.targets)
            self.measured = readout, moved, size_among_targets(moved, moved.median())
        _, displacement, size = self.measured
        if targets is not self.targets:
            displacement, size = displacement[rows], size[rows]
        return Opened(Bisecting(integrand, Goal(displacement, targets, size, self.precision, power)))

    def _read(
        self, opened: dict[str, Opened], *, watched: bool
    ) -> tuple[dict[str, list[bool]], dict[str, list[float]]]:
        """Read which targets need more nodes, and each node's share of a watched target's scores, all at once."""
        parts = [one.content for one in opened.values()]
        for integrand in self.integrands.values() if watched else ():
            parts += [sizes_of(row) for row in integrand.seen]
        read = iter(torch.cat(parts).tolist())
        failing = {name: [not next(read) for _ in range(len(one.content))] for name, one in opened.items()}
        if not watched:
            return failing, {}
        return failing, {name: [next(read) for row in self.integrands[name].seen for _ in row] for name in opened}

    def collect(self, integrals: dict[str, Integral], targets: Targets) -> dict[str, Tensor]:
        """Take what is kept of the maps that were asked for, each with its certificate, and how it divides."""
        options, found = self.options, dict[str, Tensor]()
        for name, integral in integrals.items():
            if name in options.maps:
                books = {part: getattr(integral, part) for part in ("displacement", "gap", "allowed")}
                found |= self._kept(name, integral.scores["scores"], targets)
                if f"{name}_sum" in found:
                    found |= {f"{name}_sum_{part}": each.sum(1) for part, each in books.items()}
                found |= {
                    **{f"{name}_{part}": each for part, each in books.items()},
                    **{f"{name}_{part}": each for part, each in integral.scores.items() if part != "scores"},
                }
        if "composed" in options.maps:
            attention, mlp = integrals["attention"], integrals["mlp"]
            composed, total = compose(
                attention.scores["scores"],
                attention.displacement,
                mlp.scores["scores"],
                targets,
                composition=options.composition,
            )
            found |= self._kept("composed", composed, targets) | {
                "composed_displacement": total,
                "composed_gap": composed.sum(-1) - total,
                "composed_allowed": allowed_in_composed(
                    attention.allowed, attention.displacement, mlp.scores["scores"], composition=options.composition
                ),
            }
        return found

    def _kept(self, name: str, scores: Float[Tensor, "target *head source"], targets: Targets) -> dict[str, Tensor]:
        if name == "mlp" or isinstance(self.keep, Full):
            return {name: scores}
        sources = self.sources
        if sources is None:
            sources = torch.arange(scores.shape[-1], device=scores.device)
        elif len(sources) < scores.shape[-1]:
            scores = scores[..., sources]
        return {f"{name}{ending}": part for ending, part in self.keep.kept(scores, targets, sources).items()}

    def _trial(self, drawn: Draw, nodes: dict[str, int], seen: dict[str, Tensor]) -> Trial:
        n_nodes, options = self.n_nodes, self.options
        question = Question(
            tuple(nodes), options.mlp_baseline == "zero", options.readout,
            side_by_side=(len(nodes) + 1 + ("mlp" in nodes)) * self.pass_bytes <= self.budget,
        )  # fmt: skip
        return Trial(
            question, self.block, self.baseline, self.numbers[drawn.row], drawn, seen, nodes,
            path=graded(n_nodes, self.plan.power), heads_path=graded(n_nodes, self.heads_power),
        )  # fmt: skip

    @property
    def pass_bytes(self) -> int:
        """What one forward and backward pass of the block takes at most, attention weights and their like included."""
        block, n_tokens = self.block, len(self.block.states)
        weights = LIVE_WEIGHTS * max(block.n_heads, 1) * n_tokens**2 * block.states.element_size()
        return n_tokens * block.post_bound() + weights

    @property
    def memory(self) -> int:
        """Bytes of the largest piece of work: a map's largest chunk, or the trial's pass of the block."""
        chunks = [self.chunking(name).taken(self.n_nodes, self.at_once) for name in self.needed]
        held = 0 if self.at_once == len(self.targets) else self.at_once * self.held
        return int(max(held + max(chunks), self.pass_bytes))

    # Integrands

    def map(self, name: str) -> Ready:
        """Make one of the maps."""
        return self._mlp() if name == "mlp" else self._states_to(name)

    def _mlp(self) -> Ready:
        block, targets = cast(HeadedBlock, self.block), self.targets
        from_zero = self.options.mlp_baseline == "zero"
        heads = torch.zeros_like(block.heads[targets]) if from_zero else self.heads_at_start
        with torch.no_grad():
            output = self._post(heads) if from_zero else self._post_of_start
        readout, start = self._readout(output, block.output), self._among(block.heads, heads)
        return MlpMap(block, start, readout, self.chunking("mlp")), readout, self.heads_power

    def _states_to(self, name: str) -> Ready:
        """Make the map from states to heads, or to the block's output."""
        block, path, chunking = self.block, self.plan.path, self.chunking(name)
        if not isinstance(path, StraightPaths) and chunking.holds(self.n_nodes, self.at_once):
            path = self.remembered = self.remembered or Remembering(path)  # all maps meet the same nodes
        if name == "attention":
            readout = self._readout(self.heads_at_start, cast(HeadedBlock, block).heads)
            if isinstance(path, StraightPaths):
                return AttentionByPaths(path, readout, chunking), readout, self.plan.power
            return AttentionMap(path, readout, chunking), readout, self.plan.power
        readout = self._readout(self.output_at_start(), block.output)
        return map_to_output(path, readout, chunking, self.options.detail), readout, self.plan.power

    def chunking(self, name: str) -> Chunking:
        if name not in self.chunkings:
            self.chunkings[name] = choose_chunking(
                self.block, self.plan, name, self.at_once, self.budget, n_nodes=self.n_nodes
            )
        return self.chunkings[name]

    @cached_property
    def heads_power(self) -> int:
        """Grading of the path from heads to states."""
        if "mlp" not in self.needed or self.options.mlp_baseline == "zero":
            return GRADED_POWER
        return 1 if self.baseline is None else grading(self.heads_at_start)

    @property
    def heads_at_start(self) -> TargetHeads:
        """Compute every target's heads where its path starts, once."""
        if self._heads_at_start is None:
            path = self.plan.path
            chunking = self.chunking(self.needed[0] if isinstance(path, StraightPaths) else "attention")
            pieces = [rows for _, rows in chunking.chunks(1, len(self.targets))]
            chosen = [self.targets] if len(pieces) == 1 else [self.targets[rows] for rows in pieces]
            parts = [path.heads_at_start(targets) for targets in chosen]
            self._heads_at_start = parts[0] if len(parts) == 1 else torch.cat(parts)
        return self._heads_at_start

    @cached_property
    def _post_of_start(self) -> Float[Tensor, "target d"]:
        return self._post(self.heads_at_start)

    def _post(self, heads: TargetHeads) -> Float[Tensor, "target d"]:
        """Compute what leaves the block where the targets have these heads and their own states."""
        with torch.no_grad():
            states = self.block.states if self.everyone else self.block.states[self.targets]
            return cast(HeadedBlock, self.block).post(states[None], heads[None], self.targets)[0]

    @cached_property
    def _left_start(self) -> Float[Tensor, "target d"]:
        with torch.no_grad():
            return self.block.as_loaded(cast(Tensor, self.baseline)[None])[1][0, self.targets]

    def begin(self, heads: TargetHeads, output: Float[Tensor, "target d"] | None) -> None:
        """Take the heads of all targets where their paths start, and what leaves the block there."""
        self._heads_at_start = heads
        if output is not None and self.baseline is None:
            self._post_of_start = output
        elif output is not None:
            self._left_start = output

    def output_at_start(self) -> Float[Tensor, "target d"]:
        path = self.plan.path
        if self.baseline is not None:
            return self._left_start
        if isinstance(path, StraightPaths) and not path.through_heads:
            return path.output_at_start(self.targets)
        return self._post_of_start

    def _readout(self, start: Float[Tensor, "target *head d"], end: Float[Tensor, "token *head d"]) -> Readout:
        return READOUTS[self.options.readout](self._among(end, start), end)

    def _among(
        self, everyone: Float[Tensor, "token *any"], targets: Float[Tensor, "target *any"]
    ) -> Float[Tensor, "token *any"]:
        """Give the targets values of their own among those of all tokens."""
        if self.everyone:
            return targets
        everyone = everyone.clone()
        everyone[self.targets] = targets
        return everyone

    def _complete(self, name: str, integral: Integral, rows: slice) -> Integral:
        """Put the self term that was asked for on the diagonal of a target-token map."""
        if name == "mlp" or self.baseline is not None or self.options.self_term == "measured":
            return integral
        if name not in self.own_shares:
            self.own_shares[name] = self._own_share(name)
        share = self.own_shares[name][rows]
        scores = {"scores": complete_diagonal(integral.scores["scores"], share, self.targets[rows])}
        return replace(integral, scores=scores)

    def _own_share(self, name: str) -> PerTarget:
        """Find the share of each target in itself: in the attention weights, or in a run from zero."""
        if self.options.self_term == "map_ratio":
            weights = attention_on_self(self.block, self.targets, self.at_once)
            return weights if name == "attention" else weights.mean(-1)
        options = replace(self.options, maps=(name,), self_term="measured", plan="auto", keep="own")
        zero = torch.zeros_like(self.block.states)
        self.block, from_zero = self.attribute(
            self.block, zero, self.targets, options, self.precision, budget=self.budget, seed=self.seed
        )
        return from_zero.variables[f"{name}_own"].to(zero.device)


def sizes_of(rows: Float[Tensor, "node *any"]) -> Float[Tensor, " node"]:
    """Add up the magnitudes of the scores at every node."""
    return torch.linalg.vector_norm(rows, ord=1, dim=tuple(range(1, rows.ndim)))
