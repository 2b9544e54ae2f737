"""How much an explanation of the same evidence depends on the words around it.

The evidence stays where it is; the other words change places among themselves. A sentence with its words shuffled is no
longer that sentence, so explanation and prediction may both have reason to move: read one beside the other. In the
controlled version only words change places that the explanation itself calls unrelated, and that stand away from the
evidence; an explanation that moves there, while the prediction does not, depends on what it says does not matter.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import xarray as xr

from lignite.calls import check_count
from lignite.errors import InputError, OptionError
from lignite.metrics.asking.session import ExplainRows, Session, by_place
from lignite.metrics.metric import Metric, Question
from lignite.metrics.readings.plausibility import rationale_from_spans
from lignite.metrics.readings.statistics import rank_correlation
from lignite.models.load import Model
from lignite.targets.ask import predict
from lignite.targets.edits import removable, reorder_tokens
from lignite.targets.rows import Row

CONTEXTS = ("all", "unrelated")
MEASURES = ("rank_correlation", "l1", "value_change", "probability_change", "label_change")

FEWEST_EVIDENCE = 2  # one token has no order that could change


def context_sensitivity(
    model: Model,
    rows: Sequence[Row],
    explain_rows: ExplainRows,
    *,
    relevances: Sequence[np.ndarray] | None = None,
    evidence: Sequence[Sequence[bool]] | None = None,
    keep: float = 0.2,
    n_shuffles: int = 5,
    distance: int = 2,
    unrelated: float = 0.5,
    seed: int = 0,
    memory: int | float | str | None = None,
) -> xr.Dataset:
    """Shuffle the words around the evidence, explain again, and compare.

    Whole words change places, and only with words of as many tokens in the same of two texts, so that no word is torn
    and the evidence keeps its place. Special tokens and the token that is read stay.

    Parameters
    ----------
    explain_rows
        Explains rows as the method under test does: one array per row, one number per token that is no padding.
    relevances
        What it says of `rows`, where that is known already.
    evidence
        Flags of the kept tokens to hold fast; by default, per row, the `keep` share (rounded up, at least two) of the
        tokens with the largest relevance, whatever its sign.
    n_shuffles
        Different orders of each context.
    distance, unrelated
        Of the controlled version: words change places that are at least `distance` tokens from all evidence, and whose
        relevance is, in size, within the lower `unrelated` share of those around the evidence.

    Returns
    -------
    A Dataset over `context` (``"all"`` or ``"unrelated"`` words shuffled) and `example`, means over shuffles:

    - `rank_correlation` (Spearman) of the evidence's relevances before and after; `l1`: sum of their absolute changes
      divided by the sum of their absolute values before.
    - `value_change`, `probability_change`: absolute change of what is explained; `label_change`: how often another
      label leads.
    - `moved`: share of the tokens around the evidence that another token has taken the place of.
    - `n_evidence` (example).

    NaN where a context holds no two different words that could change places.
    """
    _check_options(keep, n_shuffles, distance, unrelated)
    if evidence is not None and len(evidence) != len(rows):
        raise InputError(f"{len(evidence)} sets of evidence for {len(rows)} rows; give one for each.")
    before = _checked(rows, explain_rows(rows) if relevances is None else relevances)
    held = [
        _evidence(number, row, given, None if evidence is None else evidence[number], keep)
        for number, (row, given) in enumerate(zip(rows, before, strict=True))
    ]
    shuffled: list[Row] = []
    origin: list[tuple[int, int]] = []
    moved = np.full((len(CONTEXTS), len(rows)), np.nan)
    for number, (row, given, places) in enumerate(zip(rows, before, held, strict=True)):
        for which, context in enumerate(CONTEXTS):
            units = _units(row, places)
            if context == "unrelated":
                units = _unrelated(units, given, places, distance, unrelated)
            orders = _orders(row, units, n_shuffles, np.random.default_rng([seed, number, which]))
            shuffled.extend(reorder_tokens(row, order) for order in orders)
            origin.extend([(which, number)] * len(orders))
            if orders:
                around = sorted(set(removable(row)) - set(places))
                moved[which, number] = np.mean([[order[place] != place for place in around] for order in orders])
    return _compare(model, rows, before, held, shuffled, origin, moved, explain_rows, memory)


def _check_options(keep: float, n_shuffles: int, distance: int, unrelated: float) -> None:
    for option, share in (("keep", keep), ("unrelated", unrelated)):
        if not 0 < share <= 1:
            raise OptionError(f"{option}={share!r} must be a share of the tokens, above 0 and at most 1.")
    check_count("n_shuffles", n_shuffles)
    check_count("distance", distance)


def _checked(rows: Sequence[Row], relevances: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Relevances by place in the model's input."""
    if len(relevances) != len(rows):
        raise InputError(f"{len(relevances)} explanations of {len(rows)} rows; give one for each.")
    return [by_place(number, row, given) for number, (row, given) in enumerate(zip(rows, relevances, strict=True))]


