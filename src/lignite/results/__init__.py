"""Labelled results: their layout, how they are built, saved, opened and asked."""

from lignite.results.accessor import FlowPath, LigniteAccessor
from lignite.results.build import build_explanation, build_flow
from lignite.results.io import open, save
from lignite.results.notebook import register
from lignite.results.schema import validate

__all__ = ["FlowPath", "LigniteAccessor", "build_explanation", "build_flow", "open", "save", "validate"]

register()
