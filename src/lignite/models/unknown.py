"""Explore a module that is not transformers' own by an input of no meaning: what it reads, its blocks, its answer."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from lignite.errors import ModelError, OptionError
from lignite.models.bare import ALONGSIDE, MASKS, Bare, Found, device_and_dtype, dress, place_of_blocks
from lignite.models.facts import Traits, heads_in, height_and_width, side_of
from lignite.models.hold import FOREIGN, after_each, at_rest, before_each, first_line
from lignite.models.outputs import logits_of

N_ROWS, N_TOKENS = 2, 3
"""Sizes of the texts that a module is explored with: they differ, so that rows and tokens are told apart."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a user says of a module, where exploring would find something else, or nothing (see `lignite.wrap`)."""

    blocks: Any = None
    embed: str | nn.Module | None = None
    labels: Sequence[str] | None = None
    causal: bool | None = None
    heads: int | None = None
    size: int | tuple[int, int] | None = None
    patch: int | tuple[int, int] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    n_words: int | None = None
    n_places: int | None = None

    def says_anything(self) -> bool:
        return any(getattr(self, item.name) is not None for item in fields(self))


@dataclass(eq=False)
class _Run:
    """One run of a module: what went into it and came out, and what its tables and possible blocks have seen."""

    given: Tensor
    outputs: Any = None
    asked: dict[str, Tensor] = field(default_factory=dict)
    states: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)


def explore(module: nn.Module, told: Told, *, reads_words: bool, reads_pictures: bool) -> Bare:
    """Find out how a module is called, which blocks carry its states, and what it answers.

    Raises
    ------
    ModelError
        If it cannot be called with its input alone, or no blocks are found; the message says what was found.
    OptionError
        If what the user says of it is not so.
    """
    reads = _what_it_reads(module, told, reads_words=reads_words, reads_pictures=reads_pictures)
    lists = _lists_of(module, told.blocks)
    with at_rest(module), torch.no_grad():
        exploration = _Exploration(module, told, reads, lists)
        return exploration.dressed()


def name_of(module: nn.Module, part: Any, what: str) -> str:
    """Find the name of a part of a module, given by name or itself."""
    names = {id(each): name for name, each in module.named_modules()}
    if isinstance(part, nn.Module) and id(part) in names:
        return names[id(part)]
    if isinstance(part, str) and part in names.values():
        return part
    shown = f"{part!r}" if isinstance(part, str) else f"a {type(part).__name__}"
    children = ", ".join(name for name, _ in module.named_children())
    raise OptionError(
        f"{what}={shown} is no part of {type(module).__name__} (it has {children or 'none'}): give a part as "
        "named_modules() names it, such as 'encoder.layers'."
    )


def _what_it_reads(module: nn.Module, told: Told, *, reads_words: bool, reads_pictures: bool) -> str:
    kinds = {type(part) for part in module.modules()}
    if reads_pictures or told.size is not None or told.patch is not None:
        return "pixel_values"
    if reads_words or told.embed is not None or any(issubclass(kind, nn.Embedding) for kind in kinds):
        return "input_ids"
    return "pixel_values" if any(issubclass(kind, nn.Conv2d) for kind in kinds) else "inputs_embeds"


# Lists that may be the stack


def _lists_of(module: nn.Module, given: Any) -> dict[str, list[str]]:
    """List the names of modules that may be the blocks, by what holds them: the longest lists first."""
    if given is not None:
        names = _named_blocks(module, given)
        return {place_of_blocks(names): names}
    found = {}
    for name, part in module.named_modules():
        if isinstance(part, nn.ModuleList | nn.Sequential):
            alike = (list(some) for _, some in groupby(part.named_children(), key=lambda item: type(item[1])))
            runs = [run for run in alike if any(True for _ in run[0][1].children())]
            if runs:
                found[name] = [f"{name}.{child}".lstrip(".") for child, _ in max(runs, key=len)]
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def _named_blocks(module: nn.Module, given: Any) -> list[str]:
    if isinstance(given, nn.Module | str):
        name = name_of(module, given, "blocks")
        held = module.get_submodule(name)
        if isinstance(held, nn.ModuleList | nn.Sequential):
            return [f"{name}.{child}".lstrip(".") for child, _ in held.named_children()]
        return [name]
    if not isinstance(given, Sequence) or not given:
        raise OptionError(
            f"blocks is a {type(given).__name__}: give the name of the list that holds them, such as "
            "'encoder.layers', or the blocks one by one in the order of their calls."
        )
    return [name_of(module, part, "blocks") for part in given]