def _evidence(number: int, row: Row, relevance: np.ndarray, flags: Sequence[bool] | None, keep: float) -> list[int]:
    """Places of the tokens that are held fast and compared."""
    if flags is None:
        free = np.array(removable(row), dtype=np.int64)
        count = min(len(free), max(FEWEST_EVIDENCE, int(np.ceil(round(keep * len(free), 9)))))
        return sorted(free[np.argsort(-abs(relevance[free]), kind="stable")[:count]].tolist())
    kept = np.flatnonzero(~np.asarray(row.encoded.tokens.padding, dtype=bool))
    if len(flags) != len(kept):
        raise InputError(
            f"row {number} has {len(flags)} flags of evidence for {len(kept)} tokens without padding; give one each."
        )
    return kept[np.asarray(flags, dtype=bool)].tolist()


def _units(row: Row, evidence: Sequence[int]) -> list[list[int]]:
    """Places of each word that may move; a token of no word is one by itself."""
    tokens = row.encoded.tokens
    words: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, word in enumerate(tokens.word):
        words[(word, -1) if word >= 0 else (-1, place)].append(place)
    free = set(removable(row)) - set(evidence)
    # A word torn in two by something else would not be whole in its new place.
    return [places for places in words.values() if free.issuperset(places) and places[-1] - places[0] < len(places)]


def _unrelated(
    units: Sequence[list[int]], relevance: np.ndarray, evidence: Sequence[int], distance: int, share: float
) -> list[list[int]]:
    around = [place for places in units for place in places]
    if not around:
        return []
    limit = np.quantile(abs(relevance[around]), share)
    return [
        places
        for places in units
        if abs(relevance[places]).max() <= limit
        and all(abs(place - held) >= distance for place in places for held in evidence)
    ]


def _orders(row: Row, units: Sequence[list[int]], count: int, generator: np.random.Generator) -> list[list[int]]:
    """Orders of all tokens in which at least one word is not what stood there; none if no two words can change."""
    ids = row.encoded.tensors["input_ids"][0].tolist()
    segments = row.encoded.tokens.segment
    alike: dict[tuple[int, int], list[list[int]]] = defaultdict(list)
    for places in units:
        alike[(len(places), -1 if segments is None else segments[places[0]])].append(places)
    groups = [group for group in alike.values() if len({tuple(ids[place] for place in places) for places in group}) > 1]
    orders: list[list[int]] = []
    while groups and len(orders) < count:
        order = list(range(row.n_tokens))
        for group in groups:
            for places, number in zip(group, generator.permutation(len(group)), strict=True):
                for place, taken in zip(places, group[number], strict=True):
                    order[place] = taken
        if any(ids[place] != ids[taken] for place, taken in enumerate(order)):
            orders.append(order)
    return orders


def _compare(
    model: Model,
    rows: Sequence[Row],
    before: list[np.ndarray],
    held: list[list[int]],
    shuffled: list[Row],
    origin: list[tuple[int, int]],
    moved: np.ndarray,
    explain_rows: ExplainRows,
    memory: int | float | str | None,
) -> xr.Dataset:
    after = _checked(shuffled, explain_rows(shuffled)) if shuffled else []
    said = predict(model, [*rows, *shuffled], memory=memory)
    value, probability, label = said.value.numpy(), said.probability.numpy(), said.label.numpy()
    found: dict[str, list[list[list[float]]]] = {name: [[[] for _ in rows] for _ in CONTEXTS] for name in MEASURES}
    for place, ((which, number), relevance) in enumerate(zip(origin, after, strict=True), start=len(rows)):
        old, new = before[number][held[number]], relevance[held[number]]
        size = abs(old).sum()
        measures = {
            "rank_correlation": rank_correlation(old, new),
            "l1": float(abs(new - old).sum() / size) if size else np.nan,
            "value_change": float(abs(value[place] - value[number])),
            "probability_change": float(abs(probability[place] - probability[number])),
            "label_change": np.nan if label[number] < 0 else float(label[place] != label[number]),
        }
        for name, measure in measures.items():
            found[name][which][number].append(measure)
    dims = ("context", "example")
    variables = {
        name: (dims, np.array([[np.mean(cell) if cell else np.nan for cell in line] for line in table]))
        for name, table in found.items()
    }
    coords = {"context": list(CONTEXTS), "example": np.arange(len(rows))}
    counts = {"moved": (dims, moved), "n_evidence": (("example",), np.array([len(places) for places in held]))}
    return xr.Dataset({**variables, **counts}, coords, {"kind": "context-sensitivity"})


def ask_shuffled(question: Question, session: Session, metrics: Sequence[Metric]) -> dict[str, list[xr.Dataset | None]]:
    """Shuffle the words around the evidence: `context_sensitivity` of each case alone.

    Evidence is the rationale where the data set has one, and then texts without it are not asked about (None).
    """
    return {
        method: [_shuffled(session, method, place) for place in range(len(session.rows))]
        for method in session.explained
    }


def _shuffled(session: Session, method: str, place: int) -> xr.Dataset | None:
    subject, how = session.subjects[place], session.how
    spans, evidence = subject.evidence.rationale, None
    if how.by_rationale and spans is None:
        return None
    if spans is not None:
        evidence = [rationale_from_spans(subject.row.encoded.tokens.keep(), spans).evidence]
    # One text at a time: its shuffles must not depend on which others are measured with it.
    return context_sensitivity(
        session.model,
        [subject.row],
        session.explainers[method],
        relevances=[session.relevances[method][place]],
        evidence=evidence,
        seed=how.seed,
        memory=how.memory,
    )
