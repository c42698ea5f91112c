"""Tables on disk: where they are, how they are found, and how they are written so that nothing is lost."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from nasc.devices import Device, get_device
from nasc.errors import TableError
from nasc.paths import data_folder, user_tables
from nasc.table.latency_table import LatencyTable
from nasc.table.provenance import Provenance, is_current, read_provenance, write_provenance
from nasc.table.rows import Row, read_rows, write_rows
from nasc.table.surface import Form


@dataclass(frozen=True)
class TableFiles:
    """The files of one table: rows, provenance, raw samples and lock, side by side.

    Args:
        folder: ``<device>-<hardware>`` under a folder of tables.
        stem: ``<runtime>-<dtype>-t<threads>``.
    """

    folder: Path
    stem: str

    @property
    def rows(self) -> Path:
        """CSV of the rows."""
        return self.folder / f"{self.stem}.csv"

    @property
    def provenance(self) -> Path:
        """YAML of where they come from."""
        return self.folder / f"{self.stem}.yaml"

    @property
    def journal(self) -> Path:
        """JSON lines of every raw sample."""
        return self.folder / f"{self.stem}.jsonl"

    @property
    def lock(self) -> Path:
        """Held while a profile writes."""
        return self.folder / f"{self.stem}.lock"

    @property
    def exist(self) -> bool:
        """Rows and provenance are there."""
        return self.rows.exists() and self.provenance.exists()

    @property
    def outdated(self) -> bool:
        """The table is of another schema, but its raw samples are there to make it anew from."""
        return self.exist and self.journal.exists() and not is_current(self.provenance.read_text())


def table_files(device: Device, folder: Path | None = None) -> TableFiles:
    """Where the table of a device belongs.

    Args:
        device: With its runtime, dtype and threads.
        folder: The folder of tables; by default the user's own.
    """
    name = f"{device.name}-{device.hardware}"
    return TableFiles((folder or user_tables()) / name, f"{device.runtime}-{device.dtype}-t{device.threads}")


def find_table(device: Device, folder: Path | None = None) -> TableFiles | None:
    """The files of the device's table: the user's own, else the one nasc ships; None where there is neither."""
    for root in (folder or user_tables(), data_folder("latency_tables")):
        files = table_files(device, root)
        if files.exist:
            return files
    return None


def list_tables() -> list[TableFiles]:
    """Every table of the user, then every shipped one."""
    return [
        TableFiles(path.parent, path.stem)
        for root in (user_tables(), data_folder("latency_tables"))
        for path in sorted(root.glob("*/*.csv"))
        if path.with_suffix(".yaml").exists()
    ]


def load_table(
    device: str | Device = "cpu",
    runtime: str = "litert",
    threads: int = 1,
    dtype: str = "float32",
    *,
    folder: Path | None = None,
    form: Form = "staircase",
) -> LatencyTable:
    """The latency table of a device.

    Args:
        device: Name of a device, or the device itself (then runtime, threads and dtype are its own).
        runtime: Runtime the times must belong to.
        threads: Threads they must belong to.
        dtype: Number format they must belong to.
        folder: The folder of tables; by default the user's own, then the shipped ones.
        form: ``"staircase"`` or the paper's ``"bilinear"``.

    Raises:
        TableError: There is no such table, or it is broken; the hint says how to make it.
        UsageError: The device is unknown.
    """
    if isinstance(device, str):
        device = get_device(device, runtime=runtime, threads=threads, dtype=dtype)
    files = find_table(device, folder)
    if files is None:
        raise TableError(_missing(device, folder), profile_command(device))
    return read_table(files, device=device, form=form)


def read_table(files: TableFiles, *, device: Device | None = None, form: Form = "staircase") -> LatencyTable:
    """The table in these files.

    Args:
        files: Where it is.
        device: What its conditions must match; None accepts any.
        form: How to interpolate.

    Raises:
        TableError: A file is missing or broken, or the table was made under other conditions than the device's.
    """
    provenance = read_provenance(_read(files.provenance), str(files.provenance))
    if device is not None:
        check_conditions(provenance, device, str(files.rows))
    return LatencyTable.from_rows(read_rows(_read(files.rows), str(files.rows)), provenance, form)


def check_conditions(provenance: Provenance, device: Device, origin: str) -> None:
    """Refuse a table that was made under other conditions.

    Raises:
        TableError: Naming what differs, with the command that makes the right table.
    """
    environment = provenance.environment
    for name in ("device", "hardware", "runtime", "threads", "dtype", "origin"):
        expected = device.name if name == "device" else getattr(device, name)
        got = getattr(environment, name)
        if got != expected:
            raise TableError(
                f"{origin}: expected a table made with {name} {expected}; got one made with {got}",
                profile_command(device),
            )


def write_table(files: TableFiles, rows: list[Row], provenance: Provenance) -> None:
    """Write rows and provenance; either file is the old one or the new one at any moment.

    Raises:
        TableError: The disk is full or the folder cannot be written.
    """
    with writing(files):
        replace_file(files.provenance, write_provenance(provenance))
        replace_file(files.rows, write_rows(rows))


def replace_file(path: Path, text: str) -> None:
    """Write a file in one step: a temporary one beside it, then a rename."""
    temporary = path.with_suffix(path.suffix + ".part")
    try:
        with temporary.open("w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(files: TableFiles) -> Iterator[None]:
    """Turn a failure to write into one sentence.

    Raises:
        TableError: The disk is full or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise TableError(
            f"expected to write the table in {files.folder}; got: {error.strerror or error}",
            "free space or set NASC_HOME to a folder that can be written, then run the same command again: "
            "rows measured so far are kept",
        ) from error


@contextmanager
def locked(files: TableFiles) -> Iterator[None]:
    """Hold the table against other writers; the lock falls when the process ends, however it ends.

    Raises:
        TableError: Another process is writing it, or the folder cannot be written.
    """
    with writing(files):
        files.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(files.lock, blocking=False)
        try:
            lock.acquire()
        except Timeout as error:
            raise TableError(
                f"another nasc profile is writing {files.rows}", "wait for it to end, then run the same command again"
            ) from error
    try:
        yield
    finally:
        lock.release()


def profile_command(device: Device) -> str:
    """The command that makes the table of a device."""
    threads = f" --threads {device.threads}" if device.threads != 1 else ""
    return f"nasc profile --device {device.name}{threads}"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise TableError(f"expected a table file at {path}; got: {error.strerror}") from error


def _missing(device: Device, folder: Path | None) -> str:
    wanted = table_files(device, folder)
    others = [f"{files.folder.name}/{files.stem}" for files in list_tables()]
    made = f"; made so far: {', '.join(others)}" if others else ""
    return f"no latency table for {device.name} ({wanted.folder.name}/{wanted.stem}){made}"
