"""`lignite check`: what each layer of a model offers."""

from typing import Annotated

import typer

from lignite.apps.shared import Loading, Memory, Quiet, takes
from lignite.errors import OptionError

EXAMPLES = """[bold]Examples[/bold]

  lignite check tiny-sentiment

  lignite check ./my-model --length 512

  lignite check ./my-model --input "A sentence of the kind I will explain."

  lignite check ./my-model --quiet && lignite flow "A text." --model ./my-model"""

Name = Annotated[str, typer.Argument(metavar="MODEL", show_default=False, help="Bundled model, folder or hub id.")]
Length = Annotated[
    int | None,
    typer.Option(
        "--length", metavar="N", min=1, show_default="128, or all that the model reads",
        help="Tokens of a random input to check on.",
    ),
]  # fmt: skip
Input = Annotated[
    str | None, typer.Option("--input", metavar="TEXT", show_default=False, help="A text to check on instead.")
]


@takes("loading", Loading)
def check(
    model: Name,
    *,
    length: Length = None,
    text: Input = None,
    memory: Memory = None,
    loading: Loading,
    quiet: Quiet = False,
) -> None:
    """What each layer of a model offers, how exactly, and what a run will cost.

    Takes every block apart and compares it with the model; ends with 1 if some layer cannot be explained.
    """
    if length is not None and text is not None:
        raise OptionError("--length and --input are both given; a text has its own length, give one of the two.")
    with loading.at_work(model, quiet=quiet) as (terminal, loaded), terminal.working("checking layers") as progress:
        from lignite.api.check import check as examine

        report = examine(loaded, length=length, text=text, memory=memory, progress=progress)
    from lignite.apps.check_table import print_check

    print_check(report, console=terminal.out)
    if not report.exact:
        raise typer.Exit(1)
