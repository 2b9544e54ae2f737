"""Long inputs: some targets after others, and less than every score kept, are the numbers of the plain path."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from rich.console import Console
from tests.kit.architectures import ARCHITECTURES

import lignite
from lignite.api import estimate as estimates
from lignite.attribution import attend, relevance_flow
from lignite.attribution.integrals import Bisecting
from lignite.errors import InputError, OptionError
from lignite.inputs.tokens import Tokens
from lignite.results.build import build_flow
from lignite.results.schema import STATISTICS
from lignite.results.zarr import open_store, write_store
from lignite.views.files import write_view
from lignite.views.flow.terminal import print_flow

LENGTH = 11
MOST = 3
ONE_BY_ONE = 3_000
"""Bytes that not even two targets of these models fit into."""
SOME_AT_ONCE = 14_000
"""Bytes that two or three of eleven fit into."""

WIDE = [pytest.param(name, marks=pytest.mark.wide) for name in ("gemma2", "gpt2", "gpt_oss")]


def flow_of(name, dtype=torch.float64, **options) -> xr.Dataset:
    architecture = ARCHITECTURES[name]
    options.setdefault("layers", 1)
    return lignite.flow(architecture.build(dtype=dtype), architecture.inputs(length=LENGTH), **options)


@pytest.fixture(scope="module")
def plain():
    return {name: flow_of(name) for name in ("bert", "llama")}


def longer_llama(n_layers: int = 2):
    """One that reads more than forty tokens."""
    llama = ARCHITECTURES["llama"]
    return replace(llama, config={**llama.config, "max_position_embeddings": 256, "num_hidden_layers": n_layers})


def books_of(name: str) -> str:
    """What a certificate is measured by."""
    return next((name.replace(part, "_displacement") for part in ("_gap", "_allowed") if name.endswith(part)), name)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bert", {"tol": 1e-7}),
        ("llama", {}),
        ("llama", {"baseline": "mean", "detail": ("heads", "circuits")}),
        *(pytest.param(name, {}, marks=pytest.mark.wide) for name in ("gemma2", "gpt2", "gpt_oss", "vit")),
        pytest.param("mpnet", {"maps": "whole"}, marks=pytest.mark.wide),
    ],
)
@pytest.mark.filterwarnings("ignore:Scores miss.*experts are chosen anew:lignite.errors.GapWarning")
def test_targets_that_are_computed_some_after_others_have_the_same_scores(name, options):
    """Memory decides how many targets hold their scores at once, and nothing else: median and allowance are of all."""
    expected = flow_of(name, **options)

    found = flow_of(name, memory=SOME_AT_ONCE, **options)

    assert list(found) == list(expected)
    for each in found:
        size = float(abs(expected[books_of(each)]).max())
        np.testing.assert_allclose(found[each], expected[each], rtol=0, atol=1e-11 * size, err_msg=each)


@pytest.mark.parametrize(("name", "term"), [("bert", "zero_ratio"), ("llama", "map_ratio")])
def test_self_terms_do_not_depend_on_how_many_targets_are_computed_at_once(name, term):
    """A share of each target in itself comes from another run, or from the weights, and must meet its own target."""
    expected, found = (flow_of(name, self_term=term, layers=1, memory=memory) for memory in (None, SOME_AT_ONCE))

    for each in ("attention", "whole"):
        np.testing.assert_allclose(found[each], expected[each], rtol=0, atol=1e-9 * float(abs(expected[each]).max()))


def test_heads_at_a_shared_start_are_computed_in_pieces(monkeypatch):
    """Attention of a whole long input, of all heads, would be the largest array of a run from zero."""
    options = {"baseline": "zero", "maps": "attention", "memory": "300 KB"}  # too little for all nodes at once
    expected, sizes = flow_of("gemma2", **options), []
    inner = attend.Scoring.weights

    def noted(self, logits, targets=None):
        sizes.append(logits.shape[-2])
        return inner(self, logits, targets)

    monkeypatch.setattr(attend, "WEIGHTS_AT_ONCE", 2000)
    monkeypatch.setattr(attend.Scoring, "weights", noted)
    found = flow_of("gemma2", **options)

    assert min(sizes) <= LENGTH // 2  # the trial of a closed form and the block's own run have ten and eleven
    np.testing.assert_allclose(
        found.attention, expected.attention, rtol=0, atol=1e-11 * float(expected.attention.max())
    )


@pytest.mark.parametrize("name", ["llama", *WIDE])
@pytest.mark.filterwarnings("ignore:Scores miss.*experts are chosen anew:lignite.errors.GapWarning")
def test_in_float32_blocks_of_targets_agree_as_far_as_it_reaches(name):
    """The promise of the library: results do not depend on memory beyond 1e-5."""
    expected, found = (flow_of(name, torch.float32, memory=memory) for memory in (None, ONE_BY_ONE))

    for each in ("attention", "mlp", "whole"):
        np.testing.assert_allclose(found[each], expected[each], rtol=0, atol=1e-5 * float(abs(expected[each]).max()))


@pytest.mark.parametrize(("name", "memory"), [("bert", None), ("llama", ONE_BY_ONE)])
def test_the_strongest_sources_are_those_of_the_full_map(name, memory, plain):
    """What is kept is selected from the full map by magnitude, here by numpy's sort; the rest is told as sums."""
    full = plain[name]
    found = flow_of(name, keep=f"top:{MOST}", memory=memory)

    assert not {"attention", "whole", "composed"} & set(found)
    for each in ("attention", "whole", "composed"):
        scores = full[each].values
        order = np.argsort(-abs(scores), axis=-1, kind="stable")
        expected = np.take_along_axis(scores, order, -1)
        size = abs(scores).max()
        np.testing.assert_allclose(found[f"{each}_top"], expected[..., :MOST], rtol=0, atol=1e-11 * size)
        np.testing.assert_allclose(found[f"{each}_dropped"], expected[..., MOST:].sum(-1), rtol=0, atol=1e-10 * size)
        mass = abs(expected[..., MOST:]).sum(-1)
        np.testing.assert_allclose(found[f"{each}_dropped_mass"], mass, rtol=0, atol=1e-10 * size)
        named = found[f"{each}_top_source"].values
        there = named >= 0
        assert (found[f"{each}_top"].values[~there] == 0).all()
        of_named = np.take_along_axis(scores, np.where(there, named, 0), -1)
        np.testing.assert_allclose(found[f"{each}_top"].values[there], of_named[there], rtol=0, atol=1e-11 * size)


