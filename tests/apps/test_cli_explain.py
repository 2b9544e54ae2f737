"""`lignite explain`, and `lignite view` of what it saved: one library, two ways in."""

import json
import re

import numpy as np
import pytest
import torch
import xarray as xr
from tests.kit.command_line import run
from tests.kit.tiny_tokenizers import byte_level
from transformers import GPT2Config, GPT2LMHeadModel

import lignite
from lignite.apps.commands.explain import EXAMPLES
from lignite.apps.shared import Loading
from lignite.methods import METHODS
from lignite.targets.target import Target

TEXT = "A superb film."
pytestmark = pytest.mark.usefixtures("plain_terminal")

QUICK = ("--method", "gradient-x-input")


@pytest.fixture(scope="module")
def model():
    return lignite.load("tiny-sentiment")


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "why.nc"
    lignite.save(lignite.explain(model, TEXT), path)
    return path


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """A folder with a small language model of random weights."""
    torch.manual_seed(0)
    tokenizer = byte_level()
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0
    )
    folder = tmp_path_factory.mktemp("writer")
    GPT2LMHeadModel(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def asked(path) -> dict:
    return json.loads(lignite.open(path).attrs["target"])


# What is computed


@pytest.mark.parametrize(
    ("typed", "given_in_python"),
    [
        ([], {}),
        (
            ["--method=ca-lig", "--target", "negative", "--baseline", "zero,pad", "--path", "layer", "--fusion", "0.5"],
            {"method": "ca-lig", "target": "negative", "baseline": ("zero", "pad"), "path": "layer", "fusion": 0.5},
        ),
        (
            ["--method=ca-lig", "--layer-weights", "1,0,0,1", "--replace-special", "--tol", "0.01", "--n-steps", "8"],
            {
                "method": "ca-lig", "layer_weights": (1.0, 0.0, 0.0, 1.0), "keep_special": False, "tol": 0.01,
                "n_steps": 8,
            },
        ),
        (["--method", "random", "--seed", "7"], {"method": "random", "seed": 7}),
        (["--method", "relevance-flow", "--detail", "heads"], {"method": "relevance-flow", "detail": "heads"}),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Scores miss")  # the numbers are compared, not their gaps
def test_the_command_computes_what_the_function_computes(model, tmp_path, typed, given_in_python):
    """One library, two ways in."""
    path = tmp_path / "why.nc"

    result = run("explain", TEXT, *typed, "-q", "-o", path)

    assert result.exit_code == 0, result.stderr
    xr.testing.assert_identical(lignite.open(path), lignite.explain(model, TEXT, **given_in_python))


def test_every_field_of_a_target_is_on_the_command_line(tmp_path, monkeypatch):
    """Whatever can be asked in Python can be asked here."""
    heard = {}

    def listen(model, inputs, *, target, **options):
        heard["target"] = target
        return []

    monkeypatch.setattr("lignite.api.explain.explain", listen)

    run("explain", TEXT, "--target", "3", "--against", "b", "--token", "-1", "--part", "end")
    given = heard["target"]
    run("explain", TEXT, "--steps", "4")

    assert given == Target(label="3", against="b", token=-1, part="end")
    assert heard["target"] == Target(steps=4)


def test_a_difference_of_logits_can_be_asked_for(tmp_path):
    """Two classes against each other."""
    path = tmp_path / "why.nc"

    run("explain", TEXT, *QUICK, "--target", "positive", "--against", "negative", "-q", "-o", path)

    result = lignite.open(path)
    logit = dict(zip(result["class"].values.tolist(), result.logit.values.tolist(), strict=True))
    assert result.value == pytest.approx(logit["positive"] - logit["negative"], rel=1e-5)  # float32


def test_a_pair_is_explained_as_a_pair(tmp_path):
    """Segments tell which text a token comes from."""
    path = tmp_path / "why.nc"

    result = run("explain", "A film.", "--pair", "A plot.", *QUICK, "-q", "-o", path)

    assert result.exit_code == 0, result.stderr
    assert set(lignite.open(path).segment.values.tolist()) == {-1, 0, 1}


def test_standard_input_is_one_text():
    """`echo … | lignite explain` says the same as `lignite explain …`."""
    assert run("explain", *QUICK, text=TEXT + "\n").stdout == run("explain", TEXT, *QUICK).stdout


# Language models


def test_a_next_token_is_explained(writer, tmp_path):
    """With a token of the vocabulary as target, at a place of the text."""
    path = tmp_path / "why.nc"

    result = run("explain", "hin it", "--model", writer, *QUICK, "--target", " it", "--token", "0", "-q", "-o", path)

    assert result.exit_code == 0, result.stderr
    target = asked(path)
    assert (target["kind"], target["token"]) == ("next", 0)
    assert "' it'" in target["name"]
    np.testing.assert_array_equal(lignite.open(path).relevance[1:], 0)  # a token after the place cannot speak


def test_every_step_of_a_continuation_is_explained(writer, tmp_path):
    """One page, a numbered file for each, and a table of sources by what the model goes on with."""
    result = run(
        "explain",
        "hin it",
        "--model",
        writer,
        *QUICK,
        "--steps",
        "3",
        "-o",
        tmp_path / "s.html",
        "-o",
        tmp_path / "s.nc",
    )

    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s-1.nc", "s-2.nc", "s-3.nc", "s.html"]
    lengths = [lignite.open(tmp_path / f"s-{step}.nc").sizes["token"] for step in (1, 2, 3)]
    assert lengths == [lengths[0], lengths[0] + 1, lengths[0] + 2]
    first = lignite.open(tmp_path / "s-1.nc").prediction
    assert result.stdout.startswith(f"The model goes on with {first} ")


# What is written


def test_the_ending_picks_the_format(tmp_path):
    """One run, every format."""
    marks = {"nc": b"\x89HDF", "json": b"{", "png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml", "html": b"<!doctype"}
    paths = {ending: tmp_path / f"why.{ending}" for ending in marks}

    result = run("explain", TEXT, *QUICK, *(part for path in paths.values() for part in ("-o", path)))

    assert result.exit_code == 0, result.stderr
    for ending, mark in marks.items():
        assert paths[ending].read_bytes()[: len(mark)].lower() == mark.lower(), ending
    xr.testing.assert_identical(lignite.open(paths["nc"]), lignite.open(paths["json"]))
    assert result.stderr.splitlines() == [f"wrote {path}" for path in paths.values()]


def test_lines_of_a_file_share_a_page_and_have_files_of_their_own(tmp_path):
    """To compare on one page, to read one by one."""
    lines = tmp_path / "lines.txt"
    lines.write_text("A film.\n\nA plot, too.\n")

    result = run(
        "explain",
        "--file",
        lines,
        *QUICK,
        "-o",
        tmp_path / "why.html",
        "-o",
        tmp_path / "why.json",
        "-o",
        tmp_path / "why.svg",
    )

    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in tmp_path.glob("why*")) == ["why-1.json", "why-2.json", "why.html", "why.svg"]
    assert all(f">{word}</text>" in (tmp_path / "why.svg").read_text() for word in ("film", "plot", "too"))
    assert [lignite.open(tmp_path / f"why-{number}.json").text for number in (1, 2)] == ["A film.", "A plot, too."]
    page = (tmp_path / "why.html").read_text()
    assert all(text in page for text in ("A film.", "A plot, too.", "2 explanations"))


def test_words_and_special_tokens_reach_picture_and_page(tmp_path):
    """What is shown is the same in every view."""
    text = "Unbelievably mesmerizing"  # several sub-words to the bundled model

    for name, options in {"words": ["--special", "hide"], "pieces": ["--tokens"]}.items():
        result = run(
            "explain", text, *QUICK, *options, "-q", "-o", tmp_path / f"{name}.svg", "-o", tmp_path / f"{name}.html"
        )
        assert result.exit_code == 0, result.stderr

    words, pieces = ((tmp_path / f"{name}.svg").read_text() for name in ("words", "pieces"))
    assert ">Unbelievably</text>" in words
    assert "[CLS]" not in words
    assert ">Unbelievably</text>" not in pieces
    assert "[CLS]" in pieces
    assert '"special": "hide"' in (tmp_path / "words.html").read_text()
    assert '"words": false' in (tmp_path / "pieces.html").read_text()


@pytest.mark.parametrize("ending", ["png", "html"])
def test_a_file_is_replaced_in_one_step_or_not_at_all(tmp_path, monkeypatch, saved, ending):
    """Whoever stops a run keeps the file of the last one, and finds no debris."""
    path = tmp_path / f"why.{ending}"
    path.write_text("precious")

    def break_off(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", break_off)  # all is written, and not yet in its place
    result = run("view", saved, "-o", path)

    assert result.exit_code == 130
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


# What is printed


def test_the_summary_tells_prediction_words_layers_and_gaps():
    """What a reader needs to know before they trust a number."""
    result = run("explain", TEXT)

    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    facts = dict(re.findall(r"^(\w+(?: at)?) {2,}(\S+)", result.stdout, re.MULTILINE))
    assert facts["model"] == "tiny-sentiment"
    assert (facts["predicts"], facts["explains"], facts["starts at"]) == ("positive",) * 3
    for word in ("superb", "by layer", "certificate"):
        assert word in result.stdout
    assert len(re.findall(r"^ {4}[0-3] +\+", result.stdout, re.MULTILINE)) == 4  # the model has four layers
    assert "\x1b" not in result.stdout


def test_top_chooses_how_many_are_listed():
    """For and against."""
    listed = {top: run("explain", TEXT, *QUICK, "--top", top).stdout.count(" %  ") for top in (1, 3)}

    assert "more" in run("explain", TEXT, *QUICK, "--top", 1).stdout
    assert listed[3] > listed[1]


def test_quiet_prints_nothing(saved):
    """Scripts read the exit code, or the file."""
    for arguments in (["explain", TEXT, *QUICK], ["view", saved]):
        result = run(*arguments, "--quiet")

        assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(width, saved, monkeypatch):
    """Lines that wrap make tables unreadable."""
    monkeypatch.setenv("COLUMNS", str(width))

    assert max(map(len, run("view", saved).stdout.splitlines())) <= width


# What is refused


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--target", "possitive"], "'positive'"),
        (["--target", "7"], "none of this model's classes"),
        (["--target", "positive", "--against", "positive"], "always zero"),
        (["--against", "negative"], "--target"),
        (["--token", "3"], "--token 3"),
        (["--part", "start"], "question answering"),
        (["--part", "middle"], "'start', 'end'"),
        (["--steps", "0"], "at least 1"),
        (["--method", "ca-lg"], "'ca-lig'"),
        (["--baseline", "purple"], "'zero', 'mean'"),
        (["--baseline", "black"], "replaces pixels, and this input has none; use 'mask' or 'zero'"),
        (["--baseline", ","], "baseline is empty"),
        (["--method", "ca-lig", "--fusion", "half"], "must be a number or 'auto'"),
        (["--fusion", "1.5"], "--fusion 1.5"),
        (["--layer-weights", "1,x"], "--layer-weights"),
        (["--method", "ca-lig", "--layer-weights", "upper-half"], "lower-half"),
        (["--special", "drop"], "'show', 'rank', 'hide', 'share'"),
        (["--tol", "0"], "between 0 and 1"),
        (["-o", "why.jpg"], "names no format"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_way_out(typed, message):
    """Exit code 2, nothing on standard output."""
    result = run("explain", TEXT, *typed)

    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert re.fullmatch(r"lignite: [^\n]+\n", result.stderr)
    assert message in result.stderr


@pytest.mark.parametrize(
    ("typed", "message", "code"),
    [
        (["--special", "drop"], "'share'", 2),
        (["--tol", "0"], "between 0 and 1", 2),
        (["-o", "why.jpg"], "names no format", 2),
        (["-o", "nowhere/why.nc"], "there is no folder", 1),
        (["--file", "nowhere.txt"], "nowhere.txt", 1),
    ],
)
def test_what_can_be_refused_is_refused_before_the_model_is_loaded(monkeypatch, typed, message, code):
    """A mistake must not cost the minutes that a large model takes."""
    monkeypatch.setattr(Loading, "load", lambda *_: pytest.fail("the model was loaded"))

    result = run("explain", *([] if "--file" in typed else [TEXT]), *typed)

    assert result.exit_code == code, result.output
    assert message in result.stderr


@pytest.mark.parametrize("typed", ["", "  \n"])
def test_an_empty_text_is_refused(typed):
    """There is nothing to explain."""
    result = run("explain", typed)

    assert result.exit_code == 2
    assert re.fullmatch(r"lignite: [^\n]+\n", result.stderr)


# view


def test_view_prints_what_explain_printed(saved):
    """A saved result is the result."""
    assert run("view", saved).stdout == run("explain", TEXT).stdout
    tokens = run("view", saved, "--tokens", "--special", "share")
    assert tokens.stdout == run("explain", TEXT, "--tokens", "--special", "share").stdout


def test_view_converts_without_loss(saved, tmp_path):
    """Arranging words is for the eye; files hold everything."""
    path = tmp_path / "why.json"

    run("view", saved, "-q", "--special", "hide", "-o", path)

    xr.testing.assert_identical(lignite.open(path), lignite.open(saved))


def test_view_keeps_the_chosen_layers(saved, tmp_path):
    """Also of an explanation."""
    path = tmp_path / "some.nc"

    result = run("view", saved, "--layers", "1,-1", "-o", path)

    assert result.exit_code == 0, result.stderr
    assert lignite.open(path).layer.values.tolist() == [1, 3]


@pytest.mark.parametrize("typed", [["--map", "whole"], ["--head", "0"]])
def test_options_of_a_flow_are_refused_for_an_explanation(saved, typed):
    """An option that does nothing would mislead."""
    result = run("view", saved, *typed)

    assert result.exit_code == 2
    assert "this result is an explanation" in result.stderr


@pytest.mark.parametrize("typed", [["--smooth"], ["--patches"], ["--special", "share"]])
def test_options_of_an_explanation_are_refused_for_a_flow(model, tmp_path, typed):
    """The other way round."""
    path = tmp_path / "flow.nc"
    lignite.save(lignite.flow(model, TEXT, layers=0, maps="whole", n_steps=8), path)

    result = run("view", path, *typed)

    assert result.exit_code == 2
    assert "this result is a flow" in result.stderr


def test_layers_of_an_explanation_without_layers_are_refused(model, tmp_path):
    """Gradient times input has none."""
    path = tmp_path / "why.nc"
    lignite.save(lignite.explain(model, TEXT, method="gradient-x-input"), path)

    result = run("view", path, "--layers", "0")

    assert result.exit_code == 2
    assert "has no layers" in result.stderr


def test_view_opens_the_page(saved, opened_pages):
    """A page beside nothing."""
    run("view", saved, "--open")

    page = opened_pages[0].read_text()
    assert "lignite <span>explain</span>" in page


@pytest.mark.parametrize("open_it", [False, True])
def test_several_saved_explanations_share_a_page(model, saved, tmp_path, opened_pages, open_it):
    """To compare methods."""
    other = tmp_path / "other.json"
    lignite.save(lignite.explain(model, TEXT, method="random"), other)

    result = run("view", saved, other, *(["--open"] if open_it else ["-o", tmp_path / "both.html"]))

    assert result.exit_code == 0, result.stderr
    page = opened_pages[0] if open_it else tmp_path / "both.html"
    assert len(opened_pages) == open_it
    assert "2 explanations" in page.read_text()
    assert "2 of 2" in result.stdout


# Help


def test_help_has_examples_that_parse_and_names_every_method():
    """An example that the command refuses teaches mistakes; nothing in it is computed here."""
    text = re.sub(r"[│\s]+", " ", run("explain", "--help").stdout)
    known = set(re.findall(r"(?<!\w)--?[a-z][a-z-]*", text.partition("Examples")[0]))
    typed = re.findall(r"lignite explain ([^\n]+)", re.sub(r"\[/?\w+\]", "", EXAMPLES))

    assert len(typed) >= 4
    for line in typed:
        assert {part for part in re.findall(r'"[^"]*"|\S+', line) if part.startswith("-")} <= known, line
    assert all(method in text for method in METHODS)
    assert "[CLS]" in text
