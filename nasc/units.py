"""Text to units and back. Inside nasc everything is seconds, bytes and counts; only this module reads or makes text.

One multiply-add is one MAC (two FLOP). Prefixes are decimal (1 MB = 1,000,000 bytes); ``KiB``, ``MiB`` and ``GiB`` are
read as powers of two.
"""

import math
import re
from dataclasses import dataclass
from typing import Literal

from nasc.errors import UsageError

TargetKind = Literal["seconds", "relative", "macs", "params", "bytes", "bitops", "sparsity"]

ACCEPTED = "8ms, 800us, 1.5s, -40% (of the dense model), 300MMAC, 2Mparam, 4MB or '90% sparse'"
"""The accepted forms of a target, for help texts and hints."""

_TARGET = re.compile(
    r"(?P<sign>[-+]?)(?P<number>\d+(?:\.\d*)?|\.\d+)(?:e(?P<exponent>[-+]?\d+))?\s*(?P<unit>[^\W\d_]*|%)"
)

_SPARSE = "sparse"

_PREFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}

_NOUNS: dict[str, TargetKind] = {
    "mac": "macs",
    "macs": "macs",
    "param": "params",
    "params": "params",
    "b": "bytes",
    "bop": "bitops",
    "bops": "bitops",
}

_UNITS: dict[str, tuple[TargetKind, float]] = {
    "ns": ("seconds", 1e-9),
    "us": ("seconds", 1e-6),
    "µs": ("seconds", 1e-6),  # micro sign
    "μs": ("seconds", 1e-6),  # Greek mu
    "ms": ("seconds", 1e-3),
    "s": ("seconds", 1.0),
    "kib": ("bytes", 1024.0),
    "mib": ("bytes", 1024.0**2),
    "gib": ("bytes", 1024.0**3),
    **{prefix + noun: (kind, scale) for prefix, scale in _PREFIXES.items() for noun, kind in _NOUNS.items()},
}


@dataclass(frozen=True)
class Target:
    """What a compressed model must not exceed.

    Args:
        kind: ``"seconds"``, ``"macs"``, ``"params"``, ``"bytes"``, ``"relative"`` (a change of the dense latency), or
            ``"sparsity"`` (a share of the prunable weights that is zero).
        value: Seconds or a count; for ``"relative"`` the change as a fraction, e.g. -0.4 for 40 % less; for ``"sparsity"``
            the share.
    """

    kind: TargetKind
    value: float

    @property
    def unit(self) -> Literal["seconds", "macs", "params", "bytes", "bitops"]:
        """The quantity that is limited; a relative target limits seconds, a sparsity parameters other than zero."""
        if self.kind == "relative":
            return "seconds"
        return "params" if self.kind == "sparsity" else self.kind

    def limit(self, dense: float) -> float:
        """The limit as a number of :attr:`unit`.

        >>> Target("relative", -0.4).limit(dense=0.010)
        0.006

        Args:
            dense: The dense model's cost in the same unit; only a relative target and a sparsity look at it.
        """
        if self.kind == "sparsity":
            return dense * (1 - self.value)
        return dense * (1 + self.value) if self.kind == "relative" else self.value

    def __str__(self) -> str:
        match self.kind:
            case "seconds":
                return format_seconds(self.value)
            case "relative":
                return f"{100 * self.value:+g}%"
            case "sparsity":
                return f"{100 * self.value:g}% sparse"
            case "bytes":
                return format_bytes(self.value)
            case "macs":
                return format_count(self.value, "MAC")
            case "bitops":
                return format_count(self.value, "BOP")
            case _:
                return format_count(self.value, "param")


def parse_target(text: str) -> Target:
    """Read a target such as ``"8ms"``, ``"-40%"`` or ``"300MMAC"``.

    >>> parse_target("800us")
    Target(kind='seconds', value=0.0008)
    >>> parse_target("-40%")
    Target(kind='relative', value=-0.4)
    >>> parse_target("300MMAC")
    Target(kind='macs', value=300000000.0)
    >>> parse_target("90% sparse")
    Target(kind='sparsity', value=0.9)

    Args:
        text: A number and a unit; upper and lower case are the same, a space between them is allowed.

    Raises:
        UsageError: The text is not a number with a known unit, or no model could have that cost.
    """
    if text.strip().lower().endswith(_SPARSE):
        return _sparsity(text)
    match = _TARGET.fullmatch(text.strip())
    if match is None:
        raise _unreadable(text, "expected a number and a unit")
    number = _number(match)
    unit = match["unit"].lower()
    if unit == "%":
        return _relative(text, match["sign"], number)
    if not unit:
        raise _unreadable(text, "the unit is missing")
    if unit not in _UNITS:
        raise _unreadable(text, f"unknown unit {match['unit']!r}")
    kind, scale = _UNITS[unit]
    value = _clean(number * scale)
    if match["sign"] or not 0 < value < math.inf:
        raise _unreadable(text, "expected a positive amount")
    return Target(kind, value)


