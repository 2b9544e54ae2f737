"""Imports point one way, so that a room can be read without the rooms above it."""

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "lignite"
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted(Path(__file__).parent.rglob("*.py"))

ROOMS = {
    "wording": set(),
    "errors": {"wording"},
    "calls": {"wording", "errors"},
    "files": set(),
    "version": set(),
    "late": set(),
    "options": set(),
    "memory": set(),
    "spill": set(),
    "tolerance": set(),
    "token_labels": set(),
    "zoo": set(),
    "attribution": {"memory", "spill", "tolerance"},
    "models": {"files", "memory", "zoo"},
    "inputs": {"files", "models"},
    "targets": {"options", "memory", "models", "inputs"},
    "blocks": {"memory", "attribution", "models", "inputs", "targets"},
    "results": {"files", "late", "tolerance", "token_labels"},
    "metrics.metric": {"late", "token_labels", "results"},
    "metrics.readings": {"token_labels", "results", "metrics.metric"},
    "metrics.asking": {
        "models",
        "targets",
        "blocks",
        "results",
        "metrics.metric",
        "metrics.readings",
    },
    "methods": {"late", "options", "models", "inputs", "targets"},
    "methods.scoring": {
        "late",
        "version",
        "memory",
        "attribution",
        "models",
        "inputs",
        "targets",
        "blocks",
        "results",
        "metrics.asking",
        "methods",
    },
    "data": {"files", "late", "options", "models", "inputs"},
    "metrics": {
        "models",
        "inputs",
        "targets",
        "results",
        "metrics.metric",
        "metrics.readings",
        "metrics.asking",
        "data",
    },
    "runs": {"files", "late"},
    "views": {"files", "methods", "results", "metrics.readings"},
    "api": {
        "files",
        "version",
        "options",
        "memory",
        "attribution",
        "models",
        "inputs",
        "targets",
        "blocks",
        "results",
        "metrics.metric",
        "metrics.readings",
        "metrics.asking",
        "methods",
        "methods.scoring",
        "data",
        "metrics",
        "runs",
        "views",
    },
    "studies": {
        "api",
        "attribution",
        "blocks",
        "data",
        "methods",
        "methods.scoring",
        "metrics.asking",
        "metrics.metric",
        "metrics.readings",
        "models",
        "options",
        "results",
        "runs",
        "targets",
        "views",
        "version",
    },
    "apps.widget": {"options", "api", "apps.dashboard", "methods", "models", "inputs", "targets", "views"},
    "apps.dashboard": {
        "api",
        "apps",
        "inputs",
        "methods",
        "metrics",
        "models",
        "options",
        "results",
        "targets",
        "views",
        "zoo",
    },
    "apps": {
        "files",
        "version",
        "options",
        "targets",
        "methods",
        "zoo",
        "models",
        "results",
        "metrics",
        "views",
        "api",
        "studies",
    },
}
"""Which rooms each room imports from, beside itself, bottom first; the package itself gathers the public names."""

MESSAGES = {"wording", "errors", "calls"}
"""What every room says to users, and how."""

KNOWS_TRANSFORMERS = ("zoo", "models", "inputs", "targets", "blocks", "api")  # zoo trains, api names the version
COME_ALONG = {"traitlets": "anywidget", "tokenizers": "transformers", "altair": "streamlit"}
"""Libraries that another one cannot be without, and which."""

EXTRAS = {"apps.dashboard": "dashboard", "apps.widget": "notebook"}
"""Rooms that run on what an extra installs, and which."""

CALLED = {"pillow": "PIL"}
"""Libraries that are imported by another name than they are installed by."""

KNOWS_TORCH = (
    "memory", "spill", "zoo", "attribution", "models", "inputs", "targets", "blocks", "methods.scoring",
    "metrics.asking", "api", "apps", "studies",
)  # fmt: skip


def room_of(module: str) -> str:
    """``lignite.models.load`` → ``models``, ``lignite.metrics.asking.context`` → ``metrics.asking``."""
    _, first, second, *_ = [*module.split("."), "", ""]
    return f"{first}.{second}" if f"{first}.{second}" in ROOMS else first


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@cache
def imports_of(path: Path) -> tuple[str, ...]:
    """Full names of everything that a module imports, wherever in it."""
    return tuple(_imports_of(path))


def _imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
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


def rooms_below(path: Path) -> set[str]:
    """Rooms that a module imports from, beside its own; the package itself is one: it stands above all."""
    rooms = {room_of(name) for name in imports_of(path) if name.split(".")[0] == "lignite"}
    return rooms - {room_of(name_of(path))}


def of_each(paths: Sequence[Path]) -> Callable[[Callable[[Path], None]], Callable[[], None]]:
    """One test over many files, which names all that break its rule: so many tests take longer than their rules."""

    def gather(rule: Callable[[Path], None]) -> Callable[[], None]:
        def over_all() -> None:
            broken = []
            for path in paths:
                try:
                    rule(path)
                except AssertionError as error:
                    broken.append(f"{path.relative_to(PACKAGE.parents[1])}: {error}")
            assert not broken, "\n".join(broken)

        over_all.__doc__ = rule.__doc__
        return over_all

    return gather


every_module = of_each(MODULES)


