"""Hugging Face: ``Trainer(callbacks=[Compress("-40%", example_inputs=...)])``."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nasc.adapters._compression import Compression
from nasc.errors import UsageError

try:
    from transformers import TrainerCallback
except ModuleNotFoundError as _missing:
    raise UsageError(
        "nasc.adapters.hugging_face needs the package transformers, which is not installed", "pip install 'nasc[zoo]'"
    ) from _missing

_LABELS = ("labels", "label", "label_ids")


class ByPosition(nn.Module):
    """A model that takes its keyword arguments one by one and returns its scores: what is traced.

    Args:
        model: Returns an object with ``logits``.
        names: Its arguments in order.
    """

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor, **keywords: Any) -> Any:
        """The scores of inputs by position; with keywords whatever the model returns."""
        if keywords or not inputs:
            return self.model(*inputs, **keywords)
        return self.model(**dict(zip(self.names, inputs, strict=True)), return_dict=True).logits


class Compress(TrainerCallback):
    """Compresses the model that a Trainer trains to a target.

    Args:
        target: See :class:`nasc.adapters._compression.Compression`; so are the further arguments.
        example_inputs: Tensors by argument name, e.g. ``{"input_ids": ...}``; by default the first training batch without
            its labels.
        **settings: Method, device, out and the method's options.

    After ``train``, ``small`` is the small model: inputs one by one in, scores out.
    """

    def __init__(self, target: str, *, example_inputs: Mapping[str, Tensor] | None = None, **settings: Any) -> None:
        self.compression = Compression(target, **settings)
        self.example_inputs = dict(example_inputs) if example_inputs is not None else None

    @property
    def small(self) -> nn.Module | None:
        """The small model, once training has ended."""
        return self.compression.small

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take over the model's ``forward``."""
        model, optimizer = kwargs["model"], kwargs.get("optimizer")
        inputs = self.example_inputs if self.example_inputs is not None else _first_inputs(kwargs["train_dataloader"])
        device = next(model.parameters()).device
        values = tuple(value[:1].to(device) for value in inputs.values())
        traced = ByPosition(model, tuple(inputs))
        self.compression.start(model, traced, values, int(state.max_steps), optimizer)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Add the penalty's gradient: once an optimiser step."""
        self.compression.before_step()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the method."""
        self.compression.after_step()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Add the method's numbers to the Trainer's, and to its history, which has a copy already."""
        numbers = {f"nasc/{name}": value for name, value in self.compression.metrics().items()}
        for entry in (logs, *state.log_history[-1:]):
            if entry is not None:
                entry.update(numbers)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Make the small model."""
        self.compression.finish()


def _first_inputs(loader: Any) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):  # looking at a batch must not change the order of the others
        batch = next(iter(loader))
    return {name: value for name, value in batch.items() if isinstance(value, torch.Tensor) and name not in _LABELS}
