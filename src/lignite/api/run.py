"""Run: explanations, flows or an evaluation of a whole corpus, kept shard by shard in a folder."""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from lignite.api.requests import ExplainRequest, FlowRequest, Request
from lignite.api.run_evaluate import EvaluateRequest
from lignite.api.run_options import RowOptions, RunOptions
from lignite.api.run_teller import Say, Teller, weight_of
from lignite.api.shards import Job, Shard, Source, about, forget, probed, take
from lignite.calls import Progress, public
from lignite.data.columns import OF_IMAGES, OF_TEXTS
from lignite.data.corpus import Entry, digest_of, read_entries, shards_of
from lignite.errors import FileError, GapWarning, warn
from lignite.files import write_whole
from lignite.memory import memory_budget, usual_budget
from lignite.models.facts import reads_images
from lignite.models.load import Model
from lignite.options import options_of, with_options
from lignite.results.folder import FORMAT, JOURNAL, MANIFEST, SUMMARY, VERSION, open_folder
from lignite.runs.cluster import on_ray
from lignite.runs.unit import Crew, Journal, Unit, file_digest
from lignite.runs.unit import run as run_units
from lignite.runs.workers import in_processes

LOG = "log.jsonl"
"""Where times are kept, apart from all that is the same in every run."""


KINDS: Mapping[str, type[Request]] = {kind.verb: kind for kind in (ExplainRequest, FlowRequest, EvaluateRequest)}
"""What is asked by each verb."""


@public
@with_options({name: (each, each.help) for kind in (RowOptions, RunOptions) for name, each in options_of(kind).items()})
def run(
    verb: Literal["explain", "flow", "evaluate"],
    *,
    data: Any,
    model: Any,
    out: str | os.PathLike[str],
    loading: Mapping[str, Any] | None = None,
    memory: int | float | str | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
    **options: Any,
) -> Any:
    """Explain every row of a corpus, find its flow, or evaluate methods on it; keep what is finished in a folder.

    A run that was stopped, however, goes on from there when it is started again, and ends with the same bytes in every
    file; the number of workers leaves no trace either. A row that fails is kept with its reason.

    Parameters
    ----------
    verb
        What is done with every row: ``"explain"``, ``"flow"`` or ``"evaluate"``.
    data
        A path to JSON lines, JSON, CSV, TSV (each also as .gz), Parquet, CoNLL-U, trees in brackets or plain text; a
        folder of images, of Parquet files, or one that `datasets` saved; a DataFrame, a `datasets.Dataset`, or a list.
    model
        A name or folder, as `lignite.load` takes it, or for one worker a model that is loaded already.
    out
        Folder for what is found: made where it is missing, gone on with where it is of the same run. docs/
        results-layout.md says what is in it; `lignite.open` opens it.
    loading
        Options of `lignite.load`, for a model that is named.
    memory
        For intermediate tensors of each worker: bytes or a text such as ``"2 GiB"``. What rounds together depends on
        it, so it is part of what is asked, and is not left to how much is free: 256 MiB, or 4 GiB on CUDA.
    progress
        Called with the rows finished and their number.
    say
        Called with a line on what is planned, and on rows that are slow.
    **options
        Those below, and those of the verb as `lignite.explain`, `lignite.flow` or `lignite.evaluate` take them.

    Returns
    -------
    What `lignite.open` gives of the folder: a list of explanations with tables of them all, a tree of flows, or an
    evaluation.

    Raises
    ------
    InputError, FileError
        If the corpus cannot be read, or the folder belongs to another run, is in use, or has no room.
    OptionError
        If an option is unknown, or does not fit the model.

    Warns
    -----
    LigniteWarning
        If rows failed, or miss more than their tolerance.
    """
    known = options_of(RunOptions)
    asked = RunOptions(**{name: options.pop(name) for name in list(options) if name in known})
    request: Request = KINDS[verb].of(**options)  # type: ignore[attr-defined]
    source = Source.of(model, loading, elsewhere=asked.elsewhere)
    loaded = source.read()
    budget = usual_budget(loaded.device) if memory is None else int(memory_budget(loaded.device, memory))
    images = reads_images(loaded.network)
    request.rows.check_kind(loaded.name, images=images)
    entries = read_entries(data, request.rows, images=images, limit=request.rows.limit, seed=request.rows.seed)
    request, entries = request.settle(loaded, entries)
    manifest = _manifest(loaded, data, entries, asked, request, budget)
    given = Source("", given=loaded)
    job = Job(
        secrets.token_hex(8),
        source if asked.elsewhere else given,
        request,
        _first(entries),
        budget,
        about(loaded),
    )
    shards = shards_of(entries, asked.shard, request.characters)
    units = [_unit(job, number, shard) for number, shard in enumerate(shards)]
    weights = {unit.keys[0]: weight_of(shard) for unit, shard in zip(units, shards, strict=True)}
    folder = _make_folder(Path(out), request)
    settings = {name: manifest[name] for name in manifest if name not in _FREE}
    with Journal(folder / JOURNAL, settings) as journal, _taken(replace(job, source=given)) as here:
        if not journal.finished:
            _clear(folder, request)
        _write_json(folder / MANIFEST, {**manifest, "shards": len(shards)})
        waiting = [unit for unit in units if unit.keys[0] not in journal.finished]
        workers = min(asked.workers, max(1, len(waiting)))
        teller = Teller(folder / LOG, say, {unit.keys[0]: weights[unit.keys[0]] for unit in waiting}, workers)
        teller.plan(len(entries), len(units))
        if waiting:
            probed(here)
        run_units(units, journal, progress, crew=_crew(asked, workers, job, loaded), tell=teller.tell)
        keys = [key for unit in units for key in unit.keys]
        journal.settle(keys)
        summary = _summary([journal.finished[key] for key in keys])
        _write_json(folder / SUMMARY, summary)
    _warn(summary, request)
    return open_folder(folder)


