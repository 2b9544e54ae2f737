"""Draw `docs/images/dashboard.png`: the dashboard as it opens, with a word taken away.

Needs the extra `dashboard`, playwright and Chromium: `python docs/dashboard.py [--dark] [--width 1280] [FILE]`.
"""

import argparse
from pathlib import Path

from clicks import dashboard, open_dashboard, settle, take_away
from photograph import WIDE, Room, open_browser

PICTURE = Path(__file__).parent / "images" / "dashboard.png"


def main() -> None:
    """Start it, click, photograph."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=PICTURE)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=WIDE)
    parser.add_argument("--height", type=int, default=1760)
    asked = parser.parse_args()
    with dashboard() as address, open_browser() as browser:
        page = open_dashboard(browser, address, Room("", asked.width, asked.dark), height=asked.height)
        take_away(page)
        settle(page)
        page.mouse.move(0, 0)
        page.get_by_test_id("stMain").evaluate("main => { main.scrollTop = 0; }")
        page.screenshot(path=asked.file)


if __name__ == "__main__":
    main()
