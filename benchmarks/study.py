"""The frame of every slow study: a list of cells, one process a cell, each result appended as it comes.

A study goes on where it stopped: a cell whose result stands in the file is not run again. Every row carries where it
came from (commit, date, host, versions, command). Cells run two at a time with one thread each unless told otherwise.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import rich.progress

RESULTS = Path(__file__).resolve().parent / "results"
DATA = Path(os.environ.get("NASC_DATA", Path(__file__).resolve().parents[1].parent / "shared" / "data"))

Cell = dict[str, Any]


def parse_arguments(description: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags every study has: ``--size``, ``--jobs``, ``--seeds``, ``--only``, ``--report``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--size",
        choices=("tiny", "small", "full"),
        default="small",
        help="tiny: minutes; small: an hour on two cores; full: a GPU, the paper's scale",
    )
    parser.add_argument("--jobs", type=int, default=2, help="cells at a time, one thread each")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="run only cells whose JSON contains this text")
    parser.add_argument("--report", action="store_true", help="print the table of what is there and run nothing")
    return parser.parse_args(argv)


def provenance() -> dict[str, Any]:
    """Commit, date, host and versions, for every row."""
    import torch

    root = Path(__file__).resolve().parents[1]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    )
    return {
        "commit": commit.stdout.strip(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "command": " ".join(["python", *sys.argv]),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def results_file(name: str, size: str) -> Path:
    """Where the rows of a study are kept."""
    return RESULTS / f"{name}-{size}.jsonl"


def load_rows(name: str, size: str) -> list[dict[str, Any]]:
    """The rows so far; a line cut off by a kill is left out."""
    path = results_file(name, size)
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def run_study(
    name: str,
    cells: Sequence[Cell],
    run_cell: Callable[[Cell], dict[str, Any]],
    arguments: argparse.Namespace,
    *,
    again: bool = False,
) -> list[dict[str, Any]]:
    """Run what is missing and return every row that succeeded.

    Args:
        name: Names the results file.
        cells: What to run; each a JSON-able dict, unique.
        run_cell: A module-level function from a cell to its figures.
        arguments: From :func:`parse_arguments`.
        again: Run also the cells whose result stands in the file; the rows that are there stay.
    """
    rows = load_rows(name, arguments.size)
    done = set() if again else {json.dumps(row["cell"], sort_keys=True) for row in rows if "error" not in row}
    todo = [cell for cell in cells if (key := json.dumps(cell, sort_keys=True)) not in done and arguments.only in key]
    if not arguments.report and todo:
        origin = provenance()
        RESULTS.mkdir(exist_ok=True)
        with (
            rich.progress.Progress(
                *rich.progress.Progress.get_default_columns(), rich.progress.MofNCompleteColumn()
            ) as progress,
            ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool,
        ):
            task = progress.add_task(name, total=len(todo))
            futures = {pool.submit(_guarded, run_cell, cell): cell for cell in todo}
            for future in as_completed(futures):
                row = {"cell": futures[future], **future.result(), "origin": origin}
                with results_file(name, arguments.size).open("a") as file:
                    file.write(json.dumps(row) + "\n")
                rows.append(row)
                progress.advance(task)
    return [row for row in rows if "error" not in row]


def _guarded(run_cell: Callable[[Cell], dict[str, Any]], cell: Cell) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    started = time.perf_counter()
    try:
        figures = run_cell(cell)
    except Exception:  # a failed cell is a recorded failure, never a lost study
        figures = {"error": traceback.format_exc()}
    return {**figures, "elapsed_s": round(time.perf_counter() - started, 2)}


def mean_and_spread(values: Sequence[float]) -> str:
    """``mean ± sample standard deviation (n)``, in the values' own unit."""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.4g} (1)"
    deviation = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    return f"{mean:.4g} ± {deviation:.2g} ({len(values)})"
