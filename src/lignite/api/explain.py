"""Explain: which tokens speak for and against a prediction, and at which layer each begins to matter."""

from typing import Any

import xarray as xr

from lignite.api.gaps import Missed, gap_message, missed_in
from lignite.api.windows import check_windows, explain_windows
from lignite.blocks.replay import HALF
from lignite.calls import Progress, public
from lignite.errors import GapWarning, warn
from lignite.inputs.encode import gives_several, is_list
from lignite.methods import Method
from lignite.methods.options import choose, known_options
from lignite.methods.scoring.rows import explain_all, explain_classes
from lignite.models.hold import at_rest
from lignite.models.load import Model, as_model
from lignite.options import with_options
from lignite.results.classes import each_class
from lignite.targets.ask import ask
from lignite.targets.classes import Targets, ask_classes
from lignite.targets.objective import Wanted
from lignite.targets.target import Target

OWN = ("target", "targets", "method", "window", "overlap", "memory", "progress")
"""What `explain` takes beside the options of methods."""


@public
@with_options({name: (known.option, known.help) for name, known in known_options().items()})
def explain(
    model: Any,
    inputs: Any,
    *,
    target: Wanted = None,
    targets: Targets | None = None,
    method: str | Method = "relevance-flow",
    window: int | None = None,
    overlap: int | None = None,
    memory: int | float | str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Any:
    """Explain a prediction by its tokens, layer by layer (:arxiv:`2602.16608`; docs/method.md).

    Parameters
    ----------
    model
        From `lignite.load` or `lignite.wrap`, or what `wrap` takes; bit-identical afterwards. In half precision, a
        float32 copy of it is made for the time of the call (twice its memory, beside it), and that copy's value is the
        one explained.
    inputs
        A text, a pair of texts, ``{"words": [...]}``, a chat (a list of messages), ids, tensors of the model's own; for
        models of images the name of a file or folder, a Pillow image or an array ``[y, x, 3]``; or a list of these.
    target
        What is explained: a class by name or number (for language models a token), a pair of them for the difference of
        their logits, a `lignite.Target`, or a function of the model's output that returns one number per input. By
        default what the model predicts.
    targets
        Several at once, in one result with the axis ``explained``: every class (``"all"``), or so many of the most
        probable classes or tokens. `target` then says no more than where the model is asked. What the classes share is
        computed once: scores are those of one call per class, which takes longer. With `window`, the most probable by
        the mean of the windows' logits.
    method
        A name, a name with options such as ``"ca-lig:path=layer,tol=0.01"``, or one of the classes of
        `lignite.methods`, such as ``lignite.methods.CaLig(path="layer")``.
    window, overlap
        Read longer texts in windows of so many tokens, special ones included, that share `overlap` tokens (a quarter of
        a window by default). The mean of the windows' values is explained; the attribute ``windows`` states the seams.
    memory
        For intermediate tensors: bytes or a text such as ``"2 GiB"``; results do not depend on it.
    progress
        Called with the inputs finished and their number.
    **options
        Options of the method; others are refused.

    Returns
    -------
    A Dataset as laid out in docs/results-layout.md, or a list of them for a list of inputs and for `Target.steps`.

    Raises
    ------
    InputError
        If an input cannot be explained as given; nothing is ever truncated.
    OptionError
        If an option is unknown, contradicts another, or is not available for this model; if there is no such target.
    ModelError
        If the model's answer is no function of the states of its layers.

    Warns
    -----
    GapWarning
        Once, if scores of some layers miss more of their displacement than `tol`.
    BaselineWarning
        Once per model, if a path from ``"zero"`` leaps where it starts, as under RMSNorm.

    Examples
    --------
    >>> import lignite
    >>> model = lignite.load("tiny-sentiment")
    >>> why = lignite.explain(model, "A superb film.")
    >>> why.prediction, str(why.token.values[why.relevance.values.argmax()])
    ('positive', 'superb')
    """
    chosen = choose(method, options, beside=OWN)
    model = as_model(model)
    with at_rest(model.network):
        if (window, overlap) != (None, None):
            size = check_windows(window, overlap)
            results = _explain_texts(model, inputs, target, targets, chosen, size, memory, progress)
        elif targets is not None:
            groups = ask_classes(model, inputs, target, targets, twice=model.dtype in HALF)
            results = explain_classes(model, groups, chosen, memory=memory, progress=progress)
        else:
            rows = ask(model, inputs, target, twice=model.dtype in HALF)  # others are asked again by their method
            results = explain_all(model, rows, chosen, memory=memory, progress=progress)
    missed: list[Missed] = [each for result in each_class(results) for each in missed_in(result)]
    if missed:
        warn(gap_message(missed, chosen), GapWarning)
    several = gives_several(model, inputs) or (isinstance(target, Target) and target.steps is not None)
    return results[0] if len(results) == 1 and not several else results


def _explain_texts(
    model: Model,
    inputs: Any,
    target: Wanted,
    targets: Targets | None,
    method: Method,
    size: tuple[int, int | None],
    memory: int | float | str | None,
    progress: Progress | None,
) -> list[xr.Dataset]:
    texts = inputs if is_list(inputs) else [inputs]
    results: list[xr.Dataset] = []
    for text in texts:
        results.append(explain_windows(model, text, target, targets, method, *size, memory))
        if progress:
            progress(len(results), len(texts))
    return results
