"""`lignite view`: saved results, looked at or converted."""

import tempfile
import webbrowser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lignite.apps.arguments import parse_numbers
from lignite.apps.commands.evaluate import ENDINGS as EVALUATED
from lignite.apps.commands.flow import check_head, choose_map
from lignite.apps.outputs import PAGES, Look, check_outputs, deliver, planned, write
from lignite.apps.shared import SHOWN, ExplanationLook, FlowLook, Outputs, Quiet, TokenLook, Top, takes
from lignite.apps.terminal import Terminal, complain, short_warnings
from lignite.errors import OptionError
from lignite.wording import one_line

if TYPE_CHECKING:
    import xarray as xr

EXAMPLES = """[bold]Examples[/bold]

  lignite view flow.nc

  lignite view flow.nc --layers 2 --map attention --head 3 --top 10

  lignite view flow.nc -o flow.html -o flow.png --quiet

  lignite view why.nc --tokens --special share

  lignite view ca-lig.nc ig.nc shap.nc -o compare.html   -o compare.png

  lignite view why.nc --open

  lignite view reviews -o reviews.html   [dim](the folder of lignite run, summed up)[/dim]"""

Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE...", show_default=False,
        help="A saved result, .nc or .json. Several explanations share a page, to compare methods or targets. The "
        "folder of lignite run is summed up.",
    ),
]  # fmt: skip
Layers = Annotated[
    str | None,
    typer.Option(
        "--layers", "--layer", metavar="LIST", rich_help_panel=SHOWN, show_default="all",
        help="Layers to show and write, such as 0,2-4,-1 (-1: the last in the file).",
    ),
]  # fmt: skip
OpenPage = Annotated[
    bool,
    typer.Option(
        "--open", rich_help_panel=SHOWN, show_default=False, help="Open the interactive page in the web browser."
    ),
]


@takes("token", TokenLook)
@takes("of_flow", FlowLook)
@takes("of_explanation", ExplanationLook)
def view(
    files: Files,
    *,
    layers: Layers = None,
    token: TokenLook,
    of_flow: FlowLook,
    of_explanation: ExplanationLook,
    top: Top = None,
    output: Outputs = None,
    open_page: OpenPage = False,
    quiet: Quiet = False,
) -> None:
    """Look at saved results, or convert them. The model is not needed."""
    from lignite.results.io import open as read

    chosen = parse_numbers("layers", layers)
    outputs = output or []
    if any(file.is_dir() for file in files):
        asked = {"layers": layers, "top": top}
        for look in (token, of_flow, of_explanation):
            asked |= look.values()
        _refuse_looks(asked)
        _view_corpus(files, outputs, open_page=open_page, quiet=quiet)
        return
    check_outputs([name for name, _ in planned(outputs, len(files), explanations=True)])
    terminal = Terminal(quiet=quiet)
    with short_warnings(quiet=quiet):
        with terminal.working(f"reading {', '.join(str(file) for file in files)}"):
            results = [_choose_layers(read(file), chosen) for file in files]
        looks = [_look(result, token, of_flow, of_explanation, top) for result in results]
        deliver(terminal, results, outputs, looks[0])
        if open_page:
            _open_pages(results, files, outputs, looks[0])


def _refuse_looks(asked: Mapping[str, Any]) -> None:
    """A summary of many results has no single one to look into."""
    for name, value in asked.items():
        if value is not None:
            raise OptionError(
                f"{name}={value!r} chooses what is shown of one result; the folder of a run is summed up as a whole. "
                "Leave it out, or save one of lignite.open(FOLDER) and view that."
            )


def _view_corpus(files: Sequence[Path], outputs: Sequence[Path], *, open_page: bool, quiet: bool) -> None:
    """Sum up the folder of a run, as findings and as a page."""
    from lignite.results.folder import read_manifest

    if len(files) > 1:
        raise OptionError("a folder of a run is looked at by itself; name it alone.")
    opened, new = _to_open(files[0], outputs) if open_page else (None, [])
    outputs = [*outputs, *new]
    if read_manifest(files[0])["verb"] == "evaluate":
        _view_evaluation(files[0], outputs, quiet=quiet)
    else:
        _view_summary(files[0], outputs, quiet=quiet)
    if opened is not None:
        _open_page(opened)


