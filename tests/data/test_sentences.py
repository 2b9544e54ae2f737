"""Sentences of corpora: what is read from each way of writing, and what is said of those that are broken."""

import gzip
import re

import pytest

from lignite.data.sentences import LONGEST_WORD, read_sentences
from lignite.errors import FileError


def conllu(*rows: str) -> str:
    return "".join("\t".join([*row.split(), *"_" * (10 - len(row.split()))]) + "\n" for row in rows)


def written(tmp_path, name: str, content: str):
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    return path


@pytest.mark.parametrize("name", ["dev.conllu", "dev.conllu.gz"])
def test_words_and_dependencies_of_conllu(tmp_path, name):
    """Heads count from 0 here and from 1 there; what several words are written as is not a word of its own."""
    comments = "# sent_id = first\n# text = Don't go.\n"
    first = conllu(
        "1-2 Don't", "1 Do do AUX _ _ 3 aux", "2 n't not PART _ _ 3 advmod", "2.1 then", "3 go go VERB _ _ 0 root",
        "4 . . PUNCT _ _ 3 punct",
    )  # fmt: skip

    one, other = read_sentences(written(tmp_path, name, f"{comments}{first}\n{conllu('1 Go go VERB _ _ 0 root')}"))

    assert (one.number, one.id, one.text) == (0, "first", "Don't go.")
    assert one.words == ("Do", "n't", "go", ".")
    assert one.tags == ("AUX", "PART", "VERB", "PUNCT")
    assert one.heads == (2, 2, -1, 2)
    assert one.relations == ("aux", "advmod", "root", "punct")
    assert one.input == {"words": ["Do", "n't", "go", "."]}
    assert (other.number, other.id, other.words) == (1, f"{name}:10", ("Go",))


def test_a_corpus_without_dependencies_has_none(tmp_path):
    """Zeros would say that every word is a root."""
    (sentence,) = read_sentences(written(tmp_path, "a.conllu", conllu("1 Go go VERB", "2 on on ADV")))

    assert sentence.heads is None
    assert sentence.relations is None


def test_words_of_trees_in_brackets(tmp_path):
    """Traces were never written, and brackets of the text are escaped, since trees are made of them."""
    tree = (
        "( (S (NP-SBJ (-NONE- *) )\n  (VP (VB See) (NP (-LRB- -LRB-) (CD 1\\/2) (-RRB- -RRB-) )) (. .) ))\n(S (VB Go))"
    )

    one, other = read_sentences(written(tmp_path, "wsj.mrg", tree))

    assert one.words == ("See", "(", "1/2", ")", ".")
    assert one.tags == ("VB", "-LRB-", "CD", "-RRB-", ".")
    assert (other.number, other.id, other.words) == (1, "wsj.mrg:3", ("Go",))


def test_a_plain_line_is_a_sentence(tmp_path):
    """The tokenizer tells its words apart."""
    sentences = read_sentences(written(tmp_path, "a.txt", "One line.\n\n  Another one. \n"))

    assert [(each.number, each.id, each.input) for each in sentences] == [
        (0, "a.txt:1", "One line."),
        (1, "a.txt:3", "Another one."),
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.conllu", "1\tGo\n", "line 1: 2 columns between tabs"),
        ("a.conllu", conllu("1 Go", "3 on"), "line 2: word number '3', expected 2"),
        ("a.conllu", conllu("1 Go go VERB _ _ 7 root"), "depends on '7', none of its 1 words"),
        ("a.conllu", "# sent_id = empty\n\n", "line 1: a sentence without words"),
        ("a.mrg", "(S (VB Go)", "line 1: the tree that begins here is never closed"),
        ("a.mrg", "(S (VB Go)) )", "line 1: a bracket closes that was never opened"),
        ("a.mrg", "Go (S (VB Go))", "line 1: 'Go' stands outside"),
        ("a.mrg", "(S (-NONE- *))", "line 1: a sentence without words"),
        ("a.txt", "\n\n", "holds no sentence"),
        ("a.txt", f"One.\n{'a' * (LONGEST_WORD + 1)}", "line 2: a word of 1001 characters"),
        ("a.doc", "One.", "Known: .conllu"),
    ],
)
def test_a_broken_corpus_is_refused_with_its_line(tmp_path, name, content, said):
    """A corpus is found out before a model has worked for hours on it."""
    path = written(tmp_path, name, content)

    with pytest.raises(FileError, match=re.escape(said)):
        read_sentences(path)


@pytest.mark.parametrize("content", [gzip.compress(b"One line.", mtime=0)[:-9], b"\x1f\x8bno"], ids=["cut", "no gzip"])
def test_a_packed_corpus_that_was_cut_off_is_refused(tmp_path, content):
    """What came before the cut would pass for the whole."""
    path = tmp_path / "a.txt.gz"
    path.write_bytes(content)

    with pytest.raises(FileError, match="is cut off or no gzip file"):
        read_sentences(path)


def test_a_mark_inside_a_line_does_not_end_it(tmp_path):
    """Unicode's own separators of lines are letters to a treebank, whose lines end as files' lines do."""
    found = read_sentences(written(tmp_path, "a.txt", "One\u2028line\x85here.\r\nAnother.\rA third.\n"))

    assert [sentence.text for sentence in found] == ["One\u2028line\x85here.", "Another.", "A third."]


def test_a_corpus_in_another_encoding_is_refused(tmp_path):
    """Wrong letters are wrong tokens."""
    path = tmp_path / "a.txt"
    path.write_bytes("naïve".encode("latin-1"))

    with pytest.raises(FileError, match="not UTF-8"):
        read_sentences(path)
