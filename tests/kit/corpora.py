"""A small corpus, runs over it, and what they leave in their folder."""

import json

ROWS = [
    {"id": "a", "text": "A superb film."},
    {"id": "b", "text": "Dull and long, but honest."},
    {"id": "empty", "text": ""},
    {"id": "c", "text": "Not bad at all!"},
    {"id": "d", "text": "Great."},
    {"id": "e", "text": "What a waste of time, really."},
]
TIMES = "log.jsonl"


def write_corpus(path, rows=ROWS):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def content(folder):
    """The bytes of every file of a run but the one that keeps times."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != TIMES)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
