"""The command line: the library's verbs and words, results on standard output, everything else on standard error.

Modules that import torch are imported inside the commands that need them, so that help and saved results come at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from lignite.apps.commands import check, compare, dashboard, evaluate, explain, flow, models, report, run, study, view
from lignite.apps.terminal import Listening, complain, exit_code
from lignite.errors import LigniteError
from lignite.version import VERSION
from lignite.wording import one_line


class _Commands(Listening):
    """Turns errors that lignite raises on purpose, and an interruption, into one line and an exit code."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        with _harmless_usage():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        try:
            with _harmless_usage():
                return super().invoke(ctx)
        except LigniteError as error:
            complain(error)
            raise typer.Exit(exit_code(error)) from None
        except KeyboardInterrupt:
            complain("interrupted; files that were not finished are not written.")
            raise typer.Exit(130) from None
        except MemoryError as error:
            complain(
                f"there is not enough memory ({error or 'none was left'}). Give a shorter input, or a lower --memory."
            )
            raise typer.Exit(1) from None


@contextmanager
def _harmless_usage() -> Iterator[None]:
    """What is wrong with a command line repeats what was typed, or what a script put there."""
    try:
        yield
    except _UsageError as error:
        error.message = one_line(error.message)
        raise


_UsageError: Any = typer.BadParameter.__mro__[1]


app = typer.Typer(
    name="lignite",
    cls=_Commands,
    help="Explain transformers with exact, certified layer-wise integrated gradients.",
    epilog="Exit codes: 0 done; 1 failed, or the model cannot be explained; 2 wrong input or options; 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line; ends the process."""
    app()


def _print_version(wanted: bool) -> bool:
    if wanted:
        print(f"lignite {VERSION}")
        raise typer.Exit
    return wanted


@app.callback()
def _lignite(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command(epilog=flow.EXAMPLES)(flow.flow)
app.command(epilog=explain.EXAMPLES)(explain.explain)
app.command(epilog=view.EXAMPLES)(view.view)
app.command(epilog=compare.EXAMPLES)(compare.compare)
app.command(epilog=report.EXAMPLES)(report.report)
app.command(epilog=check.EXAMPLES)(check.check)
app.command(epilog=models.EXAMPLES)(models.models)
app.command(cls=evaluate.Command, epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.add_typer(study.app, name="study")
app.command(epilog=dashboard.EXAMPLES)(dashboard.dashboard)
app.add_typer(run.app, name="run")
