"""The command line: what it computes, writes and prints, and how it fails."""

import importlib
import json
import logging
import re
import signal
import time
import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from tests.kit.command_line import finished, run, started

import lignite
from lignite.api.check import ranges
from lignite.apps import cli
from lignite.apps.arguments import parse_numbers
from lignite.errors import OptionError

TEXT = "A superb film."
pytestmark = pytest.mark.usefixtures("plain_terminal")

QUICK = ("--layers", "0", "--maps", "whole")


@pytest.fixture(scope="module")
def model():
    return lignite.load("tiny-sentiment")


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "flow.nc"
    lignite.save(lignite.flow(model, TEXT, detail="heads"), path)
    return path


# What is computed


@pytest.mark.parametrize(
    ("typed", "given_in_python"),
    [
        (
            [
                "--layers",
                "1,-1",
                "--maps",
                "attention,whole",
                "--baseline",
                "zero",
                "--tol",
                "0.01",
                "--max-steps",
                "30",
            ],
            {"layers": [1, -1], "maps": ["attention", "whole"], "baseline": "zero", "tol": 0.01, "max_steps": 30},
        ),
        (
            ["--targets", "2-3", "--readout", "projection", "--composition", "conserving", "--mlp-baseline", "zero"],
            {"targets": [2, 3], "readout": "projection", "composition": "conserving", "mlp_baseline": "zero"},
        ),
        (
            ["--layers", "0", "--detail", "heads,circuits", "--n-steps", "3", "--plan", "target-batches"],
            {"layers": 0, "detail": ["heads", "circuits"], "n_steps": 3, "plan": "target-batches"},
        ),
        (["--layers", "2", "--self-term", "zero_ratio"], {"layers": 2, "self_term": "zero_ratio"}),
    ],
)
@pytest.mark.filterwarnings("ignore:Scores miss")  # three nodes are few; the numbers are compared, not their gaps
def test_the_command_computes_what_the_function_computes(model, tmp_path, typed, given_in_python):
    """One library, two ways in."""
    path = tmp_path / "flow.nc"

    result = run("flow", TEXT, *typed, "-q", "-o", path)

    assert result.exit_code == 0, result.stderr
    xr.testing.assert_identical(lignite.open(path), lignite.flow(model, TEXT, **given_in_python))


def test_options_of_the_model_reach_the_model(tmp_path):
    """Precision is chosen where the model is loaded."""
    path = tmp_path / "flow.nc"

    run("flow", TEXT, *QUICK, "--dtype", "float64", "--model", "tiny-sentiment", "--device", "cpu", "-q", "-o", path)

    assert lignite.open(path).whole.dtype == np.float64


def test_a_pair_is_explained_as_a_pair(tmp_path):
    """Segments tell which text a token comes from."""
    path = tmp_path / "flow.nc"

    result = run("flow", "A film.", "--pair", "A plot.", *QUICK, "-q", "-o", path)

    assert result.exit_code == 0, result.stderr
    assert set(lignite.open(path).source_segment.values.tolist()) == {-1, 0, 1}


@pytest.mark.parametrize("typed", [[], ["-"]])
def test_standard_input_is_one_text(typed):
    """`echo … | lignite flow` says the same as `lignite flow …`, line break at the end or not."""
    expected = run("flow", TEXT, *QUICK)

    piped = run("flow", *typed, *QUICK, text=TEXT + "\n")

    assert piped.exit_code == 0, piped.stderr
    assert piped.stdout == expected.stdout


@pytest.mark.parametrize("from_stdin", [False, True])
def test_every_line_of_a_file_is_a_text_with_a_file_of_its_own(tmp_path, from_stdin):
    """Blank lines separate, they are not texts; Windows ends lines otherwise."""
    lines = tmp_path / "lines.txt"
    lines.write_bytes("\ufeffA film.\r\n\r\n  \nA plot, too.\n".encode())
    text = lines.read_bytes().decode() if from_stdin else None

    result = run("flow", "--file", "-" if from_stdin else lines, *QUICK, "-o", tmp_path / "flow.json", text=text)

    assert result.exit_code == 0, result.stderr
    written = sorted(path.name for path in tmp_path.glob("flow*"))
    assert written == ["flow-1.json", "flow-2.json"]
    assert [lignite.open(tmp_path / name).text for name in written] == ["A film.", "A plot, too."]
    assert "1 of 2" in result.stdout
    assert "2 of 2" in result.stdout


