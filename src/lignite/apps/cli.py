"""The command line: the library's verbs and words, results on standard output, everything else on standard error.

Modules that import torch are imported inside the commands that need them, so that help and saved results come at once.
"""

import json
import logging
import sys
import tempfile
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from lignite.api.flow_options import FlowOptions
from lignite.apps.arguments import parse_numbers, read_lines, read_text
from lignite.apps.declare import takes, takes_method_options
from lignite.apps.outputs import PAGES, Look, check_outputs, is_explanation, planned, show, write
from lignite.apps.spoken import Spoken
from lignite.apps.terminal import Terminal, complain, exit_code, listen, short_warnings
from lignite.calls import check_choice
from lignite.errors import LigniteError, OptionError
from lignite.methods import METHODS
from lignite.methods.options import choose
from lignite.targets.target import Target
from lignite.version import VERSION
from lignite.wording import one_line

if TYPE_CHECKING:
    import xarray as xr

BUNDLED = "tiny-sentiment"
PICTURED = ("tiny-digits",)
"""Bundled models of images, which have pictures of their own to show (`lignite.zoo.samples`)."""

_SPLIT_BY_HEAD = ("whole_heads", "attention")


class _Commands(TyperGroup):
    """Turns errors that lignite raises on purpose, and an interruption, into one line and an exit code."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        with _harmless_usage():
            return super().make_context(*args, **options)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        found = super().resolve_command(ctx, args)
        if found[1] is not None:
            listen(Spoken.of(found[1].params))
        return found

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


# Options that several commands share

_COMPUTED, _COST, _MODEL, _SHOWN = "What is computed", "Precision and cost", "Model", "What is shown"

Outputs = Annotated[
    list[Path] | None,
    typer.Option(
        "--output", "-o", metavar="FILE", rich_help_panel=_SHOWN, show_default=False,
        help="Write the result; the ending picks the format: .nc, .json (everything), .png, .svg, .pdf (heat maps), "
        ".html (interactive page). May be given several times. A file that exists is replaced, in one step.",
    ),
]  # fmt: skip
Map = Annotated[
    str | None,
    typer.Option(
        "--map", metavar="NAME", rich_help_panel=_SHOWN, show_default="first of whole, composed, attention, mlp",
        help="Map to list and draw. With --detail also whole_heads and whole_circuits.",
    ),
]  # fmt: skip
Head = Annotated[
    int | None,
    typer.Option(
        "--head", metavar="N", min=0, rich_help_panel=_SHOWN, show_default="all",
        help="List and draw one head of attention or whole_heads.",
    ),
]  # fmt: skip
SPECIAL = ("show", "hide", "share")
Words = Annotated[
    bool | None,
    typer.Option(
        "--words/--tokens", rich_help_panel=_SHOWN, show_default="words",
        help="Add up the pieces of a word, or show them one by one.",
    ),
]  # fmt: skip
Special = Annotated[
    str | None,
    typer.Option(
        "--special", metavar="HOW", rich_help_panel=_SHOWN, show_default="show",
        help="Special tokens such as \\[CLS]: show, hide, or share their scores among the others.",
    ),
]  # fmt: skip
Smooth = Annotated[
    bool | None,
    typer.Option(
        "--smooth/--patches", rich_help_panel=_SHOWN, show_default="patches",
        help="Draw the relevance of an image's patches as lines between their centres, or with their edges.",
    ),
]  # fmt: skip
Top = Annotated[
    int | None,
    typer.Option(
        "--top", metavar="K", min=1, rich_help_panel=_SHOWN, show_default="5, fewer for many layers",
        help="Scores to list: of each layer of a flow, for and against of an explanation.",
    ),
]  # fmt: skip
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", rich_help_panel=_SHOWN, help="Print nothing but errors.", show_default=False)
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device", metavar="NAME", rich_help_panel=_MODEL, show_default="cuda where there is one, else cpu",
        help="Where to compute: cpu, cuda, cuda:1.",
    ),
]  # fmt: skip
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype", metavar="NAME", rich_help_panel=_MODEL,
        help="Precision of the model: float32, float64, float16, bfloat16 or auto (as stored).",
    ),
]  # fmt: skip
Revision = Annotated[
    str | None,
    typer.Option(
        "--revision", metavar="NAME", rich_help_panel=_MODEL, show_default=False,
        help="Branch, tag or commit of a model from the hub.",
    ),
]  # fmt: skip
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code", rich_help_panel=_MODEL, show_default=False,
        help="Run Python code that comes with the model. Read that code first.",
    ),
]  # fmt: skip
Task = Annotated[
    str | None,
    typer.Option(
        "--task", metavar="NAME", rich_help_panel=_MODEL, show_default="as saved",
        help="Load another head, such as text-classification, or none: feature-extraction.",
    ),
]  # fmt: skip
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory", metavar="SIZE", rich_help_panel=_COST,
        show_default="a tenth of what is free, at most 256MiB (4GiB on CUDA)",
        help="For intermediate tensors, such as 2GiB; results do not depend on it.",
    ),
]  # fmt: skip


ModelName = Annotated[
    str, typer.Option("--model", "-m", metavar="NAME", rich_help_panel=_MODEL, help="Bundled model, folder or hub id.")
]
Text = Annotated[
    str | None,
    typer.Argument(
        metavar="INPUT", show_default=False,
        help="What to explain: a text, or for models of images a file or a folder of them. With -, or without it, "
        "standard input is read as one text; tiny-digits has a picture of its own.",
    ),
]  # fmt: skip
Pair = Annotated[
    str | None,
    typer.Option("--pair", metavar="TEXT2", show_default=False, help="Second text, for models that read pairs."),
]
Lines = Annotated[
    str | None,
    typer.Option(
        "--file", metavar="FILE", show_default=False,
        help="Explain every line of a file (- for standard input), a text or the name of an image; blank lines are "
        "skipped. "
        "Files written with -o are then numbered: name-1.nc, name-2.nc, ...",
    ),
]  # fmt: skip
Tol = Annotated[
    float, typer.Option(metavar="SHARE", rich_help_panel=_COST, help="Gap allowed, as a share of the displacement.")
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--n-steps", metavar="N", rich_help_panel=_COST, show_default="adaptive",
        help="A fixed number of nodes on the path.",
    ),
]  # fmt: skip


_FLOW_EXAMPLES = """[bold]Examples[/bold]

  lignite flow "The plot was thin, but the acting was superb."

  lignite flow "A superb film." --layers 0,2-3 --maps whole -o flow.html

  lignite flow "Who wrote it?" --pair "Ann wrote it." --model ./my-model

  echo "A superb film." | lignite flow --baseline zero -o flow.nc --quiet

  lignite flow --file sentences.txt -o flow.nc   [dim](flow-1.nc, flow-2.nc, ...)[/dim]"""


@app.command(epilog=_FLOW_EXAMPLES)
@takes("options", FlowOptions)
def flow(
    text: Text = None,
    *,
    pair: Pair = None,
    file: Lines = None,
    options: FlowOptions,
    memory: Memory = None,
    model: ModelName = BUNDLED,
    task: Task = None,
    device: Device = None,
    dtype: Dtype = "float32",
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    output: Outputs = None,
    map: Map = None,
    head: Head = None,
    top: Top = None,
    quiet: Quiet = False,
) -> None:
    """How much each token gives to each other token inside every layer, and through which head.

    Prints the tokens, the strongest flows of each layer, how far the maps agree, and what the scores miss.
    """
    present = (*options.maps, *(f"whole_{name}" for name in options.detail))
    map = _choose_map(map, head, present)
    outputs = output or []
    inputs = _read_inputs(text, pair, file, model)
    check_outputs([name for name, _ in planned(outputs, _count(inputs), explanations=False)])

    terminal = Terminal(quiet=quiet)
    with short_warnings(quiet=quiet):
        with terminal.working(f"loading {model}"):
            loaded = _load(model, device, dtype, revision, trust_remote_code, task)
        n_heads = getattr(loaded.config.get_text_config(), "num_attention_heads", None)
        if head is not None and isinstance(n_heads, int):
            _check_head(head, n_heads)  # before the work, not after
        with terminal.working("flow through layers") as progress:
            from lignite.api.flow import flow as compute

            results = compute(loaded, inputs, memory=memory, progress=progress, **options.values())
        _deliver(terminal, results, outputs, Look(map=map, head=head, top=top))


_EXPLAIN_EXAMPLES = """[bold]Examples[/bold]

  lignite explain "The plot was thin, but the acting was superb."

  lignite explain "A superb film." --target positive --against negative -o why.html

  lignite explain "The capital of France is" --model ./my-llama --target " Paris"

  lignite explain "Once upon a time" --model ./my-gpt --steps 5 -o steps.html

  lignite explain "A superb film." --method relevance-flow --baseline zero,mask --special share

  lignite explain --file sentences.txt -o why.html   [dim](one page; .nc, .png, ... are numbered)[/dim]

  lignite explain photo.jpg --model ./my-vit -o why.png -o why.html

  lignite explain --model tiny-digits   [dim](a picture of its own)[/dim]"""


@app.command(epilog=_EXPLAIN_EXAMPLES)
@takes("asked", Target)
@takes_method_options("options")
def explain(
    text: Text = None,
    *,
    pair: Pair = None,
    file: Lines = None,
    asked: Target,
    method: Annotated[
        str, typer.Option(metavar="NAME", rich_help_panel=_COMPUTED, help=f"One of {', '.join(METHODS)}.")
    ] = "ca-lig",
    options: dict[str, Any],
    window: Annotated[
        int | None,
        typer.Option(
            metavar="N", rich_help_panel=_COMPUTED, show_default="the whole text at once",
            help="Read texts that are too long in windows of so many tokens.",
        ),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(
            metavar="N", rich_help_panel=_COMPUTED, show_default="a quarter of a window",
            help="Tokens that neighbouring windows share.",
        ),
    ] = None,
    memory: Memory = None,
    model: ModelName = BUNDLED,
    task: Task = None,
    device: Device = None,
    dtype: Dtype = "float32",
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    output: Outputs = None,
    words: Words = None,
    special: Special = None,
    smooth: Smooth = None,
    top: Top = None,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Which words or patches speak for and against a prediction, and at which layer each begins to matter.

    Prints the text, or the patches of an image, in colours, warm for and cool against, the strongest, every layer, and
    what the scores miss.
    """
    chosen = choose(method, options)
    if special is not None:
        check_choice("special", special, SPECIAL)
    look = Look(words=words is not False, special=special or SPECIAL[0], smooth=smooth is True, top=top)
    outputs = output or []
    inputs = _read_inputs(text, pair, file, model)
    check_outputs([name for name, _ in planned(outputs, _count(inputs), explanations=True)])

    terminal = Terminal(quiet=quiet)
    with short_warnings(quiet=quiet):
        with terminal.working(f"loading {model}"):
            loaded = _load(model, device, dtype, revision, trust_remote_code, task)
        with terminal.working("explaining") as progress:
            from lignite.api.explain import explain as compute

            wanted = None if asked == Target() else asked
            results = compute(
                loaded, inputs, target=wanted, method=chosen, window=window, overlap=overlap, memory=memory,
                progress=progress,
            )  # fmt: skip
        _deliver(terminal, results, outputs, look)


