"""What the library says in Python's words becomes what was typed: `--tol 0.3`, not `tol=0.3`."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

_ASSIGNED = (
    r"""(?<![\w:,.=+'"\[-])(?P<name>{names})="""
    r"""(?P<value>'[^']*'|"[^"]*"|\[[^\]]*\]|\([^)]*\)|[^\s,;:)]*[^\s,;:.)]|)"""
)
"""`name=value` in a sentence; within a method's own options, `ca-lig:path=layer,tol=0.01`, it is what is typed."""


class Spoken:
    """How one command calls its options.

    Examples
    --------
    >>> Spoken({"path": "--path", "ends": "--ends"}, flags={"ends"}).say("ends=True, path='input' or path='layer'.")
    '--ends, --path input or --path layer.'
    """

    def __init__(self, options: Mapping[str, str], *, flags: Iterable[str] = ()) -> None:
        self.options = dict(options)
        self.flags = frozenset(flags)

    @classmethod
    def of(cls, parameters: Iterable[Any]) -> "Spoken":
        """The options of a command, and by which names the library knows them."""
        options, flags = {}, set()
        for parameter in parameters:
            long = [name for name in parameter.opts if name.startswith("--")]
            if long:
                options[parameter.name] = long[0]
                if getattr(parameter, "is_flag", False):
                    flags.add(parameter.name)
        if "target" in options:
            options.setdefault("label", options["target"])  # of a lignite.Target
        return cls(options, flags=flags)

    def say(self, message: str) -> str:
        """The message in words that can be typed."""
        if not self.options:
            return message
        names = "|".join(sorted(map(re.escape, self.options), key=len, reverse=True))
        message = re.sub(_ASSIGNED.format(names=names), self._typed, message)
        long = "|".join(re.escape(name) for name in self.options if "_" in name)  # no such word is English
        return re.sub(rf"(?<![\w-])({long})\b(?!=)", lambda found: self.options[found[1]], message) if long else message

    def _typed(self, found: re.Match[str]) -> str:
        name, value = found["name"], found["value"]
        option = self.options[name]
        if name in self.flags or not value or value == "None":
            return f"without {option}" if value in ("False", "None") else option
        if value[0] in "[(":
            value = value[1:-1].replace(", ", ",").rstrip(",")
        elif value[0] in "'\"" and not re.search(r"\s", value):  # what holds a blank is quoted in a shell, too
            value = value[1:-1]
        return f"{option} {value}"
