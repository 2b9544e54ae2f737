"""Draw `docs/images/dashboard.png`: the dashboard as it opens, with a word taken away.

Needs the extra `dashboard`, playwright and Chromium: `python docs/dashboard.py [--dark] [--width 1280] [FILE]`.
"""

import argparse
from pathlib import Path

from photograph import PATIENCE, WIDE, Room, free_port, open_browser, open_page, served

PICTURE = Path(__file__).parent / "images" / "dashboard.png"


def main() -> None:
    """Start it, click, photograph."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=PICTURE)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=WIDE)
    parser.add_argument("--height", type=int, default=1760)
    asked = parser.parse_args()
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with served("-m", "lignite", "dashboard", "--no-open", "--port", port, answers=address), open_browser() as browser:
        page = open_page(browser, address, Room("", asked.width, asked.dark), height=asked.height)
        page.get_by_role("button", name="thin +1.70").click(timeout=1000 * PATIENCE)
        page.get_by_text("Actual effect").wait_for()
        page.mouse.move(0, 0)
        page.get_by_test_id("stMain").evaluate("main => { main.scrollTop = 0; }")
        page.wait_for_timeout(1500)  # frames take the height of what is in them
        page.screenshot(path=asked.file)


if __name__ == "__main__":
    main()
