"""Studies of examples, with their classes and what people marked, where others read sentences."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import xarray as xr

from lignite.calls import Progress
from lignite.data.columns import Columns
from lignite.data.examples import Example, read_examples
from lignite.models.facts import reads_images
from lignite.models.load import Model
from lignite.options import options_of
from lignite.studies.study import Study


@dataclass(frozen=True, kw_only=True)
class OfExamples(Columns, Study):
    """A study whose corpus is a data set, as `lignite.evaluate` reads it; its columns are named by options."""

    def ask(
        self,
        model: Model,
        corpus: Any,
        *,
        limit: int | None,
        seed: int,
        resume: str | PathLike[str] | None,
        progress: Progress | None,
    ) -> xr.Dataset:
        """What comes of the examples: numbers along the dimension `sentence`, described as those of every study."""
        raise NotImplementedError

    @property
    def columns(self) -> Mapping[str, Any]:
        """The options that name columns."""
        return {name: getattr(self, name) for name in options_of(Columns)}

    def read_examples(self, model: Model, corpus: Any, *, limit: int | None, seed: int) -> list[Example]:
        """Some examples of a data set, each with a name of its own."""
        images = reads_images(model.network)
        named = Columns(**self.columns)
        named.check_kind(model.name, images=images)
        found = read_examples(corpus, named, images=images, limit=limit, seed=seed)
        many = Counter(example.id for example in found)
        return [
            replace(example, id=f"{example.id} ({example.number + 1})") if many[example.id] > 1 else example
            for example in found
        ]
