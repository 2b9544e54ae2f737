"""Flow: how much each source token gives to each target token inside every layer, and through which head."""

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, cast

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lignite.api.arrays import Arrays
from lignite.api.estimate import Estimate, estimate, is_long
from lignite.api.flow_options import FlowOptions
from lignite.attribution.abreast import Laid, attribute_layers
from lignite.attribution.layer import attribute_layer, follow_layer
from lignite.attribution.layer_scores import LayerScores, MapOptions
from lignite.attribution.panels import Precision
from lignite.attribution.paths import constant_baseline, given_baseline
from lignite.attribution.target_path import Norm
from lignite.blocks.fitting import chance_named, record_fitted
from lignite.blocks.record import BlockCall, record_states
from lignite.blocks.routes import Route, split_block
from lignite.calls import Progress, public
from lignite.errors import GapWarning, NotFiniteError, OptionError, warn
from lignite.inputs.encode import encode, gives_several
from lignite.inputs.fills import role_id, without_role
from lignite.inputs.tokens import Encoded
from lignite.memory import memory_budget
from lignite.models.facts import has_experts
from lignite.models.hold import at_rest, switches_undone
from lignite.models.load import Model, as_model
from lignite.options import gather, options_of, with_options
from lignite.results.build import build_flow
from lignite.results.certificate import certificates
from lignite.results.schema import PICTURE
from lignite.version import VERSION, versions
from lignite.wording import quoted


