"""Loading finds the right class, opens nothing unsafe and lets no random weight pass."""

import json
import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors as hub
from safetensors.torch import load_file, save_file
from tests.kit.tiny_tokenizers import word_piece
from torch.testing import assert_close
from transformers import (
    AutoImageProcessor,
    BartConfig,
    BartModel,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MPNetConfig,
    MPNetModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
    ViTConfig,
    ViTForImageClassification,
    XLNetConfig,
    XLNetModel,
    pipeline,
)
from transformers.utils import logging as chatter

import lignite
import lignite.zoo
from lignite.errors import ModelError, OptionError
from lignite.inputs.encode import encode
from lignite.models.load import load, wrap

SHARED = Path(__file__).parents[3] / "shared"
TINY = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 12, "intermediate_size": 20}
BERT = BertConfig(vocab_size=90, max_position_embeddings=40, **TINY)
GPT2 = GPT2Config(vocab_size=50, n_positions=24, n_embd=12, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
LLAMA = LlamaConfig(vocab_size=50, max_position_embeddings=32, num_key_value_heads=1, **TINY)
VIT = ViTConfig(image_size=8, patch_size=4, **TINY)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Whoever reaches for the network fails here."""

    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def saved(folder, kind, config, *, tokenizer=True, dtype=torch.float32):
    torch.manual_seed(0)
    network = kind(config).eval()
    network.to(dtype).save_pretrained(folder)
    if tokenizer:
        word_piece().save_pretrained(folder)
    return network


def edit_weights(folder, *, drop):
    """Rewrite the checkpoint without the weights whose name contains `drop`."""
    weights = {name: weight for name, weight in load_file(folder / "model.safetensors").items() if drop not in name}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (BertForSequenceClassification, BERT),
        (BertForMaskedLM, BERT),
        (BertForTokenClassification, BERT),
        (BertModel, BERT),
        (GPT2LMHeadModel, GPT2),
        (LlamaForCausalLM, LLAMA),
        (T5EncoderModel, T5Config(vocab_size=50, d_model=12, d_kv=4, d_ff=20, num_layers=2, num_heads=3)),
        (ViTForImageClassification, VIT),
    ],
)
def test_a_saved_model_comes_back_with_its_head_and_weights(tmp_path, kind, config):
    """The class is the one that was saved; every weight is equal; nothing is in training mode."""
    before = saved(tmp_path, kind, config, tokenizer=False)

    model = load(tmp_path)

    assert type(model.network) is kind
    assert not model.network.training
    assert model.name == str(tmp_path)
    assert model.revision is None
    after = model.network.state_dict()
    for name, weight in before.state_dict().items():
        assert_close(after[name].cpu(), weight, rtol=0, atol=0)


def test_half_precision_is_raised_to_float32(tmp_path):
    """Attribution is about small differences; rounding stays what it was when the model was saved."""
    before = saved(tmp_path, BertModel, BERT, dtype=torch.float16)

    assert load(tmp_path).dtype == torch.float32
    assert load(tmp_path, dtype="auto").dtype == torch.float16
    assert load(tmp_path, dtype="float64").dtype == torch.float64
    assert load(tmp_path, dtype=torch.bfloat16).dtype == torch.bfloat16
    weight = load(tmp_path).network.embeddings.word_embeddings.weight.cpu()
    assert_close(weight, before.embeddings.word_embeddings.weight.float(), rtol=0, atol=0)


def test_a_task_chooses_another_head(tmp_path):
    """A masked language model can be read without its head, whose pooler was never saved."""
    saved(tmp_path, BertForMaskedLM, BERT)

    model = load(tmp_path, task="feature-extraction")

    assert type(model.network) is BertModel
    assert model.network.pooler is None


def test_a_head_without_trained_weights_is_refused(tmp_path):
    """A fresh classifier would predict noise, and its explanation would look as good as any."""
    saved(tmp_path, BertForMaskedLM, BERT)

    with pytest.raises(ModelError, match=r"no trained weights for the head.*task='feature-extraction'") as caught:
        load(tmp_path, task="text-classification")

    assert "BertForMaskedLM" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_lost_its_head_is_refused(tmp_path):
    """The same, where the configuration promises the head."""
    saved(tmp_path, BertForSequenceClassification, BERT)
    edit_weights(tmp_path, drop="classifier")

    with pytest.raises(ModelError, match=r"head of BertForSequenceClassification \(classifier\.bias, cl"):
        load(tmp_path)


def test_a_checkpoint_that_lost_a_block_is_refused(tmp_path):
    """Transformers would fill it with random numbers and go on."""
    saved(tmp_path, BertForSequenceClassification, BERT)
    edit_weights(tmp_path, drop="layer.1.output")

    with pytest.raises(ModelError, match=r"lacks 4 weights of BertForSequenceClassification.*layer\.1\.output"):
        load(tmp_path)


def test_a_configuration_of_another_size_is_refused(tmp_path):
    """The message has both shapes."""
    saved(tmp_path, BertModel, BERT)
    edit_config(tmp_path, intermediate_size=28)

    with pytest.raises(ModelError, match=r"shape \(20,\) in the checkpoint but \(28,\)"):
        load(tmp_path)


def test_blocks_that_the_configuration_forgets_are_reported(tmp_path):
    """Some people drop layers on purpose, so it is a warning."""
    saved(tmp_path, BertForSequenceClassification, BERT)
    edit_config(tmp_path, num_hidden_layers=1)

    with pytest.warns(UserWarning, match=r"16 weights.*no place.*layer\.1\."):
        load(tmp_path)


def test_weights_of_another_head_are_left_out_in_silence(tmp_path):
    """They were asked to be."""
    saved(tmp_path, BertForMaskedLM, BERT)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(tmp_path, task="feature-extraction")


def test_an_unknown_class_is_loaded_headless_with_a_warning(tmp_path):
    """Its blocks are known, its head is not."""
    saved(tmp_path, BertModel, BERT)
    edit_config(tmp_path, architectures=["BertForMindReading"])

    with pytest.warns(UserWarning, match="no class BertForMindReading"):
        model = load(tmp_path)

    assert type(model.network) is BertModel


def test_pickles_are_never_opened(tmp_path):
    """Opening one can run anything; the message says how to convert it."""
    network = saved(tmp_path, BertModel, BERT)
    (tmp_path / "model.safetensors").unlink()
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")

    with pytest.raises(ModelError, match=r"pytorch_model\.bin.*save_pretrained") as caught:
        load(tmp_path)

    assert "\n" not in str(caught.value)


def point_index_at(folder, file, *, name="model.safetensors.index.json"):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(weights, file)}
    (folder / name).write_text(json.dumps(index))
    return weights


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("weights.bin", r"names 'weights\.bin', and lignite opens nothing but safetensors"),
        ("weights.pt", "opens nothing but safetensors"),
        ("../weights.safetensors", "outside the model's folder"),
        ("/tmp/weights.safetensors", "outside the model's folder"),
        (["weights.bin"], "no index of weights"),
        (7, "opens nothing but safetensors"),
        ("lost.safetensors", "which is not there"),
    ],
)
def test_an_index_leads_to_safetensors_of_its_folder_alone(tmp_path, monkeypatch, file, message):
    """Transformers opens whatever an index names, pickles too: one that looks safe must not smuggle one in."""
    (tmp_path / "model").mkdir()
    saved(tmp_path / "model", BertModel, BERT)
    weights = point_index_at(tmp_path / "model", file)
    torch.save(weights, tmp_path / "model" / "weights.bin")
    save_file(weights, tmp_path / "weights.safetensors")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was opened"))

    with pytest.raises(ModelError, match=message) as caught:
        load(tmp_path / "model")

    assert "\n" not in str(caught.value)


def test_an_index_that_is_none_is_refused(tmp_path):
    """Broken, deep without end, or of another shape."""
    saved(tmp_path, BertModel, BERT)
    (tmp_path / "model.safetensors").unlink()
    for content in ("{", "[" * 100_000, "[]", '{"weight_map": ["w.bin"]}', "{}"):
        (tmp_path / "model.safetensors.index.json").write_text(content)
        with pytest.raises(ModelError, match="no index of weights"):
            load(tmp_path)


@pytest.mark.parametrize("named", ["adapter_model.bin", "weights.bin", "../weights.safetensors", 7])
def test_a_configuration_cannot_name_other_weights(tmp_path, monkeypatch, named):
    """It may name the file of its weights; transformers lets `adapter_model.bin` pass, which is a pickle."""
    network = saved(tmp_path, BertModel, BERT)
    torch.save(network.state_dict(), tmp_path / "adapter_model.bin")
    edit_config(tmp_path, transformers_weights=named)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was opened"))

    with pytest.raises(ModelError, match="transformers_weights"):
        load(tmp_path)


def test_weights_that_a_configuration_names_are_read_from_its_folder(tmp_path):
    """Safetensors under another name, alone or as an index."""
    network = saved(tmp_path, BertModel, BERT)
    (tmp_path / "model.safetensors").rename(tmp_path / "mine.safetensors")
    edit_config(tmp_path, transformers_weights="mine.safetensors")

    assert_close(load(tmp_path).network.cpu().state_dict(), network.state_dict(), rtol=0, atol=0)


def test_a_pickle_under_a_safe_name_is_not_opened(tmp_path, monkeypatch):
    """The content decides: read as safetensors it is damaged, whatever the link leads to."""
    network = saved(tmp_path, BertModel, BERT)
    torch.save(network.state_dict(), tmp_path / "weights.bin")
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "weights.bin")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was opened"))

    with pytest.raises(ModelError, match="weights cannot be loaded"):
        load(tmp_path)


def test_an_adapter_beside_a_model_is_refused(tmp_path):
    """Depending on what is installed, transformers would put it in or leave it out, and open its pickle."""
    saved(tmp_path, BertModel, BERT)
    (tmp_path / "adapter_config.json").write_text("{}")

    with pytest.raises(ModelError, match=r"an adapter \(adapter_config\.json\) beside the model.*merge_and_unload"):
        load(tmp_path)


def test_a_configuration_cannot_fetch_code(tmp_path):
    """Attention named with a slash is a kernel on the model hub, which runs when it is used."""
    saved(tmp_path, BertModel, BERT)
    edit_config(tmp_path, attn_implementation="somebody/kernel")

    with pytest.raises(ModelError, match="asks for the code 'somebody/kernel'"):
        load(tmp_path)


def test_sharded_checkpoints_are_loaded(tmp_path):
    """Large models come in several files."""
    torch.manual_seed(0)
    network = BertModel(BERT).eval()
    network.save_pretrained(tmp_path, max_shard_size="5KB")

    model = load(tmp_path)

    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert_close(model.network.cpu().state_dict(), network.state_dict(), rtol=0, atol=0)


def test_a_model_without_tokenizer_has_none(tmp_path):
    """Transformers would make up one that knows five words."""
    saved(tmp_path, BertModel, BERT, tokenizer=False)

    model = load(tmp_path)

    assert model.tokenizer is None
    assert "no tokenizer" in repr(model)


def test_the_tokenizer_comes_along(tmp_path):
    """Text goes in as soon as the model is loaded."""
    saved(tmp_path, BertModel, BERT)

    model = load(str(tmp_path))

    assert model.tokenizer("superb")["input_ids"] == word_piece()("superb")["input_ids"]
    assert encode(model, "superb")[0].tokens.text[0] == "[CLS]"


def test_a_broken_tokenizer_is_an_error_now(tmp_path):
    """Were it dropped, the later message would blame the folder for having none."""
    saved(tmp_path, BertModel, BERT)
    (tmp_path / "tokenizer.json").write_text("{")

    with pytest.raises(ModelError, match="tokenizer cannot be loaded"):
        load(tmp_path)


def test_the_image_processor_comes_along(tmp_path):
    """On Pillow, so that pixels do not depend on what else is installed."""
    saved(tmp_path, ViTForImageClassification, VIT, tokenizer=False)
    settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 8}, "do_resize": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))

    model = load(tmp_path)

    assert isinstance(model.image_processor, type(AutoImageProcessor.from_pretrained(tmp_path, backend="pil")))
    assert "no tokenizer" not in repr(model)


def test_loading_is_silent_and_leaves_the_settings_as_they_were(tmp_path, capfd):
    """No progress bar, no report; afterwards transformers is as chatty as before, also after an error."""
    saved(tmp_path, BertForMaskedLM, BERT)
    capfd.readouterr()
    level, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity_info()
    chatter.enable_progress_bar()
    try:
        load(tmp_path, task="feature-extraction")
        with pytest.raises(ModelError):
            load(tmp_path, task="text-classification")

        assert chatter.get_verbosity() == chatter.logging.INFO
        assert chatter.is_progress_bar_enabled()
        assert capfd.readouterr() == ("", "")
    finally:
        chatter.set_verbosity(level)
        if not bars:
            chatter.disable_progress_bar()


def test_bundled_names_come_first_and_paths_never_mean_them(tmp_path, monkeypatch):
    """A folder of the same name is written as a path."""
    saved(tmp_path / "zoo", BertModel, BERT)
    saved(tmp_path / "tiny-thing", GPT2LMHeadModel, GPT2, tokenizer=False)
    monkeypatch.setattr(lignite.zoo, "bundled", lambda: {"tiny-thing": tmp_path / "zoo"})
    monkeypatch.chdir(tmp_path)

    assert type(load("tiny-thing").network) is BertModel
    assert load("tiny-thing").name == "tiny-thing"
    assert type(load("./tiny-thing").network) is GPT2LMHeadModel
    assert type(load(Path("tiny-thing")).network) is GPT2LMHeadModel


def hub_says(monkeypatch, error):
    def answer(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)
    monkeypatch.setattr(lignite.zoo, "bundled", lambda: {"tiny-sentiment": Path("nowhere")})


def hub_error(kind):
    error = kind.__new__(kind)
    Exception.__init__(error, "a long\nmessage with addresses")
    return error


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("tiny-sentimnt", hub_error(hub.RepositoryNotFoundError), "Did you mean 'tiny-sentiment'"),
        ("org/model", hub_error(hub.RepositoryNotFoundError), "hub has no such id"),
        ("org/model", hub_error(hub.GatedRepoError), "gated"),
        ("org/model", hub_error(hub.RevisionNotFoundError), "no revision 'v9'"),
        ("org/model", hub_error(hub.LocalEntryNotFoundError), "cannot be reached"),
        ("org/model", hub.OfflineModeIsEnabled("offline"), "cannot be reached"),
        ("org/model", ConnectionError("no route"), "cannot be reached"),
        ("a b", hub.HFValidationError("bad"), "no hub id"),
    ],
)
def test_what_the_hub_says_becomes_one_line(monkeypatch, name, error, message):
    """Unknown, private, offline: each has its own remedy."""
    hub_says(monkeypatch, error)

    with pytest.raises(ModelError, match=message) as caught:
        load(name, revision="v9")

    assert "\n" not in str(caught.value)


def test_a_hub_model_is_fetched_without_its_pickles(tmp_path, monkeypatch):
    """Only what is read is downloaded, and the commit is remembered."""
    folder = tmp_path / "0123abc"
    saved(folder, BertModel, BERT)
    asked = {}

    def answer(name, **options):
        asked.update(name=name, **options)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)

    model = load("org/model", revision="main")

    assert (model.name, model.revision) == ("org/model", "0123abc")
    assert (asked["name"], asked["revision"]) == ("org/model", "main")
    assert not any(pattern.endswith((".bin", ".py", ".pt", ".h5")) for pattern in asked["allow_patterns"])


@pytest.mark.wide
def test_a_cached_hub_model_loads_offline(tmp_path):
    """What was fetched once needs no network again."""
    commit = "a" * 40
    home = tmp_path / "hub" / "models--org--model"
    saved(home / "snapshots" / commit, BertModel, BERT)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    program = "from lignite.models.load import load; m = load('org/model'); print(m.revision, m.max_length)"

    answer = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert answer.stdout.split() == [commit, "40"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/nowhere/model", "no folder /nowhere/model"),
        ("./nowhere", "no folder"),
        ("~/nowhere-at-all", "no folder"),
        ("a/b/c", "no folder"),
        ("", "no name"),
    ],
)
def test_paths_that_lead_nowhere_are_not_looked_up_on_the_hub(name, message):
    """A mistyped path is a mistyped path."""
    with pytest.raises(ModelError, match=message):
        load(name)


def test_folders_that_hold_no_model_say_what_they_lack(tmp_path):
    """Empty, an adapter, a file, no weights, a broken or unknown configuration."""
    with pytest.raises(ModelError, match=r"no config\.json"):
        load(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="merge_and_unload"):
        load(tmp_path)
    with pytest.raises(ModelError, match="is a file"):
        load(tmp_path / "adapter_config.json")
    (tmp_path / "adapter_config.json").unlink()
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "perpetuum-mobile"}')
    with pytest.raises(ModelError, match="perpetuum-mobile"):
        load(tmp_path)
    BERT.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="holds no weights"):
        load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x07")
    with pytest.raises(ModelError, match="weights cannot be loaded"):
        load(tmp_path)


def test_code_that_comes_with_a_model_is_run_on_request_alone(tmp_path):
    """The file says that it ran; without trust it must not."""
    saved(tmp_path, BertModel, BERT, tokenizer=False)
    witness = tmp_path / "ran"
    code = (
        "from pathlib import Path\nfrom transformers import BertConfig, BertModel\n"
        f"Path({str(witness)!r}).touch()\n"
        "class MyConfig(BertConfig):\n    model_type = 'mine'\n"
        "class MyBert(BertModel):\n    config_class = MyConfig\n"
    )
    (tmp_path / "mine.py").write_text(code)
    reference = {"AutoConfig": "mine.MyConfig", "AutoModel": "mine.MyBert"}
    edit_config(tmp_path, model_type="mine", architectures=["MyBert"], auto_map=reference)

    with pytest.raises(ModelError, match="trust_remote_code=True"):
        load(tmp_path)
    assert not witness.exists()

    assert type(load(tmp_path, trust_remote_code=True).network).__name__ == "MyBert"
    assert witness.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float23"}, "Did you mean 'float32'"),
        ({"dtype": torch.int64}, "dtype"),
        ({"device": "quantum"}, "device 'quantum'"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"task": "text-clasification"}, "Did you mean 'text-classification'"),
        ({"revision": "main"}, "revision"),
    ],
)
def test_unknown_options_are_refused(tmp_path, options, message):
    """Before anything is read."""
    with pytest.raises(OptionError, match=message):
        load(tmp_path, **options)


def test_a_wrapped_network_is_the_same_object_unchanged():
    """Neither moved, cast, nor switched to evaluation."""
    torch.manual_seed(0)
    network = BertModel(BERT).half().train()
    before = {name: weight.clone() for name, weight in network.state_dict().items()}

    model = wrap(network, word_piece(), name="mine")
    encode(model, "superb")

    assert model.network is network
    assert network.training
    assert (model.dtype, model.device, model.name) == (torch.float16, torch.device("cpu"), "mine")
    assert_close(network.state_dict(), before, rtol=0, atol=0)


def test_a_wrapped_network_is_named_after_its_origin(tmp_path):
    """Its folder or hub id where it has one, else its class."""
    saved(tmp_path, BertModel, BERT)

    assert wrap(BertModel.from_pretrained(tmp_path)).name == str(tmp_path)
    assert wrap(BertModel(BERT)).name == "BertModel"


class Adapted(torch.nn.Module):
    """As `peft` puts an adapter around a model: its layers hold it, or it puts tokens before the input."""

    def __init__(self, network, *, prompts=False):
        super().__init__()
        self.base_model = network
        self.peft_config = {"default": SimpleNamespace(is_prompt_learning=prompts)}

    def get_base_model(self):
        return self.base_model


class CrossEncoder(torch.nn.Module):
    """As `sentence-transformers` keeps a classifier of pairs."""

    def __init__(self, network, tokenizer):
        super().__init__()
        self.model, self.tokenizer = network, tokenizer


def embedder(network):
    """As a `SentenceTransformer` makes one vector of a text: a list of modules, of which the first holds the model."""
    first = torch.nn.Module()
    first.auto_model = network
    return torch.nn.Sequential(first, torch.nn.Identity())


def test_wrappers_that_change_no_answer_are_looked_into():
    """People hold pipelines and trainers, not networks; where these keep a tokenizer, it is theirs."""
    network, tokenizer = BertForSequenceClassification(BERT), word_piece()
    whole_pipeline = pipeline("text-classification", model=network, tokenizer=tokenizer, device="cpu")
    trainer = SimpleNamespace(model=torch.nn.DataParallel(network), processing_class=tokenizer)

    for held in (torch.nn.DataParallel(network), torch.compile(network, backend="eager"), Adapted(network)):
        assert wrap(held).network is network
    for held in (whole_pipeline, trainer, CrossEncoder(Adapted(network), tokenizer), wrap(network, tokenizer)):
        model = wrap(held)
        assert (model.network, model.tokenizer) == (network, tokenizer)
    other = word_piece()
    assert wrap(whole_pipeline, other).tokenizer is other


def test_parts_of_a_processor_are_found():
    """CLIP's processor reads texts and images; given for one of them, its part is meant."""
    network, tokenizer = BertForSequenceClassification(BERT), word_piece()
    processor = SimpleNamespace(tokenizer=tokenizer, image_processor=lambda images: images)

    model = wrap(network, image_processor=processor)

    assert model.image_processor is processor.image_processor
    assert model.tokenizer is tokenizer
    given_for_texts = wrap(network, processor)
    assert (given_for_texts.tokenizer, given_for_texts.image_processor) == (tokenizer, processor.image_processor)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda network: "bert/base", r"a str.*lignite\.load\('bert/base'\)"),
        (lambda network: None, r"cannot wrap None.*lignite\.load"),
        (lambda network: BertModel, r"the class BertModel.*BertModel\.from_pretrained"),
        (lambda network: (network, None), r"a tuple.*one by one"),
        (lambda network: Adapted(network, prompts=True), "Adapted.*tokens of its own before the input"),
        (embedder, r"Sequential cannot be called.*inside it \(\[0\]\.auto_model\)"),
        (lambda network: SimpleNamespace(model=network), r"a SimpleNamespace.*inside it \(\.model\)"),
        (lambda network: torch.nn.Linear(2, 2), r"Linear has no list of blocks.*no nn\.ModuleList"),
        (lambda network: 3, r"a int.*lignite\.load"),
    ],
)
@pytest.mark.parametrize("call", [wrap, lambda thing: lignite.explain(thing, "superb")], ids=["wrap", "explain"])
def test_what_is_no_model_is_refused_with_the_place_of_one(call, make, message):
    """Each message names what is in hand and what to give instead."""
    with pytest.raises(ModelError, match=message) as caught:
        call(make(BertForSequenceClassification(BERT)))

    assert "\n" not in str(caught.value)


