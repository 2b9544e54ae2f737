"""Nothing that others wrote acts on a terminal, and the command line speaks its own words."""

import inspect
import io
import json
import re
import unicodedata
import warnings

import numpy as np
import pytest
from rich.console import Console
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_flow import sample_flow
from typer.testing import CliRunner

import lignite
from lignite.apps import cli, terminal
from lignite.apps.shared import Loading
from lignite.apps.terminal import Spoken
from lignite.errors import FileError, GapWarning, LigniteWarning, warn
from lignite.views.explanation.terminal import print_explanation
from lignite.views.flow.terminal import print_flow
from lignite.wording import harmless, one_line

EVIL = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202eoverride\u2066\u2028\u200b\x00\x7f"
PRINTABLE = "\n\t\u200c\u200d"

pytestmark = pytest.mark.usefixtures("plain_terminal")


def acting(text):
    """Characters that a terminal obeys instead of showing them."""
    return {one for one in text if unicodedata.category(one) in ("Cc", "Cf", "Zl", "Zp", "Cs")} - set(PRINTABLE)


def run(*arguments, text=None):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], input=text)


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_counts_are_whole_however_narrow_the_terminal(width, monkeypatch):
    """What is worked on is cut off before how far it is."""
    monkeypatch.setenv("TERM", "xterm")
    shown = terminal.Terminal(quiet=False)
    shown.err = Console(file=io.StringIO(), width=width, force_terminal=True)

    with shown.working("row by row of /data/of/a/long/name/of/a/folder/sst.jsonl", rate=True) as progress:
        progress(51_234, 1_000_000)

    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.err.file.getvalue()).splitlines()
    assert any("51234/1000000" in line for line in lines)
    assert any("row by row" in line for line in lines) == (width > 60)


def test_an_interruption_before_anything_was_begun_promises_nothing(tmp_path, monkeypatch):
    """There is no folder to go on from yet."""

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("lignite.api.run.run", interrupted)
    (tmp_path / "begun").mkdir()

    found = {
        name: run("run", "explain", "--data", "c.jsonl", "-o", tmp_path / name).output for name in ("begun", "new")
    }

    assert "the same command goes on from there" in found["begun"]
    assert "interrupted; nothing was begun yet." in found["new"]


@pytest.mark.wide
def test_every_character_that_acts_is_written_out():
    """Of all of Unicode, and once: what is harmless stays as it is."""
    everything = "".join(map(chr, range(0x110000)))

    shown = harmless(everything)

    assert not acting(shown)
    assert harmless(shown) == shown
    assert one_line(f"a{EVIL}b").isprintable()


@pytest.mark.parametrize("error", [FileError, GapWarning])
def test_errors_and_warnings_are_harmless_in_any_traceback(error):
    """They are printed by Python, notebooks and loggers, not only by us."""
    assert not acting(str(error(f"{EVIL}: no such file")))
    assert "\n" not in str(error("two\nlines"))


def test_a_warning_points_at_the_line_outside_lignite():
    """That line is the one to change, however deep the warning came from."""
    with pytest.warns(LigniteWarning) as caught:
        inspect.unwrap(warn)("careful")  # in tests, what checks shapes stands in between

    assert caught[0].filename == __file__


def poisoned(dataset):
    """Every text of a result, and every text inside its attributes, ends in characters that act."""
    for name, variable in dataset.variables.items():
        if variable.dtype.kind == "U" and name != "circuit":
            texts = [f"{text}{EVIL}".replace("\0", "") for text in variable.values.ravel()]
            dataset = dataset.assign_coords({name: (variable.dims, np.reshape(texts, variable.shape))})
    dataset = dataset.drop_indexes([name for name in ("token",) if name in dataset.indexes])
    dataset.attrs = {name: poison(value) for name, value in dataset.attrs.items()}
    return dataset


def poison(value):
    if not isinstance(value, str):
        return value
    try:
        entries = json.loads(value)
    except ValueError:
        return value if value in ("explain", "flow") else value + EVIL
    texts = {name: entry + EVIL if isinstance(entry, str) else entry for name, entry in entries.items()}
    return json.dumps(texts)


@pytest.mark.parametrize("kind", ["flow", "explain"])
def test_a_result_prints_nothing_that_acts(kind):
    """A file from elsewhere: tokens, classes, model, text, options, plans, versions."""
    dataset = poisoned(sample_flow() if kind == "flow" else sample_explanation())
    console = Console(file=io.StringIO(), width=100, color_system=None)

    (print_flow if kind == "flow" else print_explanation)(dataset, console=console)

    printed = console.file.getvalue()
    assert "owned" in printed
    assert not acting(printed)


