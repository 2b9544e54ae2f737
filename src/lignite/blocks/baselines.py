"""Where the paths of an explanation start: states of an input that says nothing, and whether the path leaps there."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lignite.attribution.axes import RowStates
from lignite.attribution.lines import every_row
from lignite.blocks.answers import Begun, another_input, certified
from lignite.blocks.stack import Seen, Stack, Start
from lignite.errors import BaselineWarning, OptionError, warn
from lignite.inputs.fills import IMAGE_FILLS, filled, patches_masked
from lignite.inputs.roles import TOKEN_BASELINES
from lignite.models.facts import notes_on, patch_size, reads_images, vocabulary_size
from lignite.models.hold import after_each
from lignite.models.load import Model
from lignite.targets.edits import filler, fillers, words_of

MEAN_EMBEDDING = "mean-embedding"
VECTORS_AT_ONCE = 8192
"""Embeddings that are added up at a time: a large vocabulary is not copied as a whole."""


def usual_baselines(model: Model) -> tuple[str, ...]:
    """Choose where paths start if nobody says where, by what was measured on models of each kind (docs/results).

    For images ``"mean"``, or ``"blur"`` where patches have no fixed size; of texts the mask, and a pad token that
    stands for nothing else; where there is neither, as in most decoders, the mean embedding, or zero where ids are not
    looked up in a table. Methods that start once take the first.
    """
    if reads_images(model.network):
        return ("mean",) if patch_size(model.network) else ("blur",)
    names = tuple(name for name in fillers(model) if name == "mask" or not _ends_texts(model))
    return names or (("zero",) if vocabulary_size(model.network) is None else (MEAN_EMBEDDING,))


def _ends_texts(model: Model) -> bool:
    """Tell whether the pad token is the one that begins or ends texts: to the model a word with a meaning."""
    role = getattr(model.tokenizer, "pad_token_id", None)
    return role in (getattr(model.tokenizer, "bos_token_id", None), getattr(model.tokenizer, "eos_token_id", None))


def starts_of(
    stack: Stack, names: Sequence[str], *, keep_special: bool, through: bool, every_layer: bool = True
) -> list[Start]:
    """Return baselines, each held against the model itself at its end of the path (`begin_at`)."""
    return begin_at(stack, names, lambda _: None, keep_special=keep_special, through=through, every_layer=every_layer)[
        0
    ]


def begin_at(
    stack: Stack,
    names: Sequence[str],
    begin: Callable[[list[Start]], Begun],
    *,
    keep_special: bool,
    through: bool,
    every_layer: bool = True,
) -> tuple[list[Start], Begun]:
    """Return baselines, each held against the model itself at its end of the path, and what `begin` makes of them.

    A name of `TOKEN_BASELINES` stands for an input whose words are all that token, ``"mean-embedding"`` for one whose
    words are all read as the mean of the vocabulary's embeddings, ``"blur"``, ``"grey"`` and ``"black"`` for an image
    whose pixels are all that, ``"mean"`` for one whose patches are all its average patch; these are run through the
    model. ``"zero"``, and for texts ``"mean"`` (of a row's tokens, special ones and positions included), are states:
    with `through` those of the first layer are run through the model, otherwise every layer has its own. With
    `keep_special`, special tokens of the input start as themselves; those of an image do in any case, since no pixel
    reaches them below the first block.

    Raises
    ------
    BypassError
        If the model's answer is no function of the states that enter a layer; of the first alone unless `every_layer`.
    """

    def make() -> tuple[list[Start], list[Seen]]:
        starts = [_start_of(stack, name, keep_special=keep_special, through=through) for name in names]
        ends = [start for start in starts if isinstance(start, Seen)]
        return starts, ends if len(ends) == len(starts) else [*ends, another_input(stack)]

    starts, begun = certified(stack, make, begin, every_layer=every_layer)
    stack.said = [start.choices for start in starts]
    return starts, begun


def hold_against_another_input(stack: Stack, *, every_layer: bool = True) -> None:
    """Check, for methods without a baseline, that the answer is a function of the states that enter each layer.

    Raises
    ------
    BypassError
        If it is not.
    """
    certified(stack, lambda: ([], [another_input(stack)]), lambda _: None, every_layer=every_layer)


def _start_of(stack: Stack, name: str, *, keep_special: bool, through: bool) -> Start:
    if name != "zero" and (name != "mean" or "pixel_values" in stack.tensors):
        with given_start(stack, name, keep_special=keep_special) as others:
            return stack.see(**others)
    words = words_in(stack, keep_special=keep_special)
    first = torch.where(words[..., None], _constant(stack, 0, name), stack.states[0])
    if through:
        with torch.no_grad():
            return Start([states.detach() for states in stack.trace(first, every_row(stack))[0]])
    return Start([first, *(_constant(stack, layer, name) for layer in range(1, stack.n_layers + 1))])


@contextmanager
def given_start(stack: Stack, name: str, *, keep_special: bool) -> Iterator[Mapping[str, Tensor]]:
    """Give the baseline as an input: tensors in the place of those of the rows, while this lasts.

    Raises
    ------
    OptionError
        If the baseline is no input, but states (``"zero"``, of texts ``"mean"``), or not known for this kind of input.
    """
    image = "pixel_values" in stack.tensors
    if name == "mask" and image:
        with patches_masked(stack.network):
            yield {}
    elif image and name in IMAGE_FILLS:
        yield {"pixel_values": filled(stack.model, stack.tensors["pixel_values"], name)}
    elif name != "mean" and name in IMAGE_FILLS:
        raise OptionError(f"baseline={name!r} replaces pixels, and this input has none; use 'mask' or 'zero'.")
    elif name in TOKEN_BASELINES:
        yield {"input_ids": blank_ids(stack, name, keep_special=keep_special)}
    elif name == MEAN_EMBEDDING:
        with _read_as_mean(stack, _words(stack, name, keep_special=keep_special)):
            yield {}
    else:
        raise OptionError(f"baseline={name!r} is no input; name one of 'mask', 'pad', 'eos', {MEAN_EMBEDDING!r}.")


def blank_ids(stack: Stack, name: str, *, keep_special: bool) -> Int[Tensor, "row token"]:
    """Return the rows' ids with their words replaced by a token of `TOKEN_BASELINES`."""
    replaced = _words(stack, name, keep_special=keep_special)
    try:
        blank = filler(stack.model, name)
    except OptionError as error:
        raise OptionError(f"{error} As a baseline, {MEAN_EMBEDDING!r} needs no token.") from error
    return torch.where(replaced, blank, stack.tensors["input_ids"])


def words_in(stack: Stack, *, keep_special: bool) -> Bool[Tensor, "row token"]:
    """Places that a baseline changes: `words_of` every row."""
    words = torch.zeros(stack.kept.shape, dtype=torch.bool)
    for number, row in enumerate(stack.rows):
        words[number, words_of(row, keep_special=keep_special)] = True
    return words.to(stack.kept.device)


def mean_embedding(model: Model) -> Float[Tensor, " d"]:
    """Average what the model reads for each token that its tokenizer knows, special ones left out.

    The table itself is asked, since some families scale what they read from it.

    Raises
    ------
    OptionError
        If the model has no table of embeddings.
    """
    rows = vocabulary_size(model.network)
    if rows is None:
        raise _no_table(model)
    table: nn.Module = model.network.get_input_embeddings()
    # Rows behind the tokenizer's tokens fill the table up to a round size, and were never trained.
    numbers = torch.arange(rows if model.tokenizer is None else min(rows, len(model.tokenizer)), device=model.device)
    special = getattr(model.tokenizer, "all_special_ids", [])
    words = numbers[~torch.isin(numbers, numbers.new_tensor(special))]
    with torch.no_grad():
        total = torch.stack([table(some).double().sum(0) for some in words.split(VECTORS_AT_ONCE)]).sum(0)
    return (total / len(words)).to(model.dtype)


def _no_table(model: Model) -> OptionError:
    return OptionError(
        f"baseline={MEAN_EMBEDDING!r}: {type(model.network).__name__} does not look its tokens up in a table of "
        "embeddings; use 'zero' or 'mean'."
    )


@contextmanager
def _read_as_mean(stack: Stack, places: Bool[Tensor, "row token"]) -> Iterator[None]:
    """Let the model read the mean embedding at some places of the rows' ids, whatever stands there.

    A decoder that reads the same text one place later reads it there.
    """
    ids, vector, table = stack.tensors["input_ids"], mean_embedding(stack.model), stack.network.get_input_embeddings()
    later = nn.functional.pad(places[:, :-1], (1, 0))
    answered: list[nn.Module] = []

    def answer(module: nn.Module, args: tuple[Tensor, ...], output: Float[Tensor, "row token any"]) -> Tensor:
        read = args[0] if args else None
        if read is None:
            return output
        for own, there in ((ids, places), (ids.T, places.T)):  # some read tokens first
            if torch.equal(read, own):
                answered.append(module)
                return torch.where(there[..., None], vector, output)
        if read.shape != ids.shape:
            return output
        return torch.where(later[..., None], vector, output) if torch.equal(read[:, 1:], ids[:, :-1]) else output

    others = [part for part in stack.network.modules() if isinstance(part, nn.Embedding) and part is not table]
    tables = [table, *(part for part in others if part.weight is getattr(table, "weight", None))]
    with after_each(tables, answer):
        yield
    if not answered:
        raise _no_table(stack.model)


def _words(stack: Stack, name: str, *, keep_special: bool) -> Bool[Tensor, "row token"]:
    """Flag the places that a baseline of words changes."""
    if "input_ids" not in stack.tensors:
        raise OptionError(f"baseline={name!r} replaces words, and this input has none; use 'blur', 'zero' or 'mean'.")
    return words_in(stack, keep_special=keep_special)


def _constant(stack: Stack, layer: int, name: str) -> Tensor:
    states = stack.states[layer]
    if name == "zero":
        return torch.zeros_like(states)
    kept = stack.kept[..., None].to(states)
    return ((states * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True)).expand_as(states).contiguous()


EARLY = (0.001, 0.01)
"""Places on the path, from 0 to 1, by which little should have happened."""
LATER = (0.1, 0.5)
"""Places beside its end that say how far F moves at all: its two ends may agree by chance."""
LEAP = 0.2
"""Share by then of how far F moves that is a leap: post-norm encoders stay far below, blocks that begin with a norm are
far above (docs/method.md)."""


def warn_of_leaps(stack: Stack, names: Sequence[str], starts: Sequence[Start]) -> None:
    """Warn once per model if F moves far in the first hundredth of a path from zero; five points of a row are run.

    Blocks that begin with a norm see no size: a thousandth of a state is to them the state, until the norm's ε
    outweighs it. All that the path then integrates there is ε.
    """
    if "zero" not in names or "leap" in (notes := notes_on(stack.network)):
        return
    share = notes["leap"] = leap(stack, starts[list(names).index("zero")].states[0])
    if share > LEAP:
        warn(
            f"baseline='zero': the answer of {type(stack.network).__name__} moves by {share:.0%} of its range in the "
            "first hundredth of the path, where the ε of its norms decides. Such scores cost many nodes and mean "
            f"little; use baseline={usual_baselines(stack.model)[0]!r}.",
            BaselineWarning,
        )


def leap(stack: Stack, start: RowStates) -> float:
    """Measure how far F of the first row has moved at the `EARLY` places, as a share of how far it moves along the
    path.
    """
    places = start.new_tensor([0, *EARLY, *LATER])[:, None, None]
    points = start[:1] + places * (stack.states[0][:1] - start[:1])
    with torch.no_grad():
        values = stack.run(0, points, torch.zeros(len(points), dtype=torch.long, device=points.device))
    moved = (torch.cat([values, stack.value[:1]]).double() - values[0]).abs()
    return float(moved[1 : 1 + len(EARLY)].max() / moved.max().clamp_min(torch.finfo(moved.dtype).tiny))
