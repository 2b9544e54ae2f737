"""Nothing in a result becomes an element, an attribute or a script of its page, or turns its lines around."""

import json
import unicodedata

import numpy as np
import pytest
from tests.kit.pages import Elements
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_flow import sample_flow

from lignite.views.explanation.page import explanation_frame, explanation_html
from lignite.views.flow.page import flow_frame, flow_html

BREAKOUT = "'\"><img src=x onerror=alert(1)></title></style></script><!--<script>alert(1)//]]>\u202e\x1b[2J"


def plain(name: str) -> str:
    return f"{name}{'x' * 8}"


def attacked(name: str) -> str:
    return f"{name}{BREAKOUT}"


def rewritten(dataset, change):
    """Every text of a result, and every text inside its attributes, changed."""
    for name, variable in dataset.variables.items():
        if variable.dtype.kind == "U" and name != "circuit":
            texts = [change(str(text)) for text in variable.values.ravel()]
            dataset = dataset.assign_coords({name: (variable.dims, np.reshape(texts, variable.shape))})
    dataset = dataset.drop_indexes([name for name in ("token",) if name in dataset.indexes])
    dataset.attrs = {name: _attribute(value, change) for name, value in dataset.attrs.items()}
    return dataset


def _attribute(value, change):
    if not isinstance(value, str) or value in ("explain", "flow"):
        return value
    try:
        entries = json.loads(value)
    except ValueError:
        return change(value)
    return json.dumps({name: change(entry) if isinstance(entry, str) else entry for name, entry in entries.items()})


@pytest.mark.parametrize(
    ("make", "page"),
    [(sample_flow, flow_html), (sample_explanation, explanation_html)],
    ids=["flow", "explanation"],
)
def test_no_text_of_a_result_becomes_a_part_of_its_page(make, page):
    """Titles, attributes, data for the scripts: tokens, classes, model, revision, options, plans, versions."""
    attack = page(rewritten(make(), attacked))
    peace = Elements(page(rewritten(make(), plain)))

    found = Elements(attack)

    assert [tag for tag, _ in found.tags] == [tag for tag, _ in peace.tags]
    assert [sorted(attrs) for _, attrs in found.tags] == [sorted(attrs) for _, attrs in peace.tags]
    assert found.scripts["code"] == peace.scripts["code"]
    assert "onerror" in attack  # the attack did arrive, as text
    written = attack.replace("\n", "") + json.dumps(json.loads(found.scripts["meta"]), ensure_ascii=False)
    assert not {one for one in written if unicodedata.category(one) in ("Cc", "Cf")} - {"\t", "\u200c", "\u200d"}


@pytest.mark.parametrize(
    ("make", "frame"), [(sample_flow, flow_frame), (sample_explanation, explanation_frame)], ids=["flow", "explanation"]
)
def test_a_page_in_a_notebook_is_one_element(make, frame):
    """The whole page stands in an attribute; a quote must not end it."""
    tags = Elements(frame(rewritten(make(), attacked))).tags

    assert [tag for tag, _ in tags] == ["iframe"]
    assert sorted(tags[0][1]) == ["height", "sandbox", "srcdoc", "style", "title", "width"]
    assert "allow-same-origin" not in tags[0][1]["sandbox"]
