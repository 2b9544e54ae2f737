"""Find a model by name, load it safely, or take one that is already loaded."""

import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
import transformers
from huggingface_hub import errors as hub
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ViTConfig,
)
from transformers.utils import logging as chatter

from lignite.calls import public
from lignite.errors import ModelError, OptionError, warn
from lignite.files import expanded
from lignite.models.facts import position_tables
from lignite.models.holders import Held, unwrap
from lignite.models.weights import check_files
from lignite.wording import did_you_mean, shorten

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}

TASKS = {
    "feature-extraction": "AutoModel",
    "fill-mask": "AutoModelForMaskedLM",
    "image-classification": "AutoModelForImageClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "text-classification": "AutoModelForSequenceClassification",
    "text-generation": "AutoModelForCausalLM",
    "text2text-generation": "AutoModelForSeq2SeqLM",
    "token-classification": "AutoModelForTokenClassification",
}
"""What a model may be asked to do, in the words of transformers' pipelines; feature-extraction leaves out the head."""

_NO_LIMIT = 10**9  # tokenizers that know no limit say 1e30

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt", "*.model")
_IMAGE_PROCESSOR_FILE = "preprocessor_config.json"
_DOWNLOADED = (
    "config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    _IMAGE_PROCESSOR_FILE,
    "processor_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    *_TOKENIZER_FILES,
)


@dataclass(frozen=True, eq=False)
class Model:
    """A transformers model, what turns inputs into its tensors, and where it came from.

    `network` is the model as it was loaded or given; lignite leaves it as it is.
    """

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None
    image_processor: Any
    name: str
    revision: str | None = None

    @property
    def config(self) -> PreTrainedConfig:
        return self.network.config

    @property
    def device(self) -> torch.device:
        return self.network.device

    @property
    def dtype(self) -> torch.dtype:
        return self.network.dtype

    @property
    def max_length(self) -> int | None:
        """The most tokens one input may have, special ones included; None if nothing limits it.

        The smaller of what the tokenizer declares and what the position embeddings reach. For rotary positions that
        is the length in the model's configuration: beyond it the model computes, but was never trained.
        """
        declared = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        limits = [declared, getattr(self.tokenizer, "model_max_length", None)]
        for table in position_tables(self.network):
            unused = 0 if table.padding_idx is None else table.padding_idx + 1  # RoBERTa counts from there
            limits.append(table.num_embeddings - unused)
        valid = [int(limit) for limit in limits if limit is not None and 0 < limit < _NO_LIMIT]
        return min(valid, default=None)

    def __repr__(self) -> str:
        facts = [repr(self.name), type(self.network).__name__, *_size(self.config)]
        count = sum(weight.numel() for weight in self.network.parameters())
        facts.append(f"{count / 1e6:.3g} M parameters" if count >= 1e5 else f"{count} parameters")
        facts.append(f"{str(self.dtype).removeprefix('torch.')} on {self.device}")
        if self.max_length is not None:
            facts.append(f"at most {self.max_length} tokens")
        if self.tokenizer is None and self.image_processor is None:
            facts.append("no tokenizer")
        if self.revision:
            facts.append(f"revision {self.revision}")
        return f"Model({', '.join(facts)})"


@public
def load(
    name: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "float32",
    revision: str | None = None,
    trust_remote_code: bool = False,
    task: str | None = None,
) -> Model:
    """Load a model by name.

    Parameters
    ----------
    name
        A bundled model, else a folder, else an id on the model hub. The first two never touch the network. A folder
        that has the name of a bundled model is written `./name`.
    device
        Where to put it; by default the first CUDA device, or the CPU where there is none.
    dtype
        "float32" (default: half precision loses the small differences attribution is about), "float64", "float16",
        "bfloat16", "auto" (as stored), or a torch dtype.
    revision
        Branch, tag or commit of a hub model. `Model.revision` names the commit that was loaded.
    trust_remote_code
        Run Python code that comes with the model. Read that code first.
    task
        One of `TASKS`, to load another head than the one the checkpoint was saved with; "feature-extraction" for
        none.

    Raises
    ------
    ModelError
        If there is no such model, its weights are not safetensors (other formats can run code when opened), or
        weights of the network are not in the checkpoint: nothing random is ever explained.
    """
    number_type = _read_dtype(dtype)
    place = _read_device(device)
    if task is not None and task not in TASKS:
        raise OptionError(f"task {task!r} is not known; use one of {', '.join(TASKS)}.{did_you_mean(task, TASKS)}")
    folder, commit = _find(name, revision, trust_remote_code)
    with _quiet():
        config = _as_classifier(_read_config(folder, str(name), trust_remote_code), task)
        check_files(folder, str(name), config, trust_remote_code=trust_remote_code)
        loader = _choose_class(config, str(name), task, trust_remote_code)
        network = _read_weights(loader, folder, str(name), config, number_type, trust_remote_code)
        tokenizer = _read_tokenizer(folder, str(name), trust_remote_code)
        image_processor = _read_image_processor(folder, str(name), trust_remote_code)
    network.to(place).eval()
    return Model(network, tokenizer, image_processor, str(name), commit)


