"""The version of what is installed, and of what a result was computed with."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("lignite")
except PackageNotFoundError:  # run from a source tree that is not installed
    VERSION = "0.0.0"


def versions(*beside: str) -> dict[str, str]:
    """Of lignite, the libraries that compute and those named, and Python; none of them is imported for it."""
    libraries = {name: _installed(name) for name in ("torch", "transformers", *beside)}
    return {"lignite": VERSION, **libraries, "python": platform.python_version()}


_installed = cache(version)
"""What stands in a package's metadata, which is read from disk once."""