@pytest.mark.parametrize(("name", "keep"), [("bert", "sum"), ("llama", "top:2")])
def test_certificates_speak_of_all_scores(name, keep, plain):
    """A gap is what all scores miss: dropping some afterwards must neither hide it nor add to it."""
    found = flow_of(name, keep=keep)

    for each in ("attention", "mlp", "whole", "composed"):
        for part in ("displacement", "gap", "allowed"):
            np.testing.assert_array_equal(found[f"{each}_{part}"], plain[name][f"{each}_{part}"])


def test_kept_and_dropped_scores_add_up_to_displacement_and_gap():
    """Conservation, which the two sums of what was dropped keep."""
    found = flow_of("llama", keep="top:2")

    for each in ("attention", "whole", "composed"):
        total = found[f"{each}_top"].sum("rank") + found[f"{each}_dropped"]
        expected = found[f"{each}_displacement"] + found[f"{each}_gap"]
        np.testing.assert_allclose(total, expected, rtol=0, atol=1e-11 * float(abs(expected).max()))


def test_heads_are_added_up_with_their_books(plain):
    """The sum of heads explains the sum of their displacements, and misses the sum of their gaps."""
    found, full = flow_of("llama", keep="sum", memory=SOME_AT_ONCE), plain["llama"]

    assert "attention" not in found
    for ending in ("", "_displacement", "_gap", "_allowed"):
        summed = full[f"attention{ending}"].sum("head")
        size = float(full["attention_displacement"].max())
        np.testing.assert_allclose(found[f"attention_sum{ending}"], summed, rtol=0, atol=1e-11 * size)
    np.testing.assert_allclose(found["whole"], full["whole"], rtol=0, atol=1e-11 * float(abs(full["whole"]).max()))


