"""`lignite dashboard`: a page in the browser, on which people ask a model by typing and clicking."""

import socket
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from lignite.errors import OptionError

EXAMPLES = """[bold]Examples[/bold]

  lignite dashboard

  lignite dashboard tiny-digits

  lignite dashboard ./my-model ./its-last-checkpoint

  lignite dashboard --host 0.0.0.0 --port 8080   [dim](for everybody who reaches this machine)[/dim]"""

SCRIPT = Path(__file__).parents[1] / "dashboard" / "app.py"
LOCAL = ("localhost", "127.0.0.1", "::1")
FIRST_PORT, PORTS = 8501, 50
THEMES: dict[str, dict[str, Any]] = {
    "light": {
        "primaryColor": "#8f3f08", "backgroundColor": "#f6f4f0", "secondaryBackgroundColor": "#fffefc",
        "textColor": "#14161a", "borderColor": "#e2ded6",
    },
    "dark": {
        "primaryColor": "#e88a3e", "backgroundColor": "#131417", "secondaryBackgroundColor": "#1d1f23",
        "textColor": "#e9e7e2", "borderColor": "#33363b",
    },
}  # fmt: skip
"""The colours of lignite's own pages, which stand on this one; in the light darker ones where Streamlit pales them."""

Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL]...", show_default="tiny-sentiment",
        help="Bundled models, folders or hub ids to choose from; the first is shown first.",
    ),
]  # fmt: skip
Host = Annotated[
    str, typer.Option("--host", metavar="NAME", help="Where to listen. Other than localhost, others can reach it.")
]
Port = Annotated[
    int | None,
    typer.Option(
        "--port", metavar="N", min=1, max=65535, show_default=f"the first free from {FIRST_PORT}", help="At which port."
    ),
]
AnyModel = Annotated[
    bool,
    typer.Option(
        "--any-model", show_default=False,
        help="Readers may type folders and hub ids of their own, also where --host lets others in.",
    ),
]  # fmt: skip
OpenPage = Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the web browser.")]


def dashboard(
    models: Models = None,
    *,
    host: Host = "localhost",
    port: Port = None,
    any_model: AnyModel = False,
    open_page: OpenPage = True,
) -> None:
    """Ask models in the browser: explain, take words away, compare, follow the flow, measure.

    Runs on this machine, for this machine alone unless --host says otherwise, until Ctrl-C. Code that comes with a
    model is never run.
    """
    if find_spec("streamlit") is None:
        raise OptionError("the dashboard runs on streamlit, which is not installed: install lignite[dashboard].")
    bootstrap = import_module("streamlit.web.bootstrap")
    offered = "any" if any_model or host in LOCAL else "listed"
    options = settings(host, _free_port(host, port), open_page=open_page)
    bootstrap.load_config_options(options)
    bootstrap.run(str(SCRIPT), False, [offered, *(models or [])], options)


def settings(host: str, port: int, *, open_page: bool) -> dict[str, Any]:
    """How Streamlit runs: nothing is sent to anybody, nothing is watched, readers see no traceback."""
    return {
        "server_address": host,
        "server_port": port,
        "server_headless": not open_page,
        "server_showEmailPrompt": False,
        "server_fileWatcherType": "none",
        "server_runOnSave": False,
        "server_maxUploadSize": 16,
        "server_allowedHosts": list(LOCAL) if host in LOCAL else [],  # no page elsewhere asks in a reader's name
        "browser_gatherUsageStats": False,
        "client_toolbarMode": "minimal",
        "client_showErrorDetails": "none",
        **{f"theme_{room}_{name}": value for room, theme in THEMES.items() for name, value in theme.items()},
    }


def _free_port(host: str, port: int | None) -> int:
    """The port that was asked for, or the first that is free.

    Raises
    ------
    OptionError
        If it is taken, or there is no such host.
    """
    for number in [port] if port else range(FIRST_PORT, FIRST_PORT + PORTS):
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind(address)
        except socket.gaierror as error:
            raise OptionError(f"host={host!r} is no name of this machine ({error.strerror}); use localhost.") from error
        except OSError as error:
            if port:
                reason = f"port={port} on {host} cannot be used ({error.strerror})"
                raise OptionError(f"{reason}; name another one, or leave it out.") from error
        else:
            return number
    raise OptionError(f"no port from {FIRST_PORT} to {FIRST_PORT + PORTS - 1} is free on {host}; name one with port=.")
