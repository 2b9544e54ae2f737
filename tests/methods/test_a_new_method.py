"""A method is one class: its name, its options and how it explains. Everything else finds it there."""

import json
import re
from dataclasses import dataclass

import numpy as np
import pytest
from tests.kit.command_line import finished

import lignite
from lignite.api.evaluate import read_methods
from lignite.errors import OptionError
from lignite.methods import METHODS, CaLig, Explanation, Method
from lignite.methods.options import choose, known_options, record
from lignite.options import option, options_of
from lignite.views.explanation.facts import settings
from lignite.views.explanation.page import explanation_html

TEXT = "A superb film."


@pytest.fixture(scope="module")
def model():
    return lignite.load("tiny-sentiment")


@pytest.fixture
def toy():
    @dataclass(frozen=True, kw_only=True)
    class Toy(Method, name="toy"):
        """Every token is worth its letters."""

        worth: float = option(1.0, "What a letter is worth.", told=True)
        haste: int = option(3, "Changes no number.")

        def explain(self, model, rows, budget):
            return [Explanation({"relevance": self.worth * letters_of(row)}) for row in rows]

    yield Toy
    del METHODS["toy"]


def letters_of(row):
    return np.array([len(text) for text in row.encoded.tokens.text], dtype=np.float64)


def test_it_explains_by_its_name_by_a_text_and_by_itself(model, toy):
    """Three ways in, one constructor."""
    ways = [
        lignite.explain(model, TEXT, method="toy", worth=2.0),
        lignite.explain(model, TEXT, method="toy:worth=2"),
        lignite.explain(model, TEXT, method=toy(worth=2.0)),
        lignite.explain(model, TEXT, method=toy(), worth=2.0),
    ]

    for why in ways:
        assert why.relevance.values.tolist() == [2.0 * len(text) for text in why.token.values]
        assert why.attrs["method"] == "toy"
        assert json.loads(why.attrs["request"])["worth"] == 2.0


def test_an_evaluation_reads_it_with_its_options(model, toy):
    """Beside all others, with numbers of the kind that its fields have."""
    found = read_methods("toy:worth=3,ig")

    assert found[0].method == toy(worth=3.0)
    assert isinstance(found[0].method.worth, float)
    scores = lignite.evaluate(model, [TEXT], "toy:worth=3", "deletion", steps=2).scores
    assert "toy:worth=3" in set(scores["method"])


def test_a_page_names_the_options_that_tell_it_apart(model, toy):
    """Two tables that differ in a number nobody sees are one table."""
    why = lignite.explain(model, TEXT, method="toy", worth=2.5)

    assert settings(why) == {"method": "toy", "worth": "2.5"}
    assert re.search(r"worth\W+(?:<[^>]*>\W*)*2\.5", explanation_html(why))


def test_the_command_line_has_its_options_and_says_whose_they_are():
    """Help is made of the fields, and what is typed reaches them."""
    script = (
        "import sys\n"
        "from dataclasses import dataclass\n"
        "from lignite.methods import Explanation, Method\n"
        "from lignite.options import option\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Toy(Method, name='toy'):\n"
        "    worth: float = option(1.0, 'What a letter is worth.')\n"
        "    def explain(self, model, rows, budget):\n"
        "        raise SystemExit(f'worth {self.worth}')\n"
        "from lignite.apps.cli import main\n"
        "main()\n"
    )

    _, help, _ = finished("-c", script, "explain", "--help", COLUMNS="100")
    code, _, said = finished("-c", script, "explain", TEXT, "--method", "toy", "--worth", "2.5")

    assert re.search(r"--worth .*What a letter is worth\. \(toy\)", help)
    assert "random, toy;" in re.sub(r"[│\s]+", " ", help)
    assert (code, said.splitlines()[-1]) == (1, "worth 2.5")


def test_its_options_are_refused_where_they_mean_nothing(model, toy):
    """An option that is ignored gives numbers that nobody asked for."""
    with pytest.raises(OptionError, match=r"worth=2\.0 belongs to toy, not 'ig'; leave it out"):
        lignite.explain(model, TEXT, method="ig", worth=2.0)
    with pytest.raises(OptionError, match=r"'toy' has no option 'wort'; it has worth, haste\. Did you mean 'worth'\?"):
        lignite.explain(model, TEXT, method="toy", wort=2.0)
    with pytest.raises(OptionError, match="worth= is given twice"):
        lignite.explain(model, TEXT, method="toy:worth=1", worth=2.0)
    with pytest.raises(OptionError, match="worth='much' is a str; give a number"):
        choose("toy", {"worth": "much"})


def test_every_option_of_the_library_has_help_and_a_default_that_it_accepts():
    """Generated help without words is worse than none."""
    for method, declared in METHODS.items():
        assert declared() == declared(**declared().values()), method
        for name, each in options_of(declared).items():
            assert each.help.endswith((".", ".)")), (method, name)


def test_a_result_lists_the_options_of_its_method_in_one_order():
    """Whoever compares two results finds the same names at the same place, and none that the method would ignore."""
    for method in METHODS.values():
        kept = record(method())

        assert kept == {"method": method.name, **method().values()}
        assert list(kept)[1:] == [name for name in known_options() if name in options_of(method)]
    assert list(record(CaLig(path="layer"))) == [
        "method", "baseline", "path", "fusion", "aggregate", "layer_weights", "ends", "detail", "keep_special", "nodes",
        "tol", "n_steps", "max_steps", "seed",
    ]  # fmt: skip
