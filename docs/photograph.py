"""Photographs of pages for the documents, in the Chromium or Chrome that is installed.

`python docs/photograph.py PAGE FILE [--dark] [--width 1280]` needs playwright beside it.
"""

import argparse
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WIDE, NARROW = 1280, 390
PATIENCE = 900
"""Seconds until a server answers, or a page shows what is waited for: whoever draws may have little of a machine."""

DRAWN = """() => {
  const waits = document.getElementById("meta") && !document.body.classList.contains("live");
  return !waits && !document.querySelector("[aria-busy=true]");
}"""
"""Whether the scripts of a page have drawn what they draw when it opens."""


@dataclass(frozen=True)
class Room:
    """How a page is looked at."""

    name: str
    width: int = WIDE
    dark: bool = False
    print: bool = False
    forced: bool = False


ROOMS = tuple(
    Room(f"{'narrow' if width == NARROW else 'wide'}-{'dark' if dark else 'light'}", width, dark)
    for width in (WIDE, NARROW)
    for dark in (False, True)
)
STILL = (Room("print", 794, print=True), Room("forced", forced=True))
"""On paper (A4 at 96 dots per inch), and in a system's own colours."""


@contextmanager
def open_browser() -> Iterator[Any]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        sys.exit("neither chromium nor google-chrome is installed: install one of them.")
    with sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = driver.chromium.launch(executable_path=path, args=arguments, timeout=1000 * PATIENCE)
        yield browser
        browser.close()


def open_page(browser: Any, address: str, room: Room, *, height: int = 900) -> Any:
    """A page in a room."""
    page = browser.new_page(viewport={"width": room.width, "height": height})
    page.set_default_timeout(1000 * PATIENCE)
    page.emulate_media(
        media="print" if room.print else "screen",
        color_scheme="dark" if room.dark else "light",
        forced_colors="active" if room.forced else "none",
    )
    page.goto(address)
    return page


def photograph(browser: Any, address: str, path: Path, room: Room, *, within: str = "", height: int = 900) -> int:
    """Photograph a whole page, or the first element `within` it; by how many pixels it is wider than the room."""
    page = open_page(browser, address, room, height=height)
    page.wait_for_function(DRAWN)
    page.evaluate("document.fonts.ready.then(() => true)")
    if within:
        page.locator(within).first.screenshot(path=path)
    else:
        page.screenshot(path=path, full_page=True)
    beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    page.close()
    return int(beyond)


@contextmanager
def served(*command: object, answers: str, **environment: str) -> Iterator[None]:
    """A server of its own, until it is no longer needed.

    Raises
    ------
    RuntimeError
        If it ends before it answers, or does not answer.
    """
    arguments = [sys.executable, *map(str, command)]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(arguments, stdout=said, stderr=said, env={**os.environ, **environment}) as process,
    ):
        try:
            if not _answers(process, answers):
                said.seek(0)
                raise RuntimeError(f"{shlex.join(arguments)} did not answer at {answers}:\n{said.read().decode()}")
            yield
        finally:
            process.terminate()


def _answers(process: "subprocess.Popen[bytes]", address: str) -> bool:
    """Whether a server answers before it ends, and before patience does."""
    began = time.monotonic()
    while process.poll() is None and time.monotonic() - began < PATIENCE:
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.25)
        else:
            return True
    return False


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def terminal_page(printed: str, columns: int, *, dark: bool, title: str) -> str:
    """What a command printed, escapes included, as a page that looks like a terminal of so many columns."""
    from rich.console import Console
    from rich.terminal_theme import DEFAULT_TERMINAL_THEME, MONOKAI
    from rich.text import Text

    console = Console(record=True, width=columns, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(Text.from_ansi(printed), soft_wrap=True)
    drawn = console.export_svg(title=title, theme=MONOKAI if dark else DEFAULT_TERMINAL_THEME)
    drawn = re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL)  # from a server far away
    return f'<!doctype html><meta charset="utf-8"><body style="margin:0">{drawn}</body>'


def main() -> None:
    """Photograph one page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=WIDE)
    asked = parser.parse_args()
    with open_browser() as browser:
        photograph(browser, asked.page.resolve().as_uri(), asked.file, Room("", asked.width, asked.dark))


if __name__ == "__main__":
    main()
