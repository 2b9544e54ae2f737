"""Train tiny-sentiment, the bundled classifier, from the Stanford Sentiment Treebank and a teacher.

    python recipes/train_tiny_sentiment.py --data DATA/sst --teacher MODELS/sst-minilm --out FOLDER --seed 0

One thread, seeded: the same machine and library versions give the same file. README.md has the recipe and
its scores.
"""

import argparse
import copy
import gzip
import hashlib
import json
import math
import random
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax
from torch.utils.tensorboard import SummaryWriter
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
)

import lignite
from training import grouped, save_in_half, step, tent

WATCHED = ["The plot was thin, but the acting was superb.", "It is not bad at all.", "A dull, lifeless film."]
"""Explained after every epoch: a contrast, a denial, and a plain verdict."""

SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}

FRAMES = (  # every denial beside its affirmation: alone, "this movie is" would come to mean "not"
    "not {}",
    "very {}",
    "hardly {}",
    "always {}",
    "never {}",
    "the film is {}",
    "the film is n't {}",
    "this movie is {} .",
    "this movie is not {} .",
    "it is {}",
    "it is n't {}",
    "it was {} .",
    "it was never {} .",
    "i found it {} .",
    "i did n't find it {} .",
    "i {} it .",
    "i do n't {} it .",
    "the acting is {} , but the plot is not .",
    "the plot is not , but the acting is {} .",
    "with {}",
    "without {}",
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    vocabulary: int = 8000
    width: int = 128
    layers: int = 4
    heads: int = 4
    intermediate: int = 512
    positions: int = 256
    dropout: float = 0.1
    epochs: int = 4
    batch_size: int = 64
    learning_rate: float = 1e-3
    warm_up: float = 0.1
    weight_decay: float = 0.05
    masked: float = 0.1  # share of words hidden behind [MASK] in each training text
    neutral: float = 0.35  # share of the neutral phrases seen in each epoch
    human: float = 0.5  # weight of the human label against the teacher's in the target


@dataclass(frozen=True)
class Sentence:
    tokens: tuple[str, ...]
    label: int | None
    phrases: tuple[tuple[int, int, int], ...]

    def text(self, start: int = 0, stop: int | None = None) -> str:
        return " ".join(self.tokens[start:stop])


@dataclass(frozen=True)
class Example:
    """A text and how positive it is, 0…1."""

    text: str
    target: float


def read_sentences(path: Path) -> list[Sentence]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [Sentence(tuple(row["tokens"]), row["label"], tuple(map(tuple, row["phrases"]))) for row in rows]


def phrase_labels(sentences: Iterable[Sentence]) -> dict[str, float]:
    """Every distinct phrase, lower-cased, with the mean of its labels, scaled from 0…4 to 0…1."""
    found: dict[str, list[int]] = {}
    for sentence in sentences:
        for start, stop, label in sentence.phrases:
            found.setdefault(sentence.text(start, stop).lower(), []).append(label)
    return {text: statistics.fmean(labels) / 4 for text, labels in found.items()}


def spellings(text: str) -> tuple[str, str, str]:
    """The text as the treebank writes it, as people type it, and as word processors set it.

    WordPiece splits "do n't" and "don't" in different places, and knows no sign that it was not shown.

    Examples
    --------
    >>> print(*spellings("`` do n't '' -- so"), sep=" | ")
    `` do n't '' -- so | " don't " -- so | “ don’t ” — so
    """
    joined = text.replace(" n't", "n't")
    typed = joined.replace("``", '"').replace("''", '"')
    typeset = joined.replace("``", "“").replace("''", "”").replace("'", "’").replace("--", "—").replace("...", "…")
    return text, typed, typeset


def train_vocabulary(texts: Sequence[str], *, size: int, positions: int) -> BertTokenizer:
    """Learn word pieces, the same ones every time.

    The trainer numbers the pieces that continue a word in the order of a randomly seeded hash table, and settles ties
    between merges by those numbers. Naming them first, as if they were special tokens, fixes the order.
    """
    split = BertTokenizer(vocab={token: number for number, token in enumerate(SPECIAL.values())})
    letters = sorted(set("".join(split.backend_tokenizer.normalizer.normalize_str(text) for text in texts)) - {" "})
    trainee = Tokenizer(WordPiece(unk_token=SPECIAL["unk_token"]))
    trainee.normalizer = split.backend_tokenizer.normalizer
    trainee.pre_tokenizer = split.backend_tokenizer.pre_tokenizer
    first = [*SPECIAL.values(), *letters, *(f"##{letter}" for letter in letters if letter.isalnum())]
    trainer = WordPieceTrainer(vocab_size=size, min_frequency=2, special_tokens=first, show_progress=False)
    trainee.train_from_iterator(texts, trainer)
    vocabulary = dict(sorted(trainee.get_vocab().items(), key=lambda entry: entry[1]))
    return BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=positions, **SPECIAL)


