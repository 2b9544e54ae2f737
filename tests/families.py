"""Every family that transformers offers, at a tiny size, held against the untouched model: right, refused, or wrong.

``python -m tests.families`` prints the table (minutes; names of families as arguments shorten it);
``--write docs/architectures.md`` puts it where readers find it, below the table of the battery. Nothing here knows how
lignite works: values and displacements are the model's own answers to the input and to its start, flows are autograd
through the model's own blocks, found by hooks of this file.
"""

import argparse
import inspect
import re
import signal
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tests.battery import DOCUMENT, FAMILIES
from tests.kit.architectures import randomize
from tests.kit.oracle import attribute_one
from tests.kit.tiny_tokenizers import word_piece
from torch import Tensor, nn
from transformers.models.auto import modeling_auto as auto

import lignite
from lignite.attribution.rules import gauss_legendre

TEXT = "the plot was thin but the acting was not"
TARGET = 1
N_STEPS = 2
LARGEST = 20e6
"""Parameters of the largest model that is tried: a family whose configuration cannot be shrunk below is left out."""
SECONDS = 60
"""The time a family gets; others take one or two seconds."""

VALUE, DISPLACEMENT, SCORES = 1e-3, 2e-3, 5e-3
"""Relative differences that are still float32: of F, of a difference of two, of scores read out along a direction."""

_SIZES: Sequence[tuple[str, int]] = (
    (r"(num_hidden_|num_|n_|encoder_|decoder_|num_encoder_|num_decoder_)layers?", 2),
    (r"(num_attention_|num_|n_|encoder_attention_|decoder_attention_|num_key_value_|linear_num_\w+_)heads?|n_head", 2),
    (r"n_layer|num_block|n_blocks", 2),
    (r"(head_dim|d_kv|d_head|attention_head_size|v_head_dim|kv_channels|qk_nope_head_dim|linear_\w+_head_dim)", 8),
    (r"(qk_rope_head_dim|rotary_dim)", 4),
    (r"(kv_lora_rank|q_lora_rank|hidden_size_per_layer_input)", 8),
    (r"(intermediate_size|d_ff|n_inner|ffn_dim|d_inner|hidden_dim|(en|de)coder_ffn_dim|ffn_hidden_size|mlp_dim)", 32),
    (r"((shared_expert_|moe_|dense_)?intermediate_size|inner_dim)", 32),
    (r"(hidden_size|d_model|n_embd|dim|emb_dim|embed_dim|embedding_size|word_embed_proj_dim|emb_size|d_embed)", 16),
    (r"(true_hidden_size|intra_bottleneck_size|attention_hidden_size|projection_dim)", 16),
    (r"(max_position_embeddings|n_positions|n_ctx|context_length|max_seq_len|max_2d_position_embeddings)", 128),
    (r"(num_local_experts|num_experts|n_routed_experts|moe_num_experts)", 4),
    (r"(num_experts_per_tok|moe_topk|moe_k)", 2),
    (r"(n_group|topk_group|n_shared_experts|num_random_blocks)", 1),
    (r"(block_size|attention_chunk_size|chunk_size)", 4),
    (r"(attention_window|sliding_window)", 8),
    (r"num_kv_shared_layers", 0),
    (r"depths", 1),
    (r"(image_size)", 32),
    (r"(patch_size)", 8),
)
"""What attributes of configurations are set to, by their names: the first pattern that fits one whole name."""

