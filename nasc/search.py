"""The surrogate for people who keep their own training loop: the method, and the small model it ends with."""

from typing import Any

from torch import Tensor, nn

from nasc.graph import Network, Selection
from nasc.materialise import materialise
from nasc.methods import Surrogate as SurrogateMethod
from nasc.units import Target


class Surrogate:
    """Compress a model to a target inside any training loop.

    ::

        search = nasc.Surrogate(net, table=table, target="8ms", total_steps=len(loader) * epochs)
        for x, y in batches:
            loss = criterion(search.model(x), y) + search.penalty()
            loss.backward(); optimizer.step(); search.step()
        small = search.materialise()

    Args:
        network: From :func:`nasc.trace`.
        table: From :func:`nasc.load_table`; needed for a target in milliseconds or per cent.
        target: ``"8ms"``, ``"-40%"``, ``"300MMAC"``, ``"2Mparam"`` or ``"4MB"``.
        total_steps: Optimiser steps of the whole run, fine-tuning included.
        **options: Fields of :class:`nasc.methods.SurrogateConfig`.

    Raises:
        UsageError: The target or an option cannot be read.
        TargetError: No allowed model meets the target.
    """

    def __init__(
        self, network: Network, *, target: str | Target, total_steps: int, table: Any = None, **options: Any
    ) -> None:
        self.network = network
        self.method = SurrogateMethod(network, table=table, target=target, total_steps=total_steps, **options)

    @property
    def model(self) -> nn.Module:
        """What to train in place of the user's module; its parameters are the user's."""
        return self.method.model

    @property
    def frozen(self) -> bool:
        """The widths stand; the rest of the run is fine-tuning."""
        return self.method.frozen

    def penalty(self) -> Tensor:
        """What to add to the loss of this step, a scalar."""
        return self.method.penalty()

    def step(self) -> None:
        """Call after ``optimizer.step()``: projects the masks and steers lambda to the target."""
        self.method.step()

    def select(self) -> Selection:
        """What stays of every dim."""
        return self.method.select()

    def metrics(self) -> dict[str, float]:
        """Lambda, price and survivors, for logs."""
        return self.method.metrics()

    def materialise(self) -> nn.Module:
        """The small model: a plain module with the trained weights and nothing of nasc inside."""
        selection = self.method.select()  # first: it may end with another network, of layers in other forms
        return materialise(self.method.network, selection)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs beside model and optimiser."""
        return self.method.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.method.load_state_dict(state)
