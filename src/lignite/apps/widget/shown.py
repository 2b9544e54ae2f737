"""An explanation in a notebook that can be asked anew: another class, method, baseline; words taken away; its flow."""

from collections.abc import Iterable
from importlib.resources import files
from typing import Any

import anywidget
import traitlets
import xarray as xr

from lignite.api.explain import explain
from lignite.api.flow import flow
from lignite.api.flow_options import FlowOptions
from lignite.apps.dashboard.effects import Word, asked_row, fills_of, movable, take_away, words_of
from lignite.errors import LigniteError
from lignite.inputs.fills import IMAGE_FILLS
from lignite.inputs.roles import TOKEN_BASELINES
from lignite.methods import METHODS
from lignite.methods.options import choose
from lignite.models.facts import reads_images
from lignite.models.load import as_model
from lignite.options import options_of
from lignite.targets.rows import Row
from lignite.views.labels import format_score, format_share, visible_token, with_minus
from lignite.views.notebook import card_of
from lignite.views.patches.facts import is_image

PATCHES = 16
"""So many patches can be taken away: a button for each of hundreds is no choice."""

START: dict[str, Any] = {
    "show": "explanation",
    "baseline": None,
    "layer": None,
    "map": "whole",
    "path": "target_token",
    "without": [],
}
"""What is asked first, beside the class and the method."""


class ExplanationWidget(anywidget.AnyWidget):  # type: ignore[misc] # untyped where it is skipped
    """An explanation with its choices; `result` is what is shown, a Dataset."""

    _esm = files("lignite.apps.widget").joinpath("widget.js").read_text("utf-8")
    card = traitlets.Unicode().tag(sync=True)
    choices = traitlets.List().tag(sync=True)
    words = traitlets.List().tag(sync=True)
    asked = traitlets.Dict().tag(sync=True)
    said = traitlets.Unicode().tag(sync=True)
    failed = traitlets.Unicode().tag(sync=True)
    busy = traitlets.Bool(False).tag(sync=True)

    def __init__(self, model: Any, inputs: Any, *, method: str = "relevance-flow", target: int | None = None) -> None:
        super().__init__()
        self.model, self.inputs = as_model(model), inputs
        self.layers: list[int] = []
        self.asked = {**START, "target": target, "method": method}
        self._compute(self.asked)
        self._show()
        self.observe(self._answer, names="asked")

    def _answer(self, change: Any) -> None:
        """What the reader chose is asked; what goes wrong is one line, and the last answer stays."""
        self.busy, self.failed = True, ""
        new, old = ({**each, "without": None} for each in (change["new"], change["old"]))
        try:
            if new != old:
                self._compute(change["new"])
            self._show()
        except LigniteError as error:
            self.failed = str(error)
        finally:
            self.busy = False

    def _compute(self, asked: dict[str, Any]) -> None:
        if asked["show"] == "flow":
            layers = None if asked["layer"] is None else (asked["layer"],)
            self.result: xr.Dataset = flow(
                self.model, self.inputs, layers=layers, maps=asked["map"], baseline=asked["path"]
            )
            self.layers = self.layers or self.result.layer.values.tolist()
            self.listed: list[Word] = []
            return
        method = choose(asked["method"], {})
        if asked["baseline"] is not None and "baseline" in options_of(type(method)):
            method = choose(method, {"baseline": (asked["baseline"],)})
        self.row: Row = asked_row(self.model, self.inputs, asked["target"])
        self.result = explain(self.model, self.inputs, target=asked["target"], method=method)
        self.listed = self._offered()

    def _show(self) -> None:
        self.card = card_of(self.result)
        self.choices = self._choices()
        self.words = [with_minus(f"{word.text} {format_score(word.score)}") for word in self.listed]
        self.said = self._effect(self.asked["without"])

    def _choices(self) -> list[dict[str, Any]]:
        """What can be chosen of what is shown: its name in `asked`, its label, its values, each with a text."""
        known = {"show": ("Show", _alike(("explanation", "flow")))}
        if self.asked["show"] == "flow":
            start, maps = (options_of(FlowOptions)[name].choices for name in ("baseline", "maps"))
            numbered = [(number, str(number)) for number in self.layers]
            known |= {
                "layer": ("Layer", [(None, "all"), *numbered]),
                "map": ("Map", _alike(maps)),
                "path": ("Baseline", _alike(start)),
            }
        else:
            listed = self._classes()
            method = type(choose(self.asked["method"], {}))
            known |= {"target": ("Class", listed)} if listed else {}
            known |= {"method": ("Method", _alike(dict.fromkeys([*METHODS, self.asked["method"]])))}
            if "baseline" in options_of(method):
                known["baseline"] = ("Baseline", [(None, "as usual"), *_alike(self._baselines(method))])
        return [
            {"name": name, "label": label, "options": listed, "chosen": self.asked[name]}
            for name, (label, listed) in known.items()
        ]

    def _classes(self) -> list[tuple[int | None, str]]:
        """Classes by falling probability; the first, which the model says, is explained unless one is chosen."""
        listed = self.row.choices
        pairs = [] if listed is None else list(zip(listed.numbers, listed.names, listed.probability, strict=True))
        found: list[tuple[int | None, str]] = [
            (number, f"{visible_token(name)} {format_share(share)}" if share == share else visible_token(name))
            for number, name, share in sorted(pairs, key=lambda each: -each[2])
        ]
        return found if self.asked["target"] is not None else [(None, text) for _, text in found[:1]] + found[1:]

    def _baselines(self, method: type) -> list[str]:
        """Those that the input can have: pixels know no padding, and words no blur."""
        foreign = {*TOKEN_BASELINES} - {"mask"} if reads_images(self.model.network) else {*IMAGE_FILLS} - {"mean"}
        return [name for name in options_of(method)["baseline"].choices if name not in foreign | {"auto"}]

    def _offered(self) -> list[Word]:
        """What can be taken away: every word; of an image the patches that say most."""
        words = movable(self.row, words_of(self.result))
        return sorted(words, key=lambda each: -abs(each.score))[:PATCHES] if is_image(self.result) else words

    def _effect(self, without: list[int]) -> str:
        """The effect of words taken away, as their scores predict it and as the model says."""
        group = [self.listed[at] for at in without if 0 <= at < len(self.listed)]
        fills = fills_of(self.model, self.row) if group else ()
        if not group or not fills:
            return ""
        (effect,) = take_away(self.model, self.row, [group], fills[0])
        return with_minus(
            f"Without {', '.join(effect.words)} ({fills[0]}): predicted {format_score(-effect.predicted)}, "
            f"actual {format_score(-effect.actual)}; probability {format_share(effect.probability)} → "
            f"{format_share(effect.probability_without)}."
        )

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """With the card for whoever shows no widgets: exported notebooks, GitHub."""
        bundle, metadata = super()._repr_mimebundle_(**options) or ({}, {})
        return {**bundle, "text/html": self.card}, metadata


def _alike(names: Iterable[str]) -> list[tuple[Any, str]]:
    """Values that are called what they are."""
    return [(name, name) for name in names]
