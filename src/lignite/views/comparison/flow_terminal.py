"""A comparison of flows as text: every layer, the scores and the heads that changed most."""

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.text import Text

from lignite.views.comparison.flows import MEASURED, FlowSides
from lignite.views.comparison.sides import written
from lignite.views.labels import format_share
from lignite.views.writer import Writer, plain_table

LISTED, NAMED = 8, 3
"""Scores in a list, heads in a line."""


def print_flow_comparison(sides: FlowSides, console: Console, writer: Writer) -> None:
    """Print which layers, scores and heads have another flow on every side than on the reference."""
    console.print(Text(writer.number(sides.verdict), style="bold"))
    console.print()
    for side in sides.others:
        for part in (_layers(sides, side, writer), _edges(sides, side, writer), _heads(sides, side, writer)):
            if part is not None:
                console.print(part)
                console.print()


def _layers(sides: FlowSides, side: int, writer: Writer) -> RenderableType:
    table = plain_table()
    table.add_column("layer", justify="right")
    measured = {name: title for name, (title, _) in MEASURED.items() if np.isfinite(sides.means(side, name)).any()}
    for title in measured.values():
        table.add_column(
            title, justify="right", overflow="fold", max_width=max(8, (writer.width - 9) // len(measured) - 2)
        )
    held = [sides.intervals(side, name) for name in measured]
    for layer, *found in zip(sides.layers, *held, strict=True):
        table.add_row(str(layer), *(writer.number(written(each)) for each in found))
    heading = Text(
        writer.plain(f"{sides.names[side]} beside {sides.names[sides.reference]}, layer by layer"), style="bold"
    )
    notes = [Text(writer.number(f"{title}: {MEASURED[name][1]}"), style="dim") for name, title in measured.items()]
    return Group(heading, table, *notes)


def _edges(sides: FlowSides, side: int, writer: Writer) -> RenderableType | None:
    found = sides.edges(side, LISTED)
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


def _heads(sides: FlowSides, side: int, writer: Writer) -> RenderableType | None:
    found = sides.heads(side, NAMED)
    if not found:
        return None
    named = ", ".join(f"head {head.head} of layer {head.layer} ({format_share(head.changed)})" for head in found)
    return Text(writer.number(f"heads whose flow comes from elsewhere most: {named}"))
