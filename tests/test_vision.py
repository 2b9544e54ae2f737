"""Image transformers of every family keep what is promised for texts: completeness, conservation, invariance."""

from contextlib import nullcontext
from functools import cache

import numpy as np
import pytest
import torch
import transformers
from numpy.testing import assert_allclose, assert_array_equal
from tests.kit.architectures import full_precision, randomize
from tests.kit.headed_models import headed
from tests.kit.methods import those_of
from tests.kit.snapshots import Interruption, snapshot
from tests.kit.wide import mostly_wide
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import ViTImageProcessorPil

import lignite
from lignite.blocks.baselines import starts_of
from lignite.blocks.stack import Stack
from lignite.errors import InputError, ModelError, OptionError
from lignite.inputs.encode import encode
from lignite.inputs.fills import filled
from lignite.methods import METHODS
from lignite.models.hold import at_rest
from lignite.targets.ask import ask, predict
from lignite.targets.edits import cover

PATCH = 4
OWN = (12, 12)
OTHER = (8, 17)  # stretched positions, and a column of pixels that no patch reads
OBLONG = (8, 16)

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
VISION = TINY | {"image_size": OWN[0], "patch_size": PATCH}

FAMILIES: dict[str, tuple[str, dict]] = {
    "vit": ("ViTForImageClassification", {}),
    "deit": ("DeiTForImageClassificationWithTeacher", {}),
    "dinov2": ("Dinov2ForImageClassification", {"mlp_ratio": 2}),
    "dinov2_with_registers": (
        "Dinov2WithRegistersForImageClassification",
        {"mlp_ratio": 2, "num_register_tokens": 2},
    ),
    "beit": ("BeitForImageClassification", {"use_relative_position_bias": True, "use_mask_token": True}),
    "beit-shared": ("BeitForImageClassification", {"use_shared_relative_position_bias": True}),
    "data2vec-vision": ("Data2VecVisionForImageClassification", {"use_relative_position_bias": True}),
    "ijepa": ("IJepaForImageClassification", {}),
    "vit_msn": ("ViTMSNForImageClassification", {}),
    "clip": ("CLIPForImageClassification", {}),
    "siglip": ("SiglipForImageClassification", {}),
    "vit_mae": ("ViTMAEModel", {"mask_ratio": 0.75}),
    "vit_mae-head": ("ViTForImageClassification", {}),
    "dinov3_vit": ("DINOv3ViTModel", {"num_register_tokens": 2}),
}
PREFIX = {
    "deit": ("[CLS]", "[DIST]"),
    "dinov2_with_registers": ("[CLS]", "[REG1]", "[REG2]"),
    "dinov3_vit": ("[CLS]", "[REG1]", "[REG2]"),
    "ijepa": (),
    "siglip": (),
}
"""Tokens before the patches; elsewhere the class token alone."""

OBLONG_FAMILIES = ("vit", "deit", "beit", "data2vec-vision", "ijepa", "vit_msn")
"""Families whose own size need not be a square."""

KINDS = ("vit", "beit", "dinov2_with_registers", "clip", "vit_mae-head", "ijepa")
"""Families that differ most, by positions, registers, towers, class tokens and heads; others run with the sweeps."""

CASES = [
    *((name, OWN, OWN) for name in FAMILIES),
    *((name, OWN, OTHER) for name in FAMILIES),
    *((name, OBLONG, OBLONG) for name in OBLONG_FAMILIES),
]


def cases(chosen):
    ids = ["-".join(map(str, (name, *own, "at", *size))) for name, own, size in chosen]
    shown = mostly_wide(chosen, [case for case in chosen if case[0] in KINDS])
    return pytest.mark.parametrize(("name", "own", "size"), shown, ids=ids)


every_case = cases(CASES)
every_oblong_case = cases([case for case in CASES if case[2] != OWN])
every_family = pytest.mark.parametrize("name", mostly_wide(FAMILIES, KINDS))


@cache
def model_of(name: str, own: tuple[int, int] = OWN) -> lignite.Model:
    """A tiny random model of the family, in double precision throughout; three classes where it has a head."""
    return lignite.wrap(network_of(name, own), image_processor=processor(own), name=name)


def network_of(name: str, own: tuple[int, int] = OWN, **options) -> nn.Module:
    class_name, special = FAMILIES[name]
    made = getattr(transformers, class_name)
    config = VISION | {"image_size": own[0] if own[0] == own[1] else own} | special | options
    if name in ("clip", "siglip"):
        parts = {
            "vision_config": config,
            "text_config": {**TINY, "vocab_size": 30, "bos_token_id": 1, "eos_token_id": 2},
        }
        network = made(made.config_class(**parts, num_labels=3))
    elif name in ("vit_mae", "dinov3_vit"):
        network = made(made.config_class(**config))
    else:
        network = made(made.config_class(**config, num_labels=3))
    if name == "vit_mae-head":
        network.vit = network_of("vit_mae", own)
    network = network.double()
    randomize(network, seed=3, gains={})
    return full_precision(network.eval())


