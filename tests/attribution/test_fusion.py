"""Content and structure: pure parts at both ends, aggregation against literal matrices, weights that keep the sum."""

import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from tests.kit.headed_models import headed
from torch import Tensor
from torch.testing import assert_close

import lignite
from lignite.attribution.fusion import fuse, rollout, structure_of, weights_of
from lignite.errors import OptionError
from lignite.methods.scoring.ends import SHARE_OF_THE_PATH
from lignite.metrics.asking.faithfulness import faithfulness
from lignite.targets.ask import ask, predict
from lignite.targets.edits import replace_tokens

ROUNDED = {"rtol": 1e-12, "atol": 1e-14}
"""A dozen operations in float64."""
LAYERS, TOKENS = 3, 4
TEXT = "the plot was thin, but it says nothing"


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_structure_is_what_all_targets_give_a_source():
    """Targets are rows: a source's share is its column's sum."""
    gradient = torch.tensor([[[1.0, 2.0], [10.0, 20.0]]])

    assert_close(structure_of(gradient), torch.tensor([[11.0, 22.0]]))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_fusion_weighs_both_by_their_largest_magnitude(share):
    """By hand, with one scale for all layers of a row and another for each row."""
    content, structure = drawn(2, LAYERS, TOKENS), drawn(2, LAYERS, TOKENS, seed=1) * 50

    found = fuse(content, structure, share)

    for row in range(2):
        largest, other = content[row].abs().max(), structure[row].abs().max()
        expected = largest * (share * content[row] / largest + (1 - share) * structure[row] / other)
        assert_close(found[row], expected, **ROUNDED)


def test_the_ends_of_fusion_are_the_pure_parts():
    """All content is the content, bit by bit; no content is the structure but for its scale."""
    content, structure = drawn(LAYERS, TOKENS), drawn(LAYERS, TOKENS, seed=1)

    assert (fuse(content, structure, 1.0) == content).all()
    alone = fuse(content, structure, 0.0)
    assert_close(alone / alone.abs().max(), structure / structure.abs().max(), **ROUNDED)
    assert_close(alone.abs().max(), content.abs().max(), **ROUNDED)
    assert not fuse(content, torch.zeros_like(structure), 0.0).any()


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_rollout_multiplies_whole_matrices(share):
    """R ← R + C R from the identity, layer by layer, then read by rows: no shortcut, one row of a batch at a time."""
    content, gradient = drawn(2, LAYERS, TOKENS), drawn(2, LAYERS, TOKENS, TOKENS, seed=1) * 7
    reader = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.2, 0.1, 0.0, 0.7]], dtype=torch.float64)

    found = rollout(content, gradient, share, reader)

    for row in range(2):
        total = torch.eye(TOKENS, dtype=torch.float64)
        for layer in range(LAYERS):
            fused = (1 - share) * gradient[row, layer] / gradient[row].abs().max()
            fused = fused + share * torch.diag(content[row, layer]) / content[row].abs().max()
            total = total + fused @ total
        expected = reader[row] @ (total - torch.eye(TOKENS, dtype=torch.float64))
        assert_close(found[row], expected, **ROUNDED)


def test_rollout_of_content_alone_passes_nothing_between_tokens():
    """Its matrices are diagonal: a head that reads one token sees only that one, and signs stay."""
    content = torch.tensor([[1.0, -2.0, 4.0], [-4.0, 2.0, 1.0]], dtype=torch.float64)
    reader = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)

    found = rollout(content, drawn(2, 3, 3), 1.0, reader)

    # (1 − 1/2)(1 + 1/2) − 1
    assert_close(found, torch.tensor([0.0, -0.25, 0.0], dtype=torch.float64), **ROUNDED)


@pytest.mark.parametrize(
    ("given", "n_layers", "expected"),
    [
        (None, 4, [0.25] * 4),
        ("lower-half", 4, [0.5, 0.5, 0, 0]),
        ("lower-half", 5, [1 / 3, 1 / 3, 1 / 3, 0, 0]),
        ("lower-half", 1, [1]),
        ("lower-third", 6, [0.5, 0.5, 0, 0, 0, 0]),
        ("lower-third", 4, [0.5, 0.5, 0, 0]),
        ("all", 2, [0.5, 0.5]),
        ([1.0, 3.0], 2, [0.25, 0.75]),
        ((2.0, -1.0, 0.0), 3, [2, -1, 0]),
    ],
)
def test_weights_of_layers_add_up_to_one(given, n_layers, expected):
    """A weighted mean of complete maps is complete."""
    assert_allclose(weights_of(given, n_layers), expected, rtol=1e-15)


@pytest.mark.parametrize(
    ("given", "message"),
    [([1.0, 2.0], r"has 2 numbers; this model has 3 layers"), ([1.0, -1.0, 0.0], "add up to zero")],
)
def test_weights_that_cannot_be_a_mean_are_refused(given, message):
    """One per layer, and something to divide by."""
    with pytest.raises(OptionError, match=message):
        weights_of(given, 3)


# On models


@pytest.fixture(scope="module")
def model() -> lignite.Model:
    return headed("bert", "BertForSequenceClassification")


PLAIN = {
    "method": "ca-lig", "path": "input", "baseline": "mask", "fusion": 1.0, "aggregate": "sum", "layer_weights": None,
    "ends": False,
}  # fmt: skip


def explain(model, **options):
    """Whatever the defaults are."""
    return lignite.explain(model, TEXT, tol=1e-3, **(PLAIN | options))