@every_module
def test_a_room_imports_only_from_rooms_below_it(path):
    """After the Dataset nothing touches the model, and the mathematics knows no model library."""
    room = room_of(name_of(path))
    if room in ("", "__main__"):
        return

    used = rooms_below(path)

    assert used <= ROOMS[room] | (MESSAGES if room not in MESSAGES else set())


def test_a_room_is_allowed_what_it_uses_and_nothing_more():
    """An arrow that nobody needs is an invitation."""
    used: dict[str, set[str]] = {room: set() for room in ROOMS}
    for path in MODULES:
        if room_of(name_of(path)) in ROOMS:
            used[room_of(name_of(path))] |= rooms_below(path)

    assert {room: below - (MESSAGES - ROOMS[room]) for room, below in used.items()} == ROOMS


@every_module
def test_only_the_rooms_that_load_models_know_transformers(path):
    """A new version of it is met in one place."""
    if room_of(name_of(path)) not in KNOWS_TRANSFORMERS:
        assert not libraries_of(path) & {"transformers", "huggingface_hub", "tokenizers"}


@every_module
def test_views_and_results_know_only_the_metrics_that_read_results(path):
    """The other metrics ask the model again, and bring torch along."""
    if room_of(name_of(path)) in ("views", "results"):
        asked = {name for name in imports_of(path) if room_of(name) == "metrics"}

        assert asked <= {"lignite.metrics.readings.agreement", "lignite.metrics.readings.statistics"}


@every_module
def test_results_and_views_read_labelled_arrays_alone(path):
    """What is drawn, saved or compared can be drawn, saved or compared without a model."""
    if room_of(name_of(path)) not in (*KNOWS_TORCH, ""):
        assert "torch" not in libraries_of(path)


@every_module
def test_nothing_is_imported_that_is_not_declared(path):
    """A module that happens to be installed here is missing elsewhere."""
    project = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    extra = EXTRAS.get(room_of(name_of(path)))
    required = project["dependencies"] + (project["optional-dependencies"][extra] if extra else [])
    declared = {re.match(r"[\w-]+", requirement)[0].replace("-", "_") for requirement in required}
    declared = {CALLED.get(name, name) for name in declared}
    declared |= {name for name, with_it in COME_ALONG.items() if with_it in declared}

    assert libraries_of(path) - set(sys.stdlib_module_names) <= declared | {"lignite"}


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


@of_each(TESTS)
def test_a_test_borrows_from_the_kit_and_from_no_other_test(path):
    """What two files need stands in tests/kit; a test can then be read, moved or deleted by itself."""
    borrowed = {name for name in imports_of(path) if name.startswith("tests.")}

    assert [name for name in borrowed if ".test_" in name] == []


LONGEST_FILE, LONGEST_FUNCTION = 500, 60


def functions_of(path: Path) -> Iterator[tuple[str, int]]:
    """Every function of a module and its lines, without those of its docstring."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            told = ast.get_docstring(node, clean=False)
            yield node.name, node.end_lineno - node.lineno + 1 - (told.count("\n") + 1 if told else 0)


@every_module
def test_files_and_functions_are_short_enough_to_be_read(path):
    """What does not fit on a few screens holds two subjects, or one that nobody has thought through."""
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST_FILE
    assert [(name, lines) for name, lines in functions_of(path) if lines > LONGEST_FUNCTION] == []


@every_module
def test_a_file_keeps_its_private_names(path):
    """Whoever needs a name that begins with an underscore asks for it to be made public first."""
    taken = [
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "lignite"
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]

    assert taken == []


READ_CONFIGURATIONS = (
    "models",
    "inputs",
    "targets",
    "blocks",
    "methods.scoring",
    "metrics",
    "metrics.asking",
    "data",
    "api",
)
SAID_BY_CONFIGURATIONS = {
    "get_text_config", "sub_configs", "vision_config", "id2label", "num_labels", "problem_type", "is_encoder_decoder",
    "num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size", "vocab_size", "type_vocab_size",
    "max_position_embeddings", "num_local_experts", "image_size", "patch_size", "num_channels", "_attn_implementation",
}  # fmt: skip
"""What transformers' configurations say of a model, as attributes."""


@every_module
def test_configurations_are_read_in_one_place(path):
    """Every family has names of its own for its sizes and parts: what is learnt about one is learnt for all."""
    if name_of(path) == "lignite.models.facts" or room_of(name_of(path)) not in READ_CONFIGURATIONS:
        return
    words = {node.attr for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute)}
    words |= {node.value for node in ast.walk(tree_of(path)) if isinstance(node, ast.Constant)}

    assert words & SAID_BY_CONFIGURATIONS == set()


CARRY_AXES = ("attribution", "blocks", "inputs", "models", "targets")


@every_module
def test_tensors_carry_their_axes(path):
    """Axes that are written down are checked in every test; those that are not are guessed by every reader."""
    if room_of(name_of(path)) not in CARRY_AXES:
        return
    bare = [
        f"{function.name}({given.arg})"
        for function in ast.walk(tree_of(path))
        if isinstance(function, ast.FunctionDef)
        for given in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
        if given.annotation is not None and ast.unparse(given.annotation) in ("Tensor", "Tensor | None")
    ]

    assert bare == []


@every_module
def test_imports_stand_at_the_top(path):
    """An import on a last line hides a circle; one inside a function says that what it needs is heavy or optional."""
    other = False
    for node in tree_of(path).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert not other, f"line {node.lineno}"
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            other = True