class _Exploration:
    """An exploration runs a module a few times on an input of no meaning, and draws its conclusions; use it at rest."""

    def __init__(self, module: nn.Module, told: Told, reads: str, lists: dict[str, list[str]]):
        self.module, self.told, self.reads, self.lists = module, told, reads, lists
        self.name = type(module).__name__
        self.first = self.run(self.sample())
        self.stack = self.chosen()
        self.embed = self.table()

    # What is given

    def sample(self) -> Tensor:
        """Make an input: words, pixels or states, as the module's sizes have it."""
        device, dtype = device_and_dtype(self.module)
        drawn = torch.Generator().manual_seed(0)
        if self.reads == "input_ids":
            size = self.vocabulary()
            ids = torch.arange(N_ROWS * N_TOKENS).reshape(N_ROWS, N_TOKENS) + size // 2
            return (ids % size).to(device)
        if self.reads == "pixel_values":
            return torch.rand(1, *self.image_shape(), generator=drawn).to(device, dtype)
        return torch.randn(N_ROWS, N_TOKENS, self.width(), generator=drawn).to(device, dtype)

    def vocabulary(self) -> int:
        """Count the words of the table that looks them up; a few where it is not known."""
        if self.told.n_words is not None:
            return self.told.n_words
        tables = [part for part in self.module.modules() if isinstance(part, nn.Embedding)]
        if self.told.embed is not None:
            part = self.module.get_submodule(name_of(self.module, self.told.embed, "embed"))
            tables = [part] if isinstance(part, nn.Embedding) else []
        return tables[0].num_embeddings if tables else N_ROWS * N_TOKENS

    def width(self) -> int:
        norms = [part.normalized_shape[-1] for part in self.module.modules() if isinstance(part, nn.LayerNorm)]
        maps = [part.in_features for part in self.module.modules() if isinstance(part, nn.Linear)]
        return next(iter([*norms, *maps]), 1)

    def image_shape(self) -> tuple[int, int, int]:
        named = [self.told.size]
        for part in self.module.modules():
            named += [side_of(part)]
        size = next((found for found in map(height_and_width, named) if found), None)
        if size is None:
            raise ModelError(
                f"{self.name} does not say how large its images are (an image_size or img_size): give "
                "lignite.wrap(module, image_size=224)."
            )
        return self.channels(), *size

    def channels(self) -> int:
        maps = [part.in_channels for part in self.module.modules() if isinstance(part, nn.Conv2d)]
        return maps[0] if maps else 3

    # Runs

    def run(self, given: Shaped[Tensor, "row token *any"]) -> _Run:
        """Run the module, and see what its tables are asked and its possible blocks are handed.

        Raises
        ------
        ModelError
            If it fails on its first argument alone.
        """
        run = _Run(given)
        tables: dict[nn.Module, str] = {
            part: name for name, part in self.module.named_modules() if isinstance(part, nn.Embedding)
        }
        members = {self.module.get_submodule(name): name for names in self.lists.values() for name in names}

        def ask(table: nn.Module, args: tuple[Any, ...]) -> None:
            run.asked.setdefault(tables[table], args[0])

        def pass_on(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            entered = next((each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)), None)
            left = output[0] if isinstance(output, tuple | list) and output else output
            if isinstance(entered, Tensor) and isinstance(left, Tensor) and entered.shape == left.shape:
                run.states.setdefault(members[block], []).append((entered, left))

        with before_each(tables, ask), after_each(members, pass_on, with_kwargs=True):
            try:
                run.outputs = self.module(given)
            except FOREIGN as error:
                what = {"input_ids": "ids [row, token]", "pixel_values": "pixels", "inputs_embeds": "states"}
                raise ModelError(
                    f"{self.name} cannot be called with {what[self.reads]} of shape {list(given.shape)} alone "
                    f"({type(error).__name__}: {first_line(error)}). lignite calls module(x) with ids of a text, "
                    "pixels or states; put it into a module whose forward takes one of them and supplies the rest."
                ) from error
        return run

    def changed(self, change: Callable[[Tensor], None]) -> _Run:
        """Run the module on the sample with some of it changed."""
        given = self.first.given.clone()
        change(given)
        return self.run(given)

    # Conclusions

    def chosen(self) -> str:
        """Choose the longest list whose blocks all were handed states and returned as many."""
        for stack, names in self.lists.items():
            seen = [self.first.states.get(name, []) for name in names]
            if all(calls and all(entered.ndim == 3 for entered, _ in calls) for calls in seen):
                return stack
        found = [self.described(stack) for stack in self.lists]
        advice = (
            "name them, lignite.wrap(module, blocks='encoder.layers')" if self.told.blocks is None else "give others"
        )
        raise ModelError(
            f"{self.name} has no list of blocks that take states [row, token, d] and return as many: {advice}. "
            f"Found: {'; '.join(found) or 'no nn.ModuleList or nn.Sequential of modules that hold others'}."
        )

    def described(self, stack: str) -> str:
        names = self.lists[stack]
        calls = [self.first.states.get(name, []) for name in names]
        shapes = {tuple(entered.shape) for some in calls for entered, _ in some}
        kind = type(self.module.get_submodule(names[0])).__name__
        how = f"handed {', '.join(str(list(shape)) for shape in sorted(shapes))}" if shapes else "not called with any"
        return f"{stack or 'the module'!r} with {len(names)} {kind}, {how}"

    def table(self) -> str | None:
        """Find the module that looks words up: the one that was told, or that was asked for the very words."""
        if self.reads != "input_ids":
            return None
        if self.told.embed is not None:
            return name_of(self.module, self.told.embed, "embed")
        ids = self.first.given
        for name, asked in self.first.asked.items():
            if any(asked.shape == each.shape and torch.equal(asked, each) for each in (ids, ids.T)):
                return name
        return None

    def leaving(self, run: _Run) -> Float[Tensor, "row token d"]:
        """Read the states that leave the last block, on the axes of what the module was given."""
        states = run.states[self.lists[self.stack][-1]][-1][1]
        if run.given.shape[:2] not in (states.shape[:2], states.shape[1::-1]):
            raise ModelError(
                f"the blocks of {self.name} ({self.stack!r}) carry states {list(states.shape)} of an input "
                f"{list(run.given.shape)}: what becomes of a token cannot be followed. Give others, blocks=."
            )
        return states if states.shape[:2] == run.given.shape[:2] else states.transpose(0, 1)

    def dressed(self) -> Bare:
        mask = next((name for name in MASKS if name in self.parameters()), None)
        alongside = tuple(name for name in ALONGSIDE if name in self.parameters())
        tokens_first, causal = self.order() if self.reads != "pixel_values" else (False, False)
        blocks = self.lists[self.stack]
        answers_first, traits = self.answer(tokens_first, causal)
        traits |= self.picture() if self.reads == "pixel_values" else {"n_places": self.places()}
        width = self.first.states[blocks[0]][0][0].shape[-1]
        found = Found(
            self.reads, self.stack, tuple(blocks), self.embed, tokens_first, answers_first, mask, alongside, causal
        )
        return dress(self.module, found, Traits(width=width, n_blocks=len(blocks), n_heads=self.heads(), **traits))

    def parameters(self) -> Mapping[str, Any]:
        return inspect.signature(self.module.forward).parameters

    def order(self) -> tuple[bool, bool]:
        """Tell whether tokens stand before rows, and whether they look back alone: change one, and see who moves."""

        def change(place: tuple[int, int]) -> Callable[[Tensor], None]:
            def at(given: Shaped[Tensor, "row token *d"]) -> None:
                words = given.dtype == torch.long
                given[place] = (given[place] + 1) % self.vocabulary() if words else given[place].flip(0)

            return at

        usual = self.leaving(self.first)
        moved = (self.leaving(self.changed(change((0, 0)))) != usual).any(-1)
        across = bool(moved[1].any())
        if across and bool(moved[0, 1:].any()):
            raise ModelError(
                f"the rows of {self.name} are not independent: a change in one changes what becomes of another. "
                "Put it into a module that reads each by itself."
            )
        last = (1, 0) if across else (0, N_TOKENS - 1)
        seen = (self.leaving(self.changed(change(last))) != usual).any(-1)
        looks_ahead = bool(seen[0, 0])
        return across, not looks_ahead if self.told.causal is None else self.told.causal

    def answer(self, tokens_first: bool, causal: bool) -> tuple[bool, dict[str, Any]]:
        """Tell whether tokens come first in the answer, and what it is an answer to."""
        logits, n_words = logits_of(self.first.outputs), None
        if self.reads == "input_ids":
            table = None if self.embed is None else self.module.get_submodule(self.embed)
            known = table is None or isinstance(table, nn.Embedding) or self.told.n_words is not None
            n_words = self.vocabulary() if known else None
        if logits is None or logits.ndim not in (2, 3):
            return False, {"n_words": n_words}
        n_rows, n_tokens = self.first.given.shape[:2][:: -1 if tokens_first else 1]
        first = logits.ndim == 3 and logits.shape[0] != n_rows == logits.shape[1]
        writes = logits.ndim == 3 and logits.shape[-1] == n_words
        last = writes and logits.shape[0 if first else 1] == 1 < n_tokens
        traits = {"n_words": n_words, "n_labels": logits.shape[-1], "writes_words": writes, "answers_last": last}
        return first, traits | {"fills_masks": writes and not causal and not last, "labels": self.labels(logits)}

    def labels(self, logits: Float[Tensor, "*row choice"]) -> Sequence[str] | None:
        names, count = self.told.labels, logits.shape[-1]
        if names is not None and len(names) != count:
            raise OptionError(
                f"labels names {len(names)} classes, and {self.name} answers with {count} numbers: name each of them."
            )
        return names

    def places(self) -> int | None:
        """Count the rows of the table that is asked for 0, 1, 2 and so on."""
        if self.told.n_places is not None:
            return self.told.n_places
        for name, asked in self.first.asked.items():
            if torch.equal(asked.flatten(), torch.arange(asked.numel(), device=asked.device)):
                rows: Any = self.module.get_submodule(name)
                return int(rows.num_embeddings)
        return None

    def heads(self) -> int | None:
        if self.told.heads is not None:
            return self.told.heads
        return heads_in(self.module.get_submodule(self.lists[self.stack][0]))

    # Pictures

    def picture(self) -> dict[str, Any]:
        """Say how a picture is cut: the tokens before its patches, where these are found in the order of reading."""
        _, channels, tall, wide = self.first.given.shape
        patch = height_and_width(self.told.patch) or self.patch()
        prefix = None if patch is None else self.prefix(patch)
        return {"channels": channels, "size": (tall, wide), "patch": patch, "prefix": prefix}

    def patch(self) -> tuple[int, int] | None:
        """Read the size of patches from the first map of pixels that does not overlap."""
        maps = [part for part in self.module.modules() if isinstance(part, nn.Conv2d)]
        cuts = maps and maps[0].kernel_size == maps[0].stride
        return height_and_width(maps[0].kernel_size) if cuts else None

    def prefix(self, patch: tuple[int, int]) -> int | None:
        """Count the tokens before the first patch: change a corner, and see which state moves as it enters."""
        tall, wide = patch
        _, _, height, width = self.first.given.shape
        name = self.lists[self.stack][0]
        places = []
        for rows, cols in ((slice(0, tall), slice(0, wide)), (slice(height - tall, None), slice(width - wide, None))):
            run = self.changed(lambda given, at=(rows, cols): given[..., at[0], at[1]].neg_())  # type: ignore[misc]
            moved = (run.states[name][0][0] != self.first.states[name][0][0]).any(-1)[0]
            places.append(moved.nonzero().flatten().tolist())
        count = (height // tall) * (width // wide)
        (first, *more), (last, *others) = places[0] or [-1], places[1] or [-1]
        fits = not more and not others and last - first == count - 1 and last == len(moved) - 1
        return first if fits else None
