"""Whole pages in a real browser: what stands there without a script, what a click changes, what a link restores."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from tests.kit.browsers import launch, needs_browser
from tests.kit.pages import static
from tests.kit.sample_evaluation import sample_evaluation
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_flow import sample_flow
from tests.kit.sample_image_explanation import sample_image_explanation, sample_image_flow

from lignite.results.evaluation import frame
from lignite.views.evaluation.page import evaluation_html
from lignite.views.explanation.page import explanation_html
from lignite.views.flow.page import flow_html
from lignite.views.notebook import card_of
from lignite.views.study.page import report_html
from lignite.views.study.report import Report, Table

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install --group browser: nothing drives a browser")
pytestmark = needs_browser


def two_classes():
    """A text explained for each of two classes, over layers and as a flow."""
    return [
        sample_explanation(method="relevance-flow", label=label, seed=at)
        for at, label in enumerate(("positive", "negative"))
    ]


def silent():
    """A picture of which the class token says nothing."""
    dataset = sample_image_explanation(method="relevance-flow")
    dataset.relevance[dataset.row.values < 0] = 0.0
    return dataset


def evaluation():
    """Eight metrics of three methods under one fill, as `lignite evaluate` measures them by itself."""
    metrics = ("insertion-minus-deletion", "deletion", "insertion", "comprehensiveness", "sufficiency", "log-odds",
               "decision-flip", "area-between")  # fmt: skip
    rows = [(method, metric, "mask", -1.2, -1.9, -0.4, 6) for method in METHODS for metric in metrics]
    sample = sample_evaluation()
    table = frame(rows, list(sample.table.columns))
    attrs = {**sample.attrs, "metrics": {name: {"better": "lower", "meaning": "a measure"} for name in metrics}}
    return replace(sample, table=table, attrs=attrs)


METHODS = ("relevance-flow", "ig", "slow", "random")


def study():
    """A study with a figure and a table."""
    figure = Figure(figsize=(8, 2))
    figure.subplots().set_title("a figure")
    means = {f"mean of row {at}": ["-0.123 [-0.456, -0.001]"] for at in range(9)}
    table = Table("Table", "What `mean` means.", pd.DataFrame({"layer": [0], "mean": [0.5], **means}))
    return Report("A study", "A question?", ("A finding.",), {"table": table}, {"figure": figure})


PAGES = {
    "classes": lambda: explanation_html(two_classes()),
    "layers": lambda: explanation_html(sample_explanation()),
    "texts": lambda: explanation_html(
        [sample_explanation(), sample_explanation(method="ig", tokens=["another", "text"])]
    ),
    "long": lambda: explanation_html(
        sample_explanation(method="relevance-flow", tokens=[f"word{at}" for at in range(70)])
    ),
    "image": lambda: explanation_html(sample_image_explanation(method="relevance-flow")),
    "flow": lambda: flow_html(sample_flow()),
    "image flow": lambda: flow_html(sample_image_flow()),
    "image without a class token": lambda: explanation_html(silent()),
    "evaluation": lambda: evaluation_html(evaluation()),
    "study": lambda: report_html(study(), {}, {}),
}
CELLS = {"flow cell": lambda: card_of(sample_image_flow())}
"""Parts of a notebook's page."""

