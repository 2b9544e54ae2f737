"""Train the small image classifiers whose explanations are measured.

    python recipes/train_images.py NAME [--shared FOLDER] [--out out/models] [--seed 0]

One thread, seeded. The folder out/models/NAME gets the model, the settings of its image processor and card.json: what
it was trained on, its scores, and the sha256 of its weights. README.md has the table.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample
from transformers import ViTConfig, ViTForImageClassification, ViTMAEConfig, ViTMAEForPreTraining

from data import ROOT, shared_folder
from image_data import FLOWERS, ITEMS, PETS, SETS, Picture
from training import compare, grouped, step, tent, write_card, write_processor

MEAN, DEVIATION = 0.5, 0.25
"""What the processor takes from every channel, and divides it by."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    data: str
    labels: tuple[str, ...]
    side: int
    patch: int
    width: int
    layers: int
    epochs: int
    heads: int = 4
    shift: int = 0
    """Steps of half a patch that an image may move in each direction while training."""
    zoom: float = 1.0
    """Smallest part of a side that is shown, enlarged, while training."""
    shade: float = 0.0
    """Brightness and contrast of training images vary by so much."""
    batch_size: int = 64
    learning_rate: float = 1e-3
    warm_up: float = 0.1
    weight_decay: float = 0.05
    pretrain: int = 0
    """Epochs in which the encoder first learns to fill in masked patches, without labels."""


SCENES = Recipe(
    data="fmnist-scenes", labels=ITEMS, side=64, patch=8, width=64, layers=3, epochs=20, shift=2, learning_rate=2e-3
)
PHOTOGRAPHS = Recipe(
    data="flowers-pets",
    labels=(*FLOWERS, *PETS),
    side=128,
    patch=16,
    width=96,
    layers=4,
    epochs=50,
    zoom=0.6,
    shade=0.2,
)
RECIPES = {
    "fmnist-scenes": SCENES,
    "fmnist-scenes-mae": Recipe(**asdict(SCENES) | {"pretrain": 20}),
    "fmnist-scenes-deep": Recipe(**asdict(SCENES) | {"layers": 6, "learning_rate": 1e-3}),
    "flowers-pets": PHOTOGRAPHS,
    "flowers-pets-deep": Recipe(**asdict(PHOTOGRAPHS) | {"layers": 6, "epochs": 32}),
}


def sizes(recipe: Recipe) -> dict[str, float]:
    """Everything an encoder is made by; random weights are larger than the usual 0.02, which suits wide models."""
    return {
        "image_size": recipe.side,
        "patch_size": recipe.patch,
        "hidden_size": recipe.width,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.heads,
        "intermediate_size": 2 * recipe.width,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.5 * recipe.width**-0.5,
    }


def new_classifier(recipe: Recipe) -> ViTForImageClassification:
    model = ViTForImageClassification(
        ViTConfig(
            **sizes(recipe),
            id2label=dict(enumerate(recipe.labels)),
            label2id={label: number for number, label in enumerate(recipe.labels)},
        )
    )
    with torch.no_grad():
        model.vit.embeddings.position_embeddings[0, 1:] = positions(recipe, recipe.width)
    return model


