"""An explanation, and below it what the model says without some of its words."""

import streamlit as st

from lignite.apps.dashboard.look import offer_downloads, show_page
from lignite.apps.dashboard.panels.without import draw as draw_without
from lignite.apps.dashboard.question import Question
from lignite.views.explanation.page import explanation_html


def draw(question: Question) -> None:
    """Which words or patches speak for and against."""
    if question.given is None:
        st.info("Type a text, or drop a picture: the explanation appears here.")
        return
    asked = question.of_class("explain")
    found = asked.explain() if asked else []
    if not asked or not found:
        return
    show_page(explanation_html(found))
    number = 0
    if len(found) > 1:
        number = int(st.number_input("Result", 1, len(found), key="step")) - 1
    offer_downloads(found[number], "explain")
    if len(found) == 1:
        draw_without(asked, found[0])
