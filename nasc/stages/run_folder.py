"""One run, one folder: locked while it runs, refused when it holds another run, gone on with when it holds this one."""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nasc.errors import RunError
from nasc.records import write_atomic
from nasc.stages.config import CompressConfig
from nasc.training import lock_run
from nasc.training.events import tensorboard_events

_log = logging.getLogger(__name__)

IDENTITY = "config.json"


@contextmanager
def open_run(config: CompressConfig) -> Iterator[Path]:
    """The folder of a run, held for this process.

    Args:
        config: What is asked; its identity is written into the folder and must fit what is there.

    Raises:
        RunError: Another process writes there, the folder cannot be written, or it holds another run.
    """
    folder = config.folder
    with lock_run(folder):
        wanted = json.loads(json.dumps(config.identity()))
        file = folder / IDENTITY
        if not config.resume:
            _clear(folder)
        if file.is_file():
            found = _read(file)
            differing = sorted(key for key in wanted if found.get(key) != wanted[key])
            if differing:
                changes = "; ".join(f"{key}: {found.get(key)!r} there, {wanted[key]!r} asked" for key in differing)
                raise RunError(
                    f"{folder} holds another run ({changes})", "give another --out, or --no-resume to start over there"
                )
            _log.info("going on in %s", folder)
        else:
            _refuse_foreign(folder)
            write_atomic(file, json.dumps(wanted, indent=2).encode() + b"\n")
        with tensorboard_events(folder):
            yield folder


def _read(file: Path) -> dict[str, object]:
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as failure:
        raise RunError(f"{file} is not readable: {failure}", "give another --out, or --no-resume") from failure
    return content if isinstance(content, dict) else {}


def _refuse_foreign(folder: Path) -> None:
    """A folder with files that are no run of nasc is not written into."""
    foreign = sorted(path.name for path in folder.iterdir() if path.name != ".lock")
    if foreign:
        raise RunError(
            f"expected an empty folder or a run of nasc at {folder}, got {', '.join(foreign[:3])}", "give another --out"
        )


def _clear(folder: Path) -> None:
    """Start over: only a folder that holds a run of nasc is emptied."""
    if not (folder / IDENTITY).is_file():
        return
    for path in folder.iterdir():
        if path.name == ".lock":
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
