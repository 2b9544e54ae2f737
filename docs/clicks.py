"""Clicks that lead through the dashboard; each goes on when the page shows what it did, however long that takes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from photograph import Room, free_port, open_page, served

HIDES_ITS_SIDE = 700
"""A page narrower than this shows the fields at its side when a button is clicked."""

AT_REST = """() => {
  const { testScriptState, testConnectionState } = document.querySelector("[data-testid=stApp]").dataset;
  const runs = testScriptState !== "notRunning" || testConnectionState !== "CONNECTED";
  return !runs && !document.querySelector("[data-stale=true]");
}"""
MEASURED = """() => {
  const { scrollHeight, clientHeight } = document.documentElement;
  return innerHeight !== 150 && scrollHeight <= clientHeight + 1;
}"""
"""Of a frame: 150 is its height as long as nobody has measured what is in it."""


@contextmanager
def dashboard(*models: str) -> Iterator[str]:
    """The address of a dashboard of its own process."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with served("-m", "lignite", "dashboard", *models, "--no-open", "--port", port, answers=address):
        yield address


def open_dashboard(browser: Any, address: str, room: Room, *, height: int) -> Any:
    """The dashboard with the answer that it opens with; what is clicked before it is at rest may be lost."""
    page = open_page(browser, address, room, height=height)
    wait_for_answer(page, "The model says")
    settle(page)
    return page


def settle(page: Any) -> None:
    """Wait until nothing is computed, nothing stands there from before, and every frame is as high as what is in it."""
    page.wait_for_function(AT_REST)
    for frame in page.frames[1:]:
        frame.wait_for_function(MEASURED)


def wait_for_answer(page: Any, says: str, *, frame: int = 0) -> None:
    """Wait until a frame of the page says so."""
    page.frame_locator("iframe").nth(frame).get_by_text(says).first.wait_for()


@contextmanager
def side(page: Any) -> Iterator[None]:
    """The fields at the side of the page, shown and put away again where it is narrow."""
    if page.viewport_size["width"] >= HIDES_ITS_SIDE:
        yield
        return
    page.get_by_test_id("stExpandSidebarButton").click()
    slid(page)
    yield
    page.get_by_test_id("stSidebarCollapseButton").click()
    page.get_by_test_id("stExpandSidebarButton").wait_for()
    slid(page)


def slid(page: Any) -> None:
    """Wait until the side stands still: a list that opens in it while it moves is closed at once."""
    moving = "side => Promise.allSettled(side.getAnimations().map((move) => move.finished))"
    page.get_by_test_id("stSidebar").evaluate(moving)


def choose_model(page: Any, name: str) -> None:
    """A model, until it is loaded and asks for its input."""
    with side(page):
        page.get_by_role("combobox", name="Model").first.fill(name)
        page.get_by_role("option", name=name, exact=True).click()
    page.get_by_text("Type a text, or drop a picture").wait_for()


def see(page: Any, view: str) -> None:
    """Another view."""
    page.get_by_text(view, exact=True).click()


def type_in(page: Any, label: str, text: str) -> None:
    """A text in a field, until it is explained."""
    field = page.get_by_role("textbox", name=label, exact=True)
    field.fill(text)
    field.press("Control+Enter")
    wait_for_answer(page, text)


def take_away(page: Any) -> None:
    """A word."""
    page.get_by_role("button", name="thin").first.click()
    page.get_by_text("Actual effect").wait_for()


def type_pair(page: Any) -> None:
    """A question and its answer."""
    with side(page):
        page.get_by_test_id("stExpander").filter(has_text="What is asked").locator("summary").click()
        type_in(page, "Second text", "Thin, but the acting was superb.")
    type_in(page, "Text", "How was the plot?")


def type_beginning(page: Any) -> None:
    """A text to go on with."""
    choose_model(page, "./writer")
    type_in(page, "Text", "The plot was thin, but the acting was")


def drop_picture(page: Any) -> None:
    """A handwritten digit, for the model that reads some."""
    from PIL import Image

    from lignite.zoo.samples import digit_scene

    scene, path = digit_scene(), Path("digit.png")
    Image.fromarray(scene.image).save(path)
    choose_model(page, "tiny-digits")
    page.locator("input[type=file]").set_input_files(path)
    wait_for_answer(page, f"The model says {scene.label}")


def follow(page: Any) -> None:
    """The flow of what is asked."""
    see(page, "Flow")
    wait_for_answer(page, "Strongest:")


def follow_picture(page: Any) -> None:
    """The flow of a picture."""
    drop_picture(page)
    follow(page)


def measure(page: Any) -> None:
    """The methods that are offered."""
    see(page, "Metrics")
    page.get_by_role("button", name="Measure").click()
    wait_for_answer(page, "Best on")


def lay_side_by_side(page: Any) -> None:
    """Two methods, and below them where they differ."""
    see(page, "Compare")
    wait_for_answer(page, "differs most from", frame=2)


STEPS: dict[str, Callable[[Any], None]] = {
    "text": take_away, "pair": type_pair, "continuation": type_beginning, "image": drop_picture, "flow": follow,
    "image flow": follow_picture, "evaluation": measure, "comparison": lay_side_by_side,
}  # fmt: skip
"""What leads to each kind of result."""
