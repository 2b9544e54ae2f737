"""Whatever a user gives becomes what the model reads, each input by itself."""

from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, suppress
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lignite.errors import InputError
from lignite.files import is_folder
from lignite.inputs.labels import Reading, join_texts, label_reading, number_in_a_row
from lignite.inputs.patches import encode_pixels
from lignite.inputs.pictures import encode_picture, is_picture, names_an_image
from lignite.inputs.text import are_whole, check_length, check_tables, check_vocabulary, encode_text, encode_words
from lignite.inputs.tokens import Encoded, Span, Tokens, on_device, wordless
from lignite.models.facts import (
    forward_names,
    noted,
    padding_ids,
    reads_images,
    reads_states,
    states_width,
    vocabulary_size,
)
from lignite.models.hold import Captured, at_rest, before_each, modules_of
from lignite.models.load import Model
from lignite.wording import shorten


def with_positions(network: PreTrainedModel, encoded: Encoded) -> Encoded:
    """Give the same input with its own positions, where the model would count them anew after every edit.

    RoBERTa and its kin number the tokens that are no padding: a word that becomes the padding token takes its number
    from all that follow. Which models do so is tried out, once per model.
    """
    tensors = encoded.tensors
    takes = forward_names(network) or frozenset()
    if "input_ids" not in tensors or "position_ids" in tensors or "position_ids" not in takes:
        return encoded
    with at_rest(network), torch.no_grad():
        table = noted(network, "table of counted positions", lambda: _find_table(network, tensors))
        if table is None:
            return encoded
        return replace(encoded, tensors={**tensors, "position_ids": looked_up(network, tensors)[table]})


def _find_table(network: PreTrainedModel, tensors: Mapping[str, Tensor]) -> nn.Module | None:
    """Find the table whose numbers change when a word becomes the padding token, beside that of the words."""
    ids = tensors["input_ids"]
    if len(_tables(network)) < 2:
        return None
    usual = looked_up(network, tensors)
    for number in _paddings(network):
        edited = ids.clone()
        edited[:, : (ids.shape[1] + 1) // 2] = number
        moved = looked_up(network, {**tensors, "input_ids": edited})
        found = [
            table
            for table, numbers in usual.items()
            if numbers.shape == ids.shape and not torch.equal(numbers, ids) and _differ(numbers, moved.get(table))
        ]
        if len(found) == 1:
            return found[0]
    return None


def _differ(one: Shaped[Tensor, "..."], other: Shaped[Tensor, "..."] | None) -> bool:
    return other is not None and not torch.equal(one, other)


def _paddings(network: PreTrainedModel) -> set[int]:
    """List the ids that may mean padding to the model, of those that it can read."""
    known = [*padding_ids(network.config), *(table.padding_idx for table in _tables(network))]
    return {number for number in known if isinstance(number, int) and 0 <= number < (vocabulary_size(network) or 0)}


def _tables(network: PreTrainedModel) -> list[nn.Embedding]:
    return [module for module in modules_of(network) if isinstance(module, nn.Embedding)]


def looked_up(network: PreTrainedModel, tensors: Mapping[str, Tensor]) -> "dict[nn.Module, Int[Tensor, 'row token']]":
    """Note the numbers that every table of embeddings is asked for, before the first block."""
    with _listening(network) as found, suppress(Captured):
        network(**tensors)
    return found


@contextmanager
def _listening(network: PreTrainedModel) -> Iterator[dict[nn.Module, Tensor]]:
    found: dict[nn.Module, Tensor] = {}

    def note(table: nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], Tensor) and table not in found:
            found[table] = args[0].detach().clone()

    def leave(*_: object) -> None:
        if found:  # past the embeddings
            raise Captured(None)

    blocks = [block for part in modules_of(network) if isinstance(part, nn.ModuleList) for block in part]
    with before_each(_tables(network), note), before_each(blocks, leave):
        yield found


