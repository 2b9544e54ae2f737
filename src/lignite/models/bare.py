"""A module that is not transformers' own, dressed as one: its inputs have names, its answer rows first, its facts a
configuration.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from lignite.errors import InputError, ModelError
from lignite.models.facts import Traits, configured
from lignite.models.hold import Captured, before_each, modules_of, seen_as
from lignite.models.outputs import logits_of

MASKS = {"attention_mask": False, "src_key_padding_mask": True, "key_padding_mask": True}
"""Arguments by which a module is told what is padding: True where they flag it, False where they flag the others."""

ALONGSIDE = ("token_type_ids", "position_ids")
"""What is handed on beside the words, where a module's forward names it."""


@dataclass(frozen=True)
class Found:
    """Exploring a module found this.

    Attributes
    ----------
    reads
        ``"input_ids"``, ``"pixel_values"`` or ``"inputs_embeds"``: what its first argument holds.
    stack, blocks
        The name of the list that holds the blocks, and the name of each.
    embed
        The name of the module that looks words up, None where none was met.
    takes_tokens_first, answers_tokens_first
        Whether tokens stand on the first axis and rows on the second, of what it is given, of what it returns.
    mask
        The argument that says what is padding; None where it takes none.
    alongside
        Arguments of `ALONGSIDE` that it takes.
    is_causal
        Whether no token sees a later one: then padding behind a text changes nothing.
    """

    reads: str
    stack: str
    blocks: tuple[str, ...]
    embed: str | None
    takes_tokens_first: bool
    answers_tokens_first: bool
    mask: str | None
    alongside: tuple[str, ...]
    is_causal: bool


class BareConfig(PreTrainedConfig):  # type: ignore[misc]
    """The traits of a module, under the names that transformers has for them."""

    model_type = "module"


class Bare(PreTrainedModel):  # type: ignore[misc]
    """A module is called by the names of its inputs, and answers rows first; it is not changed."""

    config_class = BareConfig

    def __init__(self, module: nn.Module, found: Found, traits: Traits):
        super().__init__(BareConfig(**configured(traits)))
        self.module = module
        self.found, self.traits = found, traits
        self.main_input_name = found.reads
        self.training = module.training

    @property
    def takes(self) -> frozenset[str]:
        """Names of the inputs that mean something to the module."""
        padded = self.found.reads == "input_ids" and (self.found.mask or self.found.is_causal)
        return frozenset([self.found.reads, *self.found.alongside, *(["attention_mask"] if padded else [])])

    def lists_of_blocks(self) -> dict[str, list[tuple[str, nn.Module]]]:
        """Name the blocks, where each stands in the module."""
        return {self.found.stack: [(name, self.module.get_submodule(name)) for name in self.found.blocks]}

    def count_tokens(self, **given: Tensor) -> int:
        """Run the module as far as its first block, to see how many tokens enter it."""

        def leave(_: nn.Module, args: tuple[Any, ...]) -> None:
            raise Captured(args[0].shape[1])

        try:
            with before_each([self.module.get_submodule(self.found.blocks[0])], leave):
                self(**given)
        except Captured as found:
            return int(found.content)
        raise ModelError(f"the first block of {type(self).__name__} ({self.found.blocks[0]}) was not reached.")

    def get_input_embeddings(self) -> nn.Module:
        if self.found.embed is None:
            raise NotImplementedError
        return self.module.get_submodule(self.found.embed)

    def get_output_embeddings(self) -> nn.Module | None:
        """Return something where the answer is written in the words of the vocabulary."""
        return self.module if self.traits.writes_words else None

    def forward(
        self,
        input_ids: Int[Tensor, "row token"] | None = None,
        attention_mask: Int[Tensor, "row token"] | None = None,
        token_type_ids: Int[Tensor, "row token"] | None = None,
        position_ids: Int[Tensor, "row token"] | None = None,
        pixel_values: Float[Tensor, "row channel y x"] | None = None,
        inputs_embeds: Float[Tensor, "row token d"] | None = None,
    ) -> Any:
        given = {"input_ids": input_ids, "pixel_values": pixel_values, "inputs_embeds": inputs_embeds}[self.found.reads]
        assert given is not None
        beside = {"token_type_ids": token_type_ids, "position_ids": position_ids}
        options = {name: self._turned(part) for name, part in beside.items() if part is not None}
        with seen_as("use_cache", self._caching(), False):  # a cache would remember the tokens of an earlier call
            outputs = self.module(self._turned(given), **options, **self._mask(attention_mask))
        return self._rows_first(outputs, given.shape[1])

    def _caching(self) -> list[Any]:
        """List the configurations inside the module that let models of transformers keep a cache."""
        configs = (getattr(part, "config", None) for part in modules_of(self) if part is not self)
        known = {id(each): each for each in configs if getattr(each, "use_cache", False)}
        return list(known.values())

    def _turned(self, given: Shaped[Tensor, "row token *any"]) -> Tensor:
        return given.transpose(0, 1) if self.found.takes_tokens_first else given

    def _mask(self, attention_mask: Int[Tensor, "row token"] | None) -> dict[str, Tensor]:
        """Say what is padding in the words of the module; nothing is said where there is none."""
        if attention_mask is None or bool(attention_mask.all()):
            return {}
        if self.found.mask is not None:
            return {self.found.mask: attention_mask == 0 if MASKS[self.found.mask] else attention_mask}
        if self.found.is_causal and not bool((attention_mask.diff(dim=1) > 0).any()):  # padding behind is not seen
            return {}
        raise InputError(
            f"{type(self.module).__name__} cannot be told what is padding: its forward has none of the arguments "
            f"{', '.join(MASKS)}. Give the text without padding."
        )

    def _rows_first(self, outputs: Any, n_tokens: int) -> Any:
        """Put rows before tokens, and an answer for the last token alone at its place; what needs neither stays."""
        if not (self.found.answers_tokens_first or self.traits.answers_last):
            return outputs
        logits = logits_of(outputs)
        assert logits is not None  # as when it was explored
        if self.found.answers_tokens_first:
            logits = logits.transpose(0, 1)
        return {"logits": logits.expand(-1, n_tokens, -1) if self.traits.answers_last else logits}


def dress(module: nn.Module, found: Found, traits: Traits) -> Bare:
    """Dress a module by what was found; messages call it by its own class."""
    kind = type(type(module).__name__, (Bare,), {"__doc__": Bare.__doc__})
    return kind(module, found, traits)


def place_of_blocks(names: Sequence[str]) -> str:
    """Name what holds some modules: the longest path that they share.

    Examples
    --------
    >>> place_of_blocks(["encoder.layers.0", "encoder.layers.1"]), place_of_blocks(["first", "second"])
    ('encoder.layers', 'first … second')
    """
    parts = [name.split(".") for name in names]
    shared = parts[0][:-1]
    if shared and all(part[:-1] == shared for part in parts):
        return ".".join(shared)
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"


def device_and_dtype(module: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Tell where a module's weights are, and the precision of the first of them that is no whole number."""
    weights = [weight for weight in module.parameters() if weight.dtype.is_floating_point]
    return (weights[0].device, weights[0].dtype) if weights else (torch.device("cpu"), torch.get_default_dtype())
