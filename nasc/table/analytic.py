"""A table nobody measured: the roofline of a device's public figures, for planning before the device is at hand.

A kernel takes as long as its multiply-adds at the peak rate or its bytes at the peak bandwidth, whichever is longer, and a
launch (Williams et al., Roofline, CACM 2009). That is a lower bound, blind to steps, caches and how good a kernel is:
benchmarks/analytic.py says how far off it is. It is never written where measured tables are, and says what it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Union

from nasc.devices import Descriptor
from nasc.errors import TableError
from nasc.kernels import KINDS, Signature

if TYPE_CHECKING:
    from torch import Tensor

Size = Union[int, float, "Tensor"]
_BYTES = 4  # float32


@dataclass(frozen=True)
class Figures:
    """Public figures of a device, for one core.

    Args:
        macs_per_s: Peak multiply-adds a second in float32.
        bytes_per_s: Peak memory bandwidth.
        launch_s: Time of a kernel that does nothing.
        source: Where they are from.
    """

    macs_per_s: float
    bytes_per_s: float
    launch_s: float
    source: str


@dataclass(frozen=True)
class Work:
    """What a kernel does: multiply-adds, and entries it must read and write at least once."""

    macs: float
    entries: float


@dataclass(frozen=True)
class AnalyticTable:
    """A roofline with the questions of a latency table.

    Args:
        figures: Of the device.
        device: Its name.
    """

    figures: Figures
    device: str
    origin: str = "analytic"

    def covers(self, signature: Signature, sizes: Mapping[str, Size]) -> bool:
        """Whether the kind of kernel is known; sizes do not matter to a formula."""
        return signature.kind in _WORK or signature.kind == "free"

    def seconds(self, signature: Signature, sizes: Mapping[str, Size]) -> Union[float, "Tensor"]:
        """The roofline of one kernel, differentiable in tensor sizes (the slope of the roof it is under).

        Args:
            signature: Kind and attributes.
            sizes: Number or 0-d tensor by size name of the kind.

        Raises:
            TableError: The kind is not known.
        """
        if signature.kind == "free":
            return 0.0
        whole = {name: size if isinstance(size, int | float) else float(size.detach()) for name, size in sizes.items()}
        result: float | Tensor = self._roof(signature, whole)
        slopes = None
        for name, size in sizes.items():
            if not isinstance(size, int | float):
                slopes = slopes or self.slope(signature, whole)
                result = result + slopes[name] * (size - size.detach())
        return result

    def slope(self, signature: Signature, sizes: Mapping[str, float]) -> dict[str, float]:
        """Seconds per entry of each size."""
        if signature.kind == "free":
            return {}
        here = self._roof(signature, sizes)
        return {
            name: self._roof(signature, {**sizes, name: sizes[name] + 1}) - here for name in KINDS[signature.kind].sizes
        }

    def _roof(self, signature: Signature, sizes: Mapping[str, float]) -> float:
        if signature.kind not in _WORK:
            raise TableError(f"no formula for {signature}", "measure it: nasc profile")
        if not all(sizes[name] for name in KINDS[signature.kind].sizes):
            return 0.0
        work = count_work(signature, sizes)
        figures = self.figures
        return figures.launch_s + max(work.macs / figures.macs_per_s, _BYTES * work.entries / figures.bytes_per_s)


def analytic_table(descriptor: Descriptor) -> AnalyticTable:
    """The analytic table of a device with public figures in its descriptor.

    Raises:
        TableError: The descriptor has none.
    """
    if descriptor.figures is None:
        raise TableError(
            f"expected public figures of {descriptor.name} in its device.yaml; it has none",
            f"measure it instead: nasc profile --device {descriptor.name}",
        )
    try:
        figures = Figures(**descriptor.figures)
    except TypeError as error:
        raise TableError(f"figures of {descriptor.name}: {error}", "see profilers/README.md") from error
    return AnalyticTable(figures, descriptor.name)


def count_work(signature: Signature, sizes: Mapping[str, float]) -> Work:
    """Multiply-adds of a kernel, and the entries it reads and writes."""
    attributes = {**dict(signature.attributes), **sizes}
    return _WORK[signature.kind](_Values(attributes))


class _Values:
    """Attributes and sizes as numbers."""

    def __init__(self, values: Mapping[str, int | float | str]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> float:
        return float(self._values[name])

    def product(self, *names: str) -> float:
        return prod(self[name] for name in names)

    @property
    def positions_in(self) -> float:
        return self.product("height", "width")

    @property
    def positions_out(self) -> float:
        """Of a convolution or a pool: ``floor((in + pads - reach) / stride) + 1`` along both axes."""
        return self._extent("height", "kernel_h", "stride_h", "dilation_h", "pad_top", "pad_bottom") * self._extent(
            "width", "kernel_w", "stride_w", "dilation_w", "pad_left", "pad_right"
        )

    def _extent(self, size: str, kernel: str, stride: str, dilation: str, before: str, after: str) -> float:
        reach = float(self._values.get(dilation, 1)) * (self[kernel] - 1) + 1
        return (self[size] + self[before] + self[after] - reach) // self[stride] + 1


def _convolution(v: _Values) -> Work:
    weights = v.product("c_in", "c_out", "kernel_h", "kernel_w")
    return Work(weights * v.positions_out, weights + v["c_in"] * v.positions_in + v["c_out"] * v.positions_out)


def _grouped(v: _Values) -> Work:
    one = _convolution(v)
    return Work(v["groups"] * one.macs, v["groups"] * one.entries)


def _depthwise(v: _Values) -> Work:
    channels = v["channels"] * v["multiplier"]
    weights = channels * v.product("kernel_h", "kernel_w")
    return Work(weights * v.positions_out, weights + v["channels"] * v.positions_in + channels * v.positions_out)


def _transposed(v: _Values) -> Work:
    weights = v.product("c_in", "c_out", "kernel_h", "kernel_w")
    positions_out = v.positions_in * v.product("stride_h", "stride_w")
    return Work(weights * v.positions_in, weights + v["c_in"] * v.positions_in + v["c_out"] * positions_out)


def _linear(v: _Values) -> Work:
    weights = v.product("c_in", "c_out")
    return Work(weights * v["rows"], weights + v["rows"] * (v["c_in"] + v["c_out"]))


def _matmul(v: _Values) -> Work:
    batch, m, k, n = v["batch"], v["m"], v["k"], v["n"]
    return Work(batch * m * k * n, batch * (m * k + k * n + m * n))


def _pool(v: _Values) -> Work:
    return Work(0.0, v["channels"] * (v.positions_in + v.positions_out))


def _global_pool(v: _Values) -> Work:
    return Work(0.0, v["channels"] * (v.positions_in + 1))


def _twice(*names: str) -> Callable[[_Values], Work]:
    """Read once and written once."""
    return lambda v: Work(0.0, 2 * v.product(*names))


_WORK: Mapping[str, Callable[[_Values], Work]] = {
    "conv": _convolution,
    "grouped_conv": _grouped,
    "depthwise": _depthwise,
    "conv_transpose": _transposed,
    "linear": _linear,
    "linear_rows": _linear,
    "matmul": _matmul,
    "pool": _pool,
    "global_pool": _global_pool,
    "unary": _twice("channels", "positions"),
    "binary": lambda v: Work(0.0, 3 * v.product("channels", "positions")),
    "concat": _twice("channels", "positions"),
    "softmax": _twice("rows", "channels"),
    "norm": _twice("rows", "channels"),
    "reduce": lambda v: Work(0.0, v["rows"] * (v["channels"] + 1)),
    "embedding": _twice("rows", "channels"),
    "move": _twice("channels", "positions"),
}
