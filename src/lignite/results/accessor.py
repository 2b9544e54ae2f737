"""Questions a result answers about itself: `dataset.lignite.top()`, `.merge_words()`, `.chain()`, `.paths()`, …

Nothing here changes the Dataset it is asked on; what comes back is a new Dataset, an array, a table or a list.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from lignite.calls import check_choice, check_count
from lignite.errors import GridError, OptionError
from lignite.late import find_late
from lignite.results.classes import by_class, is_of_classes, join_classes
from lignite.results.io import save
from lignite.results.kept import check_every_source, fill
from lignite.results.merge import merge_spans, merge_words, token_axes
from lignite.results.schema import (
    CLASSES,
    COMPARISONS,
    EXPLAIN,
    FLOW,
    REPORT,
    TOKEN_AXIS,
    Layout,
    Map,
    label_name,
    layout_of,
    position_name,
    validate,
)
from lignite.results.strongest import find_largest, find_strongest
from lignite.wording import did_you_mean


@dataclass(frozen=True)
class FlowPath:
    """One way through the layers, from a source at the bottom to a target at the top.

    `positions` and `tokens` have one entry per level: what enters the first layer, then what leaves each of `layers`.
    `shares` are the signed steps between them, and `strength` is the magnitude of their product, in an explanation
    times the relevance of the target at the top.
    """

    positions: tuple[int, ...]
    tokens: tuple[str, ...]
    layers: tuple[int, ...]
    shares: tuple[float, ...]
    strength: float
    sign: int

    def __str__(self) -> str:
        return f"{self.sign * self.strength:+.3g}  {' → '.join(self.tokens)}"


STILL = 1e-5
"""A target moved nowhere if its displacement is below this share of its layer's median displacement.

