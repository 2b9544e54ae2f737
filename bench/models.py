"""Models of real size with random weights: speed does not depend on what they have learnt."""

import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, BertModel, LlamaConfig, LlamaModel

import lignite


def bert_base(seed: int = 0, n_layers: int = 12) -> lignite.Model:
    """BERT-base's shape; biases and norms are random too, so that no path is trivially straight."""
    torch.manual_seed(seed)
    network = BertModel(BertConfig(num_hidden_layers=n_layers), add_pooling_layer=False)
    return lignite.wrap(_randomise(network), name="BERT-base shape")


PEAKED = 3.0
"""Factor of query and key weights at which random attention is as peaked as trained attention: logits spread by 2.7."""


def bert_classifier(seed: int = 0, n_layers: int = 12) -> lignite.Model:
    """BERT-base's shape with two classes, peaked attention, and any tokenizer that knows a mask."""
    torch.manual_seed(seed)
    network = BertForSequenceClassification(BertConfig(num_hidden_layers=n_layers))
    for name, weight in network.named_parameters():
        if name.endswith(("query.weight", "key.weight")):
            weight.data *= PEAKED
    tokenizer = lignite.load("tiny-sentiment").tokenizer
    return lignite.wrap(_randomise(network), tokenizer, name="BERT-base shape, two classes")


def llama_like(seed: int = 0, n_layers: int = 4) -> lignite.Model:
    """A Llama of BERT-base's width with grouped keys."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=n_layers,
        num_attention_heads=12,
        num_key_value_heads=4,
        vocab_size=32000,
        max_position_embeddings=2048,
    )
    return lignite.wrap(_randomise(LlamaModel(config)), name="Llama shape, width 768")


def token_ids(model: lignite.Model, n_tokens: int, seed: int = 3) -> dict[str, torch.Tensor]:
    """Random words."""
    generator = torch.Generator().manual_seed(seed)
    return {"input_ids": torch.randint(5, model.config.vocab_size, (1, n_tokens), generator=generator)}


def _randomise(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    for name, weight in network.named_parameters():
        if name.endswith("bias"):
            weight.data = torch.randn(weight.shape, generator=generator) * 0.1
        elif weight.ndim == 1:
            weight.data = torch.rand(weight.shape, generator=generator) * 0.5 + 0.75
    return network.eval()
