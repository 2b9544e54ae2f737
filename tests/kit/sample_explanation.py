"""A seeded explanation in the layout of real results, for tests that need one without a model."""

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import xarray as xr
from tests.kit.sample_flow import START, STOP, TEXT, TOKENS, WORD

from lignite.results.build import build_explanation

CONTENT = (0.0, 0.1, 0.9, 1.1, 0.4, -0.2, -1.3, 0.8, 0.1, 0.0)
"""What the tokens of the text say for "positive", in logits: "bored" speaks against it, the other long words for it."""

METHODS_WITH_LAYERS = ("ca-lig", "relevance-flow")
COMPLETE = ("ig", "sequential-ig")


def sample_explanation(
    *,
    seed: int = 0,
    method: str = "ca-lig",
    n_layers: int = 3,
    n_heads: int = 2,
    tokens: Sequence[str] | None = None,
    pair: bool = False,
    grid: tuple[int, int] | None = None,
    detail: Sequence[str] = ("heads", "relevance-flow"),
    stochastic: bool = False,
    gap: float = 5e-4,
    classes: Sequence[str] = ("negative", "positive"),
    label: str = "positive",
    dtype: str = "float32",
) -> xr.Dataset:
    """Random signed scores that keep every sum rule of a real result up to small gaps.

    ``"ca-lig"`` and ``"relevance-flow"`` have layers (the latter no `layer_ig`, its relevance adds up by itself),
    ``"ig"`` and ``"sequential-ig"`` the total displacement and gap, all others nothing but `relevance`. From layer to
    layer relevance moves to the first special token, from which a classifier reads; what leaves the last block stands
    there alone. `tokens` replaces the ten default tokens (one word each, none special), `pair` makes two texts of them,
    joined by a line break, and `grid` image patches (rows, columns) behind a class token. `detail` adds the splits;
    `stochastic` the standard errors; `gap` is the largest, as a share of the displacement.
    """
    random = np.random.default_rng(seed)
    labels, text = _labels(tokens=tokens, pair=pair, grid=grid)
    content = np.asarray(CONTENT)
    if tokens is not None or grid is not None:
        content = random.standard_normal(len(labels.text))
        content += (2 - content.sum()) / len(content)
    reader = labels.special.index(True) if any(labels.special) else len(labels.text) - 1
    states = _relevance_of_states(random, content, n_layers, reader)
    variables = _variables(random, states, method, n_heads, detail=detail, stochastic=stochastic, gap=gap)
    logits = 0.5 * random.standard_normal(len(classes))
    logits[list(classes).index(label)] = 2.5
    variables |= {"logit": logits, "probability": np.exp(logits) / np.exp(logits).sum()}
    return build_explanation(
        tokens=labels,
        variables={name: np.asarray(values, dtype=dtype) for name, values in variables.items()},
        attrs=_attrs(text, method, label, list(classes).index(label), n_layers),
        classes=classes,
    )


def _labels(*, tokens: Sequence[str] | None, pair: bool, grid: tuple[int, int] | None) -> tuple[SimpleNamespace, str]:
    columns: dict[str, Any] = dict.fromkeys(("segment", "row", "col", "top", "left", "bottom", "right"))
    if grid is not None:
        places = [(row, col) for row in range(grid[0]) for col in range(grid[1])]
        nowhere = (-1,) * (len(places) + 1)
        columns |= {
            "text": ("[CLS]", *(f"r{row}c{col}" for row, col in places)),
            "special": (True, *(False for _ in places)),
            "row": (-1, *(row for row, _ in places)),
            "col": (-1, *(col for _, col in places)),
        } | dict.fromkeys(("word", "start", "stop"), nowhere)
        text = ""
    elif tokens is not None:
        stop = np.cumsum([len(token) + 1 for token in tokens]) - 1
        columns |= {
            "text": tuple(tokens),
            "word": tuple(range(len(tokens))),
            "special": (False,) * len(tokens),
            "start": tuple(int(last) - len(token) for last, token in zip(stop, tokens, strict=True)),
            "stop": tuple(stop.tolist()),
        }
        text = " ".join(tokens)
    else:
        columns |= {"text": TOKENS, "word": WORD, "special": tuple(word < 0 for word in WORD)}
        columns |= {"start": START, "stop": STOP}
        text = TEXT
        if pair:  # the space before "bored" becomes the break between the texts, so that all offsets stay
            text = TEXT.replace(" bored", "\nbored")
            columns["segment"] = (-1, 0, 0, 0, 0, 0, 1, 1, 1, -1)
    return SimpleNamespace(**columns, position=tuple(range(len(columns["text"])))), text


