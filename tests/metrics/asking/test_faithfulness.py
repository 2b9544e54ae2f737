"""Removal measures: sums of known word numbers by hand, a loop over transformers itself, and planted evidence."""

import numpy as np
import pytest
import torch
import transformers
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, log_expit
from tests.kit.architectures import ARCHITECTURES, full_precision_norms, randomize
from tests.kit.bag_of_words import asked, bag_of_words, oracle

import lignite
from lignite.errors import InputError, NotFiniteError, OptionError
from lignite.metrics.asking import faithfulness as module
from lignite.metrics.asking.faithfulness import faithfulness, n_removed
from lignite.metrics.asking.robustness import infidelity
from lignite.metrics.readings.plausibility import plausibility, rationale_from_spans
from lignite.targets.ask import ask, predict
from lignite.targets.edits import removable
from lignite.targets.fills import Unigram
from lignite.targets.rows import Row

EXACT = {"rtol": 1e-12, "atol": 1e-12}  # float64 sums of a handful of numbers of order ten
WEIGHTS = {"a": 8.0, "b": 4.0, "c": -2.0, "d": -1.0}
TEXT = "d a c b"
"""Relevant first: a, b, d, c. The logit falls from 9 to 1, −3, −2, 0, and rises from 0 to 8, 12, 11, 9."""


@pytest.fixture
def bag():
    return bag_of_words(WEIGHTS, pad=0.5)


def measured(model, *texts, relevances=None, **options):
    rows = asked(model, *texts)
    return faithfulness(model, rows, relevances or {"oracle": oracle(model, rows)}, **options)


def test_curves_and_areas_by_hand(bag):
    """Trapezoids over quarters: (9/2 + 1 − 3 − 2 + 0)/4 and (0 + 8 + 12 + 11 + 9/2)/4."""
    found = measured(bag, TEXT, fills="mask", steps=4).isel(method=0, example=0, fill=0)

    logit = found.sel(output="logit")
    assert_allclose(logit.deletion_curve, [9, 1, -3, -2, 0], **EXACT)
    assert_allclose(logit.insertion_curve, [0, 8, 12, 11, 9], **EXACT)
    assert_allclose(found.deletion_share, [0, 0.25, 0.5, 0.75, 1], **EXACT)
    assert_allclose(found.insertion_share, [0, 0.25, 0.5, 0.75, 1], **EXACT)
    assert_allclose([logit.deletion, logit.insertion, logit.insertion_minus_deletion], [0.125, 8.875, 8.75], **EXACT)
    probability = found.sel(output="probability")
    assert_allclose(probability.deletion_curve, expit([9, 1, -3, -2, 0]), **EXACT)
    assert_allclose(probability.insertion, (0.5 / 2 + expit([8, 12, 11]).sum() + expit(9) / 2) / 4, **EXACT)
    assert (found.value, found.probability, found.label, found.n_tokens) == (9, expit(9), 1, 4)


def test_the_area_between_both_orders_by_hand(bag):
    """Least relevant first the logit goes 9, 11, 12, 8, 0: (9/2 + 11 + 12 + 8)/4 less the area of the other order."""
    found = measured(bag, TEXT, fills="mask", steps=4)

    assert_allclose(found.area_between.squeeze(), 35.5 / 4 - 0.125, **EXACT)


@pytest.mark.parametrize("steps", [3, 4, 7, 10])
def test_the_area_between_is_that_of_the_reversed_ranking(bag, steps):
    """AttnLRP asks for two deletion curves; the insertion curve read from its end is the second of them."""
    text = "a b c d d c a b a c b"
    rows = asked(bag, text)
    forth = oracle(bag, rows)[0] + np.linspace(0, 1e-3, 13)  # no ties, whose order does not reverse

    found = faithfulness(bag, rows, {"forth": [forth], "back": [-forth]}, steps=steps).sel(output="logit")

    back_less_forth = found.deletion.sel({"method": "back"}) - found.deletion.sel({"method": "forth"})
    assert_allclose(found.area_between.sel({"method": "forth"}), back_less_forth, **EXACT)


