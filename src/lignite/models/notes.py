"""What was found out about a model, kept for as long as it lives."""

from typing import Any
from weakref import WeakKeyDictionary

_notes: "WeakKeyDictionary[object, dict[str, Any]]" = WeakKeyDictionary()


def notes_on(thing: object) -> dict[str, Any]:
    """Keep answers about a network, or an input, by question: what takes runs of the model to find out is asked once.

    Nothing else is kept from one call to the next. Whoever writes a note says in its name what it answers.

    Examples
    --------
    >>> class Network: ...
    >>> network = Network()
    >>> notes_on(network)["is tall"] = True
    >>> notes_on(network), notes_on(Network())
    ({'is tall': True}, {})
    """
    return _notes.setdefault(thing, {})
