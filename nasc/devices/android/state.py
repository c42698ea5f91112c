"""The state that moves a phone's times: heat, clocks, battery. Read on the phone right before and after every session."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

STATE_COMMAND = "; ".join(
    [
        "dumpsys thermalservice 2>/dev/null | grep -m 1 'Thermal Status'",
        "dumpsys battery 2>/dev/null | grep -E '^ *(level|temperature|voltage|USB powered|AC powered):'",
        'echo "current_ua: $(cat /sys/class/power_supply/battery/current_now 2>/dev/null)"',
        'for cpu in /sys/devices/system/cpu/cpu[0-9]*; do echo "clock ${cpu##*/cpu}: '
        '$(cat $cpu/cpufreq/scaling_cur_freq 2>/dev/null)"; done',
    ]
)
"""Prints lines ``name: value``; what a phone does not have is empty."""

PERFORMANCE_ON = "cmd power set-fixed-performance-mode-enabled true >/dev/null 2>&1"
PERFORMANCE_OFF = "cmd power set-fixed-performance-mode-enabled false >/dev/null 2>&1"
"""Android 11 and later: a clock that is lower but steady, so that heat does not change it."""

THERMAL_NAMES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
"""Android's thermal status, by number (``PowerManager.THERMAL_STATUS_*``)."""


@dataclass(frozen=True)
class PhoneState:
    """A phone at one moment; None where it does not say.

    Args:
        thermal: Android's thermal status, 0 (none) to 6 (shutdown).
        battery_percent: Charge of the battery.
        battery_celsius: Its temperature.
        voltage_v: Its voltage.
        current_a: What flows into it (positive) or out of it.
        clocks_khz: Clock by core.
    """

    thermal: int | None = None
    battery_percent: int | None = None
    battery_celsius: float | None = None
    voltage_v: float | None = None
    current_a: float | None = None
    clocks_khz: Mapping[int, int] | None = None

    @property
    def hot(self) -> bool:
        """The phone slows itself down, or may at any moment."""
        return bool(self.thermal)


def parse_state(text: str) -> PhoneState:
    """Read what :data:`STATE_COMMAND` printed."""
    values = dict(line.strip().split(":", 1) for line in text.splitlines() if ":" in line)
    numbers = {
        name.strip().lower(): int(value) for name, value in values.items() if re.fullmatch(r"\s*-?\d+\s*", value)
    }
    clocks = {int(name.split()[1]): value for name, value in numbers.items() if name.startswith("clock ")}
    return PhoneState(
        thermal=numbers.get("thermal status"),
        battery_percent=numbers.get("level"),
        battery_celsius=_scaled(numbers.get("temperature"), 0.1),
        voltage_v=_scaled(numbers.get("voltage"), 1e-3),
        current_a=_scaled(numbers.get("current_ua"), 1e-6),
        clocks_khz=clocks or None,
    )


def heated(before: PhoneState, after: PhoneState) -> bool:
    """Whether a session's times must be thrown away: the thermal status was above none, or rose."""
    return before.hot or after.hot


def _scaled(value: int | None, factor: float) -> float | None:
    return None if value is None else round(value * factor, 6)
