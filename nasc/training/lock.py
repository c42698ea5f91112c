"""One run, one folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from nasc.errors import RunError


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Hold a run's folder for this process; it is made if it is not there.

    The lock is the operating system's own: it ends with the process, however that ends. The same process may take it
    again inside.

    Args:
        folder: The run's folder.

    Raises:
        RunError: Another process holds it, or the folder cannot be written.
    """
    lock = FileLock(folder / ".lock", timeout=0, is_singleton=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as failure:
        raise RunError(f"another run is writing to {folder}", "wait until it ends, or give another folder") from failure
    except OSError as failure:
        raise RunError(f"{folder} cannot be written: {failure.strerror or failure}", "give another folder") from failure
    try:
        yield
    finally:
        lock.release()
