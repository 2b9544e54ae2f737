"""Recording works on models that meet lignite halfway only."""

import itertools
from dataclasses import replace

import pytest
import torch
import transformers
from tests.kit.architectures import ARCHITECTURES, randomize
from tests.kit.wide import wide

import lignite
from lignite.blocks.record import record
from lignite.models.hold import at_rest


def look_up(part, _):
    {"eager": 0, "sdpa": 0}[part.self.config._attn_implementation]


def test_a_model_that_knows_no_foreign_attention_is_divided_all_the_same():
    """Models that come with their own code look their attention up by name; it keeps the name that it has."""
    network = ARCHITECTURES["bert"].build(seed=0)
    for block in network.encoder.layer:
        block.attention.register_forward_pre_hook(look_up)

    flow = lignite.flow(lignite.wrap(network), ARCHITECTURES["bert"].inputs(seed=1, length=5), n_steps=4)

    plain = lignite.flow(
        lignite.wrap(ARCHITECTURES["bert"].build(seed=0)), ARCHITECTURES["bert"].inputs(seed=1, length=5), n_steps=4
    )
    assert abs(flow.whole - plain.whole).max() <= 1e-9
    assert flow.attrs["plans"] == plain.attrs["plans"]


class Marked(transformers.BertPreTrainedModel):
    """A head that tells its body more than it was told itself: every token is of the second segment."""

    def __init__(self, config):
        super().__init__(config)
        self.bert = transformers.BertModel(config)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None):
        return self.bert(input_ids, attention_mask=attention_mask, token_type_ids=torch.ones_like(input_ids))


def test_what_a_head_hands_to_its_body_is_recorded():
    """Longformer's classifier lets [CLS] look everywhere, and its body alone does not: the model is what users run."""
    architecture = ARCHITECTURES["bert"]
    network = Marked(transformers.BertConfig(**architecture.config)).double().eval()
    randomize(network, seed=0, gains={})
    inputs, seen = architecture.inputs(seed=1, length=5), []
    hook = network.bert.encoder.layer[0].register_forward_pre_hook(lambda _, args: seen.append(args[0][0].clone()))
    with torch.no_grad():
        network(**inputs)
    hook.remove()

    with at_rest(network):
        call = record(network, inputs)[0]

    torch.testing.assert_close(call.states, seen[0], rtol=0, atol=0)


def storages_of(*things) -> dict[int, int]:
    """Bytes of every tensor among nested things, once each."""
    tensors = [part for part in torch.utils._pytree.tree_leaves(things) if isinstance(part, torch.Tensor)]
    return {part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in tensors}


@pytest.mark.parametrize("attention", ["eager", "sdpa", *wide("flex_attention")])  # compiling takes a quarter minute
def test_a_recording_holds_one_state_of_every_layer(attention):
    """Blocks hand states on: what leaves one enters the next, and is kept once, however deep the model is."""
    llama, held = ARCHITECTURES["llama"], {}
    for n_layers in (2, 6):
        deep = replace(llama, config={**llama.config, "num_hidden_layers": n_layers})
        network = deep.build(seed=0, dtype=torch.float32)
        network.set_attn_implementation(attention)
        with at_rest(network):
            calls = record(network, llama.inputs(seed=1, length=5))
        masked = [call.masked for call in calls if call.masked is not None]
        parts = [[call.args, call.kwargs, call.states, call.output] for call in calls]
        parts += [[call.args, call.kwargs] for call in masked]
        held[n_layers] = sum(storages_of(parts).values())

        assert len(masked) == (n_layers if attention == "flex_attention" else 0)
        for before, after in itertools.pairwise(calls):
            assert before.output.data_ptr() == after.states.data_ptr()

    assert held[6] - held[2] == 4 * 5 * llama.config["hidden_size"] * torch.float32.itemsize


class Doubling(torch.nn.Module):
    """A block that works on its states in place."""

    def forward(self, hidden_states):
        return hidden_states.mul_(2)


class InPlace(torch.nn.Module):
    """Something between the blocks adds to what they hand on, in place."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(11, 4)
        self.layers = torch.nn.ModuleList(Doubling() for _ in range(3))

    def forward(self, input_ids):
        states = self.embed(input_ids)
        for layer in self.layers:
            states = layer(states)
            states += 1
        return states


def test_states_are_recorded_as_they_were_when_they_entered():
    """What left a block is no longer what enters the next one, nor what that one leaves, though it is one tensor."""
    network = InPlace()

    with at_rest(network):
        calls = record(network, {"input_ids": torch.tensor([[3, 7]])})

    for before, after in itertools.pairwise(calls):
        torch.testing.assert_close(after.states, before.output + 1, rtol=0, atol=0)
        torch.testing.assert_close(after.output, 2 * after.states, rtol=0, atol=0)
