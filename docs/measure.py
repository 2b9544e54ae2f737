"""Measure again the numbers of docs/method.md, section 9, on the bundled model or on those named.

python docs/measure.py [MODEL …]
"""

import sys
import warnings

import torch
import xarray as xr

import lignite
from lignite.attribution import plan
from lignite.blocks.record import record
from lignite.blocks.routes import split_block
from lignite.errors import GapWarning
from lignite.inputs.encode import encode
from lignite.models.hold import at_rest

SENTENCE = "The plot was thin, but the acting was superb."
RULES = (("zero", 32, False), ("zero", 32, True), ("target_token", 4, False), ("target_token", 6, False))


def early_turn(model: lignite.Model, layer: int, places: tuple[float, ...]) -> list[float]:
    """Share of their displacement that targets have covered so early on the path from zero, on average."""
    with at_rest(model.network), torch.no_grad():
        block = split_block(model, record(model.network, encode(model, SENTENCE)[0].tensors)[layer])
        start, end = (block.whole(a * block.states[None])[0] for a in (0.0, 1.0))
        total = (end - start).norm(dim=-1)
        return [float(((block.whole(a * block.states[None])[0] - start).norm(dim=-1) / total).mean()) for a in places]


def gaps(model: lignite.Model, **options: object) -> xr.DataArray:
    """Gaps of `whole` relative to the displacement."""
    flow = lignite.flow(model, SENTENCE, maps="whole", **options)
    return abs(flow.whole_gap) / flow.whole_displacement


def worst_score(model: lignite.Model, baseline: str) -> tuple[float, float]:
    """Largest error of a single score relative to its target's displacement, and the largest gap beside it."""
    options = {"maps": ("attention", "whole"), "baseline": baseline}
    usual = lignite.flow(model, SENTENCE, **options)
    truth = lignite.flow(model, SENTENCE, tol=1e-9, max_steps=4000, **options)
    errors, left = [], []
    for name in options["maps"]:
        size = usual[f"{name}_displacement"]
        size = size.where(size > 1e-3 * size.median())
        errors.append(float((abs(usual[name] - truth[name]).max("source") / size).max()))
        left.append(float((abs(usual[f"{name}_gap"]) / size).max()))
    return max(errors), max(left)


def report(name: str) -> None:
    model = lignite.load(name, dtype="float64")
    shares = early_turn(model, 1, (0.01, 1 / 32))
    print(f"\n{name}\nlayer 1 from zero: covered {shares[0]:.0%} at a = 0.01, {shares[1]:.0%} at a = 1/32\n")
    print("| baseline | rule | mean | worst |\n| --- | --- | --- | --- |")
    power = plan.GRADED_POWER
    for baseline, n_steps, graded in RULES:
        plan.GRADED_POWER = power if graded else 1
        found = gaps(model, baseline=baseline, n_steps=n_steps)
        rule = f"{n_steps} Gauss nodes" + (f" in t, a = t^{power}" if graded else "")
        print(f"| {baseline} | {rule} | {100 * float(found.mean()):.2g} % | {100 * float(found.max()):.2g} % |")
    plan.GRADED_POWER = power
    for baseline in ("target_token", "zero"):
        error, gap = worst_score(model, baseline)
        print(f"single scores, {baseline}: off by up to {100 * error:.2g} %, gaps up to {100 * gap:.2g} %")


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", GapWarning)
    for name in sys.argv[1:] or ["tiny-sentiment"]:
        report(name)