def positions(recipe: Recipe, width: int) -> Float[Tensor, "patch width"]:
    """Sines of row and column, small beside the patches, so that training starts with neighbours alike."""
    count = recipe.side // recipe.patch
    waves = torch.arange(count)[:, None] * 1.5 * 30.0 ** -(torch.arange(width // 4) / (width // 4))
    one = torch.cat([waves.sin(), waves.cos()], dim=1)
    pairs = [one[:, None].expand(count, count, -1), one[None].expand(count, count, -1)]
    return 0.3 * torch.cat(pairs, dim=-1).flatten(0, 1)


def new_filler(recipe: Recipe) -> ViTMAEForPreTraining:
    """A masked autoencoder around the encoder of `new_classifier`; three quarters of the patches are hidden."""
    narrow = recipe.width
    model = ViTMAEForPreTraining(
        ViTMAEConfig(
            **sizes(recipe),
            mask_ratio=0.75,
            norm_pix_loss=False,  # most patches are noise, which that would enlarge to the size of the rest
            decoder_hidden_size=narrow,
            decoder_num_hidden_layers=1,
            decoder_num_attention_heads=recipe.heads,
            decoder_intermediate_size=2 * narrow,
        )
    )
    with torch.no_grad():  # transformers leaves both tables at zero unless weights are loaded, and never trains them
        model.vit.embeddings.position_embeddings[0, 1:] = positions(recipe, recipe.width)
        model.decoder.decoder_pos_embed[0, 1:] = positions(recipe, narrow)
    return model


def pixels_of(pictures: Sequence[Picture]) -> UInt8[Tensor, "picture 3 y x"]:
    images = np.stack([picture.image for picture in pictures])
    coloured = images if images.ndim == 4 else np.repeat(images[..., None], 3, axis=-1)
    return torch.from_numpy(coloured).permute(0, 3, 1, 2).contiguous()


def normalised(pixels: UInt8[Tensor, "picture 3 y x"]) -> Float[Tensor, "picture 3 y x"]:
    """As the processor does it for a picture that has the right size."""
    return (pixels / 255 - MEAN) / DEVIATION


def varied(images: Float[Tensor, "picture 3 y x"], recipe: Recipe) -> Float[Tensor, "picture 3 y x"]:
    """Every image mirrored or not, moved, enlarged and shaded by chance; what moves in repeats the edge."""
    n = len(images)
    zoom = recipe.zoom + (1 - recipe.zoom) * torch.rand(n)
    mirrored = torch.randint(2, (n,)) * 2 - 1
    step = recipe.patch / recipe.side  # half a patch, where a side is 2 long
    moved = torch.randint(-recipe.shift, recipe.shift + 1, (n, 2)) * step
    moved = moved + (torch.rand(n, 2) * 2 - 1) * (1 - zoom)[:, None]
    places = torch.zeros(n, 2, 3)
    places[:, 0, 0], places[:, 1, 1], places[:, :, 2] = zoom * mirrored, zoom, moved
    grid = affine_grid(places, list(images.shape), align_corners=False)
    found = grid_sample(images, grid, padding_mode="border", align_corners=False)
    contrast = 1 + recipe.shade * (torch.rand(n, 1, 1, 1) * 2 - 1)
    brightness = recipe.shade / DEVIATION * (torch.rand(n, 1, 1, 1) - 0.5)
    return found * contrast + brightness


def fit(
    model: nn.Module,
    loss_of: Callable[[Int[Tensor, "picture"]], Tensor],
    n_pictures: int,
    epochs: int,
    recipe: Recipe,
    after_epoch: Callable[[], str],
) -> None:
    """Lower the loss of shuffled batches: AdamW, matrices decay, the rate goes up once and down to 0."""
    learned = [one for one in model.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(grouped(learned, recipe.weight_decay), lr=recipe.learning_rate)
    done, total = 0, epochs * n_pictures
    for epoch in range(epochs):
        model.train()
        losses = []
        for places in torch.randperm(n_pictures).split(recipe.batch_size):
            loss = loss_of(places)
            step(optimiser, loss, learned, recipe.learning_rate * tent(done / total, recipe.warm_up))
            losses.append(loss.item())
            done += len(places)
        model.eval()
        minutes = time.process_time() / 60
        mean = statistics.fmean(losses)
        print(f"epoch {epoch + 1}: loss {mean:.3f}{after_epoch()}, {minutes:.1f} min of CPU", flush=True)


@torch.inference_mode()
def score(model: ViTForImageClassification, pictures: Sequence[Picture]) -> dict[str, float | int]:
    """Accuracy beside that of always giving the commonest label, and F1 averaged over classes."""
    true = [model.config.label2id[picture.label] for picture in pictures]
    pixels = pixels_of(pictures)
    given = [label for part in pixels.split(100) for label in model(normalised(part)).logits.argmax(-1).tolist()]
    return compare(given, true, model.config.num_labels)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train one of the image classifiers that the studies explain.")
    parser.add_argument("name", choices=list(RECIPES))
    parser.add_argument("--shared", type=Path, help="folder with data/ (default: LIGNITE_SHARED)")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "models")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    recipe, folder = RECIPES[arguments.name], arguments.out / arguments.name
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)

    pictures = {split: SETS[recipe.data](shared_folder(arguments.shared), split) for split in ("train", "dev", "test")}
    pixels = pixels_of(pictures["train"])
    model = new_classifier(recipe)
    labels = torch.tensor([model.config.label2id[picture.label] for picture in pictures["train"]])

    def shown(places: Int[Tensor, "picture"]) -> Float[Tensor, "picture 3 y x"]:
        return varied(normalised(pixels[places]), recipe)

    if recipe.pretrain:
        filler = new_filler(recipe)
        fit(filler, lambda places: filler(shown(places)).loss, len(pixels), recipe.pretrain, recipe, lambda: "")
        model.vit.load_state_dict(filler.vit.state_dict())
    fit(
        model,
        lambda places: cross_entropy(model(shown(places)).logits, labels[places]),
        len(pixels),
        recipe.epochs,
        recipe,
        lambda: f", accuracy on dev {score(model, pictures['dev'])['accuracy']:.3f}",
    )
    seconds = round(time.process_time())

    model.save_pretrained(folder)
    write_processor(folder, side=recipe.side, mean=MEAN, deviation=DEVIATION)
    write_card(
        folder,
        arguments,
        scores={split: score(model, pictures[split]) for split in ("dev", "test")},
        recipe=asdict(recipe),
        start="masked autoencoder on the train pictures, new head" if recipe.pretrain else "random weights",
        n_train=len(pixels),
        cpu_seconds=seconds,
    )


if __name__ == "__main__":
    main()
