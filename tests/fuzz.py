"""Every argument of every public function with values that do not belong there.

Each call may give a result or a LigniteError; anything else is printed, and the script ends with 1. It is run as a
process of its own, for in tests the checks of shapes and types answer first. ``python tests/fuzz.py flow`` tries
some of the functions, ``--share=0.1`` a tenth of the calls.
"""

import inspect
import math
import random
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import chdir
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import lignite

SECONDS = 60
TEXT = "a b c"


class Odd:
    """An object of nobody's."""

    def __repr__(self) -> str:
        raise RuntimeError("cannot be written")


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 10**30, 10**5000, 0.5, -0.5, math.nan, math.inf, -math.inf, 1e308, 1j,
    Decimal("0.5"),
    "", " ", "x", "ig", "zero", "a" * 5000, "\x1b[2J", "\ud800", "a\0b", b"x", bytearray(b"x"),
    [], (), {}, set(), [None], [1], [1, 2], [-1], [0.5], [True], ["x"], ["", ""], [[1]], [[1, 2], [3]], [math.nan],
    {"a": 1}, {1: 2}, {"x": {"y": []}}, {"input_ids": 5}, {"input_ids": [[5, 6]]}, nested(50), nested(5000), range(3),
    (1, 2, 3), ("x", "y"), ("x", 1), [10**30], [10**400],
    np.int64(2), np.float32(0.5), np.bool_(True), np.array(1), np.array([1, 2]), np.array([[math.nan]]), np.array("x"),
    np.array([]), np.array([None]), np.datetime64("2020"),
    torch.tensor(1), torch.tensor([1, 2]), torch.tensor([[math.nan] * 8]), torch.zeros(0), torch.zeros(2, 2, 2, 2, 2),
    Path("nowhere"), Path(), Odd(), object(), int, len, lambda *_, **__: None, iter([1]), Ellipsis, NotImplemented,
]  # fmt: skip


def tiny() -> lignite.Model:
    """A classifier that answers in a millisecond."""
    from tests.kit.tiny_tokenizers import word_piece

    torch.manual_seed(0)
    tokenizer = word_piece()
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=16, initializer_range=0.5, num_labels=2,
    )  # fmt: skip
    return lignite.wrap(transformers.BertForSequenceClassification(config).eval(), tokenizer)


def inputs() -> list[Any]:
    """Inputs that are none, beside the values above."""
    ids = torch.tensor([[5, 6, 7]])
    return [
        {"input_ids": ids, "token_type_ids": ids * 0 + 7},
        {"input_ids": ids, "position_ids": ids * 0 + 9999},
        {"input_ids": ids, "position_ids": ids * 0 - 1},
        {"input_ids": ids, "inputs_embeds": torch.zeros(1, 3, 8)},
        {"input_ids": ids, "inputs_embeds": torch.zeros(1, 9, 9)},
        {"input_ids": ids.float()},
        {"input_ids": ids + 10**9},
        {"input_ids": ids, "attention_mask": ids * 0},
        {"input_ids": ids, "attention_mask": torch.zeros(7, 7)},
        {"input_ids": ids, "attention_mask": "x"},
        {"input_ids": ids, "labels": torch.tensor([9])},
        {"input_ids": ids, "nonsense": 5},
        {"input_ids": ids, 5: 5},
        {"input_ids": torch.zeros(0, 0).long()},
        {"input_ids": torch.zeros(1, 1000).long()},
        {"inputs_embeds": torch.full((1, 3, 8), math.nan)},
        {"pixel_values": torch.zeros(1, 3, 4, 4)},
        [TEXT, 5],
        [TEXT, None],
        (TEXT, TEXT, TEXT),
        (TEXT, 5),
        [[TEXT]],
        {"text": TEXT},
        "word " * 5000,
        np.zeros((4, 4, 3)),
    ]


def targets() -> list[Any]:
    """Targets that are none."""
    return [
        lambda outputs: outputs.logits[:, 0].detach(),
        lambda outputs: outputs.logits,
        lambda outputs: outputs.logits[:, 0] * math.nan,
        lambda outputs: 1 / 0,
        lambda outputs: outputs.nothing,
        lambda outputs: "x",
        lambda outputs: outputs.logits[:, 0] > 0,
        lambda: 1,
        (0, 0),
        (0, 1, 1),
        ("x", "y"),
        10**30,
        lignite.Target(label=0, against=10**15),
    ]


