"""How much of a matrix the hardware touches: an element access costs its whole block (paper, Section 3.2 and Appendix A).

Closed forms for what :func:`nasc.block_sparse.pattern.cover_elements` counts.
"""

import math

from nasc.block_sparse.butterfly import flat_support
from nasc.block_sparse.pattern import BlockPattern, cover_elements


def random_cover(density: float, size: int, block: int) -> float:
    """Expected share of b x b hardware blocks touched by random s x s blocks of a given density, s dividing b.

    >>> round(random_cover(0.1, 8, 32), 2)
    0.81

    Args:
        density: Nominal, 0 to 1.
        size: s, side of the pattern's blocks.
        block: b, side of the hardware's.
    """
    return float(1 - (1 - density) ** ((block / max(size, 1)) ** 2)) if size < block else density


def butterfly_density(side: int, size: int, stride: int) -> float:
    """Nominal density of the flat butterfly of s x s blocks on a side of N elements: (1 + log2 k) s / N."""
    return (1 + math.log2(stride)) * size / side


def butterfly_cover(side: int, size: int, stride: int, block: int) -> float:
    """Share of b x b hardware blocks that the flat butterfly of s x s blocks touches, for k s >= b.

    The strides inside a hardware block all fall on its diagonal: (1 + log2(k s / b)) b / N.

    Args:
        side: N, in elements.
        size: s, in elements.
        stride: k, in s-blocks.
        block: b, in elements.
    """
    return (1 + math.log2(stride * size / block)) * block / side


def covered(side: int, size: int, stride: int, block: int) -> BlockPattern:
    """The hardware blocks that the flat butterfly touches, counted rather than computed."""
    support = flat_support(side // size, stride)
    elements = support.repeat_interleave(size, 0).repeat_interleave(size, 1)
    return cover_elements(elements, block)
