"""Times .tflite files with LiteRT in one process: a JSON plan on stdin, JSON lines on stdout (see README.md).

Stands alone: Python, numpy and ai-edge-litert, nothing of nasc.
"""

import contextlib
import importlib.metadata
import json
import os
import sys
import time
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

MINIMUM_RUNS = 5
PRIORITY = -10  # niceness; taken where the system allows it


def main() -> int:
    """Carry out the plan on standard input."""
    plan = json.load(sys.stdin)
    core, priority = pin(plan["core"]), raise_priority()
    say(
        event="ready",
        runtime_version=importlib.metadata.version("ai-edge-litert"),
        core=core,
        priority=priority,
    )
    last_visit = {visit["model"]: position for position, visit in enumerate(plan["visits"])}
    swept = np.ones(plan["cold_bytes"] // 8, np.float64)
    nothing = np.empty(0)
    models: dict[int, Model] = {}
    for position, visit in enumerate(plan["visits"]):
        index = visit["model"]
        try:
            if index not in models:
                models[index] = Model(plan["models"][index], plan["threads"])
            sweep = swept if visit["cold"] else nothing
            say(event="visit", model=index, **models[index].time(visit, sweep))
        except Exception as error:
            say(event="error", model=index, message=f"{type(error).__name__}: {error}")
            return 1
        if last_visit[index] == position:
            del models[index]
    say(event="done")
    return 0


def pin(core: int | None) -> int | None:
    """Keep this process on one core where the system allows it; the core, or None where it does not."""
    if core is None or not hasattr(os, "sched_setaffinity"):
        return None
    try:
        os.sched_setaffinity(0, {core})
    except OSError:
        return None
    return core


def raise_priority() -> int:
    """Ask to be preempted less; the niceness that was reached."""
    if not hasattr(os, "nice"):
        return 0
    with contextlib.suppress(OSError):
        os.nice(PRIORITY - os.nice(0))
    return os.nice(0)


class Model:
    """One loaded model with random inputs."""

    def __init__(self, path: str, threads: int) -> None:
        self.interpreter = Interpreter(path, num_threads=threads)
        self.interpreter.allocate_tensors()
        generator = np.random.default_rng(0)
        self.inputs = [
            (detail["index"], random_input(generator, detail)) for detail in self.interpreter.get_input_details()
        ]
        self.outputs = [detail["index"] for detail in self.interpreter.get_output_details()]
        self.write_inputs()

    def write_inputs(self) -> None:
        """Fill the model's inputs."""
        for index, value in self.inputs:
            self.interpreter.set_tensor(index, value)

    def warm_activations(self) -> None:
        """Bring inputs and outputs back into the caches, as the kernel before and after would have them."""
        self.write_inputs()
        for index in self.outputs:
            self.interpreter.get_tensor(index)

    def time(self, visit: dict[str, Any], sweep: np.ndarray[Any, Any]) -> dict[str, Any]:
        """Run as the visit says; wall time of each run, and wall and thread time of all of them together."""
        invoke, clock = self.interpreter.invoke, time.perf_counter_ns
        for _ in range(visit["warmup"]):
            invoke()
        samples, limit_ns = [], visit["limit_s"] * 1e9
        start, thread_start = clock(), time.thread_time_ns()
        for done in range(visit["runs"]):
            if done >= MINIMUM_RUNS and clock() - start > limit_ns:
                break
            if len(sweep):
                sweep.sum()
                self.warm_activations()
            before = clock()
            invoke()
            samples.append(clock() - before)
        return {"samples_ns": samples, "wall_ns": clock() - start, "cpu_ns": time.thread_time_ns() - thread_start}


def random_input(generator: np.random.Generator, detail: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Standard normal numbers, or zeros for whole-number inputs (always a valid index)."""
    shape, dtype = detail["shape"], detail["dtype"]
    if np.issubdtype(dtype, np.floating):
        return generator.standard_normal(shape).astype(dtype)
    return np.zeros(shape, dtype)


def say(**event: object) -> None:
    """One event as one JSON line."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
