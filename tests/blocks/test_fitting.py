"""Models that pad their input inside, to their window: explained on the input itself, as the untouched model says."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from tests.kit.architectures import randomize
from tests.kit.tiny_tokenizers import word_piece
from torch import Tensor, nn
from transformers import (
    BigBirdConfig,
    BigBirdForSequenceClassification,
    LongformerConfig,
    LongformerForSequenceClassification,
    LongformerModel,
)

import lignite
from lignite.blocks.fitting import padded_to
from lignite.errors import LigniteError
from lignite.inputs.encode import encode
from lignite.models.hold import at_rest

SMALL = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 90, "pad_token_id": 0,
}  # fmt: skip

TEXT = "the plot was thin"
TEXTS = [TEXT, "nothing at all but acting it says the plot was thin", "people"]
"""Six, thirteen and three tokens: one window of eight, two, one."""

SINGLE = {"rtol": 0, "atol": 1e-5}
"""Float32 sums in another order, of numbers of order one."""


def longformer(kind: Any = LongformerForSequenceClassification) -> lignite.Model:
    tokenizer = word_piece()
    network = kind(LongformerConfig(vocab_size=len(tokenizer), attention_window=[8, 8], sep_token_id=3, **SMALL))
    randomize(network, seed=0, gains={})
    return lignite.wrap(network.eval(), tokenizer)


@pytest.fixture(scope="module")
def windowed() -> lignite.Model:
    return longformer()


def asked(model: lignite.Model, text: str, *, masked: bool = False) -> Any:
    """What the untouched model returns for a text, or for as many mask tokens between its special ones."""
    ids = model.tokenizer(text, return_tensors="pt")["input_ids"]
    if masked:
        ids[:, 1:-1] = model.tokenizer.mask_token_id
    with torch.no_grad():
        return model.network(input_ids=ids, attention_mask=torch.ones_like(ids))


def test_an_input_shorter_than_its_window_is_explained_as_the_model_answers_it(windowed):
    """Its blocks see two tokens that it has not; values and displacements are the untouched model's all the same."""
    found = lignite.explain(windowed, TEXTS, target=1, method="ig", baseline="mask", tol=0.1)

    for text, each in zip(TEXTS, found, strict=True):
        value = float(asked(windowed, text).logits[0, 1])
        assert each.sizes["token"] == len(windowed.tokenizer(text)["input_ids"])
        assert_allclose(each.attrs["value"], value, **SINGLE)
        change = value - float(asked(windowed, text, masked=True).logits[0, 1])
        assert_allclose(each.total_displacement, change, **SINGLE)


@pytest.mark.parametrize("method", ["gradient-x-input", "relevance-flow"])
def test_what_is_padded_inside_is_scored_as_if_padded_beforehand(windowed, method):
    """The definition of the way out: the user's own padding, masked."""
    by_hand = windowed.tokenizer(TEXT, padding="max_length", max_length=8, return_tensors="pt")
    options = {"target": 1, "method": method, "baseline": "mask", "tol": 0.1} if method == "relevance-flow" else {
        "target": 1, "method": method}  # fmt: skip

    found = lignite.explain(windowed, TEXT, **options)

    expected = lignite.explain(windowed, {name: by_hand[name] for name in ("input_ids", "attention_mask")}, **options)
    assert_allclose(found.relevance, expected.relevance, **SINGLE)


def test_a_function_of_the_output_sees_no_padding_of_ours():
    """Means over tokens are those of the untouched model's own output, which is as long as the input.

    Attention, which the model is asked for beside it, is no part of that output.
    """
    model = longformer(LongformerModel)

    def pooled(outputs: Any) -> Tensor:
        return outputs.last_hidden_state.mean(1)[:, 0]

    found = lignite.explain(model, TEXTS, target=pooled, baseline="mask", n_steps=4, tol=0.9)

    assert_allclose([each.attrs["value"] for each in found], [float(pooled(asked(model, each))) for each in TEXTS],
                    **SINGLE)  # fmt: skip
    for text, each in zip(TEXTS, found, strict=True):
        change = float(pooled(asked(model, text)) - pooled(asked(model, text, masked=True)))
        assert_allclose(each.displacement, change, **SINGLE)


