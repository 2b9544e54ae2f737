"""Of a streamed block's experts, those that tokens are sent to are read; they say what all of them say, to the bit."""

import copy
import json
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.kit.architectures import ARCHITECTURES, Architecture
from tests.kit.saved_models import assert_same, few_nodes
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from transformers import conversion_mapping
from transformers.core_model_loading import Interleave, Transpose, WeightConverter

import lignite
from lignite.api.units import hash_weights
from lignite.blocks.replay import saved_bytes
from lignite.methods.scoring import precision
from lignite.models.experts import Experts
from lignite.models.shards import Stored
from lignite.models.stream import in_memory, parts_within, streamed_copy

N_EXPERTS = 16
FAMILIES = ["mixtral", "qwen3_moe", "deepseek_v3", "gpt_oss"]
QUESTIONS = {
    "relevance-flow:n_steps=4": {"baseline": "zero"},
    "ca-lig:path=layer,n_steps=4": {"baseline": "zero"},
    "ca-lig:path=input,n_steps=4": {"baseline": "zero"},
    "gradient-x-input": {},
}


def family(name: str, **options) -> Architecture:
    """Most of the experts are never visited by four tokens, which are sent to two each."""
    found = ARCHITECTURES[name]
    many = {key: N_EXPERTS for key in ("num_local_experts", "num_experts", "n_routed_experts") if key in found.config}
    return replace(found, config={**found.config, **many, **options})


def saved(folder: Path, given: Architecture, dtype=torch.float32) -> Path:
    given.build(dtype=torch.float32).to(dtype).save_pretrained(folder, max_shard_size="60KB")
    return folder


def asked_for(folder: Path, implementation: str) -> Path:
    """Where nothing is asked for, transformers takes grouped_mm."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"experts_implementation": implementation}))
    return folder


def two_ways(folder: Path, **options):
    """The whole model in memory of its own: numbers that stay in a mapped file stand at odd places, and round so."""
    whole, streamed = (lignite.load(folder, stream=stream, **options) for stream in (False, True))
    for weight in whole.network.parameters():
        weight.data = weight.data.clone()
    return whole, streamed


def few_tokens(given: Architecture) -> dict[str, Tensor]:
    return given.inputs(length=4)


def last(outputs) -> Tensor:
    return outputs.last_hidden_state[:, -1, 0]


def experts_of(network: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in network.named_modules() if name.endswith(".experts")}


def visited(network: nn.Module, inputs: dict[str, Tensor]) -> dict[str, set[int]]:
    """What the routers of an untouched network choose, seen where its experts are called."""
    found: dict[str, set[int]] = {}

    def note(name):
        def see(_, args):
            found[name] = set(args[1].unique().tolist())

        return see

    hooks = [module.register_forward_pre_hook(note(name)) for name, module in experts_of(network).items()]
    with torch.no_grad():
        network(**inputs)
    for hook in hooks:
        hook.remove()
    return found


@contextmanager
def reads_of(network: nn.Module) -> Iterator[list[tuple[str, int]]]:
    """What is read of experts: weight and number."""
    seen: list[tuple[str, int]] = []
    streams = {part.stream for part in parts_within(network)}
    forwards = [each for part in parts_within(network) for each in part.experts]
    (before,) = {stream.by_expert for stream in streams}

    def read(key, number):
        seen.append((key, number))
        return before.read(key, number)

    for each in forwards:
        each._read = read
    yield seen
    for each in forwards:
        each._read = before.read


def held_experts(network: nn.Module) -> list[Experts]:
    """The modules of experts of which some are in memory."""
    return [each for part in parts_within(network) for each in part.experts if each.held is not None]


@pytest.fixture(params=["room for all", "none for others"])
def rooms(request, monkeypatch):
    """Other memory than a processor's is taken at once, and some systems promise none that they do not have."""
    room = Experts._room

    def refused(self, rows, parts):
        if len(rows) == self.n_experts:
            raise RuntimeError("not enough memory")
        return room(self, rows, parts)

    if request.param == "none for others":
        monkeypatch.setattr(Experts, "_room", refused)


@few_nodes
@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_of_which_few_experts_are_read_is_explained_as_the_whole_one_is(name, tmp_path):
    """Gated or with biases, transposed or not, chosen in groups; the paths visit experts that the input does not."""
    given = family(name)
    whole, streamed = two_ways(saved(tmp_path, given))
    inputs = few_tokens(given)

    flows = [lignite.flow(model, inputs, n_steps=4) for model in (whole, streamed)]
    pairs = [
        [lignite.explain(model, inputs, method=method, target=last, **options) for model in (whole, streamed)]
        for method, options in QUESTIONS.items()
    ]

    for one, other in (flows, *pairs):
        assert_same(one, other)


