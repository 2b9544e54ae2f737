"""Which model it is, by its numbers alone."""

from hashlib import sha256

import torch

from lignite.models.load import Model


def hash_weights(model: Model) -> str:
    """Take the sha256 of names, types, shapes and bytes of all weights: the same wherever the model is stored."""
    digest = sha256()
    for name, weight in sorted(model.network.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
