"""All maps of one layer, from its block and the start of its path."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lignite.attribution.block import Block
from lignite.attribution.compose import compose
from lignite.attribution.maps import AttentionByPaths, AttentionMap, MlpMap, WholeByPaths, WholeMap
from lignite.attribution.plan import Plan, choose_plan, grading, make_room
from lignite.attribution.quadrature import Integral, Integrand, integrate
from lignite.attribution.readout import Readout
from lignite.attribution.self_term import complete_diagonal, own_share
from lignite.errors import NotFiniteError, OptionError
from lignite.request import FlowRequest


@dataclass
class LayerScores:
    """Maps of one layer by the names of the result layout, target first; and what to say about them.

    `missed` tells for each map which targets (rows) did not converge, `n_nodes` the nodes a target needed on average.
    """

    plan: str
    variables: dict[str, Tensor] = field(default_factory=dict)
    missed: dict[str, Bool[Tensor, " target"]] = field(default_factory=dict)
    n_nodes: dict[str, float] = field(default_factory=dict)

    def record(self, name: str, integral: Integral, *, keep: bool) -> None:
        """Note how a map went, and keep it if it was asked for."""
        self.missed[name] = ~integral.converged
        self.n_nodes[name] = float(integral.n_nodes.double().mean())
        if keep:
            self.variables[name] = integral.scores["scores"]
            self.variables[f"{name}_displacement"] = integral.displacement
            self.variables[f"{name}_gap"] = integral.gap


def attribute_layer(
    block: Block,
    baseline: Float[Tensor, "token d"] | None,
    targets: Int[Tensor, " target"],
    request: FlowRequest,
    *,
    budget: float,
) -> LayerScores:
    """Integrate every requested map of a block.

    Parameters
    ----------
    block
        On the input to explain.
    baseline
        Start of the path; None for the target-token path.
    targets
        Tokens whose scores are wanted.
    request
        The options of the run.
    budget
        Bytes that intermediate tensors may take.

    Raises
    ------
    OptionError
        If a map or detail is asked for that the block cannot offer.
    NotFiniteError
        If scores are NaN or infinite.
    """
    _check_available(block, request)
    plan = choose_plan(block, baseline, request.plan)
    result = LayerScores(plan.name)
    work = _Layer(block, baseline, targets, request, plan, budget)
    maps = set(request.maps)
    variables = result.variables

    if maps & {"attention", "composed"}:
        attention = work.attention()
        result.record("attention", attention, keep="attention" in maps)
    if maps & {"mlp", "composed"}:
        mlp = work.mlp()
        result.record("mlp", mlp, keep="mlp" in maps)
    if "whole" in maps:
        whole = work.whole()
        result.record("whole", whole, keep=True)
        for name in ("heads", "residual", "circuits"):
            if name in whole.scores:
                variables[f"whole_{name}"] = whole.scores[name]
    if "composed" in maps:
        composed, total = compose(
            attention.scores["scores"],
            attention.displacement,
            mlp.scores["scores"],
            targets,
            composition=request.composition,
        )
        variables |= {"composed": composed, "composed_displacement": total, "composed_gap": composed.sum(-1) - total}
    for name, values in variables.items():
        if not torch.isfinite(values).all():
            raise NotFiniteError(f"{name} of a layer contains NaN or infinity; load the model in float32 or float64.")
    return result


def _check_available(block: Block, request: FlowRequest) -> None:
    if block.heads is None and set(request.maps) != {"whole"}:
        raise OptionError(
            f"This layer offers the map 'whole' alone, since its block could not be split at its heads; asked for "
            f"{', '.join(request.maps)}. Pass maps=('whole',) or see `lignite check` for the reason."
        )
    if "circuits" in request.detail and block.route != "interface":
        raise OptionError("detail='circuits' needs a block on transformers' attention interface; this one bypasses it.")
    if "heads" in request.detail and block.heads is None:
        raise OptionError("detail='heads' needs a block with heads; this one offers none.")


@dataclass(frozen=True, eq=False)
class _Layer:
    """One layer under one request: the ends of its paths, computed once."""

    block: Block
    baseline: Float[Tensor, "token d"] | None
    targets: Int[Tensor, " target"]
    request: FlowRequest
    plan: Plan
    budget: float

    def attention(self) -> Integral:
        assert self.block.heads is not None
        readout = self._readout(self.heads_at_start(), self.block.heads)
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
            start[self.targets] = self.heads_at_start()
        with torch.no_grad():
            output = block.post(block.states[self.targets][None], start[self.targets][None], self.targets)[0]
        readout = self._readout(output, block.output)
        room = make_room(block, self.plan, "mlp", len(self.targets), self.budget)
        return self._run(MlpMap(block, start, readout, room), readout, power=grading(start[self.targets]))

    def heads_at_start(self) -> Float[Tensor, "target head d_value"]:
        path = self.plan.path or self.plan.paths
        assert path is not None
        return path.heads_at_start(self.targets)

    def output_at_start(self) -> Float[Tensor, "target d"]:
        block, targets = self.block, self.targets
        with torch.no_grad():
            if self.baseline is not None:
                return block.whole(self.baseline[None])[0, targets]
            if block.heads is not None:
                return block.post(block.states[targets][None], self.heads_at_start()[None], targets)[0]
            starts = [block.whole(block.states[t].expand(1, len(block.states), -1))[0, t] for t in targets.tolist()]
            return torch.stack(starts)

    def _readout(self, start: Float[Tensor, "target *head d"], end: Float[Tensor, "token *head d"]) -> Readout:
        origin = end.clone()
        origin[self.targets] = start
        return Readout(self.request.readout, origin, end)

    def _integrate(self, name: str, readout: Readout) -> Integral:
        block, plan, detail = self.block, self.plan, self.request.detail
        room = make_room(block, plan, name, len(self.targets), self.budget)
        integrand: AttentionMap | WholeMap | AttentionByPaths | WholeByPaths
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
        return self._run(integrand, readout, power=plan.power)

    def _run(self, integrand: Integrand, readout: Readout, *, power: int) -> Integral:
        request = self.request
        return integrate(
            integrand,
            readout.displacement[self.targets],
            self.targets,
            tol=request.tol,
            max_steps=request.max_steps,
            n_steps=request.n_steps,
            power=power,
        )

    def _complete(self, name: str, integral: Integral) -> Integral:
        """Put the self term that was asked for on the diagonal of a target-token map."""
        if self.baseline is not None or self.request.self_term == "measured":
            return integral
        if self.request.self_term == "map_ratio":
            share = self._attention_on_self(by_head=name == "attention")
        else:
            zero = torch.zeros_like(self.block.states)
            from_zero = _Layer(self.block, zero, self.targets, self.request, choose_plan(self.block, zero), self.budget)
            measured = from_zero.attention() if name == "attention" else from_zero.whole()
            share = own_share(measured.scores["scores"], self.targets)
        scores = {"scores": complete_diagonal(integral.scores["scores"], share, self.targets)}
        return Integral(scores, integral.displacement, integral.gap, integral.n_nodes, integral.converged)

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
