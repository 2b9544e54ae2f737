"""What every view says of any comparison: its sides, which of them is the reference, in which settings they differ."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from lignite.results.schema import COMPARISON
from lignite.views.attributes import from_json
from lignite.wording import listed, one_line, shorten


def is_of_flows(dataset: xr.Dataset) -> bool:
    """Whether flows are compared."""
    return dataset.attrs.get("kind") != COMPARISON.kind


def written(found: tuple[float, float, float]) -> str:
    """A mean with its interval, where it has one.

    Examples
    --------
    >>> nan = float("nan")
    >>> written((0.5, 0.25, 0.75)), written((0.5, nan, nan)), written((nan, nan, nan))
    ('0.50 [0.25, 0.75]', '0.50', '–')
    """
    mean, low, high = found
    if not np.isfinite(mean):
        return "–"
    return f"{mean:.2f}".replace("-", "−") + (f" [{low:.2f}, {high:.2f}]".replace("-", "−") if np.isfinite(low) else "")


@dataclass(frozen=True)
class Sides:
    """The sides of a comparison as views read them; each is called by its number."""

    dataset: xr.Dataset

    @cached_property
    def names(self) -> list[str]:
        """The names of the sides."""
        return [one_line(str(name)) for name in self.dataset["side"].values]

    @cached_property
    def reference(self) -> int:
        """Which side the others are compared with."""
        names = self.dataset["side"].values.tolist()
        reference = self.dataset.attrs.get("reference", names[0])
        return names.index(reference) if reference in names else 0

    @property
    def others(self) -> list[int]:
        """All sides but the reference."""
        return [side for side in range(len(self.names)) if side != self.reference]

    @property
    def n_texts(self) -> int:
        return self.dataset.sizes["example"]

    @property
    def percent(self) -> str:
        """How sure an interval is."""
        return f"{100 * float(self.dataset.attrs.get('confidence', 0.95)):g} %"

    @property
    def brackets(self) -> str:
        """What stands in brackets behind a number of several texts."""
        return f"in brackets: {self.percent} bootstrap interval over {self.n_texts} texts"

    @cached_property
    def settings(self) -> list[tuple[str, list[str]]]:
        """What differs between the sides: of every setting its value on each."""
        found = from_json(self.dataset, "different")
        names = self.dataset["side"].values.tolist()
        return [
            (str(name).replace("_", " "), [one_line(shorten(str(values.get(side, "")), 160)) for side in names])
            for name, values in found.items()
            if isinstance(values, dict)
        ]

    @property
    def shared(self) -> dict[str, str]:
        """What is the same on every side."""
        return {
            str(name).replace("_", " "): one_line(str(value))
            for name, value in from_json(self.dataset, "shared").items()
            if value not in ("none", "") and name != "lignite"
        }

    @property
    def differences(self) -> str:
        """In which settings the sides differ, in a sentence."""
        found = [name for name, _ in self.settings]
        return f"The sides differ in their {listed(found)}." if found else "The settings of all sides are the same."
