"""What is kept: models for everybody, results and their order for one session."""

import logging
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import streamlit as st
import xarray as xr
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from lignite.apps.dashboard.look import plain
from lignite.apps.dashboard.turns import turn
from lignite.errors import LigniteError, ModelError
from lignite.models.load import Model, load
from lignite.wording import one_line

MOST_MODELS = 3
"""That are kept in memory, for all readers."""
MOST_RESULTS, MOST_BYTES = 30, 2**30
"""That a session keeps: so many, and no more than this of them together."""
QUICK = 0.6
"""Seconds before a bar and a button to cancel appear: most explanations are there by then."""


@st.cache_resource(max_entries=MOST_MODELS, show_spinner=False)  # type: ignore[untyped-decorator]
def load_model(name: str) -> Model:
    """Load a model once for all sessions; code that comes with it is never run."""
    model = load(name, trust_remote_code=False)
    logging.getLogger("transformers").setLevel(logging.ERROR)  # its advice about kernels is not for this reader
    return model


def load_offered(name: str, offered: Collection[str], *, free: bool) -> Model:
    """The model of this name, if a reader may ask it.

    Raises
    ------
    ModelError
        If it is none of those offered, and the dashboard is open to others.
    """
    if not free and name not in offered:
        raise ModelError(f"{name} is not offered here: choose from {', '.join(offered)}.")
    return load_model(name)


@contextmanager
def failures() -> Iterator[None]:
    """Everything that goes wrong is one message, and the page goes on behind it."""
    try:
        yield
    except LigniteError as error:
        st.error(plain(error))
    except MemoryError:
        st.error("There is not enough memory: give a shorter input, or a smaller model.")
    except Exception as error:  # a page that ends in a traceback helps nobody who reads it
        logging.getLogger("lignite").exception("the dashboard failed")
        st.error(
            f"This should not happen: {plain(type(error).__name__)}, {plain(one_line(str(error))[:300])}. Try a "
            "shorter input or another method, and report it; the terminal of the dashboard has the details."
        )


@dataclass
class Watch:
    """Shows how far a computation is, once it takes long, and a button that ends it."""

    what: str
    key: str
    box: Any
    done: int = 0
    total: int = 0
    began: float = field(default_factory=time.monotonic)
    drawn: float = 0.0
    bar: Any = None

    def tick(self, waiting: str = "") -> None:
        """Draw now and then; here Streamlit ends a run whose reader wants something else, or has left."""
        if not _is_read():
            st.stop()
        now = time.monotonic()
        if now - self.began < QUICK or now - self.drawn < 0.2:
            return
        self.drawn = now
        if self.bar is None:
            with self.box.container(horizontal=True, vertical_alignment="center"):
                self.bar = st.empty()
                st.button("Cancel", key=f"cancel.{self.key}", on_click=_cancel)
        said = waiting or (f"{self.what}, {self.done} of {self.total}" if self.total > 1 else self.what)
        self.bar.progress(self.done / self.total if self.total else 0.0, f"{plain(said)} · {now - self.began:.0f} s")

    def progress(self, done: int, total: int) -> None:
        """Say how much is finished."""
        self.done, self.total = done, total
        self.tick()


def _is_read() -> bool:
    """Whether somebody still has the page open: Streamlit keeps a session for minutes in case its reader comes back."""
    context = get_script_run_ctx(suppress_warning=True)
    return context is None or not runtime.exists() or runtime.get_instance().is_active_session(context.session_id)


def _cancel() -> None:
    """What would be computed next shall not be: by now that may be another question than the button's own."""
    st.session_state["cancelling"] = True


def _again() -> None:
    st.session_state.pop("cancelled", None)


def compute(what: str, key: Any, make: Callable[[Watch], Any]) -> Any:
    """The answer to a question, from this session's own if it was asked before; None where it was cancelled."""
    kept: dict[Any, Any] = st.session_state.setdefault("answers", {})
    if key in kept:
        return kept[key]
    name = f"{hash(key):x}"
    if st.session_state.pop("cancelling", False):
        st.session_state["cancelled"] = name
    if st.session_state.get("cancelled") == name:
        st.warning(f"Cancelled: {plain(what)}.")
        st.button("Start again", key=f"again.{name}", on_click=_again)
        return None
    box = st.empty()
    watch = Watch(what, name, box)
    with turn(watch.tick):
        answer = make(watch)
    box.empty()
    kept[key] = answer
    sizes = [_size(each) for each in kept.values()]
    for old in list(kept)[: _spare(sizes)]:
        del kept[old]
    return answer


def _spare(sizes: list[int]) -> int:
    """How many of the oldest have to go; the newest stays, whatever its size."""
    spare = max(0, len(sizes) - MOST_RESULTS)
    while spare < len(sizes) - 1 and sum(sizes[spare:]) > MOST_BYTES:
        spare += 1
    return spare


def _size(answer: Any) -> int:
    return sum(int(getattr(each, "nbytes", 0)) for each in (answer if isinstance(answer, list) else [answer]))


def remember(dataset: xr.Dataset, label: str) -> None:
    """Put a result on the session's list, newest last, each once."""
    listed: list[tuple[str, xr.Dataset]] = st.session_state.setdefault("history", [])
    if not any(known is dataset for _, known in listed):
        listed.append((label, dataset))
        del listed[: _spare([_size(each) for _, each in listed])]


def history() -> list[tuple[str, xr.Dataset]]:
    """Results of this session with what tells them apart, newest first."""
    return list(reversed(st.session_state.get("history", [])))
