"""Pictures look as they were looked at last: in small, with room for what fonts and rounding change."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from tests.kit.sample_evaluation import sample_evaluation
from tests.kit.sample_explanation import sample_explanation
from tests.kit.sample_flow import sample_flow
from tests.kit.sample_image_explanation import sample_image_explanation

import lignite
from lignite.views.comparison.picture import draw_comparison
from lignite.views.evaluation.picture import draw_curves
from lignite.views.explanation.picture import draw_explanation
from lignite.views.flow.picture import draw_flow

KEPT = Path(__file__).parents[1] / "data" / "pictures"
DPI = 40
"""Words are bars of grey there: what moves is seen, how a letter is drawn is not."""

TOLERANCE = 1.0
"""Of 255, the mean difference of a pixel of these pictures at half their size.

Letters drawn without hinting, as by another FreeType, differ by up to 0.3; without the colours behind the words a text
differs by 1.3 to 4, without its words by 3.5 to 14, without its first panel by 2.3 to 9.
"""

DRAWN = {
    "text": lambda: draw_explanation(sample_explanation()),
    "texts": lambda: draw_explanation([sample_explanation(), sample_explanation(label="negative", seed=1)]),
    "image": lambda: draw_explanation(sample_image_explanation()),
    "flow": lambda: draw_flow(sample_flow()),
    "evaluation": lambda: draw_curves(sample_evaluation()),
    "comparison": lambda: draw_comparison(lignite.compare(*(sample_explanation(seed=at, method="ig") for at in (0, 1)),
                                                          names=["one", "other"])),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_looks_as_it_was_looked_at(name):
    """`LIGNITE_REDRAW=1` keeps it as it is drawn now; look at tests/data/pictures before they are committed."""
    drawn, kept = in_small(DRAWN[name]()), KEPT / f"{name}.png"
    if os.environ.get("LIGNITE_REDRAW"):
        drawn.save(kept, optimize=True)

    with Image.open(kept) as image:
        expected = image.convert("L")

    assert np.abs(np.subtract(drawn.size, expected.size)).max() <= 3
    assert difference(drawn, expected) < TOLERANCE


def test_a_panel_that_is_missing_is_a_difference():
    """The tolerance is worth what it refuses."""
    whole, less = DRAWN["flow"](), DRAWN["flow"]()

    less.axes[0].remove()

    assert difference(in_small(whole), in_small(less)) > TOLERANCE


def in_small(figure) -> Image.Image:
    figure.set_dpi(DPI)
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)
    return Image.open(file).convert("L")


def difference(first: Image.Image, second: Image.Image) -> float:
    """Mean difference of pixels, at half the size, so that a line that moves by a pixel is hardly another."""
    size = first.width // 2, first.height // 2
    one, other = (np.asarray(image.resize(size, Image.Resampling.BOX), dtype=float) for image in (first, second))
    return float(np.abs(one - other).mean())
