"""A result in a tracker of experiments: its numbers, its picture, what it says, and every layer as a histogram."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lignite.calls import public
from lignite.errors import OptionError
from lignite.results.certificate import largest_gap
from lignite.results.classes import is_of_classes
from lignite.results.evaluation import Evaluation
from lignite.results.schema import FLOW, layout_of, validate
from lignite.views.comparison.facts import ExplanationSides
from lignite.views.comparison.flows import FlowSides
from lignite.views.comparison.picture import draw_comparison
from lignite.views.comparison.sides import is_of_flows
from lignite.views.evaluation.picture import draw_curves
from lignite.views.explanation import facts as explained
from lignite.views.explanation.message import message
from lignite.views.explanation.picture import draw_explanation
from lignite.views.files import is_comparison
from lignite.views.flow import facts as flowing
from lignite.views.flow.picture import draw_flow
from lignite.views.labels import format_score, with_minus
from lignite.views.patches.facts import PATCH_NAMES, is_image

DPI = 110
TRACKERS = (
    "a torch.utils.tensorboard.SummaryWriter, a tracker of accelerate (Weights & Biases, MLflow, Aim, Trackio, …), or "
    "an Accelerator, for all of its trackers"
)


@dataclass(frozen=True)
class Entry:
    """What a tracker is given of one result.

    Attributes
    ----------
    numbers
        One value each: what is explained, how much speaks for and against it, what the scores miss.
    text
        What a view says first, in Markdown.
    layers
        The scores of each layer, all of them, for a histogram.
    picture
        The same as in a file; None where there is nothing to draw.
    """

    numbers: Mapping[str, float]
    text: str
    layers: Mapping[str, np.ndarray] = field(default_factory=dict)
    picture: Figure | None = None


@public
def log(results: Any, tracker: Any, *, step: int | None = None, name: str = "lignite") -> None:
    """Write results or an evaluation into a tracker of experiments, beside a training's other numbers.

    TensorBoard gets numbers, the picture, what the result says as text, and the scores of each layer as a histogram;
    trackers of accelerate get the numbers, and the picture where they take pictures.

    Parameters
    ----------
    results
        A result of `lignite.explain`, `lignite.flow` or `lignite.compare`, a list of them, or an Evaluation.
    tracker
        A `torch.utils.tensorboard.SummaryWriter`, a tracker of accelerate (Weights & Biases, MLflow, Aim, Trackio, …),
        or an `Accelerator`, for all of its trackers.
    step
        Of the training; the same question at several steps makes one curve.
    name
        What the entries begin with: ``lignite/probability``. Of a list each result has its number behind it, of
        several classes each its name.

    Raises
    ------
    OptionError
        If the tracker has no way to take a number.
    InputError
        If a result is none of lignite's.
    """
    write, several = _writer(tracker), isinstance(results, list | tuple)
    for number, result in enumerate(results if several else [results]):
        called = f"{name}/{number}" if several else name
        if isinstance(result, xr.Dataset) and is_of_classes(result):
            for of, one in result.lignite.by_class().items():
                write(_entry(one), f"{called}/{of}", step)
        else:
            write(_entry(result), called, step)


def check_tracker(tracker: Any) -> None:
    """Raise OptionError unless something can be written into it."""
    _writer(tracker)


def _writer(tracker: Any) -> Any:
    if hasattr(tracker, "add_histogram"):
        return lambda entry, name, step: _to_tensorboard(tracker, entry, name, step)
    if isinstance(inner := getattr(tracker, "trackers", None), Sequence) and not isinstance(inner, str):
        if not inner:
            raise OptionError("tracker= has no trackers: call accelerator.init_trackers(…) first, on the main process.")
        writers = [_writer(each) for each in inner]
        return lambda entry, name, step: [write(entry, name, step) for write in writers]
    if hasattr(getattr(tracker, "tracker", None), "add_histogram"):  # accelerate's own around a SummaryWriter
        return _writer(tracker.tracker)
    if callable(getattr(tracker, "log", None)):
        return lambda entry, name, step: _to_accelerate(tracker, entry, name, step)
    raise OptionError(f"tracker= is a {type(tracker).__name__}; give {TRACKERS}.")


def _to_tensorboard(writer: Any, entry: Entry, name: str, step: int | None) -> None:
    for what, value in entry.numbers.items():
        writer.add_scalar(f"{name}/{what}", value, step)
    for what, scores in entry.layers.items():
        writer.add_histogram(f"{name}/{what}", scores, step)
    writer.add_text(name, entry.text, step)
    if entry.picture is not None:
        writer.add_image(name, _pixels(entry.picture), step, dataformats="HWC")


def _to_accelerate(tracker: Any, entry: Entry, name: str, step: int | None) -> None:
    tracker.log({f"{name}/{what}": value for what, value in entry.numbers.items()}, step=step)
    if entry.picture is not None and hasattr(tracker, "log_images"):
        picture = _pixels(entry.picture)
        alone = getattr(tracker, "name", "") == "aim"  # the others take several under one name
        tracker.log_images({name: picture if alone else [picture]}, step=step)


def _pixels(figure: Figure) -> UInt8[np.ndarray, "y x 3"]:
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _entry(result: Any) -> Entry:
    if isinstance(result, Evaluation):
        return _of_evaluation(result)
    validate(result)
    if is_comparison(result):
        return _of_comparison(result)
    return _of_flow(result) if layout_of(result).kind == FLOW.kind else _of_explanation(result)


def _of_explanation(dataset: xr.Dataset) -> Entry:
    asked, shown = explained.question(dataset), explained.arrange(dataset)
    said, scores = message(shown), shown.relevance.values.astype(np.float64)
    ranked = "\n".join(f"- {each.token}: {format_score(each.score)}" for each in explained.strongest(shown, 10))
    lines = [said.text, said.change, ranked, PATCH_NAMES if is_image(dataset) else ""]
    numbers = {
        asked.unit: asked.value,
        "probability": asked.target_probability,
        "for": float(scores[scores > 0].sum()),
        "against": float(scores[scores < 0].sum()),
        "largest gap": largest_gap(dataset),
    }
    of_layers = explained.layer_map(dataset)
    layers = {} if of_layers is None else _by_layer(dataset[of_layers])
    return Entry(_known(numbers), _paragraphs(lines), layers, draw_explanation(dataset))


def _of_flow(dataset: xr.Dataset) -> Entry:
    map = flowing.choose_map(dataset, None)
    shown = flowing.arrange(dataset)
    image = is_image(dataset, flowing.token_axis(dataset))
    lines = [flowing.doubt(dataset), flowing.answer(shown, map), PATCH_NAMES if image else ""]
    numbers = {"largest gap": largest_gap(dataset)}
    own = flowing.own_share(dataset, map)
    if own is not None:
        numbers |= {f"own share/layer {layer}": float(own.sel(layer=layer)) for layer in own.layer.values}
    return Entry(_known(numbers), _paragraphs(lines), _by_layer(dataset[map]), draw_flow(dataset))


def _of_comparison(dataset: xr.Dataset) -> Entry:
    if is_of_flows(dataset):
        return Entry({}, FlowSides(dataset).verdict, {}, draw_comparison(dataset))
    sides = ExplanationSides(dataset)
    numbers = {
        f"{pair.first}, {pair.second}/{title}": each[0] for pair in sides.pairs for title, each in pair.measured.items()
    }
    return Entry(_known(numbers), _paragraphs([sides.verdict, *sides.apart]), {}, draw_comparison(dataset))


def _of_evaluation(evaluation: Evaluation) -> Entry:
    rows = evaluation.table.itertuples()
    numbers = {f"{row.metric}/{row.fill or 'as it is'}/{row.method}": float(row.mean) for row in rows}
    table = evaluation.pivot()
    columns = [f"{metric} ({fill})" if fill else metric for metric, fill in table.columns]
    lines = [f"| method | {' | '.join(columns)} |", f"|{' --- |' * (len(columns) + 1)}"]
    lines += [f"| {row[0]} | {' | '.join(f'{value:.3f}' for value in row[1:])} |" for row in table.itertuples()]
    return Entry(_known(numbers), "\n".join(lines), {}, draw_curves(evaluation) if len(evaluation.curves) else None)


def _by_layer(scores: xr.DataArray) -> dict[str, Float[np.ndarray, " score"]]:
    every = {f"layer {layer}": scores.sel(layer=layer).values.astype(np.float64) for layer in scores.layer.values}
    return {name: values[np.isfinite(values)] for name, values in every.items()}


def _known(numbers: Mapping[str, float]) -> dict[str, float]:
    """Those that there are: a tracker draws a curve through what is not a number."""
    return {name: value for name, value in numbers.items() if np.isfinite(value)}


def _paragraphs(lines: Sequence[str]) -> str:
    return with_minus("\n\n".join(line for line in lines if line))
