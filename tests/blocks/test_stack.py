"""The stack as a function of any layer's states: it replays every model, and leaves each as it was."""

import copy
from types import MethodType
from typing import Any

import pytest
import torch
import transformers
from numpy.testing import assert_allclose
from tests.kit.architectures import ARCHITECTURES, full_precision
from tests.kit.headed_models import headed
from tests.kit.snapshots import snapshot
from tests.kit.wide import mostly_wide
from torch import Tensor
from torch.testing import assert_close

import lignite
from lignite.blocks import attention_weights
from lignite.blocks.attention_weights import differentiate_attention
from lignite.blocks.baselines import hold_against_another_input
from lignite.blocks.stack import Stack
from lignite.errors import ModelError, OptionError
from lignite.models.hold import at_rest
from lignite.targets.ask import ask
from lignite.targets.target import Target

KINDS = (
    "bert", "albert", "deberta-v2", "modernbert", "t5", "bart", "gpt2", "llama", "gemma3_text", "mpt", "mamba",
    "beit-shared",
)  # fmt: skip
"""One for every way in which blocks need something of each other; the rest run with the sweeps."""

ROUNDED = {"rtol": 0, "atol": 1e-9}
"""Float64 sums in another order; some families keep rotary angles in float32."""


def probe(outputs: Any) -> Tensor:
    """A number that depends on every state the body returns."""
    states = outputs[0].flatten(1)
    return (states * torch.cos(torch.arange(states.shape[1], dtype=states.dtype))).sum(1) / states.shape[1] ** 0.5


def stack_of(name: str, **options) -> Stack:
    """One input of an architecture without a head; use it inside `at_rest`."""
    architecture = ARCHITECTURES[name]
    model = lignite.wrap(full_precision(architecture.build()))
    return Stack(model, ask(model, architecture.inputs(length=7, **options), probe))


def attention_of(stack: Stack) -> tuple[list[Tensor], list[Tensor]]:
    """Weights and gradients of every layer, from the first one on."""
    layers = [each.of_heads(slice(None)) for each in differentiate_attention(stack)][::-1]
    weights, gradients = zip(*layers, strict=True)
    return list(weights), list(gradients)


def here(n_rows: int = 1) -> Tensor:
    return torch.arange(n_rows)


@pytest.mark.parametrize("name", mostly_wide(ARCHITECTURES, KINDS))
def test_every_model_is_replayed_from_every_layer(name):
    """Shared blocks, position biases that are handed on, caches, residual streams: what a block needs, it gets.

    Other states give another answer, so that none of them is ignored; two points at once do not meet.
    """
    with at_rest((stack := stack_of(name)).network), torch.no_grad():
        other = stack_of(name, seed=5).states
        for layer in range(stack.n_layers + 1):
            again = stack.run(layer, stack.states[layer], here())
            assert_close(again, stack.value, **ROUNDED)
            points = torch.cat([other[layer], stack.states[layer], stack.states[layer] + other[layer]])
            found = stack.run(layer, points, torch.zeros(3, dtype=torch.long))
            assert_close(found[1], stack.value[0], **ROUNDED)
            assert len({round(float(each), 6) for each in found}) == 3
        for layer in range(stack.n_layers):
            assert_close(stack.block(layer, stack.states[layer], here()), stack.states[layer + 1], **ROUNDED)


@pytest.mark.parametrize("name", mostly_wide(ARCHITECTURES, KINDS))
def test_points_that_enter_at_different_layers_are_answered_as_each_alone(name):
    """One run for all: blocks work on the points that have entered. Where that cannot be, one layer after the other."""
    with at_rest((stack := stack_of(name)).network), torch.no_grad():
        other = stack_of(name, seed=5).states
        entry = sorted([2, 0, stack.n_layers, 1, 0, stack.n_layers - 1])
        states = torch.cat([other[layer] for layer in entry])

        found = stack.run_entering(entry, states, torch.zeros(len(entry), dtype=torch.long))

        alone = [stack.run(layer, other[layer], here()) for layer in entry]
        assert_close(found, torch.cat(alone), **ROUNDED)


