"""`lignite report`: a decision in plain words, and what would have changed it."""

from typing import Annotated

import typer

from lignite.apps.arguments import read_inputs
from lignite.apps.outputs import PAGES, RESULTS, Look, check_outputs, deliver
from lignite.apps.shared import BUNDLED, COMPUTED, Loading, Memory, ModelName, Outputs, Pair, Quiet, Text, takes
from lignite.methods import METHODS

EXAMPLES = """[bold]Examples[/bold]

  lignite report "The plot was thin, but the acting was superb." -o report.html

  lignite report "A letter about a loan." --model ./my-model --second ig -o report.html -o report.nc

  lignite report photo.jpg --model ./my-vit -o report.html"""

MethodName = Annotated[
    str,
    typer.Option("--method", metavar="NAME", rich_help_panel=COMPUTED, help=f"One of {', '.join(METHODS)}."),
]
Second = Annotated[
    str | None,
    typer.Option(
        "--second", metavar="NAME", rich_help_panel=COMPUTED, show_default="occlusion; ig beside it",
        help="The method that the explanation is compared with.",
    ),
]  # fmt: skip
Seed = Annotated[int, typer.Option("--seed", metavar="N", rich_help_panel=COMPUTED, help="Of words drawn by lot.")]


@takes("loading", Loading)
def report(
    text: Text = None,
    *,
    pair: Pair = None,
    method: MethodName = "relevance-flow",
    second: Second = None,
    seed: Seed = 0,
    memory: Memory = None,
    model: ModelName = BUNDLED,
    loading: Loading,
    output: Outputs = None,
    quiet: Quiet = False,
) -> None:
    """Tell in plain words what was decided, why, how sure that is, and what would have changed it.

    Every change that it names was tried: words are taken out or exchanged, patches covered, the model is asked again.
    """
    outputs, (given,) = output or [], read_inputs(text, pair, None, model)
    check_outputs(outputs, (*RESULTS, *PAGES), (*RESULTS, ".html"))
    with loading.at_work(model, quiet=quiet) as (terminal, loaded):
        with terminal.working("asking what would have changed the decision"):
            from lignite.api.report import report as compute

            found = compute(loaded, given, method=method, second=second, seed=seed, memory=memory)
        deliver(terminal, [found], outputs, Look())
