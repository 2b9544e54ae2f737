"""What is imported late: when it is called, or as soon as a library is that it adds to and that takes long itself."""

import importlib
import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from lignite.errors import FileError, OptionError


def find_late(name: str) -> Any:
    """The function of this name, ``package.module.function``, imported now.

    Examples
    --------
    >>> find_late("math.floor")(1.5)
    1
    """
    module, _, function = name.rpartition(".")
    return getattr(importlib.import_module(module), function)


def import_extra(library: str, extra: str, what: str) -> Any:
    """Import a library that only some need; `what` is said to need it where it is not installed.

    Raises
    ------
    FileError
        If it is not there.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise FileError(f"{what} need {library.split('.')[0]}: pip install 'lignite[{extra}]'.") from error


class _After(importlib.abc.MetaPathFinder):
    """Finds one library as it is found without this, once, and imports a module behind it."""

    def __init__(self, library: str, module: str) -> None:
        self.library, self.module = library, module

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self.library:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_both(module: ModuleType) -> None:
            execute(module)
            importlib.import_module(self.module)

        spec.loader.exec_module = execute_both  # type: ignore[method-assign]
        return spec


def import_after(library: str, module: str) -> None:
    """Import a module now if a library is imported already, and otherwise as soon as it is."""
    if library in sys.modules:
        importlib.import_module(module)
    else:
        sys.meta_path.insert(0, _After(library, module))


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
