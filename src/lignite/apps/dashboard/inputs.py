"""Fields for what is to be explained: a text, a pair of texts, a picture."""

from typing import Any

import streamlit as st

from lignite.apps.dashboard.given import MOST_BYTES, MOST_CHARACTERS, as_input, read_picture
from lignite.inputs.pictures import ENDINGS
from lignite.models.facts import reads_images
from lignite.models.load import Model


def ask_input(model: Model, key: str, label: str, text: str = "", second: str = "") -> Any:
    """What a reader gives to a model; None as long as that is nothing. `text` stands in an untouched field."""
    if reads_images(model.network):
        types = [ending.removeprefix(".") for ending in ENDINGS]
        file = st.file_uploader(
            label.replace("Text", "Picture").replace("text", "picture"), types, key=key,
            max_upload_size=MOST_BYTES >> 20, help=f"At most {MOST_BYTES >> 20} MB; it stays on this machine.",
        )  # fmt: skip
        return None if file is None else read_picture(file.name, file.getvalue())
    if key not in st.session_state:
        st.session_state[key] = text
    typed = st.text_area(
        label, key=key, height=90, help=f"At most {MOST_CHARACTERS:,} characters.",
        placeholder="Type a text; Ctrl+Enter, or a click beside it, explains it.",
    )  # fmt: skip
    return as_input(typed or "", second)
