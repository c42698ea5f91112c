"""A Linux machine reached by ssh, timed by the same bundle and the same protocol as a phone."""

from collections.abc import Sequence
from functools import cached_property

from filelock import FileLock

from nasc.artifact import Artifact
from nasc.devices._base import Facts, Origin, Session, Visit
from nasc.devices.bundle import ARCHITECTURES, Bundle, build_bundle
from nasc.devices.descriptor import Descriptor
from nasc.devices.local import require_format, time_bound
from nasc.devices.remote.facts import MachineFacts, facts_command, parse_facts, slug_of
from nasc.devices.remote.job import stop_orphans
from nasc.devices.remote.link import PATIENCE_S, Link
from nasc.devices.remote.machine import Machine, Plan
from nasc.devices.remote.ssh import Ssh
from nasc.errors import DeviceError, UsageError
from nasc.paths import user_cache

FOLDER = "${XDG_CACHE_HOME:-$HOME/.cache}/nasc-device"
"""nasc's folder on the machine, for its shell to expand."""

_COLD_SWEEPS = 2


class SshHost:
    """A machine reached by ssh.

    Args:
        descriptor: What is known of it.
        address: ``host``, ``user@host`` or ``user@host:port``.
        runtime: ``"litert"``.
        threads: Threads of the runtime; they stay on the fastest cores.
        dtype: ``"float32"``.
        patience_s: How long a lost link is waited for.
        options: Further arguments of ``ssh``.
    """

    format = "litert"

    def __init__(
        self,
        descriptor: Descriptor,
        address: str | None = None,
        *,
        runtime: str = "litert",
        threads: int = 1,
        dtype: str = "float32",
        patience_s: float = PATIENCE_S,
        options: Sequence[str] = (),
    ) -> None:
        self.descriptor, self.address = descriptor, address
        self.runtime, self.threads, self.dtype = runtime, threads, dtype
        self.patience_s, self.options = patience_s, options

    @property
    def name(self) -> str:
        """What is typed after ``--device``, without the address."""
        return self.descriptor.name

    @property
    def hardware(self) -> str:
        """Name of its processor, in letters fit for a file name."""
        return self._facts.slug

    @property
    def origin(self) -> Origin:
        """``"emulated"`` where it says that it emulates."""
        return "emulated" if self._facts.emulated else "measured"

    def describe(self) -> Facts:
        """Processor, cores and load of the machine, now."""
        facts, bundle = self._ask(), self._bundle
        return {
            "cpu_model": facts.title,
            "cores": len(facts.cores),
            "used_cores": ",".join(map(str, self._cores)) or None,
            "inner_cache_bytes": facts.cache_bytes(self._cores),
            "memory_bytes": facts.memory_bytes,
            "load_1m": facts.load_1m,
            "runner": f"bundle {bundle.identity}",
            "runtime_version": bundle.litert,
        }

    def run_session(
        self, artifacts: Sequence[Artifact], visits: Sequence[Visit], *, timeout_s: float | None = None
    ) -> Session:
        """Time models in one fresh process; see :class:`nasc.devices._base.Device`."""
        require_format(self, artifacts)
        bound_s = timeout_s or time_bound(len(artifacts), visits)
        cold = _COLD_SWEEPS * self._facts.cache_bytes(self._cores) if any(visit.cold for visit in visits) else 0
        lock = user_cache() / "locks" / f"{slug_of(self._link.address)}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            outcome = self._machine.run_session(Plan(artifacts, visits, self.threads, self._cores, cold, bound_s))
        return outcome.session

    def close(self) -> None:
        """End the connection; the next call makes a new one."""
        self._link.close()

    @cached_property
    def _link(self) -> Link:
        if not self.address:
            raise UsageError(
                f"--device {self.name} needs the machine's address", f"--device {self.name}@user@host or @host:port"
            )
        return Link(Ssh(self.address, self.options), self.patience_s)

    @cached_property
    def _facts(self) -> MachineFacts:
        return self._ask()

    def _ask(self) -> MachineFacts:
        return parse_facts(self._link.run(facts_command(FOLDER)).output)

    @property
    def _cores(self) -> tuple[int, ...]:
        return self._facts.fastest_cores(self.threads)

    @cached_property
    def _bundle(self) -> Bundle:
        architecture = self._facts.architecture
        if architecture not in ARCHITECTURES:
            raise DeviceError(
                f"{self._link.address}: expected a processor of {', '.join(ARCHITECTURES)}; got {architecture}",
                "nasc has no runner for it",
            )
        return build_bundle(architecture)

    @cached_property
    def _machine(self) -> Machine:
        """Made while no other session runs: it ends what a killed one left behind."""
        machine = Machine(self._link, self._facts.folder, self._bundle, self._facts.emulator)
        stop_orphans(machine.store)
        return machine
