"""A corpus is summed up by arithmetic that anybody can repeat on a few rows."""

from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image
from tests.kit.command_line import run

import lignite
from lignite.errors import OptionError
from lignite.views.corpus.explanations import find_turned, layers_of, rank_words, report_explanations, words_of
from lignite.views.corpus.flows import measure_flow, report_flows
from lignite.views.corpus.page import report_corpus

EXAMPLES = pd.DataFrame(
    {
        "id": ["a", "b"], "text": ["Good good film", "Film."], "target": ["positive", "positive"],
        "prediction": ["positive", "positive"], "logit": [[-1.0, 1.0], [0.0, 0.5]],
    }
)  # fmt: skip
TOKENS = pd.DataFrame(
    {
        "example": [0, 0, 0, 0, 0, 1, 1],
        "token": ["[CLS]", "good", "go", "##od", "film", "film", "."],
        "word": [-1, 0, 1, 1, 2, 0, 1],
        "special": [True, False, False, False, False, False, False],
        "start": [-1, 0, 5, 7, 10, 0, 4],
        "stop": [-1, 4, 7, 9, 14, 4, 5],
        "relevance": [9.0, 1.0, 0.5, 0.75, -0.25, 0.75, 3.0],
        "layer_relevance": [[3.0, 0.0], [1.0, 1.0], [-1.0, 1.0], [1.0, 0.0], [0.0, 2.0], [1.0, 0.0], [1.0, -4.0]],
    }
)


def test_a_word_is_all_its_pieces_and_places_in_a_text():
    """Both spellings of one word add up; special tokens and full stops are no words."""
    words = words_of(TOKENS, EXAMPLES)

    assert [tuple(row) for row in words[["example", "word", "relevance"]].itertuples(index=False)] == [
        (0, "film", -0.25), (0, "good", 2.25), (1, "film", 0.75)
    ]  # fmt: skip


def test_words_are_ranked_by_their_mean_over_texts():
    """A text counts once, however often it says a word."""
    ranked = rank_words(words_of(TOKENS, EXAMPLES))

    assert ranked[["class", "word", "mean", "n"]].to_numpy().tolist() == [
        ["positive", "good", 2.25, 1], ["positive", "film", 0.25, 2]
    ]  # fmt: skip


def test_a_word_turned_the_decision_where_it_is_more_than_the_margin():
    """2.25 of 2 turned it, 0.75 of 0.5 as well and by the same; of a class that was not predicted nothing is said."""
    words = words_of(TOKENS, EXAMPLES)

    turned = find_turned(words, EXAMPLES.assign(logit=[[-1.0, 1.0], [0.0, 0.625]]))
    other = find_turned(words, EXAMPLES.assign(target="negative"))

    assert turned[["id", "word", "margin"]].to_numpy().tolist() == [["a", "good", 2.0], ["b", "film", 0.625]]
    assert len(find_turned(words, EXAMPLES.assign(logit=[[-2.0, 1.0], [0.0, 0.5]]))) == 1
    assert other.empty


def test_relevance_of_a_layer_is_its_magnitude_and_what_special_tokens_hold():
    """Of opposite signs nothing cancels."""
    found = layers_of(TOKENS).set_index(["measure", "layer"])["mean"]

    assert found["size"].tolist() == [(6 + 2) / 2, (4 + 4) / 2]
    assert found["special"].tolist() == [(3 / 6 + 0) / 2, 0]


def test_what_all_give_alike_comes_from_where_they_stand():
    """Three tokens that give one each: a third from itself, four ninths from neighbours, the rest from two away."""
    coords = {
        "layer": [4],
        "target": [0, 1, 2],
        "source": [0, 1, 2],
        "source_special": ("source", [True, False, False]),
    }
    flow = xr.Dataset({"whole": (("layer", "target", "source"), -np.ones((1, 3, 3)))}, coords)
    measures = defaultdict(list)

    measure_flow(flow, measures)

    found = {key: values[0] for key, values in measures.items() if values[0]}
    assert found == pytest.approx(
        {
            ("size", "whole", "", "4"): 3.0,
            ("special", "whole", "", "4"): 1 / 3,
            ("distance", "whole", "0", "4"): 1 / 3,
            ("distance", "whole", "1", "4"): 4 / 9,
            ("distance", "whole", "2", "4"): 2 / 9,
        }
    )


