"""Check: what each layer of a model offers, how exactly, and what a run will cost."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lignite.api.flow_options import DETAILS, MAPS
from lignite.attribution.integrals import NODES_PER_PANEL
from lignite.attribution.layer import attribute_layer
from lignite.attribution.layer_scores import LayerScores, MapOptions
from lignite.attribution.offer import offered_maps
from lignite.attribution.panels import Precision
from lignite.attribution.plan import Plan, choose_chunking, choose_plan
from lignite.blocks.fitting import record_fitted
from lignite.blocks.record import BlockCall
from lignite.blocks.routes import Route, split_block
from lignite.calls import Progress, public
from lignite.errors import InputError, OptionError, SplitError
from lignite.inputs.encode import encode
from lignite.memory import memory_budget
from lignite.models.facts import (
    forward_names,
    image_shape,
    reads_images,
    reads_states,
    special_ids,
    states_width,
    vocabulary_size,
)
from lignite.models.hold import at_rest, switches_undone
from lignite.models.load import Model, as_model

LENGTH = 128
"""Tokens of the input where none is given, or all that the model reads if that is less."""

IMAGE_SIZE = 224
"""Pixels of a side, where the configuration names no size."""

TIMED_TARGETS = 4
"""Plans that pay for every target are timed on so many and scaled up."""


@dataclass(frozen=True)
class LayerCheck:
    """What one layer offers.

    Attributes
    ----------
    route
        ``"interface"``, ``"projection"`` or ``"definition"`` (see docs/method.md), or ``"refused"`` where the block
        cannot be replayed and nothing about it could be trusted.
    error
        Largest relative difference between the split and the model's own output, over tokens.
    trial
        Largest relative difference of one target's scores from the definition, through the model's own block.
    target_plan, shared_plan
        How the target-token path and paths that all targets share are computed.
    maps, details
        What may be asked of this layer; details split `whole`.
    refused
        Why better routes were refused, one line each.
    seconds, working_bytes
        Estimates for all targets and the maps it offers, other options at their defaults.
    """

    layer: int
    name: str
    route: str
    error: float
    trial: float
    target_plan: str
    shared_plan: str
    n_heads: int
    maps: tuple[str, ...]
    details: tuple[str, ...]
    refused: tuple[str, ...]
    seconds: float
    working_bytes: int

    @property
    def kind(self) -> tuple[Any, ...]:
        """Layers of one kind offer the same at the same price; the numbers in their reasons may differ."""
        reasons = tuple(re.sub(r"\d\S*", "", line) for line in self.refused)
        return self.route, self.target_plan, self.shared_plan, self.n_heads, self.maps, self.details, reasons


@dataclass(frozen=True)
class CheckReport:
    """What a model offers, layer by layer, on one input.

    `seconds` and `working_bytes` estimate a run over all layers with default options on `n_tokens` tokens;
    `model_bytes` is the model itself. Python and its libraries take some 500 MB beside these.
    """

    model: str
    revision: str | None
    network: str
    device: str
    dtype: str
    n_tokens: int
    layers: tuple[LayerCheck, ...]
    model_bytes: int
    working_bytes: int

    @property
    def seconds(self) -> float:
        return sum((layer.seconds for layer in self.layers), start=0.0)

    @property
    def exact(self) -> bool:
        """Whether every layer can be explained, and its split reproduces the model."""
        return all(layer.route != "refused" for layer in self.layers)

    @property
    def complete(self) -> bool:
        """Whether every layer offers every map and every detail."""
        return self.exact and all(layer.maps == MAPS and layer.details == DETAILS for layer in self.layers)

    @property
    def verdict(self) -> str:
        """The report in one or two sentences."""
        refused = [layer.layer for layer in self.layers if layer.route == "refused"]
        if len(refused) == len(self.layers):
            return "No layer can be explained: none can be replayed exactly."
        if refused:
            rest = [layer.layer for layer in self.layers if layer.route != "refused"]
            return f"{_name(refused).capitalize()} cannot be explained; leave out with --layers {ranges(rest)}."
        worst = max(max(layer.error, layer.trial) for layer in self.layers)
        exact = f"as the model itself to {worst:.0e}" if worst else "as the model itself to the last bit"
        if self.complete:
            which = f"All {len(self.layers)} layers offer" if len(self.layers) > 1 else "Its only layer offers"
            sentence = f"{which} every map and detail, {exact}."
        else:
            lacking: dict[str, list[int]] = {}
            for layer in self.layers:
                lacking.setdefault(_lack(layer), []).append(layer.layer)
            parts = [f"{_name(layers)} {lack}" for lack, layers in lacking.items() if lack]
            sentence = f"Every layer can be explained, {exact}; {'; '.join(parts)}."
        if len({layer.n_heads for layer in self.layers}) > 1:
            sentence += " Layers differ in their number of heads: ask for those of one kind at a time."
        return sentence

    def groups(self) -> list[tuple[LayerCheck, ...]]:
        """Layers of one kind together, in the order of the first of each."""
        found: dict[tuple[Any, ...], list[LayerCheck]] = {}
        for layer in self.layers:
            found.setdefault(layer.kind, []).append(layer)
        return [tuple(layers) for layers in found.values()]


@public
def check(
    model: Any,
    *,
    length: int | None = None,
    text: str | None = None,
    memory: int | float | str | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Take every block apart, compare it with the model, and time one layer of each kind.

    Parameters
    ----------
    length
        Tokens of the input, drawn at random from the vocabulary; 128 by default, or all that the model reads if that
        is less. Image models get one random image of their own size.
    text
        An input to check on instead: routes, plans and nodes can depend on it.
    memory
        For intermediate tensors, as in `lignite.flow`.
    progress
        Called with the layers finished and their number.

    Raises
    ------
    InputError
        If the input is too long for the model.
    ModelError
        If the model has no blocks.

    Examples
    --------
    >>> import lignite
    >>> report = lignite.check(lignite.load("tiny-sentiment"), length=8)
    >>> report.layers[0].route, report.complete
    ('interface', True)
    """
    model = as_model(model)
    if text is not None and length is not None:
        raise OptionError(f"length={length} and text are both given; a text has its own length, give one of the two.")
    budget = memory_budget(model.device, memory)
    layers: list[LayerCheck] = []
    with at_rest(model.network), switches_undone(model.network):
        (encoded,) = encode(model, text if text is not None else _random_input(model, length))
        calls, encoded = record_fitted(model, encoded)
        kept = ~torch.tensor(encoded.tokens.padding, device=model.device)
        measured: dict[tuple[Any, ...], tuple[float, int]] = {}
        for done, call in enumerate(calls):
            layers.append(_check_layer(model, call, kept, budget, measured))
            if progress:
                progress(done + 1, len(calls))
        # While a second recording runs: what leaves each block, its copy, and the copy of the first recording.
        recorded = 3 * sum(call.states.nbytes for call in calls)
    results = _result_bytes(layers, int(kept.sum()), calls[0].states.element_size())
    return CheckReport(
        model=model.name,
        revision=model.revision,
        network=type(model.network).__name__,
        device=str(model.device),
        dtype=str(model.dtype).removeprefix("torch."),
        n_tokens=int(kept.sum()),
        layers=tuple(layers),
        model_bytes=_weight_bytes(model.network),
        working_bytes=recorded + results + max(layer.working_bytes for layer in layers),
    )


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, runs joined: as `--layers` reads them.

    Examples
    --------
    >>> ranges([0, 1, 2, 5, 7, 8])
    '0-2,5,7,8'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)


