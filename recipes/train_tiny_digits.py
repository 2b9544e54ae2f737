"""Train tiny-digits, the bundled image classifier, on scenes made of scikit-learn's digits.

    python recipes/train_tiny_digits.py --out FOLDER --seed 0

One thread, seeded: the same machine and library versions give the same file. README.md has the recipe and its scores.
"""

import argparse
import hashlib
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy
from transformers import AutoModelForImageClassification, ViTConfig, ViTForImageClassification

from lignite.zoo.samples import SIDE, Digits, Scene, compose, digit_scenes, read_digits
from training import grouped, save_in_half, step, tent, write_processor

MEAN, DEVIATION = 0.5, 0.25
"""What the processor takes from every channel, and divides it by."""

NO_DIGIT, UNDECIDED = 10, -100
"""What a patch is called that no digit touches; one that a digit hardly touches is not asked."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    patch: int = 8
    width: int = 64
    layers: int = 3
    heads: int = 4
    intermediate: int = 128
    steps: int = 2600
    batch_size: int = 32
    """Scenes made for a step; each is shown twice, see `with_twins`."""
    learning_rate: float = 2e-3
    warm_up: float = 0.1
    weight_decay: float = 0.05
    easy: float = 0.1
    """Share of the steps in which digits stand alone."""
    patches: float = 2.0
    """Weight of what the patches are asked, at the start; it falls to 0 at the end."""
    bent: float = 0.15
    """By how much digits are stretched, slanted, thickened or thinned: training has the hands of few writers."""
    held_out: int = 137
    """Training digits that are kept back, to watch the training by."""


def configure(recipe: Recipe) -> ViTConfig:
    labels = [str(digit) for digit in range(10)]
    return ViTConfig(
        image_size=SIDE,
        patch_size=recipe.patch,
        hidden_size=recipe.width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        intermediate_size=recipe.intermediate,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.08,  # the usual 0.02 suits wide models and starts narrow ones slowly
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )


def positions(recipe: Recipe) -> Float[Tensor, "patch width"]:
    """Sines of row and column, small beside the patches, so that training starts with neighbours alike."""
    count = SIDE // recipe.patch
    waves = torch.arange(count)[:, None] * 1.5 * 30.0 ** -(torch.arange(recipe.width // 4) / (recipe.width // 4))
    one = torch.cat([waves.sin(), waves.cos()], dim=1)
    pairs = [one[:, None].expand(count, count, -1), one[None].expand(count, count, -1)]
    return 0.3 * torch.cat(pairs, dim=-1).flatten(0, 1)


def new_classifier(recipe: Recipe) -> ViTForImageClassification:
    model = ViTForImageClassification(configure(recipe))
    with torch.no_grad():
        model.vit.embeddings.position_embeddings[0, 1:] = positions(recipe)
    return model


def images_of(scenes: Sequence[Scene]) -> UInt8[np.ndarray, "scene y x 3"]:
    return np.stack([scene.image for scene in scenes])


def labels_of(scenes: Sequence[Scene]) -> Int[Tensor, "scene"]:
    return torch.tensor([int(scene.label) for scene in scenes])


def patch_labels_of(scenes: Sequence[Scene], recipe: Recipe) -> Int[Tensor, "scene patch"]:
    """The digit that covers a tenth of a patch or more, `NO_DIGIT` where none does, `UNDECIDED` between."""
    masks = torch.from_numpy(np.stack([scene.mask for scene in scenes])).float()
    covered = avg_pool2d(masks[:, None], recipe.patch).flatten(1)
    known = torch.where(covered > 0, torch.full_like(covered, UNDECIDED), torch.full_like(covered, NO_DIGIT))
    return torch.where(covered >= 0.1, labels_of(scenes)[:, None], known.long())


def normalised(images: UInt8[np.ndarray, "scene y x 3"]) -> Float[Tensor, "scene 3 y x"]:
    """As the processor does it for a picture that has the right size."""
    return (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - MEAN) / DEVIATION


def with_twins(
    images: UInt8[np.ndarray, "scene y x 3"], chance: np.random.Generator
) -> UInt8[np.ndarray, "both y x 3"]:
    """The images and the same with channels exchanged: scenes as likely as they are, and cheaper than new ones."""
    return np.concatenate([images, images[..., chance.choice([[1, 2, 0], [2, 0, 1]])]])


def train(
    model: ViTForImageClassification, digits: Digits, recipe: Recipe, seed: int, report: Callable[[], str]
) -> None:
    """Fit the model in place: AdamW, cross-entropy.

    Every patch is asked too which digit it belongs to, through a second head that is thrown away: that teaches the
    lower layers to look at their neighbours long before the class token has anything to go by.
    """
    chance = np.random.default_rng(seed)
    second = nn.Linear(recipe.width, 11)
    learned = [*model.parameters(), *second.parameters()]
    optimiser = torch.optim.AdamW(grouped(learned, recipe.weight_decay), lr=recipe.learning_rate)
    losses: list[float] = []
    model.train()
    for number in range(recipe.steps):
        progress = number / recipe.steps
        places = chance.integers(len(digits.labels), size=recipe.batch_size).tolist()
        alone = {"scrambled": 0, "strokes": 0} if progress < recipe.easy else {}
        scenes = [compose(digits, place, chance, bent=recipe.bent, **alone) for place in places]
        states = model.vit(normalised(with_twins(images_of(scenes), chance))).last_hidden_state
        whole = cross_entropy(model.classifier(states[:, 0]), labels_of(scenes).repeat(2))
        asked = patch_labels_of(scenes, recipe).repeat(2, 1).flatten()
        parts = cross_entropy(second(states[:, 1:]).flatten(0, 1), asked, ignore_index=UNDECIDED)
        loss = whole + recipe.patches * (1 - progress) * parts
        step(optimiser, loss, learned, recipe.learning_rate * tent(progress, recipe.warm_up))
        losses.append(whole.item())
        if (number + 1) % 100 == 0:
            mean, minutes = statistics.fmean(losses[-100:]), time.process_time() / 60
            print(f"step {number + 1}: loss {mean:.3f}, {report()}, {minutes:.1f} min of CPU", flush=True)
    model.eval()


@torch.inference_mode()
def accuracy(model: ViTForImageClassification, scenes: Iterable[Scene]) -> float:
    """Share of the scenes that get their label."""
    shown = list(scenes)
    was_training = model.training
    model.eval()
    given = torch.cat([model(part).logits.argmax(-1) for part in normalised(images_of(shown)).split(100)])
    model.train(was_training)
    return (given == labels_of(shown)).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train tiny-digits, lignite's bundled image classifier.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    recipe = Recipe()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(arguments.seed)

    digits = read_digits("train")
    shown = Digits(digits.ink[recipe.held_out :], digits.labels[recipe.held_out :])
    kept = Digits(digits.ink[: recipe.held_out], digits.labels[: recipe.held_out])
    chance = np.random.default_rng(arguments.seed + 1)
    watched = [compose(kept, place, chance) for place in range(recipe.held_out)]
    model = new_classifier(recipe)
    train(model, shown, recipe, arguments.seed, lambda: f"accuracy on held-out digits {accuracy(model, watched):.3f}")
    save_in_half(model, arguments.out)
    write_processor(arguments.out, side=SIDE, mean=MEAN, deviation=DEVIATION)

    model = AutoModelForImageClassification.from_pretrained(arguments.out, local_files_only=True).eval()
    print(f"accuracy on digit_scenes(1000): {accuracy(model, digit_scenes(1000)):.4f}")
    digest = hashlib.sha256((arguments.out / "model.safetensors").read_bytes()).hexdigest()
    print(f"sha256 of model.safetensors: {digest}, {time.process_time() / 60:.1f} min of CPU")


if __name__ == "__main__":
    main()
