"""How an evaluation came about: the settings that its journal holds it to, and the attributes of its result."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from os import PathLike
from typing import Any

import torch

from lignite.api.units import Work
from lignite.metrics.tables import Scored
from lignite.models.load import Model
from lignite.targets.objective import Wanted, as_target
from lignite.targets.target import Target
from lignite.version import VERSION, versions


def hash_weights(model: Model) -> str:
    """Take the sha256 of names, types, shapes and bytes of all weights: the same wherever the model is stored."""
    digest = sha256()
    for name, weight in sorted(model.network.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def settings_of(work: Work) -> dict[str, Any]:
    """What finished work must have been computed with to be taken over."""
    how = work.how
    return {
        "model": hash_weights(work.model),
        "lignite": VERSION,
        "metrics": [metric.name for metric in work.metrics],
        "fills": list(how.fills),
        "steps": how.steps,
        "seed": how.seed,
        "evidence": "rationale" if how.by_rationale else "most relevant",
        "target": "each example's label" if work.subjects.explain_label else _target_text(work.subjects.target),
        **({"smooth": True} if how.smooth else {}),
        **({"corpus": how.corpus.digest} if how.corpus else {}),
    }


def _target_text(target: Wanted) -> str:
    if target is None:
        return "predicted"
    if callable(target) and not isinstance(target, Target):
        return f"function {getattr(target, '__qualname__', repr(target))}"
    return json.dumps(asdict(as_target(target)))


def attributes_of(work: Work, scored: Scored, settings: Mapping[str, Any], examples: Any) -> dict[str, Any]:
    """What a result says of model, data, methods and metrics."""
    model = work.model
    return {
        "lignite_version": VERSION,
        "kind": "evaluate",
        "model": model.name,
        "revision": model.revision or "",
        "model_sha256": settings["model"],
        "data": str(examples) if isinstance(examples, str | PathLike) else type(examples).__name__,
        "n_examples": len(scored.examples),
        "accuracy": scored.accuracy,
        "methods": {row.name: json.loads(row.options) for row in work.methods},
        "baselines": {row.name: list(row.baselines(model)) for row in work.methods},
        "metrics": {metric.name: metric.as_dict() for metric in work.metrics},
        **{name: settings[name] for name in ("fills", "steps", "seed", "target")},
        "neutral": list(work.how.averaged),
        "draws": work.how.corpus.draws if work.how.corpus else 0,
        "versions": versions("numpy"),
        "command": "",
    }
