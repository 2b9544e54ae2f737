"""Examples are read as they were meant, and whatever is wrong with them is said in one line."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from lignite.data.columns import Columns
from lignite.data.examples import read_examples
from lignite.errors import FileError, InputError, OptionError

ROWS = [
    {"id": "a", "text": "A superb film.", "label": "positive", "rationale": [[2, 8]]},
    {"id": "b", "text": "Dull, dull, dull.", "label": "negative", "rationale": [[0, 4], [6, 10]]},
    {"id": "c", "text": "It runs.", "label": None, "rationale": []},
]
COLUMNS = Columns(label="label", rationale="rationale")


def as_json_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def as_zipped_json_lines(path, rows):
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


def as_json(path, rows):
    path.write_text(json.dumps(rows), "utf-8")
    return path


def as_table(path, rows, separator=","):
    flat = [row | {"rationale": json.dumps(row["rationale"])} for row in rows]
    pd.DataFrame(flat).to_csv(path, index=False, sep=separator)
    return path


def as_tabs(path, rows):
    return as_table(path, rows, "\t")


def as_parquet(path, rows):
    pytest.importorskip("pyarrow", reason="Parquet files need pyarrow")
    pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.mark.parametrize(
    ("ending", "write"),
    [
        ("jsonl", as_json_lines),
        ("jsonl.gz", as_zipped_json_lines),
        ("json", as_json),
        ("csv", as_table),
        ("tsv", as_tabs),
        ("parquet", as_parquet),
    ],
)
def test_every_format_gives_the_examples_of_the_list(tmp_path, ending, write):
    """What is measured does not depend on how the data set was stored."""
    path = write(tmp_path / f"data.{ending}", ROWS)

    read = read_examples(path, COLUMNS)

    assert read == read_examples(ROWS, COLUMNS)
    assert [example.rationale for example in read] == [((2, 8),), ((0, 4), (6, 10)), None]
    assert [example.label for example in read] == ["positive", "negative", None]


def test_a_data_frame_and_a_data_set_give_the_examples_of_the_list():
    """A data set of the `datasets` library is a sequence of mappings, and nothing more is asked of it."""

    class DataSet:
        column_names = ("id", "text", "label", "rationale")

        def __len__(self):
            return len(ROWS)

        def __getitem__(self, place):
            return ROWS[place]  # iteration ends with its IndexError

        def __iter__(self):
            return iter(ROWS)

    expected = read_examples(ROWS, COLUMNS)

    assert read_examples(pd.DataFrame(ROWS), COLUMNS) == expected
    assert read_examples(DataSet(), COLUMNS) == expected


def test_numbers_of_a_table_with_an_empty_cell_stay_whole():
    """Pandas turns a column of whole numbers with a hole into floats."""
    frame = pd.DataFrame({"text": ["one", "two"], "label": [1, None]})

    assert [example.label for example in read_examples(frame, Columns(label="label"))] == [1, None]


def test_texts_and_pairs_need_no_columns():
    """The shortest way to ask."""
    assert [example.input for example in read_examples(["one", "two"])] == ["one", "two"]
    assert read_examples([("a", "b")], Columns(pair="other"))[0].input == ("a", "b")


@pytest.mark.parametrize(
    ("rationale", "column"),
    [
        ([[4, 13]], "why"),
        ([{"start": 4, "end": 13}], "why"),
        ([(4, 8), (6, 13)], "why"),
        ([0, 1, 1, 0], "why"),
        ([False, True, True, False], "why"),
        (np.array([0, 1, 1, 0]), "why"),
        ([0, 1, 1, 0, 0], "why"),
        ("very good", "why"),
        (["very good"], "why"),
        ("[[4, 13]]", "why"),
        ([[1, 3]], "words:why"),
    ],
    ids=["spans", "named", "overlap", "flags", "booleans", "array", "signs", "string", "strings", "cell", "words"],
)
def test_evidence_reads_the_same_in_every_form(rationale, column):
    """`very good` in `Not very good though.`, by characters, words, words with the full stop apart, and as a string."""
    text = "Not very good though."

    (example,) = read_examples([{"text": text, "why": rationale}], Columns(rationale=column))

    assert [text[start:stop] for start, stop in example.rationale] == ["very good"]


def test_evidence_apart_stays_apart():
    """Span metrics count pieces of evidence: only what touches, or words side by side, are one."""
    (example,) = read_examples([{"text": "good bad good", "why": [1, 0, 1]}], Columns(rationale="why"))

    assert example.rationale == ((0, 4), (9, 13))


def test_signs_travel_with_their_spans():
    """A word counts as good or bad, whatever number says so; zero says neither."""
    rows = [{"text": "good bad film", "signs": [[5, 8, -2], [0, 4, 0.5], [9, 13, 0]]}]

    (example,) = read_examples(rows, Columns(polarity="signs"))

    assert example.polarity == ((0, 4, 1.0), (5, 8, -1.0))


def test_a_larger_limit_keeps_the_smaller_ones_examples():
    """Work finished on a sample is not thrown away when the sample grows."""
    texts = [str(number) for number in range(40)]

    few = [example.text for example in read_examples(texts, limit=5, seed=3)]
    more = [example.text for example in read_examples(texts, limit=9, seed=3)]
    other = [example.text for example in read_examples(texts, limit=5, seed=4)]

    assert set(few) < set(more)
    assert few == sorted(few, key=int)
    assert few != texts[:5]  # a data set sorted by class would give one class
    assert few != other


def test_the_key_is_the_content():
    """Finished work is found by it: the place in the file does not matter, the evidence does."""
    first, moved, changed = read_examples(
        [
            {"text": "A film.", "why": [[0, 1]]},
            {"text": "A film.", "why": [[0, 1]]},
            {"text": "A film.", "why": [[2, 6]]},
        ],
        Columns(rationale="why"),
    )

    assert first.key == moved.key != changed.key


@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        ([], {}, "holds no example"),
        ([{"sentence": "a"}], {}, "no column 'text', it has 'sentence'"),
        ([{"text": "a"}], {"label": "gold"}, "no column 'gold'"),
        ({"text": ["a"]}, {}, "one mapping"),
        (7, {}, "is a int"),
        ([3], {}, "example 1: is a int"),
        ([("a", "b")], {}, "pair='pair'"),
        ([{"text": 3}], {}, "holds a int"),
        ([{"text": "a", "gold": [1]}], {"label": "gold"}, "neither a name nor a whole number"),
        ([{"text": "a", "gold": 0.5}], {"label": "gold"}, "neither a name nor a whole number"),
        ([{"text": "ab", "why": [[0, 3]]}], {"rationale": "why"}, "does not fit a text of 2 characters"),
        ([{"text": "ab", "why": [[1, 1]]}], {"rationale": "why"}, "does not fit"),
        ([{"text": "ab", "why": [[-1, 1]]}], {"rationale": "why"}, "does not fit"),
        ([{"text": "ab", "why": [[0, 2]]}], {"rationale": "words:why"}, "does not fit a text of 1 words"),
        ([{"text": "a b", "why": [1, 0, 1]}], {"rationale": "why"}, "3 flags, the text 2 words"),
        ([{"text": "ab", "why": ["c"]}], {"rationale": "why"}, "'c' does not stand in the text"),
        ([{"text": "ab", "why": [[0, 1, 2]]}], {"rationale": "why"}, "reads \\[start, stop\\]"),
        ([{"text": "ab", "why": 5}], {"rationale": "why"}, "the rationale is a int"),
        ([{"text": "ab", "s": [[0, 1]]}], {"polarity": "s"}, "expected \\[start, stop, sign\\]"),
        ([{"text": "ab", "s": [[0, 9, 1]]}], {"polarity": "s"}, "does not fit"),
    ],
)
def test_a_wrong_example_is_named_in_one_line(source, options, said):
    """Before anything is computed."""
    with pytest.raises(InputError, match=said) as caught:
        read_examples(source, Columns(**options))

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("limit", [0, -1, True])
def test_a_limit_that_is_no_number_of_examples_is_refused(limit):
    """An empty sample measures nothing."""
    with pytest.raises(OptionError, match="limit="):
        read_examples(["a"], limit=limit)


@pytest.mark.parametrize("kept", [-1, -40, 0.5])
@pytest.mark.parametrize(
    ("ending", "write"),
    [("jsonl.gz", as_zipped_json_lines), ("json", as_json), ("parquet", as_parquet)],
)
def test_a_file_cut_in_half_is_refused(tmp_path, ending, write, kept):
    """Half a data set measures something else."""
    path = write(tmp_path / f"data.{ending}", ROWS)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept == 0.5 else kept])

    with pytest.raises(FileError, match=f"data.{ending}"):
        read_examples(path)


def test_a_line_cut_in_half_is_named(tmp_path):
    """JSON lines that end early are readable up to there, which nobody would notice."""
    path = as_json_lines(tmp_path / "data.jsonl", ROWS)
    path.write_bytes(path.read_bytes()[:-10])

    with pytest.raises(FileError, match="line 3: is cut off"):
        read_examples(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('text,label\n"a, b",1\nc', "line 3: has 1 fields, the header has 2"),
        ("text,label\na, b,1\n", "line 2: has 3 fields"),
        ('text,label\n"a', "line 2: is cut off or badly quoted"),
        ("text,text\na,b\n", "two columns are called 'text'"),
    ],
)
def test_a_table_that_does_not_add_up_is_refused(tmp_path, content, said):
    """A field that slipped into the next column would be measured as a text."""
    path = tmp_path / "data.csv"
    path.write_text(content)

    with pytest.raises(FileError, match=said):
        read_examples(path, Columns(label="label"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("data.txt", b"a", "names no known format"),
        ("data.jsonl", b'{"text": "\xff"}', "not UTF-8"),
        ("data.jsonl", b"{'text': 1}\n", "line 1: is no JSON"),
        ("data.json", b'{"text": "a"}', "expected a list"),
        ("data.csv.gz", b"text\na\n", "no gzip file"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, name, content, said):
    """The message says what to do about it."""
    (tmp_path / name).write_bytes(content)

    with pytest.raises(FileError, match=said):
        read_examples(tmp_path / name)


def test_a_file_that_is_not_there_is_named(tmp_path):
    """A text given where a path belongs is the likeliest reason."""
    with pytest.raises(FileError, match="no such file"):
        read_examples(tmp_path / "none.jsonl")
    with pytest.raises(FileError, match="no such file"):
        read_examples(tmp_path / "none.parquet")


def test_a_line_separator_inside_a_text_ends_no_line(tmp_path):
    """JSON allows U+2028 inside strings, and Python's splitlines would cut there."""
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"text": "a\u2028b"}, ensure_ascii=False) + "\n", "utf-8")

    assert read_examples(path)[0].text == "a\u2028b"


def test_a_text_that_is_missing_is_kept_to_be_counted():
    """Examples that cannot be explained are reported, never dropped on the way in."""
    frame = pd.DataFrame({"text": ["one", None]})

    assert [example.text for example in read_examples(frame)] == ["one", ""]
