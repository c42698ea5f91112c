"""From a graph of ATen operators to the kernels the device runs.

Walks the exported graph once. Norms and clamps fold into the convolution or linear layer before them, zero padding into
the convolution after it; dropout, identity and what depends on no input are gone; permutations are bookkeeping
(:mod:`nasc.graph.lowering.layout`). Each operator has a rule in ``*_rules.py``; one without a rule becomes an
``unsupported`` kernel, which no table covers and the LiteRT exporter refuses by name.
"""

from collections.abc import Mapping
from typing import Any

import torch

from nasc.graph.dims import Axis

# the rules register themselves when they are imported
from nasc.graph.lowering import (  # noqa: F401
    attention_rules,
    matrix_rules,
    norm_rules,
    part_rules,
    pointwise_rules,
    pooling_rules,
    shape_rules,
)
from nasc.graph.lowering.engine import BATCH, Lowering
from nasc.graph.network import Kernel

__all__ = ["BATCH", "lower"]


def lower(
    program: torch.export.ExportedProgram,
    tensors: Mapping[str, Any],
    parameters: Mapping[str, tuple[Axis, ...]],
) -> tuple[Kernel, ...]:
    """The kernels of a traced model, in execution order.

    Args:
        program: Exported in eval mode, dead code removed.
        tensors: Axes of every activation by node name, nested for operators with several outputs. The batch is a dim
            named :data:`BATCH`.
        parameters: Axes of every parameter and buffer by dotted name.

    Returns:
        Kernels whose tensors are named by graph nodes. ``extra`` holds what a writer of model files needs.
    """
    return Lowering(program, tensors, parameters).run()
