"""How the command line talks: results to standard output, everything else to standard error."""

import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, ConsoleDimensions
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text
from typer.core import TyperGroup

from lignite.errors import GridError, InputError, LigniteError, LigniteWarning, OptionError
from lignite.wording import one_line

_ASSIGNED = (
    r"""(?<![\w:,.=+'"\[-])(?P<name>{names})="""
    r"""(?P<value>'[^']*'|"[^"]*"|\[[^\]]*\]|\([^)]*\)|[^\s,;:)]*[^\s,;:.)]|)"""
)
"""`name=value` in a sentence; within a method's own options, `ca-lig:path=layer,tol=0.01`, it is what is typed."""


class Spoken:
    """How one command calls its options.

    Examples
    --------
    >>> Spoken({"path": "--path", "ends": "--ends"}, flags={"ends"}).say("ends=True, path='input' or path='layer'.")
    '--ends, --path input or --path layer.'
    """

    def __init__(self, options: Mapping[str, str], *, flags: Iterable[str] = ()) -> None:
        self.options = dict(options)
        self.flags = frozenset(flags)

    @classmethod
    def of(cls, parameters: Iterable[Any]) -> "Spoken":
        """The options of a command, and by which names the library knows them."""
        options, flags = {}, set()
        for parameter in parameters:
            long = [name for name in parameter.opts if name.startswith("--")]
            if long:
                options[parameter.name] = long[0]
                if getattr(parameter, "is_flag", False):
                    flags.add(parameter.name)
        if "target" in options:
            options.setdefault("label", options["target"])  # of a lignite.Target
        return cls(options, flags=flags)

    def say(self, message: str) -> str:
        """The message in words that can be typed."""
        if not self.options:
            return message
        names = "|".join(sorted(map(re.escape, self.options), key=len, reverse=True))
        message = re.sub(_ASSIGNED.format(names=names), self._typed, message)
        long = "|".join(re.escape(name) for name in self.options if "_" in name)  # no such word is English
        return re.sub(rf"(?<![\w-])({long})\b(?!=)", lambda found: self.options[found[1]], message) if long else message

    def _typed(self, found: re.Match[str]) -> str:
        name, value = found["name"], found["value"]
        option = self.options[name]
        if name in self.flags or not value or value == "None":
            return f"without {option}" if value in ("False", "None") else option
        if value[0] in "[(":
            value = value[1:-1].replace(", ", ",").rstrip(",")
        elif value[0] in "'\"" and not re.search(r"\s", value):  # what holds a blank is quoted in a shell, too
            value = value[1:-1]
        return f"{option} {value}"


NARROW, NUMBERS = 60, 48
"""Columns of a terminal where there is room for numbers alone, and those that they and a bar take of a wider one: else
counts would be cut off before words are."""

_PACKAGE = Path(__file__).parents[1]
_spoken = Spoken({})


def exit_code(error: LigniteError) -> int:
    """2 where what was asked has to change, 1 where the world did not play along."""
    return 2 if isinstance(error, InputError | OptionError | GridError) else 1


def listen(spoken: Spoken) -> None:
    """From now on, call options as the command does that runs."""
    global _spoken
    _spoken = spoken


def complain(message: object) -> None:
    """One line on standard error, never wrapped, in the words of the command line."""
    print(f"lignite: {one_line(_spoken.say(str(message)))}", file=sys.stderr)


class Listening(TyperGroup):
    """Commands whose options messages name as the one does that runs."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command, and call options as it does from now on."""
        found = super().resolve_command(ctx, args)
        if found[1] is not None:
            listen(Spoken.of(found[1].params))
        return found


class _Rate(ProgressColumn):
    """How many a second are finished."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.3g}/s")


def _console(**how: Any) -> Console:
    """A console as wide as its terminal; Rich takes every terminal that says it is dumb for one of 80 columns."""
    console = Console(**how)
    if console.is_dumb_terminal:
        console.size = ConsoleDimensions(*shutil.get_terminal_size())
    return console


class Terminal:
    """Where a command prints. `out` carries results, `err` the rest; both are silent under --quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.out = _console(quiet=quiet, highlight=False)
        self.err = _console(quiet=quiet, highlight=False, stderr=True)

    def note(self, message: str) -> None:
        """Tell what was done, on standard error."""
        if not self.quiet:
            print(one_line(message), file=sys.stderr)

    @contextmanager
    def working(self, text: str, *, rate: bool = False) -> Iterator[Callable[[int, int], None]]:
        """Show `text` with a bar while something runs, and where it takes long its `rate` and the time left.

        Nothing where standard error is no terminal.
        """
        room = Column(no_wrap=True, overflow="ellipsis", max_width=max(1, self.err.width - NUMBERS))
        described = (TextColumn("{task.description}", markup=False, table_column=room), BarColumn())
        progress = Progress(
            SpinnerColumn(),
            *(described if self.err.width > NARROW else ()),
            MofNCompleteColumn(),
            *((_Rate(), TimeRemainingColumn()) if rate else (TimeElapsedColumn(),)),
            console=self.err,
            transient=True,
            disable=self.quiet or not self.err.is_terminal,
        )
        with progress:
            task = progress.add_task(one_line(text), total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def short_warnings(*, quiet: bool) -> Iterator[None]:
    """Print lignite's own warnings as one line each; those of other libraries are not for this reader.

    `python -W …` and PYTHONWARNINGS, asked for by hand, stay in charge.
    """
    if sys.warnoptions:
        yield
        return

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        ours = issubclass(category, LigniteWarning) or _PACKAGE in Path(filename).parents
        if ours and not quiet:
            complain(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield
