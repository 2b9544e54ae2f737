"""A streamed model says what the model with all its weights in memory says, to the bit, and holds two blocks of it."""

import copy
import gc
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from numpy.testing import assert_allclose
from tests.kit.architectures import ARCHITECTURES
from tests.kit.headed_models import headed
from tests.kit.saved_models import IDS, assert_same, few_nodes, save_random
from tests.kit.snapshots import snapshot
from tests.kit.tiny_tokenizers import word_piece
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM

import lignite
from lignite.blocks import stack
from lignite.blocks.replay import saved_bytes
from lignite.blocks.stack import Stack
from lignite.errors import LigniteWarning, ModelError
from lignite.methods.scoring import precision
from lignite.models import shards
from lignite.models.hold import after_each, at_rest
from lignite.models.stream import parts_within, streamed_copy
from lignite.targets.ask import ask

SHARED = Path(__file__).parents[3] / "shared"
SMALL = {"num_attention_heads": 2, "hidden_size": 12, "intermediate_size": 20}
LLAMA = LlamaConfig(vocab_size=50, max_position_embeddings=32, num_key_value_heads=1, num_hidden_layers=5, **SMALL)
FAMILIES = ["bert", "t5", "bart", "gpt2", "llama", "qwen3_moe", "deepseek_v3", "vit", "beit-shared", "albert"]


def saved(folder, config=LLAMA, kind=LlamaForCausalLM, dtype=torch.bfloat16):
    """Some shards, several for each block or block and a half."""
    word_piece().save_pretrained(folder)
    return save_random(folder, config, kind, dtype, max_shard_size="6KB")


def two_ways(folder, **options):
    return (lignite.load(folder, stream=stream, **options) for stream in (False, True))


def reads_of(model, ask) -> list[int]:
    """How often each block is read while something is asked."""
    parts = parts_within(model.network)
    before = [part.n_reads for part in parts]
    ask()
    return [part.n_reads - number for part, number in zip(parts, before, strict=True)]


@few_nodes
@pytest.mark.parametrize("name", FAMILIES)
def test_a_streamed_model_is_explained_as_the_whole_one_is(name, tmp_path):
    """Encoders, decoders, both, images; experts that are stored one by one and run as one; shared blocks, tied tables.

    Every block runs the same arithmetic, so not a bit differs.
    """
    family = ARCHITECTURES[name]
    family.build(dtype=torch.float32).save_pretrained(tmp_path, max_shard_size="20KB")
    whole, streamed = two_ways(tmp_path)
    inputs = {key: each.float() if each.is_floating_point() else each for key, each in family.inputs().items()}

    flows = [lignite.flow(model, inputs, n_steps=4) for model in (whole, streamed)]
    whys = [
        lignite.explain(model, inputs, method="ca-lig:baseline=zero,n_steps=4", target=_last)
        for model in (whole, streamed)
    ]

    assert_same(*flows)
    assert_same(*whys)


def _last(outputs) -> Tensor:
    return outputs.last_hidden_state[:, -1, 0]


@few_nodes
@pytest.mark.parametrize("memory", [None, "10 kB"], ids=["", "run-again"])
@pytest.mark.parametrize("method", ["relevance-flow:detail=heads", "ca-lig:path=layer", "attnlrp", "grad-cam", "ig"])
def test_every_way_through_the_layers_gives_the_same(method, memory, tmp_path):
    """Forwards, backwards through all blocks or one, with gradients of attention and by other rules of propagation.

    And where blocks are run again on the way down, too, since a graph of them all does not fit.
    """
    whole, streamed = two_ways(saved(tmp_path))

    one, other = (lignite.explain(model, IDS, method=method, memory=memory) for model in (whole, streamed))

    assert_same(one, other)


def test_tied_tables_and_a_head_stay_in_memory(tmp_path):
    """The decoder of a masked language model is its table of words: one tensor, in two places."""
    config = BertConfig(vocab_size=90, max_position_embeddings=40, num_hidden_layers=4, **SMALL)
    whole, streamed = two_ways(saved(tmp_path, config, BertForMaskedLM))

    network = streamed.network

    assert network.cls.predictions.decoder.weight is network.bert.embeddings.word_embeddings.weight
    with torch.no_grad():
        assert torch.equal(network(**IDS).logits, whole.network(**IDS).logits)