def _check_layer(
    model: Model, call: BlockCall, kept: Tensor, budget: float, measured: dict[tuple[Any, ...], tuple[float, int]]
) -> LayerCheck:
    started = time.perf_counter()
    targets = kept.nonzero()[:, 0]
    try:
        first, by_target = _try(split_block(model, call, kept), None, targets, budget)
        block, shared = _try(first, torch.zeros_like(first.states), targets, budget)
        if block is not first:  # the first has to hold on the same route
            block, by_target = _try(block, None, targets, budget)
    except SplitError as error:
        return LayerCheck(
            layer=call.layer, name=call.name, route="refused", error=float("nan"), trial=float("nan"), target_plan="",
            shared_plan="", n_heads=0, maps=(), details=(), refused=(str(error),), seconds=0.0, working_bytes=0,
        )  # fmt: skip
    plan = choose_plan(block, None)
    preparation = time.perf_counter() - started
    details = {"interface": DETAILS, "projection": ("heads",), "definition": ()}[block.route]
    result = LayerCheck(
        layer=call.layer,
        name=call.name,
        route=block.route,
        error=block.error,
        trial=max(*by_target.trial.values(), *shared.trial.values()),
        target_plan=by_target.plan,
        shared_plan=shared.plan,
        n_heads=block.n_heads,
        maps=MAPS if block.n_heads else ("whole",),
        details=details,
        refused=block.refused,
        seconds=0.0,
        working_bytes=0,
    )
    if result.kind not in measured:
        measured[result.kind] = (
            _time(block, plan, targets, result.maps, budget),
            _largest_piece(block, plan, targets, budget),
        )
    seconds, size = measured[result.kind]
    return replace(result, seconds=preparation + seconds, working_bytes=size)


