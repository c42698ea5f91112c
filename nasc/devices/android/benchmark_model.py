"""Google's ``benchmark_model``, given by the user: the way to phones on which nasc's bundle does not run.

It starts one process per visit, so models alternate between processes instead of within one; of its runs it tells the
first, the last, the smallest and the largest; and its weights stay warm. Its tables are therefore kept apart from those of
nasc's own runner: the runtime's name says which it was.
"""

import os
import re
import shlex
from dataclasses import replace
from pathlib import Path

from nasc.devices._base import Session, VisitResult
from nasc.devices.remote.job import run_job
from nasc.devices.remote.link import Link
from nasc.devices.remote.machine import Outcome, Plan, Wrapping, model_name
from nasc.devices.remote.store import Store, digest
from nasc.errors import DeviceError, RunnerError

VARIABLE = "NASC_BENCHMARK_MODEL"
RUNTIMES = {
    "benchmark_model": ("--use_xnnpack=true",),
    "benchmark_model-gpu": ("--use_gpu=true",),
    "benchmark_model-nnapi": ("--use_nnapi=true",),
}
"""Flags by the runtime's name on nasc's command line."""

_VISIT = "nasc-visit"
_STATISTIC = re.compile(r"\b(count|first|curr|min|max|avg|std)=([0-9.e+]+)")


def find_program() -> Path:
    """The program that the user gave.

    Raises:
        DeviceError: None was given, or it is no file.
    """
    given = os.environ.get(VARIABLE, "")
    if not Path(given).is_file():
        raise DeviceError(
            f"expected the path of a benchmark_model for the phone's processor in {VARIABLE}; got {given!r}",
            "download android_aarch64_benchmark_model from LiteRT's page on benchmarks and name it there",
        )
    return Path(given)


class BenchmarkModel:
    """Runs plans with ``benchmark_model``.

    Args:
        link: How to reach the phone.
        folder: nasc's folder there.
        program: The program, for the phone's processor.
        runtime: A name in :data:`RUNTIMES`.
    """

    def __init__(self, link: Link, folder: str, program: Path, runtime: str) -> None:
        self.link, self.program, self.flags = link, program, RUNTIMES[runtime]
        self.store = Store(link, folder)

    def run_session(self, plan: Plan, wrapping: Wrapping = Wrapping()) -> Outcome:  # noqa: B008 - frozen
        """Time models, one process per visit.

        Raises:
            RunnerError: The program failed; the message carries its words.
        """
        self.program.chmod(self.program.stat().st_mode | 0o100)
        models = {model_name(artifact.path): artifact.path for artifact in plan.artifacts}
        self.store.ensure({**models, "benchmark_model/benchmark_model": self.program})
        result = run_job(self.store, self.script(plan, wrapping), {}, ("out", "before", "after"), plan.timeout_s)
        output, before, after = (result.files[name].decode(errors="replace") for name in ("out", "before", "after"))
        if result.status != 0:
            words = (output.strip() or "no message").splitlines()[-1]
            raise RunnerError(
                f"{self.link.address}: benchmark_model ended with status {result.status}: {words}",
                f"check that {self.program} is for the phone's processor",
            )
        return Outcome(self._read(output, plan), before, after)

    def script(self, plan: Plan, wrapping: Wrapping) -> str:
        """The commands of a session."""
        lines = [
            f"trap '{wrapping.always}' EXIT",
            "trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM",
            f"{{ {wrapping.before}\n}} > before 2>/dev/null",
        ]
        pinned = f"taskset {sum(1 << core for core in plan.cores):x} " if plan.cores else ""
        for visit in plan.visits:
            arguments = [
                f"--graph={self.store.folder}/{model_name(plan.artifacts[visit.model].path)}",
                f"--num_threads={plan.threads}",
                f"--warmup_runs={visit.warmup}",
                "--warmup_min_secs=0",
                f"--num_runs={visit.runs}",
                "--min_secs=0",
                f"--max_secs={visit.limit_s:g}",
                *self.flags,
            ]
            lines.append(f"echo {_VISIT} {visit.model}")
            program = f"{self.store.folder}/benchmark_model/benchmark_model"
            lines.append(f"{pinned}{shlex.join([program, *arguments])} || exit $?")
        body = "\n".join(lines[3:])
        after = f"{{ {wrapping.after}\n}} > after 2>/dev/null"
        return "\n".join([*lines[:3], f"(\n{body}\n) > out 2>&1", "status=$?", after, "exit $status"])

    def _read(self, output: str, plan: Plan) -> Session:
        parts = output.split(f"{_VISIT} ")[1:]
        if len(parts) != len(plan.visits):
            raise RunnerError(
                f"{self.link.address}: benchmark_model was expected to report {len(plan.visits)} visits; "
                f"got {len(parts)}",
                "run the same command again",
            )
        visits = tuple(
            replace(parse_visit(part), model=visit.model) for part, visit in zip(parts, plan.visits, strict=True)
        )
        cores = ",".join(map(str, plan.cores)) or None
        return Session(visits, {"core": cores, "runtime_version": digest(self.program)[:12], "cold": "not available"})


def parse_visit(text: str) -> VisitResult:
    """What one process of ``benchmark_model`` printed: four of its runs, or fewer where they coincide.

    Raises:
        RunnerError: There are no timings in it.
    """
    lines = [line for line in text.splitlines() if "count=" in line]
    values = {name: float(value) for name, value in _STATISTIC.findall(lines[-1])} if lines else {}
    if not {"count", "first", "curr", "min", "max"} <= set(values):
        words = (text.strip() or "nothing").splitlines()[-1]
        raise RunnerError(
            f"expected timings from benchmark_model; got: {words}", "check the program and the model by hand"
        )
    told = dict.fromkeys(values[name] for name in ("min", "first", "curr", "max"))
    total_us = values["count"] * values.get("avg", values["min"])
    return VisitResult(0, tuple(value * 1e-6 for value in told), wall_s=total_us * 1e-6)
