"""Writing a file so that it is there whole or not at all."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from nasc.errors import ExportError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a new file beside ``path``, then put it in its place.

    Args:
        path: The file to make or replace; its folder is made where it is missing.
        write: Given the temporary path.

    Raises:
        ExportError: The folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            write(temporary)
            temporary.replace(path)
    except OSError as error:
        raise ExportError(
            f"expected to write {path}; got {error.strerror or error}", "Choose another place, or free some space."
        ) from error