def test_all_content_is_layer_ig_and_its_mean_is_complete(model):
    """``fusion=1`` in the default aggregation: sums to the displacement like every layer does."""
    why = explain(model, fusion=1.0)

    assert (why.layer_relevance.values == why.layer_ig.values).all()
    assert_allclose(why.relevance, why.layer_ig.mean("layer"), **ROUNDED)
    assert_allclose(why.relevance.sum(), (why.displacement + why.gap).mean(), **ROUNDED)


def test_no_content_is_the_attention_gradient_alone(model):
    """``fusion=0`` in every aggregation: proportional to sums, or to the rollout, of attention gradients."""
    why = {name: explain(model, fusion=0.0, aggregate=name) for name in ("sum", "last", "rollout")}

    columns = why["sum"].attention_gradient.sum("target").values
    scale = abs(why["sum"].layer_ig).max().item() / abs(columns).max()
    assert_allclose(why["sum"].layer_relevance, scale * columns, **ROUNDED)
    assert_allclose(why["sum"].relevance, scale * columns.mean(0), **ROUNDED)
    assert_allclose(why["last"].relevance, scale * columns[-1], **ROUNDED)
    gradient = why["rollout"].attention_gradient.values
    total = np.eye(gradient.shape[-1])
    for layer in gradient:
        total = total + (layer / abs(gradient).max()) @ total
    # this head reads [CLS] alone
    assert_allclose(why["rollout"].relevance, total[0] - np.eye(len(total))[0], **ROUNDED)


def test_a_share_of_both_is_between(model):
    """The relevance of a sum is linear in the share."""
    ends = [explain(model, fusion=share).relevance.values for share in (0.0, 1.0)]

    middle = explain(model, fusion=0.3)

    assert_allclose(middle.relevance, 0.7 * ends[0] + 0.3 * ends[1], rtol=1e-9, atol=1e-12)


def test_layers_are_weighed_and_the_last_one_stands_alone(model):
    """In the order of the layers, the first of them the embeddings."""
    weighed = explain(model, layer_weights=[3.0, 1.0, 0.0])

    layers = weighed.layer_ig.values
    assert_allclose(weighed.relevance, 0.75 * layers[0] + 0.25 * layers[1], **ROUNDED)
    assert_allclose(explain(model, layer_weights="lower-half").relevance, layers[:2].mean(0), **ROUNDED)
    assert_allclose(explain(model, aggregate="last").relevance, layers[-1], **ROUNDED)


def test_several_baselines_are_averaged(model):
    """Scores, displacements and gaps alike; completeness survives a mean."""
    one, other = (explain(model, baseline=name) for name in ("mask", "zero"))

    both = explain(model, baseline=("mask", "zero"))

    for name in ("relevance", "layer_ig", "displacement", "gap", "output_ig"):
        assert_allclose(both[name], (one[name] + other[name]) / 2, rtol=1e-9, atol=1e-12)


def test_shares_chosen_by_faithfulness_are_written_down(model):
    """``fusion="auto"`` gives one of the candidates' results, and says which."""
    chosen = explain(model, fusion="auto")

    share = json.loads(chosen.attrs["plans"])["fusion"]
    assert share in (0.0, 0.25, 0.5, 0.75, 1.0)
    assert_allclose(chosen.relevance, explain(model, fusion=share).relevance, **ROUNDED)


def test_the_automatic_share_is_the_most_faithful_one():
    """Measured here with the metric itself on every candidate."""
    model = headed("bert", "BertForSequenceClassification", seed=5)  # the best share is not the middle one
    shares = (1.0, 0.75, 0.5, 0.25, 0.0)
    candidates = {str(share): [explain(model, fusion=share).relevance.values] for share in shares}
    measured = faithfulness(model, ask(model, [TEXT]), candidates, fills=("mask",))
    gain = measured["insertion_minus_deletion"].sel(output="logit").isel(fill=0, example=0)

    chosen = explain(model, fusion="auto")

    best = shares[int(gain.argmax("method"))]
    assert best != shares[2]  # otherwise the choice shows nothing
    assert json.loads(chosen.attrs["plans"])["fusion"] == best


@pytest.mark.parametrize("keep_special", [True, False])
def test_both_ends_are_half_of_the_relevance_and_nothing_of_the_layers(model, keep_special):
    """Tokens alone and tokens taken away, by the model's own answers to edited inputs; special tokens stay, or not."""
    (row,) = ask(model, TEXT)
    words = [place for place, special in enumerate(row.encoded.tokens.special) if not (special and keep_special)]
    blank = model.tokenizer.mask_token_id
    nobody = replace_tokens(row, words, blank)
    alone = [replace_tokens(row, [other for other in words if other != place], blank) for place in words]
    without = [replace_tokens(row, [place], blank) for place in words]
    value = predict(model, [row, nobody, *alone, *without]).value.numpy()

    why, plain = explain(model, ends=True, keep_special=keep_special), explain(model, keep_special=keep_special)

    ends = np.zeros(row.n_tokens)
    ends[words] = (value[2 : 2 + len(words)] - value[1] + value[0] - value[2 + len(words) :]) / 2
    share = SHARE_OF_THE_PATH
    assert 0 < share < 1
    assert_allclose(why.relevance, share * plain.relevance + (1 - share) * ends, rtol=0, atol=1e-9)
    for name in ("layer_ig", "layer_relevance", "displacement", "gap"):
        assert_allclose(why[name], plain[name], rtol=0, atol=0)
