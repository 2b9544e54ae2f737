"""What a network and its configurations tell of themselves, under whatever names: sizes, tables, inputs, patches.

No other module reads what a configuration says of a model (a house test): names differ from family to family.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from transformers import PreTrainedModel


def text_config(config: Any) -> Any:
    """Find the configuration of what reads texts; the whole one where several do, or none."""
    try:
        return config.get_text_config()
    except (ValueError, AttributeError):  # several texts are read: nothing says which is meant
        return config


def number_of(config: Any, name: str, default: int = 0) -> int:
    """Read a whole number of a configuration, the largest where it has one per layer or stage; `default` without any.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> config = SimpleNamespace(intermediate_size=[32, 64], hidden_size=16)
    >>> number_of(config, "intermediate_size"), number_of(config, "hidden_size"), number_of(config, "vocab_size", 9)
    (64, 16, 9)
    """
    value = getattr(config, name, None)
    several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return max((int(each) for each in several if isinstance(each, int | float)), default=default) or default


def nested_configs(config: Any) -> list[Any]:
    """List a configuration and those that it keeps for its parts (towers, encoder and decoder)."""
    parts = (getattr(config, name, None) for name in getattr(config, "sub_configs", {}))
    return [each for each in (config, *parts) if each is not None]


def number_of_heads(config: Any) -> int | None:
    """Read how many heads every block has; None where the configuration does not say, or says it layer by layer."""
    found = (getattr(each, "num_attention_heads", None) for each in (config, text_config(config)))
    return next((number for number in found if isinstance(number, int) and number), None)


_HEAD_COUNTS = ("num_heads", "n_heads", "n_head", "nhead", "num_attention_heads")


def heads_in(block: nn.Module) -> int | None:
    """Read how many heads a block has from the first of its parts that says so, under the names in use."""
    named = (getattr(part, name, None) for part in block.modules() for name in _HEAD_COUNTS)
    return next((number for number in named if isinstance(number, int) and number > 0), None)


def side_of(part: nn.Module) -> Any:
    """Read the size of images that a part of a module names."""
    return getattr(part, "image_size", None) or getattr(part, "img_size", None)


_BLOCK_COUNTS = (
    "num_hidden_layers", "encoder_layers", "num_encoder_layers", "num_layers", "n_layer", "n_layers",
    "decoder_layers", "num_decoder_layers",
)  # fmt: skip


def block_counts(config: Any) -> tuple[int, ...]:
    """List how many blocks a stack may have by what the configuration says; nothing where it does not say."""
    numbers = [getattr(each, name, None) for each in nested_configs(config) for name in _BLOCK_COUNTS]
    return tuple(dict.fromkeys(each for each in numbers if isinstance(each, int) and not isinstance(each, bool)))


class Widths(NamedTuple):
    """Sizes that decide how much memory a forward pass takes."""

    states: int
    inner: int
    layers: int
    vocabulary: int


def read_widths(config: Any) -> Widths:
    """Read the sizes of the model that reads texts, usual ones where the configuration names none."""
    config = text_config(config)
    states = number_of(config, "hidden_size", 512)
    inner = number_of(config, "intermediate_size", 4 * states)
    return Widths(states, inner, number_of(config, "num_hidden_layers", 1), number_of(config, "vocab_size"))


def summarize_size(config: Any) -> list[str]:
    """Put blocks, heads and width into words, as far as the configuration tells."""
    inner = text_config(config)
    inner = getattr(config, "vision_config", None) or inner if not hasattr(inner, "num_hidden_layers") else inner
    words = {"num_hidden_layers": "{} layers", "num_attention_heads": "{} heads", "hidden_size": "width {}"}
    values = {words[key]: getattr(inner, key, None) for key in words}
    return [word.format(value) for word, value in values.items() if isinstance(value, int)]


def has_encoder_and_decoder(config: Any) -> bool:
    """Whether an encoder reads the input, and a decoder answers beside it."""
    return bool(getattr(config, "is_encoder_decoder", False))


def has_experts(config: Any) -> bool:
    """Whether blocks choose among experts, which may change from point to point."""
    names = ("num_local_experts", "num_experts", "n_routed_experts")
    return any(getattr(text_config(config), name, None) for name in names)


def has_token_types(config: Any) -> bool:
    return hasattr(text_config(config), "type_vocab_size")


def declared_length(config: Any) -> int | None:
    """Read how many tokens a model was made for, where its configuration says so."""
    return getattr(text_config(config), "max_position_embeddings", None)


def declared_vocabulary(config: Any) -> int | None:
    """Read how many tokens a model tells apart in its answers, where its configuration says so."""
    return getattr(text_config(config), "vocab_size", None)


def declared_labels(config: Any) -> int | None:
    """Read how many classes a classifier has, where its configuration says so."""
    return getattr(config, "num_labels", None)


def declared_problem(config: Any) -> str | None:
    """Read what a classifier was trained for, where its configuration says so, as ``"regression"``."""
    return getattr(config, "problem_type", None)


def attention_of(config: Any) -> str | None:
    """Name of the attention function that a model was loaded with."""
    return getattr(config, "_attn_implementation", None)


def named_kernels(config: Any) -> dict[str, str]:
    """List code for attention and experts that a configuration asks for by name."""
    options = ("attn_implementation", "experts_implementation")
    asked = {option: getattr(config, f"_{option}", None) for option in options}
    return {option: name for option, name in asked.items() if isinstance(name, str)}


def padding_ids(config: Any) -> list[int]:
    """List the ids that the configuration calls padding, that of the whole model first."""
    found = (getattr(each, "pad_token_id", None) for each in (config, text_config(config)))
    return [number for number in found if isinstance(number, int)]


def without_padding(config: Any) -> list[Any]:
    """List the configurations that have a place for the id of padding, and none in it."""
    owners = {id(each): each for each in (config, text_config(config))}.values()
    return [each for each in owners if getattr(each, "__dict__", {}).get("pad_token_id", 0) is None]


def special_ids(config: Any) -> set[int]:
    """Collect the ids that mean something to the model beside what words mean."""
    held = (vars(each).items() for each in nested_configs(config))
    known = (value for items in held for name, value in items if name.endswith(("_token_id", "_token_index")))
    return {number for number in known if isinstance(number, int)}


def writes_words(network: nn.Module) -> bool:
    """Whether a model ends in logits over its vocabulary."""
    try:
        head = network.get_output_embeddings()  # type: ignore[operator]
    except (NotImplementedError, AttributeError):
        return False
    return head is not None


def vocabulary_size(network: PreTrainedModel) -> int | None:
    """Count how many tokens the model can read; None where ids are not looked up in a table."""
    traits = getattr(network, "traits", None)
    if isinstance(traits, Traits):
        return traits.n_words
    try:
        embeddings = network.get_input_embeddings()
    except (NotImplementedError, AttributeError):  # byte and character models hash their ids instead
        return None
    return embeddings.num_embeddings if isinstance(embeddings, nn.Embedding) else None


def class_names(config: Any, count: int | None = None) -> list[str]:
    """List the names of a classifier's classes, by their numbers; of `count` classes, named or not.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> class_names(SimpleNamespace(id2label={0: "dull", 1: "superb"}), 3)
    ['dull', 'superb', 'LABEL_2']
    """
    names = getattr(config, "id2label", None) or {}
    return [str(names.get(number, f"LABEL_{number}")) for number in range(len(names) if count is None else count)]


def tables_of(network: PreTrainedModel, what: str) -> list[nn.Embedding]:
    """List learned embeddings of something; of a ``"position"`` those with a padding index count from the next one."""
    named = network.named_modules()
    return [part for name, part in named if name.endswith(f"{what}_embeddings") and isinstance(part, nn.Embedding)]


def forward_names(network: PreTrainedModel) -> frozenset[str] | None:
    """List the names of the inputs that a model's forward spells out; None where it takes anything."""
    told: frozenset[str] | None = getattr(network, "takes", None)  # of a module that is not transformers' own
    if told is not None:
        return told
    parameters = inspect.signature(network.forward).parameters.values()
    names = {p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    return frozenset(names) or None


def reads_images(network: PreTrainedModel) -> bool:
    return getattr(network, "main_input_name", "input_ids") == "pixel_values"


def reads_states(network: PreTrainedModel) -> bool:
    """Whether a model is given the states of its tokens, and has no words or pixels to make them of."""
    return getattr(network, "main_input_name", "input_ids") == "inputs_embeds"


def fills_masks(config: Any) -> bool:
    """Whether a module that is not transformers' own writes a word at the place of each."""
    return bool(getattr(config, "fills_masks", False))


def answers_last(config: Any) -> bool:
    """Whether a model says how a text goes on behind its last token alone."""
    return bool(getattr(config, "answers_last", False))


def states_width(config: Any) -> int:
    """Read how many numbers a state has."""
    return number_of(text_config(config), "hidden_size")


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a trial has found of a module without a configuration; None where it found nothing.

    `width` is that of states, `n_words` and `n_places` count the rows of tables, `writes_words` says that its answers
    are words, `fills_masks` that each stands at its own place, and `answers_last` that there is one behind the last
    token alone. Of images, `prefix` counts the tokens before the patches.
    """

    width: int
    n_blocks: int
    n_heads: int | None
    n_words: int | None = None
    n_places: int | None = None
    n_labels: int = 0
    labels: Sequence[str] | None = None
    writes_words: bool = False
    fills_masks: bool = False
    answers_last: bool = False
    channels: int | None = None
    size: tuple[int, int] | None = None
    patch: tuple[int, int] | None = None
    prefix: int | None = None


def configured(traits: Traits) -> dict[str, Any]:
    """Write traits under the names that configurations of transformers have for them."""
    named: dict[str, Any] = {
        "hidden_size": traits.width,
        "num_hidden_layers": traits.n_blocks,
        "num_attention_heads": traits.n_heads,
        "vocab_size": traits.n_words,
        "num_labels": traits.n_labels,
        "fills_masks": traits.fills_masks,
        "answers_last": traits.answers_last,
    }
    if traits.n_places is not None:
        named["max_position_embeddings"] = traits.n_places
    if traits.labels is not None:
        named["id2label"] = dict(enumerate(map(str, traits.labels)))
    if traits.size is not None:
        named |= {"num_channels": traits.channels, "image_size": traits.size, "patch_size": traits.patch}
        named["n_prefix"] = traits.prefix
    return named


class Images(NamedTuple):
    """Images that a model was made for; sizes are heights and widths in pixels, None where none is named.

    `prefix` counts the tokens before the patches, where a trial has found them.
    """

    family: str
    channels: int
    size: tuple[int, int] | None
    patch: tuple[int, int] | None
    registers: int
    prefix: int | None


def read_images(config: Any) -> Images:
    """Read what the configuration of a model of images, or of the tower in it that looks at them, says of images."""
    config = getattr(config, "vision_config", None) or config
    size, patch = (height_and_width(getattr(config, name, None)) for name in ("image_size", "patch_size"))
    registers = getattr(config, "num_register_tokens", 0)
    prefix = getattr(config, "n_prefix", None)
    return Images(config.model_type, number_of(config, "num_channels", 3), size, patch, registers, prefix)


def reads_grey(network: PreTrainedModel) -> bool:
    return read_images(network.config).channels == 1


def image_shape(network: PreTrainedModel, side: int) -> tuple[int, int, int]:
    """Read channels, height and width of the images that a model was made for; `side` pixels where it does not say."""
    known = read_images(network.config)
    return known.channels, *(known.size or (side, side))


def size_options(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Say what a model must be told to stretch its position embeddings over an image of another size than its own."""
    pixels = tensors.get("pixel_values")
    if pixels is None or pixels.ndim != 4 or not isinstance(network, PreTrainedModel):
        return {}
    size = read_images(network.config).size
    if size is None or tuple(pixels.shape[2:]) == size or not can_stretch(network):
        return {}
    return {"interpolate_pos_encoding": True}


def can_stretch(network: PreTrainedModel) -> bool:
    """Whether position embeddings are stretched on request; only those of a square can be."""
    size = read_images(network.config).size
    towers = [network, *(part for part in network.children() if isinstance(part, PreTrainedModel))]
    return (
        size is not None
        and size[0] == size[1]
        and any("interpolate_pos_encoding" in inspect.signature(part.forward).parameters for part in towers)
    )


def height_and_width(size: Any) -> tuple[int, int] | None:
    """Read a size in pixels: of a square where one number stands for both; None for anything but one or two numbers.

    Examples
    --------
    >>> height_and_width(16), height_and_width([14, 16]), height_and_width(None)
    ((16, 16), (14, 16), None)
    """
    if isinstance(size, int):
        return size, size
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) and len(size) == 2 else None


def patch_size(network: PreTrainedModel) -> tuple[int, int] | None:
    """Read height and width of a patch in pixels; None for models that name none, or several."""
    return read_images(network.config).patch


_notes: "WeakKeyDictionary[object, dict[str, Any]]" = WeakKeyDictionary()


Answer = TypeVar("Answer")


def noted(thing: object, question: str, find: Callable[[], Answer]) -> Answer:
    """Answer a question about a network, or an input: by its note, or by what `find` says, which is then noted."""
    notes = notes_on(thing)
    if question not in notes:
        notes[question] = find()
    answer: Answer = notes[question]
    return answer


def notes_on(thing: object) -> dict[str, Any]:
    """Keep answers about a network, or an input, by question: what takes runs of the model to find out is asked once.

    Nothing else is kept from one call to the next. Whoever writes a note says in its name what it answers.

    Examples
    --------
    >>> class Network: ...
    >>> network = Network()
    >>> notes_on(network)["is tall"] = True
    >>> notes_on(network), notes_on(Network())
    ({'is tall': True}, {})
    """
    return _notes.setdefault(thing, {})
