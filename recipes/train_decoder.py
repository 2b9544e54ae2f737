"""Train the small decoders whose baselines are compared: next tokens of English, from random weights.

    python recipes/train_decoder.py NAME [--shared FOLDER] [--out out/models] [--seed 0] [--device cuda]

`llama` is Llama-shaped (RMSNorm, rotary positions, grouped keys), `gpt2` GPT-2-shaped (LayerNorm, learned positions);
both read bytes through word pieces that the script learns from the same text. `llama-sst` puts a head on `llama`, which
must be there, and classifies sentences. One thread, seeded, on a GPU where there is one. The folder out/models/NAME
gets the model, its tokenizer and card.json, with the perplexity or the accuracy on text that was held out.
"""

import argparse
import gzip
import json
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as BytesBack
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from data import ROOT, SETS, Example, read, shared_folder
from train import batches
from training import grouped, step, tent, write_card

VOCABULARY = 4_096
POSITIONS = 256
WIDTH, LAYERS, HEADS = 192, 4, 6

Document = list[str]
"""The sentences of a document, in order."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    special: Mapping[str, str]
    """Tokens that stand for no text. Only the start and the end of a document occur in training."""
    epochs: int = 6
    shortest: int = 24
    longest: int = 128
    """A piece of text is as many whole sentences as fit a room drawn between these, in tokens."""
    batch_size: int = 16
    learning_rate: float = 2e-3
    warm_up: float = 0.05
    weight_decay: float = 0.1
    final_rate: float = 0.02


FOUR = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
RECIPES = {
    "llama": Recipe(special=FOUR),
    "gpt2": Recipe(special=dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")),
    "llama-sst": Recipe(special=FOUR, epochs=2, learning_rate=5e-4, warm_up=0.1),
}


def rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def reviews(data: Path, split: str) -> list[Document]:
    """Reviews of films, long, in lower case."""
    return [row["text"].split("\n") for row in rows(data / "movies_rationales" / f"{split}.jsonl.gz")]


def snippets(data: Path, split: str) -> list[Document]:
    """Sentences from reviews of films, each by itself."""
    return [[row["text"]] for row in rows(data / "sst" / f"{split}.jsonl.gz")]


def web(data: Path, split: str) -> list[Document]:
    """Blogs, news, letters, answers and reviews from the web."""
    found: dict[str, Document] = {}
    for row in rows(data / "ud_ewt" / f"{split}.jsonl.gz"):
        found.setdefault(row["doc"], []).append(row["text"])
    return list(found.values())


SOURCES = {"reviews": reviews, "snippets": snippets, "web": web}


def learned_tokenizer(documents: Sequence[Document], special: Mapping[str, str]) -> PreTrainedTokenizerBase:
    """Word pieces over bytes, learned from the text; every text begins with the start token."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), BytesBack()
    names = list(dict.fromkeys(special.values()))
    trainer = BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=names, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator((" ".join(document) for document in documents), trainer)
    start = special["bos_token"]
    tokenizer.post_processor = TemplateProcessing(
        single=f"{start} $A", pair=f"{start} $A $B", special_tokens=[(start, tokenizer.token_to_id(start))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=POSITIONS, **special)


def new_model(name: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Random weights, the head tied to the embeddings."""
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    if name == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(tokenizer),
                n_embd=WIDTH,
                n_layer=LAYERS,
                n_head=HEADS,
                n_positions=POSITIONS,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                **ends,
            )
        )
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=512,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=2,
            max_position_embeddings=POSITIONS,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            **ends,
        )
    )


class Task(Protocol):
    """What is learned: the texts of an epoch, and how far the model is off on some of them."""

    def pieces(self, recipe: Recipe, order: random.Random) -> list[list[int]]: ...

    def loss(self, model: PreTrainedModel, pieces: Sequence[list[int]]) -> Tensor: ...


class Corpus:
    """Next tokens of documents, which are kept as token ids, one list per sentence."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, documents: Sequence[Document]) -> None:
        self.start, self.end = tokenizer.bos_token_id, tokenizer.eos_token_id
        flat = [" " * bool(place) + line for document in documents for place, line in enumerate(document)]
        numbers = iter(tokenizer(flat, add_special_tokens=False, truncation=False, verbose=False)["input_ids"])
        self.documents = [[next(numbers) for _ in document] for document in documents]
        self.size = sum(len(sentence) for document in self.documents for sentence in document)

    def pieces(self, recipe: Recipe, order: random.Random) -> list[list[int]]:
        """Start token and whole sentences, as many as fit; the end token where the document ends."""
        found = []
        for document in self.documents:
            piece, room = [self.start], order.randint(recipe.shortest, recipe.longest)
            for sentence in document:
                if len(piece) > 1 and len(piece) + len(sentence) > room:
                    found.append(piece)
                    piece, room = [self.start], order.randint(recipe.shortest, recipe.longest)
                piece += sentence
            found.append([*piece, self.end])
        return [piece[: recipe.longest] for piece in found]

    def loss(self, model: PreTrainedModel, pieces: Sequence[list[int]]) -> Tensor:
        return loss_of(model, pieces)


class Sentences:
    """Classes of sentences."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> None:
        self.pad = tokenizer.pad_token_id
        self.ids = tokenizer([example.text for example in examples])["input_ids"]
        self.labels = [SETS["sst"].labels.index(example.label) for example in examples]
        self.label_of = {tuple(piece): label for piece, label in zip(self.ids, self.labels, strict=True)}

    def pieces(self, recipe: Recipe, order: random.Random) -> list[list[int]]:
        return self.ids

    def logits(self, model: PreTrainedModel, pieces: Sequence[list[int]]) -> Tensor:
        """The head looks for the last token that is no padding."""
        length = max(map(len, pieces))
        ids = torch.tensor([[*piece, *[self.pad] * (length - len(piece))] for piece in pieces])
        ids = ids.to(model.device)
        return model(input_ids=ids, attention_mask=(ids != self.pad).long(), use_cache=False).logits

    def loss(self, model: PreTrainedModel, pieces: Sequence[list[int]]) -> Tensor:
        wanted = torch.tensor([self.label_of[tuple(piece)] for piece in pieces])
        return cross_entropy(self.logits(model, pieces).float(), wanted.to(model.device))

    @torch.inference_mode()
    def accuracy(self, model: PreTrainedModel) -> float:
        given = [int(self.logits(model, [piece]).argmax()) for piece in self.ids]
        return round(statistics.fmean(one == other for one, other in zip(given, self.labels, strict=True)), 4)


def padded(pieces: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids and what to predict from them, filled up on the right, where no token looks; -100 is not scored."""
    length = max(map(len, pieces))
    ids = torch.tensor([[*piece, *[0] * (length - len(piece))] for piece in pieces])
    wanted = torch.tensor([[*piece[1:], *[-100] * (length - len(piece) + 1)] for piece in pieces])
    return ids, wanted


def loss_of(model: PreTrainedModel, pieces: Sequence[Sequence[int]], reduction: str = "mean") -> Tensor:
    """-log probability of each next token, in nats."""
    ids, wanted = (each.to(model.device) for each in padded(pieces))
    logits = model(input_ids=ids, use_cache=False).logits
    return cross_entropy(logits.float().flatten(0, 1), wanted.flatten(), reduction=reduction)


def train(
    model: PreTrainedModel, task: Task, recipe: Recipe, order: random.Random, after_epoch: Callable[[], str]
) -> None:
    """Fit the model in place: AdamW, products in bfloat16; matrices decay, vectors do not."""
    groups = grouped(model.parameters(), recipe.weight_decay)
    optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), fused=True)
    for epoch in range(recipe.epochs):
        model.train()
        pieces, losses, done = task.pieces(recipe, order), [], 0
        for places in batches([len(piece) for piece in pieces], recipe.batch_size, order):
            progress = (epoch + done / len(pieces)) / recipe.epochs
            rate = recipe.learning_rate * max(tent(progress, recipe.warm_up), recipe.final_rate)
            with torch.autocast(model.device.type, torch.bfloat16):
                loss = task.loss(model, [pieces[place] for place in places])
            step(optimiser, loss, model.parameters(), rate)
            losses.append(loss.detach())
            done += len(places)
            if len(losses) % 200 == 0:
                print(
                    f"  {done}/{len(pieces)}: {torch.stack(losses[-200:]).mean():.3f}, {minutes():.1f} min", flush=True
                )
        model.eval()
        print(
            f"epoch {epoch + 1}: loss {torch.stack(losses).mean():.3f}, {after_epoch()}, {minutes():.1f} min",
            flush=True,
        )


