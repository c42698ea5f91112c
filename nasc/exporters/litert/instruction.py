"""One kernel, ready to be written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasc.errors import ExportError
from nasc.kernels import KernelShape

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Instruction:
    """One kernel, ready to be written.

    Args:
        shape: Kind, attributes and sizes.
        name: Name of the tensor it writes.
        constants: ``weight`` (PyTorch's layout) and ``bias`` of what has them, norm folded in; ``other`` of a binary
            kernel with a constant operand; ``divisors`` of an average pool that needs them.
        activation: Clamp folded in: None, ``"relu"`` or ``"relu6"``.
        extra: The lowering's notes (:class:`nasc.graph.network.Kernel`).
    """

    shape: KernelShape
    name: str = ""
    constants: Mapping[str, Array] = field(default_factory=dict)
    activation: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """An attribute of the signature."""
        return self.shape.signature[name]


def unknown_op(it: Instruction, known: Sequence[str]) -> ExportError:
    """The error for a kernel of a known kind whose ``op`` the format has no operator for."""
    return ExportError(
        f"expected a {it.shape.kind} kernel with op {', '.join(sorted(known))}; got {it['op']!r} ({it.name})",
        "export another format: nasc export --format onnx",
    )
