"""`lignite compare`: saved results side by side, and where they differ."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lignite.apps.outputs import Look, check_outputs, deliver
from lignite.apps.shared import COMPUTED, SHOWN, Outputs, Quiet
from lignite.apps.terminal import Terminal, short_warnings

EXAMPLES = """[bold]Examples[/bold]

  lignite compare ca-lig.nc ig.nc -o compare.html -o compare.png

  lignite compare before.nc after.nc --name before --name after   [dim](two checkpoints)[/dim]

  lignite compare superb.nc dull.nc   [dim](two texts that differ in a word)[/dim]

  lignite compare ig-*.nc occlusion-*.nc   [dim](two methods on several texts: intervals over texts)[/dim]

  lignite compare flow.nc flow-tuned.nc --map attention"""

Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="RESULT...", show_default=False,
        help="Saved results, .nc or .json; a folder of them is one side of several texts.",
    ),
]  # fmt: skip
Names = Annotated[
    list[str] | None,
    typer.Option(
        "--name", metavar="NAME", rich_help_panel=SHOWN, show_default="by what differs between them",
        help="What a side is called; once for each, in their order.",
    ),
]  # fmt: skip
Reference = Annotated[
    str | None,
    typer.Option(
        "--reference", metavar="NAME", rich_help_panel=COMPUTED, show_default="the first",
        help="The side that the others are compared with.",
    ),
]  # fmt: skip
Tokens = Annotated[
    bool,
    typer.Option("--tokens/--words", rich_help_panel=COMPUTED, show_default="words",
                 help="Compare tokens, which then have to be the same on all sides, or words."),
]  # fmt: skip
Scale = Annotated[
    Literal["relevance", "share"] | None,
    typer.Option(
        "--scale", rich_help_panel=COMPUTED, show_default="relevance where all scores have one unit, else share",
        help="Scores as they are, or as shares of a side's evidence.",
    ),
]  # fmt: skip
Strongest = Annotated[
    int,
    typer.Option("--strongest", metavar="K", min=1, rich_help_panel=COMPUTED,
                 help="How many of the strongest words are looked for on both sides."),
]  # fmt: skip
FlowMap = Annotated[
    Literal["whole", "composed", "attention"],
    typer.Option("--map", rich_help_panel=COMPUTED, help="Of flows: which map is compared."),
]
Top = Annotated[
    int | None,
    typer.Option("--top", metavar="K", min=1, rich_help_panel=SHOWN, show_default="24", help="Words to list."),
]


def compare(
    files: Files,
    *,
    names: Names = None,
    reference: Reference = None,
    tokens: Tokens = False,
    scale: Scale = None,
    strongest: Strongest = 5,
    map: FlowMap = "whole",
    top: Top = None,
    output: Outputs = None,
    quiet: Quiet = False,
) -> None:
    """Put saved results side by side: methods, classes, checkpoints, baselines, or texts that differ in a word.

    Prints where they differ on one scale, and how far they agree. The model is not needed.
    """
    outputs = output or []
    check_outputs(outputs)
    terminal = Terminal(quiet=quiet)
    with short_warnings(quiet=quiet):
        with terminal.working(f"comparing {len(files)} results"):
            from lignite.api.compare import compare as compute

            beside = 0 if reference is None else reference
            found = compute(*files, names=names, reference=beside, tokens=tokens, scale=scale, k=strongest, map=map)
        deliver(terminal, [found], outputs, Look(top=top))