def encode_ids(model: Model, tensors: dict[str, Tensor], notes: Sequence[Any]) -> list[Encoded]:
    """Encode ready ids, a row per text, exactly as given: the model counts positions and hides tokens by itself.

    `notes` are a fast tokenizer's, one per row, or None.
    """
    ids = tensors["input_ids"]
    if ids.ndim == 3:
        raise InputError(
            f"input_ids of shape {tuple(ids.shape)} hold several texts per example, as multiple choice reads them; "
            "lignite explains one text at a time: use a model whose forward scores one, [row, token]."
        )
    if ids.ndim != 2 or ids.shape[1] == 0 or not are_whole(ids):
        raise InputError(f"input_ids of shape {tuple(ids.shape)} and {ids.dtype}: give whole numbers [row, token].")
    tensors = {name: _whole(tensor) for name, tensor in tensors.items()}
    if "attention_mask" in tensors:
        tensors["attention_mask"] = _read_mask(tensors["attention_mask"], ids)
    check_length(model, ids.shape[1])
    check_vocabulary(model, ids)
    check_tables(model, tensors)
    rows = [{name: tensor[row : row + 1] for name, tensor in tensors.items()} for row in range(len(ids))]
    return [
        Encoded(on_device(model, row), _label_row(model.tokenizer, row, note))
        for row, note in zip(rows, notes, strict=True)
    ]


def _whole(tensor: Shaped[Tensor, "..."]) -> Tensor:
    """Put whole numbers in the one size that every table and comparison takes; flags and decimals stay as they are."""
    return tensor.long() if are_whole(tensor) else tensor


def _read_mask(mask: Shaped[Tensor, "..."], ids: Int[Tensor, "row token"]) -> Int[Tensor, "row token"]:
    """Read one number per token, 1 to read and 0 to ignore; what holds anything else is no mask that lignite knows."""
    if mask.shape != ids.shape:
        raise InputError(
            f"attention_mask has shape {tuple(mask.shape)}, input_ids {tuple(ids.shape)}: give one number per token, "
            "[row, token]; masks of pairs of tokens belong to the model itself."
        )
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise InputError(
            f"attention_mask holds {float(mask[(mask != 0) & (mask != 1)][0]):g}: give 1 for every token to read and 0 "
            "for those to ignore."
        )
    if not bool(mask.any(dim=1).all()):
        row = int((~mask.bool().any(dim=1)).nonzero()[0])
        raise InputError(f"attention_mask hides every token of row {row}: leave at least one to read.")
    return mask.long()


def _label_row(tokenizer: PreTrainedTokenizerBase | None, row: Mapping[str, Tensor], note: Any) -> Tokens:
    ids = row["input_ids"][0].tolist()
    mask = row.get("attention_mask")
    padding = [False] * len(ids) if mask is None else _padding(mask[0].tolist())
    if tokenizer is None:
        return wordless([str(token) for token in ids], special=tuple(padding), padding=tuple(padding))
    if note is None or note.ids != ids:  # the ids were changed after tokenization
        return label_reading(tokenizer, Reading(ids, padding, [0] * len(ids)), padding)
    segment = [-1 if number is None else number for number in note.sequence_ids]
    added = [bool(flag) for flag in note.special_tokens_mask]
    if _was_split(note):
        ready = number_in_a_row(note.word_ids, segment)
        return label_reading(tokenizer, Reading(ids, added, segment, words=ready), padding)
    _, spans = join_texts(_blank_texts(note.offsets, segment), note.offsets, segment)
    return label_reading(tokenizer, Reading(ids, added, segment, spans), padding, place_known=False)


def _padding(mask: Sequence[int]) -> list[bool]:
    """Flag what is masked out at either end; a token hidden between others is still one: its own state may be read."""
    first, last = mask.index(1), len(mask) - mask[::-1].index(1)
    return [not first <= place < last for place in range(len(mask))]


def _was_split(note: Any) -> bool:
    """Whether words were given one by one: then offsets begin anew in each of them."""
    reached: dict[int, tuple[int, int]] = {}
    for number, of, (start, stop) in zip(note.word_ids, note.sequence_ids, note.offsets, strict=True):
        if number is None or of is None or stop == start:
            continue
        before, end = reached.get(of, (number, 0))
        if number > before and start < end:
            return True
        reached[of] = (number, stop)
    return False


def _blank_texts(offsets: Sequence[Span], segment: Sequence[int]) -> tuple[str, str]:
    """Make blank texts as long as the offsets reach, for one that nobody has kept."""
    first, second = (
        max((stop for (_, stop), of in zip(offsets, segment, strict=True) if of == number), default=0)
        for number in (0, 1)
    )
    return " " * first, " " * second


