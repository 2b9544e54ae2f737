"""The LIG authors' package answers; runs in its own environment, on the device named as its argument.

Both maps go through the functions that its `explain` calls for each layer, target and head, on a model already in
memory, because `explain` itself loads the model anew for every sentence.
"""

import sys
from importlib.metadata import version

import torch
from torch import Tensor
from transformers import BertModel
from utils.calculations.ig.attention.attention_ig import compute_attention_ig_global_analysis_multi_layer
from utils.calculations.ig.z2z.layer_direct_ig import compute_layer_direct_ig_single_target
from worker import clock_of, serve

BASELINE = "self_input_token"  # its name for the target-token baseline


class Subject:
    """One model and one input."""

    def __init__(self, device: str):
        self.device = torch.device(device)

    def load(self, folder: str, ids: list[int]) -> dict[str, str]:
        network = BertModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="eager")
        self.network = network.eval().to(self.device)
        input_ids = torch.tensor([ids], device=self.device)
        self.inputs = {
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
            "token_type_ids": torch.zeros_like(input_ids),
        }
        with torch.no_grad():
            self.states = self.network(**self.inputs, output_hidden_states=True).hidden_states
        return {name: version(name) for name in ("layer-wise-integrated-gradients", "torch", "transformers")}

    def whole(self, layer: int, target: int, n_steps: int) -> object:
        return compute_layer_direct_ig_single_target(
            bert_model=self.network,
            z_layer=self.states[layer],
            attention_mask=self.inputs["attention_mask"].float(),
            layer_idx=layer,
            target_token_idx=target,
            num_steps=n_steps,
            baseline_method=BASELINE,
        )

    def attention(self, layer: int, target: int, head: int, n_steps: int) -> object:
        scores = compute_attention_ig_global_analysis_multi_layer(
            bert_model=self.network,
            inputs=self.inputs,
            layer_indices=[layer],
            target_token_idx=target,
            target_head_idx=head,
            num_steps=n_steps,
            baseline_method=BASELINE,
            input_type="z",
        )
        return scores[layer]["ig_values"]

    @torch.no_grad()
    def displacement(self, layer: int, target: int, head: int | None) -> float:
        """What the scores should sum to, from the model's own modules: of the block's output, or of one head."""
        block = self.network.encoder.layer[layer]
        states = self.states[layer]
        start = states[:, [target]].expand_as(states)
        if head is None:
            return float((block(states)[0] - block(start)[0])[0, target].norm())
        heads: Tensor = block.attention.self(states)[0] - block.attention.self(start)[0]
        return float(heads[0, target].view(self.network.config.num_attention_heads, -1)[head].norm())


if __name__ == "__main__":
    torch.set_num_threads(1)
    subject = Subject(sys.argv[1])
    functions = {name: getattr(subject, name) for name in ("load", "whole", "attention", "displacement")}
    serve(functions, clock_of(sys.argv[1]))
