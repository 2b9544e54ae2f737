"""A saved model: its folder, found by name, and what is read from it, safely and completely or not at all."""

import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
import transformers
from huggingface_hub import errors as hub
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ViTConfig,
)

from lignite.errors import ModelError, OptionError, warn
from lignite.files import expanded
from lignite.wording import did_you_mean, shorten

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


def find_folder(name: str | Path, revision: str | None, trust_remote_code: bool) -> tuple[Path, str | None]:
    """Find the folder that holds the model, and its commit on the hub."""
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


def read_config(folder: Path, name: str, trust_remote_code: bool) -> PreTrainedConfig:
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


def as_classifier(config: PreTrainedConfig, task: str | None) -> PreTrainedConfig:
    """Masked autoencoders have the encoder of a ViT, and no classifier of their own: under a head they are a ViT."""
    wanted = task == "image-classification" or (
        task is None and "ViTForImageClassification" in (config.architectures or ())
    )
    if config.model_type != "vit_mae" or not wanted:
        return config
    known = ViTConfig().to_dict().keys() - {"model_type", "architectures", "transformers_version"}
    shared = {name: value for name, value in config.to_dict().items() if name in known}
    return ViTConfig(**shared, architectures=config.architectures)


def choose_class(config: PreTrainedConfig, name: str, task: str | None, trust_remote_code: bool) -> Any:
    """Choose the class that was saved, a task's class, or the headless one."""
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


def read_weights(
    loader: Any,
    folder: Path,
    name: str,
    config: PreTrainedConfig,
    dtype: torch.dtype | str,
    trust_remote_code: bool,
    weights: Mapping[str, Any] | None = None,
) -> PreTrainedModel:
    """Read a network from its files, or from `weights` by their names there."""

    def read(**options: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
        with _explained(f"{name}: the weights cannot be loaded", trust_remote_code):
            return loader.from_pretrained(
                folder if weights is None else None,
                config=config,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                ignore_mismatched_sizes=True,  # reported with their shapes below
                output_loading_info=True,
                state_dict=weights,
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


def read_tokenizer(folder: Path, name: str, trust_remote_code: bool) -> PreTrainedTokenizerBase | None:
    if not any(any(folder.glob(pattern)) for pattern in _TOKENIZER_FILES):
        return None  # transformers would make one up, with special tokens and no words
    with _explained(f"{name}: the tokenizer cannot be loaded", trust_remote_code):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)


def read_image_processor(folder: Path, name: str, trust_remote_code: bool) -> Any:
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


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:2]) + (", …" if len(keys) > 2 else "")
