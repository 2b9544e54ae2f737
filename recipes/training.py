"""What every training of a recipe does alike: the rate, which weights decay, a step, the scores, the files beside."""

import argparse
import hashlib
import json
import platform
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel


def tent(progress: float, top: float) -> float:
    """Linear from 0 at the start to 1 at `top` and back to 0 at the end."""
    return min(progress / top, (1 - progress) / (1 - top))


def grouped(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices, leave biases and norms alone."""
    several = list(parameters)
    return [
        {"params": [one for one in several if one.dim() > 1], "weight_decay": weight_decay},
        {"params": [one for one in several if one.dim() < 2], "weight_decay": 0.0},
    ]


def step(optimiser: torch.optim.Optimizer, loss: Tensor, parameters: Iterable[nn.Parameter], rate: float) -> None:
    """Lower a loss at this rate; gradients have length 1 at most."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimiser.step()
    optimiser.zero_grad()


def f1(given: Sequence[int], true: Sequence[int], label: int) -> float:
    """Harmonic mean of precision and recall of one class, 0 where it is never right."""
    both = sum(one == other == label for one, other in zip(given, true, strict=True))
    return 2 * both / max(given.count(label) + true.count(label), 1)


def compare(given: Sequence[int], true: Sequence[int], n_classes: int) -> dict[str, float | int]:
    """Accuracy beside that of always giving the commonest label, and F1 averaged over classes."""
    return {
        "n": len(true),
        "accuracy": round(statistics.fmean(one == other for one, other in zip(given, true, strict=True)), 4),
        "majority": round(Counter(true).most_common(1)[0][1] / len(true), 4),
        "macro_f1": round(statistics.fmean(f1(given, true, label) for label in range(n_classes)), 4),
    }


def save_in_half(model: PreTrainedModel, folder: Path) -> None:
    """Store the weights in half precision, with a configuration that has them loaded in single precision."""
    model.half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # written for its owner alone
    path = folder / "config.json"
    configuration = {**json.loads(path.read_text()), "dtype": "float32"}
    path.write_text(json.dumps(configuration, indent=2, sort_keys=True) + "\n")


def write_processor(folder: Path, *, side: int, mean: float, deviation: float) -> None:
    """Say how pictures become pixel values: resized to a square, then one mean and spread for all colours."""
    settings = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": side, "width": side},
        "resample": 2,  # bilinear
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [mean] * 3,
        "image_std": [deviation] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def processor() -> str:
    """What the machine calls its processor."""
    table = Path("/proc/cpuinfo")
    names = [line for line in table.read_text().splitlines() if "model name" in line] if table.is_file() else []
    return names[0].split(":")[1].strip() if names else platform.machine()


def write_card(folder: Path, arguments: argparse.Namespace, *, scores: dict[str, Any], **training: Any) -> None:
    """card.json beside the weights: which they are, how good, how they came about; printed, too."""
    on_gpu = getattr(arguments, "device", "cpu").startswith("cuda")
    card = {
        "name": arguments.name,
        "sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "scores": scores,
        "command": f"python {' '.join(sys.argv)}",
        "seed": arguments.seed,
        **training,
        "machine": torch.cuda.get_device_name() if on_gpu else f"{processor()}, one thread",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    print(json.dumps(card, indent=2))
