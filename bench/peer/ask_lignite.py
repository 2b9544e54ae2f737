"""lignite answers; runs in the project's environment, on the device named as its argument."""

import sys

import torch
import transformers
import xarray as xr
from worker import clock_of, serve

import lignite
from models import bert_base, token_ids


class Subject:
    """One model and one input, and the last result of each kind of map."""

    def __init__(self, device: str):
        self.device = torch.device(device)

    def save(self, folder: str, n_tokens: int, weights: str | None) -> dict[str, object]:
        """Make the model, or load a BERT, and leave its weights for others to load."""
        self.model = trained(weights) if weights else bert_base()
        self.inputs = token_ids(self.model, n_tokens)
        self.model.network.save_pretrained(folder)
        self.model.network.to(self.device)
        self.results: dict[str, xr.Dataset] = {}
        config = self.model.config
        return {
            "name": self.model.name,
            "ids": self.inputs["input_ids"][0].tolist(),
            "n_layers": config.num_hidden_layers,
            "n_heads": config.num_attention_heads,
            "versions": {
                "lignite": lignite.__version__,
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            },
        }

    def flow(self, name: str) -> None:
        """Every layer, head and target; recording and checks belong to the call."""
        self.results[name] = lignite.flow(self.model, self.inputs, maps=(name,))

    def scores(self, name: str, layer: int, target: int, head: int | None) -> object:
        return self.results[name][name].sel(place(layer, target, head)).values

    def displacement(self, name: str, layer: int, target: int, head: int | None) -> float:
        return float(self.results[name][f"{name}_displacement"].sel(place(layer, target, head)))

    def gaps(self, name: str) -> list[float]:
        """Mean and largest |gap| / displacement over every map of the result, as stored with it."""
        result = self.results[name]
        gap = abs(result[f"{name}_gap"] / result[f"{name}_displacement"])
        return [float(gap.mean()), float(gap.max())]


def trained(weights: str) -> lignite.Model:
    network = transformers.BertModel.from_pretrained(weights, add_pooling_layer=False, dtype=torch.float32)
    return lignite.wrap(network.eval(), name=weights)


def place(layer: int, target: int, head: int | None) -> dict[str, int]:
    return {"layer": layer, "target": target} | ({} if head is None else {"head": head})


if __name__ == "__main__":
    torch.set_num_threads(1)
    subject = Subject(sys.argv[1])
    functions = {name: getattr(subject, name) for name in ("save", "flow", "scores", "displacement", "gaps")}
    serve(functions, clock_of(sys.argv[1]))
