"""A flow as text: readable at any width, with and without colour, in a terminal and in a pipe."""

from collections.abc import Callable

import numpy as np
import xarray as xr
from rich.cells import cell_len
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lignite.metrics.readings.agreement import agreement
from lignite.results.kept import is_kept_in_part, keep_of
from lignite.views.attributes import model_name, options
from lignite.views.flow.facts import (
    SPLITS,
    TITLES,
    Score,
    answer,
    arrange,
    choose_map,
    displacement_of,
    doubt,
    own_cells,
    own_share,
    plans,
    relative_gaps,
    strongest,
    token_axis,
    worst_gaps,
)
from lignite.views.flow.kept import choose_kept, share_kept, strongest_kept
from lignite.views.labels import format_score, format_share
from lignite.views.patches.facts import PATCH_NAMES, is_image
from lignite.views.writer import TOKEN_CELLS, Writer, facts_table, fold, plain_table
from lignite.wording import one_line, shorten

TOKENS_SHOWN = 64  # more would push the scores off the screen
FEW = 4  # are not worth a note of what was left out
FLOWS_SHOWN = 72
TOKEN_LEAST = 4
LAYER_CELLS = 72  # width of one layer's table
KEPT_AXES = ("layer", "statistic")
WIDE = 60  # from here on there is room for bars, and for all columns beside each other
AGREEMENT = ("r", "r off\ndiag.", "rank r\noff d.", "L2\nrelative")
SPLIT_CELLS = 10  # more of it where flows are split by head or circuit


