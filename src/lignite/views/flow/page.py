"""A flow as one HTML page that needs nothing else: no network, no server, no other file."""

from pathlib import Path
from typing import Any

import xarray as xr

from lignite.metrics.readings.agreement import agreement
from lignite.views.attributes import options
from lignite.views.flow.facts import answer, arrange, choose_map, doubt, plans, worst_gaps
from lignite.views.flow.payload import pack_flow
from lignite.views.labels import model_title
from lignite.views.markup import frame, render, write_page
from lignite.views.payload import MAX_BYTES
from lignite.wording import one_line, shorten


def flow_html(dataset: xr.Dataset, *, tokens: bool = False, special: str = "show", max_bytes: int = MAX_BYTES) -> str:
    """The page as text; `tokens` and `special` as in `print_flow`.

    Scores are stored as float32. Where they would take more than `max_bytes`, they are rounded to float16 (three
    digits); then the heads of `attention` are added up, and the maps at the end of whole, composed, attention, mlp,
    whole_heads, whole_circuits left out. The page says which of these happened.
    """
    dataset = arrange(dataset, tokens=tokens, special=special)
    payload = pack_flow(dataset, max_bytes=max_bytes)
    text = one_line(str(dataset.attrs.get("text", "")))
    model = one_line(str(dataset.attrs.get("model", "")))
    return render(
        "flow",
        title=shorten(f"{model_title(model)}: {text}" if text else model_title(model), 80),
        model=model,
        revision=str(dataset.attrs.get("revision", "")),
        text=text,
        answer=answer(dataset, choose_map(dataset, None), special=special == "rank"),
        doubt=doubt(dataset),
        unit="word" if dataset.attrs.get("merged_words") else "token",
        long=len(text) > 240,
        version=str(dataset.attrs.get("lignite_version", "")),
        sizes=dict(dataset.sizes),
        options=options(dataset),
        plans=plans(dataset),
        tol=float(dataset.attrs.get("tol", 1e-3)),
        gaps=worst_gaps(dataset),
        agreement=_agreement_rows(dataset),
        payload=payload,
    )


def save_page(dataset: xr.Dataset, path: str | Path, **how: Any) -> Path:
    """Write the page of `flow_html`, with `how` as there, into a .html file."""
    return write_page(flow_html(dataset, **how), Path(path))


def flow_frame(dataset: xr.Dataset, *, height: int = 900, **how: Any) -> str:
    """The page inside an iframe, for a notebook; `how` as in `flow_html`."""
    return frame(flow_html(dataset, **how), height=height, title="lignite flow")


def _agreement_rows(dataset: xr.Dataset) -> list[dict[str, Any]]:
    if not {"composed", "whole"} <= set(dataset.data_vars):
        return []
    compared = agreement(dataset, first="composed", second="whole")
    names = ("pearson", "spearman", "l2", "l2_relative")
    rows = [("", str(layer), compared.sel(layer=layer)) for layer in dataset.layer.values]
    rows.append(("mean_", "mean", compared))
    return [
        {"layer": title}
        | {
            f"{name}_{d}": float(cells[f"{prefix}{name}"].sel(diagonal=d))
            for name in names
            for d in ("with", "without")
        }
        for prefix, title, cells in rows
    ]
