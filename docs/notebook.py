"""Draw `docs/images/notebook.png`: a real notebook, run and photographed.

Needs nbconvert and ipykernel beside lignite, and Chromium: `python docs/notebook.py`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CELLS = (
    'import lignite\n\nmodel = lignite.load("tiny-sentiment")\n'
    'why = lignite.explain(model, "The plot was thin, but the acting was superb.")\nwhy',
    'lignite.flow(model, "A superb film.")',
)
PICTURE = Path(__file__).parent / "images" / "notebook.png"
SIZE = "980,760"


def main() -> None:
    """Run the cells, make a page of them, and photograph it."""
    import nbformat
    from nbconvert import HTMLExporter
    from nbconvert.preprocessors import ExecutePreprocessor

    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("neither chromium nor google-chrome is installed: install one of them.")
    os.environ["PYTHONWARNINGS"] = "ignore"  # of libraries that look for widgets
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    ExecutePreprocessor(timeout=600).preprocess(notebook)
    page, _ = HTMLExporter().from_notebook_node(notebook)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "notebook.html"
        path.write_text(page, encoding="utf-8")
        window = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={SIZE}"]
        subprocess.run([browser, *window, f"--screenshot={PICTURE}", path.as_uri()], check=True, capture_output=True)


if __name__ == "__main__":
    main()
