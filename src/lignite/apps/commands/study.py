"""`lignite study`: questions over a corpus, a command for each that is made of its class."""

import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lignite.apps.shared import BUNDLED, COMPUTED, SHOWN, Loading, ModelName, Quiet, takes
from lignite.apps.terminal import Listening, Terminal, short_warnings
from lignite.options import COST
from lignite.wording import one_line

if TYPE_CHECKING:
    from lignite.studies.study import Study

FINISHED = "answers.jsonl"
"""Where a run keeps its finished sentences, in the folder of its results."""

EXAMPLES = """[bold]Examples[/bold]

  lignite study consistency --data dev.conllu --limit 100 -o consistency

  lignite study consistency --data wsj.mrg -m bert-base-uncased -o penn   [dim](goes on after a stop)[/dim]"""

Data = Annotated[
    Path,
    typer.Option(
        "--data", metavar="FILE", rich_help_panel="Data", show_default=False,
        help="Sentences: .conllu (CoNLL-U), .mrg, .prd, .parse, .penn (trees in brackets) or .txt (one a line); where "
        "a study names columns, examples as lignite evaluate reads them. Each also .gz.",
    ),
]  # fmt: skip
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", metavar="N", min=1, rich_help_panel="Data", show_default="all",
        help="Ask so many sentences, drawn at random; more keep those of fewer.",
    ),
]  # fmt: skip
Seed = Annotated[int, typer.Option("--seed", metavar="N", rich_help_panel=COMPUTED, help="Of everything drawn.")]
Resume = Annotated[
    Path | None,
    typer.Option(
        "--resume", metavar="FILE", rich_help_panel=COST, show_default=f"{FINISHED} in the folder of -o",
        help="Keep finished sentences in this file; the same command goes on from it after a stop.",
    ),
]  # fmt: skip
Folder = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FOLDER", rich_help_panel=SHOWN, show_default=False,
        help="Write a page (index.html), the numbers (NetCDF), every table (CSV, LaTeX) and figure (PNG, PDF).",
    ),
]  # fmt: skip


class Studies(Listening):
    """A command for each study, made when it is asked for: studies bring torch along."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Name every study."""
        return list(_known())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Make the command of one."""
        found = _known().get(cmd_name)
        return None if found is None else _command(found)


app = typer.Typer(cls=Studies, no_args_is_help=True, add_completion=False, rich_markup_mode="rich")


@app.callback(epilog=EXAMPLES)
def _study() -> None:
    """Questions over a corpus, with tables, figures, intervals, and a page that explains itself."""


def _known() -> "dict[str, type[Study]]":
    from lignite.studies import STUDIES

    return STUDIES


def _command(study: "type[Study]") -> Any:
    from lignite.studies.asking import summary

    single = typer.Typer(add_completion=False, rich_markup_mode="rich")
    single.command(study.name, help=summary(study))(_function(study))
    return typer.main.get_command(single)


def _function(study: "type[Study]") -> Callable[..., None]:
    @takes("asked", study)
    @takes("loading", Loading)
    def run(
        *, data: Data, limit: Limit = None, seed: Seed = 0, asked: "Study", resume: Resume = None,
        model: ModelName = BUNDLED, loading: Loading, output: Folder = None, quiet: Quiet = False,
    ) -> None:  # fmt: skip
        from lignite.studies.asking import report, write
        from lignite.studies.study import Run

        terminal = Terminal(quiet=quiet)
        with short_warnings(quiet=quiet):
            asked.check_corpus(data)
            with terminal.working(f"loading {model}"):
                loaded = loading.load(model)
            with terminal.working("sentence by sentence") as progress:
                kept = _kept(resume, output)
                found = asked.ask(loaded, data, Run(limit=limit, seed=seed, resume=kept, progress=progress))
            found = found.assign_attrs(command=shlex.join(["lignite", *sys.argv[1:]]))
            if output is not None:
                write(found, output)
                terminal.note(f"wrote {output / 'index.html'}, with its numbers, tables and figures")
            for line in _told(report(found)):
                terminal.out.print(line, markup=False, soft_wrap=True)

    return run


def _kept(resume: Path | None, output: Path | None) -> Path | None:
    if resume is not None or output is None:
        return resume
    from lignite.views.study.page import make_folder

    return make_folder(output) / FINISHED


def _told(report: Any) -> Iterator[str]:
    yield one_line(report.title)
    yield from (f"- {one_line(finding)}" for finding in report.findings)