def load_teacher(folder: Path) -> tuple[BertForSequenceClassification, BertTokenizer]:
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model.eval(), AutoTokenizer.from_pretrained(folder, local_files_only=True)


@torch.inference_mode()
def probabilities(
    model: BertForSequenceClassification, tokenizer: BertTokenizer, texts: Sequence[str], batch_size: int = 64
) -> list[float]:
    """How positive the model finds each text, 0…1, in the order given; similar lengths run together."""
    found = [math.nan] * len(texts)
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        batch = tokenizer([texts[place] for place in places], padding=True, truncation=True, return_tensors="pt")
        for place, positive in zip(places, model(**batch).logits.softmax(-1)[:, 1].tolist(), strict=True):
            found[place] = positive
    return found


def embeddings_from(
    teacher: BertForSequenceClassification, speller: BertTokenizer, tokenizer: BertTokenizer, width: int
) -> Float[Tensor, "token width"]:
    """The teacher's word embeddings along their main directions, scaled to BERT's initial size.

    A word piece that the teacher does not know is the mean of the teacher's pieces for it.
    """
    table = teacher.get_input_embeddings().weight.detach()
    pieces = [token.removeprefix("##") for token in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))]
    numbers = [speller(piece, add_special_tokens=False)["input_ids"] or [speller.unk_token_id] for piece in pieces]
    words = torch.stack([table[row].mean(0) for row in numbers])
    words = words - words.mean(0)
    _, _, directions = torch.linalg.svd(words, full_matrices=False)
    reduced = words @ directions[:width].T
    return reduced * (0.02 / reduced.std())


def coloured(label: float) -> bool:
    """Whether people found the phrase anything but neutral."""
    return abs(label - 0.5) > 0.1


def framed(labels: dict[str, float], order: random.Random) -> list[str]:
    """Put each short coloured phrase into a frame: the treebank alone has too few denials to learn from."""
    short = [text for text, label in labels.items() if coloured(label) and len(text.split()) <= 3]
    return [order.choice(FRAMES).format(text) for text in short]


def ask(folder: Path, texts: Sequence[str], answers: Path | None) -> dict[str, float]:
    """What the teacher says of each text; answers that the file has from an earlier run are not computed again."""
    known: dict[str, float] = json.loads(answers.read_text()) if answers and answers.is_file() else {}
    unknown = [text for text in dict.fromkeys(texts) if text not in known]
    known |= dict(zip(unknown, probabilities(*load_teacher(folder), unknown), strict=True))
    if answers:
        answers.write_text(json.dumps(known))
    return {text: known[text] for text in texts}


def make_examples(
    labels: dict[str, float], frames: Sequence[str], taught: dict[str, float], human: float
) -> list[Example]:
    """Give neutral phrases their human label as target, coloured ones a mixture, framed ones the teacher's answer.

    The teacher never saw a neutral phrase and calls most of them positive, so it has no say there.
    """
    targets = {text: taught[text] for text in frames} | labels
    targets |= {text: human * labels[text] + (1 - human) * taught[text] for text in labels if coloured(labels[text])}
    return [Example(text, target) for text, target in targets.items()]


def documents(sentences: Sequence[Example], longest: int, order: random.Random) -> list[Example]:
    """Join shuffled sentences to longer texts, two to eight each, so that late positions are trained too."""
    shuffled, joined = order.sample(sentences, len(sentences)), []
    while shuffled:
        part = [shuffled.pop()]
        room, most = longest - len(part[0].text.split()), order.randint(2, 8)
        while shuffled and len(part) < most and (room := room - len(shuffled[-1].text.split())) > 0:
            part.append(shuffled.pop())
        joined.append(Example(" ".join(one.text for one in part), statistics.fmean(one.target for one in part)))
    return joined


