"""A rule is judged by the integrals it gets right, and the certificate by whether it tells the truth about the rest."""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from lignite.attribution.integrals import NODES_PER_PANEL, Bisecting, Nesting, Opened, Samples, integrate
from lignite.attribution.panels import Goal, Panel, Precision, Span
from lignite.attribution.refinement import Rows, refine
from lignite.attribution.rules import (
    NESTED,
    angles,
    coarse_weights,
    fejer,
    fresh,
    gauss_legendre,
    graded,
    spread,
    stretch,
)
from lignite.tolerance import size_among_targets

small_floats = st.floats(-10, 10)
ROUNDING = 1e-12  # sums of up to 48 terms of order one, each rounded to 1e-16


def goal_of(integrand, n_targets: int, *, size=None, power: int = 1, **precision) -> Goal:
    """What the integrand says it comes to; sizes are those of a flow unless they are given."""
    targets = torch.arange(n_targets)
    displacement = integrand.level(1.0, targets)
    size = size_among_targets(displacement, displacement.median()) if size is None else size
    return Goal(displacement, targets, size, Precision(**precision), power)


def apply(rule, function) -> float:
    return sum(weight * function(node) for node, weight in zip(rule.nodes, rule.weights, strict=True))


# Rules


@given(n_nodes=st.integers(1, 12), data=st.data())
def test_gauss_legendre_is_exact_up_to_degree_2n_minus_1(n_nodes, data):
    """The definition of the rule: n nodes buy every polynomial of degree 2n - 1."""
    coefficients = data.draw(st.lists(small_floats, min_size=1, max_size=2 * n_nodes))
    exact = sum(c / (k + 1) for k, c in enumerate(coefficients))

    estimate = apply(gauss_legendre(n_nodes), lambda x: sum(c * x**k for k, c in enumerate(coefficients)))

    assert estimate == pytest.approx(exact, rel=1e-9, abs=1e-9)  # up to 24 terms of 10 that may cancel


@pytest.mark.parametrize("n_nodes", [1, 3, 6])
def test_gauss_legendre_is_not_exact_for_degree_2n(n_nodes):
    """No rule of n nodes is, since the squared polynomial that vanishes at all of them has a positive integral."""
    rule = gauss_legendre(n_nodes)

    assert abs(apply(rule, lambda x: x ** (2 * n_nodes)) - 1 / (2 * n_nodes + 1)) > 1e-9


@pytest.mark.parametrize("n_nodes", [1, 2, 7, 32])
@pytest.mark.parametrize("power", [1, 2, 3])
def test_the_weights_of_a_rule_add_up_to_one(n_nodes, power):
    """A constant integrates to itself; graded weights need n nodes for the degree that grading adds."""
    rule = graded(n_nodes, power)
    if 2 * n_nodes - 1 < power - 1:
        return

    assert sum(rule.weights) == pytest.approx(1.0, abs=ROUNDING)


@given(n_nodes=st.integers(2, 12), power=st.integers(1, 3), data=st.data())
def test_a_graded_rule_is_exact_for_powers_of_the_root(n_nodes, power, data):
    """With a = t^p, an integrand of degree m in t costs degree m + p - 1, and 2n - 1 are free."""
    degree = data.draw(st.integers(0, 2 * n_nodes - power))
    exact = power / (degree + power)  # ∫ a^(m/p) da

    estimate = apply(graded(n_nodes, power), lambda a: a ** (degree / power))

    assert estimate == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize("n_nodes", [1, 64])
@pytest.mark.parametrize("power", [1, 2, 3])
def test_no_node_stands_at_an_end_of_the_path(n_nodes, power):
    """At a = 0 the displacement has no gradient."""
    rule = graded(n_nodes, power)

    assert min(rule.nodes) > 0
    assert max(rule.nodes) < 1


def test_nodes_gain_digits_geometrically_on_a_smooth_integrand():
    """Convergence of an analytic function is exponential: the error of log against nodes is a line, of known slope."""
    # 1 / (1 + 4 a) has its pole at a = -1/4; on [-1, 1] that is x = -3/2, on the ellipse of radius 3/2 + √(9/4 - 1)
    radius = 1.5 + np.sqrt(1.25)
    exact, numbers = np.log(5) / 4, np.arange(2, 10)
    errors = [abs(apply(gauss_legendre(int(n)), lambda a: 1 / (1 + 4 * a)) - exact) for n in numbers]

    slope = np.polyfit(numbers, np.log(errors), 1)[0]

    assert slope == pytest.approx(-2 * np.log(radius), rel=0.02)  # algebraic factors bend the line a little


def test_grading_mends_the_order_lost_to_a_root():
    """√a has no derivative at 0: Gauss nodes gain n⁻³ only, and nodes graded as a = t² are exact."""
    numbers = np.array([16, 32, 64, 128])
    errors = [abs(apply(gauss_legendre(int(n)), np.sqrt) - 2 / 3) for n in numbers]

    slope = np.polyfit(np.log(numbers), np.log(errors), 1)[0]

    assert slope == pytest.approx(-3, abs=0.05)  # order 2(1 + ½) for a root of order ½ at an end
    assert apply(graded(2, 2), np.sqrt) == pytest.approx(2 / 3, abs=ROUNDING)


