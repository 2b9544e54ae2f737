"""Libraries that only some methods need, imported when one of those runs."""

import importlib
from typing import Any

from lignite.errors import OptionError


def load_optional(library: str, method: str, remedy: str) -> Any:
    """Import a library that lignite does not depend on.

    Raises
    ------
    OptionError
        If it is not installed, or not with these versions of the others; the message says what to do.
    """
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        if error.name and library.split(".")[0] == error.name.split(".")[0]:
            raise OptionError(
                f"method={method!r} runs on {library.split('.')[0]}, which is not installed: {remedy}."
            ) from error
        raise OptionError(
            f"method={method!r}: {library} needs {error.name}, which is not installed: {remedy}."
        ) from error
    except Exception as error:  # whatever a library does when it meets versions that it does not know
        raise OptionError(f"method={method!r}: {library} cannot be imported ({error}): {remedy}.") from error
