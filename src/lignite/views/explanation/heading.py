"""How a picture of an explanation begins: the answer and its sum, then how it was computed."""

import xarray as xr

from lignite.views.explanation.facts import certificate_text, method_words, seams
from lignite.views.explanation.message import message
from lignite.views.labels import model_title
from lignite.views.palette import WARM
from lignite.views.sheet import Sheet


def write_heading(sheet: Sheet, dataset: xr.Dataset, *, special: bool = False) -> None:
    """The answer, who speaks for and against it, the change, and the method with its certificate."""
    said = message(dataset, special=special)
    if said.doubt:
        sheet.line(said.doubt, 9.0, weight="bold", color=WARM[3])
    sheet.line(said.verdict or model_title(str(dataset.attrs.get("model", ""))), 11.0, weight="bold")
    sheet.line(said.sides, 9.0, color="#333")
    if said.change:
        sheet.line(said.change, 9.0, color="#333")
    model = model_title(str(dataset.attrs.get("model", "")))
    sheet.line(" · ".join([model, ", ".join(method_words(dataset))]), 7.5, color="#666")
    if cut := seams(dataset):
        sheet.line(f"read in {cut}", 7.5, color="#666")
    sheet.line(f"certificate: {certificate_text(dataset)}", 7.5, color="#666")
    sheet.boxes_explained()
    sheet.top += 0.2
