"""The numbers behind a kernel, as its emitter wants them: norms folded in, in float64 before they become float32."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from nasc.exporters.litert.instruction import Array
from nasc.exporters.litert.windows import Side, sides
from nasc.graph.lowering.layout import Columns
from nasc.graph.network import Kernel, Network

Wide = NDArray[np.float64]


class Constants:
    """Parameters, buffers and constant sub-expressions of one network, as arrays."""

    def __init__(self, network: Network) -> None:
        program = network.program
        self._state: Mapping[str, Any] = {
            **program.constants,
            **dict(network.model.named_buffers(remove_duplicate=False)),
            **dict(network.model.named_parameters(remove_duplicate=False)),
        }
        signature = program.graph_signature
        self._dotted = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        self._nodes = {node.name: node for node in program.graph.nodes}

    def of(self, kernel: Kernel) -> dict[str, Array]:
        """What the emitter of this kernel finds under ``constants``: see ``emitters.Instruction``."""
        if kernel.kind == "binary":
            return {"other": self._operand(kernel)} if "other" in kernel.extra else {}
        if kernel.kind == "pool":
            divisors = average_divisors(kernel)
            return {} if divisors is None else {"divisors": divisors}
        if kernel.weights.weight is None and kernel.weights.norm is None and "weight" not in kernel.extra:
            return {}
        weight, bias = self._weight_and_bias(kernel)
        if "columns" in kernel.extra:
            weight = in_device_order(weight, kernel.extra["columns"])
        return {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}

    def _weight_and_bias(self, kernel: Kernel) -> tuple[Wide, Wide]:
        weights, norm = kernel.weights, kernel.weights.norm
        weight = self._named(weights.weight, kernel.extra.get("weight"))
        if weight is not None and kernel.kind == "conv_transpose":
            weight = weight.swapaxes(0, 1)  # PyTorch keeps the inputs first here
        bias = self._named(weights.bias, kernel.extra.get("bias"))
        if norm is None:
            assert weight is not None
            return weight, np.zeros(len(weight)) if bias is None else bias
        gamma, beta, mean, variance = (self._named(name, None) for name in norm)
        assert mean is not None
        assert variance is not None
        scale = (1.0 if gamma is None else gamma) / np.sqrt(variance + weights.eps)
        if weight is None:  # a norm alone: scale and shift as a 1x1 depthwise convolution
            weight = np.ones((len(mean), 1, 1, 1))
        shift = ((0.0 if bias is None else bias) - mean) * scale + (0.0 if beta is None else beta)
        return weight * scale.reshape(-1, *(1,) * (weight.ndim - 1)), shift

    def _named(self, parameter: str | None, node: str | None) -> Wide | None:
        if parameter is not None:
            return _array(self._state[parameter])
        return None if node is None else _array(self._evaluate(self._nodes[node]))

    def _operand(self, kernel: Kernel) -> Array:
        """The constant operand, with as many axes as the other one, in its layout."""
        other, layout = kernel.extra["other"], kernel.extra["other_layout"]
        values = np.asarray(other) if isinstance(other, float) else _array(self._evaluate(self._nodes[other]))
        values = values.reshape((1,) * (len(layout) - values.ndim) + values.shape)
        return values.transpose(layout).astype(np.float32)

    def _evaluate(self, node: Node) -> Any:
        """The value of a node that depends on no user input."""
        if node.op == "placeholder":
            return self._state[self._dotted[node.name]]
        arguments = map_arg(node.args, self._evaluate)
        options = map_arg(node.kwargs, self._evaluate)
        with torch.no_grad():
            return node.target(*arguments, **options)  # type: ignore[operator]


def in_device_order(weight: Wide, columns: Columns) -> Wide:
    """The columns of a linear weight of shape (out, in), reordered to meet a flatten that kept the device's order."""
    apart = weight.reshape(len(weight), *columns.shape)
    return apart.transpose(0, *(axis + 1 for axis in columns.order)).reshape(weight.shape)


def average_divisors(kernel: Kernel) -> Array | None:
    """Window size over PyTorch's divisor at every position of an average pool; None where both are the same.

    PyTorch does not count what ceil mode adds, nor the padding if so asked; the file's window counts all it sees.
    """
    extra, of = kernel.extra, kernel.signature
    if of["op"] != "avg" or "count_padding" not in extra:
        return None
    window = int(of["kernel_h"]) * int(of["kernel_w"])
    if extra["divisor"] is not None:
        counts = np.full((1, 1), float(extra["divisor"]))
    else:
        pads, count_padding = extra["padding"], bool(extra["count_padding"])
        down, right = (
            _window_counts(side, pad if count_padding else 0) for side, pad in zip(sides(of), pads, strict=True)
        )
        counts = np.outer(down, right).astype(np.float64)
    return None if np.all(counts == window) else (window / counts).astype(np.float32)


def _window_counts(side: Side, counted: int) -> NDArray[np.int64]:
    """Entries in each window that lie in the input or in the padding that counts, ``counted`` at either end."""
    starts = np.arange(side.count) * side.stride - side.before
    return np.minimum(starts + side.window, side.size + counted) - np.maximum(starts, -counted)


def _array(tensor: Tensor) -> Wide:
    return tensor.detach().cpu().double().numpy()
