"""Answers are held against the untouched model at both ends of a path: what bypasses the states is seen."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.testing import assert_allclose
from tests.kit.architectures import full_precision
from tests.kit.headed_models import headed
from tests.kit.tiny_tokenizers import word_piece
from torch import Tensor, nn
from torch.testing import assert_close
from transformers.modeling_outputs import SequenceClassifierOutput

import lignite
from lignite.blocks import answers
from lignite.blocks.baselines import hold_against_another_input, starts_of
from lignite.blocks.record import find_blocks, layout_of
from lignite.blocks.stack import Stack
from lignite.errors import BypassError, ModelError
from lignite.memory import budget_held
from lignite.models.hold import at_rest
from lignite.targets.ask import ask
from lignite.targets.rows import bytes_per_token

TEXT = "the plot was thin"
TEXTS = [TEXT, "people says nothing at all", "it"]
ROUNDED = {"rtol": 0, "atol": 1e-7}
"""Float64 throughout; some softmax and norms are float32 inside."""


def small(model_class: str, dtype: torch.dtype = torch.float64, **config: Any) -> lignite.Model:
    """A classifier of three classes with weights that are all random."""
    made, words = getattr(transformers, model_class), word_piece()
    known = {"vocab_size": len(words), "num_labels": 3, "pad_token_id": words.pad_token_id, **config}
    network, generator = made(made.config_class(**known)).to(dtype), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim > 1 or "bias" in name:
                size = 1.0 if "embed" in name or "shared" in name else 0.15
                weight.copy_(size * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    return lignite.wrap(full_precision(network.eval()) if dtype == torch.float64 else network.eval(), words)


def answer(model: lignite.Model, text: str = TEXT, *, blank: bool = False, target: int = 1) -> float:
    """The untouched model's own logit, of a text or of the same with all its words masked."""
    given = model.tokenizer(text, return_tensors="pt")
    if "token_type_ids" not in model.network.forward.__code__.co_varnames:
        given.pop("token_type_ids", None)
    if blank:
        given["input_ids"][0, 1:-1] = model.tokenizer.mask_token_id
    with torch.no_grad():
        return float(model.network(**given).logits[0].reshape(-1, model.config.num_labels)[-1, target])