@public
@with_options({name: (each, each.help) for name, each in options_of(FlowOptions).items()})
def flow(
    model: Any,
    inputs: Any,
    *,
    request: FlowOptions | None = None,
    memory: int | float | str | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> Any:
    """Set-to-set integrated gradients inside the layers of a transformer (:arxiv:`2606.21564`; docs/method.md).

    Parameters
    ----------
    model
        From `lignite.load` or `lignite.wrap`, or what `wrap` takes; bit-identical afterwards.
    inputs
        A text, a pair of texts, ``{"words": [...]}``, a chat (a list of messages), an image (file, folder, Pillow image
        or array, for models of images), ids, tensors of the model's own (``{"input_ids": …}``,
        ``{"pixel_values": …}``), or a list.
    request
        The options below as one record, of `lignite.api.flow_options`; those given beside it go before its own.
    memory
        For intermediate tensors: bytes or a text such as ``"2 GiB"``; results do not depend on it.
    progress
        Called with the layers finished and their number.
    say
        Called before a long run with a sentence on the time, the memory and the size that it is expected to take, which
        the attribute ``estimate`` keeps; a few targets are computed for it.
    **options
        The options below; others are refused.

    Returns
    -------
    A Dataset as laid out in docs/results-layout.md, or a list of them for a list of inputs.

    Raises
    ------
    InputError
        If an input cannot be explained as given; nothing is ever truncated.
    OptionError
        If an option is unknown, contradicts another, or is not available for this model.
    ModelError
        If the model has no blocks that can be replayed.

    Warns
    -----
    GapWarning
        Once, if scores of some targets miss more of their displacement than `tol`.

    Examples
    --------
    >>> import lignite
    >>> model = lignite.load("tiny-sentiment")
    >>> result = lignite.flow(model, "A superb film.", layers=1, maps="whole")
    >>> result.whole.sel(layer=1, target=2).dims
    ('source',)
    """
    chosen = gather("flow()", FlowOptions, request, options, beside=("request", "memory", "progress", "say"))
    model = as_model(model)
    budget = memory_budget(model.device, memory)
    missed: list[str] = []
    results = []
    with at_rest(model.network):
        start = None if isinstance(chosen.baseline, str) else _as_tensor(chosen.baseline)
        encoded = encode(model, inputs)
        for number, item in enumerate(encoded):
            report = _report(progress, number, len(encoded))
            with switches_undone(model.network), chance_named(model, item):
                results.append(_flow_of_one(model, item, chosen, start, budget, report, missed, say))
    if missed:
        warn(_gap_message(missed, chosen, experts=has_experts(model.config)), GapWarning)
    return results[0] if len(results) == 1 and not gives_several(model, inputs) else results


def _as_tensor(baseline: Any) -> Tensor:
    try:
        return torch.as_tensor(baseline).clone()  # a tensor made in inference mode has no gradient
    except (TypeError, ValueError, RuntimeError) as error:
        raise OptionError(
            f"baseline={quoted(baseline)} holds no numbers ({error}); give a tensor of decimals."
        ) from error


def _flow_of_one(
    model: Model,
    encoded: Encoded,
    options: FlowOptions,
    start: Tensor | None,
    budget: float,
    report: Progress | None,
    missed: list[str],
    say: Callable[[str], None] | None = None,
) -> xr.Dataset:
    prepared = prepare(model, encoded, options, start)
    encoded, layers, targets = prepared.encoded, prepared.layers, prepared.targets
    tokens = encoded.tokens
    sources = prepared.kept.nonzero()[:, 0] if any(tokens.padding) else None
    arrays, finished = Arrays(len(layers), sources, budget), list[LayerScores]()
    left = budget  # where memory has run out, it would again
    places, seed = torch.tensor(targets, device=model.device), seed_of(encoded)
    expected = _expected(prepared, places, options, budget, sources) if say else None
    if say and expected:
        say(str(expected))

    def alone(laid: Laid) -> LayerScores:
        nonlocal left
        block, start = laid.opened
        found = _attribute(cast(Route, block), start, places, options, left, laid.seed, sources, laid.likely)
        left /= 2**found.halved
        return found

    laid = (
        Laid(prepared.calls[layer], partial(prepared.split, layer), partial(prepared.start, layer), seed + layer)
        for layer in layers
    )
    maps, precision = _wanted(options)
    each = attribute_layers(laid, places, maps, precision, budget=budget, sources=sources, alone=alone)
    for done, scores in enumerate(each):
        finished.append(scores)
        arrays.put(scores.variables)
        if report:
            report(done + 1, len(layers))
    variables = arrays.filled()
    if encoded.image is not None:
        variables[PICTURE] = encoded.image
    by_layer = {str(layer): scores for layer, scores in zip(layers, finished, strict=True)}
    attrs: dict[str, str | int | float] = {
        "lignite_version": VERSION,
        "model": model.name,
        "revision": model.revision or "",
        "text": tokens.input,
        "request": options.to_json(),
        "plans": json.dumps({layer: scores.plan for layer, scores in by_layer.items()}),
        "memory": json.dumps(_memory_taken(budget, finished)),
        "trials": json.dumps({layer: scores.trial for layer, scores in by_layer.items()}),
        "versions": json.dumps(versions("xarray")),
        "tol": options.tol,
    }
    if expected:
        attrs["estimate"] = expected.to_json()
    result = build_flow(tokens=tokens.keep(), layers=layers, targets=targets, variables=variables, attrs=attrs)
    missed.extend(missed_in(result))
    return result


def _expected(
    prepared: "Prepared", targets: Tensor, options: FlowOptions, budget: float, sources: Tensor | None
) -> Estimate | None:
    """Estimate a long run from some targets of its first layer; nothing of a short one."""
    first, n_layers = prepared.layers[0], len(prepared.layers)
    block, baseline = prepared.split(first)
    if not is_long(n_layers, len(targets), len(block.states), block.n_heads):
        return None
    return estimate(
        lambda some: _attribute(block, baseline, some, options, budget, first, sources), targets, n_layers, budget
    )


def _memory_taken(budget: float, finished: list[LayerScores]) -> dict[str, int]:
    """Say what was allowed and taken, and how often that was halved where memory ran out."""
    taken, halved = max(scores.memory for scores in finished), sum(scores.halved for scores in finished)
    return {"budget": int(budget), "taken": taken} | ({"halved": halved} if halved else {})


@dataclass(frozen=True, eq=False)
class Prepared:
    """An input is prepared when its blocks can be taken apart, one after the other.

    `calls` are those of all blocks; `kept` the tokens that are no padding; `split` makes the block of a layer with the
    start of its path (None for the target token), and `start` that start alone, of the states that enter the block.
    """

    encoded: Encoded
    calls: list[BlockCall]
    layers: list[int]
    targets: list[int]
    kept: Tensor
    split: Callable[[int], tuple[Route, Tensor | None]]
    start: Callable[[int, Tensor], Tensor | None]


def prepare(model: Model, encoded: Encoded, options: FlowOptions, start: Tensor | None) -> Prepared:
    """Record an input's blocks, and choose the layers and targets that were asked for."""
    calls, encoded = record_fitted(model, encoded)
    kept = ~torch.tensor(encoded.tokens.padding, device=model.device)
    layers, targets = _choose_layers(options, len(calls)), _choose_targets(options, encoded.tokens)
    baselines = _token_baseline(model, encoded, options)

    def split(layer: int) -> tuple[Route, Tensor | None]:
        block = split_block(model, calls[layer], kept)
        return block, start_of(layer, block.states)

    def start_of(layer: int, states: Tensor) -> Tensor | None:
        return _baseline(options, start, baselines, states, kept, layer, len(calls))

    return Prepared(encoded, calls, layers, targets, kept, split, start_of)


def seed_of(encoded: Encoded) -> int:
    """What trials are drawn with: the same for the same input, another for another."""
    seen = repr(encoded.tokens.text).encode()
    return zlib.crc32(seen if encoded.image is None else seen + encoded.image.tobytes())


def _wanted(options: FlowOptions) -> tuple[MapOptions, Precision]:
    maps = MapOptions(**{item.name: getattr(options, item.name) for item in fields(MapOptions)})
    return maps, Precision(options.tol, options.max_steps, options.n_steps)


def _attribute(
    block: Route,
    baseline: Tensor | None,
    targets: Tensor,
    options: FlowOptions,
    budget: float,
    seed: int,
    sources: Tensor | None,
    likely: Norm | None = None,
) -> LayerScores:
    """One layer's maps; errors say which layer it is."""
    maps, precision = _wanted(options)
    try:
        return attribute_layer(
            block, baseline, targets, maps, precision, budget=budget, seed=seed, sources=sources, likely=likely
        )[1]
    except (OptionError, NotFiniteError) as error:
        raise type(error)(f"Layer {block.layer} ({block.name}): {error}") from error


def _choose_layers(options: FlowOptions, n_layers: int) -> list[int]:
    if options.layers is None:
        return list(range(n_layers))
    outside = [layer for layer in options.layers if not -n_layers <= layer < n_layers]
    if outside:
        raise OptionError(f"layers={quoted(outside)} are not in this model, which has layers 0 to {n_layers - 1}.")
    return sorted({layer % n_layers for layer in options.layers})


def _choose_targets(options: FlowOptions, tokens: Any) -> list[int]:
    present = list(tokens.keep().position)
    if options.targets is None:
        return present
    outside = [target for target in options.targets if target not in present]
    if outside:
        beside = " without padding" if any(tokens.padding) else ""
        raise OptionError(
            f"targets={quoted(outside)} are not in this input, whose tokens{beside} are {present[0]} to {present[-1]}."
        )
    return list(options.targets)


def _token_baseline(model: Model, encoded: Encoded, options: FlowOptions) -> list[Tensor] | None:
    """States of an input whose words are all one token, run through the model; special tokens stay."""
    if options.baseline_name not in ("pad", "mask"):
        return None
    token = role_id(model, options.baseline)
    others = "use 'target_token', 'zero' or 'mean'"
    if "input_ids" not in encoded.tensors:
        raise OptionError(f"baseline={options.baseline!r} replaces words, and this input has none; {others}.")
    if token is None:
        raise OptionError(f"{without_role(model, options.baseline)}: for the baseline, {others}.")
    special = torch.tensor(encoded.tokens.special, device=model.device)
    ids = torch.where(special, encoded.tensors["input_ids"], token)
    return record_states(model.network, {**encoded.tensors, "input_ids": ids})


def _baseline(
    options: FlowOptions,
    start: Tensor | None,
    token_baselines: list[Tensor] | None,
    states: Tensor,
    kept: Tensor,
    layer: int,
    n_layers: int,
) -> Tensor | None:
    if options.baseline_name == "target_token":
        return None
    if start is not None:
        return given_baseline(start, states, layer, n_layers)
    if token_baselines is not None:
        return token_baselines[layer].to(states)
    return constant_baseline(options.baseline, states, kept)


def _report(progress: Progress | None, number: int, n_inputs: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, n_layers: progress(number * n_layers + done, n_inputs * n_layers)


def missed_in(result: xr.Dataset) -> list[str]:
    """What the certificate of a flow says is missed, a line for each layer and map."""
    found = [each for each in certificates(result) if not each.kept]
    lines = []
    for place, layer in enumerate(result["layer"].values.tolist()):
        for each in found:
            wide = ~each.within.isel(layer=place)
            rows = wide.any("head") if "head" in wide.dims else wide
            if rows.any():
                lines.append(f"layer {layer}, {each.prefix[:-1]}: {_named(result, rows.values)} of {len(rows)}")
    return lines


def _named(result: xr.Dataset, chosen: np.ndarray) -> str:
    """Targets by their token and position, the first three of them."""
    labels = zip(result["target_token"].values[chosen], result["target"].values[chosen], strict=True)
    names = [f"{str(token)!r} ({position})" for token, position in labels]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _gap_message(missed: list[str], options: FlowOptions, *, experts: bool) -> str:
    shown = "; ".join(missed[:5]) + (f"; and {len(missed) - 5} more maps" if len(missed) > 5 else "")
    if options.n_steps:
        remedy = f"Raise n_steps above {options.n_steps}, or leave it out to let nodes be added where they are needed."
    elif experts:
        remedy = (
            "Its experts are chosen anew along the path, and no number of nodes closes the gap that such a jump "
            "leaves: read these scores with their gap."
        )
    elif options.baseline_name == "target_token":
        remedy = f"Raise max_steps above {options.max_steps}."
    else:
        remedy = f"Raise max_steps above {options.max_steps}, or use baseline='target_token', whose path is smooth."
    return f"Scores miss more than {options.tol:g} of their displacement in {shown}. {remedy}"


AXES = {
    "attention": ("layer", "part", "target", "head", "source"),
    "mlp": ("layer", "part", "target", "head"),
    "whole": ("layer", "part", "target", "source"),
}


def flow_along(model: Model, given: Any, cuts: Sequence[float], *, baseline: str = "target_token") -> xr.Dataset:
    """Compute the maps of a flow in parts, each what the path adds between two cuts.

    Every part is integrated by one rule of its own, so that a path which turns is followed the closer, the more parts
    there are. Without a certificate: the parts of `lignite.flow`'s scores add up to these within its tolerance.

    Parameters
    ----------
    cuts
        Rising numbers between 0, the start of the path, and 1, the input.

    Returns
    -------
    `attention`, `mlp` and `whole` over the axes of a flow and `part`; `end` is where a part ends.
    """
    options = FlowOptions(baseline=baseline, maps=("attention", "mlp", "whole"))
    maps = MapOptions(maps=tuple(options.maps))
    budget = memory_budget(model.device, None)
    (encoded,) = encode(model, given)
    found = []
    with at_rest(model.network), switches_undone(model.network), chance_named(model, encoded):
        prepared = prepare(model, encoded, options, None)
        targets = torch.tensor(prepared.targets, device=model.device)
        for layer in prepared.layers:
            scores = follow_layer(*prepared.split(layer), targets, maps, cuts, budget)
            found.append({name: scores[name].cpu().numpy() for name in AXES})
    return xr.Dataset(
        {name: (axes, np.stack([one[name] for one in found])) for name, axes in AXES.items()},
        {"layer": prepared.layers, "end": ("part", [*cuts, 1.0])},
    )