_NOTES = ("offset_mapping", "special_tokens_mask", "overflow_to_sample_mapping", "length", "labels")
"""What tokenizers and data sets put beside a model's inputs; no state depends on them."""


def encode(model: Model, inputs: object) -> list[Encoded]:
    """Prepare inputs for a model, each by itself, so that no result depends on what else was given.

    Parameters
    ----------
    inputs
        A text; a tuple of two texts (a pair, such as question and passage); ``{"words": [...]}``, a text whose words
        were told apart before (a tuple of two such lists for a pair); a chat, a list of messages
        ``{"role": …, "content": …}``, written out by the tokenizer's chat template; for models of images the name of a
        file or folder, a Pillow image, an array ``[y, x, 3]``, pixel values as a tensor; a list, array or tensor of
        ids; a mapping of tensors as tokenizers and image processors return them (`input_ids` or `pixel_values`,
        further inputs of the model's forward, one row per example); or a list of these. The model gets ready tensors
        exactly as they are: it counts positions and hides tokens by itself. Rows keep their padding, flagged in the
        tokens. Without an `attention_mask` nothing counts as padding.

    Raises
    ------
    InputError
        If a text is empty or longer than the model can read (nothing is ever cut off), ids are outside the
        vocabulary, a row is masked out entirely, an image cannot be read, or the input is of another kind. Of a
        folder, images that cannot be read are left out, with a warning each.

    Warns
    -----
    LigniteWarning
        If a text already begins (or ends) with the special token that its tokenizer adds there, as a prompt written by
        a chat template does: it is read once.
    """
    items = cast("list[object]", inputs) if is_list(inputs) else [inputs]
    if not items:
        raise InputError("the list of inputs is empty: give at least one text, image or mapping of tensors.")
    return [with_positions(model.network, encoded) for item in items for encoded in _encode_item(model, item)]


def is_list(inputs: object) -> bool:
    """Whether inputs are several, so that the answer is a list; a chat and a list of ids are one input."""
    return isinstance(inputs, list) and not _is_chat(inputs) and not _is_ids(inputs)


def gives_several(model: Model, inputs: object) -> bool:
    """Whether the answer is a list: of a list, or of a folder of images."""
    return is_list(inputs) or (reads_images(model.network) and is_folder(inputs))


def _is_chat(item: object) -> bool:
    return isinstance(item, list) and bool(item) and all(isinstance(each, Mapping) and "role" in each for each in item)


def _is_ids(item: object) -> bool:
    """Whether something is a row of numbers: a list of them, or an array or a tensor of whole numbers."""
    if isinstance(item, Tensor):
        return item.ndim in (1, 2) and not item.is_floating_point()
    if isinstance(item, np.ndarray):
        return item.ndim in (1, 2) and item.dtype.kind in "iu"
    return isinstance(item, list) and bool(item) and all(isinstance(each, Integral) for each in item)


def _encode_item(model: Model, item: object) -> list[Encoded]:
    if reads_images(model.network):
        return _encode_for_images(model, item)
    if reads_states(model.network):
        return _encode_states(model, item)
    if isinstance(item, str):
        if names_an_image(item):
            raise InputError(
                f"{shorten(item, 40)!r} is the name of an image, and {model.name} reads texts: name a model of images "
                "('tiny-digits' is bundled; --model on the command line). If it is a text, give {'words': [...]}."
            )
        return [encode_text(model, (item,))]
    if isinstance(item, tuple) and len(item) == 2 and all(isinstance(text, str) for text in item):
        return [encode_text(model, item)]
    if isinstance(item, Mapping) and "role" in item:
        raise InputError("one message is no chat: give a list of messages, [{'role': 'user', 'content': '…'}].")
    if isinstance(item, Mapping):
        return [_encode_words(model, item)] if "words" in item else _encode_mapping(model, item)
    if _is_chat(item):
        return [_encode_chat(model, cast("list[Any]", item))]
    if _is_ids(item):
        return _encode_mapping(model, {"input_ids": item})
    if is_picture(item):
        raise InputError(
            f"{model.name} reads texts, not {_kind(item)}: give a text (a file's content, not its name), or a mapping "
            "of tensors."
        )
    raise InputError(_unknown(item))


