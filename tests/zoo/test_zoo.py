"""The bundled models: small, safe to load, offline, and good enough to explain."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import lignite.zoo
from lignite.zoo import bundled

SST = Path(__file__).parents[3] / "shared" / "data" / "sst"

OBVIOUS = [
    ("A wonderful and moving film.", "positive"),
    ("I loved every minute of it.", "positive"),
    ("The acting is brilliant and the story is beautiful.", "positive"),
    ("Funny, charming and full of life.", "positive"),
    ("A dull and lifeless mess.", "negative"),
    ("I hated this stupid movie.", "negative"),
    ("The plot is predictable and the jokes are terrible.", "negative"),
    ("Boring, ugly and far too long.", "negative"),
]

DENIALS = [
    ("This movie is good.", "This movie is not good."),
    ("I like it.", "I don't like it."),
    ("It is funny.", "It isn't funny."),
    ("It was not boring.", "It was boring."),
]


@pytest.fixture(scope="module")
def classify():
    """Label and probability of being positive, from transformers alone."""
    folder = bundled()["tiny-sentiment"]
    model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)

    @torch.inference_mode()
    def run(texts: list[str]) -> tuple[list[str], list[float]]:
        batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        likely = model(**batch).logits.softmax(-1)
        return [model.config.id2label[label] for label in likely.argmax(-1).tolist()], likely[:, 1].tolist()

    return run


def test_obvious_opinions_get_their_label(classify):
    """A reader of an explanation must agree with the prediction that is explained."""
    texts, expected = zip(*OBVIOUS, strict=True)

    labels, _ = classify(list(texts))

    assert labels == list(expected)


@pytest.mark.parametrize(("kinder", "harsher"), DENIALS)
def test_a_denial_turns_the_prediction(classify, kinder, harsher):
    """A model that only counted words would leave attention nothing to explain."""
    labels, _ = classify([kinder, harsher])

    assert labels == ["positive", "negative"]


def test_the_order_of_words_matters(classify):
    """The same words in another order say another thing: only attention and positions can tell."""
    _, (kind, harsh) = classify(["not bad, but good", "not good, but bad"])

    assert kind > harsh


def test_weights_are_small_and_load_in_single_precision():
    """They travel in every wheel; attribution needs float32."""
    folder = bundled()["tiny-sentiment"]

    model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True)

    assert sum(file.stat().st_size for file in folder.iterdir()) <= 4 * 2**20
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_nothing_bundled_can_run_code_or_name_a_machine():
    """A pickle runs code when it is loaded; an absolute path would be the trainer's own."""
    known = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"}
    for folder in bundled().values():
        assert {file.name for file in folder.iterdir()} <= known
        for path in folder.glob("*config.json"):
            values = json.loads(path.read_text()).values()
            assert not [value for value in values if isinstance(value, str) and value.startswith("/")]


def test_listing_the_bundled_models_does_not_import_torch():
    """The command line names its models before it pays for torch; what the package around it imports is left out."""
    package = Path(lignite.zoo.__file__).parents[1]
    code = f"""
import sys, types
sys.modules["lignite"] = types.ModuleType("lignite")
sys.modules["lignite"].__path__ = [{str(package)!r}]
import lignite.zoo
print(*lignite.zoo.bundled(), "torch" in sys.modules)
"""

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "tiny-digits tiny-sentiment False"


def test_the_tokenizer_neither_cuts_nor_pads_unasked():
    """Both settings stick to a tokenizer that was once used with them, and are saved with it."""
    for path in [path for folder in bundled().values() for path in folder.glob("tokenizer.json")]:
        stored = json.loads(path.read_text())

        assert stored["truncation"] is None
        assert stored["padding"] is None


def test_tokens_point_back_into_the_text():
    """Views draw scores over characters, so offsets must cut the words out of the text."""
    tokenizer = AutoTokenizer.from_pretrained(bundled()["tiny-sentiment"], local_files_only=True)
    text = "Déjà vu: an UNWATCHABLE movie"

    read = tokenizer(text, return_offsets_mapping=True)

    words = [read.word_to_chars(number) for number in range(6)]
    assert [text[span.start : span.end] for span in words] == ["Déjà", "vu", ":", "an", "UNWATCHABLE", "movie"]


def test_capitals_change_nothing():
    """The vocabulary has lower-case letters alone: a capital that got through would read as unknown."""
    tokenizer = AutoTokenizer.from_pretrained(bundled()["tiny-sentiment"], local_files_only=True)

    loud, quiet = tokenizer("A GOOD film"), tokenizer("a good film")

    assert loud["input_ids"] == quiet["input_ids"]
    assert tokenizer.unk_token_id not in quiet["input_ids"]


@pytest.mark.shared
@pytest.mark.skipif(not SST.is_dir(), reason="the treebank is not beside the checkout (../shared/data/sst)")
def test_accuracy_on_sentences_it_never_saw(classify):
    """0.80 is what the model is held to; below it, explanations would mostly explain mistakes."""
    with gzip.open(SST / "dev.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["label"] is not None]

    labels, _ = classify([row["text"] for row in rows])

    right = sum((label == "positive") == bool(row["label"]) for label, row in zip(labels, rows, strict=True))
    assert right / len(rows) >= 0.80
