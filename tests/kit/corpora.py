"""A small corpus, runs over it, and what they leave in their folder."""

import json
import random

import lignite

ROWS = [
    {"id": "a", "text": "A superb film."},
    {"id": "b", "text": "Dull and long, but honest."},
    {"id": "empty", "text": ""},
    {"id": "c", "text": "Not bad at all!"},
    {"id": "d", "text": "Great."},
    {"id": "e", "text": "What a waste of time, really."},
]
WORDS = ("a", "superb", "dull", "film", "not", "bad", "long", "honest", "funny", "sad")
TWELVE = [
    {
        "id": f"r{number}",
        "text": " ".join(random.Random(number).choices(WORDS, k=3 + number % 5)) if number != 3 else "",
    }
    for number in range(12)
]
VERBS = {
    "explain": {"method": "gradient-x-input", "shard": 2},
    "flow": {"maps": "whole", "layers": [0], "shard": 2},
    "evaluate": {"methods": "saliency", "metrics": "sufficiency", "fills": "mask", "shard": 2},
}
"""What is asked of the twelve rows, by verb."""

TIMES = "log.jsonl"


def write_corpus(path, rows=ROWS):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def content(folder):
    """The bytes of every file of a run but the one that keeps times."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != TIMES)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def clean_runs(place, model):
    """Twelve rows as a file, and by verb what a run over them leaves that nothing has stopped."""
    corpus = write_corpus(place / "corpus.jsonl", TWELVE)
    found = {}
    for verb, options in VERBS.items():
        lignite.run(verb, data=corpus, model=model, out=place / verb, **options)
        found[verb] = content(place / verb)
    return corpus, found


def keep_lines(folder, most):
    """Cut a run's journal as if it had been stopped after so many shards; how many are left to compute."""
    journal = folder / "journal.jsonl"
    header, *lines, _ = journal.read_bytes().split(b"\n")
    journal.write_bytes(b"\n".join([header, *lines[:most], b""]))
    return len(lines) - most
