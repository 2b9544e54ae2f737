"""What a reader asks: a model, an input, a method; and the classes that the model may give the input."""

from dataclasses import dataclass, field, replace
from typing import Any

import streamlit as st
import xarray as xr

from lignite.api.explain import explain
from lignite.apps.dashboard.effects import asked_row
from lignite.apps.dashboard.given import digest
from lignite.apps.dashboard.look import plain
from lignite.apps.dashboard.state import Watch, compute, remember
from lignite.apps.dashboard.turns import MEMORY
from lignite.methods import Method
from lignite.methods.options import record
from lignite.models.load import Model
from lignite.targets.rows import Row
from lignite.targets.target import Target
from lignite.views.labels import format_share, visible_token
from lignite.wording import one_line, shorten

SHOWN_CLASSES = 12


@dataclass(frozen=True)
class Question:
    """A model, an input of it and a method; `target` is what is explained of the answer.

    `offered` are the models that may stand beside it, any other one where the reader is `free` to name it.
    """

    name: str
    model: Model
    given: Any
    method: Method
    target: Target = field(default_factory=Target)
    offered: tuple[str, ...] = ()
    free: bool = False

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells it from all other questions."""
        return (self.name, digest(self.given), self.method, self.target)

    @property
    def label(self) -> str:
        """What tells it apart on a list."""
        text = one_line(" / ".join(self.given) if isinstance(self.given, tuple) else str(self.given))
        said = shorten(text, 60) if isinstance(self.given, str | tuple) else f"picture {self.given.size}"
        return f"{said} · {self.name} · {self.method.name}"

    def ask(self) -> Row | None:
        """What the model says of the input; None where that was cancelled."""
        key = ("ask", self.name, digest(self.given), self.target)
        row: Row | None = compute("asking the model", key, lambda _: asked_row(self.model, self.given, self.target))
        return row

    def explain(self) -> list[xr.Dataset]:
        """The explanations, one unless the target has steps; none where that was cancelled."""

        def make(watch: Watch) -> list[xr.Dataset]:
            wanted = None if self.target == Target() else self.target
            how: dict[str, Any] = {"method": self.method, "memory": MEMORY, "progress": watch.progress}
            found = explain(self.model, self.given, target=wanted, **how)
            return found if isinstance(found, list) else [found]

        found: list[xr.Dataset] = compute("explaining", ("explain", *self.key), make) or []
        for dataset in found:
            remember(dataset, f"{self.label} · {dataset.attrs.get('prediction', '')}")
        return found

    def of_class(self, key: str) -> "Question | None":
        """The same question of the class that the reader chooses; None where asking was cancelled."""
        if self.target.steps is not None:
            return self
        row = self.ask()
        if row is None or row.choices is None or not row.choices.numbers:
            return None if row is None else self
        names = _named(row)
        by_chance = sorted(names, key=lambda number: -names[number][1])[:SHOWN_CLASSES]
        label = st.pills(
            "Answer to explain",
            by_chance,
            format_func=lambda number: plain(_written(*names[number])),
            default=by_chance[0],
            key=f"{key}.class.{hash((self.name, digest(self.given))):x}",  # a new text is asked what the model says
        )
        if label is None or label == by_chance[0]:
            return self
        return replace(self, target=replace(self.target, label=label))


def _named(row: Row) -> dict[int, tuple[str, float]]:
    assert row.choices is not None
    pairs = zip(row.choices.names, row.choices.probability, strict=True)
    return dict(zip(row.choices.numbers, pairs, strict=True))


def _written(name: str, probability: float) -> str:
    share = f" {format_share(probability)}" if probability == probability else ""
    return f"{shorten(visible_token(name), 40)}{share}"


def written_method(method: Method) -> str:
    """A method and those of its options that are not as usual."""
    usual = record(type(method)())
    said = [f"{name} {value}" for name, value in record(method).items() if value != usual[name]]
    return ", ".join([method.name, *said])