def test_heads_are_measured_each_and_all_together():
    """Head 0 gives one to each of two targets, head 1 gives them 6 and 2; then the heads together."""
    coords = {
        "layer": [0], "head": [0, 1], "target": [0, 1], "source": [0, 1, 2],
        "source_special": ("source", [True, False, False]),
    }  # fmt: skip
    scores = np.array([[[[1.0, 0.0, 0.0], [0.0, -1.0, 0.0]], [[4.0, -2.0, 0.0], [0.0, 2.0, 0.0]]]])
    flow = xr.Dataset({"attention": (("layer", "head", "target", "source"), scores)}, coords)
    measures = defaultdict(list)

    measure_flow(flow, measures)

    found = {key: values[0] for key, values in measures.items() if values[0]}
    assert found == pytest.approx(
        {
            ("head", "attention", "0", "0"): (1 + 1) / 2,
            ("head", "attention", "1", "0"): (6 + 2) / 2,
            ("size", "attention", "", "0"): (7 + 3) / 2,
            ("special", "attention", "", "0"): (5 / 7 + 0) / 2,
            ("distance", "attention", "0", "0"): (5 / 7 + 1) / 2,
            ("distance", "attention", "1", "0"): (2 / 7 + 0) / 2,
        }
    )


def test_flows_of_the_strongest_sources_are_summed_up_with_what_they_leave_out():
    """What a target receives is all of it; shares are those of kept sources, and how much these are is told."""
    model, text, most = lignite.load("tiny-sentiment"), "The plot was thin, but the acting was superb.", 3
    full, kept = (lignite.flow(model, text, layers=[1], keep=keep) for keep in ("full", f"top:{most}"))
    expected, found = defaultdict(list), defaultdict(list)

    measure_flow(full, expected)
    measure_flow(kept, found)

    for key, (value,) in expected.items():
        if key[0] in ("size", "head"):
            assert found[key] == pytest.approx([value], rel=1e-5)  # float32 sums in two orders
    scores = abs(full.whole.isel(layer=0).values.astype(float))
    strongest = np.sort(scores, axis=1)[:, -most:].sum(1)
    assert found["kept", "whole", "", "1"] == pytest.approx([float((strongest / scores.sum(1)).mean())], rel=1e-5)
    beside = abs(full.target.values[:, None] - full.source.values) == 1
    near = scores * beside * (scores >= np.sort(scores, axis=1)[:, [-most]])
    assert found["distance", "whole", "1", "1"] == pytest.approx(
        [float((near.sum(1) / scores.sum(1)).mean())], rel=1e-5
    )
    assert not any(key[0] == "kept" for key in expected)


def test_a_summary_says_what_the_kept_sources_leave_out(tmp_path):
    """On the page and in the terminal, for every map; flows of statistics alone are refused."""
    texts = ["The plot was thin.", "A superb film."]
    for keep in ("top:2", "stats"):
        lignite.run("flow", data=texts, model="tiny-sentiment", out=tmp_path / keep, maps="whole", keep=keep)

    report, _ = report_corpus(tmp_path / "top:2")

    (line,) = (line for line in report.findings if "were kept" in line)
    shares = report.tables["layers"].frame.query("measure == 'kept'")["mean"]
    assert f"give {shares.min():.2f} to {shares.max():.2f} of what is received" in line
    with pytest.raises(OptionError, match=r"keep='stats'.*every source"):
        report_corpus(tmp_path / "stats")


def test_words_of_a_treebank_are_summed_up_by_their_part_of_speech(tmp_path):
    """Kept with every flow, for each piece of a word; the shares of all and of special tokens make one."""
    rows = [("1", "Superb", "ADJ"), ("2", "unsentimentality", "NOUN"), ("3", "ends", "VERB")]
    (tmp_path / "c.conllu").write_text(
        "# sent_id = a\n" + "".join("\t".join([n, word, "_", tag, *"_" * 6]) + "\n" for n, word, tag in rows) + "\n"
    )
    found = lignite.run(
        "flow", data=tmp_path / "c.conllu", model="tiny-sentiment", out=tmp_path / "out", maps="whole", layers=[0]
    )
    flow = found["00000000"].to_dataset()
    measures = defaultdict(list)

    measure_flow(flow, measures)

    tags = dict(zip(flow.source_token.values, flow.source_tag.values, strict=True))
    assert (tags["[CLS]"], tags["superb"], tags["ends"], tags["[SEP]"]) == ("", "ADJ", "VERB", "")
    assert list(flow.source_tag.values).count("NOUN") > 1
    shares = {key[2]: values[0] for key, values in measures.items() if key[0] == "part of speech"}
    assert list(shares) == ["ADJ", "NOUN", "VERB"]
    assert sum(shares.values()) + measures["special", "whole", "", "0"][0] == pytest.approx(1)
    given = abs(flow.whole.isel(layer=0)) / abs(flow.whole.isel(layer=0)).sum("source")
    assert shares["VERB"] == pytest.approx(float(given.where(flow.source_token == "ends").sum("source").mean()))
    report = report_flows(found, 1, {})
    assert set(report.tables["tags"].frame["part of speech"]) == {"ADJ", "NOUN", "VERB"}
    assert "part of speech" not in report.tables["layers"].frame
    assert any("words that are" in line for line in report.findings)


