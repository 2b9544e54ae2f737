"""Explain: which tokens speak for and against a prediction, and at which layer each begins to matter."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from lignite.api.join import join
from lignite.blocks.baselines import usual_baseline
from lignite.blocks.rounding import HALF
from lignite.calls import Progress, public
from lignite.errors import GapWarning, NotFiniteError, OptionError, warn
from lignite.inputs.encode import is_list
from lignite.inputs.pictures import is_folder
from lignite.inputs.windows import check_text, cut
from lignite.memory import memory_budget
from lignite.methods import METHODS, Scores
from lignite.methods.ca_lig import fit_share
from lignite.methods.precision import explainable
from lignite.models.facts import reads_images
from lignite.models.hold import at_rest
from lignite.models.load import Model, as_model
from lignite.request import ExplainRequest, Target, as_names
from lignite.results.build import build_explanation
from lignite.results.certificate import Certificate, certificates
from lignite.results.provenance import versions
from lignite.results.schema import PICTURE
from lignite.targets.ask import ask, check_said_again
from lignite.targets.objective import Wanted
from lignite.targets.predict import predict
from lignite.targets.rows import Row
from lignite.version import VERSION

BATCH = 64
"""Inputs that are explained together before progress is reported."""

ROUNDINGS = 256
"""A gap of fewer roundings of the prediction is what its precision leaves; more nodes do not close it."""


@dataclass(frozen=True)
class Missed:
    """Where scores miss more than they may, in words, and whether it is rounding that they miss."""

    where: str
    rounded: bool

    def __str__(self) -> str:
        return self.where


@public
def explain(
    model: Any,
    inputs: Any,
    *,
    target: Wanted = None,
    method: str = "ca-lig",
    baseline: str | Iterable[str] = "auto",
    path: str = "input",
    fusion: float | str = 1.0,
    aggregate: str = "sum",
    layer_weights: Iterable[float] | str | None = ExplainRequest.layer_weights,
    ends: bool = False,
    orders: bool = False,
    detail: str | Iterable[str] | None = None,
    keep_special: bool = True,
    nodes: str = "adaptive",
    n_samples: int = 25,
    tol: float = 1e-3,
    n_steps: int | None = None,
    max_steps: int = 256,
    window: int | None = None,
    overlap: int | None = None,
    memory: int | float | str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
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
    method
        ``"ca-lig"``, ``"relevance-flow"`` or one of the others in `lignite.request.EXPLAIN_METHODS`.
    baseline
        Where paths start: ``"mask"``, ``"pad"``, ``"eos"``, ``"bos"`` and ``"unk"`` (an input whose words are all that
        token), ``"mean-embedding"`` (whose words are all read as the mean of the vocabulary), ``"zero"``, ``"mean"``
        (states, the mean of the text's own); several are averaged. For images ``"blur"``, ``"grey"``, ``"black"`` (the
        image so), ``"mean"`` (every patch is the average patch of the image), ``"mask"`` (where the model has a mask
        token), ``"zero"``. ``"auto"``: the mask, or a pad token that is not also the start or the end of texts, or the
        mean embedding, the first that the model has; for images ``"mean"``, or ``"blur"`` where patches have no fixed
        size (docs/results). The result names it.
    path
        ``"input"``: one straight line at the embeddings, followed through all layers. ``"layer"``: a straight line in
        each layer's own states.
    fusion
        Share of layer-wise integrated gradients, from 0 to 1; the rest is attention gradients. ``"auto"`` chooses per
        input by faithfulness.
    aggregate
        How layers become one number per token: ``"sum"`` (a weighted mean, so that it adds up to the displacement),
        ``"rollout"`` or ``"last"``.
    layer_weights
        For ``aggregate="sum"``: a number per layer, or ``"all"``, ``"lower-half"``, ``"lower-third"``.
    ends
        Average with what each token does at both ends of the path: added alone to the blank input, removed alone from
        the full one (ca-lig and relevance-flow), for two more predictions per token; scores of a layer still add up,
        `relevance` no longer does.
    orders
        Average with what each token adds when tokens arrive in the order of their relevance, and in the opposite one
        (relevance-flow), for two more predictions per token; `relevance` still adds up. With baseline=("mask", "pad")
        the most faithful explanation measured (docs/results).
    detail
        ``"heads"`` keeps attention gradients (or relevance) by head; ``"relevance-flow"`` divides the relevance of
        every token over the tokens it came from.
    keep_special
        Special tokens of the input are the same in the baseline.
    nodes
        ``"adaptive"``, or ``"stochastic"``: `n_steps` nodes drawn at random, unbiased, with a standard error.
    n_samples
        Samples of the sampling methods.
    tol, n_steps, max_steps
        Gap allowed per displacement; a fixed number of nodes instead; the most nodes a path may take.
    window, overlap
        Read longer texts in windows of so many tokens, special ones included, that share `overlap` tokens (a quarter of
        a window by default). The mean of the windows' values is explained; the attribute ``windows`` states the seams.
    memory
        For intermediate tensors: bytes or a text such as ``"2 GiB"``; results do not depend on it.
    seed
        Of everything drawn at random.
    progress
        Called with the inputs finished and their number.

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
    request = ExplainRequest(
        method=method,
        baseline=as_names("baseline", baseline),
        path=path,
        fusion=fusion,
        aggregate=aggregate,
        layer_weights=layer_weights if isinstance(layer_weights, str | None) else tuple(layer_weights),
        ends=ends,
        orders=orders,
        detail=as_names("detail", detail),
        keep_special=keep_special,
        nodes=nodes,
        n_samples=n_samples,
        tol=tol,
        n_steps=n_steps,
        max_steps=max_steps,
        window=window,
        overlap=overlap,
        seed=seed,
    )
    model = as_model(model)
    missed: list[Missed] = []
    with at_rest(model.network):
        results = _explain_all(model, inputs, target, request, memory, progress, missed)
    if missed:
        warn(_gap_message(missed, request), GapWarning)
    several = is_list(inputs) or (reads_images(model.network) and is_folder(inputs))
    several = several or (isinstance(target, Target) and target.steps is not None)
    single = len(results) == 1 and not several
    return results[0] if single else results


def _explain_all(
    model: Model,
    inputs: Any,
    target: Wanted,
    request: ExplainRequest,
    memory: int | float | str | None,
    progress: Progress | None,
    missed: list[Missed],
) -> list[xr.Dataset]:
    results: list[xr.Dataset] = []
    if request.window is not None:
        texts = inputs if is_list(inputs) else [inputs]
        for done, text in enumerate(texts):
            results.append(_explain_windows(model, check_text(text), target, request, memory, missed))
            if progress:
                progress(done + 1, len(texts))
        return results
    rows = ask(model, inputs, target, twice=model.dtype in HALF)  # others are asked again by their method
    for first in range(0, len(rows), BATCH):
        some = rows[first : first + BATCH]
        results.extend(explain_rows(model, some, request, memory=memory, missed=missed))
        if progress:
            progress(len(results), len(rows))
    return results


@public
def fit_fusion(
    model: Any,
    inputs: Any,
    *,
    target: Wanted = None,
    baseline: str | Iterable[str] = "auto",
    path: str = "input",
    aggregate: str = "sum",
    tol: float = 1e-3,
    memory: int | float | str | None = None,
) -> float:
    """The share of layer-wise integrated gradients, among five from 0 to 1, that explains a data set most faithfully.

    Measured by insertion − deletion over all inputs. Use it as ``explain(…, fusion=share)`` on other inputs than these.

    Raises
    ------
    OptionError
        As `explain`; also if the model has no attention weights to fuse with.
    """
    request = ExplainRequest(
        baseline=as_names("baseline", baseline), path=path, aggregate=aggregate, fusion="auto", tol=tol
    )
    model = as_model(model)
    rows = ask(model, inputs, target)
    request = _with_baseline(model, request)
    with explainable(model, rows) as (model, rows, _):
        return fit_share(model, rows, request, memory_budget(model.device, memory))


def explain_rows(
    model: Model,
    rows: Sequence[Row],
    request: ExplainRequest,
    *,
    memory: int | float | str | None = None,
    missed: list[Missed] | None = None,
) -> list[xr.Dataset]:
    """Explanations of rows whose targets are settled; what misses its tolerance is named in `missed`."""
    request = _with_baseline(model, request)
    with explainable(model, rows) as (model, rows, attention):
        found = METHODS[request.method](model, rows, request, memory_budget(model.device, memory))
        answers = _answers(model, rows, found, memory)
    results = []
    for row, scores, value in zip(rows, found, answers, strict=True):
        notes = {name: scores.pop(name) for name in list(scores) if name.startswith("_")}
        _check_finite(row, scores, value)
        results.append(_label(model, row, scores, request, value, notes, attention))
        if missed is not None:
            missed.extend(missed_in(results[-1]))
    return results


def _answers(
    model: Model, rows: Sequence[Row], found: Sequence[Scores], memory: int | float | str | None
) -> list[float]:
    """F of every row, as the method has seen it, or asked for anew where it has not."""
    if all("_value" in scores for scores in found):
        return [float(scores["_value"]) for scores in found]
    prediction = predict(model, rows, memory=memory)
    check_said_again(model, rows, prediction.answers)
    answers: list[float] = prediction.value.tolist()
    return answers


def _check_finite(row: Row, scores: Scores, value: float) -> None:
    chances = ("start_probability",)  # a regression has none
    wrong = [name for name, values in scores.items() if name not in chances and not np.isfinite(values).all()]
    if wrong or not np.isfinite(value):
        text = row.encoded.tokens.input
        raise NotFiniteError(
            f"{wrong[0] if wrong else 'the answer'} for {text[:40] + ('…' if len(text) > 40 else '')!r} is NaN or "
            "infinite: the path leaves the range of the model's numbers. Load the model with dtype='float64', or start "
            "the path elsewhere (baseline=)."
        )


def _with_baseline(model: Model, request: ExplainRequest) -> ExplainRequest:
    """The request with the usual baseline of this model, where none was named."""
    return replace(request, baseline=(usual_baseline(model),)) if request.baseline == ("auto",) else request


def _explain_windows(
    model: Model,
    text: str,
    target: Wanted,
    request: ExplainRequest,
    memory: int | float | str | None,
    missed: list[Missed],
) -> xr.Dataset:
    assert request.window is not None
    if request.detail:
        raise OptionError(
            f"detail={', '.join(request.detail)} keeps scores of pairs of tokens, and two windows share no pair. Leave "
            "it out, or explain the part of the text that matters without window=."
        )
    windows = cut(model, text, request.window, request.overlap)
    rows = ask(model, [window.text for window in windows], target)
    kinds = {row.objective.kind for row in rows}
    if kinds - {"class", "function"}:
        raise OptionError(
            f"window= explains one answer for the whole text; {type(model.network).__name__} answers at a token of it. "
            "Give the part of the text that matters."
        )
    if len({row.objective.index for row in rows}) > 1:  # by default each window has its own prediction
        logits = np.mean([row.outlook.logit for row in rows if row.outlook is not None], axis=0)
        rows = ask(model, [window.text for window in windows], int(logits.argmax()))
    results = [
        result
        for first in range(0, len(rows), BATCH)
        for result in explain_rows(model, rows[first : first + BATCH], request, memory=memory)
    ]
    tokens = [row.encoded.tokens.keep() for row in rows]
    joined = join(text, windows, results, tokens, rows[0].objective.link)
    missed.extend(missed_in(joined))
    return joined


def _label(
    model: Model,
    row: Row,
    scores: Scores,
    request: ExplainRequest,
    value: float,
    notes: dict[str, np.ndarray],
    attention: str,
) -> xr.Dataset:
    tokens, objective = row.encoded.tokens, row.objective
    variables = dict(scores)
    classes = None
    prediction = ""
    if row.outlook is not None:
        prediction = row.outlook.best
        if row.outlook.choices:
            classes = row.outlook.choices
            variables |= {"logit": np.asarray(row.outlook.logit), "probability": np.asarray(row.outlook.probability)}
    if row.encoded.image is not None:
        variables[PICTURE] = row.encoded.image
    target = {
        "kind": objective.kind,
        "name": objective.name,
        "label": objective.index,
        "against": objective.against,
        "token": objective.position,
        "part": objective.part,
    }
    plans: dict[str, Any] = {"precision": str(model.dtype).removeprefix("torch.")}
    if attention != "own":
        plans["attention"] = attention
    if request.method == "ca-lig":
        plans["path"] = request.path
    if "_n_nodes" in notes:
        plans["n_nodes"] = np.atleast_1d(notes["_n_nodes"]).astype(int).tolist()
    if "_fusion" in notes:
        plans["fusion"] = float(notes["_fusion"])
    return build_explanation(
        tokens=tokens.keep(),
        variables={name: np.asarray(values) for name, values in variables.items()},
        classes=classes,
        attrs={
            "lignite_version": VERSION,
            "model": model.name,
            "revision": model.revision or "",
            "text": tokens.input,
            "request": request.to_json(),
            "target": json.dumps(target),
            "method": request.method,
            "prediction": prediction,
            "value": float(value),
            "plans": json.dumps(plans),
            "versions": json.dumps(versions("xarray")),
            "tol": request.tol,
        },
    )


PLACES = {"": "layers", "output_": "the states that leave the last layer", "relevance_flow_": "layers"}
"""How a warning names the places of a sum, by how its variables begin."""


def missed_in(result: xr.Dataset) -> list[Missed]:
    """What the certificate of a result says is missed, a line for each of its sums."""
    text = str(result.attrs["text"])
    shown = repr(text[:40] + ("…" if len(text) > 40 else ""))
    return [
        Missed(f"{shown}{_places(result, each)}", _is_rounding(result, each))
        for each in certificates(result)
        if not each.kept
    ]


def _places(result: xr.Dataset, found: Certificate) -> str:
    if found.prefix not in PLACES:
        return ""
    wide = ~found.within
    if "layer" not in wide.dims:
        return f" at {PLACES[found.prefix]}"
    layers = wide.any([dim for dim in wide.dims if dim != "layer"])
    numbers = ", ".join(str(layer) for layer in result["layer"].values[layers.values])
    what = ", handed on between tokens," if found.prefix == "relevance_flow_" else ""
    return f"{what} at {PLACES[found.prefix]} {numbers}"


def _is_rounding(result: xr.Dataset, found: Certificate) -> bool:
    gap, value = result[f"{found.prefix}gap"], float(result.attrs["value"])
    moved = result["displacement" if found.prefix == "relevance_flow_" else f"{found.prefix}displacement"]
    scale = max(abs(value), float(abs(value - moved).max()))
    return bool((abs(gap.where(~found.within, 0)) <= ROUNDINGS * np.finfo(gap.dtype).eps * scale).all())


def _gap_message(missed: Sequence[Missed], request: ExplainRequest) -> str:
    shown = "; ".join(map(str, missed[:5])) + (f"; and {len(missed) - 5} more" if len(missed) > 5 else "")
    return f"Scores miss more than {request.tol:g} of their displacement for {shown}. {_remedy(missed, request)}"


def _remedy(missed: Sequence[Missed], request: ExplainRequest) -> str:
    if all(each.rounded for each in missed):
        return "What is missed is the rounding of the model's numbers: load it with dtype='float64', or raise tol."
    if request.n_steps:
        return f"Raise n_steps above {request.n_steps}, or leave it out to let nodes be added where they are needed."
    if set(request.baseline) & {"zero", "mean"}:
        return (
            f"Raise max_steps above {request.max_steps}, or start where the model has been: paths from no token's "
            "states turn sharply at every norm, those from baseline='mask', 'pad' or another token do not."
        )
    return f"Raise max_steps above {request.max_steps}; paths from baseline='mask' are the smoothest."
