"""What a method decides: the only thing it hands on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Selection:
    """Kept indices of every dim, and the values to fold into what reads them.

    Pricing and materialising know nothing of the method that filled it. A form that changes which kernels there are (two
    factors instead of one matrix, blocks instead of a dense matrix) is no field here: the method rewrites the module,
    traces it again, and its selection speaks of that network (:attr:`nasc.methods.Method.network`); a rank is a dim
    like any other.

    Args:
        kept: Sorted indices (int64) by dim name; a dim that is not named is kept whole.
        gains: Mask values over the *dense* dim by dim name; a reader's weight is multiplied by them when it is sliced
            (``W[:, alive] * a[alive]``, latency_surrogate.md 2.7). A dim that is not named has gain one.
        masks: Which single weights stay (bool, the dense shape) by dotted parameter name; a parameter that is not named
            stays whole. Fine-tuning keeps the others at zero.
        bits: Width of the weights' grid by dotted parameter name; a parameter that is not named stays in float.
    """

    kept: Mapping[str, Tensor] = field(default_factory=dict)
    gains: Mapping[str, Tensor] = field(default_factory=dict)
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    bits: Mapping[str, int] = field(default_factory=dict)

    @property
    def sizes(self) -> dict[str, int]:
        """Size by dim name, of the dims that are named."""
        return {name: int(indices.numel()) for name, indices in self.kept.items()}
