"""A transformer whose blocks are linear: every word looks at all words alike, one head carries states unchanged."""

import torch
from tests.kit.tiny_tokenizers import word_piece
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import lignite

WIDTH = 5


class LinearConfig(PreTrainedConfig):
    model_type = "linear-blocks"

    def __init__(self, num_hidden_layers: int = 2, vocab_size: int = 100, **options: object) -> None:
        super().__init__(**options)
        self.num_hidden_layers, self.vocab_size = num_hidden_layers, vocab_size
        self.hidden_size, self.num_attention_heads = WIDTH, 1


class Mixing(nn.Module):
    """Attention with silent queries and keys, and an output that is turned, but not stretched."""

    def __init__(self, config: LinearConfig) -> None:
        super().__init__()
        self.config, self.is_causal, self.scaling, self.num_key_value_groups = config, False, 1.0, 1
        self.o_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        nn.init.orthogonal_(self.o_proj.weight)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        value = hidden_states[:, None]
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, None)
        mixed, _ = attend(self, torch.zeros_like(value), torch.zeros_like(value), value, attention_mask, scaling=1.0)
        return self.o_proj(mixed.reshape(hidden_states.shape))


class LinearBlock(nn.Module):
    """Nothing but its head: no residual path, no norm, no MLP."""

    def __init__(self, config: LinearConfig) -> None:
        super().__init__()
        self.self_attn = Mixing(config)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return self.self_attn(hidden_states, attention_mask)


class LinearModel(PreTrainedModel):
    config_class = LinearConfig
    _supports_sdpa = _supports_attention_backend = True

    def __init__(self, config: LinearConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, WIDTH)
        self.layers = nn.ModuleList(LinearBlock(config) for _ in range(config.num_hidden_layers))

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embeddings

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: object) -> BaseModelOutput:
        states = self.embeddings(input_ids)
        for layer in self.layers:
            states = layer(states, None)
        return BaseModelOutput(last_hidden_state=states)


def linear_model(seed: int = 0, n_layers: int = 1) -> lignite.Model:
    """Float64, so that sums are exact to many digits."""
    torch.manual_seed(seed)
    tokenizer = word_piece()
    config = LinearConfig(n_layers, vocab_size=len(tokenizer))
    return lignite.wrap(LinearModel(config).double().eval(), tokenizer)
