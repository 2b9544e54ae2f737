"""`lignite compare`: from files to a page, in the words of the command line."""

import pytest
from tests.kit.command_line import run
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sides import of_words

import lignite

pytestmark = pytest.mark.usefixtures("plain_terminal")

TEXT, ONE, OTHER = "a b c d", (4.0, -2.0, 1.0, 0.5), (1.0, -3.0, 2.0, 0.25)


@pytest.fixture
def saved(tmp_path):
    lignite.save(of_words(TEXT, ONE), tmp_path / "ig.nc")
    lignite.save(of_words(TEXT, OTHER, method="occlusion"), tmp_path / "occlusion.nc")
    return tmp_path


def test_the_command_compares_what_the_function_compares(saved):
    """One library, two ways in."""
    typed = ("--reference", "after", "--name", "before", "--name", "after", "--scale", "share", "--strongest", 1)

    result = run("compare", saved / "ig.nc", saved / "occlusion.nc", *typed, "-q", "-o", saved / "both.nc")

    assert result.exit_code == 0, result.stderr
    expected = lignite.compare(
        saved / "ig.nc", saved / "occlusion.nc", reference="after", names=["before", "after"], scale="share", k=1
    )
    assert lignite.open(saved / "both.nc").identical(expected)


def test_every_format_is_written_at_once(saved):
    """One comparison is one file of each, never numbered."""
    wanted = [f"cmp.{ending}" for ending in ("html", "png", "svg", "pdf", "csv", "json")]

    result = run(
        "compare", saved / "ig.nc", saved / "occlusion.nc", *(x for name in wanted for x in ("-o", saved / name))
    )

    assert result.exit_code == 0, result.stderr
    assert {path.name for path in saved.glob("cmp*")} == set(wanted)
    assert result.stdout.startswith("ig and occlusion weigh the words")


def test_a_saved_comparison_is_looked_at_again(saved):
    """`view` opens every result."""
    run("compare", saved / "ig.nc", saved / "occlusion.nc", "-q", "-o", saved / "both.json")

    result = run("view", saved / "both.json", "-o", saved / "again.html")

    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("ig and occlusion weigh the words")


def test_what_cannot_be_compared_ends_with_two_and_one_line(saved):
    """As every wrong input does."""
    lignite.save(sample_explanation(grid=(2, 2)), saved / "image.nc")

    result = run("compare", saved / "ig.nc", saved / "image.nc")

    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "image" in result.stderr


def test_several_explanations_share_one_picture(saved):
    """`explain -o compare.png` of two texts is one file, as `-o compare.html` is: a name is a file."""
    result = run("view", saved / "ig.nc", saved / "occlusion.nc", "-q", "-o", saved / "compare.png")

    assert result.exit_code == 0, result.stderr
    assert [path.name for path in saved.glob("compare*")] == ["compare.png"]


def test_a_report_is_written_and_told(tmp_path):
    """In plain words on the terminal, as a page in a file."""
    result = run("report", "A superb film.", "-o", tmp_path / "r.html", "-o", tmp_path / "r.nc")

    assert result.exit_code == 0, result.stderr
    assert "Why does the model say positive?" in result.stdout
    assert "What would have changed the decision?" in result.stdout
    assert "<script" not in (tmp_path / "r.html").read_text()
    assert run("view", tmp_path / "r.nc").stdout == result.stdout
