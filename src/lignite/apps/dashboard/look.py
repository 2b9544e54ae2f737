"""What is shown beside the widgets: pages and cards in frames of their own, and texts that stay texts."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st
import xarray as xr

from lignite.results.io import as_netcdf, save
from lignite.views.files import page_of
from lignite.views.labels import format_score
from lignite.views.notebook import card_of
from lignite.wording import harmless

_MARKS = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:^=&])")
_INSIDE = "body { padding: 0 1px; max-width: none } .top { padding: 4px 0 } .top .brand { display: none }"
_POLICY = re.compile(r'(http-equiv="Content-Security-Policy" content="(?![^"]*script-src)[^"]*)')
"""Of pages without scripts: Streamlit puts one in, which tells how high they are."""
_STILL = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def plain(text: object) -> str:
    r"""A text for a widget that reads Markdown, in which nothing is Markdown.

    Examples
    --------
    >>> print(plain("![a](b) :red[c] $d$"))
    \!\[a\]\(b\) \:red\[c\] \$d\$
    """
    return _MARKS.sub(r"\\\1", harmless(str(text)))


def signed(number: float) -> str:
    """A number with its sign, as everywhere in lignite's views, with a minus that is as wide as a plus."""
    return format_score(number).replace("-", "−")


def is_dark() -> bool:
    """Whether the reader's room is dark."""
    return st.context.theme.type == "dark"


def show_page(page: str) -> None:
    """A page of lignite's own, as high as it is, in this one's light and at its margins."""
    room = f'<html style="color-scheme: {"dark" if is_dark() else "light"}" '
    page = page.replace("<html ", room, 1).replace("</head>", f"<style>{_INSIDE}</style></head>", 1)
    st.iframe(_POLICY.sub(r"\1; script-src 'unsafe-inline'", page, count=1))


def show_card(result: Any) -> None:
    """A result as it stands in a notebook."""
    theme = "dark" if is_dark() else "light"
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_STILL}">'
    head = f'<meta charset="utf-8">{policy}<title>result</title><style>body {{ margin: 0; padding: 0 }}</style>'
    show_page(f'<!doctype html><html lang="en" data-theme="{theme}"><head>{head}</head><body>{card_of(result)}</body>')


def offer_downloads(dataset: xr.Dataset, key: str) -> None:
    """Buttons for the page, the picture, and the numbers; each is made when somebody asks for it."""
    made: dict[str, tuple[str, str, Callable[[], bytes]]] = {
        "Page": (
            "html",
            "text/html",
            lambda: page_of(dataset, tokens=False, special="show").encode(errors="backslashreplace"),
        ),
        "Picture": ("png", "image/png", lambda: _drawn(dataset)),
        "NetCDF": ("nc", "application/x-netcdf", lambda: bytes(as_netcdf(dataset, Path("result.nc")))),
        "Table": ("csv", "text/csv", lambda: _drawn(dataset, ".csv")),
    }
    name = str(dataset.attrs.get("kind", "result"))
    with st.container(horizontal=True):
        for label, (ending, mime, make) in made.items():
            st.download_button(
                label,
                make,
                file_name=f"{name}.{ending}",
                mime=mime,
                key=f"{key}.{ending}",
                on_click="ignore",
                icon=":material/download:",
            )


def _drawn(dataset: xr.Dataset, ending: str = ".png") -> bytes:
    with tempfile.TemporaryDirectory(prefix="lignite-") as folder:
        path = Path(folder) / f"result{ending}"
        save(dataset, path)
        return path.read_bytes()
