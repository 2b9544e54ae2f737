"""Tiny random models of every kind of block lignite must divide, for the battery.

Every weight is random, biases and norms too: fresh ones are 0 and 1, and hide mistakes. Sizes differ pairwise, so that
swapped axes do not fit. Windows are shorter than the inputs and soft caps are small, so that leaving them out shows.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MethodType
from typing import Any, Literal

import torch
import transformers
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

LENGTH = 9
VOCABULARY = 53
N_SPECIAL = 3  # ids 0, 1, 2: padding, start, end; inputs avoid them, since some families mask or count the padding id
WINDOW = 4
IMAGE_SIZE = 12
PATCH_SIZE = 4  # nine patches


@dataclass(frozen=True)
class Architecture:
    """One family at a size that costs milliseconds.

    `blocks` is the path of the block list from the model, `window` the number of tokens the first block's attention
    reaches (0: all), and `gains` scales weights whose name ends so, where the family's own scaling would saturate.
    """

    name: str
    model_class: str
    kind: Literal["encoder", "decoder", "encoder-decoder", "image"]
    config: Mapping[str, Any]
    blocks: str
    attention: Literal["interface", "own", "none"] = "interface"
    window: int = 0
    gains: Mapping[str, float] = field(default_factory=dict)
    notes: str = ""

    @property
    def causal(self) -> bool:
        return self.kind == "decoder"

    def build(self, seed: int = 0, dtype: torch.dtype = torch.float64) -> transformers.PreTrainedModel:
        """A model in evaluation mode. The same seed gives the same weights in every dtype, up to rounding."""
        model_class = getattr(transformers, self.model_class)
        model = model_class(model_class.config_class(**self.config)).to(dtype)
        randomize(model, seed=seed, gains=self.gains)
        return model.eval()

    def inputs(self, seed: int = 0, length: int = LENGTH) -> dict[str, Tensor]:
        """One text of `length` tokens without padding, or one image (whose number of patches is fixed), in float64."""
        generator = torch.Generator().manual_seed(seed + 1)
        if self.kind == "image":
            size = (1, 3, IMAGE_SIZE, IMAGE_SIZE)
            return {"pixel_values": torch.randn(size, generator=generator, dtype=torch.float64)}
        ids = _random_ids(length, generator)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if self.kind == "encoder-decoder":
            inputs["decoder_input_ids"] = _random_ids(length - 2, generator)
        return inputs


def _random_ids(length: int, generator: torch.Generator) -> Tensor:
    return torch.randint(N_SPECIAL, VOCABULARY, (1, length), generator=generator)


# Random weights

_FEEDS_SCORES = re.compile(
    r"(query|key|query_proj|key_proj|[qk]_proj|[qk]_lin|in_proj|query_key_value|c_attn|Wqkv|qkv_proj|\.q|\.k)\.weight$"
)


@torch.no_grad()
def randomize(model: nn.Module, *, seed: int, gains: Mapping[str, float]) -> None:
    """Draw every parameter anew, at scales that keep states and attention scores of order one."""
    generator = torch.Generator().manual_seed(seed)
    for module_name, module in model.named_modules():
        learned_buffers = [item for item in module.named_buffers(recurse=False) if item[0].endswith("_bias")]
        for name, parameter in [*module.named_parameters(recurse=False), *learned_buffers]:
            full_name = f"{module_name}.{name}"
            gain = math.prod(factor for ending, factor in gains.items() if full_name.endswith(ending))
            if parameter.ndim == 2 and _FEEDS_SCORES.search(full_name):
                gain *= 1.3  # states grow alike from block to block; without this the attention is nearly uniform
            parameter.copy_(gain * _draw(module, name, parameter, generator))


def _draw(module: nn.Module, name: str, parameter: Tensor, generator: torch.Generator) -> Tensor:
    # drawn in float64 whatever the dtype, so that a float32 model is the rounded float64 one
    normal = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    if "bias" in name and "table" not in name:
        return 0.3 * normal
    if "Norm" in type(module).__name__ and name == "weight":
        # 1, or 0 where the family multiplies by 1 + weight (Nemotron does so from a weight that starts at 1)
        centre = 0.0 if type(module).__name__.endswith("1P") else parameter.double().mean().round()
        return centre + torch.rand(parameter.shape, generator=generator, dtype=torch.float64) - 0.5
    if name in ("lambda1", "lambda_1", "lambda_2", "D"):  # layer scales, and Mamba's skip
        return 0.5 + torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
    if isinstance(module, nn.Embedding) or parameter.ndim < 2 or _is_a_vector_per_token(name):
        return normal
    return normal / math.sqrt(_fan_in(module, parameter))


def _is_a_vector_per_token(name: str) -> bool:
    return name.endswith(("_token", "_tokens", "_embedding", "_embeddings", "_table", "A_log", "probe"))


def _fan_in(module: nn.Module, weight: Tensor) -> int:
    if isinstance(module, transformers.pytorch_utils.Conv1D):  # GPT-2 stores its weights input first
        return weight.shape[0]
    if weight.ndim == 3 and not isinstance(module, nn.Conv1d):  # experts: expert first, then output and input
        return weight.shape[1] if getattr(module, "is_transposed", False) else weight.shape[2]
    return math.prod(weight.shape[1:])


# Double precision


class _StayDouble(TorchFunctionMode):
    """Ignores requests to turn double into single precision."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if args and isinstance(args[0], Tensor) and args[0].dtype == torch.float64:
            if func is Tensor.float:
                return args[0]
            if func in (Tensor.to, Tensor.type):
                args = tuple(torch.float64 if value is torch.float32 else value for value in args)
            if kwargs.get("dtype") is torch.float32:
                kwargs["dtype"] = torch.float64
        return func(*args, **kwargs)


