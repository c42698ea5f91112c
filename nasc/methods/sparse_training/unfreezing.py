"""Sparse transfer with gradual unfreezing (arXiv 2308.02060, section 5): an encoder that was pruned upstream learns a task.

Masks are fixed for ever. First the head, the biases and the norms train, then block after block joins, last to first, an
epoch each, and one more epoch trains them all: ``L + 2`` epochs for ``L`` blocks. Embeddings stay frozen throughout. The
learning rate falls anew in every epoch (:class:`nasc.training.RewoundRecipe`).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nasc.errors import ModelError
from nasc.graph.network import Network
from nasc.graph.selection import Selection
from nasc.methods._price import Price
from nasc.methods._scores import writer_norms
from nasc.methods.sparse_training.layers import prunable_layers
from nasc.methods.sparse_training.realise import realise
from nasc.methods.sparse_training.weights import MaskedWeights


class GradualUnfreezing:
    """What trains in each epoch of a sparse transfer; follows the training loop as a method does.

    Args:
        network: The traced model, with the upstream weights and a fresh head; zeros among the blocks' weights are the masks.
        price: Of the network; handed on.
        steps_per_epoch: Optimiser steps of an epoch.
        order: ``"last-first"`` as in the paper; ``"first-last"``, ``"all"`` (every block from the first epoch on) and
            ``"none"`` (never a block: the head, biases and norms alone) are its ablations.
        blocks: Dotted names of the blocks, first to last; found where not given.
    """

    def __init__(
        self,
        network: Network,
        price: Price,
        steps_per_epoch: int,
        *,
        order: str = "last-first",
        blocks: Sequence[str] | None = None,
    ) -> None:
        self.network, self.price, self.model = network, price, network.model
        self.blocks = tuple(blocks) if blocks is not None else find_blocks(network.model)
        self.order = _order(order, self.blocks)
        self.steps_per_epoch, self.step_count = steps_per_epoch, 0
        layers = [layer.name for layer in prunable_layers(network)]
        self.block_weights = {
            block: tuple(name for name in layers if name.startswith(f"{block}.")) for block in self.blocks
        }
        inside = {name for names in self.block_weights.values() for name in names}
        self.always = tuple(
            name
            for name, parameter in network.model.named_parameters()
            if parameter.dim() == 1 or (name in layers and name not in inside)
        )
        self.weights = MaskedWeights(network.model, tuple(sorted(inside)))
        self.weights.assign({name: value != 0 for name, value in self.weights.values().items()})

    @property
    def epochs(self) -> int:
        """Epochs of the whole transfer: one without blocks, one a block, one with all."""
        return len(self.blocks) + 2

    def trainable(self, epoch: int) -> frozenset[str]:
        """The parameters that train in an epoch, from 0."""
        opened = self.order[min(epoch, len(self.order) - 1)]
        return frozenset((*self.always, *(name for block in opened for name in self.block_weights[block])))

    def follow(self, optimizer: Optimizer) -> None:
        """Freeze what does not train yet; call it once the optimiser knows all parameters."""
        self.weights.follow(optimizer)
        self._freeze()

    def _freeze(self) -> None:
        chosen = self.trainable(self.step_count // self.steps_per_epoch)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name in chosen)
            if name not in chosen:
                parameter.grad = None  # what has no gradient, no optimiser moves, decays or remembers

    def penalty(self) -> Tensor:
        """Zero."""
        return torch.zeros((), device=next(self.model.parameters()).device)

    def step(self) -> None:
        """Hold the masks, and open the next block where an epoch ends."""
        self.step_count += 1
        self.weights.hold()
        if self.step_count % self.steps_per_epoch == 0:
            self._freeze()

    @property
    def frozen(self) -> bool:
        """Never: the masks are final from the start, and the schedule runs to the end."""
        return False

    def select(self) -> Selection:
        """The upstream masks."""
        return realise(self.network, self.weights.masks)

    def scores(self) -> dict[str, Tensor]:
        """Norms of what writes each channel."""
        return writer_norms(self.network)

    def metrics(self) -> dict[str, float]:
        """How many parameters trained, and the share of zeros in the blocks."""
        chosen = self.trainable(max(0, self.step_count - 1) // self.steps_per_epoch)
        parameters = dict(self.model.named_parameters())
        return {
            "trainable": float(sum(parameters[name].numel() for name in chosen)),
            "zeros": self.weights.zeros() / max(self.weights.count(), 1),
        }

    def state_dict(self) -> dict[str, Any]:
        """The step and the masks."""
        return {"step": self.step_count, "masks": dict(self.weights.masks)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`."""
        self.step_count = int(state["step"])
        self.weights.assign({name: mask.bool() for name, mask in state["masks"].items()})
        self._freeze()


def find_blocks(model: nn.Module) -> tuple[str, ...]:
    """The longest row of modules of one class that hold matrices: the blocks of an encoder, first to last.

    Raises:
        ModelError: The model has no two such modules in a row.
    """
    best: tuple[str, ...] = ()
    for path, module in model.named_modules():
        if not isinstance(module, (nn.ModuleList, nn.Sequential)):
            continue
        children = [
            (f"{path}.{name}".lstrip("."), child) for name, child in module.named_children() if _has_matrix(child)
        ]
        for kind in {type(child) for _, child in children}:
            row = tuple(name for name, child in children if type(child) is kind)
            best = max(best, row, key=len)
    if len(best) < 2:
        raise ModelError("expected a model with a row of blocks of one class, got none", "name the blocks yourself")
    return best


def _has_matrix(module: nn.Module) -> bool:
    return any(parameter.dim() >= 2 for parameter in module.parameters()) and any(True for _ in module.children())


def _order(order: str, blocks: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """The open blocks of every epoch."""
    count = len(blocks)
    match order:
        case "last-first":
            opened = [blocks[count - epoch :] for epoch in range(count + 1)]
        case "first-last":
            opened = [blocks[:epoch] for epoch in range(count + 1)]
        case "all":
            opened = [blocks] * (count + 1)
        case "none":
            return ((),) * (count + 2)
        case _:
            raise ModelError(f"unknown order {order!r}", "known: last-first, first-last, all, none")
    return (*opened, blocks)
