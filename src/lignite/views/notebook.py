"""Results in a notebook: a card that needs no script, and the page to explore."""

import base64
import tempfile
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from lignite.errors import FileError
from lignite.results.classes import is_of_classes
from lignite.results.evaluation import Evaluation
from lignite.results.notebook import running_shell
from lignite.results.schema import is_explanation
from lignite.views.attributes import model_name
from lignite.views.comparison.page import comparison_card
from lignite.views.evaluation.facts import answer_of, columns_of, facts, heading_of, written_number
from lignite.views.evaluation.page import evaluation_html
from lignite.views.explanation.facts import (
    arrange,
    certificate_text,
    explained_options,
    layer_rows,
    pieces,
    question,
    strongest,
)
from lignite.views.explanation.message import message, unit_of
from lignite.views.explanation.together import continuation_of
from lignite.views.files import is_comparison, is_report, page_of
from lignite.views.flow.facts import TITLES, answer, choose_map, doubt, one_part, reader_of, token_axis
from lignite.views.flow.facts import arrange as arrange_flow
from lignite.views.flow.facts import strongest as strongest_scores
from lignite.views.labels import clipped_note, format_cell, format_score, limit_of, typeset, visible_token
from lignite.views.markup import frame, render_part
from lignite.views.patches.facts import PATCH_NAMES, enlarged, is_image, overlaid, png
from lignite.views.report.page import report_card
from lignite.views.tones import tone_of

LISTED = 8
MOST_CARDS = 8
"""Of a list of results."""

COLUMNS = 16
"""Of a table of what the reading token receives, those of the strongest."""

WIDE = 320  # pixels of an image


def show(result: Any, *, tokens: bool = False, special: str = "show") -> None:
    """Open the page of a result: below a notebook's cell, elsewhere in the web browser."""
    of_evaluation = isinstance(result, Evaluation)
    page = evaluation_html(result) if of_evaluation else page_of(result, tokens=tokens, special=special)
    shell = running_shell()
    if hasattr(shell, "kernel"):
        shell.display_pub.publish({"text/html": frame(page, height=900, title="lignite"), "text/plain": "a page"})
        return
    path = Path(tempfile.mkdtemp(prefix="lignite-")) / "result.html"  # the browser reads it later
    path.write_text(page, encoding="utf-8", errors="backslashreplace")
    if not webbrowser.open(path.as_uri()):
        raise FileError(f"no web browser was found: open {path} by hand.")


def card_of(result: xr.Dataset | Evaluation) -> str:
    """A result as HTML for a notebook: its answer, its text or table, and how it was computed under a heading."""
    if isinstance(result, xr.Dataset) and is_report(result):
        return report_card(result)
    if isinstance(result, xr.Dataset) and is_comparison(result):
        return comparison_card(result)
    if isinstance(result, Evaluation):
        return render_part("card.html.j2", kind="evaluate", **_of_evaluation(result))
    if is_of_classes(result):
        return "\n".join(map(card_of, result.lignite.by_class().values()))
    if is_explanation(result):
        return render_part("card.html.j2", kind="explain", **_of_explanation(arrange(result)))
    return render_part("card.html.j2", kind="flow", **_of_flow(arrange_flow(result)))


def cards_of(results: Sequence[xr.Dataset]) -> str:
    """Results that belong together: how a text goes on as one table, then each of them, the first `MOST_CARDS`."""
    together = continuation_of(results) if all(map(is_explanation, results)) else None
    first = [render_part("card.html.j2", kind="continuation", continuation=together)] if together else []
    rest = len(results) - MOST_CARDS
    more = [f"<p>and {rest} more: take them from the list one by one</p>"] if rest > 0 else []
    return "\n".join([*first, *map(card_of, results[:MOST_CARDS]), *more])


def _of_explanation(dataset: xr.Dataset) -> dict[str, Any]:
    values = dataset.relevance.values.astype(np.float64)
    shown = values[dataset.row.values >= 0] if is_image(dataset) else values
    limit = limit_of(shown)
    picture = base64.b64encode(png(enlarged(overlaid(dataset), WIDE))).decode() if is_image(dataset) else ""
    return {
        "said": message(dataset),
        "name": question(dataset).name,
        "picture": picture,
        "pieces": [] if picture else [
            (piece.text, "" if piece.index is None else tone_of(float(values[piece.index]) / limit),
             "" if piece.index is None else format_score(float(values[piece.index])))
            for piece in pieces(dataset)
        ],
        "ends": f"colours end at {format_score(limit)[1:]}",
        "notes": [each for each in (clipped_note(shown, unit_of(dataset)), PATCH_NAMES if picture else "") if each],
        "lists": [strongest(dataset, LISTED, sign="for"), strongest(dataset, LISTED, sign="against")],
        "layers": layer_rows(dataset),
        "certificate": certificate_text(dataset),
        "settings": [["model", model_name(dataset), "which was asked"], *explained_options(dataset)],
        "version": str(dataset.attrs.get("lignite_version", "")),
    }  # fmt: skip


def _of_flow(dataset: xr.Dataset) -> dict[str, Any]:
    name = choose_map(dataset, None)
    reader, tokens, rows = _read(dataset, name)
    return {
        "doubt": doubt(dataset),
        "answer": answer(dataset, name),
        "text": str(dataset.attrs.get("text", "")),
        "patch_names": PATCH_NAMES if is_image(dataset, token_axis(dataset)) else "",
        "title": TITLES[name],
        "reader": reader,
        "tokens": tokens,
        "left_out": dataset.sizes.get("source", 0) - len(tokens) if rows else 0,
        "rows": rows,
        "strongest": [
            (int(layer), strongest_scores(dataset, map=name, layer=int(layer), k=3)) for layer in dataset.layer.values
        ],
        "settings": [["model", model_name(dataset), ""]],
        "version": str(dataset.attrs.get("lignite_version", "")),
    }


def _read(dataset: xr.Dataset, name: str) -> tuple[str, list[str], list[tuple[int, list[tuple[str, str]]]]]:
    """Who reads (the first token, or of a decoder the last), from which tokens most, and what, layer by layer."""
    if "source" not in dataset[name].dims:
        return "", [], []
    scores: Float[np.ndarray, "layer target source"] = one_part(dataset, name)[0].values.astype(np.float64)
    place = reader_of(dataset)
    read = scores[:, place].copy()
    own = dataset.source.values == dataset.target.values[place]
    limit = limit_of(read[:, ~own])
    kept = np.sort(np.argsort(-np.abs(np.nan_to_num(read)).max(0), kind="stable")[:COLUMNS])
    tokens = [visible_token(str(token)) for token in dataset.source_token.values[kept]]
    rows = [
        (int(layer), [(tone_of(score / limit), format_cell(score, limit)) for score in row[kept].tolist()])
        for layer, row in zip(dataset.layer.values, read, strict=True)
    ]
    return visible_token(str(dataset.target_token.values[place])), tokens, rows


def _of_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    columns = columns_of(evaluation)
    return {
        "answer": answer_of(columns),
        "columns": columns,
        "methods": list(dict.fromkeys(str(name) for name in evaluation.table["method"])),
        "number": lambda value: typeset(written_number(value)),
        "heading_of": heading_of,
        "facts": facts(evaluation),
        "percent": f"{100 * float(evaluation.attrs['confidence']):g} %",
    }