def test_flow_drops_the_padding_that_the_blocks_see(windowed):
    """Six targets and sources, and the scores that the user's own padding gives."""
    by_hand = windowed.tokenizer(TEXT, padding="max_length", max_length=8, return_tensors="pt")

    found = lignite.flow(windowed, TEXT, layers=1, maps="whole", n_steps=4, tol=0.9)

    tensors = {name: by_hand[name] for name in ("input_ids", "attention_mask")}
    expected = lignite.flow(windowed, tensors, layers=1, maps="whole", n_steps=4, tol=0.9)
    assert found.whole.shape == (1, 6, 6)
    assert_allclose(found.whole, expected.whole, **SINGLE)
    assert lignite.check(windowed, text=TEXT).n_tokens == 6


def test_padding_needs_words_and_a_mask(windowed):
    """What cannot be told from padding cannot be padded."""
    with at_rest(windowed.network):
        (encoded,) = encode(windowed, TEXT)
        longer = padded_to(windowed, encoded, 8)

        assert longer.tensors["attention_mask"].tolist() == [[1] * 6 + [0] * 2]
        assert longer.tokens.padding == (False,) * 6 + (True,) * 2
        assert longer.tokens.keep().text == encoded.tokens.text
        with pytest.raises(LigniteError, match="see 4 states where the input has 6 tokens"):
            padded_to(windowed, encoded, 4)


@pytest.fixture(scope="module")
def sparse() -> lignite.Model:
    tokenizer = word_piece()
    config = BigBirdConfig(
        vocab_size=len(tokenizer), attention_type="block_sparse", block_size=4, num_random_blocks=1, **SMALL
    )
    network = BigBirdForSequenceClassification(config)
    randomize(network, seed=0, gains={})
    return lignite.wrap(network.eval(), tokenizer)


def test_attention_that_a_model_exchanges_for_short_texts_is_put_back(sparse):
    """BigBird leaves its sparse attention for good when a text is short; the next, long one must not notice."""
    long = " ".join(TEXTS * 3)
    parts = dict(sparse.network.named_modules())
    values = [lignite.explain(sparse, text, target=1, method="occlusion").attrs["value"] for text in (long, TEXT)]

    together = lignite.explain(sparse, [TEXT, long], target=1, method="gradient-x-input")

    assert_allclose([each.attrs["value"] for each in together], values[::-1], **SINGLE)
    assert np.isfinite(lignite.flow(sparse, TEXT, layers=0, maps="whole", n_steps=2, tol=0.9).whole).all()
    assert sparse.network.bert.attention_type == "block_sparse"
    now = dict(sparse.network.named_modules())
    assert now.keys() == parts.keys()
    assert all(now[name] is part for name, part in parts.items())


class WithLatents(LongformerForSequenceClassification):
    """Reads any text into eight latents, as Perceivers do: as many as the window, but not the window's tokens."""

    def __init__(self, config: LongformerConfig):
        super().__init__(config)
        width = config.hidden_size
        self.latents = nn.Parameter(torch.zeros(8, width))
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(2))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        states = self.longformer.embeddings(input_ids) * (1 if attention_mask is None else attention_mask[..., None])
        latents = self.latents + states.sum(1, keepdim=True)
        for block in self.blocks:
            latents = latents + block(latents)
        return {"logits": latents.mean(1)[:, :2]}


@pytest.mark.parametrize("way", ["explain", "flow"])
def test_states_that_are_no_tokens_are_not_taken_for_them(way):
    """Padding to as many tokens as there are latents would give each token another one's score."""
    model = longformer(WithLatents)
    model.network.base_model_prefix = ""

    ways = {
        "flow": lambda: lignite.flow(model, TEXT, maps="whole"),
        "explain": lambda: lignite.explain(model, TEXT, target=1, method="gradient-x-input"),
    }

    with pytest.raises(LigniteError, match=r"8 states where the input has 6 tokens, and not one for each"):
        ways[way]()
