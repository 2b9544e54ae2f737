"""A check report as text."""

from collections.abc import Mapping, Sequence

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lignite.api.check import CheckReport, LayerCheck, ranges
from lignite.api.flow_options import DETAILS, MAPS
from lignite.wording import one_line


def print_check(report: CheckReport, *, console: Console | None = None) -> None:
    """Print one row for every kind of layer, why better routes were refused, the cost, and a verdict."""
    console = console or Console()
    groups = report.groups()
    console.print(_heading(report, console))
    console.print()
    console.print(_table(groups, wide=console.width >= 90))
    reasons = [
        Padding(Text.assemble((f"layers {_numbers(group)}  ", "dim"), _plain(line, console)), (0, 0, 0, 2))
        for group in groups
        for line in group[0].refused
    ]
    if reasons:
        console.print()
        console.print(Group(Text("why not more", style="bold"), *reasons))
    console.print()
    console.print(_costs(report))
    console.print()
    console.print(Text(report.verdict, style="bold"))


def _heading(report: CheckReport, console: Console) -> Table:
    model = report.model + (f" @ {report.revision}" if report.revision else "")
    return _facts(
        {
            "model": Text(_plain(model, console), style="bold"),
            "class": f"{report.network}, {report.dtype} on {report.device}",
            "input": f"{report.n_tokens} tokens",
        }
    )


def _facts(told: Mapping[str, str | Text]) -> Table:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, fact in told.items():
        facts.add_row(name, fact)
    return facts


def _numbers(group: Sequence[LayerCheck]) -> str:
    return ranges([layer.layer for layer in group])


def _table(groups: list[tuple[LayerCheck, ...]], *, wide: bool) -> Table:
    table = Table(box=None, padding=(0, 2 if wide else 1, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("layers", no_wrap=True)
    table.add_column("route", no_wrap=True)
    table.add_column("trial", justify="right", no_wrap=True)
    for title in ("plan for\ntarget_token", "plan for\nthe others", "maps", "details"):
        table.add_column(title, overflow="fold")
    table.add_column("time per\nlayer", justify="right", no_wrap=True)
    for group in groups:
        first, numbers = group[0], _numbers(group)
        if first.route == "refused":
            table.add_row(numbers, "refused", "-", "-", "-", "none", "none", "-")
            continue
        table.add_row(
            numbers,
            first.route,
            f"{max(layer.trial for layer in group):.0e}".replace("0e+00", "0"),
            first.target_plan,
            first.shared_plan,
            "all" if first.maps == MAPS else ", ".join(first.maps),
            "all" if first.details == DETAILS else ", ".join(first.details) or "none",
            format_seconds(sum((layer.seconds for layer in group), start=0.0) / len(group)),
        )
    return table


def _costs(report: CheckReport) -> Group:
    model, beside = format_bytes(report.model_bytes), format_bytes(report.working_bytes)
    facts = _facts(
        {
            "time": f"about {format_seconds(report.seconds)} for all layers and targets",
            "memory": f"{model} for the model, at most {beside} beside it",
        }
    )
    return Group(Text("estimate with default options", style="bold"), Padding(facts, (0, 0, 0, 2)))


def _plain(text: str, console: Console) -> str:
    return one_line(text).encode(console.encoding, "backslashreplace").decode(console.encoding)


def format_seconds(seconds: float) -> str:
    """A duration in two digits.

    Examples
    --------
    >>> [format_seconds(value) for value in (0.0123, 1.26, 75.0, 59.9, 9000.0)]
    ['12 ms', '1.3 s', '1.2 min', '60 s', '2.5 h']
    """
    for size, unit in ((3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms")):
        if seconds >= size:
            return f"{_two_digits(seconds / size)} {unit}"
    return "below 1 ms"


def format_bytes(size: int) -> str:
    """A size in two digits.

    Examples
    --------
    >>> [format_bytes(value) for value in (900, 7_480_000, 1_200_000_000)]
    ['900 B', '7.5 MB', '1.2 GB']
    """
    for unit_size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit_size:
            return f"{_two_digits(size / unit_size)} {unit}"
    return f"{size:.0f} B"


def _two_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"
