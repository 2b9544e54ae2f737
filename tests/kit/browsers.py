"""A browser that tests click through, and servers that it opens."""

import shutil
import socket
import time
import urllib.error
import urllib.request

import pytest

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="neither chromium nor google-chrome is installed")


def launch(driver):
    """Headless, through playwright."""
    return driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(address: str) -> None:
    """Until a server answers, for a minute at most."""
    for _ in range(240):
        try:
            urllib.request.urlopen(address, timeout=5).close()
            break
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