Such are a decoder's first token under the target-token baseline, because it sees itself alone, and a lone token. At
this size scores in float32 hold little but rounding, and shares of rounding would be noise. Relevance may rest on one
token alone, so that its median is zero: a target of `relevance_flow` has none if its relevance is below this share of
the layer's largest.
"""


@xr.register_dataset_accessor("lignite")
class LigniteAccessor:
    """What can be asked of a result; see the methods."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    def merge_words(self, *, reduce: Literal["sum", "mean"] = "sum") -> xr.Dataset:
        """Make one token of the sub-words of a word, on both token axes.

        As a source, a word gives what its sub-words give together: scores are shares, so they are added. As a target,
        a word receives the sum (or the mean) of what its sub-words receive, and so do displacement and gap: only then
        do a word's scores still sum to its displacement. `"mean"` makes long and short words comparable as targets.
        Every sum rule survives, over sources, heads and circuits; `composed` is merged as a map of its own and is no
        longer the product of the merged `attention` and `mlp`.

        The relevance of an explanation is a share, too, and its sum stays; `"mean"` gives it up, there for `relevance`
        and all else along `token`. The standard error of a sum is at most the sum of standard errors, which is given.

        Sub-words belong together if segment and word number agree; special tokens and tokens without a word stay alone.
        A word takes the position of its first sub-word, and its string from the text where offsets are known (for
        pairs of texts, or without offsets, its pieces are joined). Where only some of a word's sub-words are on the
        target axis, the row stands for these alone, and its string says so.
        """
        check_choice("reduce", reduce, ("sum", "mean"))
        return self._each(lambda dataset: merge_words(dataset, reduce))

    def merge_spans(self, spans: Sequence[Sequence[int]], *, reduce: Literal["sum", "mean"] = "sum") -> xr.Dataset:
        """Make one token of all tokens of a phrase, given by its first character and the one after its last.

        Adds up as `merge_words` does. Offsets count in the attribute `text`; phrases must not overlap. A token that is
        cut by the border of a phrase belongs to it, and of two phrases that share a token, to the one with more of it
        (the first, where they are equal). All other tokens stay as they are. The attribute `merged_spans` records it.
        """
        check_choice("reduce", reduce, ("sum", "mean"))
        return self._each(lambda dataset: merge_spans(dataset, spans, reduce))

    def by_class(self) -> dict[str, xr.Dataset]:
        """Take several classes (``targets=``) apart: by its name, the explanation of each class alone."""
        if not is_of_classes(self._valid()):
            raise OptionError(
                f"this is {layout_of(self._dataset).noun}, not of several classes: explain with targets=."
            )
        return by_class(self._dataset)

    def top(
        self,
        k: int = 10,
        *,
        map: str | None = None,
        layer: int | Sequence[int] | None = None,
        sign: Literal["both", "for", "against"] = "both",
        drop_diagonal: bool = False,
    ) -> pd.DataFrame:
        """The `k` scores of largest magnitude, strongest first, as a table; by default of `whole` or `relevance`.

        `share` is the score divided by its row's displacement, NaN where the target moved nowhere; in an explanation
        divided by the sum of the magnitudes of all scores of its layer, because fused relevance has no displacement.
        `sign` keeps positive scores alone (``"for"``) or negative ones (``"against"``). `drop_diagonal` leaves out
        what a token gives itself.
        """
        dataset = self._single()
        check_count("k", k)
        check_choice("sign", sign, ("both", "for", "against"))
        map = map or layout_of(dataset).default_map
        entry = _map_entry(dataset, map)
        if layer is not None:
            if "layer" not in entry.dims:
                raise OptionError(f"map {map!r} has no layers: leave layer out, or ask for another map.")
            dataset = dataset.sel(layer=_chosen_layers(dataset, layer))
        scores = dataset[map]
        divisor = moved(_displacement(dataset, map)) if layout_of(dataset) is FLOW else _magnitudes(scores)
        shares = (scores / divisor).transpose(*scores.dims)
        magnitude = np.abs(scores.values.astype(np.float64))
        if sign != "both":
            magnitude = np.where(scores.values > 0 if sign == "for" else scores.values < 0, magnitude, -np.inf)
        if drop_diagonal:
            if "source" not in entry.dims:
                raise OptionError(f"map {map!r} has no sources and so no diagonal: leave drop_diagonal out.")
            diagonal = dataset["target"].values[:, None] == dataset["source"].values
            magnitude = np.where(diagonal, -np.inf, magnitude)  # the token axes are the last two
        order = find_largest(magnitude.ravel(), k)
        order = order[magnitude.ravel()[order] > -np.inf]
        places = np.unravel_index(order, scores.shape)
        columns: dict[str, np.ndarray] = {}
        for dim, place in zip(scores.dims, places, strict=True):
            columns[position_name(str(dim))] = dataset[position_name(str(dim))].values[place]
            if dim in layout_of(dataset).token_axes:
                token = label_name(str(dim), "token")
                columns[token] = dataset[token].values[place]
        columns["score"] = scores.values[places]
        columns["share"] = shares.values[places]
        return pd.DataFrame(columns)

    def drop_special(self, *, redistribute: bool = False) -> xr.Dataset:
        """Remove special tokens ([CLS], [SEP], …) from all token axes.

        What they gave goes with them: the remaining scores no longer sum to displacement plus gap, which still speak
        of all sources. The attribute `dropped_special` records it.

        `redistribute` shares the relevance of an explanation's special tokens over the others in proportion to their
        magnitudes, layer by layer, so that every sum over `token` stays:

            r_t ← r_t + |r_t| / Σ_s |r_s| · (sum over special tokens).

        Where the others have none (below `STILL` of what is shared), each gets an equal part. A token's sign can turn
        when more is shared than the others have. Maps from token to token are not redistributed; the standard errors
        of the old scores say nothing of the new ones and are left out.
        """
        if is_of_classes(self._valid()):
            return self._each(lambda one: one.lignite.drop_special(redistribute=redistribute))
        dataset = self._single()
        layout = layout_of(dataset)
        if redistribute:
            if layout.kind != EXPLAIN.kind:
                raise OptionError(f"redistribute shares relevance, but this is {layout.noun}: leave it out.")
            dataset = dataset.drop_vars("layer_ig_error", errors="ignore")
        keeps = {axis: ~dataset[label_name(axis, "special")].values for axis in token_axes(dataset)}
        for axis, keep in keeps.items():
            if not keep.any():
                raise OptionError(f"every token of the {axis} axis is special: nothing would be left.")
        dropped = dataset.isel(keeps)
        if redistribute and TOKEN_AXIS in keeps:
            shared = {
                name: _redistributed(dataset[name], keeps[TOKEN_AXIS])
                for name in dataset.data_vars
                if TOKEN_AXIS in dataset[name].dims
            }
            dropped = dropped.assign(shared)
        return dropped.assign_attrs(dropped_special=1, **({"redistributed_special": 1} if redistribute else {}))

    def normalize(self, *, by: Literal["displacement", "row", "max"] | None = None) -> xr.Dataset:
        """Divide every map so that targets or layers can be compared.

        - ``"displacement"`` (the default for a flow): by the target's displacement; a score becomes the share of it.
        - ``"row"``: by the sum of the magnitudes of the target's scores, so that none exceeds 1 where signs cancel.
        - ``"max"`` (the default for an explanation): by the largest magnitude in the layer, so that all tokens,
          targets and heads keep their proportions.

        A row is a target's scores over sources (`mlp`: over heads); in an explanation it is a layer's scores over
        tokens, and ``"displacement"`` is not offered, since only some of its maps have one. Displacement, gap and
        details are divided by the same number as their map, so every sum rule survives. Rows that moved nowhere (see
        `STILL`) become zero.
        """
        if is_of_classes(self._valid()):
            return self._each(lambda one: one.lignite.normalize(by=by))
        dataset = self._single()
        layout = layout_of(dataset)
        known = ("displacement", "row", "max") if layout.kind == FLOW.kind else ("row", "max")
        by = by or ("displacement" if layout.kind == FLOW.kind else "max")
        check_choice("by", by, known)
        scaled: dict[str, xr.DataArray] = {}
        for name, entry in layout.maps.items():
            if entry.part_of is None and (group := _group(dataset, layout, name)):
                factor = _factor(dataset, name, entry, by)
                for member in group:
                    variable = dataset[member]
                    scaled[member] = (variable * factor).transpose(*variable.dims).astype(variable.dtype)
        return dataset.assign(scaled).assign_attrs(normalized=by)

    def fill(self) -> xr.Dataset:
        """Give a flow with ``keep="top:…"`` every source, as views and questions need it: what was dropped is zero.

        It takes the memory of a flow with ``keep="full"``. Displacement and gap speak of all scores as before, so that
        rows miss what was dropped; the attribute `filled` records it.
        """
        return fill(self._valid())

    def chain(self, map: str | None = None, *, residual: float | None = None, cumulative: bool = False) -> xr.DataArray:
        """Flow through all layers: which share of each target at the top comes from each source at the bottom.

        Every layer's map is divided row by row by its signed sum (displacement plus gap) and the layers are multiplied,
        lowest first: with S the scores of layer l,

            P_l[j, i] = S_l[j, i] / Σ_i S_l[j, i],        chain = P_L ⋯ P_1 P_0.

        Rows of every P, and so of the chain, sum to one: a rollout of shares that is conserved and keeps signs, where
        attention rollout takes weights. A share may exceed one or be negative where sources work against each other.
        A target that moved nowhere (see `STILL`) stays what it was: its row is the identity's.

        `residual` = r mixes in the identity, (1 − r) P_l + r I, for maps that leave the residual stream out: the
        target-token baseline gives a token no share of itself. `cumulative` keeps one product per layer: everything
        from the lowest layer up to it. Layers must follow each other without a hole, every source must be a target.

        `map` is `whole` by default, in an explanation `relevance_flow`: there a row says which share of a token's
        relevance at the top it owes to each token at the bottom, so that relevance at the top times the chain is
        relevance at the bottom, up to the gaps of the layers between.
        """
        map = map or self._flow_map()
        layers, shares, _ = self._shares(map, residual=residual)
        products = [shares[0]]
        for share in shares[1:]:
            products.append(share @ products[-1])
        dataset = self._dataset.sel(layer=layers, target=self._dataset["source"].values)
        result = dataset[map].copy(data=np.stack(products).astype(dataset[map].dtype)).rename("chain")
        return result if cumulative else result.isel(layer=-1, drop=True)

    def paths(
        self, k: int = 10, *, map: str | None = None, target: int | None = None, residual: float | None = None
    ) -> list[FlowPath]:
        """The `k` strongest paths from any source at the bottom to `target` (by default any) at the top.

        A path's strength is the magnitude of the product of its steps in the row-normalised maps of `chain`; its sign
        is the product of their signs. All paths together add up to the chain. The search is exact: the k best paths to
        a token run through the k best paths to its sources. Paths of strength zero are left out.

        In an explanation a path also counts the relevance of its target at the top: its strength is in the unit of the
        prediction, its sign says whether it speaks for or against, and all paths from a source together add up
        to its relevance at the bottom, up to the gaps.
        """
        check_count("k", k)
        map = map or self._flow_map()
        layers, shares, relevance = self._shares(map, residual=residual)
        weights = np.ones(len(relevance)) if layout_of(self._dataset) is FLOW else relevance
        positions = self._dataset["source"].values
        if target is not None and target not in positions:
            raise OptionError(f"target {target} is no position of this result ({positions[0]} to {positions[-1]}).")
        ends = None if target is None else [positions.tolist().index(target)]
        tokens = self._dataset["source_token"].values
        found = []
        for places in find_strongest(np.abs(shares), np.abs(weights), k, ends):
            steps = [float(share[there, here]) for share, here, there in zip(shares, places, places[1:], strict=False)]
            found.append(
                FlowPath(
                    positions=tuple(int(positions[place]) for place in places),
                    tokens=tuple(str(tokens[place]) for place in places),
                    layers=tuple(layers),
                    shares=tuple(steps),
                    strength=float(np.prod(np.abs([*steps, weights[places[-1]]]))),
                    sign=int(np.prod(np.sign([*steps, weights[places[-1]]]))),
                )
            )
        return found

    def save(self, path: str | PathLike[str], **look: Any) -> None:
        """Write the result, in the format of the file's ending; `lignite.save` has every option of the `look`."""
        save(self._dataset, path, **look)

    def show(self, *, tokens: bool = False, special: str = "show") -> None:
        """Open the page to explore: in a notebook below the cell, elsewhere in the web browser."""
        find_late("lignite.views.notebook.show")(self._valid(), tokens=tokens, special=special)

    def plot(self, kind: str, ax: Any = None, **what: Any) -> Any:
        """Draw one view into matplotlib's Axes, `ax` or new ones, and return them.

        `kind` is, of an explanation, text, bars, layers, heatmap, graph or overlay (of images); of a flow, heatmap,
        flow (one layer), graph or agreement (all layers); of a comparison, scatter or differences. `what` chooses among
        what the kind can show: `tokens`, `special`, `layer`, `map`, `head`, `k`, `side`.
        """
        return find_late("lignite.views.plots.plot")(self._valid(), kind, ax, **what)

    def _valid(self) -> xr.Dataset:
        validate(self._dataset)
        return self._dataset

    def _single(self) -> xr.Dataset:
        """A result of its own; several side by side are asked one by one."""
        dataset = self._valid()
        if dataset.attrs["kind"] in (*COMPARISONS, REPORT.kind, CLASSES.kind):
            made = "each of by_class()" if is_of_classes(dataset) else "the results that it was made of"
            raise OptionError(f"{layout_of(dataset).noun} answers no questions about its tokens: ask {made}.")
        check_every_source(dataset, "this question asks for")
        return dataset

    def _each(self, change: Callable[[xr.Dataset], xr.Dataset]) -> xr.Dataset:
        """Change a result; of several classes each, which stay together."""
        of = by_class(self._dataset) if is_of_classes(self._valid()) else {}
        return join_classes(list(map(change, of.values())), list(of)) if of else change(self._single())

    def _flow_map(self) -> str:
        """The map that flows through the layers, unless another is asked for."""
        if layout_of(self._single()) is FLOW:
            return FLOW.default_map
        if "relevance_flow" not in self._dataset:
            raise OptionError(
                "this explanation has no map 'relevance_flow', through which relevance flows from layer to layer: "
                "compute it with method='relevance-flow', detail='relevance-flow'."
            )
        return "relevance_flow"

    def _shares(self, map: str, *, residual: float | None) -> tuple[list[int], np.ndarray, np.ndarray]:
        """Layer numbers, lowest first, one row-normalised float64 matrix [target, source] for each; the top's sums."""
        dataset = self._single()
        is_flow = layout_of(dataset) is FLOW
        entry = _map_entry(dataset, map)
        if entry.dims != ("layer", "target", "source"):
            others = "'whole' or 'composed'" if is_flow else "'relevance_flow'"
            raise OptionError(f"map {map!r} has the axes {', '.join(entry.dims)}: chain {others} instead.")
        if entry.adds_over != "source":
            raise OptionError(f"the rows of {map!r} sum to nothing that could flow: chain 'relevance_flow' instead.")
        if residual is not None and not 0 <= residual <= 1:
            raise OptionError(f"residual is {residual}, expected a share between 0 and 1, or None.")
        layers = sorted(dataset["layer"].values.tolist())
        missing = sorted(set(range(layers[0], layers[-1] + 1)) - set(layers))
        if missing:
            raise OptionError(
                f"layer {missing[0]} is missing between layers {layers[0]} and {layers[-1]}: nothing "
                "flows through a hole. Compute it, or select layers that follow each other."
            )
        sources, targets = dataset["source"].values.tolist(), dataset["target"].values.tolist()
        if set(sources) != set(targets):
            remedy = "Compute it with targets=None." if is_flow else "Select no tokens before you ask."
            lonely = next(iter([s for s in sources if s not in targets] or [t for t in targets if t not in sources]))
            raise GridError(
                f"position {lonely} is not on both token axes ({len(targets)} targets, {len(sources)} sources): a flow "
                f"through layers needs every token as source and target. {remedy}"
            )
        scores = dataset[map].sel(layer=layers, target=sources).values.astype(np.float64)
        totals = scores.sum(axis=-1)
        sizes = np.abs(totals)
        still = _still(sizes, axis=-1) if is_flow else sizes <= STILL * sizes.max(axis=-1, keepdims=True)
        identity = np.eye(len(sources))
        shares = np.where(still[..., None], identity, scores / np.where(still, 1.0, totals)[..., None])
        if residual is not None:
            shares = (1 - residual) * shares + residual * identity
        return layers, shares, totals[-1]


