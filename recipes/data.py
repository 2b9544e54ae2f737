"""Turn the shared data sets into files that `lignite evaluate` reads: one text, label and human evidence per line.

    python recipes/data.py [NAME ...] [--shared FOLDER] [--out out/data]

README.md tells what each set measures and what its columns mean.
"""

import argparse
import gzip
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

ROOT = Path(__file__).parents[1]
LONGEST = 512
"""Tokens that the models of these studies read at most, [CLS] and [SEP] included."""

Span = tuple[int, int]
"""Characters of the text, end exclusive."""


@dataclass(frozen=True)
class Example:
    id: str
    text: str
    label: str
    rationale: tuple[Span, ...] | None = None
    """What people marked as the reason for the label; None where nobody was asked."""
    polarity: tuple[tuple[int, int, int], ...] | None = None
    """Words that people found positive (1) or negative (-1) by themselves."""
    cut: bool = False
    """Whether the text ends before the document did."""
    language: str | None = None
    """What it is written in; None where all texts of a set are English."""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    folders: tuple[str, ...]
    labels: tuple[str, ...]
    parse: Callable[[Mapping[str, Any], tuple[str, ...]], Example | None]
    files: Mapping[str, str]
    """Split to file; a split that is not there is held out from train."""


def shared_folder(given: Path | None) -> Path:
    """The folder with `data/` and `models/`: the one given, else LIGNITE_SHARED, else the one beside the checkout."""
    folder = given or Path(os.environ.get("LIGNITE_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        raise SystemExit(f"{folder} has no folder data/. Name the shared folder with --shared or LIGNITE_SHARED.")
    return folder


def characters(tokens: Sequence[str], text: str) -> list[Span]:
    """Where each token stands in the text that the tokens were joined from by single spaces.

    Examples
    --------
    >>> characters(["It", "'s", "1 1/2"], "It 's 1 1/2")
    [(0, 2), (3, 5), (6, 11)]
    """
    if " ".join(tokens) != text:
        raise ValueError(f"the text is not its tokens joined by spaces: {text[:60]!r}")
    spans, start = [], 0
    for token in tokens:
        spans.append((start, start + len(token)))
        start += len(token) + 1
    return spans


def joined(spans: Sequence[Span], token_spans: Sequence[Sequence[int]]) -> tuple[Span, ...]:
    """Token spans as character spans."""
    return tuple((spans[start][0], spans[stop - 1][1]) for start, stop in token_spans)


def parse_sst(row: Mapping[str, Any], labels: tuple[str, ...]) -> Example | None:
    """Sentences that people called neutral have no class. A word counts as evidence if its own label agrees."""
    if row["label"] is None:
        return None
    places = characters(row["tokens"], row["text"])
    words = {start: shade for start, stop, shade in row["phrases"] if stop - start == 1 and shade != 2}
    polarity = tuple((*places[start], 1 if shade > 2 else -1) for start, shade in sorted(words.items()))
    wanted = 1 if row["label"] == 1 else -1
    rationale = tuple((start, stop) for start, stop, sign in polarity if sign == wanted)
    return Example(row["id"], row["text"], labels[row["label"]], rationale, polarity)


def parse_tokens(row: Mapping[str, Any], labels: tuple[str, ...]) -> Example:
    places = characters(row["tokens"], row["text"])
    return Example(row["id"], row["text"], labels[row["label"]], joined(places, row["rationale_spans"]))


def parse_document(row: Mapping[str, Any], labels: tuple[str, ...]) -> Example:
    """Documents keep their line breaks; their tokens are what white space leaves."""
    places = [match.span() for match in re.finditer(r"\S+", row["text"])]
    return Example(row["id"], row["text"], labels[row["label"]], joined(places, row["rationale_spans"]))


def parse_characters(row: Mapping[str, Any], labels: tuple[str, ...]) -> Example:
    return Example(row["id"], row["text"], labels[row["label"]], tuple(map(tuple, row["char_spans"])))


def parse_plain(row: Mapping[str, Any], labels: tuple[str, ...]) -> Example:
    if row["label_name"] != labels[row["label"]]:
        raise ValueError(f"{row['id']}: label {row['label']} is called {row['label_name']!r}")
    return Example(row["id"], row["text"], labels[row["label"]])


def parse_tweet(row: Mapping[str, Any], labels: tuple[str, ...]) -> Example | None:
    """A tweet that is neither negative (0) nor positive (2) has no class; English ones do not name their language."""
    if row["label"] == 1:
        return None
    return Example(row["id"], row["text"], labels[row["label"] // 2], language=LANGUAGES[row.get("lang", "eng")])


LANGUAGES = {"eng": "English", "amh": "Amharic", "swa": "Swahili"}
SPLITS = {"train": "train", "dev": "dev", "test": "test"}
SETS = {
    "sst": DataSet(folders=("sst",), labels=("negative", "positive"), parse=parse_sst, files=SPLITS),
    "movies": DataSet(
        folders=("movies_rationales",), labels=("negative", "positive"), parse=parse_document, files=SPLITS
    ),
    "hatexplain": DataSet(folders=("hatexplain",), labels=("normal", "toxic"), parse=parse_tokens, files=SPLITS),
    "toxic-spans": DataSet(
        folders=("toxic_spans",),
        labels=("clean", "toxic"),
        parse=parse_characters,
        files={split: f"sent_{split}" for split in SPLITS},
    ),
    "amharic": DataSet(
        folders=("amharic_hate",), labels=("normal", "offensive", "hate"), parse=parse_plain, files=SPLITS
    ),
    "languages": DataSet(
        folders=("tweet_rationales", "afrisenti_amh", "afrisenti_swa"),
        labels=("negative", "positive"),
        parse=parse_tweet,
        files=SPLITS,
    ),
    "newsgroups": DataSet(
        folders=("newsgroups20",),
        labels=(
            "alt.atheism",
            "comp.graphics",
            "comp.os.ms-windows.misc",
            "comp.sys.ibm.pc.hardware",
            "comp.sys.mac.hardware",
            "comp.windows.x",
            "misc.forsale",
            "rec.autos",
            "rec.motorcycles",
            "rec.sport.baseball",
            "rec.sport.hockey",
            "sci.crypt",
            "sci.electronics",
            "sci.med",
            "sci.space",
            "soc.religion.christian",
            "talk.politics.guns",
            "talk.politics.mideast",
            "talk.politics.misc",
            "talk.religion.misc",
        ),
        parse=parse_plain,
        files={"train": "train", "test": "test"},
    ),
}


def drawn(name: str) -> str:
    """A number that orders examples as if by lot, the same on every machine."""
    return hashlib.sha256(name.encode()).hexdigest()


def read(shared: Path, name: str, split: str) -> list[Example]:
    """The examples of one split, as if in random order, so that the first n are a fair sample."""
    data = SETS[name]
    file = data.files.get(split, data.files["train"])
    found: list[Example | None] = []
    for folder in data.folders:
        with gzip.open(shared / "data" / folder / f"{file}.jsonl.gz", "rt", encoding="utf-8") as lines:
            found += [data.parse(json.loads(line), data.labels) for line in lines]
    examples = sorted((example for example in found if example), key=lambda example: drawn(example.id))
    if "dev" in data.files:
        return examples
    tenth = len(examples) // 10
    return {"train": examples[tenth:], "dev": examples[:tenth], "test": examples}[split]


def fit(example: Example, tokenizer: Tokenizer, longest: int = LONGEST) -> Example:
    """Cut a document behind the last word that a model of `longest` tokens still reads, and its evidence with it."""
    ends = [stop for _, stop in tokenizer.encode(example.text, add_special_tokens=False).offsets]
    room = longest - tokenizer.num_special_tokens_to_add(False)
    if len(ends) <= room:
        return example
    stop = max(word.end() for word in re.finditer(r"\S+", example.text) if word.end() <= ends[room - 1])
    inside = [(start, min(end, stop)) for start, end in example.rationale or () if start < stop]
    return replace(
        example, text=example.text[:stop], rationale=None if example.rationale is None else tuple(inside), cut=True
    )


def lines(examples: Sequence[Example]) -> Iterator[str]:
    """JSON, one example a line; what nobody annotated has no field."""
    for example in examples:
        fields = {name: value for name, value in vars(example).items() if value is not None}
        yield json.dumps(fields, ensure_ascii=False) + "\n"


def prepared(name: str, split: str) -> list[dict[str, Any]]:
    """What `main` wrote of a set."""
    with (ROOT / "out" / "data" / f"{name}-{split}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]  # splitlines would cut at signs that JSON leaves inside strings


def bare_tokenizer(shared: Path) -> Tokenizer:
    """The word pieces of every model of these studies, without its limit on length."""
    tokenizer = Tokenizer.from_file(str(shared / "models" / "sst-minilm" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the data sets as lignite evaluate reads them.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(SETS)} (default: all)")
    parser.add_argument("--shared", type=Path, help="folder with data/ and models/ (default: LIGNITE_SHARED)")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "data")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in SETS]
    if unknown:
        parser.error(f"no data set is called {', '.join(unknown)}. Known: {', '.join(SETS)}.")
    shared = shared_folder(arguments.shared)
    tokenizer = bare_tokenizer(shared)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or SETS:
        for split in ("dev", "test"):
            examples = [fit(example, tokenizer) for example in read(shared, name, split)]
            path = arguments.out / f"{name}-{split}.jsonl"
            path.write_text("".join(lines(examples)), encoding="utf-8")
            cut = sum(example.cut for example in examples)
            print(f"{path}: {len(examples)} examples, {cut} of them cut to {LONGEST} tokens")


if __name__ == "__main__":
    main()
