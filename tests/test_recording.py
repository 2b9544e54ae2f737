"""Recording works on models that meet lignite halfway only."""

from tests.architectures import ARCHITECTURES

import lignite


def look_up(part, _):
    {"eager": 0, "sdpa": 0}[part.self.config._attn_implementation]


def test_a_model_that_knows_no_foreign_attention_is_divided_at_its_output_projection():
    """ModernBERT before transformers 5.1, and models that come with their own code, do so."""
    network = ARCHITECTURES["bert"].build(seed=0)
    for block in network.encoder.layer:
        block.attention.register_forward_pre_hook(look_up)

    flow = lignite.flow(lignite.wrap(network), ARCHITECTURES["bert"].inputs(seed=1, length=5), n_steps=4)

    plain = lignite.flow(
        lignite.wrap(ARCHITECTURES["bert"].build(seed=0)), ARCHITECTURES["bert"].inputs(seed=1, length=5), n_steps=4
    )
    assert abs(flow.whole - plain.whole).max() <= 1e-9
    assert "target-batches" in flow.attrs["plans"]
