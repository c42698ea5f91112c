"""Latency tables for the dashboard: grids of two sizes as heat maps, lines of one size as staircases. Without torch."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nasc.paths import data_folder, user_tables

MOST_GRIDS = 60
"""Kernels of a table that the page shows, those with the most rows first."""


@dataclass(frozen=True)
class GridInfo:
    """The rows of one kernel of a table.

    Args:
        kernel: Its kind and what stays, in words.
        sizes: Names of its sizes.
        rows: The sizes and the seconds of each row.
    """

    kernel: str
    sizes: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class TableInfo:
    """One latency table.

    Args:
        name: Device, hardware, runtime, dtype and threads, as in its path.
        rows: Rows it has.
        grids: Its kernels.
    """

    name: str
    rows: int
    grids: tuple[GridInfo, ...]


def read_tables(names: Iterable[str], problems: list[str]) -> tuple[TableInfo, ...]:
    """The tables of some devices: the user's own, then those that nasc ships.

    Args:
        names: Device names.
        problems: Receives a sentence for each table that cannot be read.
    """
    wanted = tuple(f"{name}-" for name in names)
    paths = [path for root in (user_tables(), data_folder("latency_tables")) for path in sorted(root.glob("*/*.csv"))]
    found: dict[str, TableInfo] = {}
    for path in paths:
        name = f"{path.parent.name}/{path.stem}"
        if path.parent.name.startswith(wanted) and name not in found:
            try:
                found[name] = read_table(path, name)
            except (OSError, KeyError, ValueError) as error:
                problems.append(f"the latency table {path} cannot be read: {error!r}")
    return tuple(found.values())


def read_table(path: Path, name: str) -> TableInfo:
    """The rows of one table, by kernel.

    Raises:
        OSError: It cannot be opened.
        KeyError: A column is missing.
        ValueError: A number is none.
    """
    kernels: dict[tuple[str, str], list[dict[str, float]]] = {}
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            row = {key: float(value) for key, value in (pair.split("=") for pair in line["sizes"].split())}
            row["seconds"] = float(line["best_s"])
            kernels.setdefault((line["kind"], line["attributes"]), []).append(row)
    grids = [_grid(kind, attributes, rows) for (kind, attributes), rows in kernels.items()]
    largest = sorted(grids, key=lambda grid: -len(grid.rows))[:MOST_GRIDS]
    return TableInfo(name, sum(map(len, kernels.values())), tuple(largest))


def _grid(kind: str, attributes: str, rows: list[dict[str, float]]) -> GridInfo:
    sizes = tuple(name for name in rows[0] if name != "seconds")
    values = sorted(tuple(row[name] for name in (*sizes, "seconds")) for row in rows)
    return GridInfo(_in_words(kind, attributes), sizes, tuple(values))


def _in_words(kind: str, attributes: str) -> str:
    """A kernel as a person would say it: ``conv 3x3 /2 on 16x16``; what cannot be said so follows as it is."""
    known = dict(pair.split("=", 1) for pair in attributes.split())
    words = [kind.replace("_", " ")]
    if "op" in known:
        words.append(known.pop("op"))
    if "kernel_h" in known:
        words.append(f"{known.pop('kernel_h')}x{known.pop('kernel_w', '?')}")
    stride = known.pop("stride_h", "1"), known.pop("stride_w", "1")
    words += [f"/{stride[0]}"] if stride != ("1", "1") else []
    if "height" in known:
        words.append(f"on {known.pop('height')}x{known.pop('width', '?')}")
    plain = {"dilation_h": "1", "dilation_w": "1", "multiplier": "1", "broadcast": "none"}
    rest = [f"{key}={value}" for key, value in known.items() if not key.startswith("pad_") and plain.get(key) != value]
    return " ".join([*words, *rest])
