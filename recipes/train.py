"""Fine-tune the small classifiers whose explanations are measured.

    python recipes/train.py NAME [--shared FOLDER] [--out out/models] [--seed 0]

One thread, seeded. The folder out/models/NAME gets the model, its tokenizer and card.json: what it was trained on, its
scores, and the sha256 of its weights. README.md has the table.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from data import LONGEST, ROOT, SETS, Example, read, shared_folder
from train_tiny_sentiment import train_vocabulary
from training import compare, step, tent, write_card

VOCABULARY = 8_000
"""Word pieces of a model that is trained anew."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    data: str
    epochs: int
    window: int = 128
    """Tokens shown of a text at a time; of longer ones, another piece in every epoch."""
    batch_size: int = 32
    learning_rate: float = 1e-4
    warm_up: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.1
    n_examples: int | None = None
    """How many texts of the train split; None: all."""
    permuted: bool = False
    """Whether every text gets the label of another one, drawn by lot."""
    evened: int | None = None
    """How many texts of every language and class an epoch shows, the same ones again where there are fewer."""
    anew: bool = False
    """Whether word pieces and encoder are new, because those of sst-minilm cannot read the script."""


RECIPES = {
    "hatexplain": Recipe(data="hatexplain", epochs=3),
    "toxic-spans": Recipe(data="toxic-spans", epochs=2),
    "amharic": Recipe(data="amharic", epochs=4, learning_rate=5e-4, dropout=0.3, anew=True),
    "languages": Recipe(data="languages", epochs=6, learning_rate=5e-4, dropout=0.3, evened=1200, anew=True),
    "movies": Recipe(data="movies", epochs=2, batch_size=16),
    "newsgroups": Recipe(data="newsgroups", epochs=2, window=64),
    "label-random": Recipe(data="sst", epochs=8, dropout=0.0, weight_decay=0.0, n_examples=1000, permuted=True),
}


def new_classifier(folder: Path, labels: Sequence[str], dropout: float) -> PreTrainedModel:
    """The encoder of a fine-tuned model under a new, random head."""
    config = AutoConfig.from_pretrained(
        folder,
        local_files_only=True,
        dtype=torch.float32,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    model = AutoModelForSequenceClassification.from_config(config)
    encoder = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    model.base_model.load_state_dict(encoder.state_dict())
    return model


def untrained_classifier(
    texts: Sequence[str], labels: Sequence[str], dropout: float
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A small BERT with random weights, and word pieces learned from the texts."""
    tokenizer = train_vocabulary(texts, size=VOCABULARY, positions=LONGEST)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=1024,
        max_position_embeddings=LONGEST,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    return BertForSequenceClassification(config), tokenizer


def numbers_of(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids without special tokens, whole texts."""
    return tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)["input_ids"]


def window(numbers: list[int], room: int, order: random.Random) -> list[int]:
    """A piece of the text, at a random place if it is longer."""
    start = order.randint(0, max(0, len(numbers) - room))
    return numbers[start : start + room]


def evened(examples: Sequence[Example], number: int, order: random.Random) -> list[int]:
    """Places of as many texts of every language and class, in random order, begun again where there are too few."""
    groups: dict[tuple[str | None, str], list[int]] = {}
    for place, example in enumerate(examples):
        groups.setdefault((example.language, example.label), []).append(place)
    shuffled = [order.sample(group, len(group)) for group in groups.values()]
    return [group[turn % len(group)] for group in shuffled for turn in range(number)]


def padded(tokenizer: PreTrainedTokenizerBase, pieces: Sequence[list[int]]) -> dict[str, torch.Tensor]:
    rows = [[tokenizer.cls_token_id, *piece, tokenizer.sep_token_id] for piece in pieces]
    return tokenizer.pad({"input_ids": rows}, return_tensors="pt")


def batches(lengths: Sequence[int], size: int, order: random.Random) -> Iterator[list[int]]:
    """Places of texts of similar length, the batches in random order."""
    shuffled = order.sample(range(len(lengths)), len(lengths))
    alike = sorted(shuffled, key=lambda place: lengths[place] // 8)  # stable: chance decides among equals
    groups = [alike[start : start + size] for start in range(0, len(alike), size)]
    yield from order.sample(groups, len(groups))


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    recipe: Recipe,
    order: random.Random,
    after_epoch: Callable[[], str],
) -> None:
    """Fit the model in place: AdamW, cross-entropy, products in bfloat16."""
    whole = numbers_of(tokenizer, [example.text for example in examples])
    classes = torch.tensor([model.config.label2id[example.label] for example in examples])
    shown = list(range(len(examples)))
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    done = 0
    for epoch in range(recipe.epochs):
        model.train()
        if recipe.evened:
            shown = evened(examples, recipe.evened, order)
        pieces, labels = [window(whole[place], recipe.window - 2, order) for place in shown], classes[shown]
        losses = []
        for places in batches([len(piece) for piece in pieces], recipe.batch_size, order):
            rate = recipe.learning_rate * tent(done / (recipe.epochs * len(shown)), recipe.warm_up)
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(**padded(tokenizer, [pieces[place] for place in places]), labels=labels[places]).loss
            step(optimiser, loss, model.parameters(), rate)
            losses.append(loss.item())
            done += len(places)
        model.eval()
        minutes = time.process_time() / 60
        mean = statistics.fmean(losses)
        print(f"epoch {epoch + 1}: loss {mean:.3f}, {after_epoch()}, {minutes:.1f} min of CPU", flush=True)


@torch.inference_mode()
def predictions(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], batch_size: int = 32
) -> list[int]:
    """The class of each text in single precision, from its first 512 tokens."""
    pieces = [numbers[: LONGEST - 2] for numbers in numbers_of(tokenizer, [example.text for example in examples])]
    found = [-1] * len(pieces)
    order = sorted(range(len(pieces)), key=lambda place: len(pieces[place]))
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        logits = model(**padded(tokenizer, [pieces[place] for place in places])).logits
        for place, label in zip(places, logits.argmax(-1).tolist(), strict=True):
            found[place] = label
    return found