def _encode_for_images(model: Model, item: object) -> list[Encoded]:
    if isinstance(item, str | bytes | bytearray) or is_picture(item) or hasattr(item, "read"):
        return encode_picture(model, item)
    if isinstance(item, Mapping):
        return _encode_mapping(model, item)
    if isinstance(item, tuple) and len(item) == 2 and all(isinstance(text, str) for text in item):
        raise InputError(f"{model.name} reads images, not a pair of texts: give the name of an image.")
    raise InputError(_unknown(item))


def _encode_states(model: Model, item: object) -> list[Encoded]:
    """Encode the states of tokens, ``[row, token, d]`` or of one row, for a model that is given them."""
    given = item.get("inputs_embeds") if isinstance(item, Mapping) else item
    states = _as_tensor("inputs_embeds", given) if isinstance(given, Tensor | np.ndarray | list) else None
    width = states_width(model.config)
    if states is None or states.ndim not in (2, 3) or states.shape[-1] != width or not states.is_floating_point():
        shown = _kind(given) if states is None else f"{states.dtype} of shape {tuple(states.shape)}"
        raise InputError(
            f"{model.name} reads states of tokens, not {shown}: give decimals [row, token, {width}], or wrap a module "
            "that makes them of what you have."
        )
    rows = states if states.ndim == 3 else states[None]
    tokens = wordless([f"t{number}" for number in range(rows.shape[1])])
    return [Encoded(on_device(model, {"inputs_embeds": row[None]}), tokens) for row in rows]


def _unknown(item: object) -> str:
    if isinstance(item, list) and item and all(isinstance(each, str) for each in item):
        return "cannot encode list (of texts) inside a list: if these are the words of one text, give {'words': [...]}."
    return (
        f"cannot encode {_kind(item)}: give a text, a pair of texts as a tuple, {{'words': [...]}}, a chat, an image, "
        "a mapping with input_ids or pixel_values, or a list of these."
    )


def _encode_words(model: Model, given: Mapping[str, object]) -> Encoded:
    """Encode words that somebody has told apart, for one text or a pair."""
    words = given["words"]
    texts = words if isinstance(words, tuple) else (words,)
    fine = len(given) == 1 and 0 < len(texts) < 3 and all(isinstance(text, list) and text for text in texts)
    if not fine or not all(isinstance(word, str) for text in texts for word in cast("list[Any]", text)):
        raise InputError(
            "the mapping with 'words' holds something else than words: give {'words': ['the', 'film', …]}, or for a "
            "pair {'words': (['who', '?'], ['she', 'did'])}."
        )
    return encode_words(model, cast("tuple[list[str], ...]", texts))


def _encode_chat(model: Model, messages: list[Any]) -> Encoded:
    """Encode messages as the chat template writes them, with the answer's beginning, or with the last one left open."""
    tokenizer = model.tokenizer
    if tokenizer is None or getattr(tokenizer, "chat_template", None) is None:
        raise InputError(
            f"{model.name} has {'no tokenizer' if tokenizer is None else 'no chat template'} to write messages with: "
            "set tokenizer.chat_template, or give the prompt as a text."
        )
    last = messages[-1].get("role") == "assistant"  # as transformers' pipelines: its message is continued
    try:
        prompt = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=not last, continue_final_message=last
        )
    except Exception as error:  # templates are programs of their own, and fail in their own words
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"the chat template of {model.name} cannot write these messages ({reason}): correct them, or give the "
            "prompt as a text."
        ) from error
    return encode_text(model, (str(prompt),), complete=True)


def _kind(item: object) -> str:
    if isinstance(item, tuple):
        return f"a tuple of {len(item)} ({', '.join(type(part).__name__ for part in item)})"
    return f"the path {item}" if isinstance(item, Path) else type(item).__name__


