"""Several limits at once, as one price: whatever is farthest above its limit decides."""

from collections.abc import Callable, Mapping

from nasc.methods._price import Price


class Constrained(Price):
    """A price with further limits: ``limit * max_i (price_i / limit_i)``, in the first price's unit.

    It is at most ``limit`` exactly where every price meets its own, so a method that knows one price and one limit meets
    them all; what it gives up for is the limit that binds.

    Args:
        first: The price whose unit this has.
        limit: What it may be at most.
        further: Other prices of the same network, each with its limit.
    """

    def __init__(self, first: Price, limit: float, further: tuple[tuple[Price, float], ...]) -> None:
        self.network, self.unit, self.table = first.network, first.unit, first.table
        self.first, self.limit, self.further = first, limit, further
        self._last: tuple[object, tuple[float, ...]] = (None, ())
        self.dense = self.total({})

    def total(self, sizes: Mapping[str, float]) -> float:
        """The price that is farthest up, on the first one's scale."""
        return self.limit * max(self._ratios(sizes))

    def change(self, sizes: Mapping[str, float], name: str, size: float) -> float:
        """How that price changes with one dim."""
        before = self._ratios(sizes)
        after = [
            ratio + price.change(sizes, name, size) / limit  # type: ignore[arg-type]
            for ratio, (price, limit) in zip(before, self._limits(), strict=True)
        ]
        return self.limit * (max(after) - max(before))

    def neighbours(self, name: str) -> tuple[str, ...]:
        """Every dim: which limit binds depends on all of them."""
        around = {other for price, _ in self._limits() for other in price.neighbours(name)}
        return tuple(sorted(around | set(self.network.maskable)))

    def slopes(self, sizes: Mapping[str, float]) -> tuple[float, dict[str, float]]:
        """Value and slopes of the price that is farthest up at real-valued sizes."""
        found = [(price.slopes(sizes), limit) for price, limit in self._limits()]
        (value, slopes), limit = max(found, key=lambda one: one[0][0] / one[1])
        scale = self.limit / limit
        return value * scale, {name: slope * scale for name, slope in slopes.items()}

    def at(self, limit: float) -> "Constrained":
        """The same with another first limit."""
        return Constrained(self.first, limit, self.further)

    def over(self, change: Callable[[Price], Price]) -> "Constrained":
        """The same limits on other prices, made of these one by one."""
        return Constrained(
            change(self.first), self.limit, tuple((change(price), limit) for price, limit in self.further)
        )

    def _limits(self) -> tuple[tuple[Price, float], ...]:
        return ((self.first, self.limit), *self.further)

    def _ratios(self, sizes: Mapping[str, float]) -> tuple[float, ...]:
        """Price over limit, one by one; remembered for the sizes asked for last, since a knapsack asks again and again."""
        key = tuple(sizes.items())
        if self._last[0] != key:
            self._last = key, tuple(price.total(sizes) / limit for price, limit in self._limits())  # type: ignore[arg-type]
        return self._last[1]
