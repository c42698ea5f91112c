"""Pixelated Butterfly (arXiv 2112.00029): a fixed block pattern plus low rank in every layer, trained from scratch."""

from nasc.methods.pixelfly.config import PixelflyConfig
from nasc.methods.pixelfly.method import Pixelfly, pixelfly_networks
from nasc.methods.pixelfly.rewriting import Schema, find_schema, sparsify

__all__ = ["Pixelfly", "PixelflyConfig", "Schema", "find_schema", "pixelfly_networks", "sparsify"]