def processor(size: tuple[int, int]) -> ViTImageProcessorPil:
    return ViTImageProcessorPil(
        size={"height": size[0], "width": size[1]}, image_mean=[0.5, 0.4, 0.3], image_std=[0.25, 0.3, 0.35]
    )


def pixels_of(size: tuple[int, int], *, seed: int = 0, count: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, *size, generator=generator, dtype=torch.float64)


def probe(outputs) -> Tensor:
    """A number that depends on every state a model without a head returns."""
    states = outputs[0].flatten(1)
    return (states * torch.cos(torch.arange(states.shape[1], dtype=states.dtype))).sum(1) / states.shape[1] ** 0.5


def asked_of(name: str):
    """What is explained: class 1, or the probe where there is no class."""
    return probe if name in ("vit_mae", "dinov3_vit") else 1


def answer_of(model: lignite.Model, pixels: Tensor, name: str) -> float:
    (row,) = ask(model, {"pixel_values": pixels}, asked_of(name))
    return float(predict(model, [row]).value)


# Labels


@every_case
def test_the_grid_of_the_configuration_is_the_one_found_by_touching_pixels(name, own, size):
    """Changing the pixels in a patch's box moves the states of that token and no other, in every family and size.

    Pixels in no box move nothing; the tokens before the patches are those of the family, and have no box.
    """
    model = model_of(name, own)
    pixels = pixels_of(size)
    (encoded,) = encode(model, {"pixel_values": pixels})
    tokens = encoded.tokens
    patches = [place for place, row in enumerate(tokens.row) if row >= 0]
    touched = pixels.repeat(len(patches) + 1, 1, 1, 1)
    outside = torch.ones(size, dtype=torch.bool)
    for number, place in enumerate(patches):
        box = tokens.box(place)
        touched[number][:, *box] += 1
        outside[box] = False
    touched[-1][:, outside] += 1

    with at_rest(model.network):
        before = Stack(model, ask(model, {"pixel_values": pixels}, probe)).states[0]
        after = Stack(model, ask(model, {"pixel_values": touched}, probe)).states[0]

    moved = ((after - before).abs().amax(-1) > 1e-9).tolist()  # other rows of a batch only round
    for number, place in enumerate(patches):
        assert [token for token, change in enumerate(moved[number]) if change] == [place]
    assert not any(moved[-1])
    prefix = PREFIX.get(name, ("[CLS]",))
    rows, cols = size[0] // PATCH, size[1] // PATCH
    assert tokens.text == (*prefix, *(f"r{row}c{col}" for row in range(rows) for col in range(cols)))
    assert before.shape[1] == len(tokens)
    assert tokens.special == (True,) * len(prefix) + (False,) * rows * cols
    assert all(tokens.box(place) is None for place in range(len(prefix)))
    assert int(outside.sum()) == size[0] * size[1] - rows * cols * PATCH**2


def test_patches_of_two_sides_are_labelled_by_both():
    """Some models cut oblong patches: heights and widths must not be mixed up."""
    network = network_of("beit", (12, 16), patch_size=(6, 4), use_relative_position_bias=False)

    (encoded,) = encode(lignite.wrap(network), {"pixel_values": pixels_of((12, 16))})

    last = len(encoded.tokens) - 1
    assert encoded.tokens.text[last] == "r1c3"
    assert encoded.tokens.box(last) == (slice(6, 12), slice(12, 16))


def test_only_the_square_tables_of_positions_are_stretched():
    """A model made for 8 × 16 pixels would stretch its positions as if they were a square."""
    model = model_of("vit", OBLONG)

    with pytest.raises(InputError, match=r"12 × 12 pixels, but vit reads 8 × 16: resize it"):
        encode(model, {"pixel_values": pixels_of((12, 12))})


def test_an_image_smaller_than_a_patch_is_refused():
    """A convolution would return no token at all, or fail in its own words."""
    with pytest.raises(InputError, match=r"3 × 12 pixels, is smaller than one patch of dinov2: enlarge it"):
        encode(model_of("dinov2"), {"pixel_values": pixels_of((3, 12))})


# Explanations


