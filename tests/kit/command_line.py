"""The command line, run in this process or in one of its own."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from typer.testing import CliRunner

import lignite
from lignite.apps import cli


def run(*args, text=None):
    return CliRunner().invoke(cli.app, [str(arg) for arg in args], input=text)


@contextmanager
def started(*command, **environment):
    """A process of its own; it does not outlive the test."""
    source = str(Path(lignite.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": source} | environment,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


def finished(*command, **environment):
    with started(*command, **environment) as process:
        out, err = process.communicate(timeout=300)
    return process.returncode, out.decode(), err.decode()
