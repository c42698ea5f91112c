"""Quiet: a clock runs only while the other trials of this machine hold still.

Trials of a comparison train side by side, and latency is never measured while something else computes. So a trial holds a
shared lock while it works and looks up at every training step; whoever measures takes the lock for itself, which begins
when the others have come to the end of their step. Two files make it fair: who waits for the second holds the first, and
a worker that finds the first one taken lets go. The locks are the operating system's and end with the process, however
it ends. Outside of :func:`working` nothing here does anything.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nasc.paths import user_folder


class Quiet:
    """The two locks of one machine.

    Args:
        folder: Where their files are; everybody who shares a machine must name the same.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._gate = _open(folder / "gate")
        self._floor = _open(folder / "floor")

    def enter(self) -> None:
        """Begin to work, once nobody measures or waits to."""
        fcntl.flock(self._gate, fcntl.LOCK_SH)
        fcntl.flock(self._floor, fcntl.LOCK_SH)
        fcntl.flock(self._gate, fcntl.LOCK_UN)

    def leave(self) -> None:
        """Stop working."""
        fcntl.flock(self._floor, fcntl.LOCK_UN)

    def give_way(self) -> None:
        """Let those go first who wait to measure; takes two system calls when nobody does."""
        try:
            fcntl.flock(self._gate, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            self.leave()
            self.enter()
        else:
            fcntl.flock(self._gate, fcntl.LOCK_UN)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until nobody works, and keep it so."""
        self.leave()  # two that measure would wait for each other's work
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        fcntl.flock(self._floor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)
            fcntl.flock(self._floor, fcntl.LOCK_SH)  # from exclusive to shared: nobody comes between

    def close(self) -> None:
        """Let go of both files."""
        os.close(self._gate)
        os.close(self._floor)


_quiet: Quiet | None = None


@contextmanager
def working(folder: Path | None = None) -> Iterator[None]:
    """Take part: inside, this process computes beside others and holds still for whoever measures.

    Args:
        folder: Where the locks are; by default in the user's folder, so that they hold for the machine.
    """
    global _quiet
    if _quiet is not None:
        yield
        return
    _quiet = Quiet(folder or user_folder() / "quiet")
    _quiet.enter()
    try:
        yield
    finally:
        _quiet.close()
        _quiet = None


def give_way() -> None:
    """Called at every step of long work; see :meth:`Quiet.give_way`."""
    if _quiet is not None:
        _quiet.give_way()


@contextmanager
def alone() -> Iterator[None]:
    """Inside, a clock may run: nobody who takes part computes."""
    if _quiet is None:
        yield
        return
    with _quiet.alone():
        yield


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