_LATENT = {"head_dim": 4}  # of multi-head latent attention: the width that is rotated
_HYBRID = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 4, "mamba_chunk_size": 4}
_ALTERNATING = {"num_hidden_layers": 4, "layers_block_type": ["linear_attention", "hybrid"] * 2, "layer_types": None}
_OWN: Mapping[str, Mapping[str, Any]] = {
    "axk1": _LATENT,
    "bamba": {**_HYBRID, "attn_layer_indices": [1]},
    "codegen": {"n_head": 4},
    "convnext": {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1]},
    "convnextv2": {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1]},
    "deepseek_v2": {"num_experts_per_tok": 2, "n_routed_experts": 4, "head_dim": 4, "topk_method": "greedy"},
    "deepseek_v3": _LATENT,
    "donut-swin": {"window_size": 2},
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "falcon_h1": {**_HYBRID, "mamba_d_ssm": 32},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {**_HYBRID, "layer_types": ["linear_attention", "full_attention"]},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_dt_rank": 4, "mamba_d_state": 4},
    "layoutlmv3": {"coordinate_size": 2, "shape_size": 4},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "lilt": {"hidden_size": 24},
    "luke": {"entity_vocab_size": 10, "entity_emb_size": 16},
    "mamba2": {"num_heads": 4, "head_dim": 8, "n_groups": 1, "state_size": 4, "chunk_size": 4},
    "ministral": {"head_dim": 8},
    "nemotron": {"num_key_value_heads": 2},
    "nemotron_h": {"layers_block_type": ["full_attention", "mlp"], "num_hidden_layers": None},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"], "lru_width": 16},
    "reformer": {
        "axial_pos_embds_dim": [8, 8], "axial_pos_shape": [8, 16], "attn_layers": ["local", "local"],
        "local_attn_chunk_length": 4,
    },
    "swin": {"window_size": 2},
    "swinv2": {"window_size": 2},
    "maxvit": {"window_size": 2},
    "xmod": {"default_language": "en_XX"},
    "youtu": _LATENT,
    "zamba": {
        **_ALTERNATING, "n_mamba_heads": 2, "mamba_dt_rank": 4, "mamba_d_state": 4,
        "attention_hidden_size": 32, "attention_head_dim": 16,
    },
    "zamba2": {
        **_ALTERNATING, "n_mamba_heads": 4, "mamba_headdim": 8,
        "mamba_ngroups": 1, "mamba_d_state": 4, "chunk_size": 4, "attention_hidden_size": 32, "attention_head_dim": 16,
    },
    "zaya": {"num_experts_per_tok": 1},
}  # fmt: skip
"""What some configurations demand of each other's values."""


def main() -> None:
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(prog="python -m tests.families", description=main.__doc__)
    parser.add_argument("families", nargs="*", help="model types; all if none")
    parser.add_argument("--question", choices=[each.name for each in QUESTIONS], help="one kind of model alone")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table of all families into a document")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    rows = []
    for question in QUESTIONS:
        if arguments.question in (None, question.name):
            for family in question.families:
                if not arguments.families or family in arguments.families:
                    rows.append(examine(question, family))
                    print(*rows[-1].cells(), sep=" | ", flush=True)
    print(counts(rows))
    if arguments.write:
        blocks = arguments.write.read_text("utf-8").partition(FAMILIES)[0]
        arguments.write.write_text(blocks + document(rows), "utf-8")


@dataclass(frozen=True)
class Verdict:
    """``"right"``, ``"refused"``, ``"WRONG"``, ``"RAW"`` (a foreign error), or ``"–"`` where nothing could be tried."""

    word: str
    note: str = ""


@dataclass(frozen=True)
class Row:
    """What became of one family under one question."""

    question: str
    family: str
    model_class: str
    explain: Verdict
    flow: Verdict

    def cells(self) -> tuple[str, ...]:
        notes = "; ".join(dict.fromkeys(each.note for each in (self.explain, self.flow) if each.note))
        return (self.family, self.model_class, self.explain.word, self.flow.word, notes.replace("|", "/"))


@dataclass(frozen=True, eq=False)
class Question:
    """One kind of model: its classes by family, and the logits it answers with."""

    name: str
    classes: Mapping[str, str | tuple[str, ...]]
    image: bool
    last: bool

    @property
    def families(self) -> list[str]:
        return sorted(self.classes)

    def class_of(self, family: str) -> str:
        found = self.classes[family]
        return found if isinstance(found, str) else found[0]

    def logit(self, network: nn.Module, inputs: Mapping[str, Tensor]) -> float:
        """F by the untouched model."""
        with torch.no_grad():
            logits = network(**inputs).logits[0]
        return float((logits[-1] if self.last else logits)[TARGET])


QUESTIONS = (
    Question("sequence classifiers", auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, image=False, last=False),
    Question("next tokens", auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, image=False, last=True),
    Question("images", auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES, image=True, last=False),
)


class NotBuiltError(Exception):
    """A family cannot be tried here; the message says why."""


