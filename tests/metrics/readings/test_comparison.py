"""Results side by side: common rows without a cut, numbers as in the textbooks, and refusals in one line."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from tests.kit import tiny_tokenizers
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_flow import sample_flow
from tests.kit.sides import NOWHERE, explanation, of_words

import lignite
from lignite.errors import FileError, GridError, InputError, OptionError

TEXT = "a b c d"
ONE, OTHER = (4.0, -2.0, 1.0, 0.5), (1.0, -3.0, 2.0, 0.25)


def both(**how):
    return lignite.compare(of_words(TEXT, ONE), of_words(TEXT, OTHER, method="occlusion"), **how)


# Numbers


def test_rows_hold_what_both_sides_say_and_their_difference():
    """One scale: all scores add up to a number of one model, so they are compared as they are."""
    found = both()

    assert found.attrs["scale"] == "relevance"
    np.testing.assert_allclose(found.relevance, [ONE, OTHER])
    np.testing.assert_allclose(found.difference.sel(side="occlusion"), np.subtract(OTHER, ONE))
    np.testing.assert_allclose(found.difference.sel(side="ig"), 0)


def test_measures_are_those_of_the_textbook():
    """Rank correlation by scipy; two of the four words are strongest; half the sum of differences of shares moves."""
    found = both().agreement_mean.sel(side="ig", against="occlusion")

    assert float(found.sel(measure="spearman")) == pytest.approx(stats.spearmanr(ONE, OTHER).statistic)
    assert float(found.sel(measure="overlap")) == 0.5  # 4 and −2 here, −3 and 2 there
    shares = np.divide(ONE, 7.5) - np.divide(OTHER, 6.25)
    assert float(found.sel(measure="changed")) == pytest.approx(np.abs(shares).sum() / 2)
    assert float(both().chance[0]) == 0.5


def test_shares_are_of_the_words_alone():
    """A special token that holds everything would make all words nothing, and sides with and without it unlike."""
    tokens = [("[CLS]", -1, NOWHERE), ("a", 0, (0, 1)), ("b", 1, (2, 3))]
    bare = of_words("a b", (1.0, -3.0))
    special = explanation("a b", tokens, (100.0, 1.0, -3.0), method="occlusion")

    found = lignite.compare(bare, special, scale="share")

    words = found.isel(token=~found.special.values)
    np.testing.assert_allclose(words.share, [[0.25, -0.75], [0.25, -0.75]])
    assert float(found.agreement_mean.sel(side="ig", against="occlusion", measure="changed")) == 0


@pytest.mark.parametrize(
    ("change", "why"),
    [({"model": "another"}, "two models"), ({"adds_up": False}, "not all scores add up")],
)
def test_scores_without_a_common_unit_are_compared_as_shares(change, why):
    """Logits of two models have no unit in common, nor has what adds up to nothing."""
    found = lignite.compare(of_words(TEXT, ONE), of_words(TEXT, OTHER, method="occlusion", **change))

    assert found.attrs["scale"] == "share"
    assert why in found.attrs["scale_reason"]
    np.testing.assert_allclose(found.difference[1], np.divide(OTHER, 6.25) - np.divide(ONE, 7.5))


def test_several_texts_have_a_mean_with_its_interval():
    """An interval over texts says how sure the mean is; one text says nothing of its spread."""
    random = np.random.default_rng(0)
    texts = [" ".join(f"w{number}x{place}" for place in range(8)) for number in range(6)]
    scores = random.normal(size=(2, 6, 8))
    sides = [
        [of_words(text, row, method=name) for text, row in zip(texts, some, strict=True)]
        for name, some in zip(("ig", "occlusion"), scores, strict=True)
    ]

    found = lignite.compare(*sides)

    expected = [stats.spearmanr(one, other).statistic for one, other in zip(*scores, strict=True)]
    measured = found.sel(side="ig", against="occlusion", measure="spearman")
    np.testing.assert_allclose(measured.agreement, expected)
    assert float(measured.agreement_mean) == pytest.approx(np.mean(expected))
    assert measured.agreement_low < measured.agreement_mean < measured.agreement_high
    sure = stats.bootstrap((expected,), np.mean, n_resamples=9999, rng=np.random.default_rng(1)).confidence_interval
    assert float(measured.agreement_low) == pytest.approx(sure.low, abs=0.05)  # two draws of resamples
    assert np.isnan(both().agreement_low.sel(side="ig", against="occlusion")).all()


def test_the_difference_of_a_minimal_pair_adds_up_to_the_change_of_the_answer():
    """Each side's scores sum to its value, so the differences sum to the difference of values: nothing is cut."""
    found = lignite.compare(of_words("a good film", (0.5, 2.0, 0.1)), of_words("a bad film", (0.25, -1.5, 0.3)))

    assert found.token.values.tolist() == ["a", "good / bad", "film"]
    assert found.side.values.tolist() == ["“good”", "“bad”"]
    assert float(found.difference[1].sum()) == pytest.approx(float(found.value[1, 0] - found.value[0, 0]))


