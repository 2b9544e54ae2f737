"""A flow as its page writes it, before any script: what the model's head reads, the heads of every layer, the paths."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from lignite.views.explanation.facts import pieces
from lignite.views.explanation.message import EVEN
from lignite.views.flow.facts import TITLES, maps_in, one_part, own_cells, reader_of, strongest, token_axis
from lignite.views.labels import limit_of, named_token
from lignite.views.patches.facts import is_image
from lignite.views.tones import tone_of
from lignite.wording import counted

COLUMNS, NUMBERED = 48, 24
PATHS, STRONGEST = 10, 2
LABELS = ("token", "word", "special", "start", "stop", "segment", "position")


@dataclass(frozen=True)
class Look:
    """One view of a flow, by words or by tokens; `map` is the one that its tables are of."""

    name: str
    dataset: xr.Dataset
    map: str

    @property
    def unit(self) -> str:
        return "word" if self.dataset.attrs.get("merged_words") else "token"

    @property
    def reader(self) -> str:
        """The token from which the model's answer is read."""
        return named_token(str(self.dataset.target_token.values[reader_of(self.dataset)]))

    @cached_property
    def held(self) -> Float[np.ndarray, " source"] | None:
        """Which share of what the reader holds after the last layer comes from each token; None without ways there."""
        dataset, layers = self.dataset, self.dataset.layer.values
        square = "source" in dataset.dims and dataset.sizes["target"] == dataset.sizes["source"]
        if not square or not {"whole", "composed"} & set(dataset.data_vars) or (np.diff(layers) != 1).any():
            return None
        row = dataset.lignite.chain().values[reader_of(dataset)].astype(np.float64)
        return row if np.isfinite(row).all() else None

    @property
    def spread(self) -> str:
        """Said where no token stands out of what the reader holds; colours alone would make much of little."""
        sizes = np.array([]) if self.held is None else np.abs(self.held[~self.dataset.source_special.values])
        if sizes.size < 8 or not sizes.any() or sizes.max() >= EVEN * sizes.mean():
            return ""
        return f"spread evenly over {counted(sizes.size, self.unit)}: none stands out"

    @cached_property
    def text(self) -> list[tuple[str, int | None, str, float, bool]]:
        """Every piece of the text: its words, place, tone, share, and whether it is special."""
        if "source" not in self.dataset.dims or is_image(self.dataset, "source"):
            return []
        held, special = self.held, self.dataset.source_special.values
        shares = np.zeros(len(special)) if held is None else held
        limit = limit_of(shares[~special]) if (~special).any() else 1.0
        found: list[tuple[str, int | None, str, float, bool]] = []
        for piece in pieces(_tokens(self.dataset)):
            if piece.index is None:
                found.append((piece.text, None, "", 0.0, False))
                continue
            share = float(shares[piece.index])
            found.append((piece.text, piece.index, tone_of(share / limit), share, bool(special[piece.index])))
        return found

    @cached_property
    def received(self) -> dict[str, Any] | None:
        """What the reader receives from every token, layer by layer."""
        if "source" not in self.dataset[self.map].dims:
            return None
        place = reader_of(self.dataset)
        scores = one_part(self.dataset, self.map)[0].values.astype(np.float64)[:, place]
        own = self.dataset.source.values == self.dataset.target.values[place]
        limit = limit_of(scores[:, ~own])
        columns = np.arange(scores.shape[1])
        if len(columns) > COLUMNS:
            columns = np.sort(np.argsort(-np.abs(np.nan_to_num(scores)).max(0), kind="stable")[:COLUMNS])
        tokens = [named_token(str(token)) for token in self.dataset.source_token.values]
        return {
            "columns": [(int(at), tokens[at], bool(self.dataset.source_special.values[at])) for at in columns],
            "tight": len(columns) > NUMBERED,
            "of": scores.shape[1],
            "rows": [
                (at, int(layer), [(int(here), tone_of(row[here] / limit), float(row[here])) for here in columns], limit)
                for at, (layer, row) in enumerate(zip(self.dataset.layer.values, scores, strict=True))
            ],
        }

    @cached_property
    def paths(self) -> list[tuple[float, list[tuple[str, str]]]]:
        """The strongest ways through all layers into the reader: their share, and their stations."""
        if self.held is None:
            return []
        found = self.dataset.lignite.paths(PATHS, target=int(self.dataset.target.values[reader_of(self.dataset)]))
        return [(path.sign * path.strength, _stations(path)) for path in found]

    @cached_property
    def strong(self) -> list[Any]:
        """The strongest scores of each layer."""
        return [
            entry
            for layer in self.dataset.layer.values
            for entry in strongest(self.dataset, map=self.map, layer=int(layer), k=STRONGEST)
        ]


def heads_of(dataset: xr.Dataset) -> dict[str, Any] | None:
    """Layer by head: which part each head has in what its layer moves between tokens; None without a split by head."""
    map = next((name for name in ("whole_heads", "attention", "mlp") if name in maps_in(dataset)), None)
    if map is None:
        return None
    sizes = np.abs(np.nan_to_num(dataset[map].transpose("layer", "head", ...).values.astype(np.float64)))
    if sizes.ndim == 4:
        sizes = np.where(own_cells(dataset), 0, sizes).sum(-1)
    moved = sizes.sum(-1)
    shares = moved / np.where(moved.sum(1, keepdims=True) > 0, moved.sum(1, keepdims=True), 1)
    most = shares.max(initial=0) or 1.0
    return {
        "map": map,
        "title": TITLES[map],
        "heads": [int(head) for head in dataset["head"].values],
        "rows": [
            (at, int(layer), [(place, tone_of(share / most), float(share)) for place, share in enumerate(row)])
            for at, (layer, row) in enumerate(zip(dataset.layer.values, shares, strict=True))
        ],
    }


def _tokens(dataset: xr.Dataset) -> xr.Dataset:
    """The tokens of a flow laid out as those of an explanation."""
    axis = token_axis(dataset)
    labels = {label: dataset[f"{axis}_{label}"].values for label in LABELS if f"{axis}_{label}" in dataset.coords}
    return xr.Dataset(coords={label: ("token", values) for label, values in labels.items()}, attrs=dataset.attrs)


def _stations(path: Any) -> list[tuple[str, str]]:
    """A path in words: a token that stays for several layers is named once."""
    found: list[tuple[str, str]] = []
    start = 0
    for level in range(1, len(path.positions) + 1):
        if level < len(path.positions) and path.positions[level] == path.positions[start]:
            continue
        into = f"layer {path.layers[start - 1]}" if start else ""
        found.append((into, named_token(path.tokens[start])))
        start = level
    return found
