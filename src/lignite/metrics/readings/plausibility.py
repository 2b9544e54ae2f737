"""Whether the tokens an explanation ranks first are those people marked as the reason.

That a person would agree does not make an explanation true of the model; see faithfulness for that. People mark
characters or words, models read tokens: a token belongs to the evidence if it shares a character with a marked span.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from lignite.errors import InputError, NotFiniteError, OptionError
from lignite.metrics.metric import Case, Found
from lignite.token_labels import TokenLabels

Span = tuple[int, int]


OVERLAP = 0.5
THRESHOLD = 0.5


@dataclass(frozen=True)
class Rationale:
    """Tokens that people marked, in the order of the kept tokens.

    Attributes
    ----------
    evidence
        Whether a token was marked.
    spans
        First token and the one after the last of every marked stretch; as many stretches as people marked.
    counted
        Whether a token takes part: special tokens do not.
    """

    evidence: tuple[bool, ...]
    spans: tuple[Span, ...]
    counted: tuple[bool, ...]


def rationale_from_spans(
    tokens: TokenLabels, spans: Sequence[Sequence[int]], *, length: int | None = None
) -> Rationale:
    """Read a rationale given as places in the text: ``[start, stop]``, `stop` excluded.

    Of a pair the text is both, joined by a line break.

    Parameters
    ----------
    tokens
        Labels of the kept tokens, with their places in the text.
    length
        Characters of the text, to refuse spans that reach beyond it; by default that of `tokens.input`, and where
        there is none, the end of the last token.

    Raises
    ------
    InputError
        If a span is empty, lies outside the text, or meets no token (as when it was made for another text).
    """
    start, stop = np.array(tokens.start), np.array(tokens.stop)
    counted = ~np.array(tokens.special, dtype=bool)
    if not (counted & (start >= 0)).any():
        raise InputError(
            "the tokens have no places in the text, so character spans cannot be found: leave the rationale out."
        )
    reach = length or len(getattr(tokens, "input", "")) or int(stop.max())
    evidence = np.zeros(len(start), dtype=bool)
    stretches = []
    for span in spans:
        first, last = _span(span, reach)
        met = counted & (start >= 0) & (start < last) & (stop > first)
        if not met.any():
            raise InputError(
                f"the rationale's span {first} to {last} meets no token of the text: do spans count characters of this "
                "very text, from 0?"
            )
        evidence |= met
        places = met.nonzero()[0]
        stretches.append((int(places[0]), int(places[-1]) + 1))
    return Rationale(_flags(evidence), tuple(sorted(set(stretches))), _flags(counted))


def runs(flags: Sequence[bool] | np.ndarray) -> list[Span]:
    """Stretches of neighbours that are all true: first and one after the last.

    Examples
    --------
    >>> runs([True, True, False, True])
    [(0, 2), (3, 4)]
    """
    edges = np.diff(np.concatenate([[0], np.asarray(flags, dtype=np.int8), [0]]))
    starts, stops = (edges == 1).nonzero()[0].tolist(), (edges == -1).nonzero()[0].tolist()
    return list(zip(starts, stops, strict=True))


def plausibility(
    relevance: np.ndarray, rationale: Rationale, *, threshold: float = THRESHOLD, overlap: float = OVERLAP
) -> dict[str, float]:
    """Compare the relevances of one text with its rationale.

    Relevance counts with its sign: what speaks against the explained output is ranked last. Explain the label that the
    rationale is given for.

    Parameters
    ----------
    relevance
        One number per kept token; those of special tokens do not count.
    threshold
        Tokens with at least this share of the largest relevance are selected for `token_f1_threshold`; none if no
        relevance is positive.
    overlap
        Intersection over union from which two stretches match.

    Returns
    -------
    With k the number of marked tokens, and ties in the order of the text:

    - `token_f1`: share of marked tokens among the k most relevant (precision, recall and F1 are one number there).
    - `token_precision`, `token_recall`, `token_f1_threshold`: of the tokens selected by `threshold`.
    - `iou_precision`, `iou_recall`, `iou_f1`: stretches of neighbours among the k most relevant, against those people
      marked (ERASER). Over many texts take `span_f1` beside the mean: ERASER averages precision and recall first.
    - `auprc`: area under the curve of precision over recall, by trapezoids as ERASER has it; `average_precision`: by
      steps, which does not draw a line between precisions that no threshold reaches.

    All NaN where nothing was marked: then no order of the tokens is right.

    References
    ----------
    DeYoung et al. (2020), ERASER, :arxiv:`1911.03429`, section 4.
    """
    if not 0 < threshold <= 1:
        raise OptionError(f"threshold={threshold!r} must be a share of the largest relevance, above 0 and at most 1.")
    _check_overlap(overlap)
    scores, evidence = _counted(relevance, rationale)
    if not evidence.any():
        return dict.fromkeys(_MEASURES, np.nan)
    best = top(relevance, rationale, int(evidence.sum()))
    hits = float(best[np.array(rationale.counted)][evidence].sum()) / evidence.sum()
    above = (scores >= threshold * scores.max()) & (scores > 0)
    precision, recall, f1 = _rates(int((above & evidence).sum()), int(above.sum()), int(evidence.sum()))
    iou = _matches(runs(best), rationale.spans, overlap)
    iou_precision, iou_recall, iou_f1 = _rates(iou, len(runs(best)), len(rationale.spans))
    trapezoids, steps = areas_of_precision(scores, evidence)
    found = (hits, f1, precision, recall, iou_f1, iou_precision, iou_recall, trapezoids, steps)
    return dict(zip(_MEASURES, map(float, found), strict=True))


_MEASURES = (
    "token_f1", "token_f1_threshold", "token_precision", "token_recall", "iou_f1", "iou_precision", "iou_recall",
    "auprc", "average_precision",
)  # fmt: skip


def top(relevance: np.ndarray, rationale: Rationale, k: int) -> np.ndarray:
    """Flags of the k most relevant tokens that count, ties in the order of the text."""
    scores, _ = _counted(relevance, rationale)
    places = np.array(rationale.counted).nonzero()[0]
    chosen = np.zeros(len(rationale.counted), dtype=bool)
    chosen[places[np.argsort(-scores, kind="stable")[:k]]] = True
    return chosen


def span_f1(
    predicted: Sequence[Sequence[Span]], human: Sequence[Sequence[Span]], *, overlap: float = OVERLAP
) -> dict[str, float]:
    """IoU-F1 over many texts, as ERASER reports it.

    A predicted stretch is right if it and some marked one share at least `overlap` of their union. `macro_…` averages
    precision and recall over the texts that have predicted or marked stretches and takes F1 of the means; `micro_…`
    counts all stretches together.
    """
    _check_overlap(overlap)
    if len(predicted) != len(human):
        raise InputError(f"{len(predicted)} predictions for {len(human)} rationales; give one of each per text.")
    hits = [_matches(mine, theirs, overlap) for mine, theirs in zip(predicted, human, strict=True)]
    n_predicted, n_human = [len(mine) for mine in predicted], [len(theirs) for theirs in human]
    precision, recall, f1 = _rates(sum(hits), sum(n_predicted), sum(n_human))
    macro_precision = _mean_share(hits, n_predicted)
    macro_recall = _mean_share(hits, n_human)
    return {
        "macro_f1": _f1(macro_precision, macro_recall),
        "macro_precision": macro_precision,
        "macro_recall": macro_recall,
        "micro_f1": f1,
        "micro_precision": precision,
        "micro_recall": recall,
    }


def sign_agreement(
    relevance: np.ndarray, tokens: TokenLabels, polarity: Sequence[Sequence[int]], *, length: int | None = None
) -> dict[str, float]:
    """Compare signs of relevance with words that people found to speak for or against.

    Parameters
    ----------
    polarity
        ``[start, stop, sign]`` for every labelled word or phrase, as places in the text; 1 if it speaks for what is
        explained, −1 against. Labels of 0 do not count. Where people labelled a class and another one is explained,
        turn the signs around first.

    Returns
    -------
    - `sign_agreement`: share of labelled words whose relevance, summed over their tokens, has the sign people gave;
      a sum of exactly 0 is right half the time.
    - `sign_agreement_balanced`: mean of that share over words for and words against, so that an explanation without
      negative numbers gets 0.5. NaN if all words have one sign.
    - `n_words`: how many were labelled. Without any, both are NaN.
    """
    scores = _numbers(relevance, len(tokens.special))
    right: dict[int, list[float]] = {1: [], -1: []}
    for entry in polarity:
        if len(entry) != 3 or entry[2] not in (-1, 0, 1):
            raise InputError(f"a word's label is {list(entry)!r}; expected [start, stop, sign] with sign -1, 0 or 1.")
        if entry[2] == 0:
            continue
        marked = rationale_from_spans(tokens, [entry[:2]], length=length)
        product = float(scores[np.array(marked.evidence)].sum()) * entry[2]
        right[int(entry[2])].append(0.5 if product == 0 else float(product > 0))
    every = right[1] + right[-1]
    balanced = (np.mean(right[1]) + np.mean(right[-1])) / 2 if right[1] and right[-1] else np.nan
    return {
        "sign_agreement": float(np.mean(every)) if every else np.nan,
        "sign_agreement_balanced": float(balanced),
        "n_words": float(len(every)),
    }


def _span(span: Sequence[int], reach: int) -> Span:
    whole = len(span) == 2 and all(isinstance(edge, int | np.integer) and not isinstance(edge, bool) for edge in span)
    if not whole:
        raise InputError(f"a rationale's span is {span!r}; expected [start, stop] in whole characters.")
    first, last = int(span[0]), int(span[1])
    if not 0 <= first < last:
        raise InputError(f"a rationale's span is {first} to {last}; expected 0 <= start < stop.")
    if last > reach:
        raise InputError(
            f"a rationale's span ends at {last}, but the text has {reach} characters: do spans count characters "
            "of this very text, from 0?"
        )
    return first, last


def _flags(values: np.ndarray) -> tuple[bool, ...]:
    return tuple(bool(value) for value in values)


def _numbers(relevance: np.ndarray, n_tokens: int) -> np.ndarray:
    scores = np.asarray(relevance, dtype=np.float64)
    if scores.shape != (n_tokens,):
        raise InputError(
            f"relevances of shape {scores.shape} do not fit the {n_tokens} tokens of the rationale; give one per token."
        )
    if not np.isfinite(scores).all():
        raise NotFiniteError(f"the relevance of token {int((~np.isfinite(scores)).argmax())} is NaN or infinite.")
    return scores


def _counted(relevance: np.ndarray, rationale: Rationale) -> tuple[np.ndarray, np.ndarray]:
    counted = np.array(rationale.counted)
    return _numbers(relevance, len(counted))[counted], np.array(rationale.evidence)[counted]


def _check_overlap(overlap: float) -> None:
    if not 0 < overlap <= 1:
        raise OptionError(f"overlap={overlap!r} must be a share of the union, above 0 and at most 1.")


def _matches(predicted: Sequence[Span], human: Sequence[Span], overlap: float) -> int:
    return sum(max((_iou(mine, theirs) for theirs in human), default=0.0) >= overlap for mine in predicted)


def _iou(one: Span, other: Span) -> float:
    common = max(0, min(one[1], other[1]) - max(one[0], other[0]))
    return common / ((one[1] - one[0]) + (other[1] - other[0]) - common)


def _rates(hits: int, n_predicted: int, n_human: int) -> tuple[float, float, float]:
    precision = hits / n_predicted if n_predicted else 0.0
    recall = hits / n_human if n_human else 0.0
    return precision, recall, _f1(precision, recall)


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision > 0 and recall > 0 else 0.0


def _mean_share(hits: Sequence[int], sizes: Sequence[int]) -> float:
    shares = [hit / size for hit, size in zip(hits, sizes, strict=True) if size]
    return float(np.mean(shares)) if shares else 0.0


def areas_of_precision(scores: np.ndarray, evidence: np.ndarray) -> tuple[float, float]:
    """Areas under precision over recall, by trapezoids and by steps; equal scores pass the threshold together."""
    order = np.argsort(-scores, kind="stable")
    falls = np.append(np.diff(scores[order]) < 0, True)
    hits = np.cumsum(evidence[order])[falls]
    precision, recall = hits / (falls.nonzero()[0] + 1), hits / evidence.sum()
    # The curve starts at recall 0 with precision 1, where nothing has been selected yet.
    gain = np.diff(recall, prepend=0.0)
    before = np.concatenate([[1.0], precision[:-1]])
    return float((gain * (precision + before) / 2).sum()), float((gain * precision).sum())


def _beside_rationale(case: Case) -> dict[str, float]:
    assert case.evidence.rationale is not None
    return plausibility(case.relevance, rationale_from_spans(case.tokens, case.evidence.rationale))


_plausible = partial(Found, find=_beside_rationale, needs=("rationale",), reads="text")


def _beside_polarity(case: Case) -> dict[str, float]:
    assert case.evidence.polarity is not None
    return sign_agreement(case.relevance, case.tokens, case.evidence.polarity)


_agreeing = partial(Found, find=_beside_polarity, needs=("polarity",), reads="text")


PLAUSIBILITY = (
    _plausible("token-f1", "share of marked tokens among as many most relevant ones"),
    _plausible("token-f1-threshold", "F1 of the tokens with half the largest relevance or more", default=False),
    _plausible("iou-f1", "F1 of stretches that share half their union with a marked one"),
    _plausible("auprc", "area under precision over recall of the marked tokens"),
    _plausible("average-precision", "the same area by steps", default=False),
    _agreeing("sign-agreement", "share of labelled words whose relevance has their sign"),
    _agreeing("sign-agreement-balanced", "its mean over words for and words against"),
)
