"""Masks over single weights and gates over grids, as further entries of one flat mask vector.

``W o A`` with A >= 0 entry by entry, then the gated grid ``Q2 + g4 (D4 + g8 (D8 + g16 D16))`` of the result.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from nasc.blocks import bits_of_gates, gated_weight, gates_of_bits, relative_error, straight_through, surrogate_bits
from nasc.blocks.quantisation import BITS, largest
from nasc.graph.selection import Selection
from nasc.methods._blocks.layers import BlockNetwork, Layer, bits_name, density_name
from nasc.methods._masks import Layout, select_positive


class WeightForms:
    """What happens to single weights and grids in a block network.

    Args:
        blocks: The rewritten network and its layers.
        relaxed: Gates are real numbers with gradients; otherwise they are ones and zeros, and 16 bits stay float
            while training (the grid is finer than what float32 training resolves).
    """

    def __init__(self, blocks: BlockNetwork, *, relaxed: bool) -> None:
        self.blocks, self.relaxed = blocks, relaxed
        self.sparse = {density_name(layer.sparse): layer.sparse for layer in blocks.layers if layer.sparse is not None}
        self.quantised = {bits_name(layer.path): layer for layer in blocks.layers if layer.quantised}

    def entries(self) -> dict[str, int]:
        """Entries of the flat vector by name: one a single weight, three a layer's gates."""
        parameters = dict(self.blocks.network.model.named_parameters())
        masks = {name: parameters[weight].numel() for name, weight in self.sparse.items()}
        return masks | dict.fromkeys(self.quantised, len(BITS) - 1)

    def apply(self, state: Mapping[str, Tensor], vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The parameters that have a sparse or a gridded form, as they are computed with.

        Args:
            state: Parameters already changed (masked dims), by name; the others are the model's own.
            vectors: All masks and gates by name.
        """
        own = dict(self.blocks.network.model.named_parameters())
        result: dict[str, Tensor] = {}
        for name, weight in self.sparse.items():
            value = state.get(weight, own[weight])
            result[weight] = value * vectors[name].view_as(value).to(value.dtype)
        for name, layer in self.quantised.items():
            for weight in layer.weights:
                value = result.get(weight, state.get(weight, own[weight]))
                result[weight] = self._gridded(value, vectors[name], self._living(weight, value, vectors))
        return result

    def _gridded(self, value: Tensor, gates: Tensor, living: Tensor) -> Tensor:
        scale = largest(value.detach() * living)
        there = (value.detach() != 0).to(value.dtype)  # what has gone costs no code
        if self.relaxed:
            return gated_weight(value, gates, scale) * there
        bits = bits_of_gates(gates.detach())
        return value if bits == BITS[-1] else straight_through(value, bits, scale) * there

    def _living(self, weight: str, value: Tensor, vectors: Mapping[str, Tensor]) -> Tensor:
        """One where a weight writes and reads entries that are there: the others have no say in the grid's scale."""
        network = self.blocks.network
        alive = {name: (vectors[name].detach() > 0).to(value.dtype) for name in self.blocks.masked}
        result = torch.ones((), device=value.device, dtype=value.dtype)
        for index, axis in enumerate(network.parameters[weight]):
            if any(dim.name in alive for dim in axis.dims()):
                shape = [1] * value.dim()
                shape[index] = -1
                result = result * axis.expand(alive).view(shape)
        return result

    def sizes(self, vectors: Mapping[str, Tensor]) -> dict[str, float]:
        """True shares and bits by name."""
        shares = {name: float((vectors[name] > 0).double().mean()) for name in self.sparse}
        return shares | {name: float(bits_of_gates(vectors[name])) for name in self.quantised}

    def select(self, layout: Layout, flat: Tensor, threshold: float = 0.0) -> Selection:
        """The selection that masks and gates stand for, in the rewritten network."""
        dims = select_positive(layout, flat, threshold, self.blocks.masked)
        vectors = layout.split(flat.detach().cpu())
        own = dict(self.blocks.network.model.named_parameters())
        masks = {weight: (vectors[name] > threshold).view(own[weight].shape) for name, weight in self.sparse.items()}
        bits = {
            weight: bits_of_gates(vectors[name]) for name, layer in self.quantised.items() for weight in layer.weights
        }
        return Selection(dims.kept, dims.gains, masks, bits)

    def gates(self, bits: Mapping[str, int]) -> dict[str, Tensor]:
        """Gates of ones and zeros for widths by name."""
        return {name: gates_of_bits(bits[name]) for name in self.quantised}

    def errors(self, layer: Layer) -> list[float]:
        """Share of a layer's weight energy that each grid loses, pooled over its weights."""
        own = dict(self.blocks.network.model.named_parameters())
        energies = [float(own[weight].detach().square().sum()) for weight in layer.weights]
        lost = [relative_error(own[weight]) for weight in layer.weights]
        whole = max(sum(energies), 1e-30)
        return [
            sum(energy * error[index] for energy, error in zip(energies, lost, strict=True)) / whole
            for index in range(len(BITS))
        ]

    def surrogate(self, name: str, vector: Tensor) -> Tensor:
        """The surrogate size of one entry: R(A) / numel for a share, Rw of the gates for bits; differentiable."""
        if name in self.quantised:
            return surrogate_bits(vector)
        share: Tensor = vector.sum() / torch.linalg.vector_norm(vector) / vector.numel() ** 0.5
        return share