# Rows


def test_two_tokenizers_meet_where_neither_cuts():
    """BERT writes don, ', t where GPT-2 writes don, 't: `'t` is the finest stretch that both end at."""
    bert = explanation(
        "don't go", [("don", 0, (0, 3)), ("'", 1, (3, 4)), ("t", 2, (4, 5)), ("go", 3, (6, 8))], (1.0, 2.0, 4.0, 8.0)
    )
    gpt = explanation(
        "don't go", [("don", 0, (0, 3)), ("'t", 1, (3, 5)), ("Ġg", 2, (5, 7)), ("o", 2, (7, 8))], (1.0, 3.0, 5.0, 7.0),
        method="occlusion",
    )  # fmt: skip

    found = lignite.compare(bert, gpt)

    assert found.token.values.tolist() == ["don", "'t", "go"]
    np.testing.assert_allclose(found.relevance, [[1, 6, 8], [1, 3, 12]])


def test_a_word_of_one_side_holds_all_pieces_of_the_other():
    """A long word reaches over the ends of the short ones inside it."""
    whole = explanation("abcdef gh", [("abcdef", 0, (0, 6)), ("gh", 1, (7, 9))], (5.0, 1.0))
    pieces = [("ab", 0, (0, 2)), ("cd", 1, (2, 4)), ("ef", 2, (4, 6)), ("gh", 3, (7, 9))]
    cut = explanation("abcdef gh", pieces, (1.0, 2.0, 3.0, 4.0), method="occlusion")

    np.testing.assert_allclose(lignite.compare(whole, cut).relevance, [[5, 1], [6, 4]])


def test_special_tokens_that_differ_share_one_row():
    """[CLS] and [SEP] are not <s>: what they hold stands beside each other, and is in no ranking."""
    ends = [("[CLS]", -1, NOWHERE), ("a", 0, (0, 1)), ("b", 1, (2, 3)), ("[SEP]", -1, NOWHERE)]
    bert = explanation("a b", ends, (1.0, 2.0, 3.0, 10.0))
    gpt = explanation("a b", [("<s>", -1, NOWHERE), *ends[1:3]], (5.0, 2.0, 3.0), method="occlusion")

    found = lignite.compare(bert, gpt)

    assert found.special.values.tolist() == [False, False, True]
    np.testing.assert_allclose(found.relevance, [[2, 3, 11], [2, 3, 5]])


def test_a_word_that_one_side_has_alone_stands_alone():
    """`not` is neither given a zero nor left out: its side says it, the other has no such word."""
    found = lignite.compare(
        of_words("it was good now", (1.0, 2.0, 3.0, 0.5)), of_words("it was not good now", (1.0, 2.0, -4.0, 1.0, 0.5))
    )

    assert found.token.values.tolist() == ["it", "was", "– / not", "good", "now"]
    assert np.isnan(found.relevance.values[0, 2])
    assert float(found.difference[1, 2]) == -4
    assert found.side.values.tolist() == ["without “not”", "“not”"]


def test_words_of_unlike_number_in_one_place_are_one_row():
    """`not superb` against `dull`: nobody knows which of the two the one stands for."""
    found = lignite.compare(
        of_words("it was not superb", (0.0, 0.0, -1.0, 3.0)), of_words("it was dull", (0.0, 0.0, -2.5))
    )

    assert found.token.values.tolist() == ["it", "was", "not superb / dull"]
    np.testing.assert_allclose(found.relevance[:, 2], [2.0, -2.5])


def test_the_second_of_a_pair_of_texts_is_not_the_first():
    """Offsets start anew in the second text."""
    tokens = [("a", 0, (0, 1)), ("b", 1, (2, 3)), ("a", 0, (0, 1)), ("c", 1, (2, 3))]
    sides = [
        explanation("a b\na c", tokens, scores, segments=(0, 0, 1, 1), method=name)
        for name, scores in (("ig", (1.0, 2.0, 3.0, 4.0)), ("occlusion", (5.0, 6.0, 7.0, 8.0)))
    ]

    found = lignite.compare(*sides)

    np.testing.assert_allclose(found.relevance, [[1, 2, 3, 4], [5, 6, 7, 8]])