def _try(block: Route, start: Tensor | None, targets: Tensor, budget: float) -> tuple[Route, LayerScores]:
    """The block by the route that holds against the model itself for a few targets, and what was found by it."""
    options, precision, some = MapOptions(maps=()), Precision(n_steps=2), _some(targets)
    found, scores = attribute_layer(block, start, some, options, precision, budget=budget, seed=block.layer)
    assert isinstance(found, Route)
    return found, scores


def _some(targets: Tensor) -> Tensor:
    return targets[:: max(1, len(targets) // TIMED_TARGETS)][:TIMED_TARGETS]


def _time(block: Route, plan: Plan, targets: Tensor, maps: tuple[str, ...], budget: float) -> float:
    """Seconds for every target under default options.

    One panel of nodes is run on the block itself, and targets that it leaves outside the tolerance are taken to need
    one bisection, which is two more panels.
    """
    some = targets
    if not plan.name.startswith("closed-form"):  # the others pay for every target by itself
        some = _some(targets)
    options, precision = MapOptions(maps), Precision(n_steps=NODES_PER_PANEL)
    attribute_layer(block, None, some[:1], options, Precision(n_steps=1), budget=budget)  # warm up
    started = time.perf_counter()
    _, scores = attribute_layer(block, None, some, options, precision, budget=budget)
    if block.states.device.type == "cuda":
        torch.cuda.synchronize(block.states.device)
    elapsed = time.perf_counter() - started
    missed = sum(len(rows) for rows in scores.missed.values()) / (len(scores.missed) * len(some))
    return elapsed * len(targets) / len(some) * (1 + 2 * missed)


def _largest_piece(block: Route, plan: Plan, targets: Tensor, budget: float) -> int:
    """Bytes of the largest piece that is computed at once, and of the block's copy where it is half-precision."""
    chunkings = [choose_chunking(block, plan, name, len(targets), budget) for name in offered_maps(block)]
    largest = max(each.taken(NODES_PER_PANEL, len(targets)) for each in chunkings)
    copied = _weight_bytes(block.module) if block.replay.model_dtype != block.states.dtype else 0
    return int(largest) + copied


def _random_input(model: Model, length: int | None) -> dict[str, Tensor]:
    if length is not None and length < 1:
        raise OptionError(f"length={length} must be a number of tokens, at least 1.")
    generator = torch.Generator().manual_seed(0)
    if reads_images(model.network):
        return {"pixel_values": torch.rand(1, *image_shape(model.network, IMAGE_SIZE), generator=generator)}
    if reads_states(model.network):
        return {"inputs_embeds": torch.randn(1, length or LENGTH, states_width(model.config), generator=generator)}
    size = vocabulary_size(model.network)
    if size is None:
        raise InputError(f"{model.name} has no vocabulary to draw an input from; give a text to check it on.")
    ordinary = torch.ones(size, dtype=torch.bool)
    special = special_ids(model.config) | set(getattr(model.tokenizer, "all_special_ids", ()))
    ordinary[[token for token in special if 0 <= token < size]] = False
    words = ordinary.nonzero()[:, 0]
    n_tokens = length or min(LENGTH, model.max_length or LENGTH)
    ids = words[torch.randint(len(words), (1, n_tokens), generator=generator)]
    tensors = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    accepted = forward_names(model.network)
    return {name: tensor for name, tensor in tensors.items() if accepted is None or name in accepted}


def _result_bytes(layers: Sequence[LayerCheck], n_tokens: int, item: int) -> int:
    """The scores themselves, twice: as they are collected and as they are stacked."""
    n_maps = sum((layer.n_heads + 2 if layer.n_heads else 1) for layer in layers)
    return 2 * n_maps * n_tokens**2 * max(item, 4)


def _weight_bytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def _lack(layer: LayerCheck) -> str:
    if layer.maps != MAPS:
        return f"offer {', '.join(layer.maps)} alone (ask with --maps {','.join(layer.maps)})"
    missing = [name for name in DETAILS if name not in layer.details]
    return f"offer every map, but not the detail {', '.join(missing)}" if missing else ""


def _name(layers: Sequence[int]) -> str:
    word = "layers" if len(layers) > 1 else "layer"
    return f"{word} {ranges(layers)}"