@pytest.mark.parametrize("name", mostly_wide(ARCHITECTURES, KINDS))
def test_blocks_on_states_of_their_own_make_what_each_makes_alone(name):
    """One run of the model for all: nothing of a block below reaches the one above."""
    with at_rest((stack := stack_of(name)).network), torch.no_grad():
        other = [torch.cat([states, -states]) for states in stack_of(name, seed=5).states[:-1]]
        index = torch.zeros(2, dtype=torch.long)

        found = stack.each_block(other, index)

        for layer, states in enumerate(other):
            assert_close(found[layer], stack.block(layer, states, index), **ROUNDED)


FEW = ("bert", "albert", "t5", "gpt2", "llama", "gemma2", "deberta-v2", "mamba", "bart", "vit")


@pytest.mark.parametrize("name", FEW)
def test_a_trace_is_every_layer_and_the_answer(name):
    """From other states at the first layer: each block's output enters the next."""
    with at_rest((stack := stack_of(name)).network), torch.no_grad():
        start = stack.states[0] * 0.9

        states, value = stack.trace(start, here())

        assert_close(states[0], start, rtol=0, atol=0)
        for layer in range(stack.n_layers):
            assert_close(stack.block(layer, states[layer], here()), states[layer + 1], **ROUNDED)
        assert_close(stack.run(0, start, here()), value, **ROUNDED)


