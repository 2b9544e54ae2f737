"""Write a result in the format that a file's ending names, in one step or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lignite.apps.shared import ExplanationLook, FlowLook, TokenLook
from lignite.apps.terminal import Terminal
from lignite.errors import OptionError
from lignite.files import check_place

if TYPE_CHECKING:
    import xarray as xr
    from rich.console import Console

RESULTS = (".nc", ".json", ".csv")
PICTURES = (".png", ".svg", ".pdf")
PAGES = (".html", ".htm")


def check_outputs(
    paths: Sequence[Path],
    endings: Sequence[str] = (*RESULTS, *PICTURES, *PAGES),
    named: Sequence[str] = (*RESULTS, *PICTURES, ".html"),
) -> None:
    """Refuse, before anything is computed, what could not be written afterwards; `named` are the endings to advise."""
    for path in paths:
        if path.suffix.lower() not in endings:
            raise OptionError(f"-o {path}: the ending {path.suffix!r} names no format; use {', '.join(named)}.")
        check_place(path)


def numbered(path: Path, number: int, count: int) -> Path:
    """The name of one of several results.

    Examples
    --------
    >>> numbered(Path("flow.nc"), 2, 3).name, numbered(Path("flow.nc"), 1, 1).name
    ('flow-2.nc', 'flow.nc')
    """
    return path if count == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")


@dataclass(frozen=True)
class Look:
    """How results are looked at."""

    flow: FlowLook = field(default_factory=FlowLook)
    explanation: ExplanationLook = field(default_factory=ExplanationLook)
    token: TokenLook = field(default_factory=TokenLook)
    top: int | None = None

    @property
    def arranged(self) -> dict[str, Any]:
        """How the tokens of a result are arranged."""
        return {"tokens": self.token.tokens is True, "special": self.token.special or "show"}


def planned(paths: Sequence[Path], count: int, *, explanations: bool) -> list[tuple[Path, slice]]:
    """What will be written, and of which results: explanations share a page and a picture, all else is numbered.

    Examples
    --------
    >>> [name.name for name, _ in planned([Path("why.html"), Path("why.nc")], 2, explanations=True)]
    ['why.html', 'why-1.nc', 'why-2.nc']
    """
    plan: list[tuple[Path, slice]] = []
    for path in paths:
        if explanations and path.suffix.lower() in (*PAGES, *PICTURES):
            plan.append((path, slice(None)))
        else:
            plan += [(numbered(path, number + 1, count), slice(number, number + 1)) for number in range(count)]
    return plan


def write(results: Sequence["xr.Dataset"], path: Path, look: Look) -> None:
    """Save, draw or lay out one result, or several explanations on one page; files and pages hold everything."""
    if path.suffix.lower() in RESULTS:
        from lignite.results.io import save

        save(results[0], path)
        return
    from lignite.views.files import write_view

    shown = {"smooth": look.explanation.smooth, "map": look.flow.map, "head": look.flow.head}
    write_view(results, path, **look.arranged, **shown)


def show(result: "xr.Dataset", look: Look, console: "Console") -> None:
    """Print a result."""
    from lignite.results.classes import is_of_classes
    from lignite.results.schema import COMPARISONS, REPORT, is_explanation

    if result.attrs.get("kind") == REPORT.kind:
        from lignite.views.report.terminal import print_report

        print_report(result, console=console)
        return
    if result.attrs.get("kind") in COMPARISONS:
        from lignite.views.comparison.terminal import print_comparison

        print_comparison(result, console=console, k=look.top)
        return
    if is_of_classes(result):
        from lignite.views.explanation.classes import print_classes
        from lignite.views.explanation.terminal import TOP

        print_classes(result, console=console, k=look.top or TOP, **look.arranged)
        return
    if is_explanation(result):
        from lignite.views.explanation.terminal import TOP, print_explanation

        print_explanation(result, console=console, k=look.top or TOP, **look.arranged)
        return
    from lignite.views.flow.terminal import print_flow

    shown = result if look.flow.head is None else result.sel(head=[look.flow.head])
    print_flow(shown, console=console, k=look.top, map=look.flow.map, **look.arranged)


def deliver(
    terminal: Terminal,
    results: Sequence["xr.Dataset"],
    outputs: Sequence[Path],
    look: Look,
) -> None:
    """Files first: whoever reads the summary through a pipe may stop reading."""
    from lignite.results.classes import each_class
    from lignite.results.schema import is_explanation

    explanations = all(is_explanation(result) for result in each_class(results))
    for path, which in planned(outputs, len(results), explanations=explanations):
        write(results[which], path, look)
        terminal.note(f"wrote {path}")
    if terminal.quiet:
        return
    if len(results) > 1 and explanations and _show_steps(results, look, terminal.out):
        return
    for number, result in enumerate(results, start=1):
        if len(results) > 1:
            terminal.out.rule(f"{number} of {len(results)}", align="left", characters="-")
        show(result, look, terminal.out)


def _show_steps(results: Sequence["xr.Dataset"], look: Look, console: "Console") -> bool:
    """Print a text that a model goes on with, if the results are one."""
    from lignite.results.classes import is_of_classes
    from lignite.views.explanation.steps import print_steps
    from lignite.views.explanation.terminal import TOP
    from lignite.views.explanation.together import continuation_of

    if any(is_of_classes(result) for result in results):
        return False
    continuation = continuation_of(results)
    if continuation is not None:
        print_steps(continuation, results, console=console, k=look.top or TOP)
    return continuation is not None
