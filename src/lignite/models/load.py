"""Load a model by name, or take one that is already loaded, in whatever people hold it."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as chatter

from lignite.calls import public
from lignite.errors import ModelError, OptionError, warn
from lignite.models.checkpoint import (
    TASKS,
    as_classifier,
    choose_class,
    find_folder,
    read_config,
    read_image_processor,
    read_tokenizer,
    read_weights,
)
from lignite.models.facts import declared_length, named_kernels, summarize_size, tables_of
from lignite.models.modules import dress_module
from lignite.models.shards import Stored, fits, stream_weights
from lignite.models.spread import gathered
from lignite.models.stream import parts_within
from lignite.models.unknown import Told
from lignite.models.unwrap import Held, advice_on, unwrap
from lignite.wording import did_you_mean

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")

_INDEX = ".safetensors.index.json"
_OTHERS = (".bin", ".h5", ".msgpack", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".gguf")


def files_of(folder: Path, name: str, config: PreTrainedConfig) -> list[str]:
    """List the files that hold a model's weights."""
    file = _first_file(folder, name, config)
    return _shards(folder / file, name) if file.endswith(_INDEX) else [file]


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


DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}

_NO_LIMIT = 10**9  # tokenizers that know no limit say 1e30


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
        declared = declared_length(self.config)
        limits = [declared, getattr(self.tokenizer, "model_max_length", None)]
        for table in tables_of(self.network, "position"):
            unused = 0 if table.padding_idx is None else table.padding_idx + 1  # RoBERTa counts from there
            limits.append(table.num_embeddings - unused)
        valid = [int(limit) for limit in limits if limit is not None and 0 < limit < _NO_LIMIT]
        return min(valid, default=None)

    def __repr__(self) -> str:
        facts = [repr(self.name), type(self.network).__name__, *summarize_size(self.config)]
        count = sum(weight.numel() for weight in self.network.parameters())
        facts.append(f"{count / 1e6:.3g} M parameters" if count >= 1e5 else f"{count} parameters")
        facts.append(f"{str(self.dtype).removeprefix('torch.')} on {self.device}")
        if parts := parts_within(self.network):
            facts.append(f"{len(parts)} blocks streamed")
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
    stream: bool | None = None,
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
    stream
        Keep the weights of two blocks in memory, and read each block's from its files when it runs
        (docs/how-to/large.md); numbers are the same. By default where all of them do not fit into the free memory,
        which is then said.

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
    folder, commit = find_folder(name, revision, trust_remote_code)
    with _quiet():
        config = as_classifier(read_config(folder, str(name), trust_remote_code), task)
        check_files(folder, str(name), config, trust_remote_code=trust_remote_code)
        loader = choose_class(config, str(name), task, trust_remote_code)
        build = partial(read_weights, loader, folder, str(name), config, number_type, trust_remote_code)
        network = _read_network(folder, str(name), config, number_type, place, build, stream)
        tokenizer = read_tokenizer(folder, str(name), trust_remote_code)
        image_processor = read_image_processor(folder, str(name), trust_remote_code)
    return Model(network.eval(), tokenizer, image_processor, str(name), commit)


def _read_network(
    folder: Path,
    name: str,
    config: PreTrainedConfig,
    dtype: torch.dtype | str,
    device: torch.device,
    build: Callable[..., PreTrainedModel],
    stream: bool | None,
) -> PreTrainedModel:
    """Read all weights, or stream them."""
    if stream is False:
        return gathered(build().to(device))
    stored = Stored(folder / file for file in files_of(folder, name, config))
    if stream is None and fits(stored, dtype, device):
        return gathered(build().to(device))
    if getattr(config, "quantization_config", None) is not None:
        raise ModelError(
            f"{name} is stored quantised, and such files are not streamed: give stream=False to load them all "
            "(torchao's and bitsandbytes' are unpacked block by block), or stream the model that they were made of."
        )
    network = stream_weights(stored, name, build, device)
    if stream is None:
        warn(
            f"{name}: {stored.bytes_in(dtype) / 2**30:.3g} GiB of weights do not fit into the free memory, so each "
            "block's are read when it runs; give stream=True to say so, or stream=False to load them all."
        )
    return network