def _forward_in_double(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    with _StayDouble():
        return type(module).forward(module, *args, **kwargs)


def full_precision_norms(model: nn.Module) -> nn.Module:
    """Let norms written for half precision compute in double where their input is double, as `model` itself, in place.

    Llama's and most later norms cast to float32 whatever they receive, which buries a comparison at 1e-9.
    """
    return _stay_double(model, "RMSNorm", "LayerNorm")


def full_precision(model: nn.Module) -> nn.Module:
    """`full_precision_norms` for everything in a block that casts: rotary positions, eager softmax, routers, residuals.

    Code that runs inside an attention module then runs without such casts as well, whoever wrote it.
    """
    return _stay_double(model, "RMSNorm", "LayerNorm", "Attention", "Router", "Mixer", "MambaBlock")


def _stay_double(model: nn.Module, *class_names: str) -> nn.Module:
    for module in model.modules():
        known = type(module).__name__
        if type(module) is not nn.LayerNorm and any(name in known for name in class_names):
            module.forward = MethodType(_forward_in_double, module)  # a bound method, so that deepcopy rebinds it
    return model


# The families

_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 36,
    "max_position_embeddings": 40,
    **_IDS,
}
_GROUPED = _COMMON | {"num_key_value_heads": 2}
_WIDE_HEADS = _GROUPED | {"head_dim": 10}  # heads together wider than the states
_ALTERNATING = {
    "sliding_window": WINDOW,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
_EXPERTS = {"num_local_experts": 5, "num_experts_per_tok": 2, "experts_implementation": "eager"}
_IMAGE = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 36,
    "image_size": IMAGE_SIZE,
    "patch_size": PATCH_SIZE,
}
_GPT2 = {"vocab_size": VOCABULARY, "n_embd": 24, "n_layer": 3, "n_head": 4, "n_inner": 36, "n_positions": 40, **_IDS}
_BART = {
    "vocab_size": VOCABULARY,
    "d_model": 24,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 36,
    "decoder_ffn_dim": 44,
    "max_position_embeddings": 40,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 2,
    **_IDS,
}
_T5 = {
    "vocab_size": VOCABULARY,
    "d_model": 24,
    "num_layers": 3,
    "num_heads": 4,
    "d_kv": 10,
    "d_ff": 36,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
    "decoder_start_token_id": 0,
    **_IDS,
}


