"""Options of the command line: those that commands share, and those generated from the classes that declare them."""

import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lignite.apps.arguments import parse_numbers
from lignite.apps.terminal import Terminal, short_warnings
from lignite.methods.options import known_options
from lignite.options import COST, Option, Options, option, options_of

BUNDLED = "tiny-sentiment"
COMPUTED, MODEL, SHOWN = "What is computed", "Model", "What is shown"

Outputs = Annotated[
    list[Path] | None,
    typer.Option(
        "--output", "-o", metavar="FILE", rich_help_panel=SHOWN, show_default=False,
        help="Write the result; the ending picks the format: .nc, .json (everything), .csv (a table), .png, .svg, .pdf "
        "(pictures), .html (interactive page). May be given several times. A file that exists is replaced.",
    ),
]  # fmt: skip
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", rich_help_panel=SHOWN, help="Print nothing but errors.", show_default=False)
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory", metavar="SIZE", rich_help_panel=COST,
        show_default="a tenth of what is free, at most 256MiB (4GiB on CUDA)",
        help="For intermediate tensors, such as 2GiB; results do not depend on it.",
    ),
]  # fmt: skip
ModelName = Annotated[
    str, typer.Option("--model", "-m", metavar="NAME", rich_help_panel=MODEL, help="Bundled model, folder or hub id.")
]
Text = Annotated[
    str | None,
    typer.Argument(
        metavar="INPUT", show_default=False,
        help="What to explain: a text, or for models of images a file or a folder of them. With -, or without it, "
        "standard input is read as one text; tiny-digits has a picture of its own.",
    ),
]  # fmt: skip
Pair = Annotated[
    str | None,
    typer.Option("--pair", metavar="TEXT2", show_default=False, help="Second text, for models that read pairs."),
]
Lines = Annotated[
    str | None,
    typer.Option(
        "--file", metavar="FILE", show_default=False,
        help="Explain every line of a file (- for standard input), a text or the name of an image; blank lines are "
        "skipped. "
        "Files written with -o are then numbered: name-1.nc, name-2.nc, ...",
    ),
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Loading(Options):
    """How a model is loaded."""

    task: str | None = option(
        None, "Load another head, such as text-classification, or none: feature-extraction.",
        panel=MODEL, metavar="NAME", unset="as saved",
    )  # fmt: skip
    device: str | None = option(
        None, "Where to compute: cpu, cuda, cuda:1.",
        panel=MODEL, metavar="NAME", unset="cuda where there is one, else cpu",
    )  # fmt: skip
    dtype: str = option(
        "float32", "Precision of the model: float32, float64, float16, bfloat16 or auto (as stored).",
        panel=MODEL, metavar="NAME",
    )  # fmt: skip
    revision: str | None = option(None, "Branch, tag or commit of a model from the hub.", panel=MODEL, metavar="NAME")
    trust_remote_code: bool = option(
        False, "Run Python code that comes with the model. Read that code first.", panel=MODEL
    )

    def load(self, name: str) -> Any:
        """The model of this name."""
        from lignite.models.load import load

        model = load(name, **self.values())
        logging.getLogger("transformers").setLevel(logging.ERROR)  # its advice about kernels is not for this reader
        return model

    @contextmanager
    def at_work(self, name: str, *, quiet: bool) -> Iterator[tuple[Terminal, Any]]:
        """Where to print while something is asked of the model of this name, and the model."""
        terminal = Terminal(quiet=quiet)
        with short_warnings(quiet=quiet):
            with terminal.working(f"loading {name}"):
                model = self.load(name)
            yield terminal, model


@dataclass(frozen=True, kw_only=True)
class FlowLook(Options):
    """How a flow is looked at; None is what nobody asked for."""

    map: str | None = option(
        None, "Map to list and draw. With --detail also whole_heads and whole_circuits.",
        panel=SHOWN, metavar="NAME", unset="first of whole, composed, attention, mlp",
    )  # fmt: skip
    head: int | None = option(
        None, "List and draw one head of attention or whole_heads.", panel=SHOWN, metavar="N", unset="all"
    )


@dataclass(frozen=True, kw_only=True)
class TokenLook(Options):
    """How the tokens of a result are looked at; None is what nobody asked for."""

    tokens: bool | None = option(
        None, "Show the pieces of a word one by one, or add them up.",
        panel=SHOWN, typed="--tokens/--words", unset="words",
    )  # fmt: skip
    special: Literal["show", "rank", "hide", "share"] | None = option(
        None, "Special tokens such as \\[CLS]: show, rank with the others, hide, or share their scores (of "
        "explanations) among the others.",
        panel=SHOWN, metavar="HOW", unset="show",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ExplanationLook(Options):
    """How an explanation is looked at; None is what nobody asked for."""

    smooth: bool | None = option(
        None, "Draw the relevance of an image's patches as lines between their centres, or with their edges.",
        panel=SHOWN, typed="--smooth/--patches", unset="patches",
    )  # fmt: skip


Top = Annotated[
    int | None,
    typer.Option(
        "--top", metavar="K", min=1, rich_help_panel=SHOWN, show_default="5, fewer for many layers",
        help="Scores to list: of each layer of a flow, for and against of an explanation.",
    ),
]  # fmt: skip


Command = Callable[..., None]


def takes(argument: str, record: type[Options]) -> Callable[[Command], Command]:
    """Let a command have the options of a class, and give it the record of them as this argument."""
    declared = {name: (each, each.help) for name, each in options_of(record).items()}
    return lambda command: _spread(command, argument, declared, lambda given: record(**given))


def takes_method_options(argument: str) -> Callable[[Command], Command]:
    """Let a command have every option of every method, and give it those that were typed as this argument."""
    declared = {name: (known.option, known.help) for name, known in known_options().items()}
    return lambda command: _spread(command, argument, declared, dict)


def _spread(
    command: Command,
    argument: str,
    declared: Mapping[str, tuple[Option, str]],
    make: Callable[[dict[str, Any]], Any],
) -> Command:
    """The command with an option for each declared one in place of an argument; None is what nobody typed."""
    signature = inspect.signature(command)
    parameters: list[inspect.Parameter] = []
    for each in signature.parameters.values():
        parameters += [_parameter(*option) for option in declared.values()] if each.name == argument else [each]

    @functools.wraps(command)
    def spread(**typed: Any) -> None:
        given = {name: typed.pop(name) for name in declared}
        read = {name: _read(declared[name][0], value) for name, value in given.items() if value not in (None, [])}
        command(**typed, **{argument: make(read)})

    spread.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    spread.__annotations__ = {each.name: each.annotation for each in parameters}
    return spread


def _parameter(option: Option, help: str) -> inspect.Parameter:
    numbers = not option.choices and not option.holds_several and str not in option.kinds
    kind = next((kind for kind in (bool, int, float) if kind in option.kinds and numbers), str)
    shown = typer.Option(
        option.typed or f"--{option.name.replace('_', '-')}",
        metavar=None if bool in option.kinds else option.metavar,
        rich_help_panel=option.panel,
        show_default=option.unset or option.written(",") or False,
        help=help,
    )
    annotation: Any = Annotated[list[str] | None if option.holds_several else kind | None, shown]
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _read(option: Option, value: Any) -> Any:
    if isinstance(value, list):  # typed several times
        value = ",".join(value)
    if not isinstance(value, str):
        return value
    return parse_numbers(option.name, value) if option.holds_numbers else option.read(value, ",")