@public
def wrap(
    network: object,
    tokenizer: object = None,
    *,
    image_processor: Any = None,
    name: str | None = None,
) -> Model:
    """Take a loaded transformers model as it is: it is not moved, cast or changed.

    Without a tokenizer, inputs are given as tensors. Wrappers that leave a model's answer as it is are looked into
    (`torch.compile`, DataParallel, LoRA adapters), and so is what keeps a model beside its tokenizer (pipelines,
    trainers, cross-encoders), which is then taken from there.

    Raises
    ------
    ModelError
        If there is no transformers model in what was given, or it is not the whole of it; the message names its place.
    """
    if isinstance(network, Model):
        held = Held(network.network, network.tokenizer, network.image_processor)
    else:
        held = unwrap(network)
    _check_network(held.network)
    words = _first_given(_part(tokenizer, "tokenizer"), held.tokenizer, _part(image_processor, "tokenizer", own=False))
    pictures = _first_given(
        _part(image_processor, "image_processor"), held.image_processor, _part(tokenizer, "image_processor", own=False)
    )
    if words is not None and not isinstance(words, PreTrainedTokenizerBase):
        raise OptionError(
            f"tokenizer is a {type(words).__name__}, expected a transformers tokenizer: "
            "give PreTrainedTokenizerFast(tokenizer_object=tokenizer)."
        )
    if pictures is not None and not callable(pictures):
        raise OptionError(f"image_processor is a {type(pictures).__name__}, expected a transformers image processor.")
    origin = name or getattr(held.network.config, "_name_or_path", "") or type(held.network).__name__
    return Model(held.network, words, pictures, origin, getattr(held.network.config, "_commit_hash", None))


def as_model(given: object) -> Model:
    """What explaining begins with: a `Model`, or anything that `wrap` takes."""
    return given if isinstance(given, Model) else wrap(given)


def _first_given(*parts: Any) -> Any:
    return next((part for part in parts if part is not None), None)


def _part(given: Any, name: str, *, own: bool = True) -> Any:
    """A processor of texts and images holds both its parts; anything else is taken for the part itself."""
    parts = {kind: getattr(given, kind, None) for kind in ("tokenizer", "image_processor")}
    if all(part is not None for part in parts.values()):
        return parts[name]
    return given if own else None


def _check_network(network: PreTrainedModel) -> None:
    absent = next((key for key, weight in network.named_parameters() if weight.is_meta), None)
    if absent is not None:
        raise ModelError(
            f"the weights of {type(network).__name__} are not in memory ({absent} is on 'meta'): load them."
        )
    if any(weight.is_inference() for weight in network.parameters()):
        raise ModelError(
            f"the weights of {type(network).__name__} were made inside torch.inference_mode, where nothing can be "
            "differentiated: build, load or cast the model outside it, or under torch.no_grad."
        )


def _read_dtype(dtype: str | torch.dtype) -> torch.dtype | str:
    if dtype == "auto" or (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        return dtype
    if isinstance(dtype, str) and dtype in DTYPES:
        return DTYPES[dtype]
    raise OptionError(
        f"dtype {str(dtype)!r} is not known; use {', '.join(DTYPES)} or auto.{did_you_mean(dtype, DTYPES)}"
    )


def _read_device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise OptionError(f"device {device!r} is not known: use 'cpu', 'cuda' or 'cuda:1'.") from error
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise OptionError(
            f"device {str(device)!r} is not there (CUDA devices: {torch.cuda.device_count()}): use 'cpu'."
        )
    return place


def _find(name: str | Path, revision: str | None, trust_remote_code: bool) -> tuple[Path, str | None]:
    """Folder that holds the model, and its commit on the hub."""
    from lignite.zoo import bundled  # the zoo is an inventory; loading is the only one to ask for it

    if not str(name).strip():
        raise ModelError(f"the model has no name: give one of {', '.join(bundled())}, a folder or a hub id.")
    folder = bundled().get(name) if isinstance(name, str) else None
    folder = folder or expanded(name)
    try:
        there = folder.is_dir()
    except (OSError, ValueError) as error:  # longer than names are; not of this user
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"{shorten(str(name), 200)} is no name of a folder or a model ({reason}).") from error
    if there:
        if revision is not None:
            raise OptionError(
                f"revision {revision!r} given for {str(name)!r}, which is local: revisions belong to hub ids."
            )
        return folder, None
    if folder.is_file():
        raise ModelError(f"{name} is a file: give the folder that holds config.json and model.safetensors.")
    if isinstance(name, Path) or folder.is_absolute() or re.match(r"\.\.?(/|\\|$)|~", name) or name.count("/") > 1:
        raise ModelError(f"there is no folder {name}: check the path, or name one of {', '.join(bundled())}.")
    return _download(name, revision, trust_remote_code, known=bundled())


