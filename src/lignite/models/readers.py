"""Tokenizers and pictures' transforms that are not transformers' own, dressed as if they were."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lignite.errors import InputError, OptionError
from lignite.models.hold import FOREIGN, first_line
from lignite.wording import shorten

ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")

_STRUCTURE = ("bos", "eos", "sep", "pad", "cls")
"""Roles of tokens that stand for no part of a text."""

_LONGEST = 8
"""Tokens that one character may be cut into."""

Span = tuple[int, int]


class Read(dict[str, Any]):
    """What a tokenizer returns for one text, with the questions that only fast ones of transformers answer."""

    def __init__(self, ids: list[int], special: list[bool], spans: list[Span], words: list[int | None]):
        super().__init__(input_ids=ids, attention_mask=[1] * len(ids))
        self["special_tokens_mask"] = [int(flag) for flag in special]
        self["offset_mapping"] = spans
        self._words, self._special = words, special

    def sequence_ids(self, _: int = 0) -> list[int | None]:
        return [None if flag else 0 for flag in self._special]

    def word_ids(self, _: int = 0) -> list[int | None]:
        return self._words


class Reader(PreTrainedTokenizerBase):  # type: ignore[misc]
    """A reader makes ids of a text, and a text of ids, by two functions of somebody's own.

    Where its tokens stand in a text is found by writing them back: one after the other they make the text again, or
    its words without spaces and capitals.
    """

    def __init__(self, encode: Callable[[str], Any], decode: Callable[[list[int]], str] | None, roles: dict[str, int]):
        super().__init__()
        self._encode, self._write = encode, decode
        self.roles = roles
        for role in ROLES:  # instead of names that stand in a vocabulary
            number = roles.get(role)
            self.__dict__[f"{role}_token_id"] = number
            self.__dict__[f"{role}_token"] = None if number is None else self.convert_ids_to_tokens(number)

    is_fast = True
    chat_template = None

    @property
    def all_special_ids(self) -> list[int]:
        return list(self.roles.values())

    @property
    def all_special_tokens(self) -> list[str]:
        return [self.convert_ids_to_tokens(number) for number in self.roles.values()]

    @property
    def added_tokens_decoder(self) -> dict[int, Any]:
        return {}

    def get_vocab(self) -> dict[str, int]:
        return {}

    def __len__(self) -> int:
        return 10**9  # as many as the model has embeddings

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        return sum(self._special(self._ids("a")))

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        return [self._piece(number) for number in ids] if isinstance(ids, list | tuple) else self._piece(ids)

    def decode(self, token_ids: Any, *_: Any, **__: Any) -> str:
        ids = [int(number) for number in np.atleast_1d(np.asarray(token_ids))]
        return "".join(map(self._piece, ids)) if self._write is None else self._written(ids)

    def tokenize(self, text: str, *_: Any, **__: Any) -> list[str]:
        """Cut a text; nothing comes of one that cannot be read."""
        try:
            return [self._piece(number) for number in self._ids(text)]
        except InputError:
            return []

    def __call__(self, text: Any, pair: Any = None, **options: Any) -> Any:
        if pair is not None:
            raise InputError("a tokenizer of your own reads one text at a time, not a pair: join them, or give ids.")
        bare = options.get("add_special_tokens") is False
        words = bool(options.get("is_split_into_words"))
        if isinstance(text, list) and not words:
            return {"input_ids": [self(each, **options)["input_ids"] for each in text]}
        joined = " ".join(text) if words else text
        ids = self._ids(joined)
        if bare:
            ids = [number for number, flag in zip(ids, self._special(ids), strict=True) if not flag]
        spans = list(self._places(joined, ids))
        numbers: list[int | None] = [None] * len(ids)
        if words:
            numbers, spans = _in_words(joined, text, spans)
        return Read(ids, self._special(ids), spans, numbers)

    def _ids(self, text: str) -> list[int]:
        try:
            given = self._encode(text)
            ids = np.asarray(given.tolist() if isinstance(given, Tensor | np.ndarray) else list(given))
        except FOREIGN as error:
            raise InputError(
                f"the tokenizer cannot read {shorten(text, 40)!r} ({type(error).__name__}: {first_line(error)})."
            ) from error
        if ids.ndim == 2 and len(ids) == 1:
            ids = ids[0]
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise InputError(
                f"the tokenizer makes {shorten(repr(given), 40)} of {shorten(text, 40)!r}, expected a list of ids."
            )
        return [int(number) for number in ids]

    def _special(self, ids: Sequence[int]) -> list[bool]:
        structure = {self.roles[role] for role in _STRUCTURE if role in self.roles}
        return [number in structure for number in ids]

    def _written(self, ids: list[int]) -> str:
        try:
            return str(self._write(ids)) if self._write is not None else ""
        except FOREIGN:  # ids that the model knows and the tokenizer does not
            return ""

    def _piece(self, number: int) -> str:
        return self._written([int(number)]) or f"<{int(number)}>"

    def _places(self, text: str, ids: list[int]) -> Iterator[Span]:
        """Find each token in the text; (0, 0) for one that is not there."""
        found: list[Span] = []
        reached, lost = 0, 0
        while len(found) < len(ids):
            span, size = self._next(text, ids[len(found) :], reached, search=lost > 0)
            if span is None:
                found.append((0, 0))
                lost += 1
                continue
            if lost == 1 and text[reached : span[0]].strip() and ids[len(found) - 1] not in self._structure_ids():
                found[-1] = (reached, span[0])  # what stands for an unknown word
            found += [span] * size
            reached, lost = span[1], 0
        yield from found

    def _structure_ids(self) -> set[int]:
        return {self.roles[role] for role in _STRUCTURE if role in self.roles}

    def _next(self, text: str, ids: list[int], reached: int, *, search: bool) -> tuple[Span | None, int]:
        """Find the next tokens that write a stretch of text from here on: one, or all that a character is cut into."""
        for size in range(1, min(len(ids), _LONGEST) + 1):
            written = self._written(ids[:size])
            if written and text.startswith(written, reached):
                return (reached, reached + len(written)), size
            word = written.strip().casefold()
            start = reached + len(text[reached:]) - len(text[reached:].lstrip())
            if word and text[start : start + len(word)].casefold() == word:
                return (start, start + len(word)), size
            if word and search and size == 1 and (later := text.casefold().find(word, reached)) >= 0:
                return (later, later + len(word)), size
            if "\N{REPLACEMENT CHARACTER}" not in written:
                break
        return None, 1


def _in_words(text: str, words: Sequence[str], spans: Sequence[Span]) -> tuple[list[int | None], list[Span]]:
    """Say which word each token belongs to, and where it stands in it."""
    owner = [number for number, word in enumerate(words) for _ in range(len(word) + 1)]
    starts = [owner.index(number) for number in range(len(words))]
    numbers: list[int | None] = []
    inside: list[Span] = []
    for start, stop in spans:
        part = text[start:stop]
        start += len(part) - len(part.lstrip())
        number = owner[start] if stop > start else None
        numbers.append(number)
        inside.append((0, 0) if number is None else (start - starts[number], stop - starts[number]))
    return numbers, inside


def as_tokenizer(given: Any) -> PreTrainedTokenizerBase | None:
    """Make a tokenizer of one of transformers, of an object with `encode` and `decode`, of these two, or of the first.

    Raises
    ------
    OptionError
        If it is none of these.
    """
    if given is None or isinstance(given, PreTrainedTokenizerBase):
        return given
    if type(given).__module__.partition(".")[0] == "tokenizers":
        raise OptionError(
            f"tokenizer is a {type(given).__name__} of tokenizers, which knows no ids of its roles: give transformers' "
            "PreTrainedTokenizerFast(tokenizer_object=tokenizer)."
        )
    encode, decode = getattr(given, "encode", None), getattr(given, "decode", None)
    if isinstance(given, tuple) and len(given) == 2:
        encode, decode = given
    elif encode is None and callable(given):
        encode = given
    if not callable(encode) or not (decode is None or callable(decode)):
        raise OptionError(
            f"tokenizer is a {type(given).__name__}: give one of transformers, an object with encode and decode, the "
            "two functions as a tuple, or a function that makes ids of a text."
        )
    return Reader(encode, decode, _roles_of(given))


def _roles_of(tokenizer: Any) -> dict[str, int]:
    """Read the ids of special tokens under the names in use: `pad_token_id`, `pad_id` (a number, or asked for)."""
    found: dict[str, int] = {}
    for role in ROLES:
        for name in (f"{role}_token_id", f"{role}_id"):
            number = getattr(tokenizer, name, None)
            number = number() if callable(number) else number
            if isinstance(number, int) and not isinstance(number, bool) and number >= 0:
                found.setdefault(role, number)
    return found


class Transform:
    """A transform makes pixel values of a picture: by a function of somebody's own, or by size, mean and scale.

    `do_normalize`, `image_mean` and `image_std` say which colours they stand for, where that is known.
    """

    do_convert_rgb = True
    do_rescale = True
    rescale_factor = 1 / 255

    def __init__(
        self,
        function: Callable[[Image.Image], Any] | None,
        size: tuple[int, int] | None,
        colours: tuple[Sequence[float], Sequence[float]] | None,
    ):
        self.function, self.size = function, size
        if colours is not None:
            self.do_normalize, (self.image_mean, self.image_std) = True, colours

    def __call__(self, images: UInt8[np.ndarray, "y x channel"], **_: Any) -> dict[str, Tensor]:
        picture = Image.fromarray(images[..., 0] if images.shape[-1] == 1 else images)
        made = self._standard(picture) if self.function is None else torch.as_tensor(self.function(picture))
        return {"pixel_values": made if made.ndim == 4 else made[None]}

    def _standard(self, picture: Image.Image) -> Float[Tensor, "channel y x"]:
        if self.size is not None:
            picture = picture.resize(self.size[::-1], Image.Resampling.BILINEAR)
        colours = torch.from_numpy(np.array(picture, dtype=np.float32) / 255)
        colours = colours[None] if colours.ndim == 2 else colours.movedim(-1, 0)
        mean, scale = (torch.tensor(each).reshape(-1, 1, 1) for each in (self.image_mean, self.image_std))
        return (colours - mean) / scale


def as_transform(given: Any, size: tuple[int, int] | None, mean: Any, std: Any) -> Any:
    """Make an image processor of a function from pictures to pixel values, or of mean and scale; None of neither.

    Raises
    ------
    OptionError
        If it is no function, or one of mean and scale is missing.
    """
    if (mean is None) != (std is None):
        raise OptionError("mean and std belong together: give both, a number for each channel.")
    if given is not None and not callable(given):
        raise OptionError(
            f"image_processor is a {type(given).__name__}: give a function from a picture to its pixel values."
        )
    if hasattr(given, "do_rescale"):  # transformers' own
        return given
    colours = (mean, std) if mean is not None else _colours_of(given)
    if given is None and colours is None:
        return None
    return Transform(given, size, None if colours is None else (list(colours[0]), list(colours[1])))


def _colours_of(transform: Any) -> tuple[Any, Any] | None:
    """Read mean and scale of a transform, or of the last step of several that has them."""
    steps = [*reversed(getattr(transform, "transforms", []) or []), transform]
    named = ((getattr(step, "mean", None), getattr(step, "std", None)) for step in steps)
    return next(((mean, std) for mean, std in named if mean is not None and std is not None), None)
