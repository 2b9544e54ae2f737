"""A comparison of flows as text: every layer, the scores and the heads that changed most."""

import numpy as np
import xarray as xr
from rich.console import Console, Group, RenderableType
from rich.text import Text

from lignite.views.comparison.facts import others_of, reference_of, sides_of, written
from lignite.views.comparison.flows import MEASURED, edges, flow_verdict, heads, means
from lignite.views.labels import format_share
from lignite.views.writer import Writer, plain_table

LISTED, NAMED = 8, 3
"""Scores in a list, heads in a line."""


def print_flow_comparison(dataset: xr.Dataset, console: Console, writer: Writer) -> None:
    """Print which layers, scores and heads have another flow on every side than on the reference."""
    console.print(Text(writer.number(flow_verdict(dataset)), style="bold"))
    console.print()
    for side in others_of(dataset):
        for part in (_layers(dataset, side, writer), _edges(dataset, side, writer), _heads(dataset, side, writer)):
            if part is not None:
                console.print(part)
                console.print()


def _layers(dataset: xr.Dataset, side: int, writer: Writer) -> RenderableType:
    names = sides_of(dataset)
    table = plain_table()
    table.add_column("layer", justify="right")
    measured = {name: title for name, (title, _) in MEASURED.items() if np.isfinite(means(dataset, side, name)).any()}
    for title in measured.values():
        table.add_column(
            title, justify="right", overflow="fold", max_width=max(8, (writer.width - 9) // len(measured) - 2)
        )
    held = [[means(dataset, side, name, bound) for bound in ("mean", "low", "high")] for name in measured]
    for at, layer in enumerate(dataset.layer.values):
        numbers = [writer.number(written((mean[at], low[at], high[at]))) for mean, low, high in held]
        table.add_row(str(layer), *numbers)
    heading = Text(writer.plain(f"{names[side]} beside {names[reference_of(dataset)]}, layer by layer"), style="bold")
    notes = [Text(f"{title}: {MEASURED[name][1]}", style="dim") for name, title in measured.items()]
    return Group(heading, table, *notes)


def _edges(dataset: xr.Dataset, side: int, writer: Writer) -> RenderableType | None:
    found = edges(dataset, side, LISTED)
    if not found:
        return None
    lines = []
    for edge in found:
        line = Text.assemble(
            (f"layer {edge.layer}  ", "dim"),
            f"{writer.token(edge.source)} {writer.arrow} {writer.token(edge.target)}  ",
        )
        line.append(writer.number(format_share(edge.share)), style=writer.sign_style(edge.difference))
        line.append(writer.number(f" instead of {format_share(edge.beside)}"), style="dim")
        lines.append(line)
    return Group(Text("scores that changed most, of all that the word receives", style="bold"), *lines)


def _heads(dataset: xr.Dataset, side: int, writer: Writer) -> RenderableType | None:
    found = heads(dataset, side, NAMED)
    if not found:
        return None
    named = ", ".join(f"head {head.head} of layer {head.layer} ({format_share(head.changed)})" for head in found)
    return Text(writer.number(f"heads whose flow comes from elsewhere most: {named}"))