def _download(
    name: str, revision: str | None, trust_remote_code: bool, *, known: Mapping[str, Path]
) -> tuple[Path, str | None]:
    """Fetch what lignite reads of a hub repository, or find it in the local cache."""
    wanted = [*_DOWNLOADED, "*.py"] if trust_remote_code else list(_DOWNLOADED)
    local = f"{name!r} is neither a bundled model ({', '.join(known)}) nor a folder"
    hint = did_you_mean(name, known)
    try:
        folder = Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=wanted))
    except hub.GatedRepoError as error:
        raise ModelError(
            f"{name!r} is gated on the model hub: ask for access there and log in with `hf auth login`."
        ) from error
    except hub.RevisionNotFoundError as error:
        raise ModelError(
            f"{name!r} has no revision {revision!r} on the model hub: name a branch, tag or commit."
        ) from error
    except hub.RepositoryNotFoundError as error:
        raise ModelError(
            f"{local}, and the model hub has no such id: check the spelling, or log in if it is private.{hint}"
        ) from error
    except hub.HFValidationError as error:
        raise ModelError(f"{local}, and no hub id either: those read 'owner/name'.{hint}") from error
    except (OSError, hub.OfflineModeIsEnabled) as error:  # no network, proxies, time-outs: all of them arrive as these
        raise ModelError(
            f"{local}, and the model hub cannot be reached: check the name or the connection.{hint}"
        ) from error
    return folder, folder.name


def _read_config(folder: Path, name: str, trust_remote_code: bool) -> PreTrainedConfig:
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ModelError(
                f"{name} holds an adapter, not a model: merge it into its base model (merge_and_unload) and save that."
            )
        raise ModelError(
            f"{name} holds no config.json, so it is no transformers model: give the folder of a saved model."
        )
    with _explained(f"{name}: config.json cannot be read", trust_remote_code):
        return AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)


def _as_classifier(config: PreTrainedConfig, task: str | None) -> PreTrainedConfig:
    """Masked autoencoders have the encoder of a ViT, and no classifier of their own: under a head they are a ViT."""
    wanted = task == "image-classification" or (task is None and "ViTForImageClassification" in _saved_from(config))
    if config.model_type != "vit_mae" or not wanted:
        return config
    known = ViTConfig().to_dict().keys() - {"model_type", "architectures", "transformers_version"}
    shared = {name: value for name, value in config.to_dict().items() if name in known}
    return ViTConfig(**shared, architectures=config.architectures)


def _saved_from(config: PreTrainedConfig) -> list[str]:
    return list(config.architectures or ())


def _choose_class(config: PreTrainedConfig, name: str, task: str | None, trust_remote_code: bool) -> Any:
    """The class that was saved, a task's class, or the headless one."""
    if task is not None:
        return getattr(transformers, TASKS[task])
    architecture = next(iter(config.architectures or ()), None)
    if architecture is None:
        return transformers.AutoModel
    if trust_remote_code:
        for auto_class, reference in (getattr(config, "auto_map", None) or {}).items():
            if str(reference).split(".")[-1] == architecture:
                return getattr(transformers, auto_class)
    known = getattr(transformers, architecture, None)
    if isinstance(known, type) and issubclass(known, PreTrainedModel):
        return known
    warn(f"{name}: transformers {transformers.__version__} has no class {architecture}; loaded without its head.")
    return transformers.AutoModel


