"""`lignite flow`: tokens that give to tokens, inside every layer."""

from collections.abc import Sequence
from typing import Any

from lignite.api.flow_options import FlowOptions
from lignite.apps.arguments import count_results, read_inputs
from lignite.apps.outputs import RESULTS, Look, check_outputs, deliver, planned
from lignite.apps.shared import (
    BUNDLED,
    FlowLook,
    Lines,
    Loading,
    Memory,
    ModelName,
    Outputs,
    Pair,
    Quiet,
    Text,
    TokenLook,
    Top,
    takes,
)
from lignite.errors import OptionError

SPLIT_BY_HEAD = ("whole_heads", "attention")
EXAMPLES = """[bold]Examples[/bold]

  lignite flow "The plot was thin, but the acting was superb."

  lignite flow "A superb film." --layers 0,2-3 --maps whole -o flow.html

  lignite flow "Who wrote it?" --pair "Ann wrote it." --model ./my-model

  echo "A superb film." | lignite flow --baseline zero -o flow.nc --quiet

  lignite flow --file sentences.txt -o flow.nc   [dim](flow-1.nc, flow-2.nc, ...)[/dim]"""


@takes("options", FlowOptions)
@takes("loading", Loading)
@takes("shown", FlowLook)
@takes("token", TokenLook)
def flow(
    text: Text = None,
    *,
    pair: Pair = None,
    file: Lines = None,
    options: FlowOptions,
    memory: Memory = None,
    model: ModelName = BUNDLED,
    loading: Loading,
    output: Outputs = None,
    shown: FlowLook,
    token: TokenLook,
    top: Top = None,
    quiet: Quiet = False,
) -> None:
    """How much each token gives to each other token inside every layer, and through which head.

    Prints the tokens, the strongest flows of each layer, how far the maps agree, and what the scores miss.
    """
    present = (*options.maps, *(f"whole_{name}" for name in options.detail))
    shown = FlowLook(map=choose_map(shown.map, shown.head, present), head=shown.head)
    outputs = output or []
    inputs = read_inputs(text, pair, file, model)
    check_outputs([name for name, _ in planned(outputs, count_results(inputs), explanations=False)])
    check_keep(options.keep, [path.suffix.lower() for path in outputs])
    with loading.at_work(model, quiet=quiet) as (terminal, loaded):
        from lignite.models.facts import number_of_heads

        n_heads = number_of_heads(loaded.config)
        if shown.head is not None and n_heads is not None:
            check_head(shown.head, n_heads)  # before the work, not after
        with terminal.working("flow through layers") as progress:
            from lignite.api.flow import flow as compute

            results = compute(loaded, inputs, request=options, memory=memory, progress=progress, say=terminal.note)
        deliver(terminal, results, outputs, Look(flow=shown, token=token, top=top))


def choose_map(map: str | None, head: int | None, present: Any) -> str | None:
    """The map that is listed and drawn; None leaves the choice to the view."""
    if map is not None and map not in present:
        raise OptionError(f"--map {map!r} is not in this result, which holds {', '.join(present)}; choose one of them.")
    if head is None:
        return map
    if map is None:
        map = next((name for name in SPLIT_BY_HEAD if name in present), None)
    if map not in SPLIT_BY_HEAD:
        raise OptionError(
            "--head needs a map that is split by head: --map attention, or whole_heads with --detail heads."
        )
    return map


def check_keep(keep: str, endings: Sequence[str]) -> None:
    """Refuse, before the work, to draw what is not kept."""
    if keep not in ("full", "sum") and (drawn := [ending for ending in endings if ending not in RESULTS]):
        raise OptionError(
            f"-o {drawn[0]}: pages and pictures show every source of a target, and --keep {keep} keeps some. Write "
            f"{', '.join(RESULTS)}, or leave --keep out."
        )


def check_head(head: int, n_heads: int) -> None:
    """Refuse a head that is not there."""
    if head >= n_heads:
        raise OptionError(f"--head {head} is not in this model, which has heads 0 to {n_heads - 1}.")
