"""Roles of heads that are known by hand: a head that copies the word before, one that sees all alike, one itself."""

import numpy as np
import pytest
import xarray as xr
from tests.kit.copying_heads import copying_model

import lignite
from lignite.data.sentences import Sentence
from lignite.metrics.readings.changes import difference, shares
from lignite.studies.relations import KINDS, Words, by_kind, by_relation, entropy, kinds_of
from lignite.studies.roles import Roles, with_random_weights
from lignite.views.study.roles import alike, cluster, report_roles

ROUNDED = 1e-6  # flows of float64 models are float64; scores of order one
TREE = Sentence(
    0, "a", ("people", "says", "the", "plot", "was", "thin"), None,
    ("NOUN", "VERB", "DET", "NOUN", "AUX", "ADJ"), (1, -1, 3, 5, 5, 1),
)  # fmt: skip


def asked(model: lignite.Model, sentence: Sentence = TREE, **options: object) -> xr.Dataset:
    study = Roles(**options)
    return study.answer(model, sentence, study.others(model))


@pytest.fixture(scope="module")
def copied() -> xr.Dataset:
    """Two layers of two heads: the word before and itself; then the word before in both."""
    return asked(copying_model(("previous", "itself"), ("previous", "previous")), tol=1e-4).sel(control="as it is")


def test_a_head_that_copies_the_word_before_gives_it_everything(copied):
    """The first word's is the token that begins the sentence: five of six words have a word before them."""
    share = copied["head_share"].sel(head=0, layer=0)

    np.testing.assert_allclose(share.sel(kind="previous"), 5 / 6, atol=ROUNDED)
    np.testing.assert_allclose(share.sel(kind="special"), 1 / 6, atol=ROUNDED)
    np.testing.assert_allclose(share.sum("kind"), 1, atol=ROUNDED)
    np.testing.assert_allclose(copied["head_sources"].sel(head=0), 1, atol=ROUNDED)
    np.testing.assert_allclose(copied["head_evenness"].sel(head=0), 0, atol=ROUNDED)


def test_a_head_that_sees_itself_keeps_everything(copied):
    """The diagonal, and nothing beside it."""
    np.testing.assert_allclose(copied["head_share"].sel(head=1, layer=0, kind="itself"), 1, atol=ROUNDED)


def test_a_head_that_copies_the_word_before_gives_governors_what_stands_before_them(copied):
    """No governor stands just before its word; distance alone says the same, and nothing is beyond it."""
    related, expected = (copied[name].sel(head=0, layer=0) for name in ("head_related", "head_expected"))

    np.testing.assert_allclose(related.sel(relation="governor"), 0, atol=ROUNDED)
    np.testing.assert_allclose(related.sel(relation="dependents"), 3 / 3, atol=ROUNDED)
    np.testing.assert_allclose(related, expected, atol=ROUNDED)


def test_a_layer_without_residual_path_or_mlp_is_all_values_and_weighs_no_head_anew():
    """One head, whose output leaves the block as it is: the MLP is the identity, and queries are silent."""
    found = asked(copying_model(("previous",)), tol=1e-4).sel(control="as it is", layer=0)

    np.testing.assert_allclose(found["circuits"].sel(circuit="value"), 1, atol=ROUNDED)
    np.testing.assert_allclose(found["circuits"].sel(circuit=["key", "query", "residual"]), 0, atol=ROUNDED)
    np.testing.assert_allclose(found["reweighed"], 0, atol=ROUNDED)


def test_a_residual_path_of_a_head_that_sees_itself_has_its_part():
    """States leave three parts by the residual path and one by the head: circuits have 3/4 and 1/4."""
    found = asked(copying_model(("itself",), residual=3.0), tol=1e-4).sel(control="as it is", layer=0)

    np.testing.assert_allclose(found["circuits"].sel(circuit="residual"), 3 / 4, atol=ROUNDED)
    np.testing.assert_allclose(found["circuits"].sel(circuit="value"), 1 / 4, atol=ROUNDED)


def test_the_same_layer_twice_changes_nothing_and_another_one_everything():
    """From the word before to the word before; from there to oneself."""
    same = asked(copying_model(("previous",), ("previous",)), tol=1e-4).sel(control="as it is")
    other = asked(copying_model(("previous",), ("itself",)), tol=1e-4).sel(control="as it is")

    assert np.isnan(same["change"].sel(layer=0))
    np.testing.assert_allclose(same["change"].sel(layer=1), 0, atol=ROUNDED)
    np.testing.assert_allclose(other["change"].sel(layer=1), 1, atol=ROUNDED)