@every_case
def test_every_layer_adds_up_to_what_the_model_says(name, own, size):
    """Completeness, against two runs of the untouched model: of the image, and of its blurred self."""
    model, pixels = model_of(name, own), pixels_of(size)
    expected = answer_of(model, pixels, name) - answer_of(model, filled(model, pixels, "blur"), name)

    for path in ("input", "layer") if size != OWN else ("input",):
        result = lignite.explain(
            model, {"pixel_values": pixels}, target=asked_of(name), method="ca-lig", baseline="blur", path=path
        )

        assert_allclose(result.displacement, expected, rtol=0, atol=1e-9)  # the model's own answers in float64
        # tol, the promise; GapWarning is an error here, so nothing larger was found either
        assert_allclose(result.layer_ig.sum("token"), expected, rtol=1e-3, atol=1e-6)
        assert_allclose(result.gap, result.layer_ig.sum("token") - expected, rtol=0, atol=1e-9)
        assert result.sizes["token"] == len(encode(model, {"pixel_values": pixels})[0].tokens)


@every_oblong_case
def test_relevance_flows_through_the_layers_without_loss(name, own, size):
    """The same sum at every layer; divided over sources, rows give the layer above and columns the layer below."""
    model, pixels = model_of(name, own), pixels_of(size)
    expected = answer_of(model, pixels, name) - answer_of(model, filled(model, pixels, "blur"), name)

    result = lignite.explain(
        model, {"pixel_values": pixels}, target=asked_of(name), method="relevance-flow", baseline="blur", tol=1e-5,
        detail="relevance-flow",
    )  # fmt: skip

    rounding = {"rtol": 0, "atol": 1e-5 * max(1.0, abs(expected))}  # promised
    assert_allclose(result.layer_relevance.sum("token"), expected, **rounding)
    assert_allclose(result.relevance_flow.sum("target"), result.layer_relevance, **rounding)
    above = result.layer_relevance.values[1:]
    assert_allclose(result.relevance_flow.sum("source").values[:-1], above, **rounding)


ALIKE = [
    *((name, "ca-lig") for name in ("vit", "dinov2_with_registers", "beit", "vit_mae-head", "siglip")),
    *((name, "relevance-flow") for name in ("deit", "beit", "clip")),
    *((name, "occlusion") for name in FAMILIES if name not in ("vit_mae", "dinov3_vit")),
]
BY_DEFAULT = [("vit", "ca-lig"), ("vit_mae-head", "ca-lig"), ("clip", "relevance-flow"), ("beit", "occlusion")]


@pytest.mark.parametrize(("name", "method"), mostly_wide(ALIKE, BY_DEFAULT))
def test_an_image_is_explained_as_it_is_alone(name, method):
    """Neither the company of images of another size, nor of as many patches, nor the order changes a number."""
    model = model_of(name)
    images = [{"pixel_values": pixels_of(size, seed=seed)} for seed, size in enumerate([OWN, OBLONG, OBLONG[::-1]])]

    together = lignite.explain(model, images, target=1, method=method)
    reversed_ = lignite.explain(model, images[::-1], target=1, method=method)[::-1]

    for image, one, other in list(zip(images, together, reversed_, strict=True))[1:]:
        alone = lignite.explain(model, image, target=1, method=method)
        for found in (one, other):
            assert_allclose(found.relevance, alone.relevance, rtol=0, atol=1e-5 * float(abs(alone.relevance).max()))
            assert_array_equal(found.bottom, alone.bottom)
            assert_array_equal(found.image, alone.image)


def raising(error):
    """A target function that fails, or is interrupted."""

    def function(outputs):
        raise error

    return function


@every_family
def test_a_model_of_images_is_left_as_it_was(name):
    """Bit-identical after success and after a failure in the middle; the masking and forwards are its own again."""
    network = network_of(name)
    for number, module in enumerate(network.modules()):
        module.training = number % 3 == 0
    model = lignite.wrap(network, image_processor=processor(OWN), name=name)
    before = snapshot(network)

    for method, baseline in (("gradient-x-input", "blur"), ("occlusion", "grey"), ("attention-x-gradient", "zero")):
        if not (name == "data2vec-vision" and method.startswith("attention")):  # it shows no weights as it is loaded
            options = {"target": asked_of(name), "method": method, **those_of(method, baseline=baseline)}
            lignite.explain(model, {"pixel_values": pixels_of(OTHER)}, **options)
            before.assert_equal(snapshot(network))
    lignite.flow(model, {"pixel_values": pixels_of(OWN)}, layers=1, maps="whole", tol=0.1)
    before.assert_equal(snapshot(network))

    for error, told, message in (
        (Interruption, OptionError, "target function failed.*Interruption"),
        (KeyboardInterrupt, KeyboardInterrupt, None),
    ):
        with pytest.raises(told, match=message):
            lignite.explain(model, {"pixel_values": pixels_of(OWN)}, target=raising(error))
        before.assert_equal(snapshot(network))
    masked = name in ("beit", "dinov2", "dinov2_with_registers", "dinov3_vit")
    with nullcontext() if masked else pytest.raises(OptionError, match="needs a mask token"):
        lignite.explain(
            model, {"pixel_values": pixels_of(OWN)}, target=asked_of(name), baseline="mask", method="occlusion"
        )
    before.assert_equal(snapshot(network))


