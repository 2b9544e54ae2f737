"""The widget in a real JupyterLab, in headless Chromium; and in a notebook that nbconvert exports."""

import os
import sys

import pytest
from tests.kit.browsers import free_port, launch, needs_browser, wait_for
from tests.kit.command_line import started

nbformat = pytest.importorskip("nbformat", reason="notebooks are written with nbformat")
pytest.importorskip("anywidget", reason="the widget runs on anywidget")
pytest.importorskip("ipykernel", reason="notebooks run in ipykernel")
pytestmark = pytest.mark.wide

CELL = (
    'import lignite\nmodel = lignite.load("tiny-sentiment")\n'
    'shown = lignite.widget(model, "The plot was thin, but the acting was superb.")\nshown'
)
PATIENCE = 120_000


def notebook():
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    return made


@pytest.mark.filterwarnings("ignore")  # of libraries that make and end the kernel
def test_an_exported_notebook_shows_the_card():
    """Whoever reads it later has no kernel."""
    preprocessors = pytest.importorskip("nbconvert.preprocessors", reason="notebooks are exported by nbconvert")
    exporters = pytest.importorskip("nbconvert", reason="notebooks are exported by nbconvert")
    made = notebook()

    preprocessors.ExecutePreprocessor(timeout=PATIENCE // 1000).preprocess(made)
    page, _ = exporters.HTMLExporter().from_notebook_node(made)

    assert "The model says negative" in page
    assert "superb" in page


@pytest.fixture
def lab(tmp_path):
    """JupyterLab in a folder of its own, with one notebook."""
    pytest.importorskip("jupyterlab", reason="notebooks are opened in JupyterLab")
    nbformat.write(notebook(), tmp_path / "why.ipynb")
    port = free_port()
    options = {"ServerApp.token": "", "ServerApp.password": "", "ServerApp.port": port, "ServerApp.root_dir": tmp_path}
    command = ["-m", "jupyterlab", "--no-browser", "--allow-root", "--LabApp.news_url=None"]
    folders = {name: str(tmp_path / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    environment = {"PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}", **folders}  # noqa: PTH120
    with started(*command, *(f"--{name}={value}" for name, value in options.items()), **environment):
        wait_for(f"http://127.0.0.1:{port}/api")
        yield f"http://127.0.0.1:{port}/lab/tree/why.ipynb"


@needs_browser
def test_a_click_in_jupyterlab_asks_the_kernel(lab):
    """Another class, a word taken away, then the flow of one layer."""
    playwright = pytest.importorskip("playwright.sync_api", reason="a browser is clicked through playwright")
    with playwright.sync_playwright() as driver:
        browser = launch(driver)
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        page.set_default_timeout(PATIENCE)
        playwright.expect.set_options(timeout=PATIENCE)
        page.goto(lab)
        playwright.expect(
            page.get_by_role("button", name="Python 3 (ipykernel) | Idle")
        ).to_be_visible()  # or keys are lost
        page.locator(".jp-CodeCell").first.click()
        page.keyboard.press("Shift+Enter")
        card = page.locator(".lignite-card").first
        playwright.expect(card).to_contain_text("The model says negative")

        page.get_by_label("Class").select_option(index=1)
        playwright.expect(card).to_contain_text("Asked was positive")
        page.get_by_role("button", name="thin").click()
        playwright.expect(page.get_by_text("Without thin (mask): predicted")).to_be_visible()
        page.get_by_label("Show", exact=True).select_option("flow")
        playwright.expect(card).to_contain_text("whole block")
        page.get_by_label("Layer", exact=True).select_option("2")
        playwright.expect(card).not_to_contain_text("layer 1")
        playwright.expect(card).to_contain_text("layer 2")
        page.screenshot(path=os.environ.get("LIGNITE_SHOT") or None)
        browser.close()
