"""Columns: under which names a data set holds texts, images, classes and what people marked."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from lignite.calls import fit_fields
from lignite.errors import OptionError
from lignite.wording import did_you_mean

WORD_SPANS = "words:"
"""Before a column's name: its spans count words between white space, not characters."""


def _column(text: str, default: Any = None, *, of: str = "") -> Any:
    return field(default=default, metadata={"help": text, "of": of})


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of the columns of a data set, None for what it does not have; `read_examples` says what they hold."""

    text: str = _column("Column of the texts.", "text", of="texts")
    pair: str | None = _column("Column of second texts.", of="texts")
    label: str | None = _column("Column of the classes, by name or number: shows how often the model is right.")
    rationale: str | None = _column(
        "Column of human evidence: character spans, one flag per word, or quoted evidence. words:COLUMN reads spans "
        "that count words.",
        of="texts",
    )
    polarity: str | None = _column(
        "Column of signed evidence, spans with a sign: + speaks for the second of two classes.", of="texts"
    )
    image: str = _column(
        "Column of the images, for models of images: paths from the file's folder.", "image", of="images"
    )
    mask: str | None = _column("Column of pictures that are not zero on the object, of the image's size.", of="images")
    distractor: str | None = _column(
        "Column of pictures that are not zero on what should have no relevance.", of="images"
    )
    boxes: str | None = _column(
        "Instead of --mask: column of rectangles, top, left, bottom, right in the image's pixels.", of="images"
    )
    cells: str | None = _column("Column of the classes of a mosaic's four cells, in reading order.", of="images")

    def __post_init__(self) -> None:
        fit_fields(self)
        if self.mask is not None and self.boxes is not None:
            raise OptionError("mask= and boxes= both outline the object: name one of them.")
        if self.distractor is not None and not self.outlined:
            raise OptionError("distractor= needs the object's own mask= or boxes= beside it.")

    @classmethod
    def named(cls, given: Mapping[str, Any], *, by: str, beside: tuple[str, ...] = ()) -> "Columns":
        """The columns that a call of the function `by` names; `beside` are its other arguments.

        Raises
        ------
        OptionError
            If an argument is neither.
        """
        known = [each.name for each in fields(cls)]
        for name in given:
            if name not in known:
                listed = [*beside, *known]
                raise OptionError(
                    f"{by}() has no argument {name!r}; it takes {', '.join(listed)}.{did_you_mean(name, listed)}"
                )
        return cls(**given)

    @property
    def outlined(self) -> bool:
        """Whether the data set says where the object is."""
        return self.mask is not None or self.boxes is not None

    @property
    def evidence(self) -> frozenset[str]:
        """What people marked, by the names that metrics need it under: boxes are as good as a mask."""
        there = {
            "rationale": self.rationale is not None,
            "polarity": self.polarity is not None,
            "mask": self.outlined,
            "distractor": self.distractor is not None,
            "cells": self.cells is not None,
        }
        return frozenset(name for name, present in there.items() if present)

    def read(self, *, images: bool) -> dict[str, str]:
        """Columns that are read of a data set of images, or of texts, by what they hold."""
        return self._named("", "images" if images else "texts")

    def foreign(self, *, images: bool) -> dict[str, str]:
        """Columns that were named although inputs of this kind have no such thing."""
        named = self._named("texts" if images else "images")
        return {role: column for role, column in named.items() if role not in ("text", "image")}

    def _named(self, *kinds: str) -> dict[str, str]:
        roles = [each.name for each in fields(self) if each.metadata["of"] in kinds]
        return {role: getattr(self, role) for role in roles if getattr(self, role) is not None}
