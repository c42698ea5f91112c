"""From masks to the selection they stand for, and the sparsity whose selection meets a price.

Channels that lost every weight that writes them, or every weight that reads them, are removed for real. What a channel
without writing weights still sends (its bias, what a norm adds) is dropped with it; fine-tuning follows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nasc.cost import nonzero_macs, nonzero_params
from nasc.errors import TargetError
from nasc.graph.network import Network
from nasc.graph.selection import Selection
from nasc.graph.slicing import slice_tensor
from nasc.methods._price import Price
from nasc.methods._scores import sum_by_entry
from nasc.methods.sparse_training.layers import DEPTHWISE
from nasc.methods.sparse_training.ranking import Ranking

BISECTIONS = 30


def realise(network: Network, masks: Mapping[str, Tensor]) -> Selection:
    """The selection that masks over single weights stand for.

    Removing a channel frees weights elsewhere, which may empty further channels: repeated until nothing changes. Every
    dim keeps at least one entry. Masks that drop nothing of what is left are not named.

    Args:
        network: The traced model.
        masks: Which weights stay (bool) by parameter name.
    """
    masks = {name: mask.cpu() for name, mask in masks.items()}
    touching = _Touching.of(network)
    kept: dict[str, Tensor] = {}
    while True:
        further = {
            name: alive
            for name, dim in network.maskable.items()
            if (alive := touching.alive(name, dim.size, masks, kept)).numel()
            < kept.get(name, torch.arange(dim.size)).numel()
        }
        if not further:
            break
        kept |= further
        masks = {name: _without(mask, network, name, further) for name, mask in masks.items()}
    left = {name: mask for name, mask in masks.items() if not _is_whole(network, name, mask, kept)}
    return Selection(kept=kept, masks=left)


def selection_price(price: Price, selection: Selection) -> float:
    """What a selection costs in the price's unit: multiply-adds and parameters count what is not zero.

    Seconds and bytes are those of dense kernels, since that is what the exported file holds and the device runs.
    """
    if price.unit == "macs":
        return nonzero_macs(price.network, selection)
    if price.unit == "params":
        return float(nonzero_params(price.network, selection))
    return price.total(selection.sizes)


@dataclass(frozen=True)
class SparsityAim:
    """A sparsity, reached from another one.

    Args:
        final: Share of the groups that is dropped in the end.
        first: Where a gradual schedule starts.
    """

    final: float
    first: float = 0.0

    def sparsity(self, ranking: Ranking, left: float) -> float:
        """The sparsity when the share ``left`` of the way is still to go."""
        return self.final + (self.first - self.final) * left


@dataclass(frozen=True)
class PriceAim:
    """A limit on the price of the realised selection; the sparsity that meets it is found by bisection.

    Args:
        price: What sizes cost.
        limit: In the price's unit.
    """

    price: Price
    limit: float

    def sparsity(self, ranking: Ranking, left: float) -> float:
        """The least sparsity whose selection meets the limit, or a goal between the dense price and it.

        Raises:
            TargetError: Not even dropping all that may go meets the limit.
        """
        goal = self.limit + (self.price.dense - self.limit) * left
        if self._price(ranking, 0.0) <= goal:
            return 0.0
        least = self._price(ranking, 1.0)
        if least > goal:
            raise TargetError(
                f"the target is {goal:.6g} {self.price.unit}; with all prunable weights gone the model takes {least:.6g}",
                f"ask for at least {least:.6g} {self.price.unit}, or prune another pattern or budget",
            )
        low, high = 0.0, 1.0
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (low, middle) if self._price(ranking, middle) <= goal else (middle, high)
        return high

    def _price(self, ranking: Ranking, sparsity: float) -> float:
        return selection_price(self.price, realise(self.price.network, ranking.masks(sparsity)))


Aim = SparsityAim | PriceAim


@dataclass(frozen=True)
class _Touching:
    """Which weights write and read each dim.

    Args:
        writers: Parameter and axis of every weight that writes a dim, by dim name; depthwise kernels pass a channel on
            and write nothing.
        readers: The same of every weight that reads it.
    """

    network: Network
    writers: Mapping[str, tuple[tuple[str, int], ...]]
    readers: Mapping[str, tuple[tuple[str, int], ...]]

    @staticmethod
    def of(network: Network) -> "_Touching":
        contracted = {(contraction.parameter, contraction.axis) for contraction in network.contractions}
        passing = {kernel.weights.weight for kernel in network.kernels if kernel.kind == DEPTHWISE}
        learned = dict(network.model.named_parameters(remove_duplicate=False))
        writers: dict[str, list[tuple[str, int]]] = {name: [] for name in network.maskable}
        readers: dict[str, list[tuple[str, int]]] = {name: [] for name in network.maskable}
        for parameter, axes in network.parameters.items():
            if len(axes) < 2 or parameter not in learned:
                continue
            for place, axis in enumerate(axes):
                side = readers if (parameter, place) in contracted else writers
                if side is writers and parameter in passing:
                    continue
                for name in {dim.name for dim in axis.dims()} & set(side):
                    side[name].append((parameter, place))
        return _Touching(
            network,
            {name: tuple(each) for name, each in writers.items()},
            {name: tuple(each) for name, each in readers.items()},
        )

    def alive(self, name: str, size: int, masks: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> Tensor:
        """Sorted indices of the entries that something writes and something reads; at least one."""
        before = torch.zeros(size, dtype=torch.bool)
        before[kept.get(name, torch.arange(size))] = True
        written, read = (self._count(name, size, masks, side[name]) for side in (self.writers, self.readers))
        both = before & (written > 0) & (read > 0)
        if not bool(both.any()):
            both[int((written + read).masked_fill(~before, -1.0).argmax())] = True
        return both.nonzero().flatten()

    def _count(self, name: str, size: int, masks: Mapping[str, Tensor], weights: tuple[tuple[str, int], ...]) -> Tensor:
        """How many weights of every entry stay; one where a weight without a mask, or none at all, touches the dim."""
        if not weights or any(parameter not in masks for parameter, _ in weights):
            return torch.ones(size)
        total = torch.zeros(size)
        for parameter, place in weights:
            along = masks[parameter].movedim(place, 0).flatten(1).float().sum(1)
            total += sum_by_entry(along, self.network.parameters[parameter][place], name, size)
        return total


def _without(mask: Tensor, network: Network, name: str, kept: Mapping[str, Tensor]) -> Tensor:
    """A mask with the weights of removed entries dropped too."""
    result = mask
    for place, axis in enumerate(network.parameters[name]):
        if any(dim.name in kept for dim in axis.dims()):
            along = torch.zeros(mask.shape[place], dtype=torch.bool)
            along[axis.kept(kept)] = True
            shape = [1] * mask.dim()
            shape[place] = -1
            result = result & along.view(shape)
    return result


def _is_whole(network: Network, name: str, mask: Tensor, kept: Mapping[str, Tensor]) -> bool:
    return bool(slice_tensor(mask, network.parameters[name], kept).all())