def test_fills_leave_different_texts(bag):
    """A [PAD] that is read counts ½ in this model, a [MASK] nothing, a deleted word nothing."""
    found = measured(bag, TEXT, steps=4, fills=("mask", "pad", "delete")).sel(output="logit").squeeze()

    gone = np.arange(5)
    assert_allclose(found.deletion_curve.sel(fill="pad"), np.array([9, 1, -3, -2, 0]) + gone / 2, **EXACT)
    assert_allclose(found.insertion_curve.sel(fill="pad"), np.array([0, 8, 12, 11, 9]) + gone[::-1] / 2, **EXACT)
    assert_allclose(found.deletion_curve.sel(fill="delete"), [9, 1, -3, -2, 0], **EXACT)


def test_deleting_moves_the_words_behind():
    """Words counted by their place: deletion of the first of three moves the others one to the front."""
    model = bag_of_words(WEIGHTS, by_position=True)

    relevances = [np.array([0, 3.0, 2.0, 1.0, 0])]
    found = measured(model, "a b c", relevances=relevances, fills=("mask", "delete"), steps=3).sel(output="logit")

    assert_allclose(found.deletion_curve.sel(fill="mask").squeeze(), [8 + 8 - 6, 8 - 6, -6, 0], **EXACT)
    assert_allclose(found.deletion_curve.sel(fill="delete").squeeze(), [8 + 8 - 6, 4 - 4, -2, 0], **EXACT)


def test_eraser_bins_by_hand(bag):
    """Of four tokens 1, 5, 10 and 20 % are one, 50 % two: comprehensiveness 8 and 12, sufficiency 1 and −3."""
    found = measured(bag, TEXT, fills="mask").squeeze()

    logit, probability = found.sel(output="logit"), found.sel(output="probability")
    assert_allclose(logit.comprehensiveness_bins, [8, 8, 8, 8, 12], **EXACT)
    assert_allclose(logit.sufficiency_bins, [1, 1, 1, 1, -3], **EXACT)
    assert_allclose([logit.comprehensiveness, logit.sufficiency], [44 / 5, 1 / 5], **EXACT)
    assert_allclose(probability.comprehensiveness_bins[-1], expit(9) - expit(-3), **EXACT)
    assert_allclose(probability.sufficiency_bins[-1], expit(9) - expit(12), **EXACT)
    assert_allclose(found.log_odds_bins[-1], log_expit(-3) - log_expit(9), **EXACT)
    assert_allclose(found.log_odds, log_expit(1) - log_expit(9), **EXACT)


@pytest.mark.parametrize(
    ("n_tokens", "counts"),
    [(1, [1, 1, 1, 1, 1]), (3, [1, 1, 1, 1, 2]), (30, [1, 2, 3, 6, 15]), (101, [2, 6, 11, 21, 51])],
)
def test_shares_are_rounded_up_as_eraser_does(n_tokens, counts):
    """At least one token, and in whole numbers: 0.07 × 100 is more than 7 in floating point."""
    assert [n_removed(share, 100, n_tokens) for share in module.BINS] == counts
    assert n_removed(7, 100, 100) == 7


def test_a_text_shorter_than_the_steps_has_fewer_points():
    """Three tokens at ten steps: rounded up when removed, rounded down when put back; areas go by true shares."""
    model = bag_of_words({"a": 3.0, "b": 2.0, "c": 1.0})

    found = measured(model, "c b a", fills="mask").squeeze()

    logit = found.sel(output="logit")
    assert_allclose(3 * found.deletion_share, [0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3], **EXACT)
    assert_allclose(3 * found.insertion_share, [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3], **EXACT)
    assert_allclose(logit.deletion_curve, [6, 3, 3, 3, 1, 1, 1, 0, 0, 0, 0], **EXACT)
    assert_allclose(logit.insertion_curve, [0, 0, 0, 0, 3, 3, 3, 5, 5, 5, 6], **EXACT)
    assert_allclose([logit.deletion, logit.insertion], [(3 + 3 + 1 + 0) / 3, (0 + 3 + 5 + 3) / 3], **EXACT)


def test_the_decision_flips_where_another_label_leads(bag):
    """9, 1, −3: at half of the tokens; a text for which nothing but the prediction speaks never flips."""
    found = measured(bag, TEXT, "a b", "c d", fills="mask", steps=4).squeeze()

    assert_allclose(found.decision_flip, [0.5, 1.0, 1.0], **EXACT)
    # at exactly zero the first label leads: "a b" flips when nothing is left, "c d" was negative all along
    assert_allclose(found.flipped, [1, 1, 0], **EXACT)


