"""A device whose times are a formula: exact right answers for tests, and nasc without measuring.

It reads the operators of a real ``.tflite`` file, so tracing, lowering, export, table and price are all exercised as with
a real device. A convolution or linear layer of m positions, n outputs and k multiply-adds per output takes::

    launch + multiply_add * ceil(m / tile) * ceil(n / tile) * tile^2 * k        seconds,

an element-wise operator ``launch + element * elements``; the time of a model is the sum. PAD in front of a convolution or
pool and reshapes are free, as they are in real runtimes.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from math import ceil, prod
from pathlib import Path
from typing import Any

from nasc.artifact import Artifact
from nasc.devices._base import Facts, Origin, Session, Visit, VisitResult
from nasc.errors import DeviceError, RunnerError

_FREE = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS"}
_PADS = {"PAD", "PADV2"}
_WINDOWED = {"CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "AVERAGE_POOL_2D"}


@dataclass(frozen=True)
class Operator:
    """One operator of a model file.

    Args:
        name: Its name in the format, e.g. ``"CONV_2D"``.
        inputs: Shape of every input that is not absent, activations first.
        output: Shape of the first output.
        feeds_window: Everything that reads its output is a convolution or pool.
    """

    name: str
    inputs: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    feeds_window: bool = False


@dataclass(frozen=True)
class SimulatedDevice:
    """A device whose latency is a formula with a staircase.

    Args:
        tile: Period of the staircase in positions and outputs.
        launch_s: Seconds per operator.
        multiply_add_s: Seconds per multiply-add.
        element_s: Seconds per element of an element-wise operator.
        noise: Upper bound of the relative noise; it only ever makes a run longer, as on a real machine.
        seed: Seed of the noise, which differs from session to session.
    """

    tile: int = 8
    launch_s: float = 1e-6
    multiply_add_s: float = 2e-11
    element_s: float = 5e-10
    noise: float = 0.0
    seed: int = 0
    runtime: str = "litert"
    threads: int = 1
    dtype: str = "float32"
    name: str = "simulated"
    origin: Origin = "simulated"
    format: str = "litert"
    _sessions: Iterator[int] = field(default_factory=count, init=False, repr=False, compare=False)

    @property
    def hardware(self) -> str:
        """The formula's constants, in letters fit for a file name."""
        return f"tile{self.tile}-launch{self.launch_s:g}-mac{self.multiply_add_s:g}-element{self.element_s:g}"

    def describe(self) -> Facts:
        """The formula's constants."""
        return {
            "cpu_model": f"formula with steps of {self.tile}",
            "tile": self.tile,
            "launch_s": self.launch_s,
            "multiply_add_s": self.multiply_add_s,
            "element_s": self.element_s,
        }

    def run_session(
        self,
        artifacts: Sequence[Artifact],
        visits: Sequence[Visit],
        *,
        timeout_s: float | None = None,
    ) -> Session:
        """The formula's times; see :class:`nasc.devices._base.Device`. Caches and time limits have no meaning here."""
        for artifact in artifacts:
            if artifact.format != self.format:
                raise DeviceError(
                    f"the simulated device reads {self.format} files; got {artifact.path} ({artifact.format})"
                )
        seconds = [self.seconds(read_operators(artifact.path)) for artifact in artifacts]
        generator = random.Random(f"{self.seed} {next(self._sessions)}")
        results = []
        for visit in visits:
            samples = tuple(seconds[visit.model] * (1 + self.noise * generator.random()) for _ in range(visit.runs))
            results.append(VisitResult(visit.model, samples, wall_s=sum(samples), cpu_s=sum(samples)))
        return Session(tuple(results), {"runtime_version": "formula"})

    def seconds(self, operators: Sequence[Operator]) -> float:
        """Time of a model: the sum over its operators."""
        return sum(self.operator_seconds(operator) for operator in operators)

    def operator_seconds(self, operator: Operator) -> float:
        """Time of one operator by the formula above."""
        if operator.name in _FREE or (operator.name in _PADS and operator.feeds_window):
            return 0.0
        if operator.name in {"CONV_2D", "FULLY_CONNECTED"}:
            *_, outputs = operator.output
            weight = operator.inputs[1]
            return self.matmul_seconds(prod(operator.output[:-1]), outputs, prod(weight[1:]))
        if operator.name == "BATCH_MATMUL":
            *batch, rows, outputs = operator.output
            product = self.matmul_seconds(rows, outputs, operator.inputs[0][-1]) - self.launch_s
            return self.launch_s + prod(batch) * product
        if operator.name == "DEPTHWISE_CONV_2D":
            positions, channels = prod(operator.output[:-1]), operator.output[-1]
            padded = ceil(channels / self.tile) * self.tile
            return self.launch_s + self.multiply_add_s * positions * padded * prod(operator.inputs[1][1:3])
        elements = max(prod(operator.output), *(prod(shape) for shape in operator.inputs[:1]))
        return self.launch_s + self.element_s * elements

    def matmul_seconds(self, m: int, n: int, k: int) -> float:
        """Time of m x n outputs of k multiply-adds each, in whole tiles."""
        tiles = ceil(m / self.tile) * ceil(n / self.tile)
        return self.launch_s + self.multiply_add_s * tiles * self.tile**2 * k


def read_operators(path: Path) -> tuple[Operator, ...]:
    """The operators of a ``.tflite`` file, in execution order.

    Raises:
        RunnerError: The file is not a LiteRT model.
    """
    try:
        return _parse(path.read_bytes())
    except OSError as error:
        raise RunnerError(f"expected a LiteRT model at {path}; got {error.strerror}") from error


@lru_cache(maxsize=4096)
def _parse(content: bytes) -> tuple[Operator, ...]:
    from ai_edge_litert import schema_py_generated as schema

    if content[4:8] != b"TFL3":
        raise RunnerError("expected a LiteRT model (identifier TFL3); the file is of another format or truncated")
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    model = schema.Model.GetRootAsModel(content, 0)
    graph = model.Subgraphs(0)
    steps = [graph.Operators(index) for index in range(graph.OperatorsLength())]
    codes = [names[_code(model.OperatorCodes(step.OpcodeIndex()))] for step in steps]
    readers: dict[int, list[str]] = {}
    for step, code in zip(steps, codes, strict=True):
        for index in range(step.InputsLength()):
            readers.setdefault(step.Inputs(index), []).append(code)
    return tuple(
        Operator(
            name=code,
            inputs=tuple(_shape(graph, step.Inputs(i)) for i in range(step.InputsLength()) if step.Inputs(i) >= 0),
            output=_shape(graph, step.Outputs(0)),
            feeds_window=set(readers.get(step.Outputs(0), [])) <= _WINDOWED and step.Outputs(0) in readers,
        )
        for step, code in zip(steps, codes, strict=True)
    )


def _code(operator_code: Any) -> int:
    return max(int(operator_code.BuiltinCode()), int(operator_code.DeprecatedBuiltinCode()))


def _shape(graph: Any, tensor: int) -> tuple[int, ...]:
    entry = graph.Tensors(tensor)
    return tuple(int(entry.Shape(axis)) for axis in range(entry.ShapeLength()))
