"""Transformers whose heads look where they are told: at the token before, at everyone alike, at themselves."""

import torch
from tests.kit.tiny_tokenizers import word_piece
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import lignite

HEAD_WIDTH = 3
LOOKS = ("previous", "everyone", "itself")


class CopyingConfig(PreTrainedConfig):
    model_type = "copying-heads"

    def __init__(
        self, looks: tuple[tuple[str, ...], ...] = (("previous",),), residual: float = 0.0, **options: object
    ) -> None:
        super().__init__(**options)
        self.looks, self.residual = [list(layer) for layer in looks], residual
        self.num_hidden_layers, self.num_attention_heads = len(looks), len(looks[0])
        self.hidden_size = HEAD_WIDTH * len(looks[0])
        self.vocab_size = len(word_piece())


def seen(looks: list[str], n_tokens: int) -> Tensor:
    """What is added to each head's attention, so that it looks there alone: ``[1, head, target, source]``."""
    before = torch.zeros(n_tokens, n_tokens, dtype=bool)
    before[range(n_tokens), [max(place - 1, 0) for place in range(n_tokens)]] = True
    allowed = {"previous": before, "itself": torch.eye(n_tokens, dtype=bool), "everyone": torch.ones_like(before)}
    stacked = torch.stack([allowed[name] for name in looks])
    return torch.where(stacked, 0.0, -torch.inf)[None]


class Looking(nn.Module):
    """Attention with silent queries and keys; what heads read leaves as it is."""

    def __init__(self, config: CopyingConfig) -> None:
        super().__init__()
        self.config, self.is_causal, self.scaling, self.num_key_value_groups = config, False, 1.0, 1
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        nn.init.eye_(self.o_proj.weight)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor) -> Tensor:
        value = hidden_states.unflatten(-1, (self.config.num_attention_heads, HEAD_WIDTH)).transpose(1, 2)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, None)
        nothing = torch.zeros_like(value)
        mixed, _ = attend(self, nothing, nothing, value, attention_mask.to(value), scaling=1.0)
        return self.o_proj(mixed.reshape(hidden_states.shape))


class LookingBlock(nn.Module):
    """Its heads beside so much of the states; the MLP is the identity."""

    def __init__(self, config: CopyingConfig) -> None:
        super().__init__()
        self.self_attn, self.residual = Looking(config), config.residual

    def forward(self, hidden_states: Tensor, attention_mask: Tensor) -> Tensor:
        return self.residual * hidden_states + self.self_attn(hidden_states, attention_mask)


class CopyingModel(PreTrainedModel):
    config_class = CopyingConfig
    _supports_sdpa = _supports_attention_backend = True

    def __init__(self, config: CopyingConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(LookingBlock(config) for _ in config.looks)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embeddings

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: object) -> BaseModelOutput:
        states = self.embeddings(input_ids)
        for layer, looks in zip(self.layers, self.config.looks, strict=True):
            states = layer(states, seen(looks, input_ids.shape[1]))
        return BaseModelOutput(last_hidden_state=states)


def copying_model(*looks: tuple[str, ...], residual: float = 0.0, seed: int = 0) -> lignite.Model:
    """A layer for each tuple, a head for each of its words (of `LOOKS`); float64."""
    torch.manual_seed(seed)
    network = CopyingModel(CopyingConfig(looks, residual)).double().eval()
    return lignite.wrap(network, word_piece())