def examine(question: Question, family: str) -> Row:
    """Build one family and hold what lignite says of it against the model."""
    name = question.class_of(family)
    try:
        with _within(SECONDS):
            network = build(name)
            inputs, start = inputs_of(question, network)
            question.logit(network, inputs)
    except NotBuiltError as error:
        return Row(question.name, family, name, Verdict("–", str(error)), Verdict("–"))
    except Exception as error:  # whatever transformers raises
        note = f"does not run at this size: {type(error).__name__}: {_first_line(error)}"
        return Row(question.name, family, name, Verdict("–", note), Verdict("–"))
    tries: list[Callable[[], Verdict]] = [
        lambda: explained(question, network, inputs, start),
        lambda: flowed(network, inputs),
    ]
    return Row(question.name, family, name, *(_verdict(attempt) for attempt in tries))


def _verdict(attempt: Callable[[], Verdict]) -> Verdict:
    try:
        with warnings.catch_warnings(), _within(SECONDS):
            warnings.simplefilter("ignore")
            return attempt()
    except lignite.errors.LigniteError as error:
        return Verdict("refused", _first_line(error))
    except TimeoutError as error:
        return Verdict("–", str(error))
    except Exception as error:  # a foreign error is what is looked for
        return Verdict("RAW", f"{type(error).__name__}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:240]


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    """One family that hangs must not hide the others."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"not done in {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# A family at a tiny size


@cache
def _words() -> transformers.PreTrainedTokenizerBase:
    return word_piece()


def build(name: str) -> nn.Module:
    """A random model of this class, every weight drawn."""
    model_class = getattr(transformers, name, None)
    if model_class is None or not hasattr(model_class, "config_class"):
        raise NotBuiltError("transformers does not offer its class here")
    config = _shrunk(model_class)
    with torch.device("meta"):
        size = sum(weight.numel() for weight in model_class(config).parameters())
    if size > LARGEST:
        raise NotBuiltError(f"{size / 1e6:.0f} million parameters at its smallest here")
    network = model_class(config)
    randomize(network, seed=0, gains={})
    return network.eval()


def _shrunk(model_class: type) -> Any:
    config_class = model_class.config_class
    base = config_class()
    wanted = _small(base)
    for name, part in vars(base).items():
        if isinstance(part, transformers.PreTrainedConfig):
            wanted[name] = _small(part)
    wanted |= {"num_labels": 3, "vocab_size": len(_words()), "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    if getattr(base, "is_encoder_decoder", False):
        wanted["decoder_start_token_id"] = 3
    if "CausalLM" in model_class.__name__ or "LMHead" in model_class.__name__:
        wanted["is_decoder"] = True  # an encoder's class for next tokens would look ahead otherwise
    wanted |= _OWN.get(base.model_type, {})
    wanted = {name: value for name, value in wanted.items() if value is not None}
    while True:  # a few configurations name attributes that they do not take
        try:
            return config_class(**wanted)
        except TypeError as error:
            refused = [name for name in wanted if f"'{name}'" in str(error)]
            if not refused:
                raise
            del wanted[refused[0]]


def _small(config: Any) -> dict[str, Any]:
    """Smaller values for the attributes that a configuration has; lists keep as many entries as there are layers."""
    small: dict[str, Any] = {}
    for name in dir(config):
        size = next((size for pattern, size in _SIZES if re.fullmatch(pattern, name)), None)
        if size is None or isinstance(getattr(type(config), name, None), property):
            continue
        try:
            value = getattr(config, name)
        except Exception:  # some have a value per layer alone, and say so by an error of their own
            continue
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            small[name] = size
        elif isinstance(value, list | tuple) and value and all(isinstance(each, int) for each in value):
            by_layer = len(value) == getattr(config, "num_hidden_layers", 0)
            small[name] = type(value)([size] * (2 if by_layer else len(value)))
    kinds = config.to_dict().get("layer_types")
    if kinds:
        small["layer_types"] = list(dict.fromkeys(kinds))[:2] * (2 if len(set(kinds)) == 1 else 1)
    if hasattr(config, "output_vocab_size"):
        small["output_vocab_size"] = len(_words())
    if getattr(config, "vocab_size_per_layer_input", None):
        small["vocab_size_per_layer_input"] = len(_words())
    return small


def inputs_of(question: Question, network: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """An input and the start of its path: words masked, or grey pixels."""
    if question.image:
        config = network.config
        size = getattr(config, "image_size", None) or getattr(getattr(config, "vision_config", None), "image_size", 32)
        size = size if isinstance(size, int) else 32
        pixels = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
        return {"pixel_values": pixels}, {"pixel_values": torch.zeros_like(pixels)}
    encoded = _words()(TEXT, return_tensors="pt")
    inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
    blank = inputs["input_ids"].clone()
    blank[0, 1:-1] = _words().mask_token_id
    return inputs, inputs | {"input_ids": blank}


# Explain: the model's own answers at both ends


class _Grey:
    """A processor whose grey is zero: pixels are given ready."""

    do_normalize = do_rescale = True
    image_mean = image_std = (0.5, 0.5, 0.5)
    rescale_factor = 1 / 255

    def __call__(self, images: Any, **options: Any) -> Any:
        raise NotImplementedError


def explained(question: Question, network: Any, inputs: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> Verdict:
    """Value and displacement are those of the model; a list gives what a text gives alone."""
    reader = {"image_processor": _Grey()} if question.image else {"tokenizer": _words()}
    model = lignite.wrap(network, **reader)
    options = {"target": TARGET, "baseline": "grey" if question.image else "mask", "max_steps": 64}
    why = lignite.explain(model, dict(inputs), **options)
    value = question.logit(network, inputs)
    displacement = value - question.logit(network, start)
    wrong = [
        f"{what} {found:.5f}, the model says {expected:.5f}"
        for what, found, expected, allowed in (
            ("value", why.value, value, VALUE),
            ("displacement", float(np.ravel(why.displacement)[0]), displacement, DISPLACEMENT),
        )
        if not abs(found - expected) <= allowed * max(1.0, abs(expected))
    ]
    if not question.image:
        shorter = {name: tensor[:, [0, 1, 2, 3, -1]] for name, tensor in inputs.items()}
        both = lignite.explain(model, [dict(inputs), shorter], **options)
        difference = float(abs(both[0].relevance - why.relevance).max())
        if not difference <= VALUE * max(1.0, float(abs(why.relevance).max())):
            wrong.append(f"in a list its scores differ by {difference:.2g}")
    return Verdict("WRONG", "; ".join(wrong)) if wrong else Verdict("right")


# Flow: autograd through the model's own blocks


@dataclass(frozen=True, eq=False)
class _Call:
    """One call of a block by the model: where its states stand, and everything else it was given."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    states: Tensor
    row_axis: int = 0

    def whole(self, states: Tensor) -> Tensor:
        args, kwargs = self.args, self.kwargs
        rows = states.unsqueeze(self.row_axis)
        output = self.module(rows, *args[1:], **kwargs) if args else self.module(**{**kwargs, "hidden_states": rows})
        return (output if isinstance(output, Tensor) else output[0]).squeeze(self.row_axis)


def flowed(network: Any, inputs: Mapping[str, Tensor]) -> Verdict:
    """Rows of every layer's `whole` map, from the mean of its states, by autograd through the block itself."""
    found = lignite.flow(lignite.wrap(network), dict(inputs), maps="whole", baseline="mean", n_steps=N_STEPS)
    calls = block_calls(network, inputs)
    if found.sizes["layer"] != len(calls):
        return Verdict("WRONG", f"flow has {found.sizes['layer']} layers, the model has {len(calls)}")
    rule = gauss_legendre(N_STEPS)
    for layer, call in enumerate(calls):
        n_tokens = found.sizes["source"]  # what a model pads to its window inside comes after these, and is masked
        start = call.states[:n_tokens].mean(0).expand_as(call.states)
        for target in (1, n_tokens - 1):

            def row(states: Tensor, call: _Call = call, target: int = target) -> Tensor:
                return call.whole(states)[target]

            scores, displacement = attribute_one(row, call.states, start, rule=rule)
            measured = torch.from_numpy(found.whole.sel(layer=layer, target=target).values)
            error = float((measured - scores[:n_tokens]).abs().max() / torch.maximum(scores.abs().max(), displacement))
            if not error <= SCORES:
                return Verdict("WRONG", f"layer {layer}: scores differ by {error:.2g} of the largest")
    return Verdict("right")


def block_calls(network: Any, inputs: Mapping[str, Tensor]) -> list[_Call]:
    """Calls of the outermost list that sees every token, as often as the configuration has layers where one is."""
    lists = {
        name: list(part)
        for name, part in network.named_modules()
        if isinstance(part, nn.ModuleList | nn.Sequential) and len(part)
    }
    calls: dict[str, list[_Call]] = {name: [] for name in lists}
    handles = []
    for name, blocks in lists.items():

        def note(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any, name: str = name) -> None:
            states = args[0] if args else kwargs.get("hidden_states")
            result = output if isinstance(output, Tensor) else output[0]
            keeps = isinstance(states, Tensor) and states.ndim == 3 and 1 in states.shape[:2]
            if keeps and states.shape == result.shape:  # where tokens are merged, the stack ends
                axis = states.shape.index(1)
                calls[name].append(_Call(module, args, _without_caches(kwargs), states.squeeze(axis).clone(), axis))

        handles += [block.register_forward_hook(note, with_kwargs=True) for block in blocks]
    options = {"use_cache": False} if "use_cache" in inspect.signature(network.forward).parameters else {}
    try:
        with torch.no_grad():
            network(**inputs, **options)
    finally:
        for handle in handles:
            handle.remove()
    wanted, n_tokens = _n_layers(network.config), inputs["input_ids"].shape[1] if "input_ids" in inputs else None
    whole = {name: found for name, found in calls.items() if found and len(found[0].states) >= (n_tokens or 0)}
    fitting = [name for name, found in whole.items() if len(found) == (wanted or len(found))] or list(whole)
    found = whole[min(fitting, key=lambda name: name.count("."))] if fitting else []
    return list(takewhile(lambda call: call.states.shape == found[0].states.shape, found))


def _without_caches(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if "past" in name or "cache" in name else value for name, value in kwargs.items()}


def _n_layers(config: Any) -> int | None:
    owners = (config.get_text_config(), config, getattr(config, "vision_config", None))
    names = ("num_hidden_layers", "encoder_layers", "n_layer", "n_layers", "num_layers")
    found = (getattr(owner, name, None) for name in names for owner in owners)
    return next((number for number in found if isinstance(number, int)), None)


# The table

HEADER = ("family", "class", "explain", "flow", "remarks")


def read_document(path: Path = DOCUMENT) -> dict[tuple[str, str], tuple[str, ...]]:
    """The written rows by question and family."""
    found, question = {}, ""
    for line in path.read_text("utf-8").partition(FAMILIES)[2].splitlines():
        if line.startswith("## "):
            question = line.removeprefix("## ").lower()
        elif line.startswith("| ") and not line.startswith(("| ---", f"| {HEADER[0]} |")):
            cells = tuple(cell.strip() for cell in line.strip("|").split("|"))
            found[question, cells[0]] = cells
    return found


def counts(rows: Sequence[Row]) -> str:
    """How many families are right, refused or not tried, by question."""
    lines = []
    for question in dict.fromkeys(row.question for row in rows):
        some = [row for row in rows if row.question == question]
        for what in ("explain", "flow"):
            words = Counter(getattr(row, what).word for row in some)
            lines.append(f"{question}, {what}: " + ", ".join(f"{number} {word}" for word, number in words.items()))
    return "\n".join(lines)


def document(rows: Sequence[Row]) -> str:
    """The page that readers find, one table per question."""
    parts = [INTRODUCTION]
    for question in dict.fromkeys(row.question for row in rows):
        some = [row for row in rows if row.question == question]
        table = [HEADER, ("---",) * len(HEADER), *(row.cells() for row in some)]
        parts.append(f"## {question.capitalize()}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in table))
    return "\n".join(parts)


INTRODUCTION = f"""\
{FAMILIES}
Every family that transformers {transformers.__version__} offers for three tasks, as a tiny random model in float32,
held against the untouched model. *explain* is right where the value is the model's own logit, the displacement the
difference of its answers to the text and to the text with its words masked (images: to grey pixels), and a list gives
what a text gives alone. *flow* is right where rows of every layer's `whole` map equal autograd through the model's own
blocks. What is refused says why and which method works instead; – stands where the family cannot be built or run at
this size. Written by `python -m tests.families --write docs/architectures.md`.
"""


if __name__ == "__main__":
    main()
