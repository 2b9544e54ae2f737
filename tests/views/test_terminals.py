"""Every result in every terminal: as wide as it is, in the colours that it has, the answer in the first line."""

import io
import re

import numpy as np
import pytest
from rich.console import Console
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_flow import sample_flow
from tests.kit.sample_image_explanation import sample_image_explanation

import lignite
from lignite.apps.outputs import Look, deliver, show
from lignite.apps.terminal import Terminal
from lignite.results.classes import join_classes
from lignite.views.explanation.steps import print_steps
from lignite.views.explanation.together import continuation_of

ENVIRONMENTS = {
    "true colours": ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, True),
    "sixteen colours": ({"TERM": "xterm"}, True),
    "no colours": ({"TERM": "xterm-256color", "NO_COLOR": "1"}, True),
    "dumb": ({"TERM": "dumb"}, True),
    "pipe": ({}, False),
}
COLOUR = re.compile(r"\x1b\[[\d;]*?\b(?:3[0-7]|4[0-7]|9[0-7]|10[0-7]|[34]8;[25])")


def console_of(name: str, width: int) -> Console:
    environment, terminal = ENVIRONMENTS[name]
    return Console(
        file=io.StringIO(), width=width, height=25, force_terminal=terminal, highlight=False, _environ=environment
    )


def of_class(label: str):
    return sample_explanation(label=label, method="relevance-flow").assign_attrs(prediction="positive")


RESULTS = {
    "explanation": lambda: sample_explanation(),
    "image": sample_image_explanation,
    "classes": lambda: join_classes([of_class("positive"), of_class("negative")], ["positive", "negative"]),
    "flow": sample_flow,
    "comparison": lambda: lignite.compare(sample_explanation(), sample_explanation(seed=1), names=["a", "b"]),
    "flow comparison": lambda: lignite.compare(sample_flow(), sample_flow(seed=1), names=["a", "b"]),
}


@pytest.fixture(scope="module")
def made():
    return {name: make() for name, make in RESULTS.items()}


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_result_fits_every_terminal(made, environment, width):
    """No line is longer, none begins with nothing, and colours are where a terminal has them."""
    for name, result in made.items():
        console = console_of(environment, width)
        show(result, Look(), console)
        text = console.file.getvalue()

        lines = re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()
        assert max(len(line.rstrip()) for line in lines) <= width, name
        assert lines[0].strip(), name
        if environment in ("dumb", "pipe"):
            assert "\x1b" not in text, name
        assert bool(COLOUR.search(text)) == environment.endswith("e colours") or environment == "sixteen colours", name


@pytest.mark.parametrize("name", ["explanation", "flow", "classes", "flow comparison"])
def test_sixteen_colours_are_named_and_none_is_a_grey(made, name):
    """The nearest of sixteen to the blue of what speaks against is a light grey."""
    console = console_of("sixteen colours", 80)
    show(made[name], Look(), console)

    codes = {tuple(map(int, each.split(";"))) for each in re.findall(r"\x1b\[([\d;]+)m", console.file.getvalue())}
    plain = {code for each in codes if not any(40 <= code <= 47 for code in each) for code in each}
    assert plain & {33, 36}
    assert plain <= {0, 1, 2, 3, 31, 33, 36}


def test_a_flow_in_forty_columns_names_who_gives_and_who_receives():
    """And no number of a layer is cut."""
    console = console_of("pipe", 40)
    flow = sample_flow()

    show(flow, Look(), console)

    lines = console.file.getvalue().splitlines()
    arrows = [line for line in lines if re.match(r"\d+ \S+ → \d+ \S+ +[+-]", line)]
    assert len(arrows) == 5 * flow.sizes["layer"]
    (head,) = (at for at, line in enumerate(lines) if line.split() == ["layer", "displacement", "diagonal", "gap"])
    rows = lines[head + 1 : head + 1 + flow.sizes["layer"]]
    assert [row.split()[0] for row in rows] == [str(layer) for layer in flow.layer.values]
    assert not any("…" in row for row in lines[head:])


def continued():
    texts = (["Once", "upon", "a"], ["Once", "upon", "a", "time"])
    return [sample_explanation(tokens=tokens, seed=at, method="ig") for at, tokens in enumerate(texts)]


def test_a_continuation_says_what_comes_next_and_what_it_owes_to_what(capsys):
    """In a table of sources by generated tokens; one that was not yet there has no number."""
    datasets = continued()
    console = console_of("pipe", 60)

    print_steps(continuation_of(datasets), datasets, console=console)

    lines = console.file.getvalue().splitlines()
    shares = [100 * float(each.probability.values[1]) for each in datasets]
    assert lines[0] == "The model goes on with positive positive."
    assert next(line.split() for line in lines if line.startswith("probability"))[1::2] == [
        f"{share:.1f}" for share in shares
    ]
    rows = {
        line.split()[0]: line.split()[1:] for line in lines if line.split()[:1] and line.split()[0] in "Onceuponatime"
    }
    assert len(rows["time"]) == 1
    assert float(rows["upon"][1]) == pytest.approx(float(datasets[1].relevance[1]), rel=5e-3)
    deliver(Terminal(quiet=False), datasets, [], Look())
    assert capsys.readouterr().out.startswith("The model goes on with positive")


def test_a_dumb_terminal_is_as_wide_as_it_is(monkeypatch):
    """Rich takes every terminal that says it is dumb for one of 80 columns."""
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout", type("Tty", (io.StringIO,), {"isatty": lambda self: True})())

    assert Terminal(quiet=False).out.width == 40


def test_doubt_comes_before_what_comes_next():
    """A result outside its tolerance says so first."""
    datasets = [each.assign(total_gap=each.total_gap * 0 + 1) for each in continued()]
    console = console_of("pipe", 80)

    print_steps(continuation_of(datasets), datasets, console=console)

    assert np.isfinite(float(datasets[0].total_gap))
    assert console.file.getvalue().startswith("Not settled")
