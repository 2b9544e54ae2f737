"""What a report says in plain words: the decision, what speaks for it, how sure that is, what would have changed it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from jaxtyping import Float

from lignite.views.attributes import options
from lignite.views.explanation.facts import Piece, Ranked, pieces, share_text, strongest
from lignite.views.labels import format_share, limit_of, model_title, visible_token
from lignite.wording import counted, listed, one_line, shorten

SURE = ((0.95, "it is nearly certain"), (0.8, "it is fairly sure"), (0.6, "it leans that way"))
"""What a probability of at least so much is called."""

UNSURE = "it is hardly decided"
STRONG, MODERATE, WEAK = 0.5, 0.2, 0.05
"""Shares of the strongest word from which a word is called strong, moderate, weak; others are left out."""

ANSWERS = {"yes": "Yes", "partly": "In part", "no": "No"}
NAMED = 6
NOTICED = 0.02
"""Change of a probability below which a reader would call it the same."""

ALIKE, UNLIKE = 0.6, 0.3
"""A second method agrees from the first rank correlation on, and disagrees below the second."""

Mark = Literal["yes", "partly", "no"]


@dataclass(frozen=True)
class Spoken:
    """A word that speaks for or against the decision: how strongly, in a word and as a share of the strongest."""

    token: str
    strength: str
    share: float


@dataclass(frozen=True)
class Check:
    """One way to see how far the explanation may be trusted, and how it came out."""

    mark: Mark
    title: str
    told: str


@dataclass(frozen=True)
class Change:
    """A change that was tried on the model: what was done, the text before and after, and what it then says.

    Pieces of texts come with whether they are gone, or new.
    """

    told: str
    before: list[tuple[str, bool]]
    after: list[tuple[str, bool]]
    decision: str
    probability: str
    left: str


def decision_of(report: xr.Dataset) -> str:
    """What was decided."""
    return one_line(str(report.attrs.get("prediction", "")))


def noun_of(report: xr.Dataset, count: int = 2) -> str:
    """What the parts of the input are to a reader."""
    image = "row" in report.coords
    return ("patch" if image else "word") if count == 1 else ("patches" if image else "words")


def probability_of(report: xr.Dataset) -> float:
    """How likely the model takes what it decided to be."""
    if "probability" not in report or "class" not in report.coords:
        return float("nan")
    found = np.flatnonzero(report["class"].values.astype(str) == str(report.attrs.get("prediction", "")))
    return float(report.probability.values[found[0]]) if len(found) else float("nan")


def decided(report: xr.Dataset) -> list[str]:
    """The decision in sentences: what, how sure, and what else it might have been."""
    likely = probability_of(report)
    two = "segment" in report.coords and len(np.unique(report.segment.values[~report.special.values])) > 1
    word = "this picture" if "row" in report.coords else "these two texts" if two else "this text"
    told = [f"The model {model_title(str(report.attrs.get('model', '')))} read {word} and says: {decision_of(report)}."]
    if np.isfinite(likely):
        sure = next((words for least, words in SURE if likely >= least), UNSURE)
        told.append(f"It gives {format_share(likely)} to {decision_of(report)}: {sure}.")
    if others := _others(report):
        told.append(f"What else it considered: {others}.")
    told.append("How sure a model is of itself says nothing about whether it is right.")
    return told


def _others(report: xr.Dataset) -> str:
    if "probability" not in report:
        return ""
    names, shares = report["class"].values.astype(str), report.probability.values
    order = [at for at in np.argsort(-shares, kind="stable") if names[at] != str(report.attrs.get("prediction", ""))]
    return ", ".join(f"{one_line(names[at])} ({format_share(float(shares[at]))})" for at in order[:3])


# Evidence


def spoken(report: xr.Dataset, sign: Literal["for", "against"]) -> list[Spoken]:
    """Words that speak for the decision, or against it, the strongest first."""
    loudest = strongest(report, 1)
    most = abs(loudest[0].score) if loudest else 1.0
    found: list[Ranked] = [each for each in strongest(report, NAMED, sign=sign) if abs(each.score) >= WEAK * most]
    return [
        Spoken(name_of(report, each.index), _strength(abs(each.score) / most), abs(each.score) / most) for each in found
    ]


def name_of(report: xr.Dataset, at: int) -> str:
    """A word as it reads, a patch by its row and column, counted from 1."""
    if "row" in report.coords and int(report.row.values[at]) >= 0:
        return f"row {int(report.row.values[at]) + 1} column {int(report.col.values[at]) + 1}"
    return visible_token(str(report.token.values[at]))


def _strength(share: float) -> str:
    return "strongly" if share >= STRONG else "moderately" if share >= MODERATE else "weakly"


def evidence(report: xr.Dataset) -> str:
    """The strongest evidence in one sentence."""
    told = []
    around = "{}" if "row" in report.coords else "“{}”"
    for title, sign in ((f"for {decision_of(report)}", 1), ("against it", -1)):
        found = spoken(report, "for" if sign > 0 else "against")
        named = list(dict.fromkeys(around.format(each.token) for each in found if each.share >= MODERATE))[:3]
        if named:
            told.append(f"{listed(named)} speak{'s' if len(named) == 1 else ''} {title}")
        elif found:
            told.append(f"nothing speaks more than weakly {title}")
    joined = "; ".join(told)
    return f"{joined[:1].upper()}{joined[1:]}." if told else f"No single {noun_of(report, 1)} stands out."


def text_of(report: xr.Dataset) -> list[tuple[str, float | None]]:
    """The text in reading order, its words with their part of the strongest."""
    values = report.relevance.values.astype(np.float64)
    limit = limit_of(values)
    return [
        (piece.text, None if piece.index is None else float(values[piece.index] / limit)) for piece in _written(report)
    ]


def _written(report: xr.Dataset) -> list[Piece]:
    """The text without special tokens; of two texts each begins a line of its own."""
    special = report.special.values
    segments = report.segment.values if "segment" in report.coords else np.zeros_like(report.start.values)
    found: list[Piece] = []
    reached = None
    for piece in pieces(report):
        if piece.index is None or not special[piece.index]:
            segment = reached if piece.index is None else segments[piece.index]
            if reached is not None and segment != reached:
                while found[-1].text.isspace():
                    found.pop()
                found.append(Piece("\n"))
            reached = segment
            found.append(piece)
    return found


# How sure


def checks(report: xr.Dataset) -> list[Check]:
    """What was done to see how far the explanation may be trusted."""
    return [each for each in (_adds_up(report), _second(report), _removal(report)) if each is not None]


def _adds_up(report: xr.Dataset) -> Check:
    if not report.attrs.get("certified"):
        told = "This method promises no sum, so nothing tells whether parts are missing."
        return Check("partly", "Do the parts make the whole?", told)
    gap = share_text(float(report.largest_gap))
    if report.attrs.get("settled"):
        told = f"Yes: what the {noun_of(report)} say adds up to the model's answer, but for {gap}."
        return Check("yes", "Do the parts make the whole?", told)
    told = f"No: what the {noun_of(report)} say misses up to {gap} of the answer, more than is allowed."
    return Check("no", "Do the parts make the whole?", told)


def _second(report: xr.Dataset) -> Check | None:
    alike, second = float(report.spearman), str(report.attrs.get("second_method", "another method"))
    if not np.isfinite(alike):
        return None
    n_words = int((~report.special.values).sum())
    most = min(5, n_words // 2)
    same = f"{round(float(report.overlap) * most)} of the {most} strongest {noun_of(report)} are the same"
    title = "Does another method say the same?"
    if alike >= ALIKE:
        return Check("yes", title, f"Yes: {second} puts the {noun_of(report)} in nearly the same order; {same}.")
    if alike >= UNLIKE:
        return Check("partly", title, f"In part: {second} orders the {noun_of(report)} somewhat differently; {same}.")
    return Check("no", title, f"No: {second} orders the {noun_of(report)} differently; {same}. Take this with care.")


def _removal(report: xr.Dataset) -> Check | None:
    """Whether the words that the explanation names matter more to the model than others."""
    own, lot, likely = float(report.without_strongest), float(report.without_others), probability_of(report)
    if not np.isfinite([own, likely]).all():
        return None
    title = "Does the model need what the explanation names?"
    count, decision = int(report["strongest"].values.sum()), decision_of(report)
    which = f"the strongest {noun_of(report, 1)}" if count == 1 else f"the {count} strongest {noun_of(report)}"
    taken = f"without {which} it gives {format_share(own)} to {decision} instead of {format_share(likely)}"
    if not np.isfinite(lot):
        mark: Mark = "yes" if own < likely else "no"
        return Check(mark, title, f"{ANSWERS[mark]}: {taken}; too few others are left to compare.")
    fell, fell_by_lot = likely - own, max(likely - lot, 0.0)
    mark = "no" if fell <= max(fell_by_lot, NOTICED) else "yes" if fell > 2 * fell_by_lot else "partly"
    others = f"without {counted(count, 'other')} chosen by lot {format_share(lot)} on average"
    return Check(mark, title, f"{ANSWERS[mark]}: {taken}, {others}.")


# What would have changed it


def changes(report: xr.Dataset) -> list[Change]:
    """Every change that was found, each of which the model was asked about."""
    if "change" not in report.dims:
        return []
    return [_change(report, at) for at in range(report.sizes["change"])]


def _change(report: xr.Dataset, at: int) -> Change:
    gone = report["gone"].transpose("change", "token").values[at]
    words = [visible_token(str(token)) for token in report.token.values[gone]]
    new, decision = str(report["new_word"].values[at]), one_line(str(report["new_decision"].values[at]))
    image = "row" in report.coords
    if new:
        done = f"“{new}” instead of “{words[0]}”"
    elif image:
        done = f"with {counted(len(words), 'patch')} covered"
    elif len(words) <= NAMED:
        done = f"without {listed([f'“{word}”' for word in words])}"
    else:
        done = f"without {len(words)} words"
    before = [] if image else [
        (piece.text, piece.index is not None and bool(gone[piece.index]))
        for piece in _written(report)
    ]  # fmt: skip
    return Change(
        f"{done[:1].upper()}{done[1:]}, the model says {decision}.",
        before,
        _after(report, str(report["new_text"].values[at]), new, int(np.flatnonzero(gone)[0])),
        decision,
        format_share(float(report.probability_after.values[at])),
        format_share(float(report.probability_left.values[at])),
    )


def _after(report: xr.Dataset, text: str, new: str, place: int) -> list[tuple[str, bool]]:
    """The text that was asked, with the new word told apart where it is known to stand there."""
    start = int(report.start.values[place])
    if not new or "segment" in report.coords or text[start : start + len(new)] != new:
        return [("\n".join(map(one_line, text.split("\n"))), False)] if text else []
    return [(text[:start], False), (new, True), (text[start + len(new) :], False)]


def unchanged(report: xr.Dataset) -> str:
    """What is said where no words were found without which the decision changes; empty where some were."""
    if any(not str(word) for word in (report["new_word"].values if "new_word" in report.coords else [])):
        return ""
    gone, left = np.flatnonzero(report["all_gone"].values), float(report.without_all)
    if not len(gone):
        return f"No {noun_of(report, 1)} could be taken out."
    if len(gone) <= NAMED and "row" not in report.coords:
        taken = f"without {listed([f'“{name_of(report, int(at))}”' for at in gone])}"
    else:
        taken = f"without {'' if len(gone) == 1 else 'any of '}the {counted(len(gone), noun_of(report, 1))} for it"
    known = f": it still gives {format_share(left)} to {decision_of(report)}" if np.isfinite(left) else ""
    return f"Even {taken} the model decides the same{known}."


def singly(report: xr.Dataset) -> str:
    """Whether any one word alone decides."""
    alone, likely = report.alone.values.astype(np.float64), probability_of(report)
    if not np.isfinite(alone).any() or not np.isfinite(likely):
        return ""
    least = int(np.nanargmin(alone))
    word = name_of(report, least)
    if likely - float(alone[least]) < 0.01:
        return f"No {noun_of(report, 1)} by itself makes a difference worth naming."
    return (
        f"The {noun_of(report, 1)} that matters most by itself is “{word}”: without it the model gives "
        f"{format_share(float(alone[least]))} to {decision_of(report)} instead of {format_share(likely)}."
    )


LIMITS = (
    "It tells what this model relied on, not whether the decision is right, fair or lawful.",
    "The changes are those that were found and tried; there may be smaller ones that nobody tried.",
    "A text without a word may read oddly; a model may react to that, too.",
    "It is about this one input. Another text may be decided for other reasons.",
)
"""What no report can tell."""


def numbers(report: xr.Dataset) -> list[tuple[str, str, str, str]]:
    """Of every word: its score, that of the second method, and the decision's probability without it."""
    names = [name_of(report, at) for at in range(report.sizes["token"])]
    values = zip(names, report.relevance.values, report.second.values, report.alone.values, strict=True)
    return [
        (token, f"{one:+.3g}", f"{other:+.3g}" if np.isfinite(other) else "–", format_share(float(alone)))
        for token, one, other, alone in values
    ]


def settings(report: xr.Dataset) -> dict[str, str]:
    """How it was made."""
    model = model_title(str(report.attrs.get("model", "")))
    return {"model": model, **options(report), "lignite": str(report.attrs.get("lignite_version", ""))}


def title_of(report: xr.Dataset) -> str:
    """The question that a report answers."""
    return shorten(f"Why does the model say {decision_of(report)}?", 100)


def relevance_of(report: xr.Dataset) -> Float[np.ndarray, " token"]:
    """Scores as they are drawn."""
    found: np.ndarray = report.relevance.values.astype(np.float64)
    return found