def _rotary(share: float) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": share}}


_YARN = {
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 100.0,
        "factor": 4.0,
        "original_max_position_embeddings": 10,
    }
}


def _encoder(name: str, model_class: str, blocks: str = "encoder.layer", **options: Any) -> Architecture:
    config = _COMMON | options.pop("config", {})
    return Architecture(name, model_class, "encoder", config, blocks, **options)


def _decoder(name: str, model_class: str, config: Mapping[str, Any], **options: Any) -> Architecture:
    return Architecture(name, model_class, "decoder", config, options.pop("blocks", "layers"), **options)


def _image(name: str, model_class: str, blocks: str = "layers", **options: Any) -> Architecture:
    config = _IMAGE | options.pop("config", {})
    return Architecture(name, model_class, "image", config, blocks, **options)


_ENCODERS = [
    _encoder("bert", "BertModel"),
    _encoder("roberta", "RobertaModel"),
    _encoder("xlm-roberta", "XLMRobertaModel"),
    _encoder("camembert", "CamembertModel"),
    _encoder("ernie", "ErnieModel"),
    _encoder("data2vec-text", "Data2VecTextModel"),
    _encoder("megatron-bert", "MegatronBertModel", attention="own", notes="pre-norm"),
    _encoder("electra", "ElectraModel", config={"embedding_size": 20}),
    _encoder(
        "distilbert",
        "DistilBertModel",
        "transformer.layer",
        config={"dim": 24, "n_layers": 3, "n_heads": 4, "hidden_dim": 36},
    ),
    _encoder(
        "albert",
        "AlbertModel",
        "encoder.albert_layer_groups",
        config={"embedding_size": 20, "num_hidden_groups": 1, "inner_group_num": 1},
        notes="one block, run three times",
    ),
    _encoder(
        "deberta",
        "DebertaModel",
        attention="own",
        config={
            "relative_attention": True,
            "pos_att_type": ["c2p", "p2c"],
            "max_relative_positions": 6,
            "type_vocab_size": 2,
        },
    ),
    _encoder(
        "deberta-v2",
        "DebertaV2Model",
        attention="own",
        config={
            "relative_attention": True,
            "pos_att_type": ["c2p", "p2c"],
            "position_biased_input": False,
            "position_buckets": 5,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "type_vocab_size": 0,
        },
    ),
    _encoder("mpnet", "MPNetModel", attention="own"),
    _encoder("rembert", "RemBertModel", attention="own", config={"input_embedding_size": 20}),
    _encoder(
        "modernbert",
        "ModernBertModel",
        "layers",
        config={
            "local_attention": WINDOW,  # half to either side
            "layer_types": ["full_attention", "sliding_attention", "full_attention"],
            "cls_token_id": 1,
            "sep_token_id": 2,
        },
        notes="the second block has a window; the first has no norm before its attention",
    ),
    # T5 does not divide by the root of the head size, so its queries must be small
    Architecture("t5", "T5EncoderModel", "encoder", _T5, "encoder.block", gains={".q.weight": 0.4}),
    Architecture(
        "t5-gated",
        "T5EncoderModel",
        "encoder",
        _T5 | {"feed_forward_proj": "gated-gelu"},
        "encoder.block",
        gains={".q.weight": 0.4},
    ),
    Architecture("bart", "BartModel", "encoder-decoder", _BART, "encoder.layers"),
]

