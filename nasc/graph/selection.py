"""What a method decides: the only thing it hands on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Selection:
    """Kept indices of every dim, and the values to fold into what reads them.

    Methods to come add the form of a matmul (rank, sparse mask, bits, block pattern) as further fields; pricing and
    materialising know nothing of the method that filled them.

    Args:
        kept: Sorted indices (int64) by dim name; a dim that is not named is kept whole.
        gains: Mask values over the *dense* dim by dim name; a reader's weight is multiplied by them when it is sliced
            (``W[:, alive] * a[alive]``, latency_surrogate.md 2.7). A dim that is not named has gain one.
    """

    kept: Mapping[str, Tensor] = field(default_factory=dict)
    gains: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def sizes(self) -> dict[str, int]:
        """Size by dim name, of the dims that are named."""
        return {name: int(indices.numel()) for name, indices in self.kept.items()}