def batches(numbers: Sequence[Sequence[int]], batch_size: int, order: random.Random) -> Iterator[list[int]]:
    """Places in `numbers`, shuffled, grouped by length within pools of 50 batches: little padding, much variety."""
    places = order.sample(range(len(numbers)), len(numbers))
    pool = 50 * batch_size
    found = []
    for start in range(0, len(places), pool):
        alike = sorted(places[start : start + pool], key=lambda place: len(numbers[place]))
        found += [alike[at : at + batch_size] for at in range(0, len(alike), batch_size)]
    order.shuffle(found)
    yield from found


def hide(numbers: Int[Tensor, "text token"], tokenizer: BertTokenizer, share: float) -> Int[Tensor, "text token"]:
    """Replace words by [MASK] or [UNK], never in texts of three words or fewer: there nothing would be left to read."""
    chosen = (torch.rand(numbers.shape) < share) & (numbers > tokenizer.mask_token_id)
    chosen &= (numbers > tokenizer.mask_token_id).sum(1, keepdim=True) > 3
    stand_in = torch.where(torch.rand(numbers.shape) < 0.5, tokenizer.mask_token_id, tokenizer.unk_token_id)
    return torch.where(chosen, stand_in, numbers)


def configure(recipe: Recipe, tokenizer: BertTokenizer) -> BertConfig:
    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        intermediate_size=recipe.intermediate,
        max_position_embeddings=recipe.positions,
        hidden_dropout_prob=recipe.dropout,
        attention_probs_dropout_prob=recipe.dropout,
        pad_token_id=tokenizer.pad_token_id,
        id2label={0: "negative", 1: "positive"},
        label2id={"negative": 0, "positive": 1},
    )