_DECODERS = [
    _decoder("gpt2", "GPT2Model", _GPT2, blocks="h"),
    _decoder("gpt_neox", "GPTNeoXModel", _COMMON | {"hidden_size": 32} | _rotary(0.25), notes="parallel residual"),
    _decoder("opt", "OPTModel", _COMMON | {"ffn_dim": 36, "word_embed_proj_dim": 24}, blocks="decoder.layers"),
    _decoder("biogpt", "BioGptModel", _COMMON),
    _decoder("llama", "LlamaModel", _WIDE_HEADS),
    _decoder("mistral", "MistralModel", _WIDE_HEADS | {"sliding_window": WINDOW}, window=WINDOW),
    _decoder("qwen2", "Qwen2Model", _GROUPED, notes="biases on queries, keys and values"),
    _decoder("qwen3", "Qwen3Model", _WIDE_HEADS, notes="norms on queries and keys, per head"),
    _decoder("gemma", "GemmaModel", _WIDE_HEADS),
    _decoder(
        "gemma2",
        "Gemma2Model",
        _WIDE_HEADS | _ALTERNATING | {"attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 7},
        window=WINDOW,
        notes="eager by default: soft cap",
    ),
    _decoder(
        "gemma3_text",
        "Gemma3TextModel",
        _WIDE_HEADS | _ALTERNATING | {"query_pre_attn_scalar": 7},
        window=WINDOW,
    ),
    _decoder("phi", "PhiModel", _COMMON | _rotary(2 / 3), notes="parallel residual"),
    _decoder("phi3", "Phi3Model", _GROUPED | {"sliding_window": WINDOW}, window=WINDOW, notes="fused projections"),
    _decoder("olmo", "OlmoModel", _GROUPED | {"clip_qkv": 2.5}, notes="norms without weights; clipped projections"),
    _decoder("olmo2", "Olmo2Model", _GROUPED, notes="norms after attention and MLP; norms across all heads"),
    _decoder("mixtral", "MixtralModel", _WIDE_HEADS | _EXPERTS),
    _decoder(
        "gpt_oss",
        "GptOssModel",
        _WIDE_HEADS | _EXPERTS | _ALTERNATING | _YARN,
        window=WINDOW,
        notes="attention sinks; rotary positions that scale",
    ),
    _decoder("stablelm", "StableLmModel", _GROUPED | _rotary(2 / 3) | {"use_qkv_bias": True, "qk_layernorm": True}),
    _decoder("starcoder2", "Starcoder2Model", _GROUPED | {"sliding_window": WINDOW}, window=WINDOW),
    _decoder("cohere", "CohereModel", _GROUPED | {"use_qk_norm": True}, notes="norms without bias"),
    _decoder("cohere2", "Cohere2Model", _WIDE_HEADS | _ALTERNATING, window=WINDOW, notes="full without positions"),
    _decoder("glm", "GlmModel", _WIDE_HEADS | {"head_dim": 8} | _rotary(0.5)),
    _decoder("glm4", "Glm4Model", _WIDE_HEADS | {"head_dim": 8} | _rotary(0.5), notes="four norms"),
    _decoder(
        "granite",
        "GraniteModel",
        _GROUPED | {"embedding_multiplier": 1.3, "residual_multiplier": 0.7, "attention_multiplier": 0.4},
    ),
    _decoder("smollm3", "SmolLM3Model", _GROUPED | {"no_rope_layers": [1, 0, 1]}),
    _decoder("nemotron", "NemotronModel", _GROUPED | _rotary(2 / 3)),
    _decoder("arcee", "ArceeModel", _WIDE_HEADS),
    _decoder("helium", "HeliumModel", _GROUPED | {"head_dim": 6}),
    _decoder("seed_oss", "SeedOssModel", _WIDE_HEADS | {"attention_bias": True}),
    _decoder("exaone4", "Exaone4Model", _WIDE_HEADS | _ALTERNATING, window=WINDOW),
    _decoder("olmo3", "Olmo3Model", _GROUPED | _ALTERNATING, window=WINDOW),
    _decoder("apertus", "ApertusModel", _GROUPED | _rotary(1.0)),
    _decoder("persimmon", "PersimmonModel", _COMMON | _rotary(2 / 3)),
    _decoder(
        "qwen3_moe",
        "Qwen3MoeModel",
        _WIDE_HEADS | _EXPERTS | {"num_experts": 5, "moe_intermediate_size": 28},
    ),
    _decoder(
        "bloom",
        "BloomModel",
        {"vocab_size": VOCABULARY, "hidden_size": 24, "n_layer": 3, "n_head": 4, **_IDS},
        blocks="h",
        attention="own",
        notes="distance bias; fused projections",
    ),
    _decoder(
        "falcon-rotary",
        "FalconModel",
        _COMMON | {"ffn_hidden_size": 36, "bias": True},
        blocks="h",
        attention="own",
        notes="parallel residual; one key and value for all heads",
    ),
    _decoder(
        "falcon-alibi",
        "FalconModel",
        _COMMON | {"ffn_hidden_size": 36, "alibi": True, "multi_query": False, "parallel_attn": False},
        blocks="h",
        attention="own",
    ),
    _decoder(
        "falcon-grouped",
        "FalconModel",
        _COMMON | {"ffn_hidden_size": 36, "new_decoder_architecture": True, "num_kv_heads": 2},
        blocks="h",
        attention="own",
    ),
    _decoder("gptj", "GPTJModel", _GPT2 | {"rotary_dim": 4}, blocks="h", attention="own", notes="parallel residual"),
    _decoder("codegen", "CodeGenModel", _GPT2 | {"rotary_dim": 4}, blocks="h", attention="own"),
    _decoder(
        "gpt_neo",
        "GPTNeoModel",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 24,
            "num_layers": 3,
            "num_heads": 4,
            "intermediate_size": 36,
            "max_position_embeddings": 40,
            "attention_types": [[["local"], 1], [["global", "local"], 1]],
            "window_size": WINDOW,
            **_IDS,
        },
        blocks="h",
        attention="own",
        window=WINDOW,
        gains={"q_proj.weight": 0.4},
        notes="scores are not divided by the root of the head size",
    ),
    _decoder(
        "mpt",
        "MptModel",
        {"vocab_size": VOCABULARY, "d_model": 24, "n_layers": 3, "n_heads": 4, **_IDS},
        blocks="blocks",
        attention="own",
        notes="distance bias; no biases in norms or projections",
    ),
    _decoder("gpt_bigcode", "GPTBigCodeModel", _GPT2, blocks="h", notes="one key and value for all heads"),
    _decoder(
        "deepseek_v3",
        "DeepseekV3Model",
        _COMMON
        | {
            "num_key_value_heads": 4,
            "q_lora_rank": 14,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 6,
            "v_head_dim": 10,
            "first_k_dense_replace": 1,
            "n_routed_experts": 6,
            "num_experts_per_tok": 2,
            "n_group": 2,
            "topk_group": 2,
            "n_shared_experts": 1,
            "moe_intermediate_size": 28,
            "experts_implementation": "eager",
        },
        notes="values of another size than queries and keys",
    ),
    _decoder(
        "mamba",
        "MambaModel",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 24,
            "num_hidden_layers": 3,
            "state_size": 5,
            "time_step_rank": 3,
            **_IDS,
        },
        attention="none",
        notes="a state space, no heads",
    ),
]

_IMAGES = [
    _image("vit", "ViTModel"),
    _image("deit", "DeiTModel", notes="a distillation token beside the class token"),
    _image("dinov2", "Dinov2Model", "encoder.layer", config={"mlp_ratio": 2}),
    _image(
        "dinov2_with_registers",
        "Dinov2WithRegistersModel",
        "encoder.layer",
        config={"mlp_ratio": 2, "num_register_tokens": 2},
    ),
    _image("beit", "BeitModel", config={"use_relative_position_bias": True}, notes="position bias in the mask"),
    _image("beit-shared", "BeitModel", config={"use_shared_relative_position_bias": True}),
    _image("siglip", "SiglipVisionModel", "encoder.layers", notes="no class token"),
    _image("dinov3_vit", "DINOv3ViTModel", "model.layer", config={"hidden_size": 32, "num_register_tokens": 2}),
    _image("clip", "CLIPVisionModel", "encoder.layers"),
]

ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture for architecture in [*_ENCODERS, *_DECODERS, *_IMAGES]
}
