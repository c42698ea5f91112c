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
from nasc.graph.lowering.attention_rules import LOWEST
from nasc.graph.lowering.engine import BATCH, VALUE_FREE
from nasc.graph.lowering.layout import Columns
from nasc.graph.lowering.names import operator_name
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
        self._tensors = network.tensors
        self._known: dict[Node, Any] = {}

    def of(self, kernel: Kernel) -> dict[str, Array]:
        """What the emitter of this kernel finds under ``constants``: see ``emitters.Instruction``."""
        if kernel.kind in ("binary", "unary"):
            return self._operands(kernel) if "other" in kernel.extra else {}
        if "constant" in kernel.extra:
            return {"value": self._sample(kernel.extra["constant"]).astype(np.float32)}
        if kernel.kind in ("norm", "embedding"):
            return self._plain(kernel)
        if kernel.kind == "pool":
            divisors = average_divisors(kernel)
            return {} if divisors is None else {"divisors": divisors}
        if kernel.weights.weight is None and kernel.weights.norm is None and "weight" not in kernel.extra:
            return {}
        weight, bias = self._weight_and_bias(kernel)
        if kernel.extra.get("transposed"):
            weight = weight.T
        if kernel.extra.get("line"):  # along one axis: an image of height one
            weight = weight[:, :, None, :]
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
            outputs = weight.shape[1] if kernel.extra.get("transposed") else len(weight)
            return weight, np.zeros(outputs) if bias is None else bias
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

    def _plain(self, kernel: Kernel) -> dict[str, Array]:
        """A weight and a bias that nothing is folded into; those that are there."""
        weights, extra = kernel.weights, kernel.extra
        both = {
            "weight": self._named(weights.weight, extra.get("weight")),
            "bias": self._named(weights.bias, extra.get("bias")),
        }
        return {role: values.astype(np.float32) for role, values in both.items() if values is not None}

    def _operands(self, kernel: Kernel) -> dict[str, Array]:
        """The constant operand, and the number that a selection puts beside it."""
        fill = kernel.extra.get("fill")
        number = self._sample(fill) if isinstance(fill, str) else np.asarray(fill, np.float64)
        extra = {} if fill is None else {"fill": np.maximum(number, LOWEST).reshape(1).astype(np.float32)}
        return {"other": self._operand(kernel), **extra}

    def _operand(self, kernel: Kernel) -> Array:
        """The constant operand, with as many axes as the other one, in its layout."""
        other, layout = kernel.extra["other"], kernel.extra["other_layout"]
        values = self._sample(other) if isinstance(other, str) else np.asarray(other, np.float64)
        if kernel.extra.get("hides"):  # a mask of what is seen
            values = np.where(values != 0, 0.0, LOWEST)
        if "other_shape" in kernel.extra:
            values = values.reshape(kernel.extra["other_shape"])
        values = values.reshape((1,) * (len(layout) - values.ndim) + values.shape)
        return np.maximum(values, LOWEST).transpose(layout).astype(np.float32)

    def _sample(self, name: str) -> Wide:
        """A constant node's value for a batch of one: the program was exported with a larger one."""
        values = _array(self._evaluate(self._nodes[name]))
        axes = self._tensors.get(name)
        if axes is None:
            return values
        for place, axis in enumerate(axes):
            values = values.take(np.arange(int(axis.size({BATCH: 1}))), axis=place)
        return values

    def _evaluate(self, node: Node) -> Any:
        """The value of a node that depends on the values of no user input; each is computed once."""
        if node not in self._known:
            self._known[node] = self._compute(node)
        return self._known[node]

    def _compute(self, node: Node) -> Any:
        if node.op == "placeholder":
            return self._state[self._dotted[node.name]]
        if node.op == "get_attr":
            return getattr(node.graph.owning_module, str(node.target))
        if operator_name(node) in VALUE_FREE:  # it asks for a shape alone
            like: Any = node.args[0]
            shaped = torch.zeros(tuple(like.meta["val"].shape), dtype=like.meta["val"].dtype)
            arguments: Any = (shaped, *map_arg(node.args[1:], self._evaluate))
        else:
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
