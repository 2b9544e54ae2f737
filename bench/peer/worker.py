"""Functions of one environment, called from another: JSON lines over a pipe, every answer with the time it took.

Standard library and torch only, because both environments run it.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def clock_of(device: str) -> Callable[[], float]:
    """CPU seconds of the process; where a GPU computes, those of the wall, once it has finished."""
    if device == "cpu":
        return time.process_time
    from torch import cuda

    def finished() -> float:
        cuda.synchronize()
        return time.perf_counter()

    return finished


def serve(functions: Mapping[str, Callable[..., Any]], clock: Callable[[], float]) -> None:
    """Answer calls until the pipe closes; what is timed is the function alone."""
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print, and the pipe is for answers
    for line in sys.stdin:
        name, arguments = json.loads(line)
        start = clock()
        value = functions[name](**arguments)
        seconds = clock() - start
        answers.write(json.dumps({"value": value, "seconds": seconds}, default=lambda array: array.tolist()) + "\n")
        answers.flush()


@dataclass(frozen=True)
class Answer:
    value: Any
    seconds: float


class Worker:
    """A script that serves, in the environment of the given Python, for the length of a `with`."""

    def __init__(self, python: str, script: Path, device: str, *, environment: Mapping[str, str]):
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed in __exit__
        self._script = script
        self._process = subprocess.Popen(
            [python, str(script), device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **ONE_THREAD, "HF_HUB_OFFLINE": "1", **environment},
        )

    def ask(self, function: str, **arguments: Any) -> Answer:
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps([function, arguments]) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            sys.exit(f"{self._script} ended when asked for {function!r}; its last words:\n{self._log.read()[-4000:]}")
        return Answer(**json.loads(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._log.close()
