"""A study as files: what a page, a table and a figure show is what was measured, and no more."""

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure

from lignite.errors import FileError, OptionError
from lignite.metrics.readings.agreement import MEASURES
from lignite.studies.asking import report, write
from lignite.views.study.consistency import report_consistency
from lignite.views.study.page import latex, report_html, study_html
from lignite.views.study.report import Report, Table

AXES = {
    "sentence": ["a", "b", "c"],
    "layer": [0, 1],
    "whole": ["zero", "target_token"],
    "attention": ["zero", "target_token"],
    "mlp": ["zero", "attention_start"],
    "composition": ["product", "conserving"],
    "diagonal": ["with", "without"],
}
PAPER = {"whole": "target_token", "attention": "target_token", "mlp": "attention_start", "composition": "conserving"}


@pytest.fixture
def compared() -> xr.Dataset:
    """All pairings agree by chance; the paper's agrees by 0.9, and 0.95 in the upper layer."""
    rng, sizes = np.random.default_rng(0), [len(axis) for axis in AXES.values()]
    found = xr.Dataset({name: (tuple(AXES), rng.uniform(0.1, 0.5, sizes)) for name in MEASURES}, AXES)
    for name in ("pearson", "spearman"):
        found[name].loc[{**PAPER, "layer": 0}] = 0.9
        found[name].loc[{**PAPER, "layer": 1}] = 0.95
    attrs = {"study": "consistency", "model": "<b>model</b>", "weights": "ab" * 32, "asked": "cd" * 32,
             "request": '{"tol": 0.001}', "skipped": '["d: too long"]', "versions": '{"lignite": "1"}'}  # fmt: skip
    return found.assign_attrs(attrs)


def test_the_finding_names_the_best_pairing_and_its_number(compared):
    """The first sentence is all that many will read."""
    first = report_consistency(compared).findings[0]

    assert first == (
        "Over 3 sentences the two agree best, by rank and without the diagonal, from target_token + attention_start, "
        "conserving, against target_token: 0.925 [0.925, 0.925]."
    )


def test_the_table_of_claims_says_where_the_papers_pairing_stands(compared):
    """First under both correlations; under distances somewhere, and never ahead of the best."""
    claims = report_consistency(compared).tables["claims"].frame.set_index(["measure", "diagonal"])

    assert claims.loc["spearman", "rank"].tolist() == [1, 1]
    np.testing.assert_allclose(claims.loc["pearson", "mean"], 0.925)
    assert (claims["behind"] >= 0).all()
    assert (claims.loc["l2", "best_mean"] <= claims.loc["l2", "mean"]).all()


def test_the_table_of_layers_has_each_layers_own_mean(compared):
    """A mean over layers hides where it comes from."""
    layers = report_consistency(compared).tables["layers"].frame

    assert layers["pairing"].tolist() == ["best", "paper"] * 2
    np.testing.assert_allclose(layers["mean"], [0.9, 0.9, 0.95, 0.95])


def test_a_study_is_written_whole(compared, tmp_path):
    """Numbers for going on, tables for papers and spreadsheets, figures, a page."""
    written = write(compared, tmp_path / "new" / "folder")
    names = {path.name for path in written}

    assert {"index.html", "consistency.nc", "claims.csv", "claims.tex", "pairings.png", "layers.pdf"} <= names
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "new" / "folder" / "consistency.nc"), compared)
    table = pd.read_csv(tmp_path / "new" / "folder" / "spearman.csv")
    np.testing.assert_allclose(table["mean"][0], 0.925)


def test_a_page_escapes_what_others_wrote_and_says_what_was_left_out(compared):
    """Names of models and sentences are other people's text."""
    page = study_html(compared, report(compared))

    assert "<b>model</b>" not in page
    assert "&lt;b&gt;model&lt;/b&gt;" in page
    assert re.search(r"<dt>left out</dt><dd>1</dd>", page)
    assert "<image" not in page  # the page's policy shows no pictures that are not drawn in it
    assert "<script" not in page


def small(frame: pd.DataFrame, *findings: str) -> str:
    """A page with this table."""
    return report_html(Report("A study", "A `column`?", findings, {"a": Table("Table", "", frame)}, {}), {}, {})


def test_a_page_sets_columns_of_numbers_to_the_right_and_words_to_the_left_with_their_heads():
    """2-4 before is the name of a place, not a number; a mean that nobody knows is a dash, as everywhere."""
    page = small(pd.DataFrame({"measure": ["2-4 before", "itself"], "mean": [-0.5, np.nan]}))

    assert '<th class="word">measure</th><th>mean</th>' in page
    assert '<td class="word">2-4 before</td><td>−0.500</td>' in page
    assert '<td class="word">itself</td><td>–</td>' in page


def test_a_page_writes_findings_as_sentences():
    """A minus as long as a plus, inside brackets too, and no marks of a docstring."""
    page = small(pd.DataFrame({"mean": [1.0]}), "By -0.106 [-0.198, -0.035] of `whole`.")

    assert "By −0.106 [−0.198, −0.035] of <code>whole</code>." in page
    assert "A <code>column</code>?" in page


def test_latex_keeps_three_digits_and_no_negative_nothing():
    """A paper's table has no 0.30000000000000004, and no -0.000."""
    table = latex(Table("A title", "", pd.DataFrame({"a_b": ["x_y"], "mean": [0.1 + 0.2], "behind": [-1e-9]})))

    assert r"a\_b & mean & behind" in table
    assert r"x\_y & 0.300 & 0.000 \\" in table


def test_every_pairing_is_a_cell_of_the_picture(compared):
    """What a panel shows is the mean over layers and sentences."""
    figure = report_consistency(compared).figures["pairings"]

    assert isinstance(figure, Figure)
    shown = {text.get_text() for panel in figure.axes for text in panel.texts}
    assert sum(len(panel.texts) for panel in figure.axes) == 2 * 2 * 2 * 2
    assert "0.93" in shown or "0.92" in shown  # 0.925 in decimal


def test_what_is_no_study_or_no_folder_is_refused(compared, tmp_path):
    """One line each, before anything is written."""
    (tmp_path / "file").write_text("kept")

    with pytest.raises(OptionError, match="no study"):
        report(compared.assign_attrs(study="astrology"))
    with pytest.raises(FileError, match="cannot be made a folder"):
        write(compared, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"
