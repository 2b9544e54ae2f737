"""The widget of notebooks: what it asks when something is chosen, and what is left where widgets are not shown."""

import json

import numpy as np
import pytest
import xarray as xr
from tests.kit.browsers import launch, needs_browser

import lignite
from lignite.errors import OptionError
from lignite.zoo.samples import digit_scene

pytest.importorskip("anywidget", reason="the widget runs on anywidget")

TEXT = "The plot was thin, but the acting was superb."


@pytest.fixture(scope="module")
def model():
    return lignite.load("tiny-sentiment")


@pytest.fixture
def shown(model):
    return lignite.widget(model, TEXT, method="gradient-x-input")


def ask(shown, **more) -> None:
    shown.asked = {**shown.asked, **more}


def test_it_shows_what_explain_answers(shown, model):
    """The same Dataset, to be used further."""
    xr.testing.assert_identical(shown.result, lignite.explain(model, TEXT, method="gradient-x-input"))
    assert [text.split()[0] for _, text in offered(shown, "target")] == ["negative", "positive"]


def offered(shown, name: str) -> list:
    return next(each["options"] for each in shown.choices if each["name"] == name)


@pytest.mark.parametrize("more", [{"target": 1}, {"method": "ig"}, {"method": "ig", "baseline": "zero"}])
def test_another_class_method_or_baseline_is_asked_of_the_model(shown, model, more):
    """And the card is that of the new answer."""
    before = shown.card

    ask(shown, **more)

    asked = {"method": "gradient-x-input", **more}
    np.testing.assert_array_equal(shown.result.relevance, lignite.explain(model, TEXT, **asked).relevance)
    assert shown.card != before
    assert not shown.busy


def test_of_an_image_the_patches_that_say_most_can_be_taken_away():
    """Sixty-four buttons push the answer off the screen."""
    shown = lignite.widget(lignite.load("tiny-digits"), digit_scene().image, method="gradient-x-input")

    sizes = np.abs(shown.result.relevance.values[1:])
    assert len(shown.words) == 16
    assert [abs(word.score) for word in shown.listed] == pytest.approx(np.sort(sizes)[::-1][:16])
    assert "-" not in " ".join(shown.words)


def test_a_word_taken_away_tells_both_effects(shown):
    """Predicted beside actual; the explanation stays."""
    before = shown.result

    ask(shown, without=[3])

    assert shown.said.startswith("Without thin (mask): predicted")
    assert "actual" in shown.said
    assert shown.result is before


@pytest.mark.parametrize(
    ("more", "options"),
    [
        ({}, {"maps": "whole"}),
        ({"layer": 2}, {"maps": "whole", "layers": 2}),
        ({"map": "attention"}, {"maps": "attention"}),
        ({"path": "zero"}, {"maps": "whole", "baseline": "zero"}),
    ],
)
def test_the_flow_is_asked_of_the_model_with_its_own_choices(shown, model, more, options):
    """Words are taken away from explanations alone; all layers stay on offer where one is shown."""
    ask(shown, show="flow")
    ask(shown, **more)

    expected = lignite.flow(model, TEXT, **options)
    assert set(shown.result.data_vars) == set(expected.data_vars)
    for name in expected.data_vars:
        np.testing.assert_array_equal(shown.result[name], expected[name])
    assert [each["label"] for each in shown.choices] == ["Show", "Layer", "Map", "Baseline"]
    assert [value for value, _ in offered(shown, "layer")] == [None, 0, 1, 2, 3]
    assert (shown.words, shown.said) == ([], "")


def test_a_baseline_is_offered_where_the_method_has_one(shown):
    """The gradient times the input starts nowhere; what was chosen before is no obstacle."""
    labels = [each["label"] for each in shown.choices]
    ask(shown, method="ig", baseline="pad")
    of_paths = [value for value, _ in offered(shown, "baseline")]

    ask(shown, method="gradient-x-input")

    assert labels == ["Show", "Class", "Method"]
    assert {None, "zero", "mean", "mask", "pad"} <= set(of_paths)
    assert "blur" not in of_paths
    assert [each["label"] for each in shown.choices] == labels
    assert shown.failed == ""


def test_what_goes_wrong_is_one_line_and_the_last_answer_stays(shown):
    """A kernel's traceback goes where no reader of a widget sees it."""
    before = shown.card

    ask(shown, target=99)

    assert "99" in shown.failed
    assert shown.failed.count("\n") == 0
    assert shown.card == before
    assert not shown.busy


def test_an_exported_notebook_keeps_the_card(shown):
    """GitHub and nbconvert run no widget."""
    bundle, _ = shown._repr_mimebundle_()

    assert "The model says negative" in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_several_inputs_are_refused(model):
    """One card, one input."""
    with pytest.raises(OptionError, match="one input"):
        lignite.widget(model, [TEXT, TEXT])


def test_without_anywidget_one_line_says_what_to_install(model, monkeypatch):
    """The extra is a choice."""
    monkeypatch.setattr("lignite.apps.widget.find_spec", lambda name: None)

    with pytest.raises(OptionError, match=r"install lignite\[notebook\]"):
        lignite.widget(model, TEXT)


PAGE = """<body><div id="out"></div><script type="module">
const source = %s, listeners = {};
const { default: widget } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
const state = %s;
const model = {
  get: (name) => state[name], on: (name, then) => { listeners[name] = then; }, save_changes: () => {},
  set: (name, value) => { state[name] = value; (window.asked ??= []).push(value); listeners[`change:${name}`](); },
};
widget.render({ model, el: document.getElementById("out") });
</script></body>"""


@pytest.mark.wide
@needs_browser
def test_its_script_sends_what_is_chosen(shown, tmp_path):
    """In Chromium, with a model that writes down what it is told."""
    playwright = pytest.importorskip("playwright.sync_api", reason="a browser is clicked through playwright")
    names = ("card", "choices", "words", "asked", "said", "failed", "busy")
    state = json.dumps({name: getattr(shown, name) for name in names})
    page = tmp_path / "widget.html"
    page.write_text(PAGE % (json.dumps(shown._esm).replace("</", "<\\/"), state.replace("</", "<\\/")), "utf-8")

    with playwright.sync_playwright() as driver:
        browser = launch(driver)
        opened = browser.new_page()
        opened.goto(page.as_uri())
        opened.get_by_label("Class").select_option(index=1)
        opened.get_by_label("Method").select_option("ig")
        opened.get_by_role("button", name="thin").click()
        asked = opened.evaluate("window.asked")
        text = opened.locator(".lignite-card").inner_text()
        opened.get_by_label("Show").select_option("flow")
        last = opened.evaluate("window.asked.at(-1)")
        browser.close()

    assert [each["target"] for each in asked] == [1, 1, 1]
    assert [each["method"] for each in asked] == ["gradient-x-input", "ig", "ig"]
    assert asked[-1]["without"] == [3]
    assert (last["show"], last["without"]) == ("flow", [])
    assert "The model says negative" in text
