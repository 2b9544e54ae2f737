"""Colours of pages and notebook cells as classes of a style sheet: ten tones for, ten against, each with its ink."""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from lignite.views.drawing import choose_ink
from lignite.views.palette import diverging

STEPS = 10
SEEN = 0.04
"""Shares of the largest score below it stay without colour."""

Sign = Literal["f", "a"]


def tone_of(share: float) -> str:
    """Which of the ten tones of its sign a share of the largest score has; none where it is next to nothing.

    Examples
    --------
    >>> tone_of(0.03), tone_of(0.05), tone_of(-0.5), tone_of(7.0), tone_of(float("nan"))
    ('', 'f1', 'a6', 'f10', '')
    """
    if not abs(share) >= SEEN:
        return ""
    return f"{'f' if share > 0 else 'a'}{min(STEPS, 1 + int(STEPS * abs(share)))}"


def _tones(*, dark: bool) -> Iterator[tuple[str, tuple[str, str]]]:
    scale = diverging(dark=dark)
    middle = len(scale) // 2
    for sign, stops in (("f", scale[middle:]), ("a", scale[middle::-1])):
        channels = np.array([[int(stop[at : at + 2], 16) for at in (1, 3, 5)] for stop in stops])
        for step in range(1, STEPS + 1):
            place = np.interp(step / STEPS, np.linspace(0, 1, len(stops)), np.arange(len(stops)))
            mixed = [np.interp(place, np.arange(len(stops)), channel) for channel in channels.T]
            tone = "#" + "".join(f"{round(float(part)):02x}" for part in mixed)
            yield f"{sign}{step}", (tone, choose_ink(tone))


TONES = {room: dict(_tones(dark=room == "dark")) for room in ("light", "dark")}
"""Ground and ink of every tone, in a light and in a dark room; f speaks for, a against."""
