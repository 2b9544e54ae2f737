"""`save`, `plot`, `show` and a notebook's cell: a result draws itself, and says what it cannot draw."""

import io
import json
import re
import sys
import webbrowser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlparse

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from tests.kit.pages import HOSTILE, Elements
from tests.kit.sample_evaluation import sample_evaluation
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_flow import sample_flow
from tests.kit.sample_image_explanation import sample_image_explanation

import lignite
from lignite.errors import FileError, OptionError
from lignite.results import notebook
from lignite.results.evaluation import Evaluation
from lignite.views.explanation.facts import certificate_text
from lignite.views.flow.graph import trace_reader
from lignite.views.notebook import card_of
from lignite.views.palette import sign_colour

MARKS = {
    "nc": b"\x89HDF",
    "json": b"{",
    "csv": b"",
    "html": b"<!doctype",
    "png": b"\x89PNG",
    "svg": b"<?xml",
    "pdf": b"%PDF",
}


# Files


@pytest.mark.parametrize("ending", MARKS)
@pytest.mark.parametrize("make", [sample_explanation, sample_flow])
def test_a_result_saves_itself_as_what_the_ending_says(tmp_path, make, ending):
    """One name for all: what is kept, what is looked at, what goes into a spreadsheet."""
    path, other = tmp_path / f"result.{ending}", tmp_path / f"other.{ending}"

    make().lignite.save(path)
    lignite.save(make(), other)

    assert path.read_bytes().lower().startswith(MARKS[ending].lower())
    assert path.read_bytes() == other.read_bytes() or ending == "nc"


def test_what_nobody_can_see_there_is_refused(tmp_path):
    """An option that does nothing would mislead."""
    with pytest.raises(OptionError, match=r"tokens=True .* \.json keeps all"):
        sample_explanation().lignite.save(tmp_path / "why.json", tokens=True)
    with pytest.raises(OptionError, match="head=0: an explanation has no such look"):
        sample_explanation().lignite.save(tmp_path / "why.png", head=0)
    with pytest.raises(FileError, match=r"unknown ending '\.jpg'; results are saved as \.nc, \.json, \.csv, \.html"):
        sample_explanation().lignite.save(tmp_path / "why.jpg")
    assert list(tmp_path.iterdir()) == []


def test_a_table_holds_every_score_beside_its_token(tmp_path):
    """A row per token of an explanation, a row per score of a flow."""
    why, flow = sample_explanation(n_layers=2), sample_flow(details=False)
    why.lignite.save(tmp_path / "why.csv")
    flow.lignite.save(tmp_path / "flow.csv")

    tokens, scores = (pd.read_csv(tmp_path / name) for name in ("why.csv", "flow.csv"))

    assert tokens["token"].tolist() == why.token.values.tolist()
    np.testing.assert_allclose(tokens["relevance"], why.relevance, rtol=1e-6)
    np.testing.assert_allclose(tokens["layer_ig_1"], why.layer_ig.sel(layer=1), rtol=1e-6)
    whole = scores[
        (scores["map"] == "whole") & (scores["layer"] == 2) & (scores["target"] == 5) & (scores["source"] == 3)
    ]
    assert whole["source_token"].tolist() == ["##believ"]
    assert float(whole["score"].iloc[0]) == pytest.approx(float(flow.whole.sel(layer=2, target=5, source=3)), rel=1e-6)
    assert len(scores) == sum(flow[name].size for name in ("whole", "composed", "attention", "mlp"))


# Axes


def axes():
    return Figure(figsize=(6, 4), dpi=100).add_subplot()


SHOWN = {
    "text": sample_explanation, "bars": sample_explanation, "layers": sample_explanation, "heatmap": sample_explanation,
    "overlay": sample_image_explanation, "flow": sample_flow, "graph": sample_flow, "agreement": sample_flow,
    "curves": sample_evaluation,
}  # fmt: skip


