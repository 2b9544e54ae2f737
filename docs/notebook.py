"""Draw `docs/images/notebook.png`: a real notebook, run and photographed.

Needs nbconvert and ipykernel beside lignite, playwright and Chromium: `python docs/notebook.py`.
"""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from photograph import PATIENCE, Room, open_browser, photograph

CELLS = (
    'import lignite\n\nmodel = lignite.load("tiny-sentiment")\n'
    'why = lignite.explain(model, "The plot was thin, but the acting was superb.")\nwhy',
    'lignite.flow(model, "A superb film.")',
)
PICTURE = Path(__file__).parent / "images" / "notebook.png"


def main() -> None:
    """Run the cells, make a page of them, and photograph it."""
    from nbconvert import HTMLExporter

    page, _ = HTMLExporter().from_notebook_node(run(CELLS))
    with tempfile.TemporaryDirectory() as folder, open_browser() as browser:
        path = Path(folder) / "notebook.html"
        path.write_text(page, encoding="utf-8")
        photograph(browser, path.as_uri(), PICTURE, Room("", 980), height=700)


def run(cells: Iterable[str]) -> Any:
    """A notebook of these cells, run in a kernel of its own; nobody waits for longer than for a page."""
    import nbformat
    from nbconvert.preprocessors import ExecutePreprocessor

    os.environ["PYTHONWARNINGS"] = "ignore"  # of libraries that look for widgets
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    ExecutePreprocessor(timeout=PATIENCE, startup_timeout=PATIENCE, iopub_timeout=PATIENCE).preprocess(notebook)
    return notebook


if __name__ == "__main__":
    main()
