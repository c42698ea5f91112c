"""One fresh runner process on a machine at the other end of a link."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nasc.artifact import Artifact
from nasc.devices._base import Session, Visit
from nasc.devices.bundle import Bundle
from nasc.devices.local import read_session
from nasc.devices.remote.job import JobGone, JobResult, run_job
from nasc.devices.remote.link import Link
from nasc.devices.remote.store import Store, digest
from nasc.errors import DeviceError, RunnerError
from nasc.paths import data_folder

CHECKED_S = 120.0
_ATTEMPTS = 3


@dataclass(frozen=True)
class Wrapping:
    """Shell commands around a run, on the device, so that they happen whatever becomes of the link.

    Args:
        before: Run first; its output is kept.
        after: Run last; its output is kept.
        always: Run when the job ends, however it ends short of being killed.
    """

    before: str = "true"
    after: str = "true"
    always: str = "true"


@dataclass(frozen=True)
class Outcome:
    """A session, and what was printed before and after it."""

    session: Session
    before: str
    after: str


@dataclass(frozen=True)
class Plan:
    """What a runner is told.

    Args:
        artifacts: The model files.
        visits: What to run, in order.
        threads: Threads of the runtime.
        cores: Cores to stay on; empty where they are not known.
        cold_bytes: Memory to sweep before every run of a cold visit.
        timeout_s: The runner ends by itself after this long.
        checksum: Also tell the checksum of the first model.
    """

    artifacts: Sequence[Artifact]
    visits: Sequence[Visit]
    threads: int
    cores: tuple[int, ...]
    cold_bytes: int
    timeout_s: float
    checksum: bool = False

    def text(self, folder: str) -> str:
        """The plan as the native runner reads it, with the models where :func:`model_name` puts them."""
        lines = [f"threads {self.threads}", f"deadline_s {int(self.timeout_s) + 1}", f"cold_bytes {self.cold_bytes}"]
        lines += [f"cores {','.join(map(str, self.cores))}"] if self.cores else []
        lines += [f"model {folder}/{model_name(artifact.path)}" for artifact in self.artifacts]
        lines += ["checksum 0"] if self.checksum else []
        lines += [
            f"visit {visit.model} {visit.warmup} {visit.runs} {visit.limit_s:g} {int(visit.cold)}"
            for visit in self.visits
        ]
        return "\n".join([*lines, ""])


def model_name(path: Path) -> str:
    """Where a model file lies below the store's folder: named by its content."""
    return f"models/{digest(path)[:32]}.tflite"