def _still(displacement: np.ndarray, axis: int) -> np.ndarray:
    return displacement <= STILL * np.median(displacement, axis=axis, keepdims=True)


def moved(displacement: xr.DataArray) -> xr.DataArray:
    """The displacement, NaN where the target moved nowhere."""
    axis = displacement.get_axis_num("target")
    assert isinstance(axis, int)
    return displacement.where(~_still(np.abs(displacement.values), axis))


def _magnitudes(scores: xr.DataArray) -> xr.DataArray:
    """Sum of magnitudes in each layer, NaN where it is zero."""
    total = abs(scores.astype(np.float64)).sum([dim for dim in scores.dims if dim != "layer"])
    return total.where(total > 0)


def _redistributed(scores: xr.DataArray, keep: np.ndarray) -> xr.DataArray:
    """The kept scores, and with them what the others had; `token` is the last axis of every map that has it."""
    values = scores.values.astype(np.float64)
    kept, shared = values[..., keep], values[..., ~keep].sum(axis=-1, keepdims=True)
    total = np.abs(kept).sum(axis=-1, keepdims=True)
    nobody = total <= STILL * np.abs(shared)
    parts = np.where(nobody, 1 / kept.shape[-1], np.abs(kept) / np.where(nobody, 1.0, total))
    return scores.isel({TOKEN_AXIS: keep}).copy(data=(kept + shared * parts).astype(scores.dtype))


