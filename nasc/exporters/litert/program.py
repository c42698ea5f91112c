"""A whole network as a LiteRT file: one kernel after the other, by the emitters that also write a table's probes."""

from collections.abc import Iterable

import torch

from nasc.errors import ExportError
from nasc.exporters.litert.constants import Constants
from nasc.exporters.litert.emitters import emit
from nasc.exporters.litert.flatbuffer import ModelBuilder
from nasc.exporters.litert.instruction import Instruction
from nasc.graph.lowering import BATCH
from nasc.graph.lowering.layout import boundary_layout, stored_shape
from nasc.graph.network import Kernel, Network

DESCRIPTION = "nasc: images have channels last"
"""Stored in every file, so that one that is opened later is known to hold images this way."""


def write_network(network: Network) -> bytes:
    """The bytes of a LiteRT model for a batch of one.

    Args:
        network: What to write, at its dense sizes; weights are read from its module.

    Returns:
        The file. Its operators are the network's kernels in order; images have their channels last, in and out.

    Raises:
        ExportError: The network has operators the format cannot express; all are named, with their modules.
    """
    refuse_unsupported(network.kernels)
    builder, constants = ModelBuilder(), Constants(network)
    kinds = _input_kinds(network)
    inputs = [builder.activation(_boundary_shape(network, name), name, kinds[name]) for name in network.inputs]
    tensors = dict(zip(network.inputs, inputs, strict=True))
    for kernel in network.kernels:
        instruction = Instruction(kernel.shape(), kernel.output, constants.of(kernel), kernel.activation, kernel.extra)
        tensors[kernel.output] = emit(builder, instruction, [tensors[name] for name in kernel.inputs])
    return builder.finish(inputs, [tensors[name] for name in network.outputs], description=DESCRIPTION)


def refuse_unsupported(kernels: Iterable[Kernel]) -> None:
    """Raise an ExportError that names every operator without a LiteRT form, and the modules it came from."""
    missing = [kernel for kernel in kernels if kernel.kind == "unsupported"]
    if missing:
        named = ", ".join(sorted({f"{kernel.signature['op']} ({kernel.name})" for kernel in missing}))
        raise ExportError(
            f"expected operators that the LiteRT writer has kernels for; got {named}",
            "pip install 'nasc[litert]' (converts such models as a whole), or nasc export --format onnx",
        )


def _boundary_shape(network: Network, name: str) -> tuple[int, ...]:
    shape = tuple(int(axis.size({BATCH: 1})) for axis in network.tensors[name])
    return stored_shape(shape, boundary_layout(len(shape)))


def _input_kinds(network: Network) -> dict[str, str]:
    """Number format of every input: whole numbers have 32 bits in a file, whatever the model's."""
    kinds = {}
    for node in network.program.graph.nodes:
        if node.name in network.inputs:
            dtype = node.meta["val"].dtype
            whole = not dtype.is_floating_point and not dtype.is_complex
            kinds[node.name] = "bool" if dtype == torch.bool else "int32" if whole else "float32"
    return kinds
