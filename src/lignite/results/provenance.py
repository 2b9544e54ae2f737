"""What a result was computed with."""

import platform
from importlib.metadata import version

from lignite.version import VERSION


def versions(*beside: str) -> dict[str, str]:
    """Of lignite, the libraries that compute and those named, and Python; none of them is imported for it."""
    libraries = {name: version(name) for name in ("torch", "transformers", *beside)}
    return {"lignite": VERSION, **libraries, "python": platform.python_version()}
