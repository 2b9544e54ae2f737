"""Write docs/reference.md: every public name, from its signature and its docstring.

python docs/reference.py
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lignite
from lignite.methods import METHODS, Method
from lignite.options import Option, Options, options_of
from lignite.studies import STUDIES, Study

PAGE = Path(__file__).with_name("reference.md")
GROUPS = {
    "Ask": ("explain", "flow", "compare", "report", "evaluate", "run", "check"),
    "Models": ("load", "wrap", "Model", "Target"),
    "Results": (
        "open",
        "save",
        "log",
        "widget",
        "ExplainCallback",
        "agreement",
        "agreement_between",
        "fit_fusion",
        "Evaluation",
        "CheckReport",
        "LayerCheck",
    ),
}
INTRO = """# Reference

Written by `python docs/reference.py` from the docstrings, and held to them by a test.
[results-layout.md](results-layout.md) describes the Datasets, [the tutorial](tutorial.md) how it all goes together.
"""

METHODS_INTRO = """`lignite.explain(…, method="ca-lig", path="layer")`, `method="ca-lig:path=layer"` and
`method=lignite.methods.CaLig(path="layer")` are one and the same; `lignite evaluate` takes the second.
"""

STUDIES_INTRO = """Questions over a corpus: `lignite.study.NAME(model, corpus, limit=…, seed=…, resume=…)` gives a
Dataset, `lignite.study.write(found, folder)` makes files of it, and `lignite study NAME --data … -o FOLDER` does both.
"""


def page() -> str:
    """The whole document."""
    parts = [INTRO]
    for group, names in GROUPS.items():
        parts += [f"## {group}\n", *(entry(f"lignite.{name}", getattr(lignite, name)) for name in names)]
    parts += ["## Methods and their options\n", METHODS_INTRO, *map(method_entry, METHODS.values())]
    parts += ["## Studies\n", STUDIES_INTRO, *map(study_entry, STUDIES.values())]
    parts += ["## Questions to a result: `dataset.lignite`\n", *questions(), "## Errors and warnings\n", *errors()]
    return "\n".join(parts)


def entry(name: str, what: Any) -> str:
    """One function, or a class with its public methods."""
    told = [f"### `{name}`\n", f"```text\n{name}{signature(what)}\n```\n", text(what)]
    if inspect.isclass(what):
        told += [f"- `.{each}{signature(method)}` {first_line(method)}\n" for each, method in methods(what)]
    return "\n".join(told)


def method_entry(method: type[Method]) -> str:
    """A method with a table of its options."""
    return table(f"### `{method.name}`: `lignite.methods.{method.__name__}`\n", method)


def study_entry(study: type[Study]) -> str:
    """A study with a table of its options."""
    return table(f"### `{study.name}`: `lignite.study.{study.name}(model, corpus, …)`\n", study)


def table(heading: str, declared: type[Options]) -> str:
    """A class of options: what it is, and what each means."""
    rows = [
        f"| `{name}` | {f'`{each.default!r}`'} | {each.help.replace('|', '/')}{choices(each)} |"
        for name, each in options_of(declared).items()
    ]
    head = [heading, text(declared), "| option | default | meaning |"]
    return "\n".join([*head, "| --- | --- | --- |", *rows, ""])


def choices(each: Option) -> str:
    return f" One of {', '.join(f'`{name}`' for name in each.choices)}." if each.choices else ""


def signature(what: Any) -> str:
    """Parameters as they are written, without the modules of their types; one a line where there are many."""
    found = inspect.signature(what)
    given = [str(each) for each in found.parameters.values() if each.name != "self"]
    given = [re.sub(r"<class '([\w.]+)'>", r"\1", each) for each in given]
    first_named = next(
        (place for place, each in enumerate(found.parameters.values()) if each.kind is each.KEYWORD_ONLY), None
    )
    if first_named is not None:
        given.insert(first_named - ("self" in found.parameters), "*")
    joined = ",\n    ".join(given) if sum(map(len, given)) > 80 else ", ".join(given)
    gives = found.return_annotation
    ends = "" if gives is found.empty else f" -> {getattr(gives, '__name__', gives)}"
    whole = f"(\n    {joined},\n){ends}" if "\n" in joined else f"({joined}){ends}"
    return re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", whole).replace("~", "")


def text(what: Any) -> str:
    """The docstring; its sections become bold words, its parameters a list."""
    told = re.sub(r":arxiv:`([\d.]+)`", r"[arXiv \1](https://arxiv.org/abs/\1)", inspect.getdoc(what) or "")
    before, *sections = re.split(r"(?m)^(\w[\w ]*)\n-{3,}\n", told)
    found = [before.strip()]
    for name, body in zip(sections[::2], sections[1::2], strict=True):
        found += [f"**{name}**", laid_out(name, body.strip("\n"))]
    return "\n\n".join(found) + "\n"


def laid_out(section: str, body: str) -> str:
    if section == "Examples":
        return f"```pycon\n{body}\n```"
    if section in ("Parameters", "Options", "Attributes", "Raises", "Warns"):
        body = re.sub(r"(?m)^(\S.*)$", r"- `\1`", body)
    return re.sub(r"(?m)^ {4}", "  ", body)


def methods(what: type) -> Iterator[tuple[str, Any]]:
    """Public methods that the class itself defines, in the order of the source."""
    for name, member in vars(what).items():
        if not name.startswith("_") and inspect.isfunction(member):
            yield name, member


def first_line(what: Any) -> str:
    return (inspect.getdoc(what) or "").split("\n\n")[0].replace("\n", " ")


def questions() -> list[str]:
    from lignite.results.accessor import LigniteAccessor

    return [entry(f"dataset.lignite.{name}", method) for name, method in methods(LigniteAccessor)]


def errors() -> list[str]:
    kinds = [getattr(lignite, name) for name in lignite.__all__ if name.endswith(("Error", "Warning"))]
    return [f"- `lignite.{kind.__name__}`: {first_line(kind)}" for kind in kinds] + [""]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
