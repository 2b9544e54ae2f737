"""lignite beside the LIG authors' package: seconds and gaps on one model, alternating in one run.

CPU seconds, or with `--device cuda` those of the wall.

The other package needs an older transformers, so it lives in an environment of its own, outside the checkout:

    python3.11 -m venv /tmp/peer-venv
    /tmp/peer-venv/bin/pip install -r bench/peer/requirements.txt
    .venv/bin/python bench/peer/run_peer.py --peer-python /tmp/peer-venv/bin/python
"""

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from worker import Worker

HERE = Path(__file__).parent
N_TOKENS = 41
N_STEPS = 32  # its default
FINER = (32, 64, 128)
TARGETS_AND_HEADS = ((7, 3), (29, 8))
N_LAYERS_MEASURED = 4
SAME_MODEL = 1e-4  # float32 through twelve layers, by two releases of transformers


@dataclass(frozen=True)
class Sample:
    """One call of the other package: what one target (and one head) of one layer takes."""

    layer: int
    target: int
    head: int | None

    @property
    def arguments(self) -> dict[str, int]:
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Kind:
    """A kind of map: the calls that are measured, and the numbers whose product is how many all maps would take."""

    name: str
    samples: tuple[Sample, ...]
    factors: tuple[int, ...]

    @property
    def n_calls(self) -> int:
        return int(np.prod(self.factors))


@dataclass(frozen=True)
class Measurement:
    """Seconds of every repetition (rows), and the other package's scores of every sample."""

    peer: np.ndarray
    lignite: np.ndarray
    scores: tuple[np.ndarray, ...]

    def of_all_calls(self, kind: Kind) -> np.ndarray:
        return self.peer.mean(axis=1) * kind.n_calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", required=True, metavar="PYTHON", help="of the environment described above")
    parser.add_argument("--weights", metavar="FOLDER", help="a trained BERT instead of BERT-base's shape at random")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    options = parser.parse_args()
    if shutil.which(options.peer_python) is None:
        parser.error(f"--peer-python {options.peer_python} cannot be run; make the environment described in --help.")
    own = {"PYTHONPATH": os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])}
    # Compiling takes minutes in its first call and seconds in every later one: off, in its favour.
    foreign = {"PYTHONPATH": "", "PTB_USE_TORCH_COMPILE": "false"}
    with (
        tempfile.TemporaryDirectory() as folder,
        Worker(sys.executable, HERE / "ask_lignite.py", options.device, environment=own) as lignite,
        Worker(options.peer_python, HERE / "ask_peer.py", options.device, environment=foreign) as peer,
    ):
        model = lignite.ask("save", folder=folder, n_tokens=N_TOKENS, weights=options.weights).value
        peer_versions = peer.ask("load", folder=folder, ids=model["ids"]).value
        print(f"Peer: {written(peer_versions)}. Own: {written(model['versions'])}.")
        clock = "CPU time" if options.device == "cpu" else f"wall time, {options.device}"
        print(f"Model: {model['name']}, {N_TOKENS} tokens. Machine: {processor()}, one thread each, {clock},")
        print(f"{options.repetitions} repetitions, alternating; median (smallest–largest).\n")
        kinds = kinds_of_maps(model["n_layers"], model["n_heads"])
        measured = [measure(kind, lignite, peer, options.repetitions) for kind in kinds]
        print_cost(kinds, measured)
        print_gaps(kinds, measured, lignite, peer)
        print_agreement(kinds[0], lignite, peer)


def kinds_of_maps(n_layers: int, n_heads: int) -> tuple[Kind, Kind]:
    """Layers spread evenly, so that their mean is that of all: its attention map replays the layers below its own."""
    layers = np.linspace(0, n_layers - 1, N_LAYERS_MEASURED).round().astype(int).tolist()
    whole = tuple(Sample(layer, target, None) for layer in layers for target, _ in TARGETS_AND_HEADS)
    attention = tuple(Sample(layer, target, head) for layer in layers for target, head in TARGETS_AND_HEADS)
    return Kind("whole", whole, (n_layers, N_TOKENS)), Kind("attention", attention, (n_layers, N_TOKENS, n_heads))


def measure(kind: Kind, lignite: Worker, peer: Worker, repetitions: int) -> Measurement:
    """Alternate, so that a busy spell of the machine meets both; the first calls do not count."""
    lignite.ask("flow", name=kind.name)
    peer_scores(peer, kind, kind.samples[0])
    check_same_model(kind, lignite, peer)
    peer_seconds, own_seconds = [], []
    for _ in range(repetitions):
        own_seconds.append(lignite.ask("flow", name=kind.name).seconds)
        scores, seconds = zip(*(peer_scores(peer, kind, sample) for sample in kind.samples), strict=True)
        peer_seconds.append(seconds)
    return Measurement(np.array(peer_seconds), np.array(own_seconds), scores)


