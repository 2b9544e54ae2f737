"""The special tokens of a tokenizer that can stand in the place of every word."""

from typing import Literal, get_args

TokenBaseline = Literal["pad", "mask", "eos", "bos", "unk"]
TOKEN_BASELINES: tuple[str, ...] = get_args(TokenBaseline)
"""Baselines that put one of the tokenizer's special tokens in the place of every word."""