class Machine:
    """A machine that runs the bundle.

    Args:
        link: How to reach it.
        folder: nasc's folder there.
        emulator: What starts programs of the bundle's architecture there; empty where the processor does.
        bundle: What runs models.
    """

    def __init__(self, link: Link, folder: str, bundle: Bundle, emulator: str = "") -> None:
        self.link, self.bundle, self.emulator = link, bundle, emulator
        self.store = Store(link, folder)

    @property
    def place(self) -> str:
        """The bundle's folder below the store's."""
        return f"bundle-{self.bundle.identity}"

    def run_session(self, plan: Plan, wrapping: Wrapping = Wrapping()) -> Outcome:
        """Time models in one fresh process; a process that the device loses is started again.

        Raises:
            RunnerError: The runner failed, or vanished again and again.
            DeviceError: The device cannot be reached, is full, or computes wrongly.
        """
        self._trusted  # noqa: B018 - the first session of all makes sure that the bundle computes correctly
        return self._read(self._run_often(plan, wrapping), plan)

    @cached_property
    def _trusted(self) -> bool:
        """Put the bundle there, and see it give a small model's known output, once per bundle and device."""
        self.store.ensure({f"{self.place}/{name}": self.bundle.folder / name for name in self.bundle.files})
        marker = f"{self.store.folder}/{self.place}/checked"
        if self.link.run(f"[ -e {marker} ]").status == 0:
            return True
        check_checksum(self._say_checksum(), self.link.address)
        self.link.check(f"touch {marker}", "noting that the bundle works")
        return True

    def _say_checksum(self) -> float:
        model = check_folder() / "check.tflite"
        plan = Plan([Artifact(model, "litert", (), ())], [], 1, (), 0, CHECKED_S, checksum=True)
        try:
            result = self._run_often(plan, Wrapping())
        except JobGone as error:
            raise unusable(self.link.address, error.message) from error
        for line in result.files["out"].decode(errors="replace").splitlines():
            if line.startswith('{"event": "checksum"'):
                return float(json.loads(line)["sum"])
        raise unusable(self.link.address, last_words(result))

    def _run_often(self, plan: Plan, wrapping: Wrapping) -> JobResult:
        """Run a plan; what the device loses is started again, for it may have restarted."""
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(JobGone):
                return self._run(plan, wrapping)
        return self._run(plan, wrapping)

    def _run(self, plan: Plan, wrapping: Wrapping) -> JobResult:
        self.store.ensure({model_name(artifact.path): artifact.path for artifact in plan.artifacts})
        return run_job(
            self.store,
            self._script(wrapping),
            {"plan": plan.text(self.store.folder)},
            ("out", "err", "before", "after"),
            plan.timeout_s,
        )

    def _script(self, wrapping: Wrapping) -> str:
        """The commands around the runner; what always happens is a trap, so that a signal does not skip it."""
        start = f"{self.emulator} {self.bundle.command}".strip()
        return "\n".join(
            [
                f"trap '{wrapping.always}' EXIT",
                "trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM",
                "unset LD_PRELOAD LD_LIBRARY_PATH",  # of the system's C library; the bundle has its own
                "job=$(pwd)",
                f"{{ {wrapping.before}\n}} > before 2>/dev/null",
                f"cd {self.store.folder}/{self.place} || exit 1",
                f"{start} < $job/plan > $job/out 2> $job/err",
                "status=$?",
                "cd $job",
                f"{{ {wrapping.after}\n}} > after 2>/dev/null",
                "exit $status",
            ]
        )

    def _read(self, result: JobResult, plan: Plan) -> Outcome:
        output = result.files["out"].decode(errors="replace")
        if result.status != 0 and '"event": "error"' not in output:
            raise RunnerError(
                f"{self.link.address}: the runner ended with status {result.status}: {last_words(result)}",
                "look at the device's memory, then run the same command again",
            )
        session = read_session(output, plan.artifacts, len(plan.visits))
        facts: dict[str, Any] = {"runtime_version": self.bundle.litert, "runner": f"bundle {self.bundle.identity}"}
        before, after = (result.files[name].decode(errors="replace") for name in ("before", "after"))
        return Outcome(replace(session, facts={**session.facts, **facts}), before, after)


def check_folder() -> Path:
    """Where the model with a known checksum lies."""
    return data_folder("profilers") / "runners" / "litert_native"


def check_checksum(got: float, address: str) -> None:
    """Refuse a device that computes another number than every other does.

    Raises:
        DeviceError: Expected and got, and what to use instead.
    """
    known: Mapping[str, float] = json.loads((check_folder() / "check.json").read_text())
    if not abs(got - known["sum"]) <= known["tolerance"] * abs(known["sum"]):
        raise unusable(address, f"expected {known['sum']:.7g} from the check model, got {got:.7g}")


def unusable(address: str, why: str) -> DeviceError:
    """The error for a device on which the bundle does not run."""
    return DeviceError(
        f"{address}: nasc's bundle does not run there: {why}",
        "give Google's benchmark_model for this device instead: set NASC_BENCHMARK_MODEL to its path and add "
        "--runtime benchmark_model",
    )


def last_words(result: JobResult) -> str:
    """The last line a runner wrote before it failed."""
    lines = (result.files["err"].decode(errors="replace").strip() or "no message").splitlines()
    return f"status {result.status}: {lines[-1]}"