def print_flow(
    dataset: xr.Dataset,
    *,
    console: Console | None = None,
    k: int | None = None,
    map: str | None = None,
    tokens: bool = False,
    special: str = "show",
) -> None:
    """Print what a flow holds, its strongest scores per layer, and how far to trust it; `tokens` and `special` as in
    `print_explanation`.

    `k` scores are shown per layer: five, or fewer where there are many layers. `map` is the map to rank, by default the
    first of whole, composed, attention, mlp that the result holds.
    """
    console = console or Console()
    writer = Writer(console)
    if is_kept_in_part(dataset):
        facts = (_heading(dataset, writer), _tokens(dataset, writer), _certificate(dataset, writer))
        for part in (_kept(dataset, map, k, writer), *facts):
            console.print(part)
            console.print()
        return
    map = choose_map(dataset, map)
    dataset, ranked = arrange(dataset, tokens=tokens, special=special), special == "rank"
    layers = dataset.layer.values
    per_layer = k if k is not None else max(1, min(5, FLOWS_SHOWN // max(1, len(layers))))
    for part in (
        _answer(dataset, map, writer, special=ranked),
        _flows(dataset, map, per_layer, writer, special=ranked),
        _heading(dataset, writer),
        _tokens(dataset, writer),
        _layers(dataset, map, writer),
        _certificate(dataset, writer),
    ):
        console.print(part)
        console.print()


def _kept(dataset: xr.Dataset, map: str | None, k: int | None, writer: Writer) -> RenderableType:
    """What is known of a flow whose scores are not all kept: its strongest ones, or its statistics by layer."""
    map = choose_kept(dataset, map)
    title, table = Text(f"{TITLES[map]}, keep={keep_of(dataset)}", style="bold"), plain_table()
    if f"{map}_stats" in dataset:
        names = [str(name) for name in dataset["statistic"].values]
        middle = dataset[f"{map}_stats"].median([dim for dim in dataset[f"{map}_stats"].dims if dim not in KEPT_AXES])
        for column in ("layer", *names):
            table.add_column(column, justify="right")
        for layer in dataset.layer.values:
            table.add_row(str(layer), *(f"{value:.3g}" for value in middle.sel(layer=layer).values))
        return Group(title, Text("median over targets", style="dim"), table)
    width = min(LAYER_CELLS + (SPLIT_CELLS if map in SPLITS else 0), writer.width)
    kept = share_kept(dataset, map)
    per_layer = k if k is not None else max(1, min(5, FLOWS_SHOWN // max(1, dataset.sizes["layer"])))
    parts: list[RenderableType] = [title]
    for layer in dataset.layer.values.tolist():
        found = strongest_kept(dataset, map, layer, per_layer)
        share = format_share(float(kept.sel(layer=layer)))
        largest = max((abs(flow.score) for flow in found), default=1.0)
        parts += [Text(f"layer {layer}: {share} of all magnitude is kept", style="dim")]
        parts += [_layer_flows(found, map, layer, largest, width, writer)]
    return Group(*parts)


def _answer(dataset: xr.Dataset, map: str, writer: Writer, *, special: bool) -> RenderableType:
    said = Text(writer.plain(answer(dataset, map, special=special)).replace("\\u2192", writer.arrow), style="bold")
    return Group(*([Text(writer.plain(unsure), style=writer.alarm)] if (unsure := doubt(dataset)) else []), said)


def _heading(dataset: xr.Dataset, writer: Writer) -> RenderableType:
    facts = facts_table(("model", Text(writer.plain(model_name(dataset)), style="bold")))
    if text := str(dataset.attrs.get("text", "")):
        words = one_line(text)
        cut = shorten(words, 600)
        note = f" ({len(words)} characters, the middle left out)" if cut != words else ""
        facts.add_row("text", Text(writer.plain(cut + note)))
    named = [f"{name}={value}" for name, value in options(dataset).items()]
    used = plans(dataset)
    planned = [name + _layer_note(layers, dataset.sizes["layer"]) for name, layers in used.items()]
    for title, entries in (("options", named), ("plans", planned)):
        if entries:
            pieces = [Text(writer.plain(one_line(entry))) for entry in entries]
            facts.add_row(title, fold(pieces, writer.width - 9))
    return facts


def _layer_note(layers: list[int], n_layers: int) -> str:
    if len(set(layers)) == n_layers:
        return ""
    return f" (layers {', '.join(map(str, sorted(set(layers))))})"


def _tokens(dataset: xr.Dataset, writer: Writer) -> RenderableType:
    axis = token_axis(dataset)
    positions = dataset[axis].values
    left_out = len(positions) - TOKENS_SHOWN
    if left_out < FEW:  # what stands for them would be as long
        left_out = 0
    head = TOKENS_SHOWN * 3 // 4 if left_out > 0 else len(positions)
    tail = TOKENS_SHOWN - head if left_out > 0 else 0
    special = dataset[f"{axis}_special"].values
    pieces = []
    image = is_image(dataset, axis)
    if image:  # patches name themselves
        head, tail, left_out = len(positions), 0, 0
    for index in [*range(head), *range(len(positions) - tail, len(positions))]:
        if left_out > 0 and index == len(positions) - tail:
            first, last = positions[head], positions[index - 1]
            pieces.append(Text(writer.plain(f"… {left_out} left out (positions {first} to {last}) …"), style="italic"))
        if image and dataset[f"{axis}_row"].values[index] >= 0:
            continue
        token = Text(writer.token(str(dataset[f"{axis}_token"].values[index])), style="dim" if special[index] else "")
        pieces.append(Text.assemble((f"{positions[index]} ", "dim"), token))
    count = f"{len(positions)} tokens"
    if dataset.sizes["target"] != len(positions):
        count += f", {dataset.sizes['target']} of them targets"
    if image:
        pieces.append(Text(writer.plain(PATCH_NAMES), style="dim"))
    return Group(Text(count, style="bold"), Padding(fold(pieces, writer.width - 2), (0, 0, 0, 2)))


def _flows(dataset: xr.Dataset, map: str, k: int, writer: Writer, *, special: bool) -> RenderableType:
    title = Text(writer.plain(f"{TITLES[map]}: {'strongest flow' if k == 1 else f'{k} strongest flows'} of each layer"))
    title.stylize("bold")
    between = " between different tokens" if "source" in dataset[map].dims else ""
    shown = k * dataset.sizes["layer"]
    total = dataset[map].size
    if between:
        compared = ~own_cells(dataset) & (special | ~dataset.source_special.values)
        total = total // compared.size * int(compared.sum())
        between += "" if special else ", those of special tokens not ranked"
    note = Text(f"{min(shown, total):,} of {total:,} scores{between}; share: of what moved the target", style="dim")
    width = min(LAYER_CELLS + (SPLIT_CELLS if map in SPLITS else 0), writer.width)
    flows = {
        int(layer): strongest(dataset, map=map, layer=int(layer), k=k, special=special)
        for layer in dataset.layer.values
    }
    sizes = {layer: max((abs(flow.score) for flow in found), default=1.0) for layer, found in flows.items()}
    if k == 1:  # a lone bar is compared with those of the other layers
        sizes = dict.fromkeys(sizes, max(sizes.values(), default=1.0))
    tables = [_layer_flows(flows[layer], map, layer, sizes[layer], width, writer) for layer in flows]
    if k == 1:
        return Group(title, note, *tables)
    if writer.width > 2 * width:
        return Group(title, note, Columns(tables, padding=(0, 2, 1, 0), width=width))
    return Group(title, note, *(Padding(table, (0, 0, 1, 0)) for table in tables))


def _layer_flows(
    flows: list[Score], map: str, layer: int, largest: float, width: int, writer: Writer
) -> RenderableType:
    """The strongest flows of a layer; its number stands above them where there is no room beside."""
    table = Table.grid(padding=(0, 1))
    table.width, wide = width, width >= WIDE
    split = SPLITS.get(map)
    if wide:
        table.add_column(width=9, style="dim")
    table.add_column(ratio=1, no_wrap=True, overflow=writer.overflow)
    if split is not None:
        table.add_column(width=8 if split == "circuit" else 7, no_wrap=True, style="dim")
    table.add_column(justify="right", no_wrap=True, width=9)
    table.add_column(justify="right", no_wrap=True, width=9)
    if wide:
        table.add_column(width=8, no_wrap=True, overflow="crop")
    room = width - sum(column.width + 1 for column in table.columns if column.width)
    for rank, flow in enumerate(flows):
        colour = writer.sign_style(flow.score)
        table.add_row(
            *([f"layer {layer}" if rank == 0 else ""] if wide else []),
            _arrow(flow, room, writer),
            *([str(flow.circuit) if split == "circuit" else f"head {flow.head}"] if split is not None else []),
            Text(format_score(flow.score), style=f"bold {colour}"),
            Text(format_share(flow.share) if flow.share == flow.share else "", style="dim"),
            *([Text(writer.measure(abs(flow.score) / largest, 8), style=colour)] if wide else []),
        )
    if not flows:
        table.add_row(*([f"layer {layer}"] if wide else []), Text("every score is zero", style="italic dim"))
    return table if wide else Group(Text(f"layer {layer}", style="dim"), table)


def _arrow(flow: Score, room: int, writer: Writer) -> Text:
    """Source to target in `room` cells: positions are never cut, tokens share what they leave."""
    source = f"head {flow.head}" if flow.source is None else f"{flow.source} "
    arrow, target = f" {writer.arrow} ", f"{flow.target} "
    left = room - len(source + arrow + target)
    if flow.source is None:
        return Text.assemble(source, (arrow, "dim"), (target, "dim"), writer.token(flow.target_token, left))
    to_source = writer.token(flow.source_token or "", max(TOKEN_LEAST, left - TOKEN_CELLS, left // 2))
    to_target = writer.token(flow.target_token, max(TOKEN_LEAST, left - cell_len(to_source)))
    return Text.assemble((source, "dim"), to_source, (arrow, "dim"), (target, "dim"), to_target)


def _layers(dataset: xr.Dataset, map: str, writer: Writer) -> RenderableType:
    """One row per layer: size of the change, what stays on the diagonal, agreement of the two routes, gap."""
    known: dict[str, tuple[xr.DataArray | None, Callable[[float], str]]] = {
        "displacement": (_over_targets("median", displacement_of(dataset, map)), "{:.3g}".format),
        "diagonal": (own_share(dataset, map), writer.share),
        "worst\ngap": (_over_targets("max", relative_gaps(dataset, map)), writer.share),
    }
    columns = {title: (values, write) for title, (values, write) in known.items() if values is not None}
    compared = agreement(dataset, first="composed", second="whole") if {"composed", "whole"} <= set(dataset) else None
    numbers = [str(layer) for layer in dataset.layer.values]
    cells = {
        title: [write(float(values.sel(layer=layer))) for layer in dataset.layer.values]
        for title, (values, write) in columns.items()
    }
    agreed: dict[str, list[str]] = {}
    if compared is not None:
        rows = [_agreement(compared.sel(layer=layer)) for layer in dataset.layer.values]
        rows += [_agreement(compared, prefix="mean_")] if len(numbers) > 1 else []
        agreed = {title: list(column) for title, column in zip(AGREEMENT, zip(*rows, strict=True), strict=True)}
    beside = writer.width >= WIDE
    tables = [_columns(numbers, cells | agreed)] if beside else [_columns(numbers, cells)]
    tables += [_columns(numbers, agreed)] if agreed and not beside else []
    title = Text(f"{map} by layer", style="bold")
    note = "displacement: median over targets; diagonal: share of all magnitude that a token gives itself"
    if compared is not None:
        note += "; r, L2: agreement of composed with whole"
    return Group(title, Text(writer.plain(note), style="dim"), *tables)


def _columns(numbers: list[str], columns: dict[str, list[str]]) -> Table:
    """A row for each layer, and their mean where a column has one more."""
    table = plain_table()
    for title in ("layer", *columns):
        table.add_column(title, justify="right", no_wrap=True)
    for at in range(max(map(len, columns.values()), default=0)):
        named, mean = (numbers[at], "") if at < len(numbers) else ("mean", "bold")
        table.add_row(named, *(column[at] if at < len(column) else "" for column in columns.values()), style=mean)
    return table


def _over_targets(how: str, values: xr.DataArray | None) -> xr.DataArray | None:
    """The median or the largest of a layer's targets and heads."""
    return None if values is None else getattr(values, how)([dim for dim in values.dims if dim != "layer"])


def _agreement(compared: xr.Dataset, *, prefix: str = "") -> list[str]:
    cells = (("pearson", "with"), ("pearson", "without"), ("spearman", "without"))
    correlations = [float(compared[prefix + name].sel(diagonal=diagonal)) for name, diagonal in cells]
    distance = float(compared[f"{prefix}l2_relative"].sel(diagonal="with"))
    return [f"{value:+.2f}" if np.isfinite(value) else "-" for value in correlations] + [f"{distance:.2f}"]


def _certificate(dataset: xr.Dataset, writer: Writer) -> RenderableType:
    tol = float(dataset.attrs.get("tol", 1e-3))
    table = plain_table()
    blank = " " if writer.width >= WIDE else "\n"
    table.add_column("map", no_wrap=True)
    table.add_column(f"worst{blank}gap", justify="right", no_wrap=True)
    table.add_column("at", overflow="fold")
    table.add_column(f"within{blank}{100 * tol:.2g} %", justify="right", no_wrap=True)
    for worst in worst_gaps(dataset):
        head = f", head {worst.head}" if worst.head is not None else ""
        kept = worst.within == worst.total
        table.add_row(
            worst.map,
            writer.share(worst.relative),
            Text(f"layer {worst.layer}{head}, target {worst.target} {writer.token(worst.target_token)}"),
            Text(f"{worst.within:,} of {worst.total:,}", style="" if kept else writer.alarm),
        )
    if not table.rows:
        return Text("This result stores no gaps: nothing certifies its scores.", style="italic")
    note = Text(writer.plain("gap: what the scores of a target miss of its displacement"), style="dim")
    return Group(Text("certificate", style="bold"), note, table)