def _read_weights(
    loader: Any, folder: Path, name: str, config: PreTrainedConfig, dtype: torch.dtype | str, trust_remote_code: bool
) -> PreTrainedModel:
    def read(**options: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
        with _explained(f"{name}: the weights cannot be loaded", trust_remote_code):
            return loader.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                ignore_mismatched_sizes=True,  # reported with their shapes below
                output_loading_info=True,
                **options,
            )

    network, report = read()
    missing = sorted(report["missing_keys"])
    poolable = "add_pooling_layer" in inspect.signature(type(network).__init__).parameters
    if missing and poolable and all(key.startswith("pooler.") for key in missing):
        network, report = read(add_pooling_layer=False)  # models saved with a head often lack it, and no block uses it
    _check_report(report, network, name, config)
    return network


def _check_report(report: Mapping[str, Any], network: PreTrainedModel, name: str, config: PreTrainedConfig) -> None:
    kind = type(network).__name__
    if report["mismatched_keys"]:
        key, stored, expected = min(report["mismatched_keys"])
        raise ModelError(
            f"{name}: {key} has shape {tuple(stored)} in the checkpoint but {tuple(expected)} in {kind}: "
            "config.json belongs to another model."
        )
    missing = sorted(report["missing_keys"])
    prefix = network.base_model_prefix + "."
    has_head = network.base_model is not network
    body = [key for key in missing if not has_head or (key.startswith(prefix) and ".pooler." not in key)]
    if body:
        raise ModelError(
            f"{name}: the checkpoint lacks {len(body)} weights of {kind} ({_first(body)}): it is incomplete, or "
            "config.json belongs to another model."
        )
    if missing:
        saved = ", ".join(config.architectures or ()) or "a model without a head"
        raise ModelError(
            f"{name}: the checkpoint (saved from {saved}) has no trained weights for the head of {kind} "
            f"({_first(missing)}): give task='feature-extraction' to load it without a head."
        )
    homeless = sorted(key for key in report["unexpected_keys"] if re.search(r"\.\d+\.", key) and _belongs(key, network))
    if homeless:
        warn(
            f"{name}: {len(homeless)} weights of the checkpoint have no place in {kind} ({_first(homeless)}) and were "
            "left out; config.json may declare too few blocks."
        )


def _belongs(key: str, network: PreTrainedModel) -> bool:
    """Whether a weight would sit beside blocks that the network has."""
    stem = re.split(r"\.\d+\.", key)[0].removeprefix(network.base_model_prefix + ".")
    return any(
        isinstance(module, torch.nn.ModuleList) and path == stem for path, module in network.base_model.named_modules()
    )


def _read_tokenizer(folder: Path, name: str, trust_remote_code: bool) -> PreTrainedTokenizerBase | None:
    if not any(any(folder.glob(pattern)) for pattern in _TOKENIZER_FILES):
        return None  # transformers would make one up, with special tokens and no words
    with _explained(f"{name}: the tokenizer cannot be loaded", trust_remote_code):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)


def _read_image_processor(folder: Path, name: str, trust_remote_code: bool) -> Any:
    if not (folder / _IMAGE_PROCESSOR_FILE).is_file():
        return None
    with _explained(f"{name}: the image processor cannot be loaded", trust_remote_code):
        return AutoImageProcessor.from_pretrained(
            folder,
            backend="pil",  # the same pixels on every machine, with torchvision or without
            trust_remote_code=trust_remote_code,
            local_files_only=True,
        )


@contextmanager
def _explained(what: str, trust_remote_code: bool) -> Iterator[None]:
    """Turn transformers' many kinds of failure into one line."""
    try:
        yield
    except Exception as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if "trust_remote_code" in str(error) and not trust_remote_code:
            reason = "it comes with Python code of its own; read that code, then give trust_remote_code=True to run it"
        raise ModelError(f"{what} ({reason}).") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back transformers' progress bars and reports; what matters in them is checked here."""
    level, bars, downloads = (
        chatter.get_verbosity(),
        chatter.is_progress_bar_enabled(),
        not are_progress_bars_disabled(),
    )
    chatter.set_verbosity_error()
    if bars:
        chatter.disable_progress_bar()
    try:
        yield
    finally:
        chatter.set_verbosity(level)
        if bars:
            chatter.enable_progress_bar()
            if not downloads:
                disable_progress_bars()


def _size(config: PreTrainedConfig) -> list[str]:
    """Blocks, heads and width, as far as the configuration tells."""
    inner = config.get_text_config()
    inner = getattr(config, "vision_config", None) or inner if not hasattr(inner, "num_hidden_layers") else inner
    words = {"num_hidden_layers": "{} layers", "num_attention_heads": "{} heads", "hidden_size": "width {}"}
    values = {words[key]: getattr(inner, key, None) for key in words}
    return [word.format(value) for word, value in values.items() if isinstance(value, int)]


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:2]) + (", …" if len(keys) > 2 else "")
