"""Explain a checkpoint that is larger than the memory it gets: `python bench/large.py --folder /tmp/large`.

A random Llama-shaped model of 6.7 billion parameters (with `--layers`, of fewer blocks) is written as bfloat16 shards,
explained in a process of its own for each question, and deleted. With `--experts` each block has that many in the place
of its MLP, an eighth as wide, stored one by one, and sends each token to two of them (Mixtral's shape).
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, MixtralConfig

import lignite
from clock import peak_memory
from lignite.models.stream import parts_within

WIDTH, INNER, HEADS, VOCABULARY, LAYERS, N_TOKENS = 4096, 11008, 32, 32000, 32, 64
PER_SHARD = 4
EXPERT, VISITED = INNER // 8, 2
QUESTIONS = ("flow", "relevance-flow", "ca-lig")


def write_checkpoint(folder: Path, n_layers: int, n_experts: int) -> int:
    """Write a model with random weights, block by block, and count its parameters."""
    folder.mkdir(parents=True)
    shape = {
        "hidden_size": WIDTH,
        "num_hidden_layers": n_layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 2048,
        "dtype": "bfloat16",
    }
    if n_experts:
        experts = {"num_local_experts": n_experts, "num_experts_per_tok": VISITED, "intermediate_size": EXPERT}
        MixtralConfig(**shape, **experts, architectures=["MixtralForCausalLM"]).save_pretrained(folder)
    else:
        LlamaConfig(**shape, intermediate_size=INNER, architectures=["LlamaForCausalLM"]).save_pretrained(folder)
    generator = torch.Generator().manual_seed(0)

    def matrix(n_out: int, n_in: int) -> torch.Tensor:
        return torch.empty(n_out, n_in, dtype=torch.bfloat16).normal_(std=n_in**-0.5, generator=generator)

    def norm() -> torch.Tensor:
        return torch.empty(WIDTH, dtype=torch.bfloat16).uniform_(0.75, 1.25, generator=generator)

    where, count = {}, 0

    def save(name: str, weights: dict[str, torch.Tensor]) -> None:
        nonlocal count
        save_file(weights, folder / name)
        where.update(dict.fromkeys(weights, name))
        count += sum(weight.numel() for weight in weights.values())

    table = torch.empty(VOCABULARY, WIDTH, dtype=torch.bfloat16).normal_(generator=generator)
    ends = {
        "model.embed_tokens.weight": table,
        "model.norm.weight": norm(),
        "lm_head.weight": matrix(VOCABULARY, WIDTH),
    }
    save("model-ends.safetensors", ends)
    for first in range(0, n_layers, PER_SHARD):
        shard: dict[str, torch.Tensor] = {}
        for layer in range(first, min(first + PER_SHARD, n_layers)):
            block = f"model.layers.{layer}."
            shard |= {f"{block}self_attn.{name}_proj.weight": matrix(WIDTH, WIDTH) for name in "qkvo"}
            if n_experts:
                shard[f"{block}block_sparse_moe.gate.weight"] = matrix(n_experts, WIDTH)
            else:
                shard |= {f"{block}mlp.{name}_proj.weight": matrix(INNER, WIDTH) for name in ("gate", "up")}
                shard[f"{block}mlp.down_proj.weight"] = matrix(WIDTH, INNER)
            for number in range(n_experts):
                expert = f"{block}block_sparse_moe.experts.{number}."
                shard |= {f"{expert}{name}.weight": matrix(EXPERT, WIDTH) for name in ("w1", "w3")}
                shard[f"{expert}w2.weight"] = matrix(WIDTH, EXPERT)
            shard |= {f"{block}{name}_layernorm.weight": norm() for name in ("input", "post_attention")}
        save(f"model-{first:02}.safetensors", shard)
    index = {"metadata": {"total_size": 2 * count}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return count


def ask(folder: Path, question: str, n_tokens: int) -> dict[str, float]:
    """Answer one question about the model, and say what that took of this process."""
    started = time.perf_counter()
    model = lignite.load(folder, stream=True, device="cpu")
    loaded = time.perf_counter()
    generator = torch.Generator().manual_seed(3)
    tokens = {"input_ids": torch.randint(5, VOCABULARY, (1, n_tokens), generator=generator)}
    if question == "flow":
        found = lignite.flow(model, tokens)
        missed = float((abs(found.whole_gap) / found.whole_displacement).max())
    else:
        options = {"orders": False} if question == "relevance-flow" else {}
        why = lignite.explain(model, tokens, method=question, **options)
        missed = float((abs(why.gap) / abs(why.displacement)).max())
    reads = [part.n_reads for part in parts_within(model.network)]
    return {
        "load": loaded - started,
        "seconds": time.perf_counter() - loaded,
        "CPU seconds": time.process_time(),
        "GiB at most": peak_memory(),
        "reads of a block": sum(reads) / len(reads),
        "reads at most": max(reads),
        "largest gap": missed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("questions", nargs="*", default=list(QUESTIONS), help=", ".join(QUESTIONS))
    parser.add_argument("--folder", type=Path, default=Path("/tmp/lignite-large"))
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--experts", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=N_TOKENS)
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)  # of the process that is measured
    args = parser.parse_args()
    if args.answer:
        print(json.dumps(ask(args.folder, args.questions[0], args.tokens)))
        return
    try:
        started = time.perf_counter()
        count = write_checkpoint(args.folder, args.layers, args.experts)
        print(f"{count / 1e9:.2f} billion parameters, written in {time.perf_counter() - started:.0f} s", flush=True)
        for question in args.questions:
            command = [sys.executable, __file__, question, "--folder", str(args.folder), "--answer"]
            command += ["--tokens", str(args.tokens)]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found = json.loads(said.splitlines()[-1])
            print(question, ", ".join(f"{name} {value:.3g}" for name, value in found.items()), flush=True)
    finally:
        shutil.rmtree(args.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