def test_a_flip_forth_and_back_counts_from_the_first():
    """A later return to the first label does not undo that the decision hung on fewer tokens."""
    model = bag_of_words({"x": 5.0, "y": -9.0, "z": 6.0})
    rows = asked(model, "x y z")  # 2, then −3 without x, then 6 without y

    found = faithfulness(model, rows, [np.array([0, 3.0, 2.0, 1.0, 0])], fills="mask", steps=3)

    assert_allclose(found.deletion_curve.sel(output="logit").squeeze(), [2, -3, 6, 0], **EXACT)
    assert_allclose([found.decision_flip.squeeze(), found.flipped.squeeze()], [1 / 3, 1], **EXACT)


def test_ties_stand_in_the_order_of_the_text(bag):
    """Equal relevances say nothing of the order, so it is the same on every machine."""
    found = measured(bag, TEXT, relevances=[np.zeros(6)], fills="mask", steps=4)

    assert_allclose(found.deletion_curve.sel(output="logit").squeeze(), [9, 10, 2, 4, 0], **EXACT)


def test_what_speaks_against_is_removed_last(bag):
    """Relevance is signed: the most negative word is no important word for the label."""
    strong = bag_of_words({"a": 1.0, "b": -9.0})

    found = measured(strong, "b a", fills="mask", steps=2)

    assert_allclose(found.deletion_curve.sel(output="logit").squeeze(), [-8, -9, 0], **EXACT)


def test_special_tokens_and_padding_are_neither_touched_nor_counted(bag):
    """However high they are ranked: they are not words, and ERASER never removes them."""
    (whole,) = asked(bag, TEXT)
    hidden = torch.tensor([[5, 0]])  # masked out, be it a word or [PAD]
    padded = {
        "input_ids": torch.cat([whole.encoded.tensors["input_ids"], hidden], dim=1),
        "attention_mask": torch.tensor([[1] * 6 + [0] * 2]),
    }
    rows = ask(bag, [padded], "positive")
    (relevance,) = oracle(bag, [whole])
    loud = relevance + np.array([99, 0, 0, 0, 0, 99])

    found = faithfulness(bag, rows, [loud], steps=4)
    expected = faithfulness(bag, [whole], [relevance], steps=4)

    assert removable(rows[0]) == [1, 2, 3, 4]
    assert found.n_tokens == 4
    for name in expected.data_vars:
        assert_allclose(found[name], expected[name], **EXACT)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_token_that_is_read_stays(name):
    """A next word is foretold at the last one; without it the question would be another."""
    architecture = ARCHITECTURES[name]
    model = lignite.wrap(language_model(architecture))
    rows = ask(model, [architecture.inputs(length=5)])
    relevance = np.array([1.0, 4.0, 2.0, 3.0, 99.0])

    found = faithfulness(model, rows, [relevance], fills="delete", steps=4).sel(output="logit").squeeze()

    assert removable(rows[0]) == [0, 1, 2, 3]
    ids, wanted = rows[0].encoded.tensors["input_ids"][0], rows[0].objective.index
    kept = [[0, 1, 2, 3, 4], [0, 2, 3, 4], [0, 2, 4], [0, 4], [4]]
    with torch.no_grad():
        expected = [float(model.network(ids[places][None]).logits[0, -1, wanted]) for places in kept]
    assert_allclose(found.deletion_curve, expected, rtol=1e-9)  # float64 through norms kept in float64


def language_model(architecture):
    classes = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM"}
    model_class = getattr(transformers, classes[architecture.name])
    network = model_class(model_class.config_class(**architecture.config)).to(torch.float64)
    randomize(network, seed=0, gains=architecture.gains)
    return full_precision_norms(network).eval()


