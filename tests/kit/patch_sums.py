"""A classifier of images whose every answer can be written down: its logit is a sum of known numbers, one per patch.

``bright`` has the logit ``Σ weight(patch) · mean colour(patch)``, ``dark`` zero. Colours from 0 (black) to 1 (white)
reach the model as they are, so that a patch of a white image adds its weight, a black one nothing, a grey one half.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, ViTConfig, ViTImageProcessorPil
from transformers.modeling_outputs import ImageClassifierOutput

import lignite
from lignite.targets.rows import Row

PATCH = 4


class PatchSums(PreTrainedModel):
    """Reads patches as a ViT does, so lignite lays its tokens out as a ViT's: the class token first."""

    config_class = ViTConfig
    main_input_name = "pixel_values"

    def __init__(self, config: ViTConfig, weights: Sequence[Sequence[float]]) -> None:
        super().__init__(config)
        self.weights = nn.Parameter(torch.tensor(weights, dtype=torch.float64))
        self.rows = 0

    def forward(self, pixel_values: Tensor, return_dict: bool = True) -> ImageClassifierOutput:
        self.rows += len(pixel_values)
        colours = nn.functional.avg_pool2d(pixel_values.mean(1), PATCH)
        bright = (colours * self.weights).sum((1, 2))
        return ImageClassifierOutput(logits=torch.stack([torch.zeros_like(bright), bright], dim=1))


def patch_sums(weights: Sequence[Sequence[float]], *, processor: bool = True, **options: object) -> lignite.Model:
    """A model with one number for each patch; `options` are of its image processor, which only resizes by default."""
    size = (len(weights) * PATCH, len(weights[0]) * PATCH)
    names = {0: "dark", 1: "bright"}
    config = ViTConfig(
        image_size=size, patch_size=PATCH, id2label=names, label2id={name: number for number, name in names.items()}
    )
    prepare = {"size": {"height": size[0], "width": size[1]}, "do_normalize": False, **options}
    network = PatchSums(config, weights).eval()
    return lignite.wrap(
        network, image_processor=ViTImageProcessorPil(**prepare) if processor else None, name="patch sums"
    )


def white(model: lignite.Model) -> np.ndarray:
    """An image of which every patch adds its whole weight."""
    return np.full((*model.config.image_size, 3), 255, dtype=np.uint8)


def oracle(model: lignite.Model, rows: Sequence[Row]) -> list[np.ndarray]:
    """What each token of a white image adds to the logit: nothing for the class token, then the weights."""
    weights = model.network.weights.detach().numpy().ravel()
    return [np.concatenate([[0.0], weights]) for _ in rows]
