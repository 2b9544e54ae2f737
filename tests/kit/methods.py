"""Options for tests that try every method: each takes those that it has."""

from lignite.methods import METHODS
from lignite.options import options_of


def those_of(method, **options):
    """The options among these that a method has."""
    return {name: value for name, value in options.items() if name in options_of(METHODS[method])}
