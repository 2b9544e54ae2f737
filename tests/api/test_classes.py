"""Several classes in one result: scores of one call per class, one file, every view."""

import json
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from numpy.testing import assert_allclose
from rich.console import Console
from tests.kit.command_line import run
from tests.kit.headed_models import headed
from tests.kit.pages import static
from tests.kit.tiny_tokenizers import byte_level

import lignite
from lignite.errors import GapWarning, InputError, LigniteError, OptionError
from lignite.results.classes import by_class, join_classes
from lignite.results.notebook import html_of
from lignite.results.schema import CLASS_AXIS, validate
from lignite.views.explanation.classes import print_classes

pytestmark = [
    pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning"),
    pytest.mark.usefixtures("plain_terminal"),
]

TEXTS = ["the plot was thin", "it was"]
WAYS: dict[str, dict[str, Any]] = {
    "relevance-flow": {"detail": ("relevance-flow", "heads"), "baseline": ("mask", "pad")},
    "ca-lig": {"baseline": "mask", "ends": True},
    "ig": {"baseline": ("mask", "zero")},
    "gradient-x-input": {},
    "attention-x-gradient": {},
    "occlusion": {},
    "shapley": {"n_samples": 3},
}
ROUNDED = 1e-9  # of the largest score: float64 sums in another order


@pytest.fixture(scope="module")
def model():
    return headed("bert", "BertForSequenceClassification", id2label={0: "bad", 1: "so", 2: "good"})


@pytest.fixture(scope="module")
def every(model):
    return lignite.explain(model, TEXTS[0], targets="all", method="ca-lig", baseline="mask")


def same(found: xr.Dataset, expected: xr.Dataset) -> None:
    """The same variables, coordinates and attributes, up to rounding."""
    assert set(found.variables) == set(expected.variables)
    for name in expected.variables:
        if expected[name].dtype.kind == "f":
            scale = max(1e-300, float(abs(expected[name]).max()))
            assert_allclose(found[name].values, expected[name].values, rtol=0, atol=max(ROUNDED * scale, 1e-12))
        else:
            np.testing.assert_array_equal(found[name].values, expected[name].values)
    assert set(found.attrs) == set(expected.attrs)
    assert found.attrs["value"] == pytest.approx(expected.attrs["value"], abs=1e-12)
    for name in ("target", "plans", "request", "text", "prediction", "kind"):
        assert found.attrs[name] == expected.attrs[name]


@pytest.mark.parametrize("way", WAYS)
def test_classes_are_what_one_call_for_each_finds(model, way):
    """Whatever is shared between them; also nodes and certificates are those of a class alone."""
    together = lignite.explain(model, TEXTS, targets="all", method=way, **WAYS[way])

    assert [one.attrs["text"] for one in together] == TEXTS
    for text, found in zip(TEXTS, together, strict=True):
        probabilities = found.probability.sel({"class": found.explained.values}).values
        assert (np.diff(probabilities) <= 0).all()
        assert sorted(found.explained.values) == ["bad", "good", "so"]
        for name, one in by_class(found).items():
            same(one, lignite.explain(model, text, target=name, method=way, **WAYS[way]))


def test_the_most_probable_tokens_of_a_vocabulary_are_explained(tmp_path):
    """Next tokens and masked words, at the place where the model is asked."""
    writer = headed("gpt2", "GPT2LMHeadModel", tokenizer=byte_level())
    masked = headed("bert", "BertForMaskedLM")

    for model, text, target in ((writer, "I thin", None), (masked, "it [MASK] thin", None)):
        found = lignite.explain(model, text, target=target, targets=12, method="ig")
        likeliest = found["class"].values[np.argsort(-found.probability.values, kind="stable")]
        assert found.explained.values.tolist() == likeliest[:12].tolist()
        name = str(found.explained.values[11])  # more than a result lists by itself
        number = json.loads(by_class(found)[name].attrs["target"])["label"]
        alone = lignite.explain(model, text, target=number, method="ig")
        assert_allclose(found.relevance.sel(explained=name), alone.relevance, atol=1e-9)


def test_a_place_may_be_named_beside_the_classes():
    """`Target(token=…)` says where the model answers."""
    model = headed("bert", "BertForTokenClassification")

    found = lignite.explain(model, TEXTS[0], target=lignite.Target(token=2), targets=2, method="ig")

    alone = lignite.explain(
        model, TEXTS[0], target=lignite.Target(label=str(found.explained.values[1]), token=2), method="ig"
    )
    assert_allclose(found.relevance.isel(explained=1), alone.relevance, atol=1e-9)