@pytest.mark.parametrize("tokenizers", [("word_piece", "byte_level"), ("sentence_piece", "byte_level")])
def test_real_tokenizers_share_rows_that_hold_every_token_once(tokenizers):
    """The sum over rows is the sum over tokens, whoever cut them."""
    text = "The plot wasn't thin, but the acting was!"
    sides = []
    for name in tokenizers:
        cut = getattr(tiny_tokenizers, name)()(text, return_offsets_mapping=True)
        special = set(getattr(tiny_tokenizers, name)().all_special_ids)
        tokens = [
            (str(number), -1 if number in special else word, tuple(span))
            for number, word, span in zip(cut["input_ids"], cut.word_ids(), cut["offset_mapping"], strict=True)
        ]
        sides.append(explanation(text, tokens, np.arange(1.0, len(tokens) + 1), method=name))

    found = lignite.compare(*sides)

    assert {"plot", "acting"} <= set(found.token.values.tolist())
    np.testing.assert_allclose(found.relevance.sum("token"), [float(side.relevance.sum()) for side in sides])


def test_tokens_are_compared_one_by_one_where_they_are_the_same():
    """Pieces of a word may differ though their sum does not."""
    one, other = sample_explanation(seed=0, method="ig"), sample_explanation(seed=1, method="sequential-ig")

    found = lignite.compare(one, other, tokens=True)

    assert found.sizes["token"] == one.sizes["token"] > lignite.compare(one, other).sizes["token"]
    np.testing.assert_allclose(found.relevance[0], one.relevance, rtol=1e-6)


def test_patches_keep_their_places():
    """Views draw them on the picture."""
    one, other = (sample_explanation(seed=seed, method=name, grid=(2, 3)) for seed, name in enumerate(("ig", "ca-lig")))

    found = lignite.compare(one, other)

    assert found.row.values.tolist() == [-1, 0, 0, 0, 1, 1, 1]


# Sides


def test_settings_become_sides_where_several_texts_were_asked():
    """`lignite compare ig-*.nc occlusion-*.nc` needs no grouping by hand, in whatever order files come."""
    results = [
        of_words(text, scores, method=name)
        for text, scores in ((TEXT, ONE), ("e f g h", OTHER))
        for name in ("ig", "occlusion")
    ]

    found = lignite.compare(results)

    assert dict(found.sizes) | {"token": 8} == dict(found.sizes)
    assert (found.side.values.tolist(), found.sizes["example"]) == (["ig", "occlusion"], 2)


def test_results_of_a_side_are_paired_by_their_texts():
    """The order of files is not that of texts."""
    first = [of_words("a b", (1.0, 2.0)), of_words("c d", (3.0, 4.0))]
    second = [of_words("c d", (3.0, 4.0), method="x"), of_words("a b", (1.0, 2.0), method="x")]

    np.testing.assert_allclose(lignite.compare(first, second).difference, 0)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        (({"method": "ig"}, {"method": "occlusion"}), ["ig", "occlusion"]),
        (({"target": "positive"}, {"target": "negative"}), ["positive", "negative"]),
        (({"model": "/home/me/a/net"}, {"model": "/home/me/b/net"}), ["a/net", "b/net"]),
        (
            ({"request": '{"baseline": "mask"}'}, {"request": '{"baseline": "zero"}'}),
            ["baseline mask", "baseline zero"],
        ),
        (({}, {}), ["1", "2"]),
    ],
)
def test_a_side_is_called_by_what_differs(changes, names):
    """Whoever compares knows what is the same."""
    found = lignite.compare(*(of_words(TEXT, ONE, **change) for change in changes))

    assert found.side.values.tolist() == names
    assert "/home" not in str(found.attrs)


def test_names_and_reference_are_the_users():
    """`before` and `after` say more than two folders."""
    found = both(names=("before", "after"), reference="after")

    np.testing.assert_allclose(found.difference.sel(side="before"), np.subtract(ONE, OTHER))


def test_files_folders_and_lists_are_sides(tmp_path):
    """What is saved is compared without opening it by hand."""
    for folder, scores in (("one", ONE), ("two", OTHER)):
        (tmp_path / folder).mkdir()
        for number, text in enumerate((TEXT, "e f g h")):
            lignite.save(of_words(text, scores, method=folder), tmp_path / folder / f"{number}.nc")

    folders = lignite.compare(tmp_path / "one", tmp_path / "two")
    lists = lignite.compare(*([tmp_path / side / f"{number}.nc" for number in (0, 1)] for side in ("one", "two")))

    xr.testing.assert_identical(folders, lists)
    assert folders.sizes["example"] == 2