@pytest.mark.parametrize("verb", ["explain", "flow"])
def test_a_folder_is_printed_and_becomes_a_page(tmp_path, plain_terminal, verb):
    """By the command that opens everything else; a hostile text stays a text."""
    (tmp_path / "c.jsonl").write_text('{"text": "A superb <script>alert(1)</script> film."}\n{"text": ""}\n')
    options = {"explain": ("--method", "gradient-x-input"), "flow": ("--maps", "attention", "--layers", "0")}[verb]
    ran = run("run", verb, "--data", tmp_path / "c.jsonl", *options, "-o", tmp_path / "out")

    seen = run("view", tmp_path / "out", "-o", tmp_path / "page.html")

    assert (ran.exit_code, seen.exit_code) == (0, 0), ran.output + seen.output
    assert "1 row failed; the first: the text is empty" in seen.output
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "<script>alert(1)" not in page
    assert "the text is empty" in page


@pytest.fixture
def folder(tmp_path):
    lignite.run("flow", data=["A superb film."], model="tiny-sentiment", out=tmp_path / "out", maps="whole", layers=0)
    return tmp_path / "out"


@pytest.mark.parametrize("option", [("--top", 3), ("--layers", 0), ("--map", "whole"), ("--tokens",), ("--smooth",)])
def test_what_is_shown_of_one_result_is_not_asked_of_a_folder(folder, plain_terminal, option):
    """An option that does nothing is refused."""
    found = run("view", folder, *option)

    assert found.exit_code == 2
    assert f"{option[0]}" in found.output
    assert "summed up as a whole" in found.output


@pytest.mark.parametrize("keep", [False, True])
def test_the_page_of_a_folder_is_opened(folder, tmp_path, opened_pages, keep):
    """The one that was written, or one beside nothing."""
    run("view", folder, "--open", *(["-o", tmp_path / "mine.html"] if keep else []))

    (path,) = opened_pages
    assert "What do the flows say together?" in path.read_text("utf-8")
    assert (path == (tmp_path / "mine.html").resolve()) == keep


def test_a_folder_of_something_else_is_named(tmp_path, plain_terminal):
    """One line, and what to do."""
    found = run("view", tmp_path)

    assert found.exit_code == 1
    assert "without manifest.json" in found.output


def test_explanations_of_pictures_are_summed_up_without_words(tmp_path, plain_terminal):
    """They have none: layers, tolerances and failures are said all the same."""
    for name in ("0", "1"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32), (90, 40, 200)).save(tmp_path / "pictures" / name / "a.png")
    (tmp_path / "pictures" / "1" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0nothing")
    ran = run(
        "run", "explain", "--data", tmp_path / "pictures", "--model", "tiny-digits", "--method", "ca-lig",
        "-o", tmp_path / "out",
    )  # fmt: skip

    seen = run("view", tmp_path / "out", "-o", tmp_path / "page.html")

    assert (ran.exit_code, seen.exit_code) == (0, 0), ran.output + seen.output
    assert "2 explanations by ca-lig, of 3 rows." in seen.output
    assert "0 of 2 explanations miss more than their tolerance." in seen.output
    assert "1 row failed; the first: " in seen.output
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "Layers" in page
    assert "Words" not in page


def test_nobody_is_said_to_keep_a_tolerance_that_no_method_promised(tmp_path):
    """Gradients times input add up to nothing in particular."""
    found = lignite.run(
        "explain", data=["A superb film."], model="tiny-sentiment", out=tmp_path / "out", method="gradient-x-input"
    )

    findings = report_explanations(found).findings

    assert "This method promises no sum, so nothing tells whether parts are missing." in findings
    assert not any("tolerance" in line for line in findings)