@pytest.mark.parametrize(
    ("head", "options", "said"),
    [
        ("BertForSequenceClassification", {"targets": 4}, "targets=4 is more than the 3 classes"),
        ("BertForSequenceClassification", {"targets": 0}, "targets=0"),
        ("BertForSequenceClassification", {"targets": "some"}, "targets='some' is a str"),
        (
            "BertForSequenceClassification",
            {"targets": "all", "target": "LABEL_1"},
            "label='LABEL_1' asks for something",
        ),
        ("BertForSequenceClassification", {"targets": 2, "target": ("LABEL_1", "LABEL_0")}, "asks for something else"),
        ("BertForSequenceClassification", {"targets": 2, "target": lambda out: out.logits[:, 0]}, "drop one"),
        ("BertForSequenceClassification", {"targets": 4, "window": 5}, "targets=4 is more than the 3 classes"),
        ("BertForMaskedLM", {"targets": 2, "window": 5}, "one answer for the whole text"),
        ("BertForQuestionAnswering", {"targets": 2}, "a place in the text, no class"),
        ("BertForMaskedLM", {"targets": "all"}, "give a number, such as targets=5"),
        ("BertForMaskedLM", {"targets": 2, "target": lignite.Target(steps=2)}, "steps=2 asks for something else"),
    ],
)
def test_what_has_no_classes_is_refused_in_a_line(head, options, said):
    """By what was given, before anything is computed."""
    model = headed("bert", head, **({} if head != "BertForQuestionAnswering" else {"num_labels": 2}))

    with pytest.raises(OptionError, match=said):
        lignite.explain(model, "it [MASK] thin", **options)


def test_numbers_without_probabilities_are_explained_all_or_not_at_all():
    """A regression has no most probable output; of a single one there is nothing to choose."""
    several = headed("bert", "BertForSequenceClassification", problem_type="regression")
    single = headed("bert", "BertForSequenceClassification", num_labels=1)

    found = lignite.explain(several, TEXTS[0], targets="all", method="ig")

    assert found.explained.values.tolist() == ["LABEL_0", "LABEL_1", "LABEL_2"]
    with pytest.raises(OptionError, match="no probabilities; use 'all'"):
        lignite.explain(several, TEXTS[0], targets=2)
    with pytest.raises(OptionError, match="one number; leave targets out"):
        lignite.explain(single, TEXTS[0], targets="all")


@pytest.mark.parametrize("ending", ["nc", "json"])
def test_all_classes_keep_in_one_file(every, tmp_path, ending):
    """Read back unchanged; and a selection of classes is a result, too."""
    lignite.save(every, tmp_path / f"every.{ending}")

    back = lignite.open(tmp_path / f"every.{ending}")

    assert back.identical(every)
    last = every.explained.values[2:]
    assert by_class(back.sel(explained=last))[str(last[0])].identical(by_class(every)[str(last[0])])


def test_questions_are_answered_class_by_class(every):
    """What makes another result of one makes it of each; what answers with a table asks for one class."""
    for change in (
        lambda one: one.lignite.merge_words(),
        lambda one: one.lignite.merge_spans([(0, 8)]),
        lambda one: one.lignite.drop_special(redistribute=True),
        lambda one: one.lignite.normalize(),
    ):
        changed = change(every)
        validate(changed)
        for name, one in every.lignite.by_class().items():
            assert by_class(changed)[name].identical(change(one))
    for ask in (every.lignite.top, every.lignite.chain, every.lignite.paths):
        with pytest.raises(OptionError, match="ask each of by_class"):
            ask()
    with pytest.raises(OptionError, match="explain with targets="):
        every.lignite.by_class()["so"].lignite.by_class()


def test_only_explanations_of_one_input_are_joined(model):
    """Other tokens, or other variables, are another result."""
    one, other = lignite.explain(model, TEXTS, method="ig")

    with pytest.raises(LigniteError, match="differ"):
        join_classes([one, other], ["a", "b"])
    with pytest.raises(InputError, match="different variables"):
        join_classes([one, one.drop_vars("total_allowed")], ["a", "b"])


def test_every_view_takes_several_classes_or_says_why_not(every, tmp_path):
    """One page with chips, one picture, one table, one card; plots and lists of words want one of them."""
    for ending in ("html", "png", "csv"):
        every.lignite.save(tmp_path / f"every.{ending}")

    page = static((tmp_path / "every.html").read_text())
    assert page.count('class="chips"') == 5  # three classes, two differences
    names = [str(name) for name in every.explained.values]
    table = (tmp_path / "every.csv").read_text().splitlines()
    assert len(table) == 1 + 3 * every.sizes["token"]
    assert [row.split(",")[0] for row in table[1 :: every.sizes["token"]]] == names
    card = html_of(every)
    assert all(f"Asked was {name}" in card for name in names[1:])
    with pytest.raises(OptionError, match="take it from by_class"):
        every.lignite.plot("bars")