def score(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]
) -> dict[str, float | int]:
    """Accuracy beside that of always giving the commonest label, and F1 averaged over classes."""
    true = [model.config.label2id[example.label] for example in examples]
    return compare(predictions(model, tokenizer, examples), true, model.config.num_labels)


def permuted(examples: Sequence[Example], order: random.Random) -> list[Example]:
    """The same texts and the same labels, but not the one that belongs to the other."""
    labels = [example.label for example in examples]
    order.shuffle(labels)
    return [Example(example.id, example.text, label) for example, label in zip(examples, labels, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train one of the classifiers that the studies explain.")
    parser.add_argument("name", choices=list(RECIPES))
    parser.add_argument("--shared", type=Path, help="folder with data/ and models/ (default: LIGNITE_SHARED)")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "models")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--examples", type=int, help="train on the first so many texts (default: the recipe's)")
    arguments = parser.parse_args()
    recipe, start = RECIPES[arguments.name], shared_folder(arguments.shared) / "models" / "sst-minilm"
    shared, folder = start.parents[1], arguments.out / arguments.name
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    order = random.Random(arguments.seed)

    labels = SETS[recipe.data].labels
    examples = read(shared, recipe.data, "train")[: arguments.examples or recipe.n_examples]
    if recipe.anew:
        model, tokenizer = untrained_classifier([example.text for example in examples], labels, recipe.dropout)
    else:
        tokenizer = AutoTokenizer.from_pretrained(start, local_files_only=True)
        model = new_classifier(start, labels, recipe.dropout)
    if recipe.permuted:
        examples = permuted(examples, order)
    held_out = {split: read(shared, recipe.data, split) for split in ("dev", "test")}

    def progress() -> str:
        shown = examples if recipe.permuted else held_out["dev"]
        kind = "permuted train labels" if recipe.permuted else "dev"
        return f"accuracy on {kind} {score(model, tokenizer, shown)['accuracy']:.3f}"

    train(model, tokenizer, examples, recipe, order, progress)
    seconds = round(time.process_time())

    model.save_pretrained(folder)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.save_pretrained(folder)
    scores: dict[str, Any] = {split: score(model, tokenizer, part) for split, part in held_out.items()}
    for split, part in held_out.items():
        for language in sorted({example.language for example in part if example.language}):
            scores[f"{split}, {language}"] = score(
                model, tokenizer, [example for example in part if example.language == language]
            )
    if recipe.permuted:
        scores["permuted train labels"] = score(model, tokenizer, examples)
    write_card(
        folder,
        arguments,
        scores=scores,
        recipe=asdict(recipe),
        start="random weights" if recipe.anew else "encoder of sst-minilm, new head",
        n_train=len(examples),
        cpu_seconds=seconds,
    )


if __name__ == "__main__":
    main()
