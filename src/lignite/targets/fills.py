"""Fills: what stands in the place of words or patches that are removed, so that a model can be asked without them.

Neutral ones are no method's baseline: words are deleted, or hidden by the attention mask, or give way to words drawn
from a corpus; patches give way to those of other pictures. What is drawn says something of its own, so several draws
are averaged.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lignite.calls import as_names, check_choice, check_count, check_seed
from lignite.errors import InputError, OptionError
from lignite.inputs.encode import looked_up
from lignite.inputs.fills import COLOURS, IMAGE_FILLS
from lignite.inputs.tokens import Encoded
from lignite.models.facts import forward_names, noted, vocabulary_size
from lignite.models.hold import at_rest
from lignite.models.load import Model
from lignite.options import MOST_DRAWS
from lignite.targets.edits import (
    cover,
    filler,
    fillers,
    hide_tokens,
    is_image,
    removable,
    remove_tokens,
    replace_tokens,
)
from lignite.targets.objective import choices_of, values
from lignite.targets.rows import PADDED_TOLERANCE, Row, run

MOST_PICTURES = 64
"""So many of a data set are kept to draw from: each of them is held in memory."""


@dataclass(frozen=True, eq=False)
class Others:
    """Pictures of a corpus, each once, and `draws` fixed patchworks of them for every image.

    A patchwork has in every place the patch that another picture has there, each place another one by lot. What is
    drawn depends on the image's own pixels and the seed alone: every method, and every question on that image, meets
    the same patches.
    """

    pictures: Sequence[Float[Tensor, "1 channel y x"]] = field(repr=False)
    draws: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse drawings that are none."""
        check_count("draws", self.draws, MOST_DRAWS)
        check_seed(self.seed)

    @classmethod
    def of_inputs(cls, inputs: Iterable[Encoded], *, draws: int = 4, seed: int = 0) -> "Others":
        """Keep the pictures among inputs, each of them once."""
        values = [each.tensors["pixel_values"] for each in inputs if "pixel_values" in each.tensors]
        return cls(list({_content(one): one for one in values}.values()), draws, seed)

    @cached_property
    def digest(self) -> str:
        """The same for the same pictures and drawings."""
        known = hashlib.sha256(f"{self.draws} {self.seed}".encode())
        for picture in self.pictures:
            known.update(_content(picture))
        return known.hexdigest()[:16]

    def drawn(self, row: Row) -> Float[Tensor, "draw channel y x"]:
        """Pixel values that stand in the place of an image's own, drawing by drawing.

        Raises
        ------
        InputError
            If no other picture has the image's size.
        """
        return noted(row.encoded, f"patches drawn {self.digest}", lambda: self._drawn(row))

    def _drawn(self, row: Row) -> Float[Tensor, "draw channel y x"]:
        own = row.encoded.tensors["pixel_values"]
        content = _content(own)
        others = [one for one in self.pictures if one.shape == own.shape and _content(one) != content]
        if not others:
            raise InputError(
                "fills='others' needs patches of other pictures, and there is none of this one's size, "
                f"{own.shape[2]} × {own.shape[3]} pixels: name more, corpus=…, or use another fill."
            )
        source = hashlib.sha256(f"{self.seed} ".encode() + content).digest()
        generator = np.random.default_rng(int.from_bytes(source[:8], "big"))
        made = own.repeat(self.draws, 1, 1, 1)
        for place in range(row.n_tokens):
            box = row.encoded.tokens.box(place)
            if box is None:
                continue
            for draw, number in enumerate(generator.integers(len(others), size=self.draws)):
                made[draw][:, *box] = others[number][0][:, *box].to(made)
        return made


def _content(pixels: Float[Tensor, "1 channel y x"]) -> bytes:
    """Equal for pictures of equal size and pixels."""
    values = pixels.detach().to("cpu", torch.float64).numpy()
    return hashlib.sha256(str(values.shape).encode() + values.tobytes()).digest()


OTHERS = "others"
"""Patches of other pictures: the neutral fill of images."""
NEUTRAL = ("delete", "hide", "unigram", OTHERS)
"""Fills that are no method's baseline."""
FILLS = ("delete", "hide", "unigram", "mask", "pad")
"""What may stand in the place of words: nothing, a word that nobody sees, drawn words, a token."""

_TRIALS = 3
"""Other words that are hidden in turn before a model is believed not to see them."""