@pytest.mark.parametrize("name", ["bert"])
def test_statistics_are_those_of_the_full_map(name, plain):
    """Each of the six numbers is computed anew, by numpy, target by target."""
    full, found = plain[name], flow_of(name, keep="stats", memory=ONE_BY_ONE)

    assert found["statistic"].values.tolist() == list(STATISTICS)
    for each in ("attention", "whole", "composed"):
        scores = full[each].values
        maps = scores.reshape(-1, LENGTH, LENGTH)
        expected = np.array([statistics_of(row, target) for rows in maps for target, row in enumerate(rows)])
        actual = found[f"{each}_stats"].values.reshape(-1, len(STATISTICS))
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9 * abs(scores).max())


def statistics_of(row: np.ndarray, target: int) -> list[float]:
    size = abs(row)
    mass = size.sum()
    away = abs(np.arange(len(row)) - target)
    strongest = row[size.argmax()]
    if not mass:
        return [0.0] * 6
    positive, negative = row[row > 0].sum(), row[row < 0].sum()
    return [positive, negative, row[target], strongest, mass**2 / (row**2).sum(), (size * away).sum() / mass]


def test_padding_is_no_source_and_positions_are_those_of_the_input():
    """Padding on the left moves every token: a source is named by its place in the model's input."""
    bert, ids = ARCHITECTURES["bert"], ARCHITECTURES["bert"].inputs(length=LENGTH)["input_ids"]
    seen = torch.ones_like(ids)
    seen[:, :2] = 0
    given, model = {"input_ids": ids, "attention_mask": seen}, lignite.wrap(bert.build())
    full = lignite.flow(model, given, maps="whole")

    found = lignite.flow(model, given, maps="whole", keep="top:4")

    assert set(np.unique(found["whole_top_source"])) <= set(range(2, LENGTH))
    for rank in range(4):
        source = found["whole_top_source"].isel(rank=rank)
        named = full["whole"].sel(source=source)
        np.testing.assert_allclose(found["whole_top"].isel(rank=rank), named, rtol=0, atol=1e-11)


def test_a_flow_that_keeps_as_many_as_there_are_is_filled_into_the_full_one(plain):
    """Nothing is dropped then; a decoder's first tokens have fewer sources, which are named nobody."""
    found = flow_of("llama", keep=f"top:{LENGTH + 5}")

    assert found.sizes["rank"] == LENGTH
    assert (found["whole_top_source"].sel(target=2).values[:, 3:] == -1).all()
    assert float(found["whole_dropped_mass"].max()) == 0
    filled = found.lignite.fill()
    for each in ("attention", "whole", "composed"):
        np.testing.assert_array_equal(filled[each], plain["llama"][each])
    assert list(filled.lignite.top(3).columns) == list(plain["llama"].lignite.top(3).columns)


@pytest.mark.parametrize(("keep", "ending"), [("sum", "json"), ("top:2", "nc"), ("top:2", "json"), ("stats", "nc")])
def test_what_is_kept_is_saved_and_read_back_unchanged(keep, ending, tmp_path):
    """Positions are whole numbers, and stay so."""
    found = flow_of("bert", torch.float32, keep=keep)

    lignite.save(found, tmp_path / f"flow.{ending}")

    xr.testing.assert_identical(lignite.open(tmp_path / f"flow.{ending}"), found)


@pytest.mark.parametrize("keep", ["top:2", "stats"])
def test_what_is_kept_goes_through_a_zarr_store(keep, tmp_path):
    """Stores of corpora hold such flows as any other."""
    found = flow_of("bert", torch.float32, keep=keep)
    (tmp_path / "flows.zarr.zip").write_bytes(write_store([("0", found)], {}))

    with open_store(tmp_path / "flows.zarr.zip") as tree:
        again = tree["0"].to_dataset().load()

    for each in found:
        np.testing.assert_array_equal(again[each], found[each])
        assert again[each].dtype == found[each].dtype


