"""How lignite fails on purpose: what was given, what was expected, what to do."""


class LigniteError(Exception):
    """Every error that lignite raises on purpose. The command line prints it as one line."""


class InputError(LigniteError, ValueError):
    """The text, image or tensors cannot be explained as given: empty, too long, of the wrong kind."""


class OptionError(LigniteError, ValueError):
    """An option has a value lignite does not know, or two options contradict each other."""


class ModelError(LigniteError):
    """A model cannot be loaded, or has no blocks that lignite can explain."""


class SplitError(ModelError):
    """A block cannot be divided into pre, attend and post; the message says which check it failed."""


class NotFiniteError(LigniteError):
    """NaN or infinity in weights, states or scores; the message says where it appeared first."""


class FileError(LigniteError):
    """A file cannot be read or written as asked."""


class GridError(LigniteError, ValueError):
    """Two results speak about different tokens and cannot be compared."""


class GapWarning(UserWarning):
    """Scores miss more of their displacement than `tol` allows; the message names layer, targets and remedy."""