PROBED = 8
"""Rows of all lengths of which one is explained before all others: what cannot work is known before it has worked for
hours."""

_FREE = ("format", "version", "source", "name", "revision", "shards")
"""Of a manifest: what may differ from one start of a run to the next."""


def _manifest(
    model: Model, data: Any, entries: list[Entry], asked: RunOptions, request: Request, memory: int | float | str
) -> dict[str, Any]:
    named, rows = isinstance(data, str | os.PathLike), request.rows
    return {
        "format": FORMAT,
        "version": VERSION,
        "verb": request.verb,
        "request": request.record(),
        "name": model.name,
        "revision": model.revision or "",
        **about(model),
        "memory": memory,
        "source": str(data) if named else type(data).__name__,
        "file": file_digest(Path(data)) if named and Path(data).is_file() else None,
        "data": digest_of(entries),
        "columns": {name: getattr(rows, name) for name in (*OF_TEXTS, *OF_IMAGES) if hasattr(rows, name)},
        "limit": rows.limit,
        "seed": rows.seed,
        "shard": asked.shard,
        "rows": len(entries),
    }


def _make_folder(folder: Path, request: Request) -> Path:
    try:
        if folder.is_dir() and any(folder.iterdir()) and not (folder / JOURNAL).is_file():
            raise FileError(f"{folder}: holds files, but none of a run. Name a new folder, or an empty one.")
        for name in request.folders:
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder}: cannot be made a folder ({error.strerror or error}). Name another one.") from error
    return folder


def _clear(folder: Path, request: Request) -> None:
    """Take away what a run left that was stopped before it had finished anything: it would be read with what comes."""
    for name in {name for kind in KINDS.values() for name in kind.folders}:
        for path in (folder / name).glob("[0-9]" * 6 + ".*"):
            path.unlink(missing_ok=True)
        if name not in request.folders:
            with suppress(OSError):
                (folder / name).rmdir()


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_whole(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode(errors="backslashreplace"))


def _first(entries: list[Entry]) -> tuple[Entry, ...]:
    """Some rows of all lengths, the shortest before the others: it is the least likely to end the process."""
    readable = [entry for entry in entries if not entry.failure]
    readable.sort(key=lambda entry: (not entry.text.strip(), len(entry.text)))
    return tuple(readable[:: -(-len(readable) // PROBED)])


def _crew(asked: RunOptions, workers: int, job: Job, model: Model) -> Crew | None:
    """Who computes; None is this process."""
    if asked.engine == "ray":
        gpus = 1 if model.device.type == "cuda" else 0
        return partial(on_ray, workers=workers, begin=partial(take, job), gpus=gpus)
    return partial(in_processes, workers=workers, begin=partial(take, job)) if asked.elsewhere else None


@contextmanager
def _taken(job: Job) -> Iterator[Job]:
    take(job)
    try:
        yield job
    finally:
        forget(job)


def _unit(job: Job, number: int, shard: list[Entry]) -> Unit:
    name = f"{number:06d}"
    return Unit((name,), Shard(job.id, name, tuple(shard)), size=len(shard))


def _summary(pieces: list[dict[str, Any]]) -> dict[str, int]:
    return {"shards": len(pieces)} | {
        name: sum(piece[name] for piece in pieces) for name in ("rows", "failures", "missed")
    }


def _warn(summary: Mapping[str, int], request: Request) -> None:
    rows = summary["rows"]
    if summary["failures"]:
        warn(f"{summary['failures']} of {rows} rows failed; {request.failures} says why.")
    if summary["missed"]:
        warn(f"{summary['missed']} of {rows} results miss more of their displacement than tol.", GapWarning)
