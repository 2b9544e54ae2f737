"""Choices of a model by name: classes by their labels, tokens of a vocabulary by their text."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from lignite.errors import OptionError
from lignite.models.facts import declared_vocabulary
from lignite.models.load import Model
from lignite.wording import did_you_mean

NAMED = 12
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
        shown = ", ".join(f"{number} {name!r}" for number, name in enumerate(self.names[:NAMED]))
        return shown + (f", … {len(self.names) - 1} {self.names[-1]!r}" if len(self.names) > NAMED else "")


class Vocabulary:
    """Token of the vocabulary by text or id."""

    def __init__(self, model: Model):
        self.tokenizer: PreTrainedTokenizerBase | None = model.tokenizer
        self.size = declared_vocabulary(model.config) or 0

    def name(self, index: int) -> str:
        return str(index) if self.tokenizer is None else repr(self.tokenizer.decode([index]))

    def number(self, label: str | int) -> int:
        if isinstance(label, int) and not isinstance(label, bool):
            if 0 <= label < self.size:
                return label
            raise OptionError(f"token id {label} is outside the vocabulary, 0 to {self.size - 1}.")
        if self.tokenizer is None:
            raise OptionError(f"{label!r} needs a tokenizer to become a token; give its id.")
        ids = self.tokenizer(str(label), add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            pieces = ", ".join(repr(self.tokenizer.decode([number])) for number in ids)
            raise OptionError(
                f"{label!r} is {len(ids)} tokens ({pieces}) to this model, and a logit belongs to one: give one token "
                "(a word in mid-sentence often starts with a space)."
            )
        return int(ids[0])