def _relevance_of_states(random: np.random.Generator, content: np.ndarray, n_layers: int, reader: int) -> np.ndarray:
    """`[layer, token]`, from the embeddings to what leaves the last block; every row has the same sum."""
    rows = []
    for moved in np.linspace(0, 1, n_layers + 1):
        noise = 0.15 * random.standard_normal(len(content))
        row = (1 - moved) * (content + noise)
        row[reader] += content.sum() - row.sum()
        rows.append(row)
    return np.asarray(rows)


def _variables(
    random: np.random.Generator,
    states: np.ndarray,
    method: str,
    n_heads: int,
    *,
    detail: Sequence[str],
    stochastic: bool,
    gap: float,
) -> dict[str, Any]:
    n_layers, total = len(states) - 1, states[0].sum()

    def gaps(*shape: int) -> np.ndarray:
        return gap * random.uniform(-1, 1, shape) * total

    if method not in METHODS_WITH_LAYERS:
        variables: dict[str, Any] = {"relevance": abs(states[0]) if method == "saliency" else states[0]}
        if method in COMPLETE:
            total_gap = gaps()
            variables |= {"total_displacement": total - total_gap, "total_gap": total_gap}
        return variables
    layer_gap, output_gap = gaps(n_layers), gaps()
    heads, residual, flow_gap = _flow(random, states, n_heads, gaps)
    gradient = 0.3 * random.standard_normal((n_layers, n_heads, *heads.shape[2:]))
    variables = {
        "displacement": states[:-1].sum(-1) - layer_gap,
        "gap": layer_gap,
        "output_ig": states[-1],
        "output_displacement": states[-1].sum() - output_gap,
        "output_gap": output_gap,
    }
    if method == "ca-lig":
        fused = 0.7 * states[:-1] / abs(states[:-1]).max(-1, keepdims=True) + 0.3 * gradient.mean(1).sum(1)
        variables |= {"relevance": fused.sum(0), "layer_relevance": fused, "layer_ig": states[:-1]}
        variables["attention_gradient"] = gradient.mean(1)
        if "heads" in detail:
            variables["attention_gradient_heads"] = gradient
    else:
        variables |= {"relevance": states[0], "layer_relevance": states[:-1]}
    if stochastic and method == "ca-lig":
        variables["layer_ig_error"] = 0.05 * random.uniform(0.5, 1, states[:-1].shape)
    if "relevance-flow" in detail:
        diagonal = np.eye(states.shape[1])
        variables["relevance_flow"] = heads.sum(1) + diagonal * residual[:, None]
        variables["relevance_flow_gap"] = flow_gap
        if "heads" in detail:
            variables |= {"relevance_flow_heads": heads, "relevance_residual": residual}
    return variables


def _flow(
    random: np.random.Generator, states: np.ndarray, n_heads: int, gaps: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores by head, the residual, and the gap, with which targets receive the relevance of the next layer's states.

    What sources give is the relevance of their own layer's states, and a target without relevance receives nothing.
    """
    n_layers, n_tokens = len(states) - 1, states.shape[1]
    gap = gaps(n_layers, n_tokens) * abs(states[1:])
    gap[:, abs(states[-1]).argmax()] -= gap.sum(-1)
    rows = states[1:] + gap
    size = abs(rows)[:, :, None]
    noise = random.standard_normal((n_layers, n_tokens, n_tokens))
    noise -= noise.mean(2, keepdims=True)
    noise -= (size * noise).sum(1, keepdims=True) / size.sum(1, keepdims=True)
    scores = rows[:, :, None] * states[:-1, None] / rows.sum(-1)[:, None, None] + 0.3 * size * noise
    residual = 0.5 * states[1:]
    parts = size[:, None] * random.standard_normal((n_layers, n_heads, n_tokens, n_tokens))
    rest = scores - np.eye(n_tokens) * residual[:, None] - parts.sum(1)
    return parts + rest[:, None] / n_heads, residual, gap


def _attrs(text: str, method: str, label: str, number: int, n_layers: int) -> dict[str, str | int | float]:
    target = {"kind": "class", "label": number, "against": None, "token": None, "part": None, "name": label}
    return {
        "lignite_version": "0.1.0",
        "model": "sample",
        "revision": "",
        "text": text,
        "request": json.dumps({"method": method, "baseline": ["mask"], "path": "input", "fusion": 0.7}),
        "target": json.dumps(target),
        "method": method,
        "prediction": label,
        "value": 2.5,
        "plans": json.dumps({str(layer): "input path, 32 nodes" for layer in range(n_layers)}),
        "versions": json.dumps({"torch": "2.13.0"}),
        "tol": 1e-3,
    }
