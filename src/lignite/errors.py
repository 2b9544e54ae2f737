"""How lignite fails on purpose: what was given, what was expected, what to do."""

import sys
import warnings

from lignite.wording import one_line, shorten

LONGEST = 2000
"""Characters of a message: what it repeats may be of any length."""


class _Told(Exception):
    """What is told in one line, harmless wherever it is printed."""

    def __str__(self) -> str:
        return shorten(one_line(super().__str__()), LONGEST)


class LigniteError(_Told):
    """Every error that lignite raises on purpose: one line, and harmless wherever it is printed."""


class InputError(LigniteError, ValueError):
    """The text, image or tensors cannot be explained as given: empty, too long, of the wrong kind."""


class OptionError(LigniteError, ValueError):
    """An option has a value lignite does not know, or two options contradict each other."""


class ModelError(LigniteError):
    """A model cannot be loaded, or has no blocks that lignite can explain."""


class BypassError(ModelError):
    """The model's answer is no function of its layers' states, so that nothing said of them would explain it.

    Attributes
    ----------
    row
        The input for which this showed.
    """

    def __init__(self, message: str, row: object = None):
        super().__init__(message)
        self.row = row


class SplitError(ModelError):
    """A block cannot be divided into pre, attend and post; the message says which check it failed."""


class NotFiniteError(LigniteError):
    """NaN or infinity in weights, states or scores; the message says where it appeared first."""


class FileError(LigniteError):
    """A file cannot be read or written as asked."""


class GridError(LigniteError, ValueError):
    """Two results speak about different tokens and cannot be compared."""


class LigniteWarning(_Told, UserWarning):
    """Every warning of lignite; one line and harmless, as its errors are."""


class GapWarning(LigniteWarning):
    """Scores miss more of their displacement than `tol` allows; the message names layer, targets and remedy."""


class BaselineWarning(LigniteWarning):
    """A path starts where its model turns over at once; the message names a baseline that means more."""


def warn(message: str, category: type[LigniteWarning] = LigniteWarning) -> None:
    """Warn at the line outside lignite that led here: that is the one to change."""
    level, outside, frame = 1, 2, sys._getframe()
    while frame.f_back is not None:
        level, frame = level + 1, frame.f_back
        if frame.f_globals.get("__name__", "").partition(".")[0] == "lignite":
            outside = level + 1
    warnings.warn(message, category, stacklevel=outside)
