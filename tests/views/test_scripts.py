"""What the pages' scripts compute and draw, run by Node, and by a browser where there is one."""

import base64
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from tests.kit.pages import Elements
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_flow import sample_flow
from tests.kit.sample_image_explanation import sample_image_explanation

from lignite.views import markup
from lignite.views.explanation.page import explanation_html
from lignite.views.explanation.picture import choose_ink
from lignite.views.flow.page import flow_html
from lignite.views.labels import format_score, format_share
from lignite.views.markup import WEB, bundle
from lignite.views.palette import diverging
from lignite.views.patches.facts import grid_of, overlay_colours, painted, patches, tint

HERE = Path(__file__).parent / "web"
NODE = shutil.which("node")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
VOID = {"meta", "input", "br", "img", "link", "hr"}


def still_flow():
    """A flow with a target that moved nowhere in one layer, one that moved back, and one that a source held back."""
    dataset = sample_flow(layers=(0, 1, 2, 3))
    for name in ("whole", "whole_displacement", "whole_gap"):
        dataset[name][1, 2] *= 1e-9
        dataset[name][2, 5] *= -1
    change = -8 - dataset.whole[0, 4, 6]
    dataset.whole[0, 4, 6] += change
    dataset.whole_displacement[0, 4] += change
    return dataset


class Tree(HTMLParser):
    """The body of a page as lists: tag, attributes, children."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [["root", {}, []]]
        self.feed(re.sub(r"<(script|style|noscript)\b.*?</\1>", "", page, flags=re.DOTALL))

    def handle_starttag(self, tag, attrs):
        made = [tag, dict(attrs), []]
        self.open[-1][2].append(made)
        if tag == "body":
            self.body = made
        if tag not in VOID:
            self.open.append(made)

    def handle_endtag(self, tag):
        if tag not in VOID:
            while self.open.pop()[0] != tag:
                pass

    def handle_data(self, data):
        self.open[-1][2].append(data)


def page_of(page: str) -> dict:
    """Markup, description and numbers of a page."""
    scripts = Elements(page).scripts
    blocks = {name.removeprefix("data-"): text for name, text in scripts.items() if name.startswith("data-")}
    return {"tree": Tree(page).body, "meta": json.loads(scripts["meta"]), "blocks": blocks}


def listed(values) -> list:
    """Numbers for JSON, which knows no NaN."""
    return [None if np.isnan(value) else float(value) for value in np.ravel(values)]


def shares_of(dataset, map: str) -> list:
    """Shares of every cell, layer by layer, from the accessor's table."""
    table = dataset.lignite.top(dataset[map].size, map=map)
    order = [name for name in ("layer", "head", "target", "source") if name in table]
    return [listed(rows["share"]) for _, rows in table.sort_values(order).groupby("layer")]


def paths_of(dataset, target: int | None) -> dict:
    found = dataset.lignite.paths(10, target=target)
    return {
        "target": target,
        "found": [{"through": path.positions, "sign": path.sign, "strength": path.strength} for path in found],
    }


def flow_numbers() -> dict:
    """A flow's page, and what the accessor says of the flow."""
    dataset = still_flow()
    attention = {
        str(place): shares_of(dataset.isel(head=[place]), "attention") for place in range(dataset.sizes["head"])
    }
    summed = dataset.assign(
        whole=dataset.attention.sum("head"), whole_displacement=dataset.attention_displacement.sum("head")
    )
    top = dataset.lignite.top(12, map="whole", layer=1)
    halves = np.array([bits for bits in range(0, 65536, 61) if (bits >> 10) & 31 < 31], dtype="<u2")  # numbers alone
    return {
        "flow": page_of(flow_html(dataset, tokens=True)),
        "shares": shares_of(dataset, "whole"),
        "attentionShares": {**attention, "-1": shares_of(summed, "whole")},
        "rows": [listed(layer / np.abs(layer).max(1, keepdims=True)) for layer in dataset.whole.values.astype("f8")],
        "chain": [listed(row) for row in dataset.lignite.chain().values],
        "paths": [paths_of(dataset, None), paths_of(dataset, 4)],
        "top": top[["target", "source"]].values.tolist(),
        "halves": {
            "bytes": base64.b64encode(halves.tobytes()).decode(),
            "values": listed(halves.view("<f2").astype("f8") / 8),
        },
    }