# Flow


@every_oblong_case
def test_a_flow_from_patch_to_patch_is_complete(name, own, size):
    """What each token receives from all others adds up to how far it moves."""
    model, pixels = model_of(name, own), pixels_of(size)

    result = lignite.flow(model, {"pixel_values": pixels}, layers=[0, 1], maps="whole")

    moved = result.whole_displacement
    assert_allclose(result.whole.sum("source"), moved + result.whole_gap, rtol=1e-9, atol=1e-9)
    # tol, the promise; GapWarning is an error here
    assert float((abs(result.whole_gap) / np.maximum(moved, moved.median("target"))).max()) <= 1e-3
    assert_array_equal(result.source_row, result.target_row)


@pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")  # two nodes are few
@every_family
def test_a_flow_is_the_definition(name):
    """The fast division of a block against autograd of the block itself, one target at a time, at the same nodes."""
    model, pixels = model_of(name), pixels_of(OTHER)
    options = {"layers": 1, "maps": ("whole", "attention"), "n_steps": 2, "targets": (0, 5), "baseline": "mean"}

    fast = lignite.flow(model, {"pixel_values": pixels}, **options)
    defined = lignite.flow(model, {"pixel_values": pixels}, **options, plan="definition")

    assert "definition" not in fast.attrs["plans"] or name == "data2vec-vision"
    for variable in ("whole", "attention"):
        scale = float(abs(defined[variable]).max())
        assert_allclose(fast[variable], defined[variable], rtol=0, atol=1e-9 * scale)  # promised by the battery


# Masked autoencoders


def test_a_masked_autoencoder_sees_every_patch_in_its_place():
    """It would hide three quarters of the patches and shuffle the rest, anew at every call."""
    model, pixels = model_of("vit_mae-head"), pixels_of(OWN)

    first, second = (lignite.explain(model, {"pixel_values": pixels}, target=1) for _ in range(2))
    flows = [lignite.flow(model_of("vit_mae"), {"pixel_values": pixels}, layers=0, maps="whole") for _ in range(2)]

    assert first.sizes["token"] == 1 + 9
    assert_array_equal(first.relevance, second.relevance)
    assert_array_equal(flows[0].whole, flows[1].whole)


def test_a_masked_autoencoder_answers_as_the_vit_with_its_weights():
    """Without masking the encoder is that of a ViT: the same answers, layer by layer the same relevance."""
    model, pixels = model_of("vit_mae-head"), pixels_of(OWN)
    twin = network_of("vit")
    twin.load_state_dict(model.network.state_dict())

    mine = lignite.explain(model, {"pixel_values": pixels}, target=1)
    theirs = lignite.explain(lignite.wrap(twin), {"pixel_values": pixels}, target=1)

    with torch.no_grad():
        logits = twin(pixels).logits[0]
    assert_allclose(mine.logit, logits, rtol=0, atol=1e-9)  # float64
    assert_allclose(mine.layer_relevance, theirs.layer_relevance, rtol=0, atol=1e-9)


def test_masking_is_on_again_afterwards():
    """The user's model goes on being trained; a method of the user's own on the embeddings stays, too."""
    network = network_of("vit_mae")
    model, pixels = lignite.wrap(network), pixels_of(OWN)
    own = network.embeddings.random_masking
    with at_rest(network):
        assert network(pixels).last_hidden_state.shape[1] == 1 + 9
        with at_rest(network):
            pass
        assert network(pixels).last_hidden_state.shape[1] == 1 + 9

    lignite.explain(model, {"pixel_values": pixels}, target=probe)
    assert "random_masking" not in vars(network.embeddings)
    assert network(pixels).last_hidden_state.shape[1] == 1 + 2  # a quarter of nine patches

    network.embeddings.random_masking = own
    lignite.explain(model, {"pixel_values": pixels}, target=probe)
    assert vars(network.embeddings)["random_masking"] is own


def saved_autoencoder(folder, kind: str) -> nn.Module:
    """A checkpoint whose configuration says vit_mae, with or without a head; the network that wrote it."""
    network = network_of("vit_mae-head" if kind == "head" else "vit_mae").float()
    if kind == "head":
        network.config.id2label = {0: "cat", 1: "dog", 2: "owl"}
        network.config.label2id = {"cat": 0, "dog": 1, "owl": 2}
        mae = network.vit.config
        for option in ("id2label", "label2id"):
            setattr(mae, option, getattr(network.config, option))
        mae.architectures = ["ViTForImageClassification"]
        network.save_pretrained(folder)
        mae.save_pretrained(folder)
    else:
        whole = transformers.ViTMAEForPreTraining(network.config)
        whole.vit = network
        whole.save_pretrained(folder)
    return network


