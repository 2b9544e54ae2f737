"""A small evaluation in the layout of real ones, for tests that need one without a model."""

from lignite.results.evaluation import Evaluation, frame


def sample_evaluation() -> Evaluation:
    """Two methods and chance, which costs nothing."""
    rows = [
        (method, "seconds", "", mean, mean, mean, 3) for method, mean in (("ig", 2.0), ("slow", 9.0), ("random", 0.1))
    ]
    curves = [
        (method, curve, "probability", "mask", share, 1 - share, 1 - share, 1 - share, 3)
        for method in ("ig", "slow") for curve in ("deletion", "insertion") for share in (0.0, 0.5, 1.0)
    ]  # fmt: skip
    given = {
        "table": (["method", "metric", "fill", "mean", "low", "high", "n"], rows),
        "scores": (["example", "id", "method", "metric", "fill", "value"], []),
        "curves": (["method", "curve", "measure", "fill", "share", "mean", "low", "high", "n"], curves),
        "tests": (["method", "reference", "metric", "fill", "difference", "low", "high", "p", "p_holm", "n"], []),
        "skipped": (["example", "id", "method", "reason"], []),
    }
    attrs = {
        "model": "sample", "revision": "", "model_sha256": "0", "data": "three.jsonl", "n_examples": 3,
        "accuracy": 0.9, "target": "label", "fills": ["mask"], "neutral": [], "seed": 0, "lignite_version": "0.1.0",
        "confidence": 0.95, "reference": "ig", "metrics": {"seconds": {"better": "lower", "meaning": "time"}},
        "baselines": {}, "draws": 1, "steps": 3, "methods": {}, "versions": {},
    }  # fmt: skip
    return Evaluation(**{name: frame(rows, columns) for name, (columns, rows) in given.items()}, attrs=attrs)
