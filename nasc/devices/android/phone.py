"""A phone as a device: found, checked, kept cool, and timed by a runner that is detached from the link."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from filelock import FileLock

from nasc.artifact import Artifact
from nasc.devices._base import Facts, Origin, Session, Visit
from nasc.devices.android.benchmark_model import RUNTIMES, BenchmarkModel, find_program
from nasc.devices.android.contact import Contact, fits, other_phones, reach, require_bundle, require_fit
from nasc.devices.android.discovery import choose_phone, find_phones
from nasc.devices.android.state import (
    PERFORMANCE_OFF,
    PERFORMANCE_ON,
    STATE_COMMAND,
    THERMAL_NAMES,
    PhoneState,
    heated,
    parse_state,
)
from nasc.devices.bundle import Bundle
from nasc.devices.descriptor import Descriptor
from nasc.devices.local import require_format, time_bound
from nasc.devices.remote.facts import slug_of
from nasc.devices.remote.job import stop_orphans
from nasc.devices.remote.link import PATIENCE_S, Link
from nasc.devices.remote.machine import Machine, Outcome, Plan, Wrapping
from nasc.devices.remote.store import Store, digest
from nasc.errors import DeviceError
from nasc.paths import user_cache

_COLD_SWEEPS = 2  # as on this machine: twice the inner cache leaves nothing in it
_HEATED_TRIES = 5
_WRAPPING = Wrapping(f"{PERFORMANCE_ON}; {STATE_COMMAND}", STATE_COMMAND, PERFORMANCE_OFF)


class Runner(Protocol):
    """What runs plans on a phone."""

    def run_session(self, plan: Plan, wrapping: Wrapping) -> Outcome:
        """Time models; see :class:`nasc.devices.remote.machine.Machine`."""
        ...


@dataclass(frozen=True)
class Cooling:
    """How long a hot phone is waited for.

    Args:
        wait_s: Between two looks.
        most_s: In total.
    """

    wait_s: float = 10.0
    most_s: float = 900.0


class AndroidPhone:
    """A phone.

    Args:
        descriptor: What is known of it.
        address: Serial number or ``host:port``; None for the one phone in reach that fits.
        runtime: ``"litert"`` (nasc's bundle) or one of ``benchmark_model``'s.
        threads: Threads of the runtime; they stay on the fastest cores.
        dtype: ``"float32"``.
        patience_s: How long a lost link is waited for.
        cooling: How long a hot phone is waited for.
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
        cooling: Cooling = Cooling(),
    ) -> None:
        self.descriptor, self.address = descriptor, address
        self.runtime, self.threads, self.dtype = runtime, threads, dtype
        self.patience_s, self.cooling = patience_s, cooling

    @property
    def name(self) -> str:
        """What is typed after ``--device``, without the address."""
        return self.descriptor.name

    @property
    def hardware(self) -> str:
        """Its chip; known from the descriptor even where the phone is out of reach, so that its table is found."""
        if self._out_of_reach:
            assert self.descriptor.hardware is not None
            return self.descriptor.hardware
        facts = self.contact.facts
        known = self.descriptor.hardware
        return facts.slug if known is None else slug_of(f"emulated {known}" if facts.emulated else known)

    @property
    def origin(self) -> Origin:
        """``"emulated"`` for Android's emulator and nasc's own."""
        return "emulated" if not self._out_of_reach and self.contact.facts.emulated else "measured"

    @cached_property
    def contact(self) -> Contact:
        """The phone, reached and recognised.

        Raises:
            DeviceError: It cannot be reached, or is another phone than the descriptor's.
        """
        if self.address is not None:
            return require_fit(reach(self.address, self.patience_s), self.descriptor)
        search = find_phones()
        if not self.descriptor.codenames or len(search.addresses) <= 1:
            return require_fit(reach(choose_phone(search, self.name), self.patience_s), self.descriptor)
        found = [reach(address, self.patience_s) for address in search.addresses]
        fitting = [contact for contact in found if fits(contact.facts, self.descriptor)]
        if not fitting:
            raise other_phones(found, self.descriptor)
        chosen = choose_phone(replace(search, addresses=tuple(c.link.address for c in fitting)), self.name)
        return next(contact for contact in fitting if contact.link.address == chosen)

    def describe(self) -> Facts:
        """Model, Android, cores, clocks and state of the phone, now."""
        facts, state = self.contact.facts, self.read_state()
        cores = self._cores
        return {
            "cpu_model": facts.title,
            "codename": facts.codename,
            "android": facts.properties.get("ro.build.version.release"),
            "build": facts.properties.get("ro.build.fingerprint"),
            "cores": len(facts.cores),
            "core_kinds": facts.kinds or None,
            "used_cores": ",".join(map(str, cores)) or None,
            "max_clock_khz": max((core.max_khz for core in facts.cores if core.number in cores), default=0) or None,
            "inner_cache_bytes": facts.cache_bytes(cores),
            "memory_bytes": facts.memory_bytes,
            "load_1m": facts.load_1m,
            "runner": self._runner_name,
            "runtime_version": self._runner_version,
            **_state_facts(state),
        }

    def read_state(self) -> PhoneState:
        """Heat, clocks and battery now."""
        return parse_state(self.contact.link.run(STATE_COMMAND).output)

    def run_session(
        self, artifacts: Sequence[Artifact], visits: Sequence[Visit], *, timeout_s: float | None = None
    ) -> Session:
        """Time models in one fresh process; see :class:`nasc.devices._base.Device`.

        A session in which the phone ran hot is thrown away, and repeated once it has cooled down.
        """
        require_format(self, artifacts)
        cold_bytes = _COLD_SWEEPS * self.contact.facts.cache_bytes(self._cores)
        plan = Plan(
            artifacts,
            visits,
            self.threads,
            self._cores,
            cold_bytes if any(visit.cold for visit in visits) else 0,
            timeout_s or time_bound(len(artifacts), visits),
        )
        with self._alone():
            for _ in range(_HEATED_TRIES):
                self.cool_down()
                outcome = self._run(plan)
                before, after = parse_state(outcome.before), parse_state(outcome.after)
                if not heated(before, after):
                    facts = {**outcome.session.facts, "runner": self._runner_name}
                    return replace(outcome.session, facts={**facts, **_both_states(before, after)})
        raise DeviceError(
            f"{self.contact.link.address}: the phone ran hot in each of {_HEATED_TRIES} sessions; they were thrown away",
            "let it lie on something cool, unplugged, screen off; then run the same command again: earlier rows are kept",
        )

    def cool_down(self) -> None:
        """Wait until the phone's thermal status is none.

        Raises:
            DeviceError: It stays hot.
        """
        end = time.monotonic() + self.cooling.most_s
        while (state := self.read_state()).hot:
            if time.monotonic() > end:
                status = THERMAL_NAMES[min(state.thermal or 0, len(THERMAL_NAMES) - 1)]
                raise DeviceError(
                    f"{self.contact.link.address}: expected a cool phone; its thermal status is still {status} "
                    f"after {self.cooling.most_s:.0f} s",
                    "let it cool down, then run the same command again: earlier rows are kept",
                )
            time.sleep(self.cooling.wait_s)

    @property
    def _out_of_reach(self) -> bool:
        if self.descriptor.hardware is None:
            return False
        try:
            self.contact  # noqa: B018 - reached, or an error
        except DeviceError:
            return True
        return False

    @property
    def _cores(self) -> tuple[int, ...]:
        return self.contact.facts.fastest_cores(self.threads)

    @property
    def _runner_name(self) -> str:
        if self.runtime in RUNTIMES:
            return self.runtime
        return f"bundle {self._bundle.identity}"

    @property
    def _runner_version(self) -> str:
        return digest(find_program())[:12] if self.runtime in RUNTIMES else self._bundle.litert

    @cached_property
    def _bundle(self) -> Bundle:
        return require_bundle(self.contact)

    @cached_property
    def _runner(self) -> Runner:
        """Made while no other session runs: what a killed one left behind is ended first."""
        link, facts = self.contact.link, self.contact.facts
        stop_orphans(Store(link, facts.folder), PERFORMANCE_OFF)
        if self.runtime in RUNTIMES:
            return BenchmarkModel(link, facts.folder, find_program(), self.runtime)
        return Machine(link, facts.folder, self._bundle, facts.emulator)

    def _run(self, plan: Plan) -> Outcome:
        """Run a plan; whatever becomes of it, the phone's clock is free again."""
        try:
            return self._runner.run_session(plan, _WRAPPING)
        except BaseException:
            self._free_clock()
            raise

    def _free_clock(self) -> None:
        link = Link(self.contact.link.transport, patience_s=0)
        try:
            link.run(PERFORMANCE_OFF, timeout_s=5)
        except DeviceError:
            return  # out of reach: the job's own trap, or the restart of the phone, does it

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One session at a time on one phone, whichever process it belongs to."""
        lock = user_cache() / "locks" / f"{slug_of(self.contact.link.address)}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            yield


def _both_states(before: PhoneState, after: PhoneState) -> dict[str, str | int | float | None]:
    earlier = {f"{name}_before": value for name, value in _state_facts(before).items()}
    return {**earlier, **_state_facts(after)}


def _state_facts(state: PhoneState) -> dict[str, str | int | float | None]:
    clocks = state.clocks_khz or {}
    return {
        "thermal_status": state.thermal,
        "battery_percent": state.battery_percent,
        "battery_celsius": state.battery_celsius,
        "battery_v": state.voltage_v,
        "battery_a": state.current_a,
        "clock_mhz": round(max(clocks.values()) / 1000) if clocks else None,
    }
