"""A report as one page without a script: plain words first, numbers in an appendix."""

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lignite.views.markup import render, render_part, write_page
from lignite.views.patches.facts import enlarged, ground, laid_over, overlaid, painted, patches, png
from lignite.views.report.facts import (
    LIMITS,
    Change,
    changes,
    checks,
    decided,
    decision_of,
    evidence,
    noun_of,
    numbers,
    settings,
    singly,
    spoken,
    text_of,
    title_of,
    unchanged,
)
from lignite.views.tones import tone_of

WIDE = 288  # pixels of a picture
SIGNS = {"yes": "✓", "partly": "~", "no": "✗"}


def report_html(report: xr.Dataset) -> str:
    """The page as text."""
    return render("report", **_glued(_told(report)))


def report_card(report: xr.Dataset) -> str:
    """The report as a part of somebody else's document: a notebook's cell."""
    return render_part("report_card.html.j2", **_told(report))


def save_report_page(report: xr.Dataset, path: str | Path) -> Path:
    """Write the page into a .html file."""
    return write_page(report_html(report), Path(path))


def _glued(value: Any) -> Any:
    """What is said, with no line broken between a number and its per cent."""
    if isinstance(value, str):
        return value.replace(" %", "\N{NO-BREAK SPACE}%")
    if isinstance(value, dict):
        return {name: _glued(each) for name, each in value.items()}
    if isinstance(value, Change):
        return replace(value, probability=_glued(value.probability), left=_glued(value.left))
    return type(value)(map(_glued, value)) if isinstance(value, list | tuple) else value


def _told(report: xr.Dataset) -> dict[str, Any]:
    image = "row" in report.coords
    return {
        "title": title_of(report),
        "pictured": True,
        "image": image,
        "picture": base64.b64encode(png(enlarged(overlaid(report), WIDE))).decode("ascii") if image else "",
        "covered": _covered(report) if image else [],
        "decision": decision_of(report),
        "decided": decided(report),
        "evidence": evidence(report),
        "pieces": [] if image else [(text, "" if share is None else tone_of(share)) for text, share in text_of(report)],
        "sides": [
            (f"Speaks for {decision_of(report)}", "f", spoken(report, "for")),
            ("Speaks against it", "a", spoken(report, "against")),
        ],
        "checks": [(SIGNS[check.mark], check.mark, check.title, check.told) for check in checks(report)],
        "changes": changes(report),
        "unchanged": unchanged(report),
        "singly": singly(report),
        "limits": LIMITS,
        "noun": noun_of(report),
        "numbers": numbers(report),
        "method": str(report.attrs.get("method", "")),
        "second": str(report.attrs.get("second_method", "")),
        "settings": settings(report),
    }


def _covered(report: xr.Dataset) -> list[str]:
    """Of every change the picture, its covered patches marked."""
    if "change" not in report.dims:
        return []
    where, gone = patches(report), report["gone"].transpose("change", "token").values
    return [
        base64.b64encode(
            png(enlarged(laid_over(ground(report, where), painted(where, -some[where.index].astype(float))), WIDE))
        ).decode("ascii")
        for some in gone.astype(np.float64)
    ]
