"""The graph of a model: named dims, kernels over them, and how to mask and slice along them.

:func:`trace` reads a module, :func:`with_depth` adds its residual branches as dims of size one;
:mod:`nasc.graph.slicing` and :mod:`nasc.graph.masking` act on the result.
"""

from nasc.graph.depth import with_depth
from nasc.graph.dims import Axis, Dim, Sizes, Sum
from nasc.graph.network import Contraction, Kernel, Network, Rewrite, Weights
from nasc.graph.selection import Selection
from nasc.graph.trace import trace

__all__ = [
    "Axis",
    "Contraction",
    "Dim",
    "Kernel",
    "Network",
    "Rewrite",
    "Selection",
    "Sizes",
    "Sum",
    "Weights",
    "trace",
    "with_depth",
]
