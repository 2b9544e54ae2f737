"""A corpus goes through row by row: what is found is what one text would give, and no row brings another down."""

import json

import numpy as np
import pandas as pd
import pyarrow
import pytest
from PIL import Image
from tests.kit.corpora import ROWS, content, write_corpus

import lignite
from lignite.api.run_teller import Teller
from lignite.api.shards import Timing
from lignite.data.columns import Columns, InputColumns
from lignite.data.corpus import read_entries, shards_of
from lignite.errors import FileError, InputError, OptionError
from lignite.inputs.pictures import read_image
from lignite.runs.unit import Done, Unit

pytestmark = pytest.mark.filterwarnings("ignore:.*rows failed:lignite.errors.LigniteWarning")

METHOD = "gradient-x-input"


@pytest.fixture(scope="module")
def model():
    return lignite.load("tiny-sentiment")


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "corpus.jsonl")


@pytest.mark.parametrize("method", ["relevance-flow", "ca-lig:detail=heads", "occlusion"])
def test_every_explanation_comes_back_as_it_was(model, tmp_path, method):
    """Layers, pairs of tokens, classes, attributes and types: what a view needs is in the tables."""
    texts = ["Dull and long, but honest.", "A superb film."]

    found = lignite.run("explain", data=texts, model=model, out=tmp_path / "out", method=method, shard=1)

    for text, each in zip(texts, found, strict=True):
        assert each.identical(lignite.explain(model, text, method=method))


def test_pairs_and_pictures_come_back_as_they_were(tmp_path):
    """A picture is bytes in a cell; labels of patches are columns."""
    digits = lignite.load("tiny-digits")
    from lignite.zoo.samples import digit_scene

    image = digit_scene().image

    found = lignite.run("explain", data=[{"image": image}], model=digits, out=tmp_path / "out", method=METHOD)

    assert found[0].identical(lignite.explain(digits, image, method=METHOD))


def test_a_row_that_fails_is_kept_with_its_reason(model, corpus, tmp_path):
    """Empty text, no such column, a broken line: all others have what they would have alone."""
    lines = corpus.read_text("utf-8").splitlines()
    corpus.write_text(
        "\n".join([*lines[:2], '{"id": "cut', '{"id": "none"}', '{"id": "number", "text": 5}', *lines[2:]])
    )

    with pytest.warns(UserWarning, match="4 of 9 rows failed; the column failure"):
        found = lignite.run("explain", data=corpus, model=model, out=tmp_path / "out", method=METHOD, shard=4)

    reasons = found.examples.set_index("id")["failure"].dropna()
    assert list(reasons.index) == [f"{corpus}, line 3", "none", "number", "empty"]
    assert "is no JSON" in reasons.iloc[0]
    assert "has no column 'text'" in reasons["none"]
    assert "--text" in reasons["none"]
    assert len(found) == len(ROWS) - 1
    assert found.tokens["example"].nunique() == len(ROWS) - 1


def test_a_row_that_raises_brings_no_other_down(model, tmp_path, monkeypatch):
    """Not only errors on purpose: whatever torch says about one row is said of that row."""
    from lignite.api import requests

    def explain(model, inputs, **options):
        if "Great." in inputs:
            raise RuntimeError("the device does not like it")
        return lignite.explain(model, inputs, **options)

    monkeypatch.setattr(requests, "explain", explain)
    texts = [row["text"] for row in ROWS if row["text"]]

    found = lignite.run("explain", data=texts, model=model, out=tmp_path / "out", method=METHOD)

    failures = found.examples["failure"]
    assert failures.dropna().tolist() == ["RuntimeError: the device does not like it"]
    assert found.examples["text"][failures.notna()].tolist() == ["Great."]
    assert len(found) == len(texts) - 1


def test_what_cannot_work_ends_before_the_work(model, corpus, tmp_path):
    """A class that the model does not have would fail every row of a million."""
    with pytest.raises(OptionError, match="excellent"):
        lignite.run("explain", data=corpus, model=model, out=tmp_path / "a", target="excellent")
    with pytest.raises(InputError, match="no row of 6 can be read"):
        lignite.run("explain", data=corpus, model=model, out=tmp_path / "b", text="review")
    with pytest.raises(OptionError, match="function"):
        lignite.run("explain", data=corpus, model=model, out=tmp_path / "c", target=lambda output: output.logits[:, 0])


def test_a_finished_run_computes_nothing_again(model, corpus, tmp_path, monkeypatch):
    """The same command, once more: not a byte moves."""
    options = {"data": corpus, "model": model, "out": tmp_path / "out", "method": METHOD, "shard": 2}
    lignite.run("explain", **options)
    before = content(tmp_path / "out")
    monkeypatch.setattr("lignite.api.requests.explain", None)

    lignite.run("explain", **options)

    assert content(tmp_path / "out") == before