def _group(dataset: xr.Dataset, layout: Layout, name: str) -> list[str]:
    """The scores of a map and its details, with displacement and gap, as far as the Dataset has them."""
    scores = [name, *(detail for detail, entry in layout.maps.items() if entry.part_of == name)]
    if not any(member in dataset for member in scores):
        return []
    certificates = layout.maps[name].certificates
    if name == "layer_relevance" and "layer_ig" not in dataset:  # methods that fuse nothing certify it instead
        certificates = layout.maps["layer_ig"].certificates
    return [member for member in (*scores, *certificates) if member in dataset]


def _factor(dataset: xr.Dataset, name: str, entry: Map, by: str) -> xr.DataArray:
    if by == "displacement":
        divisor = moved(_displacement(dataset, name).astype(np.float64))
    else:
        if name not in dataset:
            raise OptionError(f"the result has details of {name!r} but not {name!r} itself: keep it, or drop them.")
        magnitudes = abs(dataset[name].astype(np.float64))
        if by == "row" and layout_of(dataset) is FLOW:
            divisor = moved(magnitudes.sum(entry.adds_over))
        elif by == "row":
            rows = magnitudes.sum(entry.dims[-1])
            divisor = rows.where(rows > STILL * rows.max([dim for dim in rows.dims if dim != "layer"]))
        else:
            largest = magnitudes.max([dim for dim in entry.dims if dim != "layer"])
            divisor = largest.where(largest > 0)
    return (1 / divisor).fillna(0.0)