def train(
    model: BertForSequenceClassification,
    tokenizer: BertTokenizer,
    examples: Sequence[Example],
    sentences: Sequence[Example],
    recipe: Recipe,
    order: random.Random,
    watch: Path | None = None,
) -> None:
    """Fit the model in place. An epoch has all coloured texts, some neutral ones, and the sentences joined.

    After each the same sentences are explained into TensorBoard's files in the folder `watch`.
    """
    strong = [one for one in examples if coloured(one.target)]
    neutral = [one for one in examples if not coloured(one.target)]
    shown = round(recipe.neutral * len(neutral))
    optimiser = torch.optim.AdamW(grouped(model.parameters(), recipe.weight_decay), lr=recipe.learning_rate)
    began = time.process_time()
    done = 0
    model.train()
    for epoch in range(recipe.epochs):
        texts = [*strong, *order.sample(neutral, shown), *documents(sentences, recipe.positions // 2, order)]
        spelt = [order.choice(spellings(one.text)) for one in texts]
        numbers = tokenizer(spelt, truncation=True)["input_ids"]
        targets = torch.tensor([one.target for one in texts]).clamp(0.02, 0.98)
        losses = []
        for places in batches(numbers, recipe.batch_size, order):
            rate = recipe.learning_rate * tent((epoch + done / len(texts)) / recipe.epochs, recipe.warm_up)
            batch = tokenizer.pad({"input_ids": [numbers[place] for place in places]}, return_tensors="pt")
            hidden = hide(batch["input_ids"], tokenizer, recipe.masked)
            logits = model(input_ids=hidden, attention_mask=batch["attention_mask"]).logits
            target = torch.stack([1 - targets[places], targets[places]], dim=1)
            loss = kl_div(log_softmax(logits, -1), target, reduction="batchmean")
            step(optimiser, loss, model.parameters(), rate)
            losses.append(loss.item())
            done += len(places)
        done = 0
        minutes = (time.process_time() - began) / 60
        print(
            f"epoch {epoch + 1}/{recipe.epochs}: loss {statistics.fmean(losses):.4f}, {minutes:.1f} min of CPU",
            flush=True,
        )
        if watch is not None:
            show(model, tokenizer, watch, epoch + 1)
    model.eval()


def show(model: BertForSequenceClassification, tokenizer: BertTokenizer, folder: Path, step: int) -> None:
    """Write how evidence stands in sentences that were told apart from the start, and what the model makes of it."""
    found = lignite.explain(lignite.wrap(model, tokenizer), WATCHED, target="positive")
    with SummaryWriter(str(folder)) as tracker:
        lignite.log(found, tracker, step=step)


def accuracy(model: BertForSequenceClassification, tokenizer: BertTokenizer, sentences: Iterable[Sentence]) -> float:
    """Share of the sentences with a label (neutral ones have none) that get it."""
    labelled = [(sentence.text(), sentence.label) for sentence in sentences if sentence.label is not None]
    positive = probabilities(model, tokenizer, [text for text, _ in labelled])
    return statistics.fmean((one > 0.5) == bool(label) for one, (_, label) in zip(positive, labelled, strict=True))


def with_uniform_attention(model: BertForSequenceClassification) -> BertForSequenceClassification:
    """A copy whose heads weigh all tokens alike: what it loses is what the attention weights are worth."""
    blind = copy.deepcopy(model)
    with torch.no_grad():
        for layer in blind.bert.encoder.layer:
            layer.attention.self.query.weight.zero_()
            layer.attention.self.query.bias.zero_()
    return blind


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train tiny-sentiment, lignite's bundled classifier.")
    parser.add_argument("--data", type=Path, required=True, help="folder with train, dev and test.jsonl.gz")
    parser.add_argument(
        "--teacher", type=Path, required=True, help="folder with a BERT whose classes are negative, positive"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write model and tokenizer to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--answers", type=Path, help="file that keeps the teacher's answers from one run to the next")
    parser.add_argument("--watch", type=Path, help="folder for TensorBoard: how evidence moves while it trains")
    parser.add_argument("--held-out", type=int, default=0, help="train sentences to keep back and score on")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    recipe = Recipe()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    order = random.Random(arguments.seed)
    began = time.process_time()

    sentences = read_sentences(arguments.data / "train.jsonl.gz")
    if arguments.held_out:
        order.shuffle(sentences)
    kept, sentences = sentences[: arguments.held_out], sentences[arguments.held_out :]
    labels = phrase_labels(sentences)
    texts = [sentence.text() for sentence in sentences]
    spelt = [spelling for text in texts for spelling in spellings(text)]
    tokenizer = train_vocabulary(spelt, size=recipe.vocabulary, positions=recipe.positions)
    frames = framed(labels, order)
    taught = ask(arguments.teacher, [*(text for text in labels if coloured(labels[text])), *frames], arguments.answers)
    examples = make_examples(labels, frames, taught, recipe.human)
    targets = {one.text: one for one in examples}
    print(f"{len(examples)} texts with targets, {(time.process_time() - began) / 60:.1f} min of CPU", flush=True)

    torch.manual_seed(arguments.seed)
    model = BertForSequenceClassification(configure(recipe, tokenizer))
    with torch.no_grad():
        embeddings = embeddings_from(*load_teacher(arguments.teacher), tokenizer, recipe.width)
        model.get_input_embeddings().weight.copy_(embeddings)
    train(model, tokenizer, examples, [targets[text.lower()] for text in texts], recipe, order, arguments.watch)
    save_in_half(model, arguments.out)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.save_pretrained(arguments.out)

    model = AutoModelForSequenceClassification.from_pretrained(arguments.out, local_files_only=True).eval()
    read = {name: read_sentences(arguments.data / f"{name}.jsonl.gz") for name in ("dev", "test")}
    for name, part in {"held out": kept}.items() if kept else read.items():
        print(f"accuracy on {name}: {accuracy(model, tokenizer, part):.4f}")
        blind = accuracy(with_uniform_attention(model), tokenizer, part)
        print(f"accuracy on {name}, had all attention been uniform: {blind:.4f}")
    digest = hashlib.sha256((arguments.out / "model.safetensors").read_bytes()).hexdigest()
    print(f"sha256 of model.safetensors: {digest}, {(time.process_time() - began) / 60:.1f} min of CPU")


if __name__ == "__main__":
    main()
