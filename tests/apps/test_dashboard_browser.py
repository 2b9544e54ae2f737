"""The dashboard as a reader has it: typed into and clicked on, in headless Chromium."""

import numpy as np
import pytest
import xarray as xr
from PIL import Image
from tests.kit.browsers import free_port, launch, needs_browser, wait_for
from tests.kit.command_line import started
from tests.kit.headed_models import headed

import lignite
from lignite.zoo.samples import digit_scene

pytest.importorskip("streamlit", reason="the dashboard runs on streamlit")
playwright = pytest.importorskip("playwright.sync_api", reason="a browser is clicked through playwright")
pytestmark = [
    pytest.mark.wide,
    needs_browser,
]

TEXT = "The plot was thin, but the acting was superb."
PATIENCE = 60_000
"""Milliseconds: other tests run beside this one."""


@pytest.fixture(scope="module")
def address():
    """A dashboard of its own process."""
    port = free_port()
    with started("-m", "lignite", "dashboard", "--no-open", "--host", "127.0.0.1", "--port", port):
        wait_for(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        playwright.expect.set_options(timeout=PATIENCE)
        opened = launch(driver)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, address):
    """The dashboard, opened anew; what its scripts complain of is collected."""
    opened = browser.new_page(viewport={"width": 1400, "height": 1000}, accept_downloads=True)
    opened.set_default_timeout(PATIENCE)
    opened.complaints = []
    opened.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.goto(address)
    playwright.expect(verdict(opened)).to_be_visible()  # what is typed before may be lost
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def model():
    return lignite.load("tiny-sentiment")


def verdict(page):
    """The first sentence of the page within the page."""
    return page.frame_locator("iframe").first.locator("h2.answer").first


def type_text(page, text: str) -> None:
    field = page.get_by_label("Text", exact=True)
    field.fill(text)
    field.press("Control+Enter")


def choose(page, label: str, option: str) -> None:
    field = page.get_by_role("combobox", name=label).first
    field.fill(option)
    field.press("Enter")


def wait_until_drawn(page) -> None:
    """Streamlit says while it computes, and fades what is left of the view before."""
    page.wait_for_timeout(300)
    for left in (page.get_by_test_id("stStatusWidget"), page.locator("[data-stale=true]")):
        playwright.expect(left).to_have_count(0)


def downloaded(page, button: str, folder):
    """What is clicked while the page is made anew fails, and readers click again."""
    wait_until_drawn(page)
    for patience in (5_000, 10_000, PATIENCE):
        try:
            with page.expect_download(timeout=patience) as waiting:
                page.get_by_role("button", name=button, exact=True).click()
            break
        except playwright.TimeoutError:
            if patience == PATIENCE:
                raise
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def test_a_typed_text_is_explained_and_kept(page, model, tmp_path):
    """What the button writes is what the library answers."""
    type_text(page, "A superb film.")
    playwright.expect(verdict(page)).to_contain_text("The model says positive")

    why = lignite.open(downloaded(page, "NetCDF", tmp_path))
    picture = downloaded(page, "Picture", tmp_path)
    whole = downloaded(page, "Page", tmp_path)

    xr.testing.assert_identical(why, lignite.explain(model, "A superb film."))
    with Image.open(picture) as drawn:
        assert min(drawn.size) > 100
    assert "superb" in whole.read_text("utf-8")
    assert page.complaints == []


def test_another_class_is_explained_at_a_click(page, model, tmp_path):
    """The chips are the classes."""
    page.get_by_text("positive 43.1 %").click()
    playwright.expect(verdict(page)).to_contain_text("Asked was positive")

    why = lignite.open(downloaded(page, "NetCDF", tmp_path))

    np.testing.assert_array_equal(why.relevance, lignite.explain(model, TEXT, target="positive").relevance)


def test_a_word_taken_away_shows_predicted_and_actual_effect(page):
    """The score of thin is +1.70; the picture of the README shows it."""
    page.get_by_role("button", name="thin +1.70").click()

    shown = page.get_by_test_id("stMetric")

    playwright.expect(shown).to_have_count(3)
    playwright.expect(shown.nth(0)).to_contain_text("−1.70")
    playwright.expect(shown.nth(1)).to_contain_text("−1.64")


def test_two_methods_stand_side_by_side(page):
    """Each with its own verdict, and a difference below."""
    page.get_by_text("Compare", exact=True).click()

    playwright.expect(page.locator("iframe")).to_have_count(3)
    for frame in page.locator("iframe").all():
        playwright.expect(frame).not_to_have_css("height", "150px")  # a frame that nobody has measured
        within = frame.content_frame
        assert within.locator("html").evaluate("html => html.scrollHeight - html.clientHeight") <= 1
    for frame in (0, 1):
        playwright.expect(page.frame_locator("iframe").nth(frame).locator(".answer")).to_contain_text("negative")


def test_two_texts_stand_side_by_side(page):
    """One word of the first is changed, and the difference says which."""
    page.get_by_text("Compare", exact=True).click()
    page.get_by_role("button", name="Method", exact=True).click()
    page.get_by_role("button", name="Text", exact=True).click()
    field = page.get_by_label("Text beside it", exact=True)
    field.fill(TEXT.replace("superb", "dull"))
    field.press("Control+Enter")

    right, both = (page.frame_locator("iframe").nth(at) for at in (1, 2))
    playwright.expect(right.locator(".answer")).to_contain_text("negative")
    playwright.expect(both.locator("body")).to_contain_text("dull")
    playwright.expect(both.locator("body")).to_contain_text("superb")
    assert page.complaints == []