FEW = [name if name in ("classes", "flow") else pytest.param(name, marks=pytest.mark.wide) for name in PAGES]


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        opened = launch(playwright)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Every page as a file, written once."""
    folder: Path = tmp_path_factory.mktemp("pages")

    def write(name: str) -> str:
        path = folder / f"{name}.html"
        if not path.exists():
            path.write_text((PAGES | CELLS)[name](), encoding="utf-8")
        return path.as_uri()

    return write


@pytest.fixture
def visit(browser, written):
    """Open a page; whatever its scripts complain of is an error."""
    contexts, complaints = [], []

    def opened(name: str, *, link: str = "", **how):
        contexts.append(browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **how}))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.goto(written(name) + link)
        if how.get("java_script_enabled", True) and page.locator("script").count():
            page.wait_for_selector("body.live:not([aria-busy])")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def seen(page, selector: str) -> str:
    return " ".join(page.locator(selector).locator("visible=true").all_inner_texts())


@pytest.mark.parametrize("name", FEW)
def test_a_telephone_shows_a_page_without_moving_it_sideways(visit, name):
    """Tables that are wider scroll within their card."""
    page = visit(name, viewport={"width": 390, "height": 800})

    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_narrow_cell_cuts_no_word_over_its_table(visit):
    """The table scrolls; what it is about stands over it in as many lines as that takes."""
    page = visit("flow cell", viewport={"width": 390, "height": 800})

    hidden = page.evaluate(
        """() => {
          const around = document.querySelector(".scroll"), words = document.createRange();
          words.selectNodeContents(around.querySelector("caption"));
          const ends = [...words.getClientRects()].map(box => box.right);
          return [around.scrollWidth - around.clientWidth, Math.max(...ends) - around.getBoundingClientRect().right];
        }"""
    )

    assert hidden[0] > 0
    assert hidden[1] <= 0


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.wide)])
@pytest.mark.parametrize("name", FEW)
def test_nothing_serious_bars_anybody_from_a_page(visit, name, scheme):
    """Contrast, names of controls, tables, focus: what axe can see."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install --group browser")
    page = visit(name, color_scheme=scheme)
    for details in page.locator("summary").all():
        if details.is_visible():
            details.click()

    found = axe.Axe().run(page).response["violations"]

    serious = [
        (one["id"], node["html"][:120])
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
    assert serious == []


def test_a_telephone_shows_all_words_of_all_layers_at_a_glance(visit):
    """Two of its columns beside four of sums say nothing of what layers do."""
    page = visit("layers", viewport={"width": 390, "height": 800})

    box = page.locator('[data-card="layers"] .scroll').locator("visible=true").first
    widths = box.evaluate("box => [box.scrollWidth, box.clientWidth]")
    assert widths[0] <= widths[1]
    cells = box.locator("tbody tr").first.locator("td[data-i]")
    assert cells.count() >= 6
    cells.nth(2).click()
    assert re.search(r"[+−]\d", seen(page, '[data-name="readout"]'))


def test_what_says_nothing_has_no_bar(visit):
    """A sliver of blue beside 0 says against."""
    page = visit("image without a class token")

    rows = page.locator('[data-name="outside"] tr')
    assert rows.last.inner_text().split()[-1] == "0"
    assert rows.last.locator(".measure b").bounding_box()["width"] == 0
    assert rows.first.locator(".measure b").bounding_box()["width"] > 2


def test_a_laptop_shows_all_metrics_of_an_evaluation_and_its_curves_side_by_side(visit):
    """The eighth was cut in two, the curves were five screens of one large picture after the other."""
    page = visit("evaluation", viewport={"width": 1280, "height": 900})

    widths = page.locator(".wide").first.evaluate("box => [box.scrollWidth, box.clientWidth]")
    assert widths[0] <= widths[1]
    plots = page.locator(".plots figure").evaluate_all("all => all.map(one => one.getBoundingClientRect().top)")
    assert len(plots) == 2
    assert len(set(plots)) == 1
    assert page.locator(".plots figure").first.bounding_box()["width"] < 400


def test_a_telephone_shows_an_evaluation_metric_by_metric(visit):
    """Sideways, whoever reads the fourth metric no longer sees whose it is."""
    page = visit("evaluation", viewport={"width": 390, "height": 800})

    widths = page.locator(".wide").first.evaluate("box => [box.scrollWidth, box.clientWidth]")
    assert widths[0] <= widths[1]
    tops = page.locator(".scores :is(thead th:nth-child(3), td:nth-child(3))").evaluate_all(
        "cells => cells.map((cell) => cell.getBoundingClientRect().top)"
    )
    assert tops == sorted(tops)
    beyond = page.locator(".scores td:nth-child(3)").first.bounding_box()["y"] + 200
    assert tops[-1] < beyond
    name = page.locator(".scores td:nth-child(3)").first.evaluate("cell => getComputedStyle(cell, '::before').content")
    assert name == '"relevance-flow"'


def test_sums_of_a_layer_of_an_image_are_said_once(visit):
    """Its small picture says what the table does not: what lies outside the picture."""
    page = visit("image")

    film, table = seen(page, '[data-name="film"]'), seen(page, '[data-card="layers"] table')
    assert "outside" in film
    assert set(re.findall(r"[+−][\d.]{4,}", table)) & set(re.findall(r"[+−][\d.]{4,}", film)) == set()
    assert "against" in table


def test_a_figure_is_read_in_a_dark_room_and_on_a_telephone(visit):
    """Its ground stays white, so its words stay dark; eight inches of it shrunk into four centimetres say nothing."""
    page = visit("study", viewport={"width": 390, "height": 800}, color_scheme="dark")

    inks = page.locator(".drawn text").evaluate_all("texts => texts.map(text => getComputedStyle(text).fill)")
    assert set(inks) == {"rgb(29, 31, 35)"}
    assert page.locator(".drawn svg").bounding_box()["width"] == pytest.approx(8 * 96, abs=1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("name", ["long", "flow", "evaluation", "study"])
def test_paper_cuts_no_column(visit, name):
    """Nothing scrolls on paper: what is wider than its box, or than the sheet, is lost."""
    page = visit(name, viewport={"width": 718, "height": 1000})  # A4 between margins of a centimetre

    page.emulate_media(media="print")

    lost = page.evaluate(
        """() => [...document.querySelectorAll("body *")]
          .filter((each) => each.checkVisibility() && each.getBoundingClientRect().right > 718.5)
          .map((each) => each.outerHTML.slice(0, 100))"""
    )
    assert lost == []


@pytest.mark.parametrize(("name", "within"), [("classes", ".text"), ("classes", "body"), ("flow", "body")])
def test_a_page_is_scrolled_by_its_keys(visit, name, within):
    """Up and down walk inside the graph alone; anywhere else they are the page's."""
    page = visit(name)

    taken = page.evaluate(
        """(within) => ["ArrowUp", "ArrowDown", "PageDown", "End"].filter((key) => {
          const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
          [...document.querySelectorAll(within)].find((each) => each.checkVisibility()).dispatchEvent(event);
          return event.defaultPrevented;
        })""",
        within,
    )
    assert taken == []


@pytest.mark.parametrize("name", FEW)
def test_a_page_without_javascript_says_what_the_page_with_it_says(visit, name):
    """Scripts add exploring: sentence, text and tables are there before them."""
    without, live = visit(name, java_script_enabled=False), visit(name)

    for selector in (".answer, h1", ".sides", ".text", ".ranks th"):
        said = seen(live, f":is({selector}):not(.script *)")
        assert said in seen(without, selector)
    assert seen(without, ":is(.answer, h1)")
    assert seen(without, ".script") == ""


def test_a_click_on_a_layer_colours_text_lists_and_bars_by_it(visit):
    """Lists that stay on the whole while the text shows a layer would tell of something else."""
    page = visit("layers")
    dataset = sample_explanation().lignite.merge_words()
    before = [seen(page, '[data-name="for"]'), page.locator(".text").first.inner_html()]

    page.locator('article:not([hidden]) [data-row="2"] button').locator("visible=true").click()

    scores = dataset.layer_relevance.values[1]
    best = int(np.argmax(np.where(dataset.special.values, -np.inf, scores)))
    first = page.locator('[data-name="for"] tbody tr').first
    assert first.locator("th").inner_text() == dataset.token.values[best]
    assert float(first.locator("td.n").first.inner_text().replace("−", "-")) == pytest.approx(scores[best], rel=1e-2)
    assert first.locator(".measure b").get_attribute("style") != "width: 0.0%;"
    assert seen(page, '[data-name="for"]') != before[0]
    assert page.locator(".text").first.inner_html() != before[1]
    assert "layer relevance, layer 1" in seen(page, ".key")
    assert page.locator(f'.text:not([hidden]) [data-i="{best}"]').get_attribute("class").startswith("f")


def test_a_click_on_a_layer_leaves_the_table_of_layers_alone(visit):
    """It colours the text anew: of twelve layers of 512 tokens, thousands of cells would be written again."""
    page = visit("long")
    page.evaluate(
        """() => {
          window.seen = [];
          const note = (all) => window.seen.push(...all.map((one) => one.attributeName ?? "text"));
          const everything = { subtree: true, attributes: true, childList: true, characterData: true };
          new MutationObserver(note).observe(document.querySelector(".grid"), everything);
        }"""
    )

    page.locator(".grid th button").nth(2).click()

    assert page.locator(".grid th button").nth(2).get_attribute("aria-pressed") == "true"
    assert set(page.evaluate("window.seen")) == {"aria-pressed"}


def test_a_node_from_which_nothing_comes_can_be_left_again(visit):
    """A long text shows tokens with a line alone; the one that was chosen stays, so that it can be chosen again."""
    page = visit("long")
    nodes = page.locator(".node").locator("visible=true")
    before = nodes.count()

    nodes.first.dispatch_event("click")  # an embedding: nothing is below it
    assert nodes.count() > 0
    page.locator(".node.on").first.dispatch_event("click")

    assert nodes.count() == before


def test_a_chip_shows_another_class_and_the_difference_of_both(visit):
    """One call for several classes, one page."""
    page = visit("classes")
    assert page.locator("article:visible .chips a").all_inner_texts()[2] == "positive − negative"

    page.locator("article:visible .chips a").nth(2).click()

    first, second = (each.lignite.merge_words().relevance.values for each in two_classes())
    listed = page.locator("article:visible [data-name=for] tbody tr").first.locator("td.n").first.inner_text()
    words = ~two_classes()[0].lignite.merge_words().special.values
    assert float(listed) == pytest.approx((first - second)[words].max(), rel=1e-2)
    assert "entry=2" in page.url


@pytest.mark.parametrize(
    ("name", "link", "expected"),
    [
        ("layers", "#row=3&special=hide&token=2", {".key": "layer 2", ".readout b": "unbelievable"}),
        ("classes", "#entry=1", {".chips a[aria-current]": "negative"}),
        ("flow", "#map=attention&layer=1&part=1&token=3", {'[data-name="map-title"]': "Layer 1, attention: states to"}),
        ("flow", "#node=2,3", {'[data-name="node"] h3': "receives in layer 1 from"}),
    ],
)  # fmt: skip
def test_a_link_opens_the_page_as_it_was(visit, name, link, expected):
    """What is shown can be passed on; without a choice the address stays short."""
    page = visit(name, link=link)

    for selector, text in expected.items():
        assert text in seen(page, selector)
    assert page.url.endswith(link) or set(re.split("[#&]", page.url)[1:]) == set(re.split("[#&]", link)[1:])
    assert "#" not in visit(name).url.rstrip("#")


def test_a_flow_is_walked_by_the_keyboard_from_what_the_head_reads(visit):
    """The graph opens on the reader; arrows move, Enter chooses, and outside of it they scroll the page."""
    page = visit("flow")
    start = page.locator('[data-name="graph"] .node[tabindex="0"]')
    assert start.get_attribute("data-key") == "3,0"

    start.focus()
    for key in ("ArrowLeft", "ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)

    assert "node=2,2" in page.url
    assert "unbelievable" in seen(page, '[data-name="node"] h3')
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowDown")
    page.wait_for_timeout(300)
    assert page.evaluate("scrollY") > 0
    assert "node=2,2" in page.url


def test_a_line_shows_its_heads_and_a_head_its_map(visit):
    """From the whole to the part, click by click."""
    page = visit("flow")
    dataset = sample_flow().lignite.merge_words()

    page.locator('[data-name="graph"] .hit').last.dispatch_event("click")

    layer, target, source = map(int, re.search(r"edge=(\d+),(\d+),(\d+)", page.url).groups())
    listed = [float(text.replace("−", "-")) for text in page.locator('[data-name="node"] td.n').all_inner_texts()]
    expected = dataset.whole_heads.isel(layer=layer, target=target, source=source).values
    np.testing.assert_allclose(sorted(listed), sorted(expected[expected != 0]), rtol=1e-2)
    page.locator('[data-layer="1"][data-head="1"]').click()
    assert "head 1" in seen(page, '[data-name="map-title"]')


@pytest.mark.parametrize(
    ("name", "card"), [("layers", "text"), ("layers", "layers"), ("image", "text"), ("flow", "graph")]
)
def test_a_card_is_saved_with_its_title_its_legend_and_a_ground(visit, name, card, tmp_path):
    """A picture on a slide stands alone."""
    page = visit(name, accept_downloads=True)
    box = page.locator(f'[data-card="{card}"]').locator("visible=true").first
    box.hover()
    saved = {}
    for kind in ("SVG", "PNG", "CSV"):
        with page.expect_download() as found:
            box.get_by_role("button", name=f"Save this card as {kind}").click()
        saved[kind] = Path(found.value.path()).read_bytes()

    drawing = saved["SVG"].decode()
    shown = re.sub(r"\s+", " ", " ".join(re.findall(r">([^<]+)</text>", drawing)))
    assert page.title() in shown
    assert re.search(r'<rect width="100%" height="100%" fill="rgb', drawing)
    assert ("adds takes away" if card == "graph" else "for positive against") in shown
    assert "PNG" not in shown
    assert saved["PNG"].startswith(b"\x89PNG")
    assert (card == "graph") or "unbelievable" in saved["CSV"].decode() or name == "image"


@pytest.mark.parametrize("make", [explanation_html, flow_html])
def test_no_page_names_the_folders_of_the_machine_that_made_it(make):
    """Pages are passed on."""
    dataset = (sample_explanation if make is explanation_html else sample_flow)()
    dataset.attrs["model"] = "/home/someone/models/best"

    page = make(dataset)

    assert "best" in static(page)
    assert "/home" not in page
    assert "someone" not in page


def test_a_telephone_breaks_no_word_in_the_lists_and_paper_cuts_no_number(visit):
    """Half a word is another word, 0.0003 without its end another number."""
    tall = "e => e.getBoundingClientRect().height"
    page = visit("layers", viewport={"width": 390, "height": 800})
    heights = page.evaluate(f"[...document.querySelectorAll('.ranks tbody th')].map({tall}).filter(Boolean)")
    page.set_viewport_size({"width": 794, "height": 1000})
    page.emulate_media(media="print")
    cut = page.evaluate(
        "[...document.querySelectorAll('.grid .n')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    )

    assert max(heights) < 1.5 * min(heights)
    assert cut == 0
