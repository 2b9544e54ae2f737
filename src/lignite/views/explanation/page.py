"""Explanations as one HTML page that needs nothing else: no network, no server, no other file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from lignite.views.explanation.payload import check_explanations, pack_explanations, views_of
from lignite.views.explanation.together import classes_of, continuation_of, with_differences
from lignite.views.explanation.written import write_entry
from lignite.views.labels import format_score, model_title
from lignite.views.markup import frame, render, write_page
from lignite.views.patches.facts import PATCH_NAMES
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
    can change them. Explanations of several classes of one text are chosen by chips, with their differences; those of
    the tokens that a model went on with stand in one matrix. Relevance flows, one matrix per layer, are left out where
    all of them would take more than `max_bytes`; the page says so.
    """
    datasets = [results] if isinstance(results, xr.Dataset) else list(results)
    check_explanations(datasets, special)
    shown = with_differences(datasets)
    views = [views_of(dataset) for dataset in shown]
    payload = pack_explanations(views, tokens=tokens, special=special, smooth=smooth, max_bytes=max_bytes)
    entries = [write_entry(at, each, tokens=tokens, special=special) for at, each in enumerate(views)]
    models = list(dict.fromkeys(entry["model"] for entry in entries))
    title = ", ".join(map(model_title, models[:3]))
    chips = _chips(datasets)
    first = entries[0]["text"] if len(datasets) == 1 else f"{len(datasets)} explanations"
    return render(
        "explain",
        title=shorten(f"{title}: {first}" if first else title, 80),
        models=models,
        entries=entries,
        chips=chips,
        listed=len(datasets) > 1
        and set(chips.get(0, ())) != set(range(len(entries))),  # chips alone name all they lead to
        asked=len(datasets),
        continuation=continuation_of(datasets),
        alone=len({entry["text"] for entry in entries}) == 1,
        layered=any(entry["opened"].tables for entry in entries),
        special=special,
        format_score=format_score,
        patch_names=PATCH_NAMES,
        payload=payload,
    )


def _chips(datasets: Sequence[xr.Dataset]) -> dict[int, list[int]]:
    """For every explanation of one of several classes of a text: the numbers of all and of their differences."""
    found: dict[int, list[int]] = {}
    behind = len(datasets)
    for members in classes_of(datasets):
        group = [*members, *range(behind, behind + len(members) - 1)]
        behind += len(members) - 1
        found |= dict.fromkeys(group, group)
    return found


def save_explanation_page(results: xr.Dataset | Sequence[xr.Dataset], path: str | Path, **how: Any) -> Path:
    """Write the page of `explanation_html`, with `how` as there, into a .html file."""
    return write_page(explanation_html(results, **how), Path(path))


def explanation_frame(results: xr.Dataset | Sequence[xr.Dataset], *, height: int = 900, **how: Any) -> str:
    """The page inside an iframe, for a notebook; `how` as in `explanation_html`."""
    return frame(explanation_html(results, **how), height=height, title="lignite explanation")
