"""The page: a model, an input, a class; below them one of the views."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from lignite.apps.dashboard.fields import ask_option, ask_options
from lignite.apps.dashboard.inputs import ask_input
from lignite.apps.dashboard.look import is_dark, plain
from lignite.apps.dashboard.panels import compare, explain, flow, history, metrics
from lignite.apps.dashboard.question import Question
from lignite.apps.dashboard.state import failures, load_offered
from lignite.methods import METHODS
from lignite.methods.options import choose
from lignite.models.facts import reads_images
from lignite.models.load import Model
from lignite.options import options_of
from lignite.targets.target import Target
from lignite.zoo import bundled

EXAMPLE = "The plot was thin, but the acting was superb."
VIEWS: dict[str, Callable[[Question], None]] = {
    "Explain": explain.draw,
    "Compare": compare.draw,
    "Flow": flow.draw,
    "Metrics": metrics.draw,
    "History": history.draw,
}
STYLE = """<style>
.stMainBlockContainer { padding: 2.2rem 2rem 4rem; max-width: 1480px; }
[data-testid="stSidebarUserContent"] { padding-bottom: 2rem; }
.lignite-brand { font-size: 1.35rem; font-weight: 700; letter-spacing: .02em; }
.lignite-brand span { color: #c45d16; }
@media (max-width: 640px) { .stMainBlockContainer { padding: 4.4rem .8rem 3rem; } }
</style>"""
DARK_INK = """<style>
[data-testid="stMultiSelectTagsContainer"] span[title], [data-testid="stBaseButton-primary"] { color: #131417 }
</style>"""
"""On the bright colour of the dark theme, where Streamlit writes white."""


@dataclass(frozen=True)
class Offer:
    """Which models a reader may choose: those named, and any other one where the dashboard is not open to all."""

    models: tuple[str, ...]
    any_model: bool

    @classmethod
    def read(cls, arguments: Sequence[str]) -> "Offer":
        """What `lignite dashboard` hands on: ``any`` or ``listed``, then names of models."""
        first, *named = arguments or ("any",)
        return cls(tuple(named), first == "any")

    @property
    def names(self) -> list[str]:
        """The first of them is shown when the page opens."""
        usual = sorted(bundled(), key="tiny-sentiment".__ne__)
        return list(dict.fromkeys([*self.models, *usual]))


def draw(offer: Offer) -> None:
    """The whole page, once."""
    st.set_page_config(page_title="lignite", page_icon="🪵", layout="wide")
    st.html(STYLE + DARK_INK * is_dark())
    with failures():
        with st.sidebar:
            st.html('<div class="lignite-brand">lignite <span>dashboard</span></div>')
            name = _choose_model(offer)
            with st.spinner(f"loading {plain(name)}"):
                model = load_offered(name, offer.names, free=offer.any_model)
            st.caption(plain(describe(model)))
            method = _choose_method("method")
            second, target = _ask_more(model)
        given = ask_input(model, f"given.{model.name}", "Text", _begin(model), second)
        st.session_state["asked"] = model.name
        view = st.segmented_control("View", list(VIEWS), default="Explain", key="view", label_visibility="collapsed")
        VIEWS[view or "Explain"](Question(name, model, given, method, target, tuple(offer.names), offer.any_model))
    st.session_state.pop("cancelling", None)  # nothing was left to be computed


def _choose_model(offer: Offer) -> str:
    name = st.selectbox(
        "Model",
        offer.names,
        key="model",
        accept_new_options=offer.any_model,
        help="Bundled with lignite, or type the name of a folder or a hub id and press Enter."
        if offer.any_model
        else None,
    )
    return str(name)


def _begin(model: Model) -> str:
    """What stands in the field of a model that is chosen: what was typed for the one before, be it while this loads."""
    typed = st.session_state.get(f"given.{st.session_state.get('asked')}")
    if isinstance(typed, str) and typed != EXAMPLE:
        return typed
    return EXAMPLE if model.name == "tiny-sentiment" else ""


def describe(model: Model) -> str:
    """A model in a line, as it is printed, without its name."""
    return repr(model).removeprefix("Model(").removesuffix(")").partition(", ")[2]


def _choose_method(key: str) -> Any:
    name = st.selectbox(
        "Method", list(METHODS), key=key, help="relevance-flow is the default: the most faithful that was measured."
    )
    declared = METHODS[name]
    st.caption(plain((declared.__doc__ or "").partition("(:arxiv")[0].strip().rstrip(".") + "."))
    return choose(name, ask_options(declared, f"{key}.{name}", first=("baseline",)))


def _ask_more(model: Model) -> tuple[str, Target]:
    """What few questions need: a second text, and the place or part of the answer that is explained."""
    second = ""
    with st.expander("What is asked"):
        if not reads_images(model.network):
            second = st.text_area(
                "Second text", key=f"second.{model.name}", height=70, help="For models that read pairs."
            )
        known = {name: each for name, each in options_of(Target).items() if name not in ("label", "against")}
        asked = {name: ask_option(each, f"target.{model.name}") for name, each in known.items()}
    return second or "", Target(**{name: value for name, value in asked.items() if value is not None})
