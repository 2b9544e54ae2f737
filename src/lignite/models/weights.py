"""Which files a checkpoint's weights are read from: safetensors inside its folder, and nothing that can run code."""

import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from lignite.errors import ModelError
from lignite.models.facts import named_kernels

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")

_INDEX = ".safetensors.index.json"
_OTHERS = (".bin", ".h5", ".msgpack", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".gguf")


def check_files(folder: Path, name: str, config: PreTrainedConfig, *, trust_remote_code: bool) -> None:
    """Refuse a folder whose weights, or the files that say where they are, lead to anything but safetensors.

    Raises
    ------
    ModelError
        If there are no weights, they have another format (a pickle can run anything when it is opened), an index or
        the configuration names a file of another format or of another folder, an adapter lies beside the model, or
        the configuration asks for a kernel from the hub.
    """
    if (folder / "adapter_config.json").is_file():  # transformers would read the adapter's weights, pickles too
        raise ModelError(
            f"{name} holds an adapter (adapter_config.json) beside the model: merge it into the model "
            "(merge_and_unload) and save that, or move adapter_config.json out of the folder."
        )
    _check_kernels(name, config, trust_remote_code=trust_remote_code)
    file = _first_file(folder, name, config)
    if file.endswith(_INDEX):
        for shard in _shards(folder / file, name):
            _check_name(shard, f"{name}: {file}")
            if not (folder / shard).is_file():
                raise ModelError(f"{name}: {file} names {shard}, which is not there: copy or download it again.")


def _first_file(folder: Path, name: str, config: PreTrainedConfig) -> str:
    """Find the file that transformers opens first: the one that the configuration names, else a usual one."""
    named = getattr(config, "transformers_weights", None)
    if named is not None:
        _check_name(named, f"{name}: config.json (transformers_weights)", index=True)
    found = next((file for file in ([named] if named else WEIGHTS) if (folder / file).is_file()), None)
    if found is not None:
        return found
    others = sorted(path.name for path in folder.iterdir() if path.suffix in _OTHERS)
    if others:
        raise ModelError(
            f"{name} has its weights in {others[0]}, not in model.safetensors, and lignite opens no other format: "
            "if you trust the file, convert it once with transformers, from_pretrained(folder).save_pretrained(new)."
        )
    raise ModelError(f"{name} holds no weights ({named or WEIGHTS[0]}): save the model with save_pretrained first.")


def _shards(index: Path, name: str) -> list[Any]:
    try:
        weight_map: Any = json.loads(index.read_text("utf-8"))["weight_map"]
        return list(dict.fromkeys(weight_map.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{name}: {index.name} is no index of weights ({type(error).__name__}): save the model with "
            "save_pretrained again."
        ) from error


def _check_name(file: object, where: str, *, index: bool = False) -> None:
    """A plain name of a file of this very folder, in a format that holds numbers and nothing else."""
    endings = (".safetensors", _INDEX) if index else (".safetensors",)
    if not isinstance(file, str) or not file.endswith(endings):
        raise ModelError(
            f"{where} names {str(file)[:80]!r}, and lignite opens nothing but safetensors, since other formats can run "
            "code: if you trust the file, convert it once with from_pretrained(folder).save_pretrained(new)."
        )
    if "/" in file or "\\" in file or "\0" in file:
        raise ModelError(f"{where} names {file[:80]!r}, a file outside the model's folder: put all files side by side.")


def _check_kernels(name: str, config: PreTrainedConfig, *, trust_remote_code: bool) -> None:
    """Names with a slash are code on the model hub, which transformers would fetch and run."""
    for option, chosen in named_kernels(config).items():
        if "/" in chosen and not trust_remote_code:
            raise ModelError(
                f"{name}: config.json asks for the code {chosen[:80]!r} from the model hub ({option}): take the "
                "line out, or read that code and give trust_remote_code=True to run it."
            )
