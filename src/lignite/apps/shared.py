"""Options that several commands share, each declared once."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lignite.apps.terminal import Terminal, short_warnings
from lignite.options import COST, Options, option

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