def colours() -> dict:
    """Ink on the scales, tints of shares, and patches mixed, as the pictures have them."""
    dataset = sample_image_explanation()
    where, scores = patches(dataset), dataset.relevance.values.astype("f8")
    limit = float(np.abs(scores[where.index]).max())
    mixed = np.nan_to_num(painted(where, scores[where.index], smooth=True) / limit)
    shares = np.linspace(-1, 1, 41)
    return {
        "ink": {hex: choose_ink(hex)[:4] for dark in (False, True) for hex in diverging(dark=dark)},
        "tints": [[float(share), tint(np.array(share)).tolist()] for share in shares],
        "image": {"meta": {"overlay": overlay_colours()}},
        "mixed": {
            "meta": {"grid": grid_of(dataset, []), "overlay": overlay_colours()},
            "scores": scores.tolist(),
            "limit": limit,
            "expected": listed(255 * tint(mixed)),
        },
    }


def explanation_numbers() -> dict:
    dataset = sample_explanation(method="relevance-flow", n_layers=4)
    flow = dataset.relevance_flow.values.astype("f8")
    strongest = [np.argsort(-np.abs(layer), axis=None)[: min(20, np.count_nonzero(layer))] for layer in flow]
    return {
        "explanation": page_of(explanation_html(dataset)),
        "lines": [np.stack(np.unravel_index(places, flow[0].shape), 1).tolist() for places in strongest],
        "levels": [*(listed(layer.sum(0)) for layer in flow), listed(flow[-1].sum(1))],
    }


def image_numbers() -> dict:
    """An explained image of unknown pixels, its strongest patches by their positions, and its sums as bars."""
    dataset = sample_image_explanation(grid=(4, 5), n_layers=2, image=False)
    scores, patch = dataset.relevance.values.astype("f8"), dataset.row.values >= 0
    strongest = [
        [place for place in np.argsort(-np.abs(scores), kind="stable") if patch[place] and sign * scores[place] > 0][
            :10
        ]
        for sign in (1, -1)
    ]
    sums = [scores[patch & (scores > 0)].sum(), scores[patch & (scores < 0)].sum(), *scores[~patch]]
    return {
        "seen": page_of(explanation_html(dataset)),
        "numbered": [int(dataset.position.values[place]) for places in strongest for place in places],
        "bars": [abs(size) / max(map(abs, sums)) for size in sums],
    }


def written() -> dict:
    """Numbers as text, where the scripts and the tables write them alike (signs apart)."""
    sizes = [1e-4, 0.00123456, 0.1, 0.31415, 1.0, 12.0, 99.95, 123.4, 999.0]
    values = [0.0, *sizes, *(-size for size in sizes)]
    return {
        "signed": [[value, format_score(value)] for value in values],
        "percent": [[value, format_share(value)] for value in values if abs(value) >= 0.001 or value == 0],
    }


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Path:
    """What the scripts are held against, written by the library at the moment of the test."""
    path = tmp_path_factory.mktemp("web") / "given.json"
    path.write_text(
        json.dumps(flow_numbers() | colours() | explanation_numbers() | image_numbers() | written()), encoding="utf-8"
    )
    return path