# Adaptive integration


@dataclass
class Known:
    """Targets whose readouts are functions with known derivatives, divided between two sources, 1 to 3.

    Records what it was asked for: the nodes of every call, and how often each target was seen.
    """

    level_of: list
    slope_of: list
    nodes: list[float] = field(default_factory=list)
    spent: dict[int, int] = field(default_factory=dict)

    def scores(self, nodes: Tensor, weights: Tensor, targets: Tensor) -> dict[str, Tensor]:
        self.nodes += nodes.tolist()
        for target in targets.tolist():
            self.spent[target] = self.spent.get(target, 0) + len(nodes)
        sums = torch.stack([(weights * self.slope_of[target](nodes)).sum() for target in targets.tolist()])
        return {"scores": sums[:, None] * torch.tensor([0.25, 0.75], dtype=sums.dtype), "part": sums[:, None]}

    def level(self, point: float, targets: Tensor) -> Tensor:
        a = torch.tensor(point, dtype=torch.float64)
        return torch.stack([self.level_of[target](a) for target in targets.tolist()])

    def integrate(self, **options):
        options = {"tol": 1e-4, "max_steps": 1000} | options
        return integrate(Bisecting(self, goal_of(self, len(self.level_of), **options)))


def line(size=1.0):
    return (lambda a: size * a), (lambda a: torch.full_like(a, size))


def kink(place=0.3):
    """Flat, then rising: as a rectified unit that wakes up."""
    return (lambda a: (a - place).clamp_min(0)), (lambda a: (a > place).to(a))


def knee(sharpness=1e-4):
    """What a norm with a small epsilon does: nearly all of the change happens near a = 0."""
    return (
        lambda a: a / (a**2 + sharpness**2).sqrt(),
        lambda a: sharpness**2 / (a**2 + sharpness**2) ** 1.5,
    )


def known(*functions) -> Known:
    return Known([level for level, _ in functions], [slope for _, slope in functions])


@pytest.mark.parametrize("function", [kink(), knee(1e-1), knee(1e-3)], ids=["kink", "bend", "knee"])
@pytest.mark.parametrize("power", [1, 2, 3])
@pytest.mark.parametrize("tol", [1e-2, 1e-4])
def test_panels_are_cut_until_the_gap_is_within_the_tolerance(function, power, tol):
    """The answer is known here, so the gap can be held against it: it is met, and it is honest."""
    integrand = known(function)
    exact = integrand.level(1.0, torch.tensor([0]))

    result = integrand.integrate(tol=tol, power=power)

    missed = result.scores["scores"].sum(-1) - exact
    assert result.converged.all()
    assert (missed.abs() <= tol * exact).all()
    assert_close(result.gap, missed, rtol=0, atol=1e-14)
    assert_close(result.displacement, exact, rtol=0, atol=0)
    assert min(integrand.nodes) > 0


