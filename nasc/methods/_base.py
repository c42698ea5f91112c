"""The contract of a compression method.

A method is built on a traced network and a price, gives the module to train, adds a penalty to the loss, acts after
every optimiser step, and in the end says what to keep. It never sees a device.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from nasc.graph.network import Network
from nasc.graph.selection import Selection
from nasc.methods._price import Price


@runtime_checkable
class Method(Protocol):
    """What the training loop and the pipeline need of a method."""

    model: nn.Module
    """The module to train; its ``parameters()`` are what the user's optimiser updates."""

    network: Network
    """What the selection speaks of: the network the method was built on, or one it rewrote (factors, blocks) and traced."""

    price: Price
    """The price of that network, in the unit the method was built with."""

    def penalty(self) -> Tensor:
        """What is added to the loss in this step: a scalar tensor."""
        ...

    def step(self) -> None:
        """Called after every optimiser step."""
        ...

    @property
    def frozen(self) -> bool:
        """The selection is final: what follows is fine-tuning."""
        ...

    def select(self) -> Selection:
        """What to keep, as it stands now."""
        ...

    def scores(self) -> Mapping[str, Tensor]:
        """Importance of every entry by maskable dim, shape (dense size,), those of removed entries included.

        The pipeline trims or regrows a frozen selection by it when the device disagrees with the price.
        """
        ...

    def metrics(self) -> dict[str, float]:
        """Numbers to log: strength, predicted cost, survivors."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to resume bitwise, beside the model's own state."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`."""
        ...