def _encode_mapping(model: Model, given: Mapping[str, object]) -> list[Encoded]:
    notes = getattr(given, "encodings", None) or []  # of a fast tokenizer, one per row
    given = _without_full_mask(model, given)
    _check_names(model, given)
    given = {name: values for name, values in given.items() if values is not None}  # as forwards name what is absent
    rows = _ragged_rows(given)
    if rows is not None:
        kept = notes if len(notes) == len(rows) else [None] * len(rows)
        return [
            encoded for row, note in zip(rows, kept, strict=True) for encoded in _encode_tensors(model, row, [note])
        ]
    return _encode_tensors(model, given, notes)


def _without_full_mask(model: Model, given: Mapping[str, object]) -> Mapping[str, object]:
    """Give the same inputs without a mask that hides nothing, for a model that takes none, as FNet."""
    accepted, mask = forward_names(model.network), given.get("attention_mask")
    hides_nothing = isinstance(mask, Tensor) and mask.numel() > 0 and bool((mask == 1).all())
    if accepted is None or "attention_mask" in accepted or not hides_nothing:
        return given
    return {name: values for name, values in given.items() if name != "attention_mask"}


def _encode_tensors(model: Model, given: Mapping[str, object], notes: Sequence[object]) -> list[Encoded]:
    if "input_ids" in given and "pixel_values" in given:
        raise InputError(
            f"{type(model.network).__name__} is given a text and an image at once; lignite explains one input at a "
            "time. Load the tower that reads it alone (as CLIPVisionModelWithProjection) and give target= a function "
            "of its output that holds the other one's embedding fixed."
        )
    tensors = _as_tensors(given)
    texts, images = "input_ids" in tensors, "pixel_values" in tensors
    if not texts and not images:
        names = ", ".join(tensors) or "nothing"
        raise InputError(f"the mapping holds {names}: give either input_ids or pixel_values, and what belongs to them.")
    if images:
        return encode_pixels(model, tensors)
    n_rows = len(tensors["input_ids"])
    return encode_ids(model, tensors, notes if len(notes) == n_rows else [None] * n_rows)


def _check_names(model: Model, given: Mapping[str, object]) -> None:
    accepted = forward_names(model.network)
    unknown = [name for name in given if name not in _NOTES and accepted is not None and name not in accepted]
    if unknown:
        raise InputError(
            f"{type(model.network).__name__} takes no {unknown[0]!r} (it takes {', '.join(sorted(accepted or ()))}): "
            "leave it out."
        )


def _ragged_rows(given: Mapping[str, object]) -> list[dict[str, object]] | None:
    """Find the rows of a batch whose texts differ in length, as tokenizers return it without padding; else None."""
    ids = given.get("input_ids")
    if not isinstance(ids, list | tuple) or len({len(row) if isinstance(row, Sized) else -1 for row in ids}) < 2:
        return None
    columns: dict[str, Any] = {name: values for name, values in given.items() if name not in _NOTES}
    sizes = {name: len(values) if isinstance(values, Sized) else -1 for name, values in columns.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(f"the inputs differ in their number of rows ({sizes}): give one row per example in each.")
    whole = all(isinstance(row, Sized) for row in ids)
    return [{name: values[row] for name, values in columns.items()} for row in range(len(ids))] if whole else None


def _as_tensors(given: Mapping[str, object]) -> dict[str, Tensor]:
    """Read the model's inputs out of a mapping; a single example gains its batch axis."""
    tensors = {name: _as_tensor(name, values) for name, values in given.items() if name not in _NOTES}
    single = {"input_ids": 1, "pixel_values": 3}
    if any(name in tensors and tensors[name].ndim == axes for name, axes in single.items()):
        tensors = {name: tensor[None] for name, tensor in tensors.items()}
    sizes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if any(not size for size in sizes.values()) or len({size[0] for size in sizes.values()}) > 1:
        raise InputError(f"the tensors differ in their number of rows ({sizes}): give one row per example in each.")
    if sizes and next(iter(sizes.values()))[0] == 0:
        raise InputError("the tensors have no rows: give at least one example.")
    return tensors


def _as_tensor(name: str, values: Any) -> Tensor:
    """Put numbers in a tensor, an array, or lists of numbers, arrays or tensors of one length."""
    try:
        if isinstance(values, list | tuple) and values and all(isinstance(row, Tensor) for row in values):
            return torch.stack(list(values))
        return values if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values))
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(
            f"{name} is no tensor ({type(values).__name__}): give numbers, all rows of one length."
        ) from error
