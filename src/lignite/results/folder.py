"""What a run over a corpus leaves in a folder, opened: explanations one by one and as tables, flows as a lazy tree."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from lignite.errors import FileError, InputError
from lignite.files import parse_json, read_whole
from lignite.late import find_late
from lignite.results.evaluation import Evaluation
from lignite.results.parquet import EXAMPLES, TOKENS, load, read_explanation, types_of
from lignite.results.zarr import ENDING, open_store

MANIFEST, JOURNAL, SUMMARY, FLOWS = "manifest.json", "journal.jsonl", "summary.json", "flows"
FORMAT, VERSION = "lignite run", 1


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What was asked in a run: of which model, about what, and how.

    Raises
    ------
    FileError
        If the folder is not one of a run.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise FileError(f"{folder}: is a folder without {MANIFEST}, so no run of lignite wrote it. Name one of these.")
    try:
        found = parse_json(read_whole(path))
    except ValueError as error:
        raise FileError(
            f"{path}: is no complete JSON ({error}). Start the same run again, it writes it anew."
        ) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT or found.get("version") != VERSION:
        raise FileError(f"{path}: is no {FORMAT} of layout version {VERSION}. Update lignite, or name another folder.")
    return found


def open_folder(folder: str | os.PathLike[str]) -> "Explanations | Evaluation | xr.DataTree":
    """What the run in a folder has finished, also while it goes on."""
    manifest = read_manifest(folder)
    if manifest["verb"] == "evaluate":
        opened: Evaluation = find_late("lignite.api.run_evaluate.open_evaluation")(Path(folder), manifest)
        return opened
    return open_flows(Path(folder), manifest) if manifest["verb"] == "flow" else Explanations(folder)


def open_flows(folder: Path, manifest: Mapping[str, Any]) -> xr.DataTree:
    """A tree with a group for each flow, named by the number of its row; arrays are read when they are asked for."""
    found: dict[str, xr.Dataset] = {}
    about: dict[str, dict[str, str]] = {"ids": {}, "failures": {}}
    for path in sorted((folder / FLOWS).glob(f"*{ENDING}")):
        store = open_store(path)
        found |= {f"/{name}": node.to_dataset() for name, node in store.children.items()}
        for name, known in about.items():
            known.update(store.attrs[name])
    tree = xr.DataTree.from_dict(dict(sorted(found.items())), name=folder.name)
    told = {name: json.dumps(dict(sorted(known.items()))) for name, known in about.items()}
    tree.attrs = {"kind": "run", "manifest": json.dumps(manifest), **told}
    return tree


class Explanations(Sequence[xr.Dataset]):
    """The explanations of a corpus, in its order: each as the Dataset that `lignite.explain` gives, or all as tables.

    Rows that could not be explained are in `examples` alone, with their `failure`. Nothing is read before it is asked
    for.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(folder)
        self._last: tuple[Path, tuple[Any, Any]] | None = None

    @cached_property
    def examples(self) -> pd.DataFrame:
        """A row per row of the corpus; results-layout.md names the columns."""
        return self._frame(EXAMPLES).sort_values("example", ignore_index=True)

    @cached_property
    def tokens(self) -> pd.DataFrame:
        """A row per token of every explanation."""
        return self._frame(TOKENS).sort_values(["example", "position"], ignore_index=True)

    @cached_property
    def _places(self) -> dict[int, tuple[Path, int]]:
        """By the number of its row, the file that an explanation stands in, and its row there."""
        found = {}
        for path in self._files(EXAMPLES):
            columns = load("pyarrow.parquet").read_table(path, columns=["example", "attrs"]).to_pydict()
            for row, (number, attrs) in enumerate(zip(columns["example"], columns["attrs"], strict=True)):
                if attrs is not None:
                    found[number] = (path, row)
        return dict(sorted(found.items()))

    @property
    def numbers(self) -> list[int]:
        """Of the rows that are explained, as `example` in the tables."""
        return list(self._places)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> xr.Dataset: ...
    @overload
    def __getitem__(self, place: slice) -> list[xr.Dataset]: ...
    def __getitem__(self, place: int | slice) -> xr.Dataset | list[xr.Dataset]:
        if isinstance(place, slice):
            return [self.of_example(number) for number in self.numbers[place]]
        return self.of_example(self.numbers[place])

    def __iter__(self) -> Iterator[xr.Dataset]:
        return map(self.of_example, self.numbers)

    def of_example(self, number: int) -> xr.Dataset:
        """The explanation of the row with this number, from 0 in the order of the corpus."""
        if number not in self._places:
            raise InputError(f"example {number} has no explanation here; the column failure of examples may say why.")
        path, row = self._places[number]
        examples, tokens = self._read(path)
        tokens = tokens.filter(load("pyarrow.compute").equal(tokens["example"], number))
        types = {**types_of(examples.schema), **types_of(tokens.schema)}
        return read_explanation(examples.slice(row, 1).to_pylist()[0], tokens, types)

    def _read(self, path: Path) -> tuple[Any, Any]:
        """The tables of a shard; neighbours mostly stand in the same."""
        if self._last is None or self._last[0] != path:
            read = load("pyarrow.parquet").read_table
            self._last = (path, (read(path), read(path.parents[1] / TOKENS / path.name)))
        return self._last[1]

    def _files(self, table: str) -> list[Path]:
        return sorted((self.folder / table).glob("*.parquet"))

    def _frame(self, table: str) -> pd.DataFrame:
        files = self._files(table)
        if not files:
            raise FileError(f"{self.folder}: nothing is finished there yet. Wait for the first shard.")
        return pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)

    def __repr__(self) -> str:
        asked = self.manifest["request"]
        return f"Explanations({len(self)} of {self.manifest['rows']} rows, {asked['method']}, {self.folder})"