@dataclass(frozen=True, eq=False)
class Unigram:
    """Words of a corpus by how often they occur, and `draws` fixed drawings of them for every input.

    The drawings depend on the input's own tokens and the seed alone: every method, and every question on that input,
    meets the same ones.
    """

    counts: Int[np.ndarray, " word"] = field(repr=False)
    draws: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a corpus without words."""
        check_count("draws", self.draws, MOST_DRAWS)
        check_seed(self.seed)
        if not self.counts.any():
            raise InputError(
                "fills='unigram' draws words from a corpus, and this one has none; name another, corpus=…."
            )

    @classmethod
    def of_texts(cls, model: Model, texts: Iterable[str], *, draws: int = 4, seed: int = 0) -> "Unigram":
        """Count the words of texts, as the model's tokenizer cuts them; special tokens are never drawn."""
        if model.tokenizer is None:
            raise OptionError(
                f"fills='unigram' counts words of texts, and {model.name} has no tokenizer; wrap it with one."
            )
        given = list(texts)  # a tokenizer cannot cut a list of none
        cut = model.tokenizer(given, add_special_tokens=False, truncation=False, verbose=False) if given else {}
        return cls(_counted(model, [number for piece in cut.get("input_ids", ()) for number in piece]), draws, seed)

    @classmethod
    def of_rows(cls, model: Model, rows: Sequence[Row], *, draws: int = 4, seed: int = 0) -> "Unigram":
        """Count the words of the inputs themselves."""
        ids = [row.encoded.tensors["input_ids"][0].tolist() for row in rows if "input_ids" in row.encoded.tensors]
        words = [one[place] for one, row in zip(ids, rows, strict=False) for place in removable(row)]
        return cls(_counted(model, words), draws, seed)

    @cached_property
    def digest(self) -> str:
        """The same for the same words and drawings."""
        return hashlib.sha256(self.counts.tobytes() + f" {self.draws} {self.seed}".encode()).hexdigest()[:16]

    @cached_property
    def _shares(self) -> Float[np.ndarray, " word"]:
        total: np.ndarray = np.cumsum(self.counts, dtype=np.float64)
        return total / total[-1]

    def drawn(self, row: Row) -> Int[Tensor, "draw token"]:
        """Ids that stand in the place of an input's tokens, drawing by drawing."""
        return noted(row.encoded, f"words drawn {self.digest}", lambda: self._drawn(row))

    def _drawn(self, row: Row) -> Int[Tensor, "draw token"]:
        ids = row.encoded.tensors["input_ids"][0]
        kept = ~torch.tensor(row.encoded.tokens.padding)
        content = f"{self.seed} {ids[kept].tolist()}".encode()
        generator = np.random.default_rng(int.from_bytes(hashlib.sha256(content).digest()[:8], "big"))
        words = np.searchsorted(self._shares, generator.random((self.draws, int(kept.sum()))), side="right")
        drawn = ids.repeat(self.draws, 1)
        drawn[:, kept] = torch.from_numpy(words).to(ids)
        return drawn


Corpus = Unigram | Others
"""What drawn words or patches are drawn from."""


def _counted(model: Model, ids: Sequence[int]) -> np.ndarray:
    size = vocabulary_size(model.network) or max(ids, default=0) + 1
    special = set(getattr(model.tokenizer, "all_special_ids", None) or ())
    kept = [number for number in ids if 0 <= number < size and number not in special]
    return np.bincount(np.array(kept, dtype=np.int64), minlength=size)


@dataclass(frozen=True)
class Way:
    """One way to take words away: a fill, and which of its drawings."""

    fill: str
    draw: int = 0

    def without(self, model: Model, row: Row, places: Sequence[int], corpus: Corpus | None) -> Row:
        """The input without the words or patches at some places of the model's input."""
        if not places:
            return row
        if is_image(row):
            return cover(model, row, places, self.covering(row, corpus))
        if self.fill == "delete":
            return remove_tokens(row, places)
        if self.fill == "hide":
            return hide_tokens(row, places)
        if self.fill == "unigram":
            assert isinstance(corpus, Unigram)
            return replace_tokens(row, places, corpus.drawn(row)[self.draw, list(places)])
        return replace_tokens(row, places, filler(model, self.fill))

    def covering(self, row: Row, corpus: Corpus | None) -> str | Float[Tensor, "1 channel y x"]:
        """What covers pixels of an image: the name of a fill, or pixel values."""
        if self.fill != OTHERS:
            return self.fill
        assert isinstance(corpus, Others)
        return corpus.drawn(row)[self.draw, None]