@pytest.mark.skipif(NODE is None, reason="Node is not installed: nothing else runs the pages' scripts by themselves")
@pytest.mark.parametrize("file", sorted(HERE.glob("*.test.mjs")), ids=lambda path: path.name.split(".")[0])
def test_the_scripts_of_the_pages_keep_their_word(file, given):
    """Numbers are those of the accessor, colours those of the pictures, and pages stay in their own element."""
    environment = os.environ | {"LIGNITE_GIVEN": str(given), "LIGNITE_WEB": str(WEB)}

    ran = subprocess.run([NODE, "--test", str(file)], env=environment, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr


TWICE = """<!doctype html><html><head><meta charset="utf-8"><style>{css}</style></head><body>
<div class="flow">{flow}</div><div class="flow">{flow}</div><div class="explain">{explanation}</div>
{data}<script>{code}</script></body></html>"""

MOUNTS = """
const bytes = (page, name) => kit.bytes(page.blocks[name]);
const mount = (how, root, page) => how.mount(root, {meta: page.meta, block: (name) => bytes(page, name)});
const pages = JSON.parse(document.getElementById("pages").textContent), roots = document.querySelectorAll("body > div");
mount(flow, roots[0], pages.flow); mount(flow, roots[1], pages.flow); mount(explain, roots[2], pages.explanation);
const map = roots[0].querySelector('[data-name="map"]');
map.value = "attention"; map.dispatchEvent(new Event("change"));
"""


@pytest.mark.skipif(BROWSER is None, reason="neither chromium nor google-chrome is installed")
def test_a_browser_shows_three_pages_in_one_document(tmp_path):
    """As a notebook would: two flows, of which one is changed, and an explanation."""
    pages = {"flow": flow_html(still_flow()), "explanation": explanation_html(sample_explanation())}
    bodies = {name: re.search(r"<body.*?>(.*?)<script", page, re.DOTALL)[1] for name, page in pages.items()}
    css = "".join(WEB.joinpath(f"{name}.css").read_text("utf-8") for name in ("base", "flow", "explain", "picture"))
    payloads = {name: {key: page_of(page)[key] for key in ("meta", "blocks")} for name, page in pages.items()}
    data = f'<script type="application/json" id="pages">{json.dumps(payloads).replace("<", chr(92) + "u003c")}</script>'
    document = TWICE.format(css=css, data=data, code=bundle("flow", "explain", then=MOUNTS), **bodies)
    (tmp_path / "twice.html").write_text(document, encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]

    shown = subprocess.run(
        [*command, "--virtual-time-budget=3000", "--dump-dom", f"file://{tmp_path}/twice.html"],
        capture_output=True, text=True, check=True, timeout=120,
    ).stdout  # fmt: skip

    titles = re.findall(r'data-name="heat-title">(.*?)</span>', shown)
    assert titles == ["Layer 0: attention: states to heads, heads added up", "Layer 0: whole block: states to states"]
    assert len(re.findall(r'data-name="paths"[^>]*><tbody>|data-name="paths"[^>]*><tr', shown)) == 2
    assert 'data-name="verdict">The model says positive' in shown
    assert "unbelievable" in re.search(r'data-name="for" .*', shown, re.DOTALL)[0]


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ('import { a } from "./b.js";\n', "in a circle"),
        ('import a from "./kit.js";\n', "cannot be put in"),
        ("export default 1;\n", "cannot be put in"),
    ],
    ids=["circle", "import", "export"],
)
def test_a_module_that_cannot_be_put_into_a_page_is_refused(monkeypatch, source, complaint):
    """What is stripped wrongly would break in the reader's browser, where nobody sees it."""
    monkeypatch.setattr(markup, "_source", lambda _: source)

    with pytest.raises(ValueError, match=complaint):
        bundle("b", then="")


def test_a_page_with_its_modules_is_one_script_that_loads_nothing():
    """A file may not fetch another one beside it; names of one module do not meet those of another."""
    script = bundle("flow", "explain", then="flow.mount();")

    assert not re.search(r"^\s*(import|export)\b", script, re.MULTILINE)
    assert script.count("const kit = (() => {") == 1
    assert script.index("const kit = ") < script.index("const flow_scores = ") < script.index("const flow = ")
    assert "</script" not in script


def functions_of(source: str) -> list[int]:
    """Lines of every function and method of a module, from its first to the brace that closes it at the same depth."""
    lines = source.splitlines()
    starts = [at for at, line in enumerate(lines) if re.match(r" {0,2}\w.*\) \{$", line) and " = " not in line]
    closing = [f"{re.match(' *', lines[at])[0]}}}" for at in starts]
    return [lines.index(end, at) - at + 1 for at, end in zip(starts, closing, strict=True)]


@pytest.mark.parametrize("module", sorted(WEB.glob("*.js")), ids=lambda path: path.stem)
def test_a_module_reads_in_one_breath(module):
    """As a file of Python does: at most 500 lines, and 60 for a function."""
    source = module.read_text("utf-8")

    assert len(source.splitlines()) <= 500
    assert max(functions_of(source)) <= 60
