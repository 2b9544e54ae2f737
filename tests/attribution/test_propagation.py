"""Rules of relevance propagation on tiny graphs, against numbers worked out by hand; values stay what they are."""

import math

import pytest
import torch
import torch.nn.functional as nnf
from torch import nn
from torch.testing import assert_close

from lignite.attribution.propagation import Propagation


def number(value, *, moving=True):
    return torch.tensor(value, dtype=torch.float64, requires_grad=moving)


def gradients(function, *inputs):
    """The function's value and gradients under the rules; the value must be the one that it has without them."""
    with Propagation():
        value = function(*inputs)
        found = torch.autograd.grad(value.sum(), inputs)
    assert torch.equal(value, function(*inputs))
    return found


@pytest.mark.parametrize("product", [torch.mul, lambda a, b: a * b, lambda a, b: torch.einsum(",->", [a, b])])
def test_a_product_shares_its_gradient_equally(product):
    """Times the input, each factor has half of the product: together all of it, where plain gradients have it twice."""
    a, b = number(3.0), number(-5.0)

    found = gradients(product, a, b)

    assert_close(found, (number(-2.5), number(1.5)), check_stride=False)


def test_three_factors_have_a_third_each():
    """The same rule, once more divided."""
    a, b, c = number(2.0), number(3.0), number(5.0)

    found = gradients(lambda *factors: torch.einsum(",,->", *factors), a, b, c)

    assert_close(found, (number(5.0), number(10 / 3), number(2.0)))


def test_a_square_is_a_product_with_itself():
    """The square of x at 3: its relevance is 9, once."""
    x = number(3.0)

    (found,) = gradients(lambda x: x * x, x)

    assert_close(found * x, number(9.0))


def test_a_weight_takes_nothing_from_the_input():
    """A linear map is no product of two things that depend on the input."""
    x, weight = number([[1.0, 2.0]]), number([[3.0, 4.0]], moving=False)

    assert_close(gradients(lambda x: x @ weight.mT, x)[0], weight)
    assert_close(gradients(lambda x: nnf.linear(x, weight), x)[0], weight)
    assert_close(gradients(lambda x: 2.0 * x, x)[0], number([[2.0, 2.0]]))


@pytest.mark.parametrize("add", [torch.baddbmm, lambda c, a, b: c.baddbmm(batch1=a, batch2=b)])
def test_what_a_product_is_added_to_has_its_whole_gradient(add):
    """A position's bias beside queries times keys."""
    bias, a, b = number([[[7.0]]]), number([[[2.0]]]), number([[[3.0]]])

    assert_close(gradients(add, bias, a, b), (number([[[1.0]]]), number([[[1.5]]]), number([[[1.0]]])))


def test_a_product_in_place_shares_as_any_other():
    """Some families multiply so."""
    a, b = number(3.0), number(-5.0)

    assert_close(gradients(lambda a, b: (2 * a).mul_(b), a, b), (number(-5.0), number(3.0)))


@pytest.mark.parametrize("function", [nnf.silu, lambda x: nnf.silu(x.clone(), inplace=True)])
def test_an_activation_is_its_secant_from_zero(function):
    """SiLU, x σ(x), has the slope σ(x); at zero, where there is no secant, that of the tangent: ½."""
    x = number([-2.0, 0.0, 1.0])

    (found,) = gradients(function, x)

    assert_close(found, 1 / (1 + torch.exp(-x)))


def test_an_activation_that_starts_elsewhere_is_worth_what_it_rose():
    """σ(0) = ½ is nobody's: relevance is σ(x) − ½, and the slope at zero ¼."""
    x = number([0.0, 2.0])

    (found,) = gradients(torch.sigmoid, x)

    assert_close(found, number([0.25, (1 / (1 + math.exp(-2)) - 0.5) / 2]))


def test_a_layer_norm_divides_by_a_constant():
    """(1, 3) has mean 2 and deviation 1 (ε = 0): weights 5 and 7 meet a slope of ½ and −½ by the mean alone."""
    x, weight, bias = number([1.0, 3.0]), number([5.0, 7.0], moving=False), number([0.1, 0.2], moving=False)

    (found,) = gradients(lambda x: nnf.layer_norm(x, (2,), weight, bias, 0.0)[0], x)

    assert_close(found, number([2.5, -2.5]))


def rms_by_hand(x):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True))


def rms_by_power(x):
    return x * torch.pow(x.pow(2).mean(-1, keepdim=True), -0.5)


def rms_by_root(x):
    return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True))


@pytest.mark.parametrize("norm", [rms_by_hand, rms_by_power, rms_by_root, lambda x: nnf.rms_norm(x, (2,), None, 0.0)])
def test_every_way_to_write_a_root_mean_square_norm_divides_by_a_constant(norm):
    """(1, 7) has the mean square 25."""
    x = number([1.0, 7.0])

    assert_close(gradients(norm, x)[0], number([0.2, 0.2]))


def test_a_unit_vector_divides_by_a_constant():
    """(3, 4) has length 5."""
    x = number([3.0, 4.0])

    assert_close(gradients(lambda x: nnf.normalize(x, dim=0), x)[0], number([0.2, 0.2]))


def attention_in_steps(query, key, value):
    return torch.softmax(query @ key.mT / math.sqrt(query.shape[-1]), -1) @ value


@pytest.mark.parametrize("fixed", [(), (0,), (1,), (2,), (0, 1)])
def test_fused_attention_shares_as_its_steps_do(fixed):
    """Two products around a softmax: a quarter for queries and keys, half for values, whoever of them moves."""
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(1, 2, 5, 3, generator=generator, dtype=torch.float64) for _ in range(3)]
    moving = [place for place in range(3) if place not in fixed]

    def over(attend):
        def attended(*parts):
            given = dict(zip(moving, parts, strict=True))
            return attend(*(given.get(place, states[place]) for place in range(3)))[0, 0, 0]

        return attended

    inputs = [states[place].requires_grad_() for place in moving]
    with Propagation():
        fused, steps = (
            torch.autograd.grad(over(attend)(*inputs).sum(), inputs)
            for attend in (nnf.scaled_dot_product_attention, attention_in_steps)
        )
    plain = torch.autograd.grad(over(attention_in_steps)(*inputs).sum(), inputs)

    assert_close(fused, steps)
    shares = {0: 0.25, 1: 0.25, 2: 0.5} if not fixed else {0: 0.5, 1: 0.5, 2: 1.0 if fixed == (0, 1) else 0.5}
    for place, ours, theirs in zip(moving, steps, plain, strict=True):
        share = 0.5 if fixed == (2,) else shares[place]
        assert_close(ours, share * theirs, msg=f"{fixed}, {place}")


def test_nothing_of_the_rules_stays():
    """Gradients outside are plain again, also after an exception inside."""
    x = number(3.0)

    with pytest.raises(RuntimeError), Propagation():
        torch.ones(2) @ torch.ones(3)

    assert_close(torch.autograd.grad(x * x, x)[0], number(6.0))
    assert_close(torch.autograd.grad(nn.SiLU()(x), x)[0], torch.autograd.functional.jacobian(nnf.silu, x.detach()))
