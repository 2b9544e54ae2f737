"""The documents are true: what they show runs, what they name exists."""

import ast
import importlib
import importlib.util
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
import torch
from tests.kit.headed_models import headed
from tests.kit.tiny_tokenizers import byte_level, word_piece
from tests.kit.wide import mostly_wide
from typer.testing import CliRunner

import lignite
from lignite.api.flow_options import DETAILS, FlowOptions
from lignite.apps.cli import app
from lignite.methods import METHODS
from lignite.metrics.registry import METRICS
from lignite.options import options_of
from lignite.results.schema import CIRCUITS, FLOW, FLOW_ATTRS, TOKEN_LABELS
from lignite.studies import STUDIES

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/lignite/zoo/*.md"))
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str, language: str) -> list[tuple[int, str]]:
    """Fenced blocks of one language, each with the number of lines before it."""
    text = read(document)
    return [(text[: found.start(2)].count("\n"), found[2]) for found in FENCE.finditer(text) if found[1] == language]


def prose(document: str) -> str:
    return FENCE.sub("", read(document))


def command_lines(document: str) -> list[str]:
    lines = [line for _, block in blocks(document, "sh") for line in block.splitlines()]
    return [line for line in lines if re.match(r"(echo .* \| )?lignite |printf ", line)]


def anchors(document: str) -> set[str]:
    """The names under which GitHub offers the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


STAND_INS = {
    "gpt2": ("gpt2", "GPT2LMHeadModel", byte_level),
    "bert-for-names": ("bert", "BertForTokenClassification", word_piece),
    "bert-for-answers": ("bert", "BertForQuestionAnswering", word_piece),
}
"""Published models that documents name, and the tiny random ones that are loaded in their place: no hub is asked."""


def load_stand_in(name, *args, load=lignite.load, **options):
    if name not in STAND_INS:
        return load(name, *args, **options)
    family, model_class, tokenizer = STAND_INS[name]
    return headed(family, model_class, dtype=torch.float32, tokenizer=tokenizer(), num_labels=2)


DEAR = (
    *("docs/tutorial.md", "docs/evaluate.md", "docs/method.md", "docs/results-layout.md"),
    *("docs/how-to/compare.md", "docs/how-to/study.md", "docs/how-to/tokens-and-answers.md"),
)
"""Documents that take seconds; the wide run follows them, the usual one the README and all that are short."""


def mostly_short(documents: list[str]) -> list[Any]:
    return mostly_wide(documents, [name for name in documents if name not in DEAR])


@pytest.mark.parametrize("document", mostly_short([name for name in DOCUMENTS if blocks(name, "python")]))
def test_python_of_a_document_runs_from_top_to_bottom(document, tmp_path, monkeypatch):
    """An example that fails teaches nothing; assertions in it are the document's own claims."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lignite, "load", load_stand_in)
    namespace: dict[str, object] = {}

    with (
        patch.dict(METHODS),
        patch.dict(METRICS),
        patch.dict(STUDIES),
    ):  # methods, metrics and studies that a document makes are gone behind it
        for n_lines, block in blocks(document, "python"):
            exec(compile("\n" * n_lines + block, document, "exec"), namespace)  # tracebacks name the document's line


@pytest.mark.parametrize("document", mostly_short([name for name in DOCUMENTS if command_lines(name)]))
def test_command_lines_of_a_document_run_in_their_order(document, tmp_path, monkeypatch):
    """Later lines open what earlier ones wrote, as a reader would."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()

    for line in command_lines(document):
        if line.startswith("printf "):
            subprocess.run(["sh", "-c", line], check=True)  # writes the file that the next line reads
            continue
        before, piped, command = line.rpartition(" | ")
        typed = " ".join(shlex.split(before)[1:]) if piped else None
        arguments = shlex.split(command, comments=True)[1:]
        result = runner.invoke(app, arguments, input=typed)
        written = [arguments[place + 1] for place, word in enumerate(arguments) if word == "-o"]

        assert result.exit_code == 0, f"{line}: {result.output}"
        assert [name for name in written if not (tmp_path / name).stat().st_size] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_between_documents_lead_somewhere(document):
    """A link is a promise; headings are renamed and files move without telling those who point at them."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(document))
    folder = (ROOT / document).parent
    broken = []

    for target in targets:
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (folder / path).resolve() if path else ROOT / document
        if not place.exists() or (anchor and anchor not in anchors(str(place.relative_to(ROOT)))):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("document", [*DOCUMENTS, ".ci/run"])
def test_targets_that_are_named_are_in_the_makefile(document):
    """The two commands at the top of the README are all that many readers will ever type."""
    offered = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", read(document), re.MULTILINE))

    assert named <= offered


NAMED_IN = {
    "recipes/data.py": "SETS",
    "recipes/image_data.py": "SETS",
    "recipes/train.py": "RECIPES",
    "recipes/train_images.py": "RECIPES",
    "recipes/train_decoder.py": "RECIPES",
    "recipes/tables.py": "STUDIES",
    "recipes/baselines.py": "QUESTIONS",
}
"""Scripts that take names, and the table in which each looks them up."""

RUN = re.compile(r"\bpython ((?:recipes|bench|docs|tests)/[\w/]+\.py)((?: [\w$-]+)*)")


def runs_of(document: str) -> Iterator[tuple[str, list[str]]]:
    """Scripts that a document runs, with the names it gives them; in the Makefile, one run for each name of a list."""
    text = read(document)
    for name, value in re.findall(r"^([A-Z_]+) := (.*)$", text, re.MULTILINE):
        text = text.replace(f"$({name})", value)
    text = text.replace("$(BIN)/", "")
    for line in text.splitlines():
        listed = re.search(r"for (?:name|what) in ([\w -]+); do", line)
        for script, names in RUN.findall(line):
            given = [name for name in names.split() if not name.startswith("-")]
            yield script, listed[1].split() if listed else given


def keys_of(script: str, table: str) -> set[str]:
    """Names that a script knows, read from its source: scripts train models when they are run."""
    for node in ast.parse(read(script)).body:
        owner = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(owner, ast.Name) and owner.id == table:
            found = {key.value for key in node.value.keys if key is not None}
            loops = [value for key, value in zip(node.value.keys, node.value.values, strict=True) if key is None]
            return found.union(*map(_made, loops))
    raise AssertionError(f"{script} has no {table}")


def _made(loop: ast.expr) -> set[str]:
    """Names that a loop puts into a table, whatever stands behind them."""
    anything = {part.id: MagicMock() for part in ast.walk(loop) if isinstance(part, ast.Name)}
    return set(eval(compile(ast.Expression(loop), "table", "eval"), anything))


@pytest.mark.parametrize("document", [*DOCUMENTS, "Makefile", "bench/README.md", "recipes/README.md"])
def test_scripts_that_are_named_exist_and_know_the_names_they_are_given(document):
    """`make tables` once trained a set under a name that its script had forgotten, and stopped at its first line."""
    for script, names in runs_of(document):
        assert (ROOT / script).is_file(), script
        if script in NAMED_IN:
            assert set(names) <= keys_of(script, NAMED_IN[script]), (script, names)


def test_every_choice_of_a_flow_is_in_the_notation():
    """Words that code accepts and no document explains are guessed at."""
    choices = [name for option in options_of(FlowOptions).values() for name in option.choices]
    words = set(re.findall(r"[\w-]+", read("docs/notation.md")))

    assert [name for name in choices if name not in words and name != "auto"] == []


def test_constants_of_the_method_are_those_of_the_code():
    """Numbers that are tuned in one place go stale in the other."""
    rows = re.findall(
        r"^\| `([A-Z_]+)(?:\.([a-z]+))?` \| (.*?) \| `([\w.]+)` \|$", read("docs/method.md"), re.MULTILINE
    )

    for name, part, written, module in rows:
        actual = getattr(importlib.import_module(module), name)
        if isinstance(actual, dict):
            pairs = (pair.split() for pair in written.split(", "))
            numbers = {key: getattr(value, part) if part else value for key, value in actual.items()}
            assert {getattr(torch, dtype): float(number) for dtype, number in pairs} == numbers, (name, part)
        else:
            assert float(written) == actual, name
    assert len(rows) >= 6


def test_every_part_of_a_result_is_in_its_layout():
    """The Dataset is the contract of everything after it, so its document must name all that it may hold."""
    expected = [*FLOW.variables, *FLOW.index, *CIRCUITS, *FLOW_ATTRS, *(f"…_{label}" for label in TOKEN_LABELS)]
    expected += [f'detail="{name}"' for name in DETAILS if name == "circuits"]
    document = read("docs/results-layout.md")

    assert [name for name in expected if f"`{name}`" not in document] == []


def test_the_version_is_the_same_wherever_it_is_written():
    """Citations, changelog and package are updated by different hands."""
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]

    assert f"\nversion: {version}\n" in read("CITATION.cff")
    assert f"\n## [{version}]" in read("CHANGELOG.md")


def test_the_picture_of_the_readme_is_small():
    """Everybody who clones pays for it; 300 kB was set when it was first drawn."""
    picture = (ROOT / "docs/images/flow.png").read_bytes()

    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 300_000


def test_changes_are_told_one_a_file_under_a_kind_that_is_gathered():
    """A fragment of another kind would be passed over in silence at the release."""
    kinds = {each["directory"] for each in tomllib.loads(read("pyproject.toml"))["tool"]["towncrier"]["type"]}
    fragments = [
        path for path in (ROOT / "changelog.d").iterdir() if path.name not in ("README.md", "template.md.jinja")
    ]

    assert [path.name for path in fragments if not re.fullmatch(rf"[\w-]+\.({'|'.join(kinds)})\.md", path.name)] == []
    assert [path.name for path in fragments if not path.read_text("utf-8").strip()] == []


def test_the_reference_is_what_the_docstrings_and_options_say():
    """Written by hand, or written once and left, it would tell of options that are gone."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    assert module.page() == read("docs/reference.md"), "run python docs/reference.py"


def test_the_gallery_lists_every_view_of_every_kind_and_says_why_a_cell_is_empty(monkeypatch):
    """Read by people who have not run it; a hole without a reason is a view that somebody forgot."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    module = importlib.import_module("gallery")

    assert module.index() == read("docs/gallery.md"), "run python docs/gallery.py --index"
    assert len(module.CELLS) == len(module.ROWS) * len(module.COLUMNS)
    assert [cell.name for cell in module.CELLS if bool(cell.made_by) == bool(cell.empty)] == []
    assert set(module.DRAW) == set(module.ROWS)


def test_no_picture_of_a_page_is_taken_by_the_clock():
    """A machine that is busy draws late: what is photographed says itself when it is drawn."""
    drivers = [path for path in (ROOT / "docs").glob("*.py") if "wait_for_timeout" in path.read_text("utf-8")]

    assert drivers == []
