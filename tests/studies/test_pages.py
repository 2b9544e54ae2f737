"""What the pages of results say was run can be run."""

import re
import shlex
from pathlib import Path

import pytest

from lignite.apps.commands.study import _command
from lignite.studies import STUDIES

DOCS = Path(__file__).parents[2] / "docs"
PRINTED = [
    pytest.param(line, id=f"{page.stem}-{number}")
    for page in sorted([*(DOCS / "results").glob("*.md"), DOCS / "how-to" / "study.md"])
    for number, line in enumerate(re.findall(r"^ *lignite study (?!NAME)(.+)$", page.read_text(), re.MULTILINE))
]


@pytest.mark.parametrize("line", PRINTED)
def test_every_printed_command_is_understood(line):
    """An option that is renamed takes its pages with it: name, options and values are read as the command line does."""
    name, *given = shlex.split(line)

    context = _command(STUDIES[name]).make_context(name, given)

    assert context.params["data"] is not None
    assert context.params["output"] is not None


def test_every_study_was_run_and_its_page_has_the_command():
    """A study that nobody ran is a promise: what it found, on which model and corpus, stands beside its command."""
    asked = {shlex.split(*line.values)[0] for line in PRINTED if not line.id.startswith("study-")}
    own = {name for name, declared in STUDIES.items() if declared.__module__.startswith("lignite.")}

    assert own == asked
