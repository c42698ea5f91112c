"""Those who look on while something trains: trackers, schedulers of trials. They see every loop, however deep inside."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from nasc.training.history import EpochRow


def _ignore_step() -> None:
    """No interest in steps."""


def _ignore_epoch(_row: EpochRow) -> None:
    """No interest in epochs."""


@dataclass(frozen=True)
class Observer:
    """Someone who looks on.

    Args:
        on_step: Called after every optimiser step.
        on_epoch: Called with every epoch's row, after it was saved.
    """

    on_step: Callable[[], None] = _ignore_step
    on_epoch: Callable[[EpochRow], None] = _ignore_epoch


_watching: ContextVar[tuple[Observer, ...]] = ContextVar("observers", default=())


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Every training inside is seen by the observer; what it raises ends the training."""
    token = _watching.set((*_watching.get(), observer))
    try:
        yield
    finally:
        _watching.reset(token)


def observers() -> tuple[Observer, ...]:
    """Who looks on now, the first to come first."""
    return _watching.get()