def test_only_processors_of_transformers_are_taken():
    """Whatever else is given would fail at the first text or picture."""
    network = BertForSequenceClassification(BERT)

    with pytest.raises(OptionError, match="PreTrainedTokenizerFast"):
        wrap(network, word_piece().backend_tokenizer)
    with pytest.raises(OptionError, match="image_processor is a int"):
        wrap(network, image_processor=3)


def test_a_compiled_model_is_explained_as_it_is(monkeypatch):
    """What stands in for a block is invisible to compiled code; it rests meanwhile, and is there again afterwards."""
    torch.manual_seed(0)
    network = BertForSequenceClassification(BERT).eval()
    plain = lignite.explain(wrap(network, word_piece()), "superb", method="saliency")
    calls = []
    monkeypatch.setattr(network, "_compiled_call_impl", lambda *_, **__: calls.append(1))

    why = lignite.explain(network, word_piece()("superb", return_tensors="pt"), method="saliency")

    assert_close(why.relevance.values, plain.relevance.values, rtol=0, atol=0)
    assert not calls
    network()
    assert calls


def test_weights_that_are_not_in_memory_are_noticed():
    """Placeholders on the meta device have no numbers."""
    with torch.device("meta"):
        network = BertModel(BERT)

    with pytest.raises(ModelError, match="not in memory"):
        wrap(network)


