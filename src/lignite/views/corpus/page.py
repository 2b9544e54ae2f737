"""The summary of a corpus: what is printed, and a page."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from lignite.errors import InputError
from lignite.results.folder import Explanations, open_folder
from lignite.views.attributes import written
from lignite.views.corpus.explanations import report_explanations
from lignite.views.corpus.flows import report_flows
from lignite.views.labels import model_title, without_folders
from lignite.views.markup import write_page
from lignite.views.study.page import report_html
from lignite.views.study.report import Report


def report_corpus(folder: str | os.PathLike[str]) -> tuple[Report, Mapping[str, Any]]:
    """Sum up what the run in a folder has finished; with it comes what was asked.

    Raises
    ------
    FileError
        If the folder is not one of a run.
    InputError
        If nothing is finished there that could be summed up.
    """
    found = open_folder(folder)
    if isinstance(found, xr.DataTree):
        manifest = json.loads(found.attrs["manifest"])
        if not found.children:
            raise InputError(f"{folder}: holds no flow yet. Wait for the first shard.")
        return report_flows(found, manifest["rows"], json.loads(found.attrs["failures"])), manifest
    assert isinstance(found, Explanations)
    if not len(found):
        raise InputError(f"{folder}: holds no explanation yet. Wait for the first shard.")
    return report_explanations(found), found.manifest


def write_corpus_page(report: Report, manifest: Mapping[str, Any], path: Path) -> Path:
    """Write one page that needs nothing else."""
    settings = {name: written(value) for name, value in manifest["request"].items() if value not in (None, "", [])}
    settings |= {"source": without_folders(str(manifest["source"])), "weights": manifest["model"][:16]}
    settings |= {"corpus": manifest["data"][:16], **manifest["versions"]}
    facts = {"model": model_title(manifest["name"]), "rows": str(manifest["rows"])}
    return write_page(report_html(report, facts, settings), path)
