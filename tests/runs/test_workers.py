"""Calls in several processes: each is answered once, whoever dies meanwhile."""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from tests.kit.command_line import started
from tests.kit.deaths import Numbers, dies, dies_once

from lignite.errors import LigniteError
from lignite.runs.workers import in_processes

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")


def test_a_worker_that_dies_is_replaced_and_every_call_answered_once(tmp_path):
    """What the dead one was working on is called again, what was finished is not."""
    calls = [partial(pow, 3, number) for number in range(6)]
    calls[2] = partial(dies_once, tmp_path / "dead", 9)

    with pytest.warns(UserWarning, match="a worker died; another one takes its place"):
        brought = list(in_processes(calls, 2))

    assert sorted(brought) == [(number, 3**number) for number in range(6)]


def test_parts_that_end_every_worker_are_left_out():
    """All others are computed together as they would be without them, and the calls beside them as ever."""
    calls = [Numbers((1, 2), frozenset()), Numbers((3, 4, 5, 6, 7), frozenset({4, 7})), Numbers((8,), frozenset())]

    with pytest.warns(UserWarning, match="a worker died|2 parts of piece 2 end every worker"):
        brought = dict(in_processes(calls, 2))

    assert brought == {0: ((1, 2), ()), 1: ((3, 5, 6), (4, 7)), 2: ((8,), ())}


def test_work_that_ends_every_worker_and_has_no_parts_is_given_up():
    """It would go on for ever; the error says which it was."""
    with (
        pytest.warns(UserWarning, match="a worker died"),
        pytest.raises(LigniteError, match=r"every time over the same piece of work \(number 2\)"),
    ):
        list(in_processes([partial(pow, 3, 1), dies], 1))


def test_an_error_of_a_call_is_the_runs(tmp_path):
    """It is no death, and is not tried again."""
    with pytest.raises(ZeroDivisionError):
        list(in_processes([partial(divmod, 1, 0)], 2))


def test_no_worker_outlives_the_first_process(tmp_path):
    """Killed without a word, it leaves nobody behind who keeps the memory."""
    script = (
        "from functools import partial\n"
        "from tests.kit.deaths import says_who_and_waits\n"
        "from lignite.runs.workers import in_processes\n"
        "if __name__ == '__main__':\n"
        f"    list(in_processes([partial(says_who_and_waits, {str(tmp_path / 'pids')!r})] * 2, 2))\n"
    )
    root = str(Path(__file__).parents[2])
    (tmp_path / "run.py").write_text(f"import sys\nsys.path.insert(0, {root!r})\n{script}")
    pids = tmp_path / "pids"
    with started(tmp_path / "run.py") as process:
        _wait(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        process.send_signal(signal.SIGKILL)
        workers = [int(pid) for pid in pids.read_text().split()]

        _wait(lambda: not any(map(_lives, workers)))


def _wait(reached):
    end = time.monotonic() + 120
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.05)


def _lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat").read_text()  # a child of nobody may wait to be buried
    return stat.rpartition(")")[2].split()[0] != "Z"