@pytest.mark.parametrize("name", FEW)
def test_slopes_are_those_of_the_traced_states(name):
    """Forward mode against differences of two traces."""
    with at_rest((stack := stack_of(name)).network), torch.no_grad():
        slope = torch.randn(stack.states[0].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

        slopes = stack.trace_slopes(stack.states[0], slope, here())

        ahead, behind = (stack.trace(stack.states[0] + step * slope, here())[0] for step in (1e-6, -1e-6))
        for found, one, other in zip(slopes, ahead, behind, strict=True):
            # differences lose 1e-16 / 1e-6 of states up to a hundred, and keep second orders of 1e-12
            assert_close(found, (one - other) / 2e-6, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", FEW)
def test_gradients_pass_through_every_layer(name):
    """The derivative along a direction against a difference of answers."""
    with at_rest((stack := stack_of(name)).network):
        for layer in (0, stack.n_layers - 1, stack.n_layers):
            leaf = stack.states[layer].clone().requires_grad_()
            direction = torch.randn(leaf.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
            (gradient,) = torch.autograd.grad(stack.run(layer, leaf, here()).sum(), leaf)
            with torch.no_grad():
                ahead, behind = (stack.run(layer, leaf + step * direction, here()) for step in (1e-6, -1e-6))
            assert_close((gradient * direction).sum(), (ahead - behind)[0] / 2e-6, rtol=1e-5, atol=1e-7)


# Several rows

TEXTS = ["the plot was thin", "people says nothing at all", "it"]
HEADS = [
    ("bert", "BertForSequenceClassification"),
    ("gpt2", "GPT2LMHeadModel"),
    ("llama", "LlamaForCausalLM"),
    ("modernbert", "ModernBertForSequenceClassification"),
    ("deberta-v2", "DebertaV2ForSequenceClassification"),
]


@pytest.mark.parametrize(("name", "model_class"), HEADS)
def test_rows_are_explained_as_they_are_alone(name, model_class):
    """Masks, positions and the question go with the row a point belongs to, in any order and number."""
    model = headed(name, model_class)
    rows = [row for number, text in enumerate(TEXTS) for row in ask(model, text, number)]
    with at_rest(model.network), torch.no_grad():
        stack, singles = Stack(model, rows), [Stack(model, [row]) for row in rows]
        index = torch.tensor([2, 0, 0, 1])

        for layer in range(stack.n_layers + 1):
            assert_close(stack.value, torch.cat([single.value for single in singles]), **ROUNDED)
            for number, single in enumerate(singles):
                length = rows[number].n_tokens
                assert_close(stack.states[layer][number, :length], single.states[layer][0], **ROUNDED)
            found = stack.run(layer, stack.states[layer][index], index)
            assert_close(found, stack.value[index], **ROUNDED)
        assert stack.kept.sum(1).tolist() == [row.n_tokens for row in rows]


def test_other_words_run_through_the_same_stack():
    """Baselines of tokens keep the mask, the segments and the length of the row."""
    model = headed("bert", "BertForSequenceClassification")
    rows = ask(model, TEXTS)
    with at_rest(model.network):
        stack = Stack(model, rows)
        ids = torch.where(stack.tensors["input_ids"] > 4, 9, stack.tensors["input_ids"])

        states = stack.see(input_ids=ids).states

        for number, row in enumerate(rows):
            given = {**row.encoded.tensors, "input_ids": ids[number : number + 1, : row.n_tokens]}
            with torch.no_grad():
                expected = model.network(**given, output_hidden_states=True).hidden_states
            for found, each in zip(states, expected, strict=True):
                assert_close(found[number, : row.n_tokens], each[0], **ROUNDED)


# Attention gradients


INTERFACE = (
    "bert", "roberta", "distilbert", "electra", "albert", "gpt2", "llama", "qwen2", "qwen3", "mistral", "gpt_neox",
    "opt",
)  # fmt: skip
OWN = ("gemma2", "gpt_oss", "deberta-v2", "bloom", "mpnet", "t5", "bart")


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("name", mostly_wide([*INTERFACE, *OWN], ("bert", "gpt2", "llama", *OWN)))
def test_attention_gradients_are_those_of_the_eager_model(name, again):
    """Sdpa returns no weights; the same weights computed by the definition have the eager model's gradients.

    Families with caps, sinks or attention of their own stay as they are loaded. Blocks may be run again on the way
    down.
    """
    architecture = ARCHITECTURES[name]
    loaded, eager = full_precision(architecture.build()), full_precision(architecture.build())
    if name in INTERFACE:
        loaded.set_attn_implementation("sdpa")
    if name not in ("deberta-v2", "bloom", "mpnet"):
        eager.set_attn_implementation("eager")
    model, inputs = lignite.wrap(loaded), architecture.inputs(length=7)
    before = loaded.config._attn_implementation

    with at_rest(loaded):
        stack = Stack(model, ask(model, inputs, probe))
        stack.again = again
        weights, gradients = attention_of(stack)

    outputs = eager(**inputs, output_attentions=True)
    attentions = outputs.get("attentions") or outputs.get("encoder_attentions")
    expected = torch.autograd.grad(probe(outputs).sum(), attentions, allow_unused=True)
    assert loaded.config._attn_implementation == before
    assert len(weights) == len(attentions) == 3
    for found, each, gradient, slope in zip(weights, attentions, gradients, expected, strict=True):
        # transformers' eager softmax rounds to float32 in places that no test can reach
        assert_close(found, each.detach(), rtol=0, atol=1e-6)
        allowed = torch.zeros_like(found, dtype=torch.bool) if slope is None else each > 0
        scale = float(slope.abs().max())
        assert_close(gradient[allowed], slope[allowed], rtol=0, atol=1e-6 * max(scale, 1.0))


@pytest.mark.parametrize(("name", "model_class"), HEADS[:2])
def test_a_result_holds_weights_times_gradients_by_target_and_source(name, model_class):
    """Of the class that is explained, signed, every head and their mean."""
    model, eager = headed(name, model_class), headed(name, model_class, attn_implementation="eager")

    why = lignite.explain(model, TEXTS[0], target=2, method="ca-lig", detail="heads", tol=1e-2)

    (row,) = ask(model, TEXTS[0], 2)
    outputs = eager.network(**row.encoded.tensors, output_attentions=True)
    logits = outputs.logits[0] if row.objective.position is None else outputs.logits[0, row.objective.position]
    slopes = torch.autograd.grad(logits[2], outputs.attentions)
    expected = torch.stack(
        [each[0] * slope[0] for each, slope in zip(outputs.attentions, slopes, strict=True)]
    ).detach()
    # eager softmax rounds to float32 in places
    assert_allclose(why.attention_gradient_heads, expected, rtol=0, atol=1e-7)
    assert_allclose(why.attention_gradient, expected.mean(1), rtol=0, atol=1e-7)


@pytest.mark.parametrize("again", [False, True])
def test_attention_gradients_of_a_batch_are_those_of_its_rows(again):
    """Each row's F depends on its own attention alone."""
    model = headed("bert", "BertForSequenceClassification")
    rows = ask(model, TEXTS)
    with at_rest(model.network):
        stack = Stack(model, rows)
        stack.again = again
        weights, gradients = attention_of(stack)
        for number, row in enumerate(rows):
            single = attention_of(Stack(model, [row]))
            length = row.n_tokens
            for found, expected in ((weights, single[0]), (gradients, single[1])):
                for each, other in zip(found, expected, strict=True):
                    assert_close(each[number, :, :length, :length], other[0], **ROUNDED)


def hybrid_stack() -> Stack:
    """A convolution below attention."""
    config = transformers.Lfm2Config(
        vocab_size=60, hidden_size=12, intermediate_size=20, num_attention_heads=2, num_key_value_heads=1,
        num_hidden_layers=3, layer_types=["conv", "conv", "full_attention"],
    )  # fmt: skip
    torch.manual_seed(0)
    model = lignite.wrap(transformers.Lfm2Model(config).double().eval())
    return Stack(model, ask(model, {"input_ids": torch.arange(4, 11)[None]}, probe))


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("make", [lambda: stack_of("mamba"), hybrid_stack])
def test_a_state_space_has_no_attention_to_show(make, again):
    """It is said, and what needs none; also where the blocks on top have attention and others have not."""
    with at_rest((stack := make()).network):
        stack.again = again
        with pytest.raises(OptionError, match=r"shows no attention weights.*without attention gradients"):
            list(differentiate_attention(stack))


@pytest.mark.parametrize("n_heads", [1, 2, 3, 5])
def test_heads_are_averaged_some_at_a_time(n_heads, monkeypatch):
    """Whatever the memory for their weights holds of them: biases and sinks of heads go with their heads."""
    for name in ("llama", "t5", "gpt_oss"):
        with at_rest((stack := stack_of(name)).network):
            weights, gradients = attention_of(stack)
            monkeypatch.setattr(attention_weights, "WEIGHTS_AT_ONCE", n_heads * weights[0][0, 0].nbytes)
            layers = list(differentiate_attention(stack))[::-1]
        for layer, weight, gradient in zip(layers, weights, gradients, strict=True):
            assert layer.at_once == n_heads
            assert_close(layer.mean(torch.mul), (weight * gradient).mean(1), **ROUNDED)


# What cannot be replayed


class ReadsEveryLayer(transformers.BertForSequenceClassification):
    """A head over the mean of all layers' states: no function of the last ones alone."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any) -> Any:
        options.pop("return_dict", None)
        outputs = self.bert(input_ids, attention_mask, output_hidden_states=True, **options)
        read = torch.stack(outputs.hidden_states).mean(0)[:, 0]
        return transformers.modeling_outputs.SequenceClassifierOutput(logits=self.classifier(read))


@pytest.fixture
def reads_every_layer() -> lignite.Model:
    plain = headed("bert", "BertForSequenceClassification")
    plain.network.__class__ = ReadsEveryLayer
    return plain


def test_a_head_that_reads_every_layer_is_refused(reads_every_layer):
    """Its answer changes when the layers below are stood in for by what they returned before."""
    (row,) = ask(reads_every_layer, TEXTS[0])

    with at_rest(reads_every_layer.network):
        stack = Stack(reads_every_layer, [row])
        with torch.no_grad():
            assert (stack.run(2, stack.states[2], here()) - stack.value).abs() > 1e-3
        with pytest.raises(ModelError, match="cannot be replayed from the states entering layer"):
            hold_against_another_input(stack)


@pytest.mark.parametrize("method", ["ca-lig", "relevance-flow", "attention-rollout"])
def test_no_method_explains_what_it_cannot_replay(reads_every_layer, method):
    """The scores would leave out what the head reads elsewhere, and nothing would tell.

    From the first layer alone it can be replayed: there all layers that the head reads move along. So integrated
    gradients are named, and were tried.
    """
    with pytest.raises(ModelError, match="Use method='ig' with baseline='mask': it was tried"):
        lignite.explain(reads_every_layer, TEXTS[0], method=method)


def test_advice_goes_past_a_way_that_torch_itself_refuses(reads_every_layer, monkeypatch):
    """Blocks may hand on no gradient at all; the cause is then still the one that was found first."""

    def refused(*_):
        raise RuntimeError("element 0 of tensors does not require grad")

    monkeypatch.setattr(lignite.methods.IntegratedGradients, "explain", refused)
    with pytest.raises(ModelError, match=r"cannot be replayed .* Use method='occlusion'"):
        lignite.explain(reads_every_layer, TEXTS[0])


def test_a_function_of_other_layers_is_refused_each_time():
    """What one question may ask is not what another may: a sound one before it does not open the door."""
    model = headed("bert", "BertModel", output_hidden_states=True)
    lignite.explain(model, TEXTS[0], target=lambda outputs: outputs.last_hidden_state[:, 0, 0])

    for _ in range(2):
        with pytest.raises(ModelError, match="cannot be replayed"):
            lignite.explain(model, TEXTS[0], target=lambda outputs: outputs.hidden_states[1][:, 0, 0])


# Left as it was


class Interruption(Exception):
    pass


@pytest.mark.parametrize("call", [1, 2, 7, 12])
@pytest.mark.parametrize("name", ["bert", "albert", "deberta-v2"])
def test_a_model_is_as_before_after_an_exception(name, call):
    """In the middle of a block, whichever run it is."""
    network = ARCHITECTURES[name].build()
    model, count = lignite.wrap(network), 0

    def interrupt(*_):
        nonlocal count
        count += 1
        if count == call:
            raise Interruption

    network.get_submodule(ARCHITECTURES[name].blocks)[-1].register_forward_hook(interrupt)
    before = snapshot(network)

    with pytest.raises(Interruption):
        lignite.explain(
            model, ARCHITECTURES[name].inputs(length=6), target=probe, method="ca-lig", fusion=0.5, baseline="zero"
        )

    before.assert_equal(snapshot(network))


def test_a_forward_that_somebody_set_is_called_and_put_back():
    """Other libraries set `forward` on a module (offloading, quantisation); theirs is part of the model."""
    model = headed("bert", "BertForSequenceClassification")
    block = model.network.bert.encoder.layer[1]
    calls = []

    def doubled(self, hidden_states, *args, **kwargs):
        calls.append(1)
        return type(self).forward(self, hidden_states * 2, *args, **kwargs)

    block.forward = theirs = MethodType(doubled, block)
    before = snapshot(model.network)

    why = lignite.explain(model, TEXTS[0], baseline="mask")

    assert block.__dict__["forward"] is theirs
    before.assert_equal(snapshot(model.network))
    tensors = model.tokenizer(TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        logits = model.network(**tensors).logits[0]
        tensors["input_ids"][0, 1:-1] = model.tokenizer.mask_token_id
        blank = model.network(**tensors).logits[0]
    assert_allclose(why.attrs["value"], float(logits.max()), **ROUNDED)
    assert_allclose(why.displacement, float(logits.max() - blank[logits.argmax()]), **ROUNDED)
    assert calls
    plain = lignite.explain(headed("bert", "BertForSequenceClassification"), TEXTS[0], baseline="mask")
    assert abs(plain.attrs["value"] - why.attrs["value"]) > 1e-3


def test_tokens_after_the_one_that_answers_score_exactly_zero():
    """A causal model cannot have read them: not nearly zero, zero, in every layer and every map."""
    for name, model_class in (("gpt2", "GPT2LMHeadModel"), ("llama", "LlamaForCausalLM")):
        for path in ("input", "layer"):
            model = headed(name, model_class, dtype=torch.float32)

            why = lignite.explain(
                model,
                "the plot was thin but nothing",
                target=Target(token=3),
                method="ca-lig",
                path=path,
                fusion=0.5,
                detail="heads",
            )

            for variable in ("relevance", "layer_ig", "layer_relevance", "output_ig"):
                assert not why[variable].values[..., 4:].any(), variable
            assert not why.attention_gradient.values[:, 4:].any()
            assert not why.attention_gradient_heads.values[..., 4:].any()
            assert why.layer_ig.values[:, 1:4].all()


def test_blocks_that_were_exchanged_are_noticed():
    """The list of blocks is kept from call to call; a block that has left the model would never be reached."""
    model = lignite.load("tiny-sentiment")
    with at_rest(model.network):
        before = Stack(model, ask(model, ["A superb film."]))
    blocks = model.network.bert.encoder.layer
    blocks[1] = copy.deepcopy(blocks[1])

    with at_rest(model.network):  # looks through the modules, once for all that is asked of them meanwhile
        after = Stack(model, ask(model, ["A superb film."]))

    assert after.blocks[1] is blocks[1]
    assert_close(after.value, before.value, rtol=0, atol=0)
