"""What the pages' scripts compute, run by Node; and how they are put into a page."""

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.kit.pages import blocks_of, meta_of
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_flow import sample_flow
from tests.kit.sample_image_explanation import sample_image_explanation

from lignite.views import markup
from lignite.views.explanation.page import explanation_html
from lignite.views.flow.page import flow_html
from lignite.views.labels import format_cell, format_score, format_share, typeset
from lignite.views.markup import WEB, bundle
from lignite.views.patches.facts import grid_of, overlay_colours, painted, patches, tint
from lignite.views.payload import EXACT, Payload
from lignite.views.tones import tone_of

HERE = Path(__file__).parent / "web"
NODE = shutil.which("node")


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


def page_of(page: str) -> dict:
    """Description and numbers of a page."""
    return {"meta": meta_of(page), "blocks": {name: coded(block) for name, block in blocks_of(page).items()}}


def coded(block: bytes) -> str:
    return base64.b64encode(block).decode()


def listed(values) -> list:
    """Numbers for JSON, which knows no NaN."""
    return [None if np.isnan(value) else float(value) for value in np.ravel(values)]


def flow_numbers() -> dict:
    """A flow's page, and what the accessor says of the flow."""
    dataset = still_flow()
    words = dataset.lignite.merge_words()
    chain = dataset.lignite.chain(cumulative=True)
    step = dataset.isel(layer=[0]), *(dataset.isel(layer=[at]) for at in range(1, 4))
    return {
        "flow": page_of(flow_html(dataset)),
        "shares": [listed(one.lignite.chain()) for one in step],
        "chain": [listed(row) for row in chain.isel(layer=-1).values],
        "whole": [listed(layer) for layer in dataset.whole.values],
        "heads": listed(dataset.whole_heads.isel(layer=2, target=5, source=3)),
        "words": {
            "whole": [listed(layer) for layer in words.whole.values],
            "attention": [listed(layer) for layer in words.attention.sum("head").values],
            "mlp": [listed(layer) for layer in words.mlp.values],
        },
        "rounded": rounded(),
    }


def rounded() -> dict:
    """A block of rounded scores, one of which is no number, and what they were rounded to."""
    payload = Payload()
    scores = np.random.default_rng(0).standard_normal((6, 1 + EXACT // 20)).astype("f4")
    scores[1, 3] = np.nan
    scores = np.where(np.arange(scores.shape[1]) < 9, scores, np.float32(0))
    payload.put_rows("x", scores)
    steps = np.nanmax(np.abs(scores), axis=1, keepdims=True) / 127
    return {
        "block": coded(payload.blocks["x"]),
        "rows": 6,
        "columns": scores.shape[1],
        "values": listed(np.round(scores / steps) * steps),
    }


def colours() -> dict:
    """Ink on the scales, tints of shares, and patches mixed, as the pictures have them."""
    dataset = sample_image_explanation()
    where, scores = patches(dataset), dataset.relevance.values.astype("f8")
    limit = float(np.abs(scores[where.index]).max())
    mixed = np.nan_to_num(painted(where, scores[where.index], smooth=True) / limit)
    shares = np.linspace(-1, 1, 41)
    return {
        "tones": [[float(share), tone_of(float(share))] for share in np.linspace(-1.2, 1.2, 49)],
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
    """An explained text whose special token says most, and what its tokens hold at every level."""
    dataset = sample_explanation(method="relevance-flow", n_layers=4)
    dataset["relevance"][0] = 9
    flow = dataset.relevance_flow.values.astype("f8")
    return {
        "explanation": page_of(explanation_html(dataset)),
        "levels": [*(listed(layer.sum(0)) for layer in flow), listed(flow[-1].sum(1))],
    }


def written() -> dict:
    """Numbers as text, where the scripts and the tables write them alike."""
    sizes = [1e-9, 1.234e-5, 1e-4, 0.00123456, 0.1, 0.31415, 1.0, 12.0, 99.95, 123.4, 999.0, 1234.56, 98765.0, 1.53e7]
    values = [0.0, *sizes, *(-size for size in sizes)]
    return {
        "signed": [[value, typeset(format_score(value))] for value in values],
        "percent": [[value, typeset(format_share(value))] for value in values if abs(value) < 99],
        "cells": [
            [share * limit, limit, format_cell(share * limit, limit)]
            for limit in (0.003, 0.64, 7.3, 240.0, 3e-6)
            for share in (-1.0, -0.031, 0.0, 0.004, 0.26, 1.0)
        ],
    }


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Path:
    """What the scripts are held against, written by the library at the moment of the test."""
    path = tmp_path_factory.mktemp("web") / "given.json"
    path.write_text(json.dumps(flow_numbers() | colours() | explanation_numbers() | written()), encoding="utf-8")
    return path


@pytest.mark.skipif(NODE is None, reason="Node is not installed: nothing else runs the pages' scripts by themselves")
@pytest.mark.parametrize("file", sorted(HERE.glob("*.test.mjs")), ids=lambda path: path.name.split(".")[0])
def test_the_scripts_of_the_pages_keep_their_word(file, given):
    """Numbers are those of the accessor, colours those of the pictures, and pages stay in their own element."""
    environment = os.environ | {"LIGNITE_GIVEN": str(given), "LIGNITE_WEB": str(WEB)}

    ran = subprocess.run([NODE, "--test", str(file)], env=environment, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr


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


def test_the_scripts_stay_small():
    """Sentence, lists and tables are written by Python; scripts explore them."""
    assert sum(len(module.read_text("utf-8").splitlines()) for module in WEB.glob("*.js")) < 1600
