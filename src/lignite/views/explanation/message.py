"""What every view of an explanation says first: the answer, the strongest words, and how they add up to it."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from lignite.results.certificate import certificates, largest_gap
from lignite.views.attributes import from_json
from lignite.views.explanation.facts import Question, Ranked, question, share_text, strongest
from lignite.views.labels import format_score, format_share, token_in_words
from lignite.views.patches.facts import is_image
from lignite.wording import counted, shorten

NAMED, WORTH = 3, 0.25
"""So many tokens are named for and against, as far as each holds this share of the strongest one."""

EVEN = 2.0
"""Scores are spread evenly where the strongest of eight or more is below so many times their mean."""

ABSENT = {
    "mask": "masked",
    "pad": "padded",
    "deleted": "deleted",
    "mean": "set to their mean",
    "mean-embedding": "read as the average word",
    "zero": "set to zero",
}
SUMMED = 1e-2
"""Scores tell how a change comes about if their sum misses at most this share of it; fused ones have no unit."""


@dataclass(frozen=True)
class Step:
    """A line of the sum: its value, what it is, and where its bar lies, from 0 to 1."""

    kind: str
    value: float
    label: str
    left: float = 0.0
    right: float = 0.0


@dataclass(frozen=True)
class Message:
    """One sentence and one sum. `doubt` stands before them where scores miss more than they may."""

    doubt: str
    verdict: str
    for_title: str
    strongest_for: tuple[Ranked, ...]
    strongest_against: tuple[Ranked, ...]
    even: str
    unit: str
    steps: tuple[Step, ...]

    @property
    def sides(self) -> str:
        """Who speaks for and against, in a sentence."""
        if self.even:
            return self.even
        against = "Against" if self.strongest_for else f"Against{self.for_title.removeprefix('For')}"
        named = [
            f"{title}: {', '.join(f'{token_in_words(entry.token)} {format_score(entry.score)}' for entry in some)}."
            for title, some in ((self.for_title, self.strongest_for), (against, self.strongest_against))
            if some
        ]
        return " ".join(named) or "No token says anything."

    @property
    def change(self) -> str:
        """From where to where the path leads, in a line; empty where the result does not say."""
        ends = [step for step in self.steps if step.kind in ("start", "end")]
        if not ends:
            return ""
        start, end = ends
        return f"{self.unit}: {start.label} {format_score(start.value)} → {format_score(end.value)} {end.label}"

    @property
    def text(self) -> str:
        """All of it, as one line."""
        return " ".join(filter(None, [self.doubt, self.verdict, self.sides]))


def message(dataset: xr.Dataset, *, special: bool = False) -> Message:
    """The answer that an explanation gives, of a result that is arranged as it is looked at."""
    asked = question(dataset)
    sides = [_named(dataset, sign, special=special) for sign in (1, -1)]
    return Message(
        doubt=doubt(dataset),
        verdict=_verdict(asked),
        for_title=f"For {asked.name}",
        strongest_for=sides[0],
        strongest_against=sides[1],
        even=_even(dataset, special=special),
        unit=asked.unit,
        steps=_steps(dataset, asked),
    )


def doubt(dataset: xr.Dataset) -> str:
    """What has to be said before anything else of a result outside its tolerance; empty inside it."""
    found = certificates(dataset)
    if all(each.kept for each in found):
        return ""
    tol = share_text(found[0].tol)
    return f"Not settled: scores miss up to {share_text(largest_gap(dataset))} of what they explain, {tol} is allowed."


def unit_of(dataset: xr.Dataset) -> str:
    """What the tokens of a result are to its reader: words, tokens or patches."""
    return "patch" if is_image(dataset) else "word" if dataset.attrs.get("merged_words") else "token"


def _verdict(asked: Question) -> str:
    sure = f" ({format_share(asked.probability)})" if np.isfinite(asked.probability) else ""
    says = f"The model says {asked.prediction}{sure}." if asked.prediction else ""
    if asked.name == asked.prediction:
        return says
    share = f", to which it gives {format_share(asked.target_probability)}"
    return f"{says} Asked was {asked.name}{share if np.isfinite(asked.target_probability) else ''}.".strip()


def _named(dataset: xr.Dataset, sign: int, *, special: bool) -> tuple[Ranked, ...]:
    loudest = strongest(dataset, 1, special=special)
    found = strongest(dataset, NAMED, sign="for" if sign > 0 else "against", special=special)
    return tuple(entry for entry in found if abs(entry.score) >= WORTH * abs(loudest[0].score))


def _even(dataset: xr.Dataset, *, special: bool) -> str:
    """Said instead of names where nothing stands out."""
    counts = special | ~dataset.special.values
    sizes = np.abs(dataset.relevance.values[counts].astype(np.float64))
    if sizes.size < 8 or not sizes.any() or sizes.max() >= EVEN * sizes.mean():
        return ""
    return f"Spread evenly over {counted(sizes.size, unit_of(dataset))}: none stands out."


def _steps(dataset: xr.Dataset, asked: Question) -> tuple[Step, ...]:
    """Start, what speaks for, what speaks against, end; only the ends where scores are not in the answer's unit."""
    change = next(
        (
            float(np.ravel(dataset[name].values)[0])
            for name in ("total_displacement", "displacement", "output_displacement")
            if name in dataset and dataset[name].size
        ),
        float("nan"),
    )
    if not np.isfinite([change, asked.value]).all():
        return ()
    values = dataset.relevance.values.astype(np.float64)
    noun, short = unit_of(dataset), shorten(asked.name, 40)
    steps = [Step("start", asked.value - change, absent(dataset))]
    if abs(values.sum() - change) <= SUMMED * max(abs(change), abs(values).max(initial=0.0)):
        for kind, kept, title in (("for", values > 0, f"for {short}"), ("against", values < 0, "against")):
            added = float(values[kept].sum())
            steps.append(Step(kind, added, f"{title}, {counted(int(kept.sum()), noun)}"))
    steps.append(Step("end", asked.value, "as it is"))
    return tuple(_placed(steps))


def _placed(steps: list[Step]) -> list[Step]:
    """Bars beside each other as they add up, on a scale from the lowest to the highest point; zero is on it."""
    edges, at = [], 0.0
    for step in steps:
        begin = at if step.kind in ("for", "against") else 0.0
        at = begin + step.value
        edges.append((min(begin, at), max(begin, at)))
    least, most = min(low for low, _ in edges), max(high for _, high in edges)
    size = (most - least) or 1.0
    return [
        Step(step.kind, step.value, step.label, (low - least) / size, (high - least) / size)
        for step, (low, high) in zip(steps, edges, strict=True)
    ]


def absent(dataset: xr.Dataset) -> str:
    """Where the path starts, in words: `words masked, padded or deleted`."""
    request = from_json(dataset, "request")
    given = request.get("baseline")
    names = [str(name) for name in (given if isinstance(given, list) else [given]) if name]
    image = is_image(dataset)
    if request.get("orders") and not image and set(names) <= {"mask", "pad", "mean-embedding"}:
        names.append("deleted")
    if image and names == ["mean"]:
        return "every patch the mean patch"
    if not names or not set(names) <= ABSENT.keys():
        return f"baseline {', '.join(names)}" if names else "at the start"
    *others, last = (ABSENT[name] for name in names)
    return f"{'patches' if image else 'words'} {', '.join(others)}{' or ' if others else ''}{last}"