@pytest.mark.parametrize("kind", SHOWN)
def test_every_kind_is_drawn_into_the_axes_that_are_given(kind):
    """A figure of one's own, with what lignite draws in one of its panels."""
    given, result = axes(), SHOWN[kind]()

    drawn = (result if isinstance(result, Evaluation) else result.lignite).plot(kind, given)

    assert drawn is given
    assert given.has_data() or given.texts


def test_a_kind_that_a_result_has_not_is_refused_with_those_it_has():
    """Clearly, before anything is drawn."""
    with pytest.raises(
        OptionError, match=r"kind='curves', which needs an evaluation with curves: .* drawn as text, bars"
    ):
        sample_explanation().lignite.plot("curves")
    with pytest.raises(OptionError, match="drawn as bars, layers, heatmap, overlay"):
        sample_image_explanation(detail=()).lignite.plot("text")
    with pytest.raises(OptionError, match="drawn as curves"):
        sample_evaluation().plot("bars")


def test_bars_stand_for_words_and_a_heat_map_for_the_chosen_layer():
    """The numbers drawn are those of the result."""
    why, flow = sample_explanation(), sample_flow()
    words = why.lignite.merge_words()

    bars, heat = why.lignite.plot("bars", axes()), flow.lignite.plot("heatmap", axes(), layer=2, tokens=True)

    np.testing.assert_allclose([bar.get_height() for bar in bars.patches], words.relevance, rtol=1e-6)
    np.testing.assert_allclose(heat.images[0].get_array(), flow.whole.sel(layer=2), rtol=1e-6)


def test_the_thickest_line_of_a_flow_is_its_strongest_score():
    """From the source on the left to the target on the right, in the colour of its sign."""
    flow = sample_flow(details=False)
    flow["whole"][:] = 0.5
    flow["whole"][1, 7, 2] = -0.9

    drawn = flow.lignite.plot("flow", axes(), tokens=True, layer=1)

    thickest = max(drawn.patches, key=lambda line: line.get_linewidth())
    assert [tuple(thickest.get_path().vertices[at]) for at in (0, -1)] == [(0, 2), (1, 7)]
    assert thickest.get_edgecolor()[:3] == to_rgb(sign_colour(-1.0))


def test_a_graph_is_followed_back_from_what_is_read():
    """Shares multiplied from the top: what all lines into a level carry is what the reader holds, which is 1."""
    flow = sample_flow(details=False)

    passed = trace_reader(flow, "whole")

    products = [flow.sel(layer=[layer]).lignite.chain("whole").values.astype("f8") for layer in flow.layer.values]
    np.testing.assert_allclose(passed.sum((1, 2)), 1, rtol=1e-4)
    np.testing.assert_allclose(passed[-1][0], products[-1][0], rtol=1e-6)
    np.testing.assert_allclose(passed[0].sum(0), (products[2] @ products[1] @ products[0])[0], rtol=1e-4)


def test_words_of_a_plot_stand_beside_each_other_whatever_the_layout():
    """A layout engine moves the axes after the words were measured; then they covered each other."""
    figure = Figure(figsize=(6, 3), dpi=100, layout="constrained")
    drawn = sample_explanation(tokens=["unbelievably", "good", "acting"]).lignite.plot("text", figure.add_subplot())

    figure.draw_without_rendering()
    boxes = {text.get_text(): text.get_window_extent() for text in drawn.texts}

    for first, second in (("unbelievably", "good"), ("good", "acting")):
        assert 1 < boxes[second].x0 - boxes[first].x1 < 9  # pixels: a blank


@pytest.mark.parametrize("kind", ["text", "bars", "layers", "heatmap"])
def test_a_figure_of_its_own_names_both_sides(kind):
    """It is cut out of its document before anything else."""
    drawn = sample_explanation().lignite.plot(kind, axes())

    told = [text.get_text() for text in drawn.findobj(Text)]
    assert {"for positive", "against positive"} <= set(told)