@pytest.mark.parametrize(
    "arguments",
    [
        ("view", f"{EVIL}.nc".replace("\0", "")),
        ("flow", "x", "--baseline", EVIL),
        ("flow", "x", "--model", f"./{EVIL}"),
        ("flow", "x", "--model", "[/red]"),
        ("flow", "x", "--top", EVIL),
        ("flow", "x", f"--{EVIL}"),
        (f"{EVIL}",),
        (f"--{EVIL}",),
        ("explain", "x", "--target", EVIL),
        ("explain", "x", "--method", EVIL),
        ("evaluate", f"{EVIL}.csv"),
    ],
)
def test_what_was_typed_comes_back_harmless(arguments):
    """A script may have put there what a file is called."""
    result = run(*arguments)

    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit)
    assert not acting(result.output)


def test_ids_and_labels_of_a_data_set_come_back_harmless(tmp_path):
    """The text of an error and the notes on skipped examples."""
    rows = [{"id": f"{EVIL}", "text": "A superb film.", "label": EVIL}]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))

    refused = run(
        "evaluate", tmp_path / "data.jsonl", "--label", "label", "--methods", "random", "--metrics", "deletion"
    )
    (tmp_path / "data.jsonl").write_text(json.dumps({"id": EVIL, "text": "word " * 500}))
    skipped = run("evaluate", tmp_path / "data.jsonl", "--methods", "random", "--metrics", "deletion")

    assert (refused.exit_code, skipped.exit_code) == (2, 0)
    assert not acting(refused.output + skipped.output)


def test_progress_shows_names_as_they_are(monkeypatch):
    """Brackets in a name are no colours, and escape sequences are written out."""
    screen = Console(file=io.StringIO(), force_terminal=True, width=100)
    shown = terminal.Terminal(quiet=False)
    shown.err = screen
    named = []
    monkeypatch.setattr("rich.progress.Progress.add_task", lambda self, text, total=None: named.append(text) or 0)

    with shown.working(f"loading [/red]{EVIL}"):
        pass

    assert named[0].startswith("loading [/red]")
    assert named[0].isprintable()


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        ("fusion=0.3 belongs to method='ca-lig', not 'ig'.", "--fusion 0.3 belongs to --method ca-lig, not 'ig'."),
        ("ends=True and orders=True each stand", "--ends and --orders each stand"),
        ("layers=[9] are not in this model", "--layers 9 are not in this model"),
        ("write it like ca-lig:path=layer,fusion=0.5.", "write it like ca-lig:path=layer,fusion=0.5."),
        ("steps= explains; leave label= out", "--steps explains; leave --target out"),
        ("Raise max_steps above 256.", "Raise --max-steps above 256."),
        ("image_processor=… is Python's", "image_processor=… is Python's"),
    ],
)
def test_options_are_called_as_they_are_typed(said, typed):
    """Nobody can type fusion=0.3 into a shell."""
    names = ("fusion", "method", "layers", "path", "steps", "target", "max_steps", "ends", "orders")
    options = {name: f"--{name.replace('_', '-')}" for name in names} | {"label": "--target"}

    assert Spoken(options, flags=("ends", "orders")).say(said) == typed


def test_every_message_of_the_command_line_uses_its_own_words():
    """Through the commands themselves, whose options are read from their declarations."""
    result = run("explain", "A film.", "--method", "ig", "--fusion", "0.3")
    other = run("flow", "A film.", "--layers", "9")

    assert result.stderr == ("lignite: --fusion 0.3 belongs to ca-lig, not 'ig'; leave it out.\n")
    assert other.stderr.startswith("lignite: --layers 9 are not in this model")


def test_an_interrupt_is_one_line(monkeypatch):
    """Ctrl-C is no failure, and what is missing afterwards should be known."""

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Loading, "load", interrupted)

    result = run("flow", "A film.")

    assert result.exit_code == 130
    assert result.stderr.startswith("lignite: interrupted")
    assert result.stderr.count("\n") == 1


def test_standard_input_without_an_end_is_refused(monkeypatch):
    """`lignite flow < /dev/zero` would fill the memory."""
    monkeypatch.setattr("lignite.apps.arguments.MOST_BYTES", 10)

    result = run("flow", text="A superb film.")

    assert result.exit_code == 2
    assert "standard input does not end within" in result.stderr


def test_errors_that_users_catch_are_public():
    """`except lignite.LigniteError` needs no search for where it lives."""
    for name in ("LigniteError", "InputError", "OptionError", "ModelError", "FileError", "GapWarning"):
        assert getattr(lignite, name) is getattr(lignite.errors, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lignite.LigniteWarning)
        warn("silent", GapWarning)
