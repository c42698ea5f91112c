"""Ranges of hyper-parameters, as they are written in a file or on the command line, and as Optuna takes them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nasc.errors import UsageError

if TYPE_CHECKING:
    import optuna

_TEXT = re.compile(r"(?P<low>[^.\s]+(?:\.\d+)?(?:e[-+]?\d+)?)\.\.(?P<high>[^:\s]+)(?P<log>:log)?")


@dataclass(frozen=True)
class Range:
    """The values a hyper-parameter may take.

    Args:
        low: Smallest; with ``high`` a whole number if both are.
        high: Largest.
        log: Drawn evenly on a logarithmic scale.
        choices: One of these instead of a range.
    """

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if self.choices:
            return
        if not self.low < self.high:
            raise UsageError(f"expected a range from low to high, got {self.low}..{self.high}", "such as 0.05..0.4:log")
        if self.log and self.low <= 0:
            raise UsageError(f"expected a logarithmic range above 0, got {self.low}..{self.high}", "leave :log away")

    def distribution(self) -> "optuna.distributions.BaseDistribution":
        """The same for Optuna."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(self.low, self.high, log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)


def parse_range(text: str) -> Range:
    """Read ``LOW..HIGH``, ``LOW..HIGH:log`` or ``A,B,C``.

    >>> parse_range("0.05..0.4:log")
    Range(low=0.05, high=0.4, log=True, choices=())
    >>> parse_range("1..4").low, parse_range("none,paper").choices
    (1, ('none', 'paper'))

    Raises:
        UsageError: It is neither.
    """
    match = _TEXT.fullmatch(text.strip())
    if match:
        low, high = _number(match["low"], text), _number(match["high"], text)
        return Range(low, high, log=match["log"] is not None)
    choices = tuple(_value(part.strip()) for part in text.split(","))
    if len(choices) < 2:
        raise _unreadable(text)
    return Range(choices=choices)


def parse_ranges(content: Any) -> dict[str, dict[str, Range]]:
    """Ranges by method and name, from plain values: text as in :func:`parse_range`, or a list of choices.

    Raises:
        UsageError: The shape is another, or a range cannot be read.
    """
    if not isinstance(content, Mapping) or not all(isinstance(inner, Mapping) for inner in content.values()):
        raise UsageError(
            f"expected tune to hold ranges by method and name, got {content!r}",
            'such as tune: {"*": {learning_rate: 0.05..0.4:log}}',
        )
    return {
        str(method): {str(name): _range(value) for name, value in inner.items()} for method, inner in content.items()
    }


def _range(value: Any) -> Range:
    if isinstance(value, Range):
        return value
    return Range(choices=tuple(value)) if isinstance(value, list) else parse_range(str(value))


def _number(text: str, whole: str) -> float:
    value = _value(text)
    if isinstance(value, int | float):
        return value
    raise _unreadable(whole)


def _value(text: str) -> Any:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def _unreadable(text: str) -> UsageError:
    return UsageError(f"cannot read the range {text!r}", "write LOW..HIGH, LOW..HIGH:log, or choices A,B,C")
