"""Masks over the dims of a network, kept as one flat vector, and the module that applies them to the readers' weights."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from nasc.errors import TraceError
from nasc.graph.masking import masked_call, masked_state
from nasc.graph.network import Network
from nasc.graph.selection import Selection


@dataclass(frozen=True)
class Layout:
    """Where the mask of every maskable dim lies in one flat vector.

    One vector makes a projection, an optimiser step or a norm per dim a handful of tensor operations, whatever the
    number of dims.

    Args:
        names: The dims, in the network's order.
        sizes: Dense size of each.
        segments: Index of the dim of every entry, shape (sum of sizes,), int64.
        optional: Those that may lose all of their entries: the gates of branches.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    segments: Tensor
    optional: frozenset[str] = frozenset()

    def ones(self) -> Tensor:
        """The dense network's mask, shape (sum of sizes,)."""
        return torch.ones(sum(self.sizes))

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """Views of a flat vector by dim name, each of shape (size,); differentiable."""
        return dict(zip(self.names, torch.split(flat, list(self.sizes)), strict=True))

    def join(self, vectors: Mapping[str, Tensor]) -> Tensor:
        """The flat vector made of a vector per dim: the inverse of :meth:`split`."""
        return torch.cat([vectors[name] for name in self.names]) if self.names else self.ones()

    def total(self, flat: Tensor) -> Tensor:
        """Sum over the entries of every dim, shape (dims,)."""
        return flat.new_zeros(len(self.names)).index_add(0, self.segments, flat)

    def spread(self, values: Tensor) -> Tensor:
        """A value per dim, repeated for each of its entries: shape (dims,) to (sum of sizes,)."""
        return values[self.segments]

    def counts(self, flat: Tensor) -> dict[str, int]:
        """How many entries of every dim are above zero."""
        return dict(zip(self.names, self.total((flat > 0).to(torch.float64)).long().tolist(), strict=True))

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(zip(self.names, self.sizes, strict=True))


def lay_out(network: Network, names: Collection[str] | None = None, further: Mapping[str, int] | None = None) -> Layout:
    """The layout of the masks of the maskable dims.

    Args:
        network: The traced model.
        names: Only these dims; all maskable ones when not given.
        further: Size by name of vectors that are no dims: masks over single weights, gates. They come last.

    Raises:
        TraceError: There is nothing to mask.
    """
    dims = {name: dim for name, dim in network.maskable.items() if names is None or name in names}
    further = further or {}
    if not dims and not further:
        raise TraceError(
            f"expected a model with at least one prunable dim; all {len(network.dims)} dims are frozen",
            "see why with: nasc inspect --model M",
        )
    sizes = (*(dim.size for dim in dims.values()), *further.values())
    segments = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return Layout((*dims, *further), sizes, segments, frozenset(network.branches))


class MaskedModel(nn.Module):
    """The user's module, computed with masked readers: ``W diag(a)`` in place of every ``W`` that reads a masked dim.

    The masks belong to the method, not to this module: ``parameters()`` are the user's alone, and the user's module is
    not changed. Masking weights instead of activations keeps the cost of a step near a plain one, since autograd has no
    masked feature map to remember.

    Args:
        network: The traced model.
        vectors: Gives the masks of the moment, by dim name.
        further: Changes the masked parameters once more (single weights, grids); given them and the vectors, it returns
            those it changed.
    """

    def __init__(
        self,
        network: Network,
        vectors: Callable[[], Mapping[str, Tensor]],
        further: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], dict[str, Tensor]] | None = None,
    ) -> None:
        super().__init__()
        self.inner = network.model
        self._network = (network,)  # in a tuple, so that nn.Module does not register the model a second time
        self._vectors = vectors
        self._further = further

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the user's module returns, with masked weights."""
        vectors = self._vectors()
        state = masked_state(self._network[0], vectors)
        if self._further is not None:
            state |= self._further(state, vectors)
        return masked_call(self._network[0], vectors, args, kwargs, state)


def select_positive(
    layout: Layout, flat: Tensor, threshold: float = 0.0, names: Collection[str] | None = None
) -> Selection:
    """The selection a mask stands for: entries above the threshold stay, their values are folded into the readers.

    Gains are named only for dims whose kept values are not all one. ``names`` are the dims, where not all vectors are.
    """
    kept, gains = {}, {}
    for name, vector in layout.split(flat.detach().cpu()).items():
        if names is not None and name not in names:
            continue
        kept[name] = torch.nonzero(vector.abs() > threshold).flatten()
        if bool((vector[kept[name]] != 1).any()):
            gains[name] = vector.clone()
    return Selection(kept, gains)


def keep_one(layout: Layout, flat: Tensor, previous: Tensor, tiny: float = 1e-3, but: Collection[str] = ()) -> Tensor:
    """Give back the strongest entry of every dim that lost all of them (R is 0/0 there, and a stream cannot be empty).

    Args:
        layout: The layout of both vectors.
        flat: Masks after the projection, shape (sum of sizes,).
        previous: The values just before the clip, which say who was strongest.
        tiny: The value given back.
        but: Names that may be all zero.
    """
    empty = layout.total(flat) <= 0
    if not bool(empty.any()):
        return flat
    vectors, before = layout.split(flat.clone()), layout.split(previous)
    for index in torch.nonzero(empty).flatten().tolist():
        name = layout.names[index]
        if name in but or name in layout.optional:
            continue
        vectors[name][before[name].argmax()] = tiny
    return layout.join(vectors)


class Masks:
    """The mask vector of a method: a leaf that lives where the model lives.

    Args:
        network: The traced model.
        trainable: Whether autograd gives the masks a gradient.
        names: Only these dims; all maskable ones when not given.
        further: See :func:`lay_out`.
    """

    def __init__(
        self,
        network: Network,
        *,
        trainable: bool,
        names: Collection[str] | None = None,
        further: Mapping[str, int] | None = None,
    ) -> None:
        self.layout = lay_out(network, names, further)
        self.trainable = trainable
        self.flat = self.layout.ones().requires_grad_(trainable)
        self._network = network

    def vectors(self) -> dict[str, Tensor]:
        """The mask of every maskable dim, on the device of the model's parameters."""
        self.place(next(self._network.model.parameters()).device)
        return self.layout.split(self.flat)

    def place(self, device: torch.device) -> None:
        """Move the masks, and where each entry lies, to a device."""
        if self.flat.device != device:
            self.layout = replace(self.layout, segments=self.layout.segments.to(device))
            self.flat = self.flat.detach().to(device).requires_grad_(self.trainable)

    def assign(self, values: Tensor) -> None:
        """New values for all masks, shape (entries,); the leaf stays the same tensor."""
        with torch.no_grad():
            self.flat.copy_(values)

    def take_gradient(self) -> Tensor:
        """The gradient gathered since the last call, shape (entries,), zero where there was none; it is cleared."""
        gradient = self.flat.grad
        self.flat.grad = None
        return torch.zeros_like(self.flat) if gradient is None else gradient

    def sizes(self) -> dict[str, int]:
        """Survivors by dim name."""
        return self.layout.counts(self.flat.detach())

    def select(self) -> Selection:
        """The selection the masks stand for."""
        return select_positive(self.layout, self.flat)