def test_a_table_names_the_sources_that_are_kept(tmp_path):
    """A spreadsheet has a row for each: where it is from is what it is for."""
    found = flow_of("bert", torch.float32, keep="top:2", maps="whole")
    lignite.save(found, tmp_path / "flow.csv")
    lines = (tmp_path / "flow.csv").read_text("utf-8").splitlines()

    assert lines[0] == "map,layer,target,target_token,rank,source,source_token,score"
    assert len(lines) == 1 + LENGTH * 2
    assert lines[1].split(",")[5] == str(found["whole_top_source"].values[0, 0, 0])


@pytest.mark.parametrize("keep", ["top:2", "stats"])
def test_views_and_questions_say_what_to_ask_for_instead(keep, tmp_path):
    """A page of what is left of a flow would look like a flow: it is refused with what would do."""
    found = flow_of("bert", torch.float32, keep=keep)
    asked = [
        lambda: write_view(found, tmp_path / "flow.html"),
        lambda: write_view(found, tmp_path / "flow.png"),
        lambda: found.lignite.top(3),
        lambda: found.lignite.chain(),
        lambda: found.lignite.merge_words(),
        lambda: found.lignite.plot("heatmap"),
        lambda: lignite.compare(found, found),
    ]

    for ask in asked:
        with pytest.raises(OptionError, match=f"keep='{keep}'.*keep='full'"):
            ask()


@pytest.mark.parametrize("keep", ["sum", "top:2", "stats"])
def test_a_terminal_tells_what_is_kept(keep):
    """The command line prints a result whatever is kept of it, with its certificate."""
    console = Console(width=100, record=True, file=None, quiet=True)
    console.quiet = False
    with console.capture() as captured:
        print_flow(flow_of("bert", torch.float32, keep=keep), console=console)

    text = captured.get()
    assert "certificate" in text
    assert {"sum": "strongest", "top:2": "of all magnitude is kept", "stats": "distance"}[keep] in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"keep": "top"}, "give full, sum, stats, or top: and a number"),
        ({"keep": "top:0"}, "give full, sum, stats, or top: and a number"),
        ({"keep": "top:2", "detail": "heads"}, "Leave one of the two out"),
    ],
)
def test_what_cannot_be_kept_is_refused(options, said):
    """Before anything is computed."""
    with pytest.raises(OptionError, match=said):
        flow_of("bert", **options)


def test_strongest_scores_travel_with_what_was_dropped():
    """Without it nobody could tell how much is missing."""
    found = flow_of("bert", torch.float32, keep="top:2", maps="whole")
    variables = {name: found[name].values for name in found if name != "whole_dropped_mass"}

    with pytest.raises(InputError, match="travels without whole_dropped_mass"):
        build_flow(
            tokens=tokens_of(found), layers=[1], targets=list(range(LENGTH)), variables=variables, attrs=found.attrs
        )


def tokens_of(found: xr.Dataset):
    labels = {name: tuple(found[f"source_{name}"].values.tolist()) for name in ("word", "special", "start", "stop")}
    return Tokens(
        text=tuple(found["source_token"].values.tolist()), position=tuple(range(LENGTH)), padding=(False,) * LENGTH,
        input="", **labels,
    )  # fmt: skip


def test_what_is_kept_grows_with_the_tokens_alone():
    """Four times as many tokens take four times the memory, where all scores take sixteen."""
    llama = longer_llama(n_layers=1)
    model = llama.build()
    grown = []
    for keep, part in (("top:8", "attention_top"), ("stats", "attention_stats"), ("full", "attention")):
        options = {"keep": keep, "maps": "attention", "tol": 0.5}
        small, large = (lignite.flow(model, llama.inputs(length=n), **options)[part].nbytes for n in (24, 96))
        grown.append(large / small)

    assert grown == [4, 4, 16]


def out_of_memory(kind: str) -> Exception:
    """What torch raises: a class of its own for devices, words for the computer's own memory, Python's own at times."""
    told = "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 8"
    known = {"device": torch.OutOfMemoryError("out of memory."), "cpu": RuntimeError(told), "python": MemoryError()}
    return known[kind]