@public
def wrap(
    network: object,
    tokenizer: object = None,
    *,
    image_processor: Any = None,
    name: str | None = None,
    blocks: str | nn.Module | Sequence[str | nn.Module] | None = None,
    embed: str | nn.Module | None = None,
    labels: Sequence[str] | None = None,
    causal: bool | None = None,
    heads: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    patch_size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Model:
    """Take a loaded transformers model, or any module with a stack of blocks, as it is: not moved, cast or changed.

    Of one that is spread over devices, offloaded by accelerate, or quantised by torchao or bitsandbytes, the weights of
    two blocks at a time are brought to the device of the first, as plain numbers.

    Without a tokenizer, inputs are given as tensors. Wrappers that leave a model's answer as it is are looked into
    (`torch.compile`, DataParallel, LoRA adapters), and so is what keeps a model beside its tokenizer (pipelines,
    trainers, cross-encoders), which is then taken from there.

    A module that is not transformers' own is run a few times on an input of no meaning, to find its blocks, the table
    of its words, its classes, and which tokens see which (docs/how-to/wrap.md). What is given is not looked for.

    Parameters
    ----------
    tokenizer
        Of transformers; for other modules also an object with `encode` and `decode`, these two functions as a tuple,
        or a function that makes ids of a text.
    image_processor
        Of transformers; for other modules also a function that makes pixel values of a picture, as torchvision's and
        timm's transforms.
    name
        What results call the model.
    blocks
        The list of blocks, or its name; or the blocks one by one, in the order of their calls. By default the longest
        list of like modules that take states ``[row, token, d]`` (or tokens first) and return as many.
    embed
        What looks words up, or its name; by default the table that is asked for the ids themselves.
    labels
        Names of the classes, by their numbers.
    causal
        Whether no token sees a later one, so that padding behind a text changes nothing; by default it is explored.
    heads
        How many heads a block has, where no part of it says so (`num_heads`, `n_head`, …) and none are met.
    image_size, patch_size
        In pixels, where no part says so; one number for squares.
    mean, std
        Of each channel, of colours from 0 to 1: how pictures become pixel values without an image processor.

    Raises
    ------
    ModelError
        If there is no model in what was given, or it is not the whole of it; the message names its place, or the lists
        of modules that were found.
    OptionError
        If the tokenizer, the image processor or a part is of another kind.
    """
    told = Told(
        blocks=blocks, embed=embed, labels=labels, causal=causal, heads=heads, size=image_size, patch=patch_size,
        mean=mean, std=std,
    )  # fmt: skip
    if isinstance(network, Model):
        held = Held(network.network, network.tokenizer, network.image_processor)
    else:
        held = unwrap(network)
    _check_network(held.network)
    network = held.network if parts_within(held.network) else gathered(held.network)
    if not isinstance(network, PreTrainedModel):
        dressed = dress_module(network, told, tokenizer, image_processor, advice=advice_on(network))
        return Model(*dressed, name or type(network).__name__)
    if told.says_anything():
        raise OptionError(
            f"the configuration of {type(network).__name__} says what exploring finds of modules that are not "
            "transformers' own: leave out all but the tokenizer, image_processor= and name=."
        )
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
    return Model(network, words, pictures, origin, getattr(held.network.config, "_commit_hash", None))


def as_model(given: object) -> Model:
    """Make a `Model` of one, or of anything that `wrap` takes: explaining begins with it."""
    return given if isinstance(given, Model) else wrap(given)


def _first_given(*parts: Any) -> Any:
    return next((part for part in parts if part is not None), None)


def _part(given: Any, name: str, *, own: bool = True) -> Any:
    """A processor of texts and images holds both its parts; anything else is taken for the part itself."""
    parts = {kind: getattr(given, kind, None) for kind in ("tokenizer", "image_processor")}
    if all(part is not None for part in parts.values()):
        return parts[name]
    return given if own else None


def _check_network(network: nn.Module) -> None:
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
