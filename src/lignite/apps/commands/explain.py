"""`lignite explain`: tokens that speak for and against a prediction."""

from typing import Annotated, Any

import typer

from lignite.apps.arguments import count_results, parse_targets, read_inputs
from lignite.apps.outputs import Look, check_outputs, deliver, planned
from lignite.apps.shared import (
    BUNDLED,
    COMPUTED,
    ExplanationLook,
    Lines,
    Loading,
    Memory,
    ModelName,
    Outputs,
    Pair,
    Quiet,
    Text,
    TokenLook,
    Top,
    takes,
    takes_method_options,
)
from lignite.methods import METHODS
from lignite.methods.options import choose
from lignite.targets.target import PANEL, Target

EXAMPLES = """[bold]Examples[/bold]

  lignite explain "The plot was thin, but the acting was superb."

  lignite explain "A superb film." --target positive --against negative -o why.html

  lignite explain "A superb film." --targets all -o why.html   [dim](every class, to switch between)[/dim]

  lignite explain "The capital of France is" --model ./my-llama --target " Paris"

  lignite explain "Once upon a time" --model ./my-gpt --steps 5 -o steps.html

  lignite explain "A superb film." --method relevance-flow --baseline zero,mask --special share

  lignite explain --file sentences.txt -o why.html   [dim](one page or picture; .nc and .json are numbered)[/dim]

  lignite explain photo.jpg --model ./my-vit -o why.png -o why.html

  lignite explain --model tiny-digits   [dim](a picture of its own)[/dim]"""

MethodName = Annotated[
    str,
    typer.Option(
        "--method", metavar="NAME", rich_help_panel=COMPUTED,
        help=f"One of {', '.join(METHODS)}; with options as in ca-lig:path=layer,tol=0.01.",
    ),
]  # fmt: skip
Targets = Annotated[
    str | None,
    typer.Option(
        "--targets", metavar="all|K", rich_help_panel=PANEL, show_default="the one of --target",
        help="Several at once, in one result: every class, or so many of the most probable classes or tokens.",
    ),
]  # fmt: skip
Window = Annotated[
    int | None,
    typer.Option(
        "--window", metavar="N", rich_help_panel=COMPUTED, show_default="the whole text at once",
        help="Read texts that are too long in windows of so many tokens.",
    ),
]  # fmt: skip
Overlap = Annotated[
    int | None,
    typer.Option(
        "--overlap", metavar="N", rich_help_panel=COMPUTED, show_default="a quarter of a window",
        help="Tokens that neighbouring windows share.",
    ),
]  # fmt: skip


@takes("asked", Target)
@takes_method_options("options")
@takes("loading", Loading)
@takes("token", TokenLook)
@takes("shown", ExplanationLook)
def explain(
    text: Text = None,
    *,
    pair: Pair = None,
    file: Lines = None,
    asked: Target,
    targets: Targets = None,
    method: MethodName = "relevance-flow",
    options: dict[str, Any],
    window: Window = None,
    overlap: Overlap = None,
    memory: Memory = None,
    model: ModelName = BUNDLED,
    loading: Loading,
    output: Outputs = None,
    token: TokenLook,
    shown: ExplanationLook,
    top: Top = None,
    quiet: Quiet = False,
) -> None:
    """Which words or patches speak for and against a prediction, and at which layer each begins to matter.

    Prints the text, or the patches of an image, in colours, warm for and cool against, the strongest, every layer, and
    what the scores miss.
    """
    chosen, several = choose(method, options), parse_targets(targets)
    outputs = output or []
    inputs = read_inputs(text, pair, file, model)
    check_outputs([name for name, _ in planned(outputs, count_results(inputs), explanations=True)])
    with loading.at_work(model, quiet=quiet) as (terminal, loaded):
        with terminal.working("explaining") as progress:
            from lignite.api.explain import explain as compute

            wanted = None if asked == Target() else asked
            results = compute(
                loaded, inputs, target=wanted, targets=several, method=chosen, window=window, overlap=overlap,
                memory=memory, progress=progress,
            )  # fmt: skip
        deliver(terminal, results, outputs, Look(explanation=shown, token=token, top=top))
