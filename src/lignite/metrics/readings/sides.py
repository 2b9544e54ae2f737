"""What the sides of a comparison are called: by what differs between their settings."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from lignite.metrics.readings.comparison import target_of
from lignite.wording import one_line, shorten

NAMED_BY_VALUE = ("model", "method", "target")
"""Settings that name a side by their value alone; the others stand before it."""

UNSAID = ("text", "lignite")
"""Differences that name no side: texts are named by the words that differ, versions are told below."""

LONGEST = 40


def settings_of(dataset: xr.Dataset) -> dict[str, str]:
    """What a result was made with, in words, the most important first."""
    attrs = dataset.attrs
    told = {
        "model": " @ ".join(filter(None, (str(attrs.get("model", "")), str(attrs.get("revision", ""))))),
        "weights": str(attrs.get("model_sha256", ""))[:12],
        "method": str(attrs.get("method", "")),
        "target": target_of(dataset) if "target" in attrs else "",
    }
    try:
        request = json.loads(str(attrs.get("request") or "{}"))
    except json.JSONDecodeError:
        request = {}
    options = {
        str(name): _written(value)
        for name, value in (request if isinstance(request, dict) else {}).items()
        if name not in told
    }
    return {**told, **options, "text": str(attrs.get("text", "")), "lignite": str(attrs.get("lignite_version", ""))}


def _written(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(_written, value)) or "none"
    words = {True: "yes", False: "no", None: "none"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def differing(examples: Sequence[Sequence[xr.Dataset]]) -> dict[str, list[str]]:
    """Settings that differ between sides in any example: of each side its value, or that it depends on the text.

    Of methods that differ, the options that only one of them has are no difference of their own.
    """
    each = [[settings_of(side) for side in sides] for sides in examples]
    names = list(dict.fromkeys(name for sides in each for side in sides for name in side))
    found = {}
    for name in names:
        if all(len({side.get(name, "") for side in sides}) == 1 for sides in each):
            continue
        if not all(name in side for sides in each for side in sides):
            continue
        values = [list(dict.fromkeys(sides[at][name] for sides in each)) for at in range(len(each[0]))]
        found[name] = [some[0] if len(some) == 1 else "depends on the text" for some in values]
    return {name: _last_parts(values) if name == "model" else values for name, values in found.items()}


def _last_parts(names: Sequence[str]) -> list[str]:
    """Folders of models by the last parts of their names, as many as tell them apart."""
    for count in range(1, 8):
        cut = ["/".join(name.split("/")[-count:]) if name.startswith("/") else name for name in names]
        if len(set(cut)) == len(set(names)):
            return cut
    return list(names)


def shared(examples: Sequence[Sequence[xr.Dataset]]) -> dict[str, str]:
    """Settings that are the same on every side and in every example."""
    each = [settings_of(side) for sides in examples for side in sides]
    return {
        name: _last_parts([value])[0] if name == "model" else value
        for name, value in each[0].items()
        if value and all(side.get(name) == value for side in each) and name != "text"
    }


def name_sides(different: Mapping[str, Sequence[str]], spare: Sequence[Sequence[str]]) -> list[str]:
    """Names that tell the sides apart, by as few settings as can be; `spare` are others to fall back on, in turn."""
    count = len(spare[0])
    labels = [""] * count
    for name, values in different.items():
        if name in UNSAID:
            continue
        if _distinct(labels):
            break
        if len(set(zip(labels, values, strict=True))) == len(set(labels)):
            continue  # tells nobody apart that was not
        labels = _joined(labels, [_said(name, value) for value in values])
    labels = [shorten(one_line(label), LONGEST) for label in labels]
    for others in spare:
        if _distinct(labels):
            return labels
        labels = [shorten(one_line(label), LONGEST) for label in _joined(labels, others)]
    return labels if _distinct(labels) else [f"{label} ({at})".strip() for at, label in enumerate(labels, start=1)]


def _joined(labels: Sequence[str], others: Sequence[str]) -> list[str]:
    return [", ".join(filter(None, pair)) for pair in zip(labels, others, strict=True)]


def _distinct(labels: Sequence[str]) -> bool:
    return len(set(labels)) == len(labels) and all(labels)


def _said(name: str, value: str) -> str:
    return value if name in NAMED_BY_VALUE else f"{name.replace('_', ' ')} {value}"