@pytest.mark.parametrize("ending", ["nc", "json"])
def test_a_comparison_is_saved_and_opened_unchanged(tmp_path, ending):
    """It is a result like any other."""
    found = lignite.compare(of_words("a b", (1.0, 2.0)), of_words("a c b", (1.0, 0.5, 2.0)))

    lignite.save(found, tmp_path / f"both.{ending}")

    xr.testing.assert_identical(lignite.open(tmp_path / f"both.{ending}"), found)


# Refusals


@pytest.mark.parametrize(
    ("others", "error", "words"),
    [
        ([], InputError, "at least two"),
        ([of_words("quite other words here", ONE)], GridError, "share 0 of 4 words"),
        ([sample_flow()], GridError, "nothing in common"),
        ([sample_explanation(grid=(2, 2))], GridError, "image"),
        ([[of_words(TEXT, ONE), of_words("e f", (1.0, 2.0))]], GridError, "1, 2 results"),
    ],
)
def test_what_has_no_common_rows_is_refused(others, error, words):
    """One clear line, and nothing is ever cut to fit."""
    with pytest.raises(error, match=words):
        lignite.compare(of_words(TEXT, ONE), *others)


def test_other_patches_are_refused():
    """A grid of 2 × 3 says nothing of one of 3 × 2."""
    with pytest.raises(GridError):
        lignite.compare(sample_explanation(grid=(2, 3)), sample_explanation(grid=(3, 2)))


@pytest.mark.parametrize(
    "wrong",
    [{"names": ["a"]}, {"names": ["a", "a"]}, {"reference": "nobody"}, {"reference": 2}, {"k": 0}, {"confidence": 1.0}],
)
def test_impossible_options_are_refused(wrong):
    """At the border, by name."""
    with pytest.raises(OptionError, match=next(iter(wrong))):
        both(**wrong)


def test_a_comparison_is_not_compared_again():
    """Its rows belong to no text of their own."""
    with pytest.raises(InputError, match="made of"):
        lignite.compare(both(), both())


def test_an_empty_folder_is_no_side(tmp_path):
    """A typing mistake, most often."""
    with pytest.raises(InputError, match="holds no saved result"):
        lignite.compare(tmp_path, of_words(TEXT, ONE))
    with pytest.raises(FileError):
        lignite.compare(tmp_path / "missing.nc", of_words(TEXT, ONE))


# Flows


def flows():
    return sample_flow(seed=0, details=False), sample_flow(seed=1, details=False)


def test_a_flow_changes_by_what_comes_from_elsewhere():
    """Total variation of the shares that a word receives, mean over words; rank correlation off the diagonal."""
    one, other = flows()

    found = lignite.compare(one, other, tokens=True, names=("a", "b")).sel(side="b", layer=1)

    first, second = (flow.whole.sel(layer=1).values.astype(np.float64) for flow in (one, other))
    sizes = [np.abs(each) / np.abs(each).sum(-1, keepdims=True) for each in (first, second)]
    expected = np.abs(sizes[0] - sizes[1]).sum(-1).mean() / 2
    assert float(found.change_mean.sel(measure="changed")) == pytest.approx(expected)
    apart = ~np.eye(len(first), dtype=bool)
    signed = [each / np.abs(each).sum(-1, keepdims=True) for each in (first, second)]
    rho = stats.spearmanr(signed[0][apart], signed[1][apart]).statistic
    assert float(found.change_mean.sel(measure="spearman")) == pytest.approx(rho)
    np.testing.assert_allclose(found.difference, signed[1] - signed[0])


def test_heads_change_by_their_own_flow():
    """Of every head's shares, as of the whole block's."""
    one, other = flows()

    found = lignite.compare(one, other, tokens=True, names=("a", "b")).sel(side="b", layer=2, head=1)

    sizes = []
    for flow in (one, other):
        scores = np.abs(flow.attention.sel(layer=2, head=1).values.astype(np.float64))
        sizes.append(scores / scores.sum(-1, keepdims=True))
    assert float(found.head_change[0]) == pytest.approx(np.abs(sizes[0] - sizes[1]).sum(-1).mean() / 2)


def test_words_of_a_flow_give_and_receive_together():
    """As `merge_words` does: the sub-words of a word are one source and one target."""
    one, other = flows()

    found = lignite.compare(one, other, names=("a", "b"))

    merged = one.lignite.merge_words().whole.values.astype(np.float64)
    np.testing.assert_allclose(found.share[0], merged / np.abs(merged).sum(-1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (sample_flow(layers=(0, 1)), "other layers"),
        (sample_flow(targets=(0, 1)), "every token is a target"),
    ],
)
def test_flows_of_other_layers_or_targets_are_refused(other, words):
    """Nothing flows through a hole."""
    with pytest.raises(GridError, match=words):
        lignite.compare(sample_flow(), other)
