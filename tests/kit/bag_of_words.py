"""A classifier whose every answer can be written down: its logit is a sum of known numbers, one per word.

``positive`` has the logit ``Σ weight(word)``, ``negative`` zero. With ``by_position`` each word's number is multiplied
by its place in the input, so that order matters, too.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.modeling_outputs import SequenceClassifierOutput

import lignite
from lignite.targets.ask import ask
from lignite.targets.rows import Row

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class BagConfig(PreTrainedConfig):
    model_type = "bag-of-words"

    def __init__(self, by_position: bool = False, **options: object) -> None:
        super().__init__(**options)
        self.by_position = by_position


class BagOfWords(PreTrainedModel):
    config_class = BagConfig

    def __init__(self, config: BagConfig, weights: Sequence[float]) -> None:
        super().__init__(config)
        self.weights = nn.Embedding.from_pretrained(torch.tensor(weights, dtype=torch.float64)[:, None], freeze=False)
        self.calls = 0
        self.rows = 0

    def get_input_embeddings(self) -> nn.Embedding:
        return self.weights

    def forward(self, input_ids: Tensor, attention_mask: Tensor, return_dict: bool = True) -> SequenceClassifierOutput:
        self.calls += 1
        self.rows += len(input_ids)
        numbers = self.weights(input_ids)[..., 0] * attention_mask
        if self.config.by_position:
            numbers = numbers * torch.arange(numbers.shape[1], device=numbers.device)
        positive = numbers.sum(1)
        return SequenceClassifierOutput(logits=torch.stack([torch.zeros_like(positive), positive], dim=1))


def bag_of_words(
    weights: Mapping[str, float],
    *,
    mask: float = 0.0,
    pad: float = 0.0,
    by_position: bool = False,
    special: bool = True,
) -> lignite.Model:
    """A model with one number for each word; without ``special``, texts have no [CLS] and [SEP] around them."""
    words = [*SPECIAL, *weights]
    vocabulary = {word: number for number, word in enumerate(words)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if special:
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
    if special:
        names |= {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, model_input_names=["input_ids", "attention_mask"], **names
    )
    numbers = {"[PAD]": pad, "[MASK]": mask}
    config = BagConfig(
        by_position=by_position, id2label={0: "negative", 1: "positive"}, label2id={"negative": 0, "positive": 1}
    )
    network = BagOfWords(config, [numbers.get(word, weights.get(word, 0.0)) for word in words]).eval()
    return lignite.wrap(network, tokenizer, name="bag of words")


def oracle(model: lignite.Model, rows: Sequence[Row]) -> list[np.ndarray]:
    """What each token adds to the logit: the weights themselves."""
    table = model.network.get_input_embeddings().weight.detach().numpy()[:, 0]
    return [table[row.encoded.tensors["input_ids"][0].numpy()] for row in rows]


def asked(model: lignite.Model, *texts: str) -> list[Row]:
    """Rows that explain ``positive``."""
    return ask(model, list(texts), "positive")
