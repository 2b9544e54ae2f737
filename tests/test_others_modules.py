"""The real vision transformers of torchvision and timm, and the real HookedTransformer, where they are installed."""

import numpy as np
import pytest
import torch
from tests.kit.architectures import randomize
from tests.kit.oracle import attribute_one

import lignite
from lignite.attribution.rules import graded


def vision(library):
    """A small model of a library's own classes, every weight random."""
    if library == "torchvision":
        models = pytest.importorskip("torchvision.models", reason="torchvision is not installed", exc_type=ImportError)
        network = models.VisionTransformer(24, 8, 2, 4, 12, 20, num_classes=5)
    else:
        timm = pytest.importorskip("timm", reason="timm is not installed", exc_type=ImportError)
        network = timm.models.VisionTransformer(24, 8, embed_dim=12, depth=2, num_heads=4, num_classes=5)
    network = network.double().eval()
    with torch.no_grad():
        randomize(network, seed=0, gains={})
    return network


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_a_vision_transformer_of_a_library_is_taken_whole(library):
    """Every map and detail, patches by their places, and the scores of autograd through the library's own block."""
    network = vision(library)
    pixels = torch.rand(1, 3, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model = lignite.wrap(network)

    report = lignite.check(model)
    why = lignite.explain(model, pixels, method="relevance-flow", baseline="mean")
    flow = lignite.flow(model, pixels, layers=1, maps="whole", baseline="zero", tol=1e-5)

    assert report.complete
    assert list(why.token.values[:4]) == ["[CLS]", "r0c0", "r0c1", "r0c2"]
    block = network.get_submodule(model.network.found.blocks[1])
    seen = []
    with block.register_forward_pre_hook(lambda _, args: seen.append(args[0][0].detach())):
        network(pixels)
    scores, size = attribute_one(
        lambda states: block(states[None])[0, 2], seen[0], torch.zeros_like(seen[0]), rule=graded(160, 4)
    )
    found = flow.whole.sel(layer=1, target=2).values
    np.testing.assert_allclose(found, scores.numpy(), rtol=0, atol=2e-4 * float(size))


HOOKED = {
    "learned": {},
    "rotary": {
        **{"positional_embedding_type": "rotary", "rotary_dim": 4, "n_key_value_heads": 2},
        **{"normalization_type": "RMS", "gated_mlp": True},
    },
    "alibi": {"positional_embedding_type": "alibi"},
}


def hooked(kind):
    """A small HookedTransformer, every weight random; TransformerLens has it up to its third version."""
    lens = pytest.importorskip("transformer_lens", reason="transformer-lens is not installed", exc_type=ImportError)
    if int(lens.__version__.split(".")[0] if hasattr(lens, "__version__") else 0) >= 4:
        pytest.skip("transformer-lens 4 has no HookedTransformer")
    try:
        sizes = {"n_layers": 2, "d_model": 16, "n_ctx": 12, "d_head": 4, "n_heads": 4, "d_vocab": 20, "act_fn": "gelu"}
        config = lens.HookedTransformerConfig(**sizes, seed=0, dtype=torch.float64, **HOOKED[kind])
        network = lens.HookedTransformer(config).double().eval()
    except ImportError as error:
        pytest.skip(str(error))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for weight in network.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    return network


@pytest.mark.parametrize("kind", HOOKED)
def test_a_hooked_transformer_is_met_at_its_own_points(kind):
    """Blocks, words and places by its names; heads are what passes `hook_z`, read here by a hook of the test."""
    network, ids = hooked(kind), torch.tensor([[3, 1, 4, 1, 5]])
    model = lignite.wrap(network)

    report = lignite.check(model, length=6)
    flow = lignite.flow(model, ids, layers=1, maps=("attention", "whole"), baseline="zero", tol=1e-5)

    assert report.complete
    assert {layer.route for layer in report.layers} == {"interface"}
    assert (model.network.found.stack, model.network.found.embed, model.max_length) == ("blocks", "embed", 12)
    block, seen = network.blocks[1], []
    with block.register_forward_pre_hook(lambda _, args: seen.append(args[0][0].detach())):
        network(ids)

    def head(states):
        kept = []
        with block.attn.hook_z.register_forward_hook(lambda _, args, output: kept.append(output[0, 4, 2])):
            block(states[None])
        return kept[0]

    for function, found, size in (
        (lambda states: block(states[None])[0, 4], flow.whole.sel(target=4), flow.whole_displacement.sel(target=4)),
        (head, flow.attention.sel(target=4, head=2), flow.attention_displacement.sel(target=4, head=2)),
    ):
        scores, displacement = attribute_one(function, seen[0], torch.zeros_like(seen[0]), rule=graded(160, 4))
        assert float(size.sel(layer=1)) == pytest.approx(float(displacement), rel=1e-9)
        np.testing.assert_allclose(found.sel(layer=1).values, scores, rtol=0, atol=2e-4 * float(displacement))


def test_a_hooked_transformer_predicts_its_own_next_token():
    """The logit that is explained is the one that it returns, and the mean of its embeddings is a start."""
    network, ids = hooked("learned"), torch.tensor([[3, 1, 4]])

    why = lignite.explain(lignite.wrap(network), ids)

    logits = network(ids)[0, -1]
    assert why.prediction == str(int(logits.argmax()))
    assert float(why.logit.max()) == pytest.approx(float(logits.max()), rel=1e-9)
    assert "mean-embedding" in why.attrs["request"] or "mean-embedding" in str(why.attrs)
