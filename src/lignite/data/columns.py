"""Columns: under which names a data set holds texts, images, classes and what people marked."""

from dataclasses import dataclass
from typing import Any, ClassVar

from lignite.errors import OptionError
from lignite.options import Options, option

WORD_SPANS = "words:"
"""Before a column's name: its spans count words between white space, not characters."""

OF_TEXTS = ("text", "pair", "label", "rationale", "polarity")
OF_IMAGES = ("image", "label", "mask", "distractor", "boxes", "cells")
"""What is read of examples of either kind."""


def _column(text: str, default: Any = None) -> Any:
    return option(default, text, panel="Data", metavar="COLUMN")


@dataclass(frozen=True, kw_only=True)
class InputColumns(Options):
    """Names of the columns that hold what a model is given."""

    of_texts_alone: ClassVar[tuple[str, ...]] = ("pair",)
    of_images_alone: ClassVar[tuple[str, ...]] = ()

    text: str = _column("Column of the texts.", "text")
    pair: str | None = _column("Column of second texts.")
    image: str = _column("Column of the images, for models of images: paths from the file's folder.", "image")

    def check_kind(self, model: str, *, images: bool) -> None:
        """Refuse columns of texts for a model of images, and the other way round."""
        named = self.of_texts_alone if images else self.of_images_alone
        reads, other = ("images", "texts") if images else ("texts", "images")
        for name in named:
            value = getattr(self, name)
            if value:
                raise OptionError(f"{name}={value!r} is for models of {other}; {model} reads {reads}. Leave it out.")

    def read(self, *, images: bool) -> dict[str, str]:
        """Columns that are read of a data set of images, or of texts, by what they hold."""
        roles = OF_IMAGES if images else OF_TEXTS
        return {role: getattr(self, role) for role in roles if getattr(self, role, None) is not None}


@dataclass(frozen=True, kw_only=True)
class Columns(InputColumns):
    """Names of the columns of a data set, None for what it does not have; `read_examples` says what they hold."""

    of_texts_alone: ClassVar[tuple[str, ...]] = ("pair", "rationale", "polarity")
    of_images_alone: ClassVar[tuple[str, ...]] = ("mask", "distractor", "boxes", "cells")

    label: str | None = _column("Column of the classes, by name or number: shows how often the model is right.")
    rationale: str | None = _column(
        "Column of human evidence: character spans, one flag per word, or quoted evidence. words:COLUMN reads spans "
        "that count words."
    )
    polarity: str | None = _column(
        "Column of signed evidence, spans with a sign: + speaks for the second of two classes."
    )
    mask: str | None = _column(
        "Column of pictures that are not zero on the object, of the image's size or of what the model sees. Masks go "
        "the way of their image through its processor, each pixel as its nearest neighbour."
    )
    distractor: str | None = _column("Column of pictures that are not zero on what should have no relevance.")
    boxes: str | None = _column(
        "Instead of a mask: column of rectangles, top, left, bottom, right in the image's pixels."
    )
    cells: str | None = _column("Column of the classes of a mosaic's four cells, in reading order.")

    def check(self) -> None:
        """Refuse two outlines of one object, and a distractor without any."""
        if self.mask is not None and self.boxes is not None:
            raise OptionError("mask= and boxes= both outline the object: name one of them.")
        if self.distractor is not None and self.mask is None and self.boxes is None:
            raise OptionError("distractor= needs the object's own mask= or boxes= beside it.")

    @property
    def evidence(self) -> frozenset[str]:
        """What people marked, by the names that metrics need it under: boxes are as good as a mask."""
        named = {"mask": self.mask or self.boxes} | {
            name: getattr(self, name) for name in ("rationale", "polarity", "distractor", "cells")
        }
        return frozenset(name for name, column in named.items() if column is not None)
