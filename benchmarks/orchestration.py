"""What the orchestration of a comparison costs, and what it survives.

    by hand    the trials one after another, each ``nasc compress`` in a process of its own
    compare    the same trials by ``nasc compare``, one at a time
    kills      3 methods x 3 targets x 2 seeds on two cores, the driver or a worker killed at three random moments
    nodes      a second node of Ray's joins, runs a trial, and is killed

Run it on a quiet machine: the first two are compared by the clock. Run: ``python -m benchmarks.orchestration --size small``.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.study import Cell, parse_arguments, run_study

NAME = "orchestration"
EPOCHS = {"tiny": 2, "small": 120, "full": 400}
"""Epochs of a trial: small ones take about a minute on one core."""

MODEL = ("-m", "digits-cnn", "-d", "digits", "--device", "simulated")


def main() -> None:
    """Run what is missing, print what there is."""
    arguments = parse_arguments(__doc__ or "")
    arguments.jobs = 1
    cells: list[Cell] = [
        {"what": what, "seed": seed, "epochs": EPOCHS[arguments.size]}
        for seed in range(arguments.seeds)
        for what in ("by hand", "compare", "kills", "nodes")
    ]
    report(run_study(NAME, cells, run_cell, arguments))


def run_cell(cell: Cell) -> dict[str, Any]:
    """One cell in a folder and a home of its own; the table is made before the clock starts."""
    with tempfile.TemporaryDirectory(prefix="nasc-orchestration-") as folder:
        os.environ["NASC_HOME"] = str(Path(folder) / "home")
        nasc("profile", *MODEL[:2], "--device", "simulated")
        return RUNS[cell["what"]](cell, Path(folder))


def by_hand(cell: Cell, folder: Path) -> dict[str, Any]:
    """Four trials and the baseline of their seed, one process each."""
    began = time.perf_counter()
    for method in ("magnitude-uniform", "surrogate"):
        for target in ("-40%", "-60%"):
            nasc(
                "compress", *MODEL, "--method", method, f"--target-latency={target}", "--seed", str(cell["seed"]),
                "--epochs", str(cell["epochs"]), "--out", str(folder / f"{method}{target}"),
            )  # fmt: skip
    return {"wall_s": time.perf_counter() - began, "trials": 4}


def by_compare(cell: Cell, folder: Path) -> dict[str, Any]:
    """The same by ``nasc compare``."""
    began = time.perf_counter()
    reply = nasc(
        "compare", *MODEL, "--methods", "magnitude-uniform,surrogate", "--targets=-40%,-60%", "--seeds",
        str(cell["seed"]), "--epochs", str(cell["epochs"]), "--concurrent", "1", "--out", str(folder / "cmp"), "--json",
    )  # fmt: skip
    return {"wall_s": time.perf_counter() - began, "trials": json.loads(reply)["records"]}


def with_kills(cell: Cell, folder: Path) -> dict[str, Any]:
    """Three kills at random moments, each of the driver or of a worker; then to the end."""
    generator = random.Random(cell["seed"])
    command = [
        sys.executable, "-m", "nasc", "compare", *MODEL, "--methods", "magnitude-uniform,surrogate,width-multiplier",
        "--targets=-40%,-50%,-60%", "--seeds", "0,1", "--epochs", str(max(2, cell["epochs"] // 10)), "--out",
        str(folder / "cmp"), "--json",
    ]  # fmt: skip
    killed: list[str] = []
    began = time.perf_counter()
    while True:
        driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if len(killed) < 3:
            kill_something(driver, generator, killed)
        stdout, _ = driver.communicate()
        if driver.returncode == 0:
            break
    names = [json.loads(line)["run"] for line in (folder / "cmp" / "records.jsonl").read_text().splitlines()]
    return {
        "wall_s": time.perf_counter() - began,
        "killed": killed,
        "records": len(names),
        "distinct": len(set(names)),
        "said": json.loads(stdout)["records"],
    }


def kill_something(driver: subprocess.Popen[str], generator: random.Random, killed: list[str]) -> None:
    """Wait a random while after trials have begun, then kill the driver or one of the workers."""
    while driver.poll() is None and not workers(driver.pid):
        time.sleep(0.1)
    time.sleep(generator.uniform(0, 30))
    if driver.poll() is not None:
        return
    found = workers(driver.pid)
    if found and generator.random() < 0.5:
        found[0].kill()
        killed.append("worker")
        return
    family = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, timeout=60)
    killed.append("driver")


def workers(driver: int) -> list[psutil.Process]:
    """Ray's processes that run a trial now."""
    found = []
    for child in psutil.Process(driver).children(recursive=True):
        try:
            if any("ImplicitFunc" in part for part in child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def with_nodes(cell: Cell, folder: Path) -> dict[str, Any]:
    """Two nodes of one core each; the second is killed while both work."""
    from ray.cluster_utils import Cluster

    from nasc.comparison import compare, make_config

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    ended: list[str] = []

    def announce(trial: Any, outcome: Any) -> None:
        ended.append(trial.name)
        if len(ended) == 1:
            cluster.remove_node(second, allow_graceful=False)

    config = make_config(
        {
            "models": "digits-cnn", "data": "digits", "devices": "simulated", "methods": ["magnitude-uniform"],
            "targets": ["-40%", "-50%", "-60%"], "seeds": [0, 1], "epochs": max(2, cell["epochs"] // 10),
            "out": folder / "cmp",
        }
    )  # fmt: skip
    try:
        found = compare(config, address=cluster.address, announce=announce)
    finally:
        cluster.shutdown()
    return {"records": len(found.records), "failed": len(found.failures), "left": len(found.left)}


RUNS: dict[str, Callable[[Cell, Path], dict[str, Any]]] = {
    "by hand": by_hand,
    "compare": by_compare,
    "kills": with_kills,
    "nodes": with_nodes,
}


def nasc(*arguments: str) -> str:
    """Run one command line; what it printed."""
    result = subprocess.run([sys.executable, "-m", "nasc", *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(result.stderr[-2000:])
    return result.stdout


def report(rows: list[dict[str, Any]]) -> None:
    """The figures of every cell, and the overhead where both sides are there."""
    walls: dict[tuple[int, int], dict[str, float]] = {}
    for row in rows:
        cell = row["cell"]
        print(cell, {key: value for key, value in row.items() if key not in ("cell", "origin")})
        if "wall_s" in row:
            walls.setdefault((cell["seed"], cell["epochs"]), {})[cell["what"]] = row["wall_s"]
    for (seed, epochs), found in walls.items():
        if {"by hand", "compare"} <= found.keys():
            overhead = found["compare"] / found["by hand"] - 1
            print(f"seed {seed}, {epochs} epochs: overhead {100 * overhead:+.1f} %")


if __name__ == "__main__":
    main()
