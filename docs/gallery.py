"""Draw the gallery: every view of every kind of result, as it is seen in light and dark, wide and narrow.

python docs/gallery.py [-o out/gallery] [--only NAME ...] [--index]

`--only` draws cells whose name, such as page-flow, begins so; `--index` only writes docs/gallery.md, which lists the
commands. Needs playwright and Chromium beside what `make setup` installs; for real notebooks also nbconvert, ipykernel
and JupyterLab. Nothing is downloaded: the models are the bundled ones and a writer that is trained on the spot.
"""

import argparse
import contextlib
import io
import os
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from clicks import STEPS, dashboard, open_dashboard, settle
from gallery_cells import CELLS, COLUMNS, COMMANDS, ROWS, Cell
from notebook import run
from photograph import ROOMS, STILL, Room, open_browser, photograph, terminal_page

PAGE = Path(__file__).with_name("gallery.md")
REVIEWS = (
    ("The plot was thin, but the acting was superb.", "positive"),
    ("A dull film with a flat ending.", "negative"),
    ("Clever, warm and moving.", "positive"),
    ("The camera is fine, the story is a mess.", "negative"),
    ("It is not bad at all.", "positive"),
    ("I would not see it again.", "negative"),
)
TERMINALS = {"80": {"COLUMNS": "80"}, "40": {"COLUMNS": "40"}, "plain": {"COLUMNS": "80", "NO_COLOR": "1"},
             "sixteen": {"COLUMNS": "80", "TERM": "xterm-16color", "COLORTERM": ""}}  # fmt: skip


