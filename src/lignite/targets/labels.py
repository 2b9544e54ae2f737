"""The classes of a model, by name or number."""

from collections.abc import Sequence

from lignite.errors import OptionError
from lignite.wording import did_you_mean

LISTED = 12
"""Classes that an error names."""


class Labels:
    """Finds classes by what people call them: a name, in whatever case where that is one, or a number."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)

    def name(self, index: int) -> str:
        return self.names[index]

    def find(self, label: str | int) -> int | None:
        """Find the number of a class; None where there is no such class."""
        if isinstance(label, int) and not isinstance(label, bool):
            return label if 0 <= label < len(self.names) else None
        if label in self.names:
            return self.names.index(str(label))
        folded = [name.casefold() for name in self.names]
        if folded.count(str(label).casefold()) == 1:
            return folded.index(str(label).casefold())
        return int(label) if str(label).isdecimal() and int(label) < len(self.names) else None

    def number(self, label: str | int) -> int:
        """Find it, or raise an OptionError where there is no such class."""
        found = self.find(label)
        if found is not None:
            return found
        if isinstance(label, int) and not isinstance(label, bool):
            raise OptionError(f"class {label} is outside this model's classes: {self.listed}.")
        raise OptionError(f"{label!r} is none of this model's classes: {self.listed}.{did_you_mean(label, self.names)}")

    @property
    def listed(self) -> str:
        """List all classes, or the first and the last of many, for errors."""
        shown = ", ".join(f"{number} {name!r}" for number, name in enumerate(self.names[:LISTED]))
        return shown + (f", … {len(self.names) - 1} {self.names[-1]!r}" if len(self.names) > LISTED else "")
