"""Matrices with a fixed block pattern, and the layers made of them (Pixelated Butterfly, arXiv 2112.00029).

Plain torch below the methods: patterns (:mod:`~nasc.block_sparse.butterfly`), the product with them
(:mod:`~nasc.block_sparse.matmul`), and layers that take the place of dense ones.
"""

from nasc.block_sparse.attention import BlockSparseAttention, attention_pattern
from nasc.block_sparse.butterfly import flat_butterfly, reference_pattern
from nasc.block_sparse.convolution import PixelflyConv2d
from nasc.block_sparse.layers import BlockSparse, PixelflyLinear
from nasc.block_sparse.pattern import BlockPattern, cover_elements, dense_pattern
from nasc.block_sparse.plain import PlainPixelfly, to_plain
from nasc.block_sparse.product import BlockButterfly

__all__ = [
    "BlockButterfly",
    "BlockPattern",
    "BlockSparse",
    "BlockSparseAttention",
    "PixelflyConv2d",
    "PixelflyLinear",
    "PlainPixelfly",
    "attention_pattern",
    "cover_elements",
    "dense_pattern",
    "flat_butterfly",
    "reference_pattern",
    "to_plain",
]