def test_other_settings_are_refused(model, corpus, tmp_path):
    """Numbers of another request, model or corpus would stand among the others unseen."""
    options = {"data": corpus, "model": model, "out": tmp_path / "out", "method": METHOD, "shard": 2}
    lignite.run("explain", **options)

    with pytest.raises(FileError, match=r'was begun with request\.method="gradient-x-input", this run has "saliency"'):
        lignite.run("explain", **options | {"method": "saliency"})
    with pytest.raises(FileError, match="was begun with shard=2"):
        lignite.run("explain", **options | {"shard": 3})
    write_corpus(corpus, ROWS[:-1])
    with pytest.raises(FileError, match="was begun with "):
        lignite.run("explain", **options)


def test_a_command_that_was_refused_leaves_its_folder_to_the_next(model, corpus, tmp_path):
    """A class that there is none of, then the right one; what a stopped run left of another verb is gone."""
    with pytest.raises(OptionError, match="none of this model's classes"):
        lignite.run("explain", data=corpus, model=model, out=tmp_path / "out", method=METHOD, target="superb")
    (tmp_path / "out" / "examples" / "000009.parquet").write_bytes(b"of a shard that the journal does not know")

    lignite.run("flow", data=corpus, model=model, out=tmp_path / "out", maps="whole", layers=0, shard=3)

    lignite.run("flow", data=corpus, model=model, out=tmp_path / "clean", maps="whole", layers=0, shard=3)
    assert content(tmp_path / "out") == content(tmp_path / "clean")


def test_a_size_of_memory_is_the_same_however_it_is_written(model, corpus, tmp_path):
    """A wrong one is refused before there is a folder."""
    options = {"data": corpus, "model": model, "out": tmp_path / "out", "method": METHOD}
    with pytest.raises(OptionError, match="memory='lots' is not a size"):
        lignite.run("explain", **options, memory="lots")
    assert not (tmp_path / "out").exists()

    lignite.run("explain", **options, memory="64 MiB")
    before = content(tmp_path / "out")
    lignite.run("explain", **options, memory=2**26)

    assert content(tmp_path / "out") == before


def test_rows_that_cannot_be_explained_may_come_first(model, tmp_path):
    """Nine that are too long, then one that is not: the shortest is tried first."""
    texts = ["superb " * 300] * 9 + ["A superb film."]

    found = lignite.run("explain", data=texts, model=model, out=tmp_path / "out", method=METHOD)

    assert found.numbers == [9]


def test_the_time_left_is_that_of_all_workers_and_of_longer_texts(tmp_path):
    """5 s for 10 characters of 100: half a minute of work is left to two, who are both at it since then."""
    said = []
    teller = Teller(tmp_path / "log.jsonl", said.append, {"000000": 10, "000001": 30, "000002": 60}, workers=2)
    done = Done({"000000": {"rows": 2, "failures": 0}}, (Timing(2, 5, 5.0, "a"),))

    teller.tell(Unit(("000000",), lambda *_: done, size=2), done)

    assert said == ["after the first shard: about 20.0 s left"]  # 50 s of work, half of it each, less 5 s


def test_an_ending_that_nobody_reads_is_answered_with_all_that_are(tmp_path):
    """Sentences, too; capitals are no other ending; and a name that is no file is not blamed for its ending."""
    (tmp_path / "texts.md").write_text("A superb film.\n")
    (tmp_path / "TEXTS.TXT").write_text("A superb film.\n")

    with pytest.raises(FileError, match=r"\.jsonl, .*\.conllu, .*\.txt"):
        read_entries(tmp_path / "texts.md", InputColumns())
    with pytest.raises(FileError, match="no such file"):
        read_entries("A superb film.", InputColumns())
    assert [entry.text for entry in read_entries(tmp_path / "TEXTS.TXT", InputColumns())] == ["A superb film."]