def test_all_parts_of_the_scores_are_refined_together():
    """Heads and circuits must still add up to the scores after panels were replaced by their halves."""
    result = known(kink(), line(), knee(1e-2)).integrate(tol=1e-5)

    assert_close(result.scores["part"][:, 0], result.scores["scores"].sum(-1), rtol=0, atol=1e-12)
    assert_close(result.scores["scores"][:, 1], 3 * result.scores["scores"][:, 0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("max_steps", [1, 4, 6, 17, 18, 40, 101])
def test_no_target_takes_more_nodes_than_allowed(max_steps):
    """`max_steps` is a promise about time; a discontinuous slope would take nodes for ever."""
    integrand = known(kink(1 / 3), line(), kink(0.7))

    result = integrand.integrate(tol=1e-9, max_steps=max_steps)

    assert max(integrand.spent.values()) <= max_steps
    assert result.n_nodes.tolist() == [integrand.spent[target] for target in range(3)]


def test_a_target_that_runs_out_of_nodes_is_not_converged_and_keeps_its_gap():
    """Scores that miss are given with how much they miss, never as if they were right."""
    result = known(kink(1 / 3), line()).integrate(tol=1e-9, max_steps=50)

    assert result.converged.tolist() == [False, True]
    assert abs(result.gap[0]) > 1e-9 * result.displacement[0]
    assert_close(result.scores["scores"].sum(-1) - result.gap, result.displacement, rtol=0, atol=1e-15)


def test_only_targets_that_miss_take_more_nodes():
    """One difficult target must not cost the others anything."""
    integrand = known(line(), kink(), line(3.0))

    result = integrand.integrate(tol=1e-3)

    assert result.n_nodes[[0, 2]].tolist() == [NODES_PER_PANEL] * 2
    assert integrand.spent[0] == integrand.spent[2] == NODES_PER_PANEL
    assert result.n_nodes[1] > NODES_PER_PANEL


def test_a_target_within_the_tolerance_is_left_alone():
    """Three quarters of the tolerance are within it, whatever others need."""
    error = abs(apply(gauss_legendre(NODES_PER_PANEL), lambda a: float(a > 0.3)) - 0.7)
    assert error > 1e-3

    result = known(kink(0.3), knee(1e-2)).integrate(tol=error / 0.75 / 0.7)

    assert result.n_nodes[0] == NODES_PER_PANEL
    assert result.n_nodes[1] > NODES_PER_PANEL


def test_a_target_with_one_difficult_head_refines_until_all_its_heads_fit():
    """Readouts of several heads share nodes; the worst of them decides."""
    functions = [line(), knee(1e-2)]

    class Heads:
        def scores(self, nodes, weights, targets):
            sums = torch.stack([(weights * slope(nodes)).sum() for _, slope in functions])
            return {"scores": sums[None, :, None].expand(len(targets), -1, -1).clone()}

        def level(self, point, targets):
            a = torch.tensor(point, dtype=torch.float64)
            return torch.stack([level(a) for level, _ in functions]).expand(len(targets), -1)

    result = integrate(Bisecting(Heads(), goal_of(Heads(), 2, tol=1e-4, max_steps=500)))

    assert result.converged.all()
    assert (result.gap.abs() <= 1e-4 * result.displacement).all()


@pytest.mark.parametrize("n_steps", [1, 5, 33])
@pytest.mark.parametrize("power", [1, 3])
def test_a_fixed_number_of_nodes_is_kept_exactly(n_steps, power):
    """`n_steps` is for comparisons at equal cost: the plain graded rule, and no more."""
    integrand = known(kink(), line())
    rule = graded(n_steps, power)

    result = integrand.integrate(n_steps=n_steps, power=power, tol=1e-6)

    assert integrand.nodes == pytest.approx(rule.nodes, rel=1e-12)
    assert result.n_nodes.tolist() == [n_steps, n_steps]
    estimate = apply(rule, lambda a: float(a > 0.3))
    assert_close(result.scores["scores"].sum(-1)[0], torch.tensor(estimate, dtype=torch.float64), rtol=0, atol=1e-12)
    assert result.converged.tolist() == [abs(estimate - 0.7) <= 0.7e-6, power == 1 or n_steps > 1]


class Sources:
    """One target, and sources that each add a function of their own to its readout."""

    def __init__(self, *functions):
        self.functions = functions

    def scores(self, nodes, weights, targets):
        return {"scores": torch.stack([(weights * slope(nodes)).sum() for _, slope in self.functions])[None]}

    def level(self, point, targets):
        return sum(level(torch.tensor([point], dtype=torch.float64)) for level, _ in self.functions)


def test_errors_of_opposite_sign_do_not_excuse_each_other():
    """A gap that is small because two panels miss by +e and -e would hide sources that are wrong."""
    # Symmetric nodes see kinks at 0.2 and 0.8 miss equally, with opposite signs; |a - 1/2| is what cuts the path in
    # two, and is exact on the halves. After that cut the gap is zero, and the kinks are still wrong.
    bow = (lambda a: (a - 0.5) * (a - 0.5).abs() / 2 + 0.125), (lambda a: (a - 0.5).abs())
    integrand = Sources(kink(0.2), kink(0.8), bow)

    result = integrate(Bisecting(integrand, goal_of(integrand, 1, tol=1e-3, max_steps=1000)))

    exact = torch.tensor([[0.8, 0.2, 0.25]], dtype=torch.float64)
    assert_close(result.scores["scores"], exact, rtol=0, atol=1e-3 * 1.25)


def test_tiny_displacements_are_held_to_a_share_of_the_median():
    """A target that moves by rounding alone has no digits of its own to be right about."""
    displacement = torch.tensor([1.0, 2.0, 4.0, 1e-9], dtype=torch.float64)

    allowed = 1e-3 * size_among_targets(displacement, displacement.median())

    # the lower of the two middle values is the median; a thousandth of it is the floor
    assert_close(allowed, torch.tensor([1e-3, 2e-3, 4e-3, 1e-6], dtype=torch.float64), rtol=1e-12, atol=0)


def test_a_target_that_does_not_move_is_converged():
    """The first token of a causal model stays where it is under the target-token path."""
    still = (lambda a: 0 * a), torch.zeros_like
    result = known(line(), still).integrate()

    assert result.converged.all()
    assert_close(result.scores["scores"][1], torch.zeros(2, dtype=torch.float64), rtol=0, atol=0)


# Rules inside one another


@given(n_nodes=st.sampled_from([3, 5, 7, 11, 15, 23, 31]), data=st.data())
def test_fejer_is_exact_up_to_degree_n_minus_1(n_nodes, data):
    """It interpolates: n nodes determine a polynomial of that degree."""
    coefficients = data.draw(st.lists(small_floats, min_size=1, max_size=n_nodes))
    exact = sum(c / (k + 1) for k, c in enumerate(coefficients))

    estimate = apply(fejer(n_nodes), lambda x: sum(c * x**k for k, c in enumerate(coefficients)))

    assert estimate == pytest.approx(exact, rel=1e-9, abs=1e-9)  # up to 31 terms of 10 that may cancel


@pytest.mark.parametrize("n_nodes", [3, 7, 15, 31])
def test_weights_are_those_that_fejer_gave(n_nodes):
    """His sum of sines, at nodes (1 − cos θ)/2 with θ = kπ/(n + 1)."""
    angle = np.arange(1, n_nodes + 1) * np.pi / (n_nodes + 1)
    odd = np.arange(1, n_nodes + 1, 2)
    weights = 2 / (n_nodes + 1) * np.sin(angle) * (np.sin(np.outer(angle, odd)) / odd).sum(1)

    assert fejer(n_nodes).nodes == pytest.approx((1 - np.cos(angle)) / 2, abs=ROUNDING)
    assert fejer(n_nodes).weights == pytest.approx(weights, abs=ROUNDING)


@pytest.mark.parametrize("n_nodes", [5, 11, 23, 47])
def test_rules_in_between_have_the_nodes_next_to_the_ends(n_nodes):
    """Every second new node of the next rule, from either end, the ends with them: there polynomials swing widest."""
    rule, larger = fejer(n_nodes), fejer((n_nodes + 1) * 4 // 3 - 1)

    new = [place for place, node in enumerate(larger.nodes) if place % 2 == 0 and node in rule.nodes]

    n_new = (n_nodes + 1) // 3
    assert new == sorted([*range(0, 2 * n_new, 4), *range(4 * n_new - 2, 2 * n_new - 1, -4)])
    assert set(larger.nodes[1::2]) < set(rule.nodes) < set(larger.nodes)
    assert rule.nodes == pytest.approx([1 - node for node in reversed(rule.nodes)], abs=ROUNDING)


@pytest.mark.parametrize("n_nodes", [2, 4, 9, 13, 30])
def test_other_numbers_of_nodes_have_no_nested_rule(n_nodes):
    """Neither N − 1 nor 3 N / 4 − 1 for a power of two."""
    with pytest.raises(ValueError, match=f"{n_nodes} nodes"):
        angles(n_nodes)


@pytest.mark.parametrize(("known", "n_nodes"), [(0, 3), *itertools.pairwise(NESTED), (7, 31)])
def test_fresh_nodes_are_those_a_smaller_rule_has_not(known, n_nodes):
    """That is what makes refining free of waste."""
    new = fresh(n_nodes, known)

    assert new.sum() == n_nodes - known
    assert np.asarray(spread(n_nodes).nodes)[~new].tolist() == (list(spread(known).nodes) if known else [])


@dataclass
class Oscillation:
    """F(a) = sin(w a) of each row's frequency w, told by two sources; every evaluated node is counted."""

    frequency: Tensor
    seen: list[int] = field(default_factory=list)

    def samples(self, targets, start, end, family):
        return Seen(self, targets)

    def level(self, point, targets):
        return torch.sin(point * self.frequency[targets])

    def integrate(self, most=63, power=1, **precision):
        n_rows = len(self.frequency)
        goal = goal_of(self, n_rows, size=torch.ones(n_rows, dtype=torch.float64), power=power, **precision)
        return integrate(Nesting(self, goal, most))


class Seen(Samples):
    """The nodes of one panel in order, and no more than that."""

    def __init__(self, waves, targets):
        super().__init__(targets)
        self.waves = waves

    def evaluate(self, nodes):
        self.waves.seen.append(len(nodes) * len(self.targets))
        return [nodes[:, None].expand(-1, len(self.targets))]

    @property
    def nodes(self):
        nodes = self.known[0][:, 0]
        assert torch.equal(nodes, nodes.sort().values)
        return nodes

    def scores(self, weights):
        frequency = self.waves.frequency[self.targets]
        total = weights @ (frequency * torch.cos(self.nodes[:, None] * frequency))
        return torch.stack([0.25 * total, 0.75 * total], -1)


@pytest.mark.parametrize("n_nodes", NESTED)
def test_spread_rules_weigh_a_constant_exactly(n_nodes):
    """Scores of a linear model are exact whatever rule they end with."""
    rule = spread(n_nodes)

    assert sum(rule.weights) == pytest.approx(1, abs=ROUNDING)
    assert np.abs(rule.weights).sum() < 1.2  # seven nodes have one weight of −0.05: rounding grows by a fifth at most
    assert 0 < min(rule.nodes) <= max(rule.nodes) < 1


@pytest.mark.parametrize("n_nodes", [3, 5, 7])
def test_small_spread_rules_are_exact_up_to_degree_n_minus_1(n_nodes):
    """By the integral of a^k, 1 / (k + 1)."""
    for degree in range(n_nodes):
        assert apply(spread(n_nodes), lambda x, k=degree: x**k) == pytest.approx(1 / (degree + 1), abs=ROUNDING)


def test_the_stretched_variable_and_its_slope():
    """The series of arcsin divided by its sum at one, written out; the slope by differences."""
    s = np.linspace(0, 1, 9)
    x = 2 * s - 1
    total = 1 + 1 / 6 + 3 / 40 + 15 / 336 + 105 / 3456
    series = (x + x**3 / 6 + 3 * x**5 / 40 + 15 * x**7 / 336 + 105 * x**9 / 3456) / total

    found, slope = stretch(s)

    assert found == pytest.approx((series + 1) / 2, abs=ROUNDING)
    h = 1e-6  # error h² of the difference, and rounding divided by h
    assert slope == pytest.approx((stretch(s + h)[0] - stretch(s - h)[0]) / (2 * h), abs=1e-8)


def test_spread_nodes_resolve_a_turn_inside_the_path_better():
    """1 / (1 + (20 (a − turn))²), whose integral is an arctangent: where paths of trained models turn is anywhere."""
    turns = np.linspace(0.2, 0.8, 61)
    exact = (np.arctan(20 * (1 - turns)) + np.arctan(20 * turns)) / 20

    errors = [
        np.mean([abs(apply(rule(31), lambda a, at=at: 1 / (1 + (20 * (a - at)) ** 2)) - one) for at, one in
                 zip(turns, exact, strict=True)])
        for rule in (spread, fejer)
    ]  # fmt: skip

    assert errors[0] < errors[1] / 3


@pytest.mark.parametrize("power", [1, 3])
@pytest.mark.parametrize("most", [7, 31, 63])
def test_nested_panels_give_the_integral_and_say_how_far_they_are_off(power, most):
    """Frequencies from one node's worth to far more than one panel holds, in one batch."""
    waves = Oscillation(torch.tensor([0.3, 4.0, 40.0, 130.0], dtype=torch.float64))
    exact = torch.sin(waves.frequency)

    found = waves.integrate(most, power, tol=1e-6, max_steps=3000)

    assert found.converged.all()
    shares = torch.tensor([0.25, 0.75], dtype=torch.float64)
    assert_close(found.scores["scores"], exact[:, None] * shares, rtol=0, atol=1e-6)
    assert_close(found.gap, found.scores["scores"].sum(1) - exact, rtol=0, atol=ROUNDING)
    assert found.n_nodes.sum() == sum(waves.seen)
    assert found.n_nodes[0] == min(15, most) < 31 < found.n_nodes[3]


class Opposed(Seen):
    """What one source takes the other gives: their sum is the same everywhere, and right with any rule."""

    def scores(self, weights):
        frequency = self.waves.frequency[self.targets]
        one = weights @ (frequency * torch.cos(self.nodes[:, None] * frequency))
        return torch.stack([one, weights.sum() - one], -1)


@dataclass
class Opposition(Oscillation):
    """F(a) = a."""

    def samples(self, targets, start, end, family):
        return Opposed(self, targets)

    def level(self, point, targets):
        return torch.full((len(targets),), point, dtype=torch.float64)


@pytest.mark.parametrize("tol", [1e-2, 1e-3, 1e-4])
def test_a_sum_that_is_right_by_chance_does_not_hide_wrong_parts(tol):
    """The gap is zero from the start, so only the scores themselves can tell that they have not settled.

    They moved by √tol at most, and a rule of n/3 more nodes misses about that to the power 4/3.
    """
    waves = Opposition(torch.tensor([4.0, 12.0, 30.0], dtype=torch.float64))

    found = waves.integrate(tol=tol, max_steps=500)

    exact = torch.sin(waves.frequency)
    missed = (found.scores["scores"] - torch.stack([exact, 1 - exact], -1)).abs()
    assert (missed <= tol ** (2 / 3) * (exact.abs() + (1 - exact).abs())[:, None]).all()
    assert found.n_nodes[0] <= found.n_nodes[1] <= found.n_nodes[2] > found.n_nodes[0]
    assert found.converged.all()


def test_settled_scores_moved_by_the_root_of_tol_at_most():
    """Of their mass: a tenth of it asks for a `tol` of a hundredth, whatever the gap; a gap counts as it is."""
    rows = rows_of(panel([0.0, 0.0], mass=[4.0, 3.0]), size=[1.0, 2.0])

    measures = [
        float(rows.measure(np.array(bound)[:, None], np.array([0]))[0])
        for bound in ([[0, 0], [0.4, 0.03]], [[0, 0.1], [0.4, 0]], [[0, np.nan], [0, 0]])
    ]

    assert measures == pytest.approx([0.01, 0.05, np.inf])


def panel(error, span=(0.0, 1.0), n_nodes=15, mass=None):
    """A panel of one row that misses this much of a readout that stands still, head by head."""
    error = torch.tensor([error], dtype=torch.float64)
    mass = None if mass is None else torch.tensor([mass], dtype=torch.float64)
    nothing = torch.zeros_like(error)
    return Panel(
        Span(*span, torch.tensor([0]), nothing, nothing), n_nodes, {"scores": error[..., None]}, nothing, mass=mass
    )


def rows_of(first, size=(1.0,), largest=0.0):
    """One row, of which nothing is rounding unless it has been large."""
    size = torch.tensor([size], dtype=torch.float64)
    return Rows([0], first, size, torch.full_like(size, largest))


def halve(rows, piece, *errors):
    """Give a piece halves that miss this much."""
    middle = (piece.start + piece.end) / 2
    spans = (piece.start, middle), (middle, piece.end)
    halves = tuple(panel([error], span) for error, span in zip(errors, spans, strict=True))
    rows.attach(piece, np.array([0]), halves, tuple(np.array([[[error]], [[0.0]]]) for error in errors))
    return piece.halves


def wanted(rows, tol, most):
    return [piece for piece, _ in rows.wanted(tol, np.array([most]))]


def best(rows):
    return [piece for piece, here in rows.best.items() if here[0]]


def test_the_panel_that_misses_most_is_halved_first():
    """Where nodes are left for one panel alone, it is that one; within a factor of four of it, others go along."""
    rows = rows_of(panel([1.0]))
    halves = halve(rows, rows.root, 0.1, 0.3)
    quarters = halve(rows, halves[1], 0.01, 0.2)

    assert rows.missed == pytest.approx(0.1 + 0.01 + 0.2)  # errors add up without their signs
    assert wanted(rows, 1e-3, 1) == [quarters[1]]
    assert wanted(rows, 1e-3, 9) == [halves[0], quarters[1]]
    assert wanted(rows, 1e-3, 0) == wanted(rows, 0.4, 9) == []


def test_a_panel_answers_until_its_halves_are_better():
    """What replaces it has fewer nodes at first."""
    rows = rows_of(panel([0.2], n_nodes=63))
    halves = halve(rows, rows.root, 0.5, 0.01)
    worse, next_ = best(rows), wanted(rows, 1e-3, 9)

    quarters = halve(rows, halves[0], 0.05, 0.05)

    assert worse == [rows.root]
    assert next_ == [halves[0]]
    assert best(rows) == [*quarters, halves[1]]
    assert rows.missed == pytest.approx(0.11)


def test_halves_that_are_worse_are_both_cut_on():
    """They answer together, so that each of them counts beside the other, not beside panels elsewhere."""
    rows = rows_of(panel([1.0]))
    halves = halve(rows, rows.root, 0.2, 0.05)
    quarters = halve(rows, halves[0], 0.5, 0.2)

    assert halves[0].missed == rows.missed - 0.05 == 0.2  # by itself
    assert wanted(rows, 1e-3, 9) == [*quarters, halves[1]]


@pytest.mark.parametrize(("n_nodes", "goes_on"), [(63, True), (15, False)])
def test_an_error_is_rounding_if_halves_of_as_many_nodes_are_no_better(n_nodes, goes_on):
    """Halves of fewer nodes may be worse by themselves."""
    few = 20 * torch.finfo(torch.float64).eps
    rows = rows_of(panel([few], n_nodes=n_nodes), largest=1.0)

    halves = halve(rows, rows.root, few, few)

    assert wanted(rows, 1e-20, 9) == (list(halves) if goes_on else [])


def test_a_rule_that_is_worse_changes_nothing_but_the_nodes_taken():
    """Movements go on being compared with the mass of the scores that are kept."""
    rows = rows_of(panel([0.3], mass=[2.0]))

    rows.offer(np.array([0]), panel([0.4], n_nodes=23, mass=[9.0]))

    assert (rows.missed, rows.mass, rows.used) == (0.3, 2.0, 23)


@pytest.mark.parametrize("family", [spread, fejer])
def test_the_rule_before_needs_no_nodes_of_its_own(family):
    """Fifteen nodes hold eleven, by whose weights the integral is what those eleven give."""
    weights, eleven = coarse_weights(15, family), family(11)

    found = weights @ np.exp(np.asarray(family(15).nodes))

    assert found == pytest.approx(apply(eleven, np.exp), abs=ROUNDING)
    assert (weights != 0).sum() == 11


def test_every_row_is_compared_with_its_own_scores():
    """Others may have ended before it."""
    frequencies = torch.tensor([1.0, 20.0, 35.0, 4.0, 28.0], dtype=torch.float64)

    def nodes(frequency):
        return Opposition(frequency).integrate(tol=1e-4, max_steps=500).n_nodes.tolist()

    assert nodes(frequencies) == [nodes(each[None])[0] for each in frequencies]


class Restless(Seen):
    """Parts that differ with every rule."""

    def scores(self, weights):
        one = weights.new_full((len(self.targets),), float(weights.count_nonzero()))
        return torch.stack([one, weights.sum() - one], -1)


def test_scores_that_never_settle_end_with_the_nodes_there_are(monkeypatch):
    """The gap is then what is told of them."""
    monkeypatch.setattr(Opposition, "samples", lambda self, targets, start, end, family: Restless(self, targets))

    found = Opposition(torch.ones(1, dtype=torch.float64)).integrate(tol=1e-3, max_steps=100)

    assert found.n_nodes.item() == 63 + 2 * 15
    assert found.converged.all()


def test_rules_in_between_are_used():
    """A path that 31 nodes miss need not take 63."""
    waves = Oscillation(torch.linspace(1, 90, 90, dtype=torch.float64))

    found = waves.integrate(tol=1e-4, max_steps=500)

    assert set(found.n_nodes.tolist()) >= {15, 23, 47}


def test_rows_of_nested_panels_do_not_hear_of_each_other():
    """A row takes the nodes it needs whatever else is in the batch."""
    waves = Oscillation(torch.tensor([2.0, 90.0], dtype=torch.float64))
    options = {"tol": 1e-5, "max_steps": 500}

    together = waves.integrate(**options)
    alone = Oscillation(waves.frequency[1:]).integrate(**options)

    assert together.n_nodes[1] == alone.n_nodes[0]
    assert_close(together.scores["scores"][1:], alone.scores["scores"], rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("max_steps", [3, 10, 31, 40, 100])
def test_nested_panels_stop_at_max_steps_and_admit_it(max_steps):
    """The best scores so far are kept, with their gap."""
    waves = Oscillation(torch.tensor([300.0], dtype=torch.float64))
    exact = torch.sin(waves.frequency)

    found = waves.integrate(tol=1e-9, max_steps=max_steps)

    assert not found.converged.any()
    assert int(found.n_nodes) <= max_steps
    assert_close(found.gap, found.scores["scores"].sum(1) - exact, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("max_steps", [70, 125, 188])
def test_a_path_keeps_its_rule_as_long_as_its_halves_are_worse(max_steps):
    """Sixty-three nodes see more of an oscillation than four panels of fifteen; eight panels see more than them."""
    waves = Oscillation(torch.tensor([150.0], dtype=torch.float64))

    found = waves.integrate(tol=1e-9, max_steps=max_steps)

    whole = waves.integrate(tol=1e-9, max_steps=63)
    assert_close(found.gap, whole.gap, rtol=0, atol=0)
    more = waves.integrate(tol=1e-9, max_steps=700)
    assert abs(more.gap) < abs(whole.gap) / 100


# What holds of rough paths


@dataclass(frozen=True)
class Bump:
    """A readout along [0, 1] and its slope, which may jump, turn sharply, oscillate or grow without bound."""

    kind: str
    place: float
    sharpness: float

    def level(self, a):
        moved, sharp = a - self.place, self.sharpness
        return {
            "kink": lambda: moved.clamp_min(0),
            "step": lambda: 1 / (1 + (-sharp * 100 * moved).exp()),
            "wave": lambda: (sharp * 10 * a).sin() / 10,
            "root": lambda: moved.abs().sqrt() * moved.sign(),
            "cubic": lambda: sharp / 50 * a**3,
        }[self.kind]()

    def slope(self, a):
        moved, sharp = a - self.place, self.sharpness
        return {
            "kink": lambda: (moved > 0).to(a),
            "step": lambda: sharp * 100 / (2 + (-sharp * 100 * moved).exp() + (sharp * 100 * moved).exp()),
            "wave": lambda: sharp * (sharp * 10 * a).cos(),
            "root": lambda: 0.5 / moved.abs().sqrt().clamp_min(1e-12),
            "cubic": lambda: 3 * sharp / 50 * a**2,
        }[self.kind]()


bumps = st.builds(
    Bump, st.sampled_from(["kink", "step", "wave", "root", "cubic"]), st.floats(0.05, 0.95), st.floats(0.5, 50.0)
)
paths = st.lists(st.lists(bumps, min_size=2, max_size=2), min_size=1, max_size=3)


@dataclass
class Rough:
    """Rows whose two sources each add a bump of their own; both engines can integrate it, and nodes are counted."""

    rows: list
    dtype: torch.dtype
    spent: dict[int, int] = field(default_factory=dict)

    def slopes(self, nodes, targets):
        for target in targets.tolist():
            self.spent[target] = self.spent.get(target, 0) + len(nodes)
        by_row = [torch.stack([each.slope(nodes) for each in self.rows[target]], -1) for target in targets.tolist()]
        return torch.stack(by_row, 1)

    def scores(self, nodes, weights, targets):
        return {"scores": torch.einsum("n,nrs->rs", weights, self.slopes(nodes, targets))}

    def samples(self, targets, start, end, family):
        return RoughSamples(self, targets)

    def level(self, point, targets):
        a, zero = (torch.tensor(at, dtype=self.dtype) for at in (point, 0.0))
        return torch.stack([sum(each.level(a) - each.level(zero) for each in self.rows[t]) for t in targets.tolist()])

    def way(self, engine, **precision):
        size = self.level(1.0, torch.arange(len(self.rows))).abs().clamp_min(0.1)
        return engine(self, goal_of(self, len(self.rows), size=size, **precision))

    def integrate(self, engine, **precision):
        return integrate(self.way(engine, **precision))

    def missed(self, engine, **precision):
        """What the panels of the first row miss without their signs, relative to its size."""
        way = self.way(engine, **precision)
        rows = Opened(way).rows([0])
        refine(rows, way)
        return float(rows.missed[0])


class RoughSamples(Samples):
    def __init__(self, path, targets):
        super().__init__(targets)
        self.path = path

    def evaluate(self, nodes):
        return [self.path.slopes(nodes, self.targets)]

    def scores(self, weights):
        return torch.einsum("n,nrs->rs", weights, self.known[0])


ENGINES = [Bisecting, Nesting]


@pytest.mark.parametrize(("engine", "options"), [(Bisecting, {"n_nodes": 2}), (Nesting, {"most": 3})], ids=str)
@pytest.mark.parametrize("power", [1, 3])
def test_halving_every_panel_gains_the_order_of_its_rule(engine, options, power):
    """Two Gauss nodes, and Fejér's three by symmetry, are exact to degree three: halves miss a sixteenth together."""
    path = Rough([[Bump("wave", 0.5, 0.5), Bump("cubic", 0.5, 1.0)]], torch.float64)
    way = engine(path, goal_of(path, 1, power=power), **options)
    errors = []
    for n_panels in (16, 32, 64):
        points = torch.linspace(0, 1, n_panels + 1, dtype=torch.float64).tolist()
        levels = [way.level(point, torch.tensor([0])) for point in points]
        spans = itertools.pairwise(zip(points, levels, strict=True))
        panels = [way.panel(Span(a, b, torch.tensor([0]), start, end)) for (a, start), (b, end) in spans]
        errors.append(abs(float(sum(panel.error() for panel in panels))))

    order = [np.log2(before / after) for before, after in itertools.pairwise(errors)]

    assert order == pytest.approx([4, 4], abs=0.1)  # the next term is smaller by a length squared


@pytest.mark.parametrize("engine", ENGINES)
def test_a_half_takes_the_targets_it_is_of(engine):
    """Rows of a span are places among the targets; the tokens there may be others."""
    path = Rough([[Bump("cubic", 0.5, scale), Bump("kink", 0.4, 1.0)] for scale in (1.0, 2.0, 3.0, 4.0)], torch.float64)
    targets = torch.tensor([1, 2, 3])
    levels = [path.level(point, targets) for point in (1.0, 0.25, 0.5)]
    way = engine(path, Goal(levels[0], targets, levels[0].abs(), Precision(max_steps=1000)))

    panel = way.panel(Span(0.25, 0.5, torch.tensor([0, 2]), levels[1][[0, 2]], levels[2][[0, 2]]))

    cubic = torch.tensor([2.0, 4.0], dtype=torch.float64) / 50 * (0.5**3 - 0.25**3)
    assert_close(panel.scores["scores"][:, 0], cubic, rtol=0, atol=ROUNDING)
    assert_close(way.level(0.5, torch.tensor([2])), levels[2][[2]], rtol=0, atol=0)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=10)
@given(rows=paths, max_steps=st.integers(1, 300), double=st.booleans())
def test_rough_paths_end_in_time_and_finite(engine, rows, max_steps, double):
    """Whatever the path does: never more nodes than asked, each one counted, and numbers with their true gap."""
    path = Rough(rows, torch.float64 if double else torch.float32)

    found = path.integrate(engine, tol=1e-7, max_steps=max_steps)

    assert found.n_nodes.tolist() == [path.spent[row] for row in range(len(rows))]
    assert max(path.spent.values()) <= max_steps
    assert torch.isfinite(found.scores["scores"]).all()
    assert_close(found.gap, found.scores["scores"].sum(-1) - found.displacement, rtol=0, atol=0)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=10)
@given(row=paths.map(lambda rows: rows[0]), max_steps=st.sampled_from([20, 63, 100, 256]))
def test_a_smaller_tolerance_never_gives_a_larger_gap(engine, row, max_steps):
    """The same halvings are done in the same order, and the best state is kept.

    Best by what its panels miss without their signs: a gap can be small by chance, but it never exceeds that.
    """
    tols = [1e-1, 1e-2, 1e-4, 1e-7]

    found = [Rough([row], torch.float64).integrate(engine, tol=tol, max_steps=max_steps) for tol in tols]

    reached = [Rough([row], torch.float64).missed(engine, tol=tol, max_steps=max_steps) for tol in tols]
    missed = [float((each.gap.abs() / each.allowed).max()) * tol for each, tol in zip(found, tols, strict=True)]
    assert all(after <= before * (1 + 1e-6) + ROUNDING for before, after in itertools.pairwise(reached))
    assert all(gap <= most * (1 + 1e-6) + ROUNDING for gap, most in zip(missed, reached, strict=True))
    assert [int(each.n_nodes) for each in found] == sorted(int(each.n_nodes) for each in found)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=10)
@given(rows=paths, tol=st.sampled_from([1e-2, 1e-4, 1e-6]))
def test_a_row_is_the_same_in_any_batch(engine, rows, tol):
    """Its own errors alone decide which of its panels are halved."""
    together = Rough(rows, torch.float64).integrate(engine, tol=tol, max_steps=200)

    for number, row in enumerate(rows):
        alone = Rough([row], torch.float64).integrate(engine, tol=tol, max_steps=200)
        assert int(alone.n_nodes) == int(together.n_nodes[number])
        assert_close(alone.scores["scores"][0], together.scores["scores"][number], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("place", [1 / 3, 0.9])
def test_what_one_region_needs_is_not_spent_on_another(engine, place):
    """A kink takes forty halvings for as many digits; the oscillation beside it still gets its nodes."""
    path = Rough([[Bump("kink", place, 1.0), Bump("wave", 0.5, 7.5)]], torch.float64)

    found = path.integrate(engine, tol=1e-6, max_steps=1000)

    assert found.converged.all()


@pytest.mark.parametrize("engine", ENGINES)
def test_more_nodes_end_where_float32_ends(engine):
    """A smooth path is integrated to rounding; panels whose halves are no better are left alone."""
    path = Rough([[Bump("cubic", 0.5, 50.0), Bump("wave", 0.5, 3.0)]], torch.float32)

    found = path.integrate(engine, tol=1e-9, max_steps=100_000)

    assert abs(found.gap) <= 64 * torch.finfo(torch.float32).eps * found.displacement.abs()
    assert int(found.n_nodes) < 1000
