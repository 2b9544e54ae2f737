"""An evaluation is plain tables: they are kept and read back without anything that computes or draws."""

from dataclasses import replace

import pandas as pd
import pytest

import lignite
from lignite.errors import FileError
from lignite.results.evaluation import Evaluation, frame


@pytest.fixture
def told():
    columns = {
        "table": ["method", "metric", "fill", "mean", "low", "high", "n"],
        "scores": ["example", "id", "method", "metric", "fill", "value"],
        "curves": ["method", "curve", "measure", "fill", "share", "mean", "low", "high", "n"],
        "tests": ["method", "reference", "metric", "fill", "difference", "low", "high", "p", "p_holm", "n"],
        "skipped": ["example", "id", "method", "reason"],
    }
    rows = {
        "table": [("ig", "auprc", "", float("nan"), float("inf"), 0.5, 2)],
        "scores": [(0, "a", "ig", "auprc", "", 1)],
    }
    tables = {name: frame(rows.get(name, []), listed) for name, listed in columns.items()}
    attrs = {"accuracy": float("nan"), "n_examples": 1, "metrics": {"auprc": {"better": "higher", "meaning": "area"}}}
    return Evaluation(**tables, attrs=attrs)


@pytest.mark.parametrize("opened", [Evaluation.open, lignite.open])
def test_numbers_that_json_does_not_know_come_back(told, tmp_path, opened):
    """A missing mean and an infinite bound are two things."""
    told.save(tmp_path / "told.json")

    read = opened(tmp_path / "told.json")

    for name in ("table", "scores", "curves", "tests", "skipped"):
        pd.testing.assert_frame_equal(getattr(read, name), getattr(told, name), check_exact=True)
    assert read.attrs["accuracy"] != read.attrs["accuracy"]


def test_tables_have_their_kinds_without_rows(told):
    """An empty column of numbers that became one of objects would break whatever adds to it."""
    assert told.curves.dtypes["mean"] == told.table.dtypes["mean"] == "float64"
    assert told.curves.dtypes["n"] == told.table.dtypes["n"] == "int64"


def test_the_table_is_saved_with_what_its_numbers_mean(told, tmp_path):
    """It may be read far from here; an ending that means nothing is refused with those that do."""
    told.save(tmp_path / "told.csv")
    with pytest.raises(FileError, match=r"use \.json, \.csv, \.html"):
        told.save(tmp_path / "told.txt")

    assert pd.read_csv(tmp_path / "told.csv")["meaning"].tolist() == ["area"]


def test_its_sizes_are_counted(told):
    """One method under two metrics, of which one was asked under two fills, is one method and two metrics."""
    rows = [
        ("ig", metric, fill, 0.5, 0.4, 0.6, 2) for metric, fill in (("auprc", ""), ("deletion", "a"), ("deletion", "b"))
    ]
    twice = replace(told, table=frame(rows, list(told.table.columns)), attrs={**told.attrs, "n_examples": 7})

    assert twice.sizes == {"method": 1, "metric": 2, "example": 7}
    assert repr(twice) == "Evaluation(1 methods, 2 metrics, 7 examples)"
