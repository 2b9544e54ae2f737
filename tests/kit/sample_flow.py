"""A seeded flow Dataset in the layout of real results, for tests that need one without a model."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

TEXT = "The unbelievable plot bored nobody."
TOKENS = ("[CLS]", "the", "un", "##believ", "##able", "plot", "bored", "nobody", ".", "[SEP]")
WORD = (-1, 0, 1, 1, 1, 2, 3, 4, 5, -1)
START = (-1, 0, 4, 6, 12, 17, 22, 28, 34, -1)
STOP = (-1, 3, 6, 12, 16, 21, 27, 34, 35, -1)
SEGMENT = (-1, 0, 0, 0, 0, 0, 1, 1, 1, -1)
CIRCUITS = ("value", "key", "query", "residual")


def sample_flow(
    *,
    seed: int = 0,
    layers: Sequence[int] = (0, 1, 2),
    n_heads: int = 2,
    targets: Sequence[int] | None = None,
    tokens: Sequence[str] | None = None,
    pair: bool = False,
    grid: tuple[int, int] | None = None,
    details: bool = True,
    dtype: str = "float32",
) -> xr.Dataset:
    """Random signed scores that keep every sum rule of a real result up to small gaps.

    `targets` keeps these positions on the target axis, `tokens` replaces the ten default tokens (one word each), `pair`
    adds segments, `grid` makes image patches (rows, columns) behind a class token. `details` adds the splits by head
    and circuit.
    """
    named, text = _tokens(tokens=tokens, pair=pair, grid=grid)
    kept = list(range(len(named["token"]))) if targets is None else list(targets)
    coords: dict[str, Any] = {
        "layer": np.asarray(list(layers), dtype=np.int64),
        "head": np.arange(n_heads, dtype=np.int64),
        "target": np.asarray(kept, dtype=np.int64),
        "source": np.arange(len(named["token"]), dtype=np.int64),
    }
    for name, values in named.items():
        coords[f"source_{name}"] = ("source", values)
        coords[f"target_{name}"] = ("target", values[kept])
    if details:
        coords["circuit"] = np.asarray(CIRCUITS)
    variables = _variables(
        np.random.default_rng(seed), len(list(layers)), n_heads, len(named["token"]), kept, details=details
    )
    dataset = xr.Dataset({name: (dims, values.astype(dtype)) for name, (dims, values) in variables.items()}, coords)
    dataset.attrs = {
        "lignite_version": "0.1.0",
        "kind": "flow",
        "model": "sample",
        "revision": "",
        "text": text,
        "request": json.dumps({"baseline": "target_token", "readout": "displacement", "composition": "product"}),
        "plans": json.dumps({str(layer): ["target_path"] for layer in layers}),
        "versions": json.dumps({"torch": "2.13.0"}),
        "tol": 1e-3,
    }
    return dataset


def _tokens(
    *, tokens: Sequence[str] | None, pair: bool, grid: tuple[int, int] | None
) -> tuple[dict[str, np.ndarray], str]:
    if grid is not None:
        rows, columns = grid
        row, col = (axis.ravel() for axis in np.meshgrid(range(rows), range(columns), indexing="ij"))
        n_tokens = rows * columns + 1
        named = {
            "token": np.asarray(["[CLS]", *(f"r{r}c{c}" for r, c in zip(row, col, strict=True))]),
            "word": np.full(n_tokens, -1),
            "special": np.arange(n_tokens) == 0,
            "start": np.full(n_tokens, -1),
            "stop": np.full(n_tokens, -1),
            "row": np.concatenate([[-1], row]),
            "col": np.concatenate([[-1], col]),
        }
        return named, ""
    if tokens is not None:
        stop = np.cumsum([len(token) + 1 for token in tokens]) - 1
        named = {
            "token": np.asarray(list(tokens)),
            "word": np.arange(len(tokens)),
            "special": np.zeros(len(tokens), dtype=bool),
            "start": stop - [len(token) for token in tokens],
            "stop": stop,
        }
        return named, " ".join(tokens)
    word = np.asarray(WORD)
    named = {
        "token": np.asarray(TOKENS),
        "word": word,
        "special": word < 0,
        "start": np.asarray(START),
        "stop": np.asarray(STOP),
    }
    if pair:
        segment = np.asarray(SEGMENT)
        second = segment == 1
        named["segment"] = segment
        named["word"] = np.where(second, word - 3, word)  # words and offsets start anew in the second text
        named["start"] = np.where(second, named["start"] - 22, named["start"])
        named["stop"] = np.where(second, named["stop"] - 22, named["stop"])
    return named, TEXT


def _variables(
    random: np.random.Generator, n_layers: int, n_heads: int, n_tokens: int, targets: list[int], *, details: bool
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    def scores(*shape: int) -> np.ndarray:
        return random.gamma(0.5, 1.0, shape) + 0.2 * random.standard_normal(shape)

    def conclude(name: str, dims: tuple[str, ...], values: np.ndarray) -> None:
        gap = 5e-4 * random.uniform(-1, 1, values.shape[:-1]) * values.sum(-1)
        variables[name] = (dims, values)
        variables[f"{name}_displacement"] = (dims[:-1], values.sum(-1) - gap)
        variables[f"{name}_gap"] = (dims[:-1], gap)

    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    diagonal = np.eye(n_tokens)
    attention = scores(n_layers, n_heads, n_tokens, n_tokens)
    mlp = scores(n_layers, n_tokens, n_heads)
    value, key = (scores(n_layers, n_heads, n_tokens, n_tokens) for _ in range(2))
    query = diagonal * scores(n_layers, n_heads, n_tokens)[..., None]
    residual = scores(n_layers, n_tokens)
    whole_heads = value + key + query
    whole_circuits = np.stack([value.sum(1), key.sum(1), query.sum(1), diagonal * residual[..., None]])
    composed = np.einsum("lhts,lth->lts", attention, mlp)
    conclude("attention", ("layer", "head", "target", "source"), attention[:, :, targets])
    conclude("mlp", ("layer", "target", "head"), mlp[:, targets])
    conclude("whole", ("layer", "target", "source"), whole_circuits.sum(0)[:, targets])
    conclude("composed", ("layer", "target", "source"), composed[:, targets])
    if details:
        variables["whole_heads"] = (("layer", "head", "target", "source"), whole_heads[:, :, targets])
        variables["whole_residual"] = (("layer", "target"), residual[:, targets])
        variables["whole_circuits"] = (("circuit", "layer", "target", "source"), whole_circuits[:, :, targets])
    return variables
