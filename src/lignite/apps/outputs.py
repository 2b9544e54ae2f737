"""Write a result in the format that a file's ending names, in one step or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lignite.errors import OptionError
from lignite.files import check_place

if TYPE_CHECKING:
    import xarray as xr
    from rich.console import Console

RESULTS = (".nc", ".json")
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
    """How a result is looked at: `map` and `head` choose what is shown of a flow, the others of an explanation.

    `smooth` draws the patches of an image without their edges.
    """

    map: str | None = None
    head: int | None = None
    words: bool = True
    special: str = "show"
    smooth: bool = False
    top: int | None = None


def is_explanation(dataset: "xr.Dataset") -> bool:
    """Whether a result answers why, or is a flow."""
    return dataset.attrs.get("kind") == "explain"


def planned(
    paths: Sequence[Path], count: int, *, explanations: bool, side_by_side: bool = False
) -> list[tuple[Path, slice]]:
    """What will be written, and of which results: explanations share a page, all else is numbered.

    With `side_by_side`, pictures are shared, too.

    Examples
    --------
    >>> [name.name for name, _ in planned([Path("why.html"), Path("why.nc")], 2, explanations=True)]
    ['why.html', 'why-1.nc', 'why-2.nc']
    """
    shared = (*PAGES, *PICTURES) if side_by_side else PAGES
    plan: list[tuple[Path, slice]] = []
    for path in paths:
        if explanations and path.suffix.lower() in shared:
            plan.append((path, slice(None)))
        else:
            plan += [(numbered(path, number + 1, count), slice(number, number + 1)) for number in range(count)]
    return plan


def write(results: Sequence["xr.Dataset"], path: Path, look: Look) -> None:
    """Save, draw or lay out one result, or several explanations on one page; files and pages hold everything."""
    ending = path.suffix.lower()
    if ending in RESULTS:
        from lignite.results.io import save

        save(results[0], path)
        return
    picture = ending in PICTURES
    if is_explanation(results[0]):
        if picture:
            from lignite.views.explanation.picture import save_explanation_picture

            save_explanation_picture(results, path, words=look.words, special=look.special, smooth=look.smooth)
        else:
            from lignite.views.explanation.page import save_explanation_page

            save_explanation_page(results, path, words=look.words, special=look.special, smooth=look.smooth)
    elif picture:
        from lignite.views.flow.picture import save_picture

        save_picture(results[0], path, map=look.map, head=look.head)
    else:
        from lignite.views.flow.page import save_page

        save_page(results[0], path)


def show(result: "xr.Dataset", look: Look, console: "Console") -> None:
    """Print a result."""
    if is_explanation(result):
        from lignite.views.explanation.terminal import TOP, print_explanation

        print_explanation(result, console=console, k=look.top or TOP, words=look.words, special=look.special)
        return
    from lignite.views.flow.terminal import print_flow

    shown = result if look.head is None else result.sel(head=[look.head])
    print_flow(shown, console=console, k=look.top, map=look.map)
