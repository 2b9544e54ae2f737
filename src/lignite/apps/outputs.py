"""Write a result in the format that a file's ending names, in one step or not at all."""

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lignite.errors import FileError, OptionError

if TYPE_CHECKING:
    import xarray as xr

RESULTS = (".nc", ".json")
PICTURES = (".png", ".svg", ".pdf")
PAGES = (".html", ".htm")


def check_outputs(paths: Sequence[Path]) -> None:
    """Refuse, before anything is computed, what could not be written afterwards."""
    for path in paths:
        if path.suffix.lower() not in (*RESULTS, *PICTURES, *PAGES):
            raise OptionError(
                f"-o {path}: the ending {path.suffix!r} names no format; "
                f"use {', '.join((*RESULTS, *PICTURES, '.html'))}."
            )
        place = path.resolve()
        if place.is_dir():
            raise FileError(f"{path}: is a folder, expected a file name. Name a file in it.")
        if not place.parent.is_dir():
            raise FileError(f"{path}: there is no folder {place.parent}. Create it first.")
        if not os.access(place if place.exists() else place.parent, os.W_OK):
            raise FileError(f"{path}: no permission to write there. Choose another place.")


def numbered(path: Path, number: int, count: int) -> Path:
    """The name of one of several results.

    Examples
    --------
    >>> numbered(Path("flow.nc"), 2, 3).name, numbered(Path("flow.nc"), 1, 1).name
    ('flow-2.nc', 'flow.nc')
    """
    return path if count == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")


def write(dataset: "xr.Dataset", path: Path, *, map: str | None = None, head: int | None = None) -> None:
    """Save, draw or lay out a result. `map` and `head` choose what a picture shows; files and pages hold everything."""
    ending = path.suffix.lower()
    if ending in RESULTS:
        from lignite.results.io import save

        save(dataset, path)
        return
    place = path.resolve()  # a link keeps pointing to the file that is replaced
    temporary = place.with_name(f".lignite-{secrets.token_hex(8)}{ending}")
    try:
        if ending in PICTURES:
            from lignite.views.picture import save_picture

            save_picture(dataset, temporary, map=map, head=head)
        else:
            from lignite.views.page import save_page

            save_page(dataset, temporary)
        temporary.replace(place)
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror or error}). Check path and disk.") from error
    except FileError as error:  # it speaks of the temporary name
        raise FileError(str(error).replace(str(temporary), str(path))) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