_VIEW_EXAMPLES = """[bold]Examples[/bold]

  lignite view flow.nc

  lignite view flow.nc --layers 2 --map attention --head 3 --top 10

  lignite view flow.nc -o flow.html -o flow.png --quiet

  lignite view why.nc --tokens --special share

  lignite view ca-lig.nc ig.nc shap.nc -o compare.html   [dim](of images also compare.png)[/dim]

  lignite view why.nc --open"""


@app.command(epilog=_VIEW_EXAMPLES)
def view(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            show_default=False,
            help="A saved result, .nc or .json. Several explanations share a page, to compare methods or targets.",
        ),
    ],
    *,
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers",
            "--layer",
            metavar="LIST",
            rich_help_panel=_SHOWN,
            show_default="all",
            help="Layers to show and write, such as 0,2-4,-1 (-1: the last in the file).",
        ),
    ] = None,
    map: Map = None,
    head: Head = None,
    words: Words = None,
    special: Special = None,
    smooth: Smooth = None,
    top: Top = None,
    output: Outputs = None,
    open_page: Annotated[
        bool,
        typer.Option(
            "--open", rich_help_panel=_SHOWN, show_default=False, help="Open the interactive page in the web browser."
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Look at saved results, or convert them. The model is not needed."""
    from lignite.results.io import open as read

    chosen = parse_numbers("layers", layers)
    outputs = output or []
    check_outputs([name for name, _ in planned(outputs, len(files), explanations=True)])
    terminal = Terminal(quiet=quiet)
    with short_warnings(quiet=quiet):
        with terminal.working(f"reading {', '.join(str(file) for file in files)}"):
            results = [_choose_layers(read(file), chosen) for file in files]
        looks = [
            _look(result, map=map, head=head, words=words, special=special, smooth=smooth, top=top)
            for result in results
        ]
        _deliver(terminal, results, outputs, looks[0], side_by_side=_are_images(results))
        if open_page:
            _open_pages(results, files, outputs, looks[0])


def _open_pages(results: Sequence["xr.Dataset"], files: Sequence[Path], outputs: Sequence[Path], look: Look) -> None:
    asked = [path for path in outputs if path.suffix.lower() in PAGES][:1]
    new = [] if asked else [Path(tempfile.mkdtemp(prefix="lignite-")) / f"{files[0].stem}.html"]  # read later
    explanations = all(is_explanation(result) for result in results)
    for page, which in planned(asked or new, len(results), explanations=explanations):
        if new:
            write(results[which], page, look)
        if not webbrowser.open(page.resolve().as_uri()):
            complain(f"no web browser was found: open {page} by hand.")


def _look(
    result: "xr.Dataset",
    *,
    map: str | None,
    head: int | None,
    words: bool | None,
    special: str | None,
    smooth: bool | None,
    top: int | None,
) -> Look:
    """Options of one kind of result are refused for the other."""
    if is_explanation(result):
        for option, value in (("map", map), ("head", head)):
            if value is not None:
                raise OptionError(f"--{option} chooses what is shown of a flow; this result is an explanation.")
        return Look(words=words is not False, special=special or SPECIAL[0], smooth=smooth is True, top=top)
    for option, given in (("words", words), ("special", special), ("smooth", smooth)):
        if given is not None:
            raise OptionError(f"--{option} arranges the tokens of an explanation; this result is a flow.")
    from lignite.views.flow.facts import maps_in

    map = _choose_map(map, head, maps_in(result))
    if head is not None:
        _check_head(head, int(result["head"].max()) + 1)
    return Look(map=map, head=head, top=top)


_CHECK_EXAMPLES = """[bold]Examples[/bold]

  lignite check tiny-sentiment

  lignite check ./my-model --length 512

  lignite check ./my-model --input "A sentence of the kind I will explain."

  lignite check ./my-model --quiet && lignite flow "A text." --model ./my-model"""


@app.command(epilog=_CHECK_EXAMPLES)
def check(
    model: Annotated[str, typer.Argument(metavar="MODEL", show_default=False, help="Bundled model, folder or hub id.")],
    *,
    length: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            show_default="128, or all that the model reads",
            help="Tokens of a random input to check on.",
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option("--input", metavar="TEXT", show_default=False, help="A text to check on instead.")
    ] = None,
    memory: Memory = None,
    task: Task = None,
    device: Device = None,
    dtype: Dtype = "float32",
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    quiet: Quiet = False,
) -> None:
    """What each layer of a model offers, how exactly, and what a run will cost.

    Takes every block apart and compares it with the model; ends with 1 if some layer cannot be explained.
    """
    if length is not None and text is not None:
        raise OptionError("--length and --input are both given; a text has its own length, give one of the two.")
    terminal = Terminal(quiet=quiet)
    with short_warnings(quiet=quiet):
        with terminal.working(f"loading {model}"):
            loaded = _load(model, device, dtype, revision, trust_remote_code, task)
        with terminal.working("checking layers") as progress:
            from lignite.api.check import check as examine

            report = examine(loaded, length=length, text=text, memory=memory, progress=progress)
    from lignite.apps.check_table import print_check

    print_check(report, console=terminal.out)
    if not report.exact:
        raise typer.Exit(1)


_MODELS_EXAMPLES = """[bold]Examples[/bold]

  lignite models

  lignite flow --model tiny-sentiment "A superb film."

  lignite check tiny-sentiment"""


@app.command(epilog=_MODELS_EXAMPLES)
def models() -> None:
    """List the models that come with lignite."""
    from lignite.zoo import bundled

    for name, folder in bundled().items():
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
        print(
            f"{name}  {', '.join(config['architectures'])}, {config['num_hidden_layers']} layers, "
            f"{config['num_attention_heads']} heads, width {config['hidden_size']}, {size:.1f} MB"
        )


def _read_inputs(text: str | None, pair: str | None, file: str | None, model: str) -> list[Any]:
    if file is not None:
        if text is not None or pair is not None:
            raise OptionError("--file brings its own inputs; leave INPUT and --pair out.")
        return read_lines(file)
    if text is None and model in PICTURED:
        from lignite.zoo.samples import digit_scene

        return [digit_scene().image]
    if text is None and _at_keyboard():
        raise OptionError("there is no input: give one, name a --file, or pipe one in (see lignite flow --help).")
    if text is None or text == "-":
        text = read_text()
    return [text if pair is None else (text, pair)]


def _count(inputs: Sequence[Any]) -> int:
    """How many results to expect at most: a folder stands for the images in it."""
    return sum(len(list(Path(item).iterdir())) if _is_folder(item) else 1 for item in inputs)


def _is_folder(item: Any) -> bool:
    try:
        return isinstance(item, str) and Path(item).is_dir()
    except OSError:  # a long text is no name
        return False


def _at_keyboard() -> bool:
    return sys.stdin is None or sys.stdin.isatty()


def _load(
    name: str,
    device: str | None,
    dtype: str,
    revision: str | None,
    trust_remote_code: bool,
    task: str | None,
) -> Any:
    from lignite.models.load import load

    model = load(name, device=device, dtype=dtype, revision=revision, trust_remote_code=trust_remote_code, task=task)
    logging.getLogger("transformers").setLevel(logging.ERROR)  # its advice about kernels is not for this reader
    return model


def _choose_map(map: str | None, head: int | None, present: Any) -> str | None:
    """The map that is listed and drawn; None leaves the choice to the view."""
    if map is not None and map not in present:
        raise OptionError(f"--map {map!r} is not in this result, which holds {', '.join(present)}; choose one of them.")
    if head is None:
        return map
    if map is None:
        map = next((name for name in _SPLIT_BY_HEAD if name in present), None)
    if map not in _SPLIT_BY_HEAD:
        raise OptionError(
            "--head needs a map that is split by head: --map attention, or whole_heads with --detail heads."
        )
    return map


def _check_head(head: int, n_heads: int) -> None:
    if head >= n_heads:
        raise OptionError(f"--head {head} is not in this model, which has heads 0 to {n_heads - 1}.")


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


def _are_images(results: Sequence["xr.Dataset"]) -> bool:
    """Explanations of images can be compared in one picture."""
    from lignite.views.patches.facts import is_image

    return all(is_explanation(result) and is_image(result) for result in results)


def _deliver(
    terminal: Terminal,
    results: Sequence["xr.Dataset"],
    outputs: Sequence[Path],
    look: Look,
    *,
    side_by_side: bool = False,
) -> None:
    """Files first: whoever reads the summary through a pipe may stop reading."""
    explanations = all(is_explanation(result) for result in results)
    for path, which in planned(outputs, len(results), explanations=explanations, side_by_side=side_by_side):
        write(results[which], path, look)
        terminal.note(f"wrote {path}")
    if terminal.quiet:
        return
    for number, result in enumerate(results, start=1):
        if len(results) > 1:
            terminal.out.rule(f"{number} of {len(results)}", align="left", characters="-")
        show(result, look, terminal.out)


import lignite.apps.evaluate_command  # noqa: E402, F401 (puts its command on `app`)