@given(st.sets(st.integers(0, 60), min_size=1))
def test_a_list_of_layers_is_read_as_it_is_written(layers):
    """`lignite check` names layers in the form that --layers takes."""
    assert set(parse_numbers("layers", ranges(sorted(layers)))) == layers


@pytest.mark.parametrize("text", ["", "a", "1,,2", "3-1", "-1-2", "1-", "0-999999999", "1.5", "0 1"])
def test_what_is_no_list_of_numbers_is_refused(text):
    """A misread range would explain other layers than were asked for."""
    with pytest.raises(OptionError, match="--layers"):
        parse_numbers("layers", text)


# What is written


def test_the_ending_picks_the_format(tmp_path, model):
    """One run, every format: files carry the marks of their kind, and results are read back alike."""
    marks = {
        "nc": b"\x89HDF", "json": b"{", "png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml", "html": b"<!doctype html",
        "HTM": b"<!doctype html",
    }  # fmt: skip
    paths = {ending: tmp_path / f"flow.{ending}" for ending in marks}

    result = run("flow", TEXT, *QUICK, *(part for path in paths.values() for part in ("-o", path)))

    assert result.exit_code == 0, result.stderr
    for ending, mark in marks.items():
        assert paths[ending].read_bytes()[: len(mark)].lower() == mark.lower(), ending
    xr.testing.assert_identical(lignite.open(paths["nc"]), lignite.open(paths["json"]))
    assert result.stderr.splitlines() == [f"wrote {path}" for path in paths.values()]


def test_only_what_was_asked_for_is_drawn(tmp_path):
    """`--map` and `--head` choose what a picture shows."""
    drawn = []
    for head in (0, 1):
        path = tmp_path / f"{head}.svg"
        result = run("flow", TEXT, "--layers", "0", "--map", "attention", "--head", head, "-q", "-o", path)
        assert result.exit_code == 0, result.stderr
        drawn.append(path.read_text())

    assert drawn[0] != drawn[1]
    assert "head 1" in drawn[1]


