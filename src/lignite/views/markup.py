"""Pages that need nothing else, no network, no server, no other file: templates filled, styles and scripts put in."""

import base64
import html
import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from lignite.errors import FileError
from lignite.files import write_whole
from lignite.views.labels import format_cell, format_score, format_share, named_token, typeset, with_minus
from lignite.views.payload import Payload
from lignite.views.tones import TONES
from lignite.wording import counted, harmless

WEB = files("lignite.views").joinpath("web")
"""Templates, styles and scripts of the pages."""

_IMPORT = re.compile(r'^import \{ ([\w, ]+) \} from "\./(\w+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)


def render(kind: str, *, payload: Payload | None = None, **values: Any) -> str:
    """A page of this `kind`, by its template, its style and, with a payload, its module; every value is escaped."""
    styles = ("base", kind, *(["picture"] if payload else []))
    values["css"] = Markup("\n".join(_source(f"{name}.css") for name in styles))
    if payload:
        values["js"] = Markup(bundle(kind, "page", then=f"page.open({kind}.mount);"))
        meta, blocks = payload.packed()
        values |= {"meta": meta, "blocks": base64.b64encode(blocks).decode(), "notes": payload.notes}
    values["tones"] = Markup(_tones(".%s"))
    return _environment().get_template(f"{kind}.html.j2").render(kind=kind, **values)


DARK = (
    "body[data-jp-theme-light=false] .lignite-card",
    "body.vscode-dark .lignite-card",
    "html[theme=dark] .lignite-card",
    "html[data-theme=dark] .lignite-card",
)
"""How JupyterLab, VS Code, Colab and documents say that the room is dark."""


def _tones(where: str, *, dark: str = "") -> str:
    """Rules for the tones of scores, in a light room and, by selector or by the room itself, in a dark one."""
    light, night = (
        "\n".join(
            f"{before}{where % name} {{ background-color: {ground}; color: {ink}; }}"
            for name, (ground, ink) in TONES[room].items()
        )
        for room, before in (("light", ""), ("dark", dark))
    )
    return f"{light}\n{night}" if dark else f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{night}\n}}"


_RIGHT_TO_LEFT = re.compile(
    r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]+(?:[ '\"-][\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]+)*"
)


def _sentence(text: str) -> Markup:
    """Words and numbers side by side: numbers as elsewhere, words that are read from the right kept by themselves."""
    escaped = str(escape(harmless(with_minus(text))))
    escaped = re.sub(r"(?<=\d) %", "&nbsp;%", escaped)  # no line begins with the sign
    return Markup(_RIGHT_TO_LEFT.sub(r"<bdi>\g<0></bdi>", escaped))  # escaped above


def _noted(text: str) -> Markup:
    """A sentence in which names of columns stand between backquotes, as in a docstring."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(_sentence(text))))  # escaped there


def render_part(template: str, **values: Any) -> str:
    """A part of somebody else's document, with its style: everything in it is inside one element."""
    css, dark = _source("card.css"), f":is({', '.join(DARK)})"
    room = "--ink: #e9e7e2; --dim: #9b9da1; --line: #33363b; --card: #1d1f23; --warn: #f0a05a;"
    css += f"{dark} {{ {room} }}\n{_tones('.lignite-card .%s', dark=dark.replace(' .lignite-card', '') + ' ')}"
    return _environment().get_template(template).render(css=Markup(css), **values)


def bundle(*modules: str, then: str) -> str:
    """Modules of ours and all that they import as one script, for a page in a file cannot load others beside it.

    Every module becomes a function that returns what it exports, so that its names stay its own; those that it imports
    stand before it.
    """
    placed: dict[str, str] = {}
    for module in modules:
        _place(module, placed, ())
    return "\n".join(['"use strict";', "(() => {", *placed.values(), then, "})();"])


def _place(module: str, placed: dict[str, str], above: tuple[str, ...]) -> None:
    if module in above:
        raise ValueError(f"modules import each other in a circle: {' → '.join((*above, module))}; break it.")
    if module in placed:
        return
    source = _source(f"{module}.js")
    for _, needed in _IMPORT.findall(source):
        _place(needed, placed, (*above, module))
    body = _EXPORT.sub("", _IMPORT.sub(r"const { \1 } = \2;", source))
    if strange := re.search(r"^(?:import|export)\b.*", body, re.MULTILINE):
        raise ValueError(
            f'{module}.js: {strange[0]!r} cannot be put in; write import {{ a }} from "./b.js"; or export const.'
        )
    exports = ", ".join(_EXPORT.findall(source))
    placed[module] = f"const {module} = (() => {{\n{body}return {{ {exports} }};\n}})();"


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
    environment.filters["share"] = lambda value: typeset(format_share(value))
    environment.filters["score"] = lambda value: typeset(format_score(value))
    environment.filters["cell"] = format_cell
    environment.filters["token"] = named_token
    environment.filters["counted"] = counted
    environment.filters["sentence"] = _sentence
    environment.filters["noted"] = _noted
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
    return typeset(f"{value:+.2f}" if signed else f"{value:.3g}")


def _source(name: str) -> str:
    return WEB.joinpath(name).read_text(encoding="utf-8")