def failing_at(monkeypatch, owner, name: str, kind: str, *, calls: range) -> list[int]:
    """Let some calls of a method fail for want of memory; counts them all."""
    inner, count = getattr(owner, name), []

    def tried(*args, **kwargs):
        count.append(1)
        if len(count) in calls:
            raise out_of_memory(kind)
        return inner(*args, **kwargs)

    monkeypatch.setattr(owner, name, tried)
    return count


@pytest.mark.parametrize(
    ("kind", "memory", "calls"),
    [("cpu", None, range(1, 3)), ("device", ONE_BY_ONE * 200, range(3, 5)), ("python", None, range(2, 3))],
)
def test_a_flow_out_of_memory_goes_on_in_halves_with_the_same_numbers(kind, memory, calls, monkeypatch, plain):
    """The first piece fails, or one in the middle: what was finished stays, and nothing of what failed does."""
    count = failing_at(monkeypatch, Bisecting, "whole", kind, calls=calls)

    found = flow_of("llama", memory=memory)

    assert len(count) > calls.stop
    assert json.loads(found.attrs["memory"])["halved"] == len(calls)
    for each in found:
        size = float(abs(plain["llama"][books_of(each)]).max())
        np.testing.assert_allclose(found[each], plain["llama"][each], rtol=0, atol=1e-11 * size, err_msg=each)


@pytest.mark.parametrize("kind", ["cpu", "device", "python"])
def test_an_explanation_out_of_memory_goes_on_in_halves_with_the_same_numbers(kind, monkeypatch):
    """Fewer points run at once, to the same scores."""
    model, text = lignite.load("tiny-sentiment", dtype="float64"), "A superb film, badly lit."
    expected = lignite.explain(model, text, orders=False)
    count = failing_at(monkeypatch, relevance_flow._PullBack, "scores", kind, calls=range(2, 4))

    found = lignite.explain(model, text, orders=False)

    assert len(count) > 4
    size = float(abs(expected.relevance).max())
    np.testing.assert_allclose(found.relevance, expected.relevance, rtol=0, atol=1e-11 * size)


def test_memory_that_is_never_enough_is_an_error(monkeypatch):
    """Halving ends where a piece cannot be what did not fit."""
    failing_at(monkeypatch, Bisecting, "whole", "cpu", calls=range(1, 1000))

    with pytest.raises(RuntimeError, match="can't allocate memory"):
        flow_of("bert")


def test_other_errors_are_not_taken_for_memory(monkeypatch):
    """An error in a model would be asked for a dozen times, and then be another one."""
    count = failing_at(monkeypatch, Bisecting, "whole", "cpu", calls=range(0))
    monkeypatch.setattr(Bisecting, "whole", lambda self: count.append(1) or 1 / torch.zeros(2, 3).mm(torch.zeros(2, 3)))

    with pytest.raises(RuntimeError, match="shapes"):
        flow_of("bert")

    assert len(count) == 1


@pytest.mark.parametrize("keep", ["full", "top:2"])
def test_a_long_run_says_what_it_takes_before_it_begins(keep, monkeypatch):
    """Whoever waits knows for how long, and whether the result will fit: its size is known to the byte."""
    monkeypatch.setattr(estimates, "LONG", 1)
    llama, said, begun = longer_llama(), [], []
    model, inputs = lignite.wrap(llama.build(dtype=torch.float32)), llama.inputs(length=45)

    found = lignite.flow(
        model, inputs, keep=keep, layers=[0, 1], say=said.append, progress=lambda *_: begun.append(len(said))
    )

    expected = json.loads(found.attrs["estimate"])
    assert expected["size"] == sum(found[name].nbytes for name in found)
    assert expected["memory"] > expected["size"]
    assert begun[0] == len(said) == 1
    assert "MiB for its result" in said[0]


def test_a_short_run_says_nothing_and_a_run_that_nobody_hears_estimates_nothing(monkeypatch):
    """An estimate costs a few targets' time, and its numbers differ from run to run."""
    said: list[str] = []

    assert "estimate" not in flow_of("llama", say=said.append).attrs
    assert said == []
    monkeypatch.setattr(estimates, "LONG", 1)
    llama = longer_llama()
    assert "estimate" not in lignite.flow(llama.build(), llama.inputs(length=45), layers=0).attrs
