"""An explanation as its page writes it, before any script: coloured text, lists, layers, how it was computed."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from lignite.results.certificate import certificates
from lignite.views.attributes import model_name
from lignite.views.explanation.facts import (
    certificate_text,
    explained_options,
    likeliest,
    method_words,
    pieces,
    plan_lines,
    question,
    relative_layer_gaps,
    seams,
)
from lignite.views.explanation.message import message, unit_of
from lignite.views.explanation.payload import Map, View, maps_of
from lignite.views.labels import clipped_note, format_score, limit_of, named_token
from lignite.views.patches.facts import is_image, overlaid, png
from lignite.views.tones import tone_of
from lignite.wording import one_line, shorten

LISTED = 10
COLUMNS, NUMBERED = 48, 24
"""Words in the table of layers, the strongest of all; as many have their numbers written in its cells."""

LONG = 120
SENTENCE = 120


@dataclass(frozen=True)
class Entry:
    """A token in a list; `bar` is its part of the largest score."""

    index: int
    position: int
    token: str
    score: float
    bar: float
    share: float


@dataclass(frozen=True)
class Look:
    """One view of an explanation, in the scores that it opens with."""

    view: View
    special: str
    scores: Float[np.ndarray, "row token"]

    @property
    def name(self) -> str:
        return self.view.name

    @property
    def unit(self) -> str:
        """What its tokens are to a reader."""
        return unit_of(self.view.dataset)

    @cached_property
    def visible(self) -> np.ndarray:
        """Which tokens are looked at."""
        special = self.view.dataset.special.values
        return (
            ~special
            if self.special in ("hide", "share") and self.view.shared is not None
            else np.full(special.shape, True)
        )

    def limit(self, rows: slice = slice(0, 1)) -> float:
        """Where the colours of these rows end."""
        return limit_of(self.shown(rows))

    def shown(self, rows: slice = slice(0, 1)) -> Float[np.ndarray, "row token"]:
        """The scores that colours show: of a picture those of patches."""
        dataset = self.view.dataset
        return self.scores[rows][:, dataset.row.values >= 0 if is_image(dataset) else self.visible]

    @cached_property
    def messages(self) -> list[tuple[bool, Any]]:
        """What is said first, special tokens unranked and ranked."""
        return [(rank, message(self.view.dataset, special=rank)) for rank in (False, True)]

    @cached_property
    def text(self) -> list[tuple[str, int | None, str, str, bool]]:
        """Every piece of the text: its words, place, tone, score, and whether it is special."""
        if is_image(self.view.dataset):
            return []
        limit, special = self.limit(), self.view.dataset.special.values
        found: list[tuple[str, int | None, str, str, bool]] = []
        for piece in pieces(self.view.dataset):
            if piece.index is None:
                found.append((piece.text, None, "", "", False))
                continue
            score = float(self.scores[0, piece.index])
            tone, odd = tone_of(score / limit), bool(special[piece.index])
            found.append((piece.text, piece.index, tone, format_score(score), odd))
        return found

    @property
    def long(self) -> bool:
        """Whether the text is set smaller."""
        return self.view.dataset.sizes["token"] > LONG

    def side(self, sign: int) -> dict[str, Any]:
        """Who speaks for (1) or against (-1): the strongest, their number and their sum."""
        dataset, row = self.view.dataset, self.scores[0]
        counts = self.visible if self.special == "rank" else self.visible & ~dataset.special.values
        most, total = np.abs(row).max(initial=0) or 1.0, np.abs(row[self.visible]).sum() or 1.0
        order = [int(at) for at in np.argsort(-np.abs(row), kind="stable") if counts[at] and sign * row[at] > 0]
        entries = [
            Entry(at, int(dataset.position.values[at]), named_token(str(dataset.token.values[at])), float(row[at]),
                  float(abs(row[at]) / most), float(abs(row[at]) / total))
            for at in order[:LISTED]
        ]  # fmt: skip
        return {"entries": entries, "sum": float(row[order].sum()), "count": len(order), "of": int(self.visible.sum())}

    @cached_property
    def tables(self) -> list[dict[str, Any]]:
        """A table of every layered map."""
        return [self._table(each) for each in maps_of(self.view.dataset)]

    def _table(self, map: Map) -> dict[str, Any]:
        dataset, rows = self.view.dataset, slice(map.first, map.first + len(map.rows))
        columns = [] if is_image(dataset) else self._columns(rows)
        tokens = [named_token(str(token)) for token in dataset.token.values]
        gaps, limit = relative_layer_gaps(dataset), self.limit(rows)
        listed = [(0, "all", self.limit())] + [(map.first + at, name, limit) for at, name in enumerate(map.rows)]
        return {
            "name": map.name,
            "title": map.title,
            "of": int(self.visible.sum()),
            "columns": [(at, tokens[at], bool(dataset.special.values[at])) for at in columns],
            "tight": len(columns) > NUMBERED,
            "rows": [self._row(row, name, end, columns, gaps, map.first) for row, name, end in listed],
            "gaps": gaps is not None,
        }

    def _columns(self, rows: slice) -> list[int]:
        """Places in the table: every word, or the strongest of many, in the order of the text."""
        places = np.flatnonzero(self.visible)
        if len(places) > COLUMNS:
            sizes = np.abs(np.concatenate([self.scores[:1], self.scores[rows]])).max(0)[places]
            places = np.sort(places[np.argsort(-sizes, kind="stable")[:COLUMNS]])
        return [int(place) for place in places]

    def _row(
        self, row: int, name: str, limit: float, columns: Sequence[int], gaps: np.ndarray | None, first: int
    ) -> dict[str, Any]:
        values, seen = self.scores[row], self.scores[row][self.visible]
        told = gaps is not None and row > 0 and name != "out"
        return {
            "row": row,
            "limit": limit,
            "name": {"all": "all", "out": "above the last"}.get(name, name),
            "cells": [(at, tone_of(float(values[at]) / limit), float(values[at])) for at in columns],
            "for": float(seen[seen > 0].sum()),
            "against": float(seen[seen < 0].sum()),
            "gap": float(gaps[row - first]) if told and gaps is not None else None,
        }


def write_entry(number: int, views: Sequence[View], *, tokens: bool, special: str) -> dict[str, Any]:
    """Everything that the page says of one explanation."""
    dataset = views[-1].dataset
    asked, certified = question(dataset), certificates(dataset)
    looks = [Look(view, special, view.seen(special)) for view in views]
    opened = looks[-1] if tokens else looks[0]
    return {
        "number": number,
        "asked": asked,
        "model": model_name(dataset),
        "method": ", ".join(method_words(dataset)),
        "text": shorten(one_line(str(dataset.attrs.get("text", ""))), SENTENCE),
        "looks": looks,
        "opened": opened,
        "rank": special == "rank",
        "limit": opened.limit(),
        "clipped": clipped_note(opened.shown(), opened.unit),
        "sides": [("for", f"For {asked.name}", opened.side(1)), ("against", f"Against {asked.name}", opened.side(-1))],
        "picture": _drawn(dataset) if is_image(dataset) else "",
        "image": is_image(dataset),
        "flow": "relevance_flow" in dataset,
        "certified": bool(certified),
        "kept": all(item.kept for item in certified),
        "certificate": certificate_text(dataset),
        "classes": likeliest(dataset, 8),
        "request": explained_options(dataset),
        "plans": plan_lines(dataset),
        "windows": seams(dataset),
        "version": str(dataset.attrs.get("lignite_version", "")),
    }  # fmt: skip


def _drawn(dataset: xr.Dataset) -> str:
    """The picture under the colours of its patches, as base64."""
    return base64.b64encode(png(overlaid(dataset))).decode("ascii")
