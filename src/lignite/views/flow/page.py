"""A flow as one HTML page that needs nothing else: no network, no server, no other file."""

from pathlib import Path
from typing import Any

import xarray as xr

from lignite.metrics.readings.agreement import agreement
from lignite.views.attributes import model_name, options
from lignite.views.flow.facts import answer, arrange, choose_map, doubt, plans, token_axis, worst_gaps
from lignite.views.flow.payload import pack_flow
from lignite.views.flow.written import Look, heads_of
from lignite.views.labels import model_title, without_folders
from lignite.views.markup import frame, render, write_page
from lignite.views.patches.facts import PATCH_NAMES, is_image
from lignite.views.payload import MAX_BYTES
from lignite.wording import one_line, shorten


def flow_html(dataset: xr.Dataset, *, tokens: bool = False, special: str = "show", max_bytes: int = MAX_BYTES) -> str:
    """The page as text; `tokens` and `special` as in `print_flow` say how it opens.

    Maps of up to 0.6 MB are stored as float32. Of larger ones every score is rounded to a part of the largest of its
    row, which the page states. Where all of them would take more than `max_bytes`, the heads of `attention` are added
    up, and the maps at the end of whole, composed, attention, mlp, whole_heads, whole_circuits left out; the page says
    so, too.
    """
    shown = arrange(dataset, tokens=tokens, special=special)
    alone = arrange(dataset, tokens=True, special=special)
    image = is_image(dataset, token_axis(dataset))
    words = alone if image else arrange(dataset, special=special)
    if words.sizes[token_axis(words)] == alone.sizes[token_axis(alone)]:
        words = alone
    payload = pack_flow(alone, words, max_bytes=max_bytes)
    payload.meta |= {"words": not tokens, "rank": special == "rank"}
    map = choose_map(shown, None)
    looks = [Look("tokens", alone, map)] if words is alone else [Look("words", words, map), Look("tokens", alone, map)]
    text, model = one_line(str(dataset.attrs.get("text", ""))), model_name(dataset)
    return render(
        "flow",
        title=shorten(f"{model_title(model)}: {text}" if text else model_title(model), 80),
        model=model,
        text=without_folders(text) if image else text,
        answer=answer(shown, map, special=special == "rank"),
        doubt=doubt(dataset),
        looks=looks,
        opened=looks[-1] if tokens else looks[0],
        heads=heads_of(alone),
        image=image,
        patch_names=PATCH_NAMES,
        version=str(dataset.attrs.get("lignite_version", "")),
        sizes=dict(shown.sizes),
        options=options(dataset),
        plans=plans(dataset),
        tol=float(dataset.attrs.get("tol", 1e-3)),
        gaps=worst_gaps(shown),
        agreement=_agreement_rows(shown),
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
