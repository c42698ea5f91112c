"""Lightning: ``Trainer(callbacks=[Compress("-40%")])``."""

from typing import Any

import torch
from torch import nn

from nasc.adapters._compression import Compression
from nasc.errors import ModelError, UsageError

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ModuleNotFoundError as _missing:
    raise UsageError(
        "nasc.adapters.lightning needs the package lightning, which is not installed", "pip install 'nasc[lightning]'"
    ) from _missing


class Compress(Callback):
    """Compresses the module that a Trainer trains to a target.

    Args:
        target: See :class:`nasc.adapters._compression.Compression`; so are the further arguments.
        module: Dotted name of what is compressed inside the LightningModule; by default its only child, or itself.
        example_inputs: One call's inputs; by default the first entry of the first training batch.
        **settings: Method, device, out and the method's options.

    After ``fit``, ``small`` is the small model; it takes the place of the compressed child, so that ``test`` and ``predict``
    run it.
    """

    def __init__(self, target: str, *, module: str | None = None, example_inputs: Any = None, **settings: Any) -> None:
        self.compression = Compression(target, **settings)
        self.module, self.example_inputs = module, example_inputs

    @property
    def small(self) -> nn.Module | None:
        """The small model, once training has ended."""
        return self.compression.small

    def on_train_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Take over the module's ``forward``."""
        inputs = self.example_inputs if self.example_inputs is not None else _first_inputs(trainer)
        inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        self.example_inputs = tuple(_on_cpu_like(value, pl_module) for value in inputs)
        target = self._target(pl_module)
        total = int(trainer.estimated_stepping_batches)
        self.compression.start(target, target, self.example_inputs, total, trainer.optimizers[0])

    def on_before_optimizer_step(self, trainer: "Trainer", pl_module: "LightningModule", optimizer: Any) -> None:
        """Add the penalty's gradient: once an optimiser step, after mixed precision has unscaled the others."""
        self.compression.before_step()

    def on_train_batch_end(
        self, trainer: "Trainer", pl_module: "LightningModule", outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the method, if this batch ended with an optimiser step."""
        if trainer.global_step > self._steps:
            self._steps = trainer.global_step
            self.compression.after_step()
            pl_module.log_dict({f"nasc/{name}": value for name, value in self.compression.metrics().items()})

    def on_train_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Put the small model in the place of the compressed one."""
        small = self.compression.finish()
        name = self._name(pl_module)
        if name:
            parent, _, child = name.rpartition(".")
            setattr(pl_module.get_submodule(parent), child, small)

    def on_exception(self, trainer: "Trainer", pl_module: "LightningModule", exception: BaseException) -> None:
        """Leave the user's module as it was."""
        self.compression.release()

    def state_dict(self) -> dict[str, Any]:
        """Goes into Lightning's checkpoints."""
        return {"method": self.compression.state_dict(), "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Comes from Lightning's checkpoints."""
        self.compression.load_state_dict(state_dict["method"])
        self._steps = int(state_dict["steps"])

    _steps = 0

    def _target(self, pl_module: "LightningModule") -> nn.Module:
        name = self._name(pl_module)
        try:
            found: nn.Module = pl_module.get_submodule(name)
        except AttributeError as error:
            children = ", ".join(child for child, _ in pl_module.named_children())
            raise ModelError(f"the LightningModule has no part {name!r}; it has: {children}", "give module=") from error
        return found

    def _name(self, pl_module: "LightningModule") -> str:
        """What is compressed: as asked, else the only child with parameters, else the module itself."""
        if self.module is not None:
            return self.module
        children = [name for name, child in pl_module.named_children() if any(True for _ in child.parameters())]
        return children[0] if len(children) == 1 else ""


def _first_inputs(trainer: "Trainer") -> Any:
    loader: Any = trainer.train_dataloader
    with torch.random.fork_rng(devices=[]):  # looking at a batch must not change the order of the others
        batch = next(iter(loader))
    return batch[0] if isinstance(batch, list | tuple) else batch


def _on_cpu_like(value: Any, module: nn.Module) -> Any:
    """One example on the device of the module's parameters."""
    if not isinstance(value, torch.Tensor):
        return value
    return value[:1].to(next(module.parameters()).device)