def test_a_head_that_sees_all_alike_has_as_many_sources_as_there_are_tokens():
    """Of a word that is repeated every token gives the same, but the two that are no words."""
    share = shares(np.ones((1, 4, 4)))

    np.testing.assert_allclose(np.exp(entropy(share)), 4)
    np.testing.assert_allclose(difference(share, shares(np.eye(4)[None])), 3 / 4)


def test_kinds_are_told_by_distance_and_words_alone():
    """Seven kinds, each source one of them; the pieces of the sentence's ends are special."""
    number = np.array([-1, 0, 1, 2, 3, 4, 5, 6, -1])

    names = [KINDS[kind] for kind in kinds_of(number)[6]]

    assert names == [
        "special",
        "further",
        "2-4 before",
        "2-4 before",
        "2-4 before",
        "previous",
        "itself",
        "next",
        "special",
    ]


def test_what_distance_alone_gives_is_the_mean_over_pairs_as_far_apart():
    """Three words in a row: the second pair of neighbours gives nothing, so that distance has half of the first."""
    words = Words(("a", "b", "c"), ("X", "Y", "Z"), (-1, 0, 0))
    number = np.arange(3)
    share = np.array([[1.0, 0, 0], [0.8, 0.2, 0], [0, 0, 1]])

    found, alone = by_relation(share, words.related(number), number)

    np.testing.assert_allclose(found, [0.4, 0, np.nan])
    np.testing.assert_allclose(alone, [(0.4 + 0) / 2, 0, np.nan])


def test_words_in_another_order_keep_what_they_depend_on():
    """Only places change: every word still has its tag, and the word that it depends on."""
    words = Words.of(TREE)

    moved = words.shuffled(0)

    assert sorted(moved.words) == sorted(words.words)
    assert moved.words != words.words
    assert moved.words == words.shuffled(0).words
    before = {
        (word, words.words[head] if head >= 0 else None) for word, head in zip(words.words, words.heads, strict=True)
    }
    after = {
        (word, moved.words[head] if head >= 0 else None) for word, head in zip(moved.words, moved.heads, strict=True)
    }
    assert before == after
    assert dict(zip(moved.words, moved.tags, strict=True)) == dict(zip(words.words, words.tags, strict=True))


def test_a_target_that_gets_nothing_is_left_out():
    """Nothing divides into no shares; the mean is over the others."""
    share = shares(np.array([[0.0, 0.0], [0.0, 2.0]]))

    np.testing.assert_allclose(by_kind(share, np.arange(2))[0], 1)


def test_weights_drawn_at_random_leave_the_model_as_it_was_and_are_the_same_again():
    """A control that changes what it controls is none."""
    model = copying_model(("previous",))
    before = {name: weight.clone() for name, weight in model.network.named_parameters()}

    one, other = with_random_weights(model, 0), with_random_weights(model, 0)

    for (name, weight), drawn, again in zip(
        model.network.named_parameters(), one.network.parameters(), other.network.parameters(), strict=True
    ):
        assert (weight == before[name]).all()
        assert (drawn == again).all()
        assert not (drawn == weight).all()


def test_clusters_are_those_of_heads_that_do_alike():
    """Two kinds of head make two clusters, the larger first; the index of agreement knows the same and chance."""
    profiles = np.array([[0, 1.0], [0, 0.9], [0.1, 1.0], [1, 0.0], [1, 0.1]])

    found = cluster(profiles)

    assert found.tolist() == [0, 0, 0, 1, 1]
    assert alike(found, np.array([1, 1, 1, 0, 0])) == 1
    np.testing.assert_allclose(alike(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])), -0.5)


def test_the_report_says_what_the_heads_do(tmp_path):
    """Numbers of the findings are those of the model; every table has the rows that its note names."""
    model = copying_model(("previous", "itself"), ("everyone", "previous"))
    corpus = [TREE, Sentence(1, "b", ("the", "plot", "was"), None, ("DET", "NOUN", "AUX"), (1, -1, 1), None)]

    found = lignite.study.roles(model, corpus, tol=1e-3)
    report = report_roles(found)

    assert any("previous: head 0 of layer 0 with 0.750 [0.667, 0.833]" in said for said in report.findings)
    assert set(report.tables["heads"].frame.columns) >= {*KINDS, "cluster", "governor", "sources"}
    assert len(report.tables["heads"].frame) == 4
    assert {path.name for path in lignite.study.write(found, tmp_path)} >= {"layers.png", "heads.csv", "arcs.tex"}
    assert "<image" not in (tmp_path / "index.html").read_text()  # the page shows no pictures inside a drawing
