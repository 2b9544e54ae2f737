"""All maps of one layer, from its block and the start of its path."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lignite.attribution.block import Block
from lignite.attribution.compose import compose
from lignite.attribution.maps import AttentionByPaths, AttentionMap, MlpMap, WholeByPaths, WholeMap
from lignite.attribution.plan import GRADED_POWER, Plan, choose_plan, grading, make_room
from lignite.attribution.quadrature import NODES_PER_PANEL, Integral, graded, integrate
from lignite.attribution.readout import Readout
from lignite.attribution.self_term import complete_diagonal, own_share
from lignite.attribution.trial import Draw, Trial, draw
from lignite.errors import NotFiniteError, OptionError
from lignite.request import FlowRequest

AnyMap = AttentionMap | WholeMap | MlpMap | AttentionByPaths | WholeByPaths


@dataclass
class LayerScores:
    """Maps of one layer by the names of the result layout, target first; and what to say about them.

    `missed` tells for each map which targets (rows) did not converge, `n_nodes` the nodes a target needed on average,
    `trial` how far its scores of one target at one node were from the definition, relative to the largest.
    """

    plan: str
    variables: dict[str, Tensor] = field(default_factory=dict)
    missed: dict[str, Bool[Tensor, " target"]] = field(default_factory=dict)
    n_nodes: dict[str, float] = field(default_factory=dict)
    trial: dict[str, float] = field(default_factory=dict)

    def record(self, name: str, integral: Integral, *, keep: bool) -> None:
        """Note how a map went, and keep it if it was asked for."""
        self.missed[name] = ~integral.converged
        self.n_nodes[name] = float(integral.n_nodes.double().mean())
        if keep:
            self.variables[name] = integral.scores["scores"]
            self.variables[f"{name}_displacement"] = integral.displacement
            self.variables[f"{name}_gap"] = integral.gap
            self.variables[f"{name}_allowed"] = integral.allowed


def attribute_layer(
    block: Block,
    baseline: Float[Tensor, "token d"] | None,
    targets: Int[Tensor, " target"],
    request: FlowRequest,
    *,
    budget: float,
    seed: int = 0,
) -> LayerScores:
    """Integrate every requested map of a block, by the cheapest plan that passes its trial.

    Parameters
    ----------
    block
        On the input to explain. Where no plan of its route passes, it goes on by the next route.
    baseline
        Start of the path; None for the target-token path.
    targets
        Tokens whose scores are wanted.
    request
        The options of the run.
    budget
        Bytes that intermediate tensors may take.
    seed
        Whom and where a trial looks at.

    Raises
    ------
    OptionError
        If a map or detail is asked for that the block cannot offer.
    SplitError
        If no plan passes its trial.
    NotFiniteError
        If scores are NaN or infinite.
    """
    failed: tuple[str, ...] = ()
    while True:
        _check_available(block, request)
        plan, route = choose_plan(block, baseline, request.plan, without=failed), block.route
        work = _Layer(block, baseline, targets, request, plan, budget)
        result, complaint = _tried(work, seed)
        if block.route != route:
            continue  # a run from zero, for the self term, has already gone on by the next route
        if complaint is None:
            return result
        if request.plan != "auto":
            raise OptionError(f"plan={request.plan!r} does not hold for this layer: {complaint} Leave plan='auto'.")
        if plan.name.startswith("closed-form"):
            failed = ("closed-form",)
        else:
            block.retreat(complaint)


def _tried(work: "_Layer", seed: int) -> tuple[LayerScores, str | None]:
    """All maps, held to the definition for one target; and what is wrong with them, if anything is."""
    still: set[int] = set()
    while True:
        work.lot = lot = draw(len(work.targets), seed, without=still)
        result = work.maps()
        result.trial, complaint, moves = work.verdict()
        still.add(lot.row)
        if moves or len(still) == len(work.targets):
            return result, complaint
        # a target that stands still shows nothing: another one is drawn


def _check_available(block: Block, request: FlowRequest) -> None:
    why = f" ({block.refused[-1]})" if block.refused else ""
    if block.heads is None and set(request.maps) != {"whole"}:
        raise OptionError(
            f"This layer offers the map 'whole' alone, since its block could not be split at its heads{why}; asked for "
            f"{', '.join(request.maps)}. Pass maps=('whole',) or see `lignite check` for the reason."
        )
    if "circuits" in request.detail and block.route != "interface":
        raise OptionError(
            "detail='circuits' needs a block on transformers' attention interface; this one bypasses it, or computes "
            f"something beside it{why}. Leave circuits out; maps are offered all the same."
        )
    if "heads" in request.detail and block.heads is None:
        raise OptionError(f"detail='heads' needs a block with heads; this one offers none{why}. Leave detail out.")


class _Layer:
    """One layer under one request and plan: the ends of its paths, computed once, and the rows that are tried."""

    def __init__(
        self,
        block: Block,
        baseline: Float[Tensor, "token d"] | None,
        targets: Int[Tensor, " target"],
        request: FlowRequest,
        plan: Plan,
        budget: float,
    ):
        self.block, self.baseline, self.targets = block, baseline, targets
        self.request, self.plan, self.budget = request, plan, budget
        self.lot: Draw | None = None
        self.seen: dict[str, Tensor] = {}

    def maps(self) -> LayerScores:
        """Every map that was asked for."""
        request, result = self.request, LayerScores(self.plan.name)
        maps, variables = set(request.maps), result.variables
        if maps & {"attention", "composed"}:
            attention = self.attention()
            result.record("attention", attention, keep="attention" in maps)
        if maps & {"mlp", "composed"}:
            mlp = self.mlp()
            result.record("mlp", mlp, keep="mlp" in maps)
        if "whole" in maps:
            whole = self.whole()
            result.record("whole", whole, keep=True)
            for name in ("heads", "residual", "circuits"):
                if name in whole.scores:
                    variables[f"whole_{name}"] = whole.scores[name]
        if "composed" in maps:
            composed, total = compose(
                attention.scores["scores"],
                attention.displacement,
                mlp.scores["scores"],
                self.targets,
                composition=request.composition,
            )
            variables["composed"], variables["composed_displacement"] = composed, total
            variables["composed_gap"] = composed.sum(-1) - total
            variables["composed_allowed"] = self._allowed_in_composed(attention, mlp)
        for name, values in variables.items():
            if not torch.isfinite(values).all():
                raise NotFiniteError(
                    f"{name} of a layer contains NaN or infinity; load the model in float32 or float64."
                )
        return result

    def _allowed_in_composed(self, attention: Integral, mlp: Integral) -> Float[Tensor, " target"]:
        """What the gaps of all heads may come to where their scores are followed on."""
        allowed = attention.allowed
        if self.request.composition != "product":
            allowed = torch.where(attention.displacement == 0, 0, allowed / attention.displacement)
        return (allowed * mlp.scores["scores"].abs()).sum(-1)

    # The trial

    def verdict(self) -> tuple[dict[str, float], str | None, bool]:
        """How far each map is from the definition for the target drawn, what is wrong, and whether the target moves."""
        assert self.lot is not None
        n_nodes = self.request.n_steps or min(NODES_PER_PANEL, self.request.max_steps)
        trial = Trial(
            self.block, self.baseline, int(self.targets[self.lot.row]), self.lot, self.seen,
            path=graded(n_nodes, self.plan.power), heads_path=graded(n_nodes, self.heads_power),
            heads_from_zero=self.request.mlp_baseline == "zero", readout=self.request.readout,
        )  # fmt: skip
        found = dict(zip(self.seen, trial.errors().tolist(), strict=True))
        wrong = [
            f"{name} differs from the model's own by {error:.1e} of its largest score (allowed: {allowed:.0e})"
            for name, (error, allowed, _) in found.items()
            if not error <= allowed
        ]
        complaint = f"tried at one target, {'; '.join(wrong)}." if wrong else None
        return (
            {name: error for name, (error, _, _) in found.items()},
            complaint,
            any(size > 0 for _, _, size in found.values()),
        )

    def attention(self) -> Integral:
        assert self.block.heads is not None
        readout = self._readout(self.heads_at_start, self.block.heads)
        integral = self._integrate("attention", readout)
        return self._complete("attention", integral)

    def whole(self) -> Integral:
        integral = self._integrate("whole", self._readout(self.output_at_start(), self.block.output))
        return self._complete("whole", integral)

    def mlp(self) -> Integral:
        block = self.block
        assert block.heads is not None
        start = torch.zeros_like(block.heads)
        if self.request.mlp_baseline == "attention_start":
            start[self.targets] = self.heads_at_start
        with torch.no_grad():
            output = block.post(block.states[self.targets][None], start[self.targets][None], self.targets)[0]
        readout = self._readout(output, block.output)
        room = make_room(block, self.plan, "mlp", len(self.targets), self.budget)
        return self._run("mlp", MlpMap(block, start, readout, room), readout, power=self.heads_power)

    @cached_property
    def heads_power(self) -> int:
        """Grading of the path from heads to states."""
        if self.block.heads is None:
            return 1
        if self.request.mlp_baseline == "zero":
            return GRADED_POWER
        return grading(self.heads_at_start)

    @cached_property
    def heads_at_start(self) -> Float[Tensor, "target head d_value"]:
        """Every target's heads where its path starts."""
        path = self.plan.path or self.plan.paths
        assert path is not None
        return path.heads_at_start(self.targets)

    def output_at_start(self) -> Float[Tensor, "target d"]:
        block, targets, paths = self.block, self.targets, self.plan.paths
        with torch.no_grad():
            if self.baseline is not None:
                return block.as_loaded(self.baseline[None])[1][0, targets]
            if paths is None or paths.through_heads:
                return block.post(block.states[targets][None], self.heads_at_start[None], targets)[0]
            return paths.output_at_start(targets)

    def _readout(self, start: Float[Tensor, "target *head d"], end: Float[Tensor, "token *head d"]) -> Readout:
        origin = end.clone()
        origin[self.targets] = start
        return Readout(self.request.readout, origin, end)

    def _integrate(self, name: str, readout: Readout) -> Integral:
        block, plan, detail = self.block, self.plan, self.request.detail
        room = make_room(block, plan, name, len(self.targets), self.budget)
        integrand: AnyMap
        if plan.path is not None and name == "attention":
            integrand = AttentionMap(block, plan.path, readout, room)
        elif plan.path is not None:
            integrand = WholeMap(block, plan.path, readout, room, detail)
        elif name == "attention":
            assert plan.paths is not None
            integrand = AttentionByPaths(block, plan.paths, readout, room)
        else:
            assert plan.paths is not None
            integrand = WholeByPaths(block, plan.paths, readout, room, detail)
        return self._run(name, integrand, readout, power=plan.power)

    def _run(self, name: str, integrand: AnyMap, readout: Readout, *, power: int) -> Integral:
        request = self.request
        if self.lot is not None:
            integrand.watched = self.lot.row
        integral = integrate(
            integrand,
            readout.displacement[self.targets],
            self.targets,
            tol=request.tol,
            max_steps=request.max_steps,
            n_steps=request.n_steps,
            power=power,
        )
        if integrand.seen:
            self.seen[name] = torch.cat(integrand.seen)
        return integral

    def _complete(self, name: str, integral: Integral) -> Integral:
        """Put the self term that was asked for on the diagonal of a target-token map."""
        if self.baseline is not None or self.request.self_term == "measured":
            return integral
        if self.request.self_term == "map_ratio":
            share = self._attention_on_self(by_head=name == "attention")
        else:
            request = replace(self.request, maps=(name,), baseline="zero", self_term="measured", plan="auto")
            zero = torch.zeros_like(self.block.states)
            from_zero = attribute_layer(
                self.block, zero, self.targets, request, budget=self.budget, seed=self.lot.seed if self.lot else 0
            )
            share = own_share(from_zero.variables[name], self.targets)
        scores = {"scores": complete_diagonal(integral.scores["scores"], share, self.targets)}
        return replace(integral, scores=scores)

    def _attention_on_self(self, *, by_head: bool) -> Tensor:
        """How much each target attends to itself, by head or on average over heads."""
        block, targets = self.block, self.targets
        if block.route != "interface":
            raise OptionError("self_term='map_ratio' needs attention weights, which this block does not show.")
        assert block.scoring is not None
        with torch.no_grad():
            assert block.projections is not None
            query, key, _ = block.projections
            key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
            weights = block.scoring.weights(query @ key.mT * block.scoring.scale)[0]
        own = weights.diagonal(dim1=-2, dim2=-1).T[targets]
        return own if by_head else own.mean(-1)
