"""What a module is, found by running it: and what is said where something is not found."""

import pytest
import torch
from tests.kit.plain_modules import GPT, WIDTH, Block, EncoderClassifier, VisionTransformer, build
from torch import nn

import lignite
from lignite.errors import ModelError, OptionError


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: GPT(), ("h", "wte", False, False, True)),
        (lambda: GPT(last=True), ("h", "wte", False, False, True)),
        (lambda: EncoderClassifier(), ("encoder.layers", "words", False, False, False)),
        (lambda: EncoderClassifier(batch_first=False), ("encoder.layers", "words", True, False, False)),
        (lambda: VisionTransformer(), ("encoder.layers", None, False, False, False)),
        (lambda: EncoderClassifier().encoder, ("layers", None, False, False, False)),
        (lambda: EncoderClassifier(batch_first=False).encoder, ("layers", None, True, True, False)),
    ],
)
def test_a_trial_finds_what_a_module_is(make, expected):
    """Known of each by construction: its list of blocks, its table, which axis holds tokens, who sees whom."""
    found = lignite.wrap(build(make)).network.found

    answer = found.stack, found.embed, found.takes_tokens_first, found.answers_tokens_first, found.is_causal
    assert answer == expected


def test_a_list_of_other_things_is_not_taken_for_the_blocks():
    """Convolutions and experts stand in longer lists than the blocks, and carry no states [row, token, d]."""

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1)) for _ in range(5)))
            self.vit = VisionTransformer()

        def forward(self, x):
            return self.vit(self.stem(x))

    assert lignite.wrap(build(Mixed)).network.found.stack == "vit.encoder.layers"


class Apart(nn.Module):
    """Blocks that stand in no list."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(19, WIDTH)
        self.first, self.second = Block("fused", causal=True), Block("fused", causal=True)

    def forward(self, ids):
        return self.second(self.first(self.words(ids)))


def test_blocks_can_be_named():
    """By a list, by its name, or one by one where there is none."""
    module = build(Apart)
    with pytest.raises(ModelError, match=r"Apart has no list of blocks.*blocks='encoder\.layers'.*\[2, 3, 20\]|no nn"):
        lignite.wrap(module)

    for blocks in (["first", "second"], [module.first, module.second]):
        model = lignite.wrap(module, blocks=blocks)
        assert model.network.found.stack == "first … second"
    assert lignite.flow(model, torch.tensor([[1, 2, 3]]), maps="whole").sizes["layer"] == 2
    gpt = build(GPT)
    assert lignite.wrap(gpt, blocks=gpt.h).network.found.blocks == ("h.0", "h.1")


class Needy(Apart):
    def forward(self, ids, speaker):
        return super().forward(ids)


class Mixing(Apart):
    """Rows that are compared with each other."""

    def forward(self, ids):
        x = self.words(ids)
        return self.second(self.first(x + x.mean(0)))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (GPT, {"blocks": "layers"}, r"blocks='layers' is no part of GPT \(it has wte, wpe, h, norm, head\)"),
        (GPT, {"blocks": ["norm"]}, None),
        (GPT, {"blocks": "wte"}, r"no list of blocks.*Found: 'wte' with 1 Embedding, not called with any"),
        (GPT, {"blocks": 3}, "blocks=3 is an int"),
        (GPT, {"embed": "tokens"}, "embed='tokens' is no part of GPT"),
        (EncoderClassifier, {"labels": ["a", "b"]}, "labels names 2 classes, and EncoderClassifier answers with 4"),
        (Needy, {"blocks": ["first", "second"]}, r"Needy cannot be called with ids .* alone .*speaker"),
        (Mixing, {"blocks": ["first", "second"]}, "rows of Mixing are not independent"),
        (VisionTransformer, {"mean": [0.5]}, "mean and std belong together"),
        (VisionTransformer, {"image_processor": 3}, "image_processor is a int"),
        (GPT, {"tokenizer": 3}, "tokenizer is a int: give one of transformers, an object with encode and decode"),
    ],
)
def test_what_is_not_so_is_said_in_one_line(make, options, message):
    """What was given, what was found, what to do."""
    module = build(make)
    if message is None:
        assert lignite.wrap(module, **options)
        return

    with pytest.raises((ModelError, OptionError), match=message) as caught:
        lignite.wrap(module, **options)

    assert "\n" not in str(caught.value)


def test_images_of_an_unknown_size_are_asked_for():
    """Position embeddings fit one size, and nothing says which."""
    module = build(VisionTransformer)
    del module.image_size

    with pytest.raises(ModelError, match="does not say how large its images are"):
        lignite.wrap(module)

    assert lignite.wrap(module, image_size=(8, 12)).network.config.image_size == (8, 12)


def test_options_of_modules_are_refused_for_transformers_models():
    """Their configuration says it, and two answers could differ."""
    with pytest.raises(OptionError, match="leave out all but the tokenizer"):
        lignite.wrap(lignite.load("tiny-sentiment"), blocks="encoder.layer")
