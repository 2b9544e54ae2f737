"""What was asked in this session, to be looked at and kept."""

import streamlit as st

from lignite.apps.dashboard.look import offer_downloads, show_page
from lignite.apps.dashboard.question import Question
from lignite.apps.dashboard.state import history
from lignite.views.files import page_of


def draw(question: Question) -> None:
    """The results of this session, newest first."""
    listed = history()
    if not listed:
        st.info("Nothing was asked yet in this session; what is asked is listed here until the page is closed.")
        return
    chosen = st.selectbox(
        "Result", range(len(listed)), format_func=lambda at: f"{len(listed) - at} · {listed[at][0]}", key="past"
    )
    _, dataset = listed[chosen]
    show_page(page_of(dataset, tokens=False, special="show"))
    offer_downloads(dataset, "history")