def test_weights_made_in_inference_mode_are_noticed():
    """They can never be differentiated through, and their flags could not be put back after a run."""
    with torch.inference_mode():
        network = BertModel(BERT)

    with pytest.raises(ModelError, match=r"inside torch\.inference_mode"):
        wrap(network)


LIMITS = [
    (BertModel, BERT, 40),
    (GPT2LMHeadModel, GPT2, 24),
    (LlamaForCausalLM, LLAMA, 32),
    (RobertaModel, RobertaConfig(vocab_size=50, max_position_embeddings=42, pad_token_id=1, **TINY), 40),
    (MPNetModel, MPNetConfig(vocab_size=50, max_position_embeddings=42, pad_token_id=1, **TINY), 40),
    (T5EncoderModel, T5Config(vocab_size=50, d_model=12, d_kv=4, d_ff=20, num_layers=1, num_heads=2), None),
    (XLNetModel, XLNetConfig(vocab_size=50, d_model=12, n_layer=1, n_head=2, d_inner=20), None),
    (
        BartModel,
        BartConfig(
            vocab_size=50, d_model=12, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=20, decoder_ffn_dim=20, max_position_embeddings=36,
        ),
        36,
    ),
    (ViTForImageClassification, VIT, None),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "config", "limit"), LIMITS)