@few_nodes
@pytest.mark.parametrize("implementation", ["eager", "batched_mm", "grouped_mm"])
@pytest.mark.parametrize("name", ["qwen3_moe", "gpt_oss"])
def test_whichever_way_experts_are_computed_they_say_the_same(name, implementation, rooms, tmp_path):
    """The one gathers weights of each token, the others go from expert to expert."""
    given = family(name)
    whole, streamed = two_ways(asked_for(saved(tmp_path, given), implementation))
    assert streamed.network.config._experts_implementation == implementation

    pair = [
        lignite.explain(model, few_tokens(given), method="ca-lig:n_steps=4", baseline="zero", target=last)
        for model in (whole, streamed)
    ]

    assert_same(*pair)


@pytest.mark.parametrize("name", FAMILIES)
def test_those_experts_are_read_that_the_routers_choose(name, rooms, tmp_path):
    """Each once, of each weight; no thread guesses the next block's."""
    given = family(name)
    whole, streamed = two_ways(saved(tmp_path, given))
    inputs = few_tokens(given)
    chosen = visited(whole.network, inputs)
    weights = {
        place: [key for key, _ in module.named_parameters()] for place, module in experts_of(whole.network).items()
    }

    with reads_of(streamed.network) as seen, torch.no_grad():
        streamed.network(**inputs)

    assert sorted(seen) == sorted(
        (f"{place}.{key}", number) for place in chosen for key in weights[place] for number in chosen[place]
    )
    assert max(map(len, chosen.values())) <= N_EXPERTS / 2


def test_an_expert_that_is_there_is_not_read_again(rooms, tmp_path):
    """A path visits most of a block's experts at most of its nodes; a block that is asked again adds the new ones."""
    given = family("qwen3_moe", num_hidden_layers=2)
    model = lignite.load(saved(tmp_path, given), stream=True)
    inputs, others = given.inputs(length=4), given.inputs(seed=1, length=4)

    with reads_of(model.network) as seen, torch.no_grad():
        for each in (inputs, others, inputs):
            model.network(**each)

    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("is_stacked", [False, True], ids=["one by one", "stacked"])
def test_bytes_of_experts_that_nobody_visits_are_not_read(is_stacked, tmp_path):
    """Be each expert stored by itself, as most models are, or all of them as one, of which a piece is read."""
    counter = Path("/proc/self/io")
    if not counter.is_file():
        pytest.skip("only Linux counts what is read")
    given = family("qwen3_moe", moe_intermediate_size=1024)
    folder = saved(tmp_path, given)
    if is_stacked:
        stack_experts(folder, given)
    streamed, inputs = lignite.load(folder, stream=True), few_tokens(given)
    n_bytes = (
        3 * sum(weight.nbytes for each in experts_of(streamed.network).values() for weight in each.parameters()) // 3
    )
    chosen = visited(lignite.load(folder, stream=False).network, inputs)
    share = sum(map(len, chosen.values())) / (3 * N_EXPERTS)
    with torch.no_grad():
        streamed.network(**inputs)  # what Python loads then is read, too
        before = int(counter.read_text().split()[1])
        streamed.network(**inputs)
        read = int(counter.read_text().split()[1]) - before

    assert read < 1.1 * share * n_bytes