@pytest.mark.parametrize("ending", ["nc", "png", "html"])
def test_a_file_is_replaced_in_one_step_or_not_at_all(tmp_path, monkeypatch, saved, ending):
    """Whoever stops a run keeps the file of the last one, and finds no debris."""
    path = tmp_path / f"flow.{ending}"
    path.write_text("precious")

    def break_off(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", break_off)  # all is written, and not yet in its place
    result = run("view", saved, "-o", path)

    assert result.exit_code == 130
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", ["html", "png"])
def test_a_link_keeps_pointing_to_the_file_that_is_replaced(tmp_path, saved, ending):
    """Replacing the link itself would leave two files that disagree."""
    target, link = tmp_path / f"target.{ending}", tmp_path / f"link.{ending}"
    target.write_text("old")
    link.symlink_to(target)

    run("view", saved, "-q", "-o", link)

    assert link.is_symlink()
    assert target.stat().st_size > 1000


# What is printed


def test_the_summary_tells_tokens_flows_agreement_and_gaps():
    """What a reader needs to know before they trust a number."""
    result = run("flow", TEXT)

    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    for word in ("tiny-sentiment", TEXT, "superb", "layer 0", "layer 3", "composed", "certificate", "worst gap"):
        assert word in result.stdout


def test_top_and_map_choose_what_is_listed():
    """The list shows as many scores per layer as asked for, of the map that was asked for."""
    result = run("flow", TEXT, "--layers", "0", "--map", "attention", "--head", "3", "--top", "2")

    first, *listed = [line for line in result.stdout.splitlines() if " → " in line]
    assert first.startswith("Strongest: ")
    assert len(listed) == 2
    assert all("head 3" in line for line in listed)


def test_a_gap_is_one_line_on_standard_error():
    """A warning must not break into the results, nor spread over the screen."""
    result = run("flow", TEXT, *QUICK, "--n-steps", "1")

    assert result.exit_code == 0
    assert re.fullmatch(r"lignite: warning: Scores miss [^\n]+\n", result.stderr)
    assert "warning" not in result.stdout


def test_advice_of_other_libraries_is_not_printed(monkeypatch):
    """It speaks to programmers, and of code that the reader has not written."""
    heard = []

    def chatty(*args, **options):
        warnings.warn_explicit("install a kernel", UserWarning, "/somewhere/torch/nn.py", 1)
        warnings.warn_explicit("blocks were left out", UserWarning, cli.__file__, 1)
        heard.append(logging.getLogger("transformers.models").isEnabledFor(logging.WARNING))
        return []

    monkeypatch.setattr("lignite.api.flow.flow", chatty)

    result = run("flow", TEXT)

    assert result.stderr == "lignite: warning: blocks were left out\n"
    assert heard == [False]


@pytest.mark.parametrize("command", ["flow", "view", "check"])
def test_quiet_prints_nothing(command, saved):
    """Scripts read the exit code, or the file."""
    arguments = {
        "flow": [TEXT, *QUICK, "--n-steps", "1"], "view": [saved], "check": ["tiny-sentiment", "--length", "4"]
    }  # fmt: skip

    result = run(command, *arguments[command], "--quiet")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("command", ["flow", "view", "check"])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(command, width, saved, monkeypatch):
    """Lines that wrap make tables unreadable."""
    monkeypatch.setenv("COLUMNS", str(width))
    arguments = {"flow": [TEXT], "view": [saved, "--map", "whole_heads"], "check": ["tiny-sentiment", "--length", "4"]}

    result = run(command, *arguments[command])

    assert max(map(len, result.stdout.splitlines())) <= width


def test_models_are_listed():
    """What can be explained without a network."""
    from lignite.zoo import bundled

    result = run("models")

    assert [line.split()[0] for line in result.stdout.splitlines()] == list(bundled())


# How it fails


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["flow", "x", "--model", "./none", "-o", "a.xyz"], 2, r"ending '\.xyz'.*\.nc, \.json"),
        (["flow", "x", "--model", "./none", "-o", "/none/a.nc"], 1, "no folder /none"),
        (["flow", "x", "--model", "./none", "-o", "."], 2, "ending"),
        (["flow", "x", "--model", "./none", "--baseline", "zerro"], 2, "Did you mean 'zero'"),
        (["flow", "x", "--model", "./none", "--baseline", "tensor"], 2, "--baseline tensor is not known"),
        (["flow", "x", "--model", "./none", "--maps", ""], 2, "maps is empty"),
        (["flow", "x", "--model", "./none", "--detail", "head"], 2, "Did you mean 'heads'"),
        (["flow", "x", "--model", "./none", "--map", "mpl"], 2, "holds attention, mlp, whole, composed"),
        (["flow", "x", "--model", "./none", "--maps", "whole", "--head", "1"], 2, "split by head"),
        (["flow", "x", "--model", "./none", "--tol", "2"], 2, "between 0 and 1"),
        (["flow", "x", "--model", "./none"], 1, "no folder ./none"),
        (["flow", "x", "--file", "y"], 2, "--file brings its own inputs"),
        (["flow", "--file", "/none.txt"], 1, "no such file"),
        (["flow", "--file", "-"], 2, "holds no text"),
        (["flow", ""], 2, "empty"),
        (["flow"], 2, "standard input holds no text"),
        (["flow", "x " * 500], 2, "at most 256"),
        (["flow", "x", "--layers", "9"], 2, "layers 0 to 3"),
        (["flow", "x", "--head", "4"], 2, "heads 0 to 3"),
        (["flow", "x", "--memory", "lots"], 2, "is not a size"),
        (["flow", "x", "--dtype", "int8"], 2, "float64"),
        (["view", "/none.nc"], 1, "no such file"),
        (["view", "/no\nne.nc"], 1, "no such file"),
        (["view", "/etc/hostname"], 1, "unknown ending"),
        (["check", "./none"], 1, "no folder"),
        (["check", "tiny-sentiment", "--length", "999"], 2, "at most 256"),
        (["check", "tiny-sentiment", "--length", "9", "--input", "x"], 2, "both given"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(arguments, code, message):
    """Before any work where that is possible: a wrong ending must not cost an hour."""
    result = run(*arguments, text="")

    assert (result.exit_code, result.stdout) == (code, "")
    assert re.fullmatch(rf"lignite: [^\n]*{message}[^\n]*\n", result.stderr), result.stderr


@pytest.mark.parametrize("arguments", [["flow", "x", "--bogus"], ["bogus"], ["view"], ["flow", "x", "--top", "0"]])
def test_what_typer_refuses_ends_with_2(arguments):
    """Usage errors have one exit code, whoever finds them."""
    assert run(*arguments).exit_code == 2


def test_text_that_is_not_utf8_is_refused(tmp_path):
    """Guessing an encoding would explain a text that nobody wrote."""
    path = tmp_path / "latin.txt"
    path.write_bytes("Schön".encode("latin-1"))

    result = run("flow", "--file", path)

    assert result.exit_code == 2
    assert "not UTF-8" in result.stderr


# view


def test_view_prints_what_flow_printed(saved):
    """A saved result is the result."""
    printed = run("flow", TEXT, "--detail", "heads")

    assert run("view", saved).stdout == printed.stdout


def test_view_converts_without_loss(saved, tmp_path):
    """Also when a file is written over itself."""
    expected = lignite.open(saved)
    path = tmp_path / "flow.json"

    run("view", saved, "-q", "-o", path)
    run("view", path, "-q", "-o", path)

    xr.testing.assert_identical(lignite.open(path), expected)


@pytest.mark.parametrize(("typed", "expected"), [("1", [1]), ("-1", [3]), ("3,0", [0, 3]), ("1-2", [1, 2])])
def test_view_keeps_the_chosen_layers(saved, tmp_path, typed, expected):
    """Negative numbers count from the last layer of the file."""
    path = tmp_path / "some.nc"

    run("view", saved, "--layers", typed, "-q", "-o", path)

    assert lignite.open(path).layer.values.tolist() == expected


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--layers", "7"], "holds 0, 1, 2, 3"),
        (["--map", "whole_circuits"], "which holds whole, composed"),
        (["--head", "4"], "heads 0 to 3"),
    ],
)
def test_view_says_what_a_result_does_not_hold(saved, typed, message):
    """The choices are in the file."""
    result = run("view", saved, *typed)

    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize("keep", [False, True])