def corpus_of(model: Model, rows: Sequence[Row], fills: Sequence[str]) -> Corpus | None:
    """The inputs themselves as a corpus, for fills that draw from one."""
    if OTHERS in fills:
        return Others.of_inputs(row.encoded for row in rows)
    return Unigram.of_rows(model, rows) if "unigram" in fills else None


def ways_of(fills: Sequence[str], corpus: Corpus | None) -> list[Way]:
    """Every way to take words or patches away: one for a fill, several for one that draws.

    Examples
    --------
    >>> ways_of(["mask"], None)
    [Way(fill='mask', draw=0)]
    """
    draws = dict.fromkeys(("unigram", OTHERS), 1 if corpus is None else corpus.draws)
    return [Way(fill, draw) for fill in fills for draw in range(draws.get(fill, 1))]


def check_fills(
    model: Model, fills: str | Iterable[str], *, images: bool = False, row: Row | None = None
) -> tuple[str, ...]:
    """What may stand in the place of removed words or patches, by names that this model has.

    ``"neutral"`` is short for those of `NEUTRAL` that the model can do. What it can do is tried on a `row`.

    Raises
    ------
    OptionError
        If there is none, or one that this model does not have.
    """
    known, named = (OTHERS, *IMAGE_FILLS) if images else FILLS, as_names("fills", fills)
    chosen = tuple(dict.fromkeys(name for short in named for name in _meant(model, short, row, images=images)))
    if not chosen:
        raise OptionError(f"fills is empty; give some of {', '.join(map(repr, known))}.")
    for name in chosen:
        check_choice("fills", name, (*known, "neutral"))
        if name in ("mask", "pad"):
            filler(model, name)
        if name == "hide" and (why := _cannot_hide(model, row)):
            raise OptionError(
                f"fills='hide' needs an attention mask that hides words, and {why}; use 'delete' or 'unigram'."
            )
        if name in COLOURS and model.image_processor is None:
            raise OptionError(
                f"fills={name!r} is a colour, and {model.name} has no image processor that tells them; use 'blur'."
            )
    return chosen


def _meant(model: Model, name: str, row: Row | None, *, images: bool) -> tuple[str, ...]:
    if name != "neutral":
        return (name,)
    if images:
        return (OTHERS,)
    stays = row is None or len(removable(row)) < row.n_tokens
    can = {"delete": stays, "hide": stays and not _cannot_hide(model, row), "unigram": model.tokenizer is not None}
    return tuple(fill for fill, able in can.items() if able) or fillers(model)[:1]


def _cannot_hide(model: Model, row: Row | None) -> str:
    """Why the attention mask does not hide words, empty where it does; tried once per model."""
    takes = forward_names(model.network)
    if takes is not None and "attention_mask" not in takes:
        return f"{model.name} takes none"
    if row is None or "input_ids" not in row.encoded.tensors:
        return ""
    return noted(model.network, "hides words", lambda: _sees_hidden(model, row))


def _sees_hidden(model: Model, row: Row) -> str:
    """Hide words, put others there, and compare what the model says."""
    places = removable(row)[::2]
    special = set(getattr(model.tokenizer, "all_special_ids", None) or ())
    size = vocabulary_size(model.network) or int(row.encoded.tensors["input_ids"].max()) + 1
    others = [number for number in range(size) if number not in special]
    generator = np.random.default_rng(0)
    with at_rest(model.network), torch.no_grad():
        hidden = hide_tokens(row, places)
        usual, moved = (looked_up(model.network, each.encoded.tensors) for each in (row, hidden))
        if any(table not in moved or not torch.equal(moved[table], numbers) for table, numbers in usual.items()):
            return f"{model.name} counts positions anew where words are hidden"
        said = _answer(model, hidden)
        for _ in range(_TRIALS):
            words = torch.from_numpy(generator.choice(others, len(places)))
            miss = (_answer(model, hide_tokens(replace_tokens(row, places, words), places)) - said).abs().max()
            if not bool(miss <= PADDED_TOLERANCE * said.abs().max()):
                return f"{model.name} answers otherwise when hidden words are others"
    return ""


def _answer(model: Model, row: Row) -> Tensor:
    outputs, objective = run(model.network, row.encoded.tensors), [row.objective]
    return (values(outputs, objective) if row.objective.function else choices_of(outputs, objective)).float()
