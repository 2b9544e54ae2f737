"""Every study as a function, made of its class, and what becomes of its answers: the public `lignite.study`."""

import inspect
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import xarray as xr

from lignite.calls import Progress, public
from lignite.errors import OptionError
from lignite.metrics.readings.pairings import rank_pairings
from lignite.models.load import as_model
from lignite.options import check_known, options_of, with_options
from lignite.studies.study import STUDIES, Run, Study
from lignite.views.study.page import write_study
from lignite.views.study.report import Report, Table

__all__ = ["STUDIES", "Report", "Study", "Table", "rank_pairings", "report", "write"]

PARAMETERS = """
    Parameters
    ----------
    model
        From `lignite.load` or `lignite.wrap`, or what `wrap` takes; bit-identical afterwards.
    corpus
        A file of sentences (`.conllu`, trees in brackets, `.txt`), or a list of texts or of lists of words; for a study
        that names columns, a data set as `lignite.evaluate` reads it.
    limit, seed
        Take so many sentences, drawn at random; a larger limit keeps the smaller one's.
    resume
        File that keeps finished sentences (JSON lines); a run that was stopped goes on with it.
    progress
        Called with the sentences finished and their number.
"""
RAISES = """

    Raises
    ------
    FileError
        If the corpus cannot be read, or finished work cannot be kept.
    InputError
        If no sentence can be answered.
"""


def ask(study: type[Study]) -> Callable[..., xr.Dataset]:
    """The function that puts a study to a model and a corpus."""

    def asked(
        model: Any,
        corpus: Any,
        *,
        limit: int | None = None,
        seed: int = 0,
        resume: str | PathLike[str] | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> xr.Dataset:
        check_known(f"{study.name}()", options, options_of(study), ("limit", "seed", "resume", "progress"))
        run = Run(limit=limit, seed=seed, resume=resume, progress=progress)
        return study(**options).ask(as_model(model), corpus, run)

    asked.__name__ = asked.__qualname__ = study.name
    before, title, after = (study.__doc__ or "").rstrip().partition("\n    Returns\n")
    asked.__doc__ = f"{before.rstrip()}\n{PARAMETERS}{title}{after}{RAISES}"
    listed: Mapping[str, Any] = {name: (each, each.help) for name, each in options_of(study).items()}
    return public(with_options(listed)(asked))


def report(found: xr.Dataset) -> Report:
    """What a study found: findings in words, tables, figures.

    Raises
    ------
    OptionError
        If the Dataset is no study.
    """
    name = str(found.attrs.get("study", ""))
    if name not in STUDIES:
        raise OptionError(f"this result is no study that can be shown (study={name!r}). Known: {', '.join(STUDIES)}.")
    return STUDIES[name].report(found)


def write(found: xr.Dataset, folder: str | PathLike[str]) -> list[Path]:
    """Write all files of a study into a folder, which is made where it is missing; each is whole or not there.

    Returns
    -------
    `index.html`, the numbers as NetCDF, every table as CSV and LaTeX, every figure as PNG and PDF.

    Raises
    ------
    OptionError
        If the Dataset is no study.
    FileError
        If a file cannot be written.
    """
    return write_study(found, report(found), folder)


def summary(study: type[Study]) -> str:
    """What a study asks, in one sentence."""
    return inspect.cleandoc(study.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def __getattr__(name: str) -> Any:
    if name not in STUDIES:
        raise AttributeError(f"lignite.study has no study {name!r}; it has {', '.join(STUDIES)}.")
    return ask(STUDIES[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *STUDIES})
