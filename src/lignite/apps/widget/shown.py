"""An explanation in a notebook that can be asked anew: another class, another method, words taken away."""

from importlib.resources import files
from typing import Any

import anywidget
import traitlets
import xarray as xr

from lignite.api.explain import explain
from lignite.apps.dashboard.effects import Word, asked_row, fills_of, movable, take_away, words_of
from lignite.errors import LigniteError
from lignite.methods import METHODS
from lignite.models.load import as_model
from lignite.targets.rows import Row
from lignite.views.labels import format_score, format_share, visible_token
from lignite.views.notebook import card_of


class ExplanationWidget(anywidget.AnyWidget):  # type: ignore[misc] # untyped where it is skipped
    """An explanation with its choices; `result` is what is shown, a Dataset."""

    _esm = files("lignite.apps.widget").joinpath("widget.js").read_text("utf-8")
    card = traitlets.Unicode().tag(sync=True)
    choices = traitlets.Dict().tag(sync=True)
    asked = traitlets.Dict().tag(sync=True)
    said = traitlets.Unicode().tag(sync=True)
    failed = traitlets.Unicode().tag(sync=True)
    busy = traitlets.Bool(False).tag(sync=True)

    def __init__(self, model: Any, inputs: Any, *, method: str = "relevance-flow", target: int | None = None) -> None:
        super().__init__()
        self.model, self.inputs = as_model(model), inputs
        self.row: Row = asked_row(self.model, inputs, target)
        self.result: xr.Dataset = explain(self.model, inputs, target=target, method=method)
        self.words: list[Word] = movable(self.row, words_of(self.result))
        self.asked = {"target": target, "method": method, "without": []}
        self._show()
        self.observe(self._answer, names="asked")

    def _answer(self, change: Any) -> None:
        """What the reader chose is asked; what goes wrong is one line, and the last answer stays."""
        self.busy, self.failed = True, ""
        new, old = change["new"], change["old"]
        try:
            if (new["target"], new["method"]) != (old["target"], old["method"]):
                self.row = asked_row(self.model, self.inputs, new["target"])
                self.result = explain(self.model, self.inputs, target=new["target"], method=new["method"])
                self.words = movable(self.row, words_of(self.result))
            self._show()
        except LigniteError as error:
            self.failed = str(error)
        finally:
            self.busy = False

    def _show(self) -> None:
        self.card = card_of(self.result)
        listed = self.row.choices
        classes = [] if listed is None else list(zip(listed.numbers, listed.names, listed.probability, strict=True))
        self.choices = {
            "methods": list(METHODS),
            "classes": [
                [number, f"{visible_token(name)} {format_share(share)}" if share == share else visible_token(name)]
                for number, name, share in sorted(classes, key=lambda each: -each[2])
            ],
            "words": [f"{word.text} {format_score(word.score)}" for word in self.words],
        }
        self.said = self._effect(self.asked["without"])

    def _effect(self, without: list[int]) -> str:
        """The effect of words taken away, as their scores predict it and as the model says."""
        group = [self.words[at] for at in without if 0 <= at < len(self.words)]
        fills = fills_of(self.model, self.row) if group else ()
        if not group or not fills:
            return ""
        (effect,) = take_away(self.model, self.row, [group], fills[0])
        return (
            f"Without {', '.join(effect.words)} ({fills[0]}): predicted {format_score(-effect.predicted)}, "
            f"actual {format_score(-effect.actual)}; probability {format_share(effect.probability)} → "
            f"{format_share(effect.probability_without)}."
        )

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """With the card for whoever shows no widgets: exported notebooks, GitHub."""
        bundle, metadata = super()._repr_mimebundle_(**options) or ({}, {})
        return {**bundle, "text/html": self.card}, metadata