@pytest.mark.parametrize("again", [None, False, True], ids=["network", "stack", "run-again"])
def test_three_blocks_are_in_memory_at_most(again, tmp_path, monkeypatch):
    """The one that ends, the one that runs and the next; and none is kept by a graph that waits to be run backwards.

    A block that is run again for its graph is read once for both.
    """
    model = lignite.load(saved(tmp_path), stream=True)
    network, parts = model.network, parts_within(model.network)
    stored: dict[str, list[StorageWeakRef]] = {part.name: [] for part in parts}
    most = []
    read = parts[0].stream._read_part

    def watched(part):
        weights = read(part)
        stored[part.name] += [StorageWeakRef(weight.untyped_storage()) for weight in weights.values()]
        most.append(sum(any(not each.expired() for each in some) for some in stored.values()))
        return weights

    with nullcontext() if again is None else at_rest(network), torch.enable_grad():
        if again is None:
            monkeypatch.setattr(parts[0].stream, "_read_part", watched)
            value, source = network(**IDS, use_cache=False).logits.sum(), network.model.embed_tokens.weight
        else:
            stack = Stack(model, ask(model, IDS))
            stack.again = again
            network(**IDS, use_cache=False)  # so that the last blocks are there
            monkeypatch.setattr(parts[0].stream, "_read_part", watched)
            source = stack.states[0].detach().requires_grad_()
            value = stack.run(0, source, torch.arange(1))
        torch.autograd.grad(value, source)

    assert len(parts) == 5
    assert len(most) == 8
    assert max(most) <= 3


@pytest.mark.parametrize("again", [False, True])
def test_what_a_block_computes_is_not_kept_where_it_is_run_again(again, tmp_path):
    """Neither by the stream, which leaves weights out of graphs, nor by the graph."""
    model = lignite.load(saved(tmp_path), stream=True)
    computed: list[StorageWeakRef] = []
    gates = [block.mlp.act_fn for block in model.network.model.layers]

    with at_rest(model.network), torch.enable_grad():
        stack = Stack(model, ask(model, IDS))
        stack.again = again
        states = stack.states[0].detach().requires_grad_()
        with after_each(gates, lambda _, __, output: computed.append(StorageWeakRef(output.untyped_storage()))):
            value = stack.run(0, states, torch.arange(1))

    assert value.requires_grad
    assert [each.expired() for each in computed] == [again] * 5


