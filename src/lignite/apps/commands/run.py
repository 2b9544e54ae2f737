"""`lignite run`: explanations, flows or an evaluation of a whole corpus, kept in a folder shard by shard."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from lignite.api.evaluate_options import EvaluateOptions
from lignite.api.flow_options import FlowOptions
from lignite.api.run_options import RowOptions, RunOptions
from lignite.apps.commands.explain import MethodName, Overlap, Window
from lignite.apps.shared import BUNDLED, SHOWN, Loading, ModelName, Quiet, takes
from lignite.apps.terminal import Listening, Terminal, complain, short_warnings
from lignite.options import COST
from lignite.targets.target import Target

EXAMPLES = """[bold]Examples[/bold]

  lignite run explain --data reviews.jsonl --model ./my-model -o reviews   [dim](goes on after a stop)[/dim]

  lignite run explain --data reviews.csv --text review --method "ca-lig:path=layer" --workers 4 -o reviews

  lignite run flow --data dev.conllu --limit 100 --maps whole -o flows

  lignite run evaluate --data reviews.jsonl --label label --methods "ca-lig,ig,occlusion" -o measured

  lignite view reviews -o reviews.html"""

Data = Annotated[
    str,
    typer.Option(
        "--data", metavar="FILE", rich_help_panel="Data", show_default=False,
        help="The corpus: .jsonl, .json, .csv, .tsv, .conllu, .mrg, .prd, .parse, .penn or .txt (a text a line), each "
        "also .gz; .parquet; a folder of images, of Parquet files, or one that datasets saved.",
    ),
]  # fmt: skip
Folder = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="FOLDER", rich_help_panel=SHOWN, show_default=False,
        help="Where all is kept; the same command goes on from there after a stop.",
    ),
]  # fmt: skip
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory", metavar="SIZE", rich_help_panel=COST, show_default="256MiB (4GiB on CUDA)",
        help="For intermediate tensors of each worker; part of what is asked: what rounds together depends on it.",
    ),
]  # fmt: skip

app = typer.Typer(cls=Listening, no_args_is_help=True, add_completion=False, rich_markup_mode="rich")


@app.callback(epilog=EXAMPLES)
def _run() -> None:
    """A whole corpus, shard by shard: stopped anywhere, it goes on from there and ends with the same bytes."""


@app.command(epilog=EXAMPLES)
@takes("rows", RowOptions)
@takes("division", RunOptions)
@takes("asked", Target)
@takes("loading", Loading)
def explain(
    *, data: Data, rows: RowOptions, division: RunOptions, asked: Target, method: MethodName = "relevance-flow",
    window: Window = None, overlap: Overlap = None, memory: Memory = None, model: ModelName = BUNDLED,
    loading: Loading, output: Folder, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Explain every row of a corpus: two tables in Parquet, one of examples and one of tokens."""
    wanted = {} if asked == Target() else {"target": asked}
    options = {**wanted, "method": method, "window": window, "overlap": overlap, **rows.values(), **division.values()}
    _run_all("explain", data, options, memory, model, loading, output, quiet=quiet)


@app.command(epilog=EXAMPLES)
@takes("rows", RowOptions)
@takes("division", RunOptions)
@takes("options", FlowOptions)
@takes("loading", Loading)
def flow(
    *, data: Data, rows: RowOptions, division: RunOptions, options: FlowOptions, memory: Memory = None,
    model: ModelName = BUNDLED, loading: Loading, output: Folder, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Find the flow of every row of a corpus: a Zarr store, with a group for each."""
    asked = {"request": options, **rows.values(), **division.values()}
    _run_all("flow", data, asked, memory, model, loading, output, quiet=quiet)


@app.command(epilog=EXAMPLES)
@takes("division", RunOptions)
@takes("options", EvaluateOptions)
@takes("loading", Loading)
def evaluate(
    *, data: Data, division: RunOptions, options: EvaluateOptions, memory: Memory = None, model: ModelName = BUNDLED,
    loading: Loading, output: Folder, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Measure how far explanations by several methods hold, row by row: tables in Parquet of all that was measured."""
    _run_all("evaluate", data, {"request": options, **division.values()}, memory, model, loading, output, quiet=quiet)


def _run_all(
    verb: Any, data: str, options: dict[str, Any], memory: str | None, model: str, loading: Loading, output: Path, *,
    quiet: bool,
) -> None:  # fmt: skip
    terminal = Terminal(quiet=quiet)
    with (
        short_warnings(quiet=quiet),
        _resumable(output),
        terminal.working(f"row by row of {data}", rate=True) as progress,
    ):
        from lignite.api.run import run

        run(
            verb, data=data, model=model, out=output, loading=loading.values(), memory=memory, progress=progress,
            say=terminal.note, **options,
        )  # fmt: skip
    terminal.note(f"wrote {output}; look at it with lignite view {output}")


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    """An interruption loses what was under way, and nothing else."""
    try:
        yield
    except KeyboardInterrupt:
        kept = f"what is finished is kept in {folder}, and the same command goes on from there."
        complain(f"interrupted; {kept if folder.is_dir() else 'nothing was begun yet.'}")
        raise typer.Exit(130) from None