def own() -> dict[str, list[Any]]:
    """What is tried for arguments of a name, beside the values for all."""
    ids = [[5, 6, 7]]
    return {
        "inputs": inputs(),
        "target": targets(),
        "text": inputs(),
        "examples": [
            [{"text": 5}],
            [{"text": [1]}],
            [{"text": None}],
            [{"text": TEXT, "label": []}],
            [{}],
            [5],
            ["", ""],
            [TEXT, 5],
            [{"text": TEXT, "id": Odd()}],
            [{"text": TEXT, "id": nested(5000)}],
            [{"input_ids": ids}],
            "/dev/zero",
            "/dev/stdin",
            "/proc/self/mem",
            ".",
            "x.jsonl",
            "a\0b.csv",
            "~nobody-at-home/x.csv",
        ],
        "options": [
            {"random": 5},
            {"random": {"seed": "x"}},
            {"random": {5: 5}},
            {5: {}},
            {"random": {"tol": math.nan}},
        ],
        "layer_weights": [[10**400] * 2, [math.nan] * 2, [0, 0], [1], ["x", "y"], [True, True], 5, [10**30, 1]],
        "methods": [
            "random:",
            "random:x",
            "random:seed=",
            "ig:tol=nan",
            "ig:n_steps=1e400",
            "ig:fusion=[1",
            "ig:fusion=" + "[" * 5000,
        ],
    }


def functions(model: lignite.Model, folder: Path) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Public functions with arguments under which a wrong one is found at once."""
    flow = lignite.flow(model, TEXT, n_steps=4, tol=0.9)
    lignite.save(flow, folder / "x.nc")
    return {
        "flow": (lignite.flow, {"model": model, "inputs": TEXT, "maps": "whole", "layers": 0, "n_steps": 1}),
        "explain": (lignite.explain, {"model": model, "inputs": TEXT, "method": "gradient-x-input"}),
        "explain ca-lig": (lignite.explain, {"model": model, "inputs": TEXT, "n_steps": 2}),
        "evaluate": (
            lignite.evaluate,
            {"model": model, "examples": [TEXT], "methods": "random", "metrics": "deletion", "steps": 1},
        ),
        "check": (lignite.check, {"model": model, "length": 4}),
        "fit_fusion": (lignite.fit_fusion, {"model": model, "inputs": TEXT}),
        "load": (lignite.load, {"name": "tiny-sentiment"}),
        "wrap": (lignite.wrap, {"network": model.network, "tokenizer": model.tokenizer}),
        "save": (lignite.save, {"dataset": flow, "path": folder / "x.nc"}),
        "open": (lignite.open, {"path": folder / "x.nc"}),
        "agreement": (lignite.agreement, {"dataset": flow}),
        "agreement_between": (lignite.agreement_between, {"a": flow, "b": flow}),
        "Target": (lignite.Target, {"label": 0}),
    }


def calls(name: str, function: Callable[..., Any], usual: dict[str, Any], share: float) -> Iterator[tuple[str, Any]]:
    """Every argument with every value, one at a time."""
    draw = random.Random(0)
    for argument in inspect.signature(function).parameters:
        for value in [*own().get(argument, []), *VALUES]:
            if argument == "progress" and callable(value) and isinstance(value, type | type(len)):
                continue  # what somebody's own function raises is theirs
            if share >= 1 or draw.random() < share:
                yield argument, value


class Late(Exception):
    """Whoever asks for a wrong thing should not wait for the answer."""


def late(*_: Any) -> None:
    raise Late(f"no answer within {SECONDS} s")


def main() -> int:
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, late)
    torch.set_num_threads(1)
    share = 1.0
    wanted = sys.argv[1:]
    if wanted and wanted[0].startswith("--share="):
        share, wanted = float(wanted[0].removeprefix("--share=")), wanted[1:]
    model, failed, count = tiny(), 0, 0
    with tempfile.TemporaryDirectory() as folder, chdir(folder):  # names that are accepted become files
        for name, (function, usual) in functions(model, Path(folder)).items():
            if wanted and name not in wanted:
                continue
            for argument, value in calls(name, function, usual, share):
                count += 1
                signal.alarm(SECONDS)
                try:
                    function(**{**usual, argument: value})
                except lignite.LigniteError as error:
                    message = str(error)
                    if "\n" in message or len(message) > 2000:
                        failed += 1
                        print(f"{name}({argument}={shown(value)}): a long message")
                except Exception as error:
                    failed += 1
                    print(
                        f"{name}({argument}={shown(value)}): {type(error).__name__}: {str(error)[:110]!r}", flush=True
                    )
                finally:
                    signal.alarm(0)
    print(f"{failed} of {count} calls end in a foreign error")
    return 1 if failed else 0


def shown(value: Any) -> str:
    try:
        return repr(value).replace("\n", " ")[:60]
    except Exception:
        return type(value).__name__


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())