def test_view_opens_the_page(saved, tmp_path, opened_pages, keep):
    """The page that was written, or one beside nothing."""
    run("view", saved, "--open", *(["-o", tmp_path / "mine.html"] if keep else []))

    (path,) = opened_pages
    assert path.read_bytes()[:15].lower() == b"<!doctype html>"
    assert (path == (tmp_path / "mine.html").resolve()) == keep


# Help


@pytest.mark.parametrize("command", ["flow", "view", "check", "models"])
def test_help_has_examples_that_parse(command):
    """An example that the command refuses teaches mistakes; nothing in it is computed here."""
    epilog = re.sub(r"\[/?\w+\]", "", importlib.import_module(f"lignite.apps.commands.{command}").EXAMPLES)
    typed = re.findall(r"lignite ([^&|(\n]+)", epilog)
    commands = {info.callback.__name__: info for info in cli.app.registered_commands}

    assert command in commands
    assert len(typed) >= 3
    for line in typed:
        verb, *arguments = re.findall(r'"[^"]*"|\S+', line)
        options = run(verb, "--help").stdout.partition("Examples")[0]
        known = set(re.findall(r"(?<!\w)--?[a-z][a-z-]*", options))
        assert {part for part in arguments if part.startswith("-") and len(part) > 1} <= known, line


