"""What a study is: a frozen record of its options that asks every sentence the same, found by its name."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import xarray as xr

from lignite.calls import Progress
from lignite.data.sentences import Sentence
from lignite.errors import OptionError
from lignite.options import Options
from lignite.studies.corpus import as_sentences, ask_sentences

if TYPE_CHECKING:
    from lignite.models.load import Model
    from lignite.views.study.report import Report

STUDIES: dict[str, type["Study"]] = {}
"""Every study by its name, entered when its class is made."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """How a study is put to a corpus: how many inputs are drawn, by which seed, and where finished work is kept."""

    limit: int | None = None
    seed: int = 0
    resume: str | PathLike[str] | None = None
    progress: Progress | None = None

    def beside(self, part: str) -> "Run":
        """The same run for one part of a study, whose finished work is kept apart: in answers-PART.jsonl."""
        if self.resume is None:
            return self
        path = Path(self.resume)
        return replace(self, resume=path.with_stem(f"{path.stem}-{part}"))


@dataclass(frozen=True, kw_only=True)
class Study(Options):
    """One question over a corpus: its fields are its options.

    A subclass with a name, ``class Mine(Study, name="mine")``, is `lignite.study.mine` and ``lignite study mine``, with
    its options and their help.
    """

    name: ClassVar[str] = ""

    def __init_subclass__(cls, *, name: str | None = None) -> None:
        super().__init_subclass__()
        if name is not None:
            cls.name = name
            STUDIES[name] = cls

    def check_corpus(self, corpus: Any) -> None:
        """Say what is wrong with a corpus before a model is loaded for it."""
        as_sentences(corpus)

    def ask(self, model: "Model", corpus: Any, run: Run) -> xr.Dataset:
        """Ask a corpus, sentence by sentence; a study that asks otherwise overrides this."""
        return ask_sentences(self, model, corpus, run)

    def others(self, model: "Model") -> Mapping[str, "Model"]:
        """Models that every sentence is asked of beside the one at hand, by what the study calls them."""
        return {}

    def answer(self, model: "Model", sentence: Sentence, others: Mapping[str, "Model"]) -> xr.Dataset:
        """What one sentence says: numbers over axes that are the same for every sentence.

        A list of texts under the attribute `missing` says what the model could not be asked; each is told once.
        """
        raise OptionError(f"{type(self).__name__} asks nothing: give it a method `answer`.")

    @classmethod
    def report(cls, found: xr.Dataset) -> "Report":
        """What is told of the answers of all sentences, which lie along the dimension `sentence`."""
        raise OptionError(f"{cls.__name__} tells nothing: give it a method `report`.")
