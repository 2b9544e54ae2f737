"""Metrics of removal: what the model says of inputs without some of their tokens, patches or pixels."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from lignite.metrics.metric import Cases, Curve, Metric, Question, plain


@dataclass(frozen=True)
class Removals(Question):
    """What is said of inputs without some of their tokens, or pixels: what `faithfulness` returns."""

    answered_by: str = "removal.ask_without"
    pixelwise: bool = False

    def curves(self, answer: Any) -> list[Curve]:
        found: list[Curve] = []
        if "deletion_curve" in answer:
            found += _removal_curves(answer, "-pixels" if self.pixelwise else "")
        if "positive_perturbation_hits" in answer:
            found += _perturbation_curves(answer, "" if self.pixelwise else "-patches")
        return found


@dataclass(frozen=True, kw_only=True)
class Removal(Metric):
    """A variable of `faithfulness`, under one output where it has several; `part` is the part that asks for it."""

    variable: str = ""
    output: str = ""
    part: str = "curves"
    pixelwise: bool = False
    per_fill: bool = True

    @property
    def asks(self) -> Removals:
        return Removals(pixelwise=self.pixelwise)

    def measure(self, cases: Cases, answer: Any) -> Float[np.ndarray, "method example fill"]:
        scores = answer[self.variable or plain(self.name)]
        if self.output:
            scores = scores.sel(output=self.output)
        if not self.per_fill:
            scores = scores.expand_dims(method=answer["method"], fill=[""])
        return scores.transpose("method", "example", "fill").values


def _removal_curves(said: Any, ending: str) -> Iterator[Curve]:
    """Curves by name, output and fill, at equal shares: in short texts a step may be less than a token."""
    wanted = said["step"].values / said["step"].values[-1]
    for name in ("deletion", "insertion"):
        at = said[f"{name}_share"].transpose("example", "step").values
        for output in said["output"].values.tolist():
            for fill in said["fill"].values.tolist():
                curve = (
                    said[f"{name}_curve"].sel(output=output, fill=fill).transpose("method", "example", "step").values
                )
                if np.isnan(curve).all():  # a regression has no probability
                    continue
                values = np.stack(
                    [[np.interp(wanted, at[place], one) for place, one in enumerate(method)] for method in curve]
                )
                yield {"curve": name + ending, "measure": output, "fill": fill}, values


def _perturbation_curves(said: Any, ending: str) -> Iterator[Curve]:
    shares = (said["percent"].values / 100).tolist()
    for name in ("positive", "negative"):
        for fill in said["fill"].values.tolist():
            hits = said[f"{name}_perturbation_hits"].sel(fill=fill).transpose("method", "example", "percent").values
            entry = {"curve": f"{name}-perturbation{ending}", "measure": "accuracy", "fill": fill, "shares": shares}
            yield entry, hits


def _perturbation(order: str, better: str, *, pixelwise: bool) -> Removal:
    first, what = {"positive": "most", "negative": "least"}[order], "pixels" if pixelwise else "patches"
    return Removal(
        f"{order}-perturbation" + ("" if pixelwise else "-patches"),
        f"area under the accuracy as 0, 10 … 90 % of the {what} are removed, {first} relevant first",
        better=better,
        reads="image",
        default=pixelwise,
        variable=f"{order}_perturbation",
        part="perturbation",
        pixelwise=pixelwise,
    )


REMOVAL = (
    Removal(
        "insertion-minus-deletion",
        "area between the insertion and the deletion curve",
        better="higher",
        output="probability",
    ),
    Removal(
        "deletion",
        "area under the probability as tokens are removed, most relevant first",
        better="lower",
        output="probability",
    ),
    Removal(
        "insertion",
        "area under the probability as tokens come back, most relevant first",
        better="higher",
        output="probability",
    ),
    Removal(
        "comprehensiveness",
        "fall of the probability without the most relevant 1, 5, 10, 20, 50 %, mean",
        better="higher",
        output="probability",
        part="bins",
    ),
    Removal(
        "sufficiency",
        "fall of the probability with the most relevant 1, 5, 10, 20, 50 % alone, mean",
        better="lower",
        output="probability",
        part="bins",
    ),
    Removal("log-odds", "change of the log probability without the most relevant 20 %", better="lower", part="bins"),
    Removal("decision-flip", "share of tokens removed until the label flips", better="lower"),
    Removal("flipped", "share of inputs whose label flips at all", better="higher", default=False),
    Removal(
        "area-between",
        "area between the curves of removing the least and the most relevant first, in logits",
        better="higher",
    ),
    Removal(
        "deletion-logit", "deletion, in logits", better="lower", default=False, variable="deletion", output="logit"
    ),
    Removal(
        "insertion-logit", "insertion, in logits", better="higher", default=False, variable="insertion", output="logit"
    ),
    Removal(
        "comprehensiveness-logit",
        "comprehensiveness, in logits",
        better="higher",
        default=False,
        variable="comprehensiveness",
        output="logit",
        part="bins",
    ),
    Removal(
        "sufficiency-logit",
        "sufficiency, in logits",
        better="lower",
        default=False,
        variable="sufficiency",
        output="logit",
        part="bins",
    ),
    _perturbation("positive", "lower", pixelwise=True),
    _perturbation("negative", "higher", pixelwise=True),
    _perturbation("positive", "lower", pixelwise=False),
    _perturbation("negative", "higher", pixelwise=False),
    Removal(
        "untouched-accuracy",
        "share of images whose label leads before anything is removed: where perturbation starts",
        reads="image",
        per_fill=False,
        tested=False,
        variable="untouched",
        part="perturbation",
        pixelwise=True,
    ),
    *(
        Removal(
            f"{name}-pixels",
            f"{name}, pixel by pixel",
            better=better,
            reads="image",
            default=False,
            variable=plain(name),
            output="probability",
            pixelwise=True,
        )
        for name, better in (("insertion-minus-deletion", "higher"), ("deletion", "lower"), ("insertion", "higher"))
    ),
)
