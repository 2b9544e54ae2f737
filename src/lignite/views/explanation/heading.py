"""How a picture of an explanation begins: what is explained, how, and what the scores miss."""

import numpy as np
import xarray as xr

from lignite.views.explanation.facts import certificate_text, likeliest, method_words, question, seams
from lignite.views.labels import format_score, format_share, model_title
from lignite.views.sheet import Sheet


def write_heading(sheet: Sheet, dataset: xr.Dataset) -> None:
    """The question, the prediction, the method, and what the scores miss."""
    asked = question(dataset)
    model = model_title(str(dataset.attrs.get("model", "")))
    number = f", {asked.unit} {format_score(asked.value)}" if np.isfinite(asked.value) else ""
    classes = ", ".join(f"{name} {format_share(share)}" for name, share in likeliest(dataset, 4))
    sheet.line(f"{model} · {asked.name}{number}", 11.0, weight="bold")
    if classes or asked.prediction:
        sheet.line(f"prediction: {classes or asked.prediction}", 8.5, color="#333")
    sheet.line(", ".join(method_words(dataset)), 8.5, color="#333")
    if cut := seams(dataset):
        sheet.line(f"read in {cut}", 7.5, color="#666")
    sheet.line(f"certificate: {certificate_text(dataset)}", 7.5, color="#666")
    sheet.boxes_explained()
    sheet.top += 0.2