def test_the_limit_is_the_longest_input_the_network_takes(kind, config, limit):
    """One token more than the limit fails wherever positions are looked up in a table."""
    torch.manual_seed(0)
    model = wrap(kind(config).eval())

    assert model.max_length == limit
    if limit is not None:
        with torch.no_grad():
            model.network(input_ids=torch.full((1, limit), 5))
        if kind is not LlamaForCausalLM:
            with pytest.raises((IndexError, RuntimeError)):
                model.network(input_ids=torch.full((1, limit + 1), 5))


def test_the_tokenizer_may_allow_less():
    """Sentence encoders are often cut at 128 of 512; a tokenizer that knows no limit says 1e30."""
    network = BertModel(BERT)

    assert wrap(network, word_piece(model_max_length=16)).max_length == 16
    assert wrap(network, word_piece()).max_length == 40
    relative = T5EncoderModel(T5Config(vocab_size=97, d_model=12, d_kv=4, d_ff=20, num_layers=1, num_heads=2))
    assert wrap(relative, word_piece()).max_length is None


def test_a_model_describes_itself_in_one_line(tmp_path):
    """What it is, how big, where, how long an input may be."""
    saved(tmp_path, BertModel, BERT)

    text = repr(load(tmp_path, device="cpu"))

    assert "\n" not in text
    for fact in ("BertModel", "2 layers", "2 heads", "width 12", "float32 on cpu", "at most 40 tokens"):
        assert fact in text


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real models lie beside the checkout")
def test_a_real_classifier_is_loaded_whole():
    """Stored in half precision, with a head of two named classes."""
    model = load(SHARED / "models" / "sst-minilm", device="cpu")

    with torch.no_grad():
        logits = model.network(**encode(model, "A superb film, warm and funny.")[0].tensors).logits[0]

    assert type(model.network) is BertForSequenceClassification
    assert (model.dtype, model.max_length) == (torch.float32, 512)
    assert model.config.id2label[int(logits.argmax())] == "positive"
