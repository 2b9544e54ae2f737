"""Units run here: each once, written whole, and what stops a run stops nothing that was finished."""

import subprocess
import sys
from pathlib import Path

import pytest

from lignite.runs.unit import Done, Journal, Unit, run

SETTINGS = {"seed": 0}


class Squares:
    """Units of two pieces each: numbers and their squares, and the size of what was computed together."""

    def __init__(self, *units):
        self.units = [Unit(tuple(map(str, numbers)), self.compute) for numbers in units]
        self.asked = []

    def compute(self, missing, tick):
        self.asked.append(sorted(missing))
        for _ in missing:
            tick(1)
        pieces = {key: {"square": int(key) ** 2, "together": len(missing)} for key in missing if key != "4"}
        return Done(pieces, tuple(f"no {key}" for key in missing if key == "4"))


def test_every_unit_is_computed_once_and_kept(tmp_path):
    """What it brings is found by its keys; what it could not do is told, and tried again the next time."""
    work = Squares((1, 2), (3, 4))
    for _ in range(2):
        with Journal(tmp_path / "run.jsonl", SETTINGS) as journal:
            notes = run(work.units, journal)

    assert work.asked == [["1", "2"], ["3", "4"], ["4"]]
    assert {key: piece["square"] for key, piece in journal.finished.items()} == {"1": 1, "2": 4, "3": 9}
    assert notes == ["no 4"]


def test_only_what_is_missing_is_computed(tmp_path):
    """Methods are added to a finished run, and cost what they cost."""
    with Journal(tmp_path / "run.jsonl", SETTINGS) as journal:
        run(Squares((1, 2)).units, journal)
    more = Squares((1, 2, 5))

    with Journal(tmp_path / "run.jsonl", SETTINGS) as journal:
        run(more.units, journal)

    assert more.asked == [["5"]]


def test_progress_rises_to_the_number_of_pieces():
    """Through units that are finished already, that tick too little, and that fail in part."""
    seen = []
    journal = Journal(None, SETTINGS)
    journal.write({"1": {"square": 1}})
    silent = Unit(("7", "8"), lambda missing, tick: Done({key: {} for key in missing}))

    run([*Squares((1, 2), (3, 4)).units, silent], journal, lambda done, total: seen.append((done, total)))

    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (6, 6)


@pytest.mark.parametrize("unit", [0, 1, 2])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_is_killed_at_any_unit_goes_on_to_the_same_pieces(tmp_path, unit, when):
    """Killed without a word, before a unit was written or after: what is computed together is so again."""
    path = tmp_path / "run.jsonl"
    killed = (
        "import os, signal, sys\n"
        "from tests.runs.test_local import Squares, SETTINGS, Journal, run\n"
        "path, unit, when = sys.argv[1], int(sys.argv[2]), sys.argv[3]\n"
        "class Killed(Journal):\n"
        "    written = 0\n"
        "    def write(self, pieces, files=None):\n"
        "        ends = self.written == unit\n"
        "        self.written += 1\n"
        "        if ends and when == 'before': os.kill(os.getpid(), signal.SIGKILL)\n"
        "        super().write(pieces, files)\n"
        "        if ends: os.kill(os.getpid(), signal.SIGKILL)\n"
        "run(Squares((1, 2), (3, 5), (6, 7)).units, Killed(path, SETTINGS))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", killed, str(path), str(unit), when], check=False, cwd=Path(__file__).parents[2]
    )
    work, whole = Squares((1, 2), (3, 5), (6, 7)), Journal(None, SETTINGS)
    run(work.units, whole)

    with Journal(path, SETTINGS) as journal:
        finished = len(journal.finished)
        run(Squares((1, 2), (3, 5), (6, 7)).units, journal)

    assert ended.returncode == -9
    assert finished == 2 * (unit + (when == "after"))
    assert journal.finished == whole.finished
