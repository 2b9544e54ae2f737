"""A continued text in the terminal: what the model goes on with, and what each of its tokens owes to those before."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from rich.console import Console
from rich.text import Text

from lignite.views.explanation.columns import set_beside
from lignite.views.explanation.facts import arrange
from lignite.views.explanation.message import doubt
from lignite.views.explanation.terminal import TOP, shades_of
from lignite.views.explanation.together import Continuation
from lignite.views.labels import format_share
from lignite.views.writer import Writer
from lignite.wording import counted


def print_steps(
    continuation: Continuation, datasets: Sequence[xr.Dataset], *, console: Console | None = None, k: int = TOP
) -> None:
    """Print the tokens that a model goes on with, and a table of its sources by these tokens."""
    console = console or Console()
    writer = Writer(console)
    doubts = [text for each in datasets if (text := doubt(each))]
    for text in doubts[:1]:
        console.print(Text(writer.plain(text), style=writer.alarm))
    console.print(Text(writer.plain(continuation.answer), style="bold"))
    console.print(Text(writer.plain(continuation.sides)))
    console.print()
    scores = np.array([[np.nan if cell is None else cell[1] for cell in cells] for _, cells in continuation.rows])
    special = arrange(datasets[-1], tokens=True).special.values
    size = np.where(special, -1.0, np.nan_to_num(np.abs(scores)).max(1))
    chosen = np.sort(np.argsort(-size, kind="stable")[: 2 * k])
    chosen = chosen[size[chosen] > 0]
    left = int((size > 0).sum()) - len(chosen)
    named = {f"{at}. {name}": format_share(share) for at, (_, name, share) in enumerate(continuation.steps, start=1)}
    note = "+ for the token above, - against it" + (f"; and {counted(left, 'token')} more" if left > 0 else "")
    words = [continuation.rows[int(at)][0] for at in chosen]
    for part in set_beside(
        named, words, scores[chosen], writer, shades_of(console), limit=continuation.limit, note=note
    ):
        console.print(part)
        console.print()
