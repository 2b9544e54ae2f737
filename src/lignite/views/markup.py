"""Pages that need nothing else, no network, no server, no other file: templates filled, styles and scripts put in."""

import base64
import html
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from lignite.errors import FileError
from lignite.files import write_whole
from lignite.views.labels import format_share, visible_token
from lignite.wording import harmless


def render(template: str, *, styles: Sequence[str], scripts: Sequence[str], **values: Any) -> str:
    """A page as text; every value is escaped, `styles` and `scripts` are files of ours beside the template."""
    css, js = (Markup("\n".join(_source(name) for name in names)) for names in (styles, scripts))
    return _environment().get_template(template).render(css=css, js=js, **values)


def write_page(page: str, path: Path) -> Path:
    """Write a page into a .html file."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise FileError(f"{path}: a page ends in .html; rename the file.")
    write_whole(path, page.encode(errors="backslashreplace"))  # a lone surrogate has no UTF-8
    return path


def frame(page: str, *, height: int, title: str) -> str:
    """The page inside an iframe, for a notebook: its styles and scripts stay apart from those of the notebook."""
    return (
        f'<iframe srcdoc="{html.escape(page, quote=True)}" width="100%" height="{height}" style="border:0" '
        f'title="{html.escape(title)}" sandbox="allow-scripts allow-downloads"></iframe>'
    )


def in_base64(values: np.ndarray) -> str:
    """Numbers as text that a script can decode."""
    return base64.b64encode(values.tobytes()).decode("ascii")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_function"] = lambda value, **how: json.dumps(_harmless(value), **how)
    environment.filters["share"] = format_share
    environment.filters["token"] = visible_token
    environment.filters["measure"] = _measure
    return environment


def _harmless(value: Any) -> Any:
    """A value in which no text turns the page's lines around or hides; our own markup stays as it is."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, dict):
        return {_harmless(key): _harmless(entry) for key, entry in value.items()}
    return [_harmless(entry) for entry in value] if isinstance(value, list | tuple) else value


def _measure(value: float, signed: bool = False) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:+.2f}" if signed else f"{value:.3g}"


def _source(name: str) -> str:
    return files("lignite.views").joinpath("web", name).read_text(encoding="utf-8")
