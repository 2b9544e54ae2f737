"""Attention that is called as a function of torch, in modules that do not know transformers' interface."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lignite.attribution.axes import PointHeads

Function = Callable[..., tuple[Tensor, None]]
"""An attention function in the manner of transformers: module, query, key, value, mask → heads before their axes are
merged.
"""

See = Callable[[Function, tuple[Any, ...], dict[str, Any]], PointHeads]
"""Answers a call of such a function with heads."""

_ATTEND = F.scaled_dot_product_attention


class _Meeting(TorchFunctionMode):
    """While it lasts, this thread's calls of `scaled_dot_product_attention` are answered: the first, or every one.

    Those that the answer itself needs are torch's own.
    """

    def __init__(self, see: See, every: bool):
        super().__init__()
        self.see, self.every, self.met, self.answering = see, every, False, False

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is _ATTEND:
            return self.meet(function, *args, **kwargs)
        if function is F.multi_head_attention_forward:  # asked for its weights, it would not call the function
            kwargs = {**kwargs, "need_weights": False}
        return function(*args, **kwargs)

    def meet(
        self,
        own: Callable[..., Tensor],
        query: Float[Tensor, "*any token d_key"],
        key: Float[Tensor, "*any source d_key"],
        value: Float[Tensor, "*any source d_value"],
        attn_mask: Shaped[Tensor, "*mask"] | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        **options: Any,
    ) -> Tensor:
        if self.answering or (self.met and not self.every):
            return own(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, **options)
        self.met = True
        lone = query.ndim == 3  # a head without an axis

        def function(_: Any, query: Any, key: Any, value: Any, mask: Any, scaling: Any = None, **kwargs: Any) -> Any:
            heads = own(query, key, value, mask, dropout_p, is_causal, scale=scaling, **options)
            return heads.transpose(1, 2), None

        parts = [each[:, None] if lone else each for each in (query, key, value)]
        mask = attn_mask if attn_mask is None else attn_mask[(None,) * (4 - attn_mask.ndim)]
        self.answering = True
        try:
            heads = self.see(function, (None, *parts, mask), {"scaling": scale, "is_causal": is_causal}).transpose(1, 2)
        finally:
            self.answering = False
        return heads[:, 0] if lone else heads


_meeting: ContextVar[_Meeting | None] = ContextVar("lignite_attention_meeting", default=None)


@contextmanager
def functions_met(see: See, *, every: bool = False) -> Iterator[None]:
    """Let `see` answer this thread's first call of attention, or `every` one; other threads' pass through untouched.

    A mode of torch sees what modules call under whatever name; not what torch's own multi-head attention calls inside,
    which is met at the name that it calls.
    """
    before, mode = F.scaled_dot_product_attention, _Meeting(see, every)
    token = _meeting.set(mode)

    def call(*args: Any, **kwargs: Any) -> Tensor:
        met = _meeting.get()
        return before(*args, **kwargs) if met is None else met.meet(_ATTEND, *args, **kwargs)

    F.scaled_dot_product_attention = call
    try:
        with mode:
            yield
    finally:
        F.scaled_dot_product_attention = before
        _meeting.reset(token)