def test_many_methods_and_texts_get_the_numbers_they_get_alone():
    """In float32, through batches of other lengths: a trained model, real words, a small budget."""
    model = lignite.load("tiny-sentiment")
    rows = ask(model, ["The plot was thin, but the acting was superb.", "Dull.", "A superb, moving film."])
    by_method = {
        name: [np.random.default_rng([seed, row.n_tokens]).standard_normal(row.n_tokens) for row in rows]
        for seed, name in enumerate(["one", "two"])
    }

    words = Unigram.of_rows(model, rows)

    together = faithfulness(model, rows, by_method, corpus=words, memory="1 MB")

    for method, relevances in by_method.items():
        for example, row in enumerate(rows):
            alone = faithfulness(model, [row], [relevances[example]], corpus=words).isel(method=0, example=0, drop=True)
            other = together.sel({"method": method, "example": example}, drop=True)
            for name in alone.data_vars:
                # sums of float32 in another order, on logits of order one
                assert_allclose(other[name], alone[name], rtol=0, atol=1e-5, err_msg=name)


def test_every_measure_equals_a_loop_over_transformers():
    """One text, one step at a time, through the model itself: nothing shared with the code but the model."""
    model = lignite.load("tiny-sentiment", dtype="float64")
    (row,) = ask(model, "The acting was superb, but the plot was thin and dull.", "positive")
    relevance = np.random.default_rng(4).normal(size=row.n_tokens)
    ids = row.encoded.tensors["input_ids"][0].tolist()
    order = sorted(range(1, len(ids) - 1), key=lambda place: -relevance[place])
    n = len(order)

    def said(kept: set[int], fill: str) -> tuple[float, float, int]:
        keeping = {0, len(ids) - 1, *kept}
        filler = model.tokenizer.mask_token_id if fill == "mask" else model.tokenizer.pad_token_id
        edited = [token if place in keeping else filler for place, token in enumerate(ids)]
        if fill == "delete":
            edited = [token for place, token in enumerate(ids) if place in keeping]
        with torch.no_grad():
            logits = model.network(torch.tensor([edited]), torch.ones(1, len(edited), dtype=torch.long)).logits[0]
        return float(logits[1]), float(logits.softmax(0)[1]), int(logits.argmax())

    found = faithfulness(model, [row], [relevance], steps=5, fills=("mask", "pad", "delete")).squeeze()

    for fill in ("mask", "pad", "delete"):
        cell = found.sel(fill=fill)
        whole = said(set(order), fill)
        removed = [int(np.ceil(step * n / 5 - 1e-9)) for step in range(6)]
        gone = [said(set(order[count:]), fill) for count in removed]
        there = [said(set(order[: n - count]), fill) for count in reversed(removed)]
        for output, which in (("logit", 0), ("probability", 1)):
            down, up = [one[which] for one in gone], [one[which] for one in there]
            shares = np.array(removed) / n
            part = cell.sel(output=output)
            assert_allclose(part.deletion, np.trapezoid(down, shares), rtol=1e-9)
            assert_allclose(part.insertion, np.trapezoid(up, 1 - shares[::-1]), rtol=1e-9)
            counts = [int(np.ceil(n * share / 100 - 1e-9)) for share in (1, 5, 10, 20, 50)]
            without = [said(set(order[count:]), fill)[which] for count in counts]
            alone = [said(set(order[:count]), fill)[which] for count in counts]
            assert_allclose(part.comprehensiveness, np.mean([whole[which] - one for one in without]), rtol=1e-9)
            assert_allclose(part.sufficiency, np.mean([whole[which] - one for one in alone]), rtol=1e-9, atol=1e-12)
        twenty = said(set(order[int(np.ceil(0.2 * n)) :]), fill)[1]
        assert_allclose(cell.log_odds, np.log(twenty) - np.log(whole[1]), rtol=1e-9)
        flips = [count / n for count, one in zip(removed, gone, strict=True) if one[2] != whole[2]]
        assert_allclose([cell.decision_flip, cell.flipped], [flips[0], 1] if flips else [1, 0], rtol=1e-12)