def test_the_highest_bars_of_a_long_text_carry_their_names():
    """Of three hundred labels below them one in ten is written."""
    tokens = [f"w{number}" for number in range(300)]
    long = sample_explanation(tokens=tokens, method="ig")
    scores = np.full(300, 0.01, dtype="float32")
    scores[[17, 120, 121, 250]] = 3.0, 2.0, 1.9, -2.5

    drawn = long.assign(relevance=("token", scores)).lignite.plot("bars", axes())

    assert [text.get_text() for text in drawn.texts] == ["w17", "w250", "w120"]  # w121 would stand on w120


# Notebooks


def text_of(card: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", "", card, flags=re.DOTALL))


def test_a_cell_shows_the_answer_the_text_and_the_numbers_without_a_script():
    """Static, so that it survives nbconvert, a reader without scripts, and years."""
    card = card_of(sample_explanation())

    told = text_of(card)
    assert told.strip().startswith("The model says positive")
    assert "[CLS] The unbelievable plot bored nobody. [SEP]" in told
    assert not re.search(r"<script|https?:|onclick", card)
    assert {tag for tag, _ in Elements(card).tags} <= {
        "div", "style", "p", "table", "caption", "tr", "td", "th", "i", "b", "span", "details", "summary",
    }  # fmt: skip


def test_words_of_a_cell_have_the_colours_and_the_lists_of_their_sides():
    """Shares of the largest score: 2 of 3 against is the seventh of ten tones."""
    dataset = sample_explanation(method="ig")
    dataset["relevance"][:] = [0, 0, 1, 1, 1, -0.5, -2, 0, 0, 0]

    card = card_of(dataset)

    tones = {word: tone for tone, word in re.findall(r'<span class="(\w+)" title="[^"]+">(\w+)</span>', card)}
    assert tones == {"unbelievable": "f10", "plot": "a2", "bored": "a7"}
    for_, against = re.search(
        "<caption>For positive(.+?)<caption>Against positive(.+?)</table>", card, re.DOTALL
    ).groups()
    assert "unbelievable" in for_
    assert "bored" in against
    assert "bored" not in for_
    assert certificate_text(dataset) in text_of(card)


def test_a_cell_says_what_is_unsettled_first_and_shows_hostile_text_as_text():
    """As every view does."""
    dataset = sample_explanation(tokens=HOSTILE, gap=0.5)

    card = card_of(dataset)

    assert text_of(card).strip().startswith("Not settled")
    assert "<script" not in card
    assert "&lt;/script&gt;" in card


def test_colours_of_a_cell_follow_the_room():
    """Dark tones are written for the ways in which notebooks say that the room is dark."""
    card = card_of(sample_explanation())

    assert "body[data-jp-theme-light=false] .lignite-card" in card
    assert card.count(".f5 {") == 2


def test_an_image_and_a_flow_have_a_cell_of_their_own():
    """The picture under its colours; what the reading token receives."""
    assert 'src="data:image/png;base64,' in card_of(sample_image_explanation())
    flow = text_of(card_of(sample_flow()))
    assert "What [CLS] receives from each word, layer by layer" in flow
    assert flow.strip().startswith("Strongest: ")


def test_what_a_token_keeps_of_its_own_takes_no_colour_from_what_it_receives():
    """The scale of a flow's cell is that of the scores between different words."""
    flow = sample_flow(layers=[0])
    flow["whole"][:] = 0
    flow["whole"][0, 0, 0], flow["whole"][0, 0, 6], flow["whole"][0, 0, 5] = 50, 2, 1

    tones = re.findall(r'<td class="([fa]\d+)">', card_of(flow))

    assert tones == ["f10", "f6", "f10"]  # its own, plot, bored


def test_a_cell_of_an_evaluation_crowns_no_chance():
    """Random scores cost nothing, and are best at nothing."""
    told = text_of(sample_evaluation()._repr_html_())

    assert "Best on seconds: ig 2.000." in told


class Shell:
    """As much of IPython as results need."""

    def __init__(self, **more):
        self.known = {}
        formatter = SimpleNamespace(for_type=lambda kind, show: self.known.update({kind: show}))
        self.display_formatter = SimpleNamespace(formatters={"text/html": formatter})
        vars(self).update(more)


def test_ipython_learns_to_show_results_and_keeps_to_xarray_for_all_else(monkeypatch):
    """The class is xarray's: whoever looks at weather must see weather."""
    shell = Shell()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    notebook.register()
    show = shell.known[xr.Dataset]
    weather = xr.Dataset({"rain": ("day", [1.0, 2.0])})
    broken = sample_explanation().isel(token=0)

    assert "lignite-card" in show(sample_explanation())
    assert show(weather).replace(" ", "")[:40] == weather._repr_html_().replace(" ", "")[:40]
    assert "lignite-card" not in show(weather) + show(broken)


def test_nothing_is_registered_where_no_ipython_runs(monkeypatch):
    """IPython may be installed, even imported, and not run."""
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))

    notebook.register()

    assert notebook.running_shell() is None


