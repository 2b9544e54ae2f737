"""Memory of long inputs: a flow as tokens double, an explanation of many layers, and the budget asked for and taken.

Every case runs in a process of its own, whose resident memory is watched once the model is there and has explained a
short input. Time is CPU time.

    python bench/long.py            # everything
    python bench/long.py flow       # one layer of a Llama's shape, keep="top:64", 1,024 to 4,096 tokens
    python bench/long.py explain    # 24 layers of it at 2,048 tokens
    python bench/long.py budget     # 16 MiB, 256 MiB and 2 GiB asked for
    python bench/long.py orders     # relevance flow's companions as tokens double
"""

import json
import subprocess
import sys
import time
import warnings
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

import lignite

MIB = 2**20
COARSE = {"n_steps": 2, "tol": 0.9}
"""Nodes do not change what is taken at once: a short rule shows the memory of a long one."""

FLOWS = [{"tokens": tokens, "memory": "256 MiB", "keep": "top:64", **COARSE} for tokens in (1024, 2048, 4096)]
MANY_LAYERS = {"tokens": 2048, "layers": 24, "memory": "256 MiB"}
EXPLAINS = [
    {**MANY_LAYERS, "method": "gradient-x-input"},
    {**MANY_LAYERS, "method": "ca-lig", **COARSE},
    {**MANY_LAYERS, "orders": False, "n_steps": 1, "tol": 0.9},
]
BUDGETS = [
    {"tokens": 1024, "memory": memory, "keep": "top:64", "maps": "whole", **COARSE}
    for memory in ("16 MiB", "256 MiB", "2 GiB")
]
ORDERS = [{"tokens": tokens, "layers": 2, "width": 256, "memory": "256 MiB", **COARSE} for tokens in (256, 512, 1024)]
CASES = {"flow": FLOWS, "explain": EXPLAINS, "budget": BUDGETS, "orders": ORDERS}


def llama(n_layers: int, width: int) -> lignite.Model:
    """A Llama's shape with random weights, 16 heads; it answers with one of two classes."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=width * 11 // 4,
        num_hidden_layers=n_layers,
        num_attention_heads=16,
        num_key_value_heads=16,
        vocab_size=1000,
        max_position_embeddings=8192,
        num_labels=2,
        pad_token_id=0,
    )
    return lignite.wrap(LlamaForSequenceClassification(config).eval(), name="Llama shape")


def resident() -> float:
    """The most memory since the last `forget`."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def forget() -> None:
    """Count the most memory from now on."""
    Path("/proc/self/clear_refs").write_text("5", "utf-8")


def measure(what: str, case: dict[str, object]) -> dict[str, object]:
    """Run one case, here."""
    options = dict(case)
    n_tokens, n_layers, width = options.pop("tokens"), options.pop("layers", 1), options.pop("width", 1024)
    model = llama(n_layers, width)  # type: ignore[arg-type]
    run = lignite.flow if what in ("flow", "budget") else lignite.explain
    ids = torch.randint(5, 1000, (1, n_tokens), generator=torch.Generator().manual_seed(3))  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lignite.errors.LigniteWarning)
        run(model, {"input_ids": ids[:, :16]}, **options)
        forget()
        before, start = resident(), time.process_time()
        result = run(model, {"input_ids": ids}, **options)
    return {
        "before": round(before),
        "more": round(resident() - before),
        "result": round(result.nbytes / MIB, 1),
        "seconds": round(time.process_time() - start, 1),
        "memory": json.loads(result.attrs.get("memory", "{}")),
    }


def main() -> None:
    """Every case, or those of one name."""
    if len(sys.argv) == 3 and sys.argv[2].startswith("{"):
        print(json.dumps(measure(sys.argv[1], json.loads(sys.argv[2]))))
        return
    for name in sys.argv[1:] or CASES:
        for case in CASES[name]:
            told = subprocess.run(
                [sys.executable, __file__, name, json.dumps(case)], check=True, capture_output=True, text=True
            ).stdout
            print(name, json.dumps(case), told.strip(), flush=True)


if __name__ == "__main__":
    main()
