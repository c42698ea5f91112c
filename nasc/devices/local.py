"""This machine's processor, through a runner started afresh for every session."""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nasc.artifact import Artifact
from nasc.devices._base import Device, Facts, Origin, Session, Visit, VisitResult
from nasc.errors import DeviceError, RunnerError
from nasc.paths import data_folder

_START_S = 60.0  # bound on starting the runner and importing the runtime on a busy machine
_LOAD_S = 20.0  # bound on loading one model
_SLACK = 20.0  # how much slower than planned a visit may be before the session counts as hung
_COLD_SWEEPS = 2  # sweep this many times the inner cache, so that least-recently-used replacement leaves nothing


@dataclass(frozen=True)
class LocalCpu:
    """This machine's processor.

    Args:
        runtime: ``"litert"`` (LiteRT with XNNPACK).
        threads: Threads of the runtime; one thread is pinned to the quieter core where the system allows it.
        dtype: ``"float32"``.
    """

    runtime: str = "litert"
    threads: int = 1
    dtype: str = "float32"
    name: str = "cpu"
    origin: Origin = "measured"
    format: str = "litert"

    @property
    def hardware(self) -> str:
        """Name of the processor, in letters fit for a file name."""
        return processor().slug

    def describe(self) -> Facts:
        """Processor, cores, load and clock of this machine, now."""
        import psutil

        frequency = psutil.cpu_freq()
        return {
            "cpu_model": processor().title,
            "cores": os.cpu_count(),
            "inner_cache_bytes": inner_cache_bytes(),
            "memory_bytes": psutil.virtual_memory().total,
            "clock_mhz": round(frequency.current) if frequency else None,
            "load_1m": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            "system": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
        }

    def run_session(
        self,
        artifacts: Sequence[Artifact],
        visits: Sequence[Visit],
        *,
        timeout_s: float | None = None,
    ) -> Session:
        """Time models in one fresh process; see :class:`nasc.devices._base.Device`."""
        require_format(self, artifacts)
        plan = {
            "models": [str(artifact.path) for artifact in artifacts],
            "visits": [asdict(visit) for visit in visits],
            "threads": self.threads,
            "core": quieter_core() if self.threads == 1 else None,
            "cold_bytes": _COLD_SWEEPS * inner_cache_bytes() if any(visit.cold for visit in visits) else 0,
        }
        return read_session(run_program(plan, timeout_s or time_bound(len(artifacts), visits)), artifacts, len(visits))


def require_format(device: Device, artifacts: Sequence[Artifact]) -> None:
    """Refuse artifacts of another format than the device's.

    Raises:
        DeviceError: Naming the file and both formats.
    """
    for artifact in artifacts:
        if artifact.format != device.format:
            raise DeviceError(
                f"{device.name} with {device.runtime} runs {device.format} files; got {artifact.path} ({artifact.format})",
                f"export it first: nasc export RUN --format {device.format}",
            )


def time_bound(models: int, visits: Sequence[Visit]) -> float:
    """A generous bound in seconds on a session: what hangs must end, what is slow must not."""
    return _START_S + models * _LOAD_S + _SLACK * sum(visit.limit_s for visit in visits)


def run_program(plan: dict[str, Any], timeout_s: float) -> str:
    """Start the runner with a plan; its standard output.

    Raises:
        RunnerError: It could not be started, or did not end within ``timeout_s``.
    """
    program = data_folder("profilers") / "runners" / "litert_host" / "runner.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        finished = subprocess.run(
            [sys.executable, str(program)],
            input=json.dumps(plan),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RunnerError(
            f"the LiteRT runner was expected to end within {timeout_s:.0f} s and did not",
            "look for a hung process or a machine out of memory, then run the same command again",
        ) from error
    if finished.returncode != 0 and '"event": "error"' not in finished.stdout:
        words = finished.stderr.strip().splitlines()[-1:] or ["no message"]
        raise RunnerError(
            f"the LiteRT runner ended with status {finished.returncode}: {words[0]}",
            f"try it by hand: {sys.executable} -c 'import ai_edge_litert.interpreter'",
        )
    return finished.stdout


def read_session(output: str, artifacts: Sequence[Artifact], expected: int) -> Session:
    """The session that a runner's JSON lines describe.

    Raises:
        RunnerError: The runner reports an error, or fewer visits than planned.
    """
    visits: list[VisitResult] = []
    facts: dict[str, str | int | float | None] = {}
    for event in _events(output):
        match event["event"]:
            case "ready":
                facts = {key: value for key, value in event.items() if key != "event"}
            case "visit":
                visits.append(
                    VisitResult(
                        model=event["model"],
                        samples_s=tuple(sample * 1e-9 for sample in event["samples_ns"]),
                        wall_s=event["wall_ns"] * 1e-9,
                        cpu_s=event["cpu_ns"] * 1e-9,
                    )
                )
            case "error":
                path: Path | str = artifacts[event["model"]].path if event["model"] is not None else "the plan"
                raise RunnerError(
                    f"the LiteRT runner failed on {path}: {event['message']}",
                    "check that the file is a complete .tflite model",
                )
    if len(visits) != expected:
        raise RunnerError(
            f"the LiteRT runner was expected to report {expected} visits; got {len(visits)}",
            "run the same command again",
        )
    return Session(tuple(visits), facts)


def _events(output: str) -> Iterator[dict[str, Any]]:
    for line in output.splitlines():
        if line.startswith('{"event"'):
            yield json.loads(line)


def quieter_core() -> int | None:
    """The core that was least busy over the last tenth of a second, of those this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    import psutil

    busy = psutil.cpu_percent(interval=0.1, percpu=True)
    allowed = [core for core in os.sched_getaffinity(0) if core < len(busy)]
    return min(allowed, key=lambda core: busy[core]) if allowed else None


@dataclass(frozen=True)
class Processor:
    """A processor's name for people and for files."""

    title: str
    slug: str


@cache
def processor() -> Processor:
    """This machine's processor: vendor, model name, and the numbers that tell models of one name apart."""
    facts = _cpuinfo()
    title = facts.get("model name") or facts.get("Hardware") or platform.processor() or platform.machine()
    numbers = [facts[key] for key in ("cpu family", "model", "CPU implementer", "CPU part") if key in facts]
    name = re.sub(r"\((r|tm)\)|cpu|processor|@.*", " ", title, flags=re.IGNORECASE)
    slug = re.sub(r"[^a-z0-9]+", "-", " ".join([name, *numbers]).lower()).strip("-")
    return Processor(title=title, slug=slug or "unknown")


def _cpuinfo() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    facts: dict[str, str] = {}
    if path.exists():
        for line in path.read_text().splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    return facts


@cache
def inner_cache_bytes() -> int:
    """Size of the largest cache that one core has for itself (level 2 where the system tells); 2 MiB where unknown."""
    path = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")
    try:
        text = path.read_text().strip()
    except OSError:
        return 2 * 1024**2
    factor = {"K": 1024, "M": 1024**2}.get(text[-1:], 1)
    return int(text.rstrip("KM")) * factor
