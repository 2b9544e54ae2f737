"""A study of nothing but letters, cheap and known by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from lignite.errors import InputError
from lignite.options import option
from lignite.studies import STUDIES, Study
from lignite.views.study.report import Report, Table

TOO_LONG = "too long"


@contextmanager
def toy_study() -> Iterator[type[Study]]:
    """The study "toy", registered for so long; `asked` lists the sentences that it was asked."""

    @dataclass(frozen=True, kw_only=True)
    class Toy(Study, name="toy"):
        """Count the letters of a sentence."""

        worth: float = option(1.0, "What a letter is worth.")

        def answer(self, model, sentence, others):
            text = sentence.text or " ".join(sentence.words)
            Toy.asked.append(text)
            if text == TOO_LONG:
                raise InputError("it is too long.")
            letters = [self.worth * len(text), np.nan]
            return xr.Dataset({"letters": ("layer", letters)}, {"layer": [0, 1]}, {"missing": ["the rest"]})

        @classmethod
        def report(cls, found):
            frame = pd.DataFrame({"letters": found["letters"].sel(layer=0).values})
            told = f"{frame['letters'].mean():g} letters."
            return Report("Letters", "How many?", (told,), {"all": Table("Letters", "Of each.", frame)}, {})

    Toy.asked = []
    try:
        yield Toy
    finally:
        del STUDIES["toy"]