@pytest.mark.parametrize("task", [None, "image-classification"])
def test_a_masked_autoencoder_with_a_head_is_loaded(tmp_path, task):
    """Its checkpoint names the classes of a ViT, its configuration the autoencoder."""
    written = saved_autoencoder(tmp_path, "head")

    model = lignite.load(tmp_path, task=task, dtype="float64", device="cpu")

    assert type(model.network).__name__ == "ViTForImageClassification"
    assert model.config.id2label == {0: "cat", 1: "dog", 2: "owl"}
    pixels = pixels_of(OWN)
    twin = lignite.wrap(written.double())
    mine = lignite.explain(model, {"pixel_values": pixels}, target="dog")
    theirs = lignite.explain(twin, {"pixel_values": pixels}, target="dog")
    assert_allclose(mine.relevance, theirs.relevance, rtol=0, atol=1e-9)  # the same weights, both in float64
    assert len(encode(model, {"pixel_values": pixels_of(OTHER)})[0].tokens) == 1 + 8


def test_a_masked_autoencoder_without_a_head_says_so(tmp_path):
    """Its classes would be random. The line names what it was saved from."""
    saved_autoencoder(tmp_path, "bare")

    with pytest.raises(ModelError, match=r"saved from ViTMAEForPreTraining.*no trained weights for the head") as caught:
        lignite.load(tmp_path, task="image-classification", device="cpu")
    assert "\n" not in str(caught.value)

    model = lignite.load(tmp_path, task="feature-extraction", dtype="float64", device="cpu")
    assert type(model.network).__name__ == "ViTMAEModel"
    result = lignite.flow(model, {"pixel_values": pixels_of(OWN)}, layers=0, maps="whole")
    assert result.sizes["target"] == 1 + 9


# Symmetry

SOUND = (
    "ca-lig",
    "relevance-flow",
    "ig",
    "gradient-x-input",
    "occlusion",
    "grad-cam",
    "hirescam",
    "layercam",
    "attention-x-gradient",
)


@pytest.mark.parametrize("method", [*SOUND, "attention-rollout", "saliency"])
def test_flipping_the_image_flips_the_map(method):
    """In a model that does not know left from right: symmetric patch kernels, symmetric positions."""
    network = network_of("vit", OBLONG)
    rows, cols = OBLONG[0] // PATCH, OBLONG[1] // PATCH
    with torch.no_grad():
        kernel = network.vit.embeddings.patch_embeddings.projection.weight
        kernel += kernel.flip(-1).clone()
        places = network.vit.embeddings.position_embeddings[0, 1:].view(rows, cols, -1)
        places += places.flip(1).clone()
    model, pixels = lignite.wrap(network), pixels_of(OBLONG)

    result = lignite.explain(model, {"pixel_values": pixels}, target=1, method=method)
    flipped = lignite.explain(model, {"pixel_values": pixels.flip(-1)}, target=1, method=method)

    grid = result.relevance.values[1:].reshape(rows, cols)
    assert np.abs(grid - grid[:, ::-1]).max() > 1e-3 * np.abs(grid).max()
    # adaptive nodes are chosen by rounded errors at most: sums in another order in float64
    assert_allclose(
        flipped.relevance.values[1:].reshape(rows, cols)[:, ::-1], grid, rtol=0, atol=1e-9 * np.abs(grid).max()
    )


@pytest.mark.parametrize("method", SOUND)
def test_shuffling_the_patches_of_a_model_without_positions_shuffles_the_map(method):
    """Nothing but the position embeddings tells such a model where a patch lies."""
    network = network_of("vit")
    with torch.no_grad():
        network.vit.embeddings.position_embeddings.zero_()
    model, pixels = lignite.wrap(network), pixels_of(OWN)
    order = np.random.default_rng(0).permutation(9)
    shuffled = pixels.clone()
    for place, source in enumerate(order):
        (row, col), (from_row, from_col) = divmod(place, 3), divmod(int(source), 3)
        block = pixels[:, :, from_row * PATCH : (from_row + 1) * PATCH, from_col * PATCH : (from_col + 1) * PATCH]
        shuffled[:, :, row * PATCH : (row + 1) * PATCH, col * PATCH : (col + 1) * PATCH] = block

    result = lignite.explain(
        model, {"pixel_values": pixels}, target=1, method=method, **those_of(method, baseline="mean")
    )
    found = lignite.explain(
        model, {"pixel_values": shuffled}, target=1, method=method, **those_of(method, baseline="mean")
    )

    relevance = result.relevance.values
    assert_allclose(found.relevance[1:], relevance[1:][order], rtol=0, atol=1e-9 * np.abs(relevance).max())
    assert_allclose(found.relevance[0], relevance[0], rtol=0, atol=1e-9 * np.abs(relevance).max())


