"""A report as plain text."""

import xarray as xr
from rich.console import Console
from rich.padding import Padding
from rich.style import Style
from rich.text import Text

from lignite.views.explanation.terminal import shade, shades_of
from lignite.views.report.facts import (
    LIMITS,
    changes,
    checks,
    decided,
    decision_of,
    evidence,
    singly,
    spoken,
    text_of,
    title_of,
    unchanged,
)
from lignite.views.writer import Writer
from lignite.wording import one_line

BAR = 12
MARKS = {"yes": "yes", "partly": "in part", "no": "no"}


def print_report(report: xr.Dataset, *, console: Console | None = None) -> None:
    """Print the decision, the evidence, how sure it is, and what would have changed it."""
    console = console or Console()
    writer = Writer(console)

    def heading(text: str) -> None:
        console.print()
        say(text, "bold")

    def say(text: str, style: str = "") -> None:
        console.print(Text(writer.number(text), style=style))

    say(title_of(report), "bold")
    for line in decided(report):
        say(line)
    heading("What speaks for it, and against")
    say(evidence(report))
    if "row" not in report.coords:
        console.print(Padding(_text(report, writer, console), (1, 0, 0, 2)))
    _sides(report, writer, console)
    heading("How sure is this explanation?")
    for check in checks(report):
        say(f"- {check.title} {check.told}")
    heading("What would have changed the decision?")
    for line in filter(None, [singly(report), unchanged(report)]):
        say(f"- {line}")
    for change in changes(report):
        say(f"- {change.told} It gives {change.probability} to that, {change.left} to {decision_of(report)}.")
        if change.after:
            console.print(
                Padding(Text(writer.plain("".join(piece for piece, _ in change.after)), style="italic"), (0, 0, 0, 4))
            )
    say("The model was asked about each of these.", "dim")
    heading("What this cannot tell")
    for limit in LIMITS:
        say(f"- {limit}", "dim")


def _text(report: xr.Dataset, writer: Writer, console: Console) -> Text:
    shades, text = shades_of(console), Text()
    for piece, share in text_of(report):
        text.append(writer.plain(piece), style=Style() if share is None or shades is None else shade(share, shades))
    return text


def _sides(report: xr.Dataset, writer: Writer, console: Console) -> None:
    for side, sign in (("for", 1.0), ("against", -1.0)):
        found = spoken(report, "for" if sign > 0 else "against")
        console.print()
        title = f"for {decision_of(report)}" if sign > 0 else "against it"
        console.print(Text(writer.plain(one_line(title)), style="dim"))
        for each in found:
            token = writer.token(each.token, 18)
            line = Text(f"  {token}{' ' * max(1, 19 - len(token))}")
            line.append(writer.measure(each.share, BAR), style=writer.sign_style(sign))
            line.append(f" {each.strength}", style="dim")
            console.print(line)
        if not found:
            console.print(Text(f"  no word {'speaks for it' if side == 'for' else 'does'}", style="dim italic"))