def test_a_folder_of_something_else_is_left_alone(model, tmp_path):
    """Somebody's pictures do not become a run."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.txt").write_text("mine")

    with pytest.raises(FileError, match="holds files, but none of a run"):
        lignite.run("explain", data=["A film."], model=model, out=tmp_path / "pictures")
    with pytest.raises(FileError, match=r"without manifest\.json"):
        lignite.open(tmp_path / "pictures")


def test_shards_are_fixed_by_the_corpus_and_hold_rows_of_like_lengths():
    """Every row in one shard, none too wide for its bound, and a long row by itself."""
    texts = [("x" * (37 * number % 50)) + "." for number in range(100)] + ["y" * 500]
    entries = read_entries(texts, InputColumns())

    shards = shards_of(entries, 8, 300)

    assert sorted(entry.number for shard in shards for entry in shard) == list(range(101))
    assert max(map(len, shards)) == 8
    assert all(len(shard) * max(len(entry.text) for entry in shard) <= 300 for shard in shards if len(shard) > 1)
    assert [len(shard) for shard in shards if shard[-1].number == 100] == [1]


def write_saved(folder, rows):
    """A folder as datasets writes it: a list of files in Arrow's stream format."""
    folder.mkdir()
    names = []
    for number in range(2):
        table = pyarrow.Table.from_pylist(rows[number * 3 : number * 3 + 3])
        names.append(f"data-0000{number}-of-00002.arrow")
        with pyarrow.OSFile(str(folder / names[-1]), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as out:
            out.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    return folder


def test_every_kind_of_file_holds_the_same_corpus(tmp_path):
    """One corpus in seven forms: the same rows go in."""
    frame = pd.DataFrame(ROWS)
    frame.to_csv(tmp_path / "c.csv", index=False)
    frame.to_csv(tmp_path / "c.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "c.parquet")
    (tmp_path / "c.txt").write_text("\n".join(row["text"] for row in ROWS))
    (tmp_path / "c.conllu").write_text(
        "# sent_id = a\n" + "\n".join(f"{n}\t{w}" + "\t_" * 8 for n, w in enumerate(("A", "film"), 1)) + "\n\n"
    )
    sources = [write_corpus(tmp_path / "c.jsonl"), tmp_path / "c.csv", tmp_path / "c.tsv", tmp_path / "c.parquet"]
    sources += [write_saved(tmp_path / "saved", ROWS), frame, ROWS]

    read = [[(entry.id, entry.input) for entry in read_entries(source, InputColumns())] for source in sources]

    assert read == [[(row["id"], row["text"]) for row in ROWS]] * 7
    assert [entry.input for entry in read_entries(tmp_path / "c.txt", InputColumns())] == [
        row["text"] for row in ROWS if row["text"]
    ]
    assert read_entries(tmp_path / "c.conllu", InputColumns())[0].input == {"words": ["A", "film"]}


def test_images_come_from_folders_lists_and_tables(tmp_path):
    """The same pictures, whether they stand in files, below folders of classes, or as bytes in a table."""
    names = ["x/b.png", "y/a.png"]
    for number, name in enumerate(names):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True)
        Image.new("RGB", (4, 5), (number, 50, 60)).save(path)
    paths = [tmp_path / "photos" / name for name in names]
    stored = [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
    rows = [{"id": name, "image": cell, "label": name[0]} for name, cell in zip(names, stored, strict=True)]
    (tmp_path / "tables").mkdir()
    for number, row in enumerate(rows):
        pd.DataFrame([row]).to_parquet(tmp_path / "tables" / f"part-{number}.parquet")
    listed = [{"id": name, "image": f"photos/{name}", "label": name[0]} for name in names]
    plain = [row | {"image": row["image"]["bytes"]} for row in rows]
    sources = [tmp_path / "photos", write_corpus(tmp_path / "c.jsonl", listed), write_saved(tmp_path / "saved", rows)]
    sources += [tmp_path / "tables", plain]

    found = [read_entries(source, Columns(label="label"), images=True) for source in sources]

    for entries in found:
        assert [(entry.id, entry.example.label) for entry in entries] == [(name, name[0]) for name in names]
        assert [np.asarray(read_image(entry.input))[0, 0].tolist() for entry in entries] == [[0, 50, 60], [1, 50, 60]]


def test_bytes_that_are_no_image_refuse_their_row_alone(tmp_path):
    """Cut in half, empty, or something else: what can be seen at once is told at once."""
    Image.new("RGB", (4, 5)).save(tmp_path / "a.png")
    good = (tmp_path / "a.png").read_bytes()
    rows = [{"image": cell} for cell in (good, b"", b"text", {"bytes": None, "path": None})]

    reasons = [entry.failure for entry in read_entries(rows, InputColumns(), images=True)]

    assert reasons[0] == ""
    assert "is empty" in reasons[1]
    assert "is no image" in reasons[2]
    assert "neither the bytes nor the path" in reasons[3]


def test_a_table_is_what_spreadsheets_expect(model, corpus, tmp_path):
    """The numbers that one asks for first have columns of their own."""
    lignite.run("explain", data=corpus, model=model, out=tmp_path / "out", method="ig", shard=2)

    examples = pd.read_parquet(tmp_path / "out" / "examples").set_index("id")
    tokens = pd.read_parquet(tmp_path / "out" / "tokens")

    row, alone = examples.loc["a"], lignite.explain(model, ROWS[0]["text"], method="ig")
    sums = tokens.groupby("example")["relevance"].sum()
    assert row["prediction"] == row["target"] == "positive"
    assert row["value"] - row["start_value"] == pytest.approx(float(alone.total_displacement), rel=1e-4)
    assert row["probability_of_prediction"] == pytest.approx(float(alone.probability.max()), rel=1e-5)
    assert sums[row["example"]] == pytest.approx(float(alone.relevance.sum()), rel=1e-4)
    assert bool(row["within_tolerance"])