def main() -> None:
    """Make the results, then every cell that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("out/gallery"))
    parser.add_argument("--only", nargs="*", default=[""])
    parser.add_argument("--index", action="store_true")
    asked = parser.parse_args()
    PAGE.write_text(index(), encoding="utf-8")
    if asked.index:
        return
    asked.output.mkdir(parents=True, exist_ok=True)
    os.chdir(asked.output)
    prepare()
    failed = []
    with OPEN, open_browser() as browser:
        for cell in CELLS:
            if cell.made_by and cell.name.startswith(tuple(asked.only)):
                print(cell.name, flush=True)
                try:
                    DRAW[cell.row](browser, cell)
                except Exception:  # the others are drawn all the same
                    traceback.print_exc()
                    failed.append(cell.name)
    if failed:
        sys.exit(f"not drawn: {', '.join(failed)}")


def index() -> str:
    """The table of views and kinds of results, then what makes each cell or why it is empty."""
    head = (__doc__ or "").splitlines()[2]
    parts = [f"# Gallery\n\nEvery view of every kind of result. `{head}` draws all of it.\n"]
    cells = {(cell.row, cell.column): cell for cell in CELLS}
    parts.append(f"| | {' | '.join(COLUMNS)} |\n|{' --- |' * (len(COLUMNS) + 1)}")
    for row in ROWS:
        marks = ("●" if cells[row, column].made_by else "–" for column in COLUMNS)
        parts.append(f"| {row} | {' | '.join(marks)} |")
    parts.append("")
    for column in COLUMNS:
        parts.append(f"## {column[0].upper()}{column[1:]}\n\n| | |\n| --- | --- |")
        for row in ROWS:
            cell = cells[row, column]
            parts.append(f"| {row} | {cell.told} |")
        parts.append("")
    return "\n".join(parts)


def prepare() -> None:
    """Results of every kind, once; what is there stays."""
    import json

    from little_writer import train

    if not Path("writer/model.safetensors").exists():
        train(Path("writer"))
    lines = [json.dumps({"text": text, "label": label}) for text, label in REVIEWS]
    Path("reviews.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    Path("films.txt").write_text("".join(f"{text}\n" for text, _ in REVIEWS), encoding="utf-8")
    for column in COLUMNS:
        ending = "json" if column == "evaluation" else "nc"
        name = column.replace(" ", "-")
        if not list(Path().glob(f"{name}*.{ending}")):
            for command in COMMANDS[column].splitlines():
                lignite(command if " -o " in command else f"{command} -q -o {name}.{ending}")


def results(column: str) -> Any:
    """What was computed for a kind of result."""
    import lignite as library

    name = column.replace(" ", "-")
    if column == "evaluation":
        return library.Evaluation.open(f"{name}.json")
    found = [library.open(path) for path in sorted(Path().glob(f"{name}-?.nc"))]
    return found or library.open(f"{name}.nc")


# The command line


@contextlib.contextmanager
def terminal(**environment: str) -> Iterator[io.StringIO]:
    """A terminal of 80 columns and all colours, unless the environment says otherwise; what is printed in it."""
    printed, before = io.StringIO(), dict(os.environ)
    os.environ.update(
        {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": "80", **environment}
    )
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
            yield printed
    finally:
        os.environ.clear()
        os.environ.update(before)


def lignite(command: str) -> None:
    """Run a command, in this process."""
    import typer

    from lignite.apps.cli import app

    sys.argv[1:] = shlex.split(command)[1:]  # which results keep
    with terminal():
        typer.main.get_command(app).main(shlex.split(command)[1:], prog_name="lignite", standalone_mode=False)


def deliver(column: str, *outputs: Path, **environment: str) -> str:
    """What the command of a kind of result prints and writes, without computing it again."""
    from lignite.apps import outputs as given
    from lignite.apps.terminal import Terminal
    from lignite.views.evaluation.terminal import print_evaluation

    found = results(column)
    with terminal(**environment) as printed:
        console = Terminal(quiet=False)
        if column == "evaluation":
            for path in outputs:
                found.save(path)
            print_evaluation(found, console=console.out)
        else:
            given.deliver(console, found if isinstance(found, list) else [found], outputs, given.Look())
    return printed.getvalue()


def draw_terminal(browser: Any, cell: Cell) -> None:
    """In 80 and 40 columns, without colours, in sixteen."""
    for name, environment in TERMINALS.items():
        printed = deliver(cell.column, **environment)
        Path(f"{cell.name}-{name}.txt").write_text(printed, encoding="utf-8")
        for dark in (False, True) if name == "80" else (True,):
            page = Path(f"{cell.name}.html")
            title = cell.made_by.splitlines()[-1]
            page.write_text(terminal_page(printed, int(environment["COLUMNS"]), dark=dark, title=title), "utf-8")
            kind = "dark" if dark else "light"
            photograph(browser, page.resolve().as_uri(), Path(f"{cell.name}-{name}-{kind}.png"), Room(""), within="svg")
            page.unlink()


def draw_page(browser: Any, cell: Cell) -> None:
    """In every room, printed, and in forced colours."""
    page = Path(shlex.split(cell.made_by.splitlines()[-1])[-1])
    deliver(cell.column, page)
    photograph_in(browser, cell, page, (*ROOMS, *STILL))


def photograph_in(browser: Any, cell: Cell, page: Path, rooms: tuple[Room, ...]) -> None:
    """Photograph a page in every room, and say where it is wider than that."""
    for room in rooms:
        beyond = photograph(browser, page.resolve().as_uri(), Path(f"{cell.name}-{room.name}.png"), room)
        if beyond > 0:
            print(f"  {cell.name} in {room.name}: {beyond} pixels wider than its room")


def draw_picture(browser: Any, cell: Cell) -> None:
    """As PNG, and as SVG and PDF seen by a browser."""
    path = Path(f"{cell.name}.png")
    deliver(cell.column, *(path.with_suffix(ending) for ending in (".png", ".svg", ".pdf")))
    page = Path(f"{cell.name}.html")
    page.write_text(f"<!doctype html>{path.with_suffix('.svg').read_text('utf-8').partition('?>')[2]}", "utf-8")
    photograph(browser, page.resolve().as_uri(), Path(f"{cell.name}-svg.png"), Room("", 1400), within="svg")
    page.unlink()


def draw_plots(browser: Any, cell: Cell) -> None:
    """Every kind that the result has, into one figure each."""
    from matplotlib import pyplot

    from lignite.views.plots import KINDS

    found = results(cell.column)
    for number, result in enumerate(found if isinstance(found, list) else [found]):
        for kind, each in KINDS.items():
            if each.fits(result):
                figure, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
                (result if cell.column == "evaluation" else result.lignite).plot(kind, axes)
                figure.savefig(f"{cell.name}-{number}-{kind}.png", dpi=120)
                pyplot.close(figure)


# Notebooks, the widget, the dashboard


def draw_notebook(browser: Any, cell: Cell) -> None:
    """The cell of a notebook that was run and exported, in light and dark, wide and narrow."""
    for dark, page in enumerate(notebooks()):
        place = [each.column for each in CELLS if each.row == "notebook" and each.made_by].index(cell.column)
        for room in ROOMS:
            if room.dark == bool(dark):
                within = f".jp-Cell >> nth={place}"
                address, path = page.resolve().as_uri(), Path(f"{cell.name}-{room.name}.png")
                photograph(browser, address, path, room, within=within)


@cache
def notebooks() -> tuple[Path, Path]:
    """A notebook of every kind of result, run once and exported for a light and for a dark room."""
    from nbconvert import HTMLExporter

    notebook = run(cell.made_by for cell in CELLS if cell.row == "notebook" and cell.made_by)
    pages = Path("notebook-light.html"), Path("notebook-dark.html")
    for page, theme in zip(pages, ("light", "dark"), strict=True):
        page.write_text(HTMLExporter(theme=theme).from_notebook_node(notebook)[0], encoding="utf-8")
    return pages


def draw_widget(browser: Any, cell: Cell) -> None:
    """The widget as a notebook mounts it, with a word taken away."""
    import json

    scope: dict[str, Any] = {}
    exec(cell.made_by.rpartition("\n")[0], scope)
    shown = eval(cell.made_by.rpartition("\n")[2], scope)
    shown.asked = {**shown.asked, **({"show": "flow"} if cell.column.endswith("flow") else {"without": [1]})}
    state = {name: getattr(shown, name) for name in ("card", "choices", "words", "asked", "said", "failed", "busy")}
    page = Path(f"{cell.name}.html")
    parts = (json.dumps(part).replace("</", "<\\/") for part in (shown._esm, state))
    for theme in ("light", "dark"):
        page.write_text(WIDGET % ("true" if theme == "light" else "false", *parts), encoding="utf-8")
        photograph_in(browser, cell, page, tuple(room for room in ROOMS if room.dark == (theme == "dark")))
        parts = (json.dumps(part).replace("</", "<\\/") for part in (shown._esm, state))


WIDGET = """<!doctype html><html style="color-scheme: light dark"><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<body data-jp-theme-light="%s"><div id="out" aria-busy="true"></div><script type="module">
const source = %s, state = %s;
const { default: widget } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
const model = { get: (name) => state[name], on: () => {}, set: () => {}, save_changes: () => {} };
widget.render({ model, el: document.getElementById("out") });
</script></body>"""


def draw_dashboard(browser: Any, cell: Cell) -> None:
    """The dashboard in every room, after the clicks that lead to the cell."""
    for room in ROOMS:
        page = open_dashboard(browser, offered(), room, height=1500)
        path = Path(f"{cell.name}-{room.name}.png")
        try:
            STEPS[cell.column](page)
            settle(page)
        except Exception:
            path = path.with_stem(f"{path.stem}-failed")  # shows why
            raise
        finally:
            page.mouse.move(0, 0)
            page.screenshot(path=path)
            page.close()


@cache
def offered() -> str:
    """The address of a dashboard that runs until this process ends."""
    return OPEN.enter_context(dashboard("tiny-sentiment", "tiny-digits", "./writer"))


OPEN = contextlib.ExitStack()


# Trackers, reports, studies


def draw_report(browser: Any, cell: Cell) -> None:
    """The page of plain words, in every room."""
    import lignite as library

    page = Path(shlex.split(cell.made_by)[-1])
    found = page.with_suffix(".nc")
    if not found.exists():
        lignite(f"{cell.made_by} -q -o {found}")
    library.save(library.open(found), page)
    photograph_in(browser, cell, page, (*ROOMS, *STILL))


def draw_study(browser: Any, cell: Cell) -> None:
    """The page of a study, in every room."""
    import xarray as xr

    from lignite.studies.asking import write

    folder = Path(shlex.split(cell.made_by)[-1])
    if not folder.exists():
        lignite(f"{cell.made_by} -q")
    write(xr.load_dataset(folder / f"{folder.name.removeprefix('study-')}.nc"), folder)
    photograph_in(browser, cell, folder / "index.html", (*ROOMS, *STILL))


def draw_tracker(browser: Any, cell: Cell) -> None:
    """What TensorBoard was given: its picture and its words, read back from the event file."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    import lignite as library

    folder = Path(f"{cell.name}-events")
    shutil.rmtree(folder, ignore_errors=True)  # what was drawn before would be read first
    with SummaryWriter(str(folder)) as writer:
        library.log(results(cell.column), writer, step=1)
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    for number, tag in enumerate(events.Tags()["images"]):
        Path(f"{cell.name}-{number}.png").write_bytes(events.Images(tag)[0].encoded_image_string)
    said = [events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"]]
    numbers = [f"{tag}: {events.Scalars(tag)[0].value:.4g}" for tag in events.Tags()["scalars"]]
    Path(f"{cell.name}.txt").write_text("\n".join([*said, *numbers]), encoding="utf-8")


DRAW: dict[str, Callable[[Any, Cell], None]] = {
    "terminal": draw_terminal, "page": draw_page, "picture": draw_picture, "plot": draw_plots,
    "notebook": draw_notebook, "widget": draw_widget, "dashboard": draw_dashboard, "tracker": draw_tracker,
    "report": draw_report, "study": draw_study,
}  # fmt: skip

if __name__ == "__main__":
    main()
