"""Calls that end the process they are made in, as a lack of memory does."""

import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path


def dies_once(marker, number):
    """End the first process that makes the call, and answer in the next."""
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def dies():
    os.kill(os.getpid(), signal.SIGKILL)


def says_who_and_waits(file):
    with Path(file).open("a") as written:
        written.write(f"{os.getpid()}\n")
    time.sleep(600)


@dataclass(frozen=True)
class Numbers:
    """Several numbers, some of which end the process that they are computed in."""

    given: tuple[int, ...]
    deadly: frozenset[int]
    left_out: tuple[int, ...] = ()

    def __call__(self):
        if self.deadly & set(self.given):
            dies()
        return self.given, self.left_out

    def divide(self):
        half = len(self.given) // 2
        return [replace(self, given=part) for part in (self.given[:half], self.given[half:])] if half else []

    def leave_out(self, parts):
        left_out = tuple(number for part in parts for number in part.given)
        return replace(self, given=tuple(one for one in self.given if one not in left_out), left_out=left_out)


DEADLY = "a film so long that no worker has the memory for it"


class DeadlyText(str):
    """A text that ends every process but that in which it was written, as soon as it is measured there."""

    def __new__(cls, text):
        made = super().__new__(cls, text)
        made.home = os.getpid()
        return made

    def __getnewargs__(self):
        return (str(self),)

    def __len__(self):
        if os.getpid() != self.home:
            dies()
        return super().__len__()
