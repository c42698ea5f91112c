"""The forms a layer may take, priced and masked together: what methods that choose among blocks share."""

from nasc.methods._blocks.folding import Folded, fold
from nasc.methods._blocks.layers import BLOCKS, Block, BlockNetwork, Layer, bits_name, build_blocks, density_name
from nasc.methods._blocks.price import BlockPrice
from nasc.methods._blocks.weights import WeightForms

__all__ = [
    "BLOCKS",
    "Block",
    "BlockNetwork",
    "BlockPrice",
    "Folded",
    "Layer",
    "WeightForms",
    "bits_name",
    "build_blocks",
    "density_name",
    "fold",
]
