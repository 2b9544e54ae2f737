"""A journal keeps finished work: whole lines, of one run at a time, and never less than was in it."""

import os
import subprocess
import sys

import pytest

from lignite.errors import FileError
from lignite.runs.unit import Journal

SETTINGS = {"seed": 0}


def test_infinite_and_missing_scores_survive_the_file(tmp_path):
    """JSON knows neither; a number that was not defined must not come back as one."""
    piece = {"scores": [["a", "", float("nan")], ["b", "", float("inf")], ["c", "", 0.1]]}
    with Journal(tmp_path / "run.jsonl", SETTINGS) as journal:
        journal.write({"key": piece})

    with Journal(tmp_path / "run.jsonl", SETTINGS) as journal:
        found = journal.finished["key"]

    assert repr(found) == repr(piece)


def test_two_runs_on_one_file_refuse_each_other(tmp_path):
    """The second would take the line that the first is writing for one that was cut off, and write over it."""
    path = tmp_path / "run.jsonl"
    with Journal(path, SETTINGS) as first:
        first.write({"a": {"scores": []}})

        with pytest.raises(FileError, match="another run is writing"):
            Journal(path, SETTINGS)
        first.write({"b": {"scores": []}})

    with Journal(path, SETTINGS) as second:
        assert second.finished.keys() == {"a", "b"}


def test_a_run_that_was_killed_leaves_the_file_to_the_next(tmp_path):
    """The system gives a lock back with its process, however that ended."""
    path = tmp_path / "run.jsonl"
    killed = (
        "import os, signal, sys; from lignite.runs.unit import Journal; "
        f"Journal(sys.argv[1], {SETTINGS}).write({{'a': {{}}}}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", killed, str(path)], check=False)

    with Journal(path, SETTINGS) as journal:
        assert journal.finished.keys() == {"a"}


def test_damage_is_told_once_and_costs_its_own_lines_alone(tmp_path):
    """What is whole stays where it is: nothing is copied, so nothing can be lost in copying."""
    path = tmp_path / "run.jsonl"
    with Journal(path, SETTINGS) as journal:
        for key in "abcd":
            journal.write({key: {"scores": [["m", "", 1.5]]}})
    header, a, b, c, d, _ = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([header, a, b[: len(b) // 2], c, b"5", d[:-3]]))

    with (
        pytest.warns(UserWarning, match="3 lines were cut off; .* the other 2 are kept"),
        Journal(path, SETTINGS) as one,
    ):
        one.write({"e": {}})
    with Journal(path, SETTINGS) as two:  # a second warning would be an error here
        found = two.finished

    assert found.keys() == {"a", "c", "e"}
    assert path.read_bytes().split(b"\n")[:2] == [header, a]


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit of this kind")
def test_a_full_disk_leaves_no_half_of_a_line(tmp_path, full_disk):
    """The run ends in one line; the next one goes on from there, without a word of damage."""
    path = tmp_path / "run.jsonl"
    with Journal(path, SETTINGS) as journal:
        journal.write({"a": {"text": "x" * 50}})
        with (
            full_disk(path.stat().st_size + 20),
            pytest.raises(FileError, match="it goes on from here"),
        ):
            journal.write({"b": {"text": "x" * 50}})

    with Journal(path, SETTINGS) as journal:
        assert journal.finished.keys() == {"a"}


@pytest.mark.parametrize(
    "line",
    [b'{"format": "lignite evaluation run", "version": 1}', b'{"format": "lignite evaluation run", "version": 2}'],
)
def test_a_damaged_heading_is_refused(tmp_path, line):
    """Whose work it is cannot be known."""
    path = tmp_path / "run.jsonl"
    path.write_bytes(line + b"\n")

    with pytest.raises(FileError, match=r"was begun with|has layout version"):
        Journal(path, SETTINGS)

    assert path.read_bytes() == line + b"\n"


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    """Opening a pipe waits for its other end, which may never come."""
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(FileError, match="is a pipe"):
        Journal(tmp_path / "pipe", SETTINGS)
