"""An evaluation: how far the explanations of several methods hold, as tables and as a file that keeps them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd  # type: ignore[import-untyped]

from lignite.errors import FileError
from lignite.files import as_json, from_json, read_saved, write_whole
from lignite.late import find_late

FORMAT = "lignite evaluation"
VERSION = 1
TABLES = ("table", "scores", "curves", "tests", "skipped")

MEAN = "neutral"
"""The fill under which means over the neutral fills stand, where there are several of these."""

_WHOLE = ("example", "n")
_TEXT = ("id", "method", "metric", "fill", "curve", "measure", "reference", "reason")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured.

    Attributes
    ----------
    table
        A row per method, metric and fill (`MEAN`: their mean over the neutral ones, example by example): mean over
        examples, its confidence interval (low, high), and their number n.
    scores
        A row per example, method, metric and fill; NaN where a metric is not defined for an example.
    curves
        Mean deletion and insertion curves: what the model says when this share of the tokens is gone, or back. Of
        images also the accuracy, when this share of the pixels is gone.
    tests
        Each method against the reference, on the examples that both have: mean difference with its interval, two-sided
        p of a paired bootstrap, and `p_holm`, corrected for the number of methods compared.
    skipped
        Examples, or single explanations, that could not be computed, and why.
    attrs
        Model and hash of its weights, data, seed, versions, and every option.
    """

    table: pd.DataFrame
    scores: pd.DataFrame
    curves: pd.DataFrame
    tests: pd.DataFrame
    skipped: pd.DataFrame
    attrs: dict[str, Any]

    def pivot(self, value: str = "mean") -> pd.DataFrame:
        """Methods as rows, metrics and fills as columns."""
        wide = self.table.pivot(index="method", columns=["metric", "fill"], values=value)
        order = list(dict.fromkeys(zip(self.table["metric"], self.table["fill"], strict=True)))
        return wide.reindex(index=list(dict.fromkeys(self.table["method"])), columns=order)

    @property
    def sizes(self) -> dict[str, int]:
        """How many methods, metrics and examples there are, as xarray counts what lies along a dimension."""
        counted = {name: int(self.table[name].nunique()) for name in ("method", "metric")}
        return {**counted, "example": int(self.attrs["n_examples"])}

    def shares_baseline(self, method: str, fill: str) -> bool:
        """Whether a method starts from the fill that it is judged by, or under `MEAN` from one of the neutral ones.

        Where it does, words are absent to the judge as they are to the method, which may favour it.
        """
        fills = self.attrs.get("neutral", []) if fill == MEAN else [fill]
        return not set(fills).isdisjoint(self.attrs.get("baselines", {}).get(method, []))

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything (.json), the table alone (.csv), a page (.html), or the curves (.png, .svg, .pdf)."""
        path = Path(path)
        ending = path.suffix.lower()
        if ending == ".json":
            write_whole(path, _json(self))
        elif ending == ".csv":
            write_whole(path, self._explained().to_csv(index=False).encode(errors="backslashreplace"))
        else:
            find_late("lignite.views.evaluation.page.save_evaluation")(self, path)

    def show(self) -> None:
        """Open the page: in a notebook below the cell, elsewhere in the web browser."""
        find_late("lignite.views.notebook.show")(self)

    def plot(self, kind: str = "curves", ax: Any = None, **what: Any) -> Any:
        """Draw deletion or insertion curves (`curve`, under one `fill`) into matplotlib's Axes, and return them."""
        return find_late("lignite.views.plots.plot")(self, kind, ax, **what)

    def _repr_html_(self) -> str:
        return find_late("lignite.views.notebook.card_of")(self)

    @classmethod
    def open(cls, path: str | PathLike[str]) -> "Evaluation":
        """Read what `save` wrote as .json; the other formats hold less."""
        path = Path(path)
        if path.suffix.lower() != ".json":
            raise FileError(f"{path}: only the .json of an evaluation holds everything; open that one.")
        return cls.of_json(read_saved(path, {FORMAT: VERSION}, noun="evaluation"), path)

    @classmethod
    def of_json(cls, content: Mapping[str, Any], path: Path) -> "Evaluation":
        """The evaluation that was read from a file: see `open`."""
        try:
            tables = {name: frame(from_json(content[name]["rows"]), content[name]["columns"]) for name in TABLES}
            attrs = {**content["attrs"], "accuracy": from_json(content["attrs"]["accuracy"])}
        except (KeyError, TypeError, ValueError) as error:
            raise FileError(f"{path}: is damaged ({error}). Save the evaluation again.") from error
        return cls(**tables, attrs=attrs)

    def _explained(self) -> pd.DataFrame:
        """The table with what every number means, for it may be read far from here."""
        metrics = self.attrs["metrics"]
        columns = {
            what: [metrics.get(name, {}).get(what, "") for name in self.table["metric"]]
            for what in ("better", "meaning")
        }
        pairs = zip(self.table["method"], self.table["fill"], strict=True)
        return self.table.assign(shares_baseline=[self.shares_baseline(*pair) for pair in pairs], **columns)

    def __repr__(self) -> str:
        skipped = f", {len(self.skipped)} skipped" if len(self.skipped) else ""
        return f"Evaluation({', '.join(f'{count} {what}s' for what, count in self.sizes.items())}{skipped})"


def frame(rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> pd.DataFrame:
    """A table whose columns have the same types with and without rows."""
    kinds = {name: "int64" if name in _WHOLE else "str" if name in _TEXT else "float64" for name in columns}
    return pd.DataFrame(rows, columns=list(columns)).astype(kinds)


def _json(evaluation: Evaluation) -> bytes:
    tables = {name: getattr(evaluation, name) for name in TABLES}
    content = {"format": FORMAT, "version": VERSION, "attrs": as_json(evaluation.attrs)} | {
        name: {"columns": list(one.columns), "rows": as_json(list(one.itertuples(index=False, name=None)))}
        for name, one in tables.items()
    }
    # A lone surrogate has no UTF-8, but its backslash form is its JSON form.
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode(errors="backslashreplace")
