"""Imports point one way, so that a room can be read without the rooms above it."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "lignite"
MODULES = sorted(PACKAGE.rglob("*.py"))

ROOMS = {
    "wording": set(),
    "errors": {"wording"},
    "calls": {"errors", "wording"},
    "files": {"errors"},
    "request": {"errors"},
    "memory": {"errors"},
    "tolerance": set(),
    "zoo": {"errors"},
    "attribution": {"errors", "request", "tolerance"},
    "models": {"errors", "files", "request", "memory", "attribution", "zoo"},
    "results": {"errors", "files", "tolerance"},
    "metrics": {"errors", "files", "request", "models", "results"},
    "views": {"errors", "files", "results", "metrics"},
    "methods": {"errors", "request", "attribution", "models", "results", "metrics"},
    "windows": {"errors", "models", "results"},
    "flows": {"errors", "request", "memory", "attribution", "models", "results"},
    "checks": {"errors", "request", "memory", "attribution", "models", "flows"},
    "explanations": {
        "errors",
        "request",
        "memory",
        "attribution",
        "models",
        "results",
        "methods",
        "windows",
        "flows",
    },
    "examples": {"errors", "files", "models"},
    "journal": {"errors", "files"},
    "measures": {"errors", "request", "models", "metrics", "examples"},
    "evaluations": {
        "errors",
        "files",
        "request",
        "models",
        "results",
        "metrics",
        "views",
        "explanations",
        "examples",
        "journal",
        "measures",
    },
    "apps": {
        "errors",
        "files",
        "zoo",
        "request",
        "memory",
        "models",
        "results",
        "metrics",
        "views",
        "flows",
        "checks",
        "explanations",
        "evaluations",
    },
}
"""Which rooms each room may import from, beside itself; the package itself gathers the public names of all."""

MESSAGES = {"wording", "errors", "calls"}
"""What every room says to users, and how."""

KNOWS_TRANSFORMERS = ("models", "zoo", "flows", "evaluations")  # zoo trains, the last two name the version
COME_ALONG = {"tokenizers": "transformers"}
"""Libraries that another one cannot be without, and which."""

CALLED = {"pillow": "PIL"}
"""Libraries that are imported by another name than they are installed by."""

KNOWS_TORCH = (
    "attribution", "models", "zoo", "flows", "checks", "memory", "apps", "methods", "metrics", "explanations",
    "measures", "evaluations",
)  # fmt: skip


def room_of(module: str) -> str:
    """``lignite.models.loading`` → ``models``."""
    return module.split(".")[1] if "." in module else ""


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports_of(path: Path) -> Iterator[str]:
    """Full names of everything that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute, so that they can be read"
            for alias in node.names:
                inside = PACKAGE.parent.joinpath(*node.module.split("."), alias.name)
                is_module = inside.with_suffix(".py").is_file() or inside.is_dir()
                yield f"{node.module}.{alias.name}" if is_module else node.module


def libraries_of(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports_of(path)}


every_module = pytest.mark.parametrize("path", MODULES, ids=[name_of(path) for path in MODULES])


@every_module
def test_a_room_imports_only_from_rooms_below_it(path):
    """After the Dataset nothing touches the model, and the mathematics knows no model library."""
    room = room_of(name_of(path))
    if room in ("", "__main__"):
        return

    used = {room_of(name) for name in imports_of(path) if name.split(".")[0] == "lignite"}

    assert used - {room, ""} <= ROOMS[room] | (MESSAGES if room not in MESSAGES else set())


@every_module
def test_only_the_rooms_that_load_models_know_transformers(path):
    """A new version of it is met in one place."""
    if room_of(name_of(path)) not in KNOWS_TRANSFORMERS:
        assert not libraries_of(path) & {"transformers", "huggingface_hub", "tokenizers"}


@every_module
def test_views_and_results_know_only_the_metric_that_compares_results(path):
    """The other metrics ask the model again, and bring torch along."""
    if room_of(name_of(path)) in ("views", "results"):
        asked = {name for name in imports_of(path) if room_of(name) == "metrics"}

        assert asked <= {"lignite.metrics.agreement", "lignite.metrics.statistics"}


@every_module
def test_results_and_views_read_labelled_arrays_alone(path):
    """What is drawn, saved or compared can be drawn, saved or compared without a model."""
    if room_of(name_of(path)) not in (*KNOWS_TORCH, ""):
        assert "torch" not in libraries_of(path)


@every_module
def test_nothing_is_imported_that_is_not_declared(path):
    """A module that happens to be installed here is missing elsewhere."""
    project = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {re.match(r"[\w-]+", requirement)[0].replace("-", "_") for requirement in project["dependencies"]}
    declared = {CALLED.get(name, name) for name in declared}

    assert libraries_of(path) - set(sys.stdlib_module_names) <= declared | COME_ALONG.keys() | {"lignite"}


def test_every_room_has_a_place_in_the_order():
    """A new room is put into the order when it is made."""
    rooms = {room_of(name_of(path)) for path in MODULES} - {"", "__main__"}

    assert rooms <= ROOMS.keys()


def test_the_order_of_the_rooms_has_no_circle():
    """One way means that some room imports from none, the next from that one, and so on."""
    left = dict(ROOMS)

    while left:
        free = [room for room, below in left.items() if not below & left.keys()]
        assert free, f"a circle among {sorted(left)}"
        for room in free:
            del left[room]