@pytest.mark.parametrize(
    ("words", "unused"),
    [
        ("--help", "pandas xarray"),
        ("--version", "pandas xarray"),
        ("flow --help", "pandas xarray"),
        ("explain --help", "pandas xarray"),
        ("evaluate --help", "pandas xarray scipy"),
        ("evaluate FILE --seed -1", "pandas xarray scipy"),
        ("models", ""),
        ("view FILE", ""),
        ("flow x -o a.xyz", ""),
        ("explain x --method nothing", "pandas xarray"),
    ],
)
def test_what_needs_no_model_does_not_import_torch(words, unused, saved):
    """Help, saved results and mistakes come at once; help needs no results, either."""
    script = (
        "import sys\nsys.argv[0] = 'lignite'\nfrom lignite.apps.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print(sorted({{'torch', 'transformers', *{unused.split()}}} & set(sys.modules)), file=sys.stderr)"
    )

    _, _, err = finished("-c", script, *(saved if word == "FILE" else word for word in words.split()))

    assert err.splitlines()[-1] == "[]"


# As a process


def test_results_go_to_standard_output_and_the_rest_to_standard_error(tmp_path):
    """So that a pipe carries results alone; also where only ASCII can be printed."""
    path = tmp_path / "flow.nc"

    command = ("-m", "lignite", "flow", TEXT, *QUICK, "--n-steps", "1", "-o", path)
    code, out, err = finished(*command, PYTHONIOENCODING="ascii")

    assert code == 0
    assert "certificate" in out
    assert [line.split(":")[0] for line in err.splitlines()] == ["lignite", f"wrote {path}"]


@pytest.mark.wide
def test_a_reader_who_leaves_early_breaks_nothing(tmp_path):
    """`lignite flow … -o FILE | head -1` writes the file and complains about nothing."""
    path = tmp_path / "flow.nc"

    with started("-m", "lignite", "flow", TEXT, *QUICK, "-o", path) as process:
        process.stdout.close()
        err = process.stderr.read().decode()

    assert err == f"wrote {path}\n"
    assert lignite.open(path).text == TEXT


def test_an_interrupt_ends_with_130_and_writes_nothing(tmp_path):
    """Ctrl-C in the middle of the work."""
    path = tmp_path / "flow.nc"
    script = (
        "import lignite.api.flow as flows, lignite.apps.cli as cli, sys\n"
        "inner = flows.attribute_layer\n"
        "def announce(*args, **options):\n"
        "    print('working', flush=True)\n"
        "    while True:\n        inner(*args, **options)\n"
        "flows.attribute_layer = announce\n"
        f"sys.argv = ['lignite', 'flow', {TEXT!r}, '-o', {str(path)!r}]\n"
        "cli.main()"
    )

    with started("-c", script) as process:
        ready = process.stdout.readline()
        time.sleep(0.2)  # into the mathematics
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)

    assert ready == b"working\n", err
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.wide
def test_names_are_imported_on_use_and_listed_at_once():
    """`import lignite` costs no torch, and hides nothing."""
    script = (
        "import sys, json, lignite\n"
        "early = 'torch' in sys.modules\n"
        "missing = [name for name in lignite.__all__ if name not in dir(lignite)]\n"
        "import xarray\n"
        "accessor = hasattr(xarray.Dataset, 'lignite')\n"
        "found = [callable(lignite.flow), callable(lignite.check), callable(lignite.load)]\n"
        "print(json.dumps([early, missing, accessor, found]))"
    )

    _, out, _ = finished("-c", script)

    assert json.loads(out) == [False, [], True, [True, True, True]]
    with pytest.raises(AttributeError, match="no attribute 'flaw'"):
        _ = lignite.flaw
