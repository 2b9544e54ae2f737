"""Recording works on models that meet lignite halfway only."""

import torch
import transformers
from tests.kit.architectures import ARCHITECTURES, randomize

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