def _displacement(dataset: xr.Dataset, name: str) -> xr.DataArray:
    whole = layout_of(dataset).maps[name].part_of or name
    if f"{whole}_displacement" not in dataset:
        raise OptionError(
            f"the result lacks {whole}_displacement, which {name!r} is measured by: keep it in the selection."
        )
    return dataset[f"{whole}_displacement"]


def _map_entry(dataset: xr.Dataset, name: str) -> Map:
    maps = {known: entry for known, entry in layout_of(dataset).maps.items() if known in dataset}
    if name not in maps:
        remedy = f"Compute it with maps=({name!r},)."
        if layout_of(dataset) is EXPLAIN:
            remedy = "Compute it with a method= that has it, or with detail=."
        raise OptionError(
            f"this result has no map {name!r}, it has {', '.join(maps)}.{did_you_mean(name, maps)} {remedy}"
        )
    return maps[name]


def _chosen_layers(dataset: xr.Dataset, layer: int | Sequence[int]) -> list[int]:
    chosen = [int(layer)] if isinstance(layer, (int, np.integer)) else [int(number) for number in layer]
    available = dataset["layer"].values.tolist()
    for number in chosen:
        if number not in available:
            raise OptionError(f"layer {number} is not in this result, it has {', '.join(str(n) for n in available)}.")
    return chosen