def minutes() -> float:
    """Of CPU, by this process."""
    return time.process_time() / 60


@torch.inference_mode()
def perplexity(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, documents: Sequence[Document], longest: int
) -> dict[str, float | int]:
    """Of each sentence by itself, given the start token: per token, and per word between spaces."""
    sentences = [sentence for document in documents for sentence in document]
    pieces = tokenizer(sentences, truncation=True, max_length=longest)["input_ids"]
    kept = [place for place, piece in enumerate(pieces) if 1 < len(piece) < longest]
    kept.sort(key=lambda place: len(pieces[place]))
    groups = [kept[start : start + 64] for start in range(0, len(kept), 64)]
    total = sum(loss_of(model, [pieces[place] for place in group], "sum").item() for group in groups)
    tokens = sum(len(pieces[place]) - 1 for place in kept)
    words = sum(len(sentences[place].split()) for place in kept)
    return {
        "sentences": len(kept),
        "tokens": tokens,
        "words": words,
        "per_token": round(math.exp(total / tokens), 2),
        "per_word": round(math.exp(total / words), 1),
    }


@torch.inference_mode()
def continuation(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str, n_tokens: int = 12) -> str:
    """The text with its likeliest next tokens."""
    ids = tokenizer(text, return_tensors="pt")["input_ids"].to(model.device)
    for _ in range(n_tokens):
        ids = torch.cat([ids, model(input_ids=ids, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    return tokenizer.decode(ids[0, 1:])


def main() -> None:
    parser = argparse.ArgumentParser(description="Train one of the decoders whose baselines the studies compare.")
    parser.add_argument("name", choices=list(RECIPES))
    parser.add_argument("--shared", type=Path, help="folder with data/ and models/ (default: LIGNITE_SHARED)")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "models")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    (train_classifier if arguments.name == "llama-sst" else train_decoder)(arguments, RECIPES[arguments.name])


def train_decoder(arguments: argparse.Namespace, recipe: Recipe) -> None:
    data, folder = shared_folder(arguments.shared) / "data", arguments.out / arguments.name
    documents = [document for source in SOURCES.values() for document in source(data, "train")]
    held_out = {name: source(data, "dev") for name, source in SOURCES.items()}
    tokenizer = learned_tokenizer(documents, recipe.special)
    model, corpus = new_model(arguments.name, tokenizer).to(arguments.device), Corpus(tokenizer, documents)
    shown = ("this film is one of the", "the best thing about the movie is", "i think that")

    def saved() -> str:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        print(*(continuation(model, tokenizer, text) for text in shown), sep="\n", flush=True)
        return f"dev per token {perplexity(model, tokenizer, held_out['snippets'], recipe.longest)['per_token']}"

    print(f"{corpus.size} tokens, {model.num_parameters()} weights", flush=True)
    train(model, corpus, recipe, random.Random(arguments.seed), saved)
    seconds = round(time.process_time())
    write_card(
        folder,
        arguments,
        scores={name: perplexity(model, tokenizer, part, recipe.longest) for name, part in held_out.items()},
        recipe=asdict(recipe),
        start="random weights",
        n_train=len(documents),
        cpu_seconds=seconds,
        continuations=[continuation(model, tokenizer, text) for text in shown],
    )


def train_classifier(arguments: argparse.Namespace, recipe: Recipe) -> None:
    shared, folder = shared_folder(arguments.shared), arguments.out / arguments.name
    start, labels = arguments.out / "llama", SETS["sst"].labels
    tokenizer = AutoTokenizer.from_pretrained(start, local_files_only=True)
    model = LlamaForSequenceClassification.from_pretrained(
        start,
        local_files_only=True,
        dtype=torch.float32,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    ).to(arguments.device)
    sentences = {split: Sentences(tokenizer, read(shared, "sst", split)) for split in ("train", "dev", "test")}

    def progress() -> str:
        return f"accuracy on dev {sentences['dev'].accuracy(model)}"

    train(model, sentences["train"], recipe, random.Random(arguments.seed), progress)
    seconds = round(time.process_time())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_card(
        folder,
        arguments,
        scores={split: {"accuracy": sentences[split].accuracy(model)} for split in ("dev", "test")},
        recipe=asdict(recipe),
        start="llama",
        n_train=len(sentences["train"].ids),
        cpu_seconds=seconds,
    )


if __name__ == "__main__":
    main()
