"""Explanations as one HTML page that needs nothing else: no network, no server, no other file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from lignite.views.explanation.facts import strongest
from lignite.views.explanation.payload import pack_explanations
from lignite.views.labels import model_title
from lignite.views.markup import frame, render, write_page
from lignite.views.payload import MAX_BYTES
from lignite.wording import shorten


def explanation_html(
    results: xr.Dataset | Sequence[xr.Dataset],
    *,
    tokens: bool = False,
    special: str = "show",
    smooth: bool = False,
    max_bytes: int = MAX_BYTES,
) -> str:
    """The page as text: one explanation, or several to choose from and to compare.

    `tokens`, `special` and, for images, `smooth` (colours mixed between the patches) say how the page opens; its reader
    can change them. Relevance flows, one matrix per layer, are left out where all of them would take more than
    `max_bytes`; the page says so.
    """
    datasets = [results] if isinstance(results, xr.Dataset) else list(results)
    payload = pack_explanations(datasets, tokens=tokens, special=special, smooth=smooth, max_bytes=max_bytes)
    entries = payload.meta["entries"]
    models = list(dict.fromkeys(entry["model"] for entry in entries))
    title = ", ".join(map(model_title, models[:3]))
    first = entries[0]["text"] if len(entries) == 1 else f"{len(entries)} explanations"
    return render(
        "explain",
        title=shorten(f"{title}: {first}" if first else title, 80),
        models=models,
        revision=str(datasets[0].attrs.get("revision", "")) if len(models) == 1 else "",
        entries=entries,
        strongest=[strongest(dataset, 10) for dataset in datasets],
        payload=payload,
    )


def save_explanation_page(results: xr.Dataset | Sequence[xr.Dataset], path: str | Path, **how: Any) -> Path:
    """Write the page of `explanation_html`, with `how` as there, into a .html file."""
    return write_page(explanation_html(results, **how), Path(path))


def explanation_frame(results: xr.Dataset | Sequence[xr.Dataset], *, height: int = 900, **how: Any) -> str:
    """The page inside an iframe, for a notebook; `how` as in `explanation_html`."""
    return frame(explanation_html(results, **how), height=height, title="lignite explanation")