def test_a_dropped_picture_is_explained(page, tmp_path):
    """A model of images asks for one."""
    scene = digit_scene()
    path = tmp_path / "digit.png"
    Image.fromarray(scene.image).save(path)
    choose(page, "Model", "tiny-digits")
    page.locator("input[type=file]").set_input_files(path)
    playwright.expect(verdict(page)).to_contain_text(f"The model says {scene.label}")

    why = lignite.open(downloaded(page, "NetCDF", tmp_path))

    expected = lignite.explain(lignite.load("tiny-digits"), scene.image)
    np.testing.assert_array_equal(why.relevance, expected.relevance)


def test_a_model_that_is_not_there_is_one_message(page):
    """And the next one that is chosen works."""
    choose(page, "Model", "/nowhere/at/all")
    alert = page.get_by_role("alert")
    playwright.expect(alert).to_have_count(1)
    playwright.expect(alert).to_contain_text("there is no folder /nowhere/at/all")

    choose(page, "Model", "tiny-sentiment")

    playwright.expect(verdict(page)).to_contain_text("The model says negative")
    playwright.expect(alert).to_have_count(0)


def test_a_long_computation_ends_at_a_click(page):
    """Thousands of orders of words take minutes; nobody has to wait for them, and the next question is answered."""
    choose(page, "Method", "shapley")
    page.get_by_text("Precision and cost").click()
    field = page.get_by_role("spinbutton", name="N samples")
    field.fill("50000")
    field.press("Enter")
    page.get_by_role("button", name="Cancel").click()
    playwright.expect(page.get_by_text("Cancelled: explaining")).to_be_visible()

    choose(page, "Method", "gradient-x-input")

    playwright.expect(verdict(page)).to_contain_text("The model says negative")


def test_the_flow_is_followed(page):
    """With the page of flows within this one."""
    page.get_by_text("Flow", exact=True).click()

    playwright.expect(page.frame_locator("iframe").first.locator("h1")).to_be_visible()
    playwright.expect(page.frame_locator("iframe").first.locator("[data-name=graph]")).to_be_visible()


def test_methods_are_measured_at_a_click(page):
    """On the typed text, beside a row drawn at random."""
    page.get_by_text("Metrics", exact=True).click()
    page.get_by_role("button", name="Measure").click()

    table = page.frame_locator("iframe").first.locator("table").first

    for name in ("relevance-flow", "ig", "attention-x-gradient", "random"):
        playwright.expect(table).to_contain_text(name)
    assert page.complaints == []


def test_a_result_of_before_is_found_again(page, model, tmp_path):
    """The second newest is the text with which the page opened."""
    type_text(page, "A superb film.")
    playwright.expect(verdict(page)).to_contain_text("The model says positive")
    page.get_by_text("History", exact=True).click()
    choose(page, "Result", "1 ·")
    playwright.expect(verdict(page)).to_contain_text("The model says negative")

    why = lignite.open(downloaded(page, "NetCDF", tmp_path))

    xr.testing.assert_identical(why, lignite.explain(model, TEXT))


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """A folder with a small decoder, as somebody has it who trained one."""
    folder = tmp_path_factory.mktemp("decoder")
    made = headed("gpt2", "GPT2LMHeadModel")
    made.network.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    return folder


def test_the_next_token_of_a_decoder_is_explained(page, decoder, tmp_path):
    """Its folder is typed, then a text; chips are the likeliest tokens, and a second one is clicked."""
    choose(page, "Model", str(decoder))
    playwright.expect(page.get_by_text("Type a text, or drop a picture")).to_be_visible()
    type_text(page, "a superb film")
    chips = page.get_by_role("radiogroup", name="Answer to explain").get_by_role("radio")
    playwright.expect(chips).not_to_have_count(0)
    second = chips.nth(1).inner_text().rpartition(" ")[0].rpartition(" ")[0]
    chips.nth(1).click()
    playwright.expect(verdict(page)).to_contain_text(f"Asked was {second}")

    why = lignite.open(downloaded(page, "NetCDF", tmp_path))

    model = lignite.load(decoder)
    ids = model.tokenizer("a superb film", return_tensors="pt")["input_ids"]
    logits = model.network(input_ids=ids).logits[0, -1]
    label = int(logits.argsort(descending=True)[1])
    np.testing.assert_array_equal(why.relevance, lignite.explain(model, "a superb film", target=label).relevance)


VIEWS = ("Explain", "Compare", "Flow", "Metrics", "History")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_nothing_serious_bars_anybody_from_the_dashboard(page, view, scheme):
    """Contrast, names of fields, order of headings: what axe can see, in the frames within the page too."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install --group browser")
    page.emulate_media(color_scheme=scheme)
    page.get_by_text(view, exact=True).click()
    if view not in ("Explain", "Compare"):
        playwright.expect(page.get_by_text("Answer to explain")).to_have_count(0)
    wait_until_drawn(page)

    found = axe.Axe().run(page).response["violations"]

    serious = [
        (one["id"], node["target"], node["html"][:200])
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
    assert serious == []


@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_is_wider_than_the_window(page, width):
    """A phone scrolls one way."""
    page.set_viewport_size({"width": width, "height": 900})
    playwright.expect(verdict(page)).to_contain_text("The model says")

    sides = page.evaluate(
        "[document.documentElement.scrollWidth, document.querySelector('[data-testid=stMain]').scrollWidth]"
    )

    assert max(sides) <= width