def _view_summary(folder: Path, outputs: Sequence[Path], *, quiet: bool) -> None:
    """Sum up explanations or flows."""
    from lignite.views.corpus.page import report_corpus, write_corpus_page

    check_outputs(outputs, PAGES, PAGES[:1])
    terminal = Terminal(quiet=quiet)
    with short_warnings(quiet=quiet):
        with terminal.working(f"summing up {folder}"):
            report, manifest = report_corpus(folder)
        for path in outputs:  # files first: whoever reads the findings through a pipe may stop reading
            write_corpus_page(report, manifest, path)
            terminal.note(f"wrote {path}")
        for line in (report.question, *(f"- {finding}" for finding in report.findings)):
            terminal.out.print(one_line(line), markup=False, soft_wrap=True)


def _view_evaluation(folder: Path, outputs: Sequence[Path], *, quiet: bool) -> None:
    """Show what was measured of a corpus as `lignite evaluate` shows it."""
    from lignite.results.folder import open_folder
    from lignite.views.evaluation.terminal import print_evaluation

    check_outputs(outputs, EVALUATED, EVALUATED)
    terminal = Terminal(quiet=quiet)
    with short_warnings(quiet=quiet):
        with terminal.working(f"summing up {folder}"):
            result: Any = open_folder(folder)
        for path in outputs:
            result.save(path)
            terminal.note(f"wrote {path}")
        if not quiet:
            print_evaluation(result, console=terminal.out)


def _open_pages(results: Sequence["xr.Dataset"], files: Sequence[Path], outputs: Sequence[Path], look: Look) -> None:
    from lignite.results.classes import each_class
    from lignite.results.schema import is_explanation

    asked, new = _to_open(files[0], outputs)
    explanations = all(is_explanation(result) for result in each_class(results))
    for page, which in planned([asked], len(results), explanations=explanations):
        if new:
            write(results[which], page, look)
        _open_page(page)


def _to_open(file: Path, outputs: Sequence[Path]) -> tuple[Path, list[Path]]:
    """The page that is opened; and where none was asked for, one that has to be written, and is read later."""
    asked = [path for path in outputs if path.suffix.lower() in PAGES][:1]
    new = [] if asked else [Path(tempfile.mkdtemp(prefix="lignite-")) / f"{file.resolve().stem}.html"]
    return [*asked, *new][0], new


def _open_page(page: Path) -> None:
    if not webbrowser.open(page.resolve().as_uri()):
        complain(f"no web browser was found: open {page} by hand.")


def _look(
    result: "xr.Dataset", token: TokenLook, of_flow: FlowLook, of_explanation: ExplanationLook, top: int | None
) -> Look:
    """How a result is looked at; options of one kind of result are refused for the other."""
    from lignite.results.classes import each_class
    from lignite.results.schema import is_explanation

    if all(is_explanation(one) for one in each_class([result])):
        for name, value in of_flow.values().items():
            if value is not None:
                raise OptionError(f"--{name} chooses what is shown of a flow; this result is an explanation.")
        return Look(explanation=of_explanation, token=token, top=top)
    if token.special == "share":
        raise OptionError("--special share divides the scores of explanations; this result is a flow. Try hide.")
    for name, value in of_explanation.values().items():
        if value is not None:
            raise OptionError(f"--{name} is about the patches of an explanation; this result is a flow.")
    from lignite.views.flow.facts import maps_in

    map = choose_map(of_flow.map, of_flow.head, maps_in(result))
    if of_flow.head is not None:
        check_head(of_flow.head, int(result["head"].max()) + 1)
    return Look(flow=FlowLook(map=map, head=of_flow.head), token=token, top=top)


def _choose_layers(result: "xr.Dataset", layers: tuple[int, ...] | None) -> "xr.Dataset":
    """Some layers of a result, in its order; negative numbers count from its last."""
    if layers is None:
        return result
    if "layer" not in result.dims:
        raise OptionError("--layers: this result has no layers; leave it out.")
    present = [int(layer) for layer in result.layer.values]
    outside = [layer for layer in layers if layer not in present and not -len(present) <= layer < 0]
    if outside:
        raise OptionError(f"--layers {outside[0]} is not in this result, which holds {', '.join(map(str, present))}.")
    wanted = {present[layer] if layer < 0 else layer for layer in layers}
    return result.sel(layer=[layer for layer in present if layer in wanted])