def test_equal_questions_are_asked_once(bag):
    """Methods agree on much, data sets repeat sentences; only different inputs cost."""
    (row,) = asked(bag, TEXT)
    relevance = oracle(bag, [row])[0]
    again = Row(row.encoded, row.objective)

    faithfulness(
        bag, [row, *asked(bag, "a")], [relevance, np.zeros(3)], fills="mask"
    )  # once per model padding is tried out

    counts = []
    for rows, relevances in (
        ([row], {"one": [relevance]}),
        ([row, again, row], {"one": [relevance] * 3, "two": [2 * relevance] * 3}),
    ):
        bag.network.rows = bag.network.calls = 0
        found = faithfulness(bag, rows, relevances, fills=("mask", "pad", "delete"))
        counts.append(bag.network.rows)

    # of four words: whole, 3 shorter and none along the deletion, 3 others along the insertion, the bins among them
    per_fill = 3 + 1 + 3
    assert counts == [1 + 3 * per_fill] * 2
    assert bag.network.calls <= 5  # one for each length
    assert_allclose(found.deletion, np.broadcast_to(found.deletion[:1, :1], found.deletion.shape), **EXACT)


def test_equal_texts_with_other_questions_are_kept_apart(bag):
    """The same words explained for either label are two questions."""
    rows = [*asked(bag, TEXT), *ask(bag, [TEXT], "negative")]

    found = faithfulness(bag, rows, [np.arange(6.0)] * 2)

    assert_allclose(found.value, [9, 0], **EXACT)
    assert_allclose(found.probability, [expit(9), expit(-9)], **EXACT)


def test_large_requests_are_asked_in_parts_with_the_same_numbers(bag, monkeypatch):
    """Edited inputs of a large data set do not fit into memory all at once."""
    texts = [TEXT, "a c", TEXT, "d d b a c", "b"]
    whole, asked_at_once = measured(bag, *texts), []
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 20)

    def listen(model, rows, **options):
        asked_at_once.append(len(rows))
        return predict(model, rows, **options)

    monkeypatch.setattr(module, "predict", listen)

    found = measured(bag, *texts)

    assert found.identical(whole)
    assert len(asked_at_once) > 1


def test_a_number_without_probability_has_no_labels_to_flip(bag):
    """Regressions and functions: what rests on the number is measured, the rest is missing and not invented."""
    rows = ask(bag, [TEXT], lambda outputs: 3 * outputs.logits[:, 1])

    found = faithfulness(bag, rows, [oracle(bag, rows)[0]], steps=4, fills="mask").squeeze()

    assert_allclose(found.deletion.sel(output="logit"), 3 * 0.125, **EXACT)
    assert np.isnan(
        [found.decision_flip, found.flipped, found.log_odds, found.deletion.sel(output="probability")]
    ).all()
    assert found.label == -1


def test_log_odds_of_a_certain_loss_stay_finite():
    """A probability that underflows to zero would make the mean over the data set minus infinity."""
    model = bag_of_words({"a": 900.0, "b": -800.0})

    found = measured(model, "a b", fills="mask")

    assert_allclose(found.log_odds, np.log(np.finfo(np.float64).tiny), **EXACT)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"relevances": [np.zeros(4)]}, InputError, r"row 0 \('d a c b'\) have shape \(4,\), .* has 6 tokens"),
        ({"relevances": [np.zeros(6)] * 2}, InputError, "2 explanations of 1 rows"),
        ({"relevances": {"ig": [np.full(6, np.nan)]}}, NotFiniteError, "ig: a relevance of row 0 .* NaN or infinite"),
        ({"relevances": {"none": []}}, InputError, "none: 0 explanations of 1 rows"),
        ({"fills": "masks"}, OptionError, "Did you mean 'mask'"),
        ({"fills": ()}, OptionError, "fills is empty"),
        ({"steps": 0}, OptionError, "steps=0 must be a whole number"),
    ],
)
def test_bad_input_is_named(bag, change, error, message):
    """What was given, what was expected, what to do."""
    with pytest.raises(error, match=message):
        measured(bag, TEXT, **{"relevances": [np.zeros(6)], **change})


