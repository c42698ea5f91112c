"""Every raw sample of a table, appended as it is made.

A journal is a file of JSON lines, one per kernel and session. Nothing in it is ever changed. A process that dies while
writing leaves at most a torn last line, which the next one cuts off; so no session is lost once it is written, and none
counts twice.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nasc.devices import Facts
from nasc.errors import TableError
from nasc.kernels import KernelShape
from nasc.measurement import Block, Environment, now
from nasc.table.rows import shape_from

Sessions = list[tuple[Block, ...]]


class Journal:
    """The raw samples of one table.

    Args:
        path: The file; it is made when the first session is added.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sessions: dict[KernelShape, Sessions] = {}
        self.cold: dict[KernelShape, Sessions] = {}
        self._cut_torn_line()
        for number, line in enumerate(self._lines(), start=1):
            self._read(line, number)

    def start(self, environment: Environment) -> None:
        """Note the conditions of what follows; also the first sign of a folder that cannot be written.

        Raises:
            OSError: The disk is full or the file cannot be written.
        """
        self._append([{"environment": environment.to_dict()}])

    def add(
        self,
        sessions: Iterable[tuple[KernelShape, Sequence[Block]]],
        *,
        cold: bool = False,
        facts: Facts | None = None,
    ) -> None:
        """Append one session of each kernel; all of them are on the disk when this returns.

        Args:
            sessions: The kernels, and their blocks.
            cold: Weights had left the inner caches.
            facts: What the session said of itself: runner, core, and on a phone heat, clock and battery around it.

        Raises:
            OSError: The disk is full or the file cannot be written; what was there before still is.
        """
        made = [(shape, _entry(shape, blocks, cold)) for shape, blocks in sessions]
        about = [] if facts is None else [{"session": dict(facts)}]
        self._append([*about, *(entry for _, entry in made)])
        for shape, entry in made:  # as it will be read again, to the last digit
            self._of(cold).setdefault(shape, []).append(_blocks(entry))

    def _of(self, cold: bool) -> dict[KernelShape, Sessions]:
        return self.cold if cold else self.sessions

    def _append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        text = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries)
        with self.path.open("ab") as stream:
            end = stream.tell()
            try:
                stream.write(text.encode())
                stream.flush()
                os.fsync(stream.fileno())
            except OSError:
                _cut(self.path, end)
                raise

    def _cut_torn_line(self) -> None:
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        end = content.rfind(b"\n") + 1
        if end < len(content):
            _cut(self.path, end)

    def _lines(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    def _read(self, line: str, number: int) -> None:
        try:
            entry = json.loads(line)
            if "environment" in entry or "session" in entry:
                return
            shape = shape_from(entry["kind"], entry["attributes"], entry["sizes"])
            blocks = _blocks(entry)
        except (KeyError, TypeError, ValueError) as error:
            raise TableError(
                f"{self.path}, line {number}: expected a session of a kernel; got {line[:80]!r}",
                "move the file away to measure its rows anew",
            ) from error
        self._of(entry.get("cold", False)).setdefault(shape, []).append(blocks)


def _cut(path: Path, end: int) -> None:
    with contextlib.suppress(OSError), path.open("r+b") as stream:
        stream.truncate(end)


def _entry(shape: KernelShape, blocks: Sequence[Block], cold: bool) -> dict[str, Any]:
    return {
        "kind": shape.kind,
        "attributes": dict(shape.signature.attributes),
        "sizes": dict(shape.sizes),
        "date": now(),
        "cold": cold,
        "blocks": [
            {
                "samples_ns": [_nanoseconds(sample) for sample in block.samples_s],
                "anchor_ns": [_nanoseconds(block.anchor_before_s), _nanoseconds(block.anchor_after_s)],
            }
            for block in blocks
        ],
    }


def _blocks(entry: Mapping[str, Any]) -> tuple[Block, ...]:
    blocks = []
    for values in entry["blocks"]:
        before, after = values["anchor_ns"]
        blocks.append(Block(tuple(sample * 1e-9 for sample in values["samples_ns"]), before * 1e-9, after * 1e-9))
    return tuple(blocks)


def _nanoseconds(seconds: float) -> float:
    return round(seconds * 1e9, 3)
