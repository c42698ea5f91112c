"""The whole zoo: which models nasc sees through, whether it is right, and how far torch-pruning and FastNAS get.

A row is a model and a tool, run in a process of its own with limits on memory and processor time. The rows are also written
as one CSV. See ``zoo_nasc.py`` for what is checked and ``zoo_peers.py`` for the peers.
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import study
from zoo_models import list_zoo

NAME = "zoo"
TOOLS = ("nasc", "torch-pruning", "fastnas")
MEMORY_BYTES = 8 << 30
PROCESSOR_S = {"nasc": 480, "torch-pruning": 60, "fastnas": 60}  # loading the model and the library included
WALL_S = 3600  # generous: on a busy machine a process may wait
TOLERANCE = 1e-4

_WORKER = Path(__file__).with_name("zoo_worker.py")
_DIFFERENCES = (
    "dense_difference",
    "module_difference",
    "masked_difference",
    "materialised_difference",
    "reload_difference",
)
_COLUMNS = (
    *("model", "tool", "outcome", "traced", "export_s", "walk_s", "dims", "free_dims"),
    *("prunable_axes_share", *_DIFFERENCES, "params_share", "macs", "counted_macs", "setting", "why_not", "left_alone"),
    *("no_rule", "commit", "date"),
)


def run_cell(cell: study.Cell) -> dict[str, Any]:
    """Examine one model with one tool in a limited process."""
    command = [sys.executable, str(_WORKER), cell["tool"], cell["model"]]
    try:
        run = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=WALL_S,
            preexec_fn=lambda: _limit(PROCESSOR_S[cell["tool"]]),
            cwd=_WORKER.parent,
        )
        output, ended = run.stdout, _ending(run.returncode)
    except subprocess.TimeoutExpired as late:
        output, ended = (late.stdout or b"").decode(), "out of time"
    figures: dict[str, Any] = {}
    for line in output.splitlines():
        if line.startswith("{"):
            figures.update(json.loads(line))
    return {**figures, "ended": ended}


def _limit(processor_s: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (processor_s, processor_s + 5))


def _ending(status: int) -> str:
    return {0: "done", -24: "out of time", -9: "killed"}.get(status, f"status {status}")


def outcome(row: Mapping[str, Any]) -> str:
    """One word for a row: ``right`` is a pruned model that passed every check asked of its tool."""
    if row["cell"]["tool"] != "nasc":
        return "pruned" if row.get("pruned") else ("failed" if row["ended"] == "done" else row["ended"])
    if row.get("traced") is False:
        return "not traced"
    if row["ended"] != "done":
        return str(row["ended"])
    if "broke" in row or any(row.get(name) is None or not row[name] <= TOLERANCE for name in _DIFFERENCES):
        return "wrong"
    return "right" if row["macs"] == row["counted_macs"] else "right, other MACs"


def latest(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The newest row of every cell, in the zoo's order."""
    newest = {(row["cell"]["model"], row["cell"]["tool"]): dict(row) for row in rows}
    return [newest[model, tool] for model in list_zoo() for tool in TOOLS if (model, tool) in newest]


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """One line a model and tool."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({**row, **row["cell"], "outcome": outcome(row), **row["origin"], **_told(row)})


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """Figures for people: few digits, counted reasons as text, and why it broke where it did."""
    short = {key: f"{value:.3g}" for key, value in row.items() if isinstance(value, float)}
    lists = {
        key: "; ".join(f"{name} ({n})" for name, n in row.get(key, {}).items()) for key in ("left_alone", "no_rule")
    }
    return {**short, **lists, "why_not": row.get("why_not") or row.get("broke") or row.get("reload_error", "")}


def report(rows: Sequence[Mapping[str, Any]]) -> None:
    """The figures that are claimed."""
    ours = [row for row in rows if row["cell"]["tool"] == "nasc"]
    by_tool = {tool: {r["cell"]["model"]: outcome(r) for r in rows if r["cell"]["tool"] == tool} for tool in TOOLS}
    print(f"{len(ours)} models")
    if not ours:
        return
    traced = [row for row in ours if row.get("traced")]
    right = {model for model, word in by_tool["nasc"].items() if word.startswith("right")}
    print(f"traced {len(traced)}, masked = sliced = rebuilt = reloaded on {len(right)}, MACs as counted on", end=" ")
    print(sum(word == "right" for word in by_tool["nasc"].values()))
    free, axes = (sum(row.get(key, 0) for row in traced) for key in ("free_axes", "axes"))
    print(f"weight axes that may shrink: {free} of {axes} ({free / max(axes, 1):.1%})", end="; ")
    shares = [row["prunable_axes_share"] for row in traced if "prunable_axes_share" in row]
    print(f"mean over models {sum(shares) / len(shares):.1%}, least {min(shares):.1%}")
    ratios = [row["walk_s"] / row["export_s"] for row in traced]
    print(f"walk / export: median {median(ratios):.2f}, largest {max(ratios):.2f}")
    print(f"slowest trace: {max(row['walk_s'] + row['export_s'] for row in traced):.1f} s of processor time")
    for tool in TOOLS[1:]:
        pruned = {model for model, word in by_tool[tool].items() if word == "pruned"}
        print(
            f"{tool}: pruned {len(pruned)} of {len(by_tool[tool])}, of which nasc is not right on {len(pruned - right)}:"
        )
        print("   ", ", ".join(sorted(pruned - right & set(by_tool[tool]))) or "none")
    either = {model for tool in TOOLS[1:] for model, word in by_tool[tool].items() if word == "pruned"}
    both = set(by_tool[TOOLS[1]]) & set(by_tool[TOOLS[2]]) & set(by_tool["nasc"])
    print(
        f"of {len(both)} models that all three were run on: nasc {len(right & both)}, either peer {len(either & both)}"
    )
    for row in ours:
        if (word := outcome(row)) != "right":
            print(f"  {word}: {row['cell']['model']} {_told(row)['why_not'][:120]}")


def main() -> None:
    """Run what is missing, write the CSV, print the figures."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--again", action="store_true", help="run also what stands in the file; the newest row counts")
    own, rest = parser.parse_known_args()
    arguments = study.parse_arguments(__doc__ or "", rest)
    cells = [{"model": model, "tool": tool} for tool in own.tools.split(",") for model in list_zoo()]
    study.run_study(NAME, cells, run_cell, arguments, again=own.again)
    rows = latest(study.load_rows(NAME, arguments.size))
    write_csv(rows, study.RESULTS / f"{NAME}-{arguments.size}.csv")
    report(rows)


if __name__ == "__main__":
    main()