SIZE = {"d_model": 16, "num_attention_heads": 2}
SEQUENCE = {"bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3, "max_position_embeddings": 40}
READ_TWICE: dict[str, dict[str, Any]] = {
    "T5ForSequenceClassification": {
        "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 2,
        "eos_token_id": 3, "decoder_start_token_id": 0, "feed_forward_proj": "gated-gelu",
    },
    "BartForSequenceClassification": SEQUENCE | {
        "d_model": 16, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24,
    },
}  # fmt: skip
FUNNEL = {"block_sizes": [2, 1], "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 24}
XLNET = {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24}
CANINE = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "local_transformer_stride": 4, "max_position_embeddings": 64, "num_hash_buckets": 64,
}  # fmt: skip


@pytest.fixture(scope="module", params=READ_TWICE)
def read_twice(request) -> lignite.Model:
    return small(request.param, **READ_TWICE[request.param])


# What was explained wrongly


@pytest.mark.parametrize("method", ["ca-lig", "relevance-flow", "ig"])
def test_a_text_that_an_encoder_and_a_decoder_read_is_masked_for_both(read_twice, method):
    """The displacement is what the model says of the text less what it says of the masked one, at every layer."""
    why = lignite.explain(read_twice, TEXT, target=1, method=method, baseline="mask")

    name = "total_displacement" if method == "ig" else "displacement"
    own = answer(read_twice) - answer(read_twice, blank=True)
    assert_allclose(why[name], own, **ROUNDED)
    assert abs(own) > 1e-3
    assert why.sizes.get("layer", 5) == 5
    if method != "ig":
        assert_allclose(why.layer_relevance.sum("token"), own, rtol=2e-3)


def test_a_word_counts_where_the_encoder_and_where_the_decoder_reads_it(read_twice):
    """Against integrated gradients of both embeddings by hand: the decoder reads each word one place later."""
    model, ids = read_twice, read_twice.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    blank = torch.where(ids > 4, model.tokenizer.mask_token_id, ids)
    network = model.network
    table, above = (part.get_input_embeddings() for part in (network.get_encoder(), network.get_decoder()))
    full, start = table(ids).detach(), table(blank).detach()
    shifted = torch.cat([torch.tensor([[network.config.decoder_start_token_id]]), ids[:, :-1]], 1)
    shifted_blank = torch.cat([shifted[:, :1], blank[:, :-1]], 1)
    other, other_start = above(shifted).detach(), above(shifted_blank).detach()
    nodes, weights = np.polynomial.legendre.leggauss(40)
    found = torch.zeros(ids.shape[1], dtype=torch.float64)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        lines = [(start, full), (other_start, other)]
        parts = [(begin + node * (end - begin)).requires_grad_() for begin, end in lines]
        handles = [
            module.register_forward_hook(partial(lambda part, *_: part, part))
            for module, part in zip((table, above), parts, strict=True)
        ]
        slopes = torch.autograd.grad(network(ids, torch.ones_like(ids)).logits[0, 1], parts)
        for handle in handles:
            handle.remove()
        read, written = ((slope * (end - begin))[0].sum(-1) for slope, (begin, end) in zip(slopes, lines, strict=True))
        found += weight * read
        found[:-1] += weight * written[1:]

    why = lignite.explain(model, TEXT, target=1, method="ig", baseline="mask", tol=1e-6)

    # the embeddings are scaled or normed before the first block: both are straight lines there only if it is affine
    if "T5" in type(network).__name__:
        assert_allclose(why.relevance, found, rtol=0, atol=1e-6)
    else:
        assert_allclose(why.relevance.sum(), found.sum(), rtol=0, atol=1e-6)


def test_a_state_taken_away_is_a_word_masked_for_both(read_twice):
    """Occlusion edits the words themselves; sequential IG exchanges their states, in the encoder and the decoder."""
    edited, exchanged = (
        lignite.explain(read_twice, TEXT, target=1, method=method, baseline="mask")
        for method in ("occlusion", "sequential-ig")
    )

    assert_allclose(exchanged.relevance, edited.relevance, **ROUNDED)
    assert np.count_nonzero(abs(edited.relevance) > 1e-4) > 2


@pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")
def test_texts_read_twice_are_explained_in_a_list_as_alone(read_twice):
    """Each row's decoder begins with its own start token, whose place is that of the row's own last one."""
    together = lignite.explain(read_twice, TEXTS, target=1, baseline="mask", n_steps=3)

    for text, why in zip(TEXTS, together, strict=True):
        alone = lignite.explain(read_twice, text, target=1, baseline="mask", n_steps=3)
        assert_allclose(why.layer_relevance, alone.layer_relevance, **ROUNDED)


@pytest.mark.parametrize(
    ("model_class", "config", "n_layers"),
    [
        ("FunnelForSequenceClassification", FUNNEL, 2),
        ("XLNetForSequenceClassification", XLNET, 2),
        ("CanineForSequenceClassification", CANINE, 1),
    ],
)
def test_states_that_are_handed_on_in_other_ways_are_followed(model_class, config, n_layers):
    """Handed three times (Funnel), tokens first (XLNet); where tokens are merged (Funnel, CANINE) the head begins."""
    model = small(model_class, torch.float32, **config)  # CANINE answers NaN in double precision
    given = {"input_ids": model.tokenizer(TEXT, return_tensors="pt")["input_ids"]}
    blank = torch.where(given["input_ids"] > 4, model.tokenizer.mask_token_id, given["input_ids"])

    why = lignite.explain(model, given, target=1, baseline="mask")

    with torch.no_grad():
        own = model.network(**given).logits[0, 1] - model.network(input_ids=blank).logits[0, 1]
    assert_allclose(why.displacement, float(own), rtol=1e-5)
    assert why.sizes["layer"] == n_layers


@pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")
@pytest.mark.parametrize("n_layers", [2, 3, 4])
def test_the_blocks_are_the_layers_that_the_configuration_counts(n_layers):
    """MobileBERT keeps three feed-forward parts of each block in a list that is called more often than the blocks."""
    model = small(
        "MobileBertForSequenceClassification", hidden_size=24, embedding_size=16, num_hidden_layers=n_layers,
        num_attention_heads=2, intermediate_size=24, intra_bottleneck_size=16, max_position_embeddings=40,
    )  # fmt: skip

    why = lignite.explain(model, TEXT, target=1, baseline="mask", n_steps=2)

    assert why.sizes["layer"] == n_layers
    assert_allclose(why.displacement, answer(model) - answer(model, blank=True), **ROUNDED)


@pytest.fixture(scope="module")
def gemma() -> lignite.Model:
    return small(
        "Gemma3nForCausalLM", vocab_size_per_layer_input=len(word_piece()), hidden_size=16,
        hidden_size_per_layer_input=8, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, num_kv_shared_layers=0, altup_num_inputs=2, laurel_rank=4,
        layer_types=["sliding_attention", "full_attention"], bos_token_id=2, eos_token_id=3,
        activation_sparsity_pattern=[0.0, 0.0], max_position_embeddings=40,
    )  # fmt: skip


def test_what_blocks_are_handed_beside_their_states_is_part_of_a_words_state(gemma):
    """Gemma 3n hands every block an embedding of the words, and carries two versions of every state."""
    given = {"input_ids": gemma.tokenizer(TEXT, return_tensors="pt")["input_ids"]}
    blank = torch.where(given["input_ids"] > 4, gemma.tokenizer.mask_token_id, given["input_ids"])

    why = lignite.explain(gemma, given, target=7, baseline="mask")

    with torch.no_grad():
        own = gemma.network(**given).logits[0, -1, 7] - gemma.network(input_ids=blank).logits[0, -1, 7]
    assert_allclose(why.displacement, float(own), rtol=0, atol=1e-5)
    assert_allclose(why.layer_relevance.sum("token"), float(own), rtol=2e-3)


def test_states_of_another_shape_are_not_taken_apart(gemma):
    """A flow needs one state per token and block: it says what it found, and what reads such models."""
    given = {"input_ids": gemma.tokenizer(TEXT, return_tensors="pt")["input_ids"]}

    with pytest.raises(ModelError, match=r"'layers'\) carry states \[2, 1, \d+, 16\].*lignite.explain"):
        lignite.flow(gemma, given)


# Planted faults


class LooksAtWords(transformers.BertForSequenceClassification):
    """A bag of words beside [CLS]: the head reads the ids, whatever the states say."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any) -> Any:
        states = self.bert(input_ids, attention_mask, **options)[0]
        bag = torch.cos(input_ids.double()[..., None] * torch.arange(1, 4)).mean(1)
        return SequenceClassifierOutput(logits=self.classifier(states[:, 0]) + bag)


class HandsOn(nn.Module):
    """A block that keeps its states for a later one, past the states that it returns."""

    def __init__(self, block: nn.Module, kept: list[Tensor], *, reads: bool):
        super().__init__()
        self.block, self.kept, self.reads = block, kept, reads

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        output = self.block(hidden_states, *args, **kwargs)
        if not self.reads:
            self.kept[:] = [output if isinstance(output, Tensor) else output[0]]
            return output
        return output + self.kept[0] if isinstance(output, Tensor) else (output[0] + self.kept[0], *output[1:])


class ReadsWords(nn.Module):
    """A block that looks the words up itself."""

    def __init__(self, block: nn.Module, words: list[Tensor]):
        super().__init__()
        self.block, self.words = block, words

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        output = self.block(hidden_states, *args, **kwargs)
        shift = torch.cos(self.words[0].double())[..., None]
        return output + shift if isinstance(output, Tensor) else (output[0] + shift, *output[1:])


class Hands(transformers.PreTrainedModel):
    """Blocks that are handed what the first one has made, by their model, beside the states."""

    config_class = transformers.BertConfig

    class Block(nn.Module):
        def __init__(self, width: int):
            super().__init__()
            self.mix, self.read = nn.Linear(width, width), nn.Linear(width, width)

        def forward(self, hidden_states: Tensor, first: Tensor | None = None) -> tuple[Tensor, Tensor]:
            made = torch.tanh(self.mix(hidden_states + hidden_states.mean(1, keepdim=True)))
            carried = made if first is None else first
            return hidden_states + made * self.read(carried), carried

    def __init__(self, config: Any):
        super().__init__(config)
        self.table = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([Hands.Block(config.hidden_size) for _ in range(config.num_hidden_layers)])
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def get_input_embeddings(self) -> nn.Module:
        return self.table

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        states, first = self.table(input_ids), None
        for layer in self.layers:
            states, first = layer(states, first=first)
        return SequenceClassifierOutput(logits=self.classifier(states.mean(1)))


def test_what_a_block_makes_for_later_ones_is_part_of_their_states():
    """A value of the first block that all others read: from each layer on, a word is its state and that value."""
    words = word_piece()
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=len(words), hidden_size=6, num_hidden_layers=4, num_labels=3)
    model = lignite.wrap(Hands(config).double().eval(), words)

    for method in ("ca-lig", "relevance-flow"):
        why = lignite.explain(model, TEXT, target=1, method=method, baseline="mask", tol=1e-5)

        own = answer(model) - answer(model, blank=True)
        assert_allclose(why.displacement, own, **ROUNDED)
        assert_allclose(why.layer_relevance.sum("token"), own, rtol=1e-4)
        assert why.sizes["layer"] == 4


def looks_at_words() -> lignite.Model:
    model = headed("bert", "BertForSequenceClassification")
    model.network.__class__ = LooksAtWords
    return model


def hands_on() -> lignite.Model:
    model = headed("bert", "BertForSequenceClassification")
    blocks, kept = model.network.bert.encoder.layer, []
    blocks[0], blocks[2] = HandsOn(blocks[0], kept, reads=False), HandsOn(blocks[2], kept, reads=True)
    return model


def reads_words() -> lignite.Model:
    model = headed("bert", "BertForSequenceClassification")
    words: list[Tensor] = []
    model.network.bert.embeddings.word_embeddings.register_forward_pre_hook(
        lambda _, args: words.__setitem__(slice(None), args)
    )
    blocks = model.network.bert.encoder.layer
    blocks[1] = ReadsWords(blocks[1], words)
    return model


FAULTS = {"head": looks_at_words, "word": reads_words, "block": hands_on}
BY_STATES = (
    "ca-lig", "relevance-flow", "ig", "gradient-x-input", "saliency", "grad-cam", "hirescam", "layercam",
    "sequential-ig",
)  # fmt: skip


@pytest.mark.parametrize("method", BY_STATES)
@pytest.mark.parametrize("fault", ["head", "word"])
def test_what_reads_the_words_past_the_states_is_refused(fault, method):
    """At every layer: the states of another text give another answer than that text."""
    model = FAULTS[fault]()
    options = {"baseline": "zero"} if method == "sequential-ig" else {}

    with pytest.raises(BypassError, match=r"cannot be replayed from the states entering layer 0 of 'encoder.layer'"):
        lignite.explain(model, TEXT, target=1, method=method, **options)


@pytest.mark.parametrize("baseline", ["mask", "zero", "mean"])
def test_every_baseline_is_held_against_the_model(baseline):
    """Of states that no input has nothing can be asked; then another text's stand for them."""
    for build in (looks_at_words, reads_words):
        with pytest.raises(BypassError):
            lignite.explain(build(), TEXT, target=1, baseline=baseline)


@pytest.mark.parametrize("method", ["ca-lig", "relevance-flow", "grad-cam"])
def test_what_a_block_hands_on_past_its_states_is_refused(method):
    """From the first layer all is as it was; from a later one the earlier block has not run on the other states."""
    with pytest.raises(BypassError, match=r"entering layer 1 .*what an earlier block has made"):
        lignite.explain(hands_on(), TEXT, target=1, method=method)


def test_methods_of_the_first_layer_alone_ask_no_more_than_they_use():
    """There nothing bypasses the states: a block's own words to a later one are part of what is above."""
    why = lignite.explain(hands_on(), TEXT, target=1, method="ig")

    model = hands_on()
    assert_allclose(why.total_displacement, answer(model) - answer(model, blank=True), **ROUNDED)


def test_the_way_around_is_tried_before_it_is_named():
    """It explains the very input, and the scores are what the untouched model says."""
    model = looks_at_words()

    with pytest.raises(BypassError, match=r"Use method='occlusion' with baseline='mask'"):
        lignite.explain(model, TEXT, target=1)

    why = lignite.explain(model, TEXT, target=1, method="occlusion", baseline="mask")
    given = model.tokenizer(TEXT, return_tensors="pt")
    given["input_ids"][0, 2] = model.tokenizer.mask_token_id
    with torch.no_grad():
        without = model.network(given["input_ids"], given["attention_mask"]).logits[0, 1]
    assert_allclose(why.relevance[2], answer(model) - float(without), **ROUNDED)


def test_no_way_around_is_named_where_none_was_found():
    """Without a token to put in a word's place nothing can be taken away."""
    model = looks_at_words()
    given = {
        name: each for name, each in model.tokenizer(TEXT, return_tensors="pt").items() if name != "token_type_ids"
    }
    without = lignite.wrap(model.network)

    with pytest.raises(BypassError, match="No other method that was tried"):
        lignite.explain(without, given, target=1, baseline="zero")


def test_blocks_that_do_not_take_some_points_alone_are_asked_one_by_one():
    """A sweep that fails proves nothing: the same question is put layer by layer before a model is refused."""
    model = headed("bert", "BertForSequenceClassification")
    block = model.network.bert.encoder.layer[1]
    sizes: list[int] = []

    def whole(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        sizes.append(len(hidden_states))
        if len(hidden_states) != 1:
            raise RuntimeError("one at a time")
        return type(block).forward(block, hidden_states, *args, **kwargs)

    block.forward = whole
    (row,) = ask(model, TEXT, 1)
    with at_rest(model.network):
        stack = Stack(model, [row])
        hold_against_another_input(stack)

    assert not stack.sweeps
    assert max(sizes) > 1


def test_what_began_with_a_sweep_that_fails_begins_again():
    """Integrals begin before the model is held against the stack, when nobody knows yet that its blocks take no part.

    Here a block wants the whole batch, as one does that adds something made of the input's own rows.
    """
    options = {"method": "ca-lig", "path": "layer", "baseline": "mask", "target": 1, "n_steps": 7, "tol": 0.5}
    expected = lignite.explain(headed("bert", "BertForSequenceClassification"), TEXT, **options)
    model = headed("bert", "BertForSequenceClassification")
    block, sizes = model.network.bert.encoder.layer[1], [0]

    def whole(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        if len(hidden_states) != sizes[-1]:
            raise RuntimeError("all of them or none")
        return type(block).forward(block, hidden_states, *args, **kwargs)

    block.forward = whole
    model.network.bert.embeddings.register_forward_hook(lambda _, __, made: sizes.append(len(made)))

    why = lignite.explain(model, TEXT, **options)

    assert_allclose(why.layer_ig, expected.layer_ig, **ROUNDED)


def test_displacements_are_the_models_own():
    """Not those of a replay that may round otherwise: the replay is held to them, and goes."""
    model = headed("bert", "BertForSequenceClassification", dtype=torch.float32)
    (row,) = ask(model, TEXT, 1)
    with at_rest(model.network):
        (start,) = starts_of(Stack(model, [row]), ["mask"], keep_special=True, through=True)

    with torch.no_grad():
        ids = row.encoded.tensors["input_ids"].clone()
        ids[0, 1:-1] = model.tokenizer.mask_token_id
        own = model.network(**{**row.encoded.tensors, "input_ids": ids}).logits[0, 1]
    assert_close(start.value, own[None], rtol=0, atol=0)


def test_an_answer_that_hardly_changes_is_held_to_its_change():
    """Relative to the answer a bypass of a thousandth of it would pass for rounding."""
    model = looks_at_words()
    large = 1e3

    def far_from_zero(outputs: Any) -> Tensor:
        return outputs.logits[:, 1] + large

    with pytest.raises(BypassError):
        lignite.explain(model, TEXT, target=far_from_zero)


# The stack itself


def test_parts_side_by_side_are_no_stack():
    """Each is given the same states: none works on what another has made."""

    class Parallel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = transformers.PretrainedConfig()
            self.parts = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])

        def forward(self, inputs_embeds: Tensor) -> Tensor:
            return torch.stack([part(inputs_embeds) for part in self.parts]).sum(0)

    with pytest.raises(ModelError, match=r"carry the states.*'parts' called 3 times"):
        find_blocks(Parallel(), {"inputs_embeds": torch.randn(1, 5, 4)})


def test_a_list_inside_blocks_is_not_the_stack():
    """Its parts carry the states, too, and are called more often; a configuration that counts nothing cannot tell."""

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])

        def forward(self, hidden_states: Tensor) -> Tensor:
            for part in self.parts:
                hidden_states = part(hidden_states)
            return hidden_states

    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = transformers.PretrainedConfig()
            self.blocks = nn.ModuleList([Outer() for _ in range(2)])

        def forward(self, inputs_embeds: Tensor) -> Tensor:
            for block in self.blocks:
                inputs_embeds = block(inputs_embeds)
            return inputs_embeds

    found = find_blocks(Nested(), {"inputs_embeds": torch.randn(1, 5, 4)})

    assert (found.name, len(found.calls)) == ("blocks", 2)


