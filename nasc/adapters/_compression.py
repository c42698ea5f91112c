"""What every adapter shares: a method inside somebody else's training loop.

The loop keeps its model. Its ``forward`` is led through the method's masked model, the penalty's gradient is added before
every optimiser step, and the method moves after it: that is what the loop of the own-loop page does, without a line of it
being changed. Gradients are added once an optimiser step, so that accumulation over micro-batches and mixed precision
change nothing; with several processes, what the method learns is averaged as the weights' gradients are.
"""

import functools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.optim import Optimizer

from nasc.devices import Device, get_device
from nasc.errors import TrainingError
from nasc.exporters import export
from nasc.graph import Network, trace
from nasc.materialise import materialise, save_model, verify
from nasc.methods import Method, Price, build
from nasc.pipeline import cover, require_equal
from nasc.stages.goal import SUFFIX, Dense, measure_dense, set_goal
from nasc.stages.settling import measure_beside_dense
from nasc.table import LatencyTable
from nasc.units import Target, format_seconds, parse_target

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bench:
    """A device with its table, and the dense model measured there: what a target in time needs."""

    device: Device
    table: LatencyTable
    dense: Dense


class Compression:
    """Compresses a model to a target inside a training loop.

    Args:
        target: ``"8ms"``, ``"-40%"``, ``"300MMAC"``, ``"2Mparam"`` or ``"4MB"``.
        method: A method by name.
        device: Where a target in time holds; likewise its runtime and threads.
        out: Where the finished model goes: its readable source, its weights, and for a target in time the measured file.
        options: The method's own.
    """

    def __init__(
        self,
        target: str | Target,
        *,
        method: str = "surrogate",
        device: str = "cpu",
        runtime: str = "litert",
        threads: int = 1,
        out: Path | str = Path("runs/adapter"),
        **options: Any,
    ) -> None:
        self.target = parse_target(target) if isinstance(target, str) else target
        self.name, self.options, self.out = method, options, Path(out)
        self.where = {"name": device, "runtime": runtime, "threads": threads}
        self.method: Method | None = None
        self.small: nn.Module | None = None
        self.measured_s: float | None = None
        self._adopted: list[nn.Parameter] = []
        self._bench: Bench | None = None
        self._undo: Callable[[], None] | None = None
        self._saved: dict[str, Any] | None = None

    def start(
        self,
        led: nn.Module,
        traced: nn.Module,
        example_inputs: tuple[Any, ...],
        total_steps: int,
        optimizer: Optimizer | None,
    ) -> None:
        """Trace the model, learn what the target means for it, and take over its ``forward``.

        Args:
            led: The module that the loop calls.
            traced: What is compressed: the same module, or one around it that takes the inputs one by one.
            example_inputs: Of ``traced``.
            total_steps: Optimiser steps of the whole run.
            optimizer: The loop's.

        Raises:
            ModelError: The model cannot be traced.
            TargetError: No allowed model meets the target.
        """
        was_training = led.training
        network = trace(traced, example_inputs)
        led.train(was_training)
        price, limit = self._goal(network)
        self.method = build(self.name, network, price, limit, total_steps, **self.options)
        if self._saved is not None:
            self.method.load_state_dict(self._saved)
            self._saved = None
        follow = getattr(self.method, "follow", None)
        if follow is not None and optimizer is not None:
            follow(optimizer)
        self._adopted = adopt(led, self.method.model, optimizer)
        self._undo = lead_through(led, self.method.model)

    def before_step(self) -> None:
        """Add the penalty's gradient to those of the loss, and make all processes agree on what the method learns."""
        method = self._started()
        penalty = method.penalty()
        if penalty.requires_grad:
            penalty.backward()  # type: ignore[no-untyped-call]
        if not distributed.is_initialized():
            return
        for leaf in (*learned_tensors(method), *self._adopted):  # what the loop's own averaging does not know of
            if leaf.grad is not None:
                distributed.all_reduce(leaf.grad)
                leaf.grad /= distributed.get_world_size()

    def after_step(self) -> None:
        """Move the method; the processes go on from the first one's state."""
        method = self._started()
        method.step()
        if distributed.is_initialized():
            for leaf in learned_tensors(method):
                distributed.broadcast(leaf.data, src=0)

    def finish(self, example_inputs: tuple[Any, ...] | None = None) -> nn.Module:
        """Give the model its own ``forward`` back, and make the small one; where the target is a time, measure it.

        Returns:
            The small model: a plain module. It stands in ``out`` as well.

        Raises:
            ModelError: It does not compute what the masked model did.
        """
        method = self._started()
        selection = method.select()
        self.release()
        network = method.network
        self.small = materialise(network, selection)
        require_equal(verify(network, selection, self.small))
        if _is_first():
            self.out.mkdir(parents=True, exist_ok=True)
            save_model(self.small, self.out / "model")
            if self._bench is not None:
                self._measure(self.small, example_inputs or network.example_inputs, self._bench)
        return self.small

    def release(self) -> None:
        """Give the model its own ``forward`` back."""
        if self._undo is not None:
            self._undo()
            self._undo = None

    def metrics(self) -> dict[str, float]:
        """The method's own numbers, for logs."""
        return {} if self.method is None else dict(self.method.metrics())

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {} if self.method is None else self.method.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`, now or as soon as training starts."""
        if not state:
            return
        if self.method is None:
            self._saved = state
        else:
            self.method.load_state_dict(state)

    def _goal(self, network: Network) -> tuple[Price, float]:
        """The price and its limit; a target in time is corrected by what the dense model takes on the device."""
        if self.target.unit != "seconds":
            price = Price(network, self.target.unit, None)
            return price, self.target.limit(price.dense)
        limit = torch.zeros(1, dtype=torch.float64)
        if _is_first():
            self.out.mkdir(parents=True, exist_ok=True)
            device = get_device(**self.where)  # type: ignore[arg-type]
            table = cover(device, network)
            self._bench = Bench(device, table, measure_dense(network, device, table, self.out))
            limit[0] = set_goal(network, table, self._bench.dense, self.target).price_limit
        if distributed.is_initialized():
            distributed.broadcast(limit, src=0)  # the others find the table finished now
        if self._bench is None:
            table = cover(get_device(**self.where), network, progress=False)  # type: ignore[arg-type]
        return Price(network, "seconds", table), float(limit)

    def _measure(self, small: nn.Module, example_inputs: tuple[Any, ...], bench: Bench) -> None:
        artifact = export(small, example_inputs, self.out / f"model{SUFFIX[bench.device.format]}")
        measured, dense = measure_beside_dense(artifact, bench.dense.artifact, bench.device, bench.table)
        self.measured_s = measured.seconds
        limit = self.target.limit(dense.seconds)
        verdict = "meets" if measured.interval[1] <= limit else "misses"
        words = (format_seconds(measured.seconds, measured.spread_s), verdict, format_seconds(limit), artifact.path)
        _log.info("measured %s, %s the target of %s: %s", *words)

    def _started(self) -> Method:
        if self.method is None:
            raise TrainingError("expected training to have started; it has not", "give the callback to the trainer")
        return self.method


def lead_through(module: nn.Module, masked: nn.Module) -> Callable[[], None]:
    """Let calls of a module go through another one that calls it in turn.

    Args:
        module: Its parameters, its place and its class stay what they are.
        masked: Called with the module's arguments; what it calls of the module is the module's own ``forward``.

    Returns:
        Undoes it.
    """
    own = module.forward
    inside = False

    @functools.wraps(own)
    def forward(*args: Any, **kwargs: Any) -> Any:
        nonlocal inside
        if inside:
            return own(*args, **kwargs)
        inside = True
        try:
            return masked(*args, **kwargs)
        finally:
            inside = False

    def undo() -> None:
        module.__dict__.pop("forward", None)

    object.__setattr__(module, "forward", forward)  # an attribute of the instance shadows the class's method
    return undo


def adopt(led: nn.Module, masked: nn.Module, optimizer: Optimizer | None) -> list[nn.Parameter]:
    """Let the loop's optimiser train the parameters of a method that rewrote the model: factors, blocks.

    They join its first group, so that the loop's learning-rate schedule holds for them.

    Args:
        led: The module whose parameters the optimiser has.
        masked: The method's.
        optimizer: The loop's.

    Returns:
        The parameters that are not the model's own.
    """
    known = {id(parameter) for parameter in led.parameters()}
    new = [parameter for parameter in masked.parameters() if id(parameter) not in known]
    if new and optimizer is not None:
        optimizer.param_groups[0]["params"].extend(new)
    return new


def learned_tensors(method: Method) -> list[Tensor]:
    """The tensors a method learns by gradient beside the model's parameters: masks, gates."""
    known = {id(parameter) for parameter in method.model.parameters()}
    found: dict[int, Tensor] = {}
    for tensor in _tensors(method, set()):
        if tensor.requires_grad and tensor.is_leaf and id(tensor) not in known:
            found[id(tensor)] = tensor
    return list(found.values())


def _tensors(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """Every tensor that an object of the methods' package holds, in the order of its attributes."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _tensors(inner, seen)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner, seen)
    elif type(value).__module__.startswith("nasc.methods") and not isinstance(value, nn.Module):
        yield from _tensors(vars(value) if hasattr(value, "__dict__") else {}, seen)


def _is_first() -> bool:
    return not distributed.is_initialized() or distributed.get_rank() == 0