# A planted cause

UNSOUND = ("random", "grad-cam")
"""Chance; weights of channels that are shared by all patches and follow the brightest."""


def planted(place: int) -> lignite.Model:
    """A ViT whose class 1 is decided by the light of one patch, wherever the brightest ones are.

    The class token of the last block looks for the mark that one position carries, and reads the light there. Every
    number of a state has its opposite beside it and norms have a huge ε, so that they change nothing but for 1e-6.
    """
    config = transformers.ViTConfig(
        image_size=OWN[0], patch_size=PATCH, hidden_size=8, num_hidden_layers=2, num_attention_heads=1,
        intermediate_size=8, num_labels=2, layer_norm_eps=1e6, attn_implementation="eager",
    )  # fmt: skip
    network = transformers.ViTForImageClassification(config).double().eval()
    light, mark, asks, answer = range(4)
    both = torch.tensor([1.0, -1.0], dtype=torch.float64)
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
        for module in network.modules():
            if isinstance(module, nn.LayerNorm):
                module.weight.fill_(1e3)  # the root of ε
        embeddings = network.vit.embeddings
        embeddings.patch_embeddings.projection.weight[light::4] = both.view(2, 1, 1, 1) / (3 * PATCH**2)
        embeddings.position_embeddings[0, 1 + place, mark::4] = 3 * both
        embeddings.position_embeddings[0, 0, asks::4] = 3 * both
        attention = network.vit.layers[1].attention
        attention.q_proj.weight[0, asks] = attention.k_proj.weight[0, mark] = 2  # scores of 36 / √8: a weight of 1
        attention.v_proj.weight[1, light] = 1
        attention.o_proj.weight[answer::4, 1] = both
        network.classifier.weight[1, answer] = 1
    return lignite.wrap(network, image_processor=processor(OWN))


@pytest.mark.parametrize("method", [name for name in METHODS if name not in UNSOUND])
def test_the_patch_that_decides_is_found(method):
    """The cause is one patch, though others are brighter and the class token is between."""
    place = 5
    image = np.full((*OWN, 3), 230, dtype=np.uint8)
    row, col = divmod(place, 3)
    image[row * PATCH : (row + 1) * PATCH, col * PATCH : (col + 1) * PATCH] = 150

    result = lignite.explain(planted(place), image, target=1, method=method, **those_of(method, baseline="black"))

    patches = result.relevance.values[1:]
    assert int(np.abs(patches).argmax()) == place
    assert patches[place] > 0
    if method in ("ca-lig", "relevance-flow", "ig", "occlusion", "shapley", "sequential-ig"):
        # others get exp(−36 / √8) of the attention, 3e-6, and towards the blank image not much more
        assert np.abs(np.delete(patches, place)).max() <= 0.01 * patches[place]


def test_the_patch_that_decides_is_missed_by_chance():
    """Random scores find it as often as one of nine: a test that everything passes shows nothing."""
    model, image = planted(5), np.full((*OWN, 3), 200, dtype=np.uint8)

    hits = [
        np.abs(lignite.explain(model, image, target=1, method="random", seed=seed).relevance.values[1:]).argmax() == 5
        for seed in range(16)
    ]

    assert sum(hits) <= 7  # 16 draws of 1 in 9 exceed it once in 20 000 times


# Baselines


@pytest.mark.parametrize("name", ["vit", "deit", "clip", "vit_mae-head", "beit"])
@pytest.mark.parametrize("level", ["black", "grey", "blur"])
def test_the_start_is_that_image_run_through_the_model(name, level):
    """States of every layer against those that the model itself reports for an image made by hand."""
    model = model_of(name)
    image = np.random.default_rng(0).integers(0, 256, (*OWN, 3), dtype=np.uint8)
    pixels = encode(model, image)[0].tensors["pixel_values"]
    mean, scale = (
        torch.tensor(part, dtype=torch.float64).view(3, 1, 1) for part in ([0.5, 0.4, 0.3], [0.25, 0.3, 0.35])
    )
    by_hand = {
        "black": (0 - mean) / scale * torch.ones_like(pixels),
        "grey": (0.5 - mean) / scale * torch.ones_like(pixels),
        "blur": gaussian(pixels),
    }[level]

    with at_rest(model.network), torch.no_grad():
        rows = ask(model, image, 1)
        start = starts_of(Stack(model, rows), [level], keep_special=True, through=True)[0].states
        expected = Stack(model, ask(model, {"pixel_values": by_hand}, 1)).states
        own = model.network(by_hand, output_hidden_states=True).hidden_states

    assert len(start) == len(expected) == 2 + 1
    for found, states in zip(start, expected, strict=True):
        assert_close(found, states, rtol=0, atol=1e-9)  # float64
    if own is not None:
        assert_close(start[0], own[0], rtol=0, atol=1e-9)