class Halves(nn.Module):
    """Work with the second half of the weight, turned."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 3))

    def forward(self, states: Tensor) -> Tensor:
        return (states @ self.weight[3:].T).tanh()


def test_views_of_a_weight_come_back_as_they_were():
    """A graph that is run backwards after the weight has gone gets the same rows, in the same order."""
    torch.manual_seed(0)
    whole = nn.Module()
    whole.layers = nn.ModuleList(Halves() for _ in range(4))
    streamed = streamed_copy(whole, lambda _, weight: weight, lambda weight: weight)
    states = torch.randn(2, 3, requires_grad=True)

    gradients = []
    for network in (whole, streamed):
        value = states
        for layer in network.layers:
            value = layer(value)
        gradients.append(torch.autograd.grad(value.sum(), states)[0])

    assert torch.equal(*gradients)


def test_a_run_that_is_measured_leaves_nothing_behind():
    """An operation that saves its own output must not hold itself, and with it the weights of the block, for good."""
    module = nn.Linear(3, 3)
    states = torch.randn(2, 3, requires_grad=True)
    stored = StorageWeakRef(module.weight.untyped_storage())
    gc.disable()
    try:
        assert saved_bytes(lambda: module(states).exp().sin(), module) == 2 * states.nbytes
        del module
        assert stored.expired()
    finally:
        gc.enable()


def test_a_flow_reads_each_block_twice(tmp_path):
    """Once to record the states, once to take the block apart: whatever the number of nodes and targets."""
    model = lignite.load(saved(tmp_path), stream=True)

    reads = reads_of(model, lambda: lignite.flow(model, IDS))

    assert max(reads) == 2


def test_an_answer_and_its_gradient_read_each_block_once_on_the_way_up_and_once_down(tmp_path):
    """The last two are still there at the turn."""
    model = lignite.load(saved(tmp_path), stream=True)
    network = model.network

    def ask():
        logits = network(**IDS, use_cache=False).logits
        torch.autograd.grad(logits.sum(), network.model.embed_tokens.weight)

    assert reads_of(model, ask) == [2, 2, 2, 1, 1]


def test_the_next_block_is_read_meanwhile_on_the_way_up_and_on_the_way_down(tmp_path, monkeypatch):
    """Only the very first has to be waited for by who computes."""
    model = lignite.load(saved(tmp_path), stream=True)
    network, (first, *_) = model.network, parts_within(model.network)
    read, readers = first.stream._read_part, []
    monkeypatch.setattr(
        first.stream, "_read_part", lambda part: readers.append(threading.current_thread().name) or read(part)
    )

    torch.autograd.grad(network(**IDS, use_cache=False).logits.sum(), network.model.embed_tokens.weight)

    assert [name.startswith("lignite-weights") for name in readers] == [False] + [True] * 7


@few_nodes
@pytest.mark.parametrize(
    ("method", "most"),
    [("ca-lig:path=input,n_steps=8", 11), ("relevance-flow:orders=False,n_steps=8", 7)],
    ids=["path=input", "relevance-flow"],
)
def test_however_little_fits_at_once_blocks_are_read_no_more_often(method, most, tmp_path):
    """All nodes go through a block before it makes room for the next: one way up, one down, and the checks.

    There is room for one node and its gradients; without gradients, as at the checks, for the states of all layers.
    """
    folder = saved(tmp_path)
    whole, streamed = two_ways(folder)
    found = []

    reads = reads_of(
        streamed, lambda: found.append(lignite.explain(streamed, IDS, method=method, memory="70 KB", baseline="mean"))
    )

    expected = lignite.explain(whole, IDS, method=method, memory="70 KB", baseline="mean")
    for name in ("relevance", "layer_relevance"):
        assert_allclose(found[0][name], expected[name], rtol=0, atol=1e-5 * float(abs(expected[name]).max()))
    assert max(reads) <= most


@few_nodes
def test_a_check_takes_as_much_memory_as_the_weights_that_are_read_for_it(tmp_path, monkeypatch):
    """Reading a block again for the sake of less memory than it takes itself would be slow for nothing."""
    _, streamed = two_ways(saved(tmp_path))
    weights = sum(blank.nbytes for blank in parts_within(streamed.network)[0].blanks.values())
    n_points, n_tokens = len(parts_within(streamed.network)) + 1, IDS["input_ids"].shape[1]
    monkeypatch.setattr(stack, "bytes_per_token", lambda *_, **__: weights / (n_points + 0.5) / n_tokens)
    options = {"method": "relevance-flow:orders=False,n_steps=8", "baseline": "mean"}

    _, few, many = (  # at first it is also found out how the model is read
        reads_of(streamed, lambda memory=memory: lignite.explain(streamed, IDS, memory=memory, **options))
        for memory in (weights, weights // n_points, 20 * weights)
    )

    assert few == many


def test_numbers_are_widened_as_they_are_read(tmp_path):
    """In float32 unless asked: what is stored in half precision is computed in full."""
    folder = saved(tmp_path)

    found = [
        lignite.load(folder, stream=True, dtype=dtype).network.lm_head.weight.dtype for dtype in ("float32", "auto")
    ]

    assert found == [torch.float32, torch.bfloat16]
    wide = lignite.load(folder, stream=True)
    (part, *_) = parts_within(wide.network)
    assert {weight.dtype for weight in part.stream.weights(part).values()} == {torch.float32}


@few_nodes
def test_a_model_streamed_in_half_precision_is_explained_in_float32(tmp_path):
    """One block is widened at a time; the numbers are those of the widened whole."""
    whole, streamed = two_ways(saved(tmp_path), dtype="bfloat16")

    pairs = [lignite.explain(model, IDS, method="ca-lig") for model in (whole, streamed)]
    flows = [lignite.flow(model, IDS) for model in (whole, streamed)]

    assert_same(*pairs)
    assert_same(*flows)


@few_nodes
@pytest.mark.parametrize("name", ["bert", "t5"])
def test_where_a_float32_copy_would_be_large_one_block_is_widened_at_a_time(name, monkeypatch):
    """With the numbers of the copy, and nothing left behind in the model."""
    kind = {"bert": "BertForSequenceClassification", "t5": "T5ForSequenceClassification"}[name]
    model = headed(name, kind, dtype=torch.bfloat16)
    expected = lignite.explain(model, "the plot was thin", method="ca-lig", n_steps=4)
    before = snapshot(model.network)
    made = []
    monkeypatch.setattr(precision, "MOST_OF_FREE", 0)
    monkeypatch.setattr(precision, "streamed_copy", lambda *args: made.append(args) or streamed_copy(*args))

    found = lignite.explain(model, "the plot was thin", method="ca-lig", n_steps=4)

    assert made
    assert_same(found, expected)
    before.assert_equal(snapshot(model.network))


MAPS = {
    "some blocks on the disk": {"model.layers.1": "disk", "model.layers.3": "disk"},
    "everything on the disk": {"model.embed_tokens": "disk", "lm_head": "disk", "model.layers": "disk"},
}


@few_nodes
@pytest.mark.parametrize("tied", [False, True], ids=["", "tied"])
@pytest.mark.parametrize("where", MAPS)
def test_a_model_that_is_offloaded_to_the_disk_is_explained_as_the_whole_one_is(where, tied, tmp_path):
    """Accelerate brings weights module by module; here they come block by block, and go before the next."""
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    config = LlamaConfig(**{**LLAMA.to_dict(), "tie_word_embeddings": tied})
    folder = saved(tmp_path, config, dtype=torch.float32)
    places = {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    places |= {f"model.layers.{layer}": "cpu" for layer in range(5)} | MAPS[where]
    if "model.layers" in MAPS[where]:
        places = {name: place for name, place in places.items() if not name.startswith("model.layers.")}
    network = LlamaForCausalLM.from_pretrained(folder, device_map=places, offload_folder=tmp_path / "off")
    assert any(weight.is_meta for weight in network.parameters())
    before = {name: weight.is_meta for name, weight in network.named_parameters()}

    offloaded, whole = lignite.wrap(network), lignite.wrap(LlamaForCausalLM.from_pretrained(folder))

    assert_same(*(lignite.flow(model, IDS) for model in (whole, offloaded)))
    assert_same(*(lignite.explain(model, IDS, method="ca-lig") for model in (whole, offloaded)))
    assert {name: weight.is_meta for name, weight in network.named_parameters()} == before
    head, table = offloaded.network.lm_head.weight, offloaded.network.model.embed_tokens.weight
    assert (head is table) is tied


@few_nodes
def test_a_model_that_is_offloaded_to_another_memory_stays_tied(tmp_path):
    """Offloaded, a table that is also the head stands in two places; the mean of its words has to be read in both."""
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    folder = saved(tmp_path, LlamaConfig(**{**LLAMA.to_dict(), "tie_word_embeddings": True}), dtype=torch.float32)
    whole, network = (LlamaForCausalLM.from_pretrained(folder) for _ in range(2))
    offloaded = lignite.wrap(accelerate.cpu_offload(network, torch.device("cpu")))

    assert offloaded.network.lm_head.weight is offloaded.network.model.embed_tokens.weight
    assert_same(*(lignite.explain(model, IDS, method="ig") for model in (lignite.wrap(whole), offloaded)))


def test_weights_that_are_nowhere_are_refused():
    """A skeleton on the meta device has no numbers to explain."""
    with torch.device("meta"):
        network = LlamaForCausalLM(LLAMA)

    with pytest.raises(ModelError, match="not in memory"):
        lignite.wrap(network)


def test_weights_that_do_not_fit_are_streamed_and_it_is_said(tmp_path, monkeypatch):
    """Whoever has too little memory is told what happens instead of an error."""
    monkeypatch.setattr(shards, "free_memory", lambda _: 1000)

    with pytest.warns(LigniteWarning, match="do not fit into the free memory"):
        model = lignite.load(saved(tmp_path))

    assert "5 blocks streamed" in repr(model)


def test_a_model_that_fits_is_loaded_whole(tmp_path):
    """By default nothing changes."""
    assert not parts_within(lignite.load(saved(tmp_path)).network)


def test_a_shard_that_goes_away_is_one_clear_error(tmp_path):
    """Files are read again and again: one that is cut short must never give numbers."""
    folder = saved(tmp_path)
    model = lignite.load(folder, stream=True)
    for file in folder.glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:2000])

    with pytest.raises(ModelError, match=r"cannot be read .*: copy or download the model again"):
        lignite.flow(model, IDS)


def test_a_streamed_network_is_not_copied(tmp_path):
    """A copy would read into the original's places."""
    model = lignite.load(saved(tmp_path), stream=True)

    with pytest.raises(ModelError, match="load it with stream=False"):
        copy.deepcopy(model.network)


@few_nodes
@pytest.mark.shared
def test_a_trained_classifier_is_explained_the_same_when_streamed():
    """Several inputs, by the default method, evaluated by a metric."""
    folder = SHARED / "models" / "sst-minilm"
    if not folder.is_dir():
        pytest.skip("no shared models")
    whole, streamed = two_ways(folder)
    texts = ["A superb film.", "The plot was thin, and the acting worse."]

    pairs = zip(*(lignite.explain(model, texts) for model in (whole, streamed)), strict=True)

    for one, other in pairs:
        assert_same(one, other)
    assert_same(*(lignite.flow(model, texts[0]) for model in (whole, streamed)))