def test_a_real_ipython_shows_a_result_of_a_cell():
    """Formatters are IPython's own."""
    shell_module = pytest.importorskip("IPython.core.interactiveshell", reason="IPython is not installed")
    shell = shell_module.InteractiveShell.instance()
    try:
        notebook.register()
        shown, _ = shell.display_formatter.format(sample_explanation())
        assert "lignite-card" in shown["text/html"]
    finally:
        shell_module.InteractiveShell.clear_instance()


def test_show_opens_the_page_in_a_browser(monkeypatch):
    """Two words from a result to its page."""
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: not opened.append(address))

    sample_explanation().lignite.show(tokens=True)
    sample_evaluation().show()

    pages = [Path(urlparse(address).path).read_text("utf-8") for address in opened]
    assert json.loads(Elements(pages[0]).scripts["meta"])["words"] is False
    assert "seconds" in pages[1]


def test_show_puts_the_page_below_a_cell(monkeypatch):
    """A notebook has no other window, and its page must not reach the notebook's."""
    published = []
    shell = Shell(kernel=object(), display_pub=SimpleNamespace(publish=published.append))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))

    sample_flow().lignite.show()

    assert Elements(published[0]["text/html"]).tags[0][0] == "iframe"
    assert published[0]["text/plain"] == "a page"  # where no page is shown


def test_a_page_without_a_browser_is_named(monkeypatch):
    """It is written, and can be opened by hand."""
    monkeypatch.setattr(webbrowser, "open", lambda address: False)

    with pytest.raises(FileError, match=r"open .*result\.html by hand"):
        sample_explanation().lignite.show()


def test_a_text_that_is_read_from_the_right_is_set_from_there():
    """The first word stands rightmost, in pictures as in the page."""
    dataset = sample_explanation(tokens=["שלום", "עולם", "טוב"])

    drawn = dataset.lignite.plot("text", axes())

    left = {text.get_text(): text.get_position()[0] for text in drawn.texts}
    assert left["שלום"] > left["עולם"] > left["טוב"]
    figure = io.BytesIO()
    drawn.figure.savefig(figure, format="svg")


# Print


def test_pages_and_cells_ask_browsers_to_print_their_colours(tmp_path):
    """By default backgrounds are left out on paper, and with them what speaks for and against; no text is cut there."""
    sample_explanation().lignite.save(tmp_path / "why.html")
    sample_flow().lignite.save(tmp_path / "flow.html")

    pages = [(tmp_path / name).read_text("utf-8") for name in ("why.html", "flow.html")]
    for page in pages:
        paper = page[page.index("@media print") :].split("\n}", 1)[0]
        assert re.search(r"\* {[^}]*; print-color-adjust: exact;", paper)
        assert re.search(r"\.text[^{]*{ max-height: none !important", paper)
    assert re.search(r"\.lignite-card \* {[^}]*; print-color-adjust: exact;", card_of(sample_explanation()))