def check_same_model(kind: Kind, lignite: Worker, peer: Worker) -> None:
    for sample in kind.samples:
        ours = lignite.ask("displacement", name=kind.name, **vars(sample)).value
        plain = peer.ask("displacement", **vars(sample)).value
        if abs(ours - plain) > SAME_MODEL * plain:
            sys.exit(f"{kind.name}, {sample}: displacement {ours} here, {plain} there; the models are not the same.")


def peer_scores(peer: Worker, kind: Kind, sample: Sample, n_steps: int = N_STEPS) -> tuple[np.ndarray, float]:
    answer = peer.ask(kind.name, **sample.arguments, n_steps=n_steps)
    return np.asarray(answer.value), answer.seconds


def own_scores(lignite: Worker, kind: Kind, sample: Sample) -> np.ndarray:
    return np.asarray(lignite.ask("scores", name=kind.name, **vars(sample)).value)


def print_cost(kinds: Sequence[Kind], measured: Sequence[Measurement]) -> None:
    print("| map | peer, one call, s | calls for all | peer, all (extrapolated), s | lignite, all, s | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    for kind, measurement in zip(kinds, measured, strict=True):
        everything = measurement.of_all_calls(kind)
        calls = " × ".join(map(str, kind.factors)) + f" = {kind.n_calls:,}"
        columns = (everything / kind.n_calls, calls, everything, measurement.lignite, everything / measurement.lignite)
        cells = [column if isinstance(column, str) else spread(column) for column in columns]
        print(f"| `{kind.name}` | {' | '.join(cells)} |")
    print(f"\nCalls for all: layers × targets (× heads). Peer: target-token baseline, {N_STEPS} steps; one call is the")
    print("mean over the layers below, two targets each. lignite: one call for all, with its defaults, recording and")
    print("checks included. Loading and the first call of each do not count. The peer's seconds a call by layer:\n")
    for kind, measurement in zip(kinds, measured, strict=True):
        layers = np.array([sample.layer for sample in kind.samples])
        seconds = np.median(measurement.peer, axis=0)
        by_layer = [f"layer {layer}: {seconds[layers == layer].mean():.2f}" for layer in np.unique(layers)]
        print(f"- `{kind.name}`: {', '.join(by_layer)}")
    print()


def print_gaps(kinds: Sequence[Kind], measured: Sequence[Measurement], lignite: Worker, peer: Worker) -> None:
    """Both sums against a number that neither package computed: a plain difference of the model's outputs."""
    print("| map | peer: mean, largest relative gap | lignite, same maps | lignite, all maps | peer's scores |")
    print("| --- | --- | --- | --- | --- |")
    for kind, measurement in zip(kinds, measured, strict=True):
        plain = [peer.ask("displacement", **vars(sample)).value for sample in kind.samples]
        ours = [own_scores(lignite, kind, sample) for sample in kind.samples]
        largest = max(abs(scores).max() for scores in measurement.scores)
        cells = [
            mean_and_largest(relative_gaps(measurement.scores, plain)),
            mean_and_largest(relative_gaps(ours, plain)),
            "{:.1e}, {:.1e}".format(*lignite.ask("gaps", name=kind.name).value),
            f"up to {largest:.2g}" if largest else "all 0",
        ]
        print(f"| `{kind.name}` | {' | '.join(cells)} |")
    print()


def print_agreement(kind: Kind, lignite: Worker, peer: Worker) -> None:
    """With more steps its map nears lignite's: both compute one thing, and the rest is its quadrature."""
    print(f"| `{kind.name}`: layer, target | peer's steps | relative difference | correlation | peer's relative gap |")
    print("| --- | --- | --- | --- | --- |")
    for sample in (kind.samples[0], kind.samples[-1]):
        ours = own_scores(lignite, kind, sample)
        plain = peer.ask("displacement", **vars(sample)).value
        for n_steps in FINER:
            theirs, _ = peer_scores(peer, kind, sample, n_steps)
            difference = np.linalg.norm(theirs - ours) / np.linalg.norm(ours)
            correlation = np.corrcoef(theirs, ours)[0, 1]
            gap = relative_gaps([theirs], [plain])[0]
            print(f"| {sample.layer}, {sample.target} | {n_steps} | {difference:.1e} | {correlation:.6f} | {gap:.1e} |")


def relative_gaps(scores: Sequence[np.ndarray], displacements: Sequence[float]) -> list[float]:
    return [abs(s.sum() - displacement) / displacement for s, displacement in zip(scores, displacements, strict=True)]


def mean_and_largest(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.1e}, {max(values):.1e}"


def spread(values: np.ndarray) -> str:
    return f"{number(np.median(values))} ({number(values.min())}–{number(values.max())})"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def written(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