def gaussian(pixels: Tensor) -> Tensor:
    """An eighth of the shorter side wide, by its two one-dimensional halves as matrices."""
    length = pixels.shape[-1]
    width, reach = length / 8, round(3 * length / 8)
    kernel = torch.exp(-(torch.arange(-reach, reach + 1, dtype=torch.float64) ** 2) / (2 * width**2))
    kernel /= kernel.sum()
    matrix = torch.zeros(length, length, dtype=torch.float64)
    for target in range(length):
        for step, weight in zip(range(-reach, reach + 1), kernel, strict=True):
            source = abs(target + step)
            matrix[target, source if source < length else 2 * (length - 1) - source] += weight
    return matrix @ pixels @ matrix.T


@pytest.mark.parametrize("name", ["beit", "dinov2", "dinov2_with_registers"])
def test_a_masked_start_is_what_the_model_makes_of_masked_patches(name):
    """Against the model's own argument for it, which classifiers do not offer."""
    model, pixels = model_of(name), pixels_of(OWN)
    body = model.network.base_model
    everything = torch.ones(1, 9, dtype=torch.bool)

    with at_rest(model.network), torch.no_grad():
        rows = ask(model, {"pixel_values": pixels}, 1)
        start = starts_of(Stack(model, rows), ["mask"], keep_special=True, through=True)[0].states
        own = body(pixels, bool_masked_pos=everything, output_hidden_states=True).hidden_states

    for found, states in zip(start[:-1], own[:-1], strict=True):
        assert_close(found, states, rtol=0, atol=1e-9)  # float64
    patches = start[0][0, len(PREFIX.get(name, ("[CLS]",))) :]
    assert patches.abs().max() > 0.1


@pytest.mark.parametrize("name", mostly_wide([name for name in FAMILIES if name != "clip"], set(KINDS) - {"clip"}))
def test_the_mean_is_the_average_patch_in_its_place(name):
    """Patches enter as the mean of what they are, positions stay theirs: no mean of the class token or of places.

    What a patch is: its state before the first block less that of a picture of zeros, whose states are bias and place
    (in CLIP a norm stands between the two).
    """
    model, pixels = model_of(name), pixels_of(OWN)

    def entering(values):
        return Stack(model, ask(model, {"pixel_values": values}, asked_of(name))).states[0][0]

    with at_rest(model.network), torch.no_grad():
        stack = Stack(model, ask(model, {"pixel_values": pixels}, asked_of(name)))
        start = starts_of(stack, ["mean"], keep_special=True, through=True)[0].states
        nothing, something = entering(torch.zeros_like(pixels)), entering(pixels)

    n_prefix = len(PREFIX.get(name, ("[CLS]",)))
    expected = nothing.clone()
    expected[n_prefix:] += (something - nothing)[n_prefix:].mean(0)
    expected[:n_prefix] = something[:n_prefix]
    assert_close(start[0][0], expected, rtol=0, atol=1e-9)  # float64


def test_a_start_of_zeros_leaves_the_class_token_alone():
    """Zeros are states of patches; what enters with the model's own tokens stays."""
    model, pixels = model_of("deit"), pixels_of(OWN)

    with at_rest(model.network), torch.no_grad():
        stack = Stack(model, ask(model, {"pixel_values": pixels}, 1))
        start = starts_of(stack, ["zero"], keep_special=True, through=True)[0].states

        states = stack.states[0][0]
        expected = torch.zeros_like(states)
        expected[:2] = states[:2]
        assert_close(start[0][0], expected, rtol=0, atol=1e-12)
        for layer in range(2):
            again = stack.block(layer, start[layer], torch.zeros(1, dtype=torch.long))
            assert_close(start[layer + 1], again, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "baseline", "message"),
    [
        ("vit", "mask", "'mask' needs a mask token, and ViTForImageClassification has none.*'blur'"),
        ("vit", "pad", "'pad' replaces words, and this input has none; use 'blur'"),
        ("text", "blur", "'blur' replaces pixels, and this input has none"),
        ("text", "grey", "'grey' replaces pixels, and this input has none"),
    ],
)
def test_a_baseline_of_the_other_kind_is_refused(name, baseline, message):
    """In one line, with one that there is."""
    model = headed("bert", "BertForSequenceClassification") if name == "text" else model_of(name)
    item = "a superb film" if name == "text" else {"pixel_values": pixels_of(OWN)}

    for method in ("ca-lig", "occlusion"):
        with pytest.raises(OptionError, match=message) as caught:
            lignite.explain(model, item, baseline=baseline, method=method)
        assert "\n" not in str(caught.value)


