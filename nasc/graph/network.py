"""A network as nasc sees it: kernels over named dims.

:func:`nasc.graph.trace` makes a :class:`Network`; cost, methods, materialise and exporters read it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nasc.graph.dims import Axis, Dim, Sizes
from nasc.graph.space import SearchSpace
from nasc.kernels import KINDS, KernelShape, Signature


@dataclass(frozen=True)
class Contraction:
    """A parameter that is contracted with an activation over one of its axes: where a reader-side mask goes.

    Args:
        parameter: Dotted name in the user's model.
        axis: The contracted axis of the parameter (1 for linear and conv weights).
        only: Names of the dims whose masks act here; None for all of the axis. Where two activations are contracted,
            masks act on what writes one of them (:mod:`nasc.graph.sites`).
    """

    parameter: str
    axis: int
    only: frozenset[str] | None = None


@dataclass(frozen=True)
class Reduction:
    """A call by which the model reduces over some axes of a tensor: a norm, a mean, a softmax.

    Args:
        kind: What sort of function, one of :data:`nasc.graph.live.KINDS`' values.
        node: The call in the program.
        rank: Axes of its input.
        places: Which of them are reduced.
        over: These axes.
    """

    kind: str
    node: str
    rank: int
    places: tuple[int, ...]
    over: tuple[Axis, ...]


@dataclass(frozen=True)
class Weights:
    """The parameters behind a kernel, by dotted name in the model; the exporter folds the norm into the rest.

    Args:
        weight: Convolution or linear weight, or None.
        bias: Its bias, or None.
        norm: ``(weight, bias, running_mean, running_var)`` of a folded batch norm, entries may be None; or None.
        eps: Epsilon of that norm.
    """

    weight: str | None = None
    bias: str | None = None
    norm: tuple[str | None, str | None, str | None, str | None] | None = None
    eps: float = 0.0


@dataclass(frozen=True)
class Kernel:
    """One operation as the device runs it, over named dims.

    Args:
        name: The module path it came from, with a suffix where a module holds several, e.g. ``"layer1.0.conv1"``.
        signature: Kind and attributes.
        sizes: Axis by size name of the kind (``c_in``, ``c_out``, ``channels``, ...).
        inputs: Names of the tensors it reads (graph node names), activations only.
        output: Name of the tensor it writes.
        weights: The parameters it uses.
        activation: Clamp folded into it: None, ``"relu"`` or ``"relu6"``.
        macs_per: Multiply-adds per product of sizes; MACs = macs_per * product(sizes) (0 for what multiplies nothing).
        extra: What only a writer needs to know (constants of an op), never part of the price.
        node: The call of the program it computes, or is a step of.
        gates: Dims of size one that its price is multiplied by: the branches it belongs to (:mod:`nasc.graph.depth`).
    """

    name: str
    signature: Signature
    sizes: Mapping[str, Axis]
    inputs: tuple[str, ...]
    output: str
    weights: Weights = field(default_factory=Weights)
    activation: str | None = None
    macs_per: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
    node: str = ""
    gates: tuple[Dim, ...] = ()

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Everything its price depends on: its sizes in the kind's order, then its gates."""
        return (*(self.sizes[name] for name in KINDS[self.kind].sizes), *(Axis((gate,)) for gate in self.gates))

    @property
    def kind(self) -> str:
        """The kind, one of :data:`nasc.kernels.KINDS`."""
        return self.signature.kind

    def shape(self, sizes: Mapping[str, int] | None = None) -> KernelShape:
        """The concrete kernel at whole sizes."""
        return self.signature.at(**{name: int(self.sizes[name].size(sizes)) for name in KINDS[self.kind].sizes})

    def macs(self, sizes: Sizes | None = None) -> int | float | Tensor:
        """Multiply-adds for a batch of one (1 MAC = 2 FLOP), for int or tensor sizes."""
        result: int | float | Tensor = self.macs_per
        for axis in self.axes:
            result = result * axis.size(sizes)
        return result

    def share(self, sizes: Sizes | None = None) -> int | float | Tensor:
        """How much of it there is: the product of its gates."""
        result: int | float | Tensor = 1
        for gate in self.gates:
            result = result * Axis((gate,)).size(sizes)
        return result


