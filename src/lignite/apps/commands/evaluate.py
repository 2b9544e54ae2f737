"""`lignite evaluate`: methods side by side on a data set, as a table, a page and curves."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from lignite.api.evaluate_options import EvaluateOptions
from lignite.apps.outputs import check_outputs
from lignite.apps.shared import BUNDLED, SHOWN, Loading, Memory, ModelName, Quiet, takes
from lignite.options import COST

ENDINGS = (".json", ".csv", ".html", ".htm", ".png", ".svg", ".pdf")
EXAMPLES = """[bold]Examples[/bold]

  lignite evaluate reviews.jsonl --label label --limit 100

  lignite evaluate reviews.jsonl --methods "ca-lig,ca-lig:path=layer,baseline=zero,ig,occlusion" -o table.html

  lignite evaluate data.csv --text review --rationale evidence --metrics deletion,insertion,auprc

  lignite evaluate photos.jsonl -m ./my-vit --label label --mask mask --fills black,blur

  lignite evaluate data.parquet -m ./my-model --resume run.jsonl -o curves.png   [dim](goes on after a stop)[/dim]"""


class Command(TyperCommand):
    """Lists the metrics below its examples; they are looked up when help is asked for."""

    def format_help(self, *args: Any, **options: Any) -> None:
        """Write the help, metrics included."""
        from lignite.metrics.registry import described

        listed = "\n\n".join(f"  {name}: {meaning}" for name, meaning in described())
        self.epilog = f"{EXAMPLES}\n\n[bold]Metrics[/bold]\n\n{listed}"
        super().format_help(*args, **options)


Data = Annotated[
    str,
    typer.Argument(
        metavar="FILE", show_default=False,
        help="Examples: .jsonl, .json, .csv, .tsv (each also .gz) or .parquet; or a folder of images.",
    ),
]  # fmt: skip
Resume = Annotated[
    Path | None,
    typer.Option(
        "--resume", metavar="FILE", rich_help_panel=COST, show_default=False,
        help="Keep finished work in this file and go on from it after a stop; methods and examples may be added.",
    ),
]  # fmt: skip
Outputs = Annotated[
    list[Path] | None,
    typer.Option(
        "--output", "-o", metavar="FILE", rich_help_panel=SHOWN, show_default=False,
        help="Write the result; the ending picks the format: .json (everything), .csv (table), .html (page), .png, "
        ".svg, .pdf (curves). May be given several times. A file that exists is replaced.",
    ),
]  # fmt: skip


@takes("options", EvaluateOptions)
@takes("loading", Loading)
def evaluate(
    file: Data, *, options: EvaluateOptions, resume: Resume = None, memory: Memory = None, model: ModelName = BUNDLED,
    loading: Loading, output: Outputs = None, quiet: Quiet = False,
) -> None:  # fmt: skip
    """How far the explanations of several methods can be trusted: one table, on the same examples.

    Removes tokens or patches and asks the model, compares with human evidence, and gives every mean its interval.
    """
    outputs = output or []
    check_outputs(outputs, ENDINGS, ENDINGS)
    with (
        loading.at_work(model, quiet=quiet) as (terminal, loaded),
        terminal.working("explaining and measuring") as progress,
    ):
        from lignite.api.evaluate import evaluate as compute

        result = compute(loaded, file, request=options, resume=resume, memory=memory, progress=progress)
    result = replace(result, attrs={**result.attrs, "command": shlex.join(["lignite", *sys.argv[1:]])})
    for path in outputs:  # files first: whoever reads the table through a pipe may stop reading
        result.save(path)
        terminal.note(f"wrote {path}")
    if not quiet:
        from lignite.views.evaluation.terminal import print_evaluation

        print_evaluation(result, console=terminal.out)
