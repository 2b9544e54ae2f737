"""`lignite evaluate`: methods side by side on a data set, as a table, a page and curves."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from lignite.apps.arguments import parse_names
from lignite.apps.declare import takes
from lignite.apps.outputs import check_outputs
from lignite.apps.shared import BUNDLED, COMPUTED, SHOWN, Loading, Memory, ModelName, Quiet
from lignite.apps.terminal import Terminal, short_warnings
from lignite.data.columns import Columns
from lignite.errors import OptionError
from lignite.options import COST

ENDINGS = (".json", ".csv", ".html", ".htm", ".png", ".svg", ".pdf")
EXAMPLES = """[bold]Examples[/bold]

  lignite evaluate reviews.jsonl --label label --limit 100

  lignite evaluate reviews.jsonl --methods "ca-lig,ca-lig:path=layer,baseline=zero,ig,occlusion" -o table.html

  lignite evaluate data.csv --text review --rationale evidence --metrics deletion,insertion,auprc

  lignite evaluate photos.jsonl -m ./my-vit --label label --mask mask --fills black,blur

  lignite evaluate data.parquet -m ./my-model --resume run.jsonl -o curves.png   [dim](goes on after a stop)[/dim]"""


class Command(TyperCommand):
    """Lists the metrics below its examples; they are looked up when help is asked for, since they bring torch along."""

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
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", metavar="N", min=1, rich_help_panel="Data", show_default="all",
        help="Measure so many examples, drawn at random.",
    ),
]  # fmt: skip
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--methods", metavar="LIST", rich_help_panel=COMPUTED, show_default="the main ones",
        help="Methods, each with its own options if need be: ca-lig:path=layer,baseline=mask+zero,ig. "
        "A row random is always added.",
    ),
]  # fmt: skip
Metrics = Annotated[
    str | None,
    typer.Option(
        "--metrics", metavar="LIST", rich_help_panel=COMPUTED, show_default="those that the columns allow",
        help="Such as deletion,insertion,comprehensiveness or auprc; an unknown name brings the whole list.",
    ),
]  # fmt: skip
Explained = Annotated[
    str | None,
    typer.Option(
        "--target", metavar="CLASS", rich_help_panel=COMPUTED, show_default="the predicted one",
        help="Class to explain.",
    ),
]  # fmt: skip
Against = Annotated[
    str | None,
    typer.Option(
        "--against", metavar="CLASS", rich_help_panel=COMPUTED, show_default=False,
        help="With --target: explain the difference of the two logits.",
    ),
]  # fmt: skip
OwnLabel = Annotated[
    bool,
    typer.Option(
        "--explain-label", rich_help_panel=COMPUTED, show_default=False,
        help="Explain each example's own label, right or wrong; with --cells and no --label, all of a mosaic.",
    ),
]  # fmt: skip
Fills = Annotated[
    str | None,
    typer.Option(
        "--fills", metavar="LIST", rich_help_panel=COMPUTED, show_default="the first that the model has",
        help="What stands in the place of removed tokens: mask, pad, delete; in images black, grey, blur.",
    ),
]  # fmt: skip
Points = Annotated[
    int, typer.Option("--steps", metavar="N", min=1, rich_help_panel=COMPUTED, help="Points of the curves.")
]
Smooth = Annotated[
    bool,
    typer.Option(
        "--smooth", rich_help_panel=COMPUTED, show_default=False,
        help="Compare relevance with masks after drawing it between the patches' centres, without edges.",
    ),
]  # fmt: skip
Seed = Annotated[
    int, typer.Option("--seed", metavar="N", rich_help_panel=COMPUTED, help="Of samples and random methods.")
]
Confidence = Annotated[
    float, typer.Option("--confidence", metavar="SHARE", rich_help_panel=COMPUTED, help="Of the intervals.")
]
Reference = Annotated[
    str | None,
    typer.Option(
        "--reference", metavar="METHOD", rich_help_panel=COMPUTED, show_default="the first",
        help="Method that the others are tested against.",
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


@takes("columns", Columns)
@takes("loading", Loading)
def evaluate(
    file: Data, *, columns: Columns, limit: Limit = None, methods: Methods = None, metrics: Metrics = None,
    target: Explained = None, against: Against = None, explain_label: OwnLabel = False, fills: Fills = None,
    steps: Points = 10, smooth: Smooth = False, seed: Seed = 0, confidence: Confidence = 0.95,
    reference: Reference = None, resume: Resume = None, memory: Memory = None, model: ModelName = BUNDLED,
    loading: Loading, output: Outputs = None, quiet: Quiet = False,
) -> None:  # fmt: skip
    """How far the explanations of several methods can be trusted: one table, on the same examples.

    Removes tokens or patches and asks the model, compares with human evidence, and gives every mean its interval.
    """
    outputs = output or []
    check_outputs(outputs, ENDINGS, ENDINGS)
    if against is not None and target is None:
        raise OptionError("--against needs --target beside it: the difference of two logits is explained.")
    terminal = Terminal(quiet=quiet)
    with short_warnings(quiet=quiet):
        with terminal.working(f"loading {model}"):
            loaded = loading.load(model)
        with terminal.working("explaining and measuring") as progress:
            from lignite.api.compared import DEFAULT_METHODS
            from lignite.api.evaluate import evaluate as compute

            result = compute(
                loaded, file, ",".join(methods) if methods else DEFAULT_METHODS, metrics,
                target=target if against is None else (target, against), explain_label=explain_label, limit=limit,
                seed=seed, fills=parse_names(fills) or None, steps=steps, smooth=smooth, confidence=confidence,
                reference=reference, resume=resume, memory=memory, progress=progress, **columns.values(),
            )  # fmt: skip
    result = replace(result, attrs={**result.attrs, "command": shlex.join(["lignite", *sys.argv[1:]])})
    for path in outputs:  # files first: whoever reads the table through a pipe may stop reading
        result.save(path)
        terminal.note(f"wrote {path}")
    if not quiet:
        from lignite.views.evaluation.terminal import print_evaluation

        print_evaluation(result, console=terminal.out)