@dataclass(frozen=True)
class Branch:
    """A residual branch that can be removed: ``y = x + f(x)`` becomes ``y = x``.

    Args:
        gate: Name of the dim of size 1 that stands for it.
        addition: The call that adds it, in the program.
        skip: The node whose value stays.
        scaled: Parameters that a relaxed gate multiplies, so that a zero makes the branch vanish.
        parameters: All that go with it.
    """

    gate: str
    addition: str
    skip: str
    scaled: frozenset[str]
    parameters: frozenset[str]


@dataclass(frozen=True)
class Rewrite:
    """How one operator call of the program changes when sizes change.

    Args:
        arguments: New value by argument name of the operator; an :class:`~nasc.graph.dims.Axis` in it (also inside
            tuples) stands for that axis's size, the dim ``batch`` for the batch size.
        target: The operator to call instead, or None for the same one.
        counted: The result depends on how many entries there are (a norm, a mean, an attention scale).
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    target: Any = None
    counted: bool = False


@dataclass(frozen=True)
class Network:
    """A traced model: dims, axes of every tensor, kernels, and where masks may act.

    Args:
        model: The user's module, untouched.
        program: The exported program (eval mode), graph cleaned.
        example_inputs: What it was traced with.
        dims: Every dim by name.
        parameters: Axes of every parameter and buffer by dotted name.
        tensors: Axes of every activation by graph node name (nested for operators with several outputs). All counts are
            for one sample: the batch is the dim ``batch`` of size 1, which is not among ``dims``.
        contractions: Where reader-side masks act.
        kernels: In execution order, as the device runs them.
        unsupported: Operators without a rule and how often they were met; their dims are frozen.
        inputs: Names of the user's input tensors (graph node names).
        outputs: Names of the tensors the model returns.
        rewrites: What changes in an operator call with the sizes, by graph node name.
        names: Dotted parameter or buffer name by placeholder node name.
        running_variances: Buffers whose neutral value is one (running variances of batch norms).
        batch: Batch size the program was exported with; None where the model works for its example's batch only.
        reductions: The reducing calls that masks can be told to, in order; see :mod:`nasc.graph.live`.
        written: Where masks of dims act over which two activations are contracted: on what writes one of them.
        live: Names of the dims that are reduced over and can be masked all the same, by ``reductions`` and ``written``.
        branches: Residual branches that may be removed, by the name of their gate; none unless asked for
            (:func:`nasc.graph.depth.with_depth`).
        space: The search space that holds dims (:func:`nasc.graph.restrict.restrict`), or None.
    """

    model: nn.Module
    program: torch.export.ExportedProgram
    example_inputs: tuple[Any, ...]
    dims: Mapping[str, Dim]
    parameters: Mapping[str, tuple[Axis, ...]]
    tensors: Mapping[str, Any]
    contractions: tuple[Contraction, ...]
    kernels: tuple[Kernel, ...]
    unsupported: Mapping[str, int]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    rewrites: Mapping[str, Rewrite] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    running_variances: tuple[str, ...] = ()
    batch: int | None = None
    reductions: tuple[Reduction, ...] = ()
    written: tuple[Contraction, ...] = ()
    live: frozenset[str] = frozenset()
    branches: Mapping[str, Branch] = field(default_factory=dict)
    space: SearchSpace | None = None

    @property
    def dense_sizes(self) -> dict[str, int]:
        """Size of every dim in the dense model."""
        return {name: dim.size for name, dim in self.dims.items()}

    @property
    def maskable(self) -> dict[str, Dim]:
        """The dims whose entries masks remove exactly (:func:`nasc.graph.masking.masked_call`)."""
        return {
            name: dim
            for name, dim in self.dims.items()
            if dim.maskable or (name in self.live and dim.frozen is None and dim.size > 1) or name in self.branches
        }

    def least(self, name: str) -> int:
        """The fewest entries a dim may keep: a gate may be closed, everything else keeps one."""
        return 0 if name in self.branches else 1

    def closed(self, kept: Mapping[str, Tensor]) -> dict[str, Branch]:
        """The branches that a selection's kept indices remove, by the name of the addition that goes."""
        return {
            branch.addition: branch
            for gate, branch in self.branches.items()
            if gate in kept and kept[gate].numel() == 0
        }
