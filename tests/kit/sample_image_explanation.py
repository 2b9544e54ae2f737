"""Seeded explanations of a drawn image in the layout of real results, for tests that need one without a model."""

import numpy as np
import xarray as xr
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_flow import sample_flow


def sample_image_explanation(
    *,
    grid: tuple[int, int] = (6, 5),
    patch: int = 8,
    specials: tuple[str, ...] = ("[CLS]",),
    border: int = 0,
    image: bool = True,
    boxes: bool = True,
    **how,
) -> xr.Dataset:
    """An explanation of `grid` patches behind special tokens, a bright disc being what speaks for the class.

    `border` pixels at the right and at the bottom belong to no patch. `how` as in `sample_explanation`.
    """
    dataset = sample_explanation(grid=grid, **how)
    for _ in specials[1:]:  # registers: copies of the class token, with half of its scores
        first = dataset.isel(token=[0], **{dim: [0] for dim in ("target", "source") if dim in dataset.dims})
        dataset = _with_register(dataset, first)
    n_specials, (rows, cols) = len(specials), grid
    tokens = [*specials, *(f"r{row}c{col}" for row in range(rows) for col in range(cols))]
    dataset = _renamed(dataset, tokens, n_specials, grid)
    if boxes:
        dataset = _with_boxes(dataset, patch)
    height, width = rows * patch + border, cols * patch + border
    if image:
        dataset["image"] = (("y", "x", "channel"), drawn(height, width))
    dataset.attrs["text"] = "disc.png"
    return _towards_the_disc(dataset, grid)


def sample_image_flow(*, grid: tuple[int, int] = (6, 5), patch: int = 8, image: bool = True, **how) -> xr.Dataset:
    """A flow between `grid` patches behind a class token; `how` as in `sample_flow`."""
    dataset = _with_boxes(sample_flow(grid=grid, **how), patch)
    if image:
        dataset["image"] = (("y", "x", "channel"), drawn(grid[0] * patch, grid[1] * patch))
    dataset.attrs["text"] = "disc.png"
    return dataset


def drawn(height: int, width: int) -> np.ndarray:
    """A bright disc, a dark bar and noise on a coloured slope."""
    random = np.random.default_rng(3)
    down, right = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    pixels = np.stack([60 + 90 * down, 110 + 60 * right, 150 - 90 * down], axis=-1)
    pixels += 12 * random.standard_normal((height, width, 1))
    disc = (down - 0.4) ** 2 + ((right - 0.62) * width / height) ** 2 < 0.06
    pixels[disc] = (245, 225, 120)
    pixels[(down > 0.75) & (down < 0.85) & (right < 0.6)] = (25, 20, 40)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _with_register(dataset: xr.Dataset, first: xr.Dataset) -> xr.Dataset:
    grown = {}
    for name, variable in dataset.data_vars.items():
        part = variable
        for dim in ("token", "target", "source"):
            if dim in variable.dims:
                part = xr.concat([0.5 * part.isel({dim: [0]}), part.isel({dim: slice(0, None)})], dim, join="override")
                part = part.reset_coords(drop=True)
        grown[name] = (variable.dims, np.asarray(part.values, dtype=variable.dtype))
    n_tokens = dataset.sizes["token"] + 1
    coords = {name: dataset[name] for name in ("layer", "head", "class") if name in dataset.coords}
    bare = xr.Dataset(grown, coords, dataset.attrs)
    for dim in ("target", "source"):
        if dim in bare.dims:
            bare = bare.assign_coords({dim: np.arange(n_tokens)})
    return bare


def _renamed(dataset: xr.Dataset, tokens: list[str], n_specials: int, grid: tuple[int, int]) -> xr.Dataset:
    row, col = (axis.ravel() for axis in np.meshgrid(range(grid[0]), range(grid[1]), indexing="ij"))
    nowhere = np.full(n_specials, -1)
    columns = {
        "token": np.asarray(tokens),
        "special": np.arange(len(tokens)) < n_specials,
        "row": np.concatenate([nowhere, row]),
        "col": np.concatenate([nowhere, col]),
        **{name: np.full(len(tokens), -1) for name in ("word", "start", "stop")},
    }
    for axis in ("token", "target", "source"):
        if axis not in dataset.dims:
            continue
        named = {name if axis == "token" else f"{axis}_{name}": (axis, values) for name, values in columns.items()}
        if axis == "token":
            named["position"] = ("token", np.arange(len(tokens)))
        dataset = dataset.drop_vars([name for name in named if name in dataset.coords])
        dataset = dataset.assign_coords(xr.Coordinates(named, indexes={}))
    return dataset


def _with_boxes(dataset: xr.Dataset, patch: int) -> xr.Dataset:
    for axis in ("token", "target", "source"):
        if axis not in dataset.dims:
            continue
        start = "" if axis == "token" else f"{axis}_"
        row, col = dataset[f"{start}row"].values, dataset[f"{start}col"].values
        sides = {"top": row, "left": col, "bottom": row + 1, "right": col + 1}
        boxes = {f"{start}{name}": (axis, np.where(row < 0, -1, patch * at)) for name, at in sides.items()}
        dataset = dataset.assign_coords(boxes)
    return dataset


def _towards_the_disc(dataset: xr.Dataset, grid: tuple[int, int]) -> xr.Dataset:
    """Turn the random scores of patches so that the disc speaks for the class, more so from layer to layer."""
    rows, cols = grid
    row, col = dataset.row.values, dataset.col.values
    near = np.exp(-(((row + 0.5) / rows - 0.4) ** 2 + ((col + 0.5) / cols - 0.62) ** 2) / 0.03)
    wanted = np.where(row >= 0, 2.2 * near - 0.25, 0.0)
    for name in ("relevance", "layer_relevance", "layer_ig"):
        if name not in dataset:
            continue
        values = dataset[name].values
        share = np.linspace(0.2, 1, len(values))[:, None] if values.ndim == 2 else 1.0
        turned = np.where(row >= 0, share * wanted + 0.3 * values, values)
        dataset[name] = (dataset[name].dims, turned.astype(values.dtype))
    return dataset