def test_a_configuration_that_counts_other_blocks_is_believed():
    """A list of another length is not the stack, whatever it carries; the message says what was found."""
    model = headed("bert", "BertForSequenceClassification")
    model.config.num_hidden_layers = 7

    with pytest.raises(ModelError, match=r"\(7\). Found: 'encoder.layer' called 3 times"):
        lignite.explain(model, TEXT)


def test_layouts_are_told_by_where_the_tokens_are():
    """One row, so many tokens, and what is left is the state, in any order; reading and writing undo each other."""
    generator = torch.Generator().manual_seed(0)
    for shape in ((1, 7, 6), (7, 1, 6), (2, 1, 7, 3), (1, 7, 2, 3), (1, 6, 7)):
        layout = layout_of(shape, 7)
        tensor = torch.randn(shape, generator=generator)

        states = layout.read(tensor)

        assert states.shape == (1, 7, 6)
        assert_close(layout.write(states), tensor, rtol=0, atol=0)


def counting_points() -> tuple[lignite.Model, list[int]]:
    """A model of five layers, and how many points each call of a block works on."""
    model = headed("bert", "BertForSequenceClassification", num_hidden_layers=5)
    sizes: list[int] = []
    for block in model.network.bert.encoder.layer:
        block.attention.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    return model, sizes