def format_seconds(seconds: float, spread_s: float | None = None) -> str:
    """Seconds for people, in the unit that suits the size.

    >>> format_seconds(0.0080312)
    '8.03 ms'
    >>> format_seconds(0.0080312, spread_s=0.00004)
    '8.03 ± 0.04 ms'

    Args:
        seconds: A duration, also 0, negative (a difference), infinite or NaN.
        spread_s: Half-width of its error bar, printed in the same unit.
    """
    if not math.isfinite(seconds):
        return "unknown" if math.isnan(seconds) else f"{seconds} s"
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")):
        if abs(seconds) >= 0.9995 * scale or (unit == "ns" and seconds != 0):
            break
    else:
        scale, unit = 1e-3, "ms"
    number = _three_digits(seconds / scale)
    if spread_s is None:
        return f"{number} {unit}"
    decimals = len(number.partition(".")[2])
    return f"{number} ± {spread_s / scale:.{max(decimals, 1)}f} {unit}"


def format_duration(seconds: float) -> str:
    """A waiting time for people, in whole seconds from ten on.

    >>> format_duration(3725)
    '1 h 2 min'
    """
    if seconds < 10:
        return format_seconds(seconds)
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def format_count(count: float, noun: str = "") -> str:
    """A count with a decimal prefix.

    >>> format_count(3_204_000, "MAC")
    '3.20 MMAC'
    >>> format_count(640)
    '640'
    """
    for scale, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= 0.9995 * scale:
            return f"{_three_digits(count / scale)} {prefix}{noun}".rstrip()
    return f"{count:g} {noun}".rstrip()


def format_bytes(count: float) -> str:
    """Bytes with a decimal prefix.

    >>> format_bytes(4_210_000)
    '4.21 MB'
    """
    return format_count(count, "B")


def format_percent(fraction: float, stderr: float | None = None) -> str:
    """A fraction as percent, with its standard error if known.

    >>> format_percent(0.9137, stderr=0.004)
    '91.4 ± 0.4 %'
    """
    if math.isnan(fraction):
        return "unknown"
    return f"{100 * fraction:.1f} %" if stderr is None else f"{100 * fraction:.1f} ± {100 * stderr:.1f} %"


def _number(match: re.Match[str]) -> float:
    return float(f"{match['number']}e{match['exponent'] or 0}")


def _clean(value: float) -> float:
    """Drop the last bits of rounding that a scale such as 1e-6 brings in: 800 * 1e-6 is to be 0.0008."""
    return float(f"{value:.15g}")


def _relative(text: str, sign: str, percent: float) -> Target:
    if sign != "-":
        raise _unreadable(text, "a relative target says how much less than the dense model, with a minus")
    if not 0 < percent < 100:
        raise _unreadable(text, "expected between -100% and 0%")
    return Target("relative", _clean(-percent / 100))


def _sparsity(text: str) -> Target:
    match = _TARGET.fullmatch(text.strip().lower().removesuffix(_SPARSE).strip())
    if match is None or match["unit"] not in ("", "%"):
        raise _unreadable(text, "expected a share of the weights before the word sparse")
    value = _clean(_number(match) / (100 if match["unit"] else 1))
    if match["sign"] or not 0 < value < 1:
        raise _unreadable(text, "expected a sparsity between 0% and 100%")
    return Target("sparsity", value)


def _three_digits(number: float) -> str:
    """Three significant digits without an exponent: 8.03, 80.3, 803."""
    size = abs(float(f"{number:.3g}"))
    decimals = 2 if size < 10 else 1 if size < 100 else 0
    return f"{number:.{decimals}f}"


def _unreadable(text: str, reason: str) -> UsageError:
    return UsageError(f"cannot read the target {text!r}: {reason}", hint=f"write it like {ACCEPTED}")
