"""Questions a result answers about itself: `dataset.lignite.top()`, `.merge_words()`, `.chain()`, `.paths()`, …

Nothing here changes the Dataset it is asked on; what comes back is a new Dataset, an array, a table or a list.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from lignite.errors import GridError, OptionError
from lignite.results.schema import TOKEN_LABELS, Layout, Map, layout_of, validate

WordKey = tuple[str, int, int]

STILL = 1e-5
"""A target moved nowhere if its displacement is below this share of its layer's median displacement.

Such are a decoder's first token under the target-token baseline, because it sees itself alone, and a lone token. At
this size scores in float32 hold little but rounding, and shares of rounding would be noise.
"""


@dataclass(frozen=True)
class FlowPath:
    """One way through the layers, from a source at the bottom to a target at the top.

    `positions` and `tokens` have one entry per level: what enters the first layer, then what leaves each of `layers`.
    `shares` are the signed steps between them, and `strength` is the magnitude of their product.
    """

    positions: tuple[int, ...]
    tokens: tuple[str, ...]
    layers: tuple[int, ...]
    shares: tuple[float, ...]
    strength: float
    sign: int

    def __str__(self) -> str:
        return f"{self.sign * self.strength:+.3g}  {' → '.join(self.tokens)}"


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

        Sub-words belong together if segment and word number agree; special tokens and tokens without a word stay alone.
        A word takes the position of its first sub-word, and its string from the text where offsets are known (for
        pairs of texts, or without offsets, its pieces are joined). Where only some of a word's sub-words are on the
        target axis, the row stands for these alone, and its string says so.
        """
        _choose("reduce", reduce, ("sum", "mean"))
        dataset = self._valid()
        first_position: dict[WordKey, int] = {}
        if "source" in dataset.dims:
            for key, position in zip(_words(dataset, "source"), dataset["source"].values.tolist(), strict=True):
                first_position.setdefault(key, position)
        for axis in ("source", "target"):
            if axis in dataset.dims:
                dataset = _merge_axis(dataset, axis, reduce if axis == "target" else "sum", first_position)
        return dataset.assign_attrs(merged_words=reduce)

    def top(
        self,
        k: int = 10,
        *,
        map: str = "whole",
        layer: int | Sequence[int] | None = None,
        drop_diagonal: bool = False,
    ) -> pd.DataFrame:
        """The `k` scores of largest magnitude, strongest first, as a table.

        `share` is the score divided by its row's displacement, NaN where the target moved nowhere. `drop_diagonal`
        leaves out what a token gives itself.
        """
        dataset = self._valid()
        _check_count(k)
        entry = _map_entry(dataset, map)
        if layer is not None:
            dataset = dataset.sel(layer=_chosen_layers(dataset, layer))
        scores = dataset[map]
        shares = (scores / _moved(_displacement(dataset, map))).transpose(*scores.dims)
        magnitude = np.abs(scores.values.astype(np.float64))
        if drop_diagonal:
            if "source" not in entry.dims:
                raise OptionError(f"map {map!r} has no sources and so no diagonal: leave drop_diagonal out.")
            magnitude = np.where(_on_diagonal(dataset), -np.inf, magnitude)  # the token axes are the last two
        order = _largest(magnitude.ravel(), k)
        order = order[magnitude.ravel()[order] > -np.inf]
        places = np.unravel_index(order, scores.shape)
        columns: dict[str, np.ndarray] = {}
        for dim, place in zip(scores.dims, places, strict=True):
            columns[str(dim)] = scores[dim].values[place]
            if f"{dim}_token" in dataset.coords:
                columns[f"{dim}_token"] = dataset[f"{dim}_token"].values[place]
        columns["score"] = scores.values[places]
        columns["share"] = shares.values[places]
        return pd.DataFrame(columns)

    def drop_special(self) -> xr.Dataset:
        """Remove special tokens ([CLS], [SEP], …) from both token axes.

        What they gave goes with them: the remaining scores no longer sum to displacement plus gap, which still speak
        of all sources. The attribute `dropped_special` records it.
        """
        dataset = self._valid()
        for axis in ("source", "target"):
            if axis in dataset.dims:
                keep = ~dataset[f"{axis}_special"].values
                if not keep.any():
                    raise OptionError(f"every token of the {axis} axis is special: nothing would be left.")
                dataset = dataset.isel({axis: keep})
        return dataset.assign_attrs(dropped_special=1)

    def normalize(self, *, by: Literal["displacement", "row", "max"] = "displacement") -> xr.Dataset:
        """Divide every map so that targets or layers can be compared.

        - ``"displacement"``: by the target's displacement; a score becomes the share of it.
        - ``"row"``: by the sum of the magnitudes of the target's scores, so that none exceeds 1 where signs cancel.
        - ``"max"``: by the largest magnitude in the layer, so that all targets and heads keep their proportions.

        A row is a target's scores over sources (`mlp`: over heads). Displacement, gap and details are divided by the
        same number as their map, so every sum rule survives. Rows that moved nowhere (see `STILL`) become zero.
        """
        _choose("by", by, ("displacement", "row", "max"))
        dataset = self._valid()
        layout = layout_of(dataset)
        scaled: dict[str, xr.DataArray] = {}
        for name, entry in layout.maps.items():
            if entry.part_of is None and (group := _group(dataset, layout, name)):
                factor = _factor(dataset, name, entry, by)
                for member in group:
                    variable = dataset[member]
                    scaled[member] = (variable * factor).transpose(*variable.dims).astype(variable.dtype)
        return dataset.assign(scaled).assign_attrs(normalized=by)

    def chain(self, map: str = "whole", *, residual: float | None = None, cumulative: bool = False) -> xr.DataArray:
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
        """
        layers, shares = self._shares(map, residual=residual)
        products = [shares[0]]
        for share in shares[1:]:
            products.append(share @ products[-1])
        dataset = self._dataset.sel(layer=layers, target=self._dataset["source"].values)
        result = dataset[map].copy(data=np.stack(products).astype(dataset[map].dtype)).rename("chain")
        return result if cumulative else result.isel(layer=-1, drop=True)

    def paths(
        self, k: int = 10, *, map: str = "whole", target: int | None = None, residual: float | None = None
    ) -> list[FlowPath]:
        """The `k` strongest paths from any source at the bottom to `target` (by default any) at the top.

        A path's strength is the magnitude of the product of its steps in the row-normalised maps of `chain`; its sign
        is the product of their signs. All paths together add up to the chain. The search is exact: the k best paths to
        a token run through the k best paths to its sources. Paths of strength zero are left out.
        """
        _check_count(k)
        layers, shares = self._shares(map, residual=residual)
        positions = self._dataset["source"].values
        if target is not None and target not in positions:
            raise OptionError(f"target {target} is no position of this result ({positions[0]} to {positions[-1]}).")
        ends = None if target is None else [positions.tolist().index(target)]
        tokens = self._dataset["source_token"].values
        found = []
        for places in _strongest(np.abs(shares), k, ends):
            steps = [float(share[there, here]) for share, here, there in zip(shares, places, places[1:], strict=False)]
            found.append(
                FlowPath(
                    positions=tuple(int(positions[place]) for place in places),
                    tokens=tuple(str(tokens[place]) for place in places),
                    layers=tuple(layers),
                    shares=tuple(steps),
                    strength=float(np.prod(np.abs(steps))),
                    sign=int(np.prod(np.sign(steps))),
                )
            )
        return found

    def _valid(self) -> xr.Dataset:
        validate(self._dataset)
        return self._dataset

    def _shares(self, map: str, *, residual: float | None) -> tuple[list[int], np.ndarray]:
        """Layer numbers, lowest first, and one row-normalised float64 matrix [target, source] for each."""
        dataset = self._valid()
        entry = _map_entry(dataset, map)
        if entry.dims != ("layer", "target", "source"):
            raise OptionError(f"map {map!r} has the axes {', '.join(entry.dims)}: chain 'whole' or 'composed' instead.")
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
            lonely = next(iter([s for s in sources if s not in targets] or [t for t in targets if t not in sources]))
            raise GridError(
                f"position {lonely} is not on both token axes ({len(targets)} targets, {len(sources)} sources): a flow "
                "through layers needs every token as source and target. Compute it with targets=None."
            )
        scores = dataset[map].sel(layer=layers, target=sources).values.astype(np.float64)
        shares = np.stack([_row_shares(layer) for layer in scores])
        if residual is not None:
            shares = (1 - residual) * shares + residual * np.eye(len(sources))
        return layers, shares


def _row_shares(scores: np.ndarray) -> np.ndarray:
    total = scores.sum(axis=-1)
    still = _still(np.abs(total), axis=None)
    return np.where(still[:, None], np.eye(len(scores)), scores / np.where(still, 1.0, total)[:, None])


def _still(displacement: np.ndarray, axis: int | tuple[int, ...] | None) -> np.ndarray:
    return displacement <= STILL * np.median(displacement, axis=axis, keepdims=True)


def _moved(displacement: xr.DataArray) -> xr.DataArray:
    """The displacement, NaN where the target moved nowhere."""
    axis = displacement.get_axis_num("target")
    assert isinstance(axis, int)
    return displacement.where(~_still(np.abs(displacement.values), axis))


def _largest(values: np.ndarray, k: int) -> np.ndarray:
    """Places of the k largest values along the last axis, largest first; equal values in the order of their places."""
    k = min(k, values.shape[-1])
    places = np.sort(np.argpartition(-values, k - 1, axis=-1)[..., :k], axis=-1)
    order = np.argsort(-np.take_along_axis(values, places, axis=-1), axis=-1, kind="stable")
    return np.take_along_axis(places, order, axis=-1)


def _strongest(magnitudes: np.ndarray, k: int, ends: list[int] | None) -> list[list[int]]:
    """Places of the k best paths, best first: one row of best products per token, carried from layer to layer."""
    n_tokens = magnitudes.shape[-1]
    best = np.ones((n_tokens, 1))  # [token, rank]
    back: list[tuple[np.ndarray, np.ndarray]] = []
    for layer in magnitudes:
        n_ranks = best.shape[1]
        products = (layer[:, :, None] * best).reshape(n_tokens, -1)
        kept = _largest(products, k)
        best = np.take_along_axis(products, kept, axis=-1)
        back.append((kept // n_ranks, kept % n_ranks))
    candidates = [
        (-best[token, rank], token, rank)
        for token in (range(n_tokens) if ends is None else ends)
        for rank in range(best.shape[1])
        if best[token, rank] > 0
    ]
    return [_trace(back, token, rank) for _, token, rank in sorted(candidates)[:k]]


def _trace(back: list[tuple[np.ndarray, np.ndarray]], token: int, rank: int) -> list[int]:
    places = [token]
    for sources, ranks in reversed(back):
        token, rank = int(sources[token, rank]), int(ranks[token, rank])
        places.append(token)
    return places[::-1]


def _merge_axis(dataset: xr.Dataset, axis: str, reduce: str, first_position: dict[WordKey, int]) -> xr.Dataset:
    groups: dict[WordKey, list[int]] = {}
    for place, key in enumerate(_words(dataset, axis)):
        groups.setdefault(key, []).append(place)
    merged = {
        name: _merge(variable, axis, list(groups.values()), reduce) for name, variable in dataset.data_vars.items()
    }
    firsts = [places[0] for places in groups.values()]
    own = dataset[axis].values[firsts]
    coords: dict[str, tuple[str, np.ndarray]] = {
        # A word's place is where it starts among the sources, also if its first sub-word is no target.
        axis: (
            axis,
            np.asarray([first_position.get(key, int(position)) for key, position in zip(groups, own, strict=True)]),
        )
    }
    for label in TOKEN_LABELS:
        if f"{axis}_{label}" in dataset.coords:
            coords[f"{axis}_{label}"] = (axis, dataset[f"{axis}_{label}"].values[firsts])
    texts = [_word_text(dataset, axis, places) for places in groups.values()]
    coords[f"{axis}_token"] = (axis, np.asarray(texts, dtype=np.str_))
    stops = dataset[f"{axis}_stop"].values
    coords[f"{axis}_stop"] = (axis, np.asarray([stops[places].max() for places in groups.values()]))
    kept = {name: coord for name, coord in dataset.coords.items() if axis not in coord.dims}
    return xr.Dataset(merged, {**kept, **coords}, dataset.attrs)


def _words(dataset: xr.Dataset, axis: str) -> list[WordKey]:
    """What tells words apart: segment and word number, or the position of a token that stays alone."""
    positions, words = dataset[axis].values, dataset[f"{axis}_word"].values
    special = dataset[f"{axis}_special"].values
    name = f"{axis}_segment"
    segments = dataset[name].values if name in dataset.coords else np.zeros_like(words)
    return [
        ("token", int(position), 0) if alone or word < 0 else ("word", int(segment), int(word))
        for position, word, alone, segment in zip(positions, words, special, segments, strict=True)
    ]


def _merge(variable: xr.DataArray, axis: str, groups: list[list[int]], reduce: str) -> xr.Variable:
    if axis not in variable.dims:
        return variable.variable
    number = variable.dims.index(axis)
    order = [place for places in groups for place in places]
    sizes = np.array([len(places) for places in groups])
    # No matrix product with zeros and ones: it would spread one NaN over every word.
    merged = np.add.reduceat(
        variable.values.take(order, axis=number), np.cumsum(sizes) - sizes, axis=number, dtype=np.float64
    )
    if reduce == "mean":
        merged /= sizes.reshape([-1 if place == number else 1 for place in range(merged.ndim)])
    return xr.Variable(variable.dims, merged.astype(variable.dtype), variable.attrs)


def _word_text(dataset: xr.Dataset, axis: str, places: list[int]) -> str:
    pieces = dataset[f"{axis}_token"].values[places].tolist()
    if dataset[f"{axis}_special"].values[places[0]] or dataset[f"{axis}_word"].values[places[0]] < 0:
        return str(pieces[0])
    starts, stops = dataset[f"{axis}_start"].values[places], dataset[f"{axis}_stop"].values[places]
    text = str(dataset.attrs.get("text", ""))
    if f"{axis}_segment" not in dataset.coords and starts.min() >= 0 and stops.max() <= len(text):
        word = text[starts.min() : stops.max()].strip()  # byte-level tokens may count the space before them
        if word:
            return word
    joined = "".join([_bare(pieces[0], first=True), *(_bare(piece, first=False) for piece in pieces[1:])])
    return joined or str(pieces[0])


def _bare(piece: str, *, first: bool) -> str:
    """A piece without the mark by which its tokenizer says that a word starts, goes on or ends."""
    piece = piece.removesuffix("</w>")
    return piece.lstrip("Ġ▁ ") if first else piece.removeprefix("##")


def _group(dataset: xr.Dataset, layout: Layout, name: str) -> list[str]:
    """The scores of a map and its details, with displacement and gap, as far as the Dataset has them."""
    scores = [name, *(detail for detail, entry in layout.maps.items() if entry.part_of == name)]
    if not any(member in dataset for member in scores):
        return []
    return [member for member in (*scores, f"{name}_displacement", f"{name}_gap") if member in dataset]


def _factor(dataset: xr.Dataset, name: str, entry: Map, by: str) -> xr.DataArray:
    if by == "displacement":
        divisor = _moved(_displacement(dataset, name).astype(np.float64))
    else:
        if name not in dataset:
            raise OptionError(f"the result has details of {name!r} but not {name!r} itself: keep it, or drop them.")
        magnitudes = abs(dataset[name].astype(np.float64))
        if by == "row":
            divisor = _moved(magnitudes.sum(entry.adds_over))
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
        close = difflib.get_close_matches(str(name), maps, n=1)
        hint = f" Closest: {close[0]!r}." if close else ""
        raise OptionError(
            f"this result has no map {name!r}, it has {', '.join(maps)}.{hint} Compute it with maps=({name!r},)."
        )
    return maps[name]


def _chosen_layers(dataset: xr.Dataset, layer: int | Sequence[int]) -> list[int]:
    chosen = [int(layer)] if isinstance(layer, (int, np.integer)) else [int(number) for number in layer]
    available = dataset["layer"].values.tolist()
    for number in chosen:
        if number not in available:
            raise OptionError(f"layer {number} is not in this result, it has {', '.join(str(n) for n in available)}.")
    return chosen


def _on_diagonal(dataset: xr.Dataset) -> np.ndarray:
    return dataset["target"].values[:, None] == dataset["source"].values


def _check_count(k: int) -> None:
    if k < 1:
        raise OptionError(f"k is {k}, expected how many to return: at least 1.")


def _choose(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise OptionError(f"{option} is {value!r}, expected one of: {', '.join(known)}.")