def test_a_check_costs_one_call_of_every_block():
    """On the points that have entered, one more at every layer; the input's own pass through the first."""
    model, sizes = counting_points()
    with at_rest(model.network):
        stack = Stack(model, ask(model, TEXT, 1))
        end = answers.another_input(stack)
        sizes.clear()

        answers.swept(stack, end, range(6))

    assert sizes == [2, 2, 3, 4, 5]


@pytest.mark.parametrize("most", [2, 3, 4])
def test_a_check_of_many_layers_stays_within_the_memory_asked_for(most):
    """At the last block all layers' states are there at once: 24 of them took more than everything else together."""
    model, sizes = counting_points()
    with at_rest(model.network):
        stack = Stack(model, ask(model, TEXT, 1))
        end = answers.another_input(stack)
        sizes.clear()
        with budget_held((most + 0.5) * stack.kept.shape[1] * bytes_per_token(model, gradient=False)):
            found = answers.swept(stack, end, range(6))

    assert max(sizes) <= most  # the row's own states run one block and no more
    assert_close(found, end.value[:, None].expand_as(found), **ROUNDED)


@pytest.mark.parametrize("most", [2, 3, 100])
def test_what_an_earlier_run_of_the_check_left_behind_answers_for_nothing(most):
    """A fourth block reads what the second has kept on itself: right for the end's states if they went there last."""
    model = headed("bert", "BertForSequenceClassification", num_hidden_layers=5)
    _, second, _, fourth, _ = model.network.bert.encoder.layer
    kept: list[Tensor] = []
    second.intermediate.register_forward_pre_hook(lambda _, args: kept.__setitem__(slice(None), args))
    fourth.intermediate.register_forward_hook(lambda _, args, output: output + kept[0].mean((1, 2), keepdim=True))
    with at_rest(model.network):
        stack = Stack(model, ask(model, TEXT, 1))
        memory = (most + 0.5) * stack.kept.shape[1] * bytes_per_token(model, gradient=False)
        with budget_held(memory), pytest.raises(BypassError, match="read more than the states"):
            hold_against_another_input(stack)