def test_what_cannot_be_removed_is_said(bag):
    """A row without words, an input that would vanish, a tokenizer without the filler."""
    words = asked(bag, "a b")
    bare = bag_of_words(WEIGHTS, special=False)
    alone = ask(bag, [{"input_ids": [[2, 3]], "attention_mask": [[1, 1]]}], "positive")

    with pytest.raises(InputError, match=r"row 1 .* no token that may be removed"):
        faithfulness(bag, [*words, *alone], [np.zeros(4), np.zeros(2)])
    with pytest.raises(OptionError, match=r"would leave nothing of row 0 .* or 'mask' or 'pad'"):
        faithfulness(bare, asked(bare, "a b"), [np.zeros(2)], fills="delete")
    assert faithfulness(bare, asked(bare, "a b"), [np.zeros(2)], fills=("mask", "pad")).sizes["fill"] == 2
    bare.tokenizer.mask_token = None
    with pytest.raises(OptionError, match="no mask token"):
        faithfulness(bare, asked(bare, "a b"), [np.zeros(2)], fills="mask")
    with pytest.raises(InputError, match="no explanations"):
        faithfulness(bag, words, {})
    with pytest.raises(InputError, match="no rows"):
        faithfulness(bag, [], [])


def marked(tokens, relevance):
    """Characters of the words that speak for the class; neighbours are one piece of evidence, as people mark them."""
    spans = []
    for place in np.flatnonzero(np.asarray(relevance) > 0):
        start, stop = tokens.start[place], tokens.stop[place]
        if spans and tokens.input[spans[-1][1] : start].isspace():
            start = spans.pop()[0]
        spans.append((start, stop))
    return spans


@pytest.mark.wide
def test_planted_evidence_ranks_the_oracle_first_and_random_last():
    """A classifier that provably uses a few words and nothing else: every measure has to see it."""
    generator = np.random.default_rng(8)
    planted = {"good": 2.0, "fine": 1.5, "superb": 2.5}
    model = bag_of_words({**planted, **{f"w{number}": 0.0 for number in range(30)}})
    texts = []
    for _ in range(60):
        words = [f"w{number}" for number in generator.integers(30, size=generator.integers(8, 25))]
        for word in generator.permutation(list(planted))[: generator.integers(1, 4)]:
            words.insert(int(generator.integers(len(words) + 1)), str(word))
        texts.append(" ".join(words))
    rows = asked(model, *texts)
    truth, chance = oracle(model, rows), [generator.standard_normal(row.n_tokens) for row in rows]
    methods = {
        "random": chance,
        "oracle": truth,
        "half": [one + 0.7 * other for one, other in zip(truth, chance, strict=True)],
    }

    found = faithfulness(model, rows, methods)

    signs = {
        "deletion": -1, "insertion": 1, "insertion_minus_deletion": 1, "area_between": 1, "comprehensiveness": 1,
        "sufficiency": -1, "log_odds": -1, "decision_flip": -1,
    }  # fmt: skip
    for name, sign in signs.items():
        means = sign * found[name].mean("example")
        best, middle, worst = (means.sel({"method": method}) for method in ("oracle", "half", "random"))
        assert (best > middle).all(), name
        assert (middle > worst).all(), name
    human = [
        rationale_from_spans(row.encoded.tokens, marked(row.encoded.tokens, one))
        for row, one in zip(rows, truth, strict=True)
    ]
    agreed = {
        method: [plausibility(one, rationale) for one, rationale in zip(several, human, strict=True)]
        for method, several in methods.items()
    }
    for name in ("token_f1", "token_f1_threshold", "iou_f1", "auprc", "average_precision"):
        best, middle, worst = (np.mean([one[name] for one in agreed[m]]) for m in ("oracle", "half", "random"))
        assert best > middle > worst, name
        if name != "token_f1_threshold":  # a word of less than half the largest weight is below the threshold
            assert_allclose(best, 1, **EXACT)
    pytest.importorskip("captum")
    unfaithful = {name: infidelity(model, rows, several).mean() for name, several in methods.items()}
    assert_allclose(unfaithful["oracle"], 0, atol=1e-12)  # differences of float64 squares of order ten
    assert unfaithful["oracle"] < unfaithful["half"] < unfaithful["random"]


def test_the_model_is_bit_identical_afterwards():
    """Measuring changes nothing."""
    model = lignite.load("tiny-sentiment")
    before = {name: weight.clone() for name, weight in model.network.state_dict().items()}
    rows = ask(model, ["A dull film."])
    first = predict(model, rows).value

    faithfulness(model, rows, [np.arange(rows[0].n_tokens, dtype=float)])

    for name, weight in model.network.state_dict().items():
        assert_array_equal(weight.numpy(), before[name].numpy())
    assert_array_equal(predict(model, rows).value.numpy(), first.numpy())
