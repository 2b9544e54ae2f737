"""Train a writer of film reviews, so small that half a minute is enough: it shows what continuations look like."""

import random
from pathlib import Path

OPPOSITES = {"superb": "thin", "clever": "dull", "warm": "cold", "moving": "flat"}
NOUNS = ("plot", "acting", "ending", "music", "camera", "cast")
STEPS, BATCH = 240, 32


def sentence(chance: random.Random) -> str:
    """A review that says the opposite after "but"."""
    first, second = chance.sample(NOUNS, 2)
    said, opposite = chance.sample(chance.choice([*OPPOSITES.items()]), 2)
    return f"The {first} was {said}, but the {second} was {opposite}."


def train(folder: Path) -> None:
    """Train the writer and save it with its tokenizer, always the same."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = [f"▁{word}" for word in ("The", "the", "was", "but", *OPPOSITES, *OPPOSITES.values(), *NOUNS)]
    vocabulary = {word: number for number, word in enumerate(["<s>", "</s>", "<unk>", *words, ",", "."])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    marks = pre_tokenizers.Split(",", "isolated"), pre_tokenizers.Split(".", "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), *marks])
    backend.decoder = decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")

    torch.manual_seed(0)
    chance = random.Random(0)
    sizes = {
        "n_embd": 48,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 32,
        "initializer_range": 0.1,
        "vocab_size": len(vocabulary),
    }
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(STEPS):
        ids = torch.tensor(tokenizer([sentence(chance) for _ in range(BATCH)])["input_ids"])  # all of one length
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
