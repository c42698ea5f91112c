"""Elapsed time of nasc's own work, for budgets and reports."""

import time
from datetime import UTC, datetime


class Stopwatch:
    """Runs from its creation on."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start


def now() -> str:
    """Date and time, ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