def test_classes_are_the_sides_of_a_comparison(every):
    """Named by what tells them apart: their class."""
    compared = lignite.compare(every)

    assert compared.side.values.tolist() == every.explained.values.tolist()
    with pytest.raises(InputError, match="by_class"):
        lignite.compare(every, every)


def test_a_tracker_has_an_entry_for_every_class(every):
    """Under the name of the class."""

    class Tracker:
        def __init__(self) -> None:
            self.seen: dict[str, float] = {}

        def log(self, values: dict[str, float], step: int | None = None) -> None:
            self.seen |= values

    tracker = Tracker()

    lignite.log(every, tracker)

    for name, one in every.lignite.by_class().items():
        assert tracker.seen[f"lignite/{name}/logit"] == one.attrs["value"]


@pytest.mark.parametrize(("width", "beside"), [(40, 2), (80, 3)])
def test_the_terminal_sets_classes_beside_each_other(every, width, beside, capsys):
    """The answer first; then a line for each class, and as many columns as have room."""
    print_classes(every, console=Console(width=width, color_system=None, file=None))

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    first, *others = (str(name) for name in every.explained.values)
    assert lines[0].startswith(f"The model says {first} (")
    for name in (first, *others):
        assert any(line.startswith((f"For {name}:", f"Against {name}:")) for line in lines)
    heads = [line.split() for line in lines if set(line.split()) & {first, *others} and line.startswith(" ")]
    assert heads[0] == [first, *others][:beside]
    strongest = int(np.argmax(abs(every.relevance.values * ~every.special.values).max(0)))
    row = next(line for line in lines if line.split()[:1] == [str(every.token.values[strongest])])
    assert float(row.split()[1]) == pytest.approx(float(every.relevance[0, strongest]), rel=5e-3)


def test_the_command_line_explains_several_classes(tmp_path):
    """`--targets all`, in one file that `view` and `compare` read."""
    text = "A superb film."

    shown = run("explain", text, "--targets", "all", "--method", "ig", "-o", str(tmp_path / "why.nc"))

    assert shown.stdout.splitlines()[0].startswith("The model says positive (")
    found = lignite.open(tmp_path / "why.nc")
    assert found[CLASS_AXIS].values.tolist() == ["positive", "negative"]
    assert run("view", str(tmp_path / "why.nc"), "-o", str(tmp_path / "why.html")).exit_code == 0
    refused = run("explain", text, "--targets", "two")
    assert refused.exit_code == 2
    assert "neither 'all' nor a number" in refused.stderr


def test_a_warning_names_what_is_missed_once(model):
    """Of all classes together, as of all inputs."""
    with pytest.warns(GapWarning) as warned:
        lignite.explain(model, TEXTS[0], targets="all", method="ig", baseline="zero", n_steps=1)

    assert len(warned) == 1


def test_half_precision_is_copied_once_for_all_classes():
    """As a single class, in float32."""
    model = headed("bert", "BertForSequenceClassification", dtype=torch.bfloat16)

    found = lignite.explain(model, TEXTS[0], targets=2, method="gradient-x-input")

    alone = lignite.explain(model, TEXTS[0], target=str(found.explained.values[1]), method="gradient-x-input")
    assert_allclose(found.relevance.isel(explained=1), alone.relevance, atol=1e-5)


def rows_run(model, ask) -> int:
    """How many rows the second layer's attention sees while something is asked."""
    seen: list[int] = []
    layer = model.network.bert.encoder.layer[1].attention.self.query
    hook = layer.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    try:
        ask()
    finally:
        hook.remove()
    return sum(seen)


@pytest.mark.parametrize(
    ("way", "share"),
    [
        ("occlusion", 0.4),
        ("shapley", 0.4),
        ("ig", 0.6),
        ("ca-lig", 0.6),
        ("relevance-flow", 0.8),  # the order in which tokens arrive is each class's own
    ],
)
def test_what_classes_share_is_run_once(model, way, share):
    """Three classes take one forward pass where the path is the same; recordings of the input are each class's own."""
    text = "people says nothing at all but the acting was thin"

    together = rows_run(model, lambda: lignite.explain(model, text, targets="all", method=way))

    apart = sum(
        rows_run(model, lambda name=name: lignite.explain(model, text, target=name, method=way))
        for name in ("bad", "so", "good")
    )
    assert together < share * apart
