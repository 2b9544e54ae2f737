"""Draw `docs/images/dashboard.png`: the dashboard as it opens, with a word taken away.

Needs the extra `dashboard`, playwright and Chromium: `python docs/dashboard.py [--dark] [--width 1400] [FILE]`.
"""

import argparse
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PICTURE = Path(__file__).parent / "images" / "dashboard.png"
PORT = 8597
ADDRESS = f"http://localhost:{PORT}"
PATIENCE = 60
"""Seconds until it has started."""


def main() -> None:
    """Start it, click, photograph."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=PICTURE)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=1760)
    asked = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("neither chromium nor google-chrome is installed: install one of them.")
    with _served(), sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        size = {"width": asked.width, "height": asked.height}
        page = started.new_page(viewport=size, color_scheme="dark" if asked.dark else "light")
        page.goto(ADDRESS)
        page.get_by_role("button", name="thin +1.70").click(timeout=1000 * PATIENCE)
        page.get_by_text("Actual effect").wait_for()
        page.mouse.move(0, 0)
        page.get_by_test_id("stMain").evaluate("main => { main.scrollTop = 0; }")
        page.wait_for_timeout(1500)  # frames take the height of what is in them
        page.screenshot(path=asked.file)
        started.close()


@contextmanager
def _served() -> Iterator[None]:
    command = [sys.executable, "-m", "lignite", "dashboard", "--no-open", "--port", str(PORT)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            for _ in range(4 * PATIENCE):
                try:
                    urllib.request.urlopen(ADDRESS, timeout=5).close()
                    break
                except (urllib.error.URLError, OSError):
                    time.sleep(0.25)
            yield
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