def stack_experts(folder: Path, given: Architecture) -> None:
    """Store the very parameters, under the names they have in the network."""
    for file in folder.glob("model*"):
        file.unlink()
    weights = {key: weight.contiguous() for key, weight in given.build(dtype=torch.float32).state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_file(folder / "model.safetensors")["layers.0.mlp.experts.down_proj"].ndim == 3


@few_nodes
def test_stacked_experts_are_explained_as_the_whole_model_is(tmp_path):
    """Later transformers may store them so."""
    given = family("qwen3_moe")
    folder = saved(tmp_path, given)
    stack_experts(folder, given)
    models = two_ways(folder)

    assert_same(*(lignite.explain(model, few_tokens(given), method="attnlrp", target=last) for model in models))


CONVERSIONS = {
    "transposed": (Transpose(1, 2), "stored", True),
    "interleaved": (Interleave(dim=1), "stored", True),
    "transposed where that fits": (Transpose(1, 2, check_dims=True), "proj", False),
    "experts in another order": (Interleave(dim=0), "stored", False),
}


@pytest.mark.parametrize("kind", CONVERSIONS)
def test_what_becomes_of_stored_experts_becomes_of_each_or_else_all_are_read(kind, tmp_path, monkeypatch):
    """A conversion that moves numbers from expert to expert, or looks at the shape of all, is left as it is."""
    operation, ending, is_split = CONVERSIONS[kind]
    given = family("qwen3_moe")
    network, inputs = given.build(dtype=torch.float32), few_tokens(given)
    conversion_mapping.get_model_conversion_mapping(network)  # the table is made when it is first asked for
    stored = [
        WeightConverter(f"experts.{name}_{ending}", f"experts.{name}_proj", [copy.copy(operation)])
        for name in ("gate_up", "down")
    ]
    monkeypatch.setitem(conversion_mapping._checkpoint_conversion_mapping_cache, "qwen3_moe", stored)
    whole, streamed = two_ways(saved(tmp_path, given))
    assert any(f"down_{ending}" in key for file in tmp_path.glob("*.safetensors") for key in load_file(file))

    with torch.no_grad(), reads_of(streamed.network) as seen:
        answers = [each(**inputs).last_hidden_state for each in (network, whole.network, streamed.network)]

    assert torch.equal(*answers[:2])
    assert torch.equal(*answers[1:])
    assert bool(seen) is is_split


@few_nodes
def test_where_all_experts_are_visited_nothing_changes(tmp_path):
    """Each token is sent to all of them."""
    given = family("mixtral", num_experts_per_tok=N_EXPERTS)
    whole, streamed = two_ways(saved(tmp_path, given))

    with reads_of(streamed.network) as seen:
        pair = [
            lignite.explain(each, few_tokens(given), method="gradient-x-input", target=last)
            for each in (whole, streamed)
        ]

    assert {number for _, number in seen} == set(range(N_EXPERTS))
    assert_same(*pair)


def test_a_graph_keeps_no_experts_until_it_is_run_backwards(rooms, tmp_path, monkeypatch):
    """Of all blocks they would take what streaming saves; backwards they are read again, those of the way up."""
    given = family("mixtral", num_hidden_layers=5)
    whole, streamed = two_ways(saved(tmp_path, given))
    stored: list[tuple[str, StorageWeakRef]] = []
    laid_out = Experts._laid_out

    def watched(self, *args):
        held = laid_out(self, *args)
        stored.extend((self.names[key], StorageWeakRef(each.untyped_storage())) for key, each in held.weights.items())
        return held

    monkeypatch.setattr(Experts, "_laid_out", watched)
    gradients, alive = [], []
    for model in (streamed, whole):
        states = model.network.embed_tokens(few_tokens(given)["input_ids"]).detach().requires_grad_()
        value = model.network(inputs_embeds=states, use_cache=False).last_hidden_state.sum()
        alive.append(len({key for key, each in stored if not each.expired()}))
        gradients.append(torch.autograd.grad(value, states)[0])

    assert alive[0] == 2 * 2  # of the last two blocks, gate_up and down
    assert torch.equal(*gradients)


@pytest.mark.parametrize("n_blocks", [2, 4], ids=["still there", "read again"])
@pytest.mark.parametrize("implementation", ["eager", "grouped_mm"])
def test_graphs_of_one_block_for_several_inputs_get_their_experts_back(implementation, n_blocks, rooms, tmp_path):
    """What is held grows meanwhile, and what one graph has left out stands elsewhere in it."""
    given = family("mixtral", num_hidden_layers=n_blocks)
    whole, streamed = two_ways(asked_for(saved(tmp_path, given), implementation))
    gradients = []
    for model in (whole, streamed):
        leaves, values = [], []
        for seed in (0, 1, 2):
            ids = given.inputs(seed=seed, length=3)["input_ids"]
            leaves.append(model.network.embed_tokens(ids).detach().requires_grad_())
            values.append(model.network(inputs_embeds=leaves[-1], use_cache=False).last_hidden_state.sum())
        gradients.append(torch.cat(torch.autograd.grad(sum(values), leaves)))

    assert torch.equal(*gradients)


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm"])
def test_experts_that_come_later_change_none_that_a_graph_has(implementation, rooms, tmp_path):
    """A block that is replayed keeps its weights in its graph, and others are sent to other experts meanwhile."""
    given = family("mixtral", num_hidden_layers=1)
    whole, streamed = two_ways(asked_for(saved(tmp_path, given), implementation))
    states = streamed.network.embed_tokens(few_tokens(given)["input_ids"]).detach().requires_grad_()
    gradients = []
    for model in (whole, streamed):
        block = in_memory(model.network.layers[0]).mlp
        value = block(states).square().sum()
        for experts in (vars(module).get("forward") for module in block.modules()):
            if isinstance(experts, Experts):
                experts.hold(range(N_EXPERTS // 2))
        gradients.append(torch.autograd.grad(value, states)[0])

    assert torch.equal(*gradients)


def test_experts_that_nobody_visits_take_no_memory(rooms, tmp_path):
    """Resident are those of the last two blocks that were visited, be there room for others or not."""
    counter = Path("/proc/self/statm")
    if not counter.is_file():
        pytest.skip("only Linux counts what is resident")
    given = family("qwen3_moe", num_hidden_layers=2, moe_intermediate_size=8192)
    model, inputs = lignite.load(saved(tmp_path, given), stream=True), few_tokens(given)
    n_bytes = sum(weight.nbytes for each in experts_of(model.network).values() for weight in each.parameters())

    before = int(counter.read_text().split()[1])
    with torch.no_grad():
        model.network(**inputs)
    taken = (int(counter.read_text().split()[1]) - before) * mmap.PAGESIZE

    here = sum(len(each.held.here) for each in held_experts(model.network)) / (2 * N_EXPERTS)
    assert here <= 0.5
    assert taken < (here + 0.2) * n_bytes  # the machinery of the first run takes some, too


@few_nodes
def test_experts_in_half_precision_are_widened_when_they_are_visited(tmp_path, monkeypatch):
    """By the copy in float32 that explains, be the model streamed or whole; the others stay as they are."""
    given = family("mixtral", intermediate_size=40)  # rows of multiples of 16 bytes, which torch's kernel asks for
    whole, streamed = two_ways(saved(tmp_path, given, torch.bfloat16), dtype="bfloat16")
    options = {"method": "ca-lig:n_steps=4", "baseline": "zero", "target": last}
    expected = lignite.explain(whole, few_tokens(given), **options)
    expected_flow = lignite.flow(whole, few_tokens(given), n_steps=4)
    made = []
    monkeypatch.setattr(precision, "MOST_OF_FREE", 0)
    monkeypatch.setattr(precision, "streamed_copy", lambda *args: made.append(streamed_copy(*args)) or made[-1])

    found = [lignite.explain(model, few_tokens(given), **options) for model in (whole, streamed)]

    for each in found:
        assert_same(each, expected)
    assert_same(lignite.flow(streamed, few_tokens(given), n_steps=4), expected_flow)
    assert len(made) == 2
    for copied in made:
        held = [each.held for each in held_experts(copied)]
        assert {weight.dtype for each in held for weight in each.weights.values()} == {torch.float32}
        assert max(len(each.here) for each in held) < N_EXPERTS


def test_the_hash_of_the_weights_is_that_of_the_whole_model(tmp_path):
    """All experts are in it."""
    hashes = [hash_weights(model) for model in two_ways(saved(tmp_path, family("gpt_oss")))]

    assert hashes[0] == hashes[1]


def test_experts_are_not_counted_as_memory_that_a_run_keeps(rooms, tmp_path):
    """What a node of a path takes says how many go at once; its weights are there anyhow."""
    both = [model.network.layers[1].mlp.experts for model in two_ways(saved(tmp_path, family("mixtral")))]
    both[0].requires_grad_(False)
    states, weights = torch.ones(4, 24, requires_grad=True), torch.ones(4, 2)
    chosen = torch.tensor([[3, 5], [5, 9], [9, 3], [3, 5]])

    kept = [saved_bytes(lambda each=each: each(states, chosen, weights), each) for each in both]

    assert 0 < kept[1] <= kept[0]  # less, where less experts have a place where their tokens begin


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_experts_run_side_by_side_by_torch_are_all_read(tmp_path):
    """`torch.vmap` hides which are chosen."""
    both = [model.network.layers[1].mlp.experts for model in two_ways(saved(tmp_path, family("mixtral")))]
    generator = torch.Generator().manual_seed(0)
    states, weights = (torch.rand(3, 4, size, generator=generator) for size in (24, 2))
    chosen = torch.randint(0, N_EXPERTS, (3, 4, 2), generator=generator)

    assert torch.equal(*(torch.vmap(each)(states, chosen, weights) for each in both))


def test_a_file_that_is_cut_short_gives_no_experts(tmp_path):
    """Files are read again and again: one that ends early must never give numbers."""
    save_file({"w": torch.ones(4, 3, 5)}, tmp_path / "model.safetensors")
    file = tmp_path / "model.safetensors"
    stored = Stored([file])
    file.write_bytes(file.read_bytes()[:-4])

    assert torch.equal(stored.one_of("w", 2), torch.ones(3, 5))
    with pytest.raises(OSError, match="ends before w"):
        stored.one_of("w", 3)
