"""Explained images for print: colours over the picture, what each layer says in small, explanations side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from lignite.results.accessor import STILL
from lignite.results.certificate import largest_gap
from lignite.views.drawing import STYLE, draw_colour_bar, fonts_for
from lignite.views.explanation.facts import (
    Ranked,
    Sign,
    layer_map,
    likeliest,
    method_words,
    question,
    relative_layer_gaps,
    share_text,
    strongest,
)
from lignite.views.explanation.heading import write_heading
from lignite.views.labels import format_score, format_share, model_title, visible_token
from lignite.views.palette import COLD, WARM
from lignite.views.patches.facts import (
    PATCH_NAMES,
    Patches,
    Placeless,
    enlarged,
    ground,
    laid_over,
    limit_on,
    painted,
    patches,
    picture,
    placeless,
)
from lignite.views.sheet import MARGIN, Sheet, evenly
from lignite.wording import one_line, shorten

WIDTH = 8.4  # inches
SIDE = 2.5  # of a picture, at most
ALONE = 3.4  # of an overlay without the picture beside it
THUMB = 1.45  # width of a layer's picture, at most
THUMB_LEAST = 0.86
BESIDE = 1.75  # room for numbers
BAR = 0.75  # room for a colour bar and its numbers
GAP = 0.16
POINTS = 7.5
SMALL = 6.5
LINE = 0.135  # inches from one line of numbers to the next
THICK = 0.025  # of a bar under a line of numbers
PRINT_DPI = 300  # pixels per inch at which a picture's own pixels and patches stay squares
LISTED = 4
SIGNS: tuple[Sign, ...] = ("for", "against")
LISTED_PLACELESS = 8
BAR_GREY = 0.7  # the colour bar's ground, a grey between those of a picture


def draw_images(datasets: Sequence[xr.Dataset], *, smooth: bool, scale: str | None, keep_characters: bool) -> Figure:
    """One explanation with its layers, or several side by side; see `draw_explanation`."""
    words = [
        text
        for dataset in datasets
        for text in (
            question(dataset).name,
            question(dataset).prediction,
            str(dataset.attrs.get("text", "")),
            *(name for name, _ in likeliest(dataset, 4)),
            *(visible_token(str(token)) for token in dataset.token.values[dataset.row.values < 0]),
        )
    ]
    families, undrawable = fonts_for("".join(words))
    with matplotlib.rc_context(STYLE | {"font.family": families}):
        sheet = _ImageSheet(WIDTH, families=families, undrawable=undrawable, keep_characters=keep_characters)
        if len(datasets) == 1:
            write_heading(sheet, datasets[0])
            sheet.overlay(datasets[0], smooth=smooth)
            sheet.layers(datasets[0], smooth=smooth, scale=scale or "shared")
        else:
            sheet.compared(datasets, smooth=smooth, scale=scale or "own")
        return sheet.finish()


def draw_reading(
    dataset: xr.Dataset,
    scores: xr.DataArray,
    *,
    target: int,
    said: str,
    note: str,
    keep_characters: bool,
) -> Figure:
    """What one target of a flow reads: its row of every layer over the picture.

    `scores` are layer, target, source; `target` is a position. Colours end at the largest patch but the target's own,
    which would drown the others; it has a frame.
    """
    place = int(np.flatnonzero(dataset.target.values == target)[0])
    own = int(np.flatnonzero(dataset.source.values == target)[0])
    token = f"{visible_token(str(dataset.target_token.values[place]))} {target}"
    seen = _Seen.of(dataset, "source")
    rows = scores.transpose("layer", "target", "source").values[:, place].astype(np.float64)
    others = rows.copy()
    others[:, own] = 0
    families, undrawable = fonts_for(token + str(dataset.attrs.get("text", "")))
    with matplotlib.rc_context(STYLE | {"font.family": families}):
        sheet = _ImageSheet(WIDTH, families=families, undrawable=undrawable, keep_characters=keep_characters)
        model = model_title(str(dataset.attrs.get("model", "")))
        sheet.line(said, 11.0, weight="bold")
        sheet.line(f"what {token} reads, layer by layer: orange moves it on, blue holds it back", 8.5, color="#333")
        sheet.line("; ".join(filter(None, [model, _file(dataset), note, PATCH_NAMES])), 7.5, color="#666")
        outside = _placeless_names(seen)
        under = f"; under it what it reads from patches, for and against{f', and from {outside}' if outside else ''}"
        sheet.line(f"{_manner(False)}, {_scales('shared')}, which ends at the largest patch but its own{under}", SMALL,
                   color="#666")  # fmt: skip
        sheet.boxes_explained()
        sheet.top += 0.2
        sheet.film(seen, rows, others, _layer_lines(seen, rows), smooth=False, scale="shared", chosen=own)
        return sheet.finish()


@dataclass(frozen=True)
class _Seen:
    """One explanation on its pixels."""

    dataset: xr.Dataset
    axis: str
    where: Patches
    under: Float[np.ndarray, "y x 3"]

    @classmethod
    def of(cls, dataset: xr.Dataset, axis: str = "token") -> "_Seen":
        where = patches(dataset, axis)
        return cls(dataset, axis, where, ground(dataset, where))

    def outside(self, scores: Float[np.ndarray, " token"]) -> list[Placeless]:
        return placeless(self.dataset, scores, self.axis)

    def overlay(self, scores: Float[np.ndarray, " token"], limit: float, *, smooth: bool) -> UInt8[np.ndarray, "y x 3"]:
        return laid_over(self.under, painted(self.where, scores[self.where.index] / limit, smooth=smooth))

    def size(self, width: float, height: float) -> tuple[float, float]:
        """Inches of the picture inside a box."""
        scale = min(width / self.where.width, height / self.where.height)
        return self.where.width * scale, self.where.height * scale


class _ImageSheet(Sheet):
    """Pictures and the numbers beside them."""

    def overlay(self, dataset: xr.Dataset, *, smooth: bool) -> None:
        """The picture as the model saw it, the same under its scores, and the numbers that colours cannot tell."""
        seen, values = _Seen.of(dataset), _relevance(dataset)
        limit = limit_on(seen.where, values)
        known = "image" in dataset
        width, height = seen.size(*(SIDE, SIDE) if known else (ALONE, ALONE))
        left, start = MARGIN, self.top
        if known:
            self._picture(left, width, height, picture(dataset))
            self._caption(left, start + height, width, _file(dataset) or "the picture as the model saw it")
            left += width + GAP
        axes = self._picture(left, width, height, seen.overlay(values, limit, smooth=smooth))
        listed = {sign: _strongest_patches(dataset, sign) for sign in SIGNS}
        self._number(axes, seen, [entry for some in listed.values() for entry in some], height)
        name = "" if known or not _file(dataset) else f"{_file(dataset)}: "
        below = self._caption(
            left, start + height, width, f"{name}relevance, {_manner(smooth)}; numbers as listed; {PATCH_NAMES}"
        )
        left += width + 0.1
        self._colour_bar(left, min(height, 2.2), limit)
        left += BAR
        self.top = start
        self._numbers(dataset, values, listed, left)
        self.top = max(self.top, below) + 0.1

    def _picture(self, left: float, width: float, height: float, pixels: UInt8[np.ndarray, "y x 3"]) -> Axes:
        axes = self.add_axes(left, self.top, width, height)
        axes.imshow(enlarged(pixels, round(width * PRINT_DPI)), interpolation="antialiased", aspect="auto")
        axes.set_axis_off()
        return axes

    def _caption(self, left: float, top: float, width: float, text: str) -> float:
        """Small words under a picture; where they end."""
        start, self.top = self.top, top + 0.13
        self.write_paragraph(left, text, SMALL, width, step=0.11, color="#666")
        below, self.top = self.top, start
        return below

    def _colour_bar(self, left: float, height: float, limit: float, *, named: bool = True) -> None:
        axes = self.add_axes(left, self.top, 0.1, height)
        ticks = [-limit, -limit / 2, 0.0, limit / 2, limit] if named and height > 1 else [-limit, 0.0, limit]
        labels = [format_score(tick) for tick in ticks] if named else ["− limit", "0", "+ limit"]
        draw_colour_bar(axes, _on_grey, ticks, labels, size=SMALL)

    def _number(self, axes: Axes, seen: _Seen, listed: Sequence[Ranked], height: float) -> None:
        """Positions of the listed patches, written on them: black in white, seen on every colour."""
        times = _times(axes, seen)
        for entry in listed:
            top, left, bottom, right = (seen.where.boxes[seen.where.index == entry.index][0] * times - 0.5).tolist()
            room = (bottom - top) / (seen.where.height * times) * height * 72  # points
            axes.text(
                (left + right) / 2, (top + bottom) / 2, str(entry.position), ha="center", va="center_baseline",
                fontsize=min(POINTS, max(4.0, 0.5 * room)), color="black", gid=f"patch {entry.position}",
                path_effects=[withStroke(linewidth=1.4, foreground="white")], parse_math=False,
            )  # fmt: skip

    def _numbers(
        self,
        dataset: xr.Dataset,
        values: Float[np.ndarray, " token"],
        listed: Mapping[Sign, Sequence[Ranked]],
        left: float,
    ) -> None:
        """What patches say for and against, and what tokens without a place say, as bars on one scale."""
        self.top += 0.09
        room = min(BESIDE, self.width - MARGIN - left)
        shown = dataset.row.values >= 0
        outside = placeless(dataset, values)
        sides: dict[Sign, Float[np.ndarray, " patch"]] = {
            "for": values[shown & (values > 0)],
            "against": values[shown & (values < 0)],
        }
        largest = max(abs(size) for size in (*map(np.sum, sides.values()), *(entry.score for entry in outside)))
        for sign, some in sides.items():
            self._bar(
                left, room, f"{sign} {shorten(question(dataset).name, 16)}", float(some.sum()), largest, weight="bold"
            )
            self._entry(left, room, f"{len(some)} of {int(shown.sum())} patches", "", color="#666")
            for entry in listed[sign]:
                self._entry(left, room, f"  {entry.position} {entry.token}", format_score(entry.score))
            self.top += 0.06
        self._placeless(outside, left, room, largest)
        if dataset.attrs.get("dropped_special"):
            how = "shared among the patches" if dataset.attrs.get("redistributed_special") else "hidden"
            self._entry(left, room, f"special tokens are {how}", "")

    def _placeless(self, found: list[Placeless], left: float, room: float, largest: float) -> None:
        """What class and register tokens hold; an overlay cannot show it."""
        if not found:
            return
        self._entry(left, room, "outside the picture", "", color="#666")
        for entry in found[:LISTED_PLACELESS]:
            self._bar(left, room, entry.token, entry.score, largest, weight="bold")
        if rest := found[LISTED_PLACELESS:]:
            self._entry(left, room, f"  {len(rest)} more, together", format_score(sum(entry.score for entry in rest)))

    def _bar(self, left: float, room: float, name: str, score: float, largest: float, **how: Any) -> None:
        """An entry over a bar as long as its score: behind the words it would cover half of them."""
        share = abs(score) / largest if largest else 0.0
        self._entry(left, room, name, format_score(score), **how)
        self.top -= LINE + 0.01
        self.box(left, room * share, THICK, (WARM if score > 0 else COLD)[2])
        self.top += LINE + 0.01 + THICK

    def _entry(self, left: float, room: float, name: str, number: str, **how: Any) -> None:
        weight = how.get("weight", "normal")
        lines = self.wrapped(name.strip(), POINTS, room - (0.6 if number else 0.0), weight=weight)
        indent = 0.1 if name.startswith(" ") else 0.0
        for place, line in enumerate(lines):
            self.write(left + indent, line, POINTS, **how)
            if number and place == 0:
                self.write(left + room, number, POINTS, ha="right", **how)
            self.top += LINE

    # Layers

    def layers(self, dataset: xr.Dataset, *, smooth: bool, scale: str) -> None:
        """A small picture of every layer, the embeddings first."""
        name = layer_map(dataset)
        if name is None:
            return
        seen = _Seen.of(dataset)
        scores = dataset[name].transpose("layer", "token").values.astype(np.float64)
        gaps = relative_layer_gaps(dataset)
        outside = _placeless_names(seen)
        self.top += 0.12
        self.line("by layer" + ("" if name == "layer_relevance" else ", not yet fused"), 9.0, weight="bold")
        notes = ["a layer: the states that enter it, 0 the embeddings", _scales(scale)]
        under = [
            "the patches for and against",
            *([outside] if outside else []),
            *(["the gap"] if gaps is not None else []),
        ]
        self.line("; ".join([*notes, f"under it {', '.join(under)}"]), SMALL, color="#666")
        self.top += 0.12
        lines = _layer_lines(seen, scores)
        if gaps is not None:
            lines = [[*some, f"gap {share_text(float(gap))}"] for some, gap in zip(lines, gaps, strict=True)]
        self.film(seen, scores, scores, lines, smooth=smooth, scale=scale)

    def film(
        self,
        seen: _Seen,
        scores: Float[np.ndarray, "layer token"],
        compared: Float[np.ndarray, "layer token"],
        lines: Sequence[Sequence[str]],
        *,
        smooth: bool,
        scale: str,
        chosen: int = -1,
    ) -> None:
        """Small pictures in rows, a colour bar behind the first; `lines` stand under each, `chosen` is framed.

        Colours end at the largest patch of `compared`, of all layers or of each.
        """
        common = limit_on(seen.where, compared)
        limits = [limit_on(seen.where, some) if scale == "own" else common for some in compared]
        room = self.width - 2 * MARGIN - BAR
        across = evenly(len(scores), min(len(scores), int((room + 0.1) // (THUMB_LEAST + 0.1))))
        cell = min(THUMB, (room + 0.1) / across - 0.1)
        width, height = seen.size(cell, 1.4 * cell)
        start = self.top

        def draw(at: int, left: float) -> None:
            title = f"layer {seen.dataset.layer.values[at]}" + (f"  ±{limits[at]:.3g}" if scale == "own" else "")
            self.write(left, title, SMALL, weight="bold")
            self.top += 0.05
            axes = self._picture(left, width, height, seen.overlay(scores[at], limits[at], smooth=smooth))
            self._frame(axes, seen, chosen)
            self.top += height + 0.12
            for text in lines[at]:
                self.write_paragraph(left, text, SMALL - 0.5, cell, step=0.105, color="#333")

        self.draw_rows(len(scores), across, cell + 0.1, draw, below=0.12)
        self.top, end, shared = start + 0.05, self.top, scale == "shared"
        left = MARGIN + across * (cell + 0.1) + 0.02
        self._colour_bar(left, min(height, 2.2), common if shared else 1.0, named=shared)
        self.top = end

    def _frame(self, axes: Axes, seen: _Seen, chosen: int) -> None:
        """A frame around a patch, seen on every ground; none around a token without a place."""
        times = _times(axes, seen)
        for place in np.flatnonzero(seen.where.index == chosen):
            top, left, bottom, right = (seen.where.boxes[place] * times - 0.5).tolist()
            for colour, thick in (("#000000", 1.8), ("#ffffff", 0.7)):
                frame = Rectangle(
                    (left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=thick
                )
                axes.add_patch(frame)

    # Side by side

    def compared(self, datasets: Sequence[xr.Dataset], *, smooth: bool, scale: str) -> None:
        """Every explanation over its picture, in rows; the picture itself comes first where it is the same for all."""
        seen = [_Seen.of(dataset) for dataset in datasets]
        own = [limit_on(one.where, _relevance(one.dataset)) for one in seen]
        sizes = [np.nanmax(np.abs(_relevance(one.dataset)[one.where.index]), initial=0.0) for one in seen]
        limits = own if scale == "own" else [float(max(sizes)) or 1.0] * len(own)
        models = list(dict.fromkeys(model_title(str(dataset.attrs.get("model", ""))) for dataset in datasets))
        files = list(dict.fromkeys(filter(None, map(_file, datasets))))
        self.line(" · ".join([", ".join(models), *([", ".join(files)] if files else [])]), 11.0, weight="bold")
        colours = _scales(scale)
        self.line(f"relevance, {_manner(smooth)}; {colours}, which ends at the largest patch", SMALL, color="#666")
        self.boxes_explained()
        self.top += 0.18
        cells: list[tuple[_Seen, float]] = list(zip(seen, limits, strict=True))
        if _same_picture(datasets):
            cells.insert(0, (seen[0], np.nan))
        across = evenly(len(cells), 4)
        width = min(SIDE, (self.width - 2 * MARGIN + GAP) / across - GAP)
        titles = [
            self._title(one.dataset, width, named=len(models) > 1, filed=len(files) > 1)
            if np.isfinite(limit)
            else [("the picture as the model saw it", {"color": "#333"})]
            for one, limit in cells
        ]

        def draw(at: int, left: float) -> None:
            start, first = self.top, at - at % across
            for number, (line, how) in enumerate(titles[at]):
                self.top = start + LINE * number
                self.write(left, line, POINTS, **how)
            self.top = start + LINE * max(map(len, titles[first : first + across])) - 0.06
            self._compared_one(*cells[at], left, width, smooth=smooth)

        self.draw_rows(len(cells), across, width + GAP, draw, below=0.2)

    def _compared_one(self, seen: _Seen, limit: float, left: float, cell: float, *, smooth: bool) -> None:
        """The overlay of one of them with its scale and its sums; the picture alone where there is no limit."""
        width, height = seen.size(cell, 1.4 * cell)
        if not np.isfinite(limit):
            self._picture(left, width, height, picture(seen.dataset))
            self.top += height
            return
        values = _relevance(seen.dataset)
        self._picture(left, width, height, seen.overlay(values, limit, smooth=smooth))
        self.top += height + 0.06
        ticks = (-limit, 0.0, limit)
        bar = self.add_axes(left, self.top, width, 0.08)
        draw_colour_bar(bar, _on_grey, ticks, [format_score(tick) for tick in ticks], size=SMALL, lying=True)
        self.top += 0.34
        self._summary(seen, values, left, cell)

    def _title(self, dataset: xr.Dataset, room: float, *, named: bool, filed: bool) -> list[tuple[str, dict[str, Any]]]:
        asked = question(dataset)
        share = f" {format_share(asked.target_probability)}" if np.isfinite(asked.target_probability) else ""
        lines = [
            (line, {"weight": "bold"}) for line in self.wrapped(f"{asked.name}{share}", POINTS, room, weight="bold")
        ]
        more = [", ".join(method_words(dataset))]
        more += [model_title(str(dataset.attrs.get("model", "")))] if named else []
        more += [_file(dataset)] if filed and _file(dataset) else []
        return lines + [(line, {"color": "#333"}) for text in more for line in self.wrapped(text, POINTS, room)]

    def _summary(self, seen: _Seen, values: Float[np.ndarray, " token"], left: float, room: float) -> None:
        shown = values[seen.where.index]
        plus, minus = float(shown[shown > 0].sum()), float(shown[shown < 0].sum())
        lines = [f"for {format_score(plus)}, against {format_score(minus)}"]
        lines += [f"{entry.token} {format_score(entry.score)}" for entry in seen.outside(values)]
        gap = largest_gap(seen.dataset)
        lines.append("no certificate" if np.isnan(gap) else f"gap {share_text(gap)}")
        for text in lines:
            self.write_paragraph(left, text, SMALL, room, step=0.11, color="#333")


def _times(axes: Axes, seen: _Seen) -> float:
    """How many drawn pixels a pixel of the picture is high."""
    pixels = axes.images[0].get_array()
    return float(pixels.shape[0] / seen.where.height)  # type: ignore[union-attr]


def _strongest_patches(dataset: xr.Dataset, sign: Sign) -> list[Ranked]:
    """The patches that are listed beside an overlay."""
    others = xr.where(dataset.row >= 0, dataset.relevance, 0.0)
    return strongest(dataset, LISTED, sign=sign, scores=others)


def _on_grey(shares: Float[np.ndarray, " share"]) -> UInt8[np.ndarray, "share 3"]:
    """Colours of shares over a grey between those of a picture."""
    return laid_over(np.full((len(shares), 1, 3), BAR_GREY), shares[:, None])[:, 0]


def _relevance(dataset: xr.Dataset) -> Float[np.ndarray, " token"]:
    return dataset.relevance.values.astype(np.float64)


def _same_picture(datasets: Sequence[xr.Dataset]) -> bool:
    if not all("image" in dataset for dataset in datasets):
        return False
    first, *others = map(picture, datasets)
    return all(np.array_equal(first, other) for other in others)


def _file(dataset: xr.Dataset) -> str:
    return one_line(str(dataset.attrs.get("text", "")))


def _manner(smooth: bool) -> str:
    return "bilinear between the centres of patches" if smooth else "every patch in one colour"


def _scales(scale: str) -> str:
    return "each on a scale of its own" if scale == "own" else "all on one scale"


def _placeless_names(seen: _Seen) -> str:
    names = [entry.token for entry in seen.outside(np.zeros(seen.dataset.sizes[seen.axis]))]
    return names[0] if len(names) == 1 else f"{', '.join(names)} together" if names else ""


def _layer_lines(seen: _Seen, scores: Float[np.ndarray, "layer token"]) -> list[list[str]]:
    """What the patches of a layer say for and against, and what tokens without a place hold."""
    found = []
    for some in scores:
        shown = some[seen.where.index]
        lines = [f"{format_score(float(shown[shown > 0].sum()))}  {format_score(float(shown[shown < 0].sum()))}"]
        if outside := seen.outside(some):
            name = outside[0].token if len(outside) == 1 else f"{len(outside)} special"
            held = sum(entry.score for entry in outside)
            lines.append(f"{name} {format_score(held if abs(held) > STILL * np.abs(some).max() else 0.0)}")
        found.append(lines)
    return found