@every_family
@pytest.mark.parametrize("fill", ["blur", "black"])
def test_occlusion_is_covering_pixels(name, fill):
    """The states of a patch come from its own pixels: exchanging states or pixels must be the same."""
    model, pixels = model_of(name), pixels_of(OTHER)
    (row,) = ask(model, {"pixel_values": pixels}, asked_of(name))

    result = lignite.explain(
        model, {"pixel_values": pixels}, target=asked_of(name), method="occlusion", baseline=fill
    )  # fmt: skip

    n_prefix = len(PREFIX.get(name, ("[CLS]",)))
    covered = [cover(model, row, [place], fill) for place in range(n_prefix, row.n_tokens)]
    values = predict(model, [row, *covered]).value.numpy()
    assert_allclose(result.relevance[n_prefix:], values[0] - values[1:], rtol=0, atol=1e-9)  # float64
    assert_array_equal(result.relevance[:n_prefix], 0)


# Results


def explained(**options):
    image = np.random.default_rng(1).integers(0, 256, (*OWN, 3), dtype=np.uint8)
    return image, lignite.explain(model_of("deit"), image, target=1, **options)


def test_a_result_carries_the_picture_and_the_place_of_every_patch():
    """Views draw from the result alone."""
    image, result = explained()

    assert result.image.dims == ("y", "x", "channel")
    assert_array_equal(result.image, image)
    assert result.image.dtype == np.uint8
    assert result.row.values.tolist() == [-1, -1, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert result.col.values.tolist() == [-1, -1, *[0, 1, 2] * 3]
    for name, of in (("top", result.row), ("left", result.col)):
        assert_array_equal(result[name], np.where(of < 0, -1, of * PATCH))
    for name, of in (("bottom", result.row), ("right", result.col)):
        assert_array_equal(result[name], np.where(of < 0, -1, (of + 1) * PATCH))


@pytest.mark.parametrize("ending", ["nc", "json"])
@pytest.mark.parametrize("kind", ["explain", "flow"])
def test_a_result_with_a_picture_is_read_back_as_it_was_saved(tmp_path, ending, kind):
    """Bytes stay bytes: as decimals a picture would be eight times as large, and no picture."""
    if kind == "explain":
        _, result = explained()
    else:
        image = np.random.default_rng(1).integers(0, 256, (*OWN, 3), dtype=np.uint8)
        result = lignite.flow(model_of("deit"), image, layers=1)
    path = tmp_path / f"result.{ending}"

    lignite.save(result, path)
    again = lignite.open(path)

    assert result.identical(again)
    assert again.image.dtype == np.uint8
    assert {name: again[name].dtype for name in again.variables} == {
        name: result[name].dtype for name in result.variables
    }


def test_what_can_be_asked_of_a_result_can_be_asked_of_an_image():
    """Strongest patches, without the class token, scaled; words there are none, so that patches stay what they are."""
    _, result = explained()

    table = result.lignite.top(3)
    assert table.position.tolist() == np.argsort(-np.abs(result.relevance.values), kind="stable")[:3].tolist()
    bare = result.lignite.drop_special()
    assert bare.token.values.tolist() == [f"r{row}c{col}" for row in range(3) for col in range(3)]
    assert bare.top.values.tolist() == [0, 0, 0, 4, 4, 4, 8, 8, 8]
    shared = result.lignite.drop_special(redistribute=True)
    assert float(shared.relevance.sum()) == pytest.approx(float(result.relevance.sum()), abs=1e-12)
    normal = result.lignite.normalize()
    assert float(abs(normal.relevance).max()) <= 1 + 1e-12
    for changed in (bare, shared, normal):
        assert_array_equal(changed.image, result.image)
    merged = result.lignite.merge_words()
    assert_array_equal(merged.relevance, result.relevance)
    assert_array_equal(merged.image, result.image)
    assert_array_equal(merged.bottom, result.bottom)


def test_a_picture_of_another_kind_is_no_result():
    """Views count on three bytes a pixel."""
    _, result = explained()

    for wrong in (result.image.astype(np.float64), result.image.isel(channel=[0])):
        with pytest.raises(InputError, match="expected uint8"):
            lignite.save(result.drop_vars("image").assign(image=wrong), "never.json")
