"""Which cases of a sweep run by default, and which in `make test-wide` alone."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest


def wide(*values: Any) -> list[Any]:
    """Cases that only the wide run tries: others of their kind run by default."""
    return [
        pytest.param(*value, marks=pytest.mark.wide)
        if isinstance(value, tuple)
        else pytest.param(value, marks=pytest.mark.wide)
        for value in values
    ]


def mostly_wide(values: Iterable[Any], by_default: Sequence[Any]) -> list[Any]:
    """All cases, of which those named run by default."""
    every = list(values)
    unknown = set(by_default) - set(every)
    assert not unknown, f"{unknown} are none of the cases"
    return [value if value in by_default else wide(value)[0] for value in every]
