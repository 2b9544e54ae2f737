"""What was measured of the explanations of a corpus, as tables in Parquet, and back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lignite.errors import FileError
from lignite.results.parquet import EXAMPLES, Columns, Explained, as_parquet, load, plain

SCORES, CURVES, SKIPPED = "scores", "curves", "skipped"
"""Names of the tables beside that of examples."""

MEASURED = (EXAMPLES, SCORES, CURVES, SKIPPED)

_SCORE = ("metric", "fill", "value")
_CURVE = ("curve", "measure", "fill", "shares", "values")


@dataclass(frozen=True)
class MeasuredRow:
    """What was measured of one row of a corpus.

    Attributes
    ----------
    pieces
        By method: ``scores`` (metric, fill, value) and ``curves``.
    correct
        Whether the model is right, NaN where that is not known.
    skipped
        Methods whose explanation could not be computed, each with the reason.
    missed
        Whether any explanation misses more than its tolerance.
    """

    pieces: Mapping[str, Mapping[str, Any]]
    correct: float
    skipped: tuple[tuple[str, str], ...] = ()
    missed: bool = False


def write_measured(some: Sequence[Explained]) -> dict[str, bytes]:
    """The tables of some rows, by name."""
    arrow = load("pyarrow")
    text, number, whole = arrow.string(), arrow.float64(), arrow.int64()
    numbers = arrow.list_(number)
    kinds: dict[str, dict[str, Any]] = {
        EXAMPLES: {"example": whole, "id": text, "text": text, "correct": number, "failure": text},
        SCORES: {"example": whole, "method": text, "metric": text, "fill": text, "value": number},
        CURVES: {
            "example": whole, "method": text, "curve": text, "measure": text, "fill": text, "shares": numbers,
            "values": numbers,
        },
        SKIPPED: {"example": whole, "method": text, "reason": text},
    }  # fmt: skip
    rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in MEASURED}
    for one in some:
        correct = None if one.result is None else one.result.correct
        rows[EXAMPLES].append((one.number, plain(one.id), plain(one.text), correct, one.failure or None))
        for method, piece in () if one.result is None else one.result.pieces.items():
            rows[SCORES] += [(one.number, method, *score) for score in piece["scores"]]
            rows[CURVES] += [(one.number, method, *map(curve.get, _CURVE)) for curve in piece["curves"]]
        if one.result is not None:
            rows[SKIPPED] += [(one.number, method, plain(reason)) for method, reason in one.result.skipped]
    return {name: as_parquet(_columns(kinds[name], rows[name])) for name in MEASURED}


def _columns(kinds: Mapping[str, Any], rows: Sequence[tuple[Any, ...]]) -> Columns:
    return {name: (kind, [row[place] for row in rows]) for place, (name, kind) in enumerate(kinds.items())}


# Back


def read_table(folder: Path, table: str) -> list[tuple[Any, ...]]:
    """All rows of a table, in the order of the corpus.

    Raises
    ------
    FileError
        If nothing is finished yet.
    """
    found: list[tuple[Any, ...]] = []
    paths = sorted((folder / table).glob("*.parquet"))
    if not paths:
        raise FileError(f"{folder}: nothing is finished there yet. Wait for the first shard.")
    for path in paths:
        columns = load("pyarrow.parquet").read_table(path).to_pydict()
        found += zip(*columns.values(), strict=True)
    return sorted(found, key=lambda row: row[0])


def read_pieces(folder: Path) -> Iterator[tuple[tuple[int, str], dict[str, Any]]]:
    """What was measured, behind the number of its example and the name of its method."""
    correct = {number: known for number, _, _, known, _ in read_table(folder, EXAMPLES)}
    pieces: dict[tuple[int, str], dict[str, Any]] = {}
    for number, method, *score in read_table(folder, SCORES):
        piece = pieces.setdefault((number, method), {"scores": [], "curves": [], "correct": correct[number]})
        piece["scores"].append(tuple(score))
    for number, method, *cells in read_table(folder, CURVES):
        curve = dict(zip(_CURVE, cells, strict=True))
        pieces[number, method]["curves"].append({name: cell for name, cell in curve.items() if cell is not None})
    yield from pieces.items()
