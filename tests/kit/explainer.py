"""Explanations that need no method, for tests of what is made of them."""

import numpy as np
import xarray as xr

from lignite.targets.ask import predict
from lignite.targets.edits import filler, replace_tokens

TEXTS = [
    "A superb film.",
    "The plot was thin and dull.",
    "Not a bad idea, but a boring film.",
    "Great fun for the whole family.",
]

ROWS = [
    {"id": "a", "text": TEXTS[0], "label": "positive", "why": [[2, 8]], "signs": [[2, 8, 1]]},
    {"id": "b", "text": TEXTS[1], "label": "negative", "why": [[22, 26]], "signs": [[13, 17, -1], [22, 26, -1]]},
    {"id": "c", "text": TEXTS[2], "label": 0, "why": None, "signs": None},
    {"id": "d", "text": TEXTS[3], "label": 1, "why": [[0, 9]], "signs": [[0, 5, 1], [6, 9, 1]]},
]


class Explainer:
    """Stands in for `lignite.explain`, so that these tests know what every explanation says, and who asked.

    "occlusion" removes each token and asks the model, "random" draws numbers, all others find the first token best.
    "ca-lig" promises sums and keeps them, but for what `missed` says.
    """

    def __init__(self):
        self.asked = []
        self.fail = lambda method, text: None
        self.missed = -2e-3  # of a layer that had to explain -4

    def __call__(self, model, rows, method, *, memory=None):
        for row in rows:
            self.fail(method.name, row.encoded.tokens.input)
        self.asked.append((method, rows))
        return [self.result(model, row, method.name) for row in rows]

    def result(self, model, row, method):
        n_tokens = len(row.encoded.tokens)
        if method == "occlusion":
            mask = filler(model, "mask")
            edited = [replace_tokens(row, [place], mask) for place in range(n_tokens)]
            told = predict(model, [row, *edited]).value.numpy()
            relevance = told[0] - told[1:]
        elif method == "random":
            relevance = np.random.default_rng(n_tokens).standard_normal(n_tokens)
        else:
            relevance = -np.arange(n_tokens, dtype=np.float64)
        result = xr.Dataset(
            {"relevance": ("token", relevance)},
            attrs={"kind": "explain", "value": 4.0, "method": method, "text": row.encoded.tokens.input},
        )
        if method == "ca-lig":
            result["displacement"], result["gap"] = ("layer", [2.0, -4.0]), ("layer", [2e-4, self.missed])
        return result

    @property
    def explained(self):
        """(method, text) of every single explanation."""
        return [(method.name, row.encoded.tokens.input) for method, rows in self.asked for row in rows]
